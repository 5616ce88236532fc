/* Connections over socket pairs: what they read, what they send, how they end. */
#include "pool_bench.h"

/* CHACHA is the third of the ways to be connected: 0 ws, 1 wss. */
#define EACH_TRANSPORT(t) for (int t = 0; t <= CHACHA; t++) /* NOLINT(bugprone-macro-parentheses) */

static uint8_t *noise(size_t bytes)
{
    uint8_t *data = malloc(bytes);
    assert_non_null(data);
    for (size_t i = 0; i < bytes; i++)
        data[i] = (uint8_t)(i * 2654435761u >> 13);
    return data;
}

/* Opening and reading */

static void the_101_comes_first_and_early_frames_are_answered_behind_it(void **state)
{
    (void)state;
    EACH_TRANSPORT(t)
    {
        struct bench *bench = bench_new();
        uint8_t early[64];
        size_t bytes = masked(early, WS_TEXT, true, "hello", 5);
        bytes += masked(early + bytes, WS_PING, true, "p", 1);
        struct peer peer = peer_open_early(bench, t, "", 0, early, bytes);
        peer_drain(bench, &peer);
        peer_expect_101(bench, &peer);
        peer_expect(&peer, WS_TEXT, "hello", 5);
        peer_expect(&peer, WS_PONG, "p", 1);
        assert_null(peer_conn(bench, &peer)->extra); /* idle again: nothing is held */
        peer_fini(&peer);
        bench_settle(bench);
        assert_int_equal(bench_closes(bench, t ? CLOSE_TLS_TRUNCATED : CLOSE_PEER_EOF), 1);
        bench_fini(bench);
    }
}

/* Fragments with a ping between, small and large frames, a close. */
static size_t conversation(uint8_t *out)
{
    static uint8_t large[5000];
    memset(large, 'x', sizeof large);
    size_t n = masked(out, WS_TEXT, true, "one", 3);
    n += masked(out + n, WS_TEXT, false, "\xe2\x82", 2); /* a character in two fragments */
    n += masked(out + n, WS_PING, true, "between", 7);
    n += masked(out + n, WS_CONTINUATION, false, "", 0);
    n += masked(out + n, WS_CONTINUATION, true, "\xac!", 2);
    n += masked(out + n, WS_BINARY, true, large, sizeof large);
    n += masked(out + n, WS_BINARY, true, "", 0);
    n += masked(out + n, WS_CLOSE, true,
                "\x0f\xa0"
                "bye",
                5);
    return n;
}

static void expect_conversation(struct bench *bench, struct peer *peer)
{
    static uint8_t large[5000];
    memset(large, 'x', sizeof large);
    peer_expect_101(bench, peer);
    peer_expect(peer, WS_TEXT, "one", 3);
    peer_expect(peer, WS_PONG, "between", 7);
    peer_expect(peer, WS_TEXT, "\xe2\x82\xac!", 4);
    peer_expect(peer, WS_BINARY, large, sizeof large);
    peer_expect(peer, WS_BINARY, "", 0);
    peer_expect_close(peer, 4000);
}

static void frames_are_understood_however_their_bytes_are_split(void **state)
{
    (void)state;
    static uint8_t plain[8192], wire[16384];
    size_t plain_bytes = conversation(plain);
    EACH_TRANSPORT(t)
    {
        for (unsigned round = 0; round < 30; round++) {
            struct bench *bench = bench_new();
            struct peer peer = peer_open(bench, t, "", 0);
            size_t bytes = 0;
            if (t) { /* records that do not respect frames */
                srand(round);
                for (size_t at = 0; at < plain_bytes;) {
                    size_t take = 1 + (size_t)rand() % (round % 3 ? 40 : 6000);
                    take = take < plain_bytes - at ? take : plain_bytes - at;
                    if (bytes + take + TLS_RECORD_OVERHEAD > sizeof wire)
                        take = plain_bytes - at;
                    bytes +=
                        peer_seal(bench, &peer, TLS_CONTENT_APPLICATION_DATA, plain + at, take, wire + bytes);
                    at += take;
                    if (bytes + (plain_bytes - at) + (size_t)50 * TLS_RECORD_OVERHEAD > sizeof wire &&
                        at < plain_bytes) {
                        bytes += peer_seal(bench, &peer, TLS_CONTENT_APPLICATION_DATA, plain + at,
                                           plain_bytes - at, wire + bytes);
                        at = plain_bytes;
                    }
                }
            } else {
                memcpy(wire, plain, plain_bytes);
                bytes = plain_bytes;
            }
            srand(1000 + round);
            for (size_t at = 0; at < bytes;) {
                size_t take = round == 0 ? bytes : round == 1 ? 1 : 1 + (size_t)rand() % 300;
                take = take < bytes - at ? take : bytes - at;
                peer_send_raw(&peer, wire + at, take);
                at += take;
                bench_turn(bench);
            }
            peer_drain(bench, &peer);
            expect_conversation(bench, &peer);
            assert_true(peer.eof && !peer.reset);
            peer_fini(&peer);
            bench_settle(bench);
            assert_int_equal(bench_closes(bench, CLOSE_PEER), 1);
            bench_fini(bench);
        }
    }
}

static void messages_are_bounded_across_their_fragments(void **state)
{
    (void)state;
    struct settings settings = bench_settings();
    settings.limits.message_bytes = 1000;
    EACH_TRANSPORT(t)
    {
        struct bench *bench = bench_new_with(&settings);
        struct peer peer = peer_open(bench, t, "", 0);
        uint8_t *data = noise(1000);
        peer_frame(bench, &peer, WS_BINARY, false, data, 400);
        peer_frame(bench, &peer, WS_CONTINUATION, true, data + 400, 600);
        peer_drain(bench, &peer);
        peer_expect_101(bench, &peer);
        peer_expect(&peer, WS_BINARY, data, 1000);
        peer_frame(bench, &peer, WS_BINARY, false, data, 400);
        peer_frame(bench, &peer, WS_CONTINUATION, false, data, 600);
        peer_frame(bench, &peer, WS_CONTINUATION, true, data, 1);
        peer_drain(bench, &peer);
        peer_expect_close(&peer, WS_CLOSE_MESSAGE_TOO_BIG);
        assert_true(peer.eof && !peer.reset);
        free(data);
        peer_fini(&peer);
        bench_settle(bench);
        bench_fini(bench);
    }
}

/* Ends */

static void a_client_that_closes_hears_its_code_and_a_clean_end(void **state)
{
    (void)state;
    EACH_TRANSPORT(t)
    {
        struct bench *bench = bench_new();
        struct peer peer = peer_open(bench, t, "a,b", 0);
        peer_close_frame(bench, &peer, 1000);
        peer_drain(bench, &peer);
        peer_expect_101(bench, &peer);
        peer_expect_close(&peer, 1000);
        assert_true(peer.eof && !peer.reset);
        assert_int_equal(peer.notified, t != 0);
        peer_fini(&peer);
        bench_settle(bench);
        assert_int_equal(bench_closes(bench, CLOSE_PEER), 1);
        assert_int_equal(bench->pool.conns.used, 0);
        bench_fini(bench);
    }
}

static void what_follows_a_close_frame_does_not_reset_the_connection_under_ours(void **state)
{
    (void)state;
    EACH_TRANSPORT(t)
    {
        struct bench *bench = bench_new();
        struct peer peer = peer_open(bench, t, "", 0);
        uint8_t *data = noise(120 * KIB);
        peer_close_frame(bench, &peer, 1001);
        peer_send_raw(&peer, data, 120 * KIB); /* more than one read takes */
        bench_turn(bench);
        bench_turn(bench);
        peer_read(bench, &peer, SIZE_MAX);
        peer_expect_101(bench, &peer);
        peer_expect_close(&peer, 1001);
        bench_settle(bench);
        peer_read(bench, &peer, SIZE_MAX);
        assert_true(peer.eof && !peer.reset);
        free(data);
        peer_fini(&peer);
        bench_settle(bench);
        assert_int_equal(bench_closes(bench, CLOSE_PEER), 1);
        bench_fini(bench);
    }
}

static void a_client_that_ends_behind_its_close_frame_still_gets_all_that_waits(void **state)
{
    (void)state;
    EACH_TRANSPORT(t)
    {
        struct bench *bench = bench_new();
        struct peer peer = peer_open(bench, t, "news", 4608);
        uint8_t *data = noise(60 * KIB);
        bench_publish(bench, "news", data, 60 * KIB);
        bench_settle(bench);
        assert_true(counter_read(&bench->stats.outbox_bytes) > 0);
        peer_close_frame(bench, &peer, 1000);
        shutdown(peer.fd, SHUT_WR);
        peer_drain(bench, &peer);
        peer_expect_101(bench, &peer);
        peer_expect(&peer, WS_BINARY, data, 60 * KIB);
        peer_expect_close(&peer, 1000);
        assert_true(peer.eof && !peer.reset);
        assert_int_equal(peer.notified, t != 0);
        bench_settle(bench);
        assert_int_equal(bench->pool.conns.used, 0);
        assert_int_equal(bench_closes(bench, CLOSE_PEER), 1);
        free(data);
        peer_fini(&peer);
        bench_fini(bench);
    }
}

static void a_close_of_ours_lets_the_client_finish_its_message_and_answer(void **state)
{
    (void)state;
    EACH_TRANSPORT(t)
    {
        struct bench *bench = bench_new();
        struct peer peer = peer_open(bench, t, "", 0);
        peer_frame(bench, &peer, WS_TEXT, false, "be", 2);
        bench_settle(bench);
        conn_close(&bench->pool, peer_conn(bench, &peer), CLOSE_DRAIN, 0, NULL);
        bench_settle(bench);
        peer_frame(bench, &peer, WS_CONTINUATION, true, "gun", 3);
        peer_frame(bench, &peer, WS_TEXT, true, "one more", 8);
        peer_frame(bench, &peer, WS_PING, true, "", 0);
        peer_close_frame(bench, &peer, 1001);
        peer_drain(bench, &peer); /* no time passes: the deadline is not what ends it */
        peer_expect_101(bench, &peer);
        peer_expect_close(&peer, 1001);
        assert_true(peer.eof && !peer.reset);
        peer_fini(&peer);
        bench_settle(bench);
        assert_int_equal(bench_closes(bench, CLOSE_DRAIN), 1);
        bench_fini(bench);
    }
}

/* Frames that /ws does not take, or that are broken, cross our close frame: it ends without waiting for the
 * deadline. */
static void a_close_of_ours_does_not_wait_for_a_client_that_breaks_the_rules(void **state)
{
    (void)state;
    for (int broken = 0; broken < 2; broken++) {
        EACH_TRANSPORT(t)
        {
            struct bench *bench = bench_new();
            struct peer peer = peer_open(bench, t, "a", 0);
            conn_close(&bench->pool, peer_conn(bench, &peer), CLOSE_DRAIN, 0, NULL);
            bench_settle(bench);
            if (broken)
                peer_send(bench, &peer, "\xff\xff\xff\xff", 4);
            else
                peer_frame(bench, &peer, WS_TEXT, true, "not for you", 11);
            peer_drain(bench, &peer);
            peer_expect_101(bench, &peer);
            peer_expect_close(&peer, 1001);
            assert_true(peer.eof && !peer.reset);
            peer_fini(&peer);
            bench_settle(bench);
            assert_int_equal(bench_closes(bench, CLOSE_DRAIN), 1);
            bench_fini(bench);
        }
    }
}

static void a_client_that_never_answers_a_close_is_ended_by_the_deadline(void **state)
{
    (void)state;
    EACH_TRANSPORT(t)
    {
        struct bench *bench = bench_new();
        struct peer silent = peer_open(bench, t, "a", 0);
        struct peer lingering = peer_open(bench, t, "a", 0);
        struct peer blocked = peer_open(bench, t, "a", 4608);
        uint8_t *data = noise(30000);
        conn_close(&bench->pool, peer_conn(bench, &silent), CLOSE_DRAIN, 0, NULL);
        peer_send(bench, &lingering, "\xff\xff", 2);
        bench_publish(bench, "a", data, 30000);
        bench_settle(bench);
        conn_close(&bench->pool, peer_conn(bench, &blocked), CLOSE_DRAIN, 0, NULL);
        bench_pass(bench, 900);
        assert_int_equal(bench->pool.conns.used, 3);
        bench_pass(bench, 200);
        assert_int_equal(bench->pool.conns.used, 0);
        assert_int_equal(bench_closes(bench, CLOSE_DRAIN), 2);
        assert_int_equal(bench_closes(bench, CLOSE_PROTOCOL), 1);
        free(data);
        peer_fini(&silent);
        peer_fini(&lingering);
        peer_fini(&blocked);
        bench_fini(bench);
    }
}

static void a_slot_counts_as_load_until_it_can_be_given_out_again(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    struct peer peer = peer_open(bench, 0, "a", 0);
    pool_destroy(&bench->pool, peer_conn(bench, &peer), CLOSE_IDLE);
    assert_int_equal(bench->pool.conns.used, 1);
    assert_int_equal(atomic_load(&bench->port.load), 1); /* else an acceptor sends one that finds no slot */
    pool_free_closed(&bench->pool);
    assert_int_equal(atomic_load(&bench->port.load), 0);
    peer_fini(&peer);
    bench_fini(bench);
}

/* One leaves, another of a different protocol comes, in one turn: the count is the same, the encodings are
 * not. */
static void the_broker_hears_of_new_adapters_also_when_the_count_is_unchanged(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    struct peer peer = peer_open(bench, 0, "a", 0);
    bench_turn(bench);
    bench_forget_interest(bench);
    struct topics *topics = &bench->pool.topics;
    uint32_t index = topics_find(topics, "a", 1, topic_hash("a", 1)), position;
    pool_destroy(&bench->pool, peer_conn(bench, &peer), CLOSE_PEER_EOF);
    assert_true(topics_subscribe(topics, index, 0, ADAPTER_ECHO, &position));
    pool_tell_broker(&bench->pool);
    struct broker_interest *told = (struct broker_interest *)mailbox_detach(&bench->broker_mail);
    assert_non_null(told);
    assert_int_equal(told->subscribers, 1);
    assert_true(told->adapters & 1u << ADAPTER_ECHO);
    free(told);
    topics_unsubscribe(topics, index, position, NULL, NULL);
    peer_fini(&peer);
    bench_fini(bench);
}

/* Output */

static void partial_writes_lose_nothing(void **state)
{
    (void)state;
    EACH_TRANSPORT(t)
    {
        struct settings settings = bench_settings();
        settings.limits.outbox_bytes = 0;
        struct bench *bench = bench_new_with(&settings);
        struct peer peer = peer_open(bench, t, "news", 4608);
        struct peer several = peer_open(bench, t, "news,other", 4608);
        uint8_t *data = noise(60000);
        enum { MESSAGES = 60 };
        for (int i = 0; i < MESSAGES; i++) {
            bench_publish(bench, "news", data + i, 200 + (size_t)i * 900);
            if (i % 7 == 0)
                bench_turn(bench);
            if (i % 5 == 0)
                peer_frame(bench, &peer, WS_PING, true, &i, sizeof i);
            peer_read(bench, &peer, 3000);
        }
        peer_drain(bench, &peer);
        peer_drain(bench, &several);
        peer_expect_101(bench, &peer);
        peer_expect_101(bench, &several);
        uint8_t *got = malloc(64 * KIB);
        struct frame frame;
        int pongs = 0, messages = 0;
        while (peer_next(&peer, &frame, got)) {
            if (frame.opcode == WS_PONG) {
                int number;
                memcpy(&number, got, sizeof number);
                assert_int_equal(number, 5 * pongs++);
                continue;
            }
            assert_int_equal(frame.bytes, 200 + (size_t)messages * 900);
            assert_memory_equal(got, data + messages, frame.bytes);
            messages++;
        }
        assert_int_equal(messages, MESSAGES);
        assert_int_equal(pongs, MESSAGES / 5);
        for (messages = 0; peer_next(&several, &frame, got); messages++)
            assert_memory_equal(got, data + messages, frame.bytes);
        assert_int_equal(messages, MESSAGES);
        assert_null(peer_conn(bench, &peer)->extra);
        assert_int_equal(counter_read(&bench->stats.outbox_bytes), 0);
        free(got);
        free(data);
        peer_fini(&peer);
        peer_fini(&several);
        bench_fini(bench);
    }
}

static void keys_change_in_order_while_output_is_queued(void **state)
{
    (void)state;
    for (int suite = 1; suite <= CHACHA; suite++) {
        struct bench *bench = bench_new();
        struct peer peer = peer_open(bench, suite, "news", 4608);
        uint8_t *data = noise(60000), record[64];
        for (int i = 0; i < 3; i++) {
            bench_publish(bench, "news", data + i, 50000); /* blocks in the middle of a record */
            bench_settle(bench);
            peer_send_raw(&peer, record,
                          tls_post_key_update(bench->crypto, &peer.write, peer.suite, true, record));
            bench_settle(bench);
            if (i == 1) { /* enough records under one key: the gateway changes it by itself */
                struct conn_tls *tls = pool_tls(&bench->pool, peer_conn(bench, &peer));
                assert_int_equal(tls->write.seq_high, 0);
            }
        }
        peer_frame(bench, &peer, WS_PING, true, "x", 1); /* under the third key */
        peer_drain(bench, &peer);
        peer_expect_101(bench, &peer);
        for (int i = 0; i < 3; i++)
            peer_expect(&peer, WS_BINARY, data + i, 50000);
        peer_expect(&peer, WS_PONG, "x", 1);
        assert_in_range(peer.key_updates, 1, 3); /* RFC 8446 §4.6.3: one answer to several is enough */
        free(data);
        peer_fini(&peer);
        bench_fini(bench);
    }
}

static void a_flood_of_key_updates_costs_no_memory_and_ends(void **state)
{
    (void)state;
    enum { SILENT, TALKING, PATIENT, KINDS }; /* data between them changes nothing, but their pace does */
    for (int kind = 0; kind < KINDS; kind++) {
        struct bench *bench = bench_new();
        struct peer peer = peer_open(bench, 1, "a", 4608);
        uint8_t *data = noise(20000), record[64];
        bench_publish(bench, "a", data, 20000); /* and it never reads */
        bench_settle(bench);
        uint64_t before = counter_read(&bench->stats.outbox_bytes);
        struct conn *conn = peer_conn(bench, &peer);
        for (int i = 0; i < 3000 && conn && conn->state == CONN_OPEN; i++) {
            assert_true(kind == PATIENT || i <= TLS_KEY_UPDATES_MAX);
            if (kind == PATIENT && i % TLS_KEY_UPDATES_MAX == 0)
                bench->now += 1000 / WHEEL_TICK_MS;
            size_t bytes = tls_post_key_update(bench->crypto, &peer.write, peer.suite, true, record);
            peer_send_raw(&peer, record, bytes);
            if (kind != SILENT)
                peer_frame(bench, &peer, WS_PONG, true, "", 0);
            bench_turn(bench);
            conn = peer_conn(bench, &peer);
        }
        assert_true(counter_read(&bench->stats.outbox_bytes) <= before + 200);
        if (kind == PATIENT)
            assert_true(conn && conn->state == CONN_OPEN);
        else
            assert_int_equal(bench_closes(bench, CLOSE_TLS_ERROR), 1);
        free(data);
        peer_fini(&peer);
        bench_settle(bench);
        bench_fini(bench);
    }
}

static size_t seal_update(struct bench *bench, struct peer *peer, uint8_t *out)
{
    return tls_post_key_update(bench->crypto, &peer->write, peer->suite, true, out);
}

/* RFC 8446 §4.6.3 lets one answer several requests, and it stands in front of the next data. */
static void requests_of_one_turn_for_new_keys_get_one_answer(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    struct peer peer = peer_open(bench, 1, "", 0);
    uint8_t data[4 * KIB], pong[16];
    size_t bytes = 0, pong_bytes = masked(pong, WS_PONG, true, "", 0);
    peer_expect_101(bench, &peer);
    for (int i = 0; i < 10; i++) {
        bytes += seal_update(bench, &peer, data + bytes);
        bytes += peer_seal(bench, &peer, TLS_CONTENT_APPLICATION_DATA, pong, pong_bytes, data + bytes);
    }
    peer_send_raw(&peer, data, bytes);
    bench_turn(bench);
    peer_drain(bench, &peer);
    assert_int_equal(peer.key_updates, 1);
    peer_frame(bench, &peer, WS_PING, true, "x", 1);
    peer_drain(bench, &peer);
    peer_expect(&peer, WS_PONG, "x", 1);
    peer_fini(&peer);
    bench_fini(bench);
}

static void key_updates_that_the_gateway_asked_for_do_not_count(void **state)
{
    (void)state;
    enum { RECORDS_PER_KEY = 8 };
    struct bench *bench = bench_new();
    struct peer peer = peer_open(bench, 1, "a", 0);
    tls_crypto_limit_records(bench->pool.crypto, RECORDS_PER_KEY);
    for (int i = 0; i < 4 * TLS_KEY_UPDATES_MAX; i++) {
        uint8_t record[64];
        for (int j = 0; j < RECORDS_PER_KEY; j++)
            peer_frame(bench, &peer, WS_PONG, true, "", 0);
        peer_send_raw(&peer, record, seal_update(bench, &peer, record));
        bench_turn(bench);
    }
    bench_settle(bench);
    assert_int_equal(peer_conn(bench, &peer)->state, CONN_OPEN);
    peer_fini(&peer);
    bench_fini(bench);
}

/* Many times what a turn has for input, when each of them is charged for what it costs. */
static void key_updates_of_many_do_not_lengthen_a_turn(void **state)
{
    (void)state;
    enum { PEERS = 60 };
    struct bench *bench = bench_new();
    struct peer peers[PEERS];
    static uint8_t data[4 * KIB];
    for (int i = 0; i < PEERS; i++)
        peers[i] = peer_open(bench, 1, "a", 0);
    bench_settle(bench);
    for (int i = 0; i < PEERS; i++) {
        size_t bytes = 0;
        for (int j = 0; j < TLS_KEY_UPDATES_MAX; j++)
            bytes += seal_update(bench, &peers[i], data + bytes);
        peer_send_raw(&peers[i], data, bytes);
    }
    bench_turn(bench);
    assert_in_range(bench->pool.ready.count, PEERS / 2, PEERS - 2);
    bench_settle(bench);
    for (int i = 0; i < PEERS; i++) {
        peer_drain(bench, &peers[i]);
        assert_int_equal(peer_conn(bench, &peers[i])->state, CONN_OPEN);
        assert_int_equal(peers[i].key_updates, 1);
        peer_fini(&peers[i]);
    }
    bench_fini(bench);
}

static void tampered_records_get_their_alert_and_no_reset_overtakes_it(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    struct peer peer = peer_open(bench, 1, "a", 0);
    uint8_t *data = noise(120 * KIB), record[256];
    size_t bytes = peer_seal(bench, &peer, TLS_CONTENT_APPLICATION_DATA, data, 100, record);
    record[50] ^= 1;
    peer_send_raw(&peer, record, bytes);
    peer_send_raw(&peer, data, 120 * KIB);
    bench_turn(bench);
    peer_drain(bench, &peer);
    assert_int_equal(peer.alert, TLS_ALERT_BAD_RECORD_MAC);
    assert_true(peer.eof && !peer.reset);
    peer_fini(&peer);
    bench_settle(bench);
    assert_int_equal(bench_closes(bench, CLOSE_TLS_ERROR), 1);
    free(data);
    bench_fini(bench);
}

static void a_fatal_alert_is_the_last_thing_that_is_sent(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    struct peer peer = peer_open(bench, 1, "a,b", 0);
    bench_publish(bench, "a", "waits for the end of the turn", 29);
    pool_turn_begin(&bench->pool, bench->now);
    (void)fanout_slice(&bench->fanout, 256);
    peer_send_raw(&peer, "\x17\x03\x03\xff\xff", 5);
    struct conn *conn = peer_conn(bench, &peer);
    conn_readable(&bench->pool, conn, false);
    pool_flush_dirty(&bench->pool);
    peer_drain(bench, &peer); /* asserts that nothing follows an alert */
    assert_int_equal(peer.alert, TLS_ALERT_RECORD_OVERFLOW);
    peer_fini(&peer);
    bench_settle(bench);
    bench_fini(bench);
}

static void ends_over_tls_are_told_apart(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    struct peer cut = peer_open(bench, 1, "a", 0), notified = peer_open(bench, 1, "a", 0);
    struct peer alerting = peer_open(bench, 1, "a", 0);
    uint8_t record[64];
    shutdown(cut.fd, SHUT_WR);
    peer_send_raw(
        &notified, record,
        tls_post_alert(bench->crypto, &notified.write, notified.suite, TLS_ALERT_CLOSE_NOTIFY, record));
    peer_send_raw(
        &alerting, record,
        tls_post_alert(bench->crypto, &alerting.write, alerting.suite, TLS_ALERT_INTERNAL_ERROR, record));
    peer_drain(bench, &notified);
    assert_true(notified.notified && notified.eof);
    assert_int_equal(bench_closes(bench, CLOSE_TLS_TRUNCATED), 1);
    assert_int_equal(bench_closes(bench, CLOSE_PEER_EOF), 1);
    assert_int_equal(bench_closes(bench, CLOSE_TLS_ALERT), 1);
    peer_fini(&cut);
    peer_fini(&notified);
    peer_fini(&alerting);
    bench_fini(bench);
}

/* One system call: over SOCK_SEQPACKET each is a packet. */
static void a_connection_of_several_topics_gets_a_turn_in_one_system_call(void **state)
{
    (void)state;
    for (int tls = 0; tls < 2; tls++) {
        struct bench *bench = bench_new();
        bench->socket_type = SOCK_SEQPACKET;
        struct peer peer = peer_open(bench, tls, "a,b,c", 0);
        peer_read(bench, &peer, SIZE_MAX);
        uint8_t packet[4096];
        for (int i = 0; i < 9; i++)
            bench_publish(bench, i % 3 == 0 ? "a" : i % 3 == 1 ? "b" : "c", "0123456789", 10);
        bench_turn(bench);
        ssize_t n = recv(peer.fd, packet, sizeof packet, MSG_DONTWAIT);
        assert_int_equal(n, 9 * 12 + (tls ? TLS_RECORD_OVERHEAD : 0));
        assert_int_equal(recv(peer.fd, packet, sizeof packet, MSG_DONTWAIT), -1);
        peer_fini(&peer);
        bench_settle(bench);
        bench_fini(bench);
    }
}

static uint64_t packets_waiting(int fd)
{
    uint64_t packets = 0;
    static uint8_t packet[256 * KIB];
    while (recv(fd, packet, sizeof packet, MSG_DONTWAIT) > 0)
        packets++;
    return packets;
}

static void a_burst_of_pings_is_answered_in_few_system_calls(void **state)
{
    (void)state;
    for (int tls = 0; tls < 2; tls++) {
        struct bench *bench = bench_new();
        bench->socket_type = SOCK_SEQPACKET;
        struct peer peer = peer_open(bench, tls, "a", 0);
        peer_read(bench, &peer, SIZE_MAX);
        uint8_t burst[12000];
        size_t bytes = 0;
        while (bytes + 6 <= sizeof burst)
            bytes += masked(burst + bytes, WS_PING, true, "", 0);
        peer_send(bench, &peer, burst, bytes);
        bench_turn(bench);
        assert_in_range(packets_waiting(peer.fd), 2, 40); /* 2,000 pongs */
        peer_fini(&peer);
        bench_settle(bench);
        bench_fini(bench);
    }
}

static void every_ping_and_message_of_a_burst_is_answered_in_order(void **state)
{
    (void)state;
    EACH_TRANSPORT(t)
    {
        struct settings settings = bench_settings();
        settings.limits.outbox_bytes = 4096; /* far less than the answers: a client that reads is not slow */
        struct bench *bench = bench_new_with(&settings);
        struct peer peer = peer_open(bench, t, "", 0);
        uint8_t burst[15000];
        size_t bytes = 0;
        uint16_t sent = 0;
        for (; bytes + 20 <= sizeof burst; sent++)
            bytes += masked(burst + bytes, sent % 3 ? WS_PING : WS_BINARY, true, &sent, sizeof sent);
        peer_send(bench, &peer, burst, bytes);
        peer_drain(bench, &peer);
        peer_expect_101(bench, &peer);
        for (uint16_t i = 0; i < sent; i++)
            peer_expect(&peer, i % 3 ? WS_PONG : WS_BINARY, &i, sizeof i);
        peer_fini(&peer);
        bench_settle(bench);
        bench_fini(bench);
    }
}

static void a_turn_reads_a_bounded_amount_from_all_flooders_together(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    enum { FLOODERS = 40 };
    struct peer peers[FLOODERS];
    uint8_t *pings = malloc(60000);
    size_t bytes = 0;
    while (bytes + 131 <= 60000)
        bytes += masked(pings + bytes, WS_PONG, true, pings, 0);
    for (int i = 0; i < FLOODERS; i++) {
        peers[i] = peer_open(bench, 0, "a", 0);
        peer_send_raw(&peers[i], pings, bytes);
    }
    uint64_t worst = 0, before = 0;
    for (int turn = 0; turn < 100; turn++) {
        bench_turn(bench);
        uint64_t now = counter_read(&bench->stats.bytes_in);
        worst = now - before > worst ? now - before : worst;
        before = now;
    }
    assert_int_equal(before, (uint64_t)FLOODERS * bytes); /* all of it in the end */
    assert_true(worst <= 1024 * KIB);
    for (int i = 0; i < FLOODERS; i++)
        peer_fini(&peers[i]);
    bench_settle(bench);
    free(pings);
    bench_fini(bench);
}

/* Bounds */

static uint64_t cost(const struct outbox *outbox)
{
    return outbox->bytes + (uint64_t)outbox->count * sizeof(struct outbox_item);
}

/* Whoever does not read holds no more than limits.outbox_bytes, however small the frames are. */
static void a_flood_without_reading_is_bounded_in_memory_not_only_in_payload(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        EACH_TRANSPORT(t)
        {
            struct settings settings = bench_settings();
            settings.limits.outbox_bytes = 16 * KIB;
            struct bench *bench = bench_new_with(&settings);
            struct peer peer = peer_open(bench, t, kind == 2 ? "tiny" : "", 4608);
            uint64_t most = 0;
            for (int i = 0;
                 i < 100000 && peer_conn(bench, &peer) && peer_conn(bench, &peer)->state == CONN_OPEN; i++) {
                if (kind == 2)
                    bench_publish(bench, "tiny", "x", 1);
                else
                    peer_frame(bench, &peer, kind ? WS_PING : WS_BINARY, true, "x", 1);
                bench_turn(bench);
                struct conn *conn = peer_conn(bench, &peer);
                if (conn && conn->extra && cost(&conn->extra->outbox) > most)
                    most = cost(&conn->extra->outbox);
            }
            struct conn *conn = peer_conn(bench, &peer);
            assert_true(conn && conn->state != CONN_OPEN && conn->reason == CLOSE_SLOW);
            assert_true(most <= 16 * KIB + 256); /* the close frame goes beyond */
            assert_true(most > 12 * KIB);
            peer_fini(&peer);
            bench_settle(bench);
            bench_fini(bench);
        }
    }
}

/* What the client was counted as missing and what it got are all there was, also when it is closed in the
 * middle of a batch. */
static void the_bound_holds_and_every_missed_message_is_counted(void **state)
{
    (void)state;
    EACH_TRANSPORT(t)
    {
        for (int burst = 1; burst <= 64; burst += 21) {
            struct settings settings = bench_settings();
            settings.limits.outbox_bytes = 20000;
            struct bench *bench = bench_new_with(&settings);
            struct peer peer = peer_open(bench, t, burst % 2 ? "a" : "a,b", 4608);
            uint8_t *data = noise(2000);
            uint64_t published = 0;
            while (peer_conn(bench, &peer)->state == CONN_OPEN) {
                for (int i = 0; i < burst; i++)
                    bench_publish(bench, "a", data, 700);
                published += (uint64_t)burst;
                bench_turn(bench);
                const struct conn *conn = peer_conn(bench, &peer);
                assert_true(!conn->extra ||
                            conn->extra->outbox.bytes <= settings.limits.outbox_bytes + 16 * KIB + 64);
            }
            uint64_t missed = counter_read(&bench->stats.drops);
            assert_true(missed > 0);
            peer_drain(bench, &peer);
            peer_expect_101(bench, &peer);
            uint64_t got = 0;
            uint8_t payload[4096] = {0};
            struct frame frame = {0};
            while (peer_next(&peer, &frame, payload) && frame.opcode == WS_BINARY)
                got++;
            assert_int_equal(frame.opcode, WS_CLOSE);
            assert_int_equal(payload[0] << 8 | payload[1], 1013);
            uint64_t deliveries = counter_read(&bench->stats.deliveries);
            assert_int_equal(got + missed, deliveries);
            assert_in_range(deliveries, published - (uint64_t)burst + 1,
                            published); /* then it was no subscriber */
            assert_int_equal(counter_read(&bench->stats.drops), missed);
            free(data);
            peer_fini(&peer);
            bench_settle(bench);
            assert_int_equal(bench_closes(bench, CLOSE_SLOW), 1);
            bench_fini(bench);
        }
    }
}

static void a_message_beyond_the_bound_reaches_whoever_reads_whatever_its_topics(void **state)
{
    (void)state;
    EACH_TRANSPORT(t)
    {
        struct settings settings = bench_settings();
        settings.limits.outbox_bytes = 4096;
        struct bench *bench = bench_new_with(&settings);
        struct peer one = peer_open(bench, t, "a", 4608), several = peer_open(bench, t, "a,b", 4608);
        uint8_t *data = noise(60000);
        bench_publish(bench, "b", "small, before it", 16);
        bench_publish(bench, "a", data, 60000);
        peer_expect_101(bench, &one);
        peer_expect_101(bench, &several); /* their buffers are free again */
        peer_drain(bench, &one);
        peer_drain(bench, &several);
        peer_expect(&one, WS_BINARY, data, 60000);
        peer_expect(&several, WS_BINARY, "small, before it", 16);
        peer_expect(&several, WS_BINARY, data, 60000);
        assert_int_equal(counter_read(&bench->stats.drops), 0);
        free(data);
        peer_fini(&one);
        peer_fini(&several);
        bench_settle(bench);
        bench_fini(bench);
    }
}

/* Deadlines */

static struct settings with_pings(void)
{
    struct settings settings = bench_settings();
    settings.idle.timeout = 1000;
    settings.idle.ping_interval = 300;
    return settings;
}

static void the_idle_are_pinged_and_the_silent_are_ended(void **state)
{
    (void)state;
    struct settings settings = with_pings();
    EACH_TRANSPORT(t)
    {
        struct bench *bench = bench_new_with(&settings);
        struct peer silent = peer_open(bench, t, "a", 0), alive = peer_open(bench, t, "a", 0);
        for (int i = 0; i < 40; i++) {
            bench_pass(bench, 50);
            if (i % 10 == 9)
                peer_frame(bench, &alive, WS_PONG, true, "", 0);
        }
        assert_null(peer_conn(bench, &silent));
        assert_non_null(peer_conn(bench, &alive));
        peer_read(bench, &silent, SIZE_MAX);
        peer_expect_101(bench, &silent);
        peer_expect(&silent, WS_PING, "", 0);
        while (silent.plain.len > 4 && silent.plain.data[0] == (0x80 | WS_PING))
            peer_expect(&silent, WS_PING, "", 0);
        peer_expect_close(&silent, 1001);
        assert_true(silent.eof && !silent.reset);
        assert_int_equal(bench_closes(bench, CLOSE_IDLE), 1);
        peer_fini(&silent);
        peer_fini(&alive);
        bench_settle(bench);
        bench_fini(bench);
    }
}

static void the_last_messages_of_an_idle_client_go_before_its_close_frame(void **state)
{
    (void)state;
    struct settings settings = with_pings();
    EACH_TRANSPORT(t)
    {
        struct bench *bench = bench_new_with(&settings);
        struct peer peer = peer_open(bench, t, "a,b", 0);
        bench_publish(bench, "b", "last", 4);
        bench->now += 200; /* idle in the turn that has a message for it */
        bench_turn(bench);
        peer_drain(bench, &peer);
        peer_expect_101(bench, &peer);
        peer_expect(&peer, WS_BINARY, "last", 4);
        peer_expect_close(&peer, 1001);
        assert_int_equal(peer.notified, t != 0);
        assert_true(peer.eof && !peer.reset);
        peer_fini(&peer);
        bench_fini(bench);
    }
}

/* Its own frames keep it from being idle, but what waits for it waits in our memory and holds publishers up.
 */
static void a_client_that_talks_but_takes_nothing_is_ended(void **state)
{
    (void)state;
    struct settings settings = with_pings();
    EACH_TRANSPORT(t)
    {
        struct bench *bench = bench_new_with(&settings);
        struct peer peer = peer_open(bench, t, "a", 4608);
        uint8_t *data = noise(60000);
        bench_publish(bench, "a", data, 60000);
        for (int i = 0; i < 100 && peer_conn(bench, &peer); i++) {
            peer_frame(bench, &peer, WS_PONG, true, "", 0);
            bench_pass(bench, 50);
        }
        assert_null(peer_conn(bench, &peer));
        assert_int_equal(bench_closes(bench, CLOSE_SLOW), 1);
        assert_int_equal(atomic_load(&bench->gauges.inflight), 0);
        free(data);
        peer_fini(&peer);
        bench_fini(bench);
    }
}

static void a_client_that_takes_a_little_at_a_time_is_not_ended(void **state)
{
    (void)state;
    struct settings settings = with_pings();
    EACH_TRANSPORT(t)
    {
        struct bench *bench = bench_new_with(&settings);
        struct peer peer = peer_open(bench, t, "a", 4608);
        uint8_t *data = noise(60000);
        bench_publish(bench, "a", data, 60000);
        for (int i = 0; i < 100; i++) {
            peer_frame(bench, &peer, WS_PONG, true, "", 0);
            bench_pass(bench, 50);
            peer_read(bench, &peer, 4000);
        }
        peer_drain(bench, &peer);
        peer_expect_101(bench, &peer);
        peer_expect(&peer, WS_BINARY, data, 60000);
        free(data);
        peer_fini(&peer);
        bench_settle(bench);
        bench_fini(bench);
    }
}

static void output_goes_on_at_the_next_ping_when_the_kernel_never_said_so(void **state)
{
    (void)state;
    struct settings settings = with_pings();
    EACH_TRANSPORT(t)
    {
        struct bench *bench = bench_new_with(&settings);
        struct peer peer = peer_open(bench, t, "a", 4608);
        uint8_t *data = noise(20000);
        bench_publish(bench, "a", data, 20000);
        bench_settle(bench);
        for (int i = 0; i < 30; i++) { /* each event is lost, as when memory was short and then was not */
            struct epoll_event events[8];
            peer_read(bench, &peer, SIZE_MAX);
            (void)epoll_wait(bench->pool.epoll_fd, events, 8, 0);
            bench->now += 30;
            pool_turn_begin(&bench->pool, bench->now);
            peer_conn(bench, &peer)->last_heard = bench->now;
            pool_advance(&bench->pool);
            pool_flush_dirty(&bench->pool);
        }
        peer_read(bench, &peer, SIZE_MAX);
        peer_expect_101(bench, &peer);
        peer_expect(&peer, WS_BINARY, data, 20000);
        free(data);
        peer_fini(&peer);
        bench_settle(bench);
        bench_fini(bench);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_101_comes_first_and_early_frames_are_answered_behind_it),
        cmocka_unit_test(frames_are_understood_however_their_bytes_are_split),
        cmocka_unit_test(messages_are_bounded_across_their_fragments),
        cmocka_unit_test(a_client_that_closes_hears_its_code_and_a_clean_end),
        cmocka_unit_test(what_follows_a_close_frame_does_not_reset_the_connection_under_ours),
        cmocka_unit_test(a_client_that_ends_behind_its_close_frame_still_gets_all_that_waits),
        cmocka_unit_test(a_close_of_ours_lets_the_client_finish_its_message_and_answer),
        cmocka_unit_test(a_close_of_ours_does_not_wait_for_a_client_that_breaks_the_rules),
        cmocka_unit_test(a_client_that_never_answers_a_close_is_ended_by_the_deadline),
        cmocka_unit_test(a_slot_counts_as_load_until_it_can_be_given_out_again),
        cmocka_unit_test(the_broker_hears_of_new_adapters_also_when_the_count_is_unchanged),
        cmocka_unit_test(partial_writes_lose_nothing),
        cmocka_unit_test(keys_change_in_order_while_output_is_queued),
        cmocka_unit_test(a_flood_of_key_updates_costs_no_memory_and_ends),
        cmocka_unit_test(requests_of_one_turn_for_new_keys_get_one_answer),
        cmocka_unit_test(key_updates_that_the_gateway_asked_for_do_not_count),
        cmocka_unit_test(key_updates_of_many_do_not_lengthen_a_turn),
        cmocka_unit_test(tampered_records_get_their_alert_and_no_reset_overtakes_it),
        cmocka_unit_test(a_fatal_alert_is_the_last_thing_that_is_sent),
        cmocka_unit_test(ends_over_tls_are_told_apart),
        cmocka_unit_test(a_connection_of_several_topics_gets_a_turn_in_one_system_call),
        cmocka_unit_test(a_burst_of_pings_is_answered_in_few_system_calls),
        cmocka_unit_test(every_ping_and_message_of_a_burst_is_answered_in_order),
        cmocka_unit_test(a_turn_reads_a_bounded_amount_from_all_flooders_together),
        cmocka_unit_test(a_flood_without_reading_is_bounded_in_memory_not_only_in_payload),
        cmocka_unit_test(the_bound_holds_and_every_missed_message_is_counted),
        cmocka_unit_test(a_message_beyond_the_bound_reaches_whoever_reads_whatever_its_topics),
        cmocka_unit_test(the_idle_are_pinged_and_the_silent_are_ended),
        cmocka_unit_test(the_last_messages_of_an_idle_client_go_before_its_close_frame),
        cmocka_unit_test(a_client_that_talks_but_takes_nothing_is_ended),
        cmocka_unit_test(a_client_that_takes_a_little_at_a_time_is_not_ended),
        cmocka_unit_test(output_goes_on_at_the_next_ping_when_the_kernel_never_said_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
