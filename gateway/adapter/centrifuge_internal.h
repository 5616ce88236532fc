/* Inside of the Centrifuge adapter: what its files share. Not for others.
 *
 *   centrifuge.c              the table; one message's commands; how a session begins and ends
 *   centrifuge_session.c      what a session keeps beside its 32 bytes
 *   centrifuge_talk.c         replies, disconnects, deadline, questions to the broker and to the backend
 *   centrifuge_token.c        checks of tokens, and how many one may have
 *   centrifuge_connect.c      connect: who the client is
 *   centrifuge_server_subs.c  topics that the server subscribes a connecting client to
 *   centrifuge_connecting.c   what is kept meanwhile, and the reply to connect
 *   centrifuge_refresh.c      refresh, sub_refresh, and what happens when nobody does
 *   centrifuge_join.c         joining a topic and leaving it, by whomever
 *   centrifuge_subscribe.c    subscribe and unsubscribe
 *   centrifuge_topic.c        publish, presence, history, rpc
 *   centrifuge_order.c        what the server API orders
 *   centrifuge_frame.c        a publication as a frame
 *
 * Thread: the connection's reactor, but for centrifuge_frame.c (the broker's). Owner: a session's memory is
 * the session's; a talk lives for one callback of the adapter.
 */
#pragma once

#include "gateway/adapter/adapter.h"
#include "gateway/auth/auth.h"
#include "gateway/base/uuid.h"
#include "gateway/broker/request.h"
#include "gateway/proxy/proxy.h"
#include "proto/centrifuge.h"

#include <string.h>

enum {
    GRACE_S = 25,        /* how long what has expired may wait for its refresh */
    REFRESH_RETRY_S = 5, /* until a backend that has not answered is asked again */
    ASKED_MAX = 1024,    /* a connection's unanswered requests to the broker, */
    READ_WEIGHT = 16,    /* of which one that asks who is there, or what was, counts as so many, */
    PROXIED_MAX = 32,    /* and to the backend */
    HISTORY_MAX = 300,   /* publications of one page of history */
    SERVER_SUBS_MAX = 255,
    DEADLINE_MAX_S = 24 * 3600, /* a deadline that is further away is looked at again by then */
};

/* What a session keeps
 * ------------------------------------------------------------------------------------------------ */

/* Who a client is, and what its backend wants to know of it again. */
struct who {
    struct text user, info, meta, headers; /* in this allocation; all but user JSON, or lines of headers */
};

/* What is to be remembered of a topic: who waits for an answer about it, when it expires, the info of its
 * subscription. */
struct session_topic {
    struct session_topic *next;
    int64_t expire_at; /* unix seconds; 0: never */
    uint32_t command;  /* the client's subscribe that waits for its reply; 0: none */
    bool asking;     /* the backend is asked whether the client may subscribe: there is no subscription yet */
    bool by_backend; /* the backend sees to its expiry; the client knows nothing of it */
    bool refreshing; /* the backend is asked whether it goes on, */
    int64_t retry_at; /* and could not say: it is asked again then */
    uint8_t topic_bytes;
    uint32_t info_bytes;
    char *info; /* JSON; NULL: none */
    char topic[];
};

struct connecting; /* centrifuge_connecting.h */

struct session_more {
    struct who *who; /* NULL: an anonymous client of whom nothing is known */
    struct session_topic *topics;
    struct connecting *connecting; /* its topics are being joined */
    char *upgrade;                 /* what identity_pack() has packed; until connected */
    size_t upgrade_bytes;
    char *held; /* commands that wait until it is connected */
    size_t held_bytes, held_room;
    int64_t expire_at;       /* unix seconds; 0: never */
    bool by_backend;         /* the backend sees to its expiry; the client knows nothing of it */
    bool refreshing;         /* the backend is asked whether it goes on, */
    int64_t retry_at;        /* and could not say: it is asked again then */
    uint16_t proxied;        /* requests to the backend that are not answered yet */
    uint32_t bad_until_s;    /* clock_monotonic_ms() in seconds when all bad tokens are forgotten */
    uint64_t tokens_paid_ms; /* clock_monotonic_ms() when all tokens that were checked are paid for */
};

/* Made when there is none; NULL without memory. */
struct session_more *session_more_get(struct session *session);
/* Freed when nothing is left in it. */
void session_more_tidy(struct session *session);
void session_more_free(struct session *session);
/* False without memory: it is who it was. Nothing known: nobody. */
bool session_be(struct session *session, const struct who *who);
/* All empty when nothing is known. Texts live until session_be(). */
struct who session_who(const struct session *session);
/* What is remembered of a topic, or NULL. */
struct session_topic *session_topic_find(const struct session *session, struct text topic);
/* The same, made when there is none; NULL without memory. */
struct session_topic *session_topic_get(struct session *session, struct text topic);
/* False without memory. */
bool session_topic_info(struct session_topic *topic, struct text info);
void session_topic_forget(struct session *session, struct text topic);
/* Forgets it when there is nothing to remember. */
void session_topic_tidy(struct session *session, struct session_topic *topic);

/* One callback
 * ------------------------------------------------------------------------------------------------ */

struct talk {
    struct adapter_link *link;
    struct json_out out; /* replies and pushes so far: they leave as one message */
    bool refused;        /* connect was: what came with it is void */
};

static inline struct text text_of(struct json_slice slice)
{
    return (struct text){slice.data, slice.len};
}
static inline bool text_equal(struct text a, struct text b)
{
    return a.bytes == b.bytes && (a.bytes == 0 || memcmp(a.data, b.data, a.bytes) == 0);
}
/* Copies a text to *at, and moves that behind it. */
static inline struct text text_keep(char **at, struct text from)
{
    struct text kept = {.data = *at, .bytes = from.bytes};
    if (from.bytes > 0)
        memcpy(*at, from.data, from.bytes);
    *at += from.bytes;
    return kept;
}
static inline struct session *talk_session(const struct talk *talk)
{
    return talk->link->session;
}
static inline bool talk_over(const struct talk *talk)
{
    return talk->link->gone;
}

struct talk talk_begin(struct adapter_link *link);
/* Sends what has been said so far. */
void talk_flush(struct talk *talk);
/* The same, and frees. The last call. */
void talk_end(struct talk *talk);
/* Sends what has been said, and closes with a code of the tables. */
void talk_disconnect(struct talk *talk, enum centrifuge_disconnect code);
/* With any code; no text: that of the tables, or none. */
void talk_disconnect_with(struct talk *talk, uint16_t code, struct text reason);
/* Bytes of one reply: the client must be able to take it, whatever else waits for it. */
size_t talk_room(const struct talk *talk);
/* Around a reply that may turn out larger than the client can take: talk_tried() is false when it has, or
 * without memory, and has taken back what was written since talk_try(), whose result it is given. */
size_t talk_try(struct talk *talk);
bool talk_tried(struct talk *talk, size_t mark) __attribute__((warn_unused_result));
void talk_take_back(struct talk *talk, size_t mark); /* in any case */
void talk_error(struct talk *talk, uint32_t command, enum centrifuge_error error);
/* The error that a backend's answer gives the client; disconnects when it says so. */
void talk_backend_error(struct talk *talk, const struct proxy_request *answer);

/* The next thing that has to be done by the clock: calls link->ops->deadline. */
void talk_arm(struct talk *talk);
uint32_t talk_ttl(const struct talk *talk, int64_t expire_at); /* seconds, at least 1 */
/* When the connection's expiry, or a topic's, must be seen to: unix seconds, INT64_MAX for never. */
int64_t session_due(const struct session_more *more);
int64_t session_topic_due(const struct session_topic *topic);

/* What the broker is asked about a topic. */
struct ask {
    struct broker_ask broker;
    uint32_t command;
    bool since_set, reverse, skip_history, at_once;
    uint8_t flags; /* as the request's */
    enum history_demand demand;
    uint32_t limit;
    size_t room;
    struct stream_position since;
};
/* False: refused, the reply says why. */
bool talk_ask(struct talk *talk, struct ask *ask);
/* One is answered. */
void talk_asked(struct session *session, const struct broker_request *answer);
/* Asks the backend; fills in who the client is. False: refused, `error` says why. The kind is served. */
bool talk_proxy(struct talk *talk, uint32_t command, struct proxy_ask *ask, enum centrifuge_error *error);

/* Missed publications
 * ------------------------------------------------------------------------------------------- */

/* Views of items in the codec's struct; NULL without memory (or for none). free()d by the caller. */
struct centrifuge_publication *publications_of(struct history_item *const *items, size_t count);

/* What a client says of its position in a topic. */
struct wish {
    bool recover;      /* it has been there before, */
    bool epoch_known;  /* in a stream that may be this one: */
    bool join_leave;   /* it wants to know who comes and goes */
    bool all_or_error; /* rather than a topic of which it has missed something it wants none */
    struct stream_position since;
};
struct wish wish_of(const struct centrifuge_subscribe *subscribe);

/* Joining and leaving
 * ------------------------------------------------------------------------------------------- */

/* Why a topic is joined: decides what the answer does. */
enum join_reason {
    JOIN_SUBSCRIBE, /* the client's command */
    JOIN_CONNECT,   /* the server's, part of connect */
    JOIN_CATCH_UP,  /* the same, behind a position that the client has been told */
    JOIN_ORDER,     /* the server API's */
};
/* What the answer needs to know: goes along in the request's `rest`, with the data for the client behind it.
 */
struct join_note {
    uint8_t reason; /* enum join_reason */
    bool was_recovering, all_or_error;
};
struct join {
    enum join_reason reason;
    uint32_t command;
    struct text topic;
    struct wish wish;
    struct text info, data; /* JSON or empty */
    int64_t expire_at;
    bool by_backend;
};
/* LINK_FAILED: the connection is gone, or going. */
enum link_join talk_join(struct talk *talk, const struct join *join);
/* What the broker says to it. */
void talk_joined(struct talk *talk, const struct broker_request *answer);
/* Leaves a topic, whatever has been going on there; a subscribe command that waited for its reply gets one.
 * False: there was nothing to leave. */
bool talk_leave(struct talk *talk, struct text topic);
/* The same, and says so to the client. */
void talk_unsubscribe_push(struct talk *talk, struct text topic, uint32_t code);
/* What a subscription has got, as replies and pushes say it; `epoch` is where its text goes. */
struct centrifuge_subscribe_result talk_result(struct talk *talk, const struct broker_request *answer,
                                               char epoch[EPOCH_TEXT_BYTES]);

/* Commands, and answers to what they have asked
 * ----------------------------------------------------------------------------------------- */

/* Reads the commands of one message, or of what was held; writes into it. */
void talk_read(struct talk *talk, char *message, size_t bytes);

void talk_connect(struct talk *talk, uint32_t command, const struct centrifuge_connect *connect);
void talk_connect_proxied(struct talk *talk, const struct proxy_request *answer);
/* The client is refused with an error; it may try again until the deadline. */
void talk_connect_refuse(struct talk *talk, uint32_t command, enum centrifuge_error error);

/* A topic that the server subscribes a client to. */
struct server_topic {
    struct text name, info, data;
    int64_t expire_at;
};
/* Connects the client, once it has been joined to these topics. `wishes`: wishes_pack()ed. */
void talk_admit(struct talk *talk, uint32_t command, const struct server_topic *topics, size_t count,
                struct text data, struct text wishes);
/* A subscription's answer (JOIN_CONNECT) or position (BROKER_HISTORY) that talk_admit() waits for. */
void talk_admit_answered(struct talk *talk, const struct broker_request *answer);
void connecting_destroy(struct connecting *connecting);
/* What a connect command wishes of topics that the server subscribes to, as bytes; free()d by the caller.
 * False without memory. */
bool wishes_pack(const struct centrifuge_connect *connect, struct text *out)
    __attribute__((warn_unused_result));

void talk_subscribe(struct talk *talk, uint32_t command, const struct centrifuge_subscribe *subscribe);
void talk_subscribe_proxied(struct talk *talk, const struct proxy_request *answer);
void talk_unsubscribe(struct talk *talk, uint32_t command, struct text topic);

void talk_publish(struct talk *talk, uint32_t command, const struct centrifuge_publish *publish);
void talk_publish_proxied(struct talk *talk, const struct proxy_request *answer);
void talk_presence(struct talk *talk, uint32_t command, struct text topic, bool stats);
void talk_history(struct talk *talk, uint32_t command, const struct centrifuge_history *history);
void talk_rpc(struct talk *talk, uint32_t command, struct json_slice method, struct json_slice data);
void talk_rpc_proxied(struct talk *talk, const struct proxy_request *answer);
/* BROKER_PUBLISH, BROKER_PRESENCE, BROKER_PRESENCE_STATS, BROKER_HISTORY. */
void talk_topic_answered(struct talk *talk, const struct broker_request *answer);

/* Says in the log why a token was not taken. `identity`: what the check has filled; nothing without keys. */
void talk_token_refused(const struct talk *talk, const char *command, const struct auth_identity *identity);
/* Has the client a check of a token left? False: the reply says to try again later. */
bool talk_may_check(struct talk *talk, uint32_t command);
/* auth.h's checks, for this client; AUTH_INVALID without keys. */
enum auth_result talk_check_connection(struct talk *talk, struct text token, struct auth_identity *out);
enum auth_result talk_check_subscription(struct talk *talk, struct text token, struct text topic,
                                         struct auth_identity *out);
/* A subscription's token was AUTH_INVALID: an error, and the end of a connection that goes on like this. */
void talk_bad_token(struct talk *talk, uint32_t command);

void talk_refresh(struct talk *talk, uint32_t command, struct text token);
void talk_refresh_proxied(struct talk *talk, const struct proxy_request *answer);
void talk_sub_refresh(struct talk *talk, uint32_t command, struct text topic, struct text token);
void talk_sub_refresh_proxied(struct talk *talk, const struct proxy_request *answer);
/* The deadline has passed. */
void talk_expired(struct talk *talk);

bool talk_ordered(struct talk *talk, const struct order *order);

/* A publication as a frame
 * --------------------------------------------------------------------------------------- */

size_t centrifuge_frame_bound(const struct publication *publication);
size_t centrifuge_frame_encode(const struct publication *publication, uint8_t *out);
