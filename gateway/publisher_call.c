/* What the files of all commands need: errors, numbers, subcommands. */
#include "gateway/publisher_client.h"

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

enum sub command_sub(const struct call *call, const char *command, const char *name, size_t min, size_t max)
{
    if (!resp_arg_is(&call->args[1], name))
        return SUB_OTHER;
    if (call->count - 2 >= min && call->count - 2 <= max)
        return SUB_YES;
    command_fail(call, "ERR wrong number of arguments for '%s|%s' command", command, name);
    return SUB_ANSWERED;
}

enum command_result command_unknown_sub(const struct call *call, const char *help)
{
    int shown = (int)(call->args[1].len < QUOTED_MAX ? call->args[1].len : QUOTED_MAX);
    return command_fail(call, "ERR unknown subcommand '%.*s'. Try %s HELP.", shown, call->args[1].data, help);
}

enum command_result command_help(const struct call *call, const char *const *lines, size_t count)
{
    resp_array(call->out, count);
    for (size_t i = 0; i < count; i++)
        resp_simple(call->out, lines[i]);
    return COMMAND_DONE;
}
