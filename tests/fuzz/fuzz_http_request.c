/* HTTP requests: what is read lies inside the input, verdicts on beginnings agree with each other, and what
 * is made of a request (upgrade, origin, query) stays within its bounds. First byte: the greatest body. */
#include "proto/http_request.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void check_slice(struct http_slice slice, const char *data, size_t len)
{
    if (slice.len == 0)
        return;
    must(slice.data >= data && slice.data <= data + len && slice.len <= (size_t)(data + len - slice.data));
}

static void check_field(struct http_slice field, const struct http_request *r, const char *data)
{
    check_slice(field, data, r->head_bytes);
    for (size_t i = 0; i < field.len; i++) {
        unsigned char byte = (unsigned char)field.data[i];
        must((byte >= 0x20 && byte != 0x7f) || byte == '\t');
    }
}

static void check_request(const struct http_request *r, const char *data, size_t len, size_t max_body)
{
    must(r->status == 0 && r->error == NULL);
    must(r->head_bytes <= HTTP_HEAD_MAX && r->head_bytes <= r->request_bytes && r->request_bytes <= len);
    must(r->request_bytes == r->head_bytes + r->body.len && r->body.len <= max_body);
    must(memcmp(data + r->head_bytes - 4, "\r\n\r\n", 4) == 0);
    must(r->path.len > 0 && r->path.data[0] == '/');
    must(r->host.len > 0 || r->version_minor == 0);
    check_slice(r->body, data, r->request_bytes);
    const struct http_slice fields[] = {
        r->path,
        r->query,
        r->host,
        r->origin,
        r->cookie,
        r->authorization,
        r->api_key,
        r->content_type,
        r->websocket_key,
        r->websocket_version,
        r->websocket_protocol,
    };
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        check_field(fields[i], r, data);
}

static void use_request(const struct http_request *r)
{
    static const char *const origins[] = {"", "*", "https://example.org, http://a:80"};
    const char *error;
    int status = http_upgrade_status(r, &error);
    must(status == 101 || status == 400 || status == 405 || status == 426);
    must((error == NULL) == (status == 101));
    if (status == 101) {
        char accept[29], out[256];
        must(r->body.len == 0);
        http_upgrade_accept(r->websocket_key, accept);
        must(strlen(accept) == 28);
        size_t bytes = http_upgrade_response(out, sizeof(out), accept, "");
        must(bytes > 0 && bytes == strlen(out));
    }
    for (size_t i = 0; i < sizeof(origins) / sizeof(origins[0]); i++) {
        bool allowed = http_origin_allowed(r->origin, r->host, true, origins[i]);
        must(allowed || (r->origin.len > 0 && i != 1));
    }
    size_t cursor = 0;
    enum parse_result result = PARSE_OK;
    while (result != PARSE_MORE) {
        char out[16];
        size_t len, before = cursor;
        result = http_query_next(r->query, "topic", &cursor, out, sizeof(out), &len);
        must(cursor <= r->query.len && len <= sizeof(out));
        must(result == PARSE_MORE || cursor > before);
        must(result != PARSE_OK || memchr(out, '\0', len) == NULL);
    }
    cursor = 0;
    for (result = PARSE_OK; result != PARSE_MORE;) {
        struct http_slice value;
        size_t before = cursor;
        result = http_cookie_next(r->cookie, "token", &cursor, &value);
        must(result != PARSE_BAD && cursor <= r->cookie.len);
        must(result == PARSE_MORE || cursor > before);
        check_slice(value, r->cookie.data, cursor);
        must(value.len == 0 || memchr(value.data, ';', value.len) == NULL);
    }
}

static bool is_same_slice(struct http_slice a, struct http_slice b)
{
    return a.data == b.data && a.len == b.len;
}

static bool is_same(const struct http_request *a, const struct http_request *b)
{
    return a->method == b->method && a->version_minor == b->version_minor &&
           is_same_slice(a->path, b->path) && is_same_slice(a->query, b->query) &&
           is_same_slice(a->host, b->host) && is_same_slice(a->origin, b->origin) &&
           is_same_slice(a->authorization, b->authorization) && is_same_slice(a->api_key, b->api_key) &&
           is_same_slice(a->cookie, b->cookie) && is_same_slice(a->content_type, b->content_type) &&
           is_same_slice(a->websocket_key, b->websocket_key) &&
           is_same_slice(a->websocket_version, b->websocket_version) &&
           is_same_slice(a->websocket_protocol, b->websocket_protocol) &&
           a->upgrade_websocket == b->upgrade_websocket && a->connection_upgrade == b->connection_upgrade &&
           a->keep_alive == b->keep_alive && a->head_bytes == b->head_bytes &&
           is_same_slice(a->body, b->body) && a->request_bytes == b->request_bytes &&
           a->status == b->status && a->error == b->error;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    if (size < 1)
        return 0;
    size_t max_body = input[0];
    const char *data = (const char *)input + 1;
    size_t len = size - 1;
    struct http_request whole, part;
    enum parse_result result = http_request_parse(data, len, max_body, &whole);
    if (result == PARSE_OK) {
        check_request(&whole, data, len, max_body);
        use_request(&whole);
    }
    must((result == PARSE_BAD) == (whole.status != 0) && (result == PARSE_BAD) == (whole.error != NULL));

    /* A request does not depend on how its bytes arrive: MORE until it is whole or refused, and then always
     * the same. */
    size_t step = len > 2000 ? 97 : 1;
    enum parse_result last = PARSE_MORE;
    struct http_progress progress = {0};
    for (size_t n = 0; n <= len; n += step) {
        enum parse_result now = http_request_parse(data, n, max_body, &part);
        must(last == PARSE_MORE || now == last);
        if (last == PARSE_MORE) {
            struct http_request pieces;
            must(http_request_read(data, n, max_body, &progress, &pieces) == now);
            must(now == PARSE_MORE || is_same(&pieces, &part));
        }
        if (now == PARSE_OK)
            must(result == PARSE_OK && part.request_bytes == whole.request_bytes && n >= whole.request_bytes);
        last = now;
    }
    must(last == PARSE_MORE || last == result);
    return 0;
}
