/* What operators want to know of a reactor's connections, or have closed: in slices that other work hardly
 * notices. */
#include "gateway/base/assert.h"
#include "gateway/conn/conn_view.h"

#include <stdlib.h>
#include <string.h>

enum {
    SLOTS_PER_SLICE = 4096,       /* looked at when a filter must be held against each */
    SORTED_MAX = 1024,            /* a topic with no more subscribers is gone through by its own list */
    BYTES_PER_SLICE = 256 * 1024, /* of answers */
};

void pool_inspected(struct pool *pool, struct inspection *inspection)
{
    list_append(&pool->inspections, &inspection->waiting);
}

/* Who it is
 * ------------------------------------------------------------------------------------------------ */

static bool is_user(const struct pool *pool, const struct conn *conn, struct text user)
{
    const struct session *session = pool_session(pool, conn);
    if (!session || !session->connected)
        return false;
    struct broker_ask known = {0};
    adapter_get((enum adapter_id)conn->adapter)->who(session, "", 0, &known);
    return known.user.bytes == user.bytes &&
           (user.bytes == 0 || memcmp(known.user.data, user.data, user.bytes) == 0);
}

static bool is_client(const struct pool *pool, const struct conn *conn, const uint8_t client[16])
{
    const struct session *session = pool_session(pool, conn);
    return session && session->connected && memcmp(session->client, client, sizeof session->client) == 0;
}

/* Once the broker has answered; `topic` may be TOPIC_NONE. */
static bool has_topic(struct conn *conn, uint32_t topic)
{
    const struct subscription *own = topic != TOPIC_NONE ? conn_subscription(conn, topic) : NULL;
    return own && !(own->flags & SUBSCRIPTION_JOINING);
}

static bool passes(const struct pool *pool, struct conn *conn, const struct inspection *ask, uint32_t topic)
{
    const struct conn_filter *filter = &ask->filter;
    if (conn->state == CONN_FREE || (ask->kind == INSPECT_CLOSE && conn->state != CONN_OPEN))
        return false;
    return (!filter->id_set ||
            (filter->id.reactor == pool->reactor && filter->id.slot == pool_index(pool, conn) &&
             filter->id.generation == conn->generation)) &&
           (!filter->topic_set || has_topic(conn, topic)) &&
           (!filter->client_set || is_client(pool, conn, filter->client)) &&
           (!filter->user_set || is_user(pool, conn, filter->user));
}

/* What is done with it
 * ------------------------------------------------------------------------------------- */

static void close_one(struct pool *pool, struct conn *conn, const struct inspection *ask)
{
    char reason[WS_CONTROL_PAYLOAD_MAX + 1];
    PG_ASSERT(ask->reason.bytes < sizeof reason);
    if (ask->reason.bytes > 0)
        memcpy(reason, ask->reason.data, ask->reason.bytes);
    reason[ask->reason.bytes] = '\0';
    conn_close(pool, conn, CLOSE_OPERATOR, ask->code, ask->reason.bytes > 0 ? reason : NULL);
}

/* False: the slice is full, and this one is for the next. */
static bool take(struct pool *pool, struct conn *conn, struct inspection *ask)
{
    if (ask->found >= ask->count || ask->out.len >= BYTES_PER_SLICE)
        return false;
    ask->found++;
    if (ask->kind == INSPECT_CLOSE) {
        close_one(pool, conn, ask);
    } else {
        struct conn_view view = conn_view(pool, conn);
        conn_view_write(&view, &ask->out);
    }
    return true;
}

/* Which are looked at, always in the order of their slots
 * -------------------------------------------------- */

static int compare_slots(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

/* A small topic: its subscribers, which stand in no order, sorted. */
static void walk_subscribers(struct pool *pool, struct inspection *ask, uint32_t index)
{
    uint32_t slots[SORTED_MAX], count = 0;
    struct topic *topic = topics_at(&pool->topics, index);
    for (uint32_t i = 0; i < topic->count; i++)
        if (topic_subscribers(topic)[i] >= ask->from)
            slots[count++] = topic_subscribers(topic)[i];
    qsort(slots, count, sizeof *slots, compare_slots);
    for (uint32_t i = 0; i < count; i++) { /* closing one may end the topic: it is not looked at any more */
        struct conn *conn = pool_conn(pool, slots[i]);
        if (passes(pool, conn, ask, index) && !take(pool, conn, ask)) {
            ask->next = slots[i];
            return;
        }
    }
}

static void walk_slots(struct pool *pool, struct inspection *ask, uint32_t topic)
{
    uint32_t fresh = pool->conns.fresh, from = ask->from;
    uint32_t end = fresh > from && fresh - from > SLOTS_PER_SLICE ? from + SLOTS_PER_SLICE : fresh;
    for (uint32_t slot = from; slot < end; slot++) {
        struct conn *conn = pool_conn(pool, slot);
        if (passes(pool, conn, ask, topic) && !take(pool, conn, ask)) {
            ask->next = slot;
            return;
        }
    }
    ask->next = end < fresh ? end : 0;
}

static void walk(struct pool *pool, struct inspection *ask)
{
    const struct conn_filter *filter = &ask->filter;
    uint32_t topic = TOPIC_NONE;
    if (filter->topic_set)
        topic = topics_find(&pool->topics, filter->topic.data, filter->topic.bytes,
                            topic_hash(filter->topic.data, filter->topic.bytes));
    if (filter->id_set) {
        struct conn *conn = pool_event_conn(pool, (uint64_t)filter->id.generation << 32 | filter->id.slot);
        if (conn && passes(pool, conn, ask, topic))
            (void)take(pool, conn, ask);
        return;
    }
    if (filter->topic_set && topic == TOPIC_NONE)
        return;
    if (filter->topic_set && topics_at(&pool->topics, topic)->count <= SORTED_MAX)
        walk_subscribers(pool, ask, topic);
    else
        walk_slots(pool, ask, topic);
}

static void look_at(struct pool *pool, struct inspection *ask)
{
    const struct conn_id *id = &ask->filter.id;
    struct conn *conn = pool_event_conn(pool, (uint64_t)id->generation << 32 | id->slot);
    if (!conn)
        return;
    conn_view_write_all(pool, conn, &ask->out);
    ask->found = 1;
}

void pool_inspect(struct pool *pool)
{
    struct list *link = list_pop(&pool->inspections);
    if (!link)
        return;
    struct inspection *ask = LIST_ITEM(link, struct inspection, waiting);
    ask->found = ask->next = 0;
    if (ask->kind == INSPECT_ONE)
        look_at(pool, ask);
    else
        walk(pool, ask);
    mailbox_push(pool->broker_mail, &ask->mail.node);
}
