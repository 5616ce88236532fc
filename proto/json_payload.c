#include "proto/json_plain.h"
#include "proto/json_text.h"
#include "proto/utf8.h"

#include <openssl/evp.h>

static const char base64_begin[] = "{\"b64data\":\"", base64_end[] = "\"}";
enum {
    BASE64_BEGIN_BYTES = sizeof base64_begin - 1,
    BASE64_END_BYTES = sizeof base64_end - 1,
    BASE64_CHUNK = 3 << 20, /* OpenSSL counts in int; a multiple of 3, so that no padding stands inside */
};

/* The short escape's letter of a byte that needs one, 0 when it has none. */
static char escape_letter(char c)
{
    switch (c) {
    case '"':
    case '\\':
        return c;
    case '\b':
        return 'b';
    case '\f':
        return 'f';
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    default:
        return 0;
    }
}

static void replace(char *text, size_t len, char from, char to)
{
    for (char *at = text; (at = memchr(at, from, len - (size_t)(at - text))) != NULL;)
        *at++ = to;
}

static size_t base64_bytes(size_t len)
{
    return (len + 2) / 3 * 4;
}

size_t json_text_inline(const void *data, size_t len, char *out)
{
    if (len == 0)
        return 0;
    memcpy(out, data, len);
    replace(out, len, '\n', ' ');
    replace(out, len, '\r', ' ');
    return len;
}

size_t json_text_string_bytes(const void *text, size_t len)
{
    size_t bytes = len + 2;
    if (len == 0)
        return bytes; /* text may be NULL */
    const char *at = text, *end = at + len;
    while ((at = json_skip_plain(at, end)) < end)
        bytes += escape_letter(*at++) ? 1 : 5;
    return bytes;
}

size_t json_text_string(const void *text, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";
    char *to = out;
    *to++ = '"';
    const char *at = text, *end = len > 0 ? at + len : at;
    while (at < end) {
        const char *special = json_skip_plain(at, end);
        memcpy(to, at, (size_t)(special - at));
        to += special - at;
        if (special == end)
            break;
        char letter = escape_letter(*special);
        *to++ = '\\';
        if (letter) {
            *to++ = letter;
        } else {
            *to++ = 'u';
            *to++ = '0';
            *to++ = '0';
            *to++ = digits[(unsigned char)*special >> 4];
            *to++ = digits[*special & 0xf];
        }
        at = special + 1;
    }
    *to++ = '"';
    return (size_t)(to - out);
}

enum json_payload json_payload_kind(const void *data, size_t len)
{
    if (json_text_valid(data, len))
        return JSON_PAYLOAD_JSON;
    return utf8_valid(data, len) ? JSON_PAYLOAD_TEXT : JSON_PAYLOAD_BINARY;
}

size_t json_payload_bytes(enum json_payload kind, const void *data, size_t len)
{
    switch (kind) {
    case JSON_PAYLOAD_JSON:
        return len;
    case JSON_PAYLOAD_TEXT:
        return json_text_string_bytes(data, len);
    default:
        return BASE64_BEGIN_BYTES + base64_bytes(len) + BASE64_END_BYTES;
    }
}

size_t json_payload_write(enum json_payload kind, const void *data, size_t len, char *out)
{
    if (kind == JSON_PAYLOAD_JSON)
        return json_text_inline(data, len, out);
    if (kind == JSON_PAYLOAD_TEXT)
        return json_text_string(data, len, out);
    const uint8_t *from = data;
    char *to = out;
    memcpy(to, base64_begin, BASE64_BEGIN_BYTES);
    to += BASE64_BEGIN_BYTES;
    while (len > 0) {
        size_t chunk = len < BASE64_CHUNK ? len : BASE64_CHUNK;
        /* Ends in a NUL, over which the next chunk or the end is written. */
        to += EVP_EncodeBlock((unsigned char *)to, from, (int)chunk);
        from += chunk;
        len -= chunk;
    }
    memcpy(to, base64_end, BASE64_END_BYTES);
    return (size_t)(to - out) + BASE64_END_BYTES;
}
