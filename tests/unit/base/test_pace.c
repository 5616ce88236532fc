/* Pacing: against the plain list of times. */
#include "gateway/base/pace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static uint32_t random_state = 7;
static uint32_t chance(uint32_t below)
{
    random_state = random_state * 1664525 + 1013904223;
    return (uint32_t)((uint64_t)(random_state >> 8) * below >> 24);
}

static void each_is_due_at_its_time_and_never_before(void **state)
{
    (void)state;
    for (int round = 0; round < 300; round++) {
        struct pace pace = {
            .began_ms = 1000 + chance(1000), .span_ms = 1 + chance(5000), .total = 1 + chance(400)};
        pace.of = 1 + chance(8);
        pace.share = chance(pace.of);
        uint64_t now = pace.began_ms;
        while (pace.done < pace.total) {
            uint32_t naive = 0;
            for (uint32_t k = 0; k < pace.total; k++)
                naive += ((double)k + (pace.share + 0.5) / pace.of) * (double)pace.span_ms / pace.total <=
                         (double)(now - pace.began_ms) + 1e-9;
            uint32_t due = pace_due(&pace, now);
            assert_int_equal(due, naive - pace.done);
            assert_true(due > 0 ? pace_next_ms(&pace) <= now : pace_next_ms(&pace) > now);
            pace.done += due;
            now = chance(3) ? pace_next_ms(&pace) : now + 1 + chance(40);
            if (now == UINT64_MAX)
                break;
        }
        assert_int_equal(pace_due(&pace, UINT64_MAX), 0);
        assert_true(pace_next_ms(&pace) == UINT64_MAX);
    }
}

static void several_shares_are_even_together_and_leave_room_at_both_ends(void **state)
{
    (void)state;
    enum { SHARES = 7, SPAN = 7000 };
    int seen[10] = {0};
    for (uint32_t share = 0; share < SHARES; share++) {
        struct pace pace = {.span_ms = SPAN, .total = 10, .share = share, .of = SHARES};
        for (uint64_t last = 0; pace.done < pace.total; pace.done++) {
            uint64_t at = pace_next_ms(&pace);
            assert_true(at > last && at >= SPAN / 140 && at <= SPAN - SPAN / 140 + 1);
            seen[(at - 1) * 10 / SPAN]++;
            last = at;
        }
    }
    for (int tenth = 0; tenth < 10; tenth++)
        assert_int_equal(seen[tenth], SHARES);
}

static void one_alone_is_due_in_the_middle(void **state)
{
    (void)state;
    struct pace pace = {.began_ms = 100, .span_ms = 1000, .total = 1, .of = 1};
    assert_int_equal(pace_next_ms(&pace), 600);
    assert_int_equal(pace_due(&pace, 599), 0);
    assert_int_equal(pace_due(&pace, 600), 1);
}

static void without_a_span_all_are_due_at_once(void **state)
{
    (void)state;
    struct pace pace = {.began_ms = 100, .total = 1000000, .done = 5, .of = 1};
    assert_int_equal(pace_due(&pace, 100), 999995);
    assert_int_equal(pace_next_ms(&pace), 100);
    struct pace none = {.began_ms = 100, .span_ms = 1000, .of = 1};
    assert_int_equal(pace_due(&none, 5000), 0);
    assert_true(pace_next_ms(&none) == UINT64_MAX);
}

static void the_largest_numbers_do_not_overflow(void **state)
{
    (void)state;
    const uint64_t day = 86400000;
    struct pace pace = {
        .began_ms = UINT64_MAX / 2, .span_ms = day, .total = UINT32_MAX, .share = 1023, .of = 1024};
    assert_in_range(pace_due(&pace, pace.began_ms + day / 2), UINT32_MAX / 2 - 1, UINT32_MAX / 2 + 1);
    pace.done = UINT32_MAX - 1;
    assert_true(pace_next_ms(&pace) == pace.began_ms + day);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_is_due_at_its_time_and_never_before),
        cmocka_unit_test(several_shares_are_even_together_and_leave_room_at_both_ends),
        cmocka_unit_test(one_alone_is_due_in_the_middle),
        cmocka_unit_test(without_a_span_all_are_due_at_once),
        cmocka_unit_test(the_largest_numbers_do_not_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
