/* top: against sorting everything. */
#include "gateway/broker/top.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TOPICS = 200 };

struct model {
    char name[16];
    uint64_t weight;
    bool offered;
};

static int compare(const void *a, const void *b)
{
    const struct model *x = a, *y = b;
    if (x->offered != y->offered)
        return x->offered ? -1 : 1;
    if (x->weight != y->weight)
        return x->weight > y->weight ? -1 : 1;
    return strcmp(x->name, y->name);
}

static void the_heaviest_of_many_are_those_that_sorting_finds(void **state)
{
    (void)state;
    srand(5);
    for (int round = 0; round < 300; round++) {
        struct model all[TOPICS] = {0};
        struct top top = {0};
        int many = rand() % TOPICS + 1, spread = rand() % 50 + 1;
        for (int i = 0; i < many; i++) {
            struct model *one = &all[i];
            snprintf(one->name, sizeof one->name, "t%d", i);
            one->weight = (uint64_t)(rand() % spread);
            one->offered = true;
            bool admitted = top_admits(&top, one->name, strlen(one->name), one->weight);
            uint32_t count = top.count;
            struct top earlier = top;
            top_offer(&top, one->name, strlen(one->name), one->weight, one->weight * 2, one->weight * 3);
            if (!admitted) {
                assert_int_equal(top.count, count);
                assert_memory_equal(&top, &earlier, sizeof top);
            }
        }
        qsort(all, TOPICS, sizeof *all, compare);
        assert_int_equal(top.count, many < TOP_ROWS ? many : TOP_ROWS);
        for (uint32_t i = 0; i < top.count; i++) {
            assert_int_equal(top.rows[i].topic_bytes, strlen(all[i].name));
            assert_memory_equal(top.rows[i].topic, all[i].name, strlen(all[i].name));
            assert_int_equal(top.rows[i].weight, all[i].weight);
            assert_int_equal(top.rows[i].messages, all[i].weight * 2);
            assert_int_equal(top.rows[i].deliveries, all[i].weight * 3);
        }
    }
}

static void a_topic_that_comes_again_stands_once_with_its_new_weight(void **state)
{
    (void)state;
    struct top top = {0};
    top_offer(&top, "a", 1, 5, 0, 0);
    top_offer(&top, "b", 1, 7, 0, 0);
    top_offer(&top, "b", 1, 3, 0, 0);
    assert_int_equal(top.count, 2);
    assert_int_equal(top.rows[0].topic[0], 'a');
    assert_int_equal(top.rows[1].weight, 3);
    for (int i = 0; i < TOP_ROWS; i++) {
        char name[8];
        int len = snprintf(name, sizeof name, "x%d", i);
        top_offer(&top, name, (size_t)len, 100, 0, 0);
    }
    assert_int_equal(top.count, TOP_ROWS);
    top_offer(&top, "x3", 2, 0, 0, 0); /* lighter than all that is known: its place becomes free */
    for (uint32_t i = 0; i + 1 < top.count; i++)
        assert_int_equal(top.rows[i].weight, 100);
}

static void names_of_any_length_are_told_apart(void **state)
{
    (void)state;
    struct top top = {0};
    char longest[TOPIC_BYTES_MAX];
    memset(longest, 'a', sizeof longest);
    for (size_t len = 1; len <= 10; len++)
        top_offer(&top, longest, len, 1, 0, 0);
    top_offer(&top, longest, sizeof longest, 1, 0, 0);
    assert_int_equal(top.count, 11);
    assert_int_equal(top.rows[0].topic_bytes, 1); /* the shorter one stands first by name */
    assert_int_equal(top.rows[10].topic_bytes, TOPIC_BYTES_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_heaviest_of_many_are_those_that_sorting_finds),
        cmocka_unit_test(a_topic_that_comes_again_stands_once_with_its_new_weight),
        cmocka_unit_test(names_of_any_length_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
