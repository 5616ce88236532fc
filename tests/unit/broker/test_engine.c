/* What engines share: items and epochs. */
#include "gateway/broker/engine.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void an_epoch_reads_back_as_it_was_written(void **state)
{
    (void)state;
    const uint64_t epochs[] = {1, 0xf, 0x0123456789abcdefu, 0xfedcba9876543210u, UINT64_MAX};
    for (size_t i = 0; i < sizeof epochs / sizeof epochs[0]; i++) {
        char text[EPOCH_TEXT_BYTES];
        epoch_format(epochs[i], text);
        assert_int_equal(strlen(text), 16);
        uint64_t back = 0;
        assert_true(epoch_parse(text, 16, &back));
        assert_true(back == epochs[i]);
    }
    char text[EPOCH_TEXT_BYTES];
    epoch_format(0xabc, text);
    assert_string_equal(text, "0000000000000abc");
}

static void anything_but_sixteen_lower_case_digits_is_no_epoch(void **state)
{
    (void)state;
    const char *bad[] = {"",
                         "1",
                         "000000000000001",
                         "00000000000000001",
                         "0000000000000000", /* 0 is no stream's */
                         "0000000000000ABC",
                         "000000000000000g",
                         "0x00000000000001",
                         " 000000000000001",
                         "-000000000000001"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint64_t epoch;
        assert_false(epoch_parse(bad[i], strlen(bad[i]), &epoch));
    }
}

static void an_item_carries_all_that_was_published(void **state)
{
    (void)state;
    const struct history_contents contents = {
        .payload = "{\"a\":1}",
        .payload_bytes = 7,
        .info = "{\"user\":\"7\"}",
        .info_bytes = 12,
        .tags = "{\"k\":\"v\"}",
        .tags_bytes = 9,
        .published_ms = 1700000000123,
        .text = true,
        .json = true,
    };
    struct history_item *item = history_item_create(&contents, 42);
    assert_non_null(item);
    assert_true(item->offset == 42 && item->published_ms == 1700000000123 && item->text && item->json);
    assert_int_equal(item->payload_bytes, 7);
    assert_int_equal(item->info_bytes, 12);
    assert_int_equal(item->tags_bytes, 9);
    assert_memory_equal(history_item_payload(item), contents.payload, 7);
    assert_memory_equal(history_item_info(item), contents.info, 12);
    assert_memory_equal(history_item_tags(item), contents.tags, 9);
    assert_ptr_equal(history_item_ref(item), item);
    history_item_unref(item);
    assert_int_equal(item->refs, 1);
    history_item_unref(item);
}

static void an_item_may_be_empty_and_too_large_a_part_is_refused(void **state)
{
    (void)state;
    struct history_contents contents = {0};
    struct history_item *item = history_item_create(&contents, 1);
    assert_non_null(item);
    assert_true(item->payload_bytes == 0 && item->info_bytes == 0 && item->tags_bytes == 0 && !item->text);
    history_item_unref(item);
    contents.tags_bytes = (size_t)UINT32_MAX + 1;
    assert_null(history_item_create(&contents, 1));
}

enum { READERS = 4, REFERENCES = 20000 };

/* Reads through each of its references and drops it. */
static void *reader(void *item)
{
    uintptr_t wrong = 0;
    for (int i = 0; i < REFERENCES; i++) {
        wrong += memcmp(history_item_payload(item), "shared", 6) != 0;
        history_item_unref(item);
    }
    return (void *)wrong;
}

static void threads_read_an_item_and_drop_their_references(void **state)
{
    (void)state;
    const struct history_contents contents = {.payload = "shared", .payload_bytes = 6};
    struct history_item *item = history_item_create(&contents, 1);
    assert_non_null(item);
    for (int i = 0; i < READERS * REFERENCES; i++)
        history_item_ref(item);
    pthread_t threads[READERS];
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, reader, item), 0);
    history_item_unref(item); /* whichever thread is last frees it */
    for (int i = 0; i < READERS; i++) {
        void *wrong;
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_epoch_reads_back_as_it_was_written),
        cmocka_unit_test(anything_but_sixteen_lower_case_digits_is_no_epoch),
        cmocka_unit_test(an_item_carries_all_that_was_published),
        cmocka_unit_test(an_item_may_be_empty_and_too_large_a_part_is_refused),
        cmocka_unit_test(threads_read_an_item_and_drop_their_references),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
