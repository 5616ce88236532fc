/* What a service manager hears, by a clock of the test's own and a real socket; threads are pulses that the
 * test beats. */
#include "gateway/supervise.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { THREADS = 3, WATCHDOG_MS = 20000, ASK_MS = WATCHDOG_MS / 4 };

struct bench {
    int fd;
    struct supervise supervise;
    struct mailbox mailboxes[THREADS];
    struct pulse pulses[THREADS];
    char heard[NOTIFY_MESSAGE_MAX + 1];
};

/* The oldest message that was not heard yet; "" for none. */
static const char *hear(struct bench *bench)
{
    ssize_t got = recv(bench->fd, bench->heard, NOTIFY_MESSAGE_MAX, MSG_DONTWAIT);
    if (got < 0)
        assert_int_equal(errno, EAGAIN);
    bench->heard[got < 0 ? 0 : got] = '\0';
    return bench->heard;
}

static void bench_open(struct bench *bench, const char *watchdog_us)
{
    char name[64];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    *bench = (struct bench){0};
    int length = snprintf(name, sizeof name, "@pushgate-test-supervise-%d", (int)getpid());
    memcpy(address.sun_path + 1, name + 1, (size_t)length - 1);
    bench->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(bench->fd, (struct sockaddr *)&address,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)length)),
                     0);
    setenv("NOTIFY_SOCKET", name, 1);
    if (watchdog_us)
        setenv("WATCHDOG_USEC", watchdog_us, 1);
    else
        unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    supervise_init(&bench->supervise);
    for (uint32_t i = 0; i < THREADS; i++) {
        assert_true(mailbox_init(&bench->mailboxes[i]));
        pulse_init(&bench->pulses[i], &bench->mailboxes[i]);
    }
}

static void bench_watch(struct bench *bench, uint64_t patience_ms)
{
    for (uint32_t i = 0; i < THREADS; i++)
        assert_true(supervise_watch(&bench->supervise, "reactor", i, &bench->pulses[i],
                                    i == THREADS - 1 ? patience_ms : 0));
}

/* With a watchdog, and ready; the last thread may be silent for `patience_ms`. */
static void bench_open_watched(struct bench *bench, uint64_t now, uint64_t patience_ms)
{
    bench_open(bench, "20000000");
    bench_watch(bench, patience_ms);
    supervise_ready(&bench->supervise, now, "idle");
    assert_string_equal(hear(bench), "READY=1\nSTATUS=idle");
}

static void bench_close(struct bench *bench)
{
    supervise_fini(&bench->supervise);
    for (uint32_t i = 0; i < THREADS; i++)
        mailbox_fini(&bench->mailboxes[i]);
    close(bench->fd);
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
}

/* All but `silent` take a turn, if they were woken. */
static void take_turns(struct bench *bench, uint32_t silent)
{
    for (uint32_t i = 0; i < THREADS; i++)
        if (i != silent && mailbox_clear_wake(&bench->mailboxes[i]) > 0)
            pulse_beat(&bench->pulses[i]);
}

static void without_a_manager_nothing_is_ever_due(void **state)
{
    (void)state;
    struct supervise supervise;
    struct mailbox mailbox;
    struct pulse pulse;
    assert_true(mailbox_init(&mailbox));
    pulse_init(&pulse, &mailbox);
    unsetenv("NOTIFY_SOCKET");
    setenv("WATCHDOG_USEC", "1000000", 1);
    supervise_init(&supervise);
    assert_true(supervise_watch(&supervise, "reactor", 0, &pulse, 0));
    supervise_ready(&supervise, 1000, "0 connections");
    supervise_reloading(&supervise);
    supervise_reloaded(&supervise, 2000, "0 connections");
    supervise_stopping(&supervise, 3000, 30000, "draining");
    assert_true(supervise_due_ms(&supervise) == UINT64_MAX);
    assert_false(supervise_turn(&supervise, 1000000));
    assert_int_equal(mailbox_clear_wake(&mailbox), 0);
    unsetenv("WATCHDOG_USEC");
    supervise_fini(&supervise);
    mailbox_fini(&mailbox);
}

static void ready_reload_and_stop_are_told_in_this_order(void **state)
{
    (void)state;
    struct bench bench;
    struct timespec before;
    bench_open(&bench, NULL);
    assert_string_equal(hear(&bench), "");
    supervise_ready(&bench.supervise, 1000, "0 connections");
    assert_string_equal(hear(&bench), "READY=1\nSTATUS=0 connections");
    clock_gettime(CLOCK_MONOTONIC, &before);
    supervise_reloading(&bench.supervise);
    const char *reloading = hear(&bench);
    static const char expected[] = "RELOADING=1\nMONOTONIC_USEC=";
    assert_memory_equal(reloading, expected, sizeof expected - 1);
    unsigned long long us = strtoull(reloading + sizeof expected - 1, NULL, 10);
    assert_true(us >=
                (unsigned long long)before.tv_sec * 1000000 + (unsigned long long)before.tv_nsec / 1000);
    supervise_reloaded(&bench.supervise, 2000, "7 connections");
    assert_string_equal(hear(&bench), "READY=1\nSTATUS=7 connections");
    supervise_stopping(&bench.supervise, 3000, 45000, "draining");
    assert_string_equal(hear(&bench), "STOPPING=1\nEXTEND_TIMEOUT_USEC=55000000\nSTATUS=draining");
    bench_close(&bench);
}

static void a_status_is_told_when_it_changes_and_every_five_seconds_at_most(void **state)
{
    (void)state;
    struct bench bench;
    uint64_t now = 1000;
    bench_open(&bench, NULL);
    supervise_ready(&bench.supervise, now, "0 connections");
    (void)hear(&bench);
    for (unsigned i = 1; i < 50; i++) {
        char status[64];
        snprintf(status, sizeof status, "%u connections", i);
        assert_int_equal(supervise_due_ms(&bench.supervise), now + 5000);
        assert_false(supervise_turn(&bench.supervise, now + 4999));
        now += 5000;
        assert_true(supervise_turn(&bench.supervise, now));
        supervise_status(&bench.supervise, now, status);
        assert_string_equal(hear(&bench) + strlen("STATUS="), status);
    }
    bench_close(&bench);
}

static void while_nothing_changes_main_wakes_once_a_minute_and_says_nothing(void **state)
{
    (void)state;
    static const uint64_t waits[] = {5000, 10000, 20000, 40000, 60000, 60000, 60000};
    struct bench bench;
    uint64_t now = 1000;
    bench_open(&bench, NULL);
    supervise_ready(&bench.supervise, now, "5 connections");
    (void)hear(&bench);
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
        assert_int_equal(supervise_due_ms(&bench.supervise), now + waits[i]);
        now += waits[i];
        assert_true(supervise_turn(&bench.supervise, now));
        supervise_status(&bench.supervise, now, "5 connections");
        assert_string_equal(hear(&bench), "");
    }
    supervise_status(&bench.supervise, now, "6 connections");
    assert_string_equal(hear(&bench), "STATUS=6 connections");
    assert_int_equal(supervise_due_ms(&bench.supervise), now + 5000);
    bench_close(&bench);
}

static void the_watchdog_is_fed_four_times_in_its_span_while_all_threads_answer(void **state)
{
    (void)state;
    struct bench bench;
    uint64_t now = 1000;
    bench_open_watched(&bench, now, 0);
    for (int i = 0; i < 20; i++) {
        take_turns(&bench, THREADS);
        assert_int_equal(supervise_due_ms(&bench.supervise), now + ASK_MS);
        now += ASK_MS;
        if (supervise_turn(&bench.supervise, now))
            supervise_status(&bench.supervise, now, "idle");
        assert_string_equal(hear(&bench), "WATCHDOG=1");
        assert_string_equal(hear(&bench), "");
    }
    bench_close(&bench);
}

static void one_thread_that_hangs_stops_the_feeding_until_it_answers(void **state)
{
    (void)state;
    struct bench bench;
    uint64_t now = 1000;
    bench_open_watched(&bench, now, 0);
    for (int i = 0; i < 6; i++) {
        take_turns(&bench, 1);
        now += ASK_MS;
        if (supervise_turn(&bench.supervise, now))
            supervise_status(&bench.supervise, now, "idle");
        assert_string_equal(hear(&bench), "");
    }
    take_turns(&bench, THREADS);
    now += ASK_MS;
    (void)supervise_turn(&bench.supervise, now);
    assert_string_equal(hear(&bench), "WATCHDOG=1");
    bench_close(&bench);
}

static void a_thread_that_may_be_silent_for_a_while_stops_it_only_then(void **state)
{
    (void)state;
    struct bench bench;
    uint64_t now = 1000;
    bench_open_watched(&bench, now, 6 * ASK_MS);
    for (int i = 1; i <= 10; i++) {
        take_turns(&bench, THREADS - 1);
        now += ASK_MS;
        (void)supervise_turn(&bench.supervise, now);
        assert_string_equal(hear(&bench), i < 6 ? "WATCHDOG=1" : "");
    }
    take_turns(&bench, THREADS);
    (void)supervise_turn(&bench.supervise, now + ASK_MS);
    assert_string_equal(hear(&bench), "WATCHDOG=1");
    bench_close(&bench);
}

static void a_thread_that_has_ended_in_good_order_owes_no_answer(void **state)
{
    (void)state;
    struct bench bench;
    bench_open_watched(&bench, 1000, 0);
    pulse_end(&bench.pulses[0]);
    for (uint64_t i = 1; i < 4; i++) {
        take_turns(&bench, 0);
        (void)supervise_turn(&bench.supervise, 1000 + i * ASK_MS);
        assert_string_equal(hear(&bench), "WATCHDOG=1");
    }
    assert_int_equal(mailbox_clear_wake(&bench.mailboxes[0]), 1); /* of the first question only */
    bench_close(&bench);
}

static void *loop(void *argument)
{
    struct bench *bench = argument;
    while (!atomic_load(&bench->pulses[1].ended)) {
        (void)mailbox_clear_wake(&bench->mailboxes[0]);
        pulse_beat(&bench->pulses[0]);
    }
    return NULL;
}

static void questions_and_answers_cross_threads(void **state)
{
    (void)state;
    struct bench bench;
    pthread_t thread;
    bench_open(&bench, "20000000");
    assert_int_equal(pthread_create(&thread, NULL, loop, &bench), 0);
    for (int i = 0; i < 10000; i++) {
        pulse_ask(&bench.pulses[0]);
        while (!pulse_answered(&bench.pulses[0]))
            ;
    }
    assert_int_equal(atomic_load(&bench.mailboxes[0].wakes), 10000);
    pulse_end(&bench.pulses[1]);
    pthread_join(thread, NULL);
    bench_close(&bench);
}

static void the_status_says_what_the_gateway_does(void **state)
{
    (void)state;
    static struct reactor_stats stats[2];
    const struct reactor_stats *reactors[] = {&stats[0], &stats[1]};
    struct control control = {0};
    char status[SUPERVISE_STATUS_MAX];
    const struct {
        enum control_phase phase;
        bool reload_failed;
        uint64_t open;
        const char *text;
    } cases[] = {
        {PHASE_STARTING, false, 0, "Starting"},
        {PHASE_RUNNING, false, 0, "Serving 0 connections"},
        {PHASE_RUNNING, false, 1, "Serving 1 connection"},
        {PHASE_RUNNING, true, 70, "Serving 70 connections; the last reload failed, see the log"},
        {PHASE_GRACE, false, 70, "Draining: not ready any more, 70 connections still served"},
        {PHASE_DRAINING, false, 12, "Draining: 12 connections left, 3 s"},
        {PHASE_STOPPING, false, 0, "Stopping"},
    };
    control_set_drain(&control, 1000, 6500);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        control_set_phase(&control, cases[i].phase);
        counter_set(&stats[0].connections[0][TRANSPORT_WS], cases[i].open - cases[i].open / 3);
        counter_set(&stats[1].connections[ADAPTER_COUNT - 1][TRANSPORT_WSS], cases[i].open / 3);
        supervise_describe(&control, reactors, 2, cases[i].reload_failed, 4000, status);
        assert_string_equal(status, cases[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_manager_nothing_is_ever_due),
        cmocka_unit_test(ready_reload_and_stop_are_told_in_this_order),
        cmocka_unit_test(a_status_is_told_when_it_changes_and_every_five_seconds_at_most),
        cmocka_unit_test(while_nothing_changes_main_wakes_once_a_minute_and_says_nothing),
        cmocka_unit_test(the_watchdog_is_fed_four_times_in_its_span_while_all_threads_answer),
        cmocka_unit_test(one_thread_that_hangs_stops_the_feeding_until_it_answers),
        cmocka_unit_test(a_thread_that_may_be_silent_for_a_while_stops_it_only_then),
        cmocka_unit_test(a_thread_that_has_ended_in_good_order_owes_no_answer),
        cmocka_unit_test(questions_and_answers_cross_threads),
        cmocka_unit_test(the_status_says_what_the_gateway_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
