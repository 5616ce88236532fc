/* What others ask of the broker: one heap object that travels to its mailbox, is filled in, and comes back.
 *
 * An answer to a reactor travels in the same queue as the messages: what the broker published before it comes
 * before it, what it publishes later comes after it. So a connection that joins its topic when the answer to
 * BROKER_SUBSCRIBE is reached gets everything behind `position` once and in order.
 *
 * Thread: made by the asker's thread, then the broker's, then the asker's again. Owner: whoever has it; freed
 * by broker_request_destroy(). Those without a way back (BROKER_LEAVE) are freed by the broker.
 */
#pragma once

#include "gateway/broker/engine.h"
#include "gateway/broker/mail.h"
#include "gateway/broker/top.h"
#include "proto/json_text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log_limit;

enum broker_op {
    BROKER_PUBLISH,
    BROKER_SUBSCRIBE, /* from a reactor only: presence, join message, history since a position */
    BROKER_LEAVE,     /* from a reactor only, no answer: presence and leave message */
    BROKER_HISTORY,   /* items in `items` */
    BROKER_HISTORY_REMOVE,
    BROKER_PRESENCE,       /* JSON object in `json`: client id → client info */
    BROKER_PRESENCE_STATS, /* `clients`, `users` */
    BROKER_CHANNELS, /* a slice of the topics that match the glob `topic` (all, when it is empty): members
                        of a JSON object in `json`, "name":{"num_clients":n}. `since.offset` says which
                        slice, 0 the first; the next one's is in `position.offset`, 0 behind the last */
    BROKER_INFO,     /* `users`: topics */
    BROKER_TOP,   /* the heaviest topics in `top`: of a slice, as above, by subscribers; of all by traffic */
    BROKER_ORDER, /* `order` goes to every reactor */
};

enum broker_result {
    BROKER_OK,
    BROKER_TOO_LARGE, /* the payload is longer than limits.message_bytes, or the answer than `limit` */
    BROKER_NO_MEMORY,
    BROKER_FULL,     /* max_subscribers of the topic, or its presence */
    BROKER_NOT_KEPT, /* the topic's rule keeps no history, or no presence */
    BROKER_BUSY, /* what it would add to has not been taken yet: limits.inflight_bytes, or answers; nothing
                    was done */
};

/* A piece of the request's own allocation, not NUL-terminated. */
struct text {
    const char *data;
    size_t bytes;
};

/* The same as JSON writers take it: empty is absent. */
static inline struct json_slice text_slice(struct text text)
{
    return text.bytes > 0 ? (struct json_slice){text.data, text.bytes} : (struct json_slice){0};
}

enum { BROKER_NO_REACTOR = UINT16_MAX };

struct order;

/* BROKER_TOP's answer. */
struct broker_top {
    struct top subscribers; /* of the slice; weight: connections */
    struct top traffic;     /* weight: bytes */
    uint64_t traffic_ns;    /* of how long */
};

struct broker_request {
    struct mail mail; /* first */
    uint8_t op;       /* enum broker_op */
    uint8_t result;   /* answer: enum broker_result */
    uint16_t reactor; /* where the answer goes; BROKER_NO_REACTOR: to reply_to */
    uint32_t command; /* the asker's own: id of the client's command */
    uint32_t join;    /* BROKER_SUBSCRIBE: which of the connection's joins, the reactor's own */
    uint64_t token;   /* the asker's own: which connection */
    struct mailbox *reply_to;

    /* asked */
    struct text topic, payload;
    struct text tags;      /* BROKER_PUBLISH: JSON object or empty */
    struct text user;      /* of the client that publishes, joins or leaves */
    struct text conn_info; /* JSON or empty */
    struct text chan_info; /* JSON or empty */
    struct text rest;      /* the asker's own */
    uint8_t client[16];    /* its id; all zero: a backend's */
    uint8_t flags;         /* enum subscription_flags, BROKER_SUBSCRIBE and BROKER_LEAVE. BROKER_HISTORY that
                              is part of joining: SUBSCRIPTION_ANNOUNCED, or 0 */
    bool skip_history;     /* BROKER_PUBLISH */
    bool patient;          /* BROKER_PUBLISH: who asks holds back by itself, and is never told BROKER_BUSY */
    bool backend;          /* BROKER_PUBLISH: told BROKER_BUSY only when backends have to wait */
    bool at_once;          /* BROKER_HISTORY: part of joining, does not wait in line (broker_work) */
    bool promised;         /* BROKER_SUBSCRIBE: the client has not asked, and is never told BROKER_BUSY */
    bool since_set;        /* BROKER_HISTORY and BROKER_SUBSCRIBE: items behind `since`, which stands below */
    bool reverse;          /* BROKER_HISTORY */
    uint8_t demand;        /* enum history_demand, BROKER_HISTORY and BROKER_SUBSCRIBE */
    uint32_t
        limit; /* BROKER_HISTORY: items; 0: the position only. BROKER_PRESENCE: bytes of JSON; 0: no limit */
    uint64_t room; /* BROKER_HISTORY and BROKER_SUBSCRIBE: bytes of items, as history_filter has them */
    struct stream_position since;
    struct order *order; /* BROKER_ORDER: a reference */
    uint64_t came_ns;    /* the broker's own: since when it waits in line (broker_work) */

    /* answered */
    int64_t queued;  /* BROKER_PUBLISH: connections that it was queued to; −1: refused */
    bool recovered;  /* since_set: `items` are all that was missed */
    bool continuous; /* since_set: nothing is missing between `since` and the first of `items` */
    struct stream_position position; /* top of the stream; epoch 0: there is none */
    struct history_item **items;
    size_t item_count;
    uint64_t item_bytes; /* as history_page has them */
    uint64_t clients, users;
    char *json; /* malloc()ed */
    size_t json_bytes;
    struct broker_top *top;  /* malloc()ed */
    _Atomic uint64_t *gauge; /* the broker's, of what its answers hold; NULL: not counted */
    uint64_t gauged;         /* of that, this one's */
};

/* What of a connection's subscription the reactor keeps and the broker must know. */
enum subscription_flags {
    SUBSCRIPTION_POSITIONED = 1, /* it knows its offset: a gap must be told */
    SUBSCRIPTION_JOIN_LEAVE = 2, /* it wants join and leave messages */
    SUBSCRIPTION_PRESENT = 4,    /* it stands in the topic's presence */
    SUBSCRIPTION_ANNOUNCED = 8,  /* others are told when it joins and leaves */
    SUBSCRIPTION_JOINING = 16,   /* reactor only: the broker's answer is on its way */
    SUBSCRIPTION_SERVER = 32,    /* the server subscribed it */
    SUBSCRIPTION_OWN = 64,       /* the adapter's own, for what it likes */
    SUBSCRIPTION_AGAIN =
        128, /* reactor only: joining, and counted in since an earlier time that it has left */
};

/* What a request is made of; texts are copied. */
struct broker_ask {
    enum broker_op op;
    struct text topic, payload, tags, user, conn_info, chan_info, rest;
};
/* NULL without memory. */
struct broker_request *broker_request_create(const struct broker_ask *ask);
void broker_request_destroy(struct broker_request *request);
/* A backend's publication, answered to `reply_to`. NULL without memory. */
struct broker_request *broker_request_publish(struct mailbox *reply_to, uint64_t token, const char *topic,
                                              size_t topic_bytes, const void *payload, size_t payload_bytes);

/* Something that the server API does to connections, whichever reactor has them. */
enum order_kind { ORDER_DISCONNECT, ORDER_SUBSCRIBE, ORDER_UNSUBSCRIBE, ORDER_REFRESH };

struct order {
    _Atomic uint32_t refs;
    uint8_t kind;              /* enum order_kind */
    bool expired;              /* ORDER_REFRESH: it has expired now */
    uint16_t code;             /* ORDER_DISCONNECT: close code */
    int64_t expire_at;         /* ORDER_REFRESH, ORDER_SUBSCRIBE: unix seconds; 0: never */
    struct text user;          /* whose connections; "" are the anonymous ones */
    struct text client;        /* id of the only connection that is meant; "": all of the user */
    struct text whitelist;     /* ids of connections that are not meant, with nothing between them */
    struct text topic, reason; /* of ORDER_SUBSCRIBE and _UNSUBSCRIBE; of ORDER_DISCONNECT */
    struct text info, data;    /* ORDER_SUBSCRIBE: JSON, or empty */
    bool recover;              /* ORDER_SUBSCRIBE: what was published behind `since` comes first */
    struct stream_position since;
};
/* Copies the texts; one reference. NULL without memory. */
struct order *order_create(const struct order *wanted);
/* Records an order that ends connections, and whom it is from: how many, the broker never learns. */
void order_record(const struct order *order, struct log_limit *limit, const char *by, const char *from);
void order_unref(struct order *order); /* any thread */
/* One per reactor; the reactor frees it and drops its reference. */
struct order_copy {
    struct mail mail; /* first */
    struct order *order;
    /* the reactor's own: how far it is */
    struct order_copy *behind; /* the next one that waits */
    uint32_t next, end;        /* slots */
    uint32_t generation;       /* of the first connection that came later than the order */
};
