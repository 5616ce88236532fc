/* What a request gets: an upgrade and its transfer, the demo page, or an error. */
#include "gateway/acceptor_internal.h"

#include "gateway/base/assert.h"
#include "gateway/demo/demo_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RETRY_AFTER_SECONDS = 5 };

/* Queues a whole response; it is sent by the caller's next step. */
static void respond(struct acceptor *acceptor, struct pending *pending, int status, const char *content_type,
                    const void *body, size_t body_bytes, const char *extra, bool head_only)
{
    char head[1024];
    size_t head_bytes = http_response_head(head, sizeof head, status, content_type, body_bytes, false, extra);
    PG_ASSERT(head_bytes > 0);
    counter_add(&acceptor->stats.http_responses, 1);
    pending->state = PENDING_RESPONSE;
    acceptor->status = status;
    if (!pending_send(acceptor, pending, head, head_bytes) ||
        (body_bytes && !head_only && !pending_send(acceptor, pending, body, body_bytes)))
        return;
    pending_end_stream(acceptor, pending);
}

void pending_refuse(struct acceptor *acceptor, struct pending *pending, int status, const char *error,
                    enum handshake_failure failure, const char *extra)
{
    char body[256];
    int body_bytes = snprintf(body, sizeof body, "%d %s: %s\n", status, http_status_text(status), error);
    counter_add(&acceptor->stats.failures[failure], 1);
    if (body_bytes >= (int)sizeof body)
        body_bytes = sizeof body - 1;
    respond(acceptor, pending, status, "text/plain; charset=utf-8", body, (size_t)body_bytes, extra, false);
}

static void refuse(struct acceptor *acceptor, struct pending *pending, int status, const char *error,
                   enum handshake_failure failure)
{
    char extra[96] = "";
    if (status == 426)
        snprintf(extra, sizeof extra, "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n");
    else if (status == 405)
        snprintf(extra, sizeof extra, "Allow: GET\r\n");
    else if (status == 503 || status == 429)
        snprintf(extra, sizeof extra, "Retry-After: %u\r\n",
                 pending->retry_after ? pending->retry_after : RETRY_AFTER_SECONDS);
    pending_refuse(acceptor, pending, status, error, failure, extra);
}

void pending_turn_away(struct acceptor *acceptor, struct pending *pending, enum handshake_failure why)
{
    if (why == HANDSHAKE_DRAIN)
        refuse(acceptor, pending, 503, "the gateway is shutting down", why);
    else if (why == HANDSHAKE_ACCESS)
        refuse(acceptor, pending, 403, "this address may not connect", why);
    else if (why == HANDSHAKE_PER_IP_RATE)
        refuse(acceptor, pending, 429,
               "new connections come too fast from this address (limits.handshakes_per_ip)", why);
    else
        refuse(acceptor, pending, 429, "too many connections from this address (limits.connections_per_ip)",
               why);
}

static enum handshake_failure failure_of(int status)
{
    switch (status) {
    case 403:
        return HANDSHAKE_HTTP_ORIGIN;
    case 404:
        return HANDSHAKE_HTTP_NOT_FOUND;
    case 405:
        return HANDSHAKE_HTTP_METHOD;
    case 413:
    case 414:
    case 431:
        return HANDSHAKE_HTTP_TOO_LARGE;
    case 426:
        return HANDSHAKE_HTTP_UPGRADE;
    default:
        return HANDSHAKE_HTTP_BAD;
    }
}

/* Why this client may not subscribe to the topics in the URL; NULL: it may. A subscription token has no place
 * in a URL, and the backend is not asked here: where it decides, whoever comes past it gets nothing. */
static const char *topics_refused(const struct settings *settings, const struct adapter_admission *admission,
                                  const struct identity_room *identity)
{
    if (admission->topics_bytes > 0 && settings->proxy.subscribe && *settings->proxy.subscribe)
        return "the backend says who may subscribe (proxy.subscribe), and is not asked here: subscribe on "
               "/connection/websocket";
    for (size_t at = 0; at < admission->topics_bytes; at += 1u + admission->topics[at]) {
        const struct topic_rule *rule =
            topic_rule_find(settings, (const char *)&admission->topics[at + 1], admission->topics[at]);
        if (rule->subscribe == SUBSCRIBE_TOKEN ||
            (rule->subscribe == SUBSCRIBE_AUTHENTICATED && !identity->authenticated))
            return "not for everyone: the topic's section says who may subscribe";
    }
    return NULL;
}

/* Must the broker have its say before the topics are joined? */
static bool asks_broker(const struct settings *settings, const struct adapter_admission *admission)
{
    if (admission->since_set)
        return true;
    for (size_t at = 0; at < admission->topics_bytes; at += 1u + admission->topics[at])
        if (topic_rule_find(settings, (const char *)&admission->topics[at + 1], admission->topics[at])
                ->max_subscribers > 0)
            return true;
    return false;
}

static void upgrade(struct acceptor *acceptor, struct pending *pending, const struct http_request *request,
                    int adapter)
{
    const struct acceptor_shared *shared = acceptor->shared;
    const char *error = "";
    int status = http_upgrade_status(request, &error);
    if (status != 101) {
        refuse(acceptor, pending, status, error, failure_of(status));
        return;
    }
    if (!http_origin_allowed(request->origin, request->host, pending->transport == TRANSPORT_WSS,
                             shared->settings->listen.origins)) {
        refuse(acceptor, pending, 403, "this Origin may not connect (listen.origins)", HANDSHAKE_HTTP_ORIGIN);
        return;
    }
    bool conversation = adapter_get((enum adapter_id)adapter)->sessions;
    struct identity_room *identity = &acceptor->identity;
    if (!pending_admit(acceptor, pending, request, !shared->settings->auth.anonymous && !conversation,
                       identity))
        return;
    struct adapter_admission *admission = &acceptor->admission;
    adapter_accept((enum adapter_id)adapter, shared->settings, request, admission);
    if (admission->status != 101) {
        refuse(acceptor, pending, admission->status, admission->error, failure_of(admission->status));
        return;
    }
    const char *refused = topics_refused(shared->settings, admission, identity);
    if (refused) {
        refuse(acceptor, pending, 403, refused, HANDSHAKE_HTTP_TOKEN);
        return;
    }
    uint32_t port;
    if (!acceptor_choose(acceptor, &port)) {
        refuse(acceptor, pending, 503, "the gateway is full", HANDSHAKE_FULL);
        return;
    }
    size_t early = pending->plain.len - request->head_bytes;
    if (early + pending->raw.len > TRANSFER_EARLY_MAX) {
        acceptor_unchoose(acceptor, port);
        refuse(acceptor, pending, 400, "too much data before the upgrade was answered", HANDSHAKE_HTTP_BAD);
        return;
    }
    struct transfer_item item = {
        .fd = pending->fd,
        .record =
            {
                .adapter = (uint8_t)adapter,
                .transport = pending->transport,
                .topic_count = admission->topic_count,
                .suite = pending->suite,
                .topics_bytes = admission->topics_bytes,
                .identity_bytes = conversation ? identity->bytes : 0,
                .ask_broker = asks_broker(shared->settings, admission),
                .since_set = admission->since_set,
                .since_offset = admission->since_offset,
                .since_epoch = admission->since_epoch,
                .plain_bytes = (uint32_t)early,
                .raw_bytes = pending->raw.len,
                .ip_handle = pending->ip_handle,
                .client = pending->forwarded ? pending->client : (struct address){.family = ADDRESS_NONE},
                .read = pending->read,
                .write = pending->write,
            },
        .topics = admission->topics,
        .identity = identity->packed,
        .plain = pending->plain.data + request->head_bytes,
        .raw = pending->raw.data,
    };
    http_upgrade_accept(request->websocket_key, item.record.accept);
    snprintf(item.record.subprotocol, sizeof item.record.subprotocol, "%s", admission->subprotocol);
    if (!acceptor_transfer(acceptor, pending, port, &item)) {
        acceptor_unchoose(acceptor, port);
        refuse(acceptor, pending, 503, "the gateway is busy", HANDSHAKE_TRANSFER);
    }
    tls_direction_wipe(&item.record.read);
    tls_direction_wipe(&item.record.write);
}

/* POST /publish?topic=t from the demo page: same origin only. */
static void demo_publish(struct acceptor *acceptor, struct pending *pending,
                         const struct http_request *request)
{
    const struct acceptor_shared *shared = acceptor->shared;
    if (!request->origin.len ||
        !http_origin_allowed(request->origin, request->host, pending->transport == TRANSPORT_WSS, "")) {
        refuse(acceptor, pending, 403, "only the demo page publishes here; others use the publish socket",
               HANDSHAKE_HTTP_ORIGIN);
        return;
    }
    if (!pending_admit(acceptor, pending, request, !shared->settings->auth.anonymous, &acceptor->identity))
        return;
    char topic[TOPIC_BYTES_MAX];
    size_t topic_bytes = 0, cursor = 0;
    if (http_query_next(request->query, "topic", &cursor, topic, sizeof topic, &topic_bytes) != PARSE_OK ||
        !topic_bytes) {
        refuse(acceptor, pending, 400, "topic is missing: POST /publish?topic=NAME", HANDSHAKE_HTTP_BAD);
        return;
    }
    uint64_t token = acceptor_event_data(acceptor, pending);
    struct broker_request *ask = broker_request_publish(&acceptor->mailbox, token, topic, topic_bytes,
                                                        request->body.data, request->body.len);
    if (!ask) {
        pending_close(acceptor, pending, HANDSHAKE_INTERNAL);
        return;
    }
    pending->state = PENDING_REPLY;
    list_remove(&pending->place); /* it is not its turn */
    mailbox_push(shared->broker_mail, &ask->mail.node);
}

void pending_publish_answer(struct acceptor *acceptor, struct broker_request *answer)
{
    uint32_t index = (uint32_t)answer->token;
    struct pending *pending = index < acceptor->slots.fresh ? acceptor_slot(acceptor, index) : NULL;
    if (pending && pending->state == PENDING_REPLY && pending->generation == answer->token >> 32) {
        char body[64];
        int bytes = snprintf(body, sizeof body, "{\"queued\":%lld}\n", (long long)answer->queued);
        if (answer->result == BROKER_BUSY || answer->result == BROKER_NO_MEMORY)
            refuse(acceptor, pending, 503, "the gateway is busy", HANDSHAKE_INTERNAL);
        else if (answer->queued < 0)
            refuse(acceptor, pending, 413, "the message is too large (limits.message_bytes)",
                   HANDSHAKE_HTTP_TOO_LARGE);
        else
            respond(acceptor, pending, 200, "application/json", body, (size_t)bytes, NULL, false);
        if (pending->state == PENDING_RESPONSE)
            pending_continue(acceptor, pending);
    }
    broker_request_destroy(answer);
}

static const struct embedded_file *demo_file_find(struct http_slice path)
{
    return embedded_file_find(demo_files, demo_file_count, path.data, path.len);
}

/* Of what we serve, never what a stranger wrote. */
static const char *path_of_ours(const struct settings *settings, const struct http_request *request)
{
    int adapter = request->path.len ? adapter_route(settings, request->path) : -1;
    const struct embedded_file *file =
        adapter < 0 && settings->demo.enabled ? demo_file_find(request->path) : NULL;
    return adapter >= 0 ? adapter_get((enum adapter_id)adapter)->path : file ? file->path : NULL;
}

static void log_response(struct acceptor *acceptor, const struct pending *pending,
                         const struct http_request *request)
{
    if (!acceptor->access_log.every)
        return;
    access_log_response(&acceptor->access_log, &pending->client,
                        pending->transport == TRANSPORT_WSS ? "wss" : "ws",
                        request ? path_of_ours(acceptor->shared->settings, request) : NULL, acceptor->status);
}

static void route(struct acceptor *acceptor, struct pending *pending, const struct http_request *request)
{
    const struct settings *settings = acceptor->shared->settings;
    int adapter = adapter_route(settings, request->path);
    if (adapter >= 0) {
        upgrade(acceptor, pending, request, adapter);
        return;
    }
    if (!settings->demo.enabled) {
        refuse(acceptor, pending, 404, "no such endpoint; WebSockets are at /ws?topic=NAME",
               HANDSHAKE_HTTP_NOT_FOUND);
        return;
    }
    const struct embedded_file *file = demo_file_find(request->path);
    if (file) {
        if (request->method == HTTP_METHOD_GET || request->method == HTTP_METHOD_HEAD)
            respond(acceptor, pending, 200, file->content_type, file->data, file->bytes,
                    "Content-Security-Policy: " DEMO_CSP
                    "\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n",
                    request->method == HTTP_METHOD_HEAD);
        else
            refuse(acceptor, pending, 405, "the demo page is read with GET", HANDSHAKE_HTTP_METHOD);
    } else if (http_slice_is(request->path, "/publish") && request->method == HTTP_METHOD_POST) {
        demo_publish(acceptor, pending, request);
    } else {
        refuse(acceptor, pending, 404, "no such page", HANDSHAKE_HTTP_NOT_FOUND);
    }
}

enum parse_result pending_read_request(const struct acceptor *acceptor, struct pending *pending,
                                       struct http_request *request)
{
    const struct settings *settings = acceptor->shared->settings;
    size_t max_body = settings->demo.enabled ? settings->limits.message_bytes : 0;
    return http_request_read((const char *)pending->plain.data, pending->plain.len, max_body,
                             &pending->progress, request);
}

void pending_request(struct acceptor *acceptor, struct pending *pending, enum parse_result result,
                     const struct http_request *request)
{
    if (result == PARSE_BAD)
        refuse(acceptor, pending, request->status, request->error, failure_of(request->status));
    else if (pending->refusal != HANDSHAKE_FAILURE_COUNT)
        pending_turn_away(acceptor, pending, (enum handshake_failure)pending->refusal);
    else if (pending_identify(acceptor, pending, request))
        route(acceptor, pending, request);
    if (pending->state == PENDING_RESPONSE)
        log_response(acceptor, pending, result == PARSE_OK ? request : NULL);
}
