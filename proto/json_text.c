#include "proto/json_text.h"
#include "proto/hex.h"
#include "proto/json_plain.h"
#include "proto/utf8.h"

#include <string.h>

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static const char *skip_space(const char *at, const char *end)
{
    while (at < end && is_space(*at))
        at++;
    return at;
}

/* The unit of "\uXXXX" whose digits begin at `at`, -1 when they are no digits. */
static int unit_value(const char *at, const char *end)
{
    int value = 0;
    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(at[i]);
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* What the escape letter means, 0 when it means nothing. */
static char escape_meaning(char letter)
{
    switch (letter) {
    case '"':
    case '\\':
    case '/':
        return letter;
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return 0;
    }
}

/* The scan_ functions return the place behind what begins at `at`, or NULL when that is not there. */

static const char *scan_string(const char *at, const char *end)
{
    if (at == end || *at != '"')
        return NULL;
    at++;
    for (;;) {
        at = json_skip_plain(at, end);
        if (at == end || (unsigned char)*at < 0x20)
            return NULL;
        if (*at == '"')
            return at + 1;
        if (end - at < 2)
            return NULL;
        if (at[1] == 'u') {
            if (unit_value(at + 2, end) < 0)
                return NULL;
            at += 6;
        } else {
            if (escape_meaning(at[1]) == 0)
                return NULL;
            at += 2;
        }
    }
}

static const char *scan_digits(const char *at, const char *end)
{
    const char *first = at;
    while (at < end && *at >= '0' && *at <= '9')
        at++;
    return at > first ? at : NULL;
}

static const char *scan_number(const char *at, const char *end)
{
    if (at < end && *at == '-')
        at++;
    const char *first = at;
    at = scan_digits(at, end);
    if (!at || (*first == '0' && at > first + 1))
        return NULL;
    if (at < end && *at == '.') {
        at = scan_digits(at + 1, end);
        if (!at)
            return NULL;
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        if (at < end && (*at == '+' || *at == '-'))
            at++;
        at = scan_digits(at, end);
    }
    return at;
}

static const char *scan_word(const char *at, const char *end, const char *word)
{
    size_t len = strlen(word);
    return (size_t)(end - at) >= len && memcmp(at, word, len) == 0 ? at + len : NULL;
}

/* Anything but an array or object. */
static const char *scan_scalar(const char *at, const char *end)
{
    switch (*at) {
    case '"':
        return scan_string(at, end);
    case 't':
        return scan_word(at, end, "true");
    case 'f':
        return scan_word(at, end, "false");
    case 'n':
        return scan_word(at, end, "null");
    default:
        return scan_number(at, end);
    }
}

/* A member's name and its colon, with white space before and between. */
static const char *scan_name(const char *at, const char *end)
{
    at = scan_string(skip_space(at, end), end);
    if (!at)
        return NULL;
    at = skip_space(at, end);
    return at < end && *at == ':' ? at + 1 : NULL;
}

/* A value with white space before it. What encloses the place is one bit per level, not a call per level:
 * depth costs no stack. */
static const char *scan_value(const char *at, const char *end)
{
    uint64_t objects[JSON_DEPTH_MAX / 64] = {0};
    size_t depth = 0;
    for (;;) {
        at = skip_space(at, end);
        if (at == end)
            return NULL;
        if (*at == '{' || *at == '[') {
            bool object = *at == '{';
            const char *inside = skip_space(at + 1, end);
            if (depth == JSON_DEPTH_MAX)
                return NULL;
            if (inside < end && *inside == (object ? '}' : ']')) {
                at = inside + 1;
            } else {
                uint64_t bit = (uint64_t)1 << (depth % 64);
                objects[depth / 64] = object ? objects[depth / 64] | bit : objects[depth / 64] & ~bit;
                depth++;
                at = object ? scan_name(inside, end) : inside;
                if (!at)
                    return NULL;
                continue;
            }
        } else {
            at = scan_scalar(at, end);
            if (!at)
                return NULL;
        }
        /* A value ends here: leave what it ends, up to a comma. */
        for (;;) {
            if (depth == 0)
                return at;
            bool object = (objects[(depth - 1) / 64] >> ((depth - 1) % 64)) & 1;
            at = skip_space(at, end);
            if (at == end)
                return NULL;
            if (*at == ',') {
                at = object ? scan_name(at + 1, end) : at + 1;
                break;
            }
            if (*at != (object ? '}' : ']'))
                return NULL;
            at++;
            depth--;
        }
        if (!at)
            return NULL;
    }
}

/* Grammar alone: `data` is known to be UTF-8. */
static bool is_one_value(const char *data, size_t len)
{
    const char *end = data + len;
    const char *behind = scan_value(data, end);
    return behind && skip_space(behind, end) == end;
}

static size_t encode_utf8(uint32_t code, char *out)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xc0 | (code >> 6));
        out[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xe0 | (code >> 12));
        out[1] = (char)(0x80 | ((code >> 6) & 0x3f));
        out[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | (code >> 18));
    out[1] = (char)(0x80 | ((code >> 12) & 0x3f));
    out[2] = (char)(0x80 | ((code >> 6) & 0x3f));
    out[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

/* Reads what stands at *at inside a valid string: one byte, or one escape (a pair of surrogates is one).
 * Writes its UTF-8, which is never longer; 0 for a surrogate without its partner. */
static size_t read_character(const char **at, const char *end, char out[4])
{
    const char *from = *at;
    if (*from != '\\') {
        out[0] = *from;
        *at = from + 1;
        return 1;
    }
    if (from[1] != 'u') {
        out[0] = escape_meaning(from[1]);
        *at = from + 2;
        return 1;
    }
    uint32_t code = (uint32_t)unit_value(from + 2, end);
    *at = from + 6;
    if (code >= 0xd800 && code < 0xe000) {
        int low = end - *at >= 6 && (*at)[0] == '\\' && (*at)[1] == 'u' ? unit_value(*at + 2, end) : -1;
        if (code >= 0xdc00 || low < 0xdc00 || low >= 0xe000)
            return 0;
        code = 0x10000 + ((code - 0xd800) << 10) + ((uint32_t)low - 0xdc00);
        *at += 6;
    }
    return encode_utf8(code, out);
}

bool json_text_valid(const void *data, size_t len)
{
    return len > 0 && utf8_valid(data, len) && is_one_value(data, len);
}

bool json_text_next(struct json_slice object, size_t *cursor, struct json_slice *name,
                    struct json_slice *value)
{
    if (!object.data)
        return false;
    const char *end = object.data + object.len;
    const char *at = skip_space(object.data + *cursor, end);
    if (at == end || *at != (*cursor == 0 ? '{' : ','))
        return false;
    at = skip_space(at + 1, end);
    const char *name_end = scan_string(at, end);
    if (!name_end)
        return false; /* an empty object */
    const char *begin = scan_name(at, end);
    const char *value_end = begin ? scan_value(begin, end) : NULL;
    if (!value_end)
        return false;
    begin = skip_space(begin, end);
    *name = (struct json_slice){at, (size_t)(name_end - at)};
    *value = (struct json_slice){begin, (size_t)(value_end - begin)};
    *cursor = (size_t)(value_end - object.data);
    return true;
}

bool json_text_element(struct json_slice array, size_t *cursor, struct json_slice *value)
{
    if (!array.data)
        return false;
    const char *end = array.data + array.len;
    const char *at = skip_space(array.data + *cursor, end);
    if (at == end || *at != (*cursor == 0 ? '[' : ','))
        return false;
    at = skip_space(at + 1, end);
    const char *value_end = scan_value(at, end);
    if (!value_end)
        return false; /* an empty array */
    *value = (struct json_slice){at, (size_t)(value_end - at)};
    *cursor = (size_t)(value_end - array.data);
    return true;
}

struct json_slice json_text_member(struct json_slice object, const char *name)
{
    struct json_slice found = {0}, at_name, value;
    size_t cursor = 0, len = strlen(name);
    while (json_text_next(object, &cursor, &at_name, &value))
        if (json_text_is(at_name, name, len))
            found = value;
    return found;
}

bool json_text_is(struct json_slice string, const char *text, size_t len)
{
    if (string.len < 2 || string.data[0] != '"')
        return false;
    const char *at = string.data + 1, *end = string.data + string.len - 1;
    /* Without an escape the string means its own bytes. */
    if (!memchr(at, '\\', (size_t)(end - at)))
        return (size_t)(end - at) == len && memcmp(at, text, len) == 0;
    size_t seen = 0;
    while (at < end) {
        char character[4];
        size_t bytes = read_character(&at, end, character);
        if (bytes == 0 || bytes > len - seen || memcmp(character, text + seen, bytes) != 0)
            return false;
        seen += bytes;
    }
    return seen == len;
}

bool json_text_unescape(struct json_slice string, char *out, size_t *out_len)
{
    if (string.len < 2 || string.data[0] != '"')
        return false;
    const char *at = string.data + 1, *end = string.data + string.len - 1;
    size_t len = 0;
    while (at < end) {
        const char *escape = memchr(at, '\\', (size_t)(end - at));
        size_t plain = (size_t)((escape ? escape : end) - at);
        memmove(out + len, at, plain);
        len += plain;
        at += plain;
        if (at == end)
            break;
        char character[4];
        size_t bytes = read_character(&at, end, character);
        if (bytes == 0)
            return false;
        memcpy(out + len, character, bytes);
        len += bytes;
    }
    *out_len = len;
    return true;
}
