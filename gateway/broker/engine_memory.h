/* The engine of a single process: history and presence in memory, gone with it.
 *
 * Every operation completes before it returns. Thread and owner: as engine.h says; ops->destroy frees all.
 */
#pragma once

#include "gateway/broker/engine.h"

struct engine_memory_config {
    /* history.memory: bound of all topics' items, metadata and tables, with the allocator's overhead; 0:
     * none. Metadata of topics without items takes at most a quarter of it, so that a crowd of new topics
     * cannot push out the history of those that are in use. Presence does not count: connections bound it. */
    uint64_t history_bytes;
    /* How long a topic without items keeps its offset and epoch after its last use: this or ten times its
     * ttl, whichever is longer. 0: 24 hours. */
    uint64_t metadata_ttl_ms;
    uint64_t epoch_seed; /* 0: from the kernel; else epochs are the same in every run, for tests */
};

/* NULL without memory, or when the kernel gives no randomness. */
struct engine *engine_memory_create(const struct engine_memory_config *config)
    __attribute__((warn_unused_result));
