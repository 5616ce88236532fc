/* X-Forwarded-For and Forwarded, read from their end. */
#include "proto/forwarded.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Without a NUL behind it. */
static void put(char *to, const char *from, size_t bytes)
{
    memcpy(to, from, bytes);
}

typedef bool previous_fn(struct http_slice value, size_t *cursor, struct forwarded_node *out);

/* All nodes, the last one first, as "192.0.2.1:80 2001:db8::1 ? !": ? hidden, ! malformed. */
static void expect(previous_fn *previous, const char *value, const char *expected)
{
    char found[512] = "";
    size_t len = strlen(value);
    char *copy = malloc(len + 1); /* no byte behind it */
    assert_non_null(copy);
    put(copy, value, len);
    struct http_slice slice = {copy, len};
    struct forwarded_node node;
    for (size_t cursor = len; previous(slice, &cursor, &node);) {
        char text[INET6_ADDRSTRLEN] = "?", port[16] = "";
        if (node.kind == FORWARDED_IPV4 || node.kind == FORWARDED_IPV6)
            assert_non_null(
                inet_ntop(node.kind == FORWARDED_IPV4 ? AF_INET : AF_INET6, node.ip, text, sizeof text));
        else if (node.kind == FORWARDED_MALFORMED)
            snprintf(text, sizeof text, "!");
        if (node.port)
            snprintf(port, sizeof port, ":%u", node.port);
        snprintf(found + strlen(found), sizeof found - strlen(found), "%s%s%s", *found ? " " : "", text,
                 port);
    }
    free(copy);
    if (strcmp(found, expected) != 0)
        fail_msg("%s: found \"%s\", not \"%s\"", value, found, expected);
}

static void x_forwarded_for_is_read_from_its_end(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", ""},
        {"192.0.2.1", "192.0.2.1"},
        {"192.0.2.1, 198.51.100.2,203.0.113.3", "203.0.113.3 198.51.100.2 192.0.2.1"},
        {" \t192.0.2.1 ,, ,", "192.0.2.1"},
        {"2001:db8::1", "2001:db8::1"},
        {"2001:db8::1:443", "2001:db8::1:443"}, /* an address, not a port */
        {"[2001:db8::1], [2001:db8::2]:443", "2001:db8::2:443 2001:db8::1"},
        {"192.0.2.1:5000", "192.0.2.1:5000"},
        {"::ffff:192.0.2.1", "::ffff:192.0.2.1"},
        {"unknown, 192.0.2.1", "192.0.2.1 ?"},
        {"_hidden", "?"},
        {"spam, 192.0.2.1", "192.0.2.1 !"},
        {"192.0.2.256", "!"},
        {"192.0.2.1:", "!"},
        {"192.0.2.1:65536", "!"},
        {"192.0.2.1:-1", "!"},
        {"192.0.2.1:80:80", "!"},
        {"192.0.2.1 198.51.100.2", "!"},
        {"[2001:db8::1", "!"},
        {"[2001:db8::1]443", "!"},
        {"[192.0.2.1]", "!"},
        {"[2001:db8::1]:", "!"},
        {"2001:db8::1]", "!"},
        {"fe80::1%eth0", "!"},
        {"\"192.0.2.1\"", "!"},
        {"unix:", "!"},
        {"_", "!"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect(forwarded_for_previous, cases[i][0], cases[i][1]);
}

static void forwarded_is_read_from_its_end(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", ""},
        {"for=\"_gazonk\"", "?"},
        {"For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17:4711"},
        {"for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"},
        {"for=192.0.2.43, for=198.51.100.17", "198.51.100.17 192.0.2.43"},
        {"for=192.0.2.43,for=\"[2001:db8:cafe::17]\",for=unknown", "? 2001:db8:cafe::17 192.0.2.43"},
        {"for=_hidden, for=_SEVKISEK", "? ?"},
        {"by=203.0.113.43", "?"},
        {"proto=https ; for=\"192.0.2.1:80\" ;", "192.0.2.1:80"},
        {";;for=192.0.2.1;;", "192.0.2.1"},
        {"for=\"192.0.2.1:_port\"", "192.0.2.1"},
        {"for=[2001:db8::1]:80", "2001:db8::1:80"}, /* should be quoted; seen in the wild */
        {"for=\"\\1\\92.0.2.1\"", "192.0.2.1"},
        {"host=\"a,b;c\\\"d,\";for=192.0.2.1, for=192.0.2.2", "192.0.2.2 192.0.2.1"},
        {"ext=\"\\\\\", for=192.0.2.2", "192.0.2.2 ?"},
        {"for=\"2001:db8::1\"", "!"},
        {"for=2001:db8::1", "!"},
        {"for=192.0.2.1;for=192.0.2.2", "!"},
        {"for=", "!"},
        {"for=\"\"", "!"},
        {"for", "!"},
        {"=192.0.2.1", "!"},
        {"for =192.0.2.1", "!"},
        {"for= 192.0.2.1", "!"},
        {"for=192.0.2.1 by=x", "!"},
        {"for=\"192.0.2.1\"x", "!"},
        {"for=\"192.0.2.1", "!"},
        {"for=\"192.0.2.1\\", "!"},
        {"for=\xff", "!"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect(forwarded_previous, cases[i][0], cases[i][1]);
}

/* Whatever a client wrote, what the proxy appended is found. */
static void what_stands_left_cannot_hide_the_end(void **state)
{
    (void)state;
    static const char *const lefts[] = {
        "for=\"",   "for=\"a\\", "for=1;x=\"\\\"", "\"\"\"",  "x=\"\\\\\\", ",,,;;;",
        "\\\"\\\"", "\"",        "for=\"[",        "unknown", "\\"};
    static const char *const rights[][2] = {
        {"for=192.0.2.1", "192.0.2.1"},
        {"for=\"[2001:db8::1]:443\"", "2001:db8::1:443"},
        {"for=\"192.0.2.1:80\";by=\"_a\";proto=https", "192.0.2.1:80"},
    };
    for (size_t l = 0; l < sizeof lefts / sizeof *lefts; l++)
        for (size_t r = 0; r < sizeof rights / sizeof *rights; r++) {
            char value[200], text[INET6_ADDRSTRLEN];
            snprintf(value, sizeof value, "%s, %s", lefts[l], rights[r][0]);
            struct forwarded_node node;
            size_t cursor = strlen(value);
            assert_true(forwarded_previous((struct http_slice){value, cursor}, &cursor, &node));
            assert_true(node.kind == FORWARDED_IPV4 || node.kind == FORWARDED_IPV6);
            inet_ntop(node.kind == FORWARDED_IPV4 ? AF_INET : AF_INET6, node.ip, text, sizeof text);
            assert_memory_equal(rights[r][1], text, strlen(text));
        }
}

static void long_texts_are_malformed_and_nothing_worse(void **state)
{
    (void)state;
    static char value[9000];
    memset(value, '1', sizeof value - 1);
    expect(forwarded_for_previous, value, "!");
    put(value, "for=", 4);
    expect(forwarded_previous, value, "!");
    value[4] = value[sizeof value - 2] = '"';
    expect(forwarded_previous, value, "!");
    put(value, "ext=", 4);
    put(value + sizeof value - 18, "\";for=192.0.2.111", 18);
    expect(forwarded_previous, value, "192.0.2.111");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(x_forwarded_for_is_read_from_its_end),
        cmocka_unit_test(forwarded_is_read_from_its_end),
        cmocka_unit_test(what_stands_left_cannot_hide_the_end),
        cmocka_unit_test(long_texts_are_malformed_and_nothing_worse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
