/* Paths and methods of the admin listener. */
#include "gateway/admin_routes.h"

#include "gateway/admin_metrics.h"
#include "gateway/base/assert.h"
#include "gateway/base/clock.h"
#include "gateway/status/status_files.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define COMMON_HEADERS "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
#define PLAIN          "text/plain; charset=utf-8"

static const char index_page[] =
    "<!doctype html>\n"
    "<html lang=\"en\">\n"
    "<meta charset=\"utf-8\">\n"
    "<title>pushgate</title>\n"
    "<h1>pushgate " PUSHGATE_VERSION "</h1>\n"
    "<ul>\n"
    "<li><a href=\"/status\">/status</a> shows what goes on, live; <a href=\"/status.json\">/status.json</a> "
    "is "
    "the same for programs\n"
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

static void get_index(const struct admin_desk *desk, struct admin_response *out)
{
    (void)desk;
    respond(200, "text/html; charset=utf-8", index_page, sizeof index_page - 1, out);
    out->headers = COMMON_HEADERS "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n";
}

static void get_metrics(const struct admin_desk *desk, struct admin_response *out)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *stream = open_memstream(&text, &bytes);
    if (!stream) {
        admin_route_error(500, "out of memory", out);
        return;
    }
    admin_metrics_write(desk->config, desk->started_ms, desk->api, desk->auth, stream);
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

/* A ticket for the stream, in a cookie: not every browser sends a password that it was asked for with a
 * WebSocket. */
static void add_ticket(const struct admin_desk *desk, const char *more, struct admin_response *out)
{
    char cookie[ADMIN_TICKET_COOKIE_BYTES] = "";
    if (*admin_auth_password(desk->auth))
        admin_auth_ticket(desk->auth, clock_realtime_ms() / 1000, cookie);
    snprintf(out->header_room, sizeof out->header_room, COMMON_HEADERS "%s%s%s%s", more,
             *cookie ? "Set-Cookie: " : "", cookie, *cookie ? "\r\n" : "");
    out->headers = out->header_room;
}

void admin_route_status(const struct admin_desk *desk, struct admin_response *out)
{
    struct json_out json = {0};
    admin_status_write(desk->status, clock_monotonic_ms(), STATUS_SECONDS_ALL, &json);
    if (json.failed)
        json_out_fini(&json);
    admin_route_answered(json.data, json.len, out);
    add_ticket(desk, "", out);
}

static void get_status_json(const struct admin_desk *desk, struct admin_response *out)
{
    (void)desk;
    *out = (struct admin_response){.next = ADMIN_TELL_STATUS};
}

static void get_file(const struct admin_desk *desk, const char *path, struct admin_response *out)
{
    const struct embedded_file *file =
        embedded_file_find(status_files, status_file_count, path, strlen(path));
    PG_ASSERT(file);
    respond(200, file->content_type, (const char *)file->data, file->bytes, out);
    add_ticket(desk, "Content-Security-Policy: " STATUS_CSP "\r\nReferrer-Policy: no-referrer\r\n", out);
}

static void get_status(const struct admin_desk *desk, struct admin_response *out)
{
    get_file(desk, "/status", out);
}

static void get_status_css(const struct admin_desk *desk, struct admin_response *out)
{
    get_file(desk, "/status/page.css", out);
}

static void get_status_js(const struct admin_desk *desk, struct admin_response *out)
{
    get_file(desk, "/status/page.js", out);
}

static void get_plot_js(const struct admin_desk *desk, struct admin_response *out)
{
    get_file(desk, "/status/plot.js", out);
}

static void get_healthz(const struct admin_desk *desk, struct admin_response *out)
{
    (void)desk;
    respond(200, PLAIN, "ok\n", 3, out);
}

static void get_readyz(const struct admin_desk *desk, struct admin_response *out)
{
    enum control_phase phase = control_phase(desk->config->control);
    if (phase != PHASE_RUNNING)
        admin_route_error(503, phase == PHASE_STARTING ? "starting" : "draining", out);
    else
        respond(200, PLAIN, "ok\n", 3, out);
}

/* Which secret is asked for, and how. */
struct challenge {
    const char *sentence, *headers;
};

static const struct challenge page_challenge = {
    "admin.password is set: send it as Authorization: Bearer PASSWORD, or to this question with any user "
    "name",
    COMMON_HEADERS "WWW-Authenticate: Basic realm=\"pushgate\", charset=\"UTF-8\"\r\n"
                   "WWW-Authenticate: Bearer realm=\"pushgate\"\r\n"};
static const struct challenge publish_challenge = {
    "publish.password is set: send it as Authorization: Bearer PASSWORD",
    COMMON_HEADERS "WWW-Authenticate: Bearer realm=\"pushgate\"\r\n"};
static const struct challenge api_challenge = {"send api.key as X-API-Key, or as Authorization: apikey",
                                               COMMON_HEADERS
                                               "WWW-Authenticate: apikey realm=\"pushgate\"\r\n"};

/* False: answered. */
static bool admit(enum admin_verdict verdict, const struct challenge *challenge, struct admin_response *out)
{
    if (verdict == ADMIN_MAY)
        return true;
    if (verdict == ADMIN_THROTTLED) {
        admin_route_error(429, "too many wrong passwords or keys came from this address; try again later",
                          out);
        out->headers = COMMON_HEADERS "Retry-After: 1\r\n";
        return false;
    }
    admin_route_error(401, challenge->sentence, out);
    out->headers = challenge->headers;
    return false;
}

static void post_publish(const struct admin_desk *desk, const struct throttle_key *peer,
                         const struct http_request *request, struct admin_response *out)
{
    const struct settings *settings = desk->config->settings;
    const char *own = settings->publish.password;
    size_t cursor = 0, len = 0;
    if (admin_from_another_site(request)) {
        admin_route_error(403, "pages of other sites may not publish here", out);
        return;
    }
    if (!admit(admin_auth_check(desk->auth, *own ? own : admin_auth_password(desk->auth), peer, request),
               *own ? &publish_challenge : &page_challenge, out))
        return;
    if (request->body.len > settings->limits.message_bytes) {
        admin_route_error(413, "the message is longer than limits.message_bytes", out);
        return;
    }
    *out = (struct admin_response){.next = ADMIN_PUBLISH};
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
static void post_api(const struct admin_desk *desk, const struct throttle_key *peer,
                     const struct http_request *request, struct http_slice method, struct admin_response *out)
{
    const struct settings *settings = desk->config->settings;
    if (!admin_route_api_on(settings)) {
        admin_route_error(403, "the server API is off: set api.key", out);
        return;
    }
    if (admin_from_another_site(request)) {
        admin_route_error(403, "pages of other sites may not use the server API", out);
        return;
    }
    if (!admit(admin_auth_check_key(desk->auth, peer, request), &api_challenge, out)) {
        desk->api->unauthorized++;
        return;
    }
    if (request->body.len > settings->api.body_bytes) {
        admin_route_error(413, "the body is longer than api.body_bytes", out);
        return;
    }
    *out = (struct admin_response){.next = ADMIN_BEGIN_JOB, .api_method = method};
}

typedef void get_fn(const struct admin_desk *desk, struct admin_response *out);

/* Who gets a page. */
enum admission {
    OPEN,    /* whoever asks, as balancers do */
    GUARDED, /* who has the password, if there is one */
    NEAR,    /* the same; without a password only who asks for an address or localhost */
};

static const struct {
    const char *path;
    get_fn *get;
    enum admission admission;
} pages[] = {
    {"/", get_index, GUARDED},
    {"/metrics", get_metrics, GUARDED},
    {"/healthz", get_healthz, OPEN},
    {"/readyz", get_readyz, OPEN},
    {"/status", get_status, NEAR},
    {"/status.json", get_status_json, NEAR},
    {"/status/page.css", get_status_css, NEAR},
    {"/status/page.js", get_status_js, NEAR},
    {"/status/plot.js", get_plot_js, NEAR},
};

/* A page of another site must not read this one through its visitor's browser, having made its own name
 * resolve to this address: with a password it has none that fits, without one the name gives it away. False:
 * answered. */
static bool near_enough(const struct admin_desk *desk, const struct http_request *request,
                        struct admin_response *out)
{
    if (*admin_auth_password(desk->auth) || admin_host_is_address(request))
        return true;
    admin_route_error(
        403, "without admin.password this is shown only by an address or localhost, not by a name", out);
    return false;
}

static void get_page(const struct admin_desk *desk, const struct throttle_key *peer,
                     const struct http_request *request, size_t page, struct admin_response *out)
{
    enum admin_verdict verdict = ADMIN_MAY;
    if (pages[page].admission != OPEN)
        verdict = admin_auth_check(desk->auth, admin_auth_password(desk->auth), peer, request);
    if (admit(verdict, &page_challenge, out) &&
        (pages[page].admission != NEAR || near_enough(desk, request, out)))
        pages[page].get(desk, out);
}

static void get_live(const struct admin_desk *desk, const struct throttle_key *peer,
                     const struct http_request *request, struct admin_response *out)
{
    const char *error;
    enum admin_verdict verdict = ADMIN_MAY;
    if (!admin_auth_ticket_good(desk->auth, clock_realtime_ms() / 1000, request->cookie))
        verdict = admin_auth_check(desk->auth, admin_auth_password(desk->auth), peer, request);
    if (!admit(verdict, &page_challenge, out) || !near_enough(desk, request, out))
        return;
    if (!http_origin_allowed(request->origin, request->host, false, "") &&
        !http_origin_allowed(request->origin, request->host, true, "")) { /* behind a proxy that ends TLS */
        admin_route_error(403, "pages of other sites may not watch this one", out);
        return;
    }
    int status = http_upgrade_status(request, &error);
    if (status == 101) {
        *out = (struct admin_response){.next = ADMIN_GO_LIVE};
        return;
    }
    admin_route_error(status, error, out);
    if (status == 426)
        out->headers = COMMON_HEADERS "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    else if (status == 405)
        out->headers = COMMON_HEADERS "Allow: GET\r\n";
}

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

void admin_route(const struct admin_desk *desk, const struct throttle_key *peer,
                 const struct http_request *request, struct admin_response *out)
{
    struct http_slice method;
    if (is_api(request->path, &method)) {
        if (request->method == HTTP_METHOD_POST)
            post_api(desk, peer, request, method, out);
        else
            refuse_method("the server API takes POST", COMMON_HEADERS "Allow: POST\r\n", out);
        return;
    }
    if (http_slice_is(request->path, "/publish")) {
        if (request->method == HTTP_METHOD_POST)
            post_publish(desk, peer, request, out);
        else
            refuse_method("publish with POST", COMMON_HEADERS "Allow: POST\r\n", out);
        return;
    }
    if (http_slice_is(request->path, "/status/live")) {
        get_live(desk, peer, request, out);
        return;
    }
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
        if (!http_slice_is(request->path, pages[i].path))
            continue;
        if (request->method == HTTP_METHOD_GET || request->method == HTTP_METHOD_HEAD)
            get_page(desk, peer, request, i, out);
        else
            refuse_method("read this with GET", COMMON_HEADERS "Allow: GET, HEAD\r\n", out);
        return;
    }
    admin_route_error(404, "no such page; GET / lists them", out);
}
