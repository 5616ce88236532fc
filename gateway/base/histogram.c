/* Cell i holds the values in (lower end, upper end]: so every power of two ends a cell, and "values ≤ 2^k" is
 * exact.
 *
 * Cells 0 to 15 are one microsecond wide (the first one holds 0 as well), the next 16 too, then each power's
 * 16 cells double in width. */
#include "gateway/base/histogram.h"

#include "gateway/base/counters.h"

enum { STEP_BITS = 4 };
_Static_assert(1 << STEP_BITS == HISTOGRAM_STEPS, "cell arithmetic");

static unsigned cell_of(uint64_t value)
{
    uint64_t v = value ? value - 1 : 0;
    if (v < HISTOGRAM_STEPS)
        return (unsigned)v;
    unsigned exponent = 63u - (unsigned)__builtin_clzll(v) - STEP_BITS;
    unsigned cell = (exponent + 1) * HISTOGRAM_STEPS + ((unsigned)(v >> exponent) & (HISTOGRAM_STEPS - 1));
    return cell < HISTOGRAM_CELLS ? cell : HISTOGRAM_CELLS - 1;
}

/* The last one holds all that is beyond the range. */
uint64_t histogram_cell_end(unsigned cell)
{
    if (cell == HISTOGRAM_CELLS - 1)
        return UINT64_MAX;
    if (cell < HISTOGRAM_STEPS)
        return cell + 1;
    unsigned exponent = cell / HISTOGRAM_STEPS - 1;
    return (uint64_t)(HISTOGRAM_STEPS + cell % HISTOGRAM_STEPS + 1) << exponent;
}

static void raise_max(struct histogram *h, uint64_t value)
{
    if (value > counter_read(&h->max_us))
        counter_set(&h->max_us, value);
}

void histogram_record(struct histogram *h, uint64_t microseconds)
{
    counter_add(&h->cells[cell_of(microseconds)], 1);
    counter_add(&h->sum_us, microseconds);
    raise_max(h, microseconds);
}

uint64_t histogram_count(const struct histogram *h)
{
    uint64_t count = 0;
    for (unsigned cell = 0; cell < HISTOGRAM_CELLS; cell++)
        count += counter_read(&h->cells[cell]);
    return count;
}

uint64_t histogram_sum_us(const struct histogram *h)
{
    return counter_read(&h->sum_us);
}

uint64_t histogram_count_le(const struct histogram *h, uint64_t limit_us)
{
    uint64_t count = 0;
    for (unsigned cell = 0; cell < HISTOGRAM_CELLS && histogram_cell_end(cell) <= limit_us; cell++)
        count += counter_read(&h->cells[cell]);
    return count;
}

uint64_t histogram_quantile(const struct histogram *h, double quantile)
{
    uint64_t count = histogram_count(h);
    if (count == 0)
        return 0;
    double exact = quantile * (double)count;
    uint64_t rank = exact > 0 ? (uint64_t)exact : 0;
    if ((double)rank < exact)
        rank++;
    if (rank == 0)
        rank = 1;
    if (rank > count)
        rank = count;
    uint64_t seen = 0;
    for (unsigned cell = 0; cell < HISTOGRAM_CELLS - 1; cell++) {
        seen += counter_read(&h->cells[cell]);
        if (seen >= rank)
            return histogram_cell_end(cell);
    }
    return counter_read(&h->max_us);
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    for (unsigned cell = 0; cell < HISTOGRAM_CELLS; cell++) {
        uint64_t n = counter_read(&from->cells[cell]);
        if (n)
            counter_add(&into->cells[cell], n);
    }
    counter_add(&into->sum_us, counter_read(&from->sum_us));
    raise_max(into, counter_read(&from->max_us));
}

void histogram_subtract(struct histogram *h, const struct histogram *earlier)
{
    uint64_t highest = 0;
    for (unsigned cell = 0; cell < HISTOGRAM_CELLS; cell++) {
        counter_sub(&h->cells[cell], counter_read(&earlier->cells[cell]));
        if (counter_read(&h->cells[cell]) > 0)
            highest = histogram_cell_end(cell);
    }
    counter_sub(&h->sum_us, counter_read(&earlier->sum_us));
    if (highest < counter_read(&h->max_us))
        counter_set(&h->max_us, highest);
}
