/* What the admin listener answers to a request: everything about paths, methods and who may publish; nothing
 * about sockets.
 *
 * Thread: the admin's. Owner: the response's body belongs to the caller, who frees it.
 */
#pragma once

#include "gateway/admin.h"
#include "proto/http_request.h"

struct admin_response {
    int status; /* 0: publish the request's body to the topic first, then call admin_route_published() */
    const char *content_type;
    const char *headers; /* NULL or whole lines ending in CRLF */
    char *body;          /* malloc'ed; NULL: empty */
    size_t body_bytes;
    uint8_t topic_bytes;
    char topic[TOPIC_BYTES_MAX];
};

void admin_route(const struct admin_config *config, uint64_t started_ms, const struct http_request *request,
                 struct admin_response *out);
/* The answer to a publication; `queued` as in struct broker_request. */
void admin_route_published(int64_t queued, struct admin_response *out);
/* A sentence as text. */
void admin_route_error(int status, const char *sentence, struct admin_response *out);
