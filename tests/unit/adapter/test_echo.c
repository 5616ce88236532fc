/* The echo adapter: the same bytes back, with the same type. */
#include "gateway/adapter/adapter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

struct recorder {
    struct adapter_link link; /* first, so that the callbacks find the rest */
    int sends, closes;
    bool text;
    const void *payload;
    size_t payload_bytes;
};

static void record_send(struct adapter_link *link, bool text, const void *payload, size_t payload_bytes)
{
    struct recorder *recorder = (struct recorder *)(void *)link;
    recorder->sends++;
    recorder->text = text;
    recorder->payload = payload;
    recorder->payload_bytes = payload_bytes;
}

static void record_close(struct adapter_link *link, uint16_t code, const char *text)
{
    (void)code;
    (void)text;
    ((struct recorder *)(void *)link)->closes++;
}

static const struct adapter_link_ops ops = {.send = record_send, .close = record_close};

static void a_message_comes_back_once_with_its_type(void **state)
{
    (void)state;
    uint8_t payload[] = "\xff\x00 any bytes";
    for (int text = 0; text < 2; text++) {
        struct recorder recorder = {.link.ops = &ops};
        adapter_echo.message(&recorder.link, text, payload, sizeof(payload));
        assert_int_equal(recorder.sends, 1);
        assert_int_equal(recorder.closes, 0);
        assert_int_equal(recorder.text, text);
        assert_int_equal(recorder.payload_bytes, sizeof(payload));
        assert_memory_equal(recorder.payload, payload, sizeof(payload));
    }
    struct recorder recorder = {.link.ops = &ops};
    adapter_echo.message(&recorder.link, true, payload, 0);
    assert_int_equal(recorder.sends, 1);
    assert_int_equal(recorder.payload_bytes, 0);
}

static void echo_is_there_for_the_demo_only(void **state)
{
    (void)state;
    struct settings settings = {0};
    assert_false(adapter_echo.enabled(&settings));
    settings.demo.enabled = true;
    assert_true(adapter_echo.enabled(&settings));
}

static void every_upgrade_is_accepted_without_topics(void **state)
{
    (void)state;
    static struct adapter_admission admission;
    struct settings settings = {.demo.enabled = true};
    struct http_request request = {.query = {"topic=a", 7}, .websocket_protocol = {"offered", 7}};
    memset(&admission, 0xa5, sizeof(admission));
    adapter_accept(ADAPTER_ECHO, &settings, &request, &admission);
    assert_int_equal(admission.status, 101);
    assert_null(admission.error);
    assert_int_equal(admission.topic_count, 0);
    assert_int_equal(admission.topics_bytes, 0);
    assert_string_equal(admission.subprotocol, "");
}

static void echo_reads_messages_and_delivers_no_publications(void **state)
{
    (void)state;
    struct publication publication = {.payload = "a", .payload_bytes = 1};
    assert_true(adapter_echo.reads_messages);
    assert_int_equal(adapter_echo.encoded_bound(&publication), 0);
    assert_false(adapter_raw.reads_messages);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_comes_back_once_with_its_type),
        cmocka_unit_test(echo_is_there_for_the_demo_only),
        cmocka_unit_test(every_upgrade_is_accepted_without_topics),
        cmocka_unit_test(echo_reads_messages_and_delivers_no_publications),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
