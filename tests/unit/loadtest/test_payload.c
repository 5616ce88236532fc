/* Messages that were written are read back; every changed byte is noticed. */
#include "loadtest/payload.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { BYTES = 200, RUN_END = 13 };

static void a_message_reads_back_as_written(void **state)
{
    (void)state;
    struct payload_format format;
    struct payload in = {.topic = 0xdeadbeef, .sequence = 0x01234567, .sent_ns = 0xfedcba9876543210}, out;
    char text[BYTES];

    assert_true(payload_format_init(&format, 7, BYTES));
    payload_write(&format, &in, text);
    assert_int_equal(payload_read(&format, text, BYTES, &out), PAYLOAD_OK);
    assert_int_equal(out.topic, in.topic);
    assert_int_equal(out.sequence, in.sequence);
    assert_true(out.sent_ns == in.sent_ns);
    for (int i = 0; i < BYTES; i++)
        assert_true(text[i] >= ' ' && text[i] <= '~');
    payload_format_fini(&format);
}

static void a_change_of_any_byte_is_noticed(void **state)
{
    (void)state;
    struct payload_format format;
    struct payload in = {.topic = 3, .sequence = 9, .sent_ns = 0x0123456789abcdef}, out;
    char text[BYTES];

    assert_true(payload_format_init(&format, 7, BYTES));
    for (int i = 0; i < BYTES; i++)
        for (int byte = 0; byte < 256; byte++) {
            payload_write(&format, &in, text);
            if ((unsigned char)text[i] == byte)
                continue;
            text[i] = (char)byte;
            enum payload_verdict verdict = payload_read(&format, text, BYTES, &out);
            assert_true(verdict == (i < RUN_END ? PAYLOAD_UNKNOWN : PAYLOAD_CORRUPT));
        }
    payload_format_fini(&format);
}

static void a_cut_or_lengthened_message_is_corrupt(void **state)
{
    (void)state;
    struct payload_format format;
    struct payload in = {.topic = 3, .sequence = 9, .sent_ns = 1}, out;
    char text[BYTES + 1] = {0};

    assert_true(payload_format_init(&format, 7, BYTES));
    payload_write(&format, &in, text);
    assert_int_equal(payload_read(&format, text, BYTES - 1, &out), PAYLOAD_CORRUPT);
    assert_int_equal(payload_read(&format, text, BYTES + 1, &out), PAYLOAD_CORRUPT);
    assert_int_equal(payload_read(&format, text, PAYLOAD_HEADER_BYTES, &out), PAYLOAD_CORRUPT);
    payload_format_fini(&format);
}

static void another_run_is_foreign_and_other_text_is_unknown(void **state)
{
    (void)state;
    struct payload_format mine, other;
    struct payload in = {.topic = 1, .sequence = 2, .sent_ns = 3}, out;
    char text[BYTES / 2];

    assert_true(payload_format_init(&mine, 7, BYTES));
    assert_true(payload_format_init(&other, 8, BYTES / 2));
    payload_write(&other, &in, text);
    assert_int_equal(payload_read(&mine, text, BYTES / 2, &out), PAYLOAD_FOREIGN);
    text[RUN_END + 8] = '7'; /* of the topic */
    assert_int_equal(payload_read(&mine, text, BYTES / 2, &out), PAYLOAD_UNKNOWN);
    assert_int_equal(payload_read(&mine, "hello", 5, &out), PAYLOAD_UNKNOWN);
    assert_int_equal(payload_read(&mine, "", 0, &out), PAYLOAD_UNKNOWN);
    payload_format_fini(&mine);
    payload_format_fini(&other);
}

static void messages_are_found_inside_of_other_bytes(void **state)
{
    (void)state;
    struct payload_format mine, other;
    struct payload in = {.topic = 3, .sequence = 9, .sent_ns = 1}, out;
    char text[3 * BYTES];

    assert_true(payload_format_init(&mine, 7, BYTES));
    assert_true(payload_format_init(&other, 8, BYTES));
    memset(text, 'P', sizeof(text));
    payload_write(&other, &in, text + 1);
    assert_null(payload_find(&mine, text, sizeof(text)));
    assert_null(payload_find(&mine, "", 0));
    payload_write(&mine, &in, text + BYTES + 5);
    assert_ptr_equal(payload_find(&mine, text, sizeof(text)), text + BYTES + 5);
    assert_int_equal(payload_read(&mine, text + BYTES + 5, BYTES, &out), PAYLOAD_OK);
    assert_null(payload_find(&mine, text + BYTES + 6, sizeof(text) - BYTES - 6));
    payload_format_fini(&mine);
    payload_format_fini(&other);
}

static void sizes_out_of_range_are_refused(void **state)
{
    (void)state;
    struct payload_format format;
    assert_false(payload_format_init(&format, 7, PAYLOAD_BYTES_MIN - 1));
    assert_false(payload_format_init(&format, 7, (size_t)PAYLOAD_BYTES_MAX + 1));
    assert_true(payload_format_init(&format, 7, PAYLOAD_BYTES_MIN));
    payload_format_fini(&format);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_reads_back_as_written),
        cmocka_unit_test(a_change_of_any_byte_is_noticed),
        cmocka_unit_test(a_cut_or_lengthened_message_is_corrupt),
        cmocka_unit_test(another_run_is_foreign_and_other_text_is_unknown),
        cmocka_unit_test(messages_are_found_inside_of_other_bytes),
        cmocka_unit_test(sizes_out_of_range_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
