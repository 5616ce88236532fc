/* One stream: a topic's newest items in a ring, and what is known of the rest.
 *
 * Thread: the engine's. Owner: history.c owns streams; a stream owns its ring and one reference to each item
 * in it. Sums and lists over all streams are history.c's: what changes a stream says by how many bytes.
 */
#pragma once

#include "gateway/base/deadlines.h"
#include "gateway/base/list.h"
#include "gateway/broker/engine.h"

/* An item and when it came: the engine's clock, not the wall's, decides its age. */
struct stream_slot {
    struct history_item *item;
    uint64_t added_ms;
};

struct stream {
    struct list lru;          /* in history.active or history.idle */
    struct deadline deadline; /* never later than stream_expiry() */
    uint64_t epoch;
    uint64_t top;                   /* offset of the newest item ever */
    uint64_t used_ms;               /* appended to, read or emptied */
    struct history_options options; /* of the last call */
    struct stream_slot *ring;       /* NULL when count is 0 */
    uint32_t head;                  /* index of the oldest */
    uint32_t count, capacity;
    uint32_t hash;
    bool idle; /* stands in history.idle */
    uint8_t topic_bytes;
    char topic[]; /* not NUL-terminated */
};

/* An empty stream, in no list. NULL without memory. */
struct stream *stream_create(struct engine_topic topic, uint64_t epoch) __attribute__((warn_unused_result));
void stream_destroy(struct stream *stream);

static inline struct stream_slot *stream_at(const struct stream *stream, uint32_t i) /* 0: the oldest */
{
    uint64_t at = (uint64_t)stream->head + i;
    return &stream->ring[at < stream->capacity ? at : at - stream->capacity];
}
/* Offset of the oldest item; top + 1 when there is none. */
static inline uint64_t stream_first(const struct stream *stream)
{
    return stream->top - stream->count + 1;
}
/* Room for one item more, within options.size. False without memory. */
bool stream_reserve(struct stream *stream) __attribute__((warn_unused_result));
/* After stream_reserve(). Takes over one reference. */
void stream_push(struct stream *stream, struct history_item *item, uint64_t now_ms);
/* Drops the oldest item. The ring stays: stream_shrink() gives back what it no longer needs. */
void stream_pop(struct stream *stream);
void stream_shrink(struct stream *stream);
/* When its oldest item is too old; for a stream without items, when the stream itself is. */
uint64_t stream_expiry(const struct stream *stream, uint64_t metadata_ttl_ms);
/* What it costs in memory: the stream by itself, its ring, and one item. */
size_t stream_metadata_bytes(const struct stream *stream);
size_t stream_ring_bytes(const struct stream *stream);
size_t stream_item_bytes(const struct history_item *item);

/* What a read finds: sets all of *page but its items. These stand in the ring from *first on, upwards or
 * (filter->reverse) downwards. */
void stream_select(const struct stream *stream, const struct history_filter *filter,
                   struct history_page *page, uint32_t *first);
