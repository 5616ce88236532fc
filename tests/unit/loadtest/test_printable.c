/* What strangers write, as people see it. */
#include "loadtest/printable.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void expect(const char *in, const char *out)
{
    char text[64];
    assert_int_equal(printable(in, strlen(in), text, sizeof(text)), strlen(out));
    assert_string_equal(text, out);
}

static void text_in_any_script_stays(void **state)
{
    (void)state;
    expect("", "");
    expect("try again: 5 s", "try again: 5 s");
    expect("später · 後で · 😀", "später · 後で · 😀");
}

static void what_a_terminal_would_obey_is_spelt_out(void **state)
{
    (void)state;
    expect("\x1b[31mred\x07\r\n", "\\x1b[31mred\\x07\\x0d\\x0a");
    expect("\x7f\xc2\x9b"
           "31m",
           "\\x7f\\xc2\\x9b31m");
    expect("\xe2\x80\xae"
           "txt.exe",
           "\\xe2\\x80\\xaetxt.exe");
    expect("\xe2\x81\xa6"
           "a",
           "\\xe2\\x81\\xa6a");
    expect("\xe2\x80\x93", "–"); /* a neighbour of those that turn the direction */
    char text[16];
    assert_int_equal(printable("a\0b", 3, text, sizeof(text)), 6);
    assert_string_equal(text, "a\\x00b");
}

static void what_is_no_utf8_is_spelt_out(void **state)
{
    (void)state;
    expect("\xff!", "\\xff!");
    expect("\xe2\x82", "\\xe2\\x82");
    expect("\xc0\xaf", "\\xc0\\xaf");
    expect("\xed\xa0\x80", "\\xed\\xa0\\x80");
}

static void too_much_is_cut_between_characters(void **state)
{
    (void)state;
    char text[9];
    assert_int_equal(printable("12345678", 8, text, sizeof(text)), 8);
    assert_string_equal(text, "12345678");
    assert_int_equal(printable("123456789", 9, text, sizeof(text)), 8);
    assert_string_equal(text, "12345…");
    assert_int_equal(printable("1234ä789", 9, text, sizeof(text)), 7);
    assert_string_equal(text, "1234…");
    assert_int_equal(printable("12\n456789", 9, text, sizeof(text)), 5);
    assert_string_equal(text, "12…");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_in_any_script_stays),
        cmocka_unit_test(what_a_terminal_would_obey_is_spelt_out),
        cmocka_unit_test(what_is_no_utf8_is_spelt_out),
        cmocka_unit_test(too_much_is_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
