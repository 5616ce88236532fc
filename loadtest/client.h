/* One WebSocket client connection: a fixed slot, and heap memory only while it opens or holds part of a
 * frame.
 *
 *   NEW → CONNECTING → (TLS →) UPGRADE → OPEN → CLOSING → ENDED        FAILED from any state before OPEN
 *
 * A slot whose connection has ended or failed can take another one (client_reopen): it stands for the same
 * subscriber, who has missed what was published meanwhile (client_messages.c).
 *
 * Thread: everything here belongs to the worker whose client_context it is.
 * Owner: the context owns slab, scratch buffers and, through the slots, descriptors and heap blocks.
 */
#pragma once

#include "gateway/base/list.h"
#include "gateway/base/slab.h"
#include "loadtest/aged.h"
#include "loadtest/options.h"
#include "loadtest/payload.h"
#include "loadtest/refusals.h"
#include "loadtest/sequence.h"
#include "loadtest/stats.h"
#include "loadtest/tls_client.h"
#include "loadtest/upgrade.h"
#include "proto/ws_frame.h"

enum {
    CLIENT_FRAME_MAX = PAYLOAD_BYTES_MAX + WS_HEADER_MAX,
    CLIENT_RECEIVE_BYTES = 64 * 1024,
    /* What can be kept of an unfinished frame and an unfinished record, then one receive after it. */
    CLIENT_SCRATCH_BYTES =
        CLIENT_FRAME_MAX + TLS_RECORD_HEADER_BYTES + TLS_RECORD_CIPHERTEXT_MAX + CLIENT_RECEIVE_BYTES,
    CLIENT_SEND_MAX = 8 * 1024, /* a request or a frame of ours */
};

enum client_state {
    CLIENT_NEW,
    CLIENT_CONNECTING,
    CLIENT_TLS,
    CLIENT_UPGRADE,
    CLIENT_OPEN,
    CLIENT_CLOSING, /* our close frame is out */
    CLIENT_ENDED,
    CLIENT_FAILED,
};

/* Held while the connection opens, and later only while something is unfinished. */
struct client_heap {
    struct list in_progress; /* linked while opening, oldest first */
    uint64_t started_ns;
    struct tls_client *tls; /* while state is CLIENT_TLS */
    struct tls_client_post post;
    char accept[UPGRADE_ACCEPT_CHARS + 1];
    uint32_t index;
    uint32_t plain_bytes, cipher_bytes; /* kept input: `in` holds first the one, then the other */
    uint8_t *in;
    uint8_t *out; /* what the kernel has not taken yet */
    uint32_t in_cap, out_bytes, out_cap;
    uint8_t *message; /* of a fragmented message */
    uint32_t message_bytes;
};

struct client {
    struct client_heap *heap;
    struct sequence sequence;
    int fd;
    uint32_t generation;
    struct ws_sequence frames;
    uint16_t suite;
    uint8_t state;
    bool was_open;
    bool awaits_pong;
    bool slow;
    bool joining;  /* reopened, and no message has come since but such as had come before */
    bool due_back; /* cut, and to be brought back */
};
_Static_assert(sizeof(struct client) <= 48, "the price of an idle ws connection");

/* Follows a wss slot. */
struct client_tls {
    struct tls_direction read, write;
};
_Static_assert(sizeof(struct client) + sizeof(struct client_tls) <= 216,
               "the price of an idle wss connection");

/* Follows the slots where connections return and messages are checked: what their places have missed. Numbers
 * are those of the place's topic. */
struct client_place {
    struct list joining;            /* linked from the 101 on for --grace */
    uint64_t started_ns, joined_ns; /* connect() and 101 of the present connection, if it is not the first */
    /* From the first up to the second, the last connection has lost messages, up to the third there was none,
     * up to the fourth the present one was joining; all that came after all are below its sequence.next. */
    uint32_t lost_from, away_from, joining_from, owed;
    uint32_t received; /* follows the highest one that the present connection has received */
};

struct client_context {
    const struct load_options *options;
    const struct payload_format *payload; /* NULL: messages are not looked at */
    struct tls_client_context *tls;       /* NULL: ws */
    struct load_stats *stats;
    struct load_stats *slow_stats;                /* of slow connections */
    const counter *published_now, *confirmed_now; /* messages of the run so far */
    struct refusals *refusals;
    uint32_t first; /* number of slot 0 among all workers' connections */

    int epoll_fd;
    struct slab slab;
    struct list in_progress;
    uint32_t in_progress_count;
    struct tls_crypto *crypto;
    struct ws_reader *reader;
    uint8_t *scratch; /* CLIENT_SCRATCH_BYTES */
    uint64_t random;
    uint64_t probe_key; /* makes pings whose answers nobody can guess */
    uint64_t now_ns;    /* of the last receive */

    struct client_place *places; /* of each slot; NULL: no message counts, or no connection returns */
    struct list joining;         /* places, the one that has been for longest first */
    struct aged confirmed;       /* messages of the run, --grace ago */

    bool slow_stalled;    /* slow connections read only by client_read_some() */
    bool settling;        /* `outstanding` is kept, and `published` is final */
    bool counted;         /* what was lost has been: what arrives now is late */
    uint64_t published;   /* messages of the run that the endpoint has confirmed */
    uint64_t outstanding; /* messages that open connections still miss */
};

static inline bool client_is_down(const struct client *client)
{
    return client->state == CLIENT_ENDED || client->state == CLIENT_FAILED;
}

/* False with a sentence. */
bool client_context_init(struct client_context *context, uint32_t capacity, char *error, size_t error_size)
    __attribute__((warn_unused_result));
void client_context_fini(struct client_context *context); /* every connection must have ended */

static inline struct client *client_at(const struct client_context *context, uint32_t index)
{
    return slab_at(&context->slab, index);
}

/* Starts a connection in a fresh slot. False when there is no slot or the attempt failed at once (counted).
 */
bool client_open(struct client_context *context);
/* Starts another connection in a slot that is down. False when that failed at once (counted). */
bool client_reopen(struct client_context *context, uint32_t index);
/* One epoll event; `tag` is its data.u64. */
void client_event(struct client_context *context, uint64_t tag, uint32_t events);
/* For every turn of the loop: fails connections that have been opening for longer than --connect-timeout, and
 * ends --grace for those that have had it. */
void client_expire(struct client_context *context, uint64_t now_ns);
/* Sends a ping whose answer is counted and timed. */
void client_probe(struct client_context *context, uint32_t index);
/* Sends a close frame; the server's answer ends the connection. */
void client_close(struct client_context *context, uint32_t index);
/* Ends it by a reset, as when the network or the device is gone. */
void client_cut(struct client_context *context, uint32_t index);
/* Ends it without ceremony, whatever its state, because the server took too long. */
void client_abort(struct client_context *context, uint32_t index);
/* While slow connections are stalled: receives up to `bytes`, if it is one of them. */
void client_read_some(struct client_context *context, uint32_t index, size_t bytes);
/* After slow_stalled has been reset: reads on, if it is a slow one. */
void client_read_on(struct client_context *context, uint32_t index);
/* Of the first `published` messages of the run, those that went to this slot's topic. */
uint64_t client_expected(const struct client_context *context, uint32_t index, uint64_t published);
/* Starts to keep `outstanding`; `published` is set. */
void client_settle(struct client_context *context);
/* Counts what every connection should have got and what it has lost; `published` is set. */
void client_count_lost(struct client_context *context);
