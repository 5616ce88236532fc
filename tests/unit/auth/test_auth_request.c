/* Where an upgrade request has its token. */
#include "gateway/auth/auth.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SLICE(text) ((struct http_slice){(text), strlen(text)})

/* The token with these fields, "-" for none and "!" for a bad one. */
static const char *token_of(const char *authorization, const char *query, const char *cookie,
                            const char *name)
{
    static char out[HTTP_HEAD_MAX + 1];
    size_t bytes = 99;
    struct http_request request = {
        .authorization = SLICE(authorization), .query = SLICE(query), .cookie = SLICE(cookie)};
    enum auth_token_place place = auth_request_token(&request, name, out, sizeof out - 1, &bytes);
    if (place != AUTH_TOKEN_FOUND)
        return place == AUTH_TOKEN_NONE ? "-" : "!";
    assert_in_range(bytes, 1, sizeof out - 1);
    out[bytes] = '\0';
    return out;
}

static void a_bearer_token_is_found_in_authorization(void **state)
{
    (void)state;
    assert_string_equal(token_of("Bearer a.b.c", "", "", ""), "a.b.c");
    assert_string_equal(token_of("bEARER   a.b.c", "", "", ""), "a.b.c");
    assert_string_equal(token_of("Bearer a b", "", "", ""), "a b"); /* the check will refuse it */
    static const char *const others[] = {"",           "Bearer",   "Bearer ",      "Bearer  ", "Bearera.b.c",
                                         "Basic YTpi", "apikey x", "Bearer\ta.b.c"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_string_equal(token_of(others[i], "", "", ""), "-");
}

static void a_token_is_found_in_the_query(void **state)
{
    (void)state;
    assert_string_equal(token_of("", "token=a.b-_c", "", ""), "a.b-_c");
    assert_string_equal(token_of("", "topic=a&token=a%2eb&x", "", ""), "a.b");
    assert_string_equal(token_of("", "tokens=a&atoken=b&TOKEN=c", "", ""), "-");
    assert_string_equal(token_of("", "token=", "", ""), "-");
    assert_string_equal(token_of("", "token", "", ""), "-");
    assert_string_equal(token_of("", "token=a%2", "", ""), "!");
    assert_string_equal(token_of("", "token=a%00b", "", ""), "!");
    assert_string_equal(token_of("", "token=a&topic=b&token=a", "", ""), "!");
    assert_string_equal(token_of("", "token=&token=a", "", ""), "!");
}

static void a_token_is_found_in_the_cookie_of_that_name(void **state)
{
    (void)state;
    assert_string_equal(token_of("", "", "id=a.b.c", "id"), "a.b.c");
    assert_string_equal(token_of("", "", "x=1; id=\"a.b.c\"; y", "id"), "a.b.c");
    assert_string_equal(token_of("", "", "id=a.b.c", ""), "-");
    assert_string_equal(token_of("", "", "ID=a; idx=b; xid=c; id", "id"), "-");
    assert_string_equal(token_of("", "", "id=; x=1", "id"), "-");
    assert_string_equal(token_of("", "", "id=a; id=a", "id"), "!");
}

static void the_first_place_that_has_one_counts(void **state)
{
    (void)state;
    assert_string_equal(token_of("Bearer h", "token=q", "id=c", "id"), "h");
    assert_string_equal(token_of("Basic eDp5", "token=q", "id=c", "id"), "q");
    assert_string_equal(token_of("Basic eDp5", "token=", "id=c", "id"), "c");
    assert_string_equal(token_of("", "token=%", "id=c", "id"), "!");
}

static void a_token_longer_than_the_room_is_bad(void **state)
{
    (void)state;
    struct http_request by_header = {.authorization = SLICE("Bearer abcde")},
                        by_query = {.query = SLICE("token=abcde")}, by_cookie = {.cookie = SLICE("id=abcde")};
    char out[5];
    size_t bytes;
    const struct http_request *requests[] = {&by_header, &by_query, &by_cookie};
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        assert_int_equal(auth_request_token(requests[i], "id", out, 5, &bytes), AUTH_TOKEN_FOUND);
        assert_int_equal(bytes, 5);
        assert_memory_equal(out, "abcde", 5);
        assert_int_equal(auth_request_token(requests[i], "id", out, 4, &bytes), AUTH_TOKEN_BAD);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bearer_token_is_found_in_authorization),
        cmocka_unit_test(a_token_is_found_in_the_query),
        cmocka_unit_test(a_token_is_found_in_the_cookie_of_that_name),
        cmocka_unit_test(the_first_place_that_has_one_counts),
        cmocka_unit_test(a_token_longer_than_the_room_is_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
