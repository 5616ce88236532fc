/* Batches of messages to the subscribers of their topics. */
#include "gateway/conn/fanout.h"

#include "gateway/base/assert.h"
#include "gateway/base/clock.h"

#include <stdlib.h>
#include <string.h>

enum {
    BATCH_MESSAGES = 64,
    BATCH_BYTES = TLS_RECORD_PLAINTEXT_MAX,
    PREFETCH = 4,
    MISSED_BYTES = 4096, /* of missed publications: as much work as a connection served */
};

/* What a topic is sending now. */
struct batch {
    uint32_t count;
    uint8_t kind;                             /* enum publication_kind, of all of them */
    struct message *messages[BATCH_MESSAGES]; /* one reference each */
    struct {
        const uint8_t *data; /* NULL: not built yet */
        size_t bytes;
    } wire[ADAPTER_COUNT];        /* all frames in order, per adapter */
    uint8_t *flat[ADAPTER_COUNT]; /* memory of wire[] when there are several messages; BATCH_BYTES each, kept
                                     for reuse */
};

void fanout_init(struct fanout *fanout, struct pool *pool)
{
    *fanout = (struct fanout){.pool = pool};
    list_init(&fanout->run);
}

static struct batch *batch_acquire(struct fanout *fanout)
{
    return fanout->spare_count ? fanout->spare[--fanout->spare_count] : calloc(1, sizeof(struct batch));
}

static void batch_free(struct batch *batch)
{
    for (int i = 0; i < ADAPTER_COUNT; i++)
        free(batch->flat[i]);
    free(batch);
}

static void batch_release(struct fanout *fanout, struct batch *batch)
{
    for (uint32_t i = 0; i < batch->count; i++)
        message_passed(batch->messages[i]);
    batch->count = 0;
    memset(batch->wire, 0, sizeof batch->wire);
    if (fanout->spare_count < FANOUT_SPARE_MAX)
        fanout->spare[fanout->spare_count++] = batch;
    else
        batch_free(batch);
}

static struct mailbox_node *pending_pop(struct topic *topic)
{
    struct mailbox_node *node = topic->pending_head;
    if (node) {
        topic->pending_head = node->next;
        if (!topic->pending_head)
            topic->pending_tail = NULL;
    }
    return node;
}

/* The message of a delivery, or NULL when the node is an answer. */
static struct message *delivery_message(struct mailbox_node *node)
{
    return ((struct mail *)node)->kind == MAIL_DELIVERY ? ((struct delivery *)node)->message : NULL;
}

static void drop_pending(struct topic *topic)
{
    for (struct mailbox_node *node; (node = pending_pop(topic));) {
        struct message *message = delivery_message(node);
        if (message)
            message_passed(message);
        else
            broker_request_destroy((struct broker_request *)node);
    }
}

void fanout_fini(struct fanout *fanout)
{
    for (struct list *link; (link = list_pop(&fanout->run));) {
        struct topic *topic = LIST_ITEM(link, struct topic, run);
        topic->queued = false;
        if (topic->batch)
            batch_release(fanout, topic->batch);
        topic->batch = NULL;
        drop_pending(topic);
    }
    while (fanout->spare_count)
        batch_free(fanout->spare[--fanout->spare_count]);
}

void fanout_accept(struct fanout *fanout, struct mail *mail)
{
    struct topics *topics = &fanout->pool->topics;
    struct mailbox_node *node = &mail->node;
    struct message *message = delivery_message(node);
    uint32_t index;
    if (message) {
        index = topics_find(topics, message_topic(message), message->topic_bytes, message->topic_hash);
        if (index == TOPIC_NONE) {
            message_passed(message); /* its last subscriber left while it was on its way */
            return;
        }
    } else {
        const struct text *name = &((struct broker_request *)mail)->topic;
        index = topics_find(topics, name->data, name->bytes, topic_hash(name->data, name->bytes));
        PG_ASSERT(index != TOPIC_NONE); /* whoever waits for an answer keeps it */
    }
    struct topic *topic = topics_at(topics, index);
    node->next = NULL;
    if (topic->pending_tail)
        topic->pending_tail->next = node;
    else
        topic->pending_head = node;
    topic->pending_tail = node;
    if (!topic->queued) {
        topic->queued = true;
        list_append(&fanout->run, &topic->run);
    }
}

/* The largest encoding of a message: what it adds to a batch whichever adapters listen. */
static size_t message_wire_bytes(const struct message *message)
{
    size_t most = 0;
    for (int i = 0; i < ADAPTER_COUNT; i++)
        if (message->frames[i].bytes > most)
            most = message->frames[i].bytes;
    return most;
}

/* Connections whose answers have had their turn join; returns how much work that was: what they have missed
 * is written for each of them alone. */
static uint32_t join_answered(struct fanout *fanout, struct topic *topic, uint32_t most)
{
    uint32_t joined = 0;
    while (topic->pending_head && !delivery_message(topic->pending_head) && joined < most) {
        struct broker_request *answer = (struct broker_request *)pending_pop(topic);
        joined += 1 + (uint32_t)(answer->item_bytes / MISSED_BYTES);
        conn_joined(fanout->pool, topics_index(&fanout->pool->topics, topic), answer);
    }
    return joined;
}

/* Starts the topic's next batch. False when there is nothing, or no memory (then it stays pending and is
 * tried again). */
static bool batch_begin(struct fanout *fanout, struct topic *topic)
{
    if (!topic->pending_head)
        return false;
    struct batch *batch = batch_acquire(fanout);
    if (!batch)
        return false;
    size_t bytes = 0;
    while (topic->pending_head && batch->count < BATCH_MESSAGES) {
        struct message *message = delivery_message(topic->pending_head);
        if (!message || (batch->count > 0 && message->kind != batch->kind))
            break;
        size_t more = message_wire_bytes(message);
        if (batch->count > 0 && bytes + more > BATCH_BYTES)
            break;
        batch->kind = message->kind;
        (void)pending_pop(topic);
        batch->messages[batch->count++] = message;
        bytes += more;
    }
    topic->batch = batch;
    topic->cursor = topic->count;
    return true;
}

/* All frames of the batch for one adapter, in one piece; bytes 0 when none of them is for it. False without
 * memory. */
static bool batch_wire(struct batch *batch, enum adapter_id adapter)
{
    if (batch->count == 1) {
        const struct message *message = batch->messages[0];
        batch->wire[adapter].data = message_frame(message, adapter);
        batch->wire[adapter].bytes = message->frames[adapter].bytes;
        return true;
    }
    if (!batch->flat[adapter]) {
        batch->flat[adapter] = malloc(BATCH_BYTES);
        if (!batch->flat[adapter])
            return false;
    }
    size_t bytes = 0;
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct message *message = batch->messages[i];
        size_t more = message->frames[adapter].bytes;
        PG_ASSERT(bytes + more <= BATCH_BYTES);
        memcpy(batch->flat[adapter] + bytes, message_frame(message, adapter), more);
        bytes += more;
    }
    batch->wire[adapter].data = batch->flat[adapter];
    batch->wire[adapter].bytes = bytes;
    return true;
}

/* Queues what of the batch has not been taken: `taken` bytes are gone already. */
static void queue_rest(struct pool *pool, struct conn *conn, uint32_t topic, const struct batch *batch,
                       size_t taken)
{
    for (uint32_t i = 0; i < batch->count; i++) {
        struct message *message = batch->messages[i];
        size_t bytes = message->frames[conn->adapter].bytes;
        if (taken >= bytes) {
            taken -= bytes;
            continue;
        }
        /* Closed on the way, or told of a gap: it misses these as well. */
        const struct subscription *own = conn->state == CONN_OPEN ? conn_subscription(conn, topic) : NULL;
        if (!own) {
            counter_add(&pool->stats->drops, 1);
            continue;
        }
        conn_queue_message(pool, conn, message, taken, own->flags & SUBSCRIPTION_POSITIONED);
        taken = 0;
    }
}

static void serve(struct pool *pool, struct conn *conn, const struct topic *topic, struct batch *batch)
{
    PG_ASSERT(conn->state == CONN_OPEN);
    if (batch->kind != PUBLICATION_MESSAGE &&
        !(conn_subscription(conn, topics_index(&pool->topics, topic))->flags & SUBSCRIPTION_JOIN_LEAVE))
        return;
    if (!batch->wire[conn->adapter].data && !batch_wire(batch, conn->adapter)) {
        counter_add(&pool->stats->drops, batch->count);
        pool_destroy(pool, conn, CLOSE_INTERNAL); /* it would miss messages: say so by closing */
        return;
    }
    size_t bytes = batch->wire[conn->adapter].bytes;
    if (!bytes)
        return;
    counter_add(&pool->stats->deliveries, batch->count);
    counter_add(&pool->stats->delivered_bytes, bytes);
    size_t taken = 0;
    bool waiting = conn->extra && !outbox_empty(&conn->extra->outbox);
    if (!waiting && conn->topic_count > 1)
        conn_mark_dirty(pool, conn); /* other topics may have something for it in this turn */
    else if (!waiting)
        taken = conn_send_direct(pool, conn, batch->wire[conn->adapter].data, bytes);
    if (taken < bytes)
        queue_rest(pool, conn, topics_index(&pool->topics, topic), batch, taken);
}

/* Slots are fetched from memory two steps ahead of their keys, keys one step ahead of their use. */
static void prefetch(const struct pool *pool, const struct topic *topic, const uint32_t *subscribers)
{
    if (topic->cursor < 2 * PREFETCH)
        return;
    __builtin_prefetch(pool_conn(pool, subscribers[topic->cursor - 2 * PREFETCH]));
    const struct conn *next = pool_conn(pool, subscribers[topic->cursor - PREFETCH]);
    if (next->tls != SLAB_NONE)
        __builtin_prefetch(pool_tls(pool, next), 1);
}

static void batch_end(struct fanout *fanout, struct topic *topic)
{
    uint64_t published = topic->batch->messages[0]->published_ns;
    uint64_t now = clock_monotonic_ns();
    histogram_record(&fanout->pool->stats->delivery_latency, now > published ? (now - published) / 1000 : 0);
    batch_release(fanout, topic->batch);
    topic->batch = NULL;
}

uint32_t fanout_slice(struct fanout *fanout, uint32_t budget)
{
    struct pool *pool = fanout->pool;
    uint32_t served = 0;
    while (served < budget && !list_empty(&fanout->run)) {
        struct topic *topic = LIST_ITEM(list_pop(&fanout->run), struct topic, run);
        if (!topic->batch)
            served += join_answered(fanout, topic, budget - served);
        if (served < budget && !topic->batch && !batch_begin(fanout, topic)) {
            if (topic->pending_head) { /* no memory: wait for better times, let others go on */
                list_append(&fanout->run, &topic->run);
                return served;
            }
        }
        while (topic->batch && topic->cursor > 0 && served < budget) {
            const uint32_t *subscribers = topic_subscribers(topic);
            prefetch(pool, topic, subscribers);
            /* Serving may end connections and so shorten the array: the cursor is moved first, and by whoever
             * shortens it. */
            struct conn *conn = pool_conn(pool, subscribers[--topic->cursor]);
            serve(pool, conn, topic, topic->batch);
            /* Large messages are as much work as several small ones. (The slot stays until the turn's end.)
             */
            served += 1 + (uint32_t)(topic->batch->wire[conn->adapter].bytes / BATCH_BYTES);
        }
        if (topic->batch && topic->cursor == 0)
            batch_end(fanout, topic);
        if (topic->batch || topic->pending_head) {
            list_append(&fanout->run, &topic->run);
            continue;
        }
        topic->queued = false;
        served++; /* a topic costs something, too: many of them must not make a turn endless */
        topics_collect(&pool->topics, topics_index(&pool->topics, topic));
    }
    return served;
}
