/* What adapters may do with their connection, and what reaches them from other threads. */
#include "gateway/base/assert.h"
#include "gateway/base/clock.h"
#include "gateway/conn/pool.h"
#include "gateway/proxy/proxy.h"

#include <stdlib.h>
#include <string.h>

enum {
    SMALL_FRAME_BYTES = 2048,
    MISSED_MAX =
        4 * 1024 * 1024, /* bytes that who comes with ?since= is sent at once, of what it has missed */
    NS_PER_BYTE = 16,    /* a turn's input, 256 KiB, for some milliseconds */
};

/* The adapter's view of a connection while one of its callbacks runs. */
struct link {
    struct adapter_link base; /* first */
    struct pool *pool;
    struct conn *conn;
};

static const struct adapter_link_ops link_ops;

static struct link link_to(struct pool *pool, struct conn *conn)
{
    return (struct link){
        .base =
            {
                .ops = &link_ops,
                .settings = pool->settings,
                .auth = pool->auth,
                .proxy = pool->proxy,
                .session = pool_session(pool, conn),
                .token = conn_event_data(pool, conn),
                .now_s = clock_realtime_ms() / 1000,
                .tls = conn->tls != SLAB_NONE,
                .gone = conn->state != CONN_OPEN,
            },
        .pool = pool,
        .conn = conn,
    };
}

static const struct adapter *adapter_of(const struct conn *conn)
{
    return adapter_get((enum adapter_id)conn->adapter);
}

/* After anything that may have ended the connection. */
static void look(struct link *link)
{
    link->base.gone = link->conn->state != CONN_OPEN;
}

/* Output
 * -------------------------------------------------------------------------------------------------------------
 */

static void link_send(struct adapter_link *base, bool text, const void *payload, size_t payload_bytes)
{
    struct link *link = (struct link *)base;
    if (base->gone)
        return;
    uint8_t header[WS_SERVER_HEADER_MAX];
    size_t header_bytes = ws_frame_header(header, text ? WS_TEXT : WS_BINARY, true, payload_bytes);
    /* Small frames leave in one piece; of a large one the payload is not worth another copy's memory when the
     * socket takes it. */
    uint8_t small[SMALL_FRAME_BYTES];
    if (header_bytes + payload_bytes <= sizeof small) {
        memcpy(small, header, header_bytes);
        if (payload_bytes)
            memcpy(small + header_bytes, payload, payload_bytes);
        conn_answer(link->pool, link->conn, small, header_bytes + payload_bytes);
        look(link);
        return;
    }
    uint8_t *frame = malloc(header_bytes + payload_bytes);
    if (!frame) {
        pool_destroy(link->pool, link->conn, CLOSE_INTERNAL);
        look(link);
        return;
    }
    memcpy(frame, header, header_bytes);
    memcpy(frame + header_bytes, payload, payload_bytes);
    conn_answer(link->pool, link->conn, frame, header_bytes + payload_bytes);
    free(frame);
    look(link);
}

static void link_close(struct adapter_link *base, uint16_t code, const char *text)
{
    struct link *link = (struct link *)base;
    conn_close(link->pool, link->conn, CLOSE_APPLICATION, code, text);
    look(link);
}

/* Topics
 * -------------------------------------------------------------------------------------------------------------
 */

static void out_of_memory(struct link *link)
{
    if (link->conn->state != CONN_FREE)
        pool_destroy(link->pool, link->conn, CLOSE_INTERNAL);
    look(link);
}

static void push_request(struct link *link, struct broker_request *request)
{
    request->reactor = link->pool->reactor;
    request->token = link->base.token;
    mailbox_push(link->pool->broker_mail, &request->mail.node);
}

static void link_request(struct adapter_link *base, struct broker_request *request)
{
    if (base->gone)
        broker_request_destroy(request);
    else
        push_request((struct link *)base, request);
}

static enum link_join try_join(struct link *link, struct broker_request *request)
{
    struct pool *pool = link->pool;
    struct conn *conn = link->conn;
    const char *name = request->topic.data;
    size_t bytes = request->topic.bytes;
    uint64_t limit = pool->settings->limits.topics_per_connection;
    uint32_t hash = topic_hash(name, bytes);
    uint32_t topic = topics_find(&pool->topics, name, bytes, hash);
    if (topic != TOPIC_NONE && conn_subscription(conn, topic))
        return LINK_ALREADY;
    if (conn->topic_count == UINT8_MAX || (limit != 0 && conn->topic_count >= limit))
        return LINK_TOO_MANY;
    if (conn->joins == UINT8_MAX)
        return LINK_BUSY;
    topic = topics_intern(&pool->topics, name, bytes, hash);
    if (topic == TOPIC_NONE && topics_full(&pool->topics)) {
        counter_add(&pool->stats->topics_refused, 1);
        return LINK_FULL;
    }
    if (topic == TOPIC_NONE)
        return LINK_FAILED;
    struct subscription own = {.topic = topic & SUBSCRIPTION_TOPIC_MASK,
                               .flags = request->flags | SUBSCRIPTION_JOINING,
                               .position = pool->next_join++};
    if (!conn_add_subscription(conn, own)) {
        topics_collect(&pool->topics, topic);
        return LINK_FAILED;
    }
    topics_expect(&pool->topics, topic, (enum adapter_id)conn->adapter);
    conn->joins++;
    pool_tell_broker(pool); /* whatever is published behind the answer finds its way here */
    request->join = own.position;
    push_request(link, request);
    return LINK_JOINING;
}

static enum link_join link_join(struct adapter_link *base, struct broker_request *request)
{
    struct link *link = (struct link *)base;
    enum link_join result = base->gone ? LINK_FAILED : try_join(link, request);
    if (result == LINK_JOINING)
        return result;
    broker_request_destroy(request);
    if (result == LINK_FAILED && !base->gone)
        out_of_memory(link);
    return result;
}

/* The connection's subscription of a topic by name, or NULL. */
static struct subscription *find(struct link *link, const char *name, size_t bytes)
{
    struct topics *topics = &link->pool->topics;
    if (bytes == 0 || bytes > TOPIC_BYTES_MAX)
        return NULL;
    uint32_t topic = topics_find(topics, name, bytes, topic_hash(name, bytes));
    return topic == TOPIC_NONE ? NULL : conn_subscription(link->conn, topic);
}

static bool link_leave(struct adapter_link *base, const char *name, size_t bytes)
{
    struct link *link = (struct link *)base;
    struct subscription *own = base->gone ? NULL : find(link, name, bytes);
    if (own)
        pool_leave_topic(link->pool, link->conn, own->topic);
    return own != NULL;
}

static int link_subscribed(struct adapter_link *base, const char *name, size_t bytes)
{
    const struct subscription *own = base->gone ? NULL : find((struct link *)base, name, bytes);
    return own ? (int)own->flags : -1;
}

static void link_each(struct adapter_link *base,
                      void (*visit)(struct adapter_link *link, void *context, const char *topic,
                                    size_t topic_bytes, uint8_t flags),
                      void *context)
{
    struct link *link = (struct link *)base;
    struct conn *conn = link->conn;
    /* From the end: leaving one moves the last into its place. */
    for (uint32_t i = conn->topic_count; i-- > 0 && !base->gone;) {
        if (i >= conn->topic_count)
            continue;
        struct subscription own = conn->topic_count > 1 ? conn->many[i] : conn->one;
        const struct topic *topic = topics_at(&link->pool->topics, own.topic);
        visit(base, context, topic->name, topic->name_bytes, (uint8_t)own.flags);
    }
}

/* The rest
 * -----------------------------------------------------------------------------------------------------------
 */

static void link_proxy(struct adapter_link *base, struct proxy_request *request)
{
    struct link *link = (struct link *)base;
    if (base->gone) {
        proxy_request_destroy(request);
        return;
    }
    request->mail_kind = MAIL_PROXY;
    request->token = base->token;
    request->reply_to = link->pool->own_mail;
    proxy_submit(link->pool->proxy, request);
}

static void link_charge(struct adapter_link *base, uint64_t ns)
{
    uint64_t bytes = ns / NS_PER_BYTE, *left = &((struct link *)base)->pool->input_left;
    *left -= bytes < *left ? bytes : *left;
}

static void link_deadline(struct adapter_link *base, uint64_t ms)
{
    struct link *link = (struct link *)base;
    if (base->gone || !base->session)
        return;
    uint64_t ticks = (ms + WHEEL_TICK_MS - 1) / WHEEL_TICK_MS;
    uint64_t most = INT32_MAX / 2; /* further away than the wheel's arithmetic reaches: asked again then */
    uint32_t due = link->pool->now + (uint32_t)(ticks < most ? ticks : most);
    base->session->deadline = ms == 0 ? 0 : due != 0 ? due : 1;
    pool_arm(link->pool, link->conn);
}

static struct conn_id link_id(const struct adapter_link *base)
{
    const struct link *link = (const struct link *)base;
    return pool_conn_id(link->pool, link->conn);
}

static const struct adapter_link_ops link_ops = {
    .send = link_send,
    .close = link_close,
    .request = link_request,
    .join = link_join,
    .leave = link_leave,
    .subscribed = link_subscribed,
    .each = link_each,
    .proxy = link_proxy,
    .charge = link_charge,
    .deadline = link_deadline,
    .id = link_id,
};

/* What reaches an adapter
 * -------------------------------------------------------------------------------------------- */

void conn_deliver(struct pool *pool, struct conn *conn, bool text, uint8_t *payload, size_t bytes)
{
    struct link link = link_to(pool, conn);
    adapter_of(conn)->message(&link.base, text, payload, bytes);
}

/* Topics of the URL that need the broker's word. False: there is no room for one of them. */
static bool join_by_answer(struct link *link, const struct transfer_item *item)
{
    const struct transfer_record *record = &item->record;
    const uint8_t *at = item->topics, *end = item->topics + record->topics_bytes;
    for (; at < end && at + 1 + at[0] <= end && !link->base.gone; at += 1 + at[0]) {
        struct broker_ask ask = {.op = BROKER_SUBSCRIBE, .topic = {(const char *)at + 1, at[0]}};
        struct broker_request *request = broker_request_create(&ask);
        if (!request) {
            out_of_memory(link);
            return true;
        }
        request->since_set = record->since_set;
        request->flags = record->since_set ? SUBSCRIPTION_POSITIONED : 0;
        request->demand = HISTORY_CONTINUOUS;
        request->room = MISSED_MAX;
        request->since =
            (struct stream_position){.offset = record->since_offset, .epoch = record->since_epoch};
        if (link_join(&link->base, request) == LINK_FULL)
            return false;
    }
    return true;
}

void conn_opened(struct pool *pool, struct conn *conn, const struct transfer_item *item)
{
    /* First the broker, then the client, as with topics that it need not be asked about. */
    if (item->record.ask_broker) {
        struct link link = link_to(pool, conn);
        if (!join_by_answer(&link, item))
            conn_refuse_begin(pool, conn);
    }
    if (conn->state == CONN_OPEN)
        conn_greet(pool, conn, &item->record);
    else if (conn->state == CONN_CLOSING)
        conn_refuse(pool, conn);
    if (conn->state != CONN_OPEN || !adapter_of(conn)->opened)
        return;
    struct link link = link_to(pool, conn);
    adapter_of(conn)->opened(&link.base, (const char *)item->identity, item->record.identity_bytes);
}

/* The subscription that waits for this answer, or NULL. */
static struct subscription *joining(struct conn *conn, uint32_t topic, const struct broker_request *answer)
{
    struct subscription *own = conn && conn->state == CONN_OPEN ? conn_subscription(conn, topic) : NULL;
    return own && own->flags & SUBSCRIPTION_JOINING && own->position == answer->join ? own : NULL;
}

/* The broker has counted somebody in who has left before knowing: it is told now, unless the connection is
 * coming again meanwhile. Takes the answer. */
static void joined_late(struct pool *pool, struct conn *conn, uint32_t topic, struct broker_request *answer)
{
    struct subscription *own = conn && conn->state == CONN_OPEN ? conn_subscription(conn, topic) : NULL;
    if (own && own->flags & SUBSCRIPTION_JOINING)
        own->flags |= SUBSCRIPTION_AGAIN;
    if (own || !(answer->flags & (SUBSCRIPTION_PRESENT | SUBSCRIPTION_ANNOUNCED))) {
        broker_request_destroy(answer);
        return;
    }
    answer->op = BROKER_LEAVE;
    mailbox_push(pool->broker_mail, &answer->mail.node);
}

void conn_joined(struct pool *pool, uint32_t topic, struct broker_request *answer)
{
    struct conn *conn = pool_event_conn(pool, answer->token);
    if (conn)
        conn->joins--;
    struct subscription *own = joining(conn, topic, answer);
    bool counted = answer->result == BROKER_OK, stands = false;
    if (!own)
        goto out;
    counted = counted || own->flags & SUBSCRIPTION_AGAIN;
    own->flags &= (uint8_t)~SUBSCRIPTION_AGAIN;
    if (answer->result != BROKER_OK)
        pool_leave_topic(pool, conn, topic);
    struct link link = link_to(pool, conn);
    adapter_of(conn)->answer(&link.base, answer);
    own = joining(conn, topic, answer);
    uint32_t position;
    if (own && topics_subscribe(&pool->topics, topic, pool_index(pool, conn), (enum adapter_id)conn->adapter,
                                &position)) {
        own->flags &= (uint8_t)~SUBSCRIPTION_JOINING;
        own->position = position;
        stands = true;
    } else if (own)
        pool_destroy(pool, conn, CLOSE_INTERNAL); /* without memory */
out:
    /* Not before it stands: the adapter may join other topics meanwhile, and what the broker is told then
     * must not leave this one out. */
    topics_expected(&pool->topics, topic);
    if (counted && !stands)
        joined_late(pool, conn, topic, answer);
    else
        broker_request_destroy(answer);
}

void conn_answered(struct pool *pool, struct broker_request *answer)
{
    struct conn *conn = pool_event_conn(pool, answer->token);
    if (conn && conn->state == CONN_OPEN && adapter_of(conn)->answer) {
        struct link link = link_to(pool, conn);
        adapter_of(conn)->answer(&link.base, answer);
    }
    broker_request_destroy(answer);
}

void conn_proxied(struct pool *pool, struct proxy_request *answer)
{
    struct conn *conn = pool_event_conn(pool, answer->token);
    if (conn && conn->state == CONN_OPEN && adapter_of(conn)->proxied) {
        struct link link = link_to(pool, conn);
        adapter_of(conn)->proxied(&link.base, answer);
    }
    proxy_request_destroy(answer);
}

bool conn_ordered(struct pool *pool, struct conn *conn, const struct order *order)
{
    if (!adapter_of(conn)->ordered)
        return false;
    struct link link = link_to(pool, conn);
    return adapter_of(conn)->ordered(&link.base, order);
}

void conn_expired(struct pool *pool, struct conn *conn)
{
    struct link link = link_to(pool, conn);
    adapter_of(conn)->expired(&link.base);
}

void conn_gap(struct pool *pool, struct conn *conn, const struct message *message)
{
    if (conn->state != CONN_OPEN || !adapter_of(conn)->gap)
        return;
    struct link link = link_to(pool, conn);
    adapter_of(conn)->gap(&link.base, message_topic(message), message->topic_bytes);
}
