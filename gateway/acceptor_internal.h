/* Inside of the acceptor: the slot of a connection that is not a WebSocket yet, and the steps it goes
 * through.
 *
 * Thread: the acceptor's. Owner: the acceptor's slab owns slots; a slot its descriptor, buffers and handshake
 * until it is transferred.
 */
#pragma once

#include "gateway/acceptor.h"
#include "gateway/base/list.h"
#include "gateway/base/slab.h"
#include "gateway/base/wheel.h"
#include "gateway/conn/access_log.h"
#include "gateway/conn/buffer.h"
#include "gateway/tls/tls_handshake.h"
#include "proto/http_request.h"

#include <pthread.h>

enum pending_state {
    PENDING_FREE,
    PENDING_PROXY,    /* reading the PROXY header */
    PENDING_TLS,      /* OpenSSL's handshake */
    PENDING_HTTP,     /* reading the request */
    PENDING_REPLY,    /* waits for the broker's answer to a publish */
    PENDING_RESPONSE, /* sending a response that is no upgrade */
    PENDING_LINGER,   /* response is out; input is thrown away until EOF so that no reset overtakes it */
};

struct pending {
    struct wheel_entry timer; /* the one deadline over everything */
    int fd;
    uint32_t generation;
    uint8_t state;
    uint8_t transport;
    uint8_t refusal;    /* enum handshake_failure: will be told so as soon as it can be told anything; none is
                           HANDSHAKE_FAILURE_COUNT */
    bool writing : 1;   /* EPOLLOUT is asked for */
    bool forwarded : 1; /* a proxy said who the client is */
    bool awaits_forwarded : 1; /* the request's header is to say it: nothing is limited before */
    struct list place;  /* in one of the acceptor's two lists of those whose turn it is to say something */
    uint32_t placed_at; /* tick */
    uint32_t ip_handle;
    uint32_t retry_after;  /* seconds; 0: the usual */
    struct address client; /* as far as it is known */
    uint16_t suite;
    uint8_t idle_records; /* tls_post_count() */
    uint8_t key_updates;
    struct tls_handshake *handshake;
    struct tls_direction read, write; /* once the handshake is done */
    struct buffer raw;                /* received, not yet opened or handed to OpenSSL */
    struct buffer plain;              /* the request so far */
    struct http_progress progress;    /* and how far it was looked at */
    struct buffer out;                /* to send, ready for the wire */
};

/* Who asks, as it travels to the reactor (adapter/identity.h). */
struct identity_room {
    uint32_t bytes; /* 0: nothing is known */
    bool authenticated;
    uint8_t packed[32 * 1024];
};

struct acceptor {
    struct acceptor_shared *shared;
    struct acceptor_stats stats;
    struct acceptor_config config;
    int epoll_fd;
    struct slab slots;
    struct wheel wheel;
    uint32_t now, next_generation;
    uint32_t deadline_ticks;
    struct tls_crypto *crypto;
    struct tls_context *tls;
    struct tls_ticket_keys *ticket_keys;               /* what `tls` has, and its successor will have */
    _Atomic(struct tls_context *) new_tls;             /* from acceptor_reload(), taken by the thread */
    _Atomic(struct tls_ticket_keys *) new_ticket_keys; /* from acceptor_rotate(), likewise */
    struct access *access;
    _Atomic(struct access *) new_access; /* from acceptor_restrict(), likewise */
    struct mailbox mailbox;              /* answers of the broker, wakes */
    struct pulse pulse;
    _Atomic bool drain, end;         /* asked by main */
    _Atomic bool drained;            /* nothing more will be transferred */
    bool closed;                     /* drain has begun: there are no listeners any more */
    uint32_t closed_until;           /* tick; meaningful when `closed`: what is unfinished then is given up */
    bool listening;                  /* listeners are in epoll */
    uint32_t refused;                /* slots with a refusal */
    struct list outside;             /* who has not said anything whole, or was answered; the oldest first */
    struct list midway;              /* who has; the one that went on last is the last */
    uint32_t accept_pause_until;     /* tick; meaningful while !listening */
    struct transfer_batch **batches; /* per reactor, made at first use */
    uint32_t batches_waiting;        /* with something in them */
    uint32_t neighbours_port;        /* the reactor that the next ones go to, ... */
    uint32_t neighbours_left;        /* ... so many of them */
    uint32_t ended_since_trim;       /* handshakes whose memory the allocator may still hold */
    uint32_t trimmed_at;             /* tick */
    struct index_list_u32 {
        uint32_t *items;
        uint32_t count, cap;
    } freed;                            /* slots to free after the batch of events */
    struct adapter_admission admission; /* scratch */
    struct identity_room identity;      /* scratch */
    uint8_t *scratch;                   /* for reading and sealing */
    struct access_sampler access_log;
    int status; /* of the last response */
    pthread_t thread;
};

enum {
    ACCEPTOR_READ = 16 * 1024, /* bytes read in one turn */
    ACCEPTOR_RAW_MAX = 3 * ACCEPTOR_READ,
    ACCEPTOR_SCRATCH = TLS_RECORD_PLAINTEXT_MAX + TLS_RECORD_OVERHEAD,
    ACCEPTOR_SLOTS = 4096, /* handshakes in progress */
};

static inline struct pending *acceptor_slot(const struct acceptor *acceptor, uint32_t index)
{
    return slab_at(&acceptor->slots, index);
}
static inline uint32_t acceptor_index(const struct acceptor *acceptor, const struct pending *pending)
{
    return (uint32_t)(((const uint8_t *)pending - acceptor->slots.base) / sizeof *pending);
}

static inline bool pending_is_answered(const struct pending *pending)
{
    return pending->state == PENDING_RESPONSE || pending->state == PENDING_LINGER;
}

static inline uint64_t acceptor_event_data(const struct acceptor *acceptor, const struct pending *pending)
{
    return (uint64_t)pending->generation << 32 | acceptor_index(acceptor, pending);
}

/* acceptor.c */
/* Accepts up to a turn's worth. False: there was nothing more to accept, or no room. */
bool acceptor_accept(struct acceptor *acceptor, enum transport transport);
void acceptor_set_listening(struct acceptor *acceptor, bool listening);

/* acceptor_crowd.c: who makes room when all slots are taken. */
void crowd_came(struct acceptor *acceptor, struct pending *pending);
/* It has said something whole, and is to go on. */
void crowd_went_on(struct acceptor *acceptor, struct pending *pending);
/* It has its answer, and is only to go. */
void crowd_is_told(struct acceptor *acceptor, struct pending *pending);
/* Sees to it that slots are free at the end of the turn. False: nobody has to go. */
bool crowd_make_room(struct acceptor *acceptor);

/* acceptor_drain.c: the end of accepting. */
void acceptor_begin_drain(struct acceptor *acceptor);
/* At the end of a turn: true when the thread may end. */
bool acceptor_drain_turn(struct acceptor *acceptor);

/* acceptor_pending.c: bytes in and out, TLS. */
/* Goes on from where it is, as after new input. */
void pending_step(struct acceptor *acceptor, struct pending *pending);
void pending_readable(struct acceptor *acceptor, struct pending *pending);
void pending_writable(struct acceptor *acceptor, struct pending *pending);
/* Ends it; HANDSHAKE_FAILURE_COUNT counts nothing (it was answered or transferred). */
void pending_close(struct acceptor *acceptor, struct pending *pending, enum handshake_failure failure);
/* Gives up the slot without closing the descriptor: it belongs to a transfer batch now. */
void pending_release(struct acceptor *acceptor, struct pending *pending);
/* Queues plaintext for the peer (sealed over wss). False: closed. */
bool pending_send(struct acceptor *acceptor, struct pending *pending, const void *data, size_t bytes);
/* Nothing more will be sent: close_notify over wss. */
void pending_end_stream(struct acceptor *acceptor, struct pending *pending);
/* Sends what is queued of a response and goes on from there. */
void pending_continue(struct acceptor *acceptor, struct pending *pending);

/* acceptor_client.c: who the client is, and whether it may come. */
/* The connection is new, `client` whom it is from: reads a PROXY header first, goes on to TLS or HTTP, or is
 * refused. False: closed. */
bool pending_arrive(struct acceptor *acceptor, struct pending *pending);
/* Reads the PROXY header. True when it goes on to TLS or HTTP; false: it waits for more, or is closed. */
bool pending_proxy_header(struct acceptor *acceptor, struct pending *pending);
/* No header in time. */
void pending_proxy_late(struct acceptor *acceptor, struct pending *pending);
/* With the whole request there. False: it is answered. */
bool pending_identify(struct acceptor *acceptor, struct pending *pending, const struct http_request *request);

/* acceptor_http.c: what a request gets. */
/* Answers a client that may not come, whatever was or will be asked. */
void pending_turn_away(struct acceptor *acceptor, struct pending *pending, enum handshake_failure why);
/* Reads the request as far as it has come; what it says stands in `plain`. */
enum parse_result pending_read_request(const struct acceptor *acceptor, struct pending *pending,
                                       struct http_request *request) __attribute__((warn_unused_result));
/* Answers what pending_read_request() has read, PARSE_OK or PARSE_BAD, or transfers the connection. */
void pending_request(struct acceptor *acceptor, struct pending *pending, enum parse_result result,
                     const struct http_request *request);
void pending_publish_answer(struct acceptor *acceptor, struct broker_request *answer);

/* Answers with an error and ends the connection; `extra`: header lines. */
void pending_refuse(struct acceptor *acceptor, struct pending *pending, int status, const char *error,
                    enum handshake_failure failure, const char *extra);

/* acceptor_identity.c: who asks. */
/* May whoever sends this request use the gateway? Else it is answered. A token that is there must be good
 * even where none is needed: a client that says who it is should not go on as nobody. */
bool pending_admit(struct acceptor *acceptor, struct pending *pending, const struct http_request *request,
                   bool needs_token, struct identity_room *room);

/* acceptor_transfer.c: choice of the reactor, batches. */
/* True when some reactor has room and limits.connections is not reached; counts the connection in for the
 * chosen one. */
bool acceptor_choose(struct acceptor *acceptor, uint32_t *port);
void acceptor_unchoose(struct acceptor *acceptor, uint32_t port);
bool acceptor_room(const struct acceptor *acceptor);
/* Puts the connection into the reactor's batch and gives up its slot. False when there is no room: the
 * reactor does not keep up by more than its socket and a batch; nothing has changed then. */
bool acceptor_transfer(struct acceptor *acceptor, struct pending *pending, uint32_t port,
                       const struct transfer_item *item) __attribute__((warn_unused_result));
void acceptor_flush_transfers(struct acceptor *acceptor);
/* Gives up what waits in batches. */
void acceptor_abandon_transfers(struct acceptor *acceptor);
