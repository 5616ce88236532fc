/* The Centrifuge adapter: upgrade requests, the order of commands, what needs nobody else, sessions'
 * beginning and end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/adapter/centrifuge_fixture.h"

static struct adapter_admission admission;

static void upgrade(const char *protocols, const char *query)
{
    struct settings settings = {0};
    struct http_request request = {.query = {query, strlen(query)},
                                   .websocket_protocol = {protocols, strlen(protocols)}};
    memset(&admission, 0xa5, sizeof admission);
    adapter_accept(ADAPTER_CENTRIFUGE, &settings, &request, &admission);
}

static void json_is_answered_when_it_is_offered(void **state)
{
    (void)state;
    static const struct {
        const char *offered, *answered;
    } cases[] = {
        {"", ""},
        {"centrifuge-json", "centrifuge-json"},
        {"a, centrifuge-json ,b", "centrifuge-json"},
        {"centrifuge-protobuf,centrifuge-json", "centrifuge-json"},
        {"\tcentrifuge-json\t", "centrifuge-json"},
        {"centrifuge-jso", ""},
        {"centrifuge-json2", ""},
        {"Centrifuge-JSON", ""},
        {" , ,", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        upgrade(cases[i].offered, "");
        assert_int_equal(admission.status, 101);
        assert_null(admission.error);
        assert_int_equal(admission.topic_count, 0);
        assert_int_equal(admission.topics_bytes, 0);
        assert_string_equal(admission.subprotocol, cases[i].answered);
        assert_false(admission.since_set);
    }
}

static void protobuf_is_refused_with_a_sentence(void **state)
{
    (void)state;
    static const struct {
        const char *offered, *query;
    } cases[] = {
        {"centrifuge-protobuf", ""},
        {"x, centrifuge-protobuf", "a=b"},
        {"", "format=protobuf"},
        {"", "a=b&cf_protocol=protobuf"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        upgrade(cases[i].offered, cases[i].query);
        assert_int_equal(admission.status, 400);
        assert_non_null(strstr(admission.error, "JSON"));
        assert_string_equal(admission.subprotocol, "");
    }
    upgrade("", "format=json&cf_protocol=protobuffer%20and%20more");
    assert_int_equal(admission.status, 101);
    upgrade("centrifuge-json", "format=protobuf");
    assert_int_equal(admission.status, 101);
}

static void the_endpoint_is_always_there(void **state)
{
    (void)state;
    struct settings settings = {0};
    static const char path[] = "/connection/websocket";
    assert_int_equal(adapter_route(&settings, (struct http_slice){path, sizeof path - 1}),
                     ADAPTER_CENTRIFUGE);
    assert_ptr_equal(adapter_get(ADAPTER_CENTRIFUGE), &adapter_centrifuge);
}

static void a_ping_is_an_empty_object_in_a_text_frame(void **state)
{
    (void)state;
    uint8_t frame[16];
    assert_int_equal(adapter_centrifuge.ping(frame, sizeof frame), 4);
    assert_memory_equal(frame, "\x81\x02{}", 4);
    assert_int_equal(adapter_centrifuge.ping(frame, 3), 0);
}

static void every_session_has_a_random_id_and_a_deadline(void **state)
{
    struct fake *f = *state;
    uint8_t first[16];
    f->session = (struct session){0};
    adapter_centrifuge.opened(&f->link, NULL, 0);
    memcpy(first, f->session.client, 16);
    assert_int_equal(first[6] >> 4, 4);
    assert_int_equal(first[8] >> 6, 2);
    assert_int_equal(f->deadline, 10000);
    assert_null(f->session.more);
    adapter_centrifuge.opened(&f->link, NULL, 0);
    assert_memory_not_equal(first, f->session.client, 16);
}

static void who_does_not_connect_is_stale(void **state)
{
    struct fake *f = *state;
    fake_open_as(f, NULL);
    adapter_centrifuge.expired(&f->link);
    hear_close(f, 3502, "stale");
}

static void an_idle_anonymous_client_costs_its_session_only(void **state)
{
    struct fake *f = *state;
    fake_connect(f);
    assert_null(f->session.more);
    assert_int_equal(f->deadline, 0);
    assert_false(f->session.authenticated);
    fake_subscribe(f, 2, "news");
    assert_null(f->session.more);
    assert_int_equal(f->session.asked, 0);
}

static void connect_comes_first_and_once(void **state)
{
    struct fake *f = *state;
    static const char *const early[] = {
        "{\"id\":1,\"subscribe\":{\"channel\":\"a\"}}",
        "{\"id\":1,\"unsubscribe\":{\"channel\":\"a\"}}",
        "{\"id\":1,\"publish\":{\"channel\":\"a\",\"data\":1}}",
        "{\"id\":1,\"presence\":{\"channel\":\"a\"}}",
        "{\"id\":1,\"presence_stats\":{\"channel\":\"a\"}}",
        "{\"id\":1,\"history\":{\"channel\":\"a\"}}",
        "{\"id\":1,\"ping\":{}}",
        "{\"send\":{}}",
        "{\"id\":1,\"rpc\":{}}",
        "{\"id\":1,\"refresh\":{\"token\":\"t\"}}",
        "{\"id\":1,\"sub_refresh\":{\"channel\":\"a\",\"token\":\"t\"}}",
        "{\"id\":1,\"dance\":{}}",
        "{}",
    };
    for (size_t i = 0; i < sizeof early / sizeof *early; i++) {
        fake_open_as(f, NULL);
        say(f, early[i]);
        hear_close(f, 3501, "bad request");
        asked_nothing(f);
        fake_end(f);
    }
    fake_connect(f);
    say(f, "{\"id\":2,\"connect\":{}}");
    hear_close(f, 3501, "bad request");
}

static void what_is_no_command_ends_the_connection(void **state)
{
    struct fake *f = *state;
    static const char *const bad[] = {
        "",
        "\n",
        "x",
        "[]",
        "{\"id\":1",
        "{\"id\":-1,\"ping\":{}}",
        "\"a\"",
        "{\"ping\":{}}",
        "{\"id\":1,\"ping\":{},\"send\":{}}",
        "null",
        "{\"id\":1,\"subscribe\":3}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fake_connect(f);
        say(f, bad[i]);
        hear_close(f, 3501, "bad request");
        fake_end(f);
    }
    fake_connect(f);
    uint8_t binary[] = "{\"id\":2,\"ping\":{}}";
    adapter_centrifuge.message(&f->link, false, binary, sizeof binary - 1);
    hear_close(f, 3501, "bad request");
}

static void what_was_said_before_a_mistake_is_answered(void **state)
{
    struct fake *f = *state;
    fake_connect(f);
    say(f, "{\"id\":2,\"ping\":{}}\nnonsense\n{\"id\":3,\"ping\":{}}");
    hear(f, "{\"id\":2,\"ping\":{}}");
    hear_close(f, 3501, "bad request");
}

static void replies_of_one_message_leave_as_one(void **state)
{
    struct fake *f = *state;
    fake_open_as(f, NULL);
    say(f, "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"ping\":{}}\n{\"send\":{\"data\":1}}\n{}\n"
           "{\"id\":3,\"dance\":{}}\n{\"id\":4,\"unsubscribe\":{\"channel\":\"a\"}}\n");
    hear(f, CONNECTED "\n{\"id\":2,\"ping\":{}}\n"
                      "{\"id\":3,\"error\":{\"code\":104,\"message\":\"method not found\"}}\n"
                      "{\"id\":4,\"unsubscribe\":{}}");
    hear_nothing(f);
    assert_int_equal(f->close_code, 0);
}

static void a_pong_and_a_sent_message_have_no_answer(void **state)
{
    struct fake *f = *state;
    fake_connect(f);
    say(f, "{}");
    say(f, "{\"send\":{\"data\":{\"a\":[1,2]}}}");
    say(f, "{\"id\":9,\"send\":{}}");
    hear_nothing(f);
    assert_int_equal(f->close_code, 0);
}

static void the_ping_interval_is_told_in_whole_seconds_or_not_at_all(void **state)
{
    struct fake *f = *state;
    f->settings.idle.ping_interval = 1500;
    fake_open_as(f, NULL);
    say(f, "{\"id\":1,\"connect\":{}}");
    hear(f, "{\"id\":1,\"connect\":{\"client\":\"" CLIENT "\",\"version\":\"pushgate " PUSHGATE_VERSION
            "\",\"ping\":2,\"pong\":true}}");
    fake_end(f);
    f->settings.idle.ping_interval = 0;
    fake_open_as(f, NULL);
    say(f, "{\"id\":1,\"connect\":{}}");
    hear(f,
         "{\"id\":1,\"connect\":{\"client\":\"" CLIENT "\",\"version\":\"pushgate " PUSHGATE_VERSION "\"}}");
}

static void more_than_1024_commands_in_a_message_are_too_many(void **state)
{
    struct fake *f = *state;
    static char message[1025 * 3 + 1];
    for (size_t i = 0; i < 1025; i++)
        snprintf(message + 3 * i, 4, "{}\n");
    fake_connect(f);
    say_bytes(f, message, 1024 * 3);
    assert_int_equal(f->close_code, 0);
    say_bytes(f, message, 1025 * 3);
    hear_close(f, 3501, "bad request");
}

static void a_connection_that_breaks_while_it_is_answered_is_left_alone(void **state)
{
    struct fake *f = *state;
    fake_connect_user(f);
    fake_subscribe(f, 2, "news");
    f->sends_end_it = true;
    say(f, "{\"id\":3,\"ping\":{}}\n{\"id\":4,\"subscribe\":{\"channel\":\"a\"}}\nnonsense");
    assert_true(f->ended);
    hear_nothing(f);
    assert_int_equal(f->close_code, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fake_set_up, fake_tear_down)
    const struct CMUnitTest tests[] = {
        T(json_is_answered_when_it_is_offered),
        T(protobuf_is_refused_with_a_sentence),
        T(the_endpoint_is_always_there),
        T(a_ping_is_an_empty_object_in_a_text_frame),
        T(every_session_has_a_random_id_and_a_deadline),
        T(who_does_not_connect_is_stale),
        T(an_idle_anonymous_client_costs_its_session_only),
        T(connect_comes_first_and_once),
        T(what_is_no_command_ends_the_connection),
        T(what_was_said_before_a_mistake_is_answered),
        T(replies_of_one_message_leave_as_one),
        T(a_pong_and_a_sent_message_have_no_answer),
        T(the_ping_interval_is_told_in_whole_seconds_or_not_at_all),
        T(more_than_1024_commands_in_a_message_are_too_many),
        T(a_connection_that_breaks_while_it_is_answered_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
