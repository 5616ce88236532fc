/* What one connection remembers of one topic's sequence numbers: enough to tell in order, late and duplicate
 * apart.
 *
 * Numbers start at 0 and rise by one per message of the topic. Within the last 64 numbers the answer is
 * exact; an older one is taken for late while gaps are open out there, else for a duplicate.
 *
 * Thread: the worker that owns the connection. Owner: embedded in its slot; all zero at the start.
 */
#pragma once

#include <stdint.h>

struct sequence {
    uint64_t seen;    /* bit i: number next − 1 − i has arrived */
    uint32_t next;    /* one more than the highest that arrived */
    uint32_t missing; /* numbers below `next` that have not arrived */
};
_Static_assert(sizeof(struct sequence) == 16, "stands in every slot");

enum sequence_verdict {
    SEQUENCE_IN_ORDER,
    SEQUENCE_GAP,  /* new, but numbers before it are missing so far */
    SEQUENCE_LATE, /* new, after a higher one: out of order */
    SEQUENCE_DUPLICATE,
};

enum sequence_verdict sequence_accept(struct sequence *sequence, uint32_t number); /* number < UINT32_MAX */

/* Different numbers that have arrived. */
static inline uint32_t sequence_distinct(const struct sequence *sequence)
{
    return sequence->next - sequence->missing;
}

/* Forgets what was and expects `number` next: everything below counts as settled. */
void sequence_begin(struct sequence *sequence, uint32_t number);

/* Of the numbers below `end`, how many have not arrived; when numbers from `end` on have arrived, gaps among
 * those are counted as well. */
static inline uint64_t sequence_outstanding(const struct sequence *sequence, uint64_t end)
{
    return sequence->missing + (sequence->next < end ? end - sequence->next : 0);
}
