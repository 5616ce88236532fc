/* Answers of backends, good and bad. */
#include "gateway/proxy/proxy_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct proxy_request *parse(enum proxy_kind kind, const char *body, enum proxy_outcome expected,
                                   char *why)
{
    struct proxy_request *request = proxy_request_create(&(struct proxy_ask){.kind = kind});
    assert_non_null(request);
    size_t bytes = strlen(body);
    char *exact = malloc(bytes ? bytes : 1); /* so that ASan sees reads past the end */
    assert_non_null(exact);
    for (size_t i = 0; i < bytes; i++)
        exact[i] = body[i];
    why[0] = '\0';
    enum proxy_outcome outcome = proxy_answer_parse(request, exact, bytes, why, PROXY_WHY_BYTES);
    memset(exact, 'x', bytes);
    free(exact);
    if (outcome != expected)
        fail_msg("%s is %s (%s)", body, proxy_outcome_label(outcome), why);
    assert_int_equal(request->answer.outcome, outcome);
    return request;
}

static struct proxy_request *good(enum proxy_kind kind, const char *body)
{
    char why[PROXY_WHY_BYTES];
    return parse(kind, body, PROXY_OK, why);
}

/* Refused, with a sentence that begins like this. */
static void bad(enum proxy_kind kind, const char *body, const char *expected)
{
    char why[PROXY_WHY_BYTES];
    struct proxy_request *request = parse(kind, body, PROXY_BAD_BODY, why);
    if (strncmp(why, expected, strlen(expected)) != 0)
        fail_msg("%s: \"%s\" instead of \"%s\"", body, why, expected);
    const struct proxy_answer nothing = {.outcome = PROXY_BAD_BODY};
    assert_memory_equal(&request->answer, &nothing, sizeof nothing);
    proxy_request_destroy(request);
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

static void connect_names_user_and_channels(void **state)
{
    (void)state;
    struct proxy_request *request = good(
        PROXY_CONNECT,
        " {\"result\" : {\"user\":\"J\\u00f6rg\\n\",\"expire_at\":1565436268,\"info\":{\"name\" "
        ":\r\n\"J\"},\"data\":[1,\n2],"
        "\"meta\":{\"k\":1},\"channels\":[ \"a\\\"]\" , \"b\",\"a\\u0022]\",\"news\"],"
        "\"subs\":{\"news\":{\"info\":1,\"data\":\"x\",\"expire_at\":7},\"b\\\\\":{},\"nothing\":null}}}\n");
    const struct proxy_answer *answer = &request->answer;
    is_text(answer->user, "J\xc3\xb6rg\n");
    assert_int_equal(answer->expire_at, 1565436268);
    is_text(answer->info, "{\"name\" :  \"J\"}");
    is_text(answer->data, "[1, 2]");
    is_text(answer->meta, "{\"k\":1}");
    assert_int_equal(answer->channel_count, 5);
    is_text(answer->channels[0].name, "news");
    is_text(answer->channels[0].info, "1");
    is_text(answer->channels[0].data, "\"x\"");
    assert_int_equal(answer->channels[0].expire_at, 7);
    is_text(answer->channels[1].name, "b\\");
    assert_null(answer->channels[1].info.data);
    is_text(answer->channels[2].name, "nothing");
    is_text(answer->channels[3].name, "a\"]");
    assert_null(answer->channels[3].info.data);
    is_text(answer->channels[4].name, "b");
    proxy_request_destroy(request);
}

static void what_is_null_is_absent(void **state)
{
    (void)state;
    struct proxy_request *request =
        good(PROXY_CONNECT,
             "{\"result\":{\"user\":null,\"expire_at\":null,\"info\":null,\"data\":null,\"meta\":null,"
             "\"channels\":null,\"subs\":null,\"b64data\":\"\",\"b64info\":null},\"error\":null,"
             "\"disconnect\":null}");
    is_text(request->answer.user, "");
    assert_int_equal(request->answer.expire_at, 0);
    assert_null(request->answer.info.data);
    assert_null(request->answer.data.data);
    assert_null(request->answer.meta.data);
    assert_int_equal(request->answer.channel_count, 0);
    proxy_request_destroy(request);
}

static void each_kind_takes_its_own_fields(void **state)
{
    (void)state;
    static const char all[] = "{\"result\":{\"user\":\"u\",\"expire_at\":5,\"expired\":true,\"info\":1,"
                              "\"data\":2,\"meta\":{},\"tags\":{\"a\":\"b\"},"
                              "\"skip_history\":true,\"channels\":[\"c\"]}}";
    for (enum proxy_kind kind = PROXY_CONNECT; kind < PROXY_KIND_COUNT; kind++) {
        bool connect = kind == PROXY_CONNECT, refresh = kind == PROXY_REFRESH,
             subscribe = kind == PROXY_SUBSCRIBE, again = kind == PROXY_SUB_REFRESH,
             publish = kind == PROXY_PUBLISH, rpc = kind == PROXY_RPC;
        struct proxy_request *request = good(kind, all);
        const struct proxy_answer *answer = &request->answer;
        assert_int_equal(answer->user.data != NULL, connect);
        assert_int_equal(answer->channel_count, connect);
        assert_int_equal(answer->expire_at, connect || refresh || subscribe || again ? 5 : 0);
        assert_int_equal(answer->expired, refresh || again);
        assert_int_equal(answer->info.data != NULL, connect || refresh || subscribe || again);
        assert_int_equal(answer->data.data != NULL, connect || subscribe || publish || rpc);
        assert_int_equal(answer->meta.data != NULL, connect || refresh);
        assert_int_equal(answer->tags.data != NULL, publish);
        assert_int_equal(answer->skip_history, publish);
        proxy_request_destroy(request);
        proxy_request_destroy(good(kind, "{\"result\":{}}"));
    }
}

static void numbers_and_nesting_pass_through(void **state)
{
    (void)state;
    struct proxy_request *request = good(
        PROXY_RPC, "{\"later\":{},\"result\":{\"data\":{\"n\":123456789012345678901234567890.5e400,\"n\":1,"
                   "\"s\":\"\\ud800\"},\"unknown\":[]}}");
    is_text(request->answer.data, "{\"n\":123456789012345678901234567890.5e400,\"n\":1,\"s\":\"\\ud800\"}");
    proxy_request_destroy(request);
}

static void errors_and_disconnects_carry_code_and_text(void **state)
{
    (void)state;
    char why[PROXY_WHY_BYTES];
    struct proxy_request *request =
        parse(PROXY_RPC, "{\"error\":{\"code\":1000,\"message\":\"caf\\u00e9\",\"temporary\":true}}",
              PROXY_ERROR, why);
    assert_int_equal(request->answer.code, 1000);
    is_text(request->answer.text, "caf\xc3\xa9");
    assert_true(request->answer.temporary);
    proxy_request_destroy(request);

    request = parse(PROXY_CONNECT, "{\"disconnect\":{\"code\":4999,\"reason\":\"r\",\"reconnect\":true}}",
                    PROXY_DISCONNECT, why);
    assert_int_equal(request->answer.code, 4999);
    is_text(request->answer.text, "r");
    proxy_request_destroy(request);

    request = parse(PROXY_CONNECT, "{\"error\":{\"code\":400}}", PROXY_ERROR, why);
    is_text(request->answer.text, "");
    assert_false(request->answer.temporary);
    proxy_request_destroy(request);
}

/* Nobody is let in by an answer that also says no. */
static void the_strictest_word_counts(void **state)
{
    (void)state;
    char why[PROXY_WHY_BYTES];
    proxy_request_destroy(
        parse(PROXY_CONNECT, "{\"result\":{\"user\":\"1\"},\"error\":{\"code\":500}}", PROXY_ERROR, why));
    proxy_request_destroy(
        parse(PROXY_CONNECT,
              "{\"disconnect\":{\"code\":4000},\"result\":{\"channels\":5},\"error\":{\"code\":500}}",
              PROXY_DISCONNECT, why));
}

static void anything_else_is_no_answer(void **state)
{
    (void)state;
    bad(PROXY_RPC, "", "the body is not JSON");
    bad(PROXY_RPC, " ", "the body is not JSON");
    bad(PROXY_RPC, "OK", "the body is not JSON");
    bad(PROXY_RPC, "{\"result\":{}} x", "the body is not JSON");
    bad(PROXY_RPC, "{\"result\":{\"data\":\"\xff\"}}", "the body is not JSON");
    bad(PROXY_RPC, "[]", "the body is not an object");
    bad(PROXY_RPC, "\"result\"", "the body is not an object");
    bad(PROXY_RPC, "{}", "none of result, error and disconnect");
    bad(PROXY_RPC, "{\"result\":null}", "none of result, error and disconnect");
    bad(PROXY_RPC, "{\"Result\":{}}", "none of result, error and disconnect");
    bad(PROXY_RPC, "{\"result\":true}", "result, error or disconnect is not an object");
    bad(PROXY_RPC, "{\"result\":{},\"error\":\"no\"}", "result, error or disconnect is not an object");
    bad(PROXY_RPC, "{\"result\":{},\"disconnect\":[]}", "result, error or disconnect is not an object");
}

static void fields_of_other_types_are_no_answer(void **state)
{
    (void)state;
    bad(PROXY_CONNECT, "{\"result\":{\"user\":56}}", "result.user is not a string");
    bad(PROXY_CONNECT, "{\"result\":{\"user\":\"a\\u0000\"}}", "result.user is not Unicode text");
    bad(PROXY_CONNECT, "{\"result\":{\"user\":\"\\udc00\"}}", "result.user is not Unicode text");
    bad(PROXY_CONNECT, "{\"result\":{\"meta\":\"m\"}}", "result.meta is not an object");
    bad(PROXY_CONNECT, "{\"result\":{\"channels\":{}}}", "result.channels is not an array");
    bad(PROXY_CONNECT, "{\"result\":{\"channels\":\"a\"}}", "result.channels is not an array");
    bad(PROXY_CONNECT, "{\"result\":{\"channels\":[\"a\",1]}}",
        "result.channels holds something that is not a string");
    bad(PROXY_CONNECT, "{\"result\":{\"channels\":[[\"a\"]]}}",
        "result.channels holds something that is not a string");
    bad(PROXY_CONNECT, "{\"result\":{\"channels\":[\"\"]}}", "result.channels names an empty channel");
    bad(PROXY_CONNECT, "{\"result\":{\"channels\":[\"\\u0000\"]}}", "result.channels is not Unicode text");
    bad(PROXY_CONNECT, "{\"result\":{\"subs\":[\"a\"]}}", "result.subs is not an object");
    bad(PROXY_CONNECT, "{\"result\":{\"subs\":{\"a\":true}}}",
        "result.subs holds something that is not an object");
    bad(PROXY_CONNECT, "{\"result\":{\"subs\":{\"a\":{\"expire_at\":\"1\"}}}}",
        "result.subs.expire_at is not a whole number");
    bad(PROXY_CONNECT, "{\"result\":{\"subs\":{\"a\":{\"b64data\":\"eA==\"}}}}",
        "result.subs.b64data is not supported");
    bad(PROXY_CONNECT, "{\"result\":{\"subs\":{\"\":{}}}}", "result.subs names an empty channel");
    bad(PROXY_SUBSCRIBE, "{\"result\":{\"expire_at\":-1}}", "result.expire_at is not a whole number");
    bad(PROXY_SUBSCRIBE, "{\"result\":{\"expire_at\":1.5}}", "result.expire_at is not a whole number");
    bad(PROXY_SUBSCRIBE, "{\"result\":{\"expire_at\":1e9}}", "result.expire_at is not a whole number");
    bad(PROXY_SUBSCRIBE, "{\"result\":{\"expire_at\":9223372036854775808}}",
        "result.expire_at is not a whole number");
    bad(PROXY_REFRESH, "{\"result\":{\"expired\":1}}", "result.expired is not true or false");
    bad(PROXY_PUBLISH, "{\"result\":{\"b64data\":\"eA==\"}}", "result.b64data is not supported: use data");
    bad(PROXY_PUBLISH, "{\"result\":{\"b64data\":5}}", "result.b64data is not supported: use data");
    bad(PROXY_PUBLISH, "{\"result\":{\"skip_history\":\"true\"}}",
        "result.skip_history is not true or false");
    bad(PROXY_PUBLISH, "{\"result\":{\"tags\":{\"a\":1}}}",
        "result.tags holds something that is not a string");
    bad(PROXY_PUBLISH, "{\"result\":{\"tags\":[]}}", "result.tags is not an object");
}

static void codes_and_texts_stay_in_their_bounds(void **state)
{
    (void)state;
    bad(PROXY_RPC, "{\"error\":{}}", "error.code is not between 400 and 1999");
    bad(PROXY_RPC, "{\"error\":{\"code\":399}}", "error.code is not between 400 and 1999");
    bad(PROXY_RPC, "{\"error\":{\"code\":2000}}", "error.code is not between 400 and 1999");
    bad(PROXY_RPC, "{\"error\":{\"code\":\"403\"}}", "error.code is not a whole number");
    bad(PROXY_RPC, "{\"error\":{\"code\":4294967696}}", "error.code is not a whole number");
    bad(PROXY_RPC, "{\"error\":{\"code\":403,\"message\":7}}", "error.message is not a string");
    bad(PROXY_RPC, "{\"error\":{\"code\":403,\"temporary\":0}}", "error.temporary is not true or false");
    bad(PROXY_RPC, "{\"disconnect\":{\"code\":3999}}", "disconnect.code is not between 4000 and 4999");
    bad(PROXY_RPC, "{\"disconnect\":{\"code\":5000}}", "disconnect.code is not between 4000 and 4999");
    char body[2048], why[PROXY_WHY_BYTES];
    snprintf(body, sizeof body, "{\"disconnect\":{\"code\":4000,\"reason\":\"%0123d\"}}", 0);
    proxy_request_destroy(parse(PROXY_RPC, body, PROXY_DISCONNECT, why));
    snprintf(body, sizeof body, "{\"disconnect\":{\"code\":4000,\"reason\":\"%0124d\"}}", 0);
    bad(PROXY_RPC, body, "disconnect.reason is too long");
    snprintf(body, sizeof body, "{\"error\":{\"code\":400,\"message\":\"%01024d\"}}", 0);
    proxy_request_destroy(parse(PROXY_RPC, body, PROXY_ERROR, why));
    snprintf(body, sizeof body, "{\"error\":{\"code\":400,\"message\":\"%01025d\"}}", 0);
    bad(PROXY_RPC, body, "error.message is too long");
}

/* {"result":{"channels":["0",…],"subs":{"s0":{},…}}} */
static char *with_channels(unsigned list, unsigned subs)
{
    char *body;
    size_t bytes;
    FILE *out = open_memstream(&body, &bytes);
    fputs("{\"result\":{\"channels\":[", out);
    for (unsigned i = 0; i < list; i++)
        fprintf(out, "%s\"%u\"", i ? "," : "", i);
    fputs("],\"subs\":{", out);
    for (unsigned i = 0; i < subs; i++)
        fprintf(out, "%s\"s%u\":{}", i ? "," : "", i);
    fputs("}}}", out);
    assert_int_equal(fclose(out), 0);
    return body;
}

static void channels_are_bounded(void **state)
{
    (void)state;
    char *body = with_channels(1000, 24);
    struct proxy_request *request = good(PROXY_CONNECT, body);
    assert_int_equal(request->answer.channel_count, 1024);
    is_text(request->answer.channels[23].name, "s23");
    is_text(request->answer.channels[1023].name, "999");
    proxy_request_destroy(request);
    free(body);
    body = with_channels(1000, 25);
    bad(PROXY_CONNECT, body, "result.channels and subs name more than 1024");
    proxy_request_destroy(good(PROXY_SUBSCRIBE, body)); /* where they are unknown fields */
    free(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connect_names_user_and_channels),
        cmocka_unit_test(what_is_null_is_absent),
        cmocka_unit_test(each_kind_takes_its_own_fields),
        cmocka_unit_test(numbers_and_nesting_pass_through),
        cmocka_unit_test(errors_and_disconnects_carry_code_and_text),
        cmocka_unit_test(the_strictest_word_counts),
        cmocka_unit_test(anything_else_is_no_answer),
        cmocka_unit_test(fields_of_other_types_are_no_answer),
        cmocka_unit_test(codes_and_texts_stay_in_their_bounds),
        cmocka_unit_test(channels_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
