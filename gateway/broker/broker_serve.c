/* What others ask of the broker beside publishing: who joins, who is there, what was. */
#include "gateway/base/assert.h"
#include "gateway/base/clock.h"
#include "gateway/base/glob.h"
#include "gateway/base/uuid.h"
#include "gateway/broker/broker_internal.h"
#include "proto/centrifuge.h"

#include <stdlib.h>
#include <string.h>

enum {
    PRESENCE_OWNER = 1,            /* one process: all entries are its own */
    JOINING_MAX = 8 * 1024 * 1024, /* bytes; each eight are a publication that somebody has missed */
    TOP_SLICE = 4096,
    CHANNELS_SLICE = 1024, /* places of the registry: well under a millisecond */
};

static struct engine_topic engine_topic_of(const struct broker_request *request)
{
    return (struct engine_topic){request->topic.data, request->topic.bytes,
                                 topic_hash(request->topic.data, request->topic.bytes)};
}

static const struct topic_rule *rule_of(const struct broker *broker, const struct broker_request *request)
{
    return broker_rule(broker, request->topic.data, request->topic.bytes);
}

static bool from_client(const struct broker_request *request)
{
    static const uint8_t none[sizeof request->client];
    return memcmp(request->client, none, sizeof none) != 0;
}

/* The client info of whoever asks, as publications, joins and leaves carry it. False without memory. */
static bool write_info(const struct broker_request *request, struct json_out *out)
{
    char id[UUID_TEXT_BYTES];
    uuid_format(request->client, id);
    struct centrifuge_info info = {
        .user = {request->user.data, request->user.bytes},
        .client = {id, sizeof id - 1},
        .conn_info = text_slice(request->conn_info),
        .chan_info = text_slice(request->chan_info),
    };
    centrifuge_encode_info(out, &info);
    return !out->failed;
}

/* Publishing
 * ----------------------------------------------------------------------------------------------------------
 */

static void serve_publish(struct broker *broker, struct broker_request *request)
{
    struct json_out info = {0};
    if (from_client(request) && !write_info(request, &info)) {
        json_out_fini(&info);
        request->result = BROKER_NO_MEMORY;
        return;
    }
    struct publication publication = {
        .payload = request->payload.data,
        .payload_bytes = request->payload.bytes,
        .topic = request->topic.data,
        .topic_bytes = request->topic.bytes,
        .info = info.data,
        .info_bytes = info.len,
        .tags = request->tags.bytes > 0 ? request->tags.data : NULL,
        .tags_bytes = request->tags.bytes,
    };
    request->queued =
        broker_publish_with(broker, &publication, request->skip_history, &request->position.epoch);
    request->position.offset = publication.offset;
    json_out_fini(&info);
    if (request->queued >= 0) {
        broker->served.publishes++;
        broker->served.bytes += request->payload.bytes;
        broker->served.reached += (uint64_t)request->queued;
        return;
    }
    bool large = broker->message_bytes != 0 && request->payload.bytes > broker->message_bytes;
    request->result = large ? BROKER_TOO_LARGE : BROKER_NO_MEMORY;
}

/* Tells the topic's subscribers (those that want to know) who has come or gone. */
static void announce(struct broker *broker, const struct broker_request *request, enum publication_kind kind)
{
    struct json_out info = {0};
    if (write_info(request, &info)) {
        struct publication publication = {.kind = kind,
                                          .payload = info.data,
                                          .payload_bytes = info.len,
                                          .topic = request->topic.data,
                                          .topic_bytes = request->topic.bytes};
        (void)broker_publish_with(broker, &publication, true, NULL);
    }
    json_out_fini(&info);
}

/* History
 * ------------------------------------------------------------------------------------------------------------
 */

/* What the answer holds until it is read. Questions of this thread, and the admin's, are answered one by one.
 */
static void charge(struct broker_request *request, _Atomic uint64_t *gauge, uint64_t amount)
{
    if (request->reactor == BROKER_NO_REACTOR)
        return;
    request->gauge = gauge;
    request->gauged = amount;
    atomic_fetch_add_explicit(gauge, amount, memory_order_relaxed);
}

struct page_read {
    struct broker_request *request;
    bool done;
};

/* Keeps the page's references in the request. */
static void page_taken(void *context, enum engine_result result, const struct history_page *page)
{
    struct page_read *read = context;
    struct broker_request *request = read->request;
    read->done = true;
    request->position = page->top;
    request->recovered = page->recovered;
    request->continuous = page->continuous;
    if (result != ENGINE_OK)
        request->result = BROKER_NO_MEMORY;
    if (page->count == 0)
        return;
    request->items = (struct history_item **)malloc(page->count * sizeof *request->items);
    if (!request->items) {
        for (uint32_t i = 0; i < page->count; i++)
            history_item_unref(page->items[i]);
        request->result = BROKER_NO_MEMORY;
        request->recovered = false;
        return;
    }
    memcpy((void *)request->items, (const void *)page->items, page->count * sizeof *request->items);
    request->item_count = page->count;
    request->item_bytes = page->bytes;
}

static void read_history(struct broker *broker, struct broker_request *request, const struct topic_rule *rule,
                         const struct history_filter *filter)
{
    struct history_options options = broker_history_options(rule);
    struct page_read read = {.request = request};
    broker->engine->ops->read(broker->engine, engine_topic_of(request), &options, filter,
                              clock_monotonic_ms(), page_taken, &read);
    PG_ASSERT(read.done); /* as in broker_publish_with() */
}

static void serve_history(struct broker *broker, struct broker_request *request)
{
    const struct topic_rule *rule = rule_of(broker, request);
    if (!broker->engine || rule->history_size == 0) {
        request->result = BROKER_NOT_KEPT;
        return;
    }
    struct history_filter filter = {.since_set = request->since_set,
                                    .since = request->since,
                                    .limit = request->limit,
                                    .reverse = request->reverse,
                                    .demand = (enum history_demand)request->demand,
                                    .bytes = request->room};
    read_history(broker, request, rule, &filter);
    if (request->at_once)
        charge(request, &broker->joining, request->item_count * sizeof *request->items);
    else
        charge(request, &broker->answering, request->item_bytes);
}

static void removed(void *context, enum engine_result result)
{
    struct broker_request *request = context;
    if (result != ENGINE_OK)
        request->result = BROKER_NO_MEMORY;
}

static void serve_history_remove(struct broker *broker, struct broker_request *request)
{
    if (!broker->engine || rule_of(broker, request)->history_size == 0)
        request->result = BROKER_NOT_KEPT;
    else
        broker->engine->ops->remove(broker->engine, engine_topic_of(request), clock_monotonic_ms(), removed,
                                    request);
}

/* Presence
 * -----------------------------------------------------------------------------------------------------------
 */

static bool presence_visited(void *context, const struct presence_entry *entry)
{
    struct json_out *out = context;
    char id[UUID_TEXT_BYTES];
    uuid_format(entry->client, id);
    struct centrifuge_info info = {
        .user = {entry->user, entry->user_bytes},
        .client = {id, sizeof id - 1},
        .conn_info = text_slice((struct text){entry->conn_info, entry->conn_info_bytes}),
        .chan_info = text_slice((struct text){entry->chan_info, entry->chan_info_bytes}),
    };
    json_out_name_text(out, info.client);
    centrifuge_encode_info(out, &info);
    return !out->failed;
}

static void presence_visited_all(void *context, enum engine_result result, uint32_t entries)
{
    (void)context;
    (void)result;
    (void)entries;
}

static void take_json(struct broker_request *request, struct json_out *out)
{
    if (out->failed) {
        request->result = out->max > 0 ? BROKER_TOO_LARGE : BROKER_NO_MEMORY;
        json_out_fini(out);
        return;
    }
    request->json = out->data;
    request->json_bytes = out->len;
}

static void size_taken(void *context, enum engine_result result, struct presence_stats stats)
{
    if (result == ENGINE_OK)
        *(struct presence_stats *)context = stats;
}

/* The least that a topic's presence is as JSON: its texts as they are, names and ids around each. 0 when that
 * cannot be told. */
static uint64_t presence_least(struct broker *broker, struct engine_topic topic)
{
    static const struct presence_entry nobody = {.user = ""};
    struct presence_stats stats = {0};
    struct json_out one = json_out_count();
    broker->engine->ops->presence_stats(broker->engine, topic, size_taken, &stats);
    (void)presence_visited(&one, &nobody);
    return stats.clients * ((uint64_t)one.len + 1) + stats.text_bytes; /* each has a comma or a brace */
}

static void serve_presence(struct broker *broker, struct broker_request *request)
{
    if (!broker->engine || !rule_of(broker, request)->presence) {
        request->result = BROKER_NOT_KEPT;
        return;
    }
    struct engine_topic topic = engine_topic_of(request);
    if (request->limit > 0 && presence_least(broker, topic) > request->limit) {
        request->result = BROKER_TOO_LARGE; /* what nobody could take is not begun */
        return;
    }
    struct json_out out = {.max = request->limit};
    json_out_object(&out);
    broker->engine->ops->presence_get(broker->engine, topic, presence_visited, presence_visited_all, &out);
    json_out_object_end(&out);
    size_t written = out.len; /* also when it came to nothing */
    take_json(request, &out);
    charge(request, &broker->answering, written);
}

static void stats_taken(void *context, enum engine_result result, struct presence_stats stats)
{
    struct broker_request *request = context;
    if (result != ENGINE_OK)
        request->result = BROKER_NO_MEMORY;
    request->clients = stats.clients;
    request->users = stats.users;
}

static void serve_presence_stats(struct broker *broker, struct broker_request *request)
{
    if (!broker->engine || !rule_of(broker, request)->presence)
        request->result = BROKER_NOT_KEPT;
    else
        broker->engine->ops->presence_stats(broker->engine, engine_topic_of(request), stats_taken, request);
}

static void presence_added(void *context, enum engine_result result, enum presence_change change)
{
    (void)change; /* one beyond presence.clients is subscribed, but not seen */
    if (result != ENGINE_OK)
        ((struct broker_request *)context)->result = BROKER_NO_MEMORY;
}

static void presence_removed(void *context, enum engine_result result, bool was_there)
{
    (void)context;
    (void)result;
    (void)was_there;
}

/* Coming and going
 * --------------------------------------------------------------------------------------------------- */

static void serve_subscribe(struct broker *broker, struct broker_request *request)
{
    const struct topic_rule *rule = rule_of(broker, request);
    /* The reactor has counted this one already when it told its interest. */
    if (rule->max_subscribers != 0 &&
        broker_subscribers(broker, request->topic.data, request->topic.bytes) > rule->max_subscribers) {
        request->result = BROKER_FULL;
        return;
    }
    if (broker->engine && rule->history_size > 0) {
        struct history_filter filter = {.since_set = request->since_set,
                                        .since = request->since,
                                        .limit = request->since_set ? UINT32_MAX : 0,
                                        .demand = (enum history_demand)request->demand,
                                        .bytes = request->room};
        read_history(broker, request, rule, &filter);
        charge(request, &broker->joining, request->item_count * sizeof *request->items);
        if (request->result != BROKER_OK)
            return;
    }
    if (broker->engine && request->flags & SUBSCRIPTION_PRESENT) {
        struct presence_entry entry = {
            .owner = PRESENCE_OWNER,
            .user = request->user.data,
            .user_bytes = request->user.bytes,
            .conn_info = request->conn_info.data,
            .conn_info_bytes = request->conn_info.bytes,
            .chan_info = request->chan_info.data,
            .chan_info_bytes = request->chan_info.bytes,
        };
        memcpy(entry.client, request->client, sizeof entry.client);
        uint64_t most = broker->settings ? broker->settings->presence.clients : 0;
        broker->engine->ops->presence_add(broker->engine, engine_topic_of(request), &entry, (uint32_t)most,
                                          presence_added, request);
    }
}

static void serve_leave(struct broker *broker, struct broker_request *request)
{
    if (broker->engine && request->flags & SUBSCRIPTION_PRESENT)
        broker->engine->ops->presence_remove(broker->engine, engine_topic_of(request), request->client,
                                             presence_removed, request);
    if (request->flags & SUBSCRIPTION_ANNOUNCED)
        announce(broker, request, PUBLICATION_LEAVE);
}

static void serve_order(struct broker *broker, struct broker_request *request)
{
    for (uint16_t i = 0; i < broker->reactors; i++) {
        struct order_copy *copy = malloc(sizeof *copy);
        if (!copy) {
            request->result = BROKER_NO_MEMORY;
            return;
        }
        *copy = (struct order_copy){.mail.kind = MAIL_ORDER, .order = request->order};
        atomic_fetch_add_explicit(&request->order->refs, 1, memory_order_relaxed);
        broker_hold(broker, i, &copy->mail.node);
    }
}

/* The whole
 * ----------------------------------------------------------------------------------------------------------
 */

struct channel_list {
    struct json_out out;
    struct text pattern;
};

static void channel_visited(void *context, const struct registry_entry *entry)
{
    struct channel_list *list = context;
    struct text pattern = list->pattern;
    if (pattern.bytes > 0 && !glob_match(pattern.data, pattern.bytes, entry->topic, entry->topic_bytes))
        return;
    json_out_name_text(&list->out, (struct json_slice){entry->topic, entry->topic_bytes});
    json_out_object(&list->out);
    json_out_name(&list->out, "num_clients");
    json_out_uint(&list->out, registry_subscribers(entry));
    json_out_object_end(&list->out);
}

/* A million topics at once would keep publishers waiting for a second. */
static void serve_channels(struct broker *broker, struct broker_request *request)
{
    struct channel_list list = {.pattern = request->topic};
    request->position.offset = registry_scan(&broker->registry, (uint32_t)request->since.offset,
                                             CHANNELS_SLICE, channel_visited, &list);
    take_json(request, &list.out);
}

static void topic_weighed(void *context, const struct registry_entry *entry)
{
    struct top *top = context;
    uint64_t subscribers = registry_subscribers(entry);
    if (top_admits(top, entry->topic, entry->topic_bytes, subscribers))
        top_offer(top, entry->topic, entry->topic_bytes, subscribers, 0, 0);
}

static void serve_top(struct broker *broker, struct broker_request *request)
{
    request->top = calloc(1, sizeof *request->top);
    if (!request->top) {
        request->result = BROKER_NO_MEMORY;
        return;
    }
    request->position.offset = registry_scan(&broker->registry, (uint32_t)request->since.offset, TOP_SLICE,
                                             topic_weighed, &request->top->subscribers);
    request->top->traffic_ns = traffic_top(broker->traffic, clock_monotonic_ns(), &request->top->traffic);
}

static void serve_info(struct broker *broker, struct broker_request *request)
{
    request->users = broker_topic_count(broker);
}

void broker_serve(struct broker *broker, struct broker_request *request)
{
    request->result = BROKER_OK;
    switch ((enum broker_op)request->op) {
    case BROKER_PUBLISH:
        serve_publish(broker, request);
        return;
    case BROKER_HISTORY:
        serve_history(broker, request);
        return;
    case BROKER_HISTORY_REMOVE:
        serve_history_remove(broker, request);
        return;
    case BROKER_PRESENCE:
        serve_presence(broker, request);
        return;
    case BROKER_PRESENCE_STATS:
        serve_presence_stats(broker, request);
        return;
    case BROKER_CHANNELS:
        serve_channels(broker, request);
        return;
    case BROKER_INFO:
        serve_info(broker, request);
        return;
    case BROKER_TOP:
        serve_top(broker, request);
        return;
    case BROKER_ORDER:
        serve_order(broker, request);
        return;
    case BROKER_SUBSCRIBE:
    case BROKER_LEAVE:
        break;
    }
    PG_ASSERT(!"only mail subscribes and leaves");
}

static void top_taken(void *context, enum engine_result result, const struct history_page *page)
{
    if (result == ENGINE_OK)
        *(struct stream_position *)context = page->top;
}

/* Has anything been published since the position that the request brings? */
static bool misses_any(struct broker *broker, const struct broker_request *request)
{
    const struct topic_rule *rule = rule_of(broker, request);
    if (!broker->engine || rule->history_size == 0)
        return false;
    struct history_options options = broker_history_options(rule);
    struct history_filter filter = {.limit = 0};
    struct stream_position top = {.offset = UINT64_MAX};
    broker->engine->ops->read(broker->engine, engine_topic_of(request), &options, &filter,
                              clock_monotonic_ms(), top_taken, &top);
    return request->since.offset != top.offset;
}

/* Who comes back with a position waits for others who have done so to be given what they have missed. */
static bool too_much_missed(struct broker *broker, const struct broker_request *request)
{
    return request->since_set && atomic_load_explicit(&broker->joining, memory_order_relaxed) > JOINING_MAX &&
           misses_any(broker, request);
}

/* One message to every subscriber, and another one when it leaves. */
static bool too_much_to_announce(const struct broker *broker, const struct broker_request *request)
{
    return request->flags & SUBSCRIPTION_ANNOUNCED && broker_crowded(broker);
}

/* What clients ask for faster than reactors can deliver it must not pile up: they are told to try again, and
 * long before backends have to wait. */
static bool is_too_much(struct broker *broker, const struct broker_request *request)
{
    switch ((enum broker_op)request->op) {
    case BROKER_PUBLISH:
        return !request->patient && (request->backend ? broker_congested(broker) : broker_crowded(broker));
    case BROKER_SUBSCRIBE: /* who has been told that it has the topic cannot be told to come again */
        return !request->promised &&
               (too_much_to_announce(broker, request) || too_much_missed(broker, request));
    case BROKER_HISTORY: /* the promise is not made */
        return request->at_once &&
               (too_much_to_announce(broker, request) || too_much_missed(broker, request));
    default:
        return false;
    }
}

void broker_serve_mailed(struct broker *broker, struct broker_request *request)
{
    bool busy = is_too_much(broker, request);
    if (request->op == BROKER_LEAVE)
        serve_leave(broker, request);
    else if (request->op == BROKER_SUBSCRIBE) {
        request->result = busy ? BROKER_BUSY : BROKER_OK;
        if (!busy)
            serve_subscribe(broker, request);
        /* The answer goes first: whoever joins there hears of its own joining, as of all others'. */
        broker_hold(broker, request->reactor, &request->mail.node);
        if (request->result == BROKER_OK && request->flags & SUBSCRIPTION_ANNOUNCED)
            announce(broker, request, PUBLICATION_JOIN);
    } else if (busy)
        request->result = BROKER_BUSY;
    else
        broker_serve(broker, request);
}

uint64_t broker_maintain(struct broker *broker, uint64_t now_ms)
{
    return broker->engine ? broker->engine->ops->maintain(broker->engine, now_ms) : UINT64_MAX;
}

struct engine_stats broker_engine_stats(const struct broker *broker)
{
    return broker->engine ? broker->engine->ops->stats(broker->engine) : (struct engine_stats){0};
}
