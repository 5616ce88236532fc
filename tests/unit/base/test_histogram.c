/* The histogram against exact quantiles of the sorted values. */
#include "gateway/base/histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { VALUES = 20000 };

static uint32_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 32);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* All magnitudes up to an hour, sorted. */
static void fill(struct histogram *h, uint64_t *values, uint64_t seed)
{
    memset(h, 0, sizeof *h);
    for (int i = 0; i < VALUES; i++) {
        values[i] = next_random(&seed) >> next_random(&seed) % 32;
        histogram_record(h, values[i]);
    }
    qsort(values, VALUES, sizeof *values, compare);
}

static void quantiles_are_rounded_up_by_at_most_a_sixteenth(void **state)
{
    (void)state;
    static struct histogram h;
    static uint64_t values[VALUES];
    for (uint64_t seed = 1; seed <= 5; seed++) {
        fill(&h, values, seed);
        for (int rank = 1; rank <= VALUES; rank += 7) {
            uint64_t exact = values[rank - 1];
            uint64_t got = histogram_quantile(&h, ((double)rank - 0.5) / VALUES);
            assert_true(got >= exact);
            assert_true(got <= 16 || got - exact <= exact / 16);
            assert_true(got > 16 || got == (exact ? exact : 1));
        }
    }
}

static void counts_up_to_a_power_of_two_are_exact(void **state)
{
    (void)state;
    static struct histogram h;
    static uint64_t values[VALUES];
    fill(&h, values, 9);
    for (int power = 0; power < 36; power++) {
        uint64_t limit = UINT64_C(1) << power, exact = 0;
        while (exact < VALUES && values[exact] <= limit)
            exact++;
        assert_int_equal(histogram_count_le(&h, limit), exact);
    }
    memset(&h, 0, sizeof h);
    for (uint64_t v = 1020; v <= 1028; v++)
        histogram_record(&h, v);
    assert_int_equal(histogram_count_le(&h, 1024), 5); /* 1024 itself, and not 1025 */
    assert_int_equal(histogram_count_le(&h, 2048), 9);
}

static void sum_count_and_merge_add_up(void **state)
{
    (void)state;
    static struct histogram a, b;
    static uint64_t values[VALUES];
    fill(&a, values, 1);
    uint64_t sum = 0;
    for (int i = 0; i < VALUES; i++)
        sum += values[i];
    assert_int_equal(histogram_count(&a), VALUES);
    assert_int_equal(histogram_sum_us(&a), sum);
    fill(&b, values, 2);
    uint64_t le = histogram_count_le(&a, 4096) + histogram_count_le(&b, 4096), max = values[VALUES - 1];
    for (int i = 0; i < VALUES; i++)
        sum += values[i];
    if (a.max_us > max)
        max = a.max_us;
    histogram_merge(&a, &b);
    assert_int_equal(histogram_count(&a), 2 * VALUES);
    assert_int_equal(histogram_sum_us(&a), sum);
    assert_int_equal(histogram_count_le(&a, 4096), le);
    assert_int_equal(a.max_us, max);
}

static void an_empty_histogram_says_zero(void **state)
{
    (void)state;
    static struct histogram h;
    assert_int_equal(histogram_quantile(&h, 0.5), 0);
    assert_int_equal(histogram_count(&h), 0);
    assert_int_equal(histogram_count_le(&h, UINT64_MAX), 0);
}

static void values_beyond_the_range_land_in_the_last_cell(void **state)
{
    (void)state;
    static struct histogram h;
    histogram_record(&h, UINT64_MAX / 2);
    histogram_record(&h, 100);
    assert_int_equal(histogram_count(&h), 2);
    assert_int_equal(h.cells[HISTOGRAM_CELLS - 1], 1);
    assert_int_equal(histogram_quantile(&h, 1.0), UINT64_MAX / 2);
    assert_int_equal(histogram_quantile(&h, 0.0), 100);
    assert_int_equal(histogram_count_le(&h, UINT64_C(1) << 32), 1);
}

static void what_came_since_a_copy_is_the_difference(void **state)
{
    (void)state;
    static struct histogram h, copy;
    for (uint64_t v = 1; v <= 1000; v++)
        histogram_record(&h, v);
    histogram_record(&h, 1000000);
    copy = h;
    for (uint64_t v = 500; v < 600; v++)
        histogram_record(&h, v);
    histogram_subtract(&h, &copy);
    assert_int_equal(histogram_count(&h), 100);
    assert_int_equal(histogram_sum_us(&h), 54950);
    assert_in_range(histogram_quantile(&h, 1), 599, 640);
    assert_in_range(atomic_load(&h.max_us), 599, 640);
    histogram_subtract(&h, &h);
    assert_int_equal(histogram_count(&h), 0);
    assert_int_equal(atomic_load(&h.max_us), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_came_since_a_copy_is_the_difference),
        cmocka_unit_test(quantiles_are_rounded_up_by_at_most_a_sixteenth),
        cmocka_unit_test(counts_up_to_a_power_of_two_are_exact),
        cmocka_unit_test(sum_count_and_merge_add_up),
        cmocka_unit_test(an_empty_histogram_says_zero),
        cmocka_unit_test(values_beyond_the_range_land_in_the_last_cell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
