/* Which web pages may connect (RFC 6455 §10.2, RFC 6454 §6). */
#include "proto/http_request.h"

#include <string.h>
#include <strings.h>

/* An origin, or a Host header, taken apart. */
struct origin {
    struct http_slice scheme; /* empty for a Host */
    struct http_slice host;
    uint32_t port; /* 0: the scheme has no default and none was written */
};

static bool slices_equal(struct http_slice a, struct http_slice b)
{
    return a.len == b.len && (a.len == 0 || strncasecmp(a.data, b.data, a.len) == 0);
}

static bool scheme_is(struct http_slice scheme, const char *name)
{
    return slices_equal(scheme, (struct http_slice){name, strlen(name)});
}

static uint32_t default_port(struct http_slice scheme)
{
    if (scheme_is(scheme, "https") || scheme_is(scheme, "wss"))
        return 443;
    if (scheme_is(scheme, "http") || scheme_is(scheme, "ws"))
        return 80;
    return 0;
}

/* host [ ":" port ], the host perhaps an IPv6 address in brackets. An empty port is the default one. */
static bool read_authority(struct http_slice text, uint32_t port_default, struct origin *out)
{
    size_t end = 0;
    if (text.len > 0 && text.data[0] == '[') {
        const char *bracket = memchr(text.data, ']', text.len);
        if (bracket == NULL)
            return false;
        end = (size_t)(bracket - text.data) + 1;
    } else {
        while (end < text.len && text.data[end] != ':')
            end++;
    }
    for (size_t i = 0; i < end; i++) {
        if (text.data[i] <= ' ' || text.data[i] > '~' || strchr("/?#@\\", text.data[i]) != NULL)
            return false;
    }
    if (end == 0 || (end < text.len && text.data[end] != ':'))
        return false;
    out->host = (struct http_slice){text.data, end};
    out->port = port_default;
    if (end + 1 >= text.len)
        return true;
    uint32_t port = 0;
    for (size_t i = end + 1; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        port = port * 10 + (uint32_t)(text.data[i] - '0');
        if (port > UINT16_MAX)
            return false;
    }
    out->port = port;
    return port != 0;
}

static bool read_origin(struct http_slice text, struct origin *out)
{
    size_t scheme = 0;
    while (scheme < text.len && text.data[scheme] != ':')
        scheme++;
    if (scheme == 0 || text.len - scheme < 3 || memcmp(text.data + scheme, "://", 3) != 0)
        return false;
    out->scheme = (struct http_slice){text.data, scheme};
    struct http_slice authority = {text.data + scheme + 3, text.len - scheme - 3};
    return read_authority(authority, default_port(out->scheme), out);
}

static bool is_separator(char c)
{
    return c == ' ' || c == ',' || c == '\t';
}

/* The next entry of the list, empty at its end. */
static struct http_slice next_entry(const char **at)
{
    while (is_separator(**at))
        ++*at;
    const char *start = *at;
    while (**at != '\0' && !is_separator(**at))
        ++*at;
    return (struct http_slice){start, (size_t)(*at - start)};
}

bool http_origin_allowed(struct http_slice origin, struct http_slice host, bool tls, const char *origins)
{
    if (origin.len == 0)
        return true;
    struct origin asked, allowed;
    bool known = read_origin(origin, &asked); /* not for "null" */
    const char *at = origins != NULL ? origins : "";
    struct http_slice entry = next_entry(&at);
    if (entry.len == 0)
        return known && read_authority(host, tls ? 443 : 80, &allowed) &&
               slices_equal(asked.host, allowed.host) && asked.port == allowed.port;
    for (; entry.len > 0; entry = next_entry(&at)) {
        if (http_slice_is(entry, "*"))
            return true;
        if (known && read_origin(entry, &allowed) && slices_equal(asked.scheme, allowed.scheme) &&
            slices_equal(asked.host, allowed.host) && asked.port == allowed.port)
            return true;
    }
    return false;
}
