/* Headers of clients on their way to the backend, and the settings that choose backend and headers. */
#include "gateway/proxy/proxy_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What passes, joined by '|'. */
static void passes_bytes(const char *list, const char *text, size_t bytes, const char *expected)
{
    struct curl_slist *headers = NULL;
    char joined[8192] = "";
    size_t len = 0;
    assert_true(proxy_headers_pass(list, (struct json_slice){text, bytes}, &headers));
    for (const struct curl_slist *header = headers; header; header = header->next)
        len += (size_t)snprintf(joined + len, sizeof joined - len, "%s|", header->data);
    assert_true(len < sizeof joined);
    curl_slist_free_all(headers);
    assert_string_equal(joined, expected);
}

static void passes(const char *list, const char *text, const char *expected)
{
    passes_bytes(list, text, strlen(text), expected);
}

static void only_listed_headers_pass(void **state)
{
    (void)state;
    passes("Cookie", "Cookie: a\r\nAuthorization: b\r\nX-Cookie: c\r\nCook: d\r\n", "Cookie: a|");
    passes(" Cookie,\tx-id  ,", "COOKIE: a\r\nX-ID: b\r\nCookie: c\r\n", "COOKIE: a|X-ID: b|Cookie: c|");
    passes("", "Cookie: a\r\n", "");
    passes("Cookie", "", "");
    passes_bytes("Cookie", NULL, 0, "");
}

static void white_space_around_values_goes(void **state)
{
    (void)state;
    passes("A", "A:b\r\nA: \t b c \t\r\nA:  \r\nA:\r\nA: \xc3\xa9\tx\nA: last",
           "A: b|A: b c|A: \xc3\xa9\tx|A: last|");
}

static void malformed_lines_do_not_pass(void **state)
{
    (void)state;
    passes("A B", "A\r\n: b\r\nA : b\r\n A: b\r\nA: b\rB: c\r\nA: \x01\r\nA: \x7f\r\n\r\nB: ok\r\n",
           "B: ok|");
    static const char zero[] = "A: b\0c\r\nA\0: b\r\n";
    passes_bytes("A", zero, sizeof zero - 1, "");
}

static void our_own_headers_never_pass(void **state)
{
    (void)state;
    passes("Host Content-Length A", "Host: b\r\nContent-Length: 3\r\nA: b\r\n", "A: b|");
}

static void long_values_pass_whole(void **state)
{
    (void)state;
    char text[4096], expected[4096];
    int len = snprintf(text, sizeof text, "Cookie: %03000d\r\n", 7);
    snprintf(expected, sizeof expected, "%.*s|", len - 2, text);
    passes("Cookie", text, expected);
}

static void a_list_of_headers_is_checked(void **state)
{
    (void)state;
    static const char *const good[] = {"", "  ", "Cookie", "Cookie, Authorization X-Request-Id",
                                       "Sec-WebSocket-Protocol"};
    static const char *const bad[] = {"Cookie:",        "a b(c",           "Content-Type", "content-length",
                                      "HOST",           "Upgrade",         "\"a\"",        "é",
                                      "Proxy-Anything", "Accept-Encoding", "TE",           "Expect"};
    char error[256];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(proxy_headers_check(good[i], error, sizeof error));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (proxy_headers_check(bad[i], error, sizeof error))
            fail_msg("\"%s\" is accepted", bad[i]);
}

static void listed_is_by_whole_name_in_any_case(void **state)
{
    (void)state;
    assert_true(proxy_header_listed("Cookie X-Id", "x-id", 4));
    assert_false(proxy_header_listed("Cookie X-Id", "x-i", 3));
    assert_false(proxy_header_listed("Cookie X-Id", "x-id2", 5));
    assert_false(proxy_header_listed("", "cookie", 6));
    assert_false(proxy_header_listed("Cookie", "", 0));
}

static void a_url_is_checked(void **state)
{
    (void)state;
    static const char *const good[] = {"http://127.0.0.1:3000/centrifugo/connect", "https://backend.example",
                                       "http://[::1]:80/?key=a%20b", "HTTPS://Backend.Example/x"};
    static const struct {
        const char *url, *error;
    } bad[] = {
        {"backend/connect", "is not a URL"},
        {"http://", "is not a URL"},
        {"http://a b/", "is not a URL"},
        {"http://a/\r\nX: y", "is not a URL"},
        {"ftp://a/", "is neither an http: nor an https: URL"},
        {"file:///etc/passwd", "is neither"},
        {"grpc://a:9000", "is neither"},
        {"http://user@a/", "holds a user name"},
        {"http://user:word@a/", "holds a user name"},
        {"http://a/#b", "ends with a #fragment"},
    };
    char error[256];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!proxy_url_check(good[i], error, sizeof error))
            fail_msg("%s %s", good[i], error);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (proxy_url_check(bad[i].url, error, sizeof error))
            fail_msg("%s is accepted", bad[i].url);
        if (strncmp(error, bad[i].error, strlen(bad[i].error)) != 0)
            fail_msg("%s %s", bad[i].url, error);
    }
}

static void logs_show_host_and_port_of_a_url(void **state)
{
    (void)state;
    char host[32];
    proxy_url_host("https://backend.example/secret?key=1", host, sizeof host);
    assert_string_equal(host, "backend.example:443");
    proxy_url_host("http://[::1]:3000/", host, sizeof host);
    assert_string_equal(host, "[::1]:3000");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_listed_headers_pass),
        cmocka_unit_test(white_space_around_values_goes),
        cmocka_unit_test(malformed_lines_do_not_pass),
        cmocka_unit_test(our_own_headers_never_pass),
        cmocka_unit_test(long_values_pass_whole),
        cmocka_unit_test(a_list_of_headers_is_checked),
        cmocka_unit_test(listed_is_by_whole_name_in_any_case),
        cmocka_unit_test(a_url_is_checked),
        cmocka_unit_test(logs_show_host_and_port_of_a_url),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
