/* What listeners hear: the broker's publications, joins and leaves, as messages to whoever subscribed to
 * their channel or to a pattern that matches it.
 *
 * A message is appended to each listener's own output behind the replies that stand there, and leaves with
 * the turn (clients_answer). The publisher never waits for a listener: what the kernel does not take waits,
 * up to publish.outbox_bytes; the listener for which more would wait is cut. */
#include "gateway/base/assert.h"
#include "gateway/base/glob.h"
#include "gateway/base/log.h"
#include "gateway/publisher_client.h"
#include "proto/json_out.h"

#include <string.h>

/* What one channel's listeners get. */
struct event {
    const char *name;
    size_t name_bytes;
    const void *payload;
    size_t payload_bytes;
};

static void send_later(struct publisher *publisher, struct publisher_client *client)
{
    if (list_empty(&client->pushed))
        list_append(&publisher->pushed, &client->pushed);
}

static void cut(struct publisher *publisher, struct publisher_client *client, const char *reason)
{
    log_limited(&publisher->log_slow, LOG_WARN, "publisher_closed",
                "publisher=%llu reason=%s waiting_bytes=%zu", (unsigned long long)client->id, reason,
                client_pending(client));
    counter_add(&publisher->stats.listeners_cut, 1);
    client->cut = true;
    resp_out_fini(&client->out); /* the memory is needed now, its subscriptions end with the turn */
    client->out_sent = 0;
    send_later(publisher, client);
}

bool listener_within_bounds(struct publisher *publisher, struct publisher_client *client)
{
    if (client->cut)
        return false;
    if (client->out.failed) {
        cut(publisher, client, "no_memory");
        return false;
    }
    if (client_pending(client) <= publisher->settings->publish.outbox_bytes)
        return true;
    client_send_pending(client); /* it may read well, and one turn have much for it */
    if (client_pending(client) <= publisher->settings->publish.outbox_bytes)
        return true;
    cut(publisher, client, "slow_listener");
    return false;
}

/* One message to one listener. False: it is going, or gone. */
static bool push(struct publisher *publisher, const struct subscription *subscription,
                 const struct event *event)
{
    struct publisher_client *client = LIST_ITEM(subscription->listener, struct publisher_client, listener);
    if (client->cut || client->mute)
        return false;
    struct resp_out *out = &client->out;
    const struct channel *channel = subscription->channel;
    out->resp3 = client->resp3;
    resp_push(out, channel->pattern ? 4 : 3);
    if (channel->pattern) {
        resp_bulk(out, "pmessage", 8);
        resp_bulk(out, channel->name, channel->bytes);
    } else {
        resp_bulk(out, "message", 7);
    }
    resp_bulk(out, event->name, event->name_bytes);
    resp_bulk(out, event->payload, event->payload_bytes);
    send_later(publisher, client);
    return listener_within_bounds(publisher, client);
}

static uint64_t push_to_all(struct publisher *publisher, const struct channel *channel,
                            const struct event *event)
{
    uint64_t pushed = 0;
    for (const struct list *at = channel->subscriptions.next; at != &channel->subscriptions; at = at->next)
        pushed += push(publisher, LIST_ITEM(at, struct subscription, by_channel), event);
    return pushed;
}

/* First those who named the channel, then those with a pattern: as Redis. */
static uint64_t tell(struct publisher *publisher, const struct event *event, bool is_event)
{
    const struct channels *channels = &publisher->channels;
    const struct channel *channel = channels_find(channels, false, event->name, event->name_bytes);
    uint64_t told = channel ? push_to_all(publisher, channel, event) : 0;
    for (const struct list *at = channels->patterns[is_event].next; at != &channels->patterns[is_event];
         at = at->next) {
        const struct channel *pattern = LIST_ITEM(at, struct channel, listed);
        if (glob_match(pattern->name, pattern->bytes, event->name, event->name_bytes))
            told += push_to_all(publisher, pattern, event);
    }
    return told;
}

static bool anybody_wants(const struct channels *channels, const char *name, size_t bytes)
{
    if (channels_find(channels, false, name, bytes))
        return true;
    for (const struct list *at = channels->patterns[true].next; at != &channels->patterns[true];
         at = at->next) {
        const struct channel *pattern = LIST_ITEM(at, struct channel, listed);
        if (glob_match(pattern->name, pattern->bytes, name, bytes))
            return true;
    }
    return false;
}

/* Writes prefix and topic to `name`; their bytes. */
static size_t event_name(char name[CHANNEL_BYTES_MAX], const char *prefix,
                         const struct publication *publication)
{
    size_t len = strlen(prefix);
    PG_ASSERT(len + publication->topic_bytes <= CHANNEL_BYTES_MAX);
    memcpy(name, prefix, len); // NOLINT(bugprone-not-null-terminated-result): a length goes with it
    memcpy(name + len, publication->topic, publication->topic_bytes);
    return len + publication->topic_bytes;
}

/* {"data":…,"info":{…}} and, where there are, tags and offset: as a publication stands in the Centrifuge
 * protocol. */
static void write_envelope(struct json_out *out, const struct publication *publication)
{
    json_out_object(out);
    json_out_name(out, "data");
    json_out_payload(out, json_payload_kind(publication->payload, publication->payload_bytes),
                     publication->payload, publication->payload_bytes);
    json_out_name(out, "info");
    json_out_json(out, (struct json_slice){publication->info, publication->info_bytes});
    if (publication->tags) {
        json_out_name(out, "tags");
        json_out_json(out, (struct json_slice){publication->tags, publication->tags_bytes});
    }
    if (publication->offset != 0) {
        json_out_name(out, "offset");
        json_out_uint(out, publication->offset);
    }
    json_out_object_end(out);
}

/* Who published, for those who ask: made only when somebody does. */
static uint64_t tell_of_client(struct publisher *publisher, const struct publication *publication)
{
    char name[CHANNEL_BYTES_MAX];
    size_t bytes = event_name(name, EVENT_CLIENT, publication);
    if (!anybody_wants(&publisher->channels, name, bytes))
        return 0;
    struct json_out envelope = {0};
    write_envelope(&envelope, publication);
    uint64_t told = 0;
    if (!envelope.failed) {
        struct event event = {name, bytes, envelope.data, envelope.len};
        told = tell(publisher, &event, true);
    } else {
        log_limited(&publisher->log_memory, LOG_ERROR, "event_lost", "cause=%s", "no_memory");
    }
    json_out_fini(&envelope);
    return told;
}

static uint64_t tell_of_message(struct publisher *publisher, const struct publication *publication)
{
    uint64_t told = 0;
    /* A topic with such a name cannot pass for an event. */
    if (!channel_is_event(publication->topic, publication->topic_bytes)) {
        struct event event = {publication->topic, publication->topic_bytes, publication->payload,
                              publication->payload_bytes};
        told = tell(publisher, &event, false);
    }
    if (publication->info && publisher->channels.event_count > 0)
        told += tell_of_client(publisher, publication);
    return told;
}

/* broker_listener_fn. */
static uint64_t hear(void *context, const struct publication *publication)
{
    struct publisher *publisher = context;
    uint64_t told = 0;
    if (publication->kind == PUBLICATION_MESSAGE) {
        told = tell_of_message(publisher, publication);
    } else if (publisher->channels.event_count > 0) {
        char name[CHANNEL_BYTES_MAX];
        bool join = publication->kind == PUBLICATION_JOIN;
        struct event event = {name, event_name(name, join ? EVENT_JOIN : EVENT_LEAVE, publication),
                              publication->payload, publication->payload_bytes};
        told = tell(publisher, &event, true);
    }
    if (told > 0)
        counter_add(&publisher->stats.listener_messages, told);
    return told;
}

void listeners_changed(struct publisher *publisher)
{
    const struct channels *channels = &publisher->channels;
    broker_listen(publisher->broker, channels->listener_count > 0 ? hear : NULL, publisher);
    counter_set(&publisher->stats.listeners, channels->listener_count);
    counter_set(&publisher->stats.listener_channels, channels->channel_count);
    counter_set(&publisher->stats.listener_patterns, channels->pattern_count);
}

void listener_forget(struct publisher *publisher, struct publisher_client *client)
{
    if (listener_count(&client->listener) == 0)
        return;
    channels_forget(&publisher->channels, &client->listener);
    listeners_changed(publisher);
}
