/* How a connection moves from an acceptor to a reactor: fixed-size, versioned, pointer-free records with
 * their descriptors (SCM_RIGHTS) over a SOCK_SEQPACKET pair, many in one message.
 *
 * A record is followed by its tail: topics, identity, bytes already decrypted, bytes already received. The
 * reactor answers the upgrade (101) itself, after it has joined the topics and told the broker: whoever has
 * seen the 101 misses nothing that is published from then on.
 *
 * Thread: send on the acceptor's, receive on the reactor's; several acceptors may share a sending end
 * (messages are atomic). Owner: descriptors in a batch belong to the batch until it is sent (then they are
 * closed here: the receiver has its own) or taken.
 */
#pragma once

#include "gateway/base/address.h"
#include "gateway/conn/stats.h"
#include "proto/tls_record.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TRANSFER_VERSION = 3,
    TRANSFER_BATCH_MAX = 64,
    TRANSFER_MESSAGE_MAX =
        60 * 1024, /* bytes of one message: the kernel serves larger ones from high-order pages */
    TRANSFER_EARLY_MAX =
        38 * 1024, /* plain and raw bytes together; an acceptor reads no more before the upgrade */
};

struct transfer_record {
    uint16_t version;
    uint16_t record_bytes; /* sizeof, for a reader that knows more or fewer fields */
    uint8_t adapter;       /* enum adapter_id */
    uint8_t transport;     /* enum transport */
    uint8_t topic_count;
    uint8_t ask_broker : 1; /* its topics are joined by the broker's answer: history first, or a limit */
    uint8_t since_set : 1;  /* what was published behind `since_offset` comes first */
    uint16_t suite;         /* enum tls_suite; 0 for ws */
    uint16_t topics_bytes;
    uint32_t plain_bytes;    /* decrypted, or received over ws: WebSocket frames */
    uint32_t raw_bytes;      /* received over wss, not yet opened */
    uint32_t ip_handle;      /* conn/ip_limit.h; means something in this process only */
    uint32_t identity_bytes; /* what the acceptor knows of the client: adapter.h, opened() */
    struct address client;   /* when a proxy in front of the gateway said it, else ADDRESS_NONE */
    uint64_t since_offset, since_epoch;
    char accept[29]; /* Sec-WebSocket-Accept */
    char subprotocol[35];
    struct tls_direction read, write;
};
_Static_assert(sizeof(struct transfer_record) == 64 + 64 + 168,
               "fixed size: a change needs a new TRANSFER_VERSION");

/* One received or pending connection: the record and where its tail stands. */
struct transfer_item {
    int fd;
    struct transfer_record record;
    const uint8_t *topics, *identity, *plain, *raw;
};

struct transfer_batch {
    uint32_t count;
    uint32_t message_bytes; /* header, records and tails */
    int fds[TRANSFER_BATCH_MAX];
    struct transfer_record records[TRANSFER_BATCH_MAX];
    uint32_t lost; /* of a receive: connections behind the first `count` that arrived without a descriptor */
    uint32_t tail_start, tail_bytes; /* in tail */
    uint8_t tail[TRANSFER_MESSAGE_MAX];
};

enum io_result { IO_OK, IO_AGAIN, IO_CLOSED, IO_ERROR };

bool transfer_pair(int fds[2])
    __attribute__((warn_unused_result)); /* [0] sends, [1] receives; both non-blocking */
void transfer_batch_init(struct transfer_batch *batch);
/* Adds one; false when it does not fit any more (send first) — an empty batch takes any item within
 * TRANSFER_EARLY_MAX. */
bool transfer_add(struct transfer_batch *batch, const struct transfer_item *item)
    __attribute__((warn_unused_result));
/* Sends the whole batch as one message. IO_OK: descriptors closed here, batch empty. IO_AGAIN: receiver's
 * queue is full, try later. IO_ERROR: errno. */
enum io_result transfer_send(struct transfer_batch *batch, int socket) __attribute__((warn_unused_result));
/* Receives one message into the batch. When this thread's descriptor table is full, the kernel drops what
 * does not fit: `lost` connections have a record (for what the sender has counted), but are gone. IO_ERROR
 * also for a message that does not add up (its descriptors are closed). */
enum io_result transfer_receive(struct transfer_batch *batch, int socket) __attribute__((warn_unused_result));
/* Visits a received batch; tail pointers stay valid until the next receive. `cursor` starts at 0 for the
 * tail. */
void transfer_item_at(const struct transfer_batch *batch, uint32_t i, uint32_t *cursor,
                      struct transfer_item *out);
/* After the descriptors have been taken: wipes the keys and empties the batch. */
void transfer_wipe(struct transfer_batch *batch);
/* Closes every descriptor and wipes keys: for shutdown and errors. */
void transfer_abandon(struct transfer_batch *batch);

/* Where acceptors send to: one per reactor, shared by all acceptors. */
struct reactor_port {
    int transfer_fd;
    uint32_t capacity;     /* connections that fit in the reactor's descriptor table */
    _Atomic uint32_t load; /* connections given to it and not yet closed */
};
