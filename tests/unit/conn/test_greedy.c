/* Clients that ask for more than their share: of the broker's time, of memory, of a reactor's. A real broker
 * and its engine, which take their turns when the test says so. */
#include "broker_bench.h"

#include "gateway/auth/auth.h"

enum { RULES = 5, INFLIGHT = 64 * 1024, LONG = 7000 };

struct stage {
    struct broker_bench own;
    struct topic_rule rules[RULES];
    unsigned command;
};

static char *pattern(const char *text)
{
    return (char *)(uintptr_t)text;
}

static struct stage *stage_new(void)
{
    struct stage *stage = calloc(1, sizeof *stage);
    assert_non_null(stage);
    stage->rules[0] = (struct topic_rule){.name = pattern("talk:*"), .publish = PUBLISH_SUBSCRIBERS};
    stage->rules[1] = (struct topic_rule){.name = pattern("here:*"), .presence = true, .join_leave = true};
    stage->rules[2] = (struct topic_rule){.name = pattern("past:*"), .history_size = 10, .recover = true};
    stage->rules[3] = (struct topic_rule){.name = pattern("few:*"),
                                          .presence = true,
                                          .join_leave = true,
                                          .publish = PUBLISH_SUBSCRIBERS,
                                          .max_subscribers = 1};
    stage->rules[4] = (struct topic_rule){.name = pattern("long:*"), .history_size = LONG, .recover = true};
    struct settings settings = bench_settings();
    settings.auth.anonymous = true;
    settings.topics.rules = stage->rules;
    settings.topics.count = RULES;
    broker_bench_init(&stage->own, &settings, 64 * KIB, INFLIGHT);
    return stage;
}

static void stage_free(struct stage *stage)
{
    broker_bench_fini(&stage->own);
    free(stage);
}

/* A client's commands: what stands behind the id. */
static void say(struct stage *stage, struct peer *peer, const char *command)
{
    char text[8 * KIB];
    int bytes = snprintf(text, sizeof text, "{\"id\":%u,%s}", ++stage->command, command);
    assert_true(bytes > 0 && (size_t)bytes < sizeof text);
    peer_frame(stage->own.bench, peer, WS_TEXT, true, text, (size_t)bytes);
}

static struct peer connected(struct stage *stage, int send_buffer)
{
    struct peer peer = peer_open_as(stage->own.bench, ADAPTER_CENTRIFUGE, 0, "", send_buffer);
    say(stage, &peer, "\"connect\":{}");
    broker_bench_settle(&stage->own);
    peer_expect_101(stage->own.bench, &peer);
    peer_read(stage->own.bench, &peer, SIZE_MAX);
    struct frame frame;
    assert_true(peer_next(&peer, &frame, NULL));
    return peer;
}

/* Everything that has come; returns how many times `text` stands in it. */
static unsigned count_heard(struct stage *stage, struct peer *peer, const char *text)
{
    unsigned count = 0;
    peer_drain(stage->own.bench, peer);
    const char *at = (const char *)peer->plain.data, *end = at + peer->plain.len;
    while (peer->plain.len && (at = memmem(at, (size_t)(end - at), text, strlen(text)))) {
        count++;
        at++;
    }
    buffer_fini(&peer->plain);
    return count;
}

static void who_comes_and_goes_without_waiting_has_few_joins_under_way(void **state)
{
    (void)state;
    struct stage *stage = stage_new();
    struct peer peer = connected(stage, 0);
    for (int i = 0; i < 2000; i++) {
        say(stage, &peer, "\"subscribe\":{\"channel\":\"past:a\",\"recover\":true}");
        say(stage, &peer, "\"unsubscribe\":{\"channel\":\"past:a\"}");
        if (i % 20 == 0)
            peer_drain(stage->own.bench, &peer); /* the broker has no turn */
    }
    bench_settle(stage->own.bench);
    const struct pool *pool = &stage->own.bench->pool;
    uint32_t topic = topics_find(&pool->topics, "past:a", 6, topic_hash("past:a", 6));
    assert_int_not_equal(topic, TOPIC_NONE);
    assert_in_range(topics_at(&pool->topics, topic)->joining, 1, UINT8_MAX);
    assert_int_equal(count_heard(stage, &peer, "\"code\":111"), 2000 - UINT8_MAX);
    broker_bench_settle(&stage->own); /* answered, it may go on */
    say(stage, &peer, "\"subscribe\":{\"channel\":\"past:a\"}");
    broker_bench_settle(&stage->own);
    assert_int_equal(count_heard(stage, &peer, "\"positioned\":true"), 1);
    peer_fini(&peer);
    stage_free(stage);
}

static void who_was_never_let_in_neither_publishes_nor_leaves(void **state)
{
    (void)state;
    struct stage *stage = stage_new();
    struct peer inside = connected(stage, 0), outside = connected(stage, 0);
    say(stage, &inside, "\"subscribe\":{\"channel\":\"few:a\",\"join_leave\":true}");
    broker_bench_settle(&stage->own);
    for (int i = 0; i < 3; i++) {
        say(stage, &outside, "\"subscribe\":{\"channel\":\"few:a\"}");
        say(stage, &outside, "\"publish\":{\"channel\":\"few:a\",\"data\":1}");
        say(stage, &outside, "\"unsubscribe\":{\"channel\":\"few:a\"}");
    }
    broker_bench_settle(&stage->own);
    assert_int_equal(count_heard(stage, &outside, "\"code\":103"), 3); /* nor does it publish */
    assert_int_equal(count_heard(stage, &inside, "\"leave\":{"), 0);
    peer_fini(&inside);
    peer_fini(&outside);
    stage_free(stage);
}

static void who_was_let_in_and_did_not_wait_for_it_leaves(void **state)
{
    (void)state;
    struct stage *stage = stage_new();
    struct peer inside = connected(stage, 0), other = connected(stage, 0);
    say(stage, &inside, "\"subscribe\":{\"channel\":\"here:a\",\"join_leave\":true}");
    broker_bench_settle(&stage->own);
    for (int i = 0; i < 3; i++) { /* the last time it stays */
        say(stage, &other, "\"subscribe\":{\"channel\":\"here:a\"}");
        if (i < 2)
            say(stage, &other, "\"unsubscribe\":{\"channel\":\"here:a\"}");
    }
    say(stage, &other, "\"presence_stats\":{\"channel\":\"here:a\"}");
    broker_bench_settle(&stage->own);
    assert_int_equal(count_heard(stage, &other, "\"num_clients\":2"), 1);
    say(stage, &inside, "\"presence_stats\":{\"channel\":\"here:a\"}");
    broker_bench_settle(&stage->own);
    assert_int_equal(count_heard(stage, &inside, "\"num_clients\":2"), 1);
    say(stage, &other, "\"unsubscribe\":{\"channel\":\"here:a\"}");
    say(stage, &other, "\"subscribe\":{\"channel\":\"here:a\"}");
    say(stage, &other, "\"unsubscribe\":{\"channel\":\"here:a\"}");
    say(stage, &inside, "\"presence_stats\":{\"channel\":\"here:a\"}");
    bench_settle(stage->own.bench);
    peer_fini(&other); /* gone before the answer */
    broker_bench_settle(&stage->own);
    say(stage, &inside, "\"presence_stats\":{\"channel\":\"here:a\"}");
    broker_bench_settle(&stage->own);
    assert_int_equal(count_heard(stage, &inside, "\"num_clients\":1"), 1);
    peer_fini(&inside);
    stage_free(stage);
}

/* Everybody has a turn, but fan-out has none: messages wait. */
static void turn_without_fanout(struct stage *stage)
{
    uint32_t slice = stage->own.bench->slice;
    stage->own.bench->slice = 0;
    (void)bench_turn(stage->own.bench);
    broker_drain_mail(stage->own.broker);
    broker_bench_take_mail(&stage->own);
    (void)bench_turn(stage->own.bench);
    stage->own.bench->slice = slice;
}

static void publish_much(struct stage *stage, struct peer *peer)
{
    char command[4 * KIB];
    int bytes =
        snprintf(command, sizeof command, "\"publish\":{\"channel\":\"talk:a\",\"data\":\"%03000d\"}", 7);
    assert_true(bytes > 3000);
    say(stage, peer, command);
    turn_without_fanout(stage);
}

static void who_publishes_faster_than_is_delivered_is_refused(void **state)
{
    (void)state;
    struct stage *stage = stage_new();
    struct peer peer = connected(stage, 0);
    say(stage, &peer, "\"subscribe\":{\"channel\":\"talk:a\"}");
    broker_bench_settle(&stage->own);
    for (int i = 0; i < 100; i++) {
        publish_much(stage, &peer);
        assert_true(broker_inflight_bytes(stage->own.broker) < INFLIGHT + 8 * KIB);
    }
    assert_in_range(stage->own.busy, 50, 99);
    broker_bench_settle(&stage->own); /* delivered: it may go on */
    assert_int_equal(count_heard(stage, &peer, "\"code\":111"), stage->own.busy);
    stage->own.busy = 0;
    publish_much(stage, &peer);
    broker_bench_settle(&stage->own);
    assert_int_equal(stage->own.busy, 0);
    assert_int_equal(count_heard(stage, &peer, "\"pub\":{"), 1);
    peer_fini(&peer);
    stage_free(stage);
}

static void nobody_is_announced_while_too_much_waits(void **state)
{
    (void)state;
    struct stage *stage = stage_new();
    struct peer peer = connected(stage, 0), late = connected(stage, 0);
    say(stage, &peer, "\"subscribe\":{\"channel\":\"talk:a\"}");
    broker_bench_settle(&stage->own);
    while (!broker_crowded(stage->own.broker))
        publish_much(stage, &peer);
    say(stage, &late, "\"subscribe\":{\"channel\":\"here:a\"}");
    turn_without_fanout(stage);
    broker_bench_settle(&stage->own);
    assert_int_equal(count_heard(stage, &late, "\"code\":111"), 1);
    say(stage, &late, "\"presence_stats\":{\"channel\":\"here:a\"}");
    broker_bench_settle(&stage->own);
    assert_int_equal(count_heard(stage, &late, "\"num_clients\":1"), 0);
    say(stage, &late, "\"subscribe\":{\"channel\":\"here:a\"}");
    say(stage, &late, "\"presence_stats\":{\"channel\":\"here:a\"}");
    broker_bench_settle(&stage->own);
    assert_int_equal(count_heard(stage, &late, "\"num_clients\":1"), 1);
    peer_fini(&peer);
    peer_fini(&late);
    stage_free(stage);
}

/* What the server API wants of everybody. The broker has its turn, and fan-out none. */
static void order(struct stage *stage, const char *topic, uint64_t offset)
{
    struct broker_request *request = broker_request_create(&(struct broker_ask){.op = BROKER_ORDER});
    assert_non_null(request);
    request->order = order_create(&(struct order){.kind = ORDER_SUBSCRIBE,
                                                  .topic = {topic, strlen(topic)},
                                                  .recover = true,
                                                  .since = {.offset = offset}});
    assert_non_null(request->order);
    broker_serve(stage->own.broker, request);
    assert_int_equal(request->result, BROKER_OK);
    broker_request_destroy(request);
    broker_flush(stage->own.broker);
    for (int i = 0; i < 3; i++)
        turn_without_fanout(stage);
}

/* A peer whose publications wait, more of them than clients may have waiting. */
static struct peer crowding(struct stage *stage)
{
    struct peer peer = connected(stage, 0);
    say(stage, &peer, "\"subscribe\":{\"channel\":\"talk:a\"}");
    broker_bench_settle(&stage->own);
    while (!broker_crowded(stage->own.broker))
        publish_much(stage, &peer);
    return peer;
}

static void whom_the_server_subscribes_is_announced_all_the_same(void **state)
{
    (void)state;
    struct stage *stage = stage_new();
    struct peer peer = crowding(stage);
    uint64_t answers = stage->own.answers;
    order(stage, "here:a", 0);
    assert_int_equal(stage->own.answers, answers + 1);
    assert_true(broker_crowded(stage->own.broker));
    broker_bench_settle(&stage->own);
    assert_int_equal(stage->own.busy, 0);
    assert_int_equal(count_heard(stage, &peer, "{\"channel\":\"here:a\",\"subscribe\":{"), 1);
    peer_fini(&peer);
    stage_free(stage);
}

/* The reply to connect is the last chance to tell it to come again. */
static void nobody_is_promised_a_topic_that_announces_it_while_too_much_waits(void **state)
{
    (void)state;
    struct stage *stage = stage_new();
    struct peer peer = crowding(stage);
    for (int announced = 0; announced <= 1; announced++) {
        struct broker_request *request =
            broker_request_create(&(struct broker_ask){.op = BROKER_HISTORY, .topic = {"past:a", 6}});
        assert_non_null(request);
        request->at_once = true;
        request->reactor = 0;
        request->flags = announced ? SUBSCRIPTION_ANNOUNCED : 0;
        mailbox_push(broker_mailbox(stage->own.broker), &request->mail.node);
        broker_drain_mail(stage->own.broker);
        assert_ptr_equal(mailbox_detach(&stage->own.mail), &request->mail.node);
        assert_int_equal(request->result, announced ? BROKER_BUSY : BROKER_OK);
        broker_request_destroy(request);
    }
    peer_fini(&peer);
    broker_bench_settle(&stage->own);
    stage_free(stage);
}

static void added(void *context, enum engine_result result, enum presence_change change)
{
    (void)context;
    (void)change;
    assert_int_equal(result, ENGINE_OK);
}

static void crowd(struct stage *stage, uint32_t from, uint32_t to, const char *user)
{
    struct engine_topic topic = {"here:a", 6, topic_hash("here:a", 6)};
    for (uint32_t i = from; i < to; i++) {
        struct presence_entry entry = {.owner = 1, .user = user, .user_bytes = strlen(user)};
        memcpy(entry.client, &i, sizeof i);
        stage->own.engine->ops->presence_add(stage->own.engine, topic, &entry, 0, added, NULL);
    }
}

/* The engine's presence, with a count of the clients that are looked at. */
static struct {
    const struct engine_ops *ops;
    struct engine_ops counting;
    engine_presence_visit_fn *visit;
    engine_presence_get_fn *done;
    void *context;
    uint64_t visits;
} looked;

static bool look(void *context, const struct presence_entry *entry)
{
    looked.visits++;
    return looked.visit(context, entry);
}

static void look_at_all(struct engine *engine, struct engine_topic topic, engine_presence_visit_fn *visit,
                        engine_presence_get_fn *done, void *context)
{
    looked.visit = visit;
    looked.ops->presence_get(engine, topic, look, done, context);
}

static void count_looks(struct stage *stage)
{
    looked.ops = stage->own.engine->ops;
    looked.counting = *looked.ops;
    looked.counting.presence_get = look_at_all;
    looked.visits = 0;
    stage->own.engine->ops = &looked.counting;
}

static void ask_who_is_here(struct stage *stage, struct peer *peer, int times)
{
    for (int i = 0; i < times; i++) {
        say(stage, peer, "\"presence\":{\"channel\":\"here:a\"}");
        if (i % 50 == 0)
            bench_settle(stage->own.bench);
    }
    bench_settle(stage->own.bench);
}

static void answers_about_a_crowd_do_not_pile_up(void **state)
{
    (void)state;
    enum { ASKED = 64, ANSWERS_MAX = 8 * 1024 * 1024 };
    struct stage *stage = stage_new();
    struct peer peers[2] = {connected(stage, 0), connected(stage, 0)};
    crowd(stage, 0, 1000, "somebody");
    ask_who_is_here(stage, &peers[0], ASKED);
    ask_who_is_here(stage, &peers[1], ASKED);
    broker_drain_mail(stage->own.broker);
    assert_in_range(broker_work(stage->own.broker, UINT64_MAX), 1, 100); /* when some have been read */
    assert_in_range(broker_work(stage->own.broker, UINT64_MAX), 1, 100);
    broker_bench_take_mail(&stage->own);
    assert_in_range(stage->own.answer_bytes, ANSWERS_MAX / 2, ANSWERS_MAX + 128 * KIB);
    assert_in_range(stage->own.answers, 1, 2 * ASKED - 1);
    broker_bench_settle(&stage->own); /* they have been: now for the others */
    assert_int_equal(stage->own.answers, 2 * ASKED);
    assert_int_equal(stage->own.busy, 0);
    peer_fini(&peers[0]);
    peer_fini(&peers[1]);
    stage_free(stage);
}

static void a_crowd_that_no_client_could_be_told_of_is_not_looked_at(void **state)
{
    (void)state;
    struct stage *stage = stage_new();
    struct peer peer = connected(stage, 0);
    count_looks(stage);
    crowd(stage, 0, 2000, "somebody");
    ask_who_is_here(stage, &peer, 64);
    broker_bench_settle(&stage->own);
    assert_int_equal(looked.visits, 0);
    assert_int_equal(stage->own.answer_bytes, 0);
    assert_int_equal(count_heard(stage, &peer, "\"code\":106"), 64);
    peer_fini(&peer);
    stage_free(stage);
}

/* What looks as if it had room, and has none because of what must be escaped, is given up where that shows;
 * its work counts with that of other answers. */
static void the_look_at_a_crowd_ends_with_the_room_for_it(void **state)
{
    (void)state;
    enum { ANSWERS_MAX = 8 * 1024 * 1024 };
    struct stage *stage = stage_new();
    struct peer peer = connected(stage, 0), other = connected(stage, 0);
    count_looks(stage);
    crowd(stage, 0, 1000, "\1\1\1\1\1\1\1\1\1\1"); /* six times as long in JSON */
    ask_who_is_here(stage, &peer, 50);
    ask_who_is_here(stage, &other, 50);
    broker_drain_mail(stage->own.broker);
    assert_in_range(broker_work(stage->own.broker, UINT64_MAX), 1, 100);
    assert_in_range(looked.visits, ANSWERS_MAX / 300, ANSWERS_MAX / 150);
    broker_bench_settle(&stage->own);
    assert_in_range(looked.visits, 100 * 500, 100 * 900);
    assert_int_equal(count_heard(stage, &peer, "\"code\":106"), 50);
    assert_int_equal(count_heard(stage, &other, "\"code\":106"), 50);
    peer_fini(&peer);
    peer_fini(&other);
    stage_free(stage);
}

/* A question about who is here, in the broker's line. */
static struct broker_request *in_line(struct stage *stage, const char *topic)
{
    struct broker_request *request =
        broker_request_create(&(struct broker_ask){.op = BROKER_PRESENCE, .topic = {topic, strlen(topic)}});
    assert_non_null(request);
    request->reactor = 0;
    mailbox_push(broker_mailbox(stage->own.broker), &request->mail.node);
    broker_drain_mail(stage->own.broker);
    assert_true(mailbox_detach(&stage->own.mail) == NULL);
    return request;
}

static void expect_answer(struct stage *stage, struct broker_request *request, enum broker_result result)
{
    struct mailbox_node *node = mailbox_detach(&stage->own.mail);
    assert_ptr_equal(node, &request->mail.node);
    assert_null(node->next);
    assert_int_equal(request->result, result);
    broker_request_destroy(request);
}

static void nobody_waits_in_line_for_longer_than_two_seconds(void **state)
{
    (void)state;
    enum { S = 1000 * 1000 * 1000 };
    struct stage *stage = stage_new();
    struct broker *broker = stage->own.broker;
    crowd(stage, 0, 1000, "somebody");
    struct broker_request *request = in_line(stage, "here:a");
    request->came_ns -= S;
    (void)broker_work(broker, 0);
    expect_answer(stage, request, BROKER_OK);
    count_looks(stage);
    request = in_line(stage, "here:a");
    request->came_ns -= 2ull * S + 1;
    assert_true(broker_work(broker, 0) == UINT64_MAX);
    expect_answer(stage, request, BROKER_BUSY);
    assert_int_equal(looked.visits, 0);
    struct broker_request *others[200]; /* nor behind answers that nobody reads */
    for (size_t i = 0; i < 200; i++)
        others[i] = in_line(stage, "here:a");
    assert_in_range(broker_work(broker, UINT64_MAX), 1, 100);
    struct mailbox_node *unread = mailbox_detach(&stage->own.mail);
    size_t count = 0;
    for (struct mailbox_node *node = unread; node; node = node->next)
        count++;
    assert_in_range(count, 50, 150);
    for (size_t i = count; i < 200; i++)
        others[i]->came_ns -= 2ull * S + 1;
    uint64_t visits = looked.visits;
    assert_true(broker_work(broker, UINT64_MAX) == UINT64_MAX);
    assert_int_equal(looked.visits, visits);
    broker_bench_take_mail(&stage->own);
    assert_int_equal(stage->own.busy, 200 - count);
    for (struct mailbox_node *next; unread; unread = next) {
        next = unread->next;
        broker_request_destroy((struct broker_request *)unread);
    }
    stage_free(stage);
}

static void questions_wait_for_whoever_publishes_and_not_the_other_way_round(void **state)
{
    (void)state;
    struct stage *stage = stage_new();
    struct peer peer = connected(stage, 0), other = connected(stage, 0);
    crowd(stage, 0, 500, "somebody");
    ask_who_is_here(stage, &peer, 4);
    say(stage, &other, "\"subscribe\":{\"channel\":\"talk:a\"}");
    say(stage, &other, "\"publish\":{\"channel\":\"talk:a\",\"data\":1}");
    bench_settle(stage->own.bench);
    broker_drain_mail(stage->own.broker);
    broker_bench_take_mail(&stage->own);
    assert_int_equal(stage->own.answers, 2); /* to who came behind them and asked for no more than its own */
    for (uint64_t answered = 1; answered <= 4; answered++) {
        assert_true(broker_has_work(stage->own.broker));
        assert_true(broker_work(stage->own.broker, 0) == (answered < 4 ? 0 : UINT64_MAX));
        broker_bench_take_mail(&stage->own);
        assert_int_equal(stage->own.answers, 2 + answered);
    }
    assert_false(broker_has_work(stage->own.broker));
    peer_fini(&peer);
    peer_fini(&other);
    stage_free(stage);
}

static void publish_long(struct stage *stage, unsigned count, unsigned bytes)
{
    char *payload = malloc(bytes);
    assert_non_null(payload);
    memset(payload, '1', bytes);
    for (unsigned i = 0; i < count; i++)
        assert_true(broker_publish(stage->own.broker, "long:a", 6, payload, bytes) >= 0);
    free(payload);
}

/* As often as the reactor lets it, without waiting for an answer. */
static void come_and_go(struct stage *stage, struct peer *peer, uint64_t offset)
{
    char text[128];
    snprintf(text, sizeof text,
             "\"subscribe\":{\"channel\":\"long:a\",\"recover\":true,\"offset\":%llu,\"epoch\":\"\"}",
             (unsigned long long)offset);
    for (int i = 0; i < UINT8_MAX; i++) {
        say(stage, peer, text);
        say(stage, peer, "\"unsubscribe\":{\"channel\":\"long:a\"}");
        if (i % 20 == 0)
            peer_drain(stage->own.bench, peer);
    }
    bench_settle(stage->own.bench);
}

static void what_cannot_be_recovered_is_not_even_touched(void **state)
{
    (void)state;
    struct stage *stage = stage_new();
    struct peer peer = connected(stage, 0);
    publish_long(stage, LONG + 10, 1);
    come_and_go(stage, &peer, 0); /* ten are missing */
    broker_bench_settle(&stage->own);
    assert_int_equal(stage->own.answers, UINT8_MAX);
    assert_int_equal(stage->own.items, 0);
    say(stage, &peer,
        "\"history\":{\"channel\":\"long:a\",\"limit\":-1,\"since\":{\"offset\":1,\"epoch\":\"\"}}");
    broker_bench_settle(&stage->own);
    assert_int_equal(count_heard(stage, &peer, "\"code\":112"), 1);
    assert_int_equal(stage->own.items, 0);
    publish_long(stage, 2000, 100); /* more than a reply has room for */
    come_and_go(stage, &peer, LONG + 10);
    broker_bench_settle(&stage->own);
    assert_int_equal(stage->own.answers, 2 * UINT8_MAX + 1);
    assert_int_equal(stage->own.items, 0);
    (void)count_heard(stage, &peer, "nothing");
    say(stage, &peer,
        "\"subscribe\":{\"channel\":\"long:a\",\"recover\":true,\"offset\":7010,\"epoch\":\"\"}");
    broker_bench_settle(&stage->own);
    assert_int_equal(count_heard(stage, &peer, "\"was_recovering\":true"), 1);
    say(stage, &peer, "\"unsubscribe\":{\"channel\":\"long:a\"}");
    say(stage, &peer,
        "\"subscribe\":{\"channel\":\"long:a\",\"recover\":true,\"offset\":9000,\"epoch\":\"\"}");
    broker_bench_settle(&stage->own);
    assert_int_equal(stage->own.items, 10);
    assert_int_equal(count_heard(stage, &peer, "\"recovered\":true"), 1);
    peer_fini(&peer);
    stage_free(stage);
}

static void what_is_recovered_does_not_pile_up_and_is_written_in_slices(void **state)
{
    (void)state;
    enum { MISSED = 6000, MISSED_MAX = 1024 * 1024 };
    struct stage *stage = stage_new();
    struct peer peer = connected(stage, 0);
    const struct pool *pool = &stage->own.bench->pool;
    publish_long(stage, MISSED, 1);
    come_and_go(stage, &peer, 0);
    broker_drain_mail(stage->own.broker);
    broker_bench_take_mail(&stage->own);
    assert_int_equal(stage->own.answers, UINT8_MAX);
    assert_in_range(stage->own.items, MISSED_MAX / 2, MISSED_MAX + MISSED);
    assert_int_equal(stage->own.busy, UINT8_MAX - stage->own.items / MISSED);
    const struct topic *topic =
        topics_at(&pool->topics, topics_find(&pool->topics, "long:a", 6, topic_hash("long:a", 6)));
    assert_int_equal(topic->joining, UINT8_MAX);
    (void)bench_turn(stage->own.bench);
    assert_in_range(UINT8_MAX - topic->joining, 1, 20);
    broker_bench_settle(&stage->own); /* read: others may come back */
    (void)count_heard(stage, &peer, "nothing");
    say(stage, &peer,
        "\"subscribe\":{\"channel\":\"long:a\",\"recover\":true,\"offset\":5999,\"epoch\":\"\"}");
    broker_bench_settle(&stage->own);
    assert_int_equal(count_heard(stage, &peer, "\"recovered\":true"), 1);
    peer_fini(&peer);
    stage_free(stage);
}

static void a_storm_of_returns_costs_nobody_a_topic_that_the_server_wants_for_it(void **state)
{
    (void)state;
    enum { MISSED = 6000 };
    struct stage *stage = stage_new();
    struct peer peer = connected(stage, 0), late = connected(stage, 0);
    publish_long(stage, MISSED, 1);
    come_and_go(stage, &peer, 0);
    broker_drain_mail(stage->own.broker);
    broker_bench_take_mail(&stage->own);
    uint64_t answers = stage->own.answers, busy = stage->own.busy;
    assert_true(busy > 0);
    say(stage, &late, "\"subscribe\":{\"channel\":\"long:a\",\"recover\":true,\"offset\":5999}");
    turn_without_fanout(stage);
    assert_int_equal(stage->own.busy, busy + 1);
    say(stage, &late, "\"subscribe\":{\"channel\":\"past:a\",\"recover\":true,\"offset\":0}");
    turn_without_fanout(stage); /* who misses nothing does not wait either */
    assert_int_equal(stage->own.answers, answers + 2);
    assert_int_equal(stage->own.busy, busy + 1);
    broker_bench_settle(&stage->own);
    (void)count_heard(stage, &late, "nothing");
    come_and_go(stage, &peer, 0);
    broker_drain_mail(stage->own.broker);
    broker_bench_take_mail(&stage->own);
    answers = stage->own.answers;
    busy = stage->own.busy;
    order(stage, "long:a", MISSED - 1);
    assert_in_range(stage->own.answers, answers + 1, answers + 2); /* `peer` may have its joins under way */
    assert_int_equal(stage->own.busy, busy);
    broker_bench_settle(&stage->own);
    assert_int_equal(count_heard(stage, &late, "\"pub\":{\"data\":"), 1);
    peer_fini(&peer);
    peer_fini(&late);
    stage_free(stage);
}

/* The table is full at what it has now. */
static void fill(struct stage *stage)
{
    struct slab *slab = &stage->own.bench->pool.topics.slab;
    slab->capacity = slab->used;
}

static void topics_of_many_greedy_clients_leave_room_for_those_of_others(void **state)
{
    (void)state;
    enum { GREEDY = BENCH_CAPACITY / 4, EACH = 32 };
    static struct peer peers[GREEDY];
    struct stage *stage = stage_new();
    struct bench *bench = stage->own.bench;
    char topics[4096] = "";
    for (int i = 0; i < GREEDY; i++) {
        for (int n = 0, at = 0; n < EACH; n++)
            at += snprintf(topics + at, sizeof topics - (size_t)at, "%s%d/%d", n ? "," : "", i, n);
        peers[i] = peer_open(bench, 0, topics, 0);
        assert_non_null(peer_conn(bench, &peers[i]));
    }
    assert_int_equal(bench->pool.topics.used, GREEDY * EACH);
    struct peer late = connected(stage, 0);
    say(stage, &late, "\"subscribe\":{\"channel\":\"late\"}");
    broker_bench_settle(&stage->own);
    assert_int_equal(count_heard(stage, &late, "\"subscribe\":{}"), 1);
    assert_int_equal(counter_read(&bench->stats.topics_refused), 0);
    for (int i = 0; i < GREEDY; i++)
        peer_fini(&peers[i]);
    peer_fini(&late);
    broker_bench_settle(&stage->own);
    stage_free(stage);
}

static void a_join_without_room_is_refused_and_costs_nobody_what_he_has(void **state)
{
    (void)state;
    struct stage *stage = stage_new();
    struct bench *bench = stage->own.bench;
    struct peer raw = peer_open(bench, 0, "known", 0), peer = connected(stage, 0);
    peer_expect_101(bench, &raw);
    say(stage, &peer, "\"subscribe\":{\"channel\":\"past:a\"}");
    broker_bench_settle(&stage->own);
    assert_int_equal(count_heard(stage, &peer, "\"positioned\":true"), 1);
    fill(stage);
    say(stage, &peer, "\"subscribe\":{\"channel\":\"unknown\"}");
    say(stage, &peer, "\"subscribe\":{\"channel\":\"known\"}");
    broker_bench_settle(&stage->own);
    assert_int_equal(count_heard(stage, &peer, "\"code\":106"), 1);
    assert_int_equal(counter_read(&bench->stats.topics_refused), 1);
    bench_publish(bench, "known", "hello", 5);
    broker_bench_settle(&stage->own);
    peer_read(bench, &raw, SIZE_MAX);
    peer_expect(&raw, WS_BINARY, "hello", 5);
    assert_int_equal(peer_conn(bench, &peer)->topic_count, 2);
    bench->pool.topics.slab.capacity++;
    say(stage, &peer, "\"subscribe\":{\"channel\":\"unknown\"}");
    broker_bench_settle(&stage->own);
    assert_int_equal(peer_conn(bench, &peer)->topic_count, 3);
    peer_fini(&raw);
    peer_fini(&peer);
    broker_bench_settle(&stage->own);
    stage_free(stage);
}

static void expect_503(struct stage *stage, struct peer peer)
{
    struct bench *bench = stage->own.bench;
    static const char status[] = "HTTP/1.1 503 Service Unavailable\r\n";
    broker_bench_settle(&stage->own);
    peer_read(bench, &peer, SIZE_MAX);
    assert_true(peer.plain.len > sizeof status);
    assert_memory_equal(peer.plain.data, status, sizeof status - 1);
    assert_non_null(memmem(peer.plain.data, peer.plain.len, "no room for another topic\n", 26));
    assert_true(peer.eof);
    assert_int_equal(peer.notified, peer.tls);
    peer_fini(&peer);
    broker_bench_settle(&stage->own);
    assert_null(peer_conn(bench, &peer));
}

static void an_upgrade_whose_topic_has_no_room_is_answered_503(void **state)
{
    (void)state;
    struct stage *stage = stage_new();
    struct bench *bench = stage->own.bench;
    static const uint8_t early[] = {0x89, 0x80, 1, 2, 3, 4};
    struct peer known = peer_open(bench, 0, "known", 0);
    peer_expect_101(bench, &known);
    fill(stage);
    for (int tls = 0; tls <= 1; tls++) {
        expect_503(stage, peer_open(bench, tls, "known,unknown", 0));
        expect_503(stage, peer_open_early(bench, tls, "unknown", 0, early, sizeof early));
        bench->like.ask_broker = bench->like.since_set = true;
        expect_503(stage, peer_open(bench, tls, "past:unknown", 0));
        bench->like.ask_broker = bench->like.since_set = false;
    }
    assert_int_equal(counter_read(&bench->stats.topics_refused), 6);
    assert_int_equal(bench->pool.topics.used, 1);
    struct peer other = peer_open(bench, 0, "known", 0);
    peer_expect_101(bench, &other);
    peer_fini(&known);
    peer_fini(&other);
    broker_bench_settle(&stage->own);
    stage_free(stage);
}

static void a_command_that_costs_much_counts_as_much_input(void **state)
{
    (void)state;
    enum { TOKENS = 7 };
    struct stage *stage = stage_new();
    struct bench *bench = stage->own.bench;
    struct auth_config config = {"0123456789abcdef0123456789abcdef", "", "", "", "", "", 0};
    char error[256];
    bench->pool.auth = auth_create(&config, error, sizeof error);
    assert_non_null(bench->pool.auth);
    struct peer peer = connected(stage, 0);
    for (int i = 0; i < TOKENS; i++)
        say(stage, &peer,
            "\"subscribe\":{\"channel\":\"a\",\"token\":\"eyJhbGciOiJIUzI1NiJ9.e30."
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}");
    pool_turn_begin(&bench->pool, bench->now);
    uint64_t before = bench->pool.input_left, bytes_before = counter_read(&bench->stats.bytes_in);
    conn_readable(&bench->pool, peer_conn(bench, &peer), false);
    uint64_t bytes = counter_read(&bench->stats.bytes_in) - bytes_before;
    assert_true(bytes > TOKENS * 100);
    assert_true(before - bench->pool.input_left > bytes); /* seven microseconds and more */
    broker_bench_settle(&stage->own);
    assert_int_equal(count_heard(stage, &peer, "\"code\":103"), TOKENS);
    peer_fini(&peer);
    broker_bench_settle(&stage->own);
    auth_destroy(bench->pool.auth);
    stage_free(stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(topics_of_many_greedy_clients_leave_room_for_those_of_others),
        cmocka_unit_test(a_join_without_room_is_refused_and_costs_nobody_what_he_has),
        cmocka_unit_test(an_upgrade_whose_topic_has_no_room_is_answered_503),
        cmocka_unit_test(a_command_that_costs_much_counts_as_much_input),
        cmocka_unit_test(who_was_never_let_in_neither_publishes_nor_leaves),
        cmocka_unit_test(who_was_let_in_and_did_not_wait_for_it_leaves),
        cmocka_unit_test(who_publishes_faster_than_is_delivered_is_refused),
        cmocka_unit_test(nobody_is_announced_while_too_much_waits),
        cmocka_unit_test(whom_the_server_subscribes_is_announced_all_the_same),
        cmocka_unit_test(nobody_is_promised_a_topic_that_announces_it_while_too_much_waits),
        cmocka_unit_test(a_storm_of_returns_costs_nobody_a_topic_that_the_server_wants_for_it),
        cmocka_unit_test(answers_about_a_crowd_do_not_pile_up),
        cmocka_unit_test(a_crowd_that_no_client_could_be_told_of_is_not_looked_at),
        cmocka_unit_test(the_look_at_a_crowd_ends_with_the_room_for_it),
        cmocka_unit_test(nobody_waits_in_line_for_longer_than_two_seconds),
        cmocka_unit_test(questions_wait_for_whoever_publishes_and_not_the_other_way_round),
        cmocka_unit_test(what_cannot_be_recovered_is_not_even_touched),
        cmocka_unit_test(what_is_recovered_does_not_pile_up_and_is_written_in_slices),
        cmocka_unit_test(who_comes_and_goes_without_waiting_has_few_joins_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
