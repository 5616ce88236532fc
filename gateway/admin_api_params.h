/* The parameters of a call of the server API: members of a JSON object, each of the type that the caller
 * wants. The first thing that is wrong sticks; what is read after it is empty.
 *
 * Thread: the admin's; no heap. Owner: the caller; texts point into the object or into the reader's room.
 */
#pragma once

#include "gateway/broker/request.h"
#include "proto/json_text.h"

#define API_PARAMS(X)                                                                                        \
    X(CHANNEL, "channel")                                                                                    \
    X(CHANNELS, "channels")                                                                                  \
    X(DATA, "data")                                                                                          \
    X(B64DATA, "b64data")                                                                                    \
    X(SKIP_HISTORY, "skip_history")                                                                          \
    X(TAGS, "tags")                                                                                          \
    X(IDEMPOTENCY_KEY, "idempotency_key")                                                                    \
    X(VERSION, "version")                                                                                    \
    X(USER, "user")                                                                                          \
    X(CLIENT, "client")                                                                                      \
    X(SESSION, "session")                                                                                    \
    X(WHITELIST, "whitelist")                                                                                \
    X(DISCONNECT, "disconnect")                                                                              \
    X(CODE, "code")                                                                                          \
    X(REASON, "reason")                                                                                      \
    X(INFO, "info")                                                                                          \
    X(B64INFO, "b64info")                                                                                    \
    X(RECOVER_SINCE, "recover_since")                                                                        \
    X(OVERRIDE, "override")                                                                                  \
    X(SINCE, "since")                                                                                        \
    X(OFFSET, "offset")                                                                                      \
    X(EPOCH, "epoch")                                                                                        \
    X(LIMIT, "limit")                                                                                        \
    X(REVERSE, "reverse")                                                                                    \
    X(EXPIRED, "expired")                                                                                    \
    X(EXPIRE_AT, "expire_at")                                                                                \
    X(PATTERN, "pattern")

enum api_param {
#define X(name, text) API_PARAM_##name,
    API_PARAMS(X)
#undef X
        API_PARAM_COUNT
};

/* An error as the answer carries it; code 0: none. */
struct api_error {
    uint16_t code; /* enum centrifuge_error */
    char detail[94];
};
/* Keeps the first one. `name` says which parameter; NULL: none in particular. */
void api_error_set(struct api_error *error, uint16_t code, const char *name, const char *sentence);

struct api_reader {
    char *room; /* for texts with escapes and for decoded base64; as large as what is read suffices */
    size_t room_left;
    struct api_error error;
    struct json_slice at[API_PARAM_COUNT]; /* .data NULL: absent. null counts as absent, but for data */
};
/* Finds the members of `object`, which is valid JSON; sets an error when it is no object. Room and error stay
 * as they are, so that objects inside objects can be read with a copy. */
void api_read(struct api_reader *reader, struct json_slice object);

static inline bool api_has(const struct api_reader *reader, enum api_param param)
{
    return reader->at[param].data != NULL;
}
/* Absent: empty. */
struct text api_text(struct api_reader *reader, enum api_param param);
/* A topic's name: 1 … 255 bytes without NUL. */
struct text api_topic(struct api_reader *reader, enum api_param param);
struct text api_topic_in(struct api_reader *reader, struct json_slice string);
/* Absent: 0 or false. */
int64_t api_int(struct api_reader *reader, enum api_param param, int64_t min, int64_t max);
uint64_t api_uint64(struct api_reader *reader, enum api_param param);
bool api_bool(struct api_reader *reader, enum api_param param);
/* Any value, as it stands. */
struct text api_json(const struct api_reader *reader, enum api_param param);
/* {"offset":N,"epoch":"…"}. An epoch that no stream here can have becomes API_NO_EPOCH. */
struct stream_position api_position(struct api_reader *reader, enum api_param param);
#define API_NO_EPOCH UINT64_MAX
/* Standard base64 with padding; absent or "": empty. */
struct text api_base64(struct api_reader *reader, enum api_param param);
/* An object of strings, as it stands. */
struct text api_tags(struct api_reader *reader, enum api_param param);
/* Texts of an array that are `bytes` long, one behind the other; others are left out. */
struct text api_texts_of(struct api_reader *reader, enum api_param param, size_t bytes);
