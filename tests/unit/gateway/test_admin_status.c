/* admin_status: counters that are set by hand, a broker that is a mailbox, a clock that is an argument; the
 * JSON is read back with a library. */
#include "gateway/admin_status.h"
#include "gateway/base/clock.h"
#include "gateway/tls/tls_certificates.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { REACTORS = 2 };
#define TOKEN UINT64_C(77)

struct fixture {
    struct settings settings;
    struct config *config;
    struct acceptor_stats acceptor;
    struct reactor_stats reactors[REACTORS];
    struct publisher_stats publisher;
    struct control control;
    struct tls_certificate rows[4];
    struct tls_certificates certificates;
    struct mailbox broker, own;
    struct admin_status *status;
    uint64_t began;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    *state = f;
    f->config = settings_config(&f->settings);
    const struct acceptor_stats *acceptors[] = {&f->acceptor};
    const struct reactor_stats *reactors[REACTORS] = {&f->reactors[0], &f->reactors[1]};
    static const struct acceptor_stats *acceptor_list[1];
    static const struct reactor_stats *reactor_list[REACTORS];
    memcpy(acceptor_list, acceptors, sizeof acceptors);
    memcpy(reactor_list, reactors, sizeof reactors);
    if (!mailbox_init(&f->broker) || !mailbox_init(&f->own))
        return -1;
    f->certificates.rows = f->rows;
    control_set_phase(&f->control, PHASE_RUNNING);
    const struct admin_config config = {
        .settings = &f->settings,
        .broker_mail = &f->broker,
        .acceptor_count = 1,
        .acceptors = acceptor_list,
        .reactor_count = REACTORS,
        .reactors = reactor_list,
        .publisher = &f->publisher,
        .certificates = &f->certificates,
        .connection_limit = 5000,
        .control = &f->control,
    };
    f->status = admin_status_create(&config, &f->own, TOKEN, 1700000000000);
    f->began = clock_monotonic_ms(); /* not before the status' own beginning */
    return f->status ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    for (struct mailbox_node *node = mailbox_detach(&f->broker), *next; node; node = next) {
        next = node->next;
        broker_request_destroy((struct broker_request *)(void *)node);
    }
    admin_status_destroy(f->status);
    mailbox_fini(&f->broker);
    mailbox_fini(&f->own);
    config_destroy(f->config);
    free(f);
    return 0;
}

static json_t *told(struct fixture *f, uint64_t now_ms, uint32_t seconds)
{
    struct json_out out = {0};
    json_error_t error;
    admin_status_write(f->status, now_ms, seconds, &out);
    assert_false(out.failed);
    json_t *value = json_loadb(out.data, out.len, JSON_REJECT_DUPLICATES, &error);
    if (!value)
        fail_msg("%s: %.*s", error.text, (int)out.len, out.data);
    json_out_fini(&out);
    return value;
}

/* "connections.by_transport.ws"; NULL: there is no such member. */
static json_t *member(json_t *value, const char *path)
{
    char copy[128];
    snprintf(copy, sizeof copy, "%s", path);
    char *rest = copy;
    for (char *name; value && (name = strsep(&rest, "."));)
        value = json_object_get(value, name);
    return value;
}

static double number(json_t *value, const char *path)
{
    json_t *found = member(value, path);
    if (!json_is_number(found))
        fail_msg("%s is no number", path);
    return json_number_value(found);
}

static void assert_near(double value, double expected)
{
    double off = value - expected;
    if (off > 0.02 * expected + 0.01 || off < -0.02 * expected - 0.01)
        fail_msg("%f is not %f", value, expected);
}

static json_t *row_of(json_t *list, const char *reason)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (strcmp(json_string_value(json_object_get(json_array_get(list, i), "reason")), reason) == 0)
            return json_array_get(list, i);
    fail_msg("no row %s", reason);
    return NULL;
}

static void counters_become_rates_of_the_last_sample(void **state)
{
    struct fixture *f = *state;
    uint64_t now = f->began;
    admin_status_look(f->status, now);
    for (int second = 1; second <= 5; second++) {
        now = f->began + (uint64_t)second * 1000 + 20; /* a little late, as threads are */
        counter_add(&f->acceptor.accepted[TRANSPORT_WS], 10);
        counter_add(&f->acceptor.accepted[TRANSPORT_WSS], 30);
        counter_add(&f->acceptor.tls_handshakes, 30);
        counter_add(&f->acceptor.tls_resumed, 12);
        counter_add(&f->reactors[0].deliveries, 700);
        counter_add(&f->reactors[1].deliveries, 300);
        counter_add(&f->publisher.publishes, (uint64_t)second);
        counter_set(&f->reactors[1].connections[ADAPTER_RAW][TRANSPORT_WSS], (uint64_t)second * 100);
        admin_status_look(f->status, now);
    }
    json_t *value = told(f, now, STATUS_SECONDS_ALL);
    assert_near(number(value, "rates.accepts"), 40);
    assert_near(number(value, "rates.handshakes_full"), 18);
    assert_near(number(value, "rates.handshakes_resumed"), 12);
    assert_near(number(value, "rates.deliveries"), 1000);
    assert_near(number(value, "rates.publishes"), 5);
    assert_true(number(value, "totals.accepts") == 200);
    assert_true(number(value, "totals.handshakes_full") == 90);
    assert_true(number(value, "connections.open") == 500);
    assert_true(number(value, "connections.by_transport.wss") == 500);
    assert_true(number(value, "connections.by_adapter.raw") == 500);
    assert_true(json_integer_value(json_array_get(member(value, "connections.by_reactor"), 1)) == 500);
    assert_true(number(value, "connections.limit") == 5000);
    json_t *open = member(value, "series.connections");
    assert_int_equal(json_array_size(open), 5);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(json_integer_value(json_array_get(open, i)), 100 * (i + 1));
    assert_true(json_is_null(json_array_get(member(value, "series.latency_p50_ms"), 4)));
    assert_true(json_is_null(member(value, "latency_ms.last_minute.p99")));
    assert_true(json_is_null(member(value, "memory.per_connection.user_bytes"))); /* too few */
    assert_true(json_is_null(member(value, "state.drain")));
    json_decref(value);
    value = told(f, now, 2);
    assert_int_equal(json_array_size(member(value, "series.connections")), 2);
    json_decref(value);
}

/* When nobody looks a sample stands for five seconds, with their mean. */
static void who_looks_late_finds_the_last_minutes_all_the_same(void **state)
{
    struct fixture *f = *state;
    uint64_t now = f->began, next = now, samples = 0;
    for (; now < f->began + 60000; now += 100) {
        counter_add(&f->publisher.publishes, 2); /* 20 a second */
        if (now >= next) {
            next = admin_status_run(f->status, now);
            assert_true(next > now && next <= now + 5000);
        }
    }
    samples = admin_status_samples(f->status);
    assert_in_range(samples, 10, 13);
    assert_null(mailbox_detach(&f->broker)); /* nor is the broker asked */
    admin_status_look(f->status, now);
    json_t *value = told(f, now, STATUS_SECONDS_ALL);
    json_t *row = member(value, "series.publishes");
    double sum = 0;
    assert_in_range(json_array_size(row), 54, 61);
    for (size_t i = 0; i < json_array_size(row); i++) {
        assert_near(json_number_value(json_array_get(row, i)), 20);
        sum += json_number_value(json_array_get(row, i));
    }
    assert_near(sum, 20.0 * (double)json_array_size(row));
    json_decref(value);
}

static void the_last_minute_is_told_apart_from_what_was_before(void **state)
{
    struct fixture *f = *state;
    uint64_t now = f->began;
    counter_add(&f->reactors[0].closes[CLOSE_PEER], 1000);
    for (int i = 0; i < 100; i++)
        histogram_record(&f->reactors[0].delivery_latency, 500000);
    for (int second = 0; second < 130; second++, now += 1000) {
        admin_status_look(f->status, now);
        if (second < 100)
            continue;
        counter_add(&f->reactors[0].closes[CLOSE_PEER], 1);
        counter_add(&f->reactors[1].closes[CLOSE_SLOW], 2);
        counter_add(&f->acceptor.failures[HANDSHAKE_TLS], 3);
        histogram_record(&f->reactors[1].delivery_latency, 100);
    }
    json_t *value = told(f, now, STATUS_SECONDS_ALL);
    json_t *closes = member(value, "closes");
    assert_int_equal(json_array_size(closes), CLOSE_REASON_COUNT - 1);
    assert_true(number(row_of(closes, "peer_closed"), "total") == 1030);
    assert_true(number(row_of(closes, "peer_closed"), "last_minute") == 30);
    assert_true(number(row_of(closes, "slow_consumer"), "last_minute") == 60);
    assert_true(number(row_of(member(value, "handshake_failures"), "tls"), "last_minute") == 90);
    assert_true(number(value, "latency_ms.last_minute.count") == 30);
    assert_true(number(value, "latency_ms.last_minute.p99") < 0.2);
    assert_true(number(value, "latency_ms.since_start.count") == 130);
    assert_true(number(value, "latency_ms.since_start.p99") > 400);
    json_decref(value);
}

static struct broker_request *asked(struct fixture *f)
{
    struct broker_request *request = (struct broker_request *)(void *)mailbox_detach(&f->broker);
    if (request) {
        assert_int_equal(request->op, BROKER_TOP);
        assert_true(request->token == TOKEN && request->reply_to == &f->own);
        request->top = calloc(1, sizeof *request->top);
        assert_non_null(request->top);
    }
    return request;
}

static void topics_are_walked_in_slices_and_the_whole_walk_is_told(void **state)
{
    struct fixture *f = *state;
    enum { SLICES = 7 };
    uint64_t now = f->began, until = now + 10000;
    unsigned walks = 0, slice = 0;
    admin_status_look(f->status, now);
    for (; now < until; now++) {
        admin_status_run(f->status, now);
        struct broker_request *request = asked(f);
        if (!request)
            continue;
        assert_int_equal(request->since.offset, slice * 100);
        for (unsigned i = 0; i < 10; i++) {
            char name[16];
            int len = snprintf(name, sizeof name, "t%u.%u", slice, i);
            top_offer(&request->top->subscribers, name, (size_t)len, slice * 10 + i, 0, 0);
        }
        top_offer(&request->top->traffic, "loud \"one\"", 10, 4096, 3, 6);
        request->top->traffic_ns = 30000000000;
        slice = (slice + 1) % SLICES;
        request->position.offset = slice * 100;
        walks += slice == 0;
        assert_true(admin_status_fresh(f->status, now) == (walks > (slice == 0)));
        admin_status_answered(f->status, request, now);
        assert_true(admin_status_fresh(f->status, now) == (walks > 0));
        json_t *value = told(f, now, 1);
        json_t *top = member(value, "topics.by_subscribers.top");
        assert_true(json_is_true(member(value, "topics.by_subscribers.complete")) == (walks > 0));
        assert_int_equal(json_array_size(top), walks > 0               ? TOP_ROWS
                                               : slice * 10 < TOP_ROWS ? slice * 10
                                                                       : TOP_ROWS);
        if (walks > 0) {
            assert_string_equal(json_string_value(json_object_get(json_array_get(top, 0), "topic")), "t6.9");
            assert_true(number(json_array_get(top, 19), "subscribers") == 50);
        }
        json_t *loud = json_array_get(member(value, "topics.by_traffic.top"), 0);
        assert_string_equal(json_string_value(json_object_get(loud, "topic")), "loud \"one\"");
        assert_true(number(loud, "bytes") == 4096 && number(loud, "deliveries") == 6 &&
                    number(loud, "messages") == 3);
        assert_true(number(value, "topics.by_traffic.window_seconds") == 30);
        json_decref(value);
    }
    assert_in_range(walks, 5, 10); /* about one a second */
    for (uint64_t alone = now + 40000; now < alone; now += 10)
        admin_status_run(f->status, now);
    assert_false(admin_status_fresh(f->status, now));
    struct broker_request *last = asked(f); /* one that was asked for while somebody still looked */
    if (last)
        admin_status_answered(f->status, last, now);
    admin_status_run(f->status, now + 10000);
    assert_null(asked(f));
}

static void an_answer_without_memory_is_asked_for_again(void **state)
{
    struct fixture *f = *state;
    uint64_t now = f->began;
    admin_status_look(f->status, now);
    struct broker_request *request = asked(f);
    assert_non_null(request);
    free(request->top);
    request->top = NULL;
    request->result = BROKER_NO_MEMORY;
    admin_status_answered(f->status, request, now);
    admin_status_run(f->status, now + 100);
    assert_null(asked(f));
    admin_status_run(f->status, now + 1100);
    request = asked(f);
    assert_non_null(request);
    admin_status_answered(f->status, request, now + 1100);
    assert_true(admin_status_fresh(f->status, now + 1100));
}

static void certificates_stand_in_the_order_in_which_they_end(void **state)
{
    struct fixture *f = *state;
    static const struct tls_certificate rows[] = {{"*", 1700000000 + 500},
                                                  {"unknown.example", 0},
                                                  {"past.example", 1700000000 - 100},
                                                  {"same.example", 1700000000 + 500}};
    static const char *const expected[] = {"past.example", "*", "same.example", "unknown.example"};
    for (size_t i = 0; i < 4; i++) {
        f->rows[i].host = rows[i].host;
        atomic_store(&f->rows[i].not_after_s, rows[i].not_after_s);
    }
    f->certificates.count = 4;
    json_t *value = told(f, f->began, 1), *list = member(value, "certificates");
    assert_int_equal(json_array_size(list), 4);
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(json_string_value(json_object_get(json_array_get(list, i), "name")), expected[i]);
    assert_in_range(number(json_array_get(list, 1), "seconds_left"), 498, 500);
    assert_true(number(json_array_get(list, 0), "seconds_left") <= -100);
    assert_true(json_is_null(json_object_get(json_array_get(list, 3), "not_after")));
    json_decref(value);
}

static void a_drain_tells_how_far_it_is(void **state)
{
    struct fixture *f = *state;
    control_set_drain(&f->control, f->began, f->began + 30000);
    control_set_left(&f->control, 200, 150);
    control_set_phase(&f->control, PHASE_DRAINING);
    json_t *value = told(f, f->began + 7500, 1);
    assert_string_equal(json_string_value(member(value, "state.phase")), "draining");
    assert_true(json_is_false(member(value, "state.ready")));
    assert_true(number(value, "state.drain.connections") == 200);
    assert_true(number(value, "state.drain.left") == 150);
    assert_true(number(value, "state.drain.elapsed_seconds") == 7.5);
    assert_true(number(value, "state.drain.seconds_left") == 22.5);
    json_decref(value);
}

static void memory_of_a_connection_is_told_when_there_are_enough(void **state)
{
    struct fixture *f = *state;
    enum { MUCH = 32 << 20 };
    char *much = malloc(MUCH);
    assert_non_null(much);
    for (size_t i = 0; i < MUCH; i += 512)
        ((volatile char *)much)[i] = 1;
    counter_set(&f->reactors[0].connections[ADAPTER_CENTRIFUGE][TRANSPORT_WS], 100000);
    json_t *value = told(f, f->began, 1);
#ifdef __SANITIZE_THREAD__ /* whose shadow is resident, too */
    assert_true(number(value, "memory.per_connection.user_bytes") >= 300);
#else
    assert_in_range(number(value, "memory.per_connection.user_bytes"), 300, 600);
#endif
    json_decref(value);
    counter_set(&f->publisher.history_bytes, MUCH); /* it was this */
    value = told(f, f->began, 1);
    json_t *left = member(value, "memory.per_connection.user_bytes");
#ifndef __SANITIZE_THREAD__
    assert_true(json_is_null(left) || json_number_value(left) < 100);
#else
    assert_true(json_is_null(left) || json_is_number(left));
#endif
    json_decref(value);
    free(much);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(counters_become_rates_of_the_last_sample),
        TEST(who_looks_late_finds_the_last_minutes_all_the_same),
        TEST(the_last_minute_is_told_apart_from_what_was_before),
        TEST(topics_are_walked_in_slices_and_the_whole_walk_is_told),
        TEST(an_answer_without_memory_is_asked_for_again),
        TEST(certificates_stand_in_the_order_in_which_they_end),
        TEST(a_drain_tells_how_far_it_is),
        TEST(memory_of_a_connection_is_told_when_there_are_enough),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
