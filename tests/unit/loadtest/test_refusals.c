/* Refused messages are counted in ranges of a topic's numbers. */
#include "loadtest/refusals.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static void none_are_counted_where_none_were_refused(void **state)
{
    (void)state;
    struct refusals refusals;
    refusals_init(&refusals, 3);
    assert_int_equal(refusals_count(&refusals, 2, 0, UINT64_MAX), 0);
    refusals_fini(&refusals);
}

static void ranges_and_topics_are_told_apart_as_a_list_does(void **state)
{
    (void)state;
    enum { TOPICS = 3, NUMBERS = 60 };
    struct refusals refusals;
    bool refused[TOPICS][NUMBERS] = {{false}};
    refusals_init(&refusals, TOPICS);
    srand(7); // NOLINT(cert-msc32-c,cert-msc51-cpp): the same every time
    for (uint32_t number = 0; number < NUMBERS; number++)
        for (uint32_t topic = 0; topic < TOPICS; topic++)
            if ((refused[topic][number] = rand() % 3 == 0)) // NOLINT(cert-msc30-c,cert-msc50-cpp)
                assert_true(refusals_add(&refusals, topic, number));
    for (uint32_t topic = 0; topic < TOPICS; topic++)
        for (uint32_t from = 0; from <= NUMBERS; from++)
            for (uint32_t to = 0; to <= NUMBERS; to++) {
                uint64_t count = 0;
                for (uint32_t i = from; i < to; i++)
                    count += refused[topic][i];
                assert_int_equal(refusals_count(&refusals, topic, from, to), count);
            }
    refusals_fini(&refusals);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(none_are_counted_where_none_were_refused),
        cmocka_unit_test(ranges_and_topics_are_told_apart_as_a_list_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
