/* A stream's ring grows by doubling up to the topic's size, and shrinks with what it holds. */
#include "gateway/broker/history_stream.h"

#include "gateway/base/assert.h"
#include "gateway/broker/footprint.h"

#include <stdlib.h>
#include <string.h>

enum { RING_MIN = 4, RING_SHRINKS_FROM = 16, METADATA_TTLS = 10 };

static uint64_t saturating_add(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static size_t struct_bytes(size_t topic_bytes)
{
    size_t bytes = offsetof(struct stream, topic) + topic_bytes;
    return bytes < sizeof(struct stream) ? sizeof(struct stream) : bytes;
}

struct stream *stream_create(struct engine_topic topic, uint64_t epoch)
{
    PG_ASSERT(topic.bytes >= 1 && topic.bytes <= UINT8_MAX && epoch != 0);
    struct stream *stream = malloc(struct_bytes(topic.bytes));
    if (!stream)
        return NULL;
    *stream = (struct stream){.epoch = epoch, .hash = topic.hash, .topic_bytes = (uint8_t)topic.bytes};
    list_init(&stream->lru);
    memcpy(stream->topic, topic.name, topic.bytes);
    return stream;
}

void stream_destroy(struct stream *stream)
{
    while (stream->count > 0)
        stream_pop(stream);
    free(stream->ring);
    free(stream);
}

/* Lays the items out anew, from index 0 on. capacity ≥ count. */
static bool resize(struct stream *stream, uint32_t capacity)
{
    struct stream_slot *ring = malloc(capacity * sizeof *ring);
    if (!ring)
        return false;
    for (uint32_t i = 0; i < stream->count; i++)
        ring[i] = *stream_at(stream, i);
    free(stream->ring);
    stream->ring = ring;
    stream->head = 0;
    stream->capacity = capacity;
    return true;
}

bool stream_reserve(struct stream *stream)
{
    if (stream->count < stream->capacity || stream->count >= stream->options.size)
        return true;
    uint64_t capacity = stream->capacity < RING_MIN ? RING_MIN : stream->capacity * 2ull;
    return resize(stream, capacity < stream->options.size ? (uint32_t)capacity : stream->options.size);
}

void stream_push(struct stream *stream, struct history_item *item, uint64_t now_ms)
{
    PG_ASSERT(stream->count < stream->capacity);
    stream->count++;
    *stream_at(stream, stream->count - 1) = (struct stream_slot){.item = item, .added_ms = now_ms};
}

void stream_pop(struct stream *stream)
{
    PG_ASSERT(stream->count > 0);
    history_item_unref(stream_at(stream, 0)->item);
    stream->head = stream->head + 1 < stream->capacity ? stream->head + 1 : 0;
    stream->count--;
}

void stream_shrink(struct stream *stream)
{
    if (stream->count == 0) {
        free(stream->ring);
        stream->ring = NULL;
        stream->head = stream->capacity = 0;
        return;
    }
    uint32_t capacity = stream->capacity;
    while (capacity >= RING_SHRINKS_FROM && stream->count <= capacity / 4)
        capacity /= 2;
    if (capacity < stream->capacity)
        (void)resize(stream, capacity); /* staying large is harmless */
}

uint64_t stream_expiry(const struct stream *stream, uint64_t metadata_ttl_ms)
{
    uint64_t ttl = stream->options.ttl_ms;
    if (stream->count > 0)
        return ttl > 0 ? saturating_add(stream_at(stream, 0)->added_ms, ttl) : DEADLINE_NEVER;
    uint64_t longer = ttl > UINT64_MAX / METADATA_TTLS ? UINT64_MAX : ttl * METADATA_TTLS;
    return saturating_add(stream->used_ms, longer > metadata_ttl_ms ? longer : metadata_ttl_ms);
}

size_t stream_metadata_bytes(const struct stream *stream)
{
    return footprint(struct_bytes(stream->topic_bytes));
}

size_t stream_ring_bytes(const struct stream *stream)
{
    return stream->ring ? footprint(stream->capacity * sizeof *stream->ring) : 0;
}

size_t stream_item_bytes(const struct history_item *item)
{
    return footprint(sizeof *item + (size_t)item->payload_bytes + item->info_bytes + item->tags_bytes);
}

/* How many of `count` items from `first` on are within the filter's bytes; *bytes becomes what they have. */
static uint32_t within(const struct stream *stream, const struct history_filter *filter, uint32_t first,
                       uint32_t count, uint64_t *bytes)
{
    uint64_t most = filter->bytes > 0 ? filter->bytes : UINT64_MAX;
    *bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct history_item *item = stream_at(stream, filter->reverse ? first - i : first + i)->item;
        uint64_t more =
            (uint64_t)HISTORY_ITEM_BYTES + item->payload_bytes + item->info_bytes + item->tags_bytes;
        if (*bytes + more > most && (i > 0 || filter->demand == HISTORY_WHOLE))
            return i;
        *bytes += more;
    }
    return count;
}

void stream_select(const struct stream *stream, const struct history_filter *filter,
                   struct history_page *page, uint32_t *first)
{
    *page = (struct history_page){.top = {.offset = stream->top, .epoch = stream->epoch}};
    *first = 0;
    struct stream_position since = filter->since;
    uint64_t low = stream_first(stream), high = stream->top; /* what is stored; low > high: nothing */
    if (filter->since_set) {
        if ((since.epoch != 0 && since.epoch != stream->epoch) || since.offset > stream->top)
            return;
        if (filter->reverse) {
            page->continuous = since.offset <= 1 || since.offset - 1 >= low;
            high = since.offset > 0 ? since.offset - 1 : 0;
        } else {
            page->continuous = since.offset + 1 >= low;
            if (since.offset + 1 > low)
                low = since.offset + 1;
        }
    }
    uint64_t found = high >= low ? high - low + 1 : 0;
    uint32_t count = found < filter->limit ? (uint32_t)found : filter->limit;
    bool whole = filter->since_set && filter->demand == HISTORY_WHOLE;
    if (filter->since_set && filter->demand != HISTORY_ANY && !page->continuous)
        count = 0;
    /* Who wants all or nothing, and cannot take all, is told so without a look at them. */
    if (whole && filter->bytes > 0 && (uint64_t)count * HISTORY_ITEM_BYTES > filter->bytes)
        count = 0;
    if (count > 0)
        *first = (uint32_t)((filter->reverse ? high : low) - stream_first(stream));
    page->count = within(stream, filter, *first, count, &page->bytes);
    page->recovered = page->continuous && !filter->reverse && page->count == stream->top - since.offset;
    if (whole && !page->recovered)
        page->count = 0;
    if (page->count == 0)
        page->bytes = 0;
}
