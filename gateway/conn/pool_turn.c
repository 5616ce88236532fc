/* The connections' part of a turn: events, what is left to read, what waits for the end of the turn. */
#include "gateway/conn/pool.h"

#include <string.h>
#include <sys/epoll.h>

enum {
    READY_PER_TURN = 64,
    TURN_INPUT =
        256 * 1024, /* bytes read for events, and again for the ready list: some milliseconds at most */
};

void pool_turn_begin(struct pool *pool, uint32_t now)
{
    pool->now = now;
    pool->input_left = TURN_INPUT;
    pool_orders_turn(pool);
}

void pool_event(struct pool *pool, const struct epoll_event *event)
{
    struct conn *conn = pool_event_conn(pool, event->data.u64);
    if (!conn)
        return; /* closed earlier in this batch */
    if (event->events & EPOLLOUT)
        conn_flush(pool, conn);
    if (conn->state == CONN_FREE || !(event->events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
        return;
    /* Who is on the ready list is read in its turn there; that leaves the events' share to quiet clients. */
    if (pool->input_left == 0 || conn->ready)
        conn_read_later(pool, conn);
    else
        conn_readable(pool, conn, event->events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
}

void pool_read_ready(struct pool *pool)
{
    struct index_list *ready = &pool->ready;
    uint32_t count = ready->count < READY_PER_TURN ? ready->count : READY_PER_TURN;
    uint32_t done = 0;
    pool->input_left = TURN_INPUT;
    while (done < count && pool->input_left > 0) {
        struct conn *conn = pool_conn(pool, ready->items[done++]);
        if (conn->state == CONN_FREE || !conn->ready)
            continue;
        conn->ready = false;
        conn_readable(pool, conn, true);
    }
    if (!done)
        return;
    memmove(ready->items, ready->items + done, (ready->count - done) * sizeof *ready->items);
    ready->count -= done;
}

void pool_flush_dirty(struct pool *pool)
{
    struct index_list *dirty = &pool->dirty;
    for (uint32_t i = 0; i < dirty->count; i++) {
        struct conn *conn = pool_conn(pool, dirty->items[i]);
        if (conn->state == CONN_FREE || !conn->dirty)
            continue;
        conn->dirty = false;
        conn_flush(pool, conn);
    }
    dirty->count = 0;
}
