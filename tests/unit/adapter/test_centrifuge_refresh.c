/* What expires: by refresh and sub_refresh, by the backend, by the clock. */
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
#define REFRESH            "{\"id\":3,\"refresh\":{\"token\":\"%s\"}}"
#define SUB_REFRESH        "{\"id\":4,\"sub_refresh\":{\"channel\":\"a\",\"token\":\"%s\"}}"

/* The deadline passes when it should. */
static void wait_for_deadline(struct fake *f)
{
    assert_true(f->deadline > 0);
    assert_int_equal(f->deadline % 1000 == 0 || f->deadline == 1, true);
    f->link.now_s += f->deadline / 1000;
    f->deadline = 0;
    adapter_centrifuge.expired(&f->link);
}

/* "anna", until 100 seconds from now. */
static void connect_for_100s(struct fake *f)
{
    if (!f->link.auth)
        fake_keys(f);
    f->link.now_s = NOW;
    fake_open_as(f, NULL);
    say_token(f, "{\"id\":1,\"connect\":{\"token\":\"%s\"}}", "\"sub\":\"anna\",\"exp\":1700000100");
    hear(f, "{\"id\":1,\"connect\":{" CLIENT_AND_VERSION
            ",\"expires\":true,\"ttl\":100,\"ping\":25,\"pong\":true}}");
}

/* Subscribed to "a" until 50 seconds from now. */
static void subscribe_for_50s(struct fake *f)
{
    say_token(f, "{\"id\":2,\"subscribe\":{\"channel\":\"a\",\"token\":\"%s\"}}",
              "\"sub\":\"anna\",\"channel\":\"a\",\"exp\":1700000050");
    answer_ok(f, BROKER_SUBSCRIBE, "a");
    hear(f, "{\"id\":2,\"subscribe\":{\"expires\":true,\"ttl\":50}}");
}

/* The connection
 * -------------------------------------------------------------------------------------------------- */

static void a_connection_ends_25_seconds_after_its_token(void **state)
{
    struct fake *f = *state;
    connect_for_100s(f);
    assert_int_equal(f->deadline, 125000);
    wait_for_deadline(f);
    hear_close(f, 3005, "connection expired");
}

static void a_deadline_that_comes_early_is_set_again(void **state)
{
    struct fake *f = *state;
    connect_for_100s(f);
    f->link.now_s += 124;
    adapter_centrifuge.expired(&f->link);
    assert_int_equal(f->close_code, 0);
    assert_int_equal(f->deadline, 1000);
}

static void far_deadlines_are_looked_at_daily(void **state)
{
    struct fake *f = *state;
    fake_keys(f);
    fake_open_as(f, NULL);
    say_token(f, "{\"id\":1,\"connect\":{\"token\":\"%s\"}}", "\"sub\":\"anna\",\"exp\":1800000000");
    hear(f, "{\"id\":1,\"connect\":{" CLIENT_AND_VERSION
            ",\"expires\":true,\"ttl\":100000000,\"ping\":25,\"pong\":true}}");
    assert_int_equal(f->deadline, 86400000);
    wait_for_deadline(f);
    assert_int_equal(f->close_code, 0);
    assert_int_equal(f->deadline, 86400000);
}

static void a_fresh_token_prolongs_the_connection(void **state)
{
    struct fake *f = *state;
    connect_for_100s(f);
    f->link.now_s = NOW + 110; /* too late by the token, not by the grace */
    say_token(f, REFRESH, "\"sub\":\"anna\",\"exp\":1700000200,\"info\":{\"fresh\":1}");
    hear(f, "{\"id\":3,\"refresh\":{" CLIENT_AND_VERSION ",\"expires\":true,\"ttl\":90}}");
    assert_int_equal(f->deadline, 115000);
    struct broker_ask who = {0};
    adapter_centrifuge.who(&f->session, "a", 1, &who);
    assert_int_equal(who.user.bytes, 4);
    assert_int_equal(who.conn_info.bytes, 11);
    say_token(f, REFRESH, "\"sub\":\"anna\"");
    hear(f, "{\"id\":3,\"refresh\":{" CLIENT_AND_VERSION "}}");
    assert_int_equal(f->deadline, 0);
}

static void a_refresh_by_somebody_else_ends_the_connection(void **state)
{
    struct fake *f = *state;
    static const struct {
        const char *claims;
        int code;
        const char *text;
    } cases[] = {
        {"\"sub\":\"bert\"", 3500, "invalid token"},
        {"\"iat\":1", 3500, "invalid token"},
        {"\"sub\":\"anna\",\"channel\":\"a\"", 3500, "invalid token"},
        {"\"sub\":\"anna\",\"exp\":1699999999", 3005, "connection expired"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        connect_for_100s(f);
        say_token(f, REFRESH, cases[i].claims);
        hear_close(f, cases[i].code, cases[i].text);
        fake_end(f);
    }
    connect_for_100s(f);
    say(f, "{\"id\":3,\"refresh\":{}}");
    hear_error(f, 3, 107);
    say(f, "{\"id\":3,\"refresh\":{\"token\":\"x\"}}");
    hear_close(f, 3500, "invalid token");
    fake_end(f);
    fake_connect(f); /* nobody */
    say_token(f, REFRESH, "\"sub\":\"anna\"");
    hear_close(f, 3500, "invalid token");
}

static void connect_by_backend_until(struct fake *f, unsigned kinds, const char *result)
{
    char body[512];
    if (!f->link.proxy)
        fake_backend(f, 1u << PROXY_CONNECT | kinds);
    f->link.now_s = NOW;
    fake_open_as(f, NULL);
    say(f, "{\"id\":1,\"connect\":{}}");
    snprintf(body, sizeof body, "{\"result\":{\"user\":\"carl\"%s}}", result);
    backend_says(f, called(f, PROXY_CONNECT, ""), body);
    hear(f, CONNECTED);
}

static void the_backend_that_let_it_in_is_asked_again(void **state)
{
    struct fake *f = *state;
    connect_by_backend_until(f, 1u << PROXY_REFRESH, ",\"expire_at\":1700000100,\"meta\":{\"m\":1}");
    assert_int_equal(f->deadline, 100000);
    wait_for_deadline(f);
    assert_int_equal(f->close_code, 0);
    assert_int_equal(f->deadline, 0); /* while it is asked */
    backend_says(f, called(f, PROXY_REFRESH, ",\"user\":\"carl\",\"meta\":{\"m\":1}"),
                 "{\"result\":{\"expire_at\":1700000200,\"info\":{\"i\":2},\"meta\":{\"m\":2}}}");
    assert_int_equal(f->deadline, 100000);
    wait_for_deadline(f);
    backend_says(f, called(f, PROXY_REFRESH, ",\"user\":\"carl\",\"meta\":{\"m\":2}"), "{\"result\":{}}");
    assert_int_equal(f->deadline, 0); /* never */
    assert_int_equal(f->close_code, 0);
    hear_nothing(f);
}

static void the_backend_may_end_it(void **state)
{
    struct fake *f = *state;
    static const struct {
        const char *answer;
        int code;
        const char *text;
    } cases[] = {
        {"{\"result\":{\"expired\":true}}", 3005, "connection expired"},
        {"{\"result\":{\"expire_at\":1700000100}}", 3005, "connection expired"},
        {"{\"disconnect\":{\"code\":4500,\"reason\":\"banned\"}}", 4500, "banned"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        connect_by_backend_until(f, 1u << PROXY_REFRESH, ",\"expire_at\":1700000100");
        wait_for_deadline(f);
        backend_says(f, called(f, PROXY_REFRESH, ",\"user\":\"carl\""), cases[i].answer);
        hear_close(f, cases[i].code, cases[i].text);
        fake_end(f);
    }
}

static void a_silent_backend_is_asked_again_until_the_grace_is_over(void **state)
{
    struct fake *f = *state;
    connect_by_backend_until(f, 1u << PROXY_REFRESH, ",\"expire_at\":1700000100");
    for (int asked_so_far = 0; asked_so_far < 5; asked_so_far++) {
        wait_for_deadline(f);
        assert_int_equal(f->link.now_s, NOW + 100 + 5 * asked_so_far);
        backend_fails(f, called(f, PROXY_REFRESH, ",\"user\":\"carl\""), PROXY_TIMEOUT);
        assert_int_equal(f->deadline, 5000);
        assert_int_equal(f->close_code, 0);
    }
    wait_for_deadline(f);
    hear_close(f, 3005, "connection expired");
}

static void where_the_backend_refreshes_nobody_it_ends_in_time(void **state)
{
    struct fake *f = *state;
    connect_by_backend_until(f, 0, ",\"expire_at\":1700000100");
    wait_for_deadline(f);
    hear_close(f, 3005, "connection expired");
    assert_int_equal(f->link.now_s, NOW + 100);
}

static void a_client_with_a_token_is_faster_than_the_backend(void **state)
{
    struct fake *f = *state;
    fake_keys(f);
    connect_by_backend_until(f, 1u << PROXY_REFRESH, ",\"expire_at\":1700000100");
    wait_for_deadline(f);
    struct proxy_request *request = called(f, PROXY_REFRESH, ",\"user\":\"carl\"");
    say_token(f, REFRESH, "\"sub\":\"carl\",\"exp\":1700000300");
    hear(f, "{\"id\":3,\"refresh\":{" CLIENT_AND_VERSION ",\"expires\":true,\"ttl\":200}}");
    backend_says(f, request, "{\"result\":{\"expired\":true}}");
    assert_int_equal(f->close_code, 0);
    assert_int_equal(f->deadline, 225000);
}

/* A subscription
 * -------------------------------------------------------------------------------------------------- */

static void a_subscription_ends_25_seconds_after_its_token(void **state)
{
    struct fake *f = *state;
    connect_for_100s(f);
    subscribe_for_50s(f);
    assert_int_equal(f->deadline, 75000);
    wait_for_deadline(f);
    hear(
        f,
        "{\"push\":{\"channel\":\"a\",\"unsubscribe\":{\"code\":2501,\"reason\":\"subscription expired\"}}}");
    assert_int_equal(f->sub_count, 0);
    assert_int_equal(f->deadline, 50000); /* then the connection */
    wait_for_deadline(f);
    hear_close(f, 3005, "connection expired");
}

static void a_fresh_token_prolongs_the_subscription(void **state)
{
    struct fake *f = *state;
    connect_for_100s(f);
    subscribe_for_50s(f);
    say_token(f, SUB_REFRESH, "\"sub\":\"anna\",\"channel\":\"a\",\"exp\":1700000080");
    hear(f, "{\"id\":4,\"sub_refresh\":{\"expires\":true,\"ttl\":80}}");
    assert_int_equal(f->deadline, 105000);
    say_token(f, SUB_REFRESH, "\"sub\":\"anna\",\"channel\":\"a\"");
    hear(f, "{\"id\":4,\"sub_refresh\":{}}");
    assert_int_equal(f->deadline, 125000);
}

static void a_subscriptions_refresh_needs_a_subscription_and_its_token(void **state)
{
    struct fake *f = *state;
    connect_for_100s(f);
    say_token(f, SUB_REFRESH, "\"sub\":\"anna\",\"channel\":\"a\"");
    hear_error(f, 4, 103);
    say(f, "{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}");
    say_token(f, SUB_REFRESH, "\"sub\":\"anna\",\"channel\":\"a\"");
    hear_error(f, 4, 103); /* while it is joining */
    answer_ok(f, BROKER_SUBSCRIBE, "a");
    hear(f, "{\"id\":2,\"subscribe\":{}}");
    say_token(f, SUB_REFRESH, "\"sub\":\"bert\",\"channel\":\"a\"");
    hear_error(f, 4, 103);
    say_token(f, SUB_REFRESH, "\"sub\":\"anna\",\"channel\":\"b\"");
    hear_error(f, 4, 103);
    say(f, "{\"id\":4,\"sub_refresh\":{\"channel\":\"a\"}}");
    hear_error(f, 4, 107);
    say(f, "{\"id\":4,\"sub_refresh\":{\"channel\":\"\",\"token\":\"x\"}}");
    hear_error(f, 4, 107);
    say(f, "{\"id\":4,\"sub_refresh\":{\"channel\":\"a\",\"token\":\"x\",\"type\":1}}");
    hear_error(f, 4, 108);
    assert_int_equal(f->sub_count, 1);
}

static void an_expired_token_ends_the_subscription_so_that_the_client_gets_another(void **state)
{
    struct fake *f = *state;
    connect_for_100s(f);
    subscribe_for_50s(f);
    say_token(f, SUB_REFRESH, "\"sub\":\"anna\",\"channel\":\"a\",\"exp\":1699999999");
    hear(
        f,
        "{\"push\":{\"channel\":\"a\",\"unsubscribe\":{\"code\":2501,\"reason\":\"subscription expired\"}}}\n"
        "{\"id\":4,\"error\":{\"code\":110,\"message\":\"expired\"}}");
    assert_int_equal(f->sub_count, 0);
}

static void subscribe_by_backend(struct fake *f, unsigned kinds)
{
    if (!f->link.proxy)
        fake_backend(f, 1u << PROXY_SUBSCRIBE | kinds);
    f->link.now_s = NOW;
    fake_connect(f);
    say(f, "{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}");
    backend_says(f, called(f, PROXY_SUBSCRIBE, ",\"user\":\"\",\"channel\":\"a\""),
                 "{\"result\":{\"expire_at\":1700000050}}");
    answer_ok(f, BROKER_SUBSCRIBE, "a");
    hear(f, "{\"id\":2,\"subscribe\":{}}");
    assert_int_equal(f->deadline, 50000);
}

static void the_backend_is_asked_about_its_subscriptions(void **state)
{
    struct fake *f = *state;
    static const char body[] = ",\"user\":\"\",\"channel\":\"a\"";
    subscribe_by_backend(f, 1u << PROXY_SUB_REFRESH);
    wait_for_deadline(f);
    backend_says(f, called(f, PROXY_SUB_REFRESH, body),
                 "{\"result\":{\"expire_at\":1700000090,\"info\":{\"i\":1}}}");
    assert_int_equal(f->deadline, 40000);
    wait_for_deadline(f);
    backend_fails(f, called(f, PROXY_SUB_REFRESH, body), PROXY_BAD_STATUS);
    assert_int_equal(f->deadline, 5000);
    wait_for_deadline(f);
    hear_nothing(f);
    backend_says(f, called(f, PROXY_SUB_REFRESH, body), "{\"result\":{\"expired\":true}}");
    hear(
        f,
        "{\"push\":{\"channel\":\"a\",\"unsubscribe\":{\"code\":2501,\"reason\":\"subscription expired\"}}}");
    assert_int_equal(f->deadline, 0);
    assert_null(f->session.more);
    fake_end(f);
    subscribe_by_backend(f, 0);
    wait_for_deadline(f);
    backend_says(f, called(f, PROXY_SUB_REFRESH, body),
                 "{\"disconnect\":{\"code\":4500,\"reason\":\"out\"}}");
    hear_close(f, 4500, "out");
}

static void who_has_left_meanwhile_is_not_told_of_the_backends_answer(void **state)
{
    struct fake *f = *state;
    subscribe_by_backend(f, 1u << PROXY_SUB_REFRESH);
    wait_for_deadline(f);
    struct proxy_request *request = called(f, PROXY_SUB_REFRESH, ",\"user\":\"\",\"channel\":\"a\"");
    say(f, "{\"id\":3,\"unsubscribe\":{\"channel\":\"a\"}}");
    hear(f, "{\"id\":3,\"unsubscribe\":{}}");
    backend_says(f, request, "{\"result\":{\"expired\":true}}");
    hear_nothing(f);
    assert_null(f->session.more);
}

static void a_backend_that_refreshes_no_subscriptions_ends_them_in_time(void **state)
{
    struct fake *f = *state;
    subscribe_by_backend(f, 0);
    wait_for_deadline(f);
    hear(
        f,
        "{\"push\":{\"channel\":\"a\",\"unsubscribe\":{\"code\":2501,\"reason\":\"subscription expired\"}}}");
    assert_int_equal(f->link.now_s, NOW + 50);
}

static void the_servers_own_subscription_ends_with_the_connection(void **state)
{
    struct fake *f = *state;
    fake_backend(f, 1u << PROXY_CONNECT);
    fake_open_as(f, NULL);
    say(f, "{\"id\":1,\"connect\":{}}");
    backend_says(f, called(f, PROXY_CONNECT, ""),
                 "{\"result\":{\"user\":\"\",\"subs\":{\"a\":{\"expire_at\":1700000050}}}}");
    answer_ok(f, BROKER_SUBSCRIBE, "a");
    free(f->frames[--f->frame_count]);
    wait_for_deadline(f);
    hear_close(f, 3006, "subscription expired");
}

static void many_that_expire_together_all_end(void **state)
{
    struct fake *f = *state;
    f->settings.limits.topics_per_connection = 0;
    connect_for_100s(f);
    for (int i = 0; i < 50; i++) {
        char message[256], claims[128], name[16];
        snprintf(name, sizeof name, "t%d", i);
        snprintf(message, sizeof message, "{\"id\":2,\"subscribe\":{\"channel\":\"%s\",\"token\":\"%%s\"}}",
                 name);
        snprintf(claims, sizeof claims, "\"sub\":\"anna\",\"channel\":\"%s\",\"exp\":%d", name,
                 NOW + 10 + i % 2);
        say_token(f, message, claims);
        answer_ok(f, BROKER_SUBSCRIBE, name);
        free(f->frames[--f->frame_count]);
    }
    wait_for_deadline(f);
    assert_int_equal(f->sub_count, 25);
    assert_int_equal(f->deadline, 1000);
    wait_for_deadline(f);
    assert_int_equal(f->sub_count, 0);
    assert_int_equal(f->frame_count, 2); /* each time one message */
    assert_int_equal(f->deadline, 89000);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fake_set_up, fake_tear_down)
    const struct CMUnitTest tests[] = {
        T(a_connection_ends_25_seconds_after_its_token),
        T(a_deadline_that_comes_early_is_set_again),
        T(far_deadlines_are_looked_at_daily),
        T(a_fresh_token_prolongs_the_connection),
        T(a_refresh_by_somebody_else_ends_the_connection),
        T(the_backend_that_let_it_in_is_asked_again),
        T(the_backend_may_end_it),
        T(a_silent_backend_is_asked_again_until_the_grace_is_over),
        T(where_the_backend_refreshes_nobody_it_ends_in_time),
        T(a_client_with_a_token_is_faster_than_the_backend),
        T(a_subscription_ends_25_seconds_after_its_token),
        T(a_fresh_token_prolongs_the_subscription),
        T(a_subscriptions_refresh_needs_a_subscription_and_its_token),
        T(an_expired_token_ends_the_subscription_so_that_the_client_gets_another),
        T(the_backend_is_asked_about_its_subscriptions),
        T(who_has_left_meanwhile_is_not_told_of_the_backends_answer),
        T(a_backend_that_refreshes_no_subscriptions_ends_them_in_time),
        T(the_servers_own_subscription_ends_with_the_connection),
        T(many_that_expire_together_all_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
