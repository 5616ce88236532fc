/* Ids of connections, written and read. */
#include "gateway/broker/conn_id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void an_id_is_read_as_it_was_written(void **state)
{
    (void)state;
    const struct conn_id ids[] = {{0, 0, 0}, {17, 42, 3}, {UINT32_MAX, UINT32_MAX, UINT16_MAX}};
    const char *const texts[] = {"0-0-0", "3-17-42", "65535-4294967295-4294967295"};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        char text[CONN_ID_TEXT_BYTES];
        struct conn_id read;
        conn_id_format(ids[i], text);
        assert_string_equal(text, texts[i]);
        assert_true(conn_id_parse(text, strlen(text), &read));
        assert_int_equal(read.reactor, ids[i].reactor);
        assert_int_equal(read.slot, ids[i].slot);
        assert_int_equal(read.generation, ids[i].generation);
    }
}

static void what_is_no_id_is_refused(void **state)
{
    (void)state;
    const char *const texts[] = {
        "",       "0",       "0-0",       "0-0-",           "-0-0",
        "0--0",   "0-0-0-0", "0-0-0 ",    " 0-0-0",         "00-0-0",
        "0-01-0", "+1-0-0",  "65536-0-0", "0-4294967296-0", "0-0-99999999999999999999",
        "a-0-0",  "0-0-0x",  "0,0,0",     "0-0-4294967296"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        /* On the heap and without an end, so that a checker sees a look behind it. */
        size_t bytes = strlen(texts[i]);
        char *copy = malloc(bytes + 1);
        struct conn_id read;
        assert_non_null(copy);
        memcpy(copy, texts[i], bytes);
        copy = realloc(copy, bytes ? bytes : 1);
        assert_non_null(copy);
        assert_false(conn_id_parse(copy, bytes, &read));
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_is_read_as_it_was_written),
        cmocka_unit_test(what_is_no_id_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
