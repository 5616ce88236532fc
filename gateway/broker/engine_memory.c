/* Puts history and presence behind the engine's operations: each completes at once. */
#include "gateway/broker/engine_memory.h"

#include "gateway/broker/history.h"
#include "gateway/broker/presence.h"

#include <stdlib.h>
#include <sys/random.h>

enum { METADATA_TTL_MS = 24 * 60 * 60 * 1000 };

struct engine_memory {
    struct engine engine; /* first */
    struct history history;
    struct presence presence;
};

static struct engine_memory *of(struct engine *engine)
{
    return (struct engine_memory *)engine;
}

static void memory_destroy(struct engine *engine)
{
    history_fini(&of(engine)->history);
    presence_fini(&of(engine)->presence);
    free(engine);
}

static void memory_append(struct engine *engine, struct engine_topic topic,
                          const struct history_options *options, const struct history_contents *contents,
                          uint64_t now_ms, engine_append_fn *done, void *context)
{
    struct stream_position position = {0};
    struct history_item *item = NULL;
    enum engine_result result =
        history_append(&of(engine)->history, topic, options, contents, now_ms, &position, &item);
    done(context, result, position, item);
}

static void memory_read(struct engine *engine, struct engine_topic topic,
                        const struct history_options *options, const struct history_filter *filter,
                        uint64_t now_ms, engine_read_fn *done, void *context)
{
    struct history_page page;
    enum engine_result result = history_read(&of(engine)->history, topic, options, filter, now_ms, &page);
    done(context, result, &page);
    free((void *)page.items);
}

static void memory_remove(struct engine *engine, struct engine_topic topic, uint64_t now_ms,
                          engine_remove_fn *done, void *context)
{
    history_remove(&of(engine)->history, topic, now_ms);
    done(context, ENGINE_OK);
}

static void memory_presence_add(struct engine *engine, struct engine_topic topic,
                                const struct presence_entry *entry, uint32_t max_clients,
                                engine_presence_add_fn *done, void *context)
{
    enum presence_change change = PRESENCE_FULL;
    enum engine_result result = presence_add(&of(engine)->presence, topic, entry, max_clients, &change);
    done(context, result, change);
}

static void memory_presence_remove(struct engine *engine, struct engine_topic topic,
                                   const uint8_t client[PRESENCE_CLIENT_BYTES],
                                   engine_presence_remove_fn *done, void *context)
{
    done(context, ENGINE_OK, presence_remove(&of(engine)->presence, topic, client));
}

static void memory_presence_get(struct engine *engine, struct engine_topic topic,
                                engine_presence_visit_fn *visit, engine_presence_get_fn *done, void *context)
{
    done(context, ENGINE_OK, presence_visit(&of(engine)->presence, topic, visit, context));
}

static void memory_presence_stats(struct engine *engine, struct engine_topic topic,
                                  engine_presence_stats_fn *done, void *context)
{
    done(context, ENGINE_OK, presence_stats(&of(engine)->presence, topic));
}

static uint64_t memory_maintain(struct engine *engine, uint64_t now_ms)
{
    return history_maintain(&of(engine)->history, now_ms);
}

static struct engine_stats memory_stats(const struct engine *engine)
{
    const struct engine_memory *memory = (const struct engine_memory *)engine;
    const struct history *history = &memory->history;
    const struct presence *presence = &memory->presence;
    return (struct engine_stats){
        .streams = history->streams.used,
        .streams_empty = history->idle_streams,
        .items = history->items,
        .history_bytes = history_bytes(history),
        .presence_topics = presence->topics.used,
        .presence_entries = presence->members.used,
        .presence_bytes = presence_bytes(presence),
        .evicted_size = history->counters.evicted_size,
        .evicted_ttl = history->counters.evicted_ttl,
        .evicted_memory = history->counters.evicted_memory,
        .streams_expired = history->counters.streams_expired,
        .streams_evicted = history->counters.streams_evicted,
    };
}

static const struct engine_ops memory_ops = {
    .name = "memory",
    .destroy = memory_destroy,
    .append = memory_append,
    .read = memory_read,
    .remove = memory_remove,
    .presence_add = memory_presence_add,
    .presence_remove = memory_presence_remove,
    .presence_get = memory_presence_get,
    .presence_stats = memory_presence_stats,
    .maintain = memory_maintain,
    .stats = memory_stats,
};

struct engine *engine_memory_create(const struct engine_memory_config *config)
{
    struct history_config history = {
        .bytes = config->history_bytes,
        .metadata_ttl_ms = config->metadata_ttl_ms > 0 ? config->metadata_ttl_ms : METADATA_TTL_MS,
        .epoch_seed = config->epoch_seed,
    };
    if (history.epoch_seed == 0 &&
        getrandom(&history.epoch_seed, sizeof history.epoch_seed, 0) != (ssize_t)sizeof history.epoch_seed)
        return NULL;
    struct engine_memory *memory = malloc(sizeof *memory);
    if (!memory)
        return NULL;
    memory->engine.ops = &memory_ops;
    if (!history_init(&memory->history, &history)) {
        free(memory);
        return NULL;
    }
    if (!presence_init(&memory->presence)) {
        history_fini(&memory->history);
        free(memory);
        return NULL;
    }
    return &memory->engine;
}
