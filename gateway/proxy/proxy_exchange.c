/* One POST to a backend with libcurl, and what its end means. */
#include "gateway/base/assert.h"
#include "gateway/proxy/proxy_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    BODY_BYTES_FIRST = 1024,
    HEAD_BYTES_MAX = 64 * 1024, /* of a response */
    CONNECTION_IDLE_S = 4,      /* Node and Apache close after 5: no request should meet that */
    CONNECTION_LIFE_S = 5 * 60, /* then the backend's name is looked up again */
    STATUS_OK = 200,
};

/* Doubles the room for the body; what stood in the old one is wiped. */
static bool grow(struct exchange *exchange, size_t needed)
{
    size_t room = exchange->body_room ? exchange->body_room : BODY_BYTES_FIRST;
    while (room < needed)
        room *= 2; /* needed ≤ answer_bytes, which is far from overflowing */
    char *grown = malloc(room);
    if (!grown)
        return false;
    if (exchange->body) {
        memcpy(grown, exchange->body, exchange->body_bytes);
        explicit_bzero(exchange->body, exchange->body_room);
        free(exchange->body);
    }
    exchange->body = grown;
    exchange->body_room = room;
    return true;
}

static size_t on_body(char *data, size_t size, size_t count, void *context)
{
    struct exchange *exchange = context;
    size_t bytes = size * count;
    if (bytes > exchange->setup->answer_bytes - exchange->body_bytes) {
        exchange->too_large = true;
        return bytes + 1; /* libcurl gives up */
    }
    size_t needed = exchange->body_bytes + bytes;
    if (needed > exchange->body_room && !grow(exchange, needed)) {
        exchange->no_memory = true;
        return bytes + 1;
    }
    memcpy(exchange->body + exchange->body_bytes, data, bytes);
    exchange->body_bytes += bytes;
    return bytes;
}

static size_t on_header(char *data, size_t size, size_t count, void *context)
{
    (void)data;
    struct exchange *exchange = context;
    exchange->head_bytes += size * count;
    if (exchange->head_bytes <= HEAD_BYTES_MAX)
        return size * count;
    exchange->too_large = true;
    return size * count + 1;
}

#define SET(option, value) (curl_easy_setopt(easy, option, value) == CURLE_OK)

static bool set_up(struct exchange *exchange)
{
    CURL *easy = exchange->easy;
    bool ok = SET(CURLOPT_PRIVATE, exchange) && SET(CURLOPT_ERRORBUFFER, exchange->error) &&
              SET(CURLOPT_WRITEFUNCTION, on_body) && SET(CURLOPT_WRITEDATA, exchange) &&
              SET(CURLOPT_HEADERFUNCTION, on_header) && SET(CURLOPT_HEADERDATA, exchange) &&
              SET(CURLOPT_NOSIGNAL, 1L) && SET(CURLOPT_POST, 1L) && SET(CURLOPT_FOLLOWLOCATION, 0L) &&
              SET(CURLOPT_PROXY, "") && /* none from the environment */
              SET(CURLOPT_USERAGENT, "pushgate/" PUSHGATE_VERSION) && SET(CURLOPT_SSL_VERIFYPEER, 1L) &&
              SET(CURLOPT_SSL_VERIFYHOST, 2L) && SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) &&
              SET(CURLOPT_TCP_KEEPALIVE, 1L) && SET(CURLOPT_MAXAGE_CONN, (long)CONNECTION_IDLE_S);
    if (*exchange->setup->ca_file)
        ok = ok && SET(CURLOPT_CAINFO, exchange->setup->ca_file) && SET(CURLOPT_CAPATH, NULL);
#if LIBCURL_VERSION_NUM >= 0x075000
    ok = ok && SET(CURLOPT_MAXLIFETIME_CONN, (long)CONNECTION_LIFE_S);
#endif
#if LIBCURL_VERSION_NUM >= 0x075500
    ok = ok && SET(CURLOPT_PROTOCOLS_STR, "http,https");
#else
    ok = ok && SET(CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
#if LIBCURL_VERSION_NUM >= 0x075700
    ok = ok && SET(CURLOPT_QUICK_EXIT, 1L); /* a name look-up that hangs does not hold up the end */
#endif
    return ok;
}

bool exchange_init(struct exchange *exchange, CURLM *multi, const struct exchange_setup *setup)
{
    *exchange = (struct exchange){.setup = setup, .multi = multi, .easy = curl_easy_init()};
    list_init(&exchange->link);
    return exchange->easy != NULL;
}

/* Wipes and frees what belonged to one request. */
static void clean(struct exchange *exchange)
{
    for (struct curl_slist *header = exchange->headers; header; header = header->next)
        explicit_bzero(header->data, strlen(header->data));
    curl_slist_free_all(exchange->headers);
    exchange->headers = NULL;
    if (exchange->body) {
        explicit_bzero(exchange->body, exchange->body_room);
        free(exchange->body);
    }
    exchange->body = NULL;
    exchange->body_bytes = exchange->body_room = exchange->head_bytes = 0;
    exchange->too_large = exchange->no_memory = false;
}

void exchange_fini(struct exchange *exchange)
{
    PG_ASSERT(!exchange->request);
    if (exchange->easy)
        curl_easy_cleanup(exchange->easy);
    exchange->easy = NULL;
    clean(exchange);
}

static bool add_header(struct exchange *exchange, const char *line)
{
    struct curl_slist *longer = curl_slist_append(exchange->headers, line);
    if (longer)
        exchange->headers = longer;
    return longer != NULL;
}

/* Over TLS the handshake says at once whether there will be HTTP/2, where one connection serves all: worth
 * waiting for. Without TLS only the first response would say it, and it would never be so. */
static bool set_version(CURL *easy, const char *url)
{
    bool tls = strncasecmp(url, "https:", 6) == 0;
    return SET(CURLOPT_HTTP_VERSION, (long)(tls ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1)) &&
           SET(CURLOPT_PIPEWAIT, tls ? 1L : 0L);
}

bool exchange_begin(struct exchange *exchange, struct proxy_request *request, const char *url, long left_ms)
{
    PG_ASSERT(!exchange->request);
    CURL *easy = exchange->easy;
    exchange->error[0] = '\0';
    bool ok = set_up(exchange) && add_header(exchange, "Content-Type: application/json") &&
              add_header(exchange, "Accept: application/json") &&
              add_header(exchange, "Expect:") && /* no 100-continue: it costs a round trip */
              proxy_headers_pass(exchange->setup->headers, request->headers, &exchange->headers) &&
              SET(CURLOPT_URL, url) && set_version(easy, url) && SET(CURLOPT_HTTPHEADER, exchange->headers) &&
              SET(CURLOPT_POSTFIELDS, request->body.data) &&
              SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.len) &&
              SET(CURLOPT_TIMEOUT_MS, left_ms) && SET(CURLOPT_CONNECTTIMEOUT_MS, left_ms) &&
              curl_multi_add_handle(exchange->multi, easy) == CURLM_OK;
    if (ok) {
        exchange->request = request;
    } else {
        curl_easy_reset(easy);
        clean(exchange);
    }
    return ok;
}

static enum proxy_outcome judge(struct exchange *exchange, CURLcode code, struct exchange_report *report)
{
    const char *why = *exchange->error ? exchange->error : curl_easy_strerror(code);
    bool whole = code == CURLE_OK || exchange->too_large;
    if (whole && report->status != STATUS_OK)
        why = "the status is not 200";
    else if (exchange->too_large)
        why = "the answer is too large";
    else if (exchange->no_memory)
        why = "out of memory";
    snprintf(report->why, sizeof report->why, "%s", why);
    if (whole && report->status != STATUS_OK)
        return PROXY_BAD_STATUS;
    if (exchange->too_large)
        return PROXY_BAD_BODY;
    if (code != CURLE_OK)
        return code == CURLE_OPERATION_TIMEDOUT ? PROXY_TIMEOUT : PROXY_UNREACHABLE;
    return proxy_answer_parse(exchange->request, exchange->body ? exchange->body : "", exchange->body_bytes,
                              report->why, sizeof report->why);
}

/* Makes the exchange idle again. The handle forgets everything: what points to this request, and how often it
 * had to try again because the backend had closed a connection, which libcurl would add up over requests.
 * Connections are not its own. */
static struct proxy_request *release(struct exchange *exchange)
{
    struct proxy_request *request = exchange->request;
    curl_multi_remove_handle(exchange->multi, exchange->easy);
    curl_easy_reset(exchange->easy);
    exchange->request = NULL;
    clean(exchange);
    return request;
}

struct proxy_request *exchange_end(struct exchange *exchange, CURLcode code, struct exchange_report *report)
{
    PG_ASSERT(exchange->request);
    report->status = report->connections = 0;
    curl_easy_getinfo(exchange->easy, CURLINFO_RESPONSE_CODE, &report->status);
    curl_easy_getinfo(exchange->easy, CURLINFO_NUM_CONNECTS, &report->connections);
    report->outcome = judge(exchange, code, report);
    return release(exchange);
}

struct proxy_request *exchange_cancel(struct exchange *exchange)
{
    PG_ASSERT(exchange->request);
    return release(exchange);
}
