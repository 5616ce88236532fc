/* Which headers of a client's request go to the backend: those that the operator names, in the form that HTTP
 * allows. Whatever a client sent, it cannot add a line, end the head or say how long the body is. */
#include "gateway/proxy/proxy_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { NAME_BYTES_MAX = 128, LINE_BYTES_STACK = 1024 };

static const char between[] = " ,\t";

/* RFC 9110 §5.6.2 */
static bool is_token(const char *text, size_t bytes)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < bytes; i++) {
        char c = text[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && (c == '\0' || !strchr(others, c)))
            return false;
    }
    return bytes > 0;
}

static bool equals(const char *name, size_t bytes, const char *other)
{
    return strlen(other) == bytes && strncasecmp(name, other, bytes) == 0;
}

static bool begins(const char *name, size_t bytes, const char *prefix)
{
    return bytes >= strlen(prefix) && strncasecmp(name, prefix, strlen(prefix)) == 0;
}

/* Headers that belong to one connection or describe one body: ours to the backend is another one. */
static bool is_ours(const char *name, size_t bytes)
{
    static const char *const names[] = {"Host",    "Connection", "Keep-Alive", "Transfer-Encoding", "TE",
                                        "Trailer", "Upgrade",    "Expect",     "Accept-Encoding"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (equals(name, bytes, names[i]))
            return true;
    return begins(name, bytes, "Content-") || begins(name, bytes, "Proxy-");
}

/* The next name at *at, which moves behind it; 0 at the end. */
static size_t next_name(const char **at, const char **name)
{
    *at += strspn(*at, between);
    *name = *at;
    size_t bytes = strcspn(*at, between);
    *at += bytes;
    return bytes;
}

bool proxy_headers_check(const char *list, char *error, size_t error_size)
{
    const char *name;
    for (size_t bytes; (bytes = next_name(&list, &name)) != 0;) {
        int shown = bytes < NAME_BYTES_MAX ? (int)bytes : NAME_BYTES_MAX;
        if (!is_token(name, bytes) || bytes > NAME_BYTES_MAX) {
            snprintf(error, error_size, "\"%.*s\" is no name of a header; write Cookie Authorization", shown,
                     name);
            return false;
        }
        if (is_ours(name, bytes)) {
            snprintf(error, error_size,
                     "%.*s cannot be passed on: it is the gateway's own towards the backend", shown, name);
            return false;
        }
    }
    return true;
}

bool proxy_header_listed(const char *list, const char *name, size_t name_bytes)
{
    const char *listed;
    for (size_t bytes; (bytes = next_name(&list, &listed)) != 0;)
        if (bytes == name_bytes && strncasecmp(name, listed, bytes) == 0)
            return true;
    return false;
}

/* RFC 9110 §5.5: visible characters, spaces, tabs, and bytes from 0x80 on. */
static bool is_value(const char *value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)value[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return bytes > 0; /* libcurl takes an empty one for "remove this header" */
}

static bool append(struct curl_slist **headers, const char *name, size_t name_bytes, const char *value,
                   size_t value_bytes)
{
    char room[LINE_BYTES_STACK], *line = room;
    size_t bytes = name_bytes + 2 + value_bytes + 1;
    if (bytes > sizeof room && !(line = malloc(bytes)))
        return false;
    memcpy(line, name, name_bytes);
    memcpy(line + name_bytes, ": ", 2);
    memcpy(line + name_bytes + 2, value, value_bytes);
    line[bytes - 1] = '\0';
    struct curl_slist *longer = curl_slist_append(*headers, line);
    explicit_bzero(line, bytes);
    if (line != room)
        free(line);
    if (!longer)
        return false;
    *headers = longer;
    return true;
}

bool proxy_headers_pass(const char *list, struct json_slice text, struct curl_slist **headers)
{
    const char *at = text.data, *end = text.data ? text.data + text.len : NULL;
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *stop = newline ? newline : end, *next = newline ? newline + 1 : end;
        if (stop > at && stop[-1] == '\r')
            stop--;
        const char *colon = memchr(at, ':', (size_t)(stop - at));
        if (colon) {
            size_t name_bytes = (size_t)(colon - at);
            const char *value = colon + 1;
            while (value < stop && (*value == ' ' || *value == '\t'))
                value++;
            while (stop > value && (stop[-1] == ' ' || stop[-1] == '\t'))
                stop--;
            bool passes = is_token(at, name_bytes) && !is_ours(at, name_bytes) &&
                          proxy_header_listed(list, at, name_bytes) &&
                          is_value(value, (size_t)(stop - value));
            if (passes && !append(headers, at, name_bytes, value, (size_t)(stop - value)))
                return false;
        }
        at = next;
    }
    return true;
}
