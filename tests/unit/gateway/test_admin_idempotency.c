/* admin_idempotency: keys against a plain array of them, with time going on. */
#include "gateway/admin_idempotency.h"
#include "gateway/broker/message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct text text_of(const char *text)
{
    return (struct text){text, strlen(text)};
}

static void a_key_is_new_then_pending_then_done(void **state)
{
    (void)state;
    struct idempotency keys;
    struct stream_position position = {0};
    idempotency_init(&keys);
    struct text topic = text_of("t"), key = text_of("k");
    assert_int_equal(idempotency_look(&keys, topic, key, 0, &position), IDEMPOTENCY_NEW);
    assert_int_equal(idempotency_begin(&keys, topic, key, 0, &position), IDEMPOTENCY_NEW);
    assert_int_equal(idempotency_begin(&keys, topic, key, 1, &position), IDEMPOTENCY_PENDING);
    idempotency_done(&keys, topic, key, (struct stream_position){7, 8});
    assert_int_equal(idempotency_begin(&keys, topic, key, 2, &position), IDEMPOTENCY_DONE);
    assert_true(position.offset == 7 && position.epoch == 8);
    /* The border between topic and key counts. */
    assert_int_equal(idempotency_begin(&keys, text_of("tk"), text_of("x"), 2, &position), IDEMPOTENCY_NEW);
    assert_int_equal(idempotency_begin(&keys, text_of("t"), text_of("kx"), 2, &position), IDEMPOTENCY_NEW);
    idempotency_forget(&keys, text_of("t"), text_of("kx"));
    idempotency_forget(&keys, text_of("t"), text_of("kx"));
    idempotency_done(&keys, text_of("t"), text_of("kx"), position);
    assert_int_equal(idempotency_look(&keys, text_of("t"), text_of("kx"), 2, &position), IDEMPOTENCY_NEW);
    /* Five minutes after it was first seen, however often it was seen since. */
    assert_int_equal(idempotency_look(&keys, topic, key, IDEMPOTENCY_MS - 1, &position), IDEMPOTENCY_DONE);
    assert_int_equal(idempotency_look(&keys, topic, key, IDEMPOTENCY_MS, &position), IDEMPOTENCY_NEW);
    assert_int_equal(idempotency_begin(&keys, topic, key, IDEMPOTENCY_MS, &position), IDEMPOTENCY_NEW);
    idempotency_fini(&keys);
    idempotency_init(&keys);
    idempotency_fini(&keys);
}

static void past_the_most_the_oldest_go(void **state)
{
    (void)state;
    struct idempotency keys;
    struct stream_position position;
    idempotency_init(&keys);
    char key[32];
    for (int i = 0; i < IDEMPOTENCY_KEYS_MAX + 10; i++) {
        snprintf(key, sizeof key, "%d", i);
        assert_int_equal(idempotency_begin(&keys, text_of("t"), text_of(key), 0, &position), IDEMPOTENCY_NEW);
    }
    assert_int_equal(keys.count, IDEMPOTENCY_KEYS_MAX);
    assert_int_equal(idempotency_look(&keys, text_of("t"), text_of("9"), 0, &position), IDEMPOTENCY_NEW);
    assert_int_equal(idempotency_look(&keys, text_of("t"), text_of("10"), 0, &position), IDEMPOTENCY_PENDING);
    /* A known one pushes nobody out. */
    assert_int_equal(idempotency_begin(&keys, text_of("t"), text_of("10"), 0, &position),
                     IDEMPOTENCY_PENDING);
    assert_int_equal(idempotency_look(&keys, text_of("t"), text_of("11"), 0, &position), IDEMPOTENCY_PENDING);
    idempotency_fini(&keys);
}

static void random_keys_agree_with_an_array(void **state)
{
    (void)state;
    enum { KEYS = 300, ROUNDS = 100000 };
    static struct {
        bool there, done;
        uint64_t ends, offset;
    } model[KEYS];
    struct idempotency keys;
    idempotency_init(&keys);
    srand(3);
    uint64_t now = 0;
    for (int round = 0; round < ROUNDS; round++) {
        int k = rand() % KEYS;
        char topic[16], key[16];
        snprintf(topic, sizeof topic, "t%d", k % 7);
        snprintf(key, sizeof key, "k%d", k / 7);
        struct stream_position position = {0, 0};
        now += (uint64_t)(rand() % 2000);
        model[k].there = model[k].there && model[k].ends > now;
        switch (rand() % 4) {
        case 0:
        case 1: {
            enum idempotency_state expected = !model[k].there ? IDEMPOTENCY_NEW
                                              : model[k].done ? IDEMPOTENCY_DONE
                                                              : IDEMPOTENCY_PENDING;
            assert_int_equal(idempotency_begin(&keys, text_of(topic), text_of(key), now, &position),
                             expected);
            if (expected == IDEMPOTENCY_DONE)
                assert_int_equal(position.offset, model[k].offset);
            if (expected == IDEMPOTENCY_NEW) {
                model[k].there = true;
                model[k].done = false;
                model[k].ends = now + IDEMPOTENCY_MS;
            }
            break;
        }
        case 2:
            if (!model[k].there)
                break;
            position.offset = (uint64_t)round;
            idempotency_done(&keys, text_of(topic), text_of(key), position);
            model[k].done = true;
            model[k].offset = (uint64_t)round;
            break;
        default:
            if (rand() % 4 != 0)
                break;
            idempotency_forget(&keys, text_of(topic), text_of(key));
            model[k].there = false;
        }
    }
    idempotency_fini(&keys);
}

int main(void)
{
    if (!topic_hash_setup())
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_new_then_pending_then_done),
        cmocka_unit_test(past_the_most_the_oldest_go),
        cmocka_unit_test(random_keys_agree_with_an_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
