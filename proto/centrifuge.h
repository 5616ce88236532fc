/* The Centrifuge client protocol, version 2, JSON, bidirectional
 * (centrifugal.dev/docs/transports/client_protocol): commands of a client decoded, replies and pushes
 * encoded. PROTOCOLS.md says which rule is checked where.
 *
 * Thread: any; pure functions without heap (an encoder's json_out may grow). Owner: the caller; what is
 * decoded points into the message.
 */
#pragma once

#include "proto/centrifuge_codes.h"
#include "proto/json_out.h"
#include "proto/parse.h"

enum { CENTRIFUGE_COMMANDS_MAX = 1024 }; /* in one message */

/* X(enum name, name on the wire), in the order of the protocol's schema */
#define CENTRIFUGE_METHODS(X)                                                                                \
    X(CONNECT, "connect")                                                                                    \
    X(SUBSCRIBE, "subscribe")                                                                                \
    X(UNSUBSCRIBE, "unsubscribe")                                                                            \
    X(PUBLISH, "publish")                                                                                    \
    X(PRESENCE, "presence")                                                                                  \
    X(PRESENCE_STATS, "presence_stats")                                                                      \
    X(HISTORY, "history")                                                                                    \
    X(PING, "ping")                                                                                          \
    X(SEND, "send")                                                                                          \
    X(RPC, "rpc")                                                                                            \
    X(REFRESH, "refresh")                                                                                    \
    X(SUB_REFRESH, "sub_refresh")

enum centrifuge_method {
#define X(name, text) CENTRIFUGE_##name,
    CENTRIFUGE_METHODS(X)
#undef X
        CENTRIFUGE_METHOD_COUNT,
    CENTRIFUGE_PONG = CENTRIFUGE_METHOD_COUNT, /* {}: the answer to a ping of ours */
    CENTRIFUGE_UNKNOWN, /* an id, and no method that we know: to be answered with METHOD_NOT_FOUND */
};
/* Name on the wire, also as a label; "pong" and "unknown" for the last two. */
const char *centrifuge_method_name(enum centrifuge_method method);

/* Strings are decoded UTF-8 without NUL character, absent (.data is NULL) when missing or null. `data` is the
 * raw text of a JSON value of any kind, also null, and absent only when missing. Channels are as the client
 * wrote them, "" or absent or twice: the caller has its own rules for names. `type` is 0 for what we speak;
 * newer clients ask for other kinds of subscription by it, which should be answered with NOT_AVAILABLE. */
enum { CENTRIFUGE_FLAG_REJECT_UNRECOVERED = 2 }; /* rather UNRECOVERABLE_POSITION than `recovered` false */

struct centrifuge_subscribe {
    struct json_slice channel;
    struct json_slice token;
    struct json_slice data;
    struct json_slice epoch;
    uint64_t offset;
    uint64_t flags; /* CENTRIFUGE_FLAG_…; the other bits are wishes that a server may ignore */
    bool recover;
    bool positioned;
    bool recoverable;
    bool join_leave;
    int32_t type;
};

struct centrifuge_connect {
    struct json_slice token;
    struct json_slice data;
    struct json_slice name, version;   /* of the client's SDK */
    struct json_slice headers;         /* raw object, its values checked to be strings */
    struct centrifuge_subscribe *subs; /* server-side subscriptions to recover; in the decoder's room */
    size_t sub_count;
};

struct centrifuge_publish {
    struct json_slice channel, data;
    int32_t type;
};

struct centrifuge_history {
    struct json_slice channel;
    int32_t limit; /* 0: only the position; negative: no limit */
    bool has_since;
    bool reverse;
    uint64_t since_offset;
    struct json_slice since_epoch;
};

struct centrifuge_command {
    enum centrifuge_method method;
    uint32_t id; /* 0 for pong, and for a send without one */
    union {
        struct centrifuge_connect connect;
        struct centrifuge_subscribe subscribe;
        struct {
            struct json_slice channel;
        } unsubscribe, presence, presence_stats;
        struct centrifuge_publish publish;
        struct centrifuge_history history;
        struct {
            struct json_slice data;
        } send;
        struct {
            struct json_slice method, data;
        } rpc;
        struct {
            struct json_slice token;
        } refresh;
        struct {
            struct json_slice channel, token;
            int32_t type;
        } sub_refresh;
    };
};

/* Reads the commands of one message. */
struct centrifuge_decoder {
    char *message;
    size_t len, at;
    struct centrifuge_subscribe *subs; /* room for a connect's subscriptions; shared by all commands */
    size_t subs_max;
    uint32_t commands;
    const char *error; /* after PARSE_BAD: what was wrong, for the log; no word of the client's in it */
    char error_text[64];
};

/* Escaped strings are decoded where they stand, so `message` is written to; it stays the caller's. */
void centrifuge_decoder_init(struct centrifuge_decoder *decoder, char *message, size_t len,
                             struct centrifuge_subscribe *subs, size_t subs_max);
/* PARSE_OK: *command is the next one, and what it points to lives as long as the message (subs: until the
 * next call). PARSE_MORE: there is no further one. PARSE_BAD: to be disconnected with BAD_REQUEST; so are a
 * message without any command, and a method without an id unless it is send. */
enum parse_result centrifuge_decode(struct centrifuge_decoder *decoder, struct centrifuge_command *command)
    __attribute__((warn_unused_result));

/* Encoders append one line to `out`, with a newline before it when something stands there already: several in
 * one json_out make one message. Fields are left out when they are zero, false, absent or "", as the
 * reference server does; others are said to be always there. Text is UTF-8; `data` and the like are valid
 * JSON. */

/* Who is behind a connection. The conn_info of a token, the chan_info of a subscription. */
struct centrifuge_info {
    struct json_slice user;   /* always there */
    struct json_slice client; /* always there */
    struct json_slice conn_info, chan_info;
};
/* The object alone, without a line: what publications, joins, leaves and presence carry. */
void centrifuge_encode_info(struct json_out *out, const struct centrifuge_info *info);

struct centrifuge_publication {
    const void *payload; /* always there: as JSON, text or binary, see enum json_payload */
    size_t payload_bytes;
    bool text;              /* payload is valid UTF-8 */
    bool json;              /* payload is valid JSON */
    uint64_t offset;        /* 0: the topic has no history */
    struct json_slice info; /* of a client that published: an object by centrifuge_encode_info() */
    struct json_slice tags; /* an object of strings */
};

struct centrifuge_subscribe_result {
    bool expires;
    uint32_t ttl; /* seconds */
    bool recoverable;
    bool positioned;
    bool recovered;
    bool was_recovering;
    struct json_slice epoch;
    uint64_t offset;
    struct json_slice data;
    const struct centrifuge_publication *publications; /* missed ones, oldest first */
    size_t publication_count;
};

struct centrifuge_connect_sub {
    struct json_slice channel;
    struct centrifuge_subscribe_result result;
};

struct centrifuge_connect_result {
    struct json_slice client;
    struct json_slice version;
    bool expires;
    uint32_t ttl; /* seconds */
    struct json_slice data;
    const struct centrifuge_connect_sub *subs;
    size_t sub_count;
    uint32_t ping; /* seconds between our pings; 0: none */
    bool pong;     /* the client answers them */
    struct json_slice session;
    struct json_slice node;
};

void centrifuge_reply_connect(struct json_out *out, uint32_t id,
                              const struct centrifuge_connect_result *result);
void centrifuge_reply_subscribe(struct json_out *out, uint32_t id,
                                const struct centrifuge_subscribe_result *result);
/* An empty result: unsubscribe, publish, ping. */
void centrifuge_reply_empty(struct json_out *out, uint32_t id, enum centrifuge_method method);
/* By client id; the object is always there. */
void centrifuge_reply_presence(struct json_out *out, uint32_t id, const struct centrifuge_info *infos,
                               size_t count);
/* Both numbers are always there. */
void centrifuge_reply_presence_stats(struct json_out *out, uint32_t id, uint32_t clients, uint32_t users);
/* All three are always there. */
void centrifuge_reply_history(struct json_out *out, uint32_t id,
                              const struct centrifuge_publication *publications, size_t count,
                              struct json_slice epoch, uint64_t offset);
void centrifuge_reply_rpc(struct json_out *out, uint32_t id, struct json_slice data);
void centrifuge_reply_refresh(struct json_out *out, uint32_t id, struct json_slice client,
                              struct json_slice version, bool expires, uint32_t ttl);
void centrifuge_reply_sub_refresh(struct json_out *out, uint32_t id, bool expires, uint32_t ttl);
/* A code of the tables: with its message and its flag. */
void centrifuge_reply_error(struct json_out *out, uint32_t id, enum centrifuge_error error);
/* Any code, as a backend may choose one (400 to 1999). */
void centrifuge_reply_custom_error(struct json_out *out, uint32_t id, uint32_t code,
                                   struct json_slice message, bool temporary);

/* {}: the server's ping. */
void centrifuge_push_ping(struct json_out *out);
void centrifuge_push_publication(struct json_out *out, struct json_slice channel,
                                 const struct centrifuge_publication *publication);
void centrifuge_push_join(struct json_out *out, struct json_slice channel, struct json_slice info);
void centrifuge_push_leave(struct json_out *out, struct json_slice channel, struct json_slice info);
/* The server has subscribed the client; of `result` counts what such a push carries: recoverable, positioned,
 * epoch, offset, data. */
void centrifuge_push_subscribe(struct json_out *out, struct json_slice channel,
                               const struct centrifuge_subscribe_result *result);
void centrifuge_push_unsubscribe(struct json_out *out, struct json_slice channel, uint32_t code,
                                 struct json_slice reason);
void centrifuge_push_message(struct json_out *out, struct json_slice data);
void centrifuge_push_disconnect(struct json_out *out, uint32_t code, struct json_slice reason);
void centrifuge_push_refresh(struct json_out *out, bool expires, uint32_t ttl);

/* For whoever encodes a publication once for all: bytes that centrifuge_encode_publication_push() will write,
 * exactly, and the push itself, without heap. */
size_t centrifuge_publication_bound(struct json_slice channel,
                                    const struct centrifuge_publication *publication);
size_t centrifuge_encode_publication_push(struct json_slice channel,
                                          const struct centrifuge_publication *publication, void *out);
