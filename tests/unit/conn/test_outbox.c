/* The outbox against a plain string of bytes. */
#include "gateway/conn/outbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct message_gauges gauges;

static void expect_nothing_is_kept(void)
{
    assert_int_equal(atomic_load(&gauges.inflight), 0);
    assert_int_equal(atomic_load(&gauges.outboxes), 0);
}

static struct message *message_of(const char *payload, size_t bytes)
{
    struct publication publication = {
        .payload = payload, .payload_bytes = bytes, .text = true, .topic = "t", .topic_bytes = 1};
    struct message *message = message_create(&publication, 1, 1u << ADAPTER_RAW, 0, &gauges);
    assert_non_null(message);
    return message;
}

static void outbox_keeps_order_and_exact_bytes_under_random_partial_sends(void **state)
{
    (void)state;
    struct outbox outbox = {0};
    static uint8_t expected[1 << 20];
    size_t pushed = 0, taken = 0;
    srand(3);
    for (int step = 0; step < 20000; step++) {
        char payload[300];
        size_t bytes = (size_t)(1 + rand() % 300);
        memset(payload, 'a' + rand() % 26, sizeof payload);
        if (pushed + 512 < sizeof expected && rand() % 2) {
            if (rand() % 2) {
                struct message *message = message_of(payload, bytes);
                const uint8_t *frame = message_frame(message, ADAPTER_RAW);
                size_t frame_bytes = message->frames[ADAPTER_RAW].bytes;
                assert_true(outbox_push_message(&outbox, message, frame, frame_bytes, false));
                memcpy(expected + pushed, frame, frame_bytes);
                pushed += frame_bytes;
                message_passed(message); /* the outbox holds its own */
            } else {
                assert_true(outbox_push_copy(&outbox, payload, bytes, false));
                memcpy(expected + pushed, payload, bytes);
                pushed += bytes;
            }
        } else {
            struct iovec parts[8];
            size_t count = outbox_gather(&outbox, parts, 8, (size_t)(1 + rand() % 2000));
            size_t have = 0;
            for (size_t i = 0; i < count; i++) {
                assert_memory_equal(parts[i].iov_base, expected + taken + have, parts[i].iov_len);
                have += parts[i].iov_len;
            }
            if (have) {
                size_t take = (size_t)rand() % (have + 1);
                outbox_consume(&outbox, take);
                taken += take;
            }
        }
        assert_int_equal(outbox.bytes, pushed - taken);
        assert_int_equal(outbox_empty(&outbox), pushed == taken);
    }
    outbox_fini(&outbox);
    expect_nothing_is_kept();
}

static void dropping_unsent_keeps_a_frame_that_has_begun(void **state)
{
    (void)state;
    struct outbox outbox = {0};
    struct message *message = message_of("0123456789", 10);
    const uint8_t *frame = message_frame(message, ADAPTER_RAW);
    size_t bytes = message->frames[ADAPTER_RAW].bytes;
    for (int i = 0; i < 5; i++)
        assert_true(outbox_push_message(&outbox, message, frame, bytes, false));
    outbox_consume(&outbox, bytes + 3); /* one whole, three bytes of the second */
    assert_int_equal(outbox_drop_unsent(&outbox), 3);
    assert_int_equal(outbox.bytes, bytes - 3);
    assert_int_equal(outbox.count, 1);
    assert_int_equal(outbox_drop_unsent(&outbox), 0);
    outbox_fini(&outbox);
    assert_int_equal((uint32_t)atomic_load(&message->holders), 1);
    message_passed(message);
    expect_nothing_is_kept(); /* every reference was given back */
}

static void sealed_bytes_that_wait_are_kept_in_order(void **state)
{
    (void)state;
    struct outbox outbox = {0};
    assert_true(outbox_push_wire(&outbox, (const uint8_t *)"abcdef", 6));
    outbox_wire_sent(&outbox, 2);
    assert_true(outbox_push_wire(&outbox, (const uint8_t *)"ghi", 3));
    assert_int_equal(outbox.bytes, 7);
    assert_memory_equal(outbox.wire + outbox.wire_sent, "cdefghi", 7);
    outbox_wire_sent(&outbox, 7);
    assert_null(outbox.wire);
    assert_true(outbox_empty(&outbox));
    outbox_fini(&outbox);
}

/* Messages that begin with one of these letters may be lost. */
static bool is_among(void *context, const struct message *message)
{
    const uint8_t *frame = message_frame(message, ADAPTER_RAW);
    return strchr(context, frame[2]) != NULL;
}

static void what_is_chosen_goes_oldest_first_and_the_rest_keeps_its_order(void **state)
{
    (void)state;
    struct outbox outbox = {0};
    char model[64] = "";
    srand(4);
    for (int step = 0; step < 20000; step++) {
        size_t count = strlen(model);
        if (count < sizeof model - 1 && rand() % 3) {
            char letter = (char)('a' + rand() % 4);
            struct message *message = message_of(&letter, 1);
            assert_true(outbox_push_message(&outbox, message, message_frame(message, ADAPTER_RAW),
                                            message->frames[ADAPTER_RAW].bytes, false));
            message_passed(message);
            model[count] = letter;
            model[count + 1] = 0;
        } else if (rand() % 2 && count > 0) {
            outbox_consume(&outbox, 3);
            memmove(model, model + 1, count);
        } else {
            char lost[5] = "";
            for (int n = 0; n < 4; n++)
                if (rand() % 2)
                    lost[strlen(lost)] = (char)('a' + n);
            size_t wanted = (size_t)(rand() % 6), kept = 0, gone = 0;
            for (size_t i = 0; i < count; i++)
                if (gone < wanted && strchr(lost, model[i]))
                    gone++;
                else
                    model[kept++] = model[i];
            model[kept] = 0;
            assert_int_equal(outbox_drop_chosen(&outbox, wanted * (3 + OUTBOX_ITEM_COST), is_among, lost),
                             gone);
        }
        struct iovec vectors[sizeof model];
        size_t n = outbox_gather(&outbox, vectors, sizeof model, SIZE_MAX);
        assert_int_equal(n, strlen(model));
        assert_int_equal(outbox.bytes, 3 * n);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(((const char *)vectors[i].iov_base)[2], model[i]);
    }
    outbox_fini(&outbox);
    expect_nothing_is_kept();
}

static void one_that_goes_does_not_move_all_others(void **state)
{
    (void)state;
    struct outbox outbox = {0};
    struct message *message = message_of("a", 1);
    for (int i = 0; i < 1000; i++)
        assert_true(outbox_push_message(&outbox, message, message_frame(message, ADAPTER_RAW),
                                        message->frames[ADAPTER_RAW].bytes, false));
    outbox.items[999].begun = true; /* tells it from the others */
    assert_int_equal(outbox_drop_chosen(&outbox, 1, is_among, (void *)(uintptr_t) "a"), 1);
    assert_int_equal(outbox.count, 999);
    assert_true(outbox.items[999].begun && !outbox.items[998].begun); /* it is where it was */
    outbox_fini(&outbox);
    message_passed(message);
    expect_nothing_is_kept();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_chosen_goes_oldest_first_and_the_rest_keeps_its_order),
        cmocka_unit_test(one_that_goes_does_not_move_all_others),
        cmocka_unit_test(outbox_keeps_order_and_exact_bytes_under_random_partial_sends),
        cmocka_unit_test(dropping_unsent_keeps_a_frame_that_has_begun),
        cmocka_unit_test(sealed_bytes_that_wait_are_kept_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
