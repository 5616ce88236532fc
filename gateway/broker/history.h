/* History in memory: streams of items, bounded by size, age and memory.
 *
 * A stream with items stands in one list, a stream of which only the metadata is left in another, both in
 * order of use: past the bound on memory items go from the head of the first, then metadata from the head of
 * the second. What a stream stores is always the newest part of it, without gaps.
 *
 * Thread: the engine's. Owner: the history owns streams and one reference to each stored item.
 */
#pragma once

#include "gateway/base/deadlines.h"
#include "gateway/base/list.h"
#include "gateway/base/table.h"
#include "gateway/broker/engine.h"

struct history_config {
    uint64_t bytes;           /* bound; 0: none */
    uint64_t metadata_ttl_ms; /* of a stream without items, since its last use; at least ten times its ttl */
    uint64_t epoch_seed;
};

struct history_counters {
    uint64_t evicted_size, evicted_ttl, evicted_memory; /* items */
    uint64_t streams_expired, streams_evicted;
};

struct history {
    struct history_config config;
    struct table streams;
    struct deadlines deadlines; /* when the next thing of each stream expires, or earlier */
    struct list active, idle;   /* streams with and without items, the least recently used first */
    uint64_t idle_streams;
    uint64_t idle_bytes; /* of streams without items */
    uint64_t bytes;      /* of all streams and items, but not of the two tables */
    uint64_t items;
    uint64_t now_ms; /* the latest time heard of */
    uint64_t epochs; /* given out */
    struct history_counters counters;
};

bool history_init(struct history *history, const struct history_config *config)
    __attribute__((warn_unused_result)); /* false without memory */
void history_fini(struct history *history);

/* As the operations of struct engine_ops. ENGINE_NO_MEMORY: nothing changed. */
enum engine_result history_append(struct history *history, struct engine_topic topic,
                                  const struct history_options *options,
                                  const struct history_contents *contents, uint64_t now_ms,
                                  struct stream_position *position, struct history_item **item)
    __attribute__((warn_unused_result));
/* page->items is the caller's to free(), after the references in it; NULL when count is 0. */
enum engine_result history_read(struct history *history, struct engine_topic topic,
                                const struct history_options *options, const struct history_filter *filter,
                                uint64_t now_ms, struct history_page *page)
    __attribute__((warn_unused_result));
void history_remove(struct history *history, struct engine_topic topic, uint64_t now_ms);
uint64_t history_maintain(struct history *history, uint64_t now_ms);
/* What config.bytes bounds. */
uint64_t history_bytes(const struct history *history);
/* Counts everything again and compares; false when a sum, list or deadline is wrong. O(items), for tests. */
bool history_validate(const struct history *history);
