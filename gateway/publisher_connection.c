/* CONNECTION: operators look at clients' connections and close them.
 *
 * CONNECTION LIST [filter …] [CURSOR cursor] [COUNT count]
 * CONNECTION INFO id
 * CONNECTION CLOSE filter … [CODE code] [REASON reason]
 * filter: ID id | TOPIC topic | USER user | CLIENT client; all that are given must hold. */
#include "gateway/base/uuid.h"
#include "gateway/publisher_client.h"
#include "proto/utf8.h"
#include "proto/ws_frame.h"

#include <string.h>

enum {
    COUNT_DEFAULT = 10, /* as SCAN's */
    COUNT_MAX = 1000,
    REASON_BYTES_MAX = 123, /* what a close frame has room for */
};

static bool refuse(const struct call *call, const char *error)
{
    command_fail(call, "%s", error);
    return false;
}

/* False: answered. `taken`: it was a filter. */
static bool read_filter(const struct call *call, const struct resp_arg *word, struct conn_filter *filter,
                        bool *taken)
{
    const struct resp_arg *value = word + 1;
    *taken = true;
    if (resp_arg_is(word, "ID") && !filter->id_set) {
        filter->id_set = true;
        return conn_id_parse(value->data, value->len, &filter->id) ||
               refuse(call, "ERR invalid connection id: three numbers as in 0-17-42");
    }
    if (resp_arg_is(word, "TOPIC") && !filter->topic_set) {
        filter->topic_set = true;
        filter->topic = (struct text){value->data, value->len};
        if (value->len >= 1 && value->len <= TOPIC_BYTES_MAX)
            return true;
        command_fail(call, "ERR invalid topic: 1 to %d bytes", TOPIC_BYTES_MAX);
        return false;
    }
    if (resp_arg_is(word, "USER") && !filter->user_set) {
        filter->user_set = true;
        filter->user = (struct text){value->data, value->len};
        return true;
    }
    if (resp_arg_is(word, "CLIENT") && !filter->client_set) {
        filter->client_set = true;
        return uuid_parse(value->data, value->len, filter->client) || refuse(call, "ERR invalid client id");
    }
    *taken = false;
    return true;
}

/* Cursors are made of where the next page begins; whatever else is given begins somewhere, harmlessly. */
static bool read_cursor(const struct call *call, const struct resp_arg *value, struct operation_order *order)
{
    int64_t cursor;
    if (!command_integer(value, &cursor) || cursor < 0)
        return refuse(call, "ERR invalid cursor");
    uint64_t reactor = (uint64_t)cursor >> 32;
    order->reactor = reactor < BROKER_NO_REACTOR ? (uint16_t)reactor : BROKER_NO_REACTOR;
    order->from = (uint32_t)cursor;
    return true;
}

static bool read_count(const struct call *call, const struct resp_arg *value, struct operation_order *order)
{
    int64_t count;
    if (!command_integer(value, &count))
        return refuse(call, "ERR value is not an integer or out of range");
    if (count < 1)
        return refuse(call, "ERR value is out of range, must be positive");
    order->count = count < COUNT_MAX ? (uint32_t)count : COUNT_MAX;
    return true;
}

static bool read_code(const struct call *call, const struct resp_arg *value, struct operation_order *order)
{
    int64_t code;
    if (!command_integer(value, &code) || code < 0 || code > UINT16_MAX ||
        !ws_close_code_valid((uint16_t)code))
        return refuse(call, "ERR invalid code: 1000 to 1003, 1007 to 1014, or 3000 to 4999");
    order->code = (uint16_t)code;
    return true;
}

static bool read_reason(const struct call *call, const struct resp_arg *value, struct operation_order *order)
{
    if (value->len > REASON_BYTES_MAX || !utf8_valid(value->data, value->len)) {
        command_fail(call, "ERR invalid reason: at most %d bytes of UTF-8", (int)REASON_BYTES_MAX);
        return false;
    }
    order->reason = (struct text){value->data, value->len};
    return true;
}

/* Pairs of keyword and value behind the subcommand. False: answered. */
static bool read_order(const struct call *call, struct operation_order *order)
{
    bool list = order->kind == OPERATION_LIST;
    for (size_t i = 2; i < call->count; i += 2) {
        const struct resp_arg *word = &call->args[i];
        bool taken;
        if (i + 1 == call->count)
            return refuse(call, "ERR syntax error");
        if (!read_filter(call, word, &order->filter, &taken))
            return false;
        if (taken)
            continue;
        bool good;
        if (list && resp_arg_is(word, "CURSOR"))
            good = read_cursor(call, word + 1, order);
        else if (list && resp_arg_is(word, "COUNT"))
            good = read_count(call, word + 1, order);
        else if (!list && resp_arg_is(word, "CODE"))
            good = read_code(call, word + 1, order);
        else if (!list && resp_arg_is(word, "REASON"))
            good = read_reason(call, word + 1, order);
        else
            good = refuse(call, "ERR syntax error");
        if (!good)
            return false;
    }
    return true;
}

static enum command_result list(const struct call *call)
{
    struct operation_order order = {.kind = OPERATION_LIST, .count = COUNT_DEFAULT};
    return read_order(call, &order) ? operation_begin(call, &order) : COMMAND_DONE;
}

static enum command_result info(const struct call *call)
{
    struct operation_order order = {.kind = OPERATION_INSPECT, .filter.id_set = true};
    if (!conn_id_parse(call->args[2].data, call->args[2].len, &order.filter.id))
        return command_fail(call, "ERR invalid connection id: three numbers as in 0-17-42");
    return operation_begin(call, &order);
}

static enum command_result close_them(const struct call *call)
{
    struct operation_order order = {.kind = OPERATION_CLOSE};
    if (!read_order(call, &order))
        return COMMAND_DONE;
    const struct conn_filter *filter = &order.filter;
    if (!filter->id_set && !filter->topic_set && !filter->user_set && !filter->client_set)
        return command_fail(call, "ERR say which: ID, TOPIC, USER or CLIENT (DRAIN closes all)");
    return operation_begin(call, &order);
}

static enum command_result help(const struct call *call)
{
    static const char *const lines[] = {
        "CONNECTION <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "LIST [ID <id>] [TOPIC <topic>] [USER <user>] [CLIENT <client>] [CURSOR <cursor>] [COUNT <count>]",
        "    Return a cursor and connections that match all that is given, in short. Begin without a",
        "    cursor, go on with the one returned; 0 says that there are no more.",
        "INFO <id>",
        "    Return all that is known of one connection.",
        "CLOSE [ID <id>] [TOPIC <topic>] [USER <user>] [CLIENT <client>] [CODE <code>] [REASON <reason>]",
        "    Close connections that match all that is given, return how many.",
        "HELP",
        "    Print this help.",
    };
    return command_help(call, lines, sizeof lines / sizeof *lines);
}

enum command_result command_connection(const struct call *call)
{
    static const struct subcommand subcommands[] = {
        {"list", 0, RESP_ARGS_MAX, list},
        {"info", 1, 1, info},
        {"close", 2, RESP_ARGS_MAX, close_them},
        {"help", 0, 0, help},
    };
    return command_dispatch(call, "connection", subcommands, sizeof subcommands / sizeof *subcommands);
}
