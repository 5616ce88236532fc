/* The commands subscribe and unsubscribe. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/adapter/centrifuge_fixture.h"

#define TOKEN_MESSAGE(topic) "{\"id\":2,\"subscribe\":{\"channel\":\"" topic "\",\"token\":\"%s\"}}"

static int flags_of(struct fake *f, const char *topic)
{
    return f->link.ops->subscribed(&f->link, topic, strlen(topic));
}

/* Who may
 * ---------------------------------------------------------------------------------------------------------
 */

static void anyone_may_have_a_topic_without_rule(void **state)
{
    struct fake *f = *state;
    fake_connect(f);
    say(f,
        "{\"id\":2,\"subscribe\":{\"channel\":\"news\",\"recover\":true,\"offset\":3,\"join_leave\":true}}");
    struct broker_request *request = asked(f, BROKER_SUBSCRIBE, "news");
    assert_int_equal(request->flags, 0);
    assert_false(request->since_set);
    assert_int_equal(request->user.bytes, 0);
    hear_nothing(f);
    answer(f, request);
    hear(f, "{\"id\":2,\"subscribe\":{}}");
    assert_int_equal(flags_of(f, "news"), 0);
}

static void a_topic_is_had_once(void **state)
{
    struct fake *f = *state;
    fake_connect(f);
    say(f, "{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}");
    say(f, "{\"id\":3,\"subscribe\":{\"channel\":\"a\"}}"); /* while it is joining, */
    hear_error(f, 3, 105);
    answer_ok(f, BROKER_SUBSCRIBE, "a");
    hear(f, "{\"id\":2,\"subscribe\":{}}");
    say(f, "{\"id\":4,\"subscribe\":{\"channel\":\"a\"}}"); /* and when it has */
    hear_error(f, 4, 105);
    asked_nothing(f);
}

static void names_that_no_topic_has_are_bad_requests(void **state)
{
    struct fake *f = *state;
    static const char *const names[] = {"", "\\n", "a\\u0007", "\\u007f", "a\\u0085"};
    fake_connect(f);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        static const char *const methods[] = {"subscribe", "unsubscribe",    "publish",
                                              "presence",  "presence_stats", "history"};
        for (size_t m = 0; m < sizeof methods / sizeof *methods; m++) {
            char message[256];
            snprintf(message, sizeof message, "{\"id\":5,\"%s\":{\"channel\":\"%s\",\"data\":1}}", methods[m],
                     names[i]);
            say(f, message);
            hear_error(f, 5, 107);
        }
    }
    char message[400], name[257];
    memset(name, 't', 256);
    name[256] = '\0';
    snprintf(message, sizeof message, "{\"id\":6,\"subscribe\":{\"channel\":\"%s\"}}", name);
    say(f, message);
    hear_error(f, 6, 107);
    name[255] = '\0';
    snprintf(message, sizeof message, "{\"id\":7,\"subscribe\":{\"channel\":\"%s\"}}", name);
    say(f, message);
    answer_ok(f, BROKER_SUBSCRIBE, name);
    hear(f, "{\"id\":7,\"subscribe\":{}}");
    say(f, "{\"id\":8,\"subscribe\":{}}");
    hear_error(f, 8, 107);
}

static void other_kinds_of_subscription_are_not_available(void **state)
{
    struct fake *f = *state;
    fake_connect(f);
    say(f, "{\"id\":2,\"subscribe\":{\"channel\":\"a\",\"type\":1}}");
    hear_error(f, 2, 108);
}

static void limits_are_told(void **state)
{
    struct fake *f = *state;
    f->settings.limits.topics_per_connection = 1;
    fake_connect(f);
    say(f, "{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}");
    answer_failed(f, BROKER_SUBSCRIBE, "a", BROKER_FULL);
    hear_error(f, 2, 106);
    say(f, "{\"id\":3,\"subscribe\":{\"channel\":\"a\"}}");
    answer_failed(f, BROKER_SUBSCRIBE, "a", BROKER_NO_MEMORY);
    hear_error(f, 3, 100);
    fake_subscribe(f, 4, "a");
    say(f, "{\"id\":5,\"subscribe\":{\"channel\":\"b\"}}");
    hear_error(f, 5, 106);
    f->settings.limits.topics_per_connection = 2;
    f->full = true;
    say(f, "{\"id\":6,\"subscribe\":{\"channel\":\"b\"}}");
    hear_error(f, 6, 106);
    assert_int_equal(f->close_code, 0);
    assert_int_equal(f->sub_count, 1);
    assert_null(f->session.more);
}

static void topics_of_users_are_for_users(void **state)
{
    struct fake *f = *state;
    fake_connect(f);
    say(f, "{\"id\":2,\"subscribe\":{\"channel\":\"users:a\"}}");
    hear_error(f, 2, 103);
    fake_end(f);
    fake_connect_user(f);
    fake_subscribe(f, 2, "users:a");
}

static void topics_with_tokens_need_one_of_this_user_and_this_topic(void **state)
{
    struct fake *f = *state;
    fake_connect_user(f);
    say(f, "{\"id\":2,\"subscribe\":{\"channel\":\"secret:a\"}}");
    hear_error(f, 2, 103);
    say(f, "{\"id\":2,\"subscribe\":{\"channel\":\"secret:a\",\"token\":\"a.b.c\"}}");
    hear_error(f, 2, 103);
    say_token(f, TOKEN_MESSAGE("secret:a"), "\"sub\":\"bert\",\"channel\":\"secret:a\"");
    hear_error(f, 2, 103);
    say_token(f, TOKEN_MESSAGE("secret:a"), "\"sub\":\"anna\",\"channel\":\"secret:b\"");
    hear_error(f, 2, 103);
    say_token(f, TOKEN_MESSAGE("secret:a"), "\"sub\":\"anna\"");
    hear_error(f, 2, 103);
    say_token(f, TOKEN_MESSAGE("secret:a"), "\"sub\":\"anna\",\"channel\":\"secret:a\",\"exp\":1699999999");
    hear_error(f, 2, 109);
    asked_nothing(f);
    say_token(f, TOKEN_MESSAGE("secret:a"),
              "\"sub\":\"anna\",\"channel\":\"secret:a\",\"info\":{\"s\":1},\"exp\":1700000020");
    struct broker_request *request = asked(f, BROKER_SUBSCRIBE, "secret:a");
    assert_int_equal(request->flags, SUBSCRIPTION_PRESENT);
    assert_int_equal(request->user.bytes, 4);
    assert_int_equal(request->conn_info.bytes, 7);
    assert_memory_equal(request->chan_info.data, "{\"s\":1}", 7);
    answer(f, request);
    hear(f, "{\"id\":2,\"subscribe\":{\"expires\":true,\"ttl\":20}}");
    assert_int_equal(f->deadline, 45000);
    say(f, "{\"id\":3,\"unsubscribe\":{\"channel\":\"secret:a\"}}");
    assert_string_equal(f->left_info, "{\"s\":1}"); /* others are told of it */
}

static void a_token_counts_where_none_is_needed_too(void **state)
{
    struct fake *f = *state;
    fake_keys(f);
    fake_connect(f);
    say_token(f, TOKEN_MESSAGE("users:a"), "\"channel\":\"users:a\"");
    answer_ok(f, BROKER_SUBSCRIBE, "users:a");
    hear(f, "{\"id\":2,\"subscribe\":{}}");
    say(f, "{\"id\":3,\"subscribe\":{\"channel\":\"b\",\"token\":\"x\"}}");
    hear_error(f, 3, 103);
    fake_end(f);
    auth_destroy(f->link.auth);
    f->link.auth = NULL;
    fake_connect(f);
    say(f, "{\"id\":3,\"subscribe\":{\"channel\":\"b\",\"token\":\"x\"}}"); /* no keys: nothing is a token */
    hear_error(f, 3, 103);
}

/* What it has
 * ------------------------------------------------------------------------------------------------------ */

static void presence_and_joins_are_as_rule_and_client_say(void **state)
{
    struct fake *f = *state;
    fake_connect(f);
    say(f, "{\"id\":2,\"subscribe\":{\"channel\":\"room:a\"}}");
    struct broker_request *request = asked(f, BROKER_SUBSCRIBE, "room:a");
    assert_int_equal(request->flags, SUBSCRIPTION_PRESENT | SUBSCRIPTION_ANNOUNCED);
    answer(f, request);
    hear(f, "{\"id\":2,\"subscribe\":{}}");
    say(f, "{\"id\":3,\"subscribe\":{\"channel\":\"room:b\",\"join_leave\":true}}");
    request = asked(f, BROKER_SUBSCRIBE, "room:b");
    assert_int_equal(request->flags, SUBSCRIPTION_PRESENT | SUBSCRIPTION_ANNOUNCED | SUBSCRIPTION_JOIN_LEAVE);
    answer(f, request);
    hear(f, "{\"id\":3,\"subscribe\":{}}");
}

static void a_stream_is_positioned_and_can_be_recovered(void **state)
{
    struct fake *f = *state;
    fake_connect(f);
    say(f, "{\"id\":2,\"subscribe\":{\"channel\":\"stream:a\"}}");
    struct broker_request *request = asked(f, BROKER_SUBSCRIBE, "stream:a");
    assert_int_equal(request->flags, SUBSCRIPTION_POSITIONED);
    assert_false(request->since_set);
    answer_page(request, 0, NULL);
    answer(f, request);
    hear(f,
         "{\"id\":2,\"subscribe\":{\"recoverable\":true,\"epoch\":\"" EPOCH_TEXT "\",\"positioned\":true}}");
    say(f, "{\"id\":3,\"unsubscribe\":{\"channel\":\"stream:a\"}}");
    hear(f, "{\"id\":3,\"unsubscribe\":{}}");
    say(f, "{\"id\":4,\"subscribe\":{\"channel\":\"stream:a\",\"recover\":true,\"offset\":2,\"epoch\":"
           "\"" EPOCH_TEXT "\"}}");
    request = asked(f, BROKER_SUBSCRIBE, "stream:a");
    assert_true(request->since_set);
    assert_int_equal(request->since.offset, 2);
    assert_int_equal(request->since.epoch, EPOCH);
    answer_page(request, 4, (const char *const[]){"{\"t\": 3}", "text", NULL});
    answer(f, request);
    hear(f, "{\"id\":4,\"subscribe\":{\"recoverable\":true,\"epoch\":\"" EPOCH_TEXT
            "\",\"publications\":[{\"data\":{\"t\": 3},\"offset\":3},{\"data\":\"text\",\"offset\":4}],"
            "\"recovered\":true,\"offset\":4,\"positioned\":true,\"was_recovering\":true}}");
}

static void a_history_without_recovery_has_no_position(void **state)
{
    struct fake *f = *state;
    fake_connect(f);
    say(f, "{\"id\":2,\"subscribe\":{\"channel\":\"kept:a\",\"recover\":true,\"offset\":1}}");
    struct broker_request *request = asked(f, BROKER_SUBSCRIBE, "kept:a");
    assert_int_equal(request->flags, 0);
    assert_false(request->since_set);
    answer_page(request, 9, NULL);
    answer(f, request);
    hear(f, "{\"id\":2,\"subscribe\":{}}");
}

static void a_gap_is_told(void **state)
{
    struct fake *f = *state;
    static const struct {
        const char *epoch;
        bool since_set;
    } cases[] = {
        {EPOCH_TEXT, true},
        {"", true},     /* the offset alone is judged */
        {"xyz", false}, /* none of ours: another stream */
        {"0000000000000000", false},
    };
    fake_connect(f);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char message[256];
        snprintf(message, sizeof message,
                 "{\"id\":2,\"subscribe\":{\"channel\":\"stream:a\",\"recover\":true,\"offset\":2,\"epoch\":"
                 "\"%s\"}}",
                 cases[i].epoch);
        say(f, message);
        struct broker_request *request = asked(f, BROKER_SUBSCRIBE, "stream:a");
        assert_int_equal(request->since_set, cases[i].since_set);
        answer_page(request, 40, NULL);
        request->recovered = false;
        answer(f, request);
        hear(f, "{\"id\":2,\"subscribe\":{\"recoverable\":true,\"epoch\":\"" EPOCH_TEXT
                "\",\"offset\":40,\"positioned\":true,\"was_recovering\":true}}");
        say(f, "{\"id\":3,\"unsubscribe\":{\"channel\":\"stream:a\"}}");
        hear(f, "{\"id\":3,\"unsubscribe\":{}}");
    }
}

static void who_wants_no_topic_with_a_gap_gets_an_error(void **state)
{
    struct fake *f = *state;
    fake_connect(f);
    for (int recovered = 0; recovered <= 1; recovered++) {
        say(f,
            "{\"id\":2,\"subscribe\":{\"channel\":\"stream:a\",\"recover\":true,\"offset\":2,\"flag\":2}}");
        struct broker_request *request = asked(f, BROKER_SUBSCRIBE, "stream:a");
        answer_page(request, 2, NULL);
        request->recovered = recovered;
        answer(f, request);
        if (recovered)
            hear(f, "{\"id\":2,\"subscribe\":{\"recoverable\":true,\"epoch\":\"" EPOCH_TEXT
                    "\",\"recovered\":true,\"offset\":2,\"positioned\":true,\"was_recovering\":true}}");
        else
            hear_error(f, 2, 112);
        assert_int_equal(f->sub_count, recovered);
        assert_null(f->session.more);
    }
}

static void more_missed_bytes_than_a_client_can_take_are_a_gap(void **state)
{
    struct fake *f = *state;
    char large[700] = "\"";
    memset(large + 1, 'a', 698);
    large[698] = '"';
    large[699] = '\0';
    f->settings.limits.outbox_bytes = 2000;
    fake_connect(f);
    say(f, "{\"id\":2,\"subscribe\":{\"channel\":\"stream:a\",\"recover\":true,\"offset\":2}}");
    struct broker_request *request = asked(f, BROKER_SUBSCRIBE, "stream:a");
    answer_page(request, 4, (const char *const[]){large, large, NULL});
    answer(f, request);
    hear(f, "{\"id\":2,\"subscribe\":{\"recoverable\":true,\"epoch\":\"" EPOCH_TEXT
            "\",\"offset\":4,\"positioned\":true,\"was_recovering\":true}}");
}

static void an_epoch_that_is_written_otherwise_is_another_stream(void **state)
{
    struct fake *f = *state;
    fake_connect(f);
    say(f, "{\"id\":2,\"subscribe\":{\"channel\":\"stream:a\",\"recover\":true,\"epoch\":"
           "\"0000000000000ABC\"}}");
    struct broker_request *request = asked(f, BROKER_SUBSCRIBE, "stream:a");
    assert_false(request->since_set);
    broker_request_destroy(request);
}

/* Leaving
 * ------------------------------------------------------------------------------------------------------- */

static void whoever_leaves_is_told_so_even_when_it_was_not_there(void **state)
{
    struct fake *f = *state;
    fake_connect(f);
    fake_subscribe(f, 2, "a");
    say(f, "{\"id\":3,\"unsubscribe\":{\"channel\":\"a\"}}\n{\"id\":4,\"unsubscribe\":{\"channel\":\"a\"}}");
    hear(f, "{\"id\":3,\"unsubscribe\":{}}\n{\"id\":4,\"unsubscribe\":{}}");
    assert_int_equal(f->sub_count, 0);
    fake_subscribe(f, 5, "a");
}

static void leaving_before_the_answer_answers_both_commands(void **state)
{
    struct fake *f = *state;
    fake_connect(f);
    say(f, "{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}\n{\"id\":3,\"unsubscribe\":{\"channel\":\"a\"}}\n"
           "{\"id\":4,\"subscribe\":{\"channel\":\"a\"}}");
    hear(f, "{\"id\":2,\"subscribe\":{}}\n{\"id\":3,\"unsubscribe\":{}}");
    answer_ok(f, BROKER_SUBSCRIBE, "a"); /* the first one's: nobody waits for it */
    hear_nothing(f);
    answer_ok(f, BROKER_SUBSCRIBE, "a");
    hear(f, "{\"id\":4,\"subscribe\":{}}");
    assert_null(f->session.more);
}

static void answers_may_come_in_another_order(void **state)
{
    struct fake *f = *state;
    fake_connect(f);
    say(f, "{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}\n{\"id\":3,\"subscribe\":{\"channel\":\"b\"}}\n"
           "{\"id\":4,\"subscribe\":{\"channel\":\"c\"}}");
    struct broker_request *a = asked(f, BROKER_SUBSCRIBE, "a"), *b = asked(f, BROKER_SUBSCRIBE, "b"),
                          *c = asked(f, BROKER_SUBSCRIBE, "c");
    answer(f, c);
    hear(f, "{\"id\":4,\"subscribe\":{}}");
    answer(f, a);
    hear(f, "{\"id\":2,\"subscribe\":{}}");
    answer(f, b);
    hear(f, "{\"id\":3,\"subscribe\":{}}");
    assert_null(f->session.more);
}

/* The backend
 * ----------------------------------------------------------------------------------------------------- */

static void the_backend_decides_and_knows_what_the_client_said(void **state)
{
    struct fake *f = *state;
    fake_backend(f, 1u << PROXY_SUBSCRIBE);
    fake_connect_user(f);
    say(f, "{\"id\":2,\"subscribe\":{\"channel\":\"chat:a\",\"data\":{\"d\":1},\"recover\":true,\"offset\":3,"
           "\"epoch\":\"" EPOCH_TEXT "\",\"join_leave\":true}}");
    asked_nothing(f);
    say(f, "{\"id\":3,\"subscribe\":{\"channel\":\"chat:a\"}}");
    hear_error(f, 3, 105);
    backend_says(f,
                 called(f, PROXY_SUBSCRIBE, ",\"user\":\"anna\",\"channel\":\"chat:a\",\"data\":{\"d\":1}"),
                 "{\"result\":{\"info\":{\"i\":1},\"data\":{\"hi\":1},\"expire_at\":1700000050}}");
    hear_nothing(f);
    struct broker_request *request = asked(f, BROKER_SUBSCRIBE, "chat:a");
    assert_memory_equal(request->chan_info.data, "{\"i\":1}", 7);
    assert_true(request->since_set);
    assert_int_equal(request->since.offset, 3);
    assert_int_equal(request->flags, SUBSCRIPTION_POSITIONED | SUBSCRIPTION_PRESENT | SUBSCRIPTION_ANNOUNCED |
                                         SUBSCRIPTION_JOIN_LEAVE);
    answer_page(request, 3, NULL);
    answer(f, request);
    /* That it expires is between the gateway and the backend. */
    hear(f, "{\"id\":2,\"subscribe\":{\"recoverable\":true,\"epoch\":\"" EPOCH_TEXT
            "\",\"recovered\":true,\"offset\":3,\"positioned\":true,\"data\":{\"hi\":1},\"was_recovering\":"
            "true}}");
    assert_int_equal(f->deadline, 50000);
}

static void tokens_and_rules_come_before_the_backend(void **state)
{
    struct fake *f = *state;
    fake_backend(f, 1u << PROXY_SUBSCRIBE);
    fake_keys(f);
    fake_connect(f);
    say(f, "{\"id\":2,\"subscribe\":{\"channel\":\"users:a\"}}");
    hear_error(f, 2, 103);
    say(f, "{\"id\":2,\"subscribe\":{\"channel\":\"secret:a\"}}");
    hear_error(f, 2, 103);
    say_token(f, TOKEN_MESSAGE("secret:a"), "\"channel\":\"secret:a\"");
    answer_ok(f, BROKER_SUBSCRIBE, "secret:a");
    hear(f, "{\"id\":2,\"subscribe\":{}}");
    assert_int_equal(f->hook_count, 0);
}

static void what_the_backend_says_instead_reaches_the_client(void **state)
{
    struct fake *f = *state;
    fake_backend(f, 1u << PROXY_SUBSCRIBE);
    fake_connect(f);
    say(f, "{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}");
    backend_says(f, called(f, PROXY_SUBSCRIBE, ",\"user\":\"\",\"channel\":\"a\""),
                 "{\"error\":{\"code\":403,\"message\":\"no\",\"temporary\":true}}");
    hear(f, "{\"id\":2,\"error\":{\"code\":403,\"message\":\"no\",\"temporary\":true}}");
    assert_null(f->session.more);
    say(f, "{\"id\":3,\"subscribe\":{\"channel\":\"a\"}}");
    backend_fails(f, called(f, PROXY_SUBSCRIBE, ",\"user\":\"\",\"channel\":\"a\""), PROXY_TIMEOUT);
    hear_error(f, 3, 100);
    say(f, "{\"id\":4,\"subscribe\":{\"channel\":\"a\"}}");
    backend_says(f, called(f, PROXY_SUBSCRIBE, ",\"user\":\"\",\"channel\":\"a\""),
                 "{\"disconnect\":{\"code\":4001,\"reason\":\"later\"}}");
    hear_close(f, 4001, "later");
}

static void leaving_while_the_backend_thinks_answers_both_commands(void **state)
{
    struct fake *f = *state;
    fake_backend(f, 1u << PROXY_SUBSCRIBE);
    fake_connect(f);
    say(f, "{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}\n{\"id\":3,\"unsubscribe\":{\"channel\":\"a\"}}\n"
           "{\"id\":4,\"subscribe\":{\"channel\":\"a\"}}");
    hear(f, "{\"id\":2,\"subscribe\":{}}\n{\"id\":3,\"unsubscribe\":{}}");
    backend_says(f, called(f, PROXY_SUBSCRIBE, ",\"user\":\"\",\"channel\":\"a\""), "{\"result\":{}}");
    asked_nothing(f);
    hear_nothing(f);
    backend_says(f, called(f, PROXY_SUBSCRIBE, ",\"user\":\"\",\"channel\":\"a\""), "{\"result\":{}}");
    answer_ok(f, BROKER_SUBSCRIBE, "a");
    hear(f, "{\"id\":4,\"subscribe\":{}}");
    assert_null(f->session.more);
}

static void the_backend_is_asked_32_things_at_a_time(void **state)
{
    struct fake *f = *state;
    fake_backend(f, 1u << PROXY_SUBSCRIBE);
    fake_connect(f);
    char message[128];
    for (int i = 0; i < 33; i++) {
        snprintf(message, sizeof message, "{\"id\":%d,\"subscribe\":{\"channel\":\"t%d\"}}", i + 2, i);
        say(f, message);
    }
    hear_error(f, 34, 111);
    hear_nothing(f);
    backend_says(f, called(f, PROXY_SUBSCRIBE, ",\"user\":\"\",\"channel\":\"t0\""), "{\"result\":{}}");
    say(f, "{\"id\":50,\"subscribe\":{\"channel\":\"t32\"}}");
    hear_nothing(f);
    assert_int_equal(f->hook_count, 32);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fake_set_up, fake_tear_down)
    const struct CMUnitTest tests[] = {
        T(anyone_may_have_a_topic_without_rule),
        T(a_topic_is_had_once),
        T(names_that_no_topic_has_are_bad_requests),
        T(other_kinds_of_subscription_are_not_available),
        T(limits_are_told),
        T(topics_of_users_are_for_users),
        T(topics_with_tokens_need_one_of_this_user_and_this_topic),
        T(a_token_counts_where_none_is_needed_too),
        T(presence_and_joins_are_as_rule_and_client_say),
        T(a_stream_is_positioned_and_can_be_recovered),
        T(a_history_without_recovery_has_no_position),
        T(a_gap_is_told),
        T(who_wants_no_topic_with_a_gap_gets_an_error),
        T(more_missed_bytes_than_a_client_can_take_are_a_gap),
        T(an_epoch_that_is_written_otherwise_is_another_stream),
        T(whoever_leaves_is_told_so_even_when_it_was_not_there),
        T(leaving_before_the_answer_answers_both_commands),
        T(answers_may_come_in_another_order),
        T(the_backend_decides_and_knows_what_the_client_said),
        T(tokens_and_rules_come_before_the_backend),
        T(what_the_backend_says_instead_reaches_the_client),
        T(leaving_while_the_backend_thinks_answers_both_commands),
        T(the_backend_is_asked_32_things_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
