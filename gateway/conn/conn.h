/* A connection in its reactor: the 64-byte slot, what it borrows while something is unfinished, and its
 * states.
 *
 * Thread: the reactor's. Owner: the pool (pool.h) owns slots; a slot owns its descriptor, its TLS state and
 * its `extra`.
 *
 * States, each way ending in (destroyed):
 *   OPEN    ──close begins──► CLOSING; ──reset, EOF──► (destroyed)
 *   CLOSING ──our close frame is out, the peer's was heard or is not to be heard──► LINGER;
 *           ──reset, deadline, EOF when nothing waits to be sent──► (destroyed)
 *   LINGER  ──EOF, reset, deadline──► (destroyed)
 */
#pragma once

#include "gateway/base/list.h"
#include "gateway/base/slab.h"
#include "gateway/base/wheel.h"
#include "gateway/broker/request.h"
#include "gateway/conn/buffer.h"
#include "gateway/conn/close_reason.h"
#include "gateway/conn/outbox.h"
#include "gateway/conn/stats.h"
#include "proto/tls_post.h"
#include "proto/ws_frame.h"

#include <stdbool.h>
#include <stdint.h>

enum conn_state {
    CONN_FREE,    /* slot is not in use, or waits to be freed after the batch of events */
    CONN_OPEN,    /* messages flow */
    CONN_CLOSING, /* our close frame is queued or sent; input is read for the peer's only */
    CONN_LINGER,  /* write side is shut down; input is thrown away until EOF, so that no reset overtakes the
                     close frame */
};

/* Borrowed while a frame, record or message is incomplete or output waits; given back as soon as all of it is
 * empty. */
struct conn_extra {
    struct outbox outbox;
    struct buffer record;  /* beginning of a TLS record */
    struct buffer frame;   /* beginning of a WebSocket frame (plaintext) */
    struct buffer message; /* fragments of a message so far */
    struct ws_sequence sequence;
    struct tls_fragment fragment; /* beginning of a TLS handshake message */
    uint32_t last_taken;          /* tick of the last progress of output: bytes taken, or the first queued */
    bool write_armed;             /* EPOLLOUT is asked for; with output it stands in `pool.waiting`, as: */
    uint32_t index;               /* of its connection */
    uint32_t unconfirmed;         /* what the kernel still had for the client then; 0: unknown */
    struct list waiting;
    uint64_t own_counted; /* of the outbox' own bytes, in the pool's */
};

enum { SUBSCRIPTION_TOPIC_MASK = (1 << 24) - 1 };
/* Where a connection stands in a topic. */
struct subscription {
    uint32_t topic : 24;
    uint32_t flags : 8; /* enum subscription_flags */
    uint32_t position;  /* with SUBSCRIPTION_JOINING: which request's answer it waits for */
};

struct conn {
    struct wheel_entry timer; /* one deadline: idle, ping or close */
    int32_t fd;
    uint32_t generation;      /* counts the slot's uses; epoll events carry it */
    uint32_t last_heard;      /* tick of the last bytes from the peer */
    struct conn_extra *extra; /* NULL while nothing is unfinished */
    union {
        struct subscription one;   /* topic_count 1 */
        struct subscription *many; /* topic_count > 1 */
    };
    uint32_t tls; /* slot in the pool's TLS slab, SLAB_NONE for ws */
    uint32_t ip_handle;
    uint32_t next_ping; /* tick; meaningful when pings are on */
    uint8_t state;      /* enum conn_state */
    uint8_t adapter;    /* enum adapter_id */
    uint8_t reason;     /* enum close_reason, once closing */
    uint8_t topic_count;
    bool suite_chacha : 1;
    bool peer_closed : 1;    /* its close frame was read */
    bool deaf : 1;           /* its input can no longer be understood: do not wait for its close frame */
    bool ready : 1;          /* in the pool's ready list: more input may wait in the socket */
    bool dirty : 1;          /* in the pool's dirty list: output of this turn waits */
    bool shut : 1;           /* close_notify and FIN are on their way: nothing more is sealed */
    bool ended : 1;          /* its FIN was read while output still waited */
    bool update_owed : 1;    /* a KeyUpdate of ours is due before the next application data */
    bool update_asked : 1;   /* … and it asks for the peer's */
    bool address_kept : 1;   /* its address stands in the pool's `addresses`: the kernel's would be a proxy's,
                                or gone by the time it is wanted */
    uint8_t key_updates : 6; /* of the peer in this second */
    uint8_t idle_records;    /* tls_post_count() */
    uint8_t joins; /* answers to BROKER_SUBSCRIBE that are on their way, also those that nobody waits for any
                      more */
    uint32_t opened; /* tick */
};
_Static_assert(TLS_KEY_UPDATES_MAX < 1 << 6, "conn.key_updates counts them");
_Static_assert(sizeof(struct conn) == 64, "an idle ws connection is this slot and four bytes in its topic");

struct conn_tls {
    struct tls_direction write; /* first: fan-out touches it */
    struct tls_direction read;
};
_Static_assert(sizeof(struct conn_tls) == 168, "an idle wss connection is its slot and this");
