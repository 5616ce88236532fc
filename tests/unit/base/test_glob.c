#include "gateway/base/glob.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool match(const char *pattern, const char *name)
{
    return glob_match(pattern, strlen(pattern), name, strlen(name));
}

static void patterns_match_as_in_redis(void **state)
{
    (void)state;
    assert_true(match("*", ""));
    assert_true(match("", ""));
    assert_false(match("", "a"));
    assert_true(match("chat:*", "chat:1"));
    assert_true(match("h?llo", "hello"));
    assert_false(match("h?llo", "hllo"));
    assert_true(match("h[ae]llo", "hallo"));
    assert_false(match("h[^e]llo", "hello"));
    assert_true(match("h[a-c]llo", "hbllo"));
    assert_true(match("h[c-a]llo", "hbllo"));
    assert_true(match("h\\*llo", "h*llo"));
    assert_false(match("h\\*llo", "hello"));
    assert_true(match("[abc", "b"));
    assert_true(match("[\\]]", "]"));
    assert_true(match("a\\", "a\\"));
    assert_true(match("*a*b*", "xxaxxbxx"));
    assert_false(match("*a*b", "xxbxxa"));
    assert_false(match("[", "["));
    assert_true(glob_match("a*", 2, "a\0b", 3));
}

/* A recursive model for stars and question marks. */
static bool model(const char *p, const char *n)
{
    if (*p == '\0')
        return *n == '\0';
    if (*p == '*')
        return model(p + 1, n) || (*n != '\0' && model(p, n + 1));
    return *n != '\0' && (*p == '?' || *p == *n) && model(p + 1, n + 1);
}

static void random_patterns_agree_with_a_recursive_model(void **state)
{
    (void)state;
    srand(7);
    unsigned hits = 0;
    for (int round = 0; round < 50000; round++) {
        char pattern[8], name[8];
        size_t pattern_len = (size_t)rand() % 7, name_len = (size_t)rand() % 7;
        for (size_t i = 0; i < pattern_len; i++)
            pattern[i] = "ab*?"[rand() % 4];
        for (size_t i = 0; i < name_len; i++)
            name[i] = "ab"[rand() % 2];
        pattern[pattern_len] = name[name_len] = '\0';
        assert_int_equal(match(pattern, name), model(pattern, name));
        hits += model(pattern, name);
    }
    assert_true(hits > 1000);
}

static void many_stars_do_not_take_exponential_time(void **state)
{
    (void)state;
    char pattern[201], name[256];
    for (size_t i = 0; i < 200; i++)
        pattern[i] = i % 2 ? 'a' : '*';
    pattern[199] = 'b';
    pattern[200] = '\0';
    memset(name, 'a', 255);
    name[255] = '\0';
    for (int i = 0; i < 100; i++)
        assert_false(match(pattern, name));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_match_as_in_redis),
        cmocka_unit_test(random_patterns_agree_with_a_recursive_model),
        cmocka_unit_test(many_stars_do_not_take_exponential_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
