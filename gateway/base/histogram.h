/* Log-linear histogram of durations (HDR style): 1 µs … ~1 h, 16 steps per power of two, at most 6.25 %
 * error.
 *
 * Thread: one writer; readers on any thread see a consistent-enough snapshot (relaxed atomics).
 * Owner: embedded.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

enum { HISTOGRAM_STEPS = 16, HISTOGRAM_POWERS = 33, HISTOGRAM_CELLS = HISTOGRAM_STEPS * HISTOGRAM_POWERS };

struct histogram {
    _Atomic uint64_t cells[HISTOGRAM_CELLS];
    _Atomic uint64_t sum_us; /* for Prometheus _sum */
    _Atomic uint64_t max_us;
};

void histogram_record(struct histogram *h, uint64_t microseconds);
uint64_t histogram_count(const struct histogram *h);
uint64_t histogram_sum_us(const struct histogram *h);
/* Values ≤ limit_us, for cumulative buckets; exact when limit_us is a power of two. */
uint64_t histogram_count_le(const struct histogram *h, uint64_t limit_us);
/* Smallest value v such that `quantile` (0…1) of the recorded values are ≤ v, rounded up to a cell's end; 0
 * when empty. */
uint64_t histogram_quantile(const struct histogram *h, double quantile);
void histogram_merge(struct histogram *into, const struct histogram *from);
/* Takes away what `earlier`, a copy of the same histogram, held. The maximum becomes the end of the highest
 * cell that is left, or stays when that is lower. */
void histogram_subtract(struct histogram *h, const struct histogram *earlier);
/* The greatest value that cell i counts; UINT64_MAX for the last one. */
uint64_t histogram_cell_end(unsigned cell);
