/* The codes against what centrifugal.dev/docs/server/codes says of them, written out once more. */
#include "proto/centrifuge_codes.h"
#include "proto/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void errors_are_the_documented_ones(void **state)
{
    (void)state;
    static const struct {
        uint32_t code;
        const char *message;
        bool temporary;
    } errors[] = {
        {100, "internal server error", true},
        {101, "unauthorized", false},
        {102, "unknown channel", false},
        {103, "permission denied", false},
        {104, "method not found", false},
        {105, "already subscribed", false},
        {106, "limit exceeded", false},
        {107, "bad request", false},
        {108, "not available", false},
        {109, "token expired", false},
        {110, "expired", false},
        {111, "too many requests", true},
        {112, "unrecoverable position", false},
    };
    size_t known = 0;
    for (uint32_t code = 0; code < 2000; code++)
        known += centrifuge_error_message(code) != NULL;
    assert_int_equal(known, sizeof errors / sizeof errors[0]);
    for (size_t i = 0; i < known; i++) {
        assert_string_equal(centrifuge_error_message(errors[i].code), errors[i].message);
        assert_int_equal(centrifuge_error_temporary(errors[i].code), errors[i].temporary);
    }
    assert_false(centrifuge_error_temporary(99));
    assert_int_equal(CENTRIFUGE_ERROR_UNRECOVERABLE_POSITION, 112);
}

static void unsubscribe_codes_say_whether_to_subscribe_again(void **state)
{
    (void)state;
    assert_string_equal(centrifuge_unsubscribe_reason(2000), "server unsubscribe");
    assert_string_equal(centrifuge_unsubscribe_reason(2500), "insufficient state");
    assert_string_equal(centrifuge_unsubscribe_reason(2501), "subscription expired");
    assert_null(centrifuge_unsubscribe_reason(2001));
    assert_true(CENTRIFUGE_UNSUBSCRIBE_SERVER < 2500 && CENTRIFUGE_UNSUBSCRIBE_INSUFFICIENT_STATE >= 2500);
}

static void disconnect_codes_say_whether_to_reconnect(void **state)
{
    (void)state;
    static const struct {
        uint32_t code;
        const char *reason;
    } disconnects[] = {
        {3000, "connection closed"},     {3001, "shutdown"},
        {3004, "internal server error"}, {3005, "connection expired"},
        {3006, "subscription expired"},  {3008, "slow"},
        {3009, "write error"},           {3010, "insufficient state"},
        {3011, "force reconnect"},       {3012, "no pong"},
        {3013, "too many requests"},     {3500, "invalid token"},
        {3501, "bad request"},           {3502, "stale"},
        {3503, "force disconnect"},      {3504, "connection limit"},
        {3505, "channel limit"},         {3506, "inappropriate protocol"},
        {3507, "permission denied"},     {3508, "not available"},
        {3509, "too many errors"},
    };
    for (size_t i = 0; i < sizeof disconnects / sizeof disconnects[0]; i++) {
        assert_string_equal(centrifuge_disconnect_reason(disconnects[i].code), disconnects[i].reason);
        assert_int_equal(centrifuge_disconnect_reconnects(disconnects[i].code), disconnects[i].code < 3500);
    }
    assert_null(centrifuge_disconnect_reason(3999));
    static const struct {
        uint32_t code;
        bool valid, reconnects;
    } ranges[] = {
        {1000, false, true}, {2999, false, true}, {3499, true, true}, {3500, true, false},
        {3999, true, false}, {4000, true, true},  {4499, true, true}, {4500, true, false},
        {4999, true, false}, {5000, false, true},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        assert_int_equal(centrifuge_disconnect_valid(ranges[i].code), ranges[i].valid);
        assert_int_equal(centrifuge_disconnect_reconnects(ranges[i].code), ranges[i].reconnects);
    }
}

/* A reason travels in a close frame: at most 123 bytes of UTF-8. */
static void every_disconnect_fits_a_close_frame(void **state)
{
    (void)state;
#define X(name, code, reason)                                                                                \
    assert_true(centrifuge_disconnect_valid(code));                                                          \
    assert_true(sizeof(reason) - 1 <= 123 && utf8_valid(reason, sizeof(reason) - 1));
    CENTRIFUGE_DISCONNECTS(X)
#undef X
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_are_the_documented_ones),
        cmocka_unit_test(unsubscribe_codes_say_whether_to_subscribe_again),
        cmocka_unit_test(disconnect_codes_say_whether_to_reconnect),
        cmocka_unit_test(every_disconnect_fits_a_close_frame),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
