/* From a reactor's mailbox to its subscribers: what a topic has waiting becomes one batch, a batch is served
 * in slices, topics take turns.
 *
 * An answer to BROKER_SUBSCRIBE stands among the messages where the broker put it: its connection joins when
 * those before it have been served, and gets those behind it.
 *
 * A batch is at most one TLS record's worth of frames (or one larger message): a connection gets it in one
 * system call, and over wss in one record. A connection of several topics collects what one turn has for it
 * in its outbox, which is flushed once at the end of the turn.
 *
 * Thread: the reactor's. Owner: embedded in the reactor; holds one reference of every message that waits (the
 * delivery's).
 */
#pragma once

#include "gateway/conn/pool.h"

enum { FANOUT_SPARE_MAX = 4 };

struct fanout {
    struct pool *pool;
    struct list run;                       /* topics that have something to send, in turn */
    struct batch *spare[FANOUT_SPARE_MAX]; /* for reuse */
    uint32_t spare_count;
};

void fanout_init(struct fanout *fanout, struct pool *pool);
void fanout_fini(struct fanout *fanout); /* drops what still waits */
/* Takes a delivery, or an answer to BROKER_SUBSCRIBE, into its topic's queue. */
void fanout_accept(struct fanout *fanout, struct mail *mail);
/* Serves up to `budget` connections, fewer when messages are large; returns how much of the budget it used.
 */
uint32_t fanout_slice(struct fanout *fanout, uint32_t budget);
static inline bool fanout_pending(const struct fanout *fanout)
{
    return !list_empty(&fanout->run);
}
