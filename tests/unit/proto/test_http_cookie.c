/* Cookies: found by name, in order, as clients write them and as they should not. */
#include "proto/http_request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* All values of `name` with commas between; the header lies in a block of its own size. */
static char *values(const char *header, const char *name)
{
    static char out[256];
    size_t len = strlen(header), cursor = 0, used = 0;
    char *copy = len ? malloc(len) : NULL;
    for (size_t i = 0; i < len; i++)
        copy[i] = header[i];
    struct http_slice value;
    while (http_cookie_next((struct http_slice){copy, len}, name, &cursor, &value) == PARSE_OK) {
        assert_true(used + value.len + 2 < sizeof out);
        if (value.len)
            memcpy(out + used, value.data, value.len);
        used += value.len;
        out[used++] = ',';
    }
    assert_int_equal(cursor, len);
    out[used] = '\0';
    free(copy);
    return out;
}

static void cookies_are_found_by_exact_name(void **state)
{
    (void)state;
    assert_string_equal(values("a=1; b=2; c=3", "a"), "1,");
    assert_string_equal(values("a=1; b=2; c=3", "b"), "2,");
    assert_string_equal(values("a=1; b=2; c=3", "c"), "3,");
    assert_string_equal(values("a=1; b=2; c=3", "d"), "");
    assert_string_equal(values("a=1; b=2; c=3", "A"), "");
    assert_string_equal(values("aa=1; xa=2; a=3; a.b=4", "a"), "3,");
    assert_string_equal(values("a=1; b=a=5; a=2", "a"), "1,2,");
    assert_string_equal(values("", "a"), "");
}

static void values_are_taken_as_they_stand(void **state)
{
    (void)state;
    assert_string_equal(values("a=x=y==", "a"), "x=y==,");
    assert_string_equal(values("a=%41", "a"), "%41,");
    assert_string_equal(values("a=", "a"), ",");
    assert_string_equal(values("a=\"q\"", "a"), "q,");
    assert_string_equal(values("a=\"\"", "a"), ",");
    assert_string_equal(values("a=\"", "a"), "\",");
    assert_string_equal(values("a=\"q", "a"), "\"q,");
}

static void loose_spelling_does_not_confuse(void **state)
{
    (void)state;
    assert_string_equal(values(";;a=1;;", "a"), "1,");
    assert_string_equal(values("a=1;a=2;\t a = 3 \t", "a"), "1,2,3,");
    assert_string_equal(values("a; a; =a; ==a", "a"), "");
    assert_string_equal(values("$Version=1; a=1; $Path=/", "a"), "1,");
    assert_string_equal(values("a", "a"), "");
}

static void names_of_cookies_are_tokens(void **state)
{
    static const char *const good[] = {"a", "__Host-token", "x.y|z~`'*!#$%&+^"};
    static const char *const bad[] = {"", "a b", "a=", "a;", "a\t", "a,b", "\"a\"", "\xc3\xa9", "a\x7f"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(http_cookie_name_good(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(http_cookie_name_good(bad[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cookies_are_found_by_exact_name),
        cmocka_unit_test(values_are_taken_as_they_stand),
        cmocka_unit_test(loose_spelling_does_not_confuse),
        cmocka_unit_test(names_of_cookies_are_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
