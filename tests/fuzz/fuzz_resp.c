/* RESP commands: whatever comes, arguments lie inside the input, every beginning of a whole command asks for
 * more, and a command reads the same however it was split. */
#include "proto/resp.h"

#include <stdlib.h>
#include <string.h>

enum { ARGS_MAX = 64, BULK_MAX = 4096, SPLIT_MAX = 512 };

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

static void check(int truth)
{
    if (!truth)
        abort();
}

static enum parse_result parse(const uint8_t *input, size_t len, char *copy, struct resp_command *command,
                               struct resp_arg *args)
{
    if (len > 0)
        memcpy(copy, input, len);
    *command = (struct resp_command){.args = args, .args_max = ARGS_MAX};
    return resp_parse(copy, len, BULK_MAX, command);
}

static void check_splits(const uint8_t *input, size_t whole)
{
    struct resp_arg args[ARGS_MAX];
    struct resp_command command;
    for (size_t len = 0; len < whole && len < SPLIT_MAX; len++) {
        char *copy = malloc(len ? len : 1);
        check(copy != NULL);
        check(parse(input, len, copy, &command, args) == PARSE_MORE);
        check(command.need_bytes <= whole);
        check(len == 0 || memcmp(copy, input, len) == 0);
        free(copy);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    size_t at = 0;
    while (at < size) {
        struct resp_arg args[ARGS_MAX];
        struct resp_command command;
        char *copy = malloc(size - at);
        check(copy != NULL);
        enum parse_result result = parse(input + at, size - at, copy, &command, args);
        if (result == PARSE_BAD)
            check(command.error != NULL && strlen(command.error) < 64);
        if (result == PARSE_OK) {
            check(command.command_bytes > 0 && command.command_bytes <= size - at);
            check(command.arg_count <= ARGS_MAX);
            for (size_t i = 0; i < command.arg_count; i++)
                check(args[i].data >= copy && args[i].data + args[i].len <= copy + command.command_bytes);
            check_splits(input + at, command.command_bytes);
        }
        size_t used = command.command_bytes;
        free(copy);
        if (result != PARSE_OK)
            break;
        at += used;
    }
    return 0;
}
