/* PROXY headers: whole, in pieces, cut everywhere, and with everything that can be wrong. */
#include "proto/proxy_protocol.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROOM = 70000 };

/* A header under construction. */
struct bytes {
    uint8_t data[ROOM];
    size_t len;
};

static void add(struct bytes *b, const void *data, size_t len)
{
    memcpy(b->data + b->len, data, len);
    b->len += len;
}

static void add_u16(struct bytes *b, unsigned value)
{
    const uint8_t two[] = {(uint8_t)(value >> 8), (uint8_t)value};
    add(b, two, 2);
}

static void begin(struct bytes *b, unsigned version_command, unsigned family)
{
    const uint8_t two[] = {(uint8_t)version_command, (uint8_t)family};
    b->len = 0;
    add(b, "\r\n\r\n\0\r\nQUIT\n", 12);
    add(b, two, 2);
    add_u16(b, 0);
}

static void set_length(struct bytes *b)
{
    b->data[14] = (uint8_t)((b->len - 16) >> 8);
    b->data[15] = (uint8_t)(b->len - 16);
}

static void add_tlv(struct bytes *b, uint8_t type, const void *value, size_t len)
{
    add(b, &type, 1);
    add_u16(b, (unsigned)len);
    add(b, value, len);
}

/* 192.0.2.1:1000 → 198.51.100.2:443. */
static void tcp4(struct bytes *b)
{
    begin(b, 0x21, 0x11);
    add(b, "\xc0\x00\x02\x01\xc6\x33\x64\x02", 8);
    add_u16(b, 1000);
    add_u16(b, 443);
    set_length(b);
}

/* [2001:db8::1]:1000 → [2001:db8::2]:443. */
static void tcp6(struct bytes *b)
{
    static const uint8_t ip[15] = {0x20, 0x01, 0x0d, 0xb8};
    begin(b, 0x21, 0x21);
    add(b, ip, 15);
    add(b, "\1", 1);
    add(b, ip, 15);
    add(b, "\2", 1);
    add_u16(b, 1000);
    add_u16(b, 443);
    set_length(b);
}

/* Bit by bit, as the polynomial is written down. */
static uint32_t naive_crc32c(const uint8_t *data, size_t len)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < len * 8; i++) {
        bool bit = (crc ^ data[i / 8] >> i % 8) & 1;
        crc = crc >> 1 ^ (bit ? 0x82f63b78 : 0);
    }
    return ~crc;
}

static void add_crc(struct bytes *b)
{
    add_tlv(b, 3, "\0\0\0\0", 4);
    set_length(b);
}

static void fill_crc(struct bytes *b, size_t at)
{
    uint32_t crc = htonl(naive_crc32c(b->data, b->len));
    memcpy(b->data + at, &crc, 4);
}

/* From a block of exactly that size. */
static enum parse_result parse(const void *data, size_t len, struct proxy_header *out)
{
    uint8_t *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, data, len);
    enum parse_result result = proxy_header_parse(copy, len, out);
    assert_true((result == PARSE_BAD) == (out->error != NULL));
    free(copy);
    return result;
}

/* Every beginning wants more, the whole is read, and what follows is left. */
static void expect_whole(const void *data, size_t len, struct proxy_header *out)
{
    for (size_t cut = 0; cut < len; cut++)
        if (parse(data, cut, out) != PARSE_MORE)
            fail_msg("%zu of %zu bytes: %s", cut, len, out->error ? out->error : "taken for whole");
    assert_int_equal(parse(data, len, out), PARSE_OK);
    assert_int_equal(out->bytes, len);
    uint8_t *more = malloc(len + 300);
    assert_non_null(more);
    memcpy(more, data, len);
    memset(more + len, 'x', 300);
    assert_int_equal(parse(more, len + 300, out), PARSE_OK);
    assert_int_equal(out->bytes, len);
    free(more);
}

static void expect_bad(const void *data, size_t len)
{
    struct proxy_header header;
    if (parse(data, len, &header) != PARSE_BAD)
        fail_msg("taken: %.*s", (int)(len < 120 ? len : 120), (const char *)data);
}

static void expect_source(const struct proxy_header *header, int family, const char *source,
                          unsigned source_port, const char *destination, unsigned destination_port)
{
    char text[INET6_ADDRSTRLEN];
    assert_int_equal(header->family, family == AF_INET ? PROXY_SOURCE_IPV4 : PROXY_SOURCE_IPV6);
    assert_string_equal(inet_ntop(family, header->source, text, sizeof text), source);
    assert_string_equal(inet_ntop(family, header->destination, text, sizeof text), destination);
    assert_int_equal(header->source_port, source_port);
    assert_int_equal(header->destination_port, destination_port);
}

/* Without a NUL behind it. */
static void put(char *to, const char *from, size_t bytes)
{
    memcpy(to, from, bytes);
}

static void lines_of_version_1_are_read(void **state)
{
    (void)state;
    struct proxy_header header;
    static const char four[] = "PROXY TCP4 192.0.2.1 198.51.100.2 1000 443\r\n";
    expect_whole(four, sizeof four - 1, &header);
    assert_int_equal(header.version, 1);
    expect_source(&header, AF_INET, "192.0.2.1", 1000, "198.51.100.2", 443);
    static const char six[] = "PROXY TCP6 2001:db8::1 2001:db8::2 0 65535\r\n";
    expect_whole(six, sizeof six - 1, &header);
    expect_source(&header, AF_INET6, "2001:db8::1", 0, "2001:db8::2", 65535);
    static const char longest[] = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
                                  "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    expect_whole(longest, sizeof longest - 1, &header);
    static const char most[] = "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
                               "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    static const char *const unknown[] = {"PROXY UNKNOWN\r\n", "PROXY UNKNOWN and whatever it likes\r\n",
                                          most};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        expect_whole(unknown[i], strlen(unknown[i]), &header);
        assert_int_equal(header.family, PROXY_SOURCE_NONE);
    }
    assert_int_equal(strlen(unknown[2]), PROXY_V1_MAX);
}

static void lines_that_are_not_exactly_so_are_refused(void **state)
{
    (void)state;
    static const char too_long[] = "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
                                   "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535 \r\n";
    static const char *const bad[] = {
        "GET / HTTP/1.1\r\n",
        "PROXX",
        "proxy TCP4 192.0.2.1 198.51.100.2 1000 443\r\n",
        "PROXY\tTCP4 192.0.2.1 198.51.100.2 1000 443\r\n",
        "PROXY  TCP4 192.0.2.1 198.51.100.2 1000 443\r\n",
        "PROXY TCP4  192.0.2.1 198.51.100.2 1000 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1000 443 \r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1000 443\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1000 443\rx",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1000 443\r\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1000\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1000 443 1\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1000 65536\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 01000 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 -1 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1000 +443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 100000 443\r\n",
        "PROXY TCP4 192.0.2.256 198.51.100.2 1000 443\r\n",
        "PROXY TCP4 192.0.2.01 198.51.100.2 1000 443\r\n",
        "PROXY TCP4 192.0.2 198.51.100.2 1000 443\r\n",
        "PROXY TCP4 2001:db8::1 2001:db8::2 1000 443\r\n",
        "PROXY TCP6 192.0.2.1 198.51.100.2 1000 443\r\n",
        "PROXY TCP6 2001:db8::1%eth0 2001:db8::2 1000 443\r\n",
        "PROXY TCP6 [2001:db8::1] 2001:db8::2 1000 443\r\n",
        "PROXY TCP5 192.0.2.1 198.51.100.2 1000 443\r\n",
        "PROXY UDP4 192.0.2.1 198.51.100.2 1000 443\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY \r\n",
        "PROXY UNKNOWN \x80\r\n",
        too_long,
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        expect_bad(bad[i], strlen(bad[i]));
    expect_bad("PROXY UNKNOWN \0\r\n", 17);
}

static void a_line_without_end_is_refused_at_its_limit(void **state)
{
    (void)state;
    char line[200];
    struct proxy_header header;
    memset(line, 'x', sizeof line);
    put(line, "PROXY UNKNOWN ", 14);
    assert_int_equal(parse(line, PROXY_V1_MAX - 1, &header), PARSE_MORE);
    assert_int_equal(parse(line, PROXY_V1_MAX, &header), PARSE_BAD);
    line[PROXY_V1_MAX - 1] = '\r';
    assert_int_equal(parse(line, PROXY_V1_MAX, &header), PARSE_BAD);
    line[PROXY_V1_MAX] = '\n';
    assert_int_equal(parse(line, sizeof line, &header), PARSE_BAD);
}

static void headers_of_version_2_are_read(void **state)
{
    (void)state;
    static struct bytes b;
    struct proxy_header header;
    tcp4(&b);
    expect_whole(b.data, b.len, &header);
    assert_int_equal(header.version, 2);
    expect_source(&header, AF_INET, "192.0.2.1", 1000, "198.51.100.2", 443);
    tcp6(&b);
    expect_whole(b.data, b.len, &header);
    expect_source(&header, AF_INET6, "2001:db8::1", 1000, "2001:db8::2", 443);
    begin(&b, 0x21, 0x31);
    b.len += 216;
    set_length(&b);
    expect_whole(b.data, b.len, &header);
    assert_int_equal(header.family, PROXY_SOURCE_UNIX);
}

static void who_speaks_for_itself_or_does_not_say_has_no_source(void **state)
{
    (void)state;
    static struct bytes b;
    struct proxy_header header;
    static const uint8_t heads[][2] = {
        {0x20, 0x00}, {0x20, 0x11}, {0x20, 0xff}, {0x21, 0x00},
        {0x21, 0x01}, {0x21, 0x12}, {0x21, 0x22}, {0x21, 0x10},
    };
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        begin(&b, heads[i][0], heads[i][1]);
        memset(b.data + b.len, 0, 36);
        size_t family = heads[i][1] >> 4;
        b.len += heads[i][0] == 0x20 ? i : family == 1 ? 12 : family == 2 ? 36 : 5;
        set_length(&b);
        expect_whole(b.data, b.len, &header);
        assert_int_equal(header.family, PROXY_SOURCE_NONE);
    }
}

static void headers_of_version_2_that_cannot_be_are_refused_at_once(void **state)
{
    (void)state;
    static struct bytes b;
    for (size_t i = 0; i < 12; i++) {
        tcp4(&b);
        b.data[i] ^= 0x40;
        expect_bad(b.data, i + 1);
    }
    static const uint8_t heads[][2] = {{0x11, 0x11}, {0x31, 0x11}, {0x01, 0x11}, {0x22, 0x11},
                                       {0x2f, 0x11}, {0x21, 0x41}, {0x21, 0x13}, {0x21, 0xff}};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        tcp4(&b);
        b.data[12] = heads[i][0];
        b.data[13] = heads[i][1];
        expect_bad(b.data, heads[i][1] == 0x11 ? 13 : 14);
        expect_bad(b.data, b.len);
    }
    tcp4(&b);
    b.data[15]--; /* too short for its addresses */
    expect_bad(b.data, b.len);
    tcp6(&b);
    b.data[15] = 35;
    expect_bad(b.data, b.len);
    begin(&b, 0x21, 0x31);
    b.len += 215;
    set_length(&b);
    expect_bad(b.data, b.len);
}

static void lengths_are_bounded_before_the_bytes_come(void **state)
{
    (void)state;
    static struct bytes b;
    struct proxy_header header;
    begin(&b, 0x20, 0x00);
    b.len += PROXY_V2_MAX - 16;
    set_length(&b);
    expect_whole(b.data, b.len, &header);
    b.len++;
    set_length(&b);
    assert_int_equal(parse(b.data, 15, &header), PARSE_MORE);
    expect_bad(b.data, 16);
    b.data[14] = b.data[15] = 0xff;
    expect_bad(b.data, 16);
}

static void appended_values_are_passed_over_and_must_fit(void **state)
{
    (void)state;
    static struct bytes b;
    struct proxy_header header;
    tcp4(&b);
    add_tlv(&b, 1, "http/1.1", 8);
    add_tlv(&b, 2, "push.example.org", 16);
    add_tlv(&b, 4, "", 0);
    add_tlv(&b, 0xea, "\1vpce-08d2bf15fac5001c9", 23);
    set_length(&b);
    expect_whole(b.data, b.len, &header);
    expect_source(&header, AF_INET, "192.0.2.1", 1000, "198.51.100.2", 443);
    size_t whole = b.len;
    for (size_t less = 1; less <= 3 + 23 - 1; less++) { /* the last value is cut, the length field agrees */
        b.len = whole - less;
        set_length(&b);
        expect_bad(b.data, b.len);
    }
    tcp4(&b);
    add(&b, "\4\xff\xff", 3);
    set_length(&b);
    expect_bad(b.data, b.len);
}

static void a_checksum_must_be_right_where_there_is_one(void **state)
{
    (void)state;
    static struct bytes b;
    struct proxy_header header;
    assert_int_equal(naive_crc32c((const uint8_t *)"123456789", 9), 0xe3069283);
    tcp6(&b);
    add_tlv(&b, 2, "push.example.org", 16);
    size_t at = b.len + 3;
    add_crc(&b);
    add_tlv(&b, 4, "padding", 7);
    set_length(&b);
    fill_crc(&b, at);
    expect_whole(b.data, b.len, &header);
    expect_source(&header, AF_INET6, "2001:db8::1", 1000, "2001:db8::2", 443);
    /* Wherever a bit falls over, but for the heads of values: there the checksum itself may become something
     * else. */
    size_t authority = 16 + 36 + 3, padding = at + 4 + 3;
    for (size_t i = 16; i < b.len; i++) {
        bool head = (i >= authority - 3 && i < authority) || (i >= at - 3 && i < at) ||
                    (i >= padding - 3 && i < padding);
        b.data[i] ^= 1;
        if (!head)
            expect_bad(b.data, b.len);
        b.data[i] ^= 1;
    }
    assert_int_equal(parse(b.data, b.len, &header), PARSE_OK);
    tcp4(&b);
    add_tlv(&b, 3, "\0\0\0", 3);
    set_length(&b);
    expect_bad(b.data, b.len);
    tcp4(&b);
    at = b.len + 3;
    add_crc(&b);
    add_crc(&b); /* twice: neither can be right */
    fill_crc(&b, at);
    expect_bad(b.data, b.len);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_of_version_1_are_read),
        cmocka_unit_test(lines_that_are_not_exactly_so_are_refused),
        cmocka_unit_test(a_line_without_end_is_refused_at_its_limit),
        cmocka_unit_test(headers_of_version_2_are_read),
        cmocka_unit_test(who_speaks_for_itself_or_does_not_say_has_no_source),
        cmocka_unit_test(headers_of_version_2_that_cannot_be_are_refused_at_once),
        cmocka_unit_test(lengths_are_bounded_before_the_bytes_come),
        cmocka_unit_test(appended_values_are_passed_over_and_must_fit),
        cmocka_unit_test(a_checksum_must_be_right_where_there_is_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
