/* What waits in all outboxes together: limits.outbox_memory, and who leaves when there is too much. */
#include "gateway/base/log.h"
#include "gateway/conn/pool.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

enum {
    LEAVING_MAX = 64,     /* in one turn; so many are asked for, too */
    STUCK_MS = 1000,      /* without a byte taken: these leave first */
    LOOK_AGAIN_MS = 1000, /* others fill it, too */
};

void pool_count_outbox(struct pool *pool, struct conn_extra *extra)
{
    uint64_t own = outbox_own(&extra->outbox);
    pool->outbox_own += own - extra->own_counted;
    extra->own_counted = own;
    if (extra->write_armed && outbox_empty(&extra->outbox))
        list_remove(&extra->waiting); /* all of it was dropped: nothing would be gained by its close */
}

void pool_wait_anew(struct pool *pool, struct conn_extra *extra)
{
    extra->last_taken = pool->now;
    extra->unconfirmed = 0;
    if (extra->write_armed) {
        list_remove(&extra->waiting);
        list_append(&pool->waiting, &extra->waiting);
    }
}

uint32_t pool_unconfirmed(const struct conn *conn)
{
    int bytes = 0;
    return ioctl(conn->fd, SIOCOUTQ, &bytes) == 0 && bytes > 0 ? (uint32_t)bytes : 0;
}

/* The kernel tells when a third of its buffer is free: for a client that reads slowly that can be seconds
 * after it has taken something. */
static bool has_taken(struct pool *pool, struct conn_extra *extra)
{
    uint32_t unconfirmed = pool_unconfirmed(pool_conn(pool, extra->index));
    if (unconfirmed >= extra->unconfirmed)
        return false;
    pool_wait_anew(pool, extra);
    extra->unconfirmed = unconfirmed;
    return true;
}

/* One addition to what all reactors share, for whatever has changed. */
static void tell_own(struct pool *pool)
{
    if (pool->gauges && pool->outbox_own != pool->outbox_told)
        atomic_fetch_add_explicit(&pool->gauges->outboxes, (int64_t)(pool->outbox_own - pool->outbox_told),
                                  memory_order_relaxed);
    pool->outbox_told = pool->outbox_own;
}

/* The one that has taken nothing for the longest time must leave: with 1013, or, when it is leaving already,
 * at once. What it has begun frees nothing by a close: it stays first then, and goes before anybody else has
 * to. True when it was open. */
static bool leave_first(struct pool *pool)
{
    const struct conn_extra *extra = LIST_ITEM(pool->waiting.next, struct conn_extra, waiting);
    struct conn *conn = pool_conn(pool, extra->index);
    bool open = conn->state == CONN_OPEN;
    if (open)
        conn_close(pool, conn, CLOSE_SLOW, 0, NULL);
    else
        pool_destroy(pool, conn, CLOSE_SLOW);
    return open;
}

void pool_relieve(struct pool *pool)
{
    static struct log_limit limit;
    uint64_t most = pool->settings->limits.outbox_memory;
    unsigned asked = 0, left = 0, closed = 0;
    tell_own(pool);
    pool->crowded = false;
    while (most && pool->gauges && !list_empty(&pool->waiting)) {
        int64_t bytes = atomic_load_explicit(&pool->gauges->outboxes, memory_order_relaxed);
        if (bytes <= (int64_t)(most / 4 * 3))
            break;
        struct conn_extra *first = LIST_ITEM(pool->waiting.next, struct conn_extra, waiting);
        bool full = bytes > (int64_t)most;
        bool stuck = pool->now - first->last_taken >= STUCK_MS / WHEEL_TICK_MS;
        if (!full && !stuck)
            break; /* others, perhaps another reactor's, are more in the way than these */
        if (left == LEAVING_MAX || (!full && asked == LEAVING_MAX)) {
            pool->crowded = true;
            break;
        }
        if (stuck && asked < LEAVING_MAX) {
            asked++;
            if (has_taken(pool, first))
                continue;
        }
        left++;
        closed += leave_first(pool);
        tell_own(pool);
    }
    if (closed)
        log_limited(&limit, LOG_WARN, "outbox_memory_full", "reactor=%u closed=%u limit_bytes=%llu",
                    (unsigned)pool->reactor, closed, (unsigned long long)most);
}

int pool_relieve_wait_ms(const struct pool *pool)
{
    if (pool->crowded)
        return 0;
    return pool->settings->limits.outbox_memory && !list_empty(&pool->waiting) ? LOOK_AGAIN_MS : -1;
}
