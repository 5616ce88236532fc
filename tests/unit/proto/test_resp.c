#include "proto/resp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BULK_MAX = 1000 };

struct parsed {
    enum parse_result result;
    struct resp_command command;
    struct resp_arg args[16];
    char *data; /* an exact copy, so that sanitizers see reads past the end */
};

static void parse(struct parsed *p, const char *data, size_t len)
{
    p->data = malloc(len + 1);
    assert_non_null(p->data);
    memcpy(p->data, data, len);
    p->data = realloc(p->data, len ? len : 1);
    assert_non_null(p->data);
    p->command = (struct resp_command){.args = p->args, .args_max = 16};
    p->result = resp_parse(p->data, len, BULK_MAX, &p->command);
}

/* The arguments joined by '|', or the error, or "more". */
static const char *meaning(const char *data, size_t len)
{
    static char text[4096];
    struct parsed p;
    parse(&p, data, len);
    size_t at = 0;
    text[0] = '\0';
    if (p.result == PARSE_MORE)
        strcpy(text, "more");
    else if (p.result == PARSE_BAD)
        snprintf(text, sizeof text, "%s", p.command.error);
    else
        for (size_t i = 0; i < p.command.arg_count; i++)
            at += (size_t)snprintf(text + at, sizeof text - at, "%s%.*s", i ? "|" : "", (int)p.args[i].len,
                                   p.args[i].data);
    free(p.data);
    return text;
}
#define MEANING(literal) meaning(literal, sizeof(literal) - 1)

static void a_multibulk_command_is_read_in_place(void **state)
{
    (void)state;
    struct parsed p;
    const char text[] = "*3\r\n$7\r\nPUBLISH\r\n$1\r\nt\r\n$5\r\na\r\n\0b\r\n*1\r\n";
    parse(&p, text, sizeof text - 1);
    assert_int_equal(p.result, PARSE_OK);
    assert_int_equal(p.command.arg_count, 3);
    assert_int_equal(p.command.command_bytes, sizeof text - 1 - 4);
    assert_true(p.args[2].data > p.data && p.args[2].data < p.data + sizeof text);
    assert_memory_equal(p.args[2].data, "a\r\n\0b", 5);
    assert_true(resp_arg_is(&p.args[0], "publish"));
    assert_false(resp_arg_is(&p.args[0], "publis"));
    assert_false(resp_arg_is(&p.args[0], "publisher"));
    free(p.data);
}

static void inline_commands_follow_redis_quoting(void **state)
{
    (void)state;
    assert_string_equal(MEANING("PING\r\n"), "PING");
    assert_string_equal(MEANING("PING\n"), "PING");
    assert_string_equal(MEANING("  publish\tt  hello \r\n"), "publish|t|hello");
    assert_string_equal(MEANING("publish t \"two words\"\r\n"), "publish|t|two words");
    assert_string_equal(MEANING("publish t 'it\\'s'\n"), "publish|t|it's");
    assert_string_equal(MEANING("publish t \"\\x41\\n\\q\\\"\"\n"), "publish|t|A\nq\"");
    assert_string_equal(MEANING("publish t \"\"\n"), "publish|t|");
    assert_string_equal(MEANING("publish t a\"b c\"\n"), "publish|t|ab c");
    assert_string_equal(MEANING("publish t \"open\n"), "unbalanced quotes in request");
    assert_string_equal(MEANING("publish t 'a'b\n"), "unbalanced quotes in request");
    assert_string_equal(MEANING("publish t \"a\\\n"), "unbalanced quotes in request");
    assert_string_equal(MEANING("publish t \"\\x4\"\n"), "publish|t|x4");
}

static void nothing_to_do_is_not_an_error(void **state)
{
    (void)state;
    struct parsed p;
    const char *const texts[] = {"\r\n", "\n", "   \r\n", "*0\r\n", "*-1\r\n"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        parse(&p, texts[i], strlen(texts[i]));
        assert_int_equal(p.result, PARSE_OK);
        assert_int_equal(p.command.arg_count, 0);
        assert_int_equal(p.command.command_bytes, strlen(texts[i]));
        free(p.data);
    }
}

static void malformed_input_is_named_as_redis_names_it(void **state)
{
    (void)state;
    assert_string_equal(MEANING("*x\r\n"), "invalid multibulk length");
    assert_string_equal(MEANING("*+1\r\n"), "invalid multibulk length");
    assert_string_equal(MEANING("*01\r\n"), "invalid multibulk length");
    assert_string_equal(MEANING("*\r\n"), "invalid multibulk length");
    assert_string_equal(MEANING("*-0\r\n"), "invalid multibulk length");
    assert_string_equal(MEANING("*17\r\n"), "invalid multibulk length");
    assert_string_equal(MEANING("*99999999999999999999999999\r\n"), "invalid multibulk length");
    assert_string_equal(MEANING("*1\rx"), "invalid multibulk length");
    assert_string_equal(MEANING("*1\r\n+PING\r\n"), "expected '$', got '+'");
    assert_string_equal(MEANING("*1\r\n\x01"), "expected '$', got '?'");
    assert_string_equal(MEANING("*1\r\n$-1\r\n"), "invalid bulk length");
    assert_string_equal(MEANING("*1\r\n$x\r\n"), "invalid bulk length");
    assert_string_equal(MEANING("*1\r\n$1001\r\n"), "invalid bulk length");
    assert_string_equal(MEANING("*1\r\n$4294967300\r\n"), "invalid bulk length");
    assert_string_equal(MEANING("*1\r\n$4\r\nPINGxx"), "expected CRLF after bulk string");
    assert_string_equal(MEANING("*1\r\n$4\r\nPINGx"), "expected CRLF after bulk string");
}

static void an_endless_line_is_refused(void **state)
{
    (void)state;
    char *line = malloc(RESP_INLINE_MAX + 2);
    assert_non_null(line);
    memset(line, 'a', RESP_INLINE_MAX + 2);
    struct resp_arg args[4];
    struct resp_command command = {.args = args, .args_max = 4};
    assert_int_equal(resp_parse(line, RESP_INLINE_MAX, BULK_MAX, &command), PARSE_MORE);
    assert_int_equal(resp_parse(line, RESP_INLINE_MAX + 1, BULK_MAX, &command), PARSE_BAD);
    assert_string_equal(command.error, "too big inline request");
    line[RESP_INLINE_MAX + 1] = '\n';
    assert_int_equal(resp_parse(line, RESP_INLINE_MAX + 2, BULK_MAX, &command), PARSE_BAD);
    free(line);
}

static void every_beginning_of_a_command_asks_for_more(void **state)
{
    (void)state;
    const char *const texts[] = {"*3\r\n$7\r\nPUBLISH\r\n$1\r\nt\r\n$12\r\nhello\r\nworld\r\n",
                                 "publish t \"a b\" 'c'\r\n", "*0\r\n"};
    for (size_t t = 0; t < sizeof texts / sizeof texts[0]; t++)
        for (size_t len = 0; len < strlen(texts[t]); len++) {
            struct parsed p;
            parse(&p, texts[t], len);
            assert_int_equal(p.result, PARSE_MORE);
            assert_true(p.command.need_bytes == 0 ||
                        (p.command.need_bytes > len && p.command.need_bytes <= strlen(texts[t])));
            assert_memory_equal(p.data, texts[t], len); /* nothing is rewritten before it is whole */
            free(p.data);
        }
}

static void need_bytes_names_the_end_of_the_string_that_is_missing(void **state)
{
    (void)state;
    struct parsed p;
    const char text[] = "*2\r\n$4\r\nECHO\r\n$900\r\nabc";
    parse(&p, text, sizeof text - 1);
    assert_int_equal(p.result, PARSE_MORE);
    assert_int_equal(p.command.need_bytes, sizeof text - 1 - 3 + 900 + 2);
    free(p.data);
}

static void replies_are_written_in_both_versions(void **state)
{
    (void)state;
    struct resp_out out = {0};
    resp_simple(&out, "OK");
    resp_error(&out, "ERR a\r\nb");
    resp_integer(&out, 0);
    resp_integer(&out, INT64_MIN);
    resp_integer(&out, 1234567890123);
    resp_bulk(&out, "a\0b", 3);
    resp_bulk(&out, NULL, 0);
    resp_null(&out);
    resp_array(&out, 2);
    resp_map(&out, 3);
    out.resp3 = true;
    resp_null(&out);
    resp_map(&out, 3);
    const char expected[] =
        "+OK\r\n-ERR a  "
        "b\r\n:0\r\n:-9223372036854775808\r\n:1234567890123\r\n$3\r\na\0b\r\n$0\r\n\r\n$-1\r\n*2\r\n*6\r\n"
        "_\r\n%3\r\n";
    assert_false(out.failed);
    assert_int_equal(out.len, sizeof expected - 1);
    assert_memory_equal(out.data, expected, sizeof expected - 1);
    resp_out_fini(&out);
    assert_null(out.data);
}

static void the_reply_buffer_grows(void **state)
{
    (void)state;
    struct resp_out out = {0};
    for (int i = 0; i < 100000; i++)
        resp_integer(&out, i % 10);
    assert_int_equal(out.len, 400000);
    for (int i = 0; i < 100000; i++)
        assert_int_equal(out.data[(size_t)i * 4 + 1], '0' + i % 10);
    resp_out_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_multibulk_command_is_read_in_place),
        cmocka_unit_test(inline_commands_follow_redis_quoting),
        cmocka_unit_test(nothing_to_do_is_not_an_error),
        cmocka_unit_test(malformed_input_is_named_as_redis_names_it),
        cmocka_unit_test(an_endless_line_is_refused),
        cmocka_unit_test(every_beginning_of_a_command_asks_for_more),
        cmocka_unit_test(need_bytes_names_the_end_of_the_string_that_is_missing),
        cmocka_unit_test(replies_are_written_in_both_versions),
        cmocka_unit_test(the_reply_buffer_grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
