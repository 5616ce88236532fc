/* Cookies of a request (RFC 6265 §4.2.1, read as leniently as §5.4 makes clients write them). */
#include "proto/http_request.h"

#include <string.h>

static struct http_slice trim(struct http_slice slice)
{
    while (slice.len > 0 && (slice.data[0] == ' ' || slice.data[0] == '\t')) {
        slice.data++;
        slice.len--;
    }
    while (slice.len > 0 && (slice.data[slice.len - 1] == ' ' || slice.data[slice.len - 1] == '\t'))
        slice.len--;
    return slice;
}

static struct http_slice without_quotes(struct http_slice value)
{
    if (value.len >= 2 && value.data[0] == '"' && value.data[value.len - 1] == '"')
        return (struct http_slice){value.data + 1, value.len - 2};
    return value;
}

enum parse_result http_cookie_next(struct http_slice cookie, const char *name, size_t *cursor,
                                   struct http_slice *value)
{
    size_t name_len = strlen(name);
    *value = (struct http_slice){0};
    while (*cursor < cookie.len) {
        const char *start = cookie.data + *cursor;
        size_t left = cookie.len - *cursor;
        const char *semicolon = memchr(start, ';', left);
        size_t len = semicolon != NULL ? (size_t)(semicolon - start) : left;
        *cursor += len + (semicolon != NULL);
        const char *equals = memchr(start, '=', len);
        if (equals == NULL)
            continue;
        struct http_slice found = trim((struct http_slice){start, (size_t)(equals - start)});
        if (found.len != name_len || memcmp(found.data, name, name_len) != 0)
            continue;
        *value = without_quotes(trim((struct http_slice){equals + 1, len - (size_t)(equals + 1 - start)}));
        return PARSE_OK;
    }
    return PARSE_MORE;
}

bool http_cookie_name_good(const char *name)
{
    for (const char *at = name; *at; at++)
        if (*at <= ' ' || *at > '~' || strchr("()<>@,;:\\\"/[]?={}", *at) != NULL)
            return false;
    return *name != '\0';
}
