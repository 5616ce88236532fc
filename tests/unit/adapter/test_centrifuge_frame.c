/* Publications, joins and leaves as frames of the Centrifuge protocol. */
#include "gateway/adapter/adapter.h"
#include "proto/json_text.h"
#include "proto/ws_frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void assert_frame(const struct publication *publication, const char *expected)
{
    struct ws_reader *reader = ws_reader_create(WS_ROLE_CLIENT);
    assert_non_null(reader);
    size_t bound = adapter_centrifuge.encoded_bound(publication);
    uint8_t *out = malloc(bound);
    assert_non_null(out);
    size_t bytes = adapter_centrifuge.encode(publication, out);
    assert_true(bytes <= bound);
    struct ws_sequence seq = {0};
    struct ws_frame frame;
    assert_int_equal(ws_reader_read(reader, out, bytes, &seq, &frame), PARSE_OK);
    assert_int_equal(frame.opcode, WS_TEXT);
    assert_true(frame.fin);
    assert_int_equal(frame.header_bytes + frame.payload_bytes, bytes);
    assert_true(json_text_valid(frame.payload, (size_t)frame.payload_bytes));
    if (frame.payload_bytes != strlen(expected) || memcmp(frame.payload, expected, strlen(expected)) != 0)
        fail_msg("%.*s\nexpected: %s", (int)frame.payload_bytes, (char *)frame.payload, expected);
    free(out);
    ws_reader_destroy(reader);
}

static struct publication publication_of(const char *payload, bool text, bool json)
{
    return (struct publication){.payload = payload,
                                .payload_bytes = strlen(payload),
                                .text = text,
                                .json = json,
                                .topic = "a\"b",
                                .topic_bytes = 3};
}

static void json_is_embedded_and_other_payloads_are_strings_or_base64(void **state)
{
    (void)state;
    struct publication publication = publication_of("{\"n\": 1.0}", true, true);
    assert_frame(&publication, "{\"push\":{\"channel\":\"a\\\"b\",\"pub\":{\"data\":{\"n\": 1.0}}}}");
    publication = publication_of("[1,\r\n2]", true, true);
    assert_frame(&publication, "{\"push\":{\"channel\":\"a\\\"b\",\"pub\":{\"data\":[1,  2]}}}");
    publication = publication_of("hel\"lo\n", true, false);
    assert_frame(&publication, "{\"push\":{\"channel\":\"a\\\"b\",\"pub\":{\"data\":\"hel\\\"lo\\n\"}}}");
    publication = publication_of("", true, false);
    assert_frame(&publication, "{\"push\":{\"channel\":\"a\\\"b\",\"pub\":{\"data\":\"\"}}}");
    publication = publication_of("\xff\xfe", false, false);
    assert_frame(&publication,
                 "{\"push\":{\"channel\":\"a\\\"b\",\"pub\":{\"data\":{\"b64data\":\"//4=\"}}}}");
}

static void offset_info_and_tags_go_along(void **state)
{
    (void)state;
    struct publication publication = publication_of("1", true, true);
    publication.offset = 18446744073709551615u;
    publication.info = "{\"user\":\"u\",\"client\":\"c\"}";
    publication.info_bytes = strlen(publication.info);
    publication.tags = "{\"t\":\"1\"}";
    publication.tags_bytes = strlen(publication.tags);
    assert_frame(&publication,
                 "{\"push\":{\"channel\":\"a\\\"b\",\"pub\":{\"data\":1,\"info\":{\"user\":\"u\",\"client\":"
                 "\"c\"},\"offset\":18446744073709551615,\"tags\":{\"t\":\"1\"}}}}");
}

static void joins_and_leaves_carry_who(void **state)
{
    (void)state;
    struct publication publication = publication_of("{\"user\":\"u\",\"client\":\"c\"}", true, false);
    publication.kind = PUBLICATION_JOIN;
    assert_frame(&publication,
                 "{\"push\":{\"channel\":\"a\\\"b\",\"join\":{\"info\":{\"user\":\"u\",\"client\":\"c\"}}}}");
    publication.kind = PUBLICATION_LEAVE;
    assert_frame(
        &publication,
        "{\"push\":{\"channel\":\"a\\\"b\",\"leave\":{\"info\":{\"user\":\"u\",\"client\":\"c\"}}}}");
}

static void every_length_has_its_header(void **state)
{
    (void)state;
    static const size_t lengths[] = {60, 100, 125, 126, 1000, 65000, 65535, 70000};
    char *payload = malloc(70001), *expected = malloc(71000);
    assert_non_null(payload);
    assert_non_null(expected);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        memset(payload, '7', lengths[i]);
        payload[lengths[i]] = '\0';
        snprintf(expected, 71000, "{\"push\":{\"channel\":\"a\\\"b\",\"pub\":{\"data\":%s}}}", payload);
        struct publication publication = publication_of(payload, true, true);
        assert_frame(&publication, expected);
    }
    free(expected);
    free(payload);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_is_embedded_and_other_payloads_are_strings_or_base64),
        cmocka_unit_test(offset_info_and_tags_go_along),
        cmocka_unit_test(joins_and_leaves_carry_who),
        cmocka_unit_test(every_length_has_its_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
