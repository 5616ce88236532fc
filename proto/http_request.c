/* One HTTP/1.1 request: a strict look at the raw head (http_head.c), then http-parser for its structure, then
 * the rules between fields. */
#include "proto/http_head.h"

#include <string.h>
#include <strings.h>

/* http-parser's enum of methods has the name of ours. */
#define http_method http_parser_method
#include <http_parser.h>
#undef http_method

/* What the callbacks of http-parser gather. */
struct reading {
    struct http_request *out;
    struct http_slice field; /* name of the header whose value comes next */
    struct http_slice target;
    uint32_t seen; /* bit i: singles[i] */
    bool has_transfer_encoding;
    bool has_close, has_keep_alive; /* tokens of Connection */
    struct http_slice content_length;
    bool head_complete;
};

/* Headers that may stand once. Not all are forbidden twice by their RFC, but which of the two counts would be
 * a guess. */
static const struct {
    const char *name;
    size_t offset;
} singles[] = {
    {"Host", offsetof(struct http_request, host)},
    {"Origin", offsetof(struct http_request, origin)},
    {"Authorization", offsetof(struct http_request, authorization)},
    {"X-API-Key", offsetof(struct http_request, api_key)},
    {"Cookie", offsetof(struct http_request, cookie)},
    {"Content-Type", offsetof(struct http_request, content_type)},
    {"Sec-WebSocket-Key", offsetof(struct http_request, websocket_key)},
    {"Sec-WebSocket-Version", offsetof(struct http_request, websocket_version)},
};
enum {
    SINGLE_COUNT = sizeof(singles) / sizeof(singles[0]),
    SEEN_CONTENT_LENGTH = SINGLE_COUNT,
    SEEN_PROTOCOL
};
_Static_assert(SEEN_PROTOCOL < 32, "one bit each in reading.seen");

static bool slice_is_word(struct http_slice slice, const char *word)
{
    return slice.len == strlen(word) && strncasecmp(slice.data, word, slice.len) == 0;
}

static struct http_slice trim(const char *data, size_t len)
{
    while (len > 0 && (data[0] == ' ' || data[0] == '\t')) {
        data++;
        len--;
    }
    while (len > 0 && (data[len - 1] == ' ' || data[len - 1] == '\t'))
        len--;
    return (struct http_slice){data, len};
}

/* True when the comma-separated list has the token, whatever its case. */
static bool list_has(struct http_slice list, const char *token)
{
    size_t start = 0;
    while (start <= list.len) {
        size_t end = start;
        while (end < list.len && list.data[end] != ',')
            end++;
        if (slice_is_word(trim(list.data + start, end - start), token))
            return true;
        start = end + 1;
    }
    return false;
}

/* Marks a bit of `seen`; false when it was set. */
static bool first_time(struct reading *reading, unsigned bit)
{
    bool first = (reading->seen & (1u << bit)) == 0;
    reading->seen |= 1u << bit;
    return first;
}

static int on_target(http_parser *parser, const char *at, size_t len)
{
    struct reading *reading = parser->data;
    reading->target = (struct http_slice){at, len};
    return 0;
}

static int on_field(http_parser *parser, const char *at, size_t len)
{
    struct reading *reading = parser->data;
    reading->field = (struct http_slice){at, len};
    return 0;
}

static int refuse(struct reading *reading, int status, const char *error)
{
    (void)http_bad(reading->out, status, error);
    return 1;
}

static int on_value(http_parser *parser, const char *at, size_t len)
{
    struct reading *reading = parser->data;
    struct http_request *out = reading->out;
    struct http_slice value = trim(at, len);
    for (unsigned i = 0; i < SINGLE_COUNT; i++) {
        if (!slice_is_word(reading->field, singles[i].name))
            continue;
        if (!first_time(reading, i))
            return refuse(reading, 400, "a header that may stand once stands twice");
        memcpy((char *)out + singles[i].offset, &value, sizeof(value));
        return 0;
    }
    if (slice_is_word(reading->field, "Upgrade")) {
        out->upgrade_websocket |= list_has(value, "websocket");
    } else if (slice_is_word(reading->field, "Connection")) {
        out->connection_upgrade |= list_has(value, "upgrade");
        reading->has_close |= list_has(value, "close");
        reading->has_keep_alive |= list_has(value, "keep-alive");
    } else if (slice_is_word(reading->field, "Transfer-Encoding")) {
        reading->has_transfer_encoding = true;
    } else if (slice_is_word(reading->field, "Content-Length")) {
        if (!first_time(reading, SEEN_CONTENT_LENGTH))
            return refuse(reading, 400, "Content-Length stands twice");
        reading->content_length = value;
    } else if (slice_is_word(reading->field, "Sec-WebSocket-Protocol")) {
        if (first_time(reading, SEEN_PROTOCOL)) /* a list may be split over several headers: the first has
                                                   what is liked best */
            out->websocket_protocol = value;
    }
    return 0;
}

static int on_head_complete(http_parser *parser)
{
    struct reading *reading = parser->data;
    reading->head_complete = true;
    return 0;
}

/* Host names, addresses and ports only: what could pass for a path, a user or a second host is refused (RFC
 * 9112 §3.2). */
static bool host_is_plain(struct http_slice host)
{
    for (size_t i = 0; i < host.len; i++) {
        if (!http_is_alnum(host.data[i]) && strchr("-._~%!$&'()*+;=:[]", host.data[i]) == NULL)
            return false;
    }
    return true;
}

static enum parse_result read_head(const char *data, struct reading *reading)
{
    struct http_request *out = reading->out;
    http_parser parser;
    http_parser_settings callbacks;
    http_parser_settings_init(&callbacks);
    callbacks.on_url = on_target;
    callbacks.on_header_field = on_field;
    callbacks.on_header_value = on_value;
    callbacks.on_headers_complete = on_head_complete;
    http_parser_init(&parser, HTTP_REQUEST);
    parser.data = reading;
    size_t used = http_parser_execute(&parser, &callbacks, data, out->head_bytes);
    if (out->status != 0)
        return PARSE_BAD;
    if (HTTP_PARSER_ERRNO(&parser) != HPE_OK)
        return http_bad(out, 400, http_errno_description(HTTP_PARSER_ERRNO(&parser)));
    if (!reading->head_complete || used != out->head_bytes)
        return http_bad(out, 400, "malformed head");

    out->method = parser.method == HTTP_GET    ? HTTP_METHOD_GET
                  : parser.method == HTTP_HEAD ? HTTP_METHOD_HEAD
                  : parser.method == HTTP_POST ? HTTP_METHOD_POST
                                               : HTTP_METHOD_OTHER;
    out->version_minor = (uint8_t)parser.http_minor;
    out->keep_alive = !reading->has_close && (out->version_minor > 0 || reading->has_keep_alive);
    if (reading->target.len == 0 || reading->target.data[0] != '/')
        return http_bad(out, 400, "request target is not a path");
    out->path = reading->target;
    const char *mark = memchr(out->path.data, '?', out->path.len);
    if (mark != NULL) {
        out->query = (struct http_slice){mark + 1, out->path.len - (size_t)(mark + 1 - out->path.data)};
        out->path.len = (size_t)(mark - out->path.data);
    }
    if (out->host.len == 0 && out->version_minor > 0)
        return http_bad(out, 400, "Host is missing");
    if (!host_is_plain(out->host))
        return http_bad(out, 400, "Host is malformed");
    return PARSE_OK;
}

/* Nineteen digits or more are beyond any limit; fewer fit in 64 bits. */
static enum parse_result read_content_length(const struct reading *reading, size_t max_body, size_t *bytes)
{
    struct http_slice text = reading->content_length;
    uint64_t value = 0;
    if (text.len == 0)
        return http_bad(reading->out, 400, "malformed Content-Length");
    for (size_t i = 0; i < text.len; i++) {
        if (!http_is_digit(text.data[i]))
            return http_bad(reading->out, 400, "malformed Content-Length");
        if (value < UINT64_C(1000000000000000000))
            value = value * 10 + (uint64_t)(text.data[i] - '0');
    }
    if (value > max_body)
        return http_bad(reading->out, 413, "body is too long");
    *bytes = (size_t)value;
    return PARSE_OK;
}

static enum parse_result read_body(const char *data, size_t len, size_t max_body,
                                   const struct reading *reading)
{
    struct http_request *out = reading->out;
    bool has_length = (reading->seen & 1u << SEEN_CONTENT_LENGTH) != 0;
    size_t bytes = 0;
    if (reading->has_transfer_encoding)
        return has_length ? http_bad(out, 400, "Content-Length together with Transfer-Encoding")
                          : http_bad(out, 411, "Transfer-Encoding is not supported: send Content-Length");
    if (has_length && read_content_length(reading, max_body, &bytes) == PARSE_BAD)
        return PARSE_BAD;
    if (out->method == HTTP_METHOD_GET && out->upgrade_websocket && out->connection_upgrade && bytes > 0)
        return http_bad(out, 400, "an upgrade request has no body");
    out->request_bytes = out->head_bytes + bytes;
    if (len < out->request_bytes)
        return PARSE_MORE;
    out->body = (struct http_slice){data + out->head_bytes, bytes};
    return PARSE_OK;
}

enum parse_result http_request_read(const char *data, size_t len, size_t max_body,
                                    struct http_progress *progress, struct http_request *out)
{
    *out = (struct http_request){0};
    if (len <= progress->at || len < progress->need)
        return PARSE_MORE;
    enum parse_result result = http_head_check(data, len, progress, out);
    if (result != PARSE_OK)
        return result;
    struct reading reading = {.out = out};
    result = read_head(data, &reading);
    if (result != PARSE_OK)
        return result;
    result = read_body(data, len, max_body, &reading);
    progress->need = out->request_bytes;
    return result;
}

enum parse_result http_request_parse(const char *data, size_t len, size_t max_body, struct http_request *out)
{
    struct http_progress none = {0};
    return http_request_read(data, len, max_body, &none, out);
}

bool http_slice_is(struct http_slice slice, const char *text)
{
    return slice.len == strlen(text) && (slice.len == 0 || memcmp(slice.data, text, slice.len) == 0);
}
