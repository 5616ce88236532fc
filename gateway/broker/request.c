#include "gateway/broker/request.h"

#include "gateway/base/assert.h"
#include "gateway/base/log.h"

#include <stdlib.h>
#include <string.h>

enum {
    USER_SHOWN = 255,
    CLIENT_SHOWN = 36
}; /* bytes of them in the log; they may be longer, as backends will */

/* Copies one text behind the others. */
static struct text keep(char **at, struct text from)
{
    struct text kept = {.data = *at, .bytes = from.bytes};
    if (from.bytes > 0)
        memcpy(*at, from.data, from.bytes);
    *at += from.bytes;
    return kept;
}

struct broker_request *broker_request_create(const struct broker_ask *ask)
{
    const struct text *texts[] = {&ask->topic,     &ask->payload,   &ask->tags, &ask->user,
                                  &ask->conn_info, &ask->chan_info, &ask->rest};
    size_t bytes = sizeof(struct broker_request);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (__builtin_add_overflow(bytes, texts[i]->bytes, &bytes))
            return NULL;
    struct broker_request *request = malloc(bytes);
    if (!request)
        return NULL;
    char *at = (char *)(request + 1);
    *request = (struct broker_request){
        .mail.kind = MAIL_REQUEST,
        .op = (uint8_t)ask->op,
        .reactor = BROKER_NO_REACTOR,
        .topic = keep(&at, ask->topic),
        .payload = keep(&at, ask->payload),
        .tags = keep(&at, ask->tags),
        .user = keep(&at, ask->user),
        .conn_info = keep(&at, ask->conn_info),
        .chan_info = keep(&at, ask->chan_info),
        .rest = keep(&at, ask->rest),
        .queued = -1,
    };
    return request;
}

struct broker_request *broker_request_publish(struct mailbox *reply_to, uint64_t token, const char *topic,
                                              size_t topic_bytes, const void *payload, size_t payload_bytes)
{
    struct broker_ask ask = {
        .op = BROKER_PUBLISH, .topic = {topic, topic_bytes}, .payload = {payload, payload_bytes}};
    struct broker_request *request = broker_request_create(&ask);
    if (request) {
        request->reply_to = reply_to;
        request->token = token;
    }
    return request;
}

void broker_request_destroy(struct broker_request *request)
{
    if (!request)
        return;
    for (size_t i = 0; i < request->item_count; i++)
        history_item_unref(request->items[i]);
    free((void *)request->items);
    if (request->gauge)
        atomic_fetch_sub_explicit(request->gauge, request->gauged, memory_order_relaxed);
    free(request->json);
    free(request->top);
    order_unref(request->order);
    free(request);
}

struct order *order_create(const struct order *wanted)
{
    const struct text *texts[] = {&wanted->user,      &wanted->topic, &wanted->reason, &wanted->client,
                                  &wanted->whitelist, &wanted->info,  &wanted->data};
    size_t bytes = sizeof(struct order);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (__builtin_add_overflow(bytes, texts[i]->bytes, &bytes))
            return NULL;
    struct order *order = malloc(bytes);
    if (!order)
        return NULL;
    char *at = (char *)(order + 1);
    *order = *wanted;
    atomic_init(&order->refs, 1);
    order->user = keep(&at, wanted->user);
    order->topic = keep(&at, wanted->topic);
    order->reason = keep(&at, wanted->reason);
    order->client = keep(&at, wanted->client);
    order->whitelist = keep(&at, wanted->whitelist);
    order->info = keep(&at, wanted->info);
    order->data = keep(&at, wanted->data);
    return order;
}

void order_record(const struct order *order, struct log_limit *limit, const char *by, const char *from)
{
    int user = (int)(order->user.bytes < USER_SHOWN ? order->user.bytes : USER_SHOWN);
    int client = (int)(order->client.bytes < CLIENT_SHOWN ? order->client.bytes : CLIENT_SHOWN);
    if (order->kind != ORDER_DISCONNECT && !(order->kind == ORDER_REFRESH && order->expired))
        return;
    log_limited(limit, LOG_INFO, "disconnect_asked", "user=%.*s client=%.*s by=%s from=%s", user,
                user > 0 ? order->user.data : "", client, client > 0 ? order->client.data : "", by, from);
}

void order_unref(struct order *order)
{
    if (!order)
        return;
    uint32_t before = atomic_fetch_sub_explicit(&order->refs, 1, memory_order_acq_rel);
    PG_ASSERT(before > 0);
    if (before == 1)
        free(order);
}
