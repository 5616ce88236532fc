/* Whom a request is from that came through proxies. */
#include "gateway/conn/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define PEER "10.0.0.1"

/* The client of a request from 10.0.0.1 with these header lines; 10.0.0.0/8 and fd00::/8 are trusted. */
static void expect(enum forwarded_header header, const char *lines, const char *expected)
{
    char error[128], head[1024], text[ADDRESS_TEXT_MAX];
    struct cidr_set *trusted = cidr_set_create("10.0.0.0/8 fd00::/8", "", error, sizeof error);
    assert_non_null(trusted);
    int bytes = snprintf(head, sizeof head, "GET /ws HTTP/1.1\r\nHost: a\r\n%s\r\n", lines);
    struct address from = address_make(ADDRESS_IPV4, "\x0a\0\0\1", 1234);
    struct address client = client_forwarded(trusted, header, head, (size_t)bytes, &from);
    address_format_host(&client, text, sizeof text);
    if (strcmp(text, expected) != 0)
        fail_msg("%s: %s instead of %s", lines, text, expected);
    cidr_set_destroy(trusted);
}

static void xff(const char *lines, const char *expected)
{
    expect(FORWARDED_X_FORWARDED_FOR, lines, expected);
}

static void the_first_that_is_not_trusted_from_the_end_is_the_client(void **state)
{
    (void)state;
    xff("", PEER);
    xff("X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1");
    xff("X-Forwarded-For: 6.6.6.6, 192.0.2.1\r\n", "192.0.2.1");
    xff("X-Forwarded-For: 6.6.6.6, 192.0.2.1, 10.9.9.9, fd00::1\r\n", "192.0.2.1");
    xff("x-forwarded-for: 6.6.6.6\r\nX-FORWARDED-FOR: 192.0.2.1\r\nX-Forwarded-For: 10.0.0.2\r\n",
        "192.0.2.1");
    xff("X-Forwarded-For: 2001:db8::1, 10.0.0.2\r\n", "2001:db8::1");
    xff("X-Forwarded-For: ::ffff:192.0.2.1, ::ffff:10.0.0.2\r\n", "192.0.2.1");
    expect(FORWARDED_RFC7239,
           "Forwarded: for=6.6.6.6, for=\"[2001:db8::1]:80\";by=10.0.0.9, for=10.0.0.2\r\n", "2001:db8::1");
    expect(FORWARDED_RFC7239, "Forwarded: for=192.0.2.1\r\nForwarded: for=10.0.0.2\r\n", "192.0.2.1");
}

static void when_all_are_trusted_the_first_one_is_the_client(void **state)
{
    (void)state;
    xff("X-Forwarded-For: 10.0.0.3, 10.0.0.2\r\n", "10.0.0.3");
}

static void who_is_hidden_or_malformed_ends_the_walk(void **state)
{
    (void)state;
    xff("X-Forwarded-For: unknown\r\n", PEER);
    xff("X-Forwarded-For: 192.0.2.1, garbage, 10.0.0.2\r\n", "10.0.0.2");
    xff("X-Forwarded-For: 192.0.2.1, unknown\r\n", PEER);
    expect(FORWARDED_RFC7239, "Forwarded: for=192.0.2.1, for=_hidden, for=10.0.0.2\r\n", "10.0.0.2");
    expect(FORWARDED_RFC7239, "Forwarded: for=192.0.2.1, proto=https\r\n", PEER);
    expect(FORWARDED_RFC7239, "Forwarded: for=\"\r\nForwarded: for=192.0.2.1\r\n", "192.0.2.1");
    expect(FORWARDED_RFC7239, "Forwarded: for=6.6.6.6\r\nForwarded: for=\"10.0.0.2\r\n", PEER);
}

static void only_the_named_header_is_looked_at(void **state)
{
    (void)state;
    xff("Forwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n", PEER);
    expect(FORWARDED_RFC7239, "X-Forwarded-For: 6.6.6.6\r\n", PEER);
}

static void a_proxy_header_gives_its_source(void **state)
{
    (void)state;
    char text[ADDRESS_TEXT_MAX];
    struct proxy_header header = {.family = PROXY_SOURCE_IPV4, .source = {192, 0, 2, 1}, .source_port = 99};
    struct address client = client_of_proxy_header(&header);
    assert_string_equal(address_format(&client, text, sizeof text), "192.0.2.1:99");
    header.family = PROXY_SOURCE_IPV6;
    memcpy(header.source, (uint8_t[16]){[10] = 0xff, 0xff, 192, 0, 2, 1}, 16);
    client = client_of_proxy_header(&header);
    assert_string_equal(address_format(&client, text, sizeof text), "192.0.2.1:99");
    header.family = PROXY_SOURCE_UNIX;
    assert_int_equal(client_of_proxy_header(&header).family, ADDRESS_UNIX);
    header.family = PROXY_SOURCE_NONE;
    assert_int_equal(client_of_proxy_header(&header).family, ADDRESS_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_that_is_not_trusted_from_the_end_is_the_client),
        cmocka_unit_test(when_all_are_trusted_the_first_one_is_the_client),
        cmocka_unit_test(who_is_hidden_or_malformed_ends_the_walk),
        cmocka_unit_test(only_the_named_header_is_looked_at),
        cmocka_unit_test(a_proxy_header_gives_its_source),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
