/* What the admin listener answers to a request: everything about paths, methods and who may publish; nothing
 * about sockets.
 *
 * Thread: the admin's. Owner: the response's body belongs to the caller, who frees it.
 */
#pragma once

#include "gateway/admin.h"
#include "gateway/admin_api.h"
#include "gateway/admin_auth.h"
#include "gateway/admin_status.h"
#include "proto/http_request.h"

enum admin_next {
    ADMIN_RESPOND,
    ADMIN_PUBLISH,     /* the body to `topic`, then call admin_route_published() */
    ADMIN_BEGIN_JOB,   /* with api_method, then call admin_route_answered() */
    ADMIN_TELL_STATUS, /* when topics are known, by admin_route_status() */
    ADMIN_GO_LIVE,     /* upgrade, and stream the status */
};

struct admin_response {
    enum admin_next next;
    int status; /* ADMIN_RESPOND */
    struct http_slice api_method;
    const char *content_type;
    const char *headers; /* NULL or whole lines ending in CRLF; may be header_room */
    char header_room[768];
    char *body; /* malloc'ed; NULL: empty */
    size_t body_bytes;
    uint8_t topic_bytes;
    char topic[TOPIC_BYTES_MAX];
};

/* What there is to answer with. */
struct admin_desk {
    const struct admin_config *config;
    uint64_t started_ms;
    struct admin_api_stats *api;
    struct admin_auth *auth;
    struct admin_status *status;
};

/* The server API is served: there is a key, or it was said that none is wanted. */
bool admin_route_api_on(const struct settings *settings);
void admin_route(const struct admin_desk *desk, const struct throttle_key *peer,
                 const struct http_request *request, struct admin_response *out);
/* The answer of a job of the server API; takes the text. NULL: memory ran out. */
void admin_route_answered(char *json, size_t bytes, struct admin_response *out);
void admin_route_status(const struct admin_desk *desk, struct admin_response *out);
/* The answer to a publication. */
void admin_route_published(const struct broker_request *answer, struct admin_response *out);
/* A sentence as text. */
void admin_route_error(int status, const char *sentence, struct admin_response *out);
