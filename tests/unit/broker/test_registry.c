#include "gateway/broker/registry.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TOPICS = 300, REACTORS = 9, ROUNDS = 60000 };

/* Few distinct values, so that runs of colliding hashes form, wrap around the end and are broken up again. */
static uint32_t poor_hash(unsigned topic)
{
    return topic % 7 == 0 ? UINT32_MAX - topic % 3 : topic / 5 * 2654435761u;
}

static size_t name_of(unsigned topic, char *name)
{
    return (size_t)sprintf(name, "topic-%u", topic);
}

static void random_updates_agree_with_a_table_of_counts(void **state)
{
    (void)state;
    static struct registry_interest model[TOPICS][REACTORS];
    struct registry registry;
    assert_true(registry_init(&registry));
    srand(11);
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned topic = (unsigned)rand() % TOPICS;
        uint16_t reactor = (uint16_t)(rand() % REACTORS);
        /* the share of removals swings, so that the table grows and shrinks */
        unsigned subscribers = rand() % 100 < (round / 10000 % 2 ? 90 : 30) ? 0 : 1 + (unsigned)rand() % 5;
        struct registry_interest interest = {subscribers, reactor, (uint16_t)(1 + rand() % 3)};
        char name[32];
        size_t len = name_of(topic, name);
        assert_true(registry_update(&registry, poor_hash(topic), name, len, interest));
        model[topic][reactor] = interest;
        if (round % 500 != 499)
            continue;
        uint32_t topics = 0;
        for (unsigned t = 0; t < TOPICS; t++) {
            unsigned count = 0;
            len = name_of(t, name);
            struct registry_entry *entry = registry_find(&registry, poor_hash(t), name, len);
            for (int r = 0; r < REACTORS; r++) {
                if (model[t][r].subscribers == 0)
                    continue;
                count++;
                assert_non_null(entry);
                bool found = false;
                for (uint16_t i = 0; i < entry->count; i++)
                    found |= memcmp(&registry_interests(entry)[i], &model[t][r], sizeof model[t][r]) == 0;
                assert_true(found);
            }
            assert_int_equal(entry ? entry->count : 0, count);
            topics += count > 0;
        }
        assert_int_equal(registry.used, topics);
    }
    registry_fini(&registry);
}

static void mark_visited(void *context, const struct registry_entry *entry)
{
    char name[32];
    memcpy(name, entry->topic, entry->topic_bytes);
    name[entry->topic_bytes] = '\0';
    ((unsigned *)context)[strtoul(name + strlen("topic-"), NULL, 10)]++;
}

/* What one change does to a table of topics that are there (1) or not (0). */
static void flip(struct registry *registry, bool *there, unsigned topic)
{
    char name[32];
    size_t len = name_of(topic, name);
    there[topic] = !there[topic];
    assert_true(registry_update(registry, poor_hash(topic), name, len,
                                (struct registry_interest){there[topic], 0, 1}));
}

static void a_walk_in_slices_misses_no_topic_however_the_table_changes(void **state)
{
    (void)state;
    enum { MANY = 3000, WALKS = 200 };
    static bool there[MANY];
    struct registry registry;
    assert_true(registry_init(&registry));
    srand(12);
    size_t repeated = 0;
    bool grew = false, shrank = false;
    for (unsigned walk = 0; walk < WALKS; walk++) {
        static unsigned visits[MANY];
        static bool always[MANY];
        memset(visits, 0, sizeof visits);
        memcpy(always, there, sizeof always);
        uint32_t cursor = 0, mask = registry.mask;
        bool may_repeat = false;
        unsigned slices = 0;
        do {
            cursor = registry_scan(&registry, cursor, 1 + (uint32_t)rand() % 64, mark_visited, visits);
            /* Walks that fill the table and walks that empty it take turns; some change nothing. */
            for (unsigned i = 0; i < 40 && walk % 5 != 0; i++) {
                unsigned topic = (unsigned)rand() % MANY;
                if (there[topic] == (walk / 10 % 2 == 1)) {
                    flip(&registry, there, topic);
                    always[topic] = false;
                }
            }
            may_repeat |= registry.mask < mask;
            shrank |= registry.mask < mask;
            grew |= registry.mask > mask;
            mask = registry.mask;
            assert_true(++slices < 100000);
        } while (cursor != 0);
        for (unsigned t = 0; t < MANY; t++) {
            assert_true(!always[t] || visits[t] >= 1);
            assert_true(visits[t] <= 1 || may_repeat);
            repeated += visits[t] > 1;
            if (walk % 5 == 0)
                assert_int_equal(visits[t], there[t]);
        }
    }
    assert_true(grew && shrank);
    for (unsigned t = 0; t < MANY; t++)
        if (there[t])
            flip(&registry, there, t);
    registry_fini(&registry);
    print_message("topics visited again after the table had shrunk: %zu\n", repeated);
}

static void a_topic_costs_at_most_100_bytes_and_its_name(void **state)
{
    (void)state;
    enum { MANY = 100000 };
    struct registry registry;
    assert_true(registry_init(&registry));
    size_t names = 0;
    for (unsigned i = 0; i < MANY; i++) {
        char name[32];
        size_t len = (size_t)sprintf(name, "user:%u", i);
        names += len;
        assert_true(
            registry_update(&registry, i * 2654435761u, name, len, (struct registry_interest){1, 0, 1}));
    }
    size_t used = ((size_t)registry.mask + 1) * sizeof *registry.slots;
    for (uint32_t i = 0; i <= registry.mask; i++)
        if (registry.slots[i].entry)
            used += malloc_usable_size(registry.slots[i].entry) +
                    sizeof(size_t); /* and the allocator's own word */
    assert_true((used - names) / MANY <= 100);
    for (unsigned i = 0; i < MANY; i++) {
        char name[32];
        size_t len = (size_t)sprintf(name, "user:%u", i);
        assert_true(
            registry_update(&registry, i * 2654435761u, name, len, (struct registry_interest){0, 0, 0}));
    }
    assert_int_equal(registry.used, 0);
    assert_true(registry.mask < 1024); /* the table shrinks with its topics */
    registry_fini(&registry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_updates_agree_with_a_table_of_counts),
        cmocka_unit_test(a_walk_in_slices_misses_no_topic_however_the_table_changes),
        cmocka_unit_test(a_topic_costs_at_most_100_bytes_and_its_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
