/* A connection of the Centrifuge adapter whose reactor, broker and backend are the test: what the adapter
 * sends and asks for is recorded, and answered when the test says so. Include it after cmocka. */
#pragma once

#include "gateway/adapter/adapter.h"
#include "gateway/adapter/identity.h"
#include "gateway/auth/auth.h"
#include "gateway/base/uuid.h"
#include "gateway/broker/message.h"
#include "gateway/proxy/proxy_internal.h"
#include "proto/centrifuge.h"
#include "tests/unit/auth/signer.h"

#include <ctype.h>

#define SECRET "0123456789abcdef0123456789abcdef"
#define CLIENT "00112233-4455-4677-8899-aabbccddeeff"
enum { NOW = 1700000000, FRAMES_MAX = 1024, REQUESTS_MAX = 4096, SUBS_MAX = 256 };

struct fake_sub {
    char topic[TOPIC_BYTES_MAX + 1];
    int flags;
    uint32_t join;
};

struct fake {
    struct adapter_link link; /* first */
    struct session session;
    struct settings settings;
    struct topic_rule rules[16];
    char *frames[FRAMES_MAX]; /* sent, not yet looked at */
    size_t frame_count;
    int close_code;
    char close_text[128];
    struct broker_request *requests[REQUESTS_MAX]; /* asked, not yet answered */
    size_t request_count;
    struct proxy_request *hooks[REQUESTS_MAX];
    size_t hook_count;
    struct fake_sub subs[SUBS_MAX];
    size_t sub_count;
    uint32_t next_join;
    uint64_t deadline;  /* ms; 0: none */
    char left_info[64]; /* chan_info of who left a topic, of late */
    uint64_t charged_ns;
    bool full;         /* no room for a topic more */
    bool sends_end_it; /* the connection breaks with the next send */
    bool ended;
};

static struct fake *fake_of(struct adapter_link *link)
{
    return (struct fake *)link;
}

/* As a reactor destroys a connection under an adapter's hands. */
static void fake_destroy(struct fake *f)
{
    f->link.gone = true;
    f->ended = true;
    f->sub_count = 0;
    adapter_centrifuge.ended(&f->session);
}

static void fake_send(struct adapter_link *link, bool text, const void *payload, size_t payload_bytes)
{
    struct fake *f = fake_of(link);
    assert_false(link->gone);
    assert_true(text);
    assert_true(f->frame_count < FRAMES_MAX);
    if (f->sends_end_it) {
        fake_destroy(f);
        return;
    }
    char *frame = malloc(payload_bytes + 1); /* not strndup(), which may look behind the payload */
    assert_non_null(frame);
    memcpy(frame, payload, payload_bytes);
    frame[payload_bytes] = '\0';
    f->frames[f->frame_count++] = frame;
}

static void fake_close(struct adapter_link *link, uint16_t code, const char *text)
{
    struct fake *f = fake_of(link);
    assert_false(link->gone);
    link->gone = true;
    f->close_code = code;
    snprintf(f->close_text, sizeof f->close_text, "%s", text);
}

static void fake_request(struct adapter_link *link, struct broker_request *request)
{
    struct fake *f = fake_of(link);
    assert_true(request->op != BROKER_SUBSCRIBE && request->op != BROKER_LEAVE);
    assert_true(f->request_count < REQUESTS_MAX);
    if (link->gone)
        broker_request_destroy(request);
    else
        f->requests[f->request_count++] = request;
}

static struct fake_sub *fake_find(struct fake *f, const char *topic, size_t bytes)
{
    for (size_t i = 0; i < f->sub_count; i++)
        if (strlen(f->subs[i].topic) == bytes && memcmp(f->subs[i].topic, topic, bytes) == 0)
            return &f->subs[i];
    return NULL;
}

static enum link_join fake_join(struct adapter_link *link, struct broker_request *request)
{
    struct fake *f = fake_of(link);
    uint64_t most = f->settings.limits.topics_per_connection;
    enum link_join result = LINK_JOINING;
    assert_int_equal(request->op, BROKER_SUBSCRIBE);
    assert_true(request->topic.bytes >= 1 && request->topic.bytes <= TOPIC_BYTES_MAX);
    if (link->gone)
        result = LINK_FAILED;
    else if (fake_find(f, request->topic.data, request->topic.bytes))
        result = LINK_ALREADY;
    else if (f->sub_count == SUBS_MAX || (most > 0 && f->sub_count >= most))
        result = LINK_TOO_MANY;
    else if (f->full)
        result = LINK_FULL;
    if (result != LINK_JOINING) {
        broker_request_destroy(request);
        return result;
    }
    struct fake_sub *sub = &f->subs[f->sub_count++];
    *sub = (struct fake_sub){.flags = request->flags | SUBSCRIPTION_JOINING, .join = ++f->next_join};
    memcpy(sub->topic, request->topic.data, request->topic.bytes);
    request->join = sub->join;
    f->requests[f->request_count++] = request;
    return result;
}

static bool fake_leave(struct adapter_link *link, const char *topic, size_t bytes)
{
    struct fake *f = fake_of(link);
    struct fake_sub *sub = link->gone ? NULL : fake_find(f, topic, bytes);
    if (!sub)
        return false;
    struct broker_ask left = {0};
    adapter_centrifuge.who(&f->session, topic, bytes, &left);
    snprintf(f->left_info, sizeof f->left_info, "%.*s", (int)left.chan_info.bytes, left.chan_info.data);
    *sub = f->subs[--f->sub_count];
    return true;
}

static int fake_subscribed(struct adapter_link *link, const char *topic, size_t bytes)
{
    const struct fake_sub *sub = link->gone ? NULL : fake_find(fake_of(link), topic, bytes);
    return sub ? sub->flags : -1;
}

static void fake_hook(struct adapter_link *link, struct proxy_request *request)
{
    struct fake *f = fake_of(link);
    assert_true(proxy_serves(link->proxy, (enum proxy_kind)request->kind));
    if (link->gone)
        proxy_request_destroy(request);
    else
        f->hooks[f->hook_count++] = request;
}

static void fake_charge(struct adapter_link *link, uint64_t ns)
{
    fake_of(link)->charged_ns += ns;
}

static void fake_deadline(struct adapter_link *link, uint64_t ms)
{
    fake_of(link)->deadline = ms;
}

static struct conn_id fake_id(const struct adapter_link *link)
{
    (void)link;
    return (struct conn_id){.reactor = 1, .slot = 2, .generation = 3};
}

static const struct adapter_link_ops fake_ops = {
    .send = fake_send,
    .close = fake_close,
    .request = fake_request,
    .join = fake_join,
    .leave = fake_leave,
    .subscribed = fake_subscribed,
    .proxy = fake_hook,
    .charge = fake_charge,
    .deadline = fake_deadline,
    .id = fake_id,
};

/* Set-up
 * -------------------------------------------------------------------------------------------------------- */

static void fake_rule(struct fake *f, struct topic_rule rule)
{
    f->rules[f->settings.topics.count++] = rule;
}

static inline int fake_set_up(void **state)
{
    struct fake *f = calloc(1, sizeof *f);
    if (!f || !topic_hash_setup())
        return -1;
    f->settings.limits.handshake_timeout = 10000;
    f->settings.limits.message_bytes = 64 * 1024;
    f->settings.limits.topics_per_connection = 32;
    f->settings.limits.outbox_bytes = 256 * 1024;
    f->settings.idle.ping_interval = 25000;
    f->settings.auth.anonymous = true;
    f->settings.topics.rules = f->rules;
    fake_rule(f, (struct topic_rule){.name = "kept:*", .history_size = 10});
    fake_rule(f, (struct topic_rule){.name = "stream:*", .history_size = 10, .recover = true});
    fake_rule(f, (struct topic_rule){.name = "room:*", .presence = true, .join_leave = true});
    fake_rule(f, (struct topic_rule){
                     .name = "secret:*", .subscribe = SUBSCRIBE_TOKEN, .presence = true, .history_size = 10});
    fake_rule(f, (struct topic_rule){.name = "users:*",
                                     .subscribe = SUBSCRIBE_AUTHENTICATED,
                                     .publish = PUBLISH_AUTHENTICATED,
                                     .presence = true});
    fake_rule(f, (struct topic_rule){.name = "chat:*",
                                     .publish = PUBLISH_SUBSCRIBERS,
                                     .history_size = 10,
                                     .recover = true,
                                     .presence = true,
                                     .join_leave = true});
    f->link = (struct adapter_link){
        .ops = &fake_ops, .settings = &f->settings, .session = &f->session, .token = 7, .now_s = NOW};
    *state = f;
    return 0;
}

static inline void fake_keys(struct fake *f)
{
    struct auth_config config = {SECRET, "", "", "", "", "", 0};
    char error[256];
    f->link.auth = auth_create(&config, error, sizeof error);
    if (!f->link.auth)
        fail_msg("%s", error);
}

/* The backend serves these kinds. */
static inline void fake_backend(struct fake *f, unsigned kinds)
{
    struct proxy_config config = {
        .headers = "", .timeout_ms = 1000, .concurrency = 1, .queue = 1, .answer_bytes = 65536};
    char error[256];
    for (unsigned kind = 0; kind < PROXY_KIND_COUNT; kind++)
        config.urls[kind] = kinds & 1u << kind ? "http://127.0.0.1:1/" : "";
    f->link.proxy = proxy_create(&config, error, sizeof error);
    if (!f->link.proxy)
        fail_msg("%s", error);
}

static inline void fake_end(struct fake *f)
{
    if (!f->ended)
        fake_destroy(f);
    assert_null(f->session.more);
    for (size_t i = 0; i < f->request_count; i++)
        broker_request_destroy(f->requests[i]);
    for (size_t i = 0; i < f->hook_count; i++)
        proxy_request_destroy(f->hooks[i]);
    for (size_t i = 0; i < f->frame_count; i++)
        free(f->frames[i]);
    f->request_count = f->hook_count = f->frame_count = f->sub_count = 0;
    f->close_code = 0;
    f->ended = false;
    f->link.gone = false;
    f->deadline = 0;
}

static inline int fake_tear_down(void **state)
{
    struct fake *f = *state;
    fake_end(f);
    auth_destroy(f->link.auth);
    if (f->link.proxy)
        proxy_stop(f->link.proxy);
    proxy_destroy(f->link.proxy);
    free(f);
    return 0;
}

/* The client
 * ------------------------------------------------------------------------------------------------------- */

static inline void fake_open_as(struct fake *f, const struct identity *identity)
{
    char packed[4096];
    size_t bytes = identity ? identity_pack(identity, packed, sizeof packed) : 0;
    f->session = (struct session){0};
    adapter_centrifuge.opened(&f->link, packed, bytes);
    static const uint8_t id[16] = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x46, 0x77,
                                   0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};
    memcpy(f->session.client, id, sizeof id); /* so that what is said of it can be compared */
}

/* One message, in memory of its own length. */
static inline void say_bytes(struct fake *f, const char *message, size_t bytes)
{
    uint8_t *copy = malloc(bytes > 0 ? bytes : 1);
    assert_non_null(copy);
    memcpy(copy, message, bytes);
    adapter_centrifuge.message(&f->link, true, copy, bytes);
    memset(copy, 'x', bytes);
    free(copy);
}

static inline void say(struct fake *f, const char *message)
{
    say_bytes(f, message, strlen(message));
}

/* What the client gets next. */
static inline void hear(struct fake *f, const char *expected)
{
    if (f->frame_count == 0)
        fail_msg("nothing was sent (closed with %d); expected: %s", f->close_code, expected);
    char *frame = f->frames[0];
    memmove(&f->frames[0], &f->frames[1], --f->frame_count * sizeof f->frames[0]);
    if (strcmp(frame, expected) != 0)
        fail_msg("sent:     %s\nexpected: %s", frame, expected);
    free(frame);
}

static inline void hear_nothing(const struct fake *f)
{
    if (f->frame_count > 0)
        fail_msg("sent: %s", f->frames[0]);
}

static inline void hear_close(struct fake *f, int code, const char *text)
{
    hear_nothing(f);
    assert_int_equal(f->close_code, code);
    assert_string_equal(f->close_text, text);
}

static inline void hear_error(struct fake *f, unsigned id, unsigned code)
{
    char expected[256];
    bool temporary = centrifuge_error_temporary(code);
    snprintf(expected, sizeof expected, "{\"id\":%u,\"error\":{\"code\":%u,\"message\":\"%s\"%s}}", id, code,
             centrifuge_error_message(code), temporary ? ",\"temporary\":true" : "");
    hear(f, expected);
}

#define CONNECTED                                                                                            \
    "{\"id\":1,\"connect\":{\"client\":\"" CLIENT "\",\"version\":\"pushgate " PUSHGATE_VERSION              \
    "\",\"ping\":25,\"pong\":true}}"

/* An anonymous client, connected. */
static inline void fake_connect(struct fake *f)
{
    fake_open_as(f, NULL);
    say(f, "{\"id\":1,\"connect\":{}}");
    hear(f, CONNECTED);
    assert_true(f->session.connected);
}

/* A token with these claims (without braces), signed; the caller frees it. */
static inline char *token_of(const char *claims)
{
    char payload[2048];
    snprintf(payload, sizeof payload, "{%s}", claims);
    return signer_plain("HS256", NULL, SECRET, NULL, payload);
}

/* Says something that has a token with these claims where %s stands. */
static inline void say_token(struct fake *f, const char *format, const char *claims)
{
    char *token = token_of(claims), message[8192];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(message, sizeof message, format, token);
#pragma GCC diagnostic pop
    free(token);
    say(f, message);
}

/* A client with the user "anna", connected. */
static inline void fake_connect_user(struct fake *f)
{
    if (!f->link.auth)
        fake_keys(f);
    fake_open_as(f, NULL);
    say_token(f, "{\"id\":1,\"connect\":{\"token\":\"%s\"}}", "\"sub\":\"anna\",\"info\":{\"n\":1}");
    hear(f, CONNECTED);
    assert_true(f->session.authenticated);
}

/* The broker
 * ------------------------------------------------------------------------------------------------------- */

/* The oldest request that waits; the caller's. */
static inline struct broker_request *asked(struct fake *f, enum broker_op op, const char *topic)
{
    assert_true(f->request_count > 0);
    struct broker_request *request = f->requests[0];
    memmove((void *)&f->requests[0], (void *)&f->requests[1], --f->request_count * sizeof f->requests[0]);
    assert_int_equal(request->op, op);
    assert_int_equal(request->topic.bytes, strlen(topic));
    assert_memory_equal(request->topic.data, topic, strlen(topic));
    assert_memory_equal(request->client, f->session.client, 16);
    return request;
}

static inline void asked_nothing(const struct fake *f)
{
    if (f->request_count > 0)
        fail_msg("asked for %d", f->requests[0]->op);
}

/* Answers as a reactor does: a subscription that has been left hears nothing, one that is there joins behind
 * the answer. */
static inline void answer(struct fake *f, struct broker_request *request)
{
    char topic[TOPIC_BYTES_MAX + 1] = {0};
    memcpy(topic, request->topic.data, request->topic.bytes);
    struct fake_sub *sub = fake_find(f, topic, request->topic.bytes);
    if (request->op == BROKER_SUBSCRIBE) {
        bool there = sub && sub->flags & SUBSCRIPTION_JOINING && sub->join == request->join;
        if (f->link.gone || !there) {
            broker_request_destroy(request);
            return;
        }
        if (request->result != BROKER_OK)
            fake_leave(&f->link, topic, strlen(topic));
    }
    uint32_t join = request->join;
    if (!f->link.gone)
        adapter_centrifuge.answer(&f->link, request);
    sub = fake_find(f, topic, strlen(topic));
    if (request->op == BROKER_SUBSCRIBE && sub && sub->join == join)
        sub->flags &= ~SUBSCRIPTION_JOINING;
    broker_request_destroy(request);
}

static inline void answer_ok(struct fake *f, enum broker_op op, const char *topic)
{
    answer(f, asked(f, op, topic));
}

static inline void answer_failed(struct fake *f, enum broker_op op, const char *topic,
                                 enum broker_result result)
{
    struct broker_request *request = asked(f, op, topic);
    request->result = (uint8_t)result;
    answer(f, request);
}

enum { EPOCH = 0xabc };
#define EPOCH_TEXT "0000000000000abc"

/* Fills in a page of publications: payloads with NULL at the end, the last one at offset `top`. */
static inline void answer_page(struct broker_request *request, uint64_t top, const char *const *payloads)
{
    size_t count = 0;
    while (payloads && payloads[count])
        count++;
    request->position = (struct stream_position){.offset = top, .epoch = EPOCH};
    request->recovered = request->continuous = request->since_set;
    request->items = calloc(count + 1, sizeof(struct history_item *));
    request->item_count = count;
    for (size_t i = 0; i < count; i++) {
        struct history_contents contents = {.payload = payloads[i],
                                            .payload_bytes = strlen(payloads[i]),
                                            .text = true,
                                            .json = json_text_valid(payloads[i], strlen(payloads[i]))};
        request->items[i] = history_item_create(&contents, top - count + 1 + i);
        assert_non_null(request->items[i]);
    }
}

/* Subscribes to a topic that keeps nothing. */
static inline void fake_subscribe(struct fake *f, unsigned id, const char *topic)
{
    char text[512];
    snprintf(text, sizeof text, "{\"id\":%u,\"subscribe\":{\"channel\":\"%s\"}}", id, topic);
    say(f, text);
    answer_ok(f, BROKER_SUBSCRIBE, topic);
    snprintf(text, sizeof text, "{\"id\":%u,\"subscribe\":{}}", id);
    hear(f, text);
}

/* The backend
 * ------------------------------------------------------------------------------------------------------ */

/* The oldest call that waits, with exactly this in its body (checked without the parts that are always the
 * same). */
static inline struct proxy_request *called(struct fake *f, enum proxy_kind kind, const char *rest_of_body)
{
    assert_true(f->hook_count > 0);
    struct proxy_request *request = f->hooks[0];
    memmove((void *)&f->hooks[0], (void *)&f->hooks[1], --f->hook_count * sizeof f->hooks[0]);
    assert_int_equal(request->kind, kind);
    char expected[4096];
    snprintf(expected, sizeof expected,
             "{\"client\":\"" CLIENT
             "\",\"transport\":\"websocket\",\"protocol\":\"json\",\"encoding\":\"json\"%s}",
             rest_of_body);
    if (request->body.len != strlen(expected) || memcmp(request->body.data, expected, request->body.len) != 0)
        fail_msg("called: %.*s\nexpected: %s", (int)request->body.len, request->body.data, expected);
    return request;
}

static inline void backend_says(struct fake *f, struct proxy_request *request, const char *body)
{
    char why[PROXY_WHY_BYTES];
    enum proxy_outcome outcome = proxy_answer_parse(request, body, strlen(body), why, sizeof why);
    if (outcome == PROXY_BAD_BODY)
        fail_msg("%s: %s", body, why);
    if (!f->link.gone)
        adapter_centrifuge.proxied(&f->link, request);
    proxy_request_destroy(request);
}

static inline void backend_fails(struct fake *f, struct proxy_request *request, enum proxy_outcome outcome)
{
    request->answer = (struct proxy_answer){.outcome = outcome};
    if (!f->link.gone)
        adapter_centrifuge.proxied(&f->link, request);
    proxy_request_destroy(request);
}
