/* The client's opening handshake, with RFC 6455's own example. */
#include "loadtest/upgrade.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char accept_text[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

#define GOOD                                                                                                 \
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n"          \
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"

static enum parse_result parse(const char *text, const char *subprotocol, struct upgrade_answer *answer)
{
    return upgrade_parse(text, strlen(text), accept_text, subprotocol, answer);
}

static void the_key_of_the_rfc_gives_its_accept(void **state)
{
    (void)state;
    char key[UPGRADE_KEY_CHARS + 1], accept[UPGRADE_ACCEPT_CHARS + 1];
    upgrade_key((const uint8_t *)"the sample nonce", key, accept);
    assert_string_equal(key, "dGhlIHNhbXBsZSBub25jZQ==");
    assert_string_equal(accept, accept_text);
}

static void a_request_has_its_parts_and_headers(void **state)
{
    (void)state;
    char out[512], tiny[100];
    const struct upgrade_request request = {.path_parts = {"/ws?topic=load-", "7", "&x=1"},
                                            .authority = "h:1",
                                            .subprotocol = "chat",
                                            .headers = "A: b\r\n"};
    size_t len = upgrade_write(&request, "dGhlIHNhbXBsZSBub25jZQ==", out, sizeof(out));
    assert_int_equal(len, strlen(out));
    assert_ptr_equal(strstr(out, "GET /ws?topic=load-7&x=1 HTTP/1.1\r\nHost: h:1\r\n"), out);
    assert_non_null(strstr(out, "\r\nSec-WebSocket-Protocol: chat\r\nA: b\r\n\r\n"));
    assert_int_equal(upgrade_write(&request, "dGhlIHNhbXBsZSBub25jZQ==", tiny, sizeof(tiny)), 0);
}

static void a_good_answer_is_taken_only_when_whole(void **state)
{
    (void)state;
    const char text[] = GOOD "\r\n";
    struct upgrade_answer answer;
    for (size_t len = 0; len < sizeof(text) - 1; len++)
        assert_int_equal(upgrade_parse(text, len, accept_text, "", &answer), PARSE_MORE);
    assert_int_equal(upgrade_parse(text, sizeof(text) - 1, accept_text, "", &answer), PARSE_OK);
    assert_int_equal(answer.head_bytes, sizeof(text) - 1);
}

static void bytes_after_the_head_are_left(void **state)
{
    (void)state;
    struct upgrade_answer answer;
    assert_int_equal(parse(GOOD "\r\n\x81\x01x", "", &answer), PARSE_OK);
    assert_int_equal(answer.head_bytes, strlen(GOOD) + 2);
}

static void another_status_is_told(void **state)
{
    (void)state;
    struct upgrade_answer answer;
    assert_int_equal(parse("HTTP/1.1 503 Service Unavailable\r\n", "", &answer), PARSE_BAD);
    assert_int_equal(answer.status, 503);
    assert_non_null(answer.error);
}

static void a_refusal_in_http_1_0_keeps_its_status(void **state)
{
    (void)state;
    struct upgrade_answer answer;
    assert_int_equal(parse("HTTP/1.0 503 Service Unavailable\r\n", "", &answer), PARSE_BAD);
    assert_int_equal(answer.status, 503);
    assert_int_equal(parse("HTTP/1.0 101 Switching Protocols\r\n", "", &answer), PARSE_BAD);
    assert_string_equal(answer.error, "the answer is not HTTP/1.1");
    assert_int_equal(parse("HTTP/2.0 503 No\r\n", "", &answer), PARSE_BAD);
    assert_int_equal(answer.status, 0);
}

static void a_status_that_does_not_exist_is_none(void **state)
{
    (void)state;
    static const char *const bad[] = {"HTTP/1.1 999 No\r\n", "HTTP/1.1 600 No\r\n", "HTTP/1.1 099 No\r\n",
                                      "HTTP/1.1 5x3 No\r\n"};
    struct upgrade_answer answer;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(parse(bad[i], "", &answer), PARSE_BAD);
        assert_int_equal(answer.status, 0);
    }
}

static void answers_that_break_the_rfc_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "HTTP/1.0 101 No\r\n",
        "HTTP/1.1 1x1 No\r\n",
        "hello\r\n",
        "HTTP/1.1 101 Ok\n\n",
        "HTTP/1.1 101 Ok\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        "HTTP/1.1 101 Ok\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        "HTTP/1.1 101 Ok\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo\r\n",
        "HTTP/1.1 101 Ok\r\nno colon\r\n",
        GOOD "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
        GOOD "Sec-WebSocket-Protocol: chat\r\n\r\n",
        GOOD "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    };
    struct upgrade_answer answer;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(parse(bad[i], "", &answer), PARSE_BAD);
        assert_non_null(answer.error);
    }
}

static void a_subprotocol_must_be_one_of_the_offered(void **state)
{
    (void)state;
    struct upgrade_answer answer;
    assert_int_equal(parse(GOOD "Sec-WebSocket-Protocol: b\r\n\r\n", "a, b", &answer), PARSE_OK);
    assert_int_equal(parse(GOOD "Sec-WebSocket-Protocol: c\r\n\r\n", "a, b", &answer), PARSE_BAD);
    assert_int_equal(parse(GOOD "Sec-WebSocket-Protocol: a, b\r\n\r\n", "a, b", &answer), PARSE_BAD);
    assert_int_equal(parse(GOOD "\r\n", "a, b", &answer), PARSE_BAD);
}

static void an_endless_head_is_refused(void **state)
{
    (void)state;
    static char text[UPGRADE_HEAD_MAX + 64];
    struct upgrade_answer answer;
    size_t len = (size_t)snprintf(text, sizeof(text), "HTTP/1.1 101 Ok\r\nX: ");
    memset(text + len, 'a', sizeof(text) - len);
    assert_int_equal(upgrade_parse(text, sizeof(text), accept_text, "", &answer), PARSE_BAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_key_of_the_rfc_gives_its_accept),
        cmocka_unit_test(a_request_has_its_parts_and_headers),
        cmocka_unit_test(a_good_answer_is_taken_only_when_whole),
        cmocka_unit_test(bytes_after_the_head_are_left),
        cmocka_unit_test(another_status_is_told),
        cmocka_unit_test(a_refusal_in_http_1_0_keeps_its_status),
        cmocka_unit_test(a_status_that_does_not_exist_is_none),
        cmocka_unit_test(answers_that_break_the_rfc_are_refused),
        cmocka_unit_test(a_subprotocol_must_be_one_of_the_offered),
        cmocka_unit_test(an_endless_head_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
