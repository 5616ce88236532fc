/* How many tokens a client may have checked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/adapter/centrifuge_internal.h"
#include "tests/unit/adapter/centrifuge_fixture.h"

#define SUBSCRIBE   "{\"id\":2,\"subscribe\":{\"channel\":\"a\",\"token\":\"%s\"}}"
#define SUB_REFRESH "{\"id\":2,\"sub_refresh\":{\"channel\":\"a\",\"token\":\"%s\"}}"
#define CONNECT     "{\"id\":1,\"connect\":{\"token\":\"%s\"}}"
#define GOOD        "\"sub\":\"anna\",\"channel\":\"a\""
#define EXPIRED     GOOD ",\"exp\":1699999999"

/* With 32 topics: all three times and a little more. More by one for each quarter of a second that passes. */
enum { AT_ONCE = 120, LATER = AT_ONCE + 40 };

/* How many of the replies that wait are this error; forgets them all. */
static unsigned errors(struct fake *f, unsigned id, unsigned code)
{
    char expected[64];
    unsigned count = 0;
    snprintf(expected, sizeof expected, "{\"id\":%u,\"error\":{\"code\":%u,", id, code);
    while (f->frame_count > 0) {
        char *frame = f->frames[--f->frame_count];
        count += strncmp(frame, expected, strlen(expected)) == 0;
        free(frame);
    }
    return count;
}

static void bring_bad_tokens(struct fake *f, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        say(f, "{\"id\":2,\"subscribe\":{\"channel\":\"b\",\"token\":\"x\"}}");
    assert_int_equal(errors(f, 2, 103), count);
    assert_int_equal(f->close_code, 0);
}

static void a_good_token_makes_up_for_bad_ones(void **state)
{
    struct fake *f = *state;
    fake_connect_user(f);
    bring_bad_tokens(f, 7);
    say_token(f, SUBSCRIBE, GOOD);
    answer_ok(f, BROKER_SUBSCRIBE, "a");
    hear(f, "{\"id\":2,\"subscribe\":{}}");
    bring_bad_tokens(f, 7);
    say_token(f, SUB_REFRESH, GOOD);
    (void)errors(f, 2, 0);
    bring_bad_tokens(f, 7);
}

static void bad_tokens_are_forgotten_with_time(void **state)
{
    struct fake *f = *state;
    fake_connect_user(f);
    bring_bad_tokens(f, 7);
    f->session.more->bad_until_s -= 60; /* so much of it has passed */
    bring_bad_tokens(f, 2);
    say(f, "{\"id\":2,\"subscribe\":{\"channel\":\"b\",\"token\":\"x\"}}");
    hear_close(f, 3013, "too many requests");
}

static void who_has_only_bad_tokens_is_sent_away(void **state)
{
    struct fake *f = *state;
    fake_connect_user(f);
    for (int i = 0; i < 7; i++) {
        say(f, "{\"id\":2,\"subscribe\":{\"channel\":\"a\",\"token\":\"x\"}}");
        hear_error(f, 2, 103);
    }
    say(f, "{\"id\":3,\"ping\":{}}");
    hear(f, "{\"id\":3,\"ping\":{}}");
    say(f, "{\"id\":2,\"subscribe\":{\"channel\":\"b\",\"token\":\"x\"}}");
    hear_close(f, 3013, "too many requests");
}

static void bad_tokens_of_one_message_are_counted_too(void **state)
{
    struct fake *f = *state;
    char message[8192];
    size_t at = 0;
    fake_keys(f);
    fake_connect(f); /* nobody, of whom nothing is remembered else */
    for (int i = 0; i < 100; i++)
        at += (size_t)snprintf(message + at, sizeof message - at, "%s\n",
                               "{\"id\":2,\"subscribe\":{\"channel\":\"a\",\"token\":\"x\"}}");
    say(f, message);
    assert_int_equal(f->close_code, 3013);
    assert_int_equal(f->frame_count, 1);
    unsigned refused = 0;
    for (const char *hit = f->frames[0]; (hit = strstr(hit, "\"code\":103")); hit++)
        refused++;
    assert_int_equal(refused, 7);
}

static void refreshes_with_bad_tokens_count_with_the_others(void **state)
{
    struct fake *f = *state;
    fake_connect_user(f);
    say_token(f, SUBSCRIBE, GOOD);
    answer_ok(f, BROKER_SUBSCRIBE, "a");
    hear(f, "{\"id\":2,\"subscribe\":{}}");
    for (int i = 0; i < 4; i++) {
        say_token(f, SUB_REFRESH, "\"sub\":\"bert\",\"channel\":\"a\"");
        hear_error(f, 2, 103);
        if (i == 3)
            break;
        say(f, "{\"id\":2,\"subscribe\":{\"channel\":\"b\",\"token\":\"x\"}}");
        hear_error(f, 2, 103);
    }
    say_token(f, SUB_REFRESH, "\"sub\":\"anna\",\"channel\":\"b\"");
    hear_close(f, 3013, "too many requests");
}

static void no_more_are_checked_than_are_needed(void **state)
{
    struct fake *f = *state;
    fake_connect_user(f);
    for (int i = 0; i < 300; i++)
        say_token(f, SUBSCRIBE, EXPIRED);
    unsigned refused = errors(f, 2, 111);
    assert_in_range(refused, 300 - LATER, 300 - AT_ONCE + 1);
    assert_int_equal(f->close_code, 0);
    fake_subscribe(f, 3, "b"); /* what needs no token goes on */
    say_token(f, "{\"id\":4,\"refresh\":{\"token\":\"%s\"}}", "\"sub\":\"anna\"");
    hear_error(f, 4, 111);
}

static void nor_before_a_client_is_connected(void **state)
{
    struct fake *f = *state;
    fake_keys(f);
    fake_open_as(f, NULL);
    for (int i = 0; i < 300; i++)
        say_token(f, CONNECT, "\"sub\":\"anna\",\"exp\":1699999999");
    assert_in_range(errors(f, 1, 111), 300 - LATER, 300 - AT_ONCE);
    assert_false(f->session.connected);
    assert_int_equal(f->close_code, 0);
}

static void who_comes_back_to_all_topics_with_tokens_of_yesterday_has_enough(void **state)
{
    struct fake *f = *state;
    char claims[128], format[128];
    f->settings.limits.topics_per_connection = 255;
    fake_keys(f);
    fake_open_as(f, NULL);
    say_token(f, CONNECT, "\"sub\":\"anna\",\"exp\":1699999999");
    hear_error(f, 1, 109);
    say_token(f, CONNECT, "\"sub\":\"anna\"");
    hear(f, CONNECTED);
    for (int fresh = 0; fresh < 2; fresh++) {
        for (int i = 0; i < 255; i++) {
            snprintf(claims, sizeof claims, "\"sub\":\"anna\",\"channel\":\"%d\"%s", i,
                     fresh ? "" : ",\"exp\":1699999999");
            snprintf(format, sizeof format, "{\"id\":2,\"subscribe\":{\"channel\":\"%d\",\"token\":\"%%s\"}}",
                     i);
            say_token(f, format, claims);
        }
        assert_int_equal(errors(f, 2, 109), fresh ? 0 : 255);
    }
    assert_int_equal(f->request_count, 255);
}

static void every_check_is_charged_and_nothing_else(void **state)
{
    struct fake *f = *state;
    fake_connect_user(f);
    uint64_t charged = f->charged_ns;
    assert_true(charged > 0);
    fake_subscribe(f, 2, "b");
    assert_int_equal(f->charged_ns, charged);
    const char *const formats[] = {SUBSCRIBE, SUB_REFRESH, "{\"id\":2,\"refresh\":{\"token\":\"%s\"}}"};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        say_token(f, formats[i], GOOD);
        assert_true(f->charged_ns > charged);
        charged = f->charged_ns;
        if (i == 0)
            answer_ok(f, BROKER_SUBSCRIBE, "a");
    }
    (void)errors(f, 2, 0);
}

#define T(test) cmocka_unit_test_setup_teardown(test, fake_set_up, fake_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(who_has_only_bad_tokens_is_sent_away),
        T(a_good_token_makes_up_for_bad_ones),
        T(bad_tokens_are_forgotten_with_time),
        T(bad_tokens_of_one_message_are_counted_too),
        T(refreshes_with_bad_tokens_count_with_the_others),
        T(no_more_are_checked_than_are_needed),
        T(nor_before_a_client_is_connected),
        T(who_comes_back_to_all_topics_with_tokens_of_yesterday_has_enough),
        T(every_check_is_charged_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
