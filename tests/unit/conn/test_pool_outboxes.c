/* What clients that do not read cost all others: nothing but limits.outbox_memory. */
#include "pool_bench.h"

enum { SEND_BUFFER = 4096, MEMORY = 200 * 1024, MESSAGE = 1000, PEERS = 20 };

static struct bench *memory_bench(uint64_t memory)
{
    struct settings settings = bench_settings();
    settings.limits.outbox_memory = memory;
    return bench_new_with(&settings);
}

static const char *topic_of(int i)
{
    static char name[16];
    snprintf(name, sizeof name, "of-%d", i);
    return name;
}

static void publish(struct bench *bench, const char *topic, int count)
{
    uint8_t payload[MESSAGE];
    memset(payload, 'x', sizeof payload);
    for (int i = 0; i < count; i++) {
        bench_publish(bench, topic, payload, sizeof payload);
        bench_settle(bench);
    }
}

static int64_t memory_of(const struct bench *bench)
{
    return atomic_load(&bench->gauges.outboxes);
}

static bool is_open(struct bench *bench, const struct peer *peer)
{
    const struct conn *conn = peer_conn(bench, peer);
    return conn && conn->state == CONN_OPEN;
}

static int open_ones(struct bench *bench, const struct peer *peers, int count)
{
    int open = 0;
    for (int i = 0; i < count; i++)
        open += is_open(bench, &peers[i]);
    return open;
}

/* Each with a topic of its own, none of them reads. */
static void open_stalled(struct bench *bench, struct peer *peers, int count, int tls)
{
    for (int i = 0; i < count; i++)
        peers[i] = peer_open(bench, tls, topic_of(i), SEND_BUFFER);
}

static void end(struct bench *bench, struct peer *peers, int count)
{
    for (int i = 0; i < count; i++)
        peer_fini(&peers[i]);
    bench_settle(bench);
    assert_int_equal(memory_of(bench), 0);
    bench_fini(bench);
}

static void what_waits_for_clients_that_do_not_read_is_not_on_its_way(void **state)
{
    (void)state;
    struct bench *bench = memory_bench(0);
    struct peer peers[PEERS];
    open_stalled(bench, peers, PEERS, 0);
    for (int i = 0; i < PEERS; i++)
        publish(bench, topic_of(i), 30);
    assert_int_equal(atomic_load(&bench->gauges.inflight), 0);
    assert_true(memory_of(bench) > PEERS * 20 * MESSAGE);
    assert_int_equal(open_ones(bench, peers, PEERS), PEERS); /* 0 is no limit */
    end(bench, peers, PEERS);
}

/* The gauge against a plain sum: every message that an outbox keeps once, and what outboxes have of their
 * own. Messages are 1,000 bytes here and no two of them in one place. */
static void memory_is_what_messages_copies_and_records_take(int tls)
{
    struct bench *bench = memory_bench(0);
    struct peer peers[PEERS];
    open_stalled(bench, peers, PEERS, tls);
    srand(5);
    for (int round = 0; round < 200; round++) {
        int i = rand() % PEERS;
        if (rand() % 3)
            publish(bench, topic_of(i), 1 + rand() % 5);
        else
            peer_read(bench, &peers[i], (size_t)(rand() % 8000));
        bench_settle(bench);
        uint64_t sum = 0;
        for (i = 0; i < PEERS; i++) {
            const struct conn *conn = peer_conn(bench, &peers[i]);
            const struct outbox *outbox = conn && conn->extra ? &conn->extra->outbox : NULL;
            for (uint32_t n = 0; outbox && n < outbox->count; n++) {
                const struct outbox_item *item = &outbox->items[(outbox->head + n) & (outbox->cap - 1)];
                sum += (item->message ? item->message->total_bytes : 0) + OUTBOX_ITEM_COST;
            }
            sum += outbox ? outbox->wire_bytes : 0;
        }
        assert_int_equal(memory_of(bench), sum);
    }
    end(bench, peers, PEERS);
}

static void memory_adds_up_over_ws(void **state)
{
    (void)state;
    memory_is_what_messages_copies_and_records_take(0);
}

static void memory_adds_up_over_wss(void **state)
{
    (void)state;
    memory_is_what_messages_copies_and_records_take(1);
}

static void the_memory_of_all_outboxes_is_bounded(int tls)
{
    struct bench *bench = memory_bench(MEMORY);
    struct peer peers[PEERS];
    open_stalled(bench, peers, PEERS, tls);
    for (int round = 0; round < 30; round++)
        for (int i = 0; i < PEERS; i++) {
            publish(bench, topic_of(i), 1);
            assert_true(memory_of(bench) <= MEMORY);
        }
    assert_in_range(open_ones(bench, peers, PEERS), 1, PEERS - 1);
    end(bench, peers, PEERS);
}

static void outboxes_are_bounded_over_ws(void **state)
{
    (void)state;
    the_memory_of_all_outboxes_is_bounded(0);
}

static void outboxes_are_bounded_over_wss(void **state)
{
    (void)state;
    the_memory_of_all_outboxes_is_bounded(1);
}

static void who_has_taken_nothing_for_the_longest_time_goes_first(void **state)
{
    (void)state;
    struct bench *bench = memory_bench(MEMORY);
    struct peer peers[3];
    open_stalled(bench, peers, 3, 0);
    for (int i = 0; i < 3; i++) {
        publish(bench, topic_of(i), 40);
        bench_pass(bench, 200);
    }
    peer_read(bench, &peers[0], 20 * KIB); /* it reads slowly, but it does */
    bench_settle(bench);
    assert_false(outbox_empty(&peer_conn(bench, &peers[0])->extra->outbox));
    bench_pass(bench, 200);
    publish(bench, topic_of(2), 100); /* too much */
    assert_false(is_open(bench, &peers[1]));
    assert_true(is_open(bench, &peers[0]));
    assert_true(is_open(bench, &peers[2]));
    peer_drain(bench, &peers[1]); /* whoever reads again is told why */
    struct frame frame = {0};
    uint8_t payload[64 * KIB] = {0};
    peer_expect_101(bench, &peers[1]);
    do
        assert_true(peer_next(&peers[1], &frame, payload));
    while (frame.opcode != WS_CLOSE);
    assert_int_equal(payload[0] << 8 | payload[1], 1013);
    end(bench, peers, 3);
}

static void who_waits_for_nothing_any_more_stays_and_then_waits_anew(void **state)
{
    (void)state;
    struct bench *bench = memory_bench(MEMORY);
    struct peer peers[4];
    open_stalled(bench, peers, 4, 0);
    for (int i = 0; i < 3; i++) {
        publish(bench, topic_of(i), 40);
        bench_pass(bench, 200);
    }
    struct conn_extra *extra = peer_conn(bench, &peers[0])->extra;
    uint64_t bytes = extra->outbox.bytes;
    assert_true(outbox_drop_unsent(&extra->outbox) > 0); /* a policy's choice */
    assert_true(outbox_empty(&extra->outbox));
    counter_sub(&bench->stats.outbox_bytes, bytes);
    pool_count_outbox(&bench->pool, extra);
    while (is_open(bench, &peers[1]))
        publish(bench, topic_of(2), 1);
    assert_true(is_open(bench, &peers[0]));
    publish(bench, topic_of(0), 1);
    bench_pass(bench, 200);
    while (is_open(bench, &peers[2]))
        publish(bench, topic_of(3), 1);
    assert_true(is_open(bench, &peers[0]));
    while (is_open(bench, &peers[0])) /* it counts again */
        publish(bench, topic_of(3), 1);
    assert_true(is_open(bench, &peers[3]));
    end(bench, peers, 4);
}

static void before_it_is_full_only_those_go_that_are_stuck(void **state)
{
    (void)state;
    struct bench *bench = memory_bench(MEMORY);
    struct peer peers[2];
    open_stalled(bench, peers, 2, 0);
    publish(bench, topic_of(0), 80);
    publish(bench, topic_of(1), 80);
    assert_in_range(memory_of(bench), MEMORY / 4 * 3, MEMORY);
    bench_pass(bench, 900);
    assert_int_equal(open_ones(bench, peers, 2), 2);
    assert_in_range(pool_relieve_wait_ms(&bench->pool), 0, 1000); /* it will be looked at without an event */
    peer_read(bench, &peers[1], 5 * KIB);
    bench_pass(bench, 200);
    assert_false(is_open(bench, &peers[0]));
    assert_true(is_open(bench, &peers[1]));
    assert_true(memory_of(bench) <= MEMORY / 4 * 3);
    end(bench, peers, 2);
}

static void who_reads_less_than_the_kernel_tells_of_is_not_stuck(void **state)
{
    (void)state;
    struct bench *bench = memory_bench(MEMORY);
    struct peer peers[2];
    for (int i = 0; i < 2; i++) {
        peers[i] = peer_open(bench, 0, topic_of(i), 64 * KIB);
        while (memory_of(bench) < (i + 1) * MEMORY / 5 * 2)
            publish(bench, topic_of(i), 1);
    }
    assert_in_range(memory_of(bench), MEMORY / 4 * 3, MEMORY);
    bench_pass(bench, 900);
    uint64_t waits = peer_conn(bench, &peers[0])->extra->outbox.bytes;
    assert_true(peer_read(bench, &peers[0], 5 * KIB) > 0);
    bench_pass(bench, 200);
    assert_true(is_open(bench, &peers[0]));
    assert_int_equal(peer_conn(bench, &peers[0])->extra->outbox.bytes, waits); /* there was no event */
    assert_false(is_open(bench, &peers[1]));
    while (memory_of(bench) < MEMORY / 4 * 3 + MESSAGE)
        publish(bench, topic_of(0), 1);
    bench_pass(bench, 1100); /* once is not for ever */
    assert_false(is_open(bench, &peers[0]));
    end(bench, peers, 2);
}

static void a_message_that_waits_for_many_counts_once(void **state)
{
    (void)state;
    struct bench *bench = memory_bench(MEMORY);
    struct peer peers[PEERS];
    for (int i = 0; i < PEERS; i++)
        peers[i] = peer_open(bench, 0, "all", SEND_BUFFER);
    publish(bench, "all", 80);
    assert_true(memory_of(bench) < MEMORY / 4 * 3);
    assert_true(counter_read(&bench->stats.outbox_bytes) > 2 * MEMORY);
    assert_int_equal(open_ones(bench, peers, PEERS), PEERS);
    end(bench, peers, PEERS);
}

static void what_a_client_asked_for_and_does_not_read_counts_too(void **state)
{
    (void)state;
    struct bench *bench = memory_bench(MEMORY);
    struct peer peers[PEERS];
    uint8_t payload[2000] = {0};
    for (int i = 0; i < PEERS; i++)
        peers[i] = peer_open(bench, 0, "", SEND_BUFFER); /* an echo */
    for (int round = 0; round < 30; round++)
        for (int i = 0; i < PEERS; i++) {
            if (is_open(bench, &peers[i]))
                peer_frame(bench, &peers[i], WS_BINARY, true, payload, sizeof payload);
            bench_settle(bench);
            assert_true(memory_of(bench) <= MEMORY);
        }
    assert_in_range(open_ones(bench, peers, PEERS), 1, PEERS - 1);
    end(bench, peers, PEERS);
}

/* Each has begun a frame that is not to be taken back: a close frame alone would free nothing. */
static void one_frame_too_many_costs_one_client(int tls)
{
    struct bench *bench = memory_bench(MEMORY);
    struct peer peers[PEERS];
    uint8_t large[30 * KIB] = {0};
    int open = PEERS;
    open_stalled(bench, peers, PEERS, tls);
    for (int i = 0; i < PEERS; i++) {
        bench_publish(bench, topic_of(i), large, sizeof large);
        bench_settle(bench);
        assert_true(memory_of(bench) <= MEMORY);
        assert_in_range(open_ones(bench, peers, PEERS), open - 1, open);
        open = open_ones(bench, peers, PEERS);
    }
    assert_true(memory_of(bench) > MEMORY - 2 * (int64_t)sizeof large);
    for (int i = 0; i < PEERS; i++)
        assert_int_equal(is_open(bench, &peers[i]),
                         i >= PEERS - open); /* those that waited longest are gone */
    end(bench, peers, PEERS);
}

static void one_frame_too_many_costs_one_client_over_ws(void **state)
{
    (void)state;
    one_frame_too_many_costs_one_client(0);
}

static void one_frame_too_many_costs_one_client_over_wss(void **state)
{
    (void)state;
    one_frame_too_many_costs_one_client(1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_waits_for_clients_that_do_not_read_is_not_on_its_way),
        cmocka_unit_test(memory_adds_up_over_ws),
        cmocka_unit_test(memory_adds_up_over_wss),
        cmocka_unit_test(outboxes_are_bounded_over_ws),
        cmocka_unit_test(outboxes_are_bounded_over_wss),
        cmocka_unit_test(who_has_taken_nothing_for_the_longest_time_goes_first),
        cmocka_unit_test(who_waits_for_nothing_any_more_stays_and_then_waits_anew),
        cmocka_unit_test(before_it_is_full_only_those_go_that_are_stuck),
        cmocka_unit_test(who_reads_less_than_the_kernel_tells_of_is_not_stuck),
        cmocka_unit_test(a_message_that_waits_for_many_counts_once),
        cmocka_unit_test(what_a_client_asked_for_and_does_not_read_counts_too),
        cmocka_unit_test(one_frame_too_many_costs_one_client_over_ws),
        cmocka_unit_test(one_frame_too_many_costs_one_client_over_wss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
