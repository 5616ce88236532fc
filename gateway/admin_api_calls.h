/* The calls of the server API, one by one: what is asked of the broker for each, and what its answer looks
 * like. Batches and broadcasts are made of these by admin_api.c.
 *
 * Thread: the admin's. Owner: a request belongs to whoever has it (request.h).
 */
#pragma once

#include "gateway/admin_api_params.h"
#include "gateway/settings/settings.h"
#include "proto/json_out.h"

#define API_METHODS(X)                                                                                       \
    X(PUBLISH, "publish")                                                                                    \
    X(BROADCAST, "broadcast")                                                                                \
    X(SUBSCRIBE, "subscribe")                                                                                \
    X(UNSUBSCRIBE, "unsubscribe")                                                                            \
    X(DISCONNECT, "disconnect")                                                                              \
    X(REFRESH, "refresh")                                                                                    \
    X(PRESENCE, "presence")                                                                                  \
    X(PRESENCE_STATS, "presence_stats")                                                                      \
    X(HISTORY, "history")                                                                                    \
    X(HISTORY_REMOVE, "history_remove")                                                                      \
    X(CHANNELS, "channels")                                                                                  \
    X(INFO, "info")                                                                                          \
    X(RPC, "rpc")                                                                                            \
    X(BATCH, "batch")

enum api_method {
#define X(name, text) API_##name,
    API_METHODS(X)
#undef X
        API_UNKNOWN,
    API_METHOD_COUNT
};
const char *api_method_name(enum api_method method); /* "unknown" for API_UNKNOWN */
enum api_method api_method_find(const char *name, size_t len);

enum { API_HISTORY_MAX = 10000 }; /* publications in one answer */

/* What publish and broadcast say beside the topic. */
struct api_publication {
    struct text payload, tags, key;
    bool skip_history;
};
void api_read_publication(struct api_reader *reader, const struct settings *settings,
                          struct api_publication *out);
/* NULL without memory. */
struct broker_request *api_publish_request(const struct api_publication *publication, struct text topic);

/* The request of a call that the reader has read, for all methods that are one request: not publish,
 * broadcast, batch. NULL: the reader's error says why. */
struct broker_request *api_call_request(enum api_method method, struct api_reader *reader);

/* Who this gateway is, for info. */
struct api_node {
    const char *uid, *name;
    uint64_t clients, uptime_s;
};
/* Whether the answer is an error; sets it. */
bool api_answer_failed(enum api_method method, const struct broker_request *answer, struct api_error *error);
/* The result of an answer that has not failed: a JSON object. Not channels, whose answer comes in pieces. */
void api_write_result(struct json_out *out, enum api_method method, const struct broker_request *answer,
                      const struct api_node *node);
/* The result of a publication. */
void api_write_position(struct json_out *out, struct stream_position position);
/* {"code":…,"message":"…"} */
void api_write_error(struct json_out *out, const struct api_error *error);
