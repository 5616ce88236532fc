/* What the server API orders, and what a client hears that has been too slow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/adapter/centrifuge_fixture.h"

#define TEXT(literal)                                                                                        \
    {                                                                                                        \
        literal, sizeof(literal) - 1                                                                         \
    }
#define OTHER "ffffffff-ffff-4fff-8fff-ffffffffffff"

static void give(struct fake *f, const struct order *order)
{
    adapter_centrifuge.ordered(&f->link, order);
}

static void an_order_concerns_one_user_and_maybe_one_client(void **state)
{
    struct fake *f = *state;
    static const struct {
        struct order order;
        bool concerns;
    } cases[] = {
        {{.user = TEXT("anna")}, true},
        {{.user = TEXT("ann")}, false},
        {{.user = TEXT("annas")}, false},
        {{.user = TEXT("")}, false},
        {{.user = TEXT("anna"), .client = TEXT(CLIENT)}, true},
        {{.user = TEXT("anna"), .client = TEXT(OTHER)}, false},
        {{.user = TEXT("bert"), .client = TEXT(CLIENT)}, false},
        {{.user = TEXT("anna"), .whitelist = TEXT(CLIENT)}, false},
        {{.user = TEXT("anna"), .whitelist = TEXT(OTHER "," CLIENT)}, false},
        {{.user = TEXT("anna"), .whitelist = TEXT(OTHER)}, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fake_connect_user(f);
        struct order order = cases[i].order;
        order.kind = ORDER_DISCONNECT;
        give(f, &order);
        if (f->link.gone != cases[i].concerns)
            fail_msg("case %zu", i);
        fake_end(f);
    }
    fake_connect(f);
    give(f, &(struct order){.kind = ORDER_DISCONNECT,
                            .user = TEXT("")}); /* those without a name are one user, too */
    assert_true(f->link.gone);
}

static void who_is_not_connected_yet_is_nobodys(void **state)
{
    struct fake *f = *state;
    fake_open_as(f, NULL);
    give(f, &(struct order){.kind = ORDER_DISCONNECT, .user = TEXT("")});
    assert_false(f->link.gone);
}

static void a_disconnect_has_the_code_and_reason_that_were_ordered(void **state)
{
    struct fake *f = *state;
    fake_connect(f);
    give(f, &(struct order){.kind = ORDER_DISCONNECT, .code = 4242, .reason = TEXT("bye")});
    hear_close(f, 4242, "bye");
    fake_end(f);
    fake_connect(f);
    give(f, &(struct order){.kind = ORDER_DISCONNECT});
    hear_close(f, 3503, "force disconnect");
    fake_end(f);
    char reason[300];
    memset(reason, 'r', sizeof reason);
    fake_connect(f);
    give(f, &(struct order){.kind = ORDER_DISCONNECT, .code = 4000, .reason = {reason, sizeof reason}});
    assert_int_equal(strlen(f->close_text), 123);
}

static void an_ordered_subscription_is_pushed_with_its_position(void **state)
{
    struct fake *f = *state;
    fake_connect(f);
    give(f, &(struct order){.kind = ORDER_SUBSCRIBE,
                            .topic = TEXT("room:a"),
                            .info = TEXT("{\"i\":1}"),
                            .data = TEXT("{\"d\":1}"),
                            .expire_at = NOW + 30});
    hear_nothing(f);
    struct broker_request *request = asked(f, BROKER_SUBSCRIBE, "room:a");
    assert_int_equal(request->flags, SUBSCRIPTION_SERVER | SUBSCRIPTION_PRESENT | SUBSCRIPTION_ANNOUNCED |
                                         SUBSCRIPTION_JOIN_LEAVE);
    assert_memory_equal(request->chan_info.data, "{\"i\":1}", 7);
    assert_true(request->promised); /* the client has not asked: it cannot be told to come again */
    answer(f, request);
    hear(f, "{\"push\":{\"channel\":\"room:a\",\"subscribe\":{\"data\":{\"d\":1}}}}");
    assert_int_equal(f->deadline, 30000);
    give(f, &(struct order){.kind = ORDER_SUBSCRIBE,
                            .topic = TEXT("stream:a"),
                            .recover = true,
                            .since = {.offset = 1, .epoch = EPOCH}});
    request = asked(f, BROKER_SUBSCRIBE, "stream:a");
    assert_true(request->since_set);
    assert_int_equal(request->since.offset, 1);
    answer_page(request, 2, (const char *const[]){"2", NULL});
    answer(f, request);
    hear(f, "{\"push\":{\"channel\":\"stream:a\",\"subscribe\":{\"recoverable\":true,\"epoch\":\"" EPOCH_TEXT
            "\",\"offset\":2,\"positioned\":true}}}\n"
            "{\"push\":{\"channel\":\"stream:a\",\"pub\":{\"data\":2,\"offset\":2}}}");
}

static void an_ordered_subscription_may_be_there_or_find_no_place(void **state)
{
    struct fake *f = *state;
    fake_connect(f);
    fake_subscribe(f, 2, "a");
    give(f, &(struct order){.kind = ORDER_SUBSCRIBE, .topic = TEXT("a")});
    asked_nothing(f);
    give(f, &(struct order){.kind = ORDER_SUBSCRIBE, .topic = TEXT("b")});
    answer_failed(f, BROKER_SUBSCRIBE, "b", BROKER_FULL);
    f->settings.limits.topics_per_connection = 1;
    give(f, &(struct order){.kind = ORDER_SUBSCRIBE, .topic = TEXT("c"), .info = TEXT("1")});
    hear_nothing(f);
    assert_int_equal(f->close_code, 0);
    assert_int_equal(f->sub_count, 1);
    assert_null(f->session.more);
}

static void an_order_is_faster_than_the_backend(void **state)
{
    struct fake *f = *state;
    fake_backend(f, 1u << PROXY_SUBSCRIBE);
    fake_connect(f);
    say(f, "{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}");
    struct proxy_request *request = called(f, PROXY_SUBSCRIBE, ",\"user\":\"\",\"channel\":\"a\"");
    give(f, &(struct order){.kind = ORDER_SUBSCRIBE, .topic = TEXT("a")});
    hear_error(f, 2, 105);
    backend_says(f, request, "{\"result\":{}}");
    answer_ok(f, BROKER_SUBSCRIBE, "a");
    hear(f, "{\"push\":{\"channel\":\"a\",\"subscribe\":{}}}");
    asked_nothing(f);
    assert_int_equal(f->sub_count, 1);
    assert_null(f->session.more);
}

static void an_ordered_end_is_pushed_with_its_code(void **state)
{
    struct fake *f = *state;
    fake_connect(f);
    fake_subscribe(f, 2, "a");
    give(f, &(struct order){.kind = ORDER_UNSUBSCRIBE, .topic = TEXT("a")});
    hear(f,
         "{\"push\":{\"channel\":\"a\",\"unsubscribe\":{\"code\":2000,\"reason\":\"server unsubscribe\"}}}");
    assert_int_equal(f->sub_count, 0);
    give(f, &(struct order){.kind = ORDER_UNSUBSCRIBE, .topic = TEXT("a")});
    hear_nothing(f);
    fake_subscribe(f, 3, "a");
    give(f, &(struct order){.kind = ORDER_UNSUBSCRIBE, .topic = TEXT("a"), .code = 2500});
    hear(f,
         "{\"push\":{\"channel\":\"a\",\"unsubscribe\":{\"code\":2500,\"reason\":\"insufficient state\"}}}");
}

static void an_ordered_end_reaches_a_subscription_on_its_way(void **state)
{
    struct fake *f = *state;
    fake_connect(f);
    say(f, "{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}");
    give(f, &(struct order){.kind = ORDER_UNSUBSCRIBE, .topic = TEXT("a")});
    hear(f,
         "{\"id\":2,\"subscribe\":{}}\n"
         "{\"push\":{\"channel\":\"a\",\"unsubscribe\":{\"code\":2000,\"reason\":\"server unsubscribe\"}}}");
    answer_ok(f, BROKER_SUBSCRIBE, "a");
    hear_nothing(f);
    assert_int_equal(f->sub_count, 0);
}

static void an_order_about_what_is_no_topic_is_ignored(void **state)
{
    struct fake *f = *state;
    char name[300];
    memset(name, 't', sizeof name);
    fake_connect(f);
    for (int kind = ORDER_SUBSCRIBE; kind <= ORDER_UNSUBSCRIBE; kind++) {
        give(f, &(struct order){.kind = (uint8_t)kind, .topic = {name, sizeof name}});
        give(f, &(struct order){.kind = (uint8_t)kind});
    }
    hear_nothing(f);
    asked_nothing(f);
}

static void an_ordered_refresh_sets_and_lifts_the_expiry(void **state)
{
    struct fake *f = *state;
    fake_connect(f);
    give(f, &(struct order){.kind = ORDER_REFRESH, .expire_at = NOW + 60});
    hear(f, "{\"push\":{\"refresh\":{\"expires\":true,\"ttl\":60}}}");
    assert_int_equal(f->deadline, 85000);
    give(f, &(struct order){.kind = ORDER_REFRESH});
    hear(f, "{\"push\":{\"refresh\":{}}}");
    assert_int_equal(f->deadline, 0);
    assert_null(f->session.more);
    give(f, &(struct order){.kind = ORDER_REFRESH, .expired = true});
    hear_close(f, 3005, "connection expired");
    fake_end(f);
    fake_connect(f);
    give(f, &(struct order){.kind = ORDER_REFRESH, .expire_at = NOW});
    hear_close(f, 3005, "connection expired");
}

/* Gaps
 * ---------------------------------------------------------------------------------------------------------
 */

static void a_gap_makes_the_client_subscribe_again(void **state)
{
    struct fake *f = *state;
    fake_connect(f);
    fake_subscribe(f, 2, "a");
    adapter_centrifuge.gap(&f->link, "a", 1);
    hear(f,
         "{\"push\":{\"channel\":\"a\",\"unsubscribe\":{\"code\":2500,\"reason\":\"insufficient state\"}}}");
    assert_int_equal(f->sub_count, 0);
    adapter_centrifuge.gap(&f->link, "a", 1);
    hear_nothing(f);
}

static void a_gap_in_the_servers_subscription_makes_the_client_connect_again(void **state)
{
    struct fake *f = *state;
    fake_connect(f);
    give(f, &(struct order){.kind = ORDER_SUBSCRIBE, .topic = TEXT("a")});
    answer_ok(f, BROKER_SUBSCRIBE, "a");
    hear(f, "{\"push\":{\"channel\":\"a\",\"subscribe\":{}}}");
    adapter_centrifuge.gap(&f->link, "a", 1);
    hear_close(f, 3010, "insufficient state");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fake_set_up, fake_tear_down)
    const struct CMUnitTest tests[] = {
        T(an_order_concerns_one_user_and_maybe_one_client),
        T(who_is_not_connected_yet_is_nobodys),
        T(a_disconnect_has_the_code_and_reason_that_were_ordered),
        T(an_ordered_subscription_is_pushed_with_its_position),
        T(an_ordered_subscription_may_be_there_or_find_no_place),
        T(an_order_is_faster_than_the_backend),
        T(an_ordered_end_is_pushed_with_its_code),
        T(an_ordered_end_reaches_a_subscription_on_its_way),
        T(an_order_about_what_is_no_topic_is_ignored),
        T(an_ordered_refresh_sets_and_lifts_the_expiry),
        T(a_gap_makes_the_client_subscribe_again),
        T(a_gap_in_the_servers_subscription_makes_the_client_connect_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
