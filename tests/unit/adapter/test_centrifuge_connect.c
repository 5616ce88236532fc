/* The command connect: tokens, what the upgrade request has said, the backend, nobody; and what waits for it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/adapter/centrifuge_fixture.h"

#define CLIENT_AND_VERSION "\"client\":\"" CLIENT "\",\"version\":\"pushgate " PUSHGATE_VERSION "\""

static void assert_user(const struct fake *f, const char *user, const char *info)
{
    struct broker_ask who = {0};
    adapter_centrifuge.who(&f->session, "a", 1, &who);
    assert_int_equal(who.user.bytes, strlen(user));
    assert_memory_equal(who.user.data ? who.user.data : "", user, strlen(user));
    assert_int_equal(who.conn_info.bytes, strlen(info));
    assert_memory_equal(who.conn_info.data ? who.conn_info.data : "", info, strlen(info));
}

/* Tokens
 * -------------------------------------------------------------------------------------------------------- */

static void a_token_says_who_the_client_is_and_how_long(void **state)
{
    struct fake *f = *state;
    fake_keys(f);
    fake_open_as(f, NULL);
    say_token(f, "{\"id\":1,\"connect\":{\"token\":\"%s\",\"name\":\"js\"}}",
              "\"sub\":\"anna\",\"info\":{\"n\":1},\"exp\":1700000100");
    hear(f, "{\"id\":1,\"connect\":{" CLIENT_AND_VERSION
            ",\"expires\":true,\"ttl\":100,\"ping\":25,\"pong\":true}}");
    assert_true(f->session.authenticated);
    assert_user(f, "anna", "{\"n\":1}");
    assert_int_equal(f->deadline, 125000);
}

static void a_token_without_user_is_anonymous(void **state)
{
    struct fake *f = *state;
    fake_keys(f);
    fake_open_as(f, NULL);
    say_token(f, "{\"id\":1,\"connect\":{\"token\":\"%s\"}}", "\"iat\":1");
    hear(f, CONNECTED);
    assert_false(f->session.authenticated);
    assert_null(f->session.more);
}

static void an_invalid_token_ends_the_connection(void **state)
{
    struct fake *f = *state;
    fake_open_as(f, NULL);
    say(f, "{\"id\":1,\"connect\":{\"token\":\"a.b.c\"}}"); /* no keys at all */
    hear_close(f, 3500, "invalid token");
    fake_end(f);
    fake_keys(f);
    static const char *const tokens[] = {
        "x", "a.b.c", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"};
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        char message[256];
        fake_open_as(f, NULL);
        snprintf(message, sizeof message, "{\"id\":1,\"connect\":{\"token\":\"%s\"}}", tokens[i]);
        say(f, message);
        hear_close(f, 3500, "invalid token");
        fake_end(f);
    }
    fake_open_as(f, NULL); /* a subscription's token is none of a connection */
    say_token(f, "{\"id\":1,\"connect\":{\"token\":\"%s\"}}", "\"sub\":\"anna\",\"channel\":\"a\"");
    hear_close(f, 3500, "invalid token");
}

static void an_expired_token_is_told_and_a_fresh_one_is_taken(void **state)
{
    struct fake *f = *state;
    fake_keys(f);
    fake_open_as(f, NULL);
    say_token(f, "{\"id\":1,\"connect\":{\"token\":\"%s\"}}\n{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}",
              "\"sub\":\"anna\",\"exp\":1699999999");
    hear_error(f, 1, 109);
    hear_nothing(f); /* what came with it is void, and no reason to hang up */
    assert_int_equal(f->close_code, 0);
    assert_false(f->session.connected);
    assert_int_equal(f->deadline, 10000);
    say_token(f, "{\"id\":1,\"connect\":{\"token\":\"%s\"}}", "\"sub\":\"anna\"");
    hear(f, CONNECTED);
    assert_user(f, "anna", "");
}

static void without_a_token_it_is_as_the_settings_say(void **state)
{
    struct fake *f = *state;
    f->settings.auth.anonymous = false;
    fake_open_as(f, NULL);
    say(f, "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"ping\":{}}");
    hear_error(f, 1, 101);
    hear_nothing(f);
    assert_int_equal(f->close_code, 0);
    say(f, "{\"id\":3,\"ping\":{}}");
    hear_close(f, 3501, "bad request");
}

/* The upgrade request
 * ------------------------------------------------------------------------------------------- */

static const struct identity known = {
    .known = true,
    .expires_at = NOW + 50,
    .user = {"bert", 4},
    .info = {"{\"b\":2}", 7},
    .channels = {"\x04news\x05sport", 11},
    .channel_count = 2,
};

static void the_upgrade_request_may_have_said_it_all(void **state)
{
    struct fake *f = *state;
    f->settings.auth.anonymous = false;
    fake_open_as(f, &known);
    say(f, "{\"id\":1,\"connect\":{}}");
    hear_nothing(f);
    answer_ok(f, BROKER_SUBSCRIBE, "news");
    answer_ok(f, BROKER_SUBSCRIBE, "sport");
    hear(f, "{\"id\":1,\"connect\":{" CLIENT_AND_VERSION
            ",\"expires\":true,\"ttl\":50,\"subs\":{\"news\":{},\"sport\":{}},\"ping\":25,\"pong\":true}}");
    assert_user(f, "bert", "{\"b\":2}");
    assert_int_equal(f->deadline, 75000);
}

static void an_identity_that_expired_meanwhile_is_refused(void **state)
{
    struct fake *f = *state;
    fake_open_as(f, &known);
    f->link.now_s = NOW + 50;
    say(f, "{\"id\":1,\"connect\":{}}");
    hear_error(f, 1, 109);
    asked_nothing(f);
}

static void a_token_of_its_own_comes_before_the_upgrade_request(void **state)
{
    struct fake *f = *state;
    fake_keys(f);
    fake_open_as(f, &known);
    say_token(f, "{\"id\":1,\"connect\":{\"token\":\"%s\"}}", "\"sub\":\"anna\"");
    hear(f, CONNECTED);
    assert_user(f, "anna", "");
    assert_int_equal(f->deadline, 0);
}

static void an_identity_that_cannot_be_read_is_none(void **state)
{
    struct fake *f = *state;
    f->session = (struct session){0};
    adapter_centrifuge.opened(&f->link, "garbage", 7);
    f->settings.auth.anonymous = false;
    say(f, "{\"id\":1,\"connect\":{}}");
    hear_error(f, 1, 101);
}

/* The backend
 * ----------------------------------------------------------------------------------------------------- */

static void the_backend_is_asked_who_a_client_without_token_is(void **state)
{
    struct fake *f = *state;
    fake_backend(f, 1u << PROXY_CONNECT);
    f->settings.auth.anonymous = false;
    fake_open_as(f, NULL);
    say(f, "{\"id\":1,\"connect\":{\"name\":\"js\",\"version\":\"1\",\"data\":{\"room\": 7}}}");
    hear_nothing(f);
    assert_true(f->session.waiting);
    backend_says(f, called(f, PROXY_CONNECT, ",\"name\":\"js\",\"version\":\"1\",\"data\":{\"room\": 7}"),
                 "{\"result\":{\"user\":\"carl\",\"info\":{\"c\":3},\"data\":{\"hello\":1},\"expire_at\":"
                 "1700000060}}");
    /* The client is not told that it expires: the backend will be asked again. */
    hear(f,
         "{\"id\":1,\"connect\":{" CLIENT_AND_VERSION ",\"data\":{\"hello\":1},\"ping\":25,\"pong\":true}}");
    assert_user(f, "carl", "{\"c\":3}");
    assert_true(f->session.authenticated);
    assert_int_equal(f->deadline, 60000);
}

static void a_token_or_an_upgrade_identity_needs_no_backend(void **state)
{
    struct fake *f = *state;
    fake_backend(f, 1u << PROXY_CONNECT);
    fake_connect_user(f);
    fake_end(f);
    struct identity identity = {.known = true, .user = {"bert", 4}};
    fake_open_as(f, &identity);
    say(f, "{\"id\":1,\"connect\":{}}");
    hear(f, CONNECTED);
    assert_int_equal(f->hook_count, 0);
}

static void headers_of_the_upgrade_go_to_the_backend(void **state)
{
    struct fake *f = *state;
    static const char lines[] = "Cookie: a=b\r\n";
    struct identity identity = {.headers = {lines, sizeof lines - 1}};
    fake_backend(f, 1u << PROXY_CONNECT | 1u << PROXY_RPC);
    fake_open_as(f, &identity);
    say(f, "{\"id\":1,\"connect\":{}}");
    struct proxy_request *request = called(f, PROXY_CONNECT, "");
    assert_int_equal(request->headers.len, sizeof lines - 1);
    assert_memory_equal(request->headers.data, lines, sizeof lines - 1);
    backend_says(f, request, "{\"result\":{\"user\":\"carl\",\"meta\":{\"m\":1}}}");
    hear(f, CONNECTED);
    say(f, "{\"id\":2,\"rpc\":{\"method\":\"m\"}}");
    request = called(f, PROXY_RPC, ",\"user\":\"carl\",\"meta\":{\"m\":1},\"method\":\"m\"");
    assert_int_equal(request->headers.len, sizeof lines - 1);
    backend_says(f, request, "{\"result\":{}}");
    hear(f, "{\"id\":2,\"rpc\":{}}");
}

static void the_backend_may_refuse_with_an_error_or_a_disconnect(void **state)
{
    struct fake *f = *state;
    fake_backend(f, 1u << PROXY_CONNECT);
    fake_open_as(f, NULL);
    say(f, "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"ping\":{}}");
    backend_says(f, called(f, PROXY_CONNECT, ""), "{\"error\":{\"code\":1000,\"message\":\"not today\"}}");
    hear(f, "{\"id\":1,\"error\":{\"code\":1000,\"message\":\"not today\"}}");
    hear_nothing(f);
    assert_false(f->session.waiting);
    say(f, "{\"id\":3,\"connect\":{}}");
    backend_says(f, called(f, PROXY_CONNECT, ""), "{\"disconnect\":{\"code\":4500,\"reason\":\"banned\"}}");
    hear_close(f, 4500, "banned");
}

static void a_backend_that_does_not_answer_is_an_internal_error(void **state)
{
    struct fake *f = *state;
    static const enum proxy_outcome outcomes[] = {PROXY_TIMEOUT,  PROXY_UNREACHABLE, PROXY_BAD_STATUS,
                                                  PROXY_BAD_BODY, PROXY_BUSY,        PROXY_STOPPED};
    fake_backend(f, 1u << PROXY_CONNECT);
    fake_open_as(f, NULL);
    for (size_t i = 0; i < sizeof outcomes / sizeof *outcomes; i++) {
        say(f, "{\"id\":1,\"connect\":{}}");
        backend_fails(f, called(f, PROXY_CONNECT, ""), outcomes[i]);
        hear_error(f, 1, 100);
        assert_int_equal(f->close_code, 0);
    }
}

static void the_backend_may_name_topics_with_info_data_and_expiry(void **state)
{
    struct fake *f = *state;
    fake_backend(f, 1u << PROXY_CONNECT);
    fake_open_as(f, NULL);
    say(f,
        "{\"id\":1,\"connect\":{\"subs\":{\"stream:a\":{\"recover\":true,\"offset\":3,\"epoch\":\"" EPOCH_TEXT
        "\"}}}}");
    backend_says(
        f, called(f, PROXY_CONNECT, ",\"channels\":[\"stream:a\"]"),
        "{\"result\":{\"user\":\"carl\",\"channels\":[\"stream:a\"],\"subs\":{\"news\":{\"info\":{\"i\":1},"
        "\"data\":[1],\"expire_at\":1700000030}}}}");
    struct broker_request *request = asked(f, BROKER_SUBSCRIBE, "news");
    assert_int_equal(request->flags, SUBSCRIPTION_SERVER);
    assert_int_equal(request->chan_info.bytes, 7);
    answer(f, request);
    request = asked(f, BROKER_HISTORY, "stream:a");
    assert_true(request->since_set);
    assert_int_equal(request->since.offset, 3);
    assert_int_equal(request->since.epoch, EPOCH);
    answer_page(request, 5, (const char *const[]){"4", "5", NULL});
    answer(f, request);
    hear(f, "{\"id\":1,\"connect\":{" CLIENT_AND_VERSION
            ",\"subs\":{\"news\":{\"data\":[1]},\"stream:a\":{\"recoverable\":true,\"epoch\":\"" EPOCH_TEXT
            "\",\"publications\":[{\"data\":4,\"offset\":4},{\"data\":5,\"offset\":5}],\"recovered\":true,"
            "\"offset\":5,\"positioned\":true,\"was_recovering\":true}},\"ping\":25,\"pong\":true}}");
    assert_int_equal(f->deadline, 30000);
}

static void topics_of_the_backend_with_names_that_none_has_are_an_error(void **state)
{
    struct fake *f = *state;
    fake_backend(f, 1u << PROXY_CONNECT);
    fake_open_as(f, NULL);
    say(f, "{\"id\":1,\"connect\":{}}");
    backend_says(f, called(f, PROXY_CONNECT, ""), "{\"result\":{\"user\":\"c\",\"channels\":[\"a\\nb\"]}}");
    hear_error(f, 1, 100);
    asked_nothing(f);
}

/* What waits
 * ------------------------------------------------------------------------------------------------------ */

static void commands_behind_connect_wait_for_it(void **state)
{
    struct fake *f = *state;
    fake_backend(f, 1u << PROXY_CONNECT);
    fake_open_as(f, NULL);
    say(f, "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}\n");
    say(f, "{\"id\":3,\"ping\":{}}");
    say(f, "{\"id\":4,\"ping\":{}}\n\n");
    hear_nothing(f);
    asked_nothing(f);
    backend_says(f, called(f, PROXY_CONNECT, ""), "{\"result\":{\"user\":\"\"}}");
    hear(f, CONNECTED "\n{\"id\":3,\"ping\":{}}\n{\"id\":4,\"ping\":{}}");
    answer_ok(f, BROKER_SUBSCRIBE, "a");
    hear(f, "{\"id\":2,\"subscribe\":{}}");
    assert_null(f->session.more);
}

static void a_second_connect_that_waits_is_one_too_many(void **state)
{
    struct fake *f = *state;
    fake_backend(f, 1u << PROXY_CONNECT);
    fake_open_as(f, NULL);
    say(f, "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"connect\":{}}");
    backend_says(f, called(f, PROXY_CONNECT, ""), "{\"result\":{\"user\":\"\"}}");
    hear(f, CONNECTED);
    hear_close(f, 3501, "bad request");
}

static void what_waits_is_bounded(void **state)
{
    struct fake *f = *state;
    static char message[40 * 1024 + 1];
    snprintf(message, sizeof message, "%-*s", 40 * 1024, "{\"id\":2,\"ping\":{}}");
    fake_backend(f, 1u << PROXY_CONNECT);
    fake_open_as(f, NULL);
    say(f, "{\"id\":1,\"connect\":{}}");
    say(f, message);
    assert_int_equal(f->close_code, 0);
    say(f, message);
    hear_close(f, 3013, "too many requests");
}

static void whoever_waits_too_long_for_us_may_come_back(void **state)
{
    struct fake *f = *state;
    fake_backend(f, 1u << PROXY_CONNECT);
    fake_open_as(f, NULL);
    say(f, "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"ping\":{}}");
    assert_int_equal(f->deadline, 10000);
    adapter_centrifuge.expired(&f->link);
    hear_close(f, 3004, "internal server error");
}

/* The server's subscriptions
 * ------------------------------------------------------------------------------------ */

static void connect_with_channels(struct fake *f, const char *channels, const char *subs)
{
    char claims[512], format[512];
    fake_keys(f);
    fake_open_as(f, NULL);
    snprintf(claims, sizeof claims, "\"sub\":\"anna\",\"channels\":[%s]", channels);
    snprintf(format, sizeof format, "{\"id\":1,\"connect\":{\"token\":\"%%s\"%s}}", subs);
    say_token(f, format, claims);
}

static void a_tokens_topics_are_joined_before_the_reply(void **state)
{
    struct fake *f = *state;
    connect_with_channels(f, "\"room:a\",\"b\",\"b\"", "");
    struct broker_request *request = asked(f, BROKER_SUBSCRIBE, "room:a");
    assert_int_equal(request->flags, SUBSCRIPTION_SERVER | SUBSCRIPTION_PRESENT | SUBSCRIPTION_ANNOUNCED |
                                         SUBSCRIPTION_JOIN_LEAVE);
    assert_int_equal(request->user.bytes, 4);
    struct broker_request *second = asked(f, BROKER_SUBSCRIBE, "b");
    asked_nothing(f);
    answer(f, second); /* in any order */
    hear_nothing(f);
    assert_false(f->session.connected);
    answer(f, request);
    hear(f, "{\"id\":1,\"connect\":{" CLIENT_AND_VERSION
            ",\"subs\":{\"room:a\":{},\"b\":{}},\"ping\":25,\"pong\":true}}");
    assert_true(f->session.connected);
    say(f, "{\"id\":2,\"subscribe\":{\"channel\":\"b\"}}");
    hear_error(f, 2, 105);
}

/* Published between the position in the reply and the joining: comes as pushes, once and in order. */
static void topics_with_recovery_are_joined_behind_the_reply_from_its_position(void **state)
{
    struct fake *f = *state;
    connect_with_channels(f, "\"stream:a\"", "");
    struct broker_request *request = asked(f, BROKER_HISTORY, "stream:a");
    assert_false(request->since_set);
    assert_int_equal(request->limit, 0);
    answer_page(request, 7, NULL);
    answer(f, request);
    hear(f, "{\"id\":1,\"connect\":{" CLIENT_AND_VERSION
            ",\"subs\":{\"stream:a\":{\"recoverable\":true,\"epoch\":\"" EPOCH_TEXT
            "\",\"offset\":7,\"positioned\":true}},\"ping\":25,\"pong\":true}}");
    request = asked(f, BROKER_SUBSCRIBE, "stream:a");
    assert_int_equal(request->flags, SUBSCRIPTION_SERVER | SUBSCRIPTION_POSITIONED);
    assert_true(request->since_set);
    assert_int_equal(request->since.offset, 7);
    assert_int_equal(request->since.epoch, EPOCH);
    answer_page(request, 9, (const char *const[]){"\"eight\"", "nine", NULL});
    answer(f, request);
    hear(f, "{\"push\":{\"channel\":\"stream:a\",\"pub\":{\"data\":\"eight\",\"offset\":8}}}\n"
            "{\"push\":{\"channel\":\"stream:a\",\"pub\":{\"data\":\"nine\",\"offset\":9}}}");
    assert_int_equal(f->close_code, 0);
}

static void a_gap_before_the_joining_makes_the_client_come_back(void **state)
{
    struct fake *f = *state;
    connect_with_channels(f, "\"stream:a\"", "");
    struct broker_request *request = asked(f, BROKER_HISTORY, "stream:a");
    answer_page(request, 7, NULL);
    answer(f, request);
    free(f->frames[--f->frame_count]);
    request = asked(f, BROKER_SUBSCRIBE, "stream:a");
    answer_page(request, 90, NULL);
    request->recovered = false;
    answer(f, request);
    hear_close(f, 3010, "insufficient state");
}

static void a_position_that_is_lost_is_told(void **state)
{
    struct fake *f = *state;
    connect_with_channels(f, "\"stream:a\",\"stream:b\"",
                          ",\"subs\":{\"stream:a\":{\"recover\":true,\"offset\":3,\"epoch\":\"other\"},"
                          "\"stream:b\":{\"recover\":true,\"offset\":3},\"elsewhere\":{\"recover\":true}}");
    struct broker_request *request = asked(f, BROKER_HISTORY, "stream:a");
    assert_false(request->since_set); /* an epoch that is none of ours */
    answer_page(request, 7, NULL);
    answer(f, request);
    request = asked(f, BROKER_HISTORY, "stream:b");
    assert_true(request->since_set);
    answer_page(request, 7, NULL);
    request->recovered = false;
    answer(f, request);
    hear(f, "{\"id\":1,\"connect\":{" CLIENT_AND_VERSION ",\"subs\":{"
            "\"stream:a\":{\"recoverable\":true,\"epoch\":\"" EPOCH_TEXT
            "\",\"offset\":7,\"positioned\":true,\"was_recovering\":true},"
            "\"stream:b\":{\"recoverable\":true,\"epoch\":\"" EPOCH_TEXT
            "\",\"offset\":7,\"positioned\":true,\"was_recovering\":true}},\"ping\":25,\"pong\":true}}");
}

static void missed_publications_that_are_too_many_bytes_are_not_recovered(void **state)
{
    struct fake *f = *state;
    f->settings.limits.outbox_bytes = 2000;
    connect_with_channels(f, "\"stream:a\"", ",\"subs\":{\"stream:a\":{\"recover\":true,\"offset\":1}}");
    struct broker_request *request = asked(f, BROKER_HISTORY, "stream:a");
    char large[801] = "\"";
    memset(large + 1, 'a', 799);
    large[799] = '"';
    answer_page(request, 3, (const char *const[]){large, large, NULL});
    answer(f, request);
    hear(f, "{\"id\":1,\"connect\":{" CLIENT_AND_VERSION ",\"subs\":{"
            "\"stream:a\":{\"recoverable\":true,\"epoch\":\"" EPOCH_TEXT
            "\",\"offset\":3,\"positioned\":true,\"was_recovering\":true}},\"ping\":25,\"pong\":true}}");
}

static void a_topic_that_is_full_fails_connect_and_leaves_no_other_behind(void **state)
{
    struct fake *f = *state;
    connect_with_channels(f, "\"a\",\"b\",\"stream:c\"", "");
    answer_ok(f, BROKER_SUBSCRIBE, "a");
    answer_failed(f, BROKER_SUBSCRIBE, "b", BROKER_FULL);
    hear_error(f, 1, 106);
    assert_int_equal(f->sub_count, 0);
    assert_false(f->session.waiting);
    assert_false(f->session.connected);
    answer_ok(f, BROKER_HISTORY, "stream:c"); /* of no use any more */
    hear_nothing(f);
    say_token(f, "{\"id\":2,\"connect\":{\"token\":\"%s\"}}", "\"sub\":\"anna\"");
    assert_int_equal(f->frame_count, 1);
    assert_true(f->session.connected);
}

static void no_room_for_a_topic_fails_connect_too(void **state)
{
    struct fake *f = *state;
    f->full = true;
    connect_with_channels(f, "\"stream:c\",\"a\"", "");
    hear_error(f, 1, 106);
    assert_false(f->session.waiting);
    assert_false(f->session.connected);
    assert_int_equal(f->close_code, 0);
    answer_ok(f, BROKER_HISTORY, "stream:c"); /* of no use any more */
    hear_nothing(f);
    say_token(f, "{\"id\":2,\"connect\":{\"token\":\"%s\"}}", "\"sub\":\"anna\"");
    assert_int_equal(f->frame_count, 1);
    assert_true(f->session.connected);
}

static void a_topic_without_history_by_now_is_joined_all_the_same(void **state)
{
    struct fake *f = *state;
    connect_with_channels(f, "\"stream:a\"", "");
    answer_failed(f, BROKER_HISTORY, "stream:a", BROKER_NOT_KEPT);
    hear(f, "{\"id\":1,\"connect\":{" CLIENT_AND_VERSION
            ",\"subs\":{\"stream:a\":{}},\"ping\":25,\"pong\":true}}");
    struct broker_request *request = asked(f, BROKER_SUBSCRIBE, "stream:a");
    assert_false(request->since_set);
    answer(f, request);
    hear_nothing(f);
    assert_int_equal(f->close_code, 0);
}

/* While too much is on its way, connect is refused, and not a client that is connected. */
static void only_what_stands_before_the_reply_may_be_told_to_come_again(void **state)
{
    struct fake *f = *state;
    fake_rule(f,
              (struct topic_rule){.name = "told:*", .history_size = 10, .recover = true, .join_leave = true});
    connect_with_channels(f, "\"a\",\"stream:a\",\"chat:a\"", "");
    struct broker_request *request = asked(f, BROKER_SUBSCRIBE, "a");
    assert_false(request->promised);
    answer(f, request);
    request = asked(f, BROKER_HISTORY, "stream:a");
    assert_int_equal(request->flags, 0);
    answer(f, request);
    request = asked(f, BROKER_HISTORY, "chat:a");
    assert_int_equal(request->flags, SUBSCRIPTION_ANNOUNCED);
    answer(f, request);
    free(f->frames[--f->frame_count]);
    static const char *const behind[] = {"stream:a", "chat:a"};
    for (size_t i = 0; i < 2; i++) {
        request = asked(f, BROKER_SUBSCRIBE, behind[i]);
        assert_true(request->promised);
        answer(f, request);
    }
    hear_nothing(f);
    assert_int_equal(f->close_code, 0);
}

static void a_full_topic_behind_the_reply_is_taken_back(void **state)
{
    struct fake *f = *state;
    connect_with_channels(f, "\"stream:a\"", "");
    struct broker_request *request = asked(f, BROKER_HISTORY, "stream:a");
    answer_page(request, 7, NULL);
    answer(f, request);
    free(f->frames[--f->frame_count]);
    answer_failed(f, BROKER_SUBSCRIBE, "stream:a", BROKER_FULL);
    hear(f, "{\"push\":{\"channel\":\"stream:a\",\"unsubscribe\":{\"code\":2000,\"reason\":\"server "
            "unsubscribe\"}}}");
    fake_end(f);
    fake_connect(f);
}

static void no_room_for_a_topic_behind_the_reply_takes_it_back(void **state)
{
    struct fake *f = *state;
    connect_with_channels(f, "\"stream:a\"", "");
    struct broker_request *request = asked(f, BROKER_HISTORY, "stream:a");
    answer_page(request, 7, NULL);
    f->full = true;
    answer(f, request);
    assert_int_equal(f->frame_count, 1);
    const char *push = strstr(f->frames[0], "\n{\"push\"");
    assert_non_null(push);
    assert_string_equal(push + 1, "{\"push\":{\"channel\":\"stream:a\",\"unsubscribe\":{\"code\":2000,"
                                  "\"reason\":\"server unsubscribe\"}}}");
    assert_int_equal(f->close_code, 0);
}

static void more_topics_than_a_connection_may_have_end_it(void **state)
{
    struct fake *f = *state;
    f->settings.limits.topics_per_connection = 2;
    connect_with_channels(f, "\"a\",\"b\",\"c\"", "");
    hear_close(f, 3505, "channel limit");
    asked_nothing(f);
}

static void no_memory_for_a_topic_is_an_internal_error(void **state)
{
    struct fake *f = *state;
    connect_with_channels(f, "\"a\"", "");
    answer_failed(f, BROKER_SUBSCRIBE, "a", BROKER_NO_MEMORY);
    hear_error(f, 1, 100);
}

static void a_connection_that_breaks_while_topics_are_joined_leaves_nothing(void **state)
{
    struct fake *f = *state;
    connect_with_channels(f, "\"stream:a\",\"stream:b\"", ",\"subs\":{\"stream:a\":{\"recover\":true}}");
    say(f, "{\"id\":2,\"ping\":{}}");
    struct broker_request *request = asked(f, BROKER_HISTORY, "stream:a");
    answer_page(request, 1, (const char *const[]){"1", NULL});
    answer(f, request);
    f->sends_end_it = true;
    request = asked(f, BROKER_HISTORY, "stream:b");
    answer_page(request, 1, NULL);
    answer(f, request);
    assert_true(f->ended);
    assert_null(f->session.more);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fake_set_up, fake_tear_down)
    const struct CMUnitTest tests[] = {
        T(a_token_says_who_the_client_is_and_how_long),
        T(a_token_without_user_is_anonymous),
        T(an_invalid_token_ends_the_connection),
        T(an_expired_token_is_told_and_a_fresh_one_is_taken),
        T(without_a_token_it_is_as_the_settings_say),
        T(the_upgrade_request_may_have_said_it_all),
        T(an_identity_that_expired_meanwhile_is_refused),
        T(a_token_of_its_own_comes_before_the_upgrade_request),
        T(an_identity_that_cannot_be_read_is_none),
        T(the_backend_is_asked_who_a_client_without_token_is),
        T(a_token_or_an_upgrade_identity_needs_no_backend),
        T(headers_of_the_upgrade_go_to_the_backend),
        T(the_backend_may_refuse_with_an_error_or_a_disconnect),
        T(a_backend_that_does_not_answer_is_an_internal_error),
        T(the_backend_may_name_topics_with_info_data_and_expiry),
        T(topics_of_the_backend_with_names_that_none_has_are_an_error),
        T(commands_behind_connect_wait_for_it),
        T(a_second_connect_that_waits_is_one_too_many),
        T(what_waits_is_bounded),
        T(whoever_waits_too_long_for_us_may_come_back),
        T(a_tokens_topics_are_joined_before_the_reply),
        T(topics_with_recovery_are_joined_behind_the_reply_from_its_position),
        T(a_gap_before_the_joining_makes_the_client_come_back),
        T(a_position_that_is_lost_is_told),
        T(missed_publications_that_are_too_many_bytes_are_not_recovered),
        T(a_topic_that_is_full_fails_connect_and_leaves_no_other_behind),
        T(no_room_for_a_topic_fails_connect_too),
        T(no_room_for_a_topic_behind_the_reply_takes_it_back),
        T(a_topic_without_history_by_now_is_joined_all_the_same),
        T(only_what_stands_before_the_reply_may_be_told_to_come_again),
        T(a_full_topic_behind_the_reply_is_taken_back),
        T(more_topics_than_a_connection_may_have_end_it),
        T(no_memory_for_a_topic_is_an_internal_error),
        T(a_connection_that_breaks_while_topics_are_joined_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
