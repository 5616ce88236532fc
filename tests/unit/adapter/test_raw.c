/* The raw adapter: topics out of URLs, publications into frames. */
#include "gateway/adapter/adapter.h"
#include "proto/ws_frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct adapter_admission admission;

static void accept_query(const char *query, uint64_t limit)
{
    struct settings settings = {.limits.topics_per_connection = limit};
    struct http_request request = {.query = {query, strlen(query)},
                                   .websocket_protocol = {"offered", strlen("offered")}};
    memset(&admission, 0xa5, sizeof(admission)); /* as an acceptor's scratch may be */
    adapter_accept(ADAPTER_RAW, &settings, &request, &admission);
}

static void assert_topics(const char *packed, uint8_t count)
{
    assert_int_equal(admission.status, 101);
    assert_null(admission.error);
    assert_int_equal(admission.topic_count, count);
    assert_int_equal(admission.topics_bytes, strlen(packed));
    assert_memory_equal(admission.topics, packed, strlen(packed));
    assert_string_equal(admission.subprotocol, "");
}

static void assert_refused(const char *query, uint64_t limit)
{
    accept_query(query, limit);
    if (admission.status != 400 || admission.error == NULL || admission.topic_count != 0 ||
        admission.topics_bytes != 0)
        fail_msg("%s: %d", query, admission.status);
}

static void topics_are_packed_in_url_order_without_repeats(void **state)
{
    (void)state;
    accept_query("topic=a", 0);
    assert_topics("\x01"
                  "a",
                  1);
    accept_query("topic=news&token=x&topic=b+c&topic=news&topic=%C3%B6&topic=b%20c", 0);
    assert_topics("\x04"
                  "news\x03"
                  "b c\x02\xc3\xb6",
                  3);
    /* A topic that begins like another is another. */
    accept_query("topic=ab&topic=a&topic=abc", 0);
    assert_topics("\x02"
                  "ab\x01"
                  "a\x03"
                  "abc",
                  3);
}

static void topics_that_are_not_plain_text_are_refused(void **state)
{
    (void)state;
    static const char *const queries[] = {
        "",
        "topics=a",
        "topic",
        "topic=",
        "topic=a&topic=",
        "topic=%",
        "topic=%0",
        "topic=a%00b",
        "topic=a%0Ab",
        "topic=%1F",
        "topic=%7F",
        "topic=%C2%80",
        "topic=a%C2%9F",
        "topic=%FF",
        "topic=%C3",
        "topic=%ED%A0%80",
        "topic=a&topic=%C0%80",
    };
    for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++)
        assert_refused(queries[i], 0);
    accept_query("topic=%C2%A0&topic=%20&topic=*", 0);
    assert_int_equal(admission.topic_count, 3);
}

static void no_topic_says_how_to_name_one(void **state)
{
    (void)state;
    assert_refused("", 0);
    assert_string_equal(admission.error, "topic is missing: /ws?topic=NAME");
}

static void a_topic_may_be_255_bytes_and_not_one_more(void **state)
{
    (void)state;
    char query[300] = "topic=";
    memset(query + 6, 't', 255);
    accept_query(query, 0);
    assert_int_equal(admission.status, 101);
    assert_int_equal(admission.topics[0], 255);
    assert_int_equal(admission.topics_bytes, 256);
    query[6 + 255] = 't';
    assert_refused(query, 0);
}

static void the_limit_counts_different_topics(void **state)
{
    (void)state;
    accept_query("topic=a&topic=b&topic=a", 2);
    assert_int_equal(admission.topic_count, 2);
    assert_refused("topic=a&topic=b&topic=c", 2);
}

static void without_a_limit_255_topics_fit(void **state)
{
    (void)state;
    static char query[HTTP_HEAD_MAX];
    for (int count = 255; count <= 256; count++) {
        size_t len = 0;
        for (int i = 0; i < count; i++)
            len += (size_t)snprintf(query + len, sizeof(query) - len, "topic=%d&", i);
        accept_query(query, 0);
        assert_int_equal(admission.status, count == 255 ? 101 : 400);
        assert_int_equal(admission.topic_count, count == 255 ? 255 : 0);
    }
}

static void the_longest_query_stays_within_the_admission(void **state)
{
    (void)state;
    static char query[HTTP_HEAD_MAX];
    size_t len = 0;
    for (char c = 'A'; len + 262 < sizeof(query); c++) {
        snprintf(query + len, sizeof(query) - len, "topic=");
        memset(query + len + 6, c, 255);
        query[len + 261] = '&';
        len += 262;
    }
    accept_query(query, 0);
    assert_int_equal(admission.status, 101);
    assert_int_equal(admission.topics_bytes, admission.topic_count * 256);
    assert_true(admission.topic_count >= 30);
}

static void a_publication_is_one_frame_with_its_bytes(void **state)
{
    (void)state;
    static const size_t lengths[] = {0, 1, 125, 126, 65535, 65536};
    struct ws_reader *reader = ws_reader_create(WS_ROLE_CLIENT);
    assert_non_null(reader);
    char *payload = malloc(65536);
    assert_non_null(payload);
    memset(payload, 'p', 65536);
    for (size_t i = 0; i < 2 * sizeof(lengths) / sizeof(lengths[0]); i++) {
        struct publication publication = {.payload = payload,
                                          .payload_bytes = lengths[i / 2],
                                          .text = i % 2,
                                          .topic = "t",
                                          .topic_bytes = 1};
        size_t bound = adapter_raw.encoded_bound(&publication);
        uint8_t *out = malloc(bound);
        assert_non_null(out);
        size_t bytes = adapter_raw.encode(&publication, out);
        assert_true(bytes <= bound);
        struct ws_sequence seq = {0};
        struct ws_frame frame;
        assert_int_equal(ws_reader_read(reader, out, bytes, &seq, &frame), PARSE_OK);
        assert_int_equal(frame.opcode, i % 2 ? WS_TEXT : WS_BINARY);
        assert_true(frame.fin);
        assert_int_equal(frame.payload_bytes, lengths[i / 2]);
        assert_memory_equal(frame.payload, payload, lengths[i / 2]);
        free(out);
    }
    free(payload);
    ws_reader_destroy(reader);
}

static void paths_are_routed_to_enabled_adapters(void **state)
{
    (void)state;
    struct settings settings = {0};
    static const char *const nowhere[] = {"", "/", "/w", "/ws/", "/WS", "/echo", "/w%73"};
    for (size_t i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++)
        assert_int_equal(adapter_route(&settings, (struct http_slice){nowhere[i], strlen(nowhere[i])}), -1);
    assert_int_equal(adapter_route(&settings, (struct http_slice){"/ws", 3}), ADAPTER_RAW);
    settings.demo.enabled = true;
    assert_int_equal(adapter_route(&settings, (struct http_slice){"/echo", 5}), ADAPTER_ECHO);
    assert_ptr_equal(adapter_get(ADAPTER_RAW), &adapter_raw);
    assert_ptr_equal(adapter_get(ADAPTER_ECHO), &adapter_echo);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(topics_are_packed_in_url_order_without_repeats),
        cmocka_unit_test(topics_that_are_not_plain_text_are_refused),
        cmocka_unit_test(no_topic_says_how_to_name_one),
        cmocka_unit_test(a_topic_may_be_255_bytes_and_not_one_more),
        cmocka_unit_test(the_limit_counts_different_topics),
        cmocka_unit_test(without_a_limit_255_topics_fit),
        cmocka_unit_test(the_longest_query_stays_within_the_admission),
        cmocka_unit_test(a_publication_is_one_frame_with_its_bytes),
        cmocka_unit_test(paths_are_routed_to_enabled_adapters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
