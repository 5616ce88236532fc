/* Which topics a connection has: in its slot, in the topics' arrays, and as far as the broker must know. */
#include "gateway/base/assert.h"
#include "gateway/conn/pool.h"

#include <stdlib.h>
#include <string.h>

enum { MANY_MIN = 4 }; /* beyond one, room is a power of two */

static struct subscription *subscriptions(struct conn *conn)
{
    return conn->topic_count > 1 ? conn->many : &conn->one;
}

struct subscription *conn_subscription(struct conn *conn, uint32_t topic)
{
    struct subscription *own = subscriptions(conn);
    for (uint32_t i = 0; i < conn->topic_count; i++)
        if (own[i].topic == topic)
            return &own[i];
    return NULL;
}

static bool is_power_of_two(uint32_t n)
{
    return (n & (n - 1)) == 0;
}

bool conn_add_subscription(struct conn *conn, struct subscription subscription)
{
    uint32_t count = conn->topic_count;
    PG_ASSERT(count < UINT8_MAX);
    if (count == 1) {
        struct subscription *many = malloc(MANY_MIN * sizeof *many);
        if (!many)
            return false;
        many[0] = conn->one;
        conn->many = many;
    } else if (count >= MANY_MIN && is_power_of_two(count)) {
        struct subscription *many = realloc(conn->many, 2 * (size_t)count * sizeof *many);
        if (!many)
            return false;
        conn->many = many;
    }
    conn->topic_count++;
    subscriptions(conn)[count] = subscription;
    return true;
}

static void remove_subscription(struct conn *conn, struct subscription *gone)
{
    struct subscription *own = subscriptions(conn);
    *gone = own[conn->topic_count - 1];
    if (conn->topic_count == 2) {
        struct subscription last = own[0];
        free(conn->many);
        conn->one = last;
    }
    conn->topic_count--;
}

static void subscription_moved(void *context, uint32_t conn_index, uint32_t topic, uint32_t position)
{
    struct subscription *own = conn_subscription(pool_conn(context, conn_index), topic);
    PG_ASSERT(own); /* a moved subscriber knows its topic */
    own->position = position;
}

/* Those who are told that somebody has gone hear it from the broker. */
static void tell_leave(struct pool *pool, struct conn *conn, const struct subscription *own)
{
    const struct session *session = pool_session(pool, conn);
    if (!session || !(own->flags & (SUBSCRIPTION_PRESENT | SUBSCRIPTION_ANNOUNCED)))
        return;
    const struct topic *topic = topics_at(&pool->topics, own->topic);
    struct broker_ask ask = {.op = BROKER_LEAVE, .topic = {topic->name, topic->name_bytes}};
    adapter_get((enum adapter_id)conn->adapter)->who(session, topic->name, topic->name_bytes, &ask);
    struct broker_request *request = broker_request_create(&ask);
    PG_ASSERT(request); /* without it somebody would be present for ever: better to stop */
    memcpy(request->client, session->client, sizeof request->client);
    request->flags = own->flags;
    mailbox_push(pool->broker_mail, &request->mail.node);
}

/* What the topic and the broker must know; the connection's own entry stays. */
static void leave(struct pool *pool, struct conn *conn, const struct subscription *own)
{
    bool joining = own->flags & SUBSCRIPTION_JOINING; /* the answer will find nobody, and tell */
    if (!joining || own->flags & SUBSCRIPTION_AGAIN)
        tell_leave(pool, conn, own);
    if (!joining)
        topics_unsubscribe(&pool->topics, own->topic, own->position, subscription_moved, pool);
}

void pool_leave_topic(struct pool *pool, struct conn *conn, uint32_t topic)
{
    struct subscription *own = conn_subscription(conn, topic);
    PG_ASSERT(own);
    struct subscription gone = *own;
    leave(pool, conn, &gone);
    remove_subscription(conn, own);
}

void pool_leave(struct pool *pool, struct conn *conn)
{
    struct subscription *own = subscriptions(conn);
    for (uint32_t i = 0; i < conn->topic_count; i++)
        leave(pool, conn, &own[i]);
    if (conn->topic_count > 1)
        free(conn->many);
    conn->topic_count = 0;
}

static bool join(struct pool *pool, struct conn *conn, const char *name, size_t bytes)
{
    uint32_t topic = topics_intern(&pool->topics, name, bytes, topic_hash(name, bytes));
    if (topic == TOPIC_NONE) {
        counter_add(&pool->stats->topics_refused, topics_full(&pool->topics) ? 1 : 0);
        return false;
    }
    struct subscription own = {.topic = topic & SUBSCRIPTION_TOPIC_MASK};
    if (topics_subscribe(&pool->topics, topic, pool_index(pool, conn), conn->adapter, &own.position)) {
        if (conn_add_subscription(conn, own))
            return true;
        topics_unsubscribe(&pool->topics, topic, own.position, subscription_moved, pool);
    }
    topics_collect(&pool->topics, topic);
    return false;
}

bool pool_join_topics(struct pool *pool, struct conn *conn, const struct transfer_item *item)
{
    if (item->record.ask_broker)
        return true; /* conn_opened() */
    const uint8_t *at = item->topics, *end = item->topics + item->record.topics_bytes;
    for (; at < end && at + 1 + at[0] <= end; at += 1 + at[0]) {
        if (!join(pool, conn, (const char *)at + 1, at[0])) {
            pool_leave(pool, conn);
            return false;
        }
    }
    return true;
}

void pool_tell_broker(struct pool *pool)
{
    for (uint32_t index; (index = topics_next_dirty(&pool->topics)) != TOPIC_NONE;) {
        struct topic *topic = topics_at(&pool->topics, index);
        uint32_t interested = topic_interest(topic);
        bool news = topic->reported != interested ||
                    (interested && topic->reported_mask != topic->adapter_subscribers_mask);
        if (news) {
            struct broker_interest *interest =
                broker_interest_create(pool->reactor, topic->name, topic->name_bytes, topic->hash, interested,
                                       topic->adapter_subscribers_mask);
            PG_ASSERT(interest); /* without it subscribers would miss messages silently: better to stop */
            topic->reported = interested;
            topic->reported_mask = topic->adapter_subscribers_mask;
            mailbox_push(pool->broker_mail, &interest->mail.node);
        }
        topics_collect(&pool->topics, index);
    }
    counter_set(&pool->stats->topics, pool->topics.used);
}
