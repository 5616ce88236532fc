/* JSON as text, by tables of the grammar's corners and against jansson. */
#include "proto/json_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

static struct json_slice slice(const char *text)
{
    return (struct json_slice){text, strlen(text)};
}

/* In a block of its own, so that sanitizers see reads past the end. */
static bool is_valid(const char *text, size_t len)
{
    char *exact = malloc(len ? len : 1);
    assert_non_null(exact);
    memcpy(exact, text, len);
    bool valid = json_text_valid(exact, len);
    free(exact);
    return valid;
}

static void assert_slice(struct json_slice got, const char *expected)
{
    if (!expected) {
        assert_null(got.data);
        return;
    }
    assert_non_null(got.data);
    assert_int_equal(got.len, strlen(expected));
    assert_memory_equal(got.data, expected, got.len);
}

static void values_of_every_kind_are_valid(void **state)
{
    (void)state;
    const char *const texts[] = {
        "{}",
        "[]",
        "\"\"",
        "0",
        "-0",
        "-0.0",
        "10.25e-3",
        "1E+2",
        "1e9999",
        "123456789012345678901234567890",
        "true",
        "false",
        "null",
        " \t\r\n1 \t\r\n",
        "[1,2 , 3]",
        "[[],{},[{}]]",
        "[{\"a\":1},[1],{\"b\":[2]},[{\"c\":3}]]",
        "{\"a\":1,\"a\":2}",
        "{ \"\" : [ ] , \"b\" : { } }",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e4\\uD83D\\uDE00\"",
        "\"\\ud800\"", /* half a pair: the grammar allows it, and JavaScript's JSON.stringify writes it */
        "{\"\\u0000\":1}",
        "\"\xc3\xa4\xf0\x9f\x98\x80\x7f\"",
        "\"12345678901234567890\"",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (!is_valid(texts[i], strlen(texts[i])))
            fail_msg("%s should be valid", texts[i]);
}

static void what_breaks_the_grammar_is_not_valid(void **state)
{
    (void)state;
    const char *const texts[] = {
        "",
        " ",
        "{",
        "}",
        "[",
        "]",
        "{]",
        "[}",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\" 1}",
        "{\"a\":1,}",
        "{,}",
        "{1:2}",
        "{a:1}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":1",
        "\"",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\u123",
        "\"\\",
        "\"a\nb\"",
        "\"a\tb\"",
        "'a'",
        "tru",
        "truE",
        "nulll",
        "True",
        "01",
        "-",
        "-a",
        "+1",
        "1.",
        ".5",
        "1.e2",
        "1e",
        "1e+",
        "0x10",
        "1 2",
        "{} {}",
        "[]]",
        "NaN",
        "Infinity",
        "\xef\xbb\xbf{}",
        "// a\n1",
        "\"\xff\"",
        "\"\xc3\"",
        "\"\xed\xa0\x80\"",
        "\"1234567\x01\"",
        "\"\x1f\"",
        "\xc3\xa4",
        "\"a\"b",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (is_valid(texts[i], strlen(texts[i])))
            fail_msg("%s should not be valid", texts[i]);
    assert_false(is_valid("1\0", 2));
    assert_false(is_valid("\"\\\0\"", 4));
    assert_false(is_valid("\"\0\"", 3));
}

static void a_special_byte_is_seen_wherever_in_a_word_it_stands(void **state)
{
    (void)state;
    for (int special = 0; special < 256; special++)
        for (size_t place = 1; place < 20; place++) {
            char text[24] = "\"aaaaaaaaaaaaaaaaaaaa\"";
            text[place] = (char)special;
            bool valid = special >= 0x20 && special != '"' && special != '\\' && special < 0x80;
            assert_int_equal(is_valid(text, 22), valid);
        }
}

static void depth_is_bounded_and_costs_no_stack(void **state)
{
    (void)state;
    enum { LEVELS = JSON_DEPTH_MAX + 1 };
    char text[LEVELS * 6 + 1];
    for (size_t levels = LEVELS - 2; levels <= LEVELS; levels++) {
        memset(text, '[', levels);
        memset(text + levels, ']', levels);
        assert_int_equal(is_valid(text, 2 * levels), levels <= JSON_DEPTH_MAX);
        /* Objects and arrays in turn, closed in the right order. */
        size_t len = 0;
        for (size_t i = 0; i < levels; i++)
            len += (size_t)sprintf(text + len, i % 3 ? "{\"\":" : "[");
        text[len++] = '1';
        for (size_t i = levels; i-- > 0;)
            text[len++] = i % 3 ? '}' : ']';
        assert_int_equal(is_valid(text, len), levels <= JSON_DEPTH_MAX);
        text[len - 1] ^= ']' ^ '}';
        assert_false(is_valid(text, len));
    }
    char *many = malloc(1 << 20);
    assert_non_null(many);
    memset(many, '[', 1 << 20);
    assert_false(json_text_valid(many, 1 << 20));
    free(many);
}

/* Valid texts with one byte changed, dropped or doubled: jansson agrees on each, but for what it refuses
 * beyond the grammar. */
static void jansson_agrees_on_every_mutation(void **state)
{
    (void)state;
    const char *const texts[] = {
        "{\"id\":1,\"connect\":{\"token\":\"a\\u00e4\",\"subs\":{\"x\":{\"recover\":true}}}}",
        "[1,-2.5e3,null,false,[{}],\"\\\\\\\"\xc3\xa4\"]",
        " { \"a\" : [ 0 , 1 ] } ",
    };
    const char bytes[] = "\"\\{}[]:,0 9-+.eEu/tfn\n\x01\x7f\xc3\xff";
    size_t valid = 0, judged = 0;
    for (size_t t = 0; t < sizeof texts / sizeof texts[0]; t++) {
        size_t len = strlen(texts[t]);
        for (size_t at = 0; at < len; at++)
            for (size_t b = 0; b < sizeof bytes - 1; b++)
                for (int how = 0; how < 3; how++) {
                    char text[128];
                    memcpy(text, texts[t], at);
                    size_t to = at;
                    if (how != 1)
                        text[to++] = bytes[b];
                    size_t from = how == 2 ? at : at + 1;
                    memcpy(text + to, texts[t] + from, len - from);
                    to += len - from;
                    json_error_t error;
                    json_t *tree = json_loadb(
                        text, to, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);
                    if (!tree && json_error_code(&error) == json_error_numeric_overflow)
                        continue;
                    if (json_text_valid(text, to) != (tree != NULL))
                        fail_msg("%.*s: jansson says %s", (int)to, text, tree ? "valid" : error.text);
                    valid += tree != NULL;
                    judged++;
                    json_decref(tree);
                }
    }
    assert_true(valid > 500 && judged > 2 * valid);
}

static void a_walk_sees_every_member_raw_and_in_order(void **state)
{
    (void)state;
    struct json_slice object =
        slice(" {\"a\" : 1e999 ,\n\"b\\\"\":{\"}\":[\"]\",{}]},\"\":\"x, \\\"y\\\"\" , \"n\":null } ");
    const char *const expected[][2] = {
        {"\"a\"", "1e999"},
        {"\"b\\\"\"", "{\"}\":[\"]\",{}]}"},
        {"\"\"", "\"x, \\\"y\\\"\""},
        {"\"n\"", "null"},
    };
    struct json_slice name, value;
    size_t cursor = 0, i = 0;
    for (; json_text_next(object, &cursor, &name, &value); i++) {
        assert_true(i < 4);
        assert_slice(name, expected[i][0]);
        assert_slice(value, expected[i][1]);
    }
    assert_int_equal(i, 4);
    assert_false(json_text_next(object, &cursor, &name, &value));
}

static void what_is_no_object_has_no_members(void **state)
{
    (void)state;
    const char *const texts[] = {"{}", "{ }", "[]", "[\"a\",1]", "\"{\"", "1", "null", ""};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct json_slice name, value;
        size_t cursor = 0;
        assert_false(json_text_next(slice(texts[i]), &cursor, &name, &value));
        assert_slice(json_text_member(slice(texts[i]), "a"), NULL);
    }
    assert_slice(json_text_member((struct json_slice){0}, "a"), NULL);
}

static void elements_come_raw_and_in_order(void **state)
{
    (void)state;
    struct json_slice array = slice(" [ \"a,]\" ,1e999,\n[ [] ,{}] , {\"]\":[1,2]},null ] ");
    const char *const expected[] = {"\"a,]\"", "1e999", "[ [] ,{}]", "{\"]\":[1,2]}", "null"};
    struct json_slice value;
    size_t cursor = 0, i = 0;
    for (; json_text_element(array, &cursor, &value); i++) {
        assert_true(i < 5);
        assert_slice(value, expected[i]);
    }
    assert_int_equal(i, 5);
    assert_false(json_text_element(array, &cursor, &value));
    const char *const none[] = {"[]", "[ ]", "{}", "{\"a\":[1]}", "\"[1]\"", "1", ""};
    for (i = 0; i < sizeof none / sizeof none[0]; i++) {
        cursor = 0;
        assert_false(json_text_element(slice(none[i]), &cursor, &value));
    }
    cursor = 0;
    assert_false(json_text_element((struct json_slice){0}, &cursor, &value));
}

static void members_are_found_however_their_name_is_written(void **state)
{
    (void)state;
    struct json_slice object =
        slice("{\"data\":1,\"d\\u0061t\\u0061x\":2,\"\\u0064ata2\":{\"in\":{\"x\":[3 , 4]}},"
              "\"\\u00e4\":5,\"\\ud83d\\ude00\":6,\"\\ud83d\":7}");
    assert_slice(json_text_member(object, "data"), "1");
    assert_slice(json_text_member(object, "datax"), "2");
    assert_slice(json_text_member(json_text_member(json_text_member(object, "data2"), "in"), "x"), "[3 , 4]");
    assert_slice(json_text_member(json_text_member(json_text_member(object, "data3"), "in"), "x"), NULL);
    assert_slice(json_text_member(object, "\xc3\xa4"), "5");
    assert_slice(json_text_member(object, "\xf0\x9f\x98\x80"), "6");
    assert_slice(json_text_member(object, "dat"), NULL);
    assert_slice(json_text_member(object, ""), NULL);
    assert_slice(json_text_member(object, "\\u0064ata2"), NULL);
}

static void of_members_with_one_name_the_last_counts(void **state)
{
    (void)state;
    assert_slice(json_text_member(slice("{\"a\":1,\"b\":2,\"\\u0061\":{\"a\":3}}"), "a"), "{\"a\":3}");
}

static void strings_mean_what_jansson_says(void **state)
{
    (void)state;
    const char *const texts[] = {
        "\"\"",
        "\"plain\"",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "\"\\u0041\\u007f\\u0080\\u07ff\\u0800\\uffff\\u0000\"",
        "\"a\\ud800\\udc00b\\uDBFF\\uDFFFc\"",
        "\"\xc3\xa4\\u00E4\xf0\x9f\x98\x80\"",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        json_t *tree = json_loads(texts[i], JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        assert_non_null(tree);
        char *place = strdup(texts[i]);
        assert_non_null(place);
        struct json_slice string = slice(place);
        assert_true(json_text_is(string, json_string_value(tree), json_string_length(tree)));
        assert_false(json_text_is(string, "other", 5));
        size_t len = 99;
        assert_true(json_text_unescape(string, place + 1, &len)); /* where it stands */
        assert_int_equal(len, json_string_length(tree));
        assert_memory_equal(place + 1, json_string_value(tree), len);
        free(place);
        json_decref(tree);
    }
}

static void half_a_surrogate_pair_has_no_meaning(void **state)
{
    (void)state;
    const char *const texts[] =
        {
            "\"\\ud800\"",          "\"\\udc00\"",    "\"\\udc00\\ud800\"", "\"\\ud800\\ud800\"",
            "\"\\ud800x\"",         "\"\\ud800\\n\"", "\"\\ud800\\u0041\"", "\"\\udfff\\udfff\"",
            "\"\\ud83d\\ude0\\u\"", /* not even valid: refused, and nothing is read past its end */
        };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char out[32];
        size_t len;
        assert_false(json_text_unescape(slice(texts[i]), out, &len));
        assert_false(json_text_is(slice(texts[i]), "x", 1));
    }
    char out[8];
    size_t len;
    assert_false(json_text_unescape(slice("1"), out, &len));
    assert_false(json_text_unescape((struct json_slice){0}, out, &len));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_every_kind_are_valid),
        cmocka_unit_test(what_breaks_the_grammar_is_not_valid),
        cmocka_unit_test(a_special_byte_is_seen_wherever_in_a_word_it_stands),
        cmocka_unit_test(depth_is_bounded_and_costs_no_stack),
        cmocka_unit_test(jansson_agrees_on_every_mutation),
        cmocka_unit_test(a_walk_sees_every_member_raw_and_in_order),
        cmocka_unit_test(what_is_no_object_has_no_members),
        cmocka_unit_test(elements_come_raw_and_in_order),
        cmocka_unit_test(members_are_found_however_their_name_is_written),
        cmocka_unit_test(of_members_with_one_name_the_last_counts),
        cmocka_unit_test(strings_mean_what_jansson_says),
        cmocka_unit_test(half_a_surrogate_pair_has_no_meaning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
