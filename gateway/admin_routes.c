/* Paths and methods of the admin listener. */
#include "gateway/admin_routes.h"

#include "gateway/admin_metrics.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define COMMON_HEADERS "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
#define PLAIN          "text/plain; charset=utf-8"

/* What pages speak of. */
struct admin_context {
    const struct admin_config *config;
    uint64_t started_ms;
    const struct admin_api_stats *api;
};

static const char index_page[] =
    "<!doctype html>\n"
    "<html lang=\"en\">\n"
    "<meta charset=\"utf-8\">\n"
    "<title>pushgate</title>\n"
    "<h1>pushgate " PUSHGATE_VERSION "</h1>\n"
    "<ul>\n"
    "<li><a href=\"/metrics\">/metrics</a> for Prometheus\n"
    "<li><a href=\"/healthz\">/healthz</a> answers 200 while the process works\n"
    "<li><a href=\"/readyz\">/readyz</a> answers 200 while clients are welcome, else 503\n"
    "<li>POST /publish?topic=NAME publishes the body\n"
    "<li>POST /api/publish and others: the server API\n"
    "</ul>\n"
    "</html>\n";

static void respond(int status, const char *content_type, const char *body, size_t body_bytes,
                    struct admin_response *out)
{
    *out = (struct admin_response){.status = status, .content_type = content_type, .headers = COMMON_HEADERS};
    out->body = malloc(body_bytes ? body_bytes : 1);
    if (!out->body) {
        out->status = 500;
        return;
    }
    memcpy(out->body, body, body_bytes);
    out->body_bytes = body_bytes;
}

void admin_route_error(int status, const char *sentence, struct admin_response *out)
{
    char text[256];
    int len = snprintf(text, sizeof text, "%s\n", sentence);
    size_t bytes = len < 0 ? 0 : (size_t)len < sizeof text ? (size_t)len : sizeof text - 1;
    respond(status, PLAIN, text, bytes, out);
}

void admin_route_published(const struct broker_request *answer, struct admin_response *out)
{
    char text[64];
    if (answer->result == BROKER_BUSY) {
        admin_route_error(503, "more than limits.inflight_bytes waits to be delivered; try again", out);
        return;
    }
    if (answer->queued < 0) { /* its length was checked, so it is memory */
        admin_route_error(503, "the message could not be published: out of memory", out);
        return;
    }
    int len = snprintf(text, sizeof text, "{\"queued\":%" PRId64 "}\n", answer->queued);
    respond(200, "application/json", text, (size_t)len, out);
}

void admin_route_answered(char *json, size_t bytes, struct admin_response *out)
{
    if (!json) {
        admin_route_error(500, "out of memory", out);
        return;
    }
    *out = (struct admin_response){.status = 200,
                                   .content_type = "application/json",
                                   .headers = COMMON_HEADERS,
                                   .body = json,
                                   .body_bytes = bytes};
}

static void get_index(const struct admin_context *context, struct admin_response *out)
{
    (void)context;
    respond(200, "text/html; charset=utf-8", index_page, sizeof index_page - 1, out);
    out->headers = COMMON_HEADERS "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n";
}

static void get_metrics(const struct admin_context *context, struct admin_response *out)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *stream = open_memstream(&text, &bytes);
    if (!stream) {
        admin_route_error(500, "out of memory", out);
        return;
    }
    admin_metrics_write(context->config, context->started_ms, context->api, stream);
    bool failed = ferror(stream) != 0;
    if (fclose(stream) != 0 || failed) {
        free(text);
        admin_route_error(500, "out of memory", out);
        return;
    }
    *out = (struct admin_response){.status = 200,
                                   .content_type = ADMIN_METRICS_CONTENT_TYPE,
                                   .headers = COMMON_HEADERS,
                                   .body = text,
                                   .body_bytes = bytes};
}

static void get_healthz(const struct admin_context *context, struct admin_response *out)
{
    (void)context;
    respond(200, PLAIN, "ok\n", 3, out);
}

static void get_readyz(const struct admin_context *context, struct admin_response *out)
{
    if (atomic_load(context->config->draining))
        admin_route_error(503, "draining", out);
    else if (!atomic_load(context->config->ready))
        admin_route_error(503, "starting", out);
    else
        respond(200, PLAIN, "ok\n", 3, out);
}

/* Compares in a time that does not tell how much of it is right. */
static bool same_secret(const char *secret, struct http_slice given)
{
    size_t len = strlen(secret);
    if (given.len != len)
        return false;
    unsigned char difference = 0;
    for (size_t i = 0; i < len; i++)
        difference |= (unsigned char)(secret[i] ^ given.data[i]);
    return difference == 0;
}

/* "Bearer PASSWORD", "apikey KEY": the scheme in any case. */
static bool has_secret(const char *scheme, const char *secret, struct http_slice authorization)
{
    size_t len = strlen(scheme);
    if (authorization.len < len || strncasecmp(authorization.data, scheme, len) != 0)
        return false;
    return same_secret(secret, (struct http_slice){authorization.data + len, authorization.len - len});
}

/* An address or localhost: what no stranger's DNS can point here. */
static bool host_is_address(struct http_slice host)
{
    static const char localhost[] = "localhost";
    size_t len = 0;
    if (host.len > 0 && host.data[0] == '[')
        return true;
    while (len < host.len && host.data[len] != ':')
        len++;
    if (len == sizeof localhost - 1 && strncasecmp(host.data, localhost, len) == 0)
        return true;
    for (size_t i = 0; i < len; i++)
        if (host.data[i] != '.' && (host.data[i] < '0' || host.data[i] > '9'))
            return false;
    return len > 0;
}

/* Browsers name the page that asks in Origin. A page from elsewhere must not publish through its visitor's
 * browser, also not when its own name was made to resolve to this address (DNS rebinding). */
static bool from_another_site(const struct http_request *request)
{
    if (request->origin.len == 0)
        return false;
    return !http_origin_allowed(request->origin, request->host, false, "") || !host_is_address(request->host);
}

static void post_publish(const struct admin_config *config, const struct http_request *request,
                         struct admin_response *out)
{
    const char *password = config->settings->publish.password;
    size_t cursor = 0, len = 0;
    if (from_another_site(request)) {
        admin_route_error(403, "pages of other sites may not publish here", out);
        return;
    }
    if (*password && !has_secret("Bearer ", password, request->authorization)) {
        admin_route_error(401, "publish.password is set: send it as Authorization: Bearer PASSWORD", out);
        out->headers = COMMON_HEADERS "WWW-Authenticate: Bearer realm=\"pushgate\"\r\n";
        return;
    }
    if (request->body.len > config->settings->limits.message_bytes) {
        admin_route_error(413, "the message is longer than limits.message_bytes", out);
        return;
    }
    *out = (struct admin_response){0};
    switch (http_query_next(request->query, "topic", &cursor, out->topic, sizeof out->topic, &len)) {
    case PARSE_MORE:
        admin_route_error(400, "topic is missing: POST /publish?topic=NAME", out);
        return;
    case PARSE_BAD:
        admin_route_error(400, "topic is longer than 255 bytes or has a broken percent escape", out);
        return;
    case PARSE_OK:
        break;
    }
    if (len == 0)
        admin_route_error(400, "topic is empty", out);
    else
        out->topic_bytes = (uint8_t)len;
}

bool admin_route_api_on(const struct settings *settings)
{
    return *settings->api.key || settings->api.insecure;
}

/* `method`: what stands behind "/api" in the path. */
static void post_api(const struct settings *settings, struct admin_api_stats *stats,
                     const struct http_request *request, struct http_slice method, struct admin_response *out)
{
    const char *key = settings->api.key;
    if (!admin_route_api_on(settings)) {
        admin_route_error(403, "the server API is off: set api.key", out);
        return;
    }
    if (from_another_site(request)) {
        admin_route_error(403, "pages of other sites may not use the server API", out);
        return;
    }
    if (*key && !same_secret(key, request->api_key) && !has_secret("apikey ", key, request->authorization)) {
        stats->unauthorized++;
        admin_route_error(401, "send api.key as X-API-Key, or as Authorization: apikey", out);
        out->headers = COMMON_HEADERS "WWW-Authenticate: apikey realm=\"pushgate\"\r\n";
        return;
    }
    if (request->body.len > settings->api.body_bytes) {
        admin_route_error(413, "the body is longer than api.body_bytes", out);
        return;
    }
    *out = (struct admin_response){.api = true, .api_method = method};
}

typedef void get_fn(const struct admin_context *context, struct admin_response *out);

static const struct {
    const char *path;
    get_fn *get;
} pages[] = {
    {"/", get_index},
    {"/metrics", get_metrics},
    {"/healthz", get_healthz},
    {"/readyz", get_readyz},
};

static void refuse_method(const char *sentence, const char *headers, struct admin_response *out)
{
    admin_route_error(405, sentence, out);
    out->headers = headers;
}

/* "/api", "/api/" and "/api/METHOD". */
static bool is_api(struct http_slice path, struct http_slice *method)
{
    static const char prefix[] = "/api";
    size_t len = sizeof prefix - 1;
    if (path.len < len || memcmp(path.data, prefix, len) != 0 || (path.len > len && path.data[len] != '/'))
        return false;
    *method = (struct http_slice){path.data + len, path.len - len};
    return true;
}

void admin_route(const struct admin_config *config, uint64_t started_ms, struct admin_api_stats *api_stats,
                 const struct http_request *request, struct admin_response *out)
{
    const struct admin_context context = {config, started_ms, api_stats};
    struct http_slice method;
    if (is_api(request->path, &method)) {
        if (request->method == HTTP_METHOD_POST)
            post_api(config->settings, api_stats, request, method, out);
        else
            refuse_method("the server API takes POST", COMMON_HEADERS "Allow: POST\r\n", out);
        return;
    }
    if (http_slice_is(request->path, "/publish")) {
        if (request->method == HTTP_METHOD_POST)
            post_publish(config, request, out);
        else
            refuse_method("publish with POST", COMMON_HEADERS "Allow: POST\r\n", out);
        return;
    }
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
        if (!http_slice_is(request->path, pages[i].path))
            continue;
        if (request->method == HTTP_METHOD_GET || request->method == HTTP_METHOD_HEAD)
            pages[i].get(&context, out);
        else
            refuse_method("read this with GET", COMMON_HEADERS "Allow: GET, HEAD\r\n", out);
        return;
    }
    admin_route_error(404, "no such page; GET / lists them", out);
}
