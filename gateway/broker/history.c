/* All streams: their table, their order of use, their deadlines and the sum of their bytes. */
#include "gateway/broker/history.h"

#include "gateway/base/assert.h"
#include "gateway/broker/footprint.h"
#include "gateway/broker/history_stream.h"

#include <stdlib.h>
#include <string.h>

/* MAINTAIN_STEPS bounds what one call expires (tens of microseconds); MAINTAIN_PAUSE_MS gathers what expires
 * shortly after one another, so that a topic in steady use does not wake the thread for each of its items. */
enum { MAINTAIN_STEPS = 256, MAINTAIN_PAUSE_MS = 100, IDLE_SHARE = 4 };

static bool has_topic(const void *entry, const void *key)
{
    const struct stream *stream = entry;
    const struct engine_topic *topic = key;
    return stream->topic_bytes == topic->bytes && memcmp(stream->topic, topic->name, topic->bytes) == 0;
}

/* Another one each time in this process (the mix is a bijection of the counter), and with a random seed
 * another than in every earlier process. SplitMix64 (Steele, Lea and Flood, 2014). */
static uint64_t next_epoch(struct history *history)
{
    uint64_t z = 0;
    while (z == 0) {
        z = history->config.epoch_seed + ++history->epochs * 0x9e3779b97f4a7c15u;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        z ^= z >> 31;
    }
    return z;
}

static void advance(struct history *history, uint64_t now_ms)
{
    if (now_ms > history->now_ms)
        history->now_ms = now_ms;
}

static uint64_t expiry(const struct history *history, const struct stream *stream)
{
    return stream_expiry(stream, history->config.metadata_ttl_ms);
}

/* Puts a stream that was used or emptied where it belongs: last in its list. Its deadline moves only when it
 * has come nearer: one that is met too early costs less than moving it at every use. */
static void settle(struct history *history, struct stream *stream)
{
    bool idle = stream->count == 0;
    if (idle && !stream->idle) {
        history->idle_streams++;
        history->idle_bytes += stream_metadata_bytes(stream);
    } else if (!idle && stream->idle) {
        history->idle_streams--;
        history->idle_bytes -= stream_metadata_bytes(stream);
    }
    stream->idle = idle;
    stream->used_ms = history->now_ms;
    list_remove(&stream->lru);
    list_append(idle ? &history->idle : &history->active, &stream->lru);
    uint64_t at = expiry(history, stream);
    if (at < stream->deadline.at)
        deadlines_move(&history->deadlines, &stream->deadline, at);
}

/* Drops the oldest item; the ring is given back by shrink(), the list put right by settle(). */
static void drop_oldest(struct history *history, struct stream *stream)
{
    history->bytes -= stream_item_bytes(stream_at(stream, 0)->item);
    history->items--;
    stream_pop(stream);
}

static void shrink(struct history *history, struct stream *stream)
{
    history->bytes -= stream_ring_bytes(stream);
    stream_shrink(stream);
    history->bytes += stream_ring_bytes(stream);
}

static bool reserve(struct history *history, struct stream *stream)
{
    history->bytes -= stream_ring_bytes(stream);
    bool reserved = stream_reserve(stream);
    history->bytes += stream_ring_bytes(stream);
    return reserved;
}

/* Expires at most *steps items and counts down. */
static void expire_items(struct history *history, struct stream *stream, uint32_t *steps)
{
    for (; stream->count > 0 && *steps > 0 && expiry(history, stream) <= history->now_ms; --*steps) {
        drop_oldest(history, stream);
        history->counters.evicted_ttl++;
    }
    shrink(history, stream);
}

static void trim(struct history *history, struct stream *stream, uint32_t size)
{
    for (; stream->count > size; history->counters.evicted_size++)
        drop_oldest(history, stream);
}

static struct stream *find(const struct history *history, struct engine_topic topic)
{
    return table_find(&history->streams, topic.hash, has_topic, &topic);
}

static struct stream *open_stream(struct history *history, struct engine_topic topic)
{
    if (!table_reserve(&history->streams) || !deadlines_reserve(&history->deadlines))
        return NULL;
    struct stream *stream = stream_create(topic, next_epoch(history));
    if (!stream)
        return NULL;
    table_insert(&history->streams, topic.hash, stream);
    deadlines_insert(&history->deadlines, &stream->deadline, DEADLINE_NEVER);
    history->bytes += stream_metadata_bytes(stream);
    return stream;
}

/* Only for a stream without items. */
static void drop_stream(struct history *history, struct stream *stream)
{
    PG_ASSERT(stream->count == 0 && stream->idle);
    history->bytes -= stream_metadata_bytes(stream);
    history->idle_bytes -= stream_metadata_bytes(stream);
    history->idle_streams--;
    table_remove(&history->streams, stream->hash, stream);
    deadlines_remove(&history->deadlines, &stream->deadline);
    list_remove(&stream->lru);
    stream_destroy(stream);
}

/* The topic's stream, made when there is none (*fresh), with what age and options exclude gone. Counts as
 * use. NULL without memory. */
static struct stream *use(struct history *history, struct engine_topic topic,
                          const struct history_options *options, uint64_t now_ms, bool *fresh)
{
    advance(history, now_ms);
    struct stream *stream = find(history, topic);
    *fresh = !stream;
    if (!stream && !(stream = open_stream(history, topic)))
        return NULL;
    uint32_t all = UINT32_MAX;
    expire_items(history, stream, &all); /* what was too old until now does not come back with a longer ttl */
    stream->options = *options;
    trim(history, stream, options->size);
    expire_items(history, stream, &all);
    settle(history, stream);
    return stream;
}

static bool evict_item(struct history *history)
{
    if (list_empty(&history->active))
        return false;
    struct stream *stream = LIST_ITEM(history->active.next, struct stream, lru);
    drop_oldest(history, stream);
    shrink(history, stream);
    history->counters.evicted_memory++;
    if (stream->count == 0)
        settle(history, stream);
    return true;
}

/* Not of the stream that is being used: its position has just been, or is about to be, told. */
static bool evict_idle_stream(struct history *history, const struct stream *used)
{
    struct list *link = history->idle.next;
    if (link == &used->lru)
        link = link->next;
    if (link == &history->idle)
        return false;
    drop_stream(history, LIST_ITEM(link, struct stream, lru));
    history->counters.streams_evicted++;
    return true;
}

static void hold_bound(struct history *history, const struct stream *used)
{
    uint64_t bound = history->config.bytes;
    if (bound == 0)
        return;
    while (history->idle_bytes > bound / IDLE_SHARE && evict_idle_stream(history, used))
        ;
    while (history_bytes(history) > bound && (evict_item(history) || evict_idle_stream(history, used)))
        ;
}

/* A stream whose deadline has come: expires what is due, with *steps as in expire_items(), and sets the next
 * deadline. The stream itself counts as a step. */
static void meet_deadline(struct history *history, struct stream *stream, uint32_t *steps)
{
    --*steps;
    if (stream->count > 0) {
        expire_items(history, stream, steps);
        if (stream->count == 0)
            settle(history, stream);
    }
    uint64_t at = expiry(history, stream);
    if (stream->count == 0 && at <= history->now_ms) {
        drop_stream(history, stream);
        history->counters.streams_expired++;
    } else {
        deadlines_move(&history->deadlines, &stream->deadline, at);
    }
}

bool history_init(struct history *history, const struct history_config *config)
{
    *history = (struct history){.config = *config};
    list_init(&history->active);
    list_init(&history->idle);
    deadlines_init(&history->deadlines);
    return table_init(&history->streams);
}

void history_fini(struct history *history)
{
    uint64_t cursor = 0;
    for (struct stream *stream; (stream = table_next(&history->streams, &cursor));)
        stream_destroy(stream);
    table_fini(&history->streams);
    deadlines_fini(&history->deadlines);
}

enum engine_result history_append(struct history *history, struct engine_topic topic,
                                  const struct history_options *options,
                                  const struct history_contents *contents, uint64_t now_ms,
                                  struct stream_position *position, struct history_item **item)
{
    bool fresh;
    struct stream *stream = use(history, topic, options, now_ms, &fresh);
    if (!stream)
        return ENGINE_NO_MEMORY;
    *item = history_item_create(contents, stream->top + 1);
    if (!*item || !reserve(history, stream)) {
        if (*item)
            history_item_unref(*item);
        *item = NULL;
        if (fresh)
            drop_stream(history, stream);
        return ENGINE_NO_MEMORY;
    }
    stream->top++;
    if (options->size > 0) {
        trim(history, stream, options->size - 1);
        stream_push(stream, history_item_ref(*item), history->now_ms);
        history->bytes += stream_item_bytes(*item);
        history->items++;
        settle(history, stream);
    }
    *position = (struct stream_position){.offset = stream->top, .epoch = stream->epoch};
    hold_bound(history, stream);
    return ENGINE_OK;
}

enum engine_result history_read(struct history *history, struct engine_topic topic,
                                const struct history_options *options, const struct history_filter *filter,
                                uint64_t now_ms, struct history_page *page)
{
    *page = (struct history_page){0};
    bool fresh;
    struct stream *stream = use(history, topic, options, now_ms, &fresh);
    if (!stream)
        return ENGINE_NO_MEMORY;
    uint32_t first;
    stream_select(stream, filter, page, &first);
    if (page->count > 0) { /* hence not fresh */
        struct history_item **items = malloc(page->count * sizeof *items);
        if (!items) {
            *page = (struct history_page){0};
            return ENGINE_NO_MEMORY;
        }
        for (uint32_t i = 0; i < page->count; i++)
            items[i] = history_item_ref(stream_at(stream, filter->reverse ? first - i : first + i)->item);
        page->items = items;
    }
    hold_bound(history, stream);
    return ENGINE_OK;
}

void history_remove(struct history *history, struct engine_topic topic, uint64_t now_ms)
{
    advance(history, now_ms);
    struct stream *stream = find(history, topic);
    if (!stream || stream->count == 0)
        return;
    while (stream->count > 0)
        drop_oldest(history, stream);
    shrink(history, stream);
    settle(history, stream);
}

uint64_t history_maintain(struct history *history, uint64_t now_ms)
{
    advance(history, now_ms);
    for (uint32_t steps = MAINTAIN_STEPS;;) {
        const struct deadline *first = deadlines_first(&history->deadlines);
        if (!first || first->at == DEADLINE_NEVER)
            return UINT64_MAX;
        if (first->at > history->now_ms) {
            uint64_t wait = first->at - history->now_ms;
            return wait > MAINTAIN_PAUSE_MS ? wait : MAINTAIN_PAUSE_MS;
        }
        if (steps == 0)
            return 0;
        meet_deadline(history, LIST_ITEM(first, struct stream, deadline), &steps);
    }
}

uint64_t history_bytes(const struct history *history)
{
    return history->bytes + footprint(table_bytes(&history->streams)) +
           footprint(deadlines_bytes(&history->deadlines));
}

bool history_validate(const struct history *history)
{
    uint64_t streams = 0, items = 0, bytes = 0, idle_streams = 0, idle_bytes = 0;
    for (int idle = 0; idle < 2; idle++) {
        const struct list *lru = idle ? &history->idle : &history->active;
        uint64_t used_ms = 0;
        for (const struct list *link = lru->next; link != lru; link = link->next) {
            const struct stream *stream = LIST_ITEM(link, struct stream, lru);
            if (stream->idle != (idle == 1) || (stream->count == 0) != stream->idle ||
                (stream->count == 0) != (stream->ring == NULL) || stream->count > stream->capacity ||
                stream->used_ms < used_ms || stream->deadline.at > expiry(history, stream))
                return false;
            used_ms = stream->used_ms;
            for (uint32_t i = 0; i < stream->count; i++) {
                const struct history_item *item = stream_at(stream, i)->item;
                if (item->offset != stream_first(stream) + i)
                    return false;
                bytes += stream_item_bytes(item);
            }
            streams++;
            items += stream->count;
            bytes += stream_metadata_bytes(stream) + stream_ring_bytes(stream);
            idle_streams += stream->idle;
            idle_bytes += stream->idle ? stream_metadata_bytes(stream) : 0;
        }
    }
    return streams == history->streams.used && streams == history->deadlines.used &&
           items == history->items && bytes == history->bytes && idle_streams == history->idle_streams &&
           idle_bytes == history->idle_bytes && deadlines_validate(&history->deadlines);
}
