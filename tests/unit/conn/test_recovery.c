/* Joining a topic with what was missed: a real broker and its engine, one pool, raw clients that come, go and
 * come back with ?since=, a reactor that is slow as chance will have it. Checked against the plain list of
 * what was published: whoever has not been told of a gap has every message once and in order. */
#include "broker_bench.h"

#include "gateway/adapter/identity.h"

enum { CLIENTS = 12, STEPS = 4000, HISTORY = 40 };

struct stage {
    struct broker_bench own;
    struct topic_rule rule;
    uint64_t published; /* the payload of message n is n as text, and n is its offset */
    uint64_t random;
};

static uint32_t chance(struct stage *stage, uint32_t of)
{
    stage->random = stage->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(stage->random >> 33) % of;
}

static struct stage *stage_new(uint64_t seed)
{
    struct stage *stage = calloc(1, sizeof *stage);
    assert_non_null(stage);
    stage->random = seed;
    stage->rule =
        (struct topic_rule){.name = (char *)(uintptr_t) "*", .history_size = HISTORY, .recover = true};
    struct settings settings = bench_settings();
    settings.topics.rules = &stage->rule;
    settings.topics.count = 1;
    broker_bench_init(&stage->own, &settings, 1000, 0);
    return stage;
}

static void stage_free(struct stage *stage)
{
    broker_bench_fini(&stage->own);
    free(stage);
}

static void publish(struct stage *stage, const char *topic)
{
    char text[32];
    int bytes = snprintf(text, sizeof text, "%llu", (unsigned long long)++stage->published);
    assert_true(broker_publish(stage->own.broker, topic, strlen(topic), text, (size_t)bytes) >= 0);
}

struct client {
    struct peer peer;
    bool open;
    bool greeted;
    uint64_t since; /* the last message it has */
    uint64_t gaps;
    uint64_t got;
};

static void come(struct stage *stage, struct client *client)
{
    stage->own.bench->like =
        (struct transfer_record){.ask_broker = 1, .since_set = 1, .since_offset = client->since};
    client->peer = peer_open(stage->own.bench, 0, "t", 0);
    client->open = true;
    client->greeted = false;
}

static void go(struct client *client)
{
    peer_fini(&client->peer);
    client->open = false;
}

/* Reads what has come: the numbers must follow on one another without exception, until a close frame says
 * that they do not. */
static void read_client(struct stage *stage, struct client *client)
{
    if (!client->greeted) {
        peer_expect_101(stage->own.bench, &client->peer);
        client->greeted = true;
    }
    peer_read(stage->own.bench, &client->peer, SIZE_MAX);
    uint8_t payload[64 * KIB] = {0};
    struct frame frame;
    while (peer_next(&client->peer, &frame, payload)) {
        if (frame.opcode == WS_CLOSE) {
            assert_int_equal(payload[0] << 8 | payload[1], 4410);
            assert_true(stage->published - client->since > HISTORY); /* only when it is true */
            client->gaps++;
            go(client);
            client->since = stage->published; /* begins anew, now */
            return;
        }
        payload[frame.bytes] = 0;
        uint64_t number = strtoull((const char *)payload, NULL, 10);
        if (number != client->since + 1)
            fail_msg("message %llu came after %llu", (unsigned long long)number,
                     (unsigned long long)client->since);
        client->since = number;
        client->got++;
    }
}

static void step(struct stage *stage, struct client *clients)
{
    struct client *client = &clients[chance(stage, CLIENTS)];
    switch (chance(stage, 8)) {
    case 0:
    case 1:
        for (uint32_t n = chance(stage, 6); n > 0; n--)
            publish(stage, "t");
        break;
    case 2:
        broker_drain_mail(stage->own.broker);
        break;
    case 3:
        broker_flush(stage->own.broker);
        break;
    case 4:
        broker_bench_take_mail(&stage->own);
        break;
    case 5:
        stage->own.bench->slice = 1 + chance(stage, 7);
        (void)bench_turn(stage->own.bench);
        break;
    case 6:
        if (!client->open)
            come(stage, client);
        else if (chance(stage, 4) == 0) {
            if (chance(stage, 2))
                read_client(stage, client); /* else what it has not read is not its own yet */
            if (client->open)
                go(client);
        }
        break;
    default:
        if (client->open)
            read_client(stage, client);
    }
}

static void whoever_comes_back_misses_nothing_and_sees_nothing_twice(void **state)
{
    (void)state;
    uint64_t got = 0, gaps = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct stage *stage = stage_new(seed);
        struct client clients[CLIENTS] = {0};
        for (int i = 0; i < STEPS; i++)
            step(stage, clients);
        broker_bench_settle(&stage->own);
        for (int i = 0; i < CLIENTS; i++) {
            if (clients[i].open) {
                read_client(stage, &clients[i]);
                if (clients[i].open)
                    assert_int_equal(clients[i].since, stage->published);
            }
            got += clients[i].got;
            gaps += clients[i].gaps;
            peer_fini(&clients[i].peer);
        }
        stage_free(stage);
    }
    assert_true(got > 10000 && gaps > 10); /* the test has met what it is about */
}

static void a_topic_with_max_subscribers_refuses_one_more(void **state)
{
    (void)state;
    struct stage *stage = stage_new(1);
    stage->rule.max_subscribers = 2;
    stage->own.bench->like = (struct transfer_record){.ask_broker = 1};
    struct peer peers[3];
    for (int i = 0; i < 3; i++) {
        peers[i] = peer_open(stage->own.bench, 0, "t", 0);
        broker_bench_settle(&stage->own);
        peer_expect_101(stage->own.bench, &peers[i]);
    }
    peer_expect_close(&peers[2], 1013);
    peer_fini(&peers[0]);
    broker_bench_settle(&stage->own);
    struct peer again = peer_open(stage->own.bench, 0, "t", 0);
    broker_bench_settle(&stage->own);
    peer_expect_101(stage->own.bench, &again);
    publish(stage, "t");
    broker_bench_settle(&stage->own);
    peer_read(stage->own.bench, &again, SIZE_MAX);
    peer_expect(&again, WS_TEXT, "1", 1);
    for (int i = 1; i < 3; i++)
        peer_fini(&peers[i]);
    peer_fini(&again);
    stage_free(stage);
}

static void whoever_counts_from_a_position_is_closed_rather_than_left_without_a_message(void **state)
{
    (void)state;
    struct stage *stage = stage_new(1);
    stage->rule.slow_consumer = SLOW_DROP_OLDEST;
    stage->own.bench->settings.limits.outbox_bytes = 2000;
    publish(stage, "t");
    stage->own.bench->like = (struct transfer_record){.ask_broker = 1, .since_set = 1};
    struct peer peer = peer_open(stage->own.bench, 0, "t", 2048);
    broker_bench_settle(&stage->own);
    for (int i = 0; i < 2000; i++) {
        publish(stage, "t");
        if (i % 5 == 0)
            broker_bench_settle(&stage->own);
    }
    broker_bench_settle(&stage->own);
    peer_expect_101(stage->own.bench, &peer);
    peer_drain(stage->own.bench, &peer);
    uint8_t payload[64 * KIB];
    struct frame frame;
    uint64_t count = 0;
    bool closed = false;
    while (peer_next(&peer, &frame, payload)) {
        assert_false(closed);
        payload[frame.bytes] = 0;
        closed = frame.opcode == WS_CLOSE;
        if (closed)
            assert_int_equal(payload[0] << 8 | payload[1], 1013);
        else
            assert_int_equal(strtoull((const char *)payload, NULL, 10), ++count);
    }
    assert_true(closed && count > 0 && count < 2000);
    peer_fini(&peer);
    stage_free(stage);
}

static void who_has_missed_very_much_is_sent_it_in_parts(void **state)
{
    (void)state;
    enum { MISSED = 6000, AT_ONCE = 4 * 1024 * 1024 };
    struct stage *stage = stage_new(1);
    stage->rule.history_size = MISSED;
    stage->own.bench->settings.limits.outbox_bytes =
        0; /* all at once is the gateway's choice, not the client's */
    char payload[1000];
    for (int i = 1; i <= MISSED; i++) {
        memset(payload, ' ', sizeof payload);
        payload[snprintf(payload, sizeof payload, "%d", i)] = ' ';
        assert_true(broker_publish(stage->own.broker, "t", 1, payload, sizeof payload) >= 0);
    }
    uint64_t since = 0;
    for (int part = 0; part < 2; part++) {
        stage->own.bench->like =
            (struct transfer_record){.ask_broker = 1, .since_set = 1, .since_offset = since};
        struct peer peer = peer_open(stage->own.bench, 0, "t", 0);
        broker_bench_settle(&stage->own);
        peer_expect_101(stage->own.bench, &peer);
        peer_drain(stage->own.bench, &peer);
        static uint8_t got[64 * KIB];
        struct frame frame;
        bool closed = false;
        while (peer_next(&peer, &frame, got)) {
            assert_false(closed);
            closed = frame.opcode == WS_CLOSE;
            if (closed)
                assert_int_equal(got[0] << 8 | got[1], 1013);
            else
                assert_int_equal(strtoull((const char *)got, NULL, 10), ++since);
        }
        assert_int_equal(closed, part == 0);
        if (part == 0)
            assert_in_range(since, AT_ONCE / 1100, AT_ONCE / 1000);
        peer_fini(&peer);
    }
    assert_int_equal(since, MISSED);
    stage_free(stage);
}

/* Whoever has seen the 101 is reached by what is published from then on: so the broker is asked before. */
static void the_broker_is_asked_before_the_upgrade_is_answered(void **state)
{
    (void)state;
    struct stage *stage = stage_new(1);
    stage->own.bench->like = (struct transfer_record){.ask_broker = 1};
    stage->own.bench->vanished = true; /* its 101 cannot be sent: with that it ends */
    struct peer peer = peer_open(stage->own.bench, 0, "t", 0);
    assert_null(peer_conn(stage->own.bench, &peer));
    struct mailbox *mail = broker_mailbox(stage->own.broker);
    uint32_t interest = 0, asked = 0;
    for (struct mailbox_node *node = mailbox_detach(mail), *next; node; node = next) {
        next = node->next;
        interest += ((struct mail *)node)->kind == MAIL_INTEREST;
        if (((struct mail *)node)->kind == MAIL_REQUEST) {
            assert_int_equal(interest, 1); /* which comes first of all */
            assert_int_equal(((struct broker_request *)node)->op, BROKER_SUBSCRIBE);
            asked++;
        }
        mailbox_push(mail, node);
    }
    assert_int_equal(asked, 1);
    peer_fini(&peer);
    stage_free(stage);
}

static void who_leaves_before_the_answer_is_not_joined(void **state)
{
    (void)state;
    struct stage *stage = stage_new(1);
    publish(stage, "t");
    stage->own.bench->like = (struct transfer_record){.ask_broker = 1, .since_set = 1};
    struct peer gone = peer_open(stage->own.bench, 0, "t", 0);
    broker_drain_mail(stage->own.broker); /* the answer is on its way */
    peer_fini(&gone);
    bench_settle(stage->own.bench);
    struct peer other = peer_open(stage->own.bench, 0, "t", 0); /* in the same slot */
    broker_bench_settle(&stage->own);
    peer_expect_101(stage->own.bench, &other);
    peer_expect(&other, WS_TEXT, "1", 1);
    publish(stage, "t");
    broker_bench_settle(&stage->own);
    peer_read(stage->own.bench, &other, SIZE_MAX);
    peer_expect(&other, WS_TEXT, "2", 1);
    assert_int_equal(other.plain.len, 0);
    peer_fini(&other);
    stage_free(stage);
}

/* What the reactor tells the broker next, which stays where it is: true when it is that nobody wants "u" any
 * more. */
static bool is_about_to_forget_u(struct stage *stage)
{
    struct mailbox *mail = broker_mailbox(stage->own.broker);
    bool forget = false;
    for (struct mailbox_node *node = mailbox_detach(mail), *next; node; node = next) {
        next = node->next;
        const struct broker_interest *interest = (const struct broker_interest *)node;
        if (interest->mail.kind == MAIL_INTEREST && interest->topic_bytes == 1 && interest->topic[0] == 'u')
            forget = forget || interest->subscribers == 0;
        mailbox_push(mail, node);
    }
    return forget;
}

/* A connection's answer about one topic makes it join the other: what the broker is told then must not leave
 * out the first, on which it is about to stand. */
static void interest_in_a_topic_does_not_pause_while_another_is_joined(void **state)
{
    (void)state;
    static const char connect[] = "{\"id\":1,\"connect\":{}}";
    struct identity who = {.known = true, .channel_count = 2, .user = {"anna", 4}, .channels = {"\1t\1u", 4}};
    uint8_t packed[64];
    struct stage *stage = stage_new(1);
    struct bench *bench = stage->own.bench;
    stage->rule.name = (char *)(uintptr_t) "t"; /* "u" keeps nothing */
    bench->identity = packed;
    bench->identity_bytes = (uint32_t)identity_pack(&who, packed, sizeof packed);
    struct peer peer = peer_open_as(bench, ADAPTER_CENTRIFUGE, 0, "", 0);
    peer_frame(bench, &peer, WS_TEXT, true, connect, sizeof connect - 1);
    do {
        assert_false(is_about_to_forget_u(stage));
        broker_drain_mail(stage->own.broker);
        broker_flush(stage->own.broker);
        broker_bench_take_mail(&stage->own);
        bench_settle(bench);
    } while (mailbox_pending(broker_mailbox(stage->own.broker)) || mailbox_pending(&stage->own.mail));
    assert_int_equal(broker_subscribers(stage->own.broker, "t", 1), 1);
    assert_int_equal(broker_subscribers(stage->own.broker, "u", 1), 1);
    peer_fini(&peer);
    stage_free(stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whoever_comes_back_misses_nothing_and_sees_nothing_twice),
        cmocka_unit_test(a_topic_with_max_subscribers_refuses_one_more),
        cmocka_unit_test(who_has_missed_very_much_is_sent_it_in_parts),
        cmocka_unit_test(the_broker_is_asked_before_the_upgrade_is_answered),
        cmocka_unit_test(who_leaves_before_the_answer_is_not_joined),
        cmocka_unit_test(interest_in_a_topic_does_not_pause_while_another_is_joined),
        cmocka_unit_test(whoever_counts_from_a_position_is_closed_rather_than_left_without_a_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
