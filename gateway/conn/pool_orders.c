/* What the server API orders concerns whoever there is, so every connection is looked at: in slices, one
 * order behind the other, each for those who were there when it came. */
#include "gateway/conn/pool.h"

#include <stdlib.h>

enum {
    TURN_LOOKS = 16384, /* slots of one turn: under two milliseconds */
    DONE_LOOKS = 64,    /* a connection that it concerns takes as long as so many that it does not */
};

void pool_order_finish(struct order_copy *copy)
{
    order_unref(copy->order);
    free(copy);
}

/* True when all have been looked at. */
static bool go_through(struct pool *pool, struct order_copy *copy)
{
    while (copy->next < copy->end) {
        if (pool->looks_left <= 0)
            return false;
        pool->looks_left--;
        struct conn *conn = pool_conn(pool, copy->next++);
        bool came_later = (int32_t)(conn->generation - copy->generation) >= 0;
        if (conn->state == CONN_OPEN && !came_later && conn_ordered(pool, conn, copy->order))
            pool->looks_left -= DONE_LOOKS;
    }
    return true;
}

static void end_first(struct pool *pool)
{
    struct order_copy *first = pool->orders;
    pool->orders = first->behind;
    pool_order_finish(first);
}

static void go_on(struct pool *pool)
{
    while (pool->orders && go_through(pool, pool->orders))
        end_first(pool);
}

void pool_ordered(struct pool *pool, struct order_copy *copy)
{
    copy->next = 0;
    copy->end = pool->conns.fresh;
    copy->generation = pool->next_generation;
    copy->behind = NULL;
    *(pool->orders ? &pool->orders_last->behind : &pool->orders) = copy;
    pool->orders_last = copy;
    go_on(pool); /* with what this turn has left: mostly all of it, at once */
}

void pool_orders_turn(struct pool *pool)
{
    pool->looks_left = TURN_LOOKS;
    go_on(pool);
}

void pool_orders_fini(struct pool *pool)
{
    while (pool->orders)
        end_first(pool);
}
