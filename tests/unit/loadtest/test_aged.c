/* What a count was a while ago, against a function whose past is known. */
#include "loadtest/aged.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { AGE = 6400 };

static void a_count_is_as_old_as_it_should_be_and_little_older(void **state)
{
    (void)state;
    static const uint64_t pauses[] = {1, 7, 99, 100, 101, 350};
    for (size_t i = 0; i < sizeof(pauses) / sizeof(pauses[0]); i++) {
        struct aged aged;
        aged_init(&aged, AGE);
        for (uint64_t now = 50; now < 20 * (uint64_t)AGE; now += pauses[i]) {
            aged_look(&aged, now, now); /* the count is the time */
            uint64_t oldest = AGE + AGE / 64 + pauses[i];
            if (now >= 50 + AGE)
                assert_in_range(aged.count, now > oldest ? now - oldest : 0, now - AGE);
            else
                assert_int_equal(aged.count, 0);
        }
    }
}

static void after_a_long_pause_it_knows_what_it_saw_last(void **state)
{
    (void)state;
    struct aged aged;
    aged_init(&aged, AGE);
    for (uint64_t now = 0; now < AGE; now += 10)
        aged_look(&aged, now, now);
    aged_look(&aged, 100 * (uint64_t)AGE, 1000000);
    assert_in_range(aged.count, AGE - 110, AGE);
    aged_look(&aged, 101 * (uint64_t)AGE, 1000001);
    assert_int_equal(aged.count, 1000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_count_is_as_old_as_it_should_be_and_little_older),
        cmocka_unit_test(after_a_long_pause_it_knows_what_it_saw_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
