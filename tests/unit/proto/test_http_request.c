/* HTTP requests: what is read, what is refused and with which status, and that a refusal is final. */
#include "proto/http_request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define UPGRADE                                                                                              \
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Version: "     \
    "13\r\n"

static const char browser[] = "GET /ws?topic=a%20b&topic=c HTTP/1.1\r\n"
                              "Host: example.org:8443\r\n"
                              "Connection: keep-alive, Upgrade\r\n"
                              "Pragma: no-cache\r\n"
                              "Upgrade: websocket\r\n"
                              "Origin: https://example.org:8443\r\n"
                              "Sec-WebSocket-Version: 13\r\n"
                              "Cookie: a=b; c=d\r\n"
                              "X-Forwarded-For: 192.0.2.1\r\n"
                              "x-forwarded-for:  192.0.2.2 \r\n"
                              "Sec-WebSocket-Key: " KEY "\r\n"
                              "Sec-WebSocket-Protocol: one, two\r\n"
                              "\r\n";

static enum parse_result parse(const char *text, size_t max_body, struct http_request *out)
{
    /* In a block of exactly this size, so that a sanitizer sees a read past the end. */
    static char *copy;
    size_t len = strlen(text);
    free(copy);
    copy = malloc(len + 1);
    assert_non_null(copy);
    memcpy(copy, text, len);
    return http_request_parse(copy, len, max_body, out);
}

static void assert_slice(struct http_slice slice, const char *expected)
{
    if (!http_slice_is(slice, expected))
        fail_msg("'%.*s' is not '%s'", (int)slice.len, slice.len ? slice.data : "", expected);
}

static void an_upgrade_request_of_a_browser_is_read(void **state)
{
    (void)state;
    struct http_request r;
    const char *error;
    assert_int_equal(http_request_parse(browser, strlen(browser), 0, &r), PARSE_OK);
    assert_int_equal(r.method, HTTP_METHOD_GET);
    assert_int_equal(r.version_minor, 1);
    assert_slice(r.path, "/ws");
    assert_slice(r.query, "topic=a%20b&topic=c");
    assert_slice(r.host, "example.org:8443");
    assert_slice(r.origin, "https://example.org:8443");
    assert_slice(r.cookie, "a=b; c=d");
    assert_slice(r.websocket_key, KEY);
    assert_slice(r.websocket_version, "13");
    assert_slice(r.websocket_protocol, "one, two");
    assert_slice(r.authorization, "");
    assert_true(r.upgrade_websocket && r.connection_upgrade && r.keep_alive);
    assert_int_equal(r.head_bytes, strlen(browser));
    assert_int_equal(r.request_bytes, strlen(browser));
    assert_int_equal(r.body.len, 0);
    assert_int_equal(http_upgrade_status(&r, &error), 101);
}

static void every_beginning_of_a_request_asks_for_more(void **state)
{
    (void)state;
    struct http_request r;
    for (size_t len = 0; len < strlen(browser); len++) {
        char *copy = malloc(len + 1);
        assert_non_null(copy);
        memcpy(copy, browser, len);
        if (http_request_parse(copy, len, 0, &r) != PARSE_MORE)
            fail_msg("%zu bytes: %d %s", len, r.status, r.error ? r.error : "");
        free(copy);
    }
}

static void what_follows_an_upgrade_request_is_left_alone(void **state)
{
    (void)state;
    char text[sizeof(browser) + 10];
    struct http_request r;
    snprintf(text, sizeof(text), "%s\x81\x80zzzz", browser);
    assert_int_equal(parse(text, 0, &r), PARSE_OK);
    assert_int_equal(r.request_bytes, strlen(browser));
}

static void bodies_are_delimited_by_content_length(void **state)
{
    (void)state;
    struct http_request r;
    const char *head =
        "POST /publish?topic=a HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\n";
    char text[200];
    assert_int_equal(parse(head, 5, &r), PARSE_MORE);
    snprintf(text, sizeof(text), "%shell", head);
    assert_int_equal(parse(text, 5, &r), PARSE_MORE);
    snprintf(text, sizeof(text), "%shelloGET / HTTP/1.1", head);
    assert_int_equal(parse(text, 5, &r), PARSE_OK);
    assert_int_equal(r.method, HTTP_METHOD_POST);
    assert_slice(r.body, "hello");
    assert_slice(r.content_type, "text/plain");
    assert_int_equal(r.request_bytes, strlen(head) + 5);
    assert_int_equal(parse(text, 4, &r), PARSE_BAD);
    assert_int_equal(r.status, 413);
    assert_int_equal(parse("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 0, &r), PARSE_OK);
    assert_int_equal(r.body.len, 0);
    assert_int_equal(parse("POST / HTTP/1.1\r\nHost: a\r\n\r\n", 0, &r), PARSE_OK);
    assert_int_equal(r.body.len, 0);
}

/* Whatever two HTTP implementations could understand differently, and whatever is not HTTP/1.x. */
static const struct {
    int status;
    const char *text;
} refused[] = {
    /* line ends */
    {400, "GET / HTTP/1.1\nHost: a\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\n\n"},
    {400, "GET / HTTP/1.1\rHost: a\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\n\r\r\n"},
    {400, "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"},
    /* request line */
    {400, " GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET /  HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET / HTTP/1.1 \r\nHost: a\r\n\r\n"},
    {400, "GET / HTTP/1.10\r\nHost: a\r\n\r\n"},
    {400, "GET / HTTP/1.\r\nHost: a\r\n\r\n"},
    {400, "GET / HTTP/1\r\nHost: a\r\n\r\n"},
    {400, "GET / http/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET / HTTPS/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET / ICE/1.0\r\nHost: a\r\n\r\n"},
    {400, "GET /\r\n\r\n"},
    {400, "GET / \r\n\r\n"},
    {400, "GET\r\n\r\n"},
    {400, "G\x01T / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "NONSENSE / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "get / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {505, "GET / HTTP/2.0\r\nHost: a\r\n\r\n"},
    {505, "GET / HTTP/0.9\r\nHost: a\r\n\r\n"},
    {505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
    {400, "\x16\x03\x01\x02"},
    /* target */
    {400, "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET ws HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET * HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET */ws HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET ?topic=a HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET /ws#fragment HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET /ws?a#fragment HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET /w\xc3\xb6 HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET /a\x7f HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n"},
    /* header lines */
    {400, "GET / HTTP/1.1\r\nHost : a\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost\t: a\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nX Y: b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nX\xc3: b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nX(: b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\n Host: a\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n folded\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nX:\r\n\tfolded\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nX: b\x01\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nX: b\x7f\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nX: b\x0b\r\n\r\n"},
    /* Host */
    {400, "GET / HTTP/1.1\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost:\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost:  \t \r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nhOST: b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost:\r\nHost: b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: \xc3\xb6\r\n\r\n"},
    /* others that may stand once */
    {400, "GET / HTTP/1.1\r\nHost: a\r\n" UPGRADE "Sec-WebSocket-Key: " KEY "\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\n" UPGRADE "sec-websocket-version: 13\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nOrigin: https://a\r\nOrigin: https://b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nX-API-Key: a\r\nx-api-key: a\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nCookie: a\r\nCookie: b\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: a\r\nContent-Type: b\r\n\r\n"},
    /* body */
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\na"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\na"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\na"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 1\r\n\r\na"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n"},
    {413, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n"},
    {413, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\n"},
    {411, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\n" UPGRADE "Content-Length: 3\r\n\r\nabc"},
};

static void requests_that_others_could_read_differently_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct http_request r;
        enum parse_result result = parse(refused[i].text, 10, &r);
        if (result != PARSE_BAD || r.status != refused[i].status || r.error == NULL)
            fail_msg("row %zu, %s: result %d, status %d (%s), expected %d", i, refused[i].text, result,
                     r.status, r.error ? r.error : "", refused[i].status);
    }
}

static void a_refusal_is_final_and_comes_after_more_only(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct http_request r;
        bool bad = false;
        for (size_t len = 0; len <= strlen(refused[i].text); len++) {
            enum parse_result result = http_request_parse(refused[i].text, len, 10, &r);
            if (result == PARSE_OK || (bad && result != PARSE_BAD))
                fail_msg("row %zu with %zu bytes: %d", i, len, result);
            bad = result == PARSE_BAD;
        }
        assert_true(bad);
    }
}

/* Byte by byte, with what has been learnt kept, and all anew each time: the same verdicts. */
static void expect_same_in_pieces(const char *text, size_t max_body)
{
    struct http_progress progress = {0};
    enum parse_result result = PARSE_MORE;
    for (size_t len = 0; len <= strlen(text) && result == PARSE_MORE; len++) {
        struct http_request pieces, whole;
        char *copy = malloc(len + 1); /* elsewhere each time */
        assert_non_null(copy);
        memcpy(copy, text, len);
        result = http_request_read(copy, len, max_body, &progress, &pieces);
        assert_int_equal(result, http_request_parse(copy, len, max_body, &whole));
        if (result != PARSE_MORE)
            assert_memory_equal(&pieces, &whole, sizeof whole);
        free(copy);
    }
    assert_int_not_equal(result, PARSE_MORE);
}

static void a_request_in_pieces_is_the_same_request(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        expect_same_in_pieces(refused[i].text, 10);
    expect_same_in_pieces(browser, 0);
    expect_same_in_pieces("POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 5);
    expect_same_in_pieces("POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 5);
}

/* Else a head that comes byte by byte costs the square of its length. */
static void what_was_checked_is_not_looked_at_again(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *start;
    } rows[] = {
        {414, ""},
        {414, "GET /"},
        {431, "GET / HTTP/1.1\r\n"},
        {431, "GET / HTTP/1.1\r\nHost: a\r\nX: "},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char data[HTTP_HEAD_MAX];
        struct http_progress progress = {0};
        struct http_request r;
        size_t start = strlen(rows[i].start);
        memcpy(data, rows[i].start, start);
        for (size_t len = start; len < HTTP_HEAD_MAX; len++) {
            assert_int_equal(http_request_read(data, len, 0, &progress, &r), PARSE_MORE);
            memset(data, '\0', len); /* which is nowhere allowed */
            data[len] = '~';
        }
        assert_int_equal(http_request_read(data, HTTP_HEAD_MAX, 0, &progress, &r), PARSE_BAD);
        assert_int_equal(r.status, rows[i].status);
    }
}

static void a_head_is_not_looked_at_again_for_each_piece_of_its_body(void **state)
{
    (void)state;
    static const char head[] = "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n";
    enum { HEAD = sizeof head - 1, ALL = HEAD + 100 };
    char data[ALL];
    struct http_progress progress = {0};
    struct http_request r;
    memset(data, 'b', sizeof data);
    memcpy(data, head, HEAD);
    assert_int_equal(http_request_read(data, HEAD, 100, &progress, &r), PARSE_MORE);
    memset(data, '\0', HEAD);
    for (size_t len = HEAD + 1; len < ALL; len++)
        assert_int_equal(http_request_read(data, len, 100, &progress, &r), PARSE_MORE);
    memcpy(data, head, HEAD);
    assert_int_equal(http_request_read(data, ALL, 100, &progress, &r), PARSE_OK);
    assert_int_equal(r.body.len, 100);
    assert_int_equal(r.request_bytes, ALL);
}

static void a_nul_byte_is_refused_wherever_it_stands(void **state)
{
    (void)state;
    static const char good[] = "GET /ws?a=b HTTP/1.1\r\nHost: a\r\nX: yz\r\n\r\n";
    for (size_t at = 0; at < sizeof(good) - 1; at++) {
        char text[sizeof(good)];
        struct http_request r;
        memcpy(text, good, sizeof(good));
        text[at] = '\0';
        assert_int_equal(http_request_parse(text, sizeof(good) - 1, 0, &r), PARSE_BAD);
        assert_int_equal(r.status, 400);
    }
}

static void a_head_may_be_8192_bytes_and_not_one_more(void **state)
{
    (void)state;
    static const char start[] = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
    char text[HTTP_HEAD_MAX + 2];
    struct http_request r;
    for (size_t size = HTTP_HEAD_MAX - 1; size <= HTTP_HEAD_MAX + 1; size++) {
        memset(text, 'x', sizeof(text));
        memcpy(text, start, sizeof(start) - 1);
        memcpy(text + size - 4, (const char[]){'\r', '\n', '\r', '\n'}, 4);
        enum parse_result result = http_request_parse(text, size, 0, &r);
        assert_int_equal(result, size <= HTTP_HEAD_MAX ? PARSE_OK : PARSE_BAD);
        assert_int_equal(r.status, size <= HTTP_HEAD_MAX ? 0 : 431);
        assert_int_equal(http_request_parse(text, HTTP_HEAD_MAX - 5, 0, &r), PARSE_MORE);
    }
}

static void a_request_line_without_end_is_414(void **state)
{
    (void)state;
    char text[HTTP_HEAD_MAX];
    struct http_request r;
    memset(text, 'x', sizeof(text));
    memcpy(text, (const char[]){'G', 'E', 'T', ' ', '/'}, 5);
    assert_int_equal(http_request_parse(text, sizeof(text) - 1, 0, &r), PARSE_MORE);
    assert_int_equal(http_request_parse(text, sizeof(text), 0, &r), PARSE_BAD);
    assert_int_equal(r.status, 414);
}

static void sixty_four_headers_are_read_and_one_more_is_431(void **state)
{
    (void)state;
    for (int count = HTTP_HEADERS_MAX - 1; count <= HTTP_HEADERS_MAX + 1; count++) {
        char text[2048];
        struct http_request r;
        int len = snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: a\r\n");
        for (int i = 1; i < count; i++)
            len += snprintf(text + len, sizeof(text) - (size_t)len, "X: y\r\n");
        snprintf(text + len, sizeof(text) - (size_t)len, "\r\n");
        assert_int_equal(parse(text, 0, &r), count <= HTTP_HEADERS_MAX ? PARSE_OK : PARSE_BAD);
        assert_int_equal(r.status, count <= HTTP_HEADERS_MAX ? 0 : 431);
    }
}

static void connections_are_kept_as_version_and_tokens_say(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool keep;
    } rows[] = {
        {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", true},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, CLOSE ,y\r\n\r\n", false},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: closed\r\n\r\n", true},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: close\r\n\r\n", false},
        {"GET / HTTP/1.0\r\n\r\n", false},
        {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true},
        {"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct http_request r;
        assert_int_equal(parse(rows[i].text, 0, &r), PARSE_OK);
        assert_int_equal(r.keep_alive, rows[i].keep);
    }
}

static void methods_are_told_apart(void **state)
{
    (void)state;
    struct http_request r;
    assert_int_equal(parse("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", 0, &r), PARSE_OK);
    assert_int_equal(r.method, HTTP_METHOD_HEAD);
    assert_int_equal(parse("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", 0, &r), PARSE_OK);
    assert_int_equal(r.method, HTTP_METHOD_OTHER);
    assert_int_equal(parse("GET /?a?b HTTP/1.1\r\nHost: [::1]:80\r\nX: \xc3\xb6\ty\r\n\r\n", 0, &r),
                     PARSE_OK);
    assert_slice(r.query, "a?b");
    assert_slice(r.path, "/");
}

static void upgrades_are_answered_in_the_documented_order(void **state)
{
    (void)state;
#define LINE "GET /ws HTTP/1.1\r\nHost: a\r\n"
    static const struct {
        int status;
        const char *text;
    } rows[] = {
        {101, LINE UPGRADE "\r\n"},
        {101, LINE "upgrade: h2c, WebSocket\r\nCONNECTION: close, uPgrAde\r\nSec-WebSocket-Key: " KEY
                   "\r\nSec-WebSocket-Version:13\r\n\r\n"},
        {405, "POST /ws HTTP/1.1\r\nHost: a\r\n" UPGRADE "\r\n"},
        {405, "HEAD /ws HTTP/1.1\r\nHost: a\r\n\r\n"},
        {426, LINE "\r\n"},
        {426, "GET /ws HTTP/1.0\r\nHost: a\r\n" UPGRADE "\r\n"},
        {426,
         LINE "Connection: keep-alive\r\nSec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Version: 13\r\n\r\n"},
        {400, LINE "Connection: Upgrade\r\nSec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Version: 13\r\n\r\n"},
        {400, LINE "Connection: Upgrade\r\nUpgrade: websockets\r\nSec-WebSocket-Key: " KEY
                   "\r\nSec-WebSocket-Version: 13\r\n\r\n"},
        {400, LINE "Upgrade: websocket\r\nSec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Version: 13\r\n\r\n"},
        {400, LINE "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: " KEY "\r\n\r\n"},
        {426, LINE "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 8\r\n\r\n"},
        {426, LINE "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 013\r\n\r\n"},
        {426, LINE "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13, 8\r\n\r\n"},
        {400, LINE "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct http_request r;
        const char *error;
        assert_int_equal(parse(rows[i].text, 0, &r), PARSE_OK);
        int status = http_upgrade_status(&r, &error);
        if (status != rows[i].status || (error == NULL) != (status == 101))
            fail_msg("row %zu: %d (%s), expected %d", i, status, error ? error : "", rows[i].status);
    }
}

static void keys_must_be_base64_of_16_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        bool good;
    } rows[] = {
        {KEY, true},
        {"AAAAAAAAAAAAAAAAAAAAAA==", true},
        {"+/+/+/+/+/+/+/+/+/+/+/==", true},
        {"SGVsbG8sIHdvcmxkIQ==", false},     /* 13 bytes */
        {"AAAAAAAAAAAAAAAAAAAAAAA=", false}, /* 17 bytes */
        {"AAAAAAAAAAAAAAAAAAAAAAAA", false}, /* 18 bytes */
        {"AAAAAAAAAAAAAAAAAAAAAA", false},   /* no padding */
        {"AAAAAAAAAAAAAAAAAAAAA===", false},
        {"AAAAAAAAAA=AAAAAAAAAAA==", false},
        {"AAAAAAAAAA-AAAAAAAAAAA==", false}, /* the other alphabet */
        {"AAAAAAAAAA AAAAAAAAAAA==", false},
        {"AAAAAAAAAAAAAAAAAAAAAA==AAAA", false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[300];
        struct http_request r;
        const char *error;
        snprintf(text, sizeof(text),
                 LINE "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: "
                      "13\r\nSec-WebSocket-Key: %s\r\n\r\n",
                 rows[i].key);
        assert_int_equal(parse(text, 0, &r), PARSE_OK);
        if (http_upgrade_status(&r, &error) != (rows[i].good ? 101 : 400))
            fail_msg("key %s", rows[i].key);
    }
}

/* RFC 6455 §1.3 */
static void the_accept_of_the_rfc_is_computed(void **state)
{
    (void)state;
    char accept[29], out[300];
    http_upgrade_accept((struct http_slice){KEY, strlen(KEY)}, accept);
    assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    http_upgrade_accept((struct http_slice){KEY, 3}, accept);
    assert_string_equal(accept, "");

    http_upgrade_accept((struct http_slice){KEY, strlen(KEY)}, accept);
    static const char plain[] =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    assert_int_equal(http_upgrade_response(out, sizeof(out), accept, ""), strlen(plain));
    assert_string_equal(out, plain);
    size_t len = http_upgrade_response(out, sizeof(out), accept, "chat");
    assert_int_equal(len, strlen(out));
    assert_non_null(strstr(out, "\r\nSec-WebSocket-Protocol: chat\r\n\r\n"));
    assert_int_equal(http_upgrade_response(out, len, accept, "chat"), 0);
    assert_int_equal(http_upgrade_response(out, len + 1, accept, "chat"), len);
}

static void responses_are_whole_or_nothing(void **state)
{
    (void)state;
    char out[300];
    static const char expected[] =
        "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n"
        "Connection: close\r\nX: y\r\n\r\n";
    size_t len = http_response_head(out, sizeof(out), 404, "text/plain", 3, false, "X: y\r\n");
    assert_int_equal(len, strlen(expected));
    assert_string_equal(out, expected);
    assert_int_equal(http_response_head(out, len, 404, "text/plain", 3, false, "X: y\r\n"), 0);
    assert_int_equal(http_response_head(out, len + 1, 404, "text/plain", 3, false, "X: y\r\n"), len);
    assert_true(http_response_head(out, sizeof(out), 200, NULL, 0, true, NULL) > 0);
    assert_string_equal(out, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n");
    static const char extra[] = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    assert_true(http_response_head(out, sizeof(out), 426, NULL, 0, false, extra) > 0);
    assert_string_equal(out,
                        "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\nConnection: close, Upgrade\r\n"
                        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n");
    static const int used[] = {101, 200, 400, 401, 403, 404, 405, 411, 413, 414, 426, 431, 500, 503, 505};
    for (size_t i = 0; i < sizeof(used) / sizeof(used[0]); i++)
        assert_string_not_equal(http_status_text(used[i]), http_status_text(999));
}

static void origins_are_matched_as_browsers_write_them(void **state)
{
    (void)state;
    static const struct {
        bool allowed, tls;
        const char *origin, *host, *origins;
    } rows[] = {
        /* not a browser; any */
        {true, true, "", "a", ""},
        {true, true, "", "a", "https://b"},
        {true, true, "https://evil", "a", "*"},
        {true, true, "null", "a", "*"},
        {true, true, "null", "a", "https://b, *"},
        {false, true, "null", "a", ""},
        {false, true, "null", "null", ""},
        {false, true, "null", "a", "null"},
        /* same host */
        {true, true, "https://a", "a", ""},
        {true, true, "https://a", "a:443", ""},
        {true, true, "https://a:443", "a", ""},
        {true, true, "HTTPS://ExAmple.org", "example.ORG", ""},
        {true, false, "http://a", "a", ""},
        {true, false, "http://a:8080", "a:8080", ""},
        {true, true, "https://[::1]:8443", "[::1]:8443", ""},
        {true, true, "https://a", "a", " "},
        {false, true, "http://a", "a", ""}, /* port 80 is not 443 */
        {false, false, "https://a", "a", ""},
        {false, true, "https://a:8443", "a", ""},
        {false, true, "https://b", "a", ""},
        {false, true, "https://a.b", "a", ""},
        {false, true, "https://aa", "a", ""},
        {false, true, "https://a", "aa", ""},
        {false, true, "https://a/", "a", ""},
        {false, true, "https://u@a", "a", ""},
        {false, true, "https://a:443:443", "a", ""},
        {false, true, "https://a:99999", "a:99999", ""},
        {false, true, "https://a:0", "a:0", ""},
        {false, true, "https://", "", ""},
        {false, true, "https://a", "", ""},
        {false, true, "https:/a", "a", ""},
        {false, true, "//a", "a", ""},
        {false, true, "://a", "a", ""},
        {false, true, "a", "a", ""},
        {false, true, "https://[::1", "[::1", ""},
        {false, true, "https://[::1]x", "[::1]x", ""},
        /* a list */
        {true, true, "https://b", "a", "https://b"},
        {true, true, "https://b:443", "a", "https://b"},
        {true, true, "https://b", "a", "https://c,https://b:443"},
        {true, true, "https://b", "a", "https://c , https://b"},
        {true, true, "HTTP://B:80", "a", "http://b"},
        {true, true, "app://b", "a", "app://b"},
        {false, true, "https://a", "a", "https://b"}, /* the own host must be listed too */
        {false, true, "http://b", "a", "https://b"},
        {false, true, "http://b:443", "a", "https://b"},
        {false, true, "https://b", "a", "b"},
        {false, true, "https://b", "a", "https://b/"},
        {false, true, "https://b", "a", "https://bb https://c"},
        {false, true, "https://bb", "a", "https://b"},
        {false, true, "https://x.b", "a", "https://*.b"},
        {false, true, "https://*", "a", "https://b"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct http_slice origin = {rows[i].origin, strlen(rows[i].origin)};
        struct http_slice host = {rows[i].host, strlen(rows[i].host)};
        if (http_origin_allowed(origin, host, rows[i].tls, rows[i].origins) != rows[i].allowed)
            fail_msg("row %zu: origin %s, host %s, origins '%s', expected %d", i, rows[i].origin,
                     rows[i].host, rows[i].origins, rows[i].allowed);
    }
}

static void parameters_are_found_in_order_and_decoded(void **state)
{
    (void)state;
    static const char text[] =
        "topic=a&x=1&topic=%C3%B6+%2b%26&topics=no&topi=no&topic&&topic=&Topic=no&topic=z%3D=";
    static const char *const expected[] = {"a", "\xc3\xb6 +&", "", "", "z=="};
    struct http_slice query = {text, sizeof(text) - 1};
    size_t cursor = 0, len;
    char out[16];
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        assert_int_equal(http_query_next(query, "topic", &cursor, out, sizeof(out), &len), PARSE_OK);
        assert_slice((struct http_slice){out, len}, expected[i]);
    }
    assert_int_equal(http_query_next(query, "topic", &cursor, out, sizeof(out), &len), PARSE_MORE);
    assert_int_equal(http_query_next(query, "topic", &cursor, out, sizeof(out), &len), PARSE_MORE);
    cursor = 0;
    assert_int_equal(http_query_next((struct http_slice){NULL, 0}, "topic", &cursor, out, sizeof(out), &len),
                     PARSE_MORE);
}

static void broken_escapes_nul_and_long_values_are_bad(void **state)
{
    (void)state;
    static const struct {
        enum parse_result result;
        const char *text;
    } rows[] = {
        {PARSE_OK, "a=12345678"}, {PARSE_BAD, "a=123456789"}, {PARSE_OK, "a=%31%32%33%34%35%36%37%38"},
        {PARSE_BAD, "a=%"},       {PARSE_BAD, "a=%4"},        {PARSE_BAD, "a=%&a=1"},
        {PARSE_BAD, "a=%4g"},     {PARSE_BAD, "a=%g4"},       {PARSE_BAD, "a=%00"},
        {PARSE_BAD, "a=x%00y"},   {PARSE_BAD, "a=%+1"},       {PARSE_OK, "a=%fF"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        size_t len = strlen(rows[i].text), cursor = 0, out_len;
        char out[8], *copy = malloc(len);
        assert_non_null(copy);
        memcpy(copy, rows[i].text, len);
        struct http_slice query = {copy, len};
        if (http_query_next(query, "a", &cursor, out, sizeof(out), &out_len) != rows[i].result)
            fail_msg("%s", rows[i].text);
        free(copy);
    }
}

static void fields_of_a_name_are_walked_from_the_last_to_the_first(void **state)
{
    (void)state;
    struct http_slice value;
    size_t cursor = strlen(browser);
    assert_int_equal(http_header_previous(browser, "X-Forwarded-For", &cursor, &value), PARSE_OK);
    assert_slice(value, "192.0.2.2");
    assert_int_equal(http_header_previous(browser, "X-Forwarded-For", &cursor, &value), PARSE_OK);
    assert_slice(value, "192.0.2.1");
    assert_int_equal(http_header_previous(browser, "X-Forwarded-For", &cursor, &value), PARSE_MORE);
    static const char *const others[] = {"Forwarded", "X-Forwarded", "X-Forwarded-For-",
                                         "GET /ws?topic=a%20b&topic", ""};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        cursor = strlen(browser);
        assert_int_equal(http_header_previous(browser, others[i], &cursor, &value), PARSE_MORE);
    }
    static const char head[] = "GET x: 1 HTTP/1.1\r\nx:\r\nX:\t a b \t\r\nxx: 2\r\n\r\n";
    cursor = sizeof head - 1;
    assert_int_equal(http_header_previous(head, "x", &cursor, &value), PARSE_OK);
    assert_slice(value, "a b");
    assert_int_equal(http_header_previous(head, "x", &cursor, &value), PARSE_OK);
    assert_slice(value, "");
    assert_int_equal(http_header_previous(head, "x", &cursor, &value), PARSE_MORE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_upgrade_request_of_a_browser_is_read),
        cmocka_unit_test(fields_of_a_name_are_walked_from_the_last_to_the_first),
        cmocka_unit_test(every_beginning_of_a_request_asks_for_more),
        cmocka_unit_test(what_follows_an_upgrade_request_is_left_alone),
        cmocka_unit_test(bodies_are_delimited_by_content_length),
        cmocka_unit_test(requests_that_others_could_read_differently_are_refused),
        cmocka_unit_test(a_refusal_is_final_and_comes_after_more_only),
        cmocka_unit_test(a_request_in_pieces_is_the_same_request),
        cmocka_unit_test(what_was_checked_is_not_looked_at_again),
        cmocka_unit_test(a_head_is_not_looked_at_again_for_each_piece_of_its_body),
        cmocka_unit_test(a_nul_byte_is_refused_wherever_it_stands),
        cmocka_unit_test(a_head_may_be_8192_bytes_and_not_one_more),
        cmocka_unit_test(a_request_line_without_end_is_414),
        cmocka_unit_test(sixty_four_headers_are_read_and_one_more_is_431),
        cmocka_unit_test(connections_are_kept_as_version_and_tokens_say),
        cmocka_unit_test(methods_are_told_apart),
        cmocka_unit_test(upgrades_are_answered_in_the_documented_order),
        cmocka_unit_test(keys_must_be_base64_of_16_bytes),
        cmocka_unit_test(the_accept_of_the_rfc_is_computed),
        cmocka_unit_test(responses_are_whole_or_nothing),
        cmocka_unit_test(origins_are_matched_as_browsers_write_them),
        cmocka_unit_test(parameters_are_found_in_order_and_decoded),
        cmocka_unit_test(broken_escapes_nul_and_long_values_are_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
