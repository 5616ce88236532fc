/* One HTTP/1.1 request (RFC 9112), read with http-parser; enough for upgrades, the admin listener and POST
 * /publish.
 *
 * Thread: any; pure functions over the bytes so far (call again with all bytes when more arrive).
 * Owner: the caller; slices point into its buffer.
 */
#pragma once

#include "proto/parse.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HTTP_HEAD_MAX =
        8192, /* request line and headers together; more is 431 (or 414 for the request line alone) */
    HTTP_HEADERS_MAX = 64,
};

struct http_slice {
    const char *data; /* not NUL-terminated */
    size_t len;       /* 0: absent */
};

enum http_method { HTTP_METHOD_GET, HTTP_METHOD_HEAD, HTTP_METHOD_POST, HTTP_METHOD_OTHER };

struct http_request {
    enum http_method method;
    uint8_t version_minor;   /* of HTTP/1.x */
    struct http_slice path;  /* without query, still percent-encoded */
    struct http_slice query; /* without '?' */
    struct http_slice host;
    struct http_slice origin;
    struct http_slice authorization;
    struct http_slice api_key; /* X-API-Key */
    struct http_slice cookie;
    struct http_slice content_type;
    struct http_slice websocket_key;
    struct http_slice websocket_version;
    struct http_slice websocket_protocol;
    bool upgrade_websocket;  /* Upgrade: contains the token websocket, any case */
    bool connection_upgrade; /* Connection: contains the token upgrade, any case */
    bool keep_alive;
    size_t head_bytes;      /* request line, headers and the empty line */
    struct http_slice body; /* whole, when Content-Length says so; chunked bodies are refused with 411 */
    size_t request_bytes;   /* head_bytes + body.len */
    int status;             /* PARSE_BAD: 400, 411, 413, 414, 431, 505 */
    const char *error;      /* PARSE_BAD: a static sentence */
};

/* Reads one request from the beginning of `data`. Body larger than max_body: 413. Duplicate Host, Origin,
 * Sec-WebSocket-Key &c., a missing Host on HTTP/1.1, bare CR/LF tricks and Content-Length together with
 * Transfer-Encoding: 400 (PROTOCOLS.md lists all). PARSE_MORE is given without a look at what follows the
 * head's lines so far; PARSE_BAD is final. Everything after an upgrade request's head is left for the caller
 * (body empty). */
enum parse_result http_request_parse(const char *data, size_t len, size_t max_body, struct http_request *out)
    __attribute__((warn_unused_result));

/* How far a request has been looked at. All zero: it has not begun. */
struct http_progress {
    size_t need;        /* fewer bytes bring no news; 0: any may */
    uint16_t at, begin; /* where the check of the head stands, and where the part around it began */
    uint8_t line;       /* of the head */
    uint8_t part;       /* of the line; http_request.c's own */
};

/* The same for a request that comes in pieces, of any size: every byte of its head is checked once. `data`
 * begins where it did the time before and has the same bytes. With PARSE_OK or PARSE_BAD `progress` has had
 * its day. */
enum parse_result http_request_read(const char *data, size_t len, size_t max_body,
                                    struct http_progress *progress, struct http_request *out)
    __attribute__((warn_unused_result));

/* The server's half of RFC 6455 §4.2 after routing: returns 101, or 400, 405, 426. Host and Origin are
 * checked apart. Not checked here: the path. */
int http_upgrade_status(const struct http_request *req, const char **error);
/* Sec-WebSocket-Accept: base64(SHA-1(key ‖ GUID)), NUL-terminated. */
void http_upgrade_accept(struct http_slice key, char out[29]);

/* True when `origin` may connect (RFC 6455 §10.2): absent (not a browser), or `origins` is "*", or one of the
 * space- or comma-separated origins in `origins` equals it (scheme and host without case, default ports
 * folded), or `origins` is empty and its host and port equal Host's (`tls` gives the default port). "null"
 * matches only "*". */
bool http_origin_allowed(struct http_slice origin, struct http_slice host, bool tls, const char *origins);

/* Walks a query: finds the next `name` parameter at or after *cursor (start with 0), percent-decoded ('+' is
 * a space) into out. PARSE_OK: *out_len set; PARSE_MORE: no further one; PARSE_BAD: broken escape or longer
 * than out_size. */
enum parse_result http_query_next(struct http_slice query, const char *name, size_t *cursor, char *out,
                                  size_t out_size, size_t *out_len) __attribute__((warn_unused_result));

/* Walks a Cookie header: finds the next cookie `name` (exact case) at or after *cursor (start with 0); its
 * value as it stands, without quotes around it. PARSE_OK, or PARSE_MORE: no further one. */
enum parse_result http_cookie_next(struct http_slice cookie, const char *name, size_t *cursor,
                                   struct http_slice *value) __attribute__((warn_unused_result));
/* Can a cookie have this name (a token of RFC 9110 §5.6.2)? "" cannot. */
bool http_cookie_name_good(const char *name);

/* Walks the fields called `name` (any case) of a head that was parsed, from the last to the first: start with
 * *cursor = head_bytes. PARSE_OK: *value without white space around it; PARSE_MORE: no further one. */
enum parse_result http_header_previous(const char *head, const char *name, size_t *cursor,
                                       struct http_slice *value) __attribute__((warn_unused_result));

bool http_slice_is(struct http_slice slice, const char *text); /* exact */

/* Writes a response head with Content-Length, "Connection: close" (unless keep_alive) and Date-less,
 * Server-less headers. `extra` is NULL or whole header lines ending in CRLF; content_type NULL leaves it out.
 * With 426 it must have Upgrade and Sec-WebSocket-Version; Connection then lists Upgrade. Returns bytes, 0
 * when it does not fit. */
size_t http_response_head(char *out, size_t out_size, int status, const char *content_type,
                          size_t content_bytes, bool keep_alive, const char *extra);
/* Reason phrase, e.g. "Upgrade Required". */
const char *http_status_text(int status);
/* Writes the whole 101 response; `subprotocol` may be empty. Returns bytes, 0 when it does not fit. */
size_t http_upgrade_response(char *out, size_t out_size, const char accept[29], const char *subprotocol);
