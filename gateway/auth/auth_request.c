/* Where an upgrade request has its token. */
#include "gateway/auth/auth.h"

#include <string.h>
#include <strings.h>

static enum auth_token_place take(struct http_slice found, char *out, size_t out_size, size_t *out_bytes)
{
    if (found.len == 0)
        return AUTH_TOKEN_NONE;
    if (found.len > out_size)
        return AUTH_TOKEN_BAD;
    memcpy(out, found.data, found.len);
    *out_bytes = found.len;
    return AUTH_TOKEN_FOUND;
}

/* RFC 6750 §2.1. Other schemes are not ours: a proxy's password, say. */
static enum auth_token_place from_authorization(struct http_slice header, char *out, size_t out_size,
                                                size_t *out_bytes)
{
    static const char scheme[] = "Bearer";
    const size_t len = sizeof scheme - 1;
    if (header.len <= len || strncasecmp(header.data, scheme, len) != 0 || header.data[len] != ' ')
        return AUTH_TOKEN_NONE;
    struct http_slice token = {header.data + len, header.len - len};
    while (token.len > 0 && token.data[0] == ' ') {
        token.data++;
        token.len--;
    }
    return take(token, out, out_size, out_bytes);
}

/* Which of two counts would be a guess. */
static enum auth_token_place from_query(struct http_slice query, char *out, size_t out_size,
                                        size_t *out_bytes)
{
    size_t cursor = 0, ignored;
    char none[1];
    switch (http_query_next(query, "token", &cursor, out, out_size, out_bytes)) {
    case PARSE_MORE:
        return AUTH_TOKEN_NONE;
    case PARSE_BAD:
        return AUTH_TOKEN_BAD;
    case PARSE_OK:
        break;
    }
    if (http_query_next(query, "token", &cursor, none, sizeof none, &ignored) != PARSE_MORE)
        return AUTH_TOKEN_BAD;
    return *out_bytes ? AUTH_TOKEN_FOUND : AUTH_TOKEN_NONE;
}

static enum auth_token_place from_cookie(struct http_slice header, const char *name, char *out,
                                         size_t out_size, size_t *out_bytes)
{
    size_t cursor = 0;
    struct http_slice value, second;
    if (http_cookie_next(header, name, &cursor, &value) != PARSE_OK)
        return AUTH_TOKEN_NONE;
    if (http_cookie_next(header, name, &cursor, &second) == PARSE_OK)
        return AUTH_TOKEN_BAD;
    return take(value, out, out_size, out_bytes);
}

enum auth_token_place auth_request_token(const struct http_request *request, const char *cookie, char *out,
                                         size_t out_size, size_t *out_bytes)
{
    *out_bytes = 0;
    enum auth_token_place place = from_authorization(request->authorization, out, out_size, out_bytes);
    if (place == AUTH_TOKEN_NONE)
        place = from_query(request->query, out, out_size, out_bytes);
    if (place == AUTH_TOKEN_NONE && *cookie)
        place = from_cookie(request->cookie, cookie, out, out_size, out_bytes);
    return place;
}
