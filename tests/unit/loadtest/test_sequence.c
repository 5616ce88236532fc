/* The window of 64 numbers against a model that remembers everything. */
#include "loadtest/sequence.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NUMBERS = 400 };

static void numbers_in_order_leave_nothing_missing(void **state)
{
    (void)state;
    struct sequence sequence = {0};
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(sequence_accept(&sequence, i, 0), SEQUENCE_IN_ORDER);
    assert_int_equal(sequence.next - sequence.missing, 1000);
    assert_int_equal(sequence.missing, 0);
}

static void a_repeated_number_is_a_duplicate(void **state)
{
    (void)state;
    struct sequence sequence = {0};
    assert_int_equal(sequence_accept(&sequence, 0, 0), SEQUENCE_IN_ORDER);
    assert_int_equal(sequence_accept(&sequence, 0, 0), SEQUENCE_DUPLICATE);
    assert_int_equal(sequence.next - sequence.missing, 1);
}

static void a_swap_is_one_gap_and_one_late_arrival(void **state)
{
    (void)state;
    struct sequence sequence = {0};
    assert_int_equal(sequence_accept(&sequence, 1, 0), SEQUENCE_GAP);
    assert_int_equal(sequence.missing, 1);
    assert_int_equal(sequence_accept(&sequence, 0, 0), SEQUENCE_LATE);
    assert_int_equal(sequence.missing, 0);
    assert_int_equal(sequence_accept(&sequence, 0, 0), SEQUENCE_DUPLICATE);
    assert_int_equal(sequence_accept(&sequence, 1, 0), SEQUENCE_DUPLICATE);
    assert_int_equal(sequence_accept(&sequence, 2, 0), SEQUENCE_IN_ORDER);
}

static void a_lost_number_stays_missing(void **state)
{
    (void)state;
    struct sequence sequence = {0};
    for (uint32_t i = 0; i < 500; i++)
        if (i != 77)
            (void)sequence_accept(&sequence, i, 0);
    assert_int_equal(sequence.missing, 1);
    assert_int_equal(sequence.next - sequence.missing, 499);
}

static void gaps_of_every_width_are_counted(void **state)
{
    (void)state;
    for (uint32_t width = 1; width <= 200; width++) {
        struct sequence sequence = {0};
        (void)sequence_accept(&sequence, 0, 0);
        assert_int_equal(sequence_accept(&sequence, width + 1, 0), SEQUENCE_GAP);
        assert_int_equal(sequence.missing, width);
        for (uint32_t late = 1; late <= width; late++)
            assert_int_equal(sequence_accept(&sequence, late, 0), SEQUENCE_LATE);
        assert_int_equal(sequence.missing, 0);
        for (uint32_t again = 0; again <= width + 1; again++)
            assert_int_equal(sequence_accept(&sequence, again, 0), SEQUENCE_DUPLICATE);
    }
}

/* Shuffles within less than the window, drops and repeats; every verdict must be the model's. */
static void verdicts_match_a_model_within_the_window(void **state)
{
    (void)state;
    srand(42); // NOLINT(cert-msc32-c,cert-msc51-cpp): the same rounds every time
    for (int round = 0; round < 200; round++) {
        struct sequence sequence = {0};
        bool seen[NUMBERS + 64] = {false};
        uint32_t highest = 0, distinct = 0;
        bool any = false;
        for (uint32_t base = 0; base < NUMBERS; base++) {
            uint32_t number = base + (uint32_t)(rand() % 30); // NOLINT(cert-msc30-c,cert-msc50-cpp)
            enum sequence_verdict expected = seen[number]                        ? SEQUENCE_DUPLICATE
                                             : any && number < highest           ? SEQUENCE_LATE
                                             : number == (any ? highest + 1 : 0) ? SEQUENCE_IN_ORDER
                                                                                 : SEQUENCE_GAP;
            assert_int_equal(sequence_accept(&sequence, number, 0), expected);
            distinct += seen[number] ? 0 : 1;
            seen[number] = true;
            highest = !any || number > highest ? number : highest;
            any = true;
            assert_int_equal(sequence.next - sequence.missing, distinct);
        }
    }
}

static void the_highest_number_does_not_overflow(void **state)
{
    (void)state;
    struct sequence sequence = {0};
    assert_int_equal(sequence_accept(&sequence, UINT32_MAX - 1, 0), SEQUENCE_GAP);
    assert_int_equal(sequence.next - sequence.missing, 1);
    assert_int_equal(sequence_accept(&sequence, 5, 0), SEQUENCE_LATE);
    assert_int_equal(sequence.next - sequence.missing, 2);
}

static void what_was_written_off_is_not_missing_and_late_when_it_comes(void **state)
{
    (void)state;
    static const uint32_t widths[] = {1, 62, 63, 64, 65, 1000};
    for (size_t i = 0; i < sizeof(widths) / sizeof(widths[0]); i++) {
        struct sequence sequence = {0};
        uint32_t owed = 3 + widths[i];
        for (uint32_t number = 0; number < 3; number++)
            (void)sequence_accept(&sequence, number, 0);
        assert_int_equal(sequence_outstanding(&sequence, owed, owed), 0);
        assert_int_equal(sequence_outstanding(&sequence, owed, (uint64_t)owed + 7), 7);
        assert_int_equal(sequence_accept(&sequence, 2, owed), SEQUENCE_DUPLICATE);
        assert_int_equal(sequence_accept(&sequence, owed, owed), SEQUENCE_IN_ORDER);
        assert_int_equal(sequence.missing, 0);
        assert_int_equal(sequence_accept(&sequence, owed + 3, owed), SEQUENCE_GAP);
        assert_int_equal(sequence_outstanding(&sequence, owed, (uint64_t)owed + 4), 2);
        assert_int_equal(sequence_outstanding(&sequence, owed, (uint64_t)owed + 10), 8);
        assert_int_equal(sequence_accept(&sequence, owed - 1, owed), SEQUENCE_LATE);
        assert_int_equal(sequence.missing, 2);
        assert_int_equal(sequence_accept(&sequence, owed - 1, owed), SEQUENCE_DUPLICATE);
        assert_int_equal(sequence_accept(&sequence, owed + 1, owed), SEQUENCE_LATE);
        assert_int_equal(sequence.missing, 1);
        assert_int_equal(sequence_accept(&sequence, 2, owed), SEQUENCE_DUPLICATE);
    }
}

static void the_first_number_that_is_owed_may_be_missing(void **state)
{
    (void)state;
    struct sequence sequence = {0};
    assert_int_equal(sequence_accept(&sequence, 12, 10), SEQUENCE_GAP);
    assert_int_equal(sequence.missing, 2);
    assert_int_equal(sequence_accept(&sequence, 9, 10), SEQUENCE_LATE);
    assert_int_equal(sequence.missing, 2);
    assert_int_equal(sequence_accept(&sequence, 10, 10), SEQUENCE_LATE);
    assert_int_equal(sequence.missing, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_off_is_not_missing_and_late_when_it_comes),
        cmocka_unit_test(the_first_number_that_is_owed_may_be_missing),
        cmocka_unit_test(numbers_in_order_leave_nothing_missing),
        cmocka_unit_test(a_repeated_number_is_a_duplicate),
        cmocka_unit_test(a_swap_is_one_gap_and_one_late_arrival),
        cmocka_unit_test(a_lost_number_stays_missing),
        cmocka_unit_test(gaps_of_every_width_are_counted),
        cmocka_unit_test(verdicts_match_a_model_within_the_window),
        cmocka_unit_test(the_highest_number_does_not_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
