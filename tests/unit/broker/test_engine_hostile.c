/* Engines that are refused memory at random: nothing crashes, and what was refused has changed nothing. */
#include "gateway/broker/engine_memory.h"
#include "gateway/broker/history.h"
#include "gateway/broker/message.h"
#include "gateway/broker/presence.h"
#include "tests/unit/failing_memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TOPICS = 300, CLIENTS = 20, STEPS = 60000 };

static struct engine_topic topic_of(unsigned topic, char name[32])
{
    size_t bytes = (size_t)sprintf(name, "topic-%u", topic);
    return (struct engine_topic){.name = name, .bytes = bytes, .hash = topic_hash(name, bytes)};
}

static void a_refused_append_or_read_changes_nothing(void **state)
{
    (void)state;
    static struct stream_position positions[TOPICS];
    static uint64_t stored[TOPICS];
    const struct history_options options = {.size = 20};
    struct history history;
    assert_true(history_init(&history, &(struct history_config){.metadata_ttl_ms = 1000, .epoch_seed = 1}));
    unsigned seed = 4;
    uint64_t refused = 0;
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned t = (unsigned)rand_r(&seed) % TOPICS;
        char name[32];
        struct engine_topic topic = topic_of(t, name);
        uint64_t bytes = history.bytes, items = history.items;
        uint32_t streams = history.streams.used;
        enum engine_result result;
        struct stream_position position = {0};
        fail_one_in = 6;
        bool append = rand_r(&seed) % 3 > 0;
        if (append) {
            struct history_item *item = NULL;
            result = history_append(&history, topic, &options,
                                    &(struct history_contents){.payload = name, .payload_bytes = 5}, 1,
                                    &position, &item);
            fail_one_in = 0;
            assert_true((item != NULL) == (result == ENGINE_OK));
            if (item)
                history_item_unref(item);
        } else {
            struct history_page page;
            result = history_read(&history, topic, &options, &(struct history_filter){.limit = UINT32_MAX}, 1,
                                  &page);
            fail_one_in = 0;
            position = page.top;
            if (result == ENGINE_OK)
                assert_int_equal(page.count, stored[t]);
            else
                assert_null(page.items);
            for (uint32_t i = 0; page.items && i < page.count; i++)
                history_item_unref(page.items[i]);
            free((void *)page.items);
        }
        if (result != ENGINE_OK) {
            assert_int_equal(result, ENGINE_NO_MEMORY);
            assert_true(history.bytes == bytes && history.items == items && history.streams.used == streams);
            refused++;
        } else {
            if (positions[t].epoch == 0)
                positions[t].epoch = position.epoch;
            positions[t].offset += append;
            stored[t] += append && stored[t] < options.size;
            assert_true(position.offset == positions[t].offset && position.epoch == positions[t].epoch);
        }
        if (step % 500 == 0)
            assert_true(history_validate(&history));
    }
    assert_true(refused > STEPS / 20);
    /* Giving back works without memory, too. */
    fail_one_in = 1;
    for (unsigned t = 0; t < TOPICS; t++) {
        char name[32];
        history_remove(&history, topic_of(t, name), 2);
    }
    while (history_maintain(&history, 5000) == 0)
        ;
    fail_one_in = 0;
    assert_true(history.bytes == 0 && history_validate(&history));
    history_fini(&history);
}

static void a_refused_presence_changes_nothing(void **state)
{
    (void)state;
    static bool present[TOPICS][CLIENTS];
    struct presence presence;
    assert_true(presence_init(&presence));
    unsigned seed = 4;
    uint64_t refused = 0;
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned t = (unsigned)rand_r(&seed) % TOPICS, client = (unsigned)rand_r(&seed) % CLIENTS;
        char name[32];
        struct engine_topic topic = topic_of(t, name);
        struct presence_entry entry = {.client = {(uint8_t)client}, .user = name, .conn_info = name};
        entry.user_bytes = (size_t)rand_r(&seed) % topic.bytes;
        entry.conn_info_bytes = (size_t)rand_r(&seed) % topic.bytes;
        struct presence_stats before = presence_stats(&presence, topic);
        uint64_t bytes = presence.bytes;
        fail_one_in = 6;
        if (rand_r(&seed) % 3 == 0) {
            assert_int_equal(presence_remove(&presence, topic, entry.client), present[t][client]);
            fail_one_in = 0;
            present[t][client] = false;
        } else {
            enum presence_change change;
            enum engine_result result = presence_add(&presence, topic, &entry, 0, &change);
            fail_one_in = 0;
            struct presence_stats after = presence_stats(&presence, topic);
            if (result == ENGINE_OK) {
                assert_int_equal(change, present[t][client] ? PRESENCE_UPDATED : PRESENCE_NEW);
                present[t][client] = true;
            } else {
                assert_int_equal(result, ENGINE_NO_MEMORY);
                assert_true(presence.bytes == bytes && before.clients == after.clients &&
                            before.users == after.users);
                refused++;
            }
        }
        uint32_t clients = 0;
        for (unsigned c = 0; c < CLIENTS; c++)
            clients += present[t][c];
        assert_int_equal(presence_stats(&presence, topic).clients, clients);
        if (step % 500 == 0)
            assert_true(presence_validate(&presence));
    }
    assert_true(refused > STEPS / 20);
    presence_fini(&presence);
}

static void an_engine_starts_whole_or_not_at_all(void **state)
{
    (void)state;
    unsigned started = 0;
    for (unsigned i = 0; i < 200; i++) {
        fail_one_in = 3;
        struct engine *engine = engine_memory_create(&(struct engine_memory_config){0});
        fail_one_in = 0;
        started += engine != NULL;
        if (engine)
            engine->ops->destroy(engine);
    }
    assert_true(started > 0 && started < 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_refused_append_or_read_changes_nothing),
        cmocka_unit_test(a_refused_presence_changes_nothing),
        cmocka_unit_test(an_engine_starts_whole_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
