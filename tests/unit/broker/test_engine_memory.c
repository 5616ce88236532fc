/* The memory engine through its operations: each completes once, before it returns, with what was asked. */
#include "gateway/broker/engine_memory.h"

#include "gateway/broker/message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What completions left behind. */
struct outcome {
    unsigned calls, visits;
    enum engine_result result;
    struct stream_position position;
    uint64_t offsets[8];
    uint32_t count;
    bool continuous, recovered, removed;
    enum presence_change change;
    struct presence_stats stats;
    char user[8];
    struct engine *engine; /* to use again, from inside a completion */
};

static struct engine_topic named(const char *name)
{
    return (struct engine_topic){.name = name, .bytes = strlen(name), .hash = topic_hash(name, strlen(name))};
}

static void on_append(void *context, enum engine_result result, struct stream_position position,
                      struct history_item *item)
{
    struct outcome *outcome = context;
    outcome->calls++;
    outcome->result = result;
    outcome->position = position;
    assert_true(item->offset == position.offset);
    history_item_unref(item);
}

static void on_read(void *context, enum engine_result result, const struct history_page *page)
{
    struct outcome *outcome = context;
    outcome->calls++;
    outcome->result = result;
    outcome->position = page->top;
    outcome->count = page->count;
    outcome->continuous = page->continuous;
    outcome->recovered = page->recovered;
    for (uint32_t i = 0; i < page->count; i++) {
        if (i < 8)
            outcome->offsets[i] = page->items[i]->offset;
        history_item_unref(page->items[i]);
    }
}

static void on_remove(void *context, enum engine_result result)
{
    struct outcome *outcome = context;
    outcome->calls++;
    outcome->result = result;
}

static void on_presence_add(void *context, enum engine_result result, enum presence_change change)
{
    struct outcome *outcome = context;
    outcome->calls++;
    outcome->result = result;
    outcome->change = change;
}

static void on_presence_remove(void *context, enum engine_result result, bool removed)
{
    struct outcome *outcome = context;
    outcome->calls++;
    outcome->result = result;
    outcome->removed = removed;
}

static bool on_visit(void *context, const struct presence_entry *entry)
{
    struct outcome *outcome = context;
    assert_int_equal(outcome->calls, 0); /* visits come before the end */
    outcome->visits++;
    memcpy(outcome->user, entry->user, entry->user_bytes);
    return true;
}

static void on_presence_get(void *context, enum engine_result result, uint32_t entries)
{
    struct outcome *outcome = context;
    outcome->calls++;
    outcome->result = result;
    outcome->count = entries;
}

static void on_presence_stats(void *context, enum engine_result result, struct presence_stats stats)
{
    struct outcome *outcome = context;
    outcome->calls++;
    outcome->result = result;
    outcome->stats = stats;
}

static struct engine *create(uint64_t epoch_seed)
{
    struct engine *engine = engine_memory_create(&(struct engine_memory_config){.epoch_seed = epoch_seed});
    assert_non_null(engine);
    assert_string_equal(engine->ops->name, "memory");
    return engine;
}

static const struct history_options ten = {.size = 10, .ttl_ms = 1000};

static void append(struct engine *engine, const char *topic, uint64_t now_ms, struct outcome *outcome)
{
    *outcome = (struct outcome){0};
    engine->ops->append(engine, named(topic), &ten,
                        &(struct history_contents){.payload = "hello", .payload_bytes = 5}, now_ms, on_append,
                        outcome);
    assert_int_equal(outcome->calls, 1);
    assert_int_equal(outcome->result, ENGINE_OK);
}

static void history_passes_through(void **state)
{
    (void)state;
    struct engine *engine = create(1);
    const struct engine_ops *ops = engine->ops;
    struct outcome outcome;
    for (int i = 0; i < 3; i++)
        append(engine, "t", 100, &outcome);
    assert_true(outcome.position.offset == 3);
    struct history_filter since_one = {
        .since_set = true, .since = {.offset = 1, .epoch = outcome.position.epoch}, .limit = UINT32_MAX};

    outcome = (struct outcome){0};
    ops->read(engine, named("t"), &ten, &since_one, 100, on_read, &outcome);
    assert_true(outcome.calls == 1 && outcome.result == ENGINE_OK && outcome.count == 2);
    assert_true(outcome.offsets[0] == 2 && outcome.offsets[1] == 3 && outcome.continuous &&
                outcome.recovered);

    outcome = (struct outcome){0};
    ops->read(engine, named("t"), &ten, &(struct history_filter){.limit = 2, .reverse = true}, 100, on_read,
              &outcome);
    assert_true(outcome.count == 2 && outcome.offsets[0] == 3 && outcome.offsets[1] == 2);

    outcome = (struct outcome){0};
    ops->remove(engine, named("t"), 100, on_remove, &outcome);
    assert_true(outcome.calls == 1 && outcome.result == ENGINE_OK);
    outcome = (struct outcome){0};
    ops->read(engine, named("t"), &ten, &since_one, 100, on_read, &outcome);
    assert_true(outcome.count == 0 && !outcome.recovered && !outcome.continuous &&
                outcome.position.offset == 3 && outcome.position.epoch == since_one.since.epoch);

    struct engine_stats stats = ops->stats(engine);
    assert_true(stats.streams == 1 && stats.streams_empty == 1 && stats.items == 0 &&
                stats.history_bytes > 0);
    append(engine, "t", 200, &outcome);
    uint64_t wait = ops->maintain(engine, 200);
    assert_true(wait > 0 && wait <= 1000);
    assert_true(ops->stats(engine).items == 1);
    assert_true(ops->maintain(engine, 1200) == 24 * 60 * 60 * 1000); /* the default */
    stats = ops->stats(engine);
    assert_true(stats.evicted_ttl == 1 && stats.items == 0);
    ops->destroy(engine);
}

static void presence_passes_through(void **state)
{
    (void)state;
    struct engine *engine = create(1);
    const struct engine_ops *ops = engine->ops;
    struct presence_entry entry = {.client = {1}, .owner = 7, .user = "anna", .user_bytes = 4};
    const enum presence_change expected[] = {PRESENCE_NEW, PRESENCE_UPDATED, PRESENCE_FULL};
    struct outcome outcome;
    for (int i = 0; i < 3; i++) {
        entry.client[0] = i == 2 ? 2 : 1;
        outcome = (struct outcome){0};
        ops->presence_add(engine, named("t"), &entry, 1, on_presence_add, &outcome);
        assert_true(outcome.calls == 1 && outcome.result == ENGINE_OK && outcome.change == expected[i]);
    }
    outcome = (struct outcome){0};
    ops->presence_get(engine, named("t"), on_visit, on_presence_get, &outcome);
    assert_true(outcome.calls == 1 && outcome.visits == 1 && outcome.count == 1);
    assert_string_equal(outcome.user, "anna");
    outcome = (struct outcome){0};
    ops->presence_stats(engine, named("t"), on_presence_stats, &outcome);
    assert_true(outcome.calls == 1 && outcome.stats.clients == 1 && outcome.stats.users == 1);
    struct engine_stats stats = ops->stats(engine);
    assert_true(stats.presence_topics == 1 && stats.presence_entries == 1 && stats.presence_bytes > 0);
    for (int i = 0; i < 2; i++) {
        outcome = (struct outcome){0};
        ops->presence_remove(engine, named("t"), (const uint8_t[PRESENCE_CLIENT_BYTES]){1},
                             on_presence_remove, &outcome);
        assert_true(outcome.calls == 1 && outcome.result == ENGINE_OK && outcome.removed == (i == 0));
    }
    assert_true(ops->stats(engine).presence_topics == 0);
    ops->destroy(engine);
}

/* Publishes again until the stream has six. */
static void append_from_inside(void *context, enum engine_result result, struct stream_position position,
                               struct history_item *item)
{
    struct outcome *outcome = context;
    on_append(context, result, position, item);
    if (position.offset < 6)
        outcome->engine->ops->append(outcome->engine, named("t"), &ten, &(struct history_contents){0}, 1,
                                     append_from_inside, context);
}

static void a_completion_may_start_operations(void **state)
{
    (void)state;
    struct engine *engine = create(1);
    struct outcome outcome = {.engine = engine};
    engine->ops->append(engine, named("t"), &ten, &(struct history_contents){0}, 1, append_from_inside,
                        &outcome);
    assert_int_equal(outcome.calls, 6);
    assert_true(engine->ops->stats(engine).items == 6);
    engine->ops->destroy(engine);
}

static void another_process_gives_another_epoch(void **state)
{
    (void)state;
    uint64_t epochs[4];
    const uint64_t seeds[] = {0, 0, 5, 5}; /* from the kernel, and fixed */
    for (int i = 0; i < 4; i++) {
        struct engine *engine = create(seeds[i]);
        struct outcome outcome;
        append(engine, "t", 1, &outcome);
        epochs[i] = outcome.position.epoch;
        engine->ops->destroy(engine);
    }
    assert_true(epochs[0] != epochs[1] && epochs[0] != epochs[2] && epochs[1] != epochs[2]);
    assert_true(epochs[2] == epochs[3]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(history_passes_through),
        cmocka_unit_test(presence_passes_through),
        cmocka_unit_test(a_completion_may_start_operations),
        cmocka_unit_test(another_process_gives_another_epoch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
