/* What slow consumers lose, by the rule of the topic: the connection, the oldest messages, or all but the
 * newest. */
#include "pool_bench.h"

enum { MESSAGES = 400, MESSAGE_BYTES = 200, OUTBOX = 8000, SEND_BUFFER = 4096 };

static struct bench *slow_bench(struct topic_rule *rule, enum slow_policy policy)
{
    *rule = (struct topic_rule){.name = (char *)(uintptr_t) "lossy*", .slow_consumer = policy};
    struct settings settings = bench_settings();
    settings.limits.outbox_bytes = OUTBOX;
    settings.topics.rules = rule;
    settings.topics.count = 1;
    return bench_new_with(&settings);
}

static void publish_number(struct bench *bench, const char *topic, unsigned number)
{
    char text[MESSAGE_BYTES];
    memset(text, '.', sizeof text);
    int digits = snprintf(text, sizeof text, "%06u", number);
    text[digits] = '.';
    bench_publish(bench, topic, text, sizeof text);
    bench_settle(bench);
}

struct seen {
    unsigned count, last, gaps;
};

/* Everything that has come, by number: only ever forward. */
static struct seen read_numbers(struct bench *bench, struct peer *peer)
{
    struct seen seen = {0};
    uint8_t payload[64 * KIB];
    struct frame frame;
    peer_drain(bench, peer);
    while (peer_next(peer, &frame, payload) && frame.opcode != WS_CLOSE) {
        payload[6] = 0;
        unsigned number = (unsigned)strtoul((const char *)payload, NULL, 10);
        assert_true(number > seen.last);
        seen.gaps += number - seen.last - 1;
        seen.last = number;
        seen.count++;
    }
    return seen;
}

static void the_oldest_messages_go_and_the_connection_stays(int tls)
{
    struct topic_rule rule;
    struct bench *bench = slow_bench(&rule, SLOW_DROP_OLDEST);
    struct peer peer = peer_open(bench, tls, "lossy", SEND_BUFFER);
    peer_expect_101(bench, &peer);
    for (unsigned i = 1; i <= MESSAGES; i++) {
        publish_number(bench, "lossy", i);
        const struct conn *conn = peer_conn(bench, &peer);
        assert_non_null(conn);
        if (conn->extra)
            assert_true(outbox_cost(&conn->extra->outbox) <= OUTBOX + 2 * TLS_RECORD_PLAINTEXT_MAX);
    }
    struct seen seen = read_numbers(bench, &peer);
    assert_int_equal(seen.last, MESSAGES); /* the newest is there */
    assert_true(seen.gaps > 0);
    assert_int_equal(seen.gaps, counter_read(&bench->stats.drops));
    assert_true(seen.count * MESSAGE_BYTES >= OUTBOX / 2); /* and no more went than had to */
    peer_fini(&peer);
    bench_settle(bench);
    bench_fini(bench);
}

static void drop_oldest_over_ws(void **state)
{
    (void)state;
    the_oldest_messages_go_and_the_connection_stays(0);
}

static void drop_oldest_over_wss(void **state)
{
    (void)state;
    the_oldest_messages_go_and_the_connection_stays(1);
}

static void latest_keeps_the_newest_only(void **state)
{
    (void)state;
    struct topic_rule rule;
    struct bench *bench = slow_bench(&rule, SLOW_LATEST);
    struct peer peer = peer_open(bench, 0, "lossy", SEND_BUFFER);
    peer_expect_101(bench, &peer);
    for (unsigned i = 1; i <= MESSAGES; i++)
        publish_number(bench, "lossy", i);
    assert_non_null(peer_conn(bench, &peer));
    assert_true(peer_conn(bench, &peer)->extra->outbox.count < OUTBOX / MESSAGE_BYTES);
    struct seen seen = read_numbers(bench, &peer);
    assert_int_equal(seen.last, MESSAGES);
    assert_int_equal(seen.count + seen.gaps, MESSAGES);
    assert_int_equal(seen.gaps, counter_read(&bench->stats.drops));
    peer_fini(&peer);
    bench_settle(bench);
    bench_fini(bench);
}

static void other_topics_of_the_connection_lose_nothing(void **state)
{
    (void)state;
    struct topic_rule rule;
    struct bench *bench = slow_bench(&rule, SLOW_DROP_OLDEST);
    struct peer peer = peer_open(bench, 0, "lossy,strict", SEND_BUFFER);
    peer_expect_101(bench, &peer);
    unsigned number = 1;
    for (; number <= 50; number++)
        publish_number(bench, "lossy", number);
    for (unsigned i = 0; i < 3; i++)
        publish_number(bench, "strict", number++); /* room is made by the lossy ones */
    uint8_t payload[64 * KIB];
    struct frame frame;
    unsigned strict = 0;
    assert_non_null(peer_conn(bench, &peer));
    peer_drain(bench, &peer);
    while (peer_next(&peer, &frame, payload)) {
        assert_int_not_equal(frame.opcode, WS_CLOSE);
        payload[6] = 0;
        strict += strtoul((const char *)payload, NULL, 10) > 50;
    }
    assert_int_equal(strict, 3);
    peer_fini(&peer);
    bench_settle(bench);
    bench_fini(bench);
}

static void what_does_not_fit_in_any_case_costs_nothing_that_waits(void **state)
{
    (void)state;
    enum { BIG = 2000 };
    static char big[BIG];
    struct topic_rule rule;
    struct bench *bench = slow_bench(&rule, SLOW_LATEST);
    struct peer peer = peer_open(bench, 0, "lossy,lossy too,strict", SEND_BUFFER);
    peer_expect_101(bench, &peer);
    unsigned number = 1;
    const struct conn *conn = peer_conn(bench, &peer);
    while (!conn->extra || outbox_cost(&conn->extra->outbox) < OUTBOX - 1000)
        publish_number(bench, "strict", number++);
    publish_number(bench, "lossy", number);
    assert_true(conn->extra->outbox.may_go > 0);
    uint32_t waiting = conn->extra->outbox.count;
    memset(big, '.', sizeof big);
    bench_publish(bench, "lossy too", big, sizeof big);
    bench_settle(bench);
    assert_int_equal(conn->state, CONN_OPEN);
    assert_int_equal(conn->extra->outbox.count, waiting);
    assert_int_equal(counter_read(&bench->stats.drops), 1);
    struct seen seen = read_numbers(bench, &peer);
    assert_int_equal(seen.last, number);
    assert_int_equal(seen.gaps, 0);
    peer_fini(&peer);
    bench_settle(bench);
    bench_fini(bench);
}

static void a_topic_without_the_rule_ends_the_connection(void **state)
{
    (void)state;
    struct topic_rule rule;
    struct bench *bench = slow_bench(&rule, SLOW_DROP_OLDEST);
    struct peer peer = peer_open(bench, 0, "strict", SEND_BUFFER);
    peer_expect_101(bench, &peer);
    for (unsigned i = 1; i <= MESSAGES; i++)
        publish_number(bench, "strict", i);
    struct seen seen = read_numbers(bench, &peer);
    assert_int_equal(seen.gaps, 0);
    assert_true(seen.count < MESSAGES);
    assert_int_equal(bench_closes(bench, CLOSE_SLOW) + (peer_conn(bench, &peer) != NULL), 1);
    peer_fini(&peer);
    bench_settle(bench);
    assert_int_equal(bench_closes(bench, CLOSE_SLOW), 1);
    bench_fini(bench);
}

/* Takes off what has come as long as it is text; true when a ping of the Centrifuge protocol was among it. */
static bool hears_ping(struct bench *bench, struct peer *peer)
{
    uint8_t payload[64 * KIB];
    struct frame frame;
    bool heard = false;
    peer_drain(bench, peer);
    while (peer_next(peer, &frame, payload)) {
        assert_int_equal(frame.opcode, WS_TEXT);
        heard = heard || (frame.bytes == 2 && memcmp(payload, "{}", 2) == 0);
    }
    return heard;
}

static void who_has_much_to_read_is_pinged_all_the_same(void **state)
{
    (void)state;
    struct settings settings = bench_settings();
    settings.auth.anonymous = true;
    settings.idle.ping_interval = 2000;
    static const char connect[] = "{\"id\":1,\"connect\":{}}", command[] = "{\"id\":2,\"ping\":{}}";
    struct bench *bench = bench_new_with(&settings);
    struct peer peer = peer_open_as(bench, ADAPTER_CENTRIFUGE, 0, "", SEND_BUFFER);
    peer_frame(bench, &peer, WS_TEXT, true, connect, sizeof connect - 1);
    bench_settle(bench);
    peer_expect_101(bench, &peer);
    for (int interval = 0; interval < 5; interval++) {
        for (int i = 0; i < 2000; i++) {
            peer_frame(bench, &peer, WS_TEXT, true, command, sizeof command - 1);
            if (i % 100 == 0)
                bench_settle(bench);
        }
        bench_settle(bench);
        assert_int_equal(peer_conn(bench, &peer)->state, CONN_OPEN);
        assert_non_null(peer_conn(bench, &peer)->extra);
        assert_false(outbox_empty(&peer_conn(bench, &peer)->extra->outbox));
        bench_pass(bench, 2000);
        assert_true(hears_ping(bench, &peer));
        peer_frame(bench, &peer, WS_TEXT, true, "{}", 2); /* pong */
    }
    assert_int_equal(peer_conn(bench, &peer)->state, CONN_OPEN);
    peer_fini(&peer);
    bench_fini(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_has_much_to_read_is_pinged_all_the_same),
        cmocka_unit_test(drop_oldest_over_ws),
        cmocka_unit_test(drop_oldest_over_wss),
        cmocka_unit_test(latest_keeps_the_newest_only),
        cmocka_unit_test(what_does_not_fit_in_any_case_costs_nothing_that_waits),
        cmocka_unit_test(other_topics_of_the_connection_lose_nothing),
        cmocka_unit_test(a_topic_without_the_rule_ends_the_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
