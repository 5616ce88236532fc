/* Topics against a naive model: a set of subscribers per topic, with fan-outs under way. */
#include "gateway/conn/topics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TOPICS = 20, CONNS = 200 };

struct model {
    struct topics topics;
    uint32_t position[TOPICS][CONNS]; /* UINT32_MAX: not subscribed */
    uint32_t index[TOPICS];
};

static uint32_t hash_of(int topic)
{
    return (uint32_t)(topic % 5) * 64; /* collisions on purpose */
}

static void moved(void *context, uint32_t conn, uint32_t index, uint32_t position)
{
    struct model *model = context;
    for (int t = 0; t < TOPICS; t++)
        if (model->index[t] == index)
            model->position[t][conn] = position;
}

static void settle(struct model *model)
{
    for (uint32_t index; (index = topics_next_dirty(&model->topics)) != TOPIC_NONE;) {
        struct topic *topic = topics_at(&model->topics, index);
        topic->reported = topic->count;
        uint32_t used = model->topics.used;
        topics_collect(&model->topics, index);
        if (model->topics.used < used)
            for (int t = 0; t < TOPICS; t++)
                if (model->index[t] == index)
                    model->index[t] = TOPIC_NONE;
    }
}

static void subscribe(struct model *model, int t, uint32_t conn)
{
    char name[16];
    int bytes = snprintf(name, sizeof name, "topic-%d", t);
    uint32_t index = topics_intern(&model->topics, name, (size_t)bytes, hash_of(t));
    assert_int_not_equal(index, TOPIC_NONE);
    assert_int_equal(topics_find(&model->topics, name, (size_t)bytes, hash_of(t)), index);
    model->index[t] = index;
    assert_true(topics_subscribe(&model->topics, index, conn, ADAPTER_RAW, &model->position[t][conn]));
}

static void unsubscribe(struct model *model, int t, uint32_t conn)
{
    uint32_t position = model->position[t][conn];
    model->position[t][conn] = UINT32_MAX;
    topics_unsubscribe(&model->topics, model->index[t], position, moved, model);
}

static void check(struct model *model)
{
    for (int t = 0; t < TOPICS; t++) {
        uint32_t expected = 0;
        for (uint32_t c = 0; c < CONNS; c++) {
            if (model->position[t][c] == UINT32_MAX)
                continue;
            expected++;
            struct topic *topic = topics_at(&model->topics, model->index[t]);
            assert_true(model->position[t][c] < topic->count);
            assert_int_equal(topic_subscribers(topic)[model->position[t][c]], c);
        }
        if (model->index[t] != TOPIC_NONE)
            assert_int_equal(topics_at(&model->topics, model->index[t])->count, expected);
        else
            assert_int_equal(expected, 0);
    }
}

static struct model *model_new(void)
{
    struct model *model = calloc(1, sizeof *model);
    assert_non_null(model);
    memset(model->position, 0xff, sizeof model->position);
    memset(model->index, 0xff, sizeof model->index);
    assert_true(topics_init(&model->topics, 1000));
    return model;
}

static void topics_agree_with_a_set_under_random_joins_and_leaves(void **state)
{
    (void)state;
    struct model *model = model_new();
    srand(1);
    for (int step = 0; step < 40000; step++) {
        int t = rand() % TOPICS;
        uint32_t c = (uint32_t)(rand() % CONNS);
        if (model->position[t][c] == UINT32_MAX && rand() % 100 < (step / 4000 % 2 ? 20 : 80))
            subscribe(model, t, c);
        else if (model->position[t][c] != UINT32_MAX)
            unsubscribe(model, t, c);
        if (step % 7 == 0)
            settle(model);
        if (step % 500 == 0)
            check(model);
    }
    check(model);
    for (int t = 0; t < TOPICS; t++)
        for (uint32_t c = 0; c < CONNS; c++)
            if (model->position[t][c] != UINT32_MAX)
                unsubscribe(model, t, c);
    settle(model);
    assert_int_equal(model->topics.used, 0);
    assert_int_equal(model->topics.slab.used, 0);
    topics_fini(&model->topics);
    free(model);
}

/* Whoever is subscribed during all of a fan-out is served exactly once, whoever joins is not, whoever leaves
 * is at most once. */
static void fan_out_serves_each_exactly_once_while_others_come_and_go(void **state)
{
    (void)state;
    struct model *model = model_new();
    struct batch *under_way = (struct batch *)model; /* only its being there matters to topics */
    srand(2);
    for (int round = 0; round < 300; round++) {
        bool before[CONNS], left[CONNS] = {false};
        int served[CONNS] = {0};
        for (uint32_t c = 0; c < CONNS; c++) {
            if (model->position[0][c] == UINT32_MAX && rand() % 2)
                subscribe(model, 0, c);
            before[c] = model->position[0][c] != UINT32_MAX;
        }
        settle(model);
        if (model->index[0] == TOPIC_NONE)
            continue;
        struct topic *topic = topics_at(&model->topics, model->index[0]);
        topic->batch = under_way;
        topic->cursor = topic->count;
        while (topic->cursor > 0) {
            served[topic_subscribers(topic)[--topic->cursor]]++;
            for (int i = rand() % 3; i > 0; i--) {
                uint32_t c = (uint32_t)(rand() % CONNS);
                if (model->position[0][c] == UINT32_MAX) {
                    subscribe(model, 0, c);
                } else {
                    left[c] = true;
                    unsubscribe(model, 0, c);
                }
            }
        }
        topic->batch = NULL;
        for (uint32_t c = 0; c < CONNS; c++) {
            if (before[c] && !left[c])
                assert_int_equal(served[c], 1);
            else if (before[c])
                assert_true(served[c] <= 1);
            else
                assert_int_equal(served[c], 0);
        }
        settle(model);
        check(model);
    }
    topics_fini(&model->topics);
    free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(topics_agree_with_a_set_under_random_joins_and_leaves),
        cmocka_unit_test(fan_out_serves_each_exactly_once_while_others_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
