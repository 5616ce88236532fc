#include "proto/json_out.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char EVERYTHING[] =
    "{\"object\":{},\"array\":[1,\"two\",{\"three\":3},[],-4,true,null],\"t\\\"ext\":\"a\\nb\","
    "\"numbers\":[0,18446744073709551615,-9223372036854775808,9223372036854775807],\"json\":{ \"x\":  "
    "1}}\n{}\n[7]";

static struct json_slice slice(const char *text)
{
    return (struct json_slice){text, strlen(text)};
}

static void write_everything(struct json_out *out)
{
    json_out_line(out);
    json_out_object(out);
    json_out_name(out, "object");
    json_out_object(out);
    json_out_object_end(out);
    json_out_name(out, "array");
    json_out_array(out);
    json_out_uint(out, 1);
    json_out_text(out, "two");
    json_out_object(out);
    json_out_name(out, "three");
    json_out_int(out, 3);
    json_out_object_end(out);
    json_out_array(out);
    json_out_array_end(out);
    json_out_int(out, -4);
    json_out_bool(out, true);
    json_out_json(out, (struct json_slice){0});
    json_out_array_end(out);
    json_out_name_text(out, slice("t\"ext"));
    json_out_string(out, slice("a\nb"));
    json_out_name(out, "numbers");
    json_out_array(out);
    json_out_uint(out, 0);
    json_out_uint(out, UINT64_MAX);
    json_out_int(out, INT64_MIN);
    json_out_int(out, INT64_MAX);
    json_out_array_end(out);
    json_out_name(out, "json");
    json_out_json(out, slice("{ \"x\":\r\n1}"));
    json_out_object_end(out);
    json_out_line(out);
    json_out_object(out);
    json_out_object_end(out);
    json_out_line(out);
    json_out_raw(out, "[7]", 3);
}

static void assert_everything(const struct json_out *out)
{
    assert_false(out->failed);
    assert_int_equal(out->len, sizeof EVERYTHING - 1);
    assert_memory_equal(out->data, EVERYTHING, out->len);
}

static void values_are_separated_by_commas_where_they_must_be(void **state)
{
    (void)state;
    struct json_out out = {0};
    write_everything(&out);
    assert_everything(&out);
    json_out_reset(&out);
    assert_int_equal(out.len, 0);
    write_everything(&out);
    assert_everything(&out);
    json_out_fini(&out);
    assert_null(out.data);
}

static void counting_and_a_buffer_of_that_size_agree_with_the_heap(void **state)
{
    (void)state;
    struct json_out count = json_out_count();
    write_everything(&count);
    assert_false(count.failed);
    assert_int_equal(count.len, sizeof EVERYTHING - 1);
    char *room = malloc(count.len);
    assert_non_null(room);
    struct json_out out = json_out_buffer(room, count.len);
    write_everything(&out);
    assert_ptr_equal(out.data, room);
    assert_everything(&out);
    json_out_fini(&out);
    free(room);
}

/* However small the room: nothing is written past it, and the failure stays. */
static void a_writer_stops_at_its_limit(void **state)
{
    (void)state;
    for (size_t limit = 1; limit < sizeof EVERYTHING + 1; limit++) {
        char room[sizeof EVERYTHING + 1];
        memset(room, '#', sizeof room);
        struct json_out fixed = json_out_buffer(room, limit), grown = {.max = limit};
        write_everything(&fixed);
        write_everything(&grown);
        assert_int_equal(fixed.failed, limit < sizeof EVERYTHING - 1);
        assert_int_equal(grown.failed, limit < sizeof EVERYTHING - 1);
        assert_true(fixed.len <= limit && grown.len <= limit && grown.cap <= limit);
        for (size_t i = limit; i < sizeof room; i++)
            assert_true(room[i] == '#');
        if (grown.failed) {
            json_out_bool(&grown, true);
            assert_true(grown.failed);
            json_out_reset(&grown);
            json_out_raw(&grown, "1", 1);
            assert_false(grown.failed);
        }
        json_out_fini(&grown);
    }
}

static void payloads_are_written_by_their_kind(void **state)
{
    (void)state;
    struct json_out out = {0};
    json_out_array(&out);
    json_out_payload(&out, JSON_PAYLOAD_JSON, "{\n}", 3);
    json_out_payload(&out, JSON_PAYLOAD_TEXT, "{\n}", 3);
    json_out_payload(&out, JSON_PAYLOAD_BINARY, "\xff\n", 2);
    json_out_payload(&out, JSON_PAYLOAD_TEXT, NULL, 0);
    json_out_array_end(&out);
    const char expected[] = "[{ },\"{\\n}\",{\"b64data\":\"/wo=\"},\"\"]";
    assert_int_equal(out.len, sizeof expected - 1);
    assert_memory_equal(out.data, expected, out.len);
    json_out_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_separated_by_commas_where_they_must_be),
        cmocka_unit_test(counting_and_a_buffer_of_that_size_agree_with_the_heap),
        cmocka_unit_test(a_writer_stops_at_its_limit),
        cmocka_unit_test(payloads_are_written_by_their_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
