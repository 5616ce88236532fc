/* A client protocol: what an upgrade request may have, what a client's message means, how a publication looks
 * on the wire.
 *
 * accept() runs on an acceptor's thread, message() on the connection's reactor, encode() on the publisher's
 * thread; so adapters keep no state of their own. Owner: adapters are static tables; what a callback is given
 * lives for that call only.
 */
#pragma once

#include "gateway/settings/settings.h"
#include "proto/http_request.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum adapter_id {
    ADAPTER_RAW,  /* /ws */
    ADAPTER_ECHO, /* /echo */
    ADAPTER_COUNT,
};

enum { TOPIC_BYTES_MAX = 255 };

/* What accept() decides; topics are packed as length byte + name, in URL order, without repeats. */
struct adapter_admission {
    int status;        /* 101 or an HTTP error */
    const char *error; /* static sentence for the response's body when it is not 101 */
    uint8_t topic_count;
    uint16_t topics_bytes;
    uint8_t topics[HTTP_HEAD_MAX];
    char subprotocol[32]; /* to answer with, or "" */
};

/* A publication before it is encoded. */
struct publication {
    const void *payload;
    size_t payload_bytes;
    bool text; /* payload is valid UTF-8 */
    const char *topic;
    size_t topic_bytes;
};

/* What an adapter may do with the connection whose message it handles. Implemented by the reactor. */
struct adapter_link;
struct adapter_link_ops {
    /* Queues one message to this client (framed, sealed and sent by the reactor). */
    void (*send)(struct adapter_link *link, bool text, const void *payload, size_t payload_bytes);
    /* Starts the closing handshake with a WebSocket close code; `text` is a static sentence. Nothing may be
     * sent after it. */
    void (*close)(struct adapter_link *link, uint16_t code, const char *text);
};
struct adapter_link {
    const struct adapter_link_ops *ops;
};

struct adapter {
    const char *name; /* label in metrics and logs */
    const char *path;
    bool reads_messages; /* false: data frames are refused by close code 1008 at their header, nothing is
                            buffered */
    bool brings_token; /* clients may say who they are in this protocol: an upgrade without a token is let in,
                          and the adapter sees to auth.anonymous */
    bool (*enabled)(const struct settings *settings);
    /* Fills *out; the request is a valid WebSocket upgrade for `path`. */
    void (*accept)(const struct settings *settings, const struct http_request *request,
                   struct adapter_admission *out);
    /* One whole message, fragments joined, UTF-8 checked. NULL when reads_messages is false. */
    void (*message)(struct adapter_link *link, bool text, const uint8_t *payload, size_t payload_bytes);
    /* Bytes that encode() will write at most; 0 when this adapter delivers no publications. */
    size_t (*encoded_bound)(const struct publication *publication);
    /* Writes whole unmasked WebSocket frames; returns their bytes. */
    size_t (*encode)(const struct publication *publication, uint8_t *out);
};

extern const struct adapter adapter_raw, adapter_echo;

/* By id; never NULL for id < ADAPTER_COUNT. */
const struct adapter *adapter_get(enum adapter_id id);
/* By request path, or -1 when no enabled adapter serves it. */
int adapter_route(const struct settings *settings, struct http_slice path);
