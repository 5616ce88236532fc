/* Slots of connections from transfer to close. */
#include "gateway/conn/pool.h"

#include "gateway/base/assert.h"
#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/base/net.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { GRAINS_PER_PERIOD = 16, GRAIN_MAX_MS = 1000, ADVANCE_BUDGET = 1024 };
enum {
    TOPICS_MAX = 1 << 24, /* subscription.topic has 24 bits */
    TOPICS_SPARE = 1024,  /* that nobody has any more, or not yet: the broker's answer is on its way */
};

static uint32_t grain_of(uint64_t ticks)
{
    uint64_t grain = ticks / GRAINS_PER_PERIOD;
    if (grain > GRAIN_MAX_MS / WHEEL_TICK_MS)
        grain = GRAIN_MAX_MS / WHEEL_TICK_MS;
    return grain ? (uint32_t)grain : 1;
}

static uint64_t ticks_of(uint64_t ms)
{
    uint64_t ticks = (ms + WHEEL_TICK_MS - 1) / WHEEL_TICK_MS;
    return ticks < INT32_MAX ? ticks : INT32_MAX;
}

/* Room for all that connections may name, so that none takes what another needs. Where the kernel does not
 * give so much address space less will do, as long as everybody can have a topic. */
static bool reserve_topics(struct pool *pool, uint32_t capacity)
{
    uint64_t each = pool->settings->limits.topics_per_connection;
    uint64_t most = capacity * (each ? each : UINT8_MAX) + TOPICS_SPARE;
    for (uint32_t max = most < TOPICS_MAX ? (uint32_t)most : TOPICS_MAX; max >= capacity; max /= 2)
        if (topics_init(&pool->topics, max))
            return true;
    return false;
}

bool pool_init(struct pool *pool, const struct pool_config *config)
{
    const struct settings *settings = config->settings;
    *pool = (struct pool){
        .settings = settings,
        .stats = config->stats,
        .port = config->port,
        .ip_limit = config->ip_limit,
        .auth = config->auth,
        .proxy = config->proxy,
        .reactor = config->reactor,
        .epoll_fd = -1,
        .freed_head = SLAB_NONE,
        .now = (uint32_t)(clock_monotonic_ms() / WHEEL_TICK_MS),
        .access = {.every = settings->log.access},
        .keep_addresses = settings->log.level >= LOG_DEBUG || settings->log.access > 0,
        .idle_ticks = ticks_of(settings->idle.timeout),
        .ping_ticks = ticks_of(settings->idle.ping_interval),
        .close_ticks = ticks_of(settings->limits.close_timeout ? settings->limits.close_timeout : 1),
    };
    list_init(&pool->inspections);
    list_init(&pool->waiting);
    pool->idle_grain = grain_of(pool->idle_ticks);
    pool->ping_grain = grain_of(pool->ping_ticks);
    if (!slab_init(&pool->conns, sizeof(struct conn), config->capacity) ||
        !slab_init(&pool->tls, sizeof(struct conn_tls), config->capacity) ||
        !slab_init(&pool->sessions, sizeof(struct session), config->capacity) ||
        !slab_init(&pool->addresses, sizeof(struct address), config->capacity) ||
        !reserve_topics(pool, config->capacity))
        return false;
    slab_hide(&pool->tls); /* it is nothing but keys */
    wheel_init(&pool->wheel, pool->conns.base + offsetof(struct conn, timer), sizeof(struct conn), pool->now);
    pool->crypto = tls_crypto_create();
    if (pool->crypto)
        tls_crypto_limit_records(pool->crypto, (uint32_t)settings->debug.records_per_key);
    pool->ws_reader = ws_reader_create(WS_ROLE_SERVER);
    pool->read_scratch = malloc(TLS_RECORD_HEADER_BYTES + TLS_RECORD_CIPHERTEXT_MAX + POOL_READ_BYTES);
    pool->seal_scratch =
        malloc((size_t)POOL_RECORDS_PER_SEND * (TLS_RECORD_PLAINTEXT_MAX + TLS_RECORD_OVERHEAD));
    return pool->crypto && pool->ws_reader && pool->read_scratch && pool->seal_scratch;
}

void pool_fini(struct pool *pool)
{
    pool_orders_fini(pool);
    for (struct list *link; (link = list_pop(&pool->inspections));)
        inspection_destroy(LIST_ITEM(link, struct inspection, waiting));
    for (uint32_t i = 0; pool->conns.base && i < pool->conns.fresh; i++)
        if (pool_conn(pool, i)->state != CONN_FREE)
            pool_destroy(pool, pool_conn(pool, i), CLOSE_DRAIN);
    pool_free_closed(pool);
    pool_relieve(pool); /* nothing waits any more */
    topics_fini(&pool->topics);
    if (pool->conns.base)
        slab_fini(&pool->conns);
    if (pool->tls.base)
        slab_fini(&pool->tls);
    if (pool->sessions.base)
        slab_fini(&pool->sessions);
    if (pool->addresses.base)
        slab_fini(&pool->addresses);
    if (pool->crypto)
        tls_crypto_destroy(pool->crypto);
    if (pool->ws_reader)
        ws_reader_destroy(pool->ws_reader);
    free(pool->read_scratch);
    free(pool->seal_scratch);
    free(pool->ready.items);
    free(pool->dirty.items);
}

struct conn *pool_event_conn(const struct pool *pool, uint64_t data)
{
    uint32_t index = (uint32_t)data;
    if (index >= pool->conns.fresh)
        return NULL;
    struct conn *conn = pool_conn(pool, index);
    return conn->state != CONN_FREE && conn->generation == data >> 32 ? conn : NULL;
}

bool index_list_push(struct index_list *list, uint32_t index)
{
    if (list->count == list->cap) {
        uint32_t cap = list->cap ? list->cap * 2 : 64;
        uint32_t *items = realloc(list->items, cap * sizeof *items);
        if (!items)
            return false;
        list->items = items;
        list->cap = cap;
    }
    list->items[list->count++] = index;
    return true;
}

struct conn_extra *conn_borrow(struct conn *conn)
{
    if (!conn->extra)
        conn->extra = calloc(1, sizeof *conn->extra);
    return conn->extra;
}

void conn_give_back(struct conn *conn)
{
    struct conn_extra *extra = conn->extra;
    if (!extra || !outbox_empty(&extra->outbox) || extra->record.len || extra->frame.len ||
        extra->message.len || extra->sequence.message_opcode || extra->fragment.have || extra->write_armed)
        return;
    outbox_fini(&extra->outbox);
    buffer_fini(&extra->record);
    buffer_fini(&extra->frame);
    buffer_fini(&extra->message);
    free(extra);
    conn->extra = NULL;
}

/* Deadlines
 * --------------------------------------------------------------------------------------------------------------
 */

static uint32_t round_up(uint32_t tick, uint32_t grain)
{
    uint32_t rest = tick % grain;
    return rest ? tick + grain - rest : tick;
}

void pool_arm(struct pool *pool, struct conn *conn)
{
    uint32_t due = 0;
    bool any = false;
    if (conn->state != CONN_OPEN) {
        due = pool->now + (uint32_t)pool->close_ticks;
        any = true;
    } else {
        if (pool->idle_ticks) {
            due = round_up(conn->last_heard + (uint32_t)pool->idle_ticks, pool->idle_grain);
            any = true;
        }
        if (pool->ping_ticks && (!any || (int32_t)(conn->next_ping - due) < 0)) {
            due = conn->next_ping;
            any = true;
        }
        const struct session *session = pool_session(pool, conn);
        if (session && session->deadline && (!any || (int32_t)(session->deadline - due) < 0)) {
            due = session->deadline;
            any = true;
        }
    }
    if (any)
        wheel_arm(&pool->wheel, pool_index(pool, conn), due);
}

/* False: the client has not answered the ping before, and is closed. */
static bool send_ping(struct pool *pool, struct conn *conn)
{
    uint8_t frame[2 + WS_CONTROL_PAYLOAD_MAX];
    const struct adapter *adapter = adapter_get((enum adapter_id)conn->adapter);
    const struct session *session = pool_session(pool, conn);
    conn->next_ping = round_up(pool->now + (uint32_t)pool->ping_ticks, pool->ping_grain);
    if (session && !session->connected)
        return true;
    if (adapter->ping && pool->now - conn->last_heard > pool->ping_ticks + pool->ping_grain) {
        conn_close(pool, conn, CLOSE_NO_PONG, 0, NULL);
        return false;
    }
    size_t bytes =
        adapter->ping ? adapter->ping(frame, sizeof frame) : ws_frame_control(frame, WS_PING, NULL, 0);
    counter_add(&pool->stats->pings, 1);
    /* Behind queued messages a WebSocket ping would say nothing new; of one of the adapter's the answer is
     * missed. */
    if (adapter->ping || !conn->extra || outbox_empty(&conn->extra->outbox))
        conn_send_own(pool, conn, frame, bytes);
    return conn->state == CONN_OPEN;
}

/* Output that waits: true when the client has taken none of it for idle.timeout, whatever it may say itself.
 */
static bool stalled(const struct pool *pool, const struct conn *conn)
{
    return pool->idle_ticks && pool->now - conn->extra->last_taken >= pool->idle_ticks;
}

static void deadline(void *context, uint32_t index)
{
    struct pool *pool = context;
    struct conn *conn = pool_conn(pool, index);
    PG_ASSERT(conn->state != CONN_FREE);
    if (conn->state != CONN_OPEN) {
        pool_destroy(pool, conn, conn->reason);
        return;
    }
    if (pool->idle_ticks && pool->now - conn->last_heard >= pool->idle_ticks) {
        conn_close(pool, conn, CLOSE_IDLE, 0, NULL);
        return;
    }
    if (conn->extra && !outbox_empty(&conn->extra->outbox)) {
        if (stalled(pool, conn)) {
            conn_close(pool, conn, CLOSE_SLOW, 0, NULL);
            return;
        }
        conn_flush(pool, conn); /* a kernel that was out of memory need not tell when it has some again */
        if (conn->state != CONN_OPEN)
            return;
    }
    struct session *session = pool_session(pool, conn);
    if (session && session->deadline && (int32_t)(pool->now - session->deadline) >= 0) {
        session->deadline = 0;
        conn_expired(pool, conn);
        if (conn->state != CONN_OPEN)
            return;
    }
    if (pool->ping_ticks && (int32_t)(pool->now - conn->next_ping) >= 0 && !send_ping(pool, conn))
        return;
    pool_arm(pool, conn);
}

void pool_advance(struct pool *pool)
{
    (void)wheel_advance(&pool->wheel, pool->now, ADVANCE_BUDGET, deadline,
                        pool); /* what is left fires next turn */
    counter_set(&pool->stats->wheel_entries, pool->wheel.armed);
}

/* Open and destroy
 * ------------------------------------------------------------------------------------------------------- */

/* A million connections that came at once must not all be pinged at once: the first ping falls somewhere in
 * the second half of an interval. */
static uint32_t first_ping(const struct pool *pool, uint32_t index)
{
    uint32_t half = (uint32_t)pool->ping_ticks / 2;
    uint32_t spread = half ? (uint32_t)((index * 2654435761u) % (half + 1)) : 0;
    return round_up(pool->now + half + spread, pool->ping_grain);
}

struct conn *pool_open(struct pool *pool, const struct transfer_item *item)
{
    const struct transfer_record *record = &item->record;
    uint32_t index = slab_alloc(&pool->conns);
    if (index == SLAB_NONE)
        goto no_slot;
    struct conn *conn = pool_conn(pool, index);
    *conn = (struct conn){.fd = item->fd,
                          .generation = pool->next_generation++,
                          .last_heard = pool->now,
                          .opened = pool->now,
                          .tls = SLAB_NONE,
                          .ip_handle = record->ip_handle,
                          .state = CONN_OPEN,
                          .adapter = record->adapter};
    conn->next_ping = first_ping(pool, index);
    if (record->transport == TRANSPORT_WSS) {
        conn->tls = slab_alloc(&pool->tls);
        if (conn->tls == SLAB_NONE)
            goto no_tls;
        *pool_tls(pool, conn) = (struct conn_tls){.write = record->write, .read = record->read};
        conn->suite_chacha = record->suite == TLS_SUITE_CHACHA20_POLY1305_SHA256;
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET,
                                .data.u64 = conn_event_data(pool, conn)};
    if (!net_watch(pool->epoll_fd, conn->fd, &event))
        goto no_epoll;
    if (!pool_join_topics(pool, conn, item)) {
        if (!topics_full(&pool->topics))
            goto no_epoll;
        conn_refuse_begin(pool, conn);
    }
    if (pool_session(pool, conn))
        *pool_session(pool, conn) = (struct session){0};
    conn_keep_address(pool, conn, &record->client);
    conn_log_open(pool, conn);
    pool_arm(pool, conn);
    counter_add(&pool->stats->connections[conn->adapter][conn_transport(conn)], 1);
    counter_add(&pool->stats->opened, 1);
    return conn;

no_epoll:
    if (conn->tls != SLAB_NONE) {
        tls_direction_wipe(&pool_tls(pool, conn)->write);
        tls_direction_wipe(&pool_tls(pool, conn)->read);
        slab_free(&pool->tls, conn->tls);
    }
no_tls:
    conn->state = CONN_FREE;
    slab_free(&pool->conns, index);
no_slot:
    close(item->fd);
    ip_limit_release(pool->ip_limit, record->ip_handle);
    atomic_fetch_sub_explicit(&pool->port->load, 1, memory_order_relaxed);
    counter_add(&pool->stats->closes[CLOSE_INTERNAL], 1);
    return NULL;
}

void pool_destroy(struct pool *pool, struct conn *conn, enum close_reason reason)
{
    PG_ASSERT(conn->state != CONN_FREE);
    if (conn->reason != CLOSE_NONE)
        reason = conn->reason; /* what began the close is why it ends */
    pool_leave(pool, conn);
    wheel_cancel(&pool->wheel, pool_index(pool, conn));
    if (pool_session(pool, conn))
        adapter_get((enum adapter_id)conn->adapter)->ended(pool_session(pool, conn));
    if (conn->extra) {
        struct conn_extra *extra = conn->extra;
        counter_sub(&pool->stats->outbox_bytes, extra->outbox.bytes);
        if (extra->write_armed) {
            list_remove(&extra->waiting);
            counter_sub(&pool->stats->outbox_connections, 1);
        }
        counter_add(&pool->stats->drops, outbox_drop_unsent(&extra->outbox));
        outbox_fini(&extra->outbox);
        pool_count_outbox(pool, extra);
        buffer_fini(&extra->record);
        buffer_fini(&extra->frame);
        buffer_fini(&extra->message);
        free(extra);
        conn->extra = NULL;
    }
    counter_sub(&pool->stats->connections[conn->adapter][conn_transport(conn)], 1);
    counter_add(&pool->stats->closes[reason], 1);
    if (conn->tls != SLAB_NONE) {
        tls_direction_wipe(&pool_tls(pool, conn)->write);
        tls_direction_wipe(&pool_tls(pool, conn)->read);
        slab_free(&pool->tls, conn->tls);
    }
    conn_log_close(pool, conn, reason);
    access_log_close(&pool->access, pool, conn, reason);
    close(conn->fd); /* also leaves epoll: no other descriptor refers to the file */
    ip_limit_release(pool->ip_limit, conn->ip_handle);
    conn->state = CONN_FREE;
    /* The slot waits until the batch of events is done, in a list through a field that the dead need no more.
     */
    conn->next_ping = pool->freed_head;
    pool->freed_head = pool_index(pool, conn);
}

void pool_free_closed(struct pool *pool)
{
    while (pool->freed_head != SLAB_NONE) {
        uint32_t index = pool->freed_head;
        pool->freed_head = pool_conn(pool, index)->next_ping;
        slab_free(&pool->conns, index);
        /* Only now: an acceptor that finds room may send at once, and this turn may receive it. */
        atomic_fetch_sub_explicit(&pool->port->load, 1, memory_order_relaxed);
    }
}
