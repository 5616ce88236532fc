#include "gateway/broker/message.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct message_gauges gauges;

static void expect_gauges(uint64_t inflight, uint64_t outboxes)
{
    assert_int_equal(atomic_load(&gauges.inflight), inflight);
    assert_int_equal(atomic_load(&gauges.outboxes), outboxes);
}

static struct message *make(const char *payload, uint32_t adapters, uint16_t deliveries)
{
    struct publication publication = {.payload = payload,
                                      .payload_bytes = strlen(payload),
                                      .text = true,
                                      .topic = "news",
                                      .topic_bytes = 4};
    struct message *message =
        message_create(&publication, topic_hash("news", 4), adapters, deliveries, &gauges);
    assert_non_null(message);
    return message;
}

static void a_message_is_encoded_once_for_each_adapter_in_the_mask(void **state)
{
    (void)state;
    struct message *message = make("hello", 1u << ADAPTER_RAW, 2);
    const uint8_t frame[] = {0x81, 5, 'h', 'e', 'l', 'l', 'o'};
    assert_int_equal(message->frames[ADAPTER_RAW].bytes, sizeof frame);
    assert_memory_equal(message_frame(message, ADAPTER_RAW), frame, sizeof frame);
    assert_int_equal(message->frames[ADAPTER_ECHO].bytes, 0);
    assert_memory_equal(message_topic(message), "news", 4);
    assert_int_equal(message->topic_bytes, 4);
    assert_ptr_equal(message->deliveries[1].message, message);
    message_passed(message);
    message_passed(message);
}

static void a_message_is_on_its_way_until_the_last_fan_out_has_passed_it(void **state)
{
    (void)state;
    struct message *message = make("hello", 1u << ADAPTER_RAW, 3);
    uint64_t bytes = message->total_bytes;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(atomic_load(&gauges.inflight), bytes);
        message_passed(message);
    }
    expect_gauges(0, 0);
}

static void who_keeps_a_message_longer_is_counted_apart(void **state)
{
    (void)state;
    struct message *message = make("hello", 1u << ADAPTER_RAW, 2);
    uint64_t bytes = message->total_bytes;
    message_ref(message);
    message_passed(message);
    message_ref(message);
    expect_gauges(bytes, 0); /* another one is still to pass it */
    message_passed(message);
    expect_gauges(0, bytes); /* once, however many keep it */
    message_unref(message);
    expect_gauges(0, bytes);
    message_unref(message);
    expect_gauges(0, 0);
}

static void who_gave_it_back_before_it_had_passed_never_counted(void **state)
{
    (void)state;
    struct message *message = make("hello", 1u << ADAPTER_RAW, 2);
    uint64_t bytes = message->total_bytes;
    message_ref(message);
    message_passed(message);
    message_unref(message);
    expect_gauges(bytes, 0);
    message_passed(message);
    expect_gauges(0, 0);
}

static void without_deliveries_there_is_one_reference(void **state)
{
    (void)state;
    struct message *message = make("", 0, 0);
    assert_int_equal((uint32_t)atomic_load(&message->holders), 1);
    message_passed(message);
    expect_gauges(0, 0);
}

static void topic_hashes_depend_on_every_byte_and_the_length(void **state)
{
    (void)state;
    char name[32] = {0};
    uint32_t seen[32 * 8 + 32];
    size_t count = 0;
    for (size_t len = 0; len < sizeof name; len++)
        seen[count++] = topic_hash(name, len);
    for (size_t bit = 0; bit < sizeof name * 8; bit++) {
        name[bit / 8] ^= (char)(1 << bit % 8);
        seen[count++] = topic_hash(name, sizeof name);
        name[bit / 8] ^= (char)(1 << bit % 8);
    }
    size_t equal = 0;
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < i; j++)
            equal += seen[i] == seen[j];
    assert_true(equal <= 1); /* 41,000 pairs of 32 bits: one collision would be chance already */
    assert_int_equal(topic_hash("news", 4), topic_hash("news", 4));
}

/* A reactor: keeps the message for a while or not, and hands it on. */
static void *pass(void *context)
{
    struct message *message = context;
    message_ref(message);
    message_ref(message);
    message_unref(message);
    message_passed(message);
    message_unref(message);
    return NULL;
}

static void references_dropped_by_many_threads_free_once(void **state)
{
    (void)state;
    for (int round = 0; round < 200; round++) {
        struct message *message = make("hello", 1u << ADAPTER_RAW, 4);
        pthread_t threads[4];
        for (int i = 0; i < 4; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, pass, message), 0);
        for (int i = 0; i < 4; i++)
            pthread_join(threads[i], NULL);
        expect_gauges(0, 0);
    }
}

int main(void)
{
    if (!topic_hash_setup())
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_is_encoded_once_for_each_adapter_in_the_mask),
        cmocka_unit_test(a_message_is_on_its_way_until_the_last_fan_out_has_passed_it),
        cmocka_unit_test(who_keeps_a_message_longer_is_counted_apart),
        cmocka_unit_test(who_gave_it_back_before_it_had_passed_never_counted),
        cmocka_unit_test(without_deliveries_there_is_one_reference),
        cmocka_unit_test(topic_hashes_depend_on_every_byte_and_the_length),
        cmocka_unit_test(references_dropped_by_many_threads_free_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
