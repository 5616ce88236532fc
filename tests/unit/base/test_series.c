/* series: against a plain list of every second that ever was. */
#include "gateway/base/series.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { ROWS = 3, SECONDS = 5000 };

static void every_second_has_the_value_that_was_pushed_over_it(void **state)
{
    (void)state;
    static double model[SECONDS + 1000][ROWS];
    srand(9);
    for (int round = 0; round < 5; round++) {
        struct series *series = calloc(1, sizeof *series);
        uint64_t second = (uint64_t)(rand() % 100), first = second;
        double values[ROWS];
        for (int push = 0; second < SECONDS; push++) {
            for (int row = 0; row < ROWS; row++)
                values[row] = rand() % 1000;
            if (push > 0) {
                uint64_t gap = rand() % 20 ? 1 + (uint64_t)(rand() % 3) : (uint64_t)(rand() % 800);
                for (uint64_t s = second + 1; s <= second + gap; s++)
                    for (int row = 0; row < ROWS; row++)
                        model[s][row] = values[row];
                second += gap; /* 0: the same second again, which changes nothing */
            } else {
                for (int row = 0; row < ROWS; row++)
                    model[second][row] = values[row];
            }
            series_push(series, second, values, ROWS);
            uint64_t have = second - first + 1;
            assert_int_equal(series->count, have < SERIES_SECONDS ? have : SERIES_SECONDS);
            assert_int_equal(series->newest, second);
            for (uint32_t age = 0; age < series->count; age++)
                for (size_t row = 0; row < ROWS; row++)
                    assert_true(series_at(series, row, age) == model[second - age][row]);
        }
        free(series);
    }
}

static void time_that_goes_back_changes_nothing(void **state)
{
    (void)state;
    struct series *series = calloc(1, sizeof *series);
    series_push(series, 10, (double[]){1}, 1);
    series_push(series, 9, (double[]){2}, 1);
    assert_int_equal(series->newest, 10);
    assert_int_equal(series->count, 1);
    assert_true(series_at(series, 0, 0) == 1);
    free(series);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_second_has_the_value_that_was_pushed_over_it),
        cmocka_unit_test(time_that_goes_back_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
