/* Alerts and KeyUpdate after the handshake, whole, in pieces and malformed. */
#include "proto/tls_post.h"

#include "tls_trace.h"

static const uint8_t key_update[] = {24, 0, 0, 1, 0};
static const uint8_t key_update_requested[] = {24, 0, 0, 1, 1};

/* A peer's write side and our read side, equal until one of them is updated. */
struct line {
    struct tls_crypto *crypto;
    struct tls_direction theirs, ours;
    struct tls_fragment fragment;
};

static struct line make_line(struct tls_crypto *crypto)
{
    struct line line = {.crypto = crypto, .theirs = trace_direction(crypto, TRACE_CLIENT_SECRET, 0)};
    line.ours = line.theirs;
    return line;
}

static struct tls_post_result open_and_read(struct line *line, uint8_t *record, size_t bytes)
{
    struct tls_opened opened;
    assert_int_equal(tls_record_open(line->crypto, &line->ours, TRACE_SUITE, record, bytes, &opened),
                     PARSE_OK);
    return tls_post_record(line->crypto, &line->ours, TRACE_SUITE, &line->fragment, &opened);
}

static struct tls_post_result hear(struct line *line, enum tls_content_type type, const void *content,
                                   size_t len)
{
    uint8_t record[256];
    struct tls_slice part = {content, len};
    size_t bytes = tls_record_seal(line->crypto, &line->theirs, TRACE_SUITE, type, &part, 1, record);
    assert_int_not_equal(bytes, 0);
    return open_and_read(line, record, bytes);
}

static void expect_error(struct tls_post_result result, enum tls_alert alert)
{
    assert_int_equal(result.event, TLS_EVENT_ERROR);
    assert_int_equal(result.alert, alert);
}

/* After both sides have moved on, they still understand each other. */
static void expect_updated(struct line *line, struct tls_post_result result, enum tls_event event)
{
    assert_int_equal(result.event, event);
    assert_int_equal(line->fragment.have, 0);
    assert_true(tls_direction_update(line->crypto, &line->theirs, TRACE_SUITE));
    assert_memory_equal(&line->ours, &line->theirs, sizeof line->ours);
    assert_int_equal(hear(line, TLS_CONTENT_APPLICATION_DATA, "on", 2).event, TLS_EVENT_DATA);
}

static void data_is_data_even_when_empty(void **state)
{
    struct line line = make_line(*state);
    assert_int_equal(hear(&line, TLS_CONTENT_APPLICATION_DATA, "hello", 5).event, TLS_EVENT_DATA);
    assert_int_equal(hear(&line, TLS_CONTENT_APPLICATION_DATA, "", 0).event, TLS_EVENT_DATA);
}

static void the_traces_close_notify_is_one(void **state)
{
    struct line line = make_line(*state);
    uint8_t record[128];
    assert_int_equal(open_and_read(&line, record, hex(TRACE_CLIENT_DATA, record)).event, TLS_EVENT_DATA);
    assert_int_equal(open_and_read(&line, record, hex(TRACE_CLIENT_ALERT, record)).event,
                     TLS_EVENT_CLOSE_NOTIFY);
    struct tls_direction server = trace_direction(*state, TRACE_SERVER_SECRET, 2);
    size_t bytes = tls_post_alert(*state, &server, TRACE_SUITE, TLS_ALERT_CLOSE_NOTIFY, record);
    assert_hex(record, bytes, TRACE_SERVER_ALERT);
}

static void the_traces_ticket_is_not_for_a_server(void **state)
{
    struct line line = {.crypto = *state, .ours = trace_direction(*state, TRACE_SERVER_SECRET, 0)};
    uint8_t record[512];
    expect_error(open_and_read(&line, record, hex(TRACE_TICKET, record)), TLS_ALERT_UNEXPECTED_MESSAGE);
}

static void every_other_alert_is_fatal_whatever_its_level(void **state)
{
    struct line line = make_line(*state);
    for (unsigned level = 0; level < 4; level++) {
        for (unsigned alert = 1; alert < 256; alert++) {
            const uint8_t content[] = {(uint8_t)level, (uint8_t)alert};
            struct tls_post_result result = hear(&line, TLS_CONTENT_ALERT, content, 2);
            if (alert == TLS_ALERT_USER_CANCELED) {
                assert_int_equal(result.event, TLS_EVENT_NONE);
                continue;
            }
            assert_int_equal(result.event, TLS_EVENT_FATAL_ALERT);
            assert_int_equal(result.peer_alert, alert);
        }
    }
}

static void alerts_in_pieces_or_pairs_are_refused(void **state)
{
    struct line line = make_line(*state);
    static const uint8_t alerts[] = {1, 0, 1, 0};
    expect_error(hear(&line, TLS_CONTENT_ALERT, alerts, 1), TLS_ALERT_DECODE_ERROR);
    expect_error(hear(&line, TLS_CONTENT_ALERT, alerts, 3), TLS_ALERT_DECODE_ERROR);
    expect_error(hear(&line, TLS_CONTENT_ALERT, alerts, 4), TLS_ALERT_DECODE_ERROR);
}

static void key_updates_move_the_read_key(void **state)
{
    struct line line = make_line(*state);
    for (int i = 0; i < 3; i++) {
        expect_updated(&line, hear(&line, TLS_CONTENT_HANDSHAKE, key_update, 5), TLS_EVENT_PEER_UPDATED);
        expect_updated(&line, hear(&line, TLS_CONTENT_HANDSHAKE, key_update_requested, 5),
                       TLS_EVENT_PEER_UPDATED_REPLY);
    }
}

/* All 16 ways to cut five bytes into records. */
static void key_updates_come_in_any_fragments(void **state)
{
    for (unsigned cuts = 0; cuts < 16; cuts++) {
        struct line line = make_line(*state);
        size_t from = 0;
        for (size_t at = 1; at <= 5; at++) {
            if (at < 5 && !(cuts >> (at - 1) & 1))
                continue;
            struct tls_post_result result =
                hear(&line, TLS_CONTENT_HANDSHAKE, key_update_requested + from, at - from);
            if (at < 5) {
                assert_int_equal(result.event, TLS_EVENT_NONE);
                assert_int_equal(line.fragment.have, at);
            } else {
                expect_updated(&line, result, TLS_EVENT_PEER_UPDATED_REPLY);
            }
            from = at;
        }
    }
}

static void nothing_may_stand_between_fragments(void **state)
{
    static const enum tls_content_type types[] = {TLS_CONTENT_APPLICATION_DATA, TLS_CONTENT_ALERT};
    for (size_t i = 0; i < 2; i++) {
        struct line line = make_line(*state);
        assert_int_equal(hear(&line, TLS_CONTENT_HANDSHAKE, key_update, 2).event, TLS_EVENT_NONE);
        static const uint8_t close_notify[] = {1, 0};
        expect_error(hear(&line, types[i], close_notify, 2), TLS_ALERT_UNEXPECTED_MESSAGE);
    }
}

static void bytes_after_a_key_update_are_refused_without_a_key_change(void **state)
{
    static const uint8_t two[] = {24, 0, 0, 1, 0, 24, 0, 0, 1, 0};
    for (size_t len = 6; len <= sizeof two; len += 4) {
        struct line line = make_line(*state);
        expect_error(hear(&line, TLS_CONTENT_HANDSHAKE, two, len), TLS_ALERT_UNEXPECTED_MESSAGE);
        assert_memory_equal(line.ours.secret, line.theirs.secret, TLS_SECRET_BYTES);
    }
    struct line line = make_line(*state);
    assert_int_equal(hear(&line, TLS_CONTENT_HANDSHAKE, two, 4).event, TLS_EVENT_NONE);
    expect_error(hear(&line, TLS_CONTENT_HANDSHAKE, two + 4, 2), TLS_ALERT_UNEXPECTED_MESSAGE);
}

static void malformed_key_updates_are_refused_as_soon_as_they_show(void **state)
{
    static const struct {
        uint8_t content[5];
        size_t len;
        enum tls_alert alert;
    } cases[] = {
        {{24, 0, 0, 1, 2}, 5, TLS_ALERT_ILLEGAL_PARAMETER},
        {{24, 0, 0, 1, 255}, 5, TLS_ALERT_ILLEGAL_PARAMETER},
        {{24, 0, 0, 0}, 4, TLS_ALERT_DECODE_ERROR},
        {{24, 0, 0, 2, 0}, 5, TLS_ALERT_DECODE_ERROR},
        {{24, 0xff}, 2, TLS_ALERT_DECODE_ERROR},
        {{24, 0, 1}, 3, TLS_ALERT_DECODE_ERROR},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct line line = make_line(*state);
        expect_error(hear(&line, TLS_CONTENT_HANDSHAKE, cases[i].content, cases[i].len), cases[i].alert);
    }
}

static void records_that_say_nothing_are_counted_in_a_row(void **state)
{
    (void)state;
    static const enum tls_event idle[] = {TLS_EVENT_NONE, TLS_EVENT_PEER_UPDATED,
                                          TLS_EVENT_PEER_UPDATED_REPLY, TLS_EVENT_DATA};
    const struct tls_post_result data = {.event = TLS_EVENT_DATA};
    const struct tls_opened empty = {.content_bytes = 0}, full = {.content_bytes = 1};
    uint8_t count = 0;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < TLS_IDLE_RECORDS_MAX; i++) {
            struct tls_post_result result = {.event = idle[i % 4]};
            /* What a KeyUpdate's record has as content is not the peer's data. */
            assert_true(tls_post_count(&count, &result, i % 4 == 3 ? &empty : &full));
        }
        assert_false(tls_post_count(&count, &data, &empty));
        assert_true(tls_post_count(&count, &data, &full));
        assert_int_equal(count, 0);
    }
}

static void only_key_updates_are_for_a_server(void **state)
{
    for (unsigned type = 0; type < 256; type++) {
        struct line line = make_line(*state);
        const uint8_t first[] = {(uint8_t)type};
        struct tls_post_result result = hear(&line, TLS_CONTENT_HANDSHAKE, first, 1);
        if (type == 24)
            assert_int_equal(result.event, TLS_EVENT_NONE);
        else
            expect_error(result, TLS_ALERT_UNEXPECTED_MESSAGE);
    }
}

static void our_key_update_goes_out_under_the_old_key(void **state)
{
    for (int request = 0; request < 2; request++) {
        struct line line = make_line(*state);
        uint8_t record[64];
        size_t bytes = tls_post_key_update(*state, &line.theirs, TRACE_SUITE, request, record);
        assert_int_equal(bytes, 5 + TLS_RECORD_OVERHEAD);
        assert_int_equal(tls_direction_seq(&line.theirs), 0);
        assert_int_equal(open_and_read(&line, record, bytes).event,
                         request ? TLS_EVENT_PEER_UPDATED_REPLY : TLS_EVENT_PEER_UPDATED);
        assert_int_equal(hear(&line, TLS_CONTENT_APPLICATION_DATA, "new", 3).event, TLS_EVENT_DATA);
    }
}

static void our_alerts_carry_their_level(void **state)
{
    static const struct {
        enum tls_alert alert;
        uint8_t level;
    } cases[] = {{TLS_ALERT_CLOSE_NOTIFY, 1}, {TLS_ALERT_USER_CANCELED, 1}, {TLS_ALERT_BAD_RECORD_MAC, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct line line = make_line(*state);
        uint8_t record[64];
        size_t bytes = tls_post_alert(*state, &line.theirs, TRACE_SUITE, cases[i].alert, record);
        assert_int_equal(bytes, 2 + TLS_RECORD_OVERHEAD);
        struct tls_opened opened;
        assert_int_equal(tls_record_open(*state, &line.ours, TRACE_SUITE, record, bytes, &opened), PARSE_OK);
        assert_int_equal(opened.type, TLS_CONTENT_ALERT);
        assert_int_equal(opened.content[0], cases[i].level);
        assert_int_equal(opened.content[1], cases[i].alert);
    }
}

static void alerts_have_their_registered_names(void **state)
{
    (void)state;
    assert_string_equal(tls_alert_name(0), "close_notify");
    assert_string_equal(tls_alert_name(20), "bad_record_mac");
    assert_string_equal(tls_alert_name(70), "protocol_version");
    assert_string_equal(tls_alert_name(120), "no_application_protocol");
    assert_string_equal(tls_alert_name(1), "unknown");
    assert_string_equal(tls_alert_name(255), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_is_data_even_when_empty),
        cmocka_unit_test(the_traces_close_notify_is_one),
        cmocka_unit_test(the_traces_ticket_is_not_for_a_server),
        cmocka_unit_test(every_other_alert_is_fatal_whatever_its_level),
        cmocka_unit_test(alerts_in_pieces_or_pairs_are_refused),
        cmocka_unit_test(key_updates_move_the_read_key),
        cmocka_unit_test(key_updates_come_in_any_fragments),
        cmocka_unit_test(nothing_may_stand_between_fragments),
        cmocka_unit_test(bytes_after_a_key_update_are_refused_without_a_key_change),
        cmocka_unit_test(malformed_key_updates_are_refused_as_soon_as_they_show),
        cmocka_unit_test(records_that_say_nothing_are_counted_in_a_row),
        cmocka_unit_test(only_key_updates_are_for_a_server),
        cmocka_unit_test(our_key_update_goes_out_under_the_old_key),
        cmocka_unit_test(our_alerts_carry_their_level),
        cmocka_unit_test(alerts_have_their_registered_names),
    };
    return cmocka_run_group_tests(tests, crypto_set_up, crypto_tear_down);
}
