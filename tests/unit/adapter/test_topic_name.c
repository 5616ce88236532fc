/* Which names topics may have. */
#include "gateway/adapter/topic_name.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void plain_text_names_a_topic(void **state)
{
    (void)state;
    static const char *const names[] = {"a", " ", "chat:1", "\xc3\xb6", "\xc2\xa0", "*", "\xf0\x9f\x98\x80"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_true(topic_name_valid(names[i], strlen(names[i])));
}

static void control_characters_and_broken_text_do_not(void **state)
{
    (void)state;
    static const char *const names[] = {"\x01",      "a\n",  "\x7f",         "\xc2\x80",
                                        "a\xc2\x9f", "\xff", "\xc3",         "\xed\xa0\x80",
                                        "\xc0\x80",  "\x80", "a\xf0\x9f\x98"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_false(topic_name_valid(names[i], strlen(names[i])));
    assert_false(topic_name_valid("a\0b", 3));
}

static void a_name_has_1_to_255_bytes(void **state)
{
    (void)state;
    char name[256];
    memset(name, 't', sizeof name);
    assert_false(topic_name_valid(name, 0));
    assert_true(topic_name_valid(name, 1));
    assert_true(topic_name_valid(name, 255));
    assert_false(topic_name_valid(name, 256));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_text_names_a_topic),
        cmocka_unit_test(control_characters_and_broken_text_do_not),
        cmocka_unit_test(a_name_has_1_to_255_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
