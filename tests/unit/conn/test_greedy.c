/* Clients that ask for more than their share: of the broker's time, of memory, of a reactor's. A real broker
 * and its engine, which take their turns when the test says so. */
#include "pool_bench.h"

#include "gateway/broker/engine_memory.h"

enum { RULES = 3, INFLIGHT = 64 * 1024 };

struct stage {
    struct bench *bench;
    struct engine *engine;
    struct broker *broker;
    struct mailbox mail; /* the reactor's */
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
    struct settings settings = bench_settings();
    settings.auth.anonymous = true;
    settings.topics.rules = stage->rules;
    settings.topics.count = RULES;
    stage->bench = bench_new_with(&settings);
    struct engine_memory_config memory = {.history_bytes = 0};
    stage->engine = engine_memory_create(&memory);
    assert_non_null(stage->engine);
    assert_true(mailbox_init(&stage->mail));
    struct mailbox *mail = &stage->mail;
    struct broker_config config = {.reactors = 1,
                                   .reactor_mail = &mail,
                                   .message_bytes = 64 * KIB,
                                   .inflight_bytes = INFLIGHT,
                                   .settings = &stage->bench->settings,
                                   .engine = stage->engine};
    stage->broker = broker_create(&config);
    assert_non_null(stage->broker);
    stage->bench->pool.broker_mail = broker_mailbox(stage->broker);
    stage->bench->pool.own_mail = &stage->mail;
    return stage;
}

/* The reactor's part of a turn. */
static void take_mail(struct stage *stage)
{
    for (struct mailbox_node *node = mailbox_detach(&stage->mail), *next; node; node = next) {
        next = node->next;
        struct mail *mail = (struct mail *)node;
        if (mail->kind == MAIL_REQUEST && ((struct broker_request *)mail)->op != BROKER_SUBSCRIBE)
            conn_answered(&stage->bench->pool, (struct broker_request *)mail);
        else
            fanout_accept(&stage->bench->fanout, mail);
    }
}

static void settle(struct stage *stage)
{
    do {
        broker_drain_mail(stage->broker);
        broker_flush(stage->broker);
        take_mail(stage);
        bench_settle(stage->bench);
    } while (mailbox_pending(broker_mailbox(stage->broker)) || mailbox_pending(&stage->mail));
}

static void stage_free(struct stage *stage)
{
    struct pool *pool = &stage->bench->pool;
    settle(stage);
    for (uint32_t i = 0; i < pool->conns.fresh; i++)
        if (pool_conn(pool, i)->state != CONN_FREE)
            pool_destroy(pool, pool_conn(pool, i), CLOSE_DRAIN);
    pool_tell_broker(pool);
    settle(stage);
    assert_int_equal(broker_topic_count(stage->broker), 0);
    assert_int_equal(broker_inflight_bytes(stage->broker), 0);
    broker_destroy(stage->broker);
    pool->broker_mail = &stage->bench->broker_mail;
    mailbox_fini(&stage->mail);
    stage->engine->ops->destroy(stage->engine);
    bench_fini(stage->bench);
    free(stage);
}

/* A client's commands: what stands behind the id. */
static void say(struct stage *stage, struct peer *peer, const char *command)
{
    char text[8 * KIB];
    int bytes = snprintf(text, sizeof text, "{\"id\":%u,%s}", ++stage->command, command);
    assert_true(bytes > 0 && (size_t)bytes < sizeof text);
    peer_frame(stage->bench, peer, WS_TEXT, true, text, (size_t)bytes);
}

static struct peer connected(struct stage *stage, int send_buffer)
{
    struct peer peer = peer_open_as(stage->bench, ADAPTER_CENTRIFUGE, 0, "", send_buffer);
    say(stage, &peer, "\"connect\":{}");
    settle(stage);
    peer_expect_101(stage->bench, &peer);
    peer_read(stage->bench, &peer, SIZE_MAX);
    struct frame frame;
    assert_true(peer_next(&peer, &frame, NULL));
    return peer;
}

/* Everything that has come; returns how many times `text` stands in it. */
static unsigned count_heard(struct stage *stage, struct peer *peer, const char *text)
{
    unsigned count = 0;
    peer_drain(stage->bench, peer);
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
            peer_drain(stage->bench, &peer); /* the broker has no turn */
    }
    bench_settle(stage->bench);
    const struct pool *pool = &stage->bench->pool;
    uint32_t topic = topics_find(&pool->topics, "past:a", 6, topic_hash("past:a", 6));
    assert_int_not_equal(topic, TOPIC_NONE);
    assert_in_range(topics_at(&pool->topics, topic)->joining, 1, UINT8_MAX);
    assert_int_equal(count_heard(stage, &peer, "\"code\":111"), 2000 - UINT8_MAX);
    settle(stage); /* answered, it may go on */
    say(stage, &peer, "\"subscribe\":{\"channel\":\"past:a\"}");
    settle(stage);
    assert_int_equal(count_heard(stage, &peer, "\"positioned\":true"), 1);
    peer_fini(&peer);
    stage_free(stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_comes_and_goes_without_waiting_has_few_joins_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
