/* A reactor's own topics: who subscribes here, and messages that wait for their fan-out.
 *
 * A topic's subscribers are connection slots in one dense array, so a fan-out walks memory in order. While a
 * fan-out is under way, [0, cursor) is still to be served, from the end down; subscribers that leave or join
 * never make another miss a message or see it twice.
 *
 * Thread: the reactor's. Owner: the table owns topics; queued deliveries hold their message's reference.
 */
#pragma once

#include "gateway/base/list.h"
#include "gateway/base/slab.h"
#include "gateway/broker/message.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOPIC_NONE UINT32_MAX

struct topic {
    uint32_t hash;
    uint32_t count, cap; /* subscribers; cap ≤ 2: they stand in `few` */
    union {
        uint32_t few[2];
        uint32_t *many;
    };
    uint32_t joining; /* connections whose place waits for the broker's answer: the broker counts them, too */
    uint32_t reported;   /* the count that the broker knows; UINT32_MAX: never told */
    uint32_t dirty_next; /* list of topics whose count changed, index + 1; 0: end; see `dirty` */
    uint32_t cursor;     /* of the fan-out under way */
    uint16_t adapter_subscribers_mask; /* adapters that ever subscribed */
    uint16_t reported_mask;            /* … and that the broker knows of */
    uint8_t name_bytes;
    bool dirty, queued;
    struct batch *batch; /* the fan-out under way, or NULL */
    /* Deliveries and answers to BROKER_SUBSCRIBE that wait, oldest first. */
    struct mailbox_node *pending_head, *pending_tail;
    struct list run; /* link in the reactor's run queue while `queued` */
    char *name;      /* not NUL-terminated */
};

struct topic_cell {
    uint32_t hash;
    uint32_t topic; /* TOPIC_NONE: empty */
};

struct topics {
    struct slab slab;
    struct topic_cell *cells; /* open addressing, linear probing */
    uint32_t cell_mask;
    uint32_t used;
    uint32_t dirty_head; /* index + 1 */
};

/* `max_topics` bounds the table. It reserves that much address space; memory grows with use. */
bool topics_init(struct topics *topics, uint32_t max_topics) __attribute__((warn_unused_result));
void topics_fini(struct topics *topics);

static inline struct topic *topics_at(const struct topics *topics, uint32_t index)
{
    return slab_at(&topics->slab, index);
}
static inline uint32_t topics_index(const struct topics *topics, const struct topic *topic)
{
    return (uint32_t)(((const uint8_t *)topic - topics->slab.base) / sizeof *topic);
}
static inline uint32_t *topic_subscribers(struct topic *topic)
{
    return topic->cap > 2 ? topic->many : topic->few;
}

uint32_t topics_find(const struct topics *topics, const char *name, size_t bytes, uint32_t hash);
/* No room for a topic that is not there. */
static inline bool topics_full(const struct topics *topics)
{
    return topics->slab.used == topics->slab.capacity;
}
/* Finds or makes; TOPIC_NONE when topics_full() or without memory. */
uint32_t topics_intern(struct topics *topics, const char *name, size_t bytes, uint32_t hash)
    __attribute__((warn_unused_result));
/* Adds a subscriber (a connection's slot); its position goes to *position. False without memory. */
bool topics_subscribe(struct topics *topics, uint32_t index, uint32_t conn, enum adapter_id adapter,
                      uint32_t *position) __attribute__((warn_unused_result));

/* One more connection, or one less, whose answer from the broker is on its way. */
void topics_expect(struct topics *topics, uint32_t index, enum adapter_id adapter);
void topics_expected(struct topics *topics, uint32_t index);
/* What the broker is to know. */
static inline uint32_t topic_interest(const struct topic *topic)
{
    return topic->count + topic->joining;
}

/* Told when a removal moves another subscriber: `conn` now stands at `position` of topic `index`. */
typedef void topics_moved_fn(void *context, uint32_t conn, uint32_t index, uint32_t position);
void topics_unsubscribe(struct topics *topics, uint32_t index, uint32_t position, topics_moved_fn *moved,
                        void *context);
/* Frees the topic if nothing refers to it any more: no subscribers, nothing queued or under way, the broker
 * told. */
void topics_collect(struct topics *topics, uint32_t index);

/* Takes the next topic whose count the broker does not know yet; TOPIC_NONE when there is none. The caller
 * tells the broker and sets `reported`, then calls topics_collect(). */
uint32_t topics_next_dirty(struct topics *topics);
