/* Presence against an array of who is where. */
#include "gateway/broker/presence.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TOPICS = 7, CLIENTS = 40, USERS = 9, MAX_CLIENTS = 25, ROUNDS = 60000 };

struct model_entry {
    bool present;
    unsigned user, version;
};

struct bench {
    struct presence presence;
    struct model_entry model[TOPICS][CLIENTS];
    char names[TOPICS][32];
    unsigned topic; /* that is visited */
    bool seen[CLIENTS];
};

/* Some topics have the same hash, and so have their clients and users. */
static struct engine_topic topic_of(const struct bench *bench, unsigned topic)
{
    return (struct engine_topic){
        .name = bench->names[topic], .bytes = strlen(bench->names[topic]), .hash = topic / 3 * 2654435761u};
}

static void client_id(unsigned client, uint8_t out[PRESENCE_CLIENT_BYTES])
{
    memset(out, 0, PRESENCE_CLIENT_BYTES);
    out[client % 2 ? 0 : 15] = (uint8_t)client; /* first and last byte matter */
}

/* User 0 is anonymous. */
static struct presence_entry entry_of(unsigned client, unsigned user, unsigned version, char texts[3][32])
{
    struct presence_entry entry = {.owner = version * 3ull, .user = texts[0], .conn_info = texts[1]};
    client_id(client, entry.client);
    entry.user_bytes = user > 0 ? (size_t)sprintf(texts[0], "user-%u", user) : 0;
    entry.conn_info_bytes = (size_t)sprintf(texts[1], "{\"conn\":%u}", version);
    entry.chan_info_bytes = version % 3 ? (size_t)sprintf(texts[2], "{\"chan\":%u}", version) : 0;
    entry.chan_info = entry.chan_info_bytes > 0 ? texts[2] : NULL; /* none may be NULL */
    return entry;
}

static bool same_text(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
    return a_bytes == b_bytes && (a_bytes == 0 || (a && b && memcmp(a, b, a_bytes) == 0));
}

static bool visit(void *context, const struct presence_entry *entry)
{
    struct bench *bench = context;
    unsigned client = entry->client[0] ? entry->client[0] : entry->client[15];
    assert_true(client < CLIENTS);
    const struct model_entry *model = &bench->model[bench->topic][client];
    assert_true(model->present);
    assert_false(bench->seen[client]);
    bench->seen[client] = true;
    char texts[3][32];
    struct presence_entry expected = entry_of(client, model->user, model->version, texts);
    assert_memory_equal(entry->client, expected.client, sizeof expected.client);
    assert_true(entry->owner == expected.owner);
    assert_true(same_text(entry->user, entry->user_bytes, expected.user, expected.user_bytes));
    assert_true(
        same_text(entry->conn_info, entry->conn_info_bytes, expected.conn_info, expected.conn_info_bytes));
    assert_true(
        same_text(entry->chan_info, entry->chan_info_bytes, expected.chan_info, expected.chan_info_bytes));
    return true;
}

static struct presence_stats model_stats(const struct bench *bench, unsigned topic)
{
    bool users[USERS] = {false};
    struct presence_stats stats = {0};
    for (unsigned c = 0; c < CLIENTS; c++) {
        const struct model_entry *model = &bench->model[topic][c];
        if (!model->present)
            continue;
        stats.clients++;
        stats.users += !users[model->user];
        users[model->user] = true;
        char texts[3][32];
        struct presence_entry entry = entry_of(c, model->user, model->version, texts);
        stats.text_bytes += entry.user_bytes + entry.conn_info_bytes + entry.chan_info_bytes;
    }
    return stats;
}

static void check_topic(struct bench *bench, unsigned topic)
{
    struct presence_stats expected = model_stats(bench, topic);
    struct presence_stats stats = presence_stats(&bench->presence, topic_of(bench, topic));
    assert_int_equal(stats.clients, expected.clients);
    assert_int_equal(stats.users, expected.users);
    assert_int_equal(stats.text_bytes, expected.text_bytes);
    bench->topic = topic;
    memset(bench->seen, 0, sizeof bench->seen);
    assert_int_equal(presence_visit(&bench->presence, topic_of(bench, topic), visit, bench),
                     expected.clients);
    for (unsigned c = 0; c < CLIENTS; c++)
        assert_int_equal(bench->seen[c], bench->model[topic][c].present);
}

static void bench_init(struct bench *bench)
{
    *bench = (struct bench){0};
    for (unsigned t = 0; t < TOPICS; t++)
        sprintf(bench->names[t], t % 2 ? "chat:%u" : "room/%u/long enough", t);
    assert_true(presence_init(&bench->presence));
}

static void random_comings_and_goings_agree_with_an_array(void **state)
{
    (void)state;
    static struct bench bench;
    bench_init(&bench);
    uint64_t bytes_at_start = presence_bytes(&bench.presence);
    unsigned seed = 3, full = 0, moved = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned topic = (unsigned)rand_r(&seed) % TOPICS,
                 client = 1 + (unsigned)rand_r(&seed) % (CLIENTS - 1);
        struct model_entry *model = &bench.model[topic][client];
        struct presence_stats before = model_stats(&bench, topic);
        if ((unsigned)rand_r(&seed) % 100 < (round / 10000 % 2 ? 60 : 35)) {
            uint8_t id[PRESENCE_CLIENT_BYTES];
            client_id(client, id);
            assert_int_equal(presence_remove(&bench.presence, topic_of(&bench, topic), id), model->present);
            model->present = false;
        } else {
            char texts[3][32];
            unsigned user = (unsigned)rand_r(&seed) % USERS;
            struct presence_entry entry = entry_of(client, user, round, texts);
            enum presence_change change;
            assert_int_equal(
                presence_add(&bench.presence, topic_of(&bench, topic), &entry, MAX_CLIENTS, &change),
                ENGINE_OK);
            if (model->present) {
                assert_int_equal(change, PRESENCE_UPDATED);
                moved += model->user != user;
            } else if (before.clients >= MAX_CLIENTS) {
                assert_int_equal(change, PRESENCE_FULL);
                full++;
                continue;
            } else {
                assert_int_equal(change, PRESENCE_NEW);
            }
            *model = (struct model_entry){.present = true, .user = user, .version = round};
        }
        check_topic(&bench, topic);
        if (round % 100 == 0)
            assert_true(presence_validate(&bench.presence));
    }
    assert_true(full > 100 && moved > 100); /* both were tried */
    for (unsigned t = 0; t < TOPICS; t++)
        for (unsigned c = 1; c < CLIENTS; c++) {
            uint8_t id[PRESENCE_CLIENT_BYTES];
            client_id(c, id);
            assert_int_equal(presence_remove(&bench.presence, topic_of(&bench, t), id),
                             bench.model[t][c].present);
        }
    assert_true(presence_validate(&bench.presence));
    assert_true(bench.presence.bytes == 0);
    assert_true(presence_bytes(&bench.presence) == bytes_at_start);
    assert_int_equal(bench.presence.topics.used, 0);
    presence_fini(&bench.presence);
}

static void without_a_bound_a_topic_takes_many(void **state)
{
    (void)state;
    enum { MANY = 5000 };
    static struct bench bench;
    bench_init(&bench);
    for (unsigned i = 0; i < MANY; i++) {
        struct presence_entry entry = {.user = (const char *)&i, .user_bytes = sizeof i};
        memcpy(entry.client, &i, sizeof i);
        enum presence_change change;
        assert_int_equal(presence_add(&bench.presence, topic_of(&bench, 0), &entry, 0, &change), ENGINE_OK);
        assert_int_equal(change, PRESENCE_NEW);
    }
    struct presence_stats stats = presence_stats(&bench.presence, topic_of(&bench, 0));
    assert_int_equal(stats.clients, MANY);
    assert_int_equal(stats.users, MANY);
    assert_int_equal(presence_stats(&bench.presence, topic_of(&bench, 1)).clients, 0);
    assert_true(presence_bytes(&bench.presence) / MANY <= 256);
    presence_fini(&bench.presence); /* frees all that is still there */
}

static bool visit_two(void *context, const struct presence_entry *entry)
{
    (void)entry;
    return ++*(unsigned *)context < 2;
}

static void a_visitor_who_has_enough_is_shown_no_more(void **state)
{
    (void)state;
    static struct bench bench;
    bench_init(&bench);
    unsigned visited = 0;
    for (unsigned client = 1; client < 10; client++) {
        struct presence_entry entry = {.user = ""};
        client_id(client, entry.client);
        enum presence_change change;
        assert_int_equal(presence_add(&bench.presence, topic_of(&bench, 0), &entry, 0, &change), ENGINE_OK);
    }
    assert_int_equal(presence_visit(&bench.presence, topic_of(&bench, 0), visit_two, &visited), 9);
    assert_int_equal(visited, 2);
    presence_fini(&bench.presence);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_comings_and_goings_agree_with_an_array),
        cmocka_unit_test(without_a_bound_a_topic_takes_many),
        cmocka_unit_test(a_visitor_who_has_enough_is_shown_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
