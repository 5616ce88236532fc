/* traffic: against counting every topic. */
#include "gateway/broker/traffic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TOPICS = 2000 };
#define SECOND UINT64_C(1000000000)

struct model {
    uint64_t bytes[TOPICS], messages[TOPICS], deliveries[TOPICS];
};

static uint32_t hash_of(unsigned topic)
{
    uint32_t hash = topic * 2654435761u;
    return hash ^ hash >> 15;
}

static void charge(struct traffic *traffic, struct model *model, uint64_t now, unsigned topic,
                   uint64_t deliveries, uint64_t bytes)
{
    char name[16];
    int len = snprintf(name, sizeof name, "topic:%u", topic);
    traffic_charge(traffic, now, hash_of(topic), name, (size_t)len, deliveries, bytes);
    if (!model)
        return;
    model->bytes[topic] += deliveries * bytes;
    model->messages[topic]++;
    model->deliveries[topic] += deliveries;
}

static unsigned topic_of(const struct top_row *row)
{
    char name[TOPIC_BYTES_MAX + 1];
    memcpy(name, row->topic, row->topic_bytes);
    name[row->topic_bytes] = '\0';
    assert_int_equal(strncmp(name, "topic:", 6), 0);
    return (unsigned)strtoul(name + 6, NULL, 10);
}

/* A few topics are far above a crowd that is larger than the structure. */
static void heavy_topics_are_found_in_a_crowd_and_none_is_told_too_much_of(void **state)
{
    (void)state;
    srand(3);
    for (int round = 0; round < 20; round++) {
        struct model model = {0};
        struct traffic *traffic = traffic_create(0);
        struct top top;
        uint64_t now = 0;
        for (int i = 0; i < 20000; i++) {
            now += SECOND / 1000;
            bool heavy = rand() % 2 == 0;
            unsigned topic = heavy ? (unsigned)rand() % 5 : 5 + (unsigned)rand() % (TOPICS - 5);
            charge(traffic, &model, now, topic, 1 + (uint64_t)rand() % 3, (uint64_t)rand() % 200);
        }
        assert_int_equal(traffic_top(traffic, now, &top), now);
        assert_int_equal(top.count, TOP_ROWS);
        unsigned found = 0;
        for (uint32_t i = 0; i < top.count; i++) {
            unsigned topic = topic_of(&top.rows[i]);
            assert_true(top.rows[i].weight <= model.bytes[topic]);
            assert_true(top.rows[i].messages <= model.messages[topic]);
            assert_true(top.rows[i].deliveries <= model.deliveries[topic]);
            found += topic < 5;
            if (topic < 5) /* it came early and was never pushed out for long */
                assert_true(top.rows[i].weight > model.bytes[topic] / 10 * 9);
        }
        assert_int_equal(found, 5);
        for (unsigned i = 0; i < 5; i++)
            assert_true(topic_of(&top.rows[i]) < 5);
        free(traffic);
    }
}

static void few_topics_are_counted_exactly(void **state)
{
    (void)state;
    struct model model = {0};
    struct traffic *traffic = traffic_create(0);
    struct top top;
    for (unsigned i = 0; i < 5000; i++)
        charge(traffic, &model, i * (SECOND / 1000), i % 12, i % 4, i % 100);
    traffic_top(traffic, 5 * SECOND, &top);
    assert_int_equal(top.count, 12);
    for (uint32_t i = 0; i < top.count; i++) {
        unsigned topic = topic_of(&top.rows[i]);
        assert_int_equal(top.rows[i].weight, model.bytes[topic]);
        assert_int_equal(top.rows[i].messages, model.messages[topic]);
        assert_int_equal(top.rows[i].deliveries, model.deliveries[topic]);
    }
    free(traffic);
}

/* Every second is told of for one to two minutes, then forgotten. */
static void what_is_told_is_of_the_last_one_to_two_minutes(void **state)
{
    (void)state;
    static uint64_t charged[601];
    struct traffic *traffic = traffic_create(0);
    for (uint64_t second = 0; second < 600; second++) {
        bool quiet = second > 200 && second < 420; /* long enough for both windows to become useless */
        charged[second] = quiet ? 0 : second + 1;
        if (!quiet)
            charge(traffic, NULL, second * SECOND, 7, 1, second + 1);
        struct top top;
        uint64_t length = traffic_top(traffic, second * SECOND, &top), expected = 0;
        assert_true(length <= 2 * TRAFFIC_WINDOW_NS);
        for (uint64_t s = second - length / SECOND; s <= second; s++)
            expected += charged[s];
        assert_int_equal(top.count ? top.rows[0].weight : 0, expected);
        if (second >= 60 && second <= 200)
            assert_true(length >= TRAFFIC_WINDOW_NS);
    }
    free(traffic);
}

static void messages_without_bytes_or_receivers_are_counted(void **state)
{
    (void)state;
    struct traffic *traffic = traffic_create(0);
    struct top top;
    charge(traffic, NULL, 1, 1, 1, 0);
    charge(traffic, NULL, 1, 1, 0, 10);
    traffic_top(traffic, 1, &top);
    assert_int_equal(top.count, 1);
    assert_int_equal(top.rows[0].weight, 0);
    assert_int_equal(top.rows[0].messages, 2);
    assert_int_equal(top.rows[0].deliveries, 1);
    free(traffic);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heavy_topics_are_found_in_a_crowd_and_none_is_told_too_much_of),
        cmocka_unit_test(few_topics_are_counted_exactly),
        cmocka_unit_test(what_is_told_is_of_the_last_one_to_two_minutes),
        cmocka_unit_test(messages_without_bytes_or_receivers_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
