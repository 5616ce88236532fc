/* What the files of all commands need: errors, numbers, subcommands. */
#include "gateway/publisher_client.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum command_result command_fail(const struct call *call, const char *format, ...)
{
    char text[512];
    va_list values;
    va_start(values, format);
    // NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): it is, one line above
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    resp_error(call->out, text);
    counter_add(&call->publisher->stats.errors, 1);
    return COMMAND_DONE;
}

enum command_result command_ok(const struct call *call)
{
    resp_simple(call->out, "OK");
    return COMMAND_DONE;
}

void command_text(const struct call *call, const char *text)
{
    resp_bulk(call->out, text, strlen(text));
}

void command_pair(const struct call *call, const char *name, uint64_t value)
{
    command_text(call, name);
    resp_integer(call->out, (int64_t)value);
}

bool command_integer(const struct resp_arg *arg, int64_t *value)
{
    bool negative = arg->len > 0 && arg->data[0] == '-';
    if (arg->len == negative)
        return false;
    int64_t number = 0; /* negative, because there is one more of those */
    for (size_t i = negative; i < arg->len; i++) {
        if (arg->data[i] < '0' || arg->data[i] > '9' || __builtin_mul_overflow(number, 10, &number) ||
            __builtin_sub_overflow(number, arg->data[i] - '0', &number))
            return false;
    }
    *value = number;
    return negative || !__builtin_sub_overflow(0, number, value);
}

enum command_result command_dispatch(const struct call *call, const char *command,
                                     const struct subcommand *subcommands, size_t count)
{
    const struct resp_arg *name = &call->args[1];
    size_t behind = call->count - 2;
    for (size_t i = 0; i < count; i++) {
        const struct subcommand *subcommand = &subcommands[i];
        if (!resp_arg_is(name, subcommand->name))
            continue;
        if (behind < subcommand->min || behind > subcommand->max)
            return command_fail(call, "ERR wrong number of arguments for '%s|%s' command", command,
                                subcommand->name);
        return subcommand->run(call);
    }
    char upper[16];
    size_t length = 0;
    for (; command[length] != '\0' && length < sizeof upper - 1; length++)
        upper[length] = (char)toupper((unsigned char)command[length]);
    int shown = (int)(name->len < QUOTED_MAX ? name->len : QUOTED_MAX);
    return command_fail(call, "ERR unknown subcommand '%.*s'. Try %.*s HELP.", shown, name->data, (int)length,
                        upper);
}

enum command_result command_help(const struct call *call, const char *const *lines, size_t count)
{
    resp_array(call->out, count);
    for (size_t i = 0; i < count; i++)
        resp_simple(call->out, lines[i]);
    return COMMAND_DONE;
}
