/* plan: threads and descriptors for a number of connections. */
#include "gateway/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static char error[256];

static struct plan make(const struct settings *settings, uint32_t cores, uint64_t nofile)
{
    struct plan plan;
    assert_true(plan_make(settings, cores, nofile, &plan, error, sizeof error));
    return plan;
}

static void a_million_under_20000_descriptors_takes_as_many_reactors_as_that_needs(void **state)
{
    (void)state;
    struct settings settings = {.threads.private_fds = true, .limits.connections = 1000000};
    struct plan plan = make(&settings, 2, 20000);
    assert_int_equal(plan.acceptors, 1);
    assert_int_equal(plan.capacity, 19984);
    assert_int_equal(plan.reactors, 51);
    assert_true(plan.table_fds <= 20000);
}

/* Whatever the numbers: the limit that the plan names holds all connections, one descriptor less does not. */
static void the_limit_that_the_plan_names_is_the_least_that_holds_all(void **state)
{
    (void)state;
    for (int private_fds = 0; private_fds <= 1; private_fds++)
        for (uint64_t reactors = 1; reactors <= 64; reactors *= 4)
            for (uint64_t wanted = 100000; wanted <= 10000000; wanted = wanted * 3 + 1) {
                struct settings settings = {.threads.private_fds = private_fds,
                                            .threads.reactors = reactors,
                                            .limits.connections = wanted,
                                            .limits.publishers = 10};
                uint64_t enough = make(&settings, 2, 1024).table_fds;
                struct plan plan = make(&settings, 2, enough + (private_fds ? 0 : reactors));
                assert_true((uint64_t)plan.capacity * reactors >= wanted);
                plan = make(&settings, 2, enough - 1);
                assert_true((uint64_t)plan.capacity * reactors < wanted);
            }
}

static void without_a_limit_all_that_fits_is_asked_for(void **state)
{
    (void)state;
    struct settings settings = {.threads.private_fds = true};
    struct plan plan = make(&settings, 4, 20000);
    assert_int_equal(plan.reactors, 4);
    assert_int_equal(plan.acceptors, 2);
    assert_int_equal(plan.connections, 4 * 19984);
    assert_int_equal(plan.table_fds, 20000);
}

static void more_reactors_than_can_be_numbered_are_refused(void **state)
{
    (void)state;
    struct settings settings = {.threads.private_fds = true, .limits.connections = 100000000};
    struct plan plan;
    assert_false(plan_make(&settings, 2, 1024, &plan, error, sizeof error));
    assert_non_null(strstr(error, "RLIMIT_NOFILE 1024"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_million_under_20000_descriptors_takes_as_many_reactors_as_that_needs),
        cmocka_unit_test(the_limit_that_the_plan_names_is_the_least_that_holds_all),
        cmocka_unit_test(without_a_limit_all_that_fits_is_asked_for),
        cmocka_unit_test(more_reactors_than_can_be_numbered_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
