/* Messages that were written are read back; every changed byte is noticed. */
#include "loadtest/payload.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { BYTES = 200 };

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

static void a_change_of_any_byte_but_the_time_is_noticed(void **state)
{
    (void)state;
    enum { SENT_AT = 32, SENT_END = 48 };
    struct payload_format format;
    struct payload in = {.topic = 3, .sequence = 9, .sent_ns = 1}, out;
    char text[BYTES];

    assert_true(payload_format_init(&format, 7, BYTES));
    for (int i = 0; i < BYTES; i++) {
        if (i >= SENT_AT && i < SENT_END)
            continue;
        payload_write(&format, &in, text);
        text[i] = (char)(text[i] ^ 1);
        assert_int_not_equal(payload_read(&format, text, BYTES, &out), PAYLOAD_OK);
    }
    payload_write(&format, &in, text);
    text[SENT_AT] = 'x';
    assert_int_equal(payload_read(&format, text, BYTES, &out), PAYLOAD_CORRUPT);
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

static void another_run_and_other_text_are_foreign(void **state)
{
    (void)state;
    struct payload_format mine, other;
    struct payload in = {0}, out;
    char text[BYTES];

    assert_true(payload_format_init(&mine, 7, BYTES));
    assert_true(payload_format_init(&other, 8, BYTES));
    payload_write(&other, &in, text);
    assert_int_equal(payload_read(&mine, text, BYTES, &out), PAYLOAD_FOREIGN);
    assert_int_equal(payload_read(&mine, "hello", 5, &out), PAYLOAD_FOREIGN);
    assert_int_equal(payload_read(&mine, "", 0, &out), PAYLOAD_FOREIGN);
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
        cmocka_unit_test(a_change_of_any_byte_but_the_time_is_noticed),
        cmocka_unit_test(a_cut_or_lengthened_message_is_corrupt),
        cmocka_unit_test(another_run_and_other_text_are_foreign),
        cmocka_unit_test(sizes_out_of_range_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
