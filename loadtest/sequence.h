/* What one connection remembers of one topic's sequence numbers: enough to tell in order, late and duplicate
 * apart.
 *
 * Numbers start at 0 and rise by one per message of the topic. Within the last 64 numbers the answer is
 * exact; an older one is taken for late while owed ones are missing out there, else for a duplicate.
 *
 * Thread: the worker that owns the connection. Owner: embedded in its slot; all zero at the start.
 */
#pragma once

#include <stdint.h>

struct sequence {
    uint64_t seen;    /* bit i: number next − 1 − i has arrived */
    uint32_t next;    /* one more than the highest that arrived */
    uint32_t missing; /* numbers below `next` that are owed and have not arrived */
};
_Static_assert(sizeof(struct sequence) == 16, "stands in every slot");

enum sequence_verdict {
    SEQUENCE_IN_ORDER,
    SEQUENCE_GAP,  /* new, but owed numbers before it are missing so far */
    SEQUENCE_LATE, /* new, after a higher one: out of order */
    SEQUENCE_DUPLICATE,
};

/* number < UINT32_MAX. Numbers below `owed` (≤ the number, unless that has been seen or passed over) have
 * been written off: those that a new one passes over are not missing, and one that comes after all is late.
 */
enum sequence_verdict sequence_accept(struct sequence *sequence, uint32_t number, uint32_t owed);

/* Of the numbers from `owed` up to `end`, how many have not arrived; when numbers from `end` on have arrived,
 * gaps among those are counted as well. */
static inline uint64_t sequence_outstanding(const struct sequence *sequence, uint32_t owed, uint64_t end)
{
    uint32_t from = sequence->next > owed ? sequence->next : owed;
    return sequence->missing + (from < end ? end - from : 0);
}
