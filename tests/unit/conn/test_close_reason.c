/* close_reason and stats: every row of the two lists can be told from the others. */
#include "gateway/conn/close_reason.h"
#include "gateway/conn/stats.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void is_a_label(const char *label)
{
    assert_true(*label != '\0');
    for (; *label; label++)
        assert_true(islower((unsigned char)*label) || *label == '_');
}

static void close_reasons_have_labels_of_their_own(void **state)
{
    (void)state;
    for (unsigned i = 0; i < CLOSE_REASON_COUNT; i++) {
        is_a_label(close_reason_label((enum close_reason)i));
        assert_true(*close_reason_text((enum close_reason)i) != '\0');
        for (unsigned j = 0; j < i; j++)
            assert_string_not_equal(close_reason_label((enum close_reason)i),
                                    close_reason_label((enum close_reason)j));
    }
}

static void close_codes_may_be_sent_on_the_wire(void **state)
{
    (void)state;
    for (unsigned i = 0; i < CLOSE_REASON_COUNT; i++) {
        uint16_t code = close_reason_code((enum close_reason)i);
        assert_true(code == 0 || (code >= 1000 && code <= 1014));
        assert_true(code != 1004 && code != 1005 && code != 1006); /* RFC 6455 §7.4.1: never in a frame */
    }
    assert_int_equal(close_reason_code(CLOSE_SLOW), 1013);
    assert_int_equal(close_reason_code(CLOSE_TOO_BIG), 1009);
    assert_int_equal(close_reason_code(CLOSE_PEER_EOF), 0);
    assert_string_equal(close_reason_label(CLOSE_IDLE), "idle_timeout");
}

static void handshake_failures_have_labels_of_their_own(void **state)
{
    (void)state;
    for (unsigned i = 0; i < HANDSHAKE_FAILURE_COUNT; i++) {
        is_a_label(handshake_failure_label((enum handshake_failure)i));
        for (unsigned j = 0; j < i; j++)
            assert_string_not_equal(handshake_failure_label((enum handshake_failure)i),
                                    handshake_failure_label((enum handshake_failure)j));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(close_reasons_have_labels_of_their_own),
        cmocka_unit_test(close_codes_may_be_sent_on_the_wire),
        cmocka_unit_test(handshake_failures_have_labels_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
