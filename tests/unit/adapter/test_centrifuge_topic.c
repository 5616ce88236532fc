/* The commands publish, presence, presence_stats, history and rpc. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/adapter/centrifuge_fixture.h"

#define PUBLISH(topic) "{\"id\":5,\"publish\":{\"channel\":\"" topic "\",\"data\":{\"a\": [1]}}}"

static void assert_text(struct text text, const char *expected)
{
    assert_int_equal(text.bytes, strlen(expected));
    assert_memory_equal(text.data ? text.data : "", expected, text.bytes);
}

/* A subscription of a topic that keeps a stream. */
static void subscribe_stream(struct fake *f, const char *topic)
{
    char message[256];
    snprintf(message, sizeof message, "{\"id\":4,\"subscribe\":{\"channel\":\"%s\"}}", topic);
    say(f, message);
    struct broker_request *request = asked(f, BROKER_SUBSCRIBE, topic);
    answer_page(request, 1, NULL);
    answer(f, request);
    hear(f, "{\"id\":4,\"subscribe\":{\"recoverable\":true,\"epoch\":\"" EPOCH_TEXT
            "\",\"offset\":1,\"positioned\":true}}");
}

/* Publish
 * -------------------------------------------------------------------------------------------------------- */

static void clients_publish_where_the_rule_lets_them(void **state)
{
    struct fake *f = *state;
    fake_connect(f);
    say(f, PUBLISH("news"));
    hear_error(f, 5, 103);
    say(f, PUBLISH("users:a"));
    hear_error(f, 5, 103);
    say(f, PUBLISH("chat:a"));
    hear_error(f, 5, 103);
    asked_nothing(f);
    subscribe_stream(f, "chat:a");
    say(f, PUBLISH("chat:a"));
    answer_ok(f, BROKER_PUBLISH, "chat:a");
    hear(f, "{\"id\":5,\"publish\":{}}");
    fake_end(f);
    fake_connect_user(f);
    say(f, PUBLISH("users:a"));
    answer_ok(f, BROKER_PUBLISH, "users:a");
    hear(f, "{\"id\":5,\"publish\":{}}");
    assert_int_equal(f->session.asked, 0);
}

static void whose_subscription_is_on_its_way_may_publish_behind_it(void **state)
{
    struct fake *f = *state;
    fake_connect(f);
    say(f, "{\"id\":4,\"subscribe\":{\"channel\":\"chat:a\"}}\n" PUBLISH("chat:a"));
    struct broker_request *first = asked(f, BROKER_SUBSCRIBE, "chat:a"),
                          *second = asked(f, BROKER_PUBLISH, "chat:a");
    answer_page(first, 1, NULL);
    answer(f, second);
    hear(f, "{\"id\":5,\"publish\":{}}");
    answer(f, first);
    assert_int_equal(f->frame_count, 1);
}

static void a_publication_says_who_made_it(void **state)
{
    struct fake *f = *state;
    fake_connect_user(f);
    say_token(f, "{\"id\":2,\"subscribe\":{\"channel\":\"chat:a\",\"token\":\"%s\"}}",
              "\"sub\":\"anna\",\"channel\":\"chat:a\",\"info\":{\"s\":1}");
    struct broker_request *request = asked(f, BROKER_SUBSCRIBE, "chat:a");
    answer_page(request, 1, NULL);
    answer(f, request);
    say(f, PUBLISH("chat:a"));
    request = asked(f, BROKER_PUBLISH, "chat:a");
    assert_text(request->payload, "{\"a\": [1]}");
    assert_text(request->user, "anna");
    assert_text(request->conn_info, "{\"n\":1}");
    assert_text(request->chan_info, "{\"s\":1}");
    assert_text(request->tags, "");
    assert_false(request->skip_history);
    assert_int_equal(request->command, 5);
    answer(f, request);
}

static void a_publication_without_data_is_a_bad_request(void **state)
{
    struct fake *f = *state;
    fake_connect_user(f);
    say(f, "{\"id\":5,\"publish\":{\"channel\":\"users:a\"}}");
    hear_error(f, 5, 107);
    say(f, "{\"id\":5,\"publish\":{\"channel\":\"users:a\",\"data\":1,\"type\":1}}");
    hear_error(f, 5, 108);
    say(f, "{\"id\":5,\"publish\":{\"channel\":\"users:a\",\"data\":null}}");
    struct broker_request *request = asked(f, BROKER_PUBLISH, "users:a");
    assert_text(request->payload, "null");
    answer(f, request);
    hear(f, "{\"id\":5,\"publish\":{}}");
}

static void what_the_broker_refuses_is_told(void **state)
{
    struct fake *f = *state;
    fake_connect_user(f);
    say(f, PUBLISH("users:a"));
    answer_failed(f, BROKER_PUBLISH, "users:a", BROKER_TOO_LARGE);
    hear_error(f, 5, 106);
    say(f, PUBLISH("users:a"));
    answer_failed(f, BROKER_PUBLISH, "users:a", BROKER_NO_MEMORY);
    hear_error(f, 5, 100);
}

static void unanswered_requests_are_bounded(void **state)
{
    struct fake *f = *state;
    fake_connect_user(f);
    for (int i = 0; i < 1024; i++)
        say(f, PUBLISH("users:a"));
    hear_nothing(f);
    say(f, PUBLISH("users:a"));
    hear_error(f, 5, 111);
    answer_ok(f, BROKER_PUBLISH, "users:a");
    hear(f, "{\"id\":5,\"publish\":{}}");
    say(f, PUBLISH("users:a"));
    hear_nothing(f);
    assert_int_equal(f->request_count, 1024);
}

/* One is a few bytes, and may be answered with thousands as many. */
static void questions_about_a_topic_weigh_more_than_other_requests(void **state)
{
    struct fake *f = *state;
    fake_connect(f);
    for (int i = 0; i < 32; i++)
        say(f, "{\"id\":5,\"presence\":{\"channel\":\"room:a\"}}\n{\"id\":5,\"history\":{\"channel\":\"kept:"
               "a\"}}");
    hear_nothing(f);
    say(f, "{\"id\":5,\"presence_stats\":{\"channel\":\"room:a\"}}");
    hear_error(f, 5, 111);
    answer_failed(f, BROKER_PRESENCE, "room:a", BROKER_TOO_LARGE);
    hear_error(f, 5, 106);
    for (int i = 0; i < 16; i++)
        say(f, "{\"id\":5,\"presence_stats\":{\"channel\":\"room:a\"}}");
    hear_nothing(f);
    say(f, "{\"id\":5,\"presence_stats\":{\"channel\":\"room:a\"}}");
    hear_error(f, 5, 111);
    assert_int_equal(f->request_count, 63 + 16);
}

static void the_backend_may_change_what_is_published_or_refuse_it(void **state)
{
    struct fake *f = *state;
    fake_backend(f, 1u << PROXY_PUBLISH);
    fake_connect_user(f);
    static const char body[] = ",\"user\":\"anna\",\"channel\":\"users:a\",\"data\":{\"a\": [1]}";
    say(f, PUBLISH("news"));
    hear_error(f, 5, 103); /* not even asked */
    say(f, PUBLISH("users:a"));
    asked_nothing(f);
    backend_says(f, called(f, PROXY_PUBLISH, body), "{\"result\":{}}");
    struct broker_request *request = asked(f, BROKER_PUBLISH, "users:a");
    assert_text(request->payload, "{\"a\": [1]}");
    answer(f, request);
    hear(f, "{\"id\":5,\"publish\":{}}");
    say(f, PUBLISH("users:a"));
    backend_says(f, called(f, PROXY_PUBLISH, body),
                 "{\"result\":{\"data\":{\"b\":2},\"skip_history\":true,\"tags\":{\"t\":\"1\"}}}");
    request = asked(f, BROKER_PUBLISH, "users:a");
    assert_text(request->payload, "{\"b\":2}");
    assert_text(request->tags, "{\"t\":\"1\"}");
    assert_true(request->skip_history);
    answer(f, request);
    hear(f, "{\"id\":5,\"publish\":{}}");
    say(f, PUBLISH("users:a"));
    backend_says(f, called(f, PROXY_PUBLISH, body), "{\"error\":{\"code\":500,\"message\":\"spam\"}}");
    hear(f, "{\"id\":5,\"error\":{\"code\":500,\"message\":\"spam\"}}");
    say(f, PUBLISH("users:a"));
    backend_fails(f, called(f, PROXY_PUBLISH, body), PROXY_UNREACHABLE);
    hear_error(f, 5, 100);
    asked_nothing(f);
}

/* Presence
 * ------------------------------------------------------------------------------------------------------ */

static void presence_is_passed_on_as_the_broker_wrote_it(void **state)
{
    struct fake *f = *state;
    fake_connect(f);
    say(f, "{\"id\":5,\"presence\":{\"channel\":\"room:a\"}}\n{\"id\":6,\"presence_stats\":{\"channel\":"
           "\"room:a\"}}");
    struct broker_request *request = asked(f, BROKER_PRESENCE, "room:a");
    request->json = strdup("{\"x\":{\"user\":\"u\",\"client\":\"x\"}}");
    request->json_bytes = strlen(request->json);
    answer(f, request);
    hear(f, "{\"id\":5,\"presence\":{\"presence\":{\"x\":{\"user\":\"u\",\"client\":\"x\"}}}}");
    request = asked(f, BROKER_PRESENCE_STATS, "room:a");
    request->clients = 3;
    request->users = 2;
    answer(f, request);
    hear(f, "{\"id\":6,\"presence_stats\":{\"num_clients\":3,\"num_users\":2}}");
}

static void presence_that_is_not_kept_is_not_available(void **state)
{
    struct fake *f = *state;
    fake_connect(f);
    say(f, "{\"id\":5,\"presence\":{\"channel\":\"news\"}}");
    hear_error(f, 5, 108);
    say(f, "{\"id\":5,\"presence_stats\":{\"channel\":\"news\"}}");
    hear_error(f, 5, 108);
    say(f, "{\"id\":5,\"presence\":{\"channel\":\"room:a\"}}");
    answer_failed(f, BROKER_PRESENCE, "room:a", BROKER_NOT_KEPT);
    hear_error(f, 5, 108);
    say(f, "{\"id\":5,\"presence\":{\"channel\":\"room:a\"}}");
    answer_failed(f, BROKER_PRESENCE, "room:a", BROKER_NO_MEMORY);
    hear_error(f, 5, 100);
}

static void more_presence_than_a_client_can_take_is_an_error(void **state)
{
    struct fake *f = *state;
    f->settings.limits.outbox_bytes = 1024;
    fake_connect(f);
    say(f, "{\"id\":5,\"presence\":{\"channel\":\"room:a\"}}");
    struct broker_request *request = asked(f, BROKER_PRESENCE, "room:a");
    request->json = calloc(1, 1000);
    memset(request->json, ' ', 1000);
    memcpy(request->json, "{}", 2);
    request->json_bytes = 1000;
    answer(f, request);
    hear_error(f, 5, 106);
}

static void who_may_not_subscribe_may_not_look(void **state)
{
    struct fake *f = *state;
    static const char *const methods[] = {"presence", "presence_stats", "history"};
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        char secret[128], users[128];
        snprintf(secret, sizeof secret, "{\"id\":5,\"%s\":{\"channel\":\"secret:a\"}}", methods[i]);
        snprintf(users, sizeof users, "{\"id\":5,\"%s\":{\"channel\":\"users:a\"}}", methods[i]);
        fake_connect(f);
        say(f, secret);
        hear_error(f, 5, 103);
        say(f, users);
        hear_error(f, 5, 103);
        asked_nothing(f);
        fake_end(f);
        fake_connect_user(f);
        say(f, secret);
        hear_error(f, 5, 103);
        say_token(f, "{\"id\":2,\"subscribe\":{\"channel\":\"secret:a\",\"token\":\"%s\"}}",
                  "\"sub\":\"anna\",\"channel\":\"secret:a\"");
        answer_ok(f, BROKER_SUBSCRIBE, "secret:a");
        hear(f, "{\"id\":2,\"subscribe\":{}}");
        say(f, secret);
        hear_nothing(f);
        assert_int_equal(f->request_count, 1);
        say(f, users);
        if (strcmp(methods[i], "history") == 0)
            hear_error(f, 5, 108);
        else
            assert_int_equal(f->request_count, 2);
        fake_end(f);
    }
}

static void where_the_backend_decides_only_subscribers_may_look(void **state)
{
    struct fake *f = *state;
    fake_backend(f, 1u << PROXY_SUBSCRIBE);
    fake_connect(f);
    say(f, "{\"id\":5,\"presence\":{\"channel\":\"room:a\"}}");
    hear_error(f, 5, 103);
    say(f, "{\"id\":2,\"subscribe\":{\"channel\":\"room:a\"}}");
    backend_says(f, called(f, PROXY_SUBSCRIBE, ",\"user\":\"\",\"channel\":\"room:a\""), "{\"result\":{}}");
    answer_ok(f, BROKER_SUBSCRIBE, "room:a");
    hear(f, "{\"id\":2,\"subscribe\":{}}");
    say(f, "{\"id\":5,\"presence\":{\"channel\":\"room:a\"}}");
    hear_nothing(f);
}

/* History
 * ------------------------------------------------------------------------------------------------------- */

static struct broker_request *ask_history(struct fake *f, const char *options)
{
    char message[256];
    snprintf(message, sizeof message, "{\"id\":5,\"history\":{\"channel\":\"kept:a\"%s}}", options);
    say(f, message);
    return asked(f, BROKER_HISTORY, "kept:a");
}

static void history_is_asked_for_as_the_client_says(void **state)
{
    struct fake *f = *state;
    static const struct {
        const char *options;
        uint32_t limit;
        bool since_set, reverse;
        uint64_t offset, epoch;
    } cases[] = {
        {"", 0, false, false, 0, 0},
        {",\"limit\":7", 7, false, false, 0, 0},
        {",\"limit\":300", 300, false, false, 0, 0},
        {",\"limit\":301", 300, false, false, 0, 0},
        {",\"limit\":-1,\"reverse\":true", 300, false, true, 0, 0},
        {",\"limit\":2,\"since\":{\"offset\":9}", 2, true, false, 9, 0},
        {",\"limit\":2,\"since\":{\"offset\":9,\"epoch\":\"" EPOCH_TEXT "\"},\"reverse\":true", 2, true, true,
         9, EPOCH},
    };
    fake_connect(f);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct broker_request *request = ask_history(f, cases[i].options);
        assert_int_equal(request->limit, cases[i].limit);
        assert_int_equal(request->since_set, cases[i].since_set);
        assert_int_equal(request->reverse, cases[i].reverse);
        assert_int_equal(request->since.offset, cases[i].offset);
        assert_int_equal(request->since.epoch, cases[i].epoch);
        answer_page(request, 3, NULL);
        answer(f, request);
        hear(f, "{\"id\":5,\"history\":{\"publications\":[],\"epoch\":\"" EPOCH_TEXT "\",\"offset\":3}}");
    }
}

static void history_has_what_was_published(void **state)
{
    struct fake *f = *state;
    fake_connect(f);
    struct broker_request *request = ask_history(f, ",\"limit\":-1");
    answer_page(request, 3, (const char *const[]){"{\"n\":1}", "two", NULL});
    answer(f, request);
    hear(f, "{\"id\":5,\"history\":{\"publications\":[{\"data\":{\"n\":1},\"offset\":2},{\"data\":\"two\","
            "\"offset\":3}],"
            "\"epoch\":\"" EPOCH_TEXT "\",\"offset\":3}}");
}

static void a_position_that_history_does_not_reach_is_unrecoverable(void **state)
{
    struct fake *f = *state;
    fake_connect(f);
    say(f,
        "{\"id\":5,\"history\":{\"channel\":\"kept:a\",\"since\":{\"offset\":1,\"epoch\":\"elsewhere\"}}}");
    hear_error(f, 5, 112);
    asked_nothing(f);
    struct broker_request *request = ask_history(f, ",\"since\":{\"offset\":1}");
    answer_page(request, 30, NULL);
    request->continuous = false;
    answer(f, request);
    hear_error(f, 5, 112);
}

static void history_that_is_not_kept_is_not_available(void **state)
{
    struct fake *f = *state;
    fake_connect(f);
    say(f, "{\"id\":5,\"history\":{\"channel\":\"news\"}}");
    hear_error(f, 5, 108);
    struct broker_request *request = ask_history(f, "");
    request->result = BROKER_NOT_KEPT;
    answer(f, request);
    hear_error(f, 5, 108);
    request = ask_history(f, "");
    request->result = BROKER_NO_MEMORY;
    answer(f, request);
    hear_error(f, 5, 100);
}

static void a_page_is_made_as_short_as_the_client_can_take_it(void **state)
{
    struct fake *f = *state;
    char large[301] = "\"";
    memset(large + 1, 'a', 298);
    large[299] = '"';
    large[300] = '\0';
    f->settings.limits.outbox_bytes = 1600; /* of which a reply may take 800 */
    fake_connect(f);
    struct broker_request *request = ask_history(f, ",\"limit\":5");
    answer_page(request, 5, (const char *const[]){large, large, large, large, large, NULL});
    answer(f, request);
    assert_int_equal(f->frame_count, 1);
    assert_non_null(strstr(f->frames[0], "\"offset\":1},{"));
    assert_non_null(strstr(f->frames[0], "\"offset\":2}],"));
    free(f->frames[--f->frame_count]);
    f->settings.limits.outbox_bytes = 400;
    request = ask_history(f, ",\"limit\":5");
    answer_page(request, 2, (const char *const[]){large, large, NULL});
    answer(f, request);
    hear_error(f, 5, 106);
}

/* Calls
 * ----------------------------------------------------------------------------------------------------------
 */

static void calls_go_to_the_backend_and_back(void **state)
{
    struct fake *f = *state;
    fake_connect(f);
    say(f, "{\"id\":5,\"rpc\":{\"method\":\"m\",\"data\":1}}");
    hear_error(f, 5, 108);
    fake_end(f);
    fake_backend(f, 1u << PROXY_RPC);
    fake_connect_user(f);
    say(f, "{\"id\":5,\"rpc\":{\"method\":\"m\",\"data\":[1]}}\n{\"id\":6,\"rpc\":{}}");
    struct proxy_request *first = called(f, PROXY_RPC, ",\"user\":\"anna\",\"method\":\"m\",\"data\":[1]");
    backend_says(f, called(f, PROXY_RPC, ",\"user\":\"anna\""), "{\"result\":{}}");
    hear(f, "{\"id\":6,\"rpc\":{}}");
    backend_says(f, first, "{\"result\":{\"data\":{\"r\":1}}}");
    hear(f, "{\"id\":5,\"rpc\":{\"data\":{\"r\":1}}}");
    say(f, "{\"id\":7,\"rpc\":{\"method\":\"m\"}}");
    backend_says(f, called(f, PROXY_RPC, ",\"user\":\"anna\",\"method\":\"m\""),
                 "{\"error\":{\"code\":404,\"message\":\"no m\"}}");
    hear(f, "{\"id\":7,\"error\":{\"code\":404,\"message\":\"no m\"}}");
    say(f, "{\"id\":8,\"rpc\":{\"method\":\"m\"}}");
    backend_fails(f, called(f, PROXY_RPC, ",\"user\":\"anna\",\"method\":\"m\""), PROXY_BUSY);
    hear_error(f, 8, 100);
    say(f, "{\"id\":9,\"rpc\":{\"method\":\"m\"}}");
    backend_says(f, called(f, PROXY_RPC, ",\"user\":\"anna\",\"method\":\"m\""),
                 "{\"disconnect\":{\"code\":4999,\"reason\":\"out\"}}");
    hear_close(f, 4999, "out");
}

static void more_than_a_client_can_take_from_the_backend_is_an_error(void **state)
{
    struct fake *f = *state;
    fake_backend(f, 1u << PROXY_RPC);
    f->settings.limits.outbox_bytes = 200;
    fake_open_as(f, NULL);
    say(f, "{\"id\":1,\"connect\":{}}");
    free(f->frames[--f->frame_count]);
    say(f, "{\"id\":5,\"rpc\":{}}");
    char body[400];
    snprintf(body, sizeof body, "{\"result\":{\"data\":\"%0200d\"}}", 1);
    backend_says(f, called(f, PROXY_RPC, ",\"user\":\"\""), body);
    hear_error(f, 5, 106);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fake_set_up, fake_tear_down)
    const struct CMUnitTest tests[] = {
        T(clients_publish_where_the_rule_lets_them),
        T(whose_subscription_is_on_its_way_may_publish_behind_it),
        T(a_publication_says_who_made_it),
        T(a_publication_without_data_is_a_bad_request),
        T(what_the_broker_refuses_is_told),
        T(unanswered_requests_are_bounded),
        T(questions_about_a_topic_weigh_more_than_other_requests),
        T(the_backend_may_change_what_is_published_or_refuse_it),
        T(presence_is_passed_on_as_the_broker_wrote_it),
        T(presence_that_is_not_kept_is_not_available),
        T(more_presence_than_a_client_can_take_is_an_error),
        T(who_may_not_subscribe_may_not_look),
        T(where_the_backend_decides_only_subscribers_may_look),
        T(history_is_asked_for_as_the_client_says),
        T(history_has_what_was_published),
        T(a_position_that_history_does_not_reach_is_unrecoverable),
        T(history_that_is_not_kept_is_not_available),
        T(a_page_is_made_as_short_as_the_client_can_take_it),
        T(calls_go_to_the_backend_and_back),
        T(more_than_a_client_can_take_from_the_backend_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
