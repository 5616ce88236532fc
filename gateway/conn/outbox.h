/* What a connection could not send yet: references to shared frames and a few bytes of its own, in order,
 * with an exact byte count.
 *
 * Thread: the connection's reactor. Owner: embedded in conn_extra; all zero is empty and holds no memory.
 * Each queued message holds one reference.
 */
#pragma once

#include "gateway/broker/message.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum outbox_hold {
    OUTBOX_KEEP,   /* its connection ends rather than lose it */
    OUTBOX_BEGUN,  /* part of the frame has left: the rest must follow */
    OUTBOX_MAY_GO, /* dropped when its room is needed */
};

struct outbox_item {
    struct message *message; /* holds `data` alive; NULL: data was malloc()ed for this item */
    const uint8_t *data;
    uint32_t bytes; /* still to send, from data */
    uint16_t topic; /* of the message, the end of its hash: others are told apart without looking at them */
    uint8_t hold;   /* enum outbox_hold */
};

/* What an item costs besides its bytes, rounded up: many tiny frames must not cost many times what they are
 * counted as. */
enum { OUTBOX_ITEM_COST = 32 };
_Static_assert(sizeof(struct outbox_item) <= OUTBOX_ITEM_COST, "the ring's share");

struct outbox {
    struct outbox_item *items; /* ring */
    uint32_t head, count, cap;
    uint32_t firm; /* so many of the first have nothing among them that may go */
    uint8_t *wire; /* a sealed record that the kernel took only in part: goes before all items */
    uint32_t wire_sent, wire_bytes;
    uint64_t bytes;  /* all that is queued: items and wire */
    uint64_t may_go; /* what dropping all that may go would free, of outbox_cost() */
    uint64_t
        copied; /* what copies and wire take in memory; messages are shared, and counted where they are */
};

static inline bool outbox_empty(const struct outbox *outbox)
{
    return outbox->bytes == 0;
}
/* What counts against limits.outbox_bytes. */
static inline uint64_t outbox_cost(const struct outbox *outbox)
{
    return outbox->bytes + (uint64_t)outbox->count * OUTBOX_ITEM_COST;
}

/* What it takes in memory by itself, without messages. */
static inline uint64_t outbox_own(const struct outbox *outbox)
{
    return outbox->copied + (uint64_t)outbox->count * OUTBOX_ITEM_COST;
}

/* Each returns false without memory, leaving the outbox as it was. `begun`: earlier bytes of this frame have
 * left already. */
bool outbox_push_message(struct outbox *outbox, struct message *message, const uint8_t *data, size_t bytes,
                         enum outbox_hold hold) __attribute__((warn_unused_result));
bool outbox_push_copy(struct outbox *outbox, const void *data, size_t bytes, bool begun)
    __attribute__((warn_unused_result));
/* Keeps sealed bytes, behind those that are kept already. */
bool outbox_push_wire(struct outbox *outbox, const uint8_t *sealed, size_t bytes)
    __attribute__((warn_unused_result));
void outbox_wire_sent(struct outbox *outbox, size_t bytes);

/* Fills up to `max` vectors with what comes first, at most `max_bytes` in all; returns how many. */
size_t outbox_gather(const struct outbox *outbox, struct iovec *vectors, size_t max, size_t max_bytes);
/* Takes `bytes` from the front. */
void outbox_consume(struct outbox *outbox, size_t bytes);
/* Drops every item that has not begun; returns how many messages were among them. */
uint32_t outbox_drop_unsent(struct outbox *outbox);
/* Drops messages that may go, the oldest first, until `bytes` of the cost are gone: all of them, or, unless
 * `like` is NULL, those of that message's topic. Returns how many. Where nothing may go it looks at nothing.
 */
uint32_t outbox_drop_oldest(struct outbox *outbox, uint64_t bytes, const struct message *like);
/* Drops all of a message's topic that has not begun; returns how many. */
uint32_t outbox_drop_topic(struct outbox *outbox, const struct message *like);
void outbox_fini(struct outbox *outbox);
