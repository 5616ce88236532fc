/* What a backend is asked, field by field. */
#include "gateway/proxy/proxy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ALWAYS "\"transport\":\"websocket\",\"protocol\":\"json\",\"encoding\":\"json\""

static struct json_slice slice(const char *text)
{
    return (struct json_slice){text, strlen(text)};
}

static void is_text(struct json_slice text, const char *expected)
{
    assert_non_null(text.data);
    char *terminated = calloc(1, text.len + 1);
    assert_non_null(terminated);
    memcpy(terminated, text.data, text.len);
    assert_string_equal(terminated, expected);
    free(terminated);
}

static void asks(const struct proxy_ask *ask, const char *expected)
{
    struct proxy_request *request = proxy_request_create(ask);
    assert_non_null(request);
    assert_int_equal(request->kind, ask->kind);
    assert_true(json_text_valid(request->body.data, request->body.len));
    is_text(request->body, expected);
    proxy_request_destroy(request);
}

/* Every field is set: each kind takes those that it has. */
static struct proxy_ask full(enum proxy_kind kind)
{
    static struct json_slice channels[2];
    channels[0] = slice("a");
    channels[1] = slice("b\"");
    return (struct proxy_ask){.kind = kind,
                              .client = slice("c-1"),
                              .user = slice("56"),
                              .channel = slice("chat:index"),
                              .token = slice("t"),
                              .method = slice("sum"),
                              .name = slice("js"),
                              .version = slice("5.2"),
                              .channels = channels,
                              .channel_count = 2,
                              .data = slice("{\"input\":\"hello\"}"),
                              .meta = slice("{\"k\":1}"),
                              .headers = slice("Cookie: a=b\r\n"),
                              .rest = slice("rest")};
}

static void each_kind_has_its_fields(void **state)
{
    (void)state;
    static const char *const expected[PROXY_KIND_COUNT] = {
        [PROXY_CONNECT] = "{\"client\":\"c-1\"," ALWAYS ",\"name\":\"js\",\"version\":\"5.2\","
                          "\"channels\":[\"a\",\"b\\\"\"],\"data\":{\"input\":\"hello\"}}",
        [PROXY_REFRESH] = "{\"client\":\"c-1\"," ALWAYS ",\"user\":\"56\",\"meta\":{\"k\":1}}",
        [PROXY_SUBSCRIBE] = "{\"client\":\"c-1\"," ALWAYS ",\"user\":\"56\",\"meta\":{\"k\":1},"
                            "\"channel\":\"chat:index\",\"token\":\"t\",\"data\":{\"input\":\"hello\"}}",
        [PROXY_SUB_REFRESH] = "{\"client\":\"c-1\"," ALWAYS ",\"user\":\"56\",\"meta\":{\"k\":1},"
                              "\"channel\":\"chat:index\"}",
        [PROXY_PUBLISH] = "{\"client\":\"c-1\"," ALWAYS ",\"user\":\"56\",\"meta\":{\"k\":1},"
                          "\"channel\":\"chat:index\",\"data\":{\"input\":\"hello\"}}",
        [PROXY_RPC] = "{\"client\":\"c-1\"," ALWAYS ",\"user\":\"56\",\"meta\":{\"k\":1},"
                      "\"method\":\"sum\",\"data\":{\"input\":\"hello\"}}",
    };
    for (enum proxy_kind kind = PROXY_CONNECT; kind < PROXY_KIND_COUNT; kind++) {
        struct proxy_ask ask = full(kind);
        asks(&ask, expected[kind]);
    }
}

static void what_is_absent_is_left_out(void **state)
{
    (void)state;
    asks(&(struct proxy_ask){.kind = PROXY_CONNECT}, "{" ALWAYS "}");
    asks(&(struct proxy_ask){.kind = PROXY_RPC, .user = slice("")}, "{" ALWAYS ",\"user\":\"\"}");
}

static void texts_are_escaped_and_json_keeps_its_meaning(void **state)
{
    (void)state;
    asks(&(struct proxy_ask){.kind = PROXY_RPC,
                             .user = slice("\"\\\n\x01\xc3\xa9"),
                             .data = slice("[1,\r\n12345678901234567890123, \"\\u0000\"]")},
         "{" ALWAYS
         ",\"user\":\"\\\"\\\\\\n\\u0001\xc3\xa9\",\"data\":[1,  12345678901234567890123, \"\\u0000\"]}");
}

static void the_request_keeps_copies(void **state)
{
    (void)state;
    struct proxy_ask ask = full(PROXY_PUBLISH);
    char channel[] = "chat:index", data[] = "{\"a\":\n1}", rest[] = "rest", headers[] = "Cookie: a\r\n";
    ask.channel = slice(channel);
    ask.data = slice(data);
    ask.rest = slice(rest);
    ask.headers = slice(headers);
    struct proxy_request *request = proxy_request_create(&ask);
    assert_non_null(request);
    memset(channel, 'x', sizeof channel);
    memset(data, 'x', sizeof data);
    memset(rest, 'x', sizeof rest);
    memset(headers, 'x', sizeof headers);
    is_text(request->channel, "chat:index");
    is_text(request->data, "{\"a\": 1}");
    is_text(request->method, "sum");
    is_text(request->rest, "rest");
    is_text(request->headers, "Cookie: a\r\n");
    proxy_request_destroy(request);
    ask.data = (struct json_slice){NULL, 0};
    request = proxy_request_create(&ask);
    assert_non_null(request);
    assert_null(request->data.data);
    proxy_request_destroy(request);
    proxy_request_destroy(NULL);
}

static void labels_are_those_of_settings_and_metrics(void **state)
{
    (void)state;
    assert_string_equal(proxy_kind_label(PROXY_SUB_REFRESH), "sub_refresh");
    for (enum proxy_kind kind = PROXY_CONNECT; kind < PROXY_KIND_COUNT; kind++)
        assert_non_null(proxy_kind_label(kind));
    for (enum proxy_outcome outcome = PROXY_OK; outcome < PROXY_OUTCOME_COUNT; outcome++)
        assert_non_null(proxy_outcome_label(outcome));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_has_its_fields),
        cmocka_unit_test(what_is_absent_is_left_out),
        cmocka_unit_test(texts_are_escaped_and_json_keeps_its_meaning),
        cmocka_unit_test(the_request_keeps_copies),
        cmocka_unit_test(labels_are_those_of_settings_and_metrics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
