/* A client protocol: what an upgrade request may have, what a client's message means, how a publication looks
 * on the wire.
 *
 * accept() runs on an acceptor's thread, message() on the connection's reactor, encode() on the publisher's
 * thread; so adapters keep no state of their own. Owner: adapters are static tables; what a callback is given
 * lives for that call only.
 */
#pragma once

#include "gateway/adapter/session.h"
#include "gateway/broker/conn_id.h"
#include "gateway/settings/settings.h"
#include "proto/http_request.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum adapter_id {
    ADAPTER_RAW,        /* /ws */
    ADAPTER_ECHO,       /* /echo */
    ADAPTER_CENTRIFUGE, /* /connection/websocket */
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
    bool since_set;       /* one topic, and what was published behind this offset is to come first */
    uint64_t since_offset, since_epoch; /* epoch 0: not said */
};

enum publication_kind { PUBLICATION_MESSAGE, PUBLICATION_JOIN, PUBLICATION_LEAVE };

/* A publication before it is encoded. */
struct publication {
    enum publication_kind kind;
    const void *payload; /* of a join or leave: the client info as JSON */
    size_t payload_bytes;
    bool text; /* payload is valid UTF-8 */
    bool json; /* payload is a valid JSON value; false also when nobody needs to know */
    const char *topic;
    size_t topic_bytes;
    uint64_t offset;  /* 0: the topic keeps no history */
    const char *info; /* client info of the publishing client as JSON; NULL: a backend published */
    size_t info_bytes;
    const char *tags; /* JSON object; NULL: none */
    size_t tags_bytes;
    uint8_t slow_consumer; /* enum slow_policy: what is lost when a client does not read */
};

struct auth;
struct broker_ask;
struct broker_request;
struct proxy;
struct order;
struct proxy_request;

enum link_join {
    LINK_JOINING,  /* the answer will come to answer() */
    LINK_ALREADY,  /* it has the topic or is about to */
    LINK_TOO_MANY, /* limits.topics_per_connection */
    LINK_FULL,     /* the topic is new here, and there is no room for one more */
    LINK_BUSY,   /* it has asked for 255 that the broker has not answered yet, whether it still wants them or
                    not */
    LINK_FAILED, /* no memory; the connection is gone */
};

/* What an adapter may do with the connection that it is called for. Implemented by the reactor. Any of these
 * may end the connection: `link->gone` tells, and then all of them do nothing. */
struct adapter_link;
struct adapter_link_ops {
    /* Queues one message to this client (framed, sealed and sent by the reactor). */
    void (*send)(struct adapter_link *link, bool text, const void *payload, size_t payload_bytes);
    /* Starts the closing handshake with a WebSocket close code; `text` is copied (at most 123 bytes count).
     * Nothing may be sent after it. */
    void (*close)(struct adapter_link *link, uint16_t code, const char *text);
    /* Asks the broker (not BROKER_SUBSCRIBE or BROKER_LEAVE); answer() is called unless the connection has
     * gone meanwhile. Takes the request. */
    void (*request)(struct adapter_link *link, struct broker_request *request);
    /* Subscribes: a BROKER_SUBSCRIBE request with its `flags` set. Takes the request in every case. When its
     * answer is BROKER_OK, the connection has joined right behind answer()'s return. */
    enum link_join (*join)(struct adapter_link *link, struct broker_request *request);
    /* Ends a subscription (also one that is still joining: no answer() comes any more). False: there is none.
     */
    bool (*leave)(struct adapter_link *link, const char *topic, size_t topic_bytes);
    /* enum subscription_flags of a subscription, or -1 when there is none. */
    int (*subscribed)(struct adapter_link *link, const char *topic, size_t topic_bytes);
    /* Calls visit for each subscription; visit may leave() that one. */
    void (*each)(struct adapter_link *link,
                 void (*visit)(struct adapter_link *link, void *context, const char *topic,
                               size_t topic_bytes, uint8_t flags),
                 void *context);
    /* Hands a request of a kind that is served (proxy_serves()) to the backend hooks; proxied() is called.
     * Takes the request. */
    void (*proxy)(struct adapter_link *link, struct proxy_request *request);
    /* Time that a command has cost, beyond what commands of its size cost: counted as input, of which a turn
     * has so much, and what others have sent is read in the next one. */
    void (*charge)(struct adapter_link *link, uint64_t ns);
    /* expired() is called in so many milliseconds, instead of what was set before; 0: never. */
    void (*deadline)(struct adapter_link *link, uint64_t ms);
    /* The connection's name in the log. */
    struct conn_id (*id)(const struct adapter_link *link);
};
struct adapter_link {
    const struct adapter_link_ops *ops;
    const struct settings *settings;
    struct auth *auth;       /* keys; NULL: none configured */
    struct proxy *proxy;     /* hooks; NULL: none configured */
    struct session *session; /* NULL unless the adapter has sessions */
    uint64_t token;          /* names this connection in requests of its own */
    uint64_t now_s;          /* unix seconds */
    bool tls;
    bool gone; /* closing or closed */
};

struct adapter {
    const char *name; /* label in metrics and logs */
    const char *path;
    bool reads_messages; /* false: data frames are refused by close code 1008 at their header, nothing is
                            buffered */
    /* A conversation: link->session is there, opened() and ended() are called. Clients may say who they are
     * in this protocol: an upgrade without a token is let in, and the adapter sees to auth.anonymous. */
    bool sessions;
    bool (*enabled)(const struct settings *settings);
    /* The request is a valid WebSocket upgrade for `path`; *out admits it without topics, subprotocol or
     * `since`, and is changed where that is not so. Called by adapter_accept(). */
    void (*accept)(const struct settings *settings, const struct http_request *request,
                   struct adapter_admission *out);
    /* The connection has come to its reactor; its 101 is queued. `identity`: as identity_pack() has packed
     * it, or nothing. NULL without `sessions`. */
    void (*opened)(struct adapter_link *link, const char *identity, size_t identity_bytes);
    /* For whoever leaves a topic: its user, the JSON of its info and of its subscription's, texts that live
     * as long as the session and the subscription. NULL without `sessions`. */
    void (*who)(const struct session *session, const char *topic, size_t topic_bytes, struct broker_ask *out);
    /* The last call for a connection: its subscriptions are gone. Only the session may be used. NULL without
     * `sessions`. */
    void (*ended)(struct session *session);
    /* One whole message, fragments joined, UTF-8 checked; the adapter may write into it. NULL when
     * reads_messages is false. */
    void (*message)(struct adapter_link *link, bool text, uint8_t *payload, size_t payload_bytes);
    /* What the broker answered; the reactor frees it. NULL when the adapter never asks. */
    void (*answer)(struct adapter_link *link, const struct broker_request *answer);
    /* The same for the backend. */
    void (*proxied)(struct adapter_link *link, struct proxy_request *answer);
    /* What the server API ordered; called for every connection of an adapter that has it. False: it concerns
     * another one. */
    bool (*ordered)(struct adapter_link *link, const struct order *order);
    /* The deadline has passed. */
    void (*expired)(struct adapter_link *link);
    /* Messages of a positioned subscription were dropped because the client is slow: say so and leave the
     * topic. */
    void (*gap)(struct adapter_link *link, const char *topic, size_t topic_bytes);
    /* The frame that pings this client; NULL: a WebSocket ping. Returns its bytes. */
    size_t (*ping)(uint8_t *out, size_t size);
    /* Bytes that encode() will write at most; 0 when this adapter delivers no such publication. */
    size_t (*encoded_bound)(const struct publication *publication);
    /* Writes whole unmasked WebSocket frames; returns their bytes. */
    size_t (*encode)(const struct publication *publication, uint8_t *out);
    bool centrifuge_codes; /* closes with the codes of that protocol (close_reason.h) */
};

extern const struct adapter adapter_raw, adapter_echo, adapter_centrifuge;

/* By id; never NULL for id < ADAPTER_COUNT. */
const struct adapter *adapter_get(enum adapter_id id);
/* What an upgrade request gets. Fills *out. */
void adapter_accept(enum adapter_id id, const struct settings *settings, const struct http_request *request,
                    struct adapter_admission *out);
/* By request path, or -1 when no enabled adapter serves it. */
int adapter_route(const struct settings *settings, struct http_slice path);
