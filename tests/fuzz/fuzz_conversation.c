/* A pool's whole conversation: real connections of the Centrifuge and the raw adapter on socket pairs, a real
 * broker with its engine, and any order of what clients say, what is published and ordered, who comes and
 * goes, and whose turn it is. Whatever happens: frames are whole, Centrifuge messages are lines of JSON,
 * nothing follows a close frame, a positioned subscription misses no offset that it has not been told of,
 * presence has exactly those who are subscribed, and in the end everything that was counted in has been
 * counted out.
 *
 * The input is a list of operations: one byte says which, the following ones with what (see step()). */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the bench says to cmocka elsewhere. */
#define CMOCKA_H_
static void check(bool truth)
{
    if (!truth)
        abort();
}
#define assert_true(e)               check(e)
#define assert_false(e)              check(!(e))
#define assert_non_null(e)           check((e) != NULL)
#define assert_int_equal(a, b)       check((long long)(a) == (long long)(b))
#define assert_int_not_equal(a, b)   check((long long)(a) != (long long)(b))
#define assert_memory_equal(a, b, n) check(memcmp(a, b, n) == 0)
#define fail_msg(...)                (fprintf(stderr, __VA_ARGS__), abort())

#include "proto/json_text.h"
#include "tests/unit/conn/broker_bench.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

enum { PEERS = 6, STEPS_MAX = 400, OUTBOX = 3000, SEND_BUFFER = 2048, MESSAGE_MAX = 4000 };

static const char *const topics[] = {"plain",   "past:a",   "here:a", "few:a",
                                     "lossy:a", "newest:a", "past:b", "here:b"};
enum { TOPICS = 8 };

static char *pattern(const char *text)
{
    return (char *)(uintptr_t)text;
}

struct client {
    struct peer peer;
    bool open, centrifuge, greeted, closed; /* closed: its close frame has come */
    bool tracked[TOPICS];                   /* its last offset there is known: */
    uint64_t offset[TOPICS];
    char message[MESSAGE_MAX]; /* commands that leave as one frame */
    size_t bytes;
};

struct stage {
    struct broker_bench own;
    struct topic_rule rules[6];
    struct client clients[PEERS];
    const uint8_t *at, *end;
    uint32_t command;
    bool free_text; /* a client has said what it liked: offsets in it may be its own */
};

static uint8_t next(struct stage *stage)
{
    return stage->at < stage->end ? *stage->at++ : 0;
}

static void stage_open(struct stage *stage)
{
    stage->rules[0] = (struct topic_rule){.name = pattern("past:*"), .history_size = 8, .recover = true};
    stage->rules[1] = (struct topic_rule){
        .name = pattern("here:*"), .presence = true, .join_leave = true, .publish = PUBLISH_SUBSCRIBERS};
    stage->rules[2] = (struct topic_rule){.name = pattern("few:*"),
                                          .history_size = 4,
                                          .recover = true,
                                          .presence = true,
                                          .join_leave = true,
                                          .publish = PUBLISH_SUBSCRIBERS,
                                          .max_subscribers = 2};
    stage->rules[3] = (struct topic_rule){
        .name = pattern("lossy:*"), .history_size = 8, .recover = true, .slow_consumer = SLOW_DROP_OLDEST};
    stage->rules[4] = (struct topic_rule){.name = pattern("newest:*"), .slow_consumer = SLOW_LATEST};
    stage->rules[5] = (struct topic_rule){
        .name = pattern("plain"), .publish = PUBLISH_SUBSCRIBERS, .slow_consumer = SLOW_DROP_OLDEST};
    struct settings settings = bench_settings();
    settings.limits.outbox_bytes = OUTBOX;
    settings.limits.topics_per_connection = 5;
    settings.limits.handshake_timeout = 3000;
    settings.idle.timeout = 60000;
    settings.idle.ping_interval = 10000;
    settings.auth.anonymous = true;
    settings.presence.clients = 3;
    settings.topics.rules = stage->rules;
    settings.topics.count = sizeof stage->rules / sizeof *stage->rules;
    broker_bench_init(&stage->own, &settings, 2000, 0);
}

/* What must be true when nothing is on its way
 * ------------------------------------------------------------------------------------------- */

static void take_stats(void *context, enum engine_result result, struct presence_stats stats)
{
    check(result == ENGINE_OK);
    *(struct presence_stats *)context = stats;
}

static void check_topic(struct stage *stage, const char *name)
{
    struct pool *pool = &stage->own.bench->pool;
    struct presence_stats present = {0};
    struct engine_topic engine_topic = {name, strlen(name), topic_hash(name, strlen(name))};
    uint32_t subscribed = 0, standing = 0, most = (uint32_t)stage->own.bench->settings.presence.clients;
    uint32_t topic = topics_find(&pool->topics, name, strlen(name), engine_topic.hash);
    for (uint32_t i = 0; topic != TOPIC_NONE && i < pool->conns.fresh; i++) {
        struct conn *conn = pool_conn(pool, i);
        const struct subscription *own = conn->state == CONN_OPEN ? conn_subscription(conn, topic) : NULL;
        if (!own)
            continue;
        check(!(own->flags & SUBSCRIPTION_JOINING));
        check(topic_subscribers(topics_at(&pool->topics, topic))[own->position] == i);
        subscribed++;
        standing += own->flags & SUBSCRIPTION_PRESENT ? 1 : 0;
    }
    check(broker_subscribers(stage->own.broker, name, strlen(name)) == subscribed);
    if (topic != TOPIC_NONE)
        check(topics_at(&pool->topics, topic)->joining == 0);
    stage->own.engine->ops->presence_stats(stage->own.engine, engine_topic, take_stats, &present);
    check(present.clients <= standing); /* who came when presence was full is not seen */
    check(present.clients == standing || standing > most || most == 3);
    if (standing == 0)
        check(present.clients == 0);
}

static void stage_close(struct stage *stage)
{
    broker_bench_settle(&stage->own);
    for (int i = 0; i < TOPICS; i++)
        check_topic(stage, topics[i]);
    for (uint32_t i = 0; i < stage->own.bench->pool.conns.fresh; i++) {
        struct conn *conn = pool_conn(&stage->own.bench->pool, i);
        if (conn->state == CONN_OPEN && pool_session(&stage->own.bench->pool, conn))
            check(pool_session(&stage->own.bench->pool, conn)->asked == 0);
    }
    broker_bench_end_all(&stage->own);
    for (int i = 0; i < TOPICS; i++)
        check_topic(stage, topics[i]);
    broker_bench_fini(&stage->own);
    for (int i = 0; i < PEERS; i++)
        if (stage->clients[i].open)
            peer_fini(&stage->clients[i].peer);
}

/* What clients hear
 * ----------------------------------------------------------------------------------------------------------
 */

static uint64_t number_behind(const char *line, const char *name)
{
    const char *at = NULL;
    for (const char *next_one = line; (next_one = strstr(next_one, name)); next_one++)
        at = next_one;
    return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

static int topic_of(const char *line)
{
    static const char channel[] = "{\"push\":{\"channel\":\"";
    if (strncmp(line, channel, sizeof channel - 1) != 0)
        return -1;
    for (int i = 0; i < TOPICS; i++)
        if (strncmp(line + sizeof channel - 1, topics[i], strlen(topics[i])) == 0)
            return i;
    return -1;
}

/* Offsets follow on one another from the reply to a subscribe on. */
static void hear_line(struct stage *stage, struct client *client, char *line)
{
    check(json_text_valid(line, strlen(line)));
    if (stage->free_text)
        return;
    int topic = topic_of(line);
    if (topic < 0 && strncmp(line, "{\"id\":", 6) == 0) {
        topic = (int)(strtoul(line + 6, NULL, 10) % TOPICS);
        if (strstr(line, "\"subscribe\":{") && strstr(line, "\"positioned\":true")) {
            client->tracked[topic] = true;
            client->offset[topic] = number_behind(line, "\"offset\":");
        } else if (strstr(line, "\"unsubscribe\":{"))
            client->tracked[topic] = false;
        return;
    }
    if (topic < 0)
        return;
    if (strstr(line, "\"pub\":{") && client->tracked[topic]) {
        uint64_t offset = number_behind(line, "\"offset\":");
        if (offset != client->offset[topic] + 1)
            fail_msg("%s after offset %llu\n", line, (unsigned long long)client->offset[topic]);
        client->offset[topic] = offset;
    } else if (strstr(line, "\"unsubscribe\":{") || strstr(line, "\"subscribe\":{"))
        client->tracked[topic] = false;
}

static void hear(struct stage *stage, struct client *client)
{
    static uint8_t payload[64 * KIB + 1];
    struct frame frame;
    peer_read(stage->own.bench, &client->peer, SIZE_MAX);
    if (!client->greeted) {
        char *end = client->peer.plain.len
                        ? memmem(client->peer.plain.data, client->peer.plain.len, "\r\n\r\n", 4)
                        : NULL;
        if (!end)
            return;
        buffer_consume(&client->peer.plain, (size_t)(end + 4 - (char *)client->peer.plain.data));
        client->greeted = true;
    }
    while (client->peer.plain.len && peer_next(&client->peer, &frame, payload)) {
        check(!client->closed);
        payload[frame.bytes] = 0;
        client->closed = frame.opcode == WS_CLOSE;
        if (frame.opcode != WS_TEXT || !client->centrifuge)
            continue;
        for (char *line = (char *)payload; line;) {
            char *end = strchr(line, '\n');
            if (end)
                *end = 0;
            hear_line(stage, client, line);
            line = end ? end + 1 : NULL;
        }
    }
}

/* What clients do
 * ------------------------------------------------------------------------------------------------------------
 */

static void come(struct stage *stage, struct client *client)
{
    uint8_t how = next(stage), which = next(stage);
    char names[64] = "";
    *client = (struct client){.open = true, .centrifuge = how & 1};
    stage->own.bench->like = (struct transfer_record){0};
    bool since = how & 4, few = false;
    for (int i = 0; i < TOPICS && !client->centrifuge; i++) {
        if (!(which >> i & 1) || (since && *names) || strlen(names) > 40)
            continue;
        few = few || i == 3;
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", *names ? "," : "", topics[i]);
    }
    if (!client->centrifuge) {
        stage->own.bench->like.ask_broker = since || few;
        stage->own.bench->like.since_set = since;
        stage->own.bench->like.since_offset = how >> 4;
        if (!*names)
            strcpy(names, "plain");
    }
    client->peer = peer_open_as(stage->own.bench, client->centrifuge ? ADAPTER_CENTRIFUGE : ADAPTER_RAW,
                                how >> 1 & 1, names, SEND_BUFFER);
}

static void go(struct stage *stage, struct client *client)
{
    hear(stage, client);
    peer_fini(&client->peer);
    client->open = false;
}

static void say(struct stage *stage, struct client *client)
{
    uint8_t frame[MESSAGE_MAX + 64];
    struct peer *peer = &client->peer;
    size_t bytes = masked(frame, WS_TEXT, true, client->message, client->bytes);
    client->bytes = 0;
    if (peer->tls) {
        uint8_t record[MESSAGE_MAX + 64 + TLS_RECORD_OVERHEAD];
        bytes = peer_seal(stage->own.bench, peer, TLS_CONTENT_APPLICATION_DATA, frame, bytes, record);
        if (send(peer->fd, record, bytes, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)bytes)
            go(stage, client);
    } else if (send(peer->fd, frame, bytes, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)bytes)
        go(stage, client);
}

static void command(struct stage *stage, struct client *client)
{
    static const char *const forms[] = {
        "\"connect\":{}%.0s",
        "\"subscribe\":{\"channel\":\"%s\",\"join_leave\":true}",
        "\"subscribe\":{\"channel\":\"%s\",\"recover\":true,\"offset\":2,\"join_leave\":true}",
        "\"subscribe\":{\"channel\":\"%s\",\"recover\":true,\"offset\":1,\"flag\":2}",
        "\"unsubscribe\":{\"channel\":\"%s\"}",
        "\"publish\":{\"channel\":\"%s\",\"data\":[1,2,3]}",
        "\"presence\":{\"channel\":\"%s\"}",
        "\"presence_stats\":{\"channel\":\"%s\"}",
        "\"history\":{\"channel\":\"%s\",\"limit\":5}",
        "\"sub_refresh\":{\"channel\":\"%s\",\"token\":\"x\"}",
        "\"refresh\":{\"token\":\"x\"}%.0s",
        "\"rpc\":{\"method\":\"%s\",\"data\":1}",
        "\"ping\":{}%.0s",
        "\"send\":{\"data\":1}%.0s",
    };
    uint8_t which = next(stage);
    int topic = which >> 4 & (TOPICS - 1);
    char text[128];
    const char *form = forms[(which & 15) % (sizeof forms / sizeof *forms)];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(text, sizeof text, form, topics[topic]);
#pragma GCC diagnostic pop
    if (client->bytes + sizeof text + 32 > MESSAGE_MAX)
        say(stage, client);
    if (!client->open)
        return;
    client->bytes += (size_t)snprintf(client->message + client->bytes, MESSAGE_MAX - client->bytes,
                                      "%s{\"id\":%u,%s}", client->bytes ? "\n" : "",
                                      (unsigned)(++stage->command * TOPICS + (unsigned)topic), text);
    if (which & 128)
        say(stage, client);
}

static void anything(struct stage *stage, struct client *client)
{
    size_t bytes = next(stage) % 64;
    for (size_t i = 0; i < bytes; i++)
        client->message[client->bytes < MESSAGE_MAX ? client->bytes++ : 0] = (char)next(stage);
    stage->free_text = true;
    say(stage, client);
}

/* What others do
 * -------------------------------------------------------------------------------------------------------------
 */

static void publish(struct stage *stage)
{
    static const char text[] = "[\"0123456789012345678901234567890123456789012345678901234567890123456789\"]";
    static char large[1500] = "";
    if (!*large) {
        memset(large, '7', sizeof large);
    }
    uint8_t what = next(stage);
    const char *topic = topics[what & (TOPICS - 1)];
    for (int i = 0; i <= (what >> 3 & 7); i++)
        (void)broker_publish(stage->own.broker, topic, strlen(topic), what & 64 ? large : text,
                             what & 64 ? sizeof large : sizeof text - 1);
}

static void order(struct stage *stage)
{
    uint8_t what = next(stage), more = next(stage);
    const char *topic = topics[what & (TOPICS - 1)];
    struct order wanted = {
        .kind = what >> 3 & 3,
        .topic = {topic, strlen(topic)},
        .recover = more & 1,
        .since = {.offset = more >> 4},
        .expire_at = more & 2 ? (int64_t)(clock_realtime_ms() / 1000) + (more >> 2 & 1) : 0,
    };
    struct broker_ask ask = {.op = BROKER_ORDER};
    struct broker_request *request = broker_request_create(&ask);
    check(request != NULL);
    request->order = order_create(&wanted);
    check(request->order != NULL);
    broker_serve(stage->own.broker, request);
    broker_request_destroy(request);
}

static void end_from_inside(struct stage *stage)
{
    struct pool *pool = &stage->own.bench->pool;
    uint32_t index = next(stage) % BENCH_CAPACITY;
    if (index >= pool->conns.fresh || pool_conn(pool, index)->state == CONN_FREE)
        return;
    if (index & 1)
        pool_destroy(pool, pool_conn(pool, index), CLOSE_INTERNAL);
    else
        conn_close(pool, pool_conn(pool, index), CLOSE_DRAIN, 0, NULL);
}

static void step(struct stage *stage)
{
    uint8_t what = next(stage);
    struct client *client = &stage->clients[(what >> 4) % PEERS];
    switch (what & 15) {
    case 0:
        if (!client->open)
            come(stage, client);
        break;
    case 1:
    case 2:
    case 3:
        if (client->open && client->centrifuge)
            command(stage, client);
        break;
    case 4:
        if (client->open && client->centrifuge)
            anything(stage, client);
        break;
    case 5:
        publish(stage);
        break;
    case 6:
        broker_drain_mail(stage->own.broker);
        break;
    case 7:
        (void)broker_work(stage->own.broker, what >> 4 ? UINT64_MAX : 0);
        break;
    case 8:
        broker_bench_take_mail(&stage->own);
        break;
    case 9:
        stage->own.bench->slice = 1 + (what >> 4);
        (void)bench_turn(stage->own.bench);
        break;
    case 10:
        stage->own.bench->now += 1u << (what >> 4);
        (void)bench_turn(stage->own.bench);
        break;
    case 11:
        if (client->open)
            hear(stage, client);
        break;
    case 12:
        if (client->open)
            go(stage, client);
        break;
    case 13:
        order(stage);
        break;
    case 14:
        end_from_inside(stage);
        break;
    default:
        broker_bench_settle(&stage->own);
        for (int i = 0; i < TOPICS; i++)
            check_topic(stage, topics[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    struct stage *stage = calloc(1, sizeof *stage);
    check(stage != NULL);
    stage->at = input;
    stage->end = input + size;
    stage_open(stage);
    for (int i = 0; i < STEPS_MAX && stage->at < stage->end; i++)
        step(stage);
    for (int i = 0; i < PEERS; i++)
        if (stage->clients[i].open)
            hear(stage, &stage->clients[i]);
    stage_close(stage);
    free(stage);
    return 0;
}
