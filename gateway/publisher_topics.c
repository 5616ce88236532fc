/* TOPIC: which topics have subscribers, a page at a time, and what one of them has. */
#include "gateway/base/glob.h"
#include "gateway/publisher_client.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    COUNT_DEFAULT = 10, /* as SCAN's */
    COUNT_MAX = 10000,
    PLACES_MAX = 20000, /* of the table that one command looks at */
};

struct page {
    struct resp_out out;
    const struct resp_arg *match; /* NULL: all */
    uint32_t found;
};

static void add(void *context, const char *topic, size_t topic_bytes, uint64_t subscribers)
{
    struct page *page = context;
    if (page->match && !glob_match(page->match->data, page->match->len, topic, topic_bytes))
        return;
    page->found++;
    resp_bulk(&page->out, topic, topic_bytes);
    resp_integer(&page->out, (int64_t)subscribers);
}

/* TOPIC LIST [MATCH pattern] [CURSOR cursor] [COUNT count]: a cursor, and topics with their subscribers. */
static enum command_result list(const struct call *call)
{
    struct page page = {.out.resp3 = call->out->resp3};
    int64_t cursor = 0, count = COUNT_DEFAULT;
    for (size_t i = 2; i < call->count; i += 2) {
        const struct resp_arg *word = &call->args[i], *value = word + 1;
        if (i + 1 == call->count)
            return command_fail(call, "ERR syntax error");
        if (resp_arg_is(word, "MATCH")) {
            page.match = value;
            if (value->len > CHANNEL_BYTES_MAX) /* it cannot match more, but takes longer */
                return command_fail(call, "ERR pattern is too long: the limit is %d bytes",
                                    (int)CHANNEL_BYTES_MAX);
        } else if (resp_arg_is(word, "CURSOR")) {
            if (!command_integer(value, &cursor) || cursor < 0 || cursor > UINT32_MAX)
                return command_fail(call, "ERR invalid cursor");
        } else if (resp_arg_is(word, "COUNT")) {
            if (!command_integer(value, &count))
                return command_fail(call, "ERR value is not an integer or out of range");
            if (count < 1)
                return command_fail(call, "ERR value is out of range, must be positive");
        } else {
            return command_fail(call, "ERR syntax error");
        }
    }
    pulse_beat(&call->publisher->pulse);
    uint32_t next = (uint32_t)cursor, wanted = count < COUNT_MAX ? (uint32_t)count : COUNT_MAX;
    for (int places = 0; places < PLACES_MAX && page.found < wanted; places++) {
        next = broker_scan_topics(call->publisher->broker, next, 1, add, &page);
        if (next == 0)
            break;
    }
    char text[16];
    snprintf(text, sizeof text, "%" PRIu32, next);
    resp_array(call->out, 2);
    command_text(call, text);
    resp_map(call->out, page.found);
    resp_values(call->out, &page.out);
    resp_out_fini(&page.out);
    return COMMAND_DONE;
}

/* What the engine keeps of it. False: without memory. */
static bool ask(const struct call *call, enum broker_op op, const struct resp_arg *topic,
                struct broker_request **answer)
{
    struct broker_ask ask = {.op = op, .topic = {topic->data, topic->len}};
    *answer = broker_request_create(&ask);
    if (!*answer)
        return false;
    (*answer)->limit = op == BROKER_HISTORY ? UINT32_MAX : 0;
    broker_serve(call->publisher->broker, *answer);
    return (*answer)->result == BROKER_OK || (*answer)->result == BROKER_NOT_KEPT;
}

/* TOPIC INFO topic: a topic that nobody has is one with nothing. */
static enum command_result info(const struct call *call)
{
    const struct resp_arg *topic = &call->args[2];
    struct broker *broker = call->publisher->broker;
    if (topic->len < 1 || topic->len > TOPIC_BYTES_MAX)
        return command_fail(call, "ERR invalid topic: 1 to %d bytes", TOPIC_BYTES_MAX);
    const struct topic_rule *rule = broker_rule(broker, topic->data, topic->len);
    const struct channel *channel = channels_find(&call->publisher->channels, false, topic->data, topic->len);
    struct broker_request *history = NULL, *presence = NULL;
    bool good =
        ask(call, BROKER_HISTORY, topic, &history) && ask(call, BROKER_PRESENCE_STATS, topic, &presence);
    if (!good) {
        command_fail(call, "ERR out of memory");
    } else {
        resp_map(call->out, 9);
        command_pair(call, "subscribers", broker_subscribers(broker, topic->data, topic->len));
        command_pair(call, "reactors", broker_reactors_of(broker, topic->data, topic->len));
        command_pair(call, "listeners", channel ? channel->subscribers : 0);
        command_text(call, "rule");
        command_text(call, rule->name ? rule->name : "");
        command_pair(call, "history-items", history->item_count);
        command_pair(call, "history-size", rule->history_size);
        command_pair(call, "history-offset", history->position.offset);
        command_pair(call, "presence-clients", presence->clients);
        command_pair(call, "presence-users", presence->users);
    }
    broker_request_destroy(history);
    broker_request_destroy(presence);
    return COMMAND_DONE;
}

static enum command_result help(const struct call *call)
{
    static const char *const lines[] = {
        "TOPIC <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "LIST [MATCH <pattern>] [CURSOR <cursor>] [COUNT <count>]",
        "    Return a cursor, and topics that have subscribers with how many. Begin without a cursor, go on",
        "    with the one returned; 0 says that there are no more.",
        "INFO <topic>",
        "    Return what a topic has: subscribers, listeners, history, presence.",
        "HELP",
        "    Print this help.",
    };
    return command_help(call, lines, sizeof lines / sizeof *lines);
}

enum command_result command_topic(const struct call *call)
{
    static const struct subcommand subcommands[] = {
        {"list", 0, 6, list},
        {"info", 1, 1, info},
        {"help", 0, 0, help},
    };
    return command_dispatch(call, "topic", subcommands, sizeof subcommands / sizeof *subcommands);
}
