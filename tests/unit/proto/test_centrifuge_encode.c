/* Replies and pushes, byte by byte; every line is read back by jansson. */
#include "proto/centrifuge.h"

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

/* `out` is the one line `expected`, and starts anew. */
static void assert_line(struct json_out *out, const char *expected)
{
    assert_false(out->failed);
    if (out->len != strlen(expected) || memcmp(out->data, expected, out->len) != 0)
        fail_msg("wrote   %.*s\n  but not %s", (int)out->len, out->data, expected);
    json_t *tree = json_loadb(out->data, out->len, JSON_DECODE_INT_AS_REAL, NULL);
    assert_true(json_is_object(tree));
    json_decref(tree);
    json_out_reset(out);
}

static void what_is_zero_false_or_absent_is_left_out(void **state)
{
    (void)state;
    struct json_out out = {0};
    centrifuge_reply_connect(&out, 1, &(struct centrifuge_connect_result){0});
    assert_line(&out, "{\"id\":1,\"connect\":{}}");
    centrifuge_reply_subscribe(&out, 1, &(struct centrifuge_subscribe_result){0});
    assert_line(&out, "{\"id\":1,\"subscribe\":{}}");
    centrifuge_reply_rpc(&out, 1, (struct json_slice){0});
    assert_line(&out, "{\"id\":1,\"rpc\":{}}");
    centrifuge_reply_refresh(&out, 1, slice(""), (struct json_slice){0}, false, 0);
    assert_line(&out, "{\"id\":1,\"refresh\":{}}");
    centrifuge_reply_sub_refresh(&out, 1, false, 0);
    assert_line(&out, "{\"id\":1,\"sub_refresh\":{}}");
    centrifuge_push_publication(
        &out, slice("c"), &(struct centrifuge_publication){.json = true, .payload = "1", .payload_bytes = 1});
    assert_line(&out, "{\"push\":{\"channel\":\"c\",\"pub\":{\"data\":1}}}");
    centrifuge_push_subscribe(&out, slice("c"), &(struct centrifuge_subscribe_result){0});
    assert_line(&out, "{\"push\":{\"channel\":\"c\",\"subscribe\":{}}}");
    json_out_fini(&out);
}

static void what_clients_rely_on_is_always_there(void **state)
{
    (void)state;
    struct json_out out = {0};
    centrifuge_reply_presence(&out, 1, NULL, 0);
    assert_line(&out, "{\"id\":1,\"presence\":{\"presence\":{}}}");
    centrifuge_reply_presence_stats(&out, 1, 0, 0);
    assert_line(&out, "{\"id\":1,\"presence_stats\":{\"num_clients\":0,\"num_users\":0}}");
    centrifuge_reply_history(&out, 1, NULL, 0, (struct json_slice){0}, 0);
    assert_line(&out, "{\"id\":1,\"history\":{\"publications\":[],\"epoch\":\"\",\"offset\":0}}");
    centrifuge_encode_info(&out, &(struct centrifuge_info){0});
    assert_line(&out, "{\"user\":\"\",\"client\":\"\"}");
    centrifuge_push_publication(&out, slice("c"), &(struct centrifuge_publication){.text = true});
    assert_line(&out, "{\"push\":{\"channel\":\"c\",\"pub\":{\"data\":\"\"}}}");
    json_out_fini(&out);
}

static void every_reply_has_its_documented_fields(void **state)
{
    (void)state;
    struct json_out out = {0};
    const struct centrifuge_publication publications[] = {
        {.payload = "{\"a\":\n1}", .payload_bytes = 8, .text = true, .json = true, .offset = 7},
        {.payload = "two", .payload_bytes = 3, .text = true, .offset = UINT64_MAX},
    };
    const struct centrifuge_subscribe_result subscribed = {
        .expires = true,
        .ttl = 30,
        .recoverable = true,
        .positioned = true,
        .recovered = true,
        .was_recovering = true,
        .epoch = slice("e"),
        .offset = 8,
        .data = slice("[1]"),
        .publications = publications,
        .publication_count = 2,
    };
    const struct centrifuge_connect_sub subs[] = {
        {.channel = slice("a\""), .result = {.recoverable = true, .epoch = slice("x"), .offset = 1}},
        {.channel = slice("b")},
    };
    centrifuge_reply_connect(&out, UINT32_MAX,
                             &(struct centrifuge_connect_result){.client = slice("c1"),
                                                                 .version = slice("v"),
                                                                 .expires = true,
                                                                 .ttl = 3600,
                                                                 .data = slice("{}"),
                                                                 .subs = subs,
                                                                 .sub_count = 2,
                                                                 .ping = 25,
                                                                 .pong = true,
                                                                 .session = slice("s"),
                                                                 .node = slice("n")});
    assert_line(
        &out,
        "{\"id\":4294967295,\"connect\":{\"client\":\"c1\",\"version\":\"v\",\"expires\":true,\"ttl\":3600,"
        "\"data\":{},\"subs\":{\"a\\\"\":{\"recoverable\":true,\"epoch\":\"x\",\"offset\":1},\"b\":{}},"
        "\"ping\":25,\"pong\":true,\"session\":\"s\",\"node\":\"n\"}}");
    centrifuge_reply_subscribe(&out, 2, &subscribed);
    assert_line(&out,
                "{\"id\":2,\"subscribe\":{\"expires\":true,\"ttl\":30,\"recoverable\":true,\"epoch\":\"e\","
                "\"publications\":[{\"data\":{\"a\": 1},\"offset\":7},{\"data\":\"two\","
                "\"offset\":18446744073709551615}],\"recovered\":true,\"offset\":8,\"positioned\":true,"
                "\"data\":[1],\"was_recovering\":true}}");
    centrifuge_reply_empty(&out, 3, CENTRIFUGE_UNSUBSCRIBE);
    assert_line(&out, "{\"id\":3,\"unsubscribe\":{}}");
    centrifuge_reply_empty(&out, 4, CENTRIFUGE_PUBLISH);
    assert_line(&out, "{\"id\":4,\"publish\":{}}");
    centrifuge_reply_empty(&out, 5, CENTRIFUGE_PING);
    assert_line(&out, "{\"id\":5,\"ping\":{}}");
    const struct centrifuge_info infos[] = {
        {.user = slice("u"),
         .client = slice("c1"),
         .conn_info = slice("{\"n\":1}"),
         .chan_info = slice("\"i\"")},
        {.client = slice("c2")},
    };
    centrifuge_reply_presence(&out, 6, infos, 2);
    assert_line(&out,
                "{\"id\":6,\"presence\":{\"presence\":{\"c1\":{\"user\":\"u\",\"client\":\"c1\","
                "\"conn_info\":{\"n\":1},\"chan_info\":\"i\"},\"c2\":{\"user\":\"\",\"client\":\"c2\"}}}}");
    centrifuge_reply_presence_stats(&out, 7, 3, 2);
    assert_line(&out, "{\"id\":7,\"presence_stats\":{\"num_clients\":3,\"num_users\":2}}");
    centrifuge_reply_history(&out, 8, publications, 1, slice("e"), 7);
    assert_line(
        &out, "{\"id\":8,\"history\":{\"publications\":[{\"data\":{\"a\": 1},\"offset\":7}],\"epoch\":\"e\","
              "\"offset\":7}}");
    centrifuge_reply_rpc(&out, 9, slice("null"));
    assert_line(&out, "{\"id\":9,\"rpc\":{\"data\":null}}");
    centrifuge_reply_refresh(&out, 10, slice("c1"), slice("v"), true, 60);
    assert_line(&out,
                "{\"id\":10,\"refresh\":{\"client\":\"c1\",\"version\":\"v\",\"expires\":true,\"ttl\":60}}");
    centrifuge_reply_sub_refresh(&out, 11, true, 60);
    assert_line(&out, "{\"id\":11,\"sub_refresh\":{\"expires\":true,\"ttl\":60}}");
    centrifuge_reply_error(&out, 12, CENTRIFUGE_ERROR_INTERNAL);
    assert_line(
        &out,
        "{\"id\":12,\"error\":{\"code\":100,\"message\":\"internal server error\",\"temporary\":true}}");
    centrifuge_reply_error(&out, 13, CENTRIFUGE_ERROR_TOKEN_EXPIRED);
    assert_line(&out, "{\"id\":13,\"error\":{\"code\":109,\"message\":\"token expired\"}}");
    centrifuge_reply_custom_error(&out, 14, 400, slice("no \"way\"\n"), true);
    assert_line(&out,
                "{\"id\":14,\"error\":{\"code\":400,\"message\":\"no \\\"way\\\"\\n\",\"temporary\":true}}");
    json_out_fini(&out);
}

static void every_push_has_its_documented_fields(void **state)
{
    (void)state;
    struct json_out out = {0};
    struct json_out info = {0};
    centrifuge_encode_info(&info, &(struct centrifuge_info){.user = slice("u"), .client = slice("c1")});
    struct json_slice publisher = {info.data, info.len};
    centrifuge_push_ping(&out);
    assert_line(&out, "{}");
    centrifuge_push_publication(&out, slice("a\nb"),
                                &(struct centrifuge_publication){.payload = "{}",
                                                                 .payload_bytes = 2,
                                                                 .text = true,
                                                                 .json = true,
                                                                 .offset = 3,
                                                                 .info = publisher,
                                                                 .tags = slice("{\"k\":\"v\"}")});
    assert_line(
        &out,
        "{\"push\":{\"channel\":\"a\\nb\",\"pub\":{\"data\":{},\"info\":{\"user\":\"u\",\"client\":\"c1\"},"
        "\"offset\":3,\"tags\":{\"k\":\"v\"}}}}");
    centrifuge_push_publication(&out, slice("c"),
                                &(struct centrifuge_publication){.payload = "\xff", .payload_bytes = 1});
    assert_line(&out, "{\"push\":{\"channel\":\"c\",\"pub\":{\"data\":{\"b64data\":\"/w==\"}}}}");
    centrifuge_push_join(&out, slice("c"), publisher);
    assert_line(&out,
                "{\"push\":{\"channel\":\"c\",\"join\":{\"info\":{\"user\":\"u\",\"client\":\"c1\"}}}}");
    centrifuge_push_leave(&out, slice("c"), publisher);
    assert_line(&out,
                "{\"push\":{\"channel\":\"c\",\"leave\":{\"info\":{\"user\":\"u\",\"client\":\"c1\"}}}}");
    centrifuge_push_subscribe(&out, slice("c"),
                              &(struct centrifuge_subscribe_result){.expires = true,
                                                                    .ttl = 5,
                                                                    .recoverable = true,
                                                                    .positioned = true,
                                                                    .epoch = slice("e"),
                                                                    .offset = 4,
                                                                    .data = slice("1")});
    assert_line(
        &out, "{\"push\":{\"channel\":\"c\",\"subscribe\":{\"recoverable\":true,\"epoch\":\"e\",\"offset\":4,"
              "\"positioned\":true,\"data\":1}}}");
    centrifuge_push_unsubscribe(&out, slice("c"), CENTRIFUGE_UNSUBSCRIBE_INSUFFICIENT_STATE,
                                slice("insufficient state"));
    assert_line(
        &out,
        "{\"push\":{\"channel\":\"c\",\"unsubscribe\":{\"code\":2500,\"reason\":\"insufficient state\"}}}");
    centrifuge_push_message(&out, slice("{\"x\":\r\n1}"));
    assert_line(&out, "{\"push\":{\"message\":{\"data\":{\"x\":  1}}}}");
    centrifuge_push_disconnect(&out, 3001, slice("shutdown"));
    assert_line(&out,
                "{\"push\":{\"disconnect\":{\"code\":3001,\"reason\":\"shutdown\",\"reconnect\":true}}}");
    centrifuge_push_disconnect(&out, 4500, slice("banned"));
    assert_line(&out, "{\"push\":{\"disconnect\":{\"code\":4500,\"reason\":\"banned\"}}}");
    centrifuge_push_refresh(&out, true, 9);
    assert_line(&out, "{\"push\":{\"refresh\":{\"expires\":true,\"ttl\":9}}}");
    json_out_fini(&out);
    json_out_fini(&info);
}

static void several_in_one_message_stand_on_a_line_each(void **state)
{
    (void)state;
    struct json_out out = {0};
    centrifuge_reply_empty(&out, 1, CENTRIFUGE_PING);
    centrifuge_push_ping(&out);
    centrifuge_push_message(&out, slice("\n1\n"));
    centrifuge_reply_error(&out, 2, CENTRIFUGE_ERROR_METHOD_NOT_FOUND);
    const char expected[] = "{\"id\":1,\"ping\":{}}\n{}\n{\"push\":{\"message\":{\"data\": 1 }}}\n"
                            "{\"id\":2,\"error\":{\"code\":104,\"message\":\"method not found\"}}";
    assert_false(out.failed);
    assert_int_equal(out.len, sizeof expected - 1);
    assert_memory_equal(out.data, expected, out.len);
    json_out_fini(&out);
}

/* The room is as large as announced and not a byte more; the bytes are those of the push. */
static void a_publication_is_encoded_into_exactly_its_bound(void **state)
{
    (void)state;
    static const char *const payloads[] = {"", "{}", "[1,\r\n2]", "plain", "\"\\\n\x01", "\xff\x00\xfe", "1"};
    static const char *const channels[] = {"", "c", "a\"b\\\n", "\xc3\xa4"};
    struct json_out expected = {0};
    for (size_t p = 0; p < sizeof payloads / sizeof payloads[0]; p++)
        for (size_t c = 0; c < sizeof channels / sizeof channels[0]; c++)
            for (int more = 0; more < 2; more++) {
                size_t bytes = strlen(payloads[p]);
                enum json_payload kind = json_payload_kind(payloads[p], bytes);
                struct centrifuge_publication publication = {
                    .payload = payloads[p],
                    .payload_bytes = bytes,
                    .text = kind != JSON_PAYLOAD_BINARY,
                    .json = kind == JSON_PAYLOAD_JSON,
                    .offset = more ? 10 : 0,
                    .info = more ? slice("{\"user\":\"u\",\n\"client\":\"c\"}") : (struct json_slice){0},
                    .tags = more ? slice("{}") : (struct json_slice){0},
                };
                size_t bound = centrifuge_publication_bound(slice(channels[c]), &publication);
                char *room = malloc(bound);
                assert_non_null(room);
                assert_int_equal(centrifuge_encode_publication_push(slice(channels[c]), &publication, room),
                                 bound);
                json_out_reset(&expected);
                centrifuge_push_publication(&expected, slice(channels[c]), &publication);
                assert_int_equal(expected.len, bound);
                assert_memory_equal(room, expected.data, bound);
                assert_true(json_text_valid(room, bound));
                assert_null(memchr(room, '\n', bound));
                free(room);
            }
    json_out_fini(&expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_zero_false_or_absent_is_left_out),
        cmocka_unit_test(what_clients_rely_on_is_always_there),
        cmocka_unit_test(every_reply_has_its_documented_fields),
        cmocka_unit_test(every_push_has_its_documented_fields),
        cmocka_unit_test(several_in_one_message_stand_on_a_line_each),
        cmocka_unit_test(a_publication_is_encoded_into_exactly_its_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
