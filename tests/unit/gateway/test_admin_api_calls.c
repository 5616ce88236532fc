/* admin_api_calls: what each call asks for, and what its answer looks like. */
#include "api_bench.h"
#include "gateway/base/uuid.h"

#include <jansson.h>

/* Publishing
 * ----------------------------------------------------------------------------------------------------------
 */

static void data_reaches_subscribers_as_it_was_written(void **state)
{
    struct fixture *f = *state;
    char payloads[256];
    static const struct {
        const char *body, *payload;
    } rows[] = {
        {"{\"channel\":\"a\",\"data\":{\"x\" : 1e999,\n \"y\":[ ]}}", "{\"x\" : 1e999,\n \"y\":[ ]}"},
        {" { \"data\" : \"\\u0041\" , \"channel\" : \"\\u0061\" } ", "\"\\u0041\""},
        {"{\"channel\":\"a\",\"data\":null}", "null"},
        {"{\"channel\":\"a\",\"data\":7,\"data\":8}", "8"},
        {"{\"channel\":\"a\",\"b64data\":\"aGk=\"}", "hi"},
        {"{\"channel\":\"a\",\"b64data\":\"aGlq\",\"data\":1}", "hij"},
        {"{\"channel\":\"a\",\"b64data\":\"\",\"data\":1}", "1"},
    };
    tell_interest(f, 1, "a", 3);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        answers(f, "/publish", rows[i].body, "{\"result\":{}}");
        assert_int_equal(take_mail(f, 0, NULL, 0, NULL, NULL), 0);
        assert_int_equal(take_mail(f, 1, payloads, sizeof payloads, NULL, NULL), 1);
        assert_string_equal(payloads, rows[i].payload);
    }
}

static void a_topic_with_history_gives_its_position(void **state)
{
    struct fixture *f = *state;
    answers(f, "/publish", "{\"channel\":\"h:1\",\"data\":1}", "{\"result\":{\"offset\":1,\"epoch\":\"E\"}}");
    answers(f, "/publish", "{\"channel\":\"h:1\",\"data\":2,\"skip_history\":false}",
            "{\"result\":{\"offset\":2,\"epoch\":\"E\"}}");
    answers(f, "/publish", "{\"channel\":\"h:1\",\"data\":3,\"skip_history\":true}", "{\"result\":{}}");
    answers(f, "/history", "{\"channel\":\"h:1\",\"limit\":9}",
            "{\"result\":{\"publications\":[{\"data\":1,\"offset\":1},{\"data\":2,\"offset\":2}],"
            "\"epoch\":\"E\",\"offset\":2}}");
}

static void what_is_wrong_with_a_publication_is_said(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *body;
        int code;
    } rows[] = {
        {"{\"data\":1}", 107},
        {"{\"channel\":\"\",\"data\":1}", 107},
        {"{\"channel\":null,\"data\":1}", 107},
        {"{\"channel\":5,\"data\":1}", 107},
        {"{\"channel\":\"a\\u0000b\",\"data\":1}", 107},
        {"{\"channel\":\"\\ud800\",\"data\":1}", 107},
        {"{\"channel\":\"a\"}", 107},
        {"{\"channel\":\"a\",\"b64data\":\"aGk\"}", 107},
        {"{\"channel\":\"a\",\"b64data\":\"aG=k\"}", 107},
        {"{\"channel\":\"a\",\"b64data\":\"====\"}", 107},
        {"{\"channel\":\"a\",\"b64data\":\"aGk=\\n\"}", 107},
        {"{\"channel\":\"a\",\"b64data\":7}", 107},
        {"{\"channel\":\"a\",\"data\":1,\"tags\":[]}", 107},
        {"{\"channel\":\"a\",\"data\":1,\"tags\":{\"a\":1}}", 107},
        {"{\"channel\":\"a\",\"data\":1,\"skip_history\":1}", 107},
        {"{\"channel\":\"a\",\"data\":1,\"idempotency_key\":1}", 107},
        {"{\"channel\":\"a\",\"data\":1,\"version\":1}", 108},
        {"{\"channel\":\"a\",\"data\":1,\"version\":-1}", 107},
        {"[]", 107},
        {"\"publish\"", 107},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        answers_error(f, "/publish", rows[i].body, rows[i].code);
    answers(f, "/publish", "{\"data\":1}",
            "{\"error\":{\"code\":107,\"message\":\"bad request: channel is missing\"}}");
    /* Whoever sends these means nothing by them. */
    answers(f, "/publish",
            "{\"channel\":\"a\",\"data\":1,\"tags\":{},\"version\":0,\"version_epoch\":\"x\",\"delta\":true,"
            "\"idempotency_key\":\"\",\"unheard\":[1]}",
            "{\"result\":{}}");
}

static void the_longest_topic_and_message_pass_and_one_byte_more_does_not(void **state)
{
    struct fixture *f = *state;
    char body[4096], name[257], data[1100];
    memset(name, 'n', sizeof name);
    snprintf(body, sizeof body, "{\"channel\":\"%.255s\",\"data\":1}", name);
    answers(f, "/publish", body, "{\"result\":{}}");
    snprintf(body, sizeof body, "{\"channel\":\"%.256s\",\"data\":1}", name);
    answers_error(f, "/publish", body, 107);
    memset(data, 'd', sizeof data);
    snprintf(body, sizeof body, "{\"channel\":\"a\",\"data\":\"%.1022s\"}", data);
    answers(f, "/publish", body, "{\"result\":{}}");
    snprintf(body, sizeof body, "{\"channel\":\"a\",\"data\":\"%.1023s\"}", data);
    answers_error(f, "/publish", body, 106);
    snprintf(body, sizeof body, "{\"channel\":\"a\",\"data\":1,\"tags\":{\"t\":\"%.1023s\"}}", data);
    answers_error(f, "/publish", body, 106);
}

static void a_broadcast_answers_for_each_topic(void **state)
{
    struct fixture *f = *state;
    char payloads[256];
    tell_interest(f, 0, "a", 1);
    tell_interest(f, 0, "b\"c", 1);
    answers(f, "/broadcast",
            "{\"channels\":[\"a\", \"h:2\",\"\",\"b\\\"c\",5],\"data\":[true],\"tags\":{\"t\":\"v\"}}",
            "{\"result\":{\"responses\":[{\"result\":{}},{\"result\":{\"offset\":1,\"epoch\":\"E\"}},"
            "{\"error\":{\"code\":107,\"message\":\"bad request: channel is empty\"}},{\"result\":{}},"
            "{\"error\":{\"code\":107,\"message\":\"bad request: channel is not a string\"}}]}}");
    assert_int_equal(take_mail(f, 0, payloads, sizeof payloads, NULL, NULL), 2);
    assert_string_equal(payloads, "[true]|[true]");
    answers(f, "/history", "{\"channel\":\"h:2\",\"limit\":1}",
            "{\"result\":{\"publications\":[{\"data\":[true],\"offset\":1,\"tags\":{\"t\":\"v\"}}],"
            "\"epoch\":\"E\",\"offset\":1}}");
    answers_error(f, "/broadcast", "{\"channels\":[],\"data\":1}", 107);
    answers_error(f, "/broadcast", "{\"channels\":\"a\",\"data\":1}", 107);
    answers_error(f, "/broadcast", "{\"data\":1}", 107);
    answers_error(f, "/broadcast", "{\"channels\":[\"a\"]}", 107);
    set(f, "--api.commands=2");
    answers_error(f, "/broadcast", "{\"channels\":[\"a\",\"b\",\"c\"],\"data\":1}", 106);
    answers(f, "/broadcast", "{\"channels\":[\"a\",\"b\"],\"data\":1}",
            "{\"result\":{\"responses\":[{\"result\":{}},{\"result\":{}}]}}");
    drop_mail(f);
}

static void a_key_publishes_once_for_each_topic(void **state)
{
    struct fixture *f = *state;
    static const char first[] = "{\"channel\":\"h:k\",\"data\":1,\"idempotency_key\":\"k\"}";
    static const char other[] = "{\"channel\":\"h:l\",\"data\":1,\"idempotency_key\":\"k\"}";
    answers(f, "/publish", first, "{\"result\":{\"offset\":1,\"epoch\":\"E\"}}");
    answers(f, "/publish", first, "{\"result\":{\"offset\":1,\"epoch\":\"E\"}}");
    answers(f, "/publish", other, "{\"result\":{\"offset\":1,\"epoch\":\"E\"}}");
    answers(f, "/publish", "{\"channel\":\"h:k\",\"data\":1,\"idempotency_key\":\"k2\"}",
            "{\"result\":{\"offset\":2,\"epoch\":\"E\"}}");
    /* Also when the first has not been answered yet: all three are on the way together. */
    answers(
        f, "/broadcast",
        "{\"channels\":[\"h:m\",\"h:m\",\"h:n\",\"h:m\",\"a\",\"a\"],\"data\":1,\"idempotency_key\":\"k\"}",
        "{\"result\":{\"responses\":[{\"result\":{\"offset\":1,\"epoch\":\"E\"}},"
        "{\"result\":{\"offset\":1,\"epoch\":\"E\"}},{\"result\":{\"offset\":1,\"epoch\":\"E\"}},"
        "{\"result\":{\"offset\":1,\"epoch\":\"E\"}},{\"result\":{}},{\"result\":{}}]}}");
    answers(f, "/history", "{\"channel\":\"h:m\"}",
            "{\"result\":{\"publications\":[],\"epoch\":\"E\",\"offset\":1}}");
}

/* Reading
 * ----------------------------------------------------------------------------------------------------------
 */

static void history_is_read_in_pages(void **state)
{
    struct fixture *f = *state;
    char epoch[EPOCH_TEXT_BYTES], body[256];
    for (int i = 1; i <= 7; i++) { /* of which five are kept */
        snprintf(body, sizeof body, "{\"channel\":\"h:p\",\"data\":%d}", i);
        (void)run(f, "/publish", body);
    }
#define P(n) "{\"data\":" #n ",\"offset\":" #n "}"
#define TOP  "],\"epoch\":\"E\",\"offset\":7}}"
    answers(f, "/history", "{\"channel\":\"h:p\"}", "{\"result\":{\"publications\":[" TOP);
    answers(f, "/history", "{\"channel\":\"h:p\",\"limit\":2}",
            "{\"result\":{\"publications\":[" P(3) "," P(4) TOP);
    answers(f, "/history", "{\"channel\":\"h:p\",\"limit\":-1}",
            "{\"result\":{\"publications\":[" P(3) "," P(4) "," P(5) "," P(6) "," P(7) TOP);
    answers(f, "/history", "{\"channel\":\"h:p\",\"limit\":2,\"reverse\":true}",
            "{\"result\":{\"publications\":[" P(7) "," P(6) TOP);
    answers(f, "/history", "{\"channel\":\"h:p\",\"limit\":2,\"since\":{\"offset\":4}}",
            "{\"result\":{\"publications\":[" P(5) "," P(6) TOP);
    answers(f, "/history",
            "{\"channel\":\"h:p\",\"limit\":2,\"since\":{\"offset\":4,\"epoch\":\"\"},\"reverse\":true}",
            "{\"result\":{\"publications\":[" P(3) TOP);
    answers(f, "/history", "{\"channel\":\"h:p\",\"limit\":2,\"since\":{\"offset\":7,\"epoch\":null}}",
            "{\"result\":{\"publications\":[" TOP);
    /* With the stream's own epoch, and with others. */
    struct broker_ask ask = {.op = BROKER_HISTORY, .topic = {"h:p", 3}};
    struct broker_request *request = broker_request_create(&ask);
    broker_serve(f->broker, request);
    epoch_format(request->position.epoch, epoch);
    broker_request_destroy(request);
    snprintf(body, sizeof body, "{\"channel\":\"h:p\",\"limit\":1,\"since\":{\"offset\":6,\"epoch\":\"%s\"}}",
             epoch);
    answers(f, "/history", body, "{\"result\":{\"publications\":[" P(7) TOP);
    epoch[0] = epoch[0] == 'a' ? 'b' : 'a';
    snprintf(body, sizeof body, "{\"channel\":\"h:p\",\"limit\":1,\"since\":{\"offset\":6,\"epoch\":\"%s\"}}",
             epoch);
    answers(f, "/history", body, "{\"error\":{\"code\":112,\"message\":\"unrecoverable position\"}}");
    answers_error(f, "/history",
                  "{\"channel\":\"h:p\",\"limit\":1,\"since\":{\"offset\":6,\"epoch\":\"xyz\"}}", 112);
    answers_error(
        f, "/history",
        "{\"channel\":\"h:p\",\"limit\":1,\"since\":{\"offset\":6,\"epoch\":\"xyz\"},\"reverse\":true}", 112);
    /* Where there is a gap, or what was never published. */
    answers_error(f, "/history", "{\"channel\":\"h:p\",\"limit\":9,\"since\":{\"offset\":1}}", 112);
    answers_error(f, "/history", "{\"channel\":\"h:p\",\"limit\":9,\"since\":{\"offset\":8}}", 112);
    answers(f, "/history", "{\"channel\":\"h:p\",\"limit\":1,\"since\":{\"offset\":2}}",
            "{\"result\":{\"publications\":[" P(3) TOP);
    answers(f, "/history_remove", "{\"channel\":\"h:p\"}", "{\"result\":{}}");
    answers(f, "/history", "{\"channel\":\"h:p\",\"limit\":-1}", "{\"result\":{\"publications\":[" TOP);
    answers_error(f, "/history", "{\"channel\":\"h:p\",\"limit\":9,\"since\":{\"offset\":6}}", 112);
    /* Not kept; not asked for as it should be. */
    answers_error(f, "/history", "{\"channel\":\"other\",\"limit\":1}", 108);
    answers_error(f, "/history_remove", "{\"channel\":\"other\"}", 108);
    answers_error(f, "/history", "{\"limit\":1}", 107);
    answers_error(f, "/history", "{\"channel\":\"h:p\",\"limit\":1.5}", 107);
    answers_error(f, "/history", "{\"channel\":\"h:p\",\"limit\":\"1\"}", 107);
    answers_error(f, "/history", "{\"channel\":\"h:p\",\"limit\":99999999999}", 107);
    answers_error(f, "/history", "{\"channel\":\"h:p\",\"limit\":10001}", 106);
    answers_error(f, "/history", "{\"channel\":\"h:p\",\"since\":3}", 107);
    answers_error(f, "/history", "{\"channel\":\"h:p\",\"since\":{\"offset\":-3}}", 107);
    answers_error(f, "/history", "{\"channel\":\"h:p\",\"reverse\":\"yes\"}", 107);
    answers_error(f, "/history_remove", "{}", 107);
}

static void what_is_no_json_is_told_as_text_or_base64(void **state)
{
    struct fixture *f = *state;
    (void)run(f, "/publish", "{\"channel\":\"h:t\",\"b64data\":\"aGk=\"}");
    (void)run(f, "/publish", "{\"channel\":\"h:t\",\"b64data\":\"/w==\"}");
    answers(f, "/history", "{\"channel\":\"h:t\",\"limit\":9}",
            "{\"result\":{\"publications\":[{\"data\":\"hi\",\"offset\":1},"
            "{\"data\":{\"b64data\":\"/w==\"},\"offset\":2}],\"epoch\":\"E\",\"offset\":2}}");
}

/* A subscriber whose connection says who it is. */
static void join(struct fixture *f, const char *topic, const char *user, uint8_t id, const char *conn_info)
{
    struct broker_ask ask = {.op = BROKER_SUBSCRIBE,
                             .topic = {topic, strlen(topic)},
                             .user = {user, strlen(user)},
                             .conn_info = {conn_info, strlen(conn_info)}};
    struct broker_request *request = broker_request_create(&ask);
    request->reactor = 0;
    request->flags = SUBSCRIPTION_PRESENT;
    request->client[0] = id;
    mailbox_push(broker_mailbox(f->broker), &request->mail.node);
    broker_drain_mail(f->broker);
}

static void presence_tells_who_is_there(void **state)
{
    struct fixture *f = *state;
    answers(f, "/presence", "{\"channel\":\"p:x\"}", "{\"result\":{\"presence\":{}}}");
    answers(f, "/presence_stats", "{\"channel\":\"p:x\"}",
            "{\"result\":{\"num_clients\":0,\"num_users\":0}}");
    join(f, "p:x", "ann", 1, "{\"name\":\"Ann\"}");
    join(f, "p:x", "ann", 2, "");
    join(f, "p:x", "bob", 3, "");
    drop_mail(f);
    json_t *answer = json_loads(run(f, "/presence", "{\"channel\":\"p:x\"}"), 0, NULL);
    json_t *expected =
        json_loads("{\"result\":{\"presence\":{\"01000000-0000-0000-0000-000000000000\":{\"user\":\"ann\","
                   "\"client\":\"01000000-0000-0000-0000-000000000000\",\"conn_info\":{\"name\":\"Ann\"}},"
                   "\"02000000-0000-0000-0000-000000000000\":{\"user\":\"ann\",\"client\":"
                   "\"02000000-0000-0000-0000-000000000000\"},\"03000000-0000-0000-0000-000000000000\":"
                   "{\"user\":\"bob\",\"client\":\"03000000-0000-0000-0000-000000000000\"}}}}",
                   0, NULL);
    assert_non_null(expected);
    assert_true(json_equal(answer, expected));
    json_decref(answer);
    json_decref(expected);
    answers(f, "/presence_stats", "{\"channel\":\"p:x\"}",
            "{\"result\":{\"num_clients\":3,\"num_users\":2}}");
    set(f, "--api.response_bytes=1KiB");
    for (uint8_t id = 4; id < 20; id++)
        join(f, "p:x", "crowd", id, "");
    drop_mail(f);
    answers(f, "/presence", "{\"channel\":\"p:x\"}",
            "{\"error\":{\"code\":106,\"message\":\"limit exceeded: longer than api.response_bytes\"}}");
    answers_error(f, "/presence", "{\"channel\":\"h:1\"}", 108);
    answers_error(f, "/presence_stats", "{\"channel\":\"h:1\"}", 108);
    answers_error(f, "/presence", "{}", 107);
    answers_error(f, "/presence_stats", "{}", 107);
}

static void channels_are_those_with_subscribers(void **state)
{
    struct fixture *f = *state;
    answers(f, "/channels", "", "{\"result\":{\"channels\":{}}}");
    tell_interest(f, 0, "a\"b", 2);
    tell_interest(f, 1, "a\"b", 3);
    answers(f, "/channels", "{}", "{\"result\":{\"channels\":{\"a\\\"b\":{\"num_clients\":5}}}}");
    enum { MANY = 5000 };
    for (int i = 0; i < MANY; i++) {
        char topic[32];
        snprintf(topic, sizeof topic, "n:%d", i);
        tell_interest(f, 0, topic, 1);
    }
    json_t *answer = json_loads(run(f, "/channels", "{\"pattern\":\"n:*\"}"), JSON_REJECT_DUPLICATES, NULL);
    assert_int_equal(json_object_size(json_object_get(json_object_get(answer, "result"), "channels")), MANY);
    json_decref(answer);
    answers(f, "/channels", "{\"pattern\":\"n:42\"}",
            "{\"result\":{\"channels\":{\"n:42\":{\"num_clients\":1}}}}");
    answers(f, "/channels", "{\"pattern\":\"none*\"}", "{\"result\":{\"channels\":{}}}");
    answers_error(f, "/channels", "{\"pattern\":5}", 107);
    /* In the middle of others; too long; and what comes after it is whole again. */
    set(f, "--api.response_bytes=20KiB");
    run(f, "/batch",
        "{\"commands\":[{\"publish\":{\"channel\":\"h:1\",\"data\":1}},{\"channels\":{}},"
        "{\"channels\":{\"pattern\":\"n:7\"}},{\"presence_stats\":{\"channel\":\"p:1\"}}]}");
    assert_string_equal(f->text,
                        "{\"replies\":[{\"publish\":{\"offset\":1,\"epoch\":\"E\"}},{\"error\":{\"code\":106,"
                        "\"message\":\"limit exceeded: longer than api.response_bytes\"}},"
                        "{\"channels\":{\"channels\":{\"n:7\":{\"num_clients\":1}}}},"
                        "{\"presence_stats\":{\"num_clients\":0,\"num_users\":0}}]}\n");
}

static void info_tells_what_is_known(void **state)
{
    struct fixture *f = *state;
    tell_interest(f, 0, "a", 2);
    tell_interest(f, 1, "b", 3);
    counter_set(&f->reactor_stats[0].connections[ADAPTER_RAW][TRANSPORT_WS], 4);
    counter_set(&f->reactor_stats[1].connections[ADAPTER_CENTRIFUGE][TRANSPORT_WSS], 5);
    json_t *answer = json_loads(run(f, "/info", "{}"), 0, NULL);
    json_t *node = json_array_get(json_object_get(json_object_get(answer, "result"), "nodes"), 0);
    assert_int_equal(json_integer_value(json_object_get(node, "num_clients")), 9);
    assert_int_equal(json_integer_value(json_object_get(node, "num_channels")), 2);
    assert_true(json_integer_value(json_object_get(node, "uptime")) > 0);
    assert_int_equal(json_string_length(json_object_get(node, "uid")), UUID_TEXT_BYTES - 1);
    assert_string_equal(json_string_value(json_object_get(node, "version")), PUSHGATE_VERSION);
    assert_true(json_is_string(json_object_get(node, "name")));
    assert_null(json_object_get(node, "num_users")); /* nobody has counted */
    json_decref(answer);
}

/* Ordering
 * ----------------------------------------------------------------------------------------------------------
 */

struct seen_order {
    int count;
    char text[1024];
};

static void describe(const struct order *order, void *context)
{
    struct seen_order *seen = context;
    seen->count++;
#define T(name) (int)order->name.bytes, order->name.bytes ? order->name.data : ""
    snprintf(
        seen->text, sizeof seen->text,
        "kind=%d user=%.*s client=%.*s topic=%.*s code=%d reason=%.*s whitelist=%.*s info=%.*s data=%.*s "
        "expired=%d expire_at=%lld recover=%d offset=%llu",
        order->kind, T(user), T(client), T(topic), order->code, T(reason), T(whitelist), T(info), T(data),
        order->expired, (long long)order->expire_at, order->recover, (unsigned long long)order->since.offset);
#undef T
}

static void orders_go_to_every_reactor(void **state)
{
    struct fixture *f = *state;
#define ID1 "01000000-0000-0000-0000-000000000001"
#define ID2 "01000000-0000-0000-0000-000000000002"
    static const struct {
        const char *method, *body, *seen;
    } rows[] = {
        {"/disconnect", "{\"user\":\"u\"}",
         "kind=0 user=u client= topic= code=3503 reason=force disconnect whitelist= info= data= expired=0 "
         "expire_at=0 recover=0 offset=0"},
        {"/disconnect",
         "{\"user\":\"\\u0075\",\"client\":\"" ID1 "\",\"whitelist\":[\"" ID1
         "\",\"short\",\"\\u00301000000-0000-"
         "0000-0000-000000000002\"],\"disconnect\":{\"code\":4000,\"reason\":\"a\\tb\"}}",
         "kind=0 user=u client=" ID1 " topic= code=4000 reason=a\tb whitelist=" ID1 ID2
         " info= data= expired=0 expire_at=0 recover=0 offset=0"},
        {"/disconnect", "{\"user\":\"\"}",
         "kind=0 user= client= topic= code=3503 reason=force disconnect whitelist= info= data= expired=0 "
         "expire_at=0 recover=0 offset=0"},
        {"/subscribe",
         "{\"user\":\"u\",\"channel\":\"t\",\"info\":{\"a\": 1},\"data\":[2],\"expire_at\":1234,"
         "\"recover_since\":{\"offset\":9,\"epoch\":\"\"},\"override\":{},\"session\":\"\"}",
         "kind=1 user=u client= topic=t code=0 reason= whitelist= info={\"a\": 1} data=[2] expired=0 "
         "expire_at=1234 recover=1 offset=9"},
        {"/subscribe", "{\"user\":\"u\",\"channel\":\"t\",\"b64info\":\"MQ==\",\"b64data\":\"Mg==\"}",
         "kind=1 user=u client= topic=t code=0 reason= whitelist= info=1 data=2 expired=0 expire_at=0 "
         "recover=0 offset=0"},
        {"/unsubscribe", "{\"user\":\"u\",\"channel\":\"t\",\"client\":\"" ID2 "\"}",
         "kind=2 user=u client=" ID2 " topic=t code=0 reason= whitelist= info= data= expired=0 expire_at=0 "
         "recover=0 offset=0"},
        {"/refresh", "{\"user\":\"u\",\"expired\":true,\"expire_at\":55}",
         "kind=3 user=u client= topic= code=0 reason= whitelist= info= data= expired=1 expire_at=55 "
         "recover=0 offset=0"},
    };
    _Static_assert(ORDER_DISCONNECT == 0 && ORDER_SUBSCRIBE == 1 && ORDER_UNSUBSCRIBE == 2 &&
                       ORDER_REFRESH == 3,
                   "rows");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        answers(f, rows[i].method, rows[i].body, "{\"result\":{}}");
        for (int r = 0; r < REACTORS; r++) {
            struct seen_order seen = {0};
            (void)take_mail(f, r, NULL, 0, describe, &seen);
            assert_int_equal(seen.count, 1);
            assert_string_equal(seen.text, rows[i].seen);
        }
    }
}

static void orders_that_cannot_be_followed_are_refused(void **state)
{
    struct fixture *f = *state;
    char long_reason[256];
    static const struct {
        const char *method, *body;
        int code;
    } rows[] = {
        {"/disconnect", "{}", 107},
        {"/disconnect", "{\"user\":null}", 107},
        {"/disconnect", "{\"user\":5}", 107},
        {"/disconnect", "{\"user\":\"u\",\"session\":\"s\"}", 108},
        {"/disconnect", "{\"user\":\"u\",\"whitelist\":\"x\"}", 107},
        {"/disconnect", "{\"user\":\"u\",\"whitelist\":[1]}", 107},
        {"/disconnect", "{\"user\":\"u\",\"disconnect\":{}}", 107},
        {"/disconnect", "{\"user\":\"u\",\"disconnect\":[]}", 107},
        {"/disconnect", "{\"user\":\"u\",\"disconnect\":{\"code\":2999}}", 107},
        {"/disconnect", "{\"user\":\"u\",\"disconnect\":{\"code\":5000}}", 107},
        {"/disconnect", "{\"user\":\"u\",\"disconnect\":{\"code\":70000}}", 107},
        {"/subscribe", "{\"user\":\"u\"}", 107},
        {"/subscribe", "{\"channel\":\"t\"}", 107},
        {"/subscribe", "{\"user\":\"u\",\"channel\":\"t\",\"b64info\":\"eA==\"}", 107},
        {"/subscribe", "{\"user\":\"u\",\"channel\":\"t\",\"expire_at\":-1}", 107},
        {"/subscribe", "{\"user\":\"u\",\"channel\":\"t\",\"override\":{\"presence\":{\"value\":true}}}",
         108},
        {"/subscribe", "{\"user\":\"u\",\"channel\":\"t\",\"session\":\"s\"}", 108},
        {"/subscribe", "{\"user\":\"u\",\"channel\":\"t\",\"recover_since\":7}", 107},
        {"/unsubscribe", "{\"user\":\"u\"}", 107},
        {"/unsubscribe", "{\"channel\":\"t\"}", 107},
        {"/refresh", "{}", 107},
        {"/refresh", "{\"user\":\"u\",\"expire_at\":\"soon\"}", 107},
        {"/refresh", "{\"user\":\"u\",\"expired\":1}", 107},
        {"/rpc", "{\"method\":\"x\"}", 104},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        answers_error(f, rows[i].method, rows[i].body, rows[i].code);
    snprintf(long_reason, sizeof long_reason,
             "{\"user\":\"u\",\"disconnect\":{\"code\":4000,\"reason\":\"%0124d\"}}", 0);
    answers_error(f, "/disconnect", long_reason, 107);
    for (int r = 0; r < REACTORS; r++)
        assert_int_equal(take_mail(f, r, NULL, 0, NULL, NULL), 0);
}

int main(void)
{
    if (!topic_hash_setup())
        return 1;
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(data_reaches_subscribers_as_it_was_written),
        TEST(a_topic_with_history_gives_its_position),
        TEST(what_is_wrong_with_a_publication_is_said),
        TEST(the_longest_topic_and_message_pass_and_one_byte_more_does_not),
        TEST(a_broadcast_answers_for_each_topic),
        TEST(a_key_publishes_once_for_each_topic),
        TEST(history_is_read_in_pages),
        TEST(what_is_no_json_is_told_as_text_or_base64),
        TEST(presence_tells_who_is_there),
        TEST(channels_are_those_with_subscribers),
        TEST(info_tells_what_is_known),
        TEST(orders_go_to_every_reactor),
        TEST(orders_that_cannot_be_followed_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
