/* SUBSCRIBE, UNSUBSCRIBE, PSUBSCRIBE, PUNSUBSCRIBE and PUBSUB: who listens to what. */
#include "gateway/base/glob.h"
#include "gateway/publisher_client.h"

#include <inttypes.h>
#include <string.h>

/* Each channel has an answer of its own, in RESP3 a push; `name` NULL: there was none. */
static void answer(const struct call *call, const char *kind, const char *name, size_t bytes)
{
    resp_push(call->out, 3);
    command_text(call, kind);
    if (name)
        resp_bulk(call->out, name, bytes);
    else
        resp_null(call->out);
    resp_integer(call->out, listener_count(&call->client->listener));
}

/* Nothing is done when not all can be. False: answered. */
static bool may_subscribe(const struct call *call, bool pattern)
{
    const struct settings *settings = call->publisher->settings;
    const struct channels *channels = &call->publisher->channels;
    const struct listener *listener = &call->client->listener;
    uint64_t more = 0, more_patterns = 0;
    for (size_t i = 1; i < call->count; i++) {
        const struct resp_arg *name = &call->args[i];
        if (name->len > CHANNEL_BYTES_MAX) {
            command_fail(call, "ERR invalid channel: at most %d bytes", (int)CHANNEL_BYTES_MAX);
            return false;
        }
        more += !channels_has(channels, listener, pattern, name->data, name->len);
        more_patterns += pattern && !channels_find(channels, true, name->data, name->len);
    }
    if (listener_count(listener) + more > settings->publish.channels) {
        command_fail(call,
                     "ERR too many channels: the limit of a connection is %" PRIu64 " (publish.channels)",
                     settings->publish.channels);
        return false;
    }
    if (channels->pattern_count + more_patterns > settings->publish.patterns) {
        command_fail(call,
                     "ERR too many patterns: the limit of all connections together is %" PRIu64
                     " (publish.patterns)",
                     settings->publish.patterns);
        return false;
    }
    return true;
}

static enum command_result subscribe(const struct call *call, bool pattern)
{
    if (!may_subscribe(call, pattern))
        return COMMAND_DONE;
    enum command_result result = COMMAND_DONE;
    for (size_t i = 1; i < call->count && result == COMMAND_DONE; i++) {
        const struct resp_arg *name = &call->args[i];
        if (channels_add(&call->publisher->channels, &call->client->listener, pattern, name->data,
                         name->len) == CHANNELS_NO_MEMORY)
            result = COMMAND_NO_MEMORY; /* a client that thinks it listens must not be left so */
        else
            answer(call, pattern ? "psubscribe" : "subscribe", name->data, name->len);
    }
    listeners_changed(call->publisher);
    return result;
}

enum command_result command_subscribe(const struct call *call)
{
    return subscribe(call, false);
}

enum command_result command_psubscribe(const struct call *call)
{
    return subscribe(call, true);
}

/* Ends the oldest subscription and says so. */
static void unsubscribe_first(const struct call *call, bool pattern, const char *kind)
{
    struct listener *listener = &call->client->listener;
    const struct list *first = pattern ? listener->patterns.next : listener->channels.next;
    const struct channel *channel = LIST_ITEM(first, struct subscription, by_listener)->channel;
    char name[CHANNEL_BYTES_MAX];
    size_t bytes = channel->bytes;
    memcpy(name, channel->name, bytes);
    channels_remove(&call->publisher->channels, listener, pattern, name, bytes);
    answer(call, kind, name, bytes);
}

static enum command_result unsubscribe(const struct call *call, bool pattern)
{
    struct listener *listener = &call->client->listener;
    const char *kind = pattern ? "punsubscribe" : "unsubscribe";
    for (size_t i = 1; i < call->count; i++) {
        channels_remove(&call->publisher->channels, listener, pattern, call->args[i].data, call->args[i].len);
        answer(call, kind, call->args[i].data, call->args[i].len);
    }
    if (call->count == 1) {
        const uint32_t *left = pattern ? &listener->pattern_count : &listener->channel_count;
        if (*left == 0)
            answer(call, kind, NULL, 0);
        while (*left > 0)
            unsubscribe_first(call, pattern, kind);
    }
    listeners_changed(call->publisher);
    return COMMAND_DONE;
}

enum command_result command_unsubscribe(const struct call *call)
{
    return unsubscribe(call, false);
}

enum command_result command_punsubscribe(const struct call *call)
{
    return unsubscribe(call, true);
}

/* PUBSUB: a channel is one with subscribers of either kind, over WebSocket and on this socket. */
struct channel_search {
    const struct call *call;
    const struct resp_arg *pattern; /* NULL: all */
    size_t found;
    bool emit;
};

static void visit_name(struct channel_search *search, const char *name, size_t bytes)
{
    if (search->pattern && !glob_match(search->pattern->data, search->pattern->len, name, bytes))
        return;
    search->found++;
    if (search->emit)
        resp_bulk(search->call->out, name, bytes);
}

static void visit_topic(void *context, const char *topic, size_t topic_bytes, uint64_t subscribers)
{
    (void)subscribers;
    visit_name(context, topic, topic_bytes);
}

static void visit_channel(void *context, const struct channel *channel)
{
    struct channel_search *search = context;
    if (broker_subscribers(search->call->publisher->broker, channel->name, channel->bytes) == 0)
        visit_name(search, channel->name, channel->bytes); /* else it is a topic that was visited */
}

static void visit_all(struct channel_search *search)
{
    broker_visit_topics(search->call->publisher->broker, visit_topic, search);
    channels_visit(&search->call->publisher->channels, visit_channel, search);
}

static enum command_result list_channels(const struct call *call)
{
    struct channel_search search = {.call = call, .pattern = call->count > 2 ? &call->args[2] : NULL};
    if (search.pattern &&
        search.pattern->len > CHANNEL_BYTES_MAX) /* it cannot match more, but takes longer */
        return command_fail(call, "ERR pattern is too long: the limit is %d bytes", (int)CHANNEL_BYTES_MAX);
    pulse_beat(&call->publisher->pulse); /* a walk of all topics takes long, and it is no hanging */
    visit_all(&search);                  /* the count stands before the names */
    resp_array(call->out, search.found);
    search.emit = true;
    visit_all(&search);
    return COMMAND_DONE;
}

static enum command_result count_patterns(const struct call *call)
{
    resp_integer(call->out, call->publisher->channels.pattern_count);
    return COMMAND_DONE;
}

static enum command_result count_subscribers(const struct call *call)
{
    resp_array(call->out, (call->count - 2) * 2);
    for (size_t i = 2; i < call->count; i++) {
        const struct resp_arg *name = &call->args[i];
        const struct channel *channel =
            channels_find(&call->publisher->channels, false, name->data, name->len);
        uint64_t count = broker_subscribers(call->publisher->broker, name->data, name->len);
        resp_bulk(call->out, name->data, name->len);
        resp_integer(call->out, (int64_t)(count + (channel ? channel->subscribers : 0)));
    }
    return COMMAND_DONE;
}

static enum command_result pubsub_help(const struct call *call)
{
    static const char *const lines[] = {
        "PUBSUB <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "CHANNELS [<pattern>]",
        "    Return channels that have subscribers, over WebSocket or here, and match (default: '*').",
        "NUMPAT",
        "    Return how many patterns connections here are subscribed to.",
        "NUMSUB [<channel> ...]",
        "    Return how many subscribers each channel has, those of patterns left out.",
        "HELP",
        "    Print this help.",
    };
    return command_help(call, lines, sizeof lines / sizeof *lines);
}

enum command_result command_pubsub(const struct call *call)
{
    static const struct subcommand subcommands[] = {
        {"channels", 0, 1, list_channels},
        {"numpat", 0, 0, count_patterns},
        {"numsub", 0, RESP_ARGS_MAX, count_subscribers},
        {"help", 0, 0, pubsub_help},
    };
    return command_dispatch(call, "pubsub", subcommands, sizeof subcommands / sizeof *subcommands);
}

struct channel_sum {
    struct broker *broker;
    uint64_t sum;
};

static void add_channel(void *context, const struct channel *channel)
{
    struct channel_sum *sum = context;
    sum->sum += broker_subscribers(sum->broker, channel->name, channel->bytes) == 0;
}

uint64_t publisher_channel_count(const struct publisher *publisher)
{
    struct channel_sum sum = {.broker = publisher->broker, .sum = broker_topic_count(publisher->broker)};
    channels_visit(&publisher->channels, add_channel, &sum);
    return sum.sum;
}
