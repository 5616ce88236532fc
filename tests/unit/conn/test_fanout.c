/* Fan-out against a naive model, and the ways in which connections end while it is under way. */
#include "pool_bench.h"

#include <time.h>

enum { PEERS = 60, TOPICS = 6, STEPS = 1500, HISTORY = 4000 };

/* What a subscriber should have got: numbers of publications by topic. */
struct subscriber {
    struct peer peer;
    bool open;
    bool reads; /* else it is blocked, and may be closed as slow */
    bool topics[TOPICS];
    uint32_t expected[TOPICS]; /* publications to each of its topics since it came */
    uint32_t next[TOPICS];     /* of those, read so far */
    uint32_t first[TOPICS];    /* the topic's count when it came */
    bool closed;               /* read its close frame */
};

struct world {
    struct bench *bench;
    struct subscriber subscribers[PEERS];
    uint32_t published[TOPICS];
    uint64_t slow;
};

static const char *const names[TOPICS] = {"a", "b", "c", "d", "e", "f"};

static size_t payload_of(int topic, uint32_t number, uint8_t *out)
{
    static const size_t sizes[] = {12, 100, 126, 700, 3000, 20000, 60000};
    size_t bytes = sizes[(number * 7 + (uint32_t)topic) % 7];
    memset(out, 'a' + topic, bytes);
    memcpy(out, &topic, 4);
    memcpy(out + 4, &number, 4);
    return bytes;
}

static void come(struct world *world, struct subscriber *subscriber)
{
    char list[64] = "";
    *subscriber = (struct subscriber){.open = true, .reads = rand() % 3 > 0};
    int wanted = rand() % 3 ? 1 : 1 + rand() % TOPICS;
    for (int i = 0, t = rand() % TOPICS; i < wanted; i++, t = (t + 1) % TOPICS) {
        subscriber->topics[t] = true;
        subscriber->first[t] = world->published[t];
        size_t len = strlen(list);
        (void)snprintf(list + len, sizeof list - len, "%s%s", len ? "," : "", names[t]);
    }
    /* What waits in the topic's queue was published before, but may reach it, too: let it pass first. */
    while (fanout_pending(&world->bench->fanout))
        bench_turn(world->bench);
    subscriber->peer = peer_open(world->bench, rand() % 3, list, rand() % 2 ? 4608 : 0);
    peer_expect_101(world->bench, &subscriber->peer);
}

/* Everything that can be read now must continue what was read before, per topic without a gap. */
static size_t look(struct world *world, struct subscriber *subscriber)
{
    static uint8_t got[70000], wanted[70000];
    size_t bytes =
        peer_read(world->bench, &subscriber->peer, subscriber->reads ? SIZE_MAX : (size_t)(rand() % 2000));
    size_t at = 0;
    struct frame frame;
    while (frame_at(&subscriber->peer, &at, &frame)) {
        assert_false(subscriber->closed);
        if (frame.opcode == WS_CLOSE) {
            assert_int_equal(frame.payload[0] << 8 | frame.payload[1], WS_CLOSE_TRY_AGAIN_LATER);
            subscriber->closed = true;
            continue;
        }
        int topic;
        uint32_t number;
        assert_true(frame.opcode == WS_BINARY && frame.bytes >= 12);
        memcpy(&topic, frame.payload, 4);
        memcpy(&number, frame.payload + 4, 4);
        assert_in_range(topic, 0, TOPICS - 1);
        assert_true(subscriber->topics[topic]);
        assert_int_equal(number, subscriber->first[topic] + subscriber->next[topic]);
        assert_int_equal(frame.bytes, payload_of(topic, number, wanted));
        memcpy(got, frame.payload, frame.bytes);
        assert_memory_equal(got, wanted, frame.bytes);
        subscriber->next[topic]++;
    }
    if (at)
        buffer_consume(&subscriber->peer.plain, at);
    return bytes;
}

/* Closed only for being slow, which who reads never is; and else it has everything. */
static void settle_account(struct world *world, struct subscriber *subscriber)
{
    subscriber->reads = true;
    do
        bench_settle(world->bench);
    while (look(world, subscriber) > 0);
    if (subscriber->closed) {
        world->slow++;
        return;
    }
    for (int t = 0; t < TOPICS; t++)
        if (subscriber->topics[t])
            assert_int_equal(subscriber->first[t] + subscriber->next[t], world->published[t]);
}

static void leave(struct world *world, struct subscriber *subscriber, bool settled)
{
    if (settled)
        settle_account(world, subscriber);
    peer_fini(&subscriber->peer);
    subscriber->open = false;
}

static void every_subscriber_gets_its_topics_in_order_or_is_closed_as_slow(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 3; seed++) {
        srand(seed);
        struct settings settings = bench_settings();
        settings.limits.outbox_bytes = seed == 3 ? 0 : 200000;
        struct world *world = calloc(1, sizeof *world);
        world->bench = bench_new_with(&settings);
        world->bench->slice = seed == 2 ? 3 : 256; /* batches are interrupted often */
        static uint8_t payload[70000];
        for (int step = 0; step < STEPS; step++) {
            struct subscriber *subscriber = &world->subscribers[rand() % PEERS];
            int action = rand() % 10;
            if (!subscriber->open) {
                come(world, subscriber);
            } else if (action == 0) {
                leave(world, subscriber, rand() % 2);
            } else if (action < 3) {
                (void)look(world, subscriber);
            } else {
                int topic = rand() % TOPICS;
                for (int burst = rand() % 5 ? 1 : 1 + rand() % 20; burst > 0; burst--) {
                    size_t bytes = payload_of(topic, world->published[topic]++, payload);
                    bench_publish(world->bench, names[topic], payload, bytes);
                }
            }
            if (rand() % 4)
                bench_turn(world->bench);
        }
        for (int i = 0; i < PEERS; i++)
            if (world->subscribers[i].open)
                leave(world, &world->subscribers[i], true);
        if (seed == 3)
            assert_int_equal(bench_closes(world->bench, CLOSE_SLOW), 0);
        else
            assert_true(bench_closes(world->bench, CLOSE_SLOW) >= world->slow && world->slow > 0);
        bench_settle(world->bench);
        assert_false(fanout_pending(&world->bench->fanout));
        bench_fini(world->bench);
        free(world);
    }
}

/* Each of them ends in the middle of a batch, by being served. */
static void a_batch_survives_the_end_of_those_whom_it_serves(void **state)
{
    (void)state;
    srand(7);
    for (int round = 0; round < 40; round++) {
        struct settings settings = bench_settings();
        settings.limits.outbox_bytes = 1024;
        struct bench *bench = bench_new_with(&settings);
        bench->slice = 1 + (uint32_t)rand() % 20;
        enum { N = 40 };
        struct peer peers[N];
        bool gone[N];
        for (int i = 0; i < N; i++)
            peers[i] = peer_open(bench, rand() % 3, rand() % 2 ? "a" : "a,b,c", rand() % 2 ? 4608 : 0);
        uint8_t data[3000] = {0};
        for (int i = 0; i < N; i++) {
            gone[i] = rand() % 3 == 0;
            if (gone[i])
                peer_fini(&peers[i]); /* noticed by sending (EPIPE) or by reading, whichever comes first */
        }
        if (rand() % 2) { /* by sending */
            for (int i = 0; i < 30; i++)
                bench_publish(bench, i % 2 ? "a" : "b", data, sizeof data);
            pool_turn_begin(&bench->pool, bench->now);
            while (fanout_pending(&bench->fanout))
                (void)fanout_slice(&bench->fanout, bench->slice);
            pool_flush_dirty(&bench->pool);
            pool_tell_broker(&bench->pool);
            pool_free_closed(&bench->pool);
        } else {
            for (int i = 0; i < 30; i++) {
                bench_publish(bench, i % 2 ? "a" : "b", data, sizeof data);
                bench_turn(bench);
            }
        }
        bench_settle(bench);
        uint64_t ended = 0;
        for (int i = 0; i < CLOSE_REASON_COUNT; i++)
            ended += bench_closes(bench, (enum close_reason)i);
        uint64_t left = 0;
        for (int i = 0; i < N; i++)
            left += gone[i] || !peer_conn(bench, &peers[i]);
        assert_int_equal(ended, left);
        for (int i = 0; i < N; i++)
            if (!gone[i])
                peer_fini(&peers[i]);
        bench_settle(bench);
        bench_fini(bench);
    }
}

static void large_messages_do_not_make_a_slice_longer(void **state)
{
    (void)state;
    struct settings settings = bench_settings();
    settings.limits.outbox_bytes = 0;
    struct bench *bench = bench_new_with(&settings);
    enum { N = 100 };
    struct peer peers[N];
    for (int i = 0; i < N; i++)
        peers[i] = peer_open(bench, 0, "a", 0);
    static uint8_t data[64 * KIB];
    bench_publish(bench, "a", data, sizeof data);
    assert_in_range(fanout_slice(&bench->fanout, 64), 64, 80);
    uint64_t served = counter_read(&bench->stats.deliveries);
    assert_in_range(served, 5, 30); /* 64 KiB each: as much work as several small ones */
    for (int i = 0; i < N; i++)
        peer_drain(bench, &peers[i]);
    assert_int_equal(counter_read(&bench->stats.deliveries), N);
    for (int i = 0; i < N; i++) {
        peer_expect_101(bench, &peers[i]);
        assert_int_equal(peers[i].plain.len, sizeof data + 10);
        peer_fini(&peers[i]);
    }
    bench_settle(bench);
    bench_fini(bench);
}

static void messages_for_topics_that_nobody_has_any_more_are_given_back(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    struct peer peer = peer_open(bench, 0, "a", 0);
    for (int i = 0; i < 500; i++)
        bench_publish(bench, "a", "x", 1);
    peer_fini(&peer);
    bench_turn(bench);
    bench_settle(bench);
    bench_publish(bench, "a", "x", 1); /* the topic is gone, the broker does not know yet */
    assert_int_equal(atomic_load(&bench->gauges.inflight), 0);
    assert_false(fanout_pending(&bench->fanout));
    bench_fini(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_subscriber_gets_its_topics_in_order_or_is_closed_as_slow),
        cmocka_unit_test(a_batch_survives_the_end_of_those_whom_it_serves),
        cmocka_unit_test(large_messages_do_not_make_a_slice_longer),
        cmocka_unit_test(messages_for_topics_that_nobody_has_any_more_are_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
