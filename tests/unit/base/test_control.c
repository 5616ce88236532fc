/* What main is asked for, by threads and by signals. */
#include "gateway/base/control.h"

#include "gateway/base/clock.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

enum { ASKERS = 4, ASKED_EACH = 20000, PATIENCE_MS = 10000 };

static void nothing_is_what_comes_when_time_is_up(void **state)
{
    struct control *control = *state;
    uint64_t before = clock_monotonic_ms();
    assert_int_equal(control_wait(control, 30), CONTROL_NOTHING);
    assert_true(clock_monotonic_ms() - before >= 30);
    assert_int_equal(control_wait(control, 0), CONTROL_NOTHING);
}

static void what_is_asked_twice_before_main_looks_is_done_once(void **state)
{
    struct control *control = *state;
    control_ask(control, CONTROL_RELOAD);
    control_ask(control, CONTROL_RELOAD);
    assert_int_equal(control_wait(control, PATIENCE_MS), CONTROL_RELOAD);
    assert_int_equal(control_wait(control, 0), CONTROL_NOTHING);
}

static void the_more_urgent_request_comes_first(void **state)
{
    struct control *control = *state;
    for (int request = CONTROL_REQUEST_COUNT - 1; request > CONTROL_NOTHING; request--)
        control_ask(control, (enum control_request)request);
    for (int request = CONTROL_NOTHING + 1; request < CONTROL_REQUEST_COUNT; request++)
        assert_int_equal(control_wait(control, PATIENCE_MS), request);
    assert_int_equal(control_wait(control, 0), CONTROL_NOTHING);
}

static void signals_stand_among_the_requests(void **state)
{
    struct control *control = *state;
    kill(getpid(), SIGHUP);
    assert_int_equal(control_wait(control, PATIENCE_MS), CONTROL_RELOAD);
    kill(getpid(), SIGUSR1);
    assert_int_equal(control_wait(control, PATIENCE_MS), CONTROL_REOPEN_LOGS);
    kill(getpid(), SIGINT);
    assert_int_equal(control_wait(control, PATIENCE_MS), CONTROL_TERMINATE);
    assert_int_equal(control_wait(control, 0), CONTROL_NOTHING);
}

/* As when both come while main is busy: the second is not swallowed by the first. */
static void a_second_order_to_terminate_is_told_from_the_first(void **state)
{
    struct control *control = *state;
    kill(getpid(), SIGTERM);
    kill(getpid(), SIGINT);
    assert_int_equal(control_wait(control, PATIENCE_MS), CONTROL_TERMINATE);
    assert_int_equal(control_wait(control, PATIENCE_MS), CONTROL_TERMINATE);
    assert_int_equal(control_wait(control, 0), CONTROL_NOTHING);
}

static void *ask_often(void *argument)
{
    for (int i = 0; i < ASKED_EACH; i++)
        control_ask(argument, i % 2 ? CONTROL_RELOAD : CONTROL_DRAIN);
    return NULL;
}

static void a_request_of_another_thread_ends_the_wait_and_none_is_lost(void **state)
{
    struct control *control = *state;
    pthread_t threads[ASKERS];
    for (int i = 0; i < ASKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_often, control), 0);
    int seen[CONTROL_REQUEST_COUNT] = {0};
    for (int i = 0; i < 100; i++)
        seen[control_wait(control, PATIENCE_MS)]++;
    for (int i = 0; i < ASKERS; i++)
        pthread_join(threads[i], NULL);
    /* Whatever was asked last is still to come, or was taken after it was asked. */
    for (enum control_request request; (request = control_wait(control, 0)) != CONTROL_NOTHING;)
        seen[request]++;
    assert_int_equal(seen[CONTROL_NOTHING], 0);
    assert_true(seen[CONTROL_DRAIN] > 0 && seen[CONTROL_RELOAD] > 0);
    assert_int_equal(atomic_load(&control->asked), 0);
}

static void how_far_a_drain_is_can_be_read(void **state)
{
    struct control *control = *state;
    assert_int_equal(control_phase(control), PHASE_STARTING);
    control_set_drain(control, 1000, 31000);
    control_set_left(control, 500, 20);
    control_set_phase(control, PHASE_DRAINING);
    struct control_drain drain = control_drain(control);
    assert_int_equal(drain.phase, PHASE_DRAINING);
    assert_int_equal(drain.began_ms, 1000);
    assert_int_equal(drain.until_ms, 31000);
    assert_int_equal(drain.connections, 500);
    assert_int_equal(drain.left, 20);
    assert_string_equal(control_phase_label(drain.phase), "draining");
    assert_string_equal(control_phase_label(PHASE_STOPPING), "stopping");
}

static int set_up(void **state)
{
    static struct control control;
    *state = &control;
    return control_init(&control) ? 0 : -1;
}

static int tear_down(void **state)
{
    control_fini(*state);
    return 0;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_what_comes_when_time_is_up),
        TEST(what_is_asked_twice_before_main_looks_is_done_once),
        TEST(the_more_urgent_request_comes_first),
        TEST(signals_stand_among_the_requests),
        TEST(a_second_order_to_terminate_is_told_from_the_first),
        TEST(a_request_of_another_thread_ends_the_wait_and_none_is_lost),
        TEST(how_far_a_drain_is_can_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
