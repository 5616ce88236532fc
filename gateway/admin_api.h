/* The server API, by which backends publish and ask: POST /api/METHOD with one call's parameters, POST
 * /api/batch with many calls, and the older POST /api with one {"method":…,"params":…} a line.
 *
 * A request becomes a job: its calls are read one after another, each becomes requests to the broker, up to
 * API_WINDOW of them on their way at a time, and the answers are written in order. Nothing waits here and
 * nothing knows of sockets: whoever drives a job hands it the answers that come for it.
 *
 * Thread: the admin's. Owner: a job belongs to who began it; requests on their way are the broker's, and come
 * back to admin_api_answered() also when their job has ended meanwhile.
 */
#pragma once

#include "gateway/admin.h"
#include "gateway/admin_api_calls.h"
#include "gateway/base/address.h"
#include "proto/http_request.h"

enum { API_WINDOW = 64 };

struct admin_api;
struct admin_api_job;

/* Answers come to `reply_to`. What the config points to must outlive it. NULL without memory or random
 * bytes. */
struct admin_api *admin_api_create(const struct admin_config *config, struct mailbox *reply_to,
                                   uint64_t started_ms);
void admin_api_destroy(struct admin_api *api); /* no job may be left; NULL is harmless */

/* Begins with what stands behind "/api" in the path ("/publish", "" for the older form) and the body, which
 * must stay where it is until the job ends. NULL with an HTTP status and a sentence when there is nothing to
 * do. `token`: what requests carry. */
struct admin_api_job *admin_api_begin(struct admin_api *api, struct http_slice method, struct http_slice body,
                                      uint64_t token, int *status, const char **sentence);

/* Whom it is from, for the log. */
void admin_api_asked_by(struct admin_api_job *job, const struct address *asker);

enum admin_api_state {
    API_WAITS,   /* answers will come */
    API_STALLED, /* too much is on its way, of this job or of others: go on later */
    API_DONE,
};
/* Asks the broker whatever may be asked now. */
enum admin_api_state admin_api_go_on(struct admin_api *api, struct admin_api_job *job);
/* Takes an answer, for this job or for one that has ended (NULL). Afterwards admin_api_go_on(). */
void admin_api_answered(struct admin_api *api, struct admin_api_job *job, struct broker_request *answer);
/* What a job that is done has to say; the caller frees it. NULL: memory ran out. */
char *admin_api_take(struct admin_api_job *job, size_t *bytes);
void admin_api_end(struct admin_api *api, struct admin_api_job *job); /* at any time */

/* Bytes of jobs and of what they have asked for. */
size_t admin_api_held(const struct admin_api *api);

/* Calls by method and outcome, for /metrics. */
#define API_OUTCOMES(X)                                                                                      \
    X(0, "ok")                                                                                               \
    X(100, "internal")                                                                                       \
    X(104, "method_not_found")                                                                               \
    X(106, "limit_exceeded")                                                                                 \
    X(107, "bad_request")                                                                                    \
    X(108, "not_available")                                                                                  \
    X(111, "too_many_requests")                                                                              \
    X(112, "unrecoverable_position")
enum { API_OUTCOME_COUNT = 8 };
struct admin_api_stats {
    uint64_t calls[API_METHOD_COUNT][API_OUTCOME_COUNT];
    uint64_t unauthorized; /* requests without the right key */
    uint64_t malformed;    /* bodies that are no calls */
};
struct admin_api_stats *admin_api_stats(struct admin_api *api);
const char *api_outcome_label(unsigned outcome);
