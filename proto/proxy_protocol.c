/* Version 1 is a line of text, version 2 a binary header with a length. */
#include "proto/proxy_protocol.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <string.h>

enum {
    SIGNATURE_BYTES = 12,
    FIXED_BYTES = 16, /* signature, version and command, family and protocol, length */
    COMMAND_LOCAL = 0,
    COMMAND_PROXY = 1,
    PROTOCOL_STREAM = 1,
    TLV_HEAD = 3,
    TLV_CRC32C = 3,
    CRC_BYTES = 4,
};

static const uint8_t signature[SIGNATURE_BYTES] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
                                                   0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};
static const char line_start[] = "PROXY ";
enum { LINE_START = sizeof line_start - 1 };

static enum parse_result bad(struct proxy_header *out, const char *error)
{
    out->error = error;
    return PARSE_BAD;
}

/* Version 1
 * -----------------------------------------------------------------------------------------------------------
 */

/* The next word of the line, NUL-terminated in `word`: words stand one space apart and are not empty. */
static bool next_word(const char **at, const char *end, char *word, size_t size)
{
    const char *space = memchr(*at, ' ', (size_t)(end - *at));
    size_t len = (size_t)((space ? space : end) - *at);
    if (len == 0 || len >= size || space == end - 1)
        return false;
    memcpy(word, *at, len);
    word[len] = '\0';
    *at += len + (space != NULL);
    return true;
}

/* 0 … 65535 without a sign or leading zeros. */
static bool read_port(const char *word, uint16_t *port)
{
    size_t len = strlen(word);
    uint32_t value = 0;
    if (len > 5 || strspn(word, "0123456789") != len || (len > 1 && *word == '0'))
        return false;
    for (; *word; word++)
        value = value * 10 + (uint32_t)(*word - '0');
    *port = (uint16_t)value;
    return value <= UINT16_MAX;
}

static bool read_addresses(const char *at, const char *end, int family, struct proxy_header *out)
{
    char words[4][INET6_ADDRSTRLEN];
    for (int i = 0; i < 4; i++)
        if (!next_word(&at, end, words[i], sizeof words[i]))
            return false;
    return at == end && inet_pton(family, words[0], out->source) == 1 &&
           inet_pton(family, words[1], out->destination) == 1 && read_port(words[2], &out->source_port) &&
           read_port(words[3], &out->destination_port);
}

static bool begins(const char *at, const char *end, const char *word)
{
    size_t len = strlen(word);
    return (size_t)(end - at) >= len && memcmp(at, word, len) == 0;
}

/* A line without its CRLF, from behind "PROXY ". */
static enum parse_result read_line(const char *at, const char *end, struct proxy_header *out)
{
    static const char unknown[] = "UNKNOWN";
    if (begins(at, end, unknown)) {
        /* What else it says is to be ignored. */
        at += sizeof unknown - 1;
        return at == end || *at == ' ' ? PARSE_OK : bad(out, "a PROXY line of an unknown protocol");
    }
    bool four = begins(at, end, "TCP4 ");
    if (!four && !begins(at, end, "TCP6 "))
        return bad(out, "a PROXY line of an unknown protocol");
    if (!read_addresses(at + 5, end, four ? AF_INET : AF_INET6, out))
        return bad(out, "a PROXY line without two addresses and two ports");
    out->family = four ? PROXY_SOURCE_IPV4 : PROXY_SOURCE_IPV6;
    return PARSE_OK;
}

static enum parse_result parse_line(const uint8_t *data, size_t len, struct proxy_header *out)
{
    size_t limit = len < PROXY_V1_MAX ? len : PROXY_V1_MAX;
    out->version = 1;
    for (size_t i = LINE_START; i < limit; i++) {
        if (data[i] == '\r') {
            if (i + 1 == PROXY_V1_MAX)
                break;
            if (i + 1 == len)
                return PARSE_MORE;
            if (data[i + 1] != '\n')
                return bad(out, "a PROXY line with CR that no LF follows");
            out->bytes = i + 2;
            return read_line((const char *)data + LINE_START, (const char *)data + i, out);
        }
        if (data[i] < ' ' || data[i] > '~')
            return bad(out, "a PROXY line with characters that are no text");
    }
    return limit < PROXY_V1_MAX ? PARSE_MORE : bad(out, "a PROXY line longer than 107 bytes");
}

/* Version 2
 * -----------------------------------------------------------------------------------------------------------
 */

/* CRC-32C (RFC 3309), four bits at a time: headers are short, and few carry one. */
static uint32_t crc32c(uint32_t crc, const uint8_t *data, size_t len)
{
    static const uint32_t table[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
        0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return crc;
}

/* Of the whole header, with zeros in place of the checksum itself. */
static bool crc_is_right(const uint8_t *data, size_t len, size_t at)
{
    static const uint8_t zeros[CRC_BYTES];
    uint32_t crc = crc32c(UINT32_MAX, data, at);
    crc = crc32c(crc, zeros, sizeof zeros);
    crc = ~crc32c(crc, data + at + CRC_BYTES, len - at - CRC_BYTES);
    const uint8_t said[CRC_BYTES] = {data[at], data[at + 1], data[at + 2], data[at + 3]};
    return said[0] == crc >> 24 && said[1] == (crc >> 16 & 255) && said[2] == (crc >> 8 & 255) &&
           said[3] == (crc & 255);
}

static enum parse_result check_tlvs(const uint8_t *data, size_t len, size_t at, struct proxy_header *out)
{
    bool checked = false;
    while (at < len) {
        if (len - at < TLV_HEAD)
            return bad(out, "a PROXY header that ends inside a value's head");
        size_t bytes = (size_t)data[at + 1] << 8 | data[at + 2];
        if (len - at - TLV_HEAD < bytes)
            return bad(out, "a PROXY header with a value that does not fit");
        if (data[at] == TLV_CRC32C) {
            if (checked || bytes != CRC_BYTES || !crc_is_right(data, len, at + TLV_HEAD))
                return bad(out, "a PROXY header whose CRC-32C is wrong");
            checked = true;
        }
        at += TLV_HEAD + bytes;
    }
    return PARSE_OK;
}

/* Bytes of both addresses and ports. */
static size_t address_bytes(unsigned family)
{
    static const uint8_t bytes[] = {0, 2 * 4 + 4, 2 * 16 + 4, 2 * 108};
    return bytes[family];
}

static void take_addresses(const uint8_t *at, size_t bytes, struct proxy_header *out)
{
    memcpy(out->source, at, bytes);
    memcpy(out->destination, at + bytes, bytes);
    at += 2 * bytes;
    out->source_port = (uint16_t)(at[0] << 8 | at[1]);
    out->destination_port = (uint16_t)(at[2] << 8 | at[3]);
}

/* The whole header is there. */
static enum parse_result read_binary(const uint8_t *data, struct proxy_header *out)
{
    unsigned family = data[13] >> 4, protocol = data[13] & 15;
    if ((data[12] & 15) == COMMAND_LOCAL || family == 0)
        return PARSE_OK; /* family and what follows are to be passed over */
    size_t addresses = address_bytes(family);
    if (out->bytes - FIXED_BYTES < addresses)
        return bad(out, "a PROXY header too short for its addresses");
    if (protocol == PROTOCOL_STREAM) {
        out->family = family == 1 ? PROXY_SOURCE_IPV4 : family == 2 ? PROXY_SOURCE_IPV6 : PROXY_SOURCE_UNIX;
        if (out->family != PROXY_SOURCE_UNIX)
            take_addresses(data + FIXED_BYTES, out->family == PROXY_SOURCE_IPV4 ? 4 : 16, out);
    }
    return check_tlvs(data, out->bytes, FIXED_BYTES + addresses, out);
}

/* Each byte is judged as soon as it is there. */
static enum parse_result parse_binary(const uint8_t *data, size_t len, struct proxy_header *out)
{
    out->version = 2;
    if (len > 12) {
        if (data[12] >> 4 != 2)
            return bad(out, "a PROXY header of a version that is neither 1 nor 2");
        if ((data[12] & 15) > COMMAND_PROXY)
            return bad(out, "a PROXY header with an unknown command");
    }
    bool local = len > 12 && (data[12] & 15) == COMMAND_LOCAL;
    if (len > 13 && !local && (data[13] >> 4 > 3 || (data[13] & 15) > 2))
        return bad(out, "a PROXY header of an unknown address family or protocol");
    if (len < FIXED_BYTES)
        return PARSE_MORE;
    out->bytes = FIXED_BYTES + ((size_t)data[14] << 8 | data[15]);
    if (out->bytes > PROXY_V2_MAX)
        return bad(out, "a PROXY header longer than 4112 bytes");
    return len < out->bytes ? PARSE_MORE : read_binary(data, out);
}

enum parse_result proxy_header_parse(const uint8_t *data, size_t len, struct proxy_header *out)
{
    *out = (struct proxy_header){0};
    if (len == 0)
        return PARSE_MORE;
    if (data[0] == signature[0]) {
        if (memcmp(data, signature, len < SIGNATURE_BYTES ? len : SIGNATURE_BYTES) != 0)
            return bad(out, "no PROXY header");
        return parse_binary(data, len, out);
    }
    if (memcmp(data, line_start, len < LINE_START ? len : LINE_START) != 0)
        return bad(out, "no PROXY header");
    return parse_line(data, len, out);
}
