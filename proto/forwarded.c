/* Lists of nodes, read from their end. */
#include "proto/forwarded.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

enum { NODE_TEXT_MAX = 128 };

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static struct http_slice trim(const char *data, size_t len)
{
    while (len > 0 && is_space(data[0])) {
        data++;
        len--;
    }
    while (len > 0 && is_space(data[len - 1]))
        len--;
    return (struct http_slice){data, len};
}

static bool is_name_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
           c == '_' || c == '-';
}

/* "_" and at least one character more (RFC 7239 §6.3). */
static bool is_obfuscated(const char *text)
{
    size_t len = 0;
    while (is_name_char(text[len]))
        len++;
    return *text == '_' && len > 1 && text[len] == '\0';
}

/* Up to five digits, or hidden. */
static bool read_port(const char *text, uint16_t *port)
{
    size_t len = strlen(text);
    uint32_t value = 0;
    if (is_obfuscated(text))
        return true;
    if (len == 0 || len > 5 || strspn(text, "0123456789") != len)
        return false;
    for (; *text; text++)
        value = value * 10 + (uint32_t)(*text - '0');
    *port = (uint16_t)value;
    return value <= UINT16_MAX;
}

/* 192.0.2.1, 192.0.2.1:80, [2001:db8::1], [2001:db8::1]:80, unknown, _name, either with a port; and, with
 * `bare`, IPv6 without brackets, which then has no port. */
static void read_node(char *text, bool bare, struct forwarded_node *out)
{
    *out = (struct forwarded_node){.kind = FORWARDED_MALFORMED};
    if (bare && inet_pton(AF_INET6, text, out->ip) == 1) {
        out->kind = FORWARDED_IPV6;
        return;
    }
    bool bracketed = *text == '[';
    char *end = bracketed ? strchr(text, ']') : strchr(text, ':');
    if (bracketed && (!end || (end[1] != '\0' && end[1] != ':')))
        return;
    if (end) {
        char *port = bracketed ? end + 1 : end;
        *end = '\0';
        if ((bracketed ? end[1] : ':') == ':' && !read_port(port + 1, &out->port))
            return;
    }
    if (bracketed)
        out->kind = inet_pton(AF_INET6, text + 1, out->ip) == 1 ? FORWARDED_IPV6 : FORWARDED_MALFORMED;
    else if (inet_pton(AF_INET, text, out->ip) == 1)
        out->kind = FORWARDED_IPV4;
    else if (strcasecmp(text, "unknown") == 0 || is_obfuscated(text))
        out->kind = FORWARDED_HIDDEN;
}

/* X-Forwarded-For
 * -----------------------------------------------------------------------------------------------------
 */

bool forwarded_for_previous(struct http_slice value, size_t *cursor, struct forwarded_node *out)
{
    while (*cursor > 0) {
        const char *comma = memrchr(value.data, ',', *cursor);
        size_t start = comma ? (size_t)(comma - value.data) + 1 : 0;
        struct http_slice element = trim(value.data + start, *cursor - start);
        *cursor = comma ? start - 1 : 0;
        if (element.len == 0)
            continue;
        char text[NODE_TEXT_MAX];
        *out = (struct forwarded_node){.kind = FORWARDED_MALFORMED};
        if (element.len < sizeof text && !memchr(element.data, '\0', element.len)) {
            memcpy(text, element.data, element.len);
            text[element.len] = '\0';
            read_node(text, true, out);
        }
        return true;
    }
    return false;
}

/* Forwarded
 * -----------------------------------------------------------------------------------------------------------
 */

/* Is the quote at `at` written with a backslash? It is when an odd number of them stands before it. */
static bool is_escaped(const char *data, size_t at)
{
    size_t backslashes = 0;
    while (backslashes < at && data[at - 1 - backslashes] == '\\')
        backslashes++;
    return backslashes % 2 == 1;
}

/* Where the element that ends at `end` begins: behind the last comma that is not in quotes. */
static size_t element_start(const char *data, size_t end)
{
    bool quoted = false;
    for (size_t i = end; i > 0; i--) {
        char c = data[i - 1];
        if (c == '"' && !(quoted && is_escaped(data, i - 1)))
            quoted = !quoted;
        else if (c == ',' && !quoted)
            return i;
    }
    return 0;
}

static bool is_token_char(char c)
{
    return is_name_char(c) || (c != '\0' && strchr("!#$%&'*+^`|~", c));
}

/* The value of a pair at *at, which moves behind it: a token, also with the characters of an address that
 * should have been quoted, or a quoted text, without its quotes and backslashes. False when it is neither;
 * too long a text is cut to "", which is no node. */
static bool read_value(const char **at, const char *end, char *out, size_t size)
{
    size_t len = 0;
    bool fits = true, quoted = *at < end && **at == '"';
    for (*at += quoted; *at < end; (*at)++) {
        char c = **at;
        if (quoted ? c == '"' : !is_token_char(c) && !strchr("[]:", c))
            break;
        if (quoted && c == '\\') {
            if (++*at == end)
                return false;
            c = **at;
        }
        if (c == '\0')
            return false;
        fits = fits && len + 1 < size;
        if (fits)
            out[len++] = c;
    }
    out[fits ? len : 0] = '\0';
    if (!quoted)
        return len > 0 || !fits;
    if (*at == end)
        return false; /* no quote ends it */
    (*at)++;
    return true;
}

/* One element: pairs with semicolons between. */
static void read_element(struct http_slice element, struct forwarded_node *out)
{
    const char *at = element.data, *end = element.data + element.len;
    bool found = false;
    struct forwarded_node node = {.kind = FORWARDED_HIDDEN};
    static const struct forwarded_node malformed = {.kind = FORWARDED_MALFORMED};
    for (;;) {
        char text[NODE_TEXT_MAX];
        while (at < end && (is_space(*at) || *at == ';'))
            at++;
        if (at == end)
            break;
        const char *name = at;
        while (at < end && is_token_char(*at))
            at++;
        bool is_for = at - name == 3 && strncasecmp(name, "for", 3) == 0;
        if (at == name || at == end || *at++ != '=' || !read_value(&at, end, text, sizeof text) ||
            (is_for && found)) {
            *out = malformed;
            return;
        }
        if (is_for) {
            found = true;
            read_node(text, false, &node);
        }
        while (at < end && is_space(*at))
            at++;
        if (at < end && *at != ';') {
            *out = malformed;
            return;
        }
    }
    *out = node;
}

bool forwarded_previous(struct http_slice value, size_t *cursor, struct forwarded_node *out)
{
    while (*cursor > 0) {
        size_t start = element_start(value.data, *cursor);
        struct http_slice element = trim(value.data + start, *cursor - start);
        *cursor = start > 0 ? start - 1 : 0;
        if (element.len == 0)
            continue;
        read_element(element, out);
        return true;
    }
    return false;
}
