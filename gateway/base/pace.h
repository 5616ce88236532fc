/* So many things spread evenly over a span of time: how many are due by now, and when the next one is.
 *
 * Several threads may share one span: each spreads its own, and its `share` of `of` shifts it by a part of a
 * step, so that all of them together are even too, also when each has only one.
 *
 * Thread: one. Owner: embedded.
 */
#pragma once

#include <stdint.h>

struct pace {
    uint64_t began_ms, span_ms; /* span 0: all at once */
    uint32_t total, done;
    uint32_t share, of; /* share < of */
};

/* How many of those not done are due at `now_ms`. */
uint32_t pace_due(const struct pace *pace, uint64_t now_ms);
/* When the next one is due; UINT64_MAX when all are done. */
uint64_t pace_next_ms(const struct pace *pace);
