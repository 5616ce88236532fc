/* WebSocket frames against a model written from RFC 6455 §5 alone, and round trips through wslay. */
#include "proto/utf8.h"
#include "proto/ws_frame.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <wslay/wslay.h>

/* These two stand before wslay's own, so that a test can make it fail in the middle of a frame, or find no
 * memory. */
static bool fail_recv, fail_init;

ssize_t wslay_frame_recv(wslay_frame_context_ptr context, struct wslay_frame_iocb *frame)
{
    ssize_t (*real)(wslay_frame_context_ptr, struct wslay_frame_iocb *);
    *(void **)&real = dlsym(RTLD_NEXT, "wslay_frame_recv");
    ssize_t result =
        real(context, frame); /* leaves bytes of the frame inside wslay when it is longer than its buffer */
    return fail_recv ? WSLAY_ERR_PROTO : result;
}

int wslay_frame_context_init(wslay_frame_context_ptr *context, const struct wslay_frame_callbacks *callbacks,
                             void *user_data)
{
    int (*real)(wslay_frame_context_ptr *, const struct wslay_frame_callbacks *, void *);
    *(void **)&real = dlsym(RTLD_NEXT, "wslay_frame_context_init");
    return fail_init ? WSLAY_ERR_NOMEM : real(context, callbacks, user_data);
}

static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};

/* Writes a frame for the ears of `role`. */
static size_t write_frame(enum ws_role role, uint8_t *out, uint8_t opcode, bool fin, const void *payload,
                          size_t len)
{
    if (role == WS_ROLE_SERVER)
        return ws_frame_masked(out, (enum ws_opcode)opcode, fin, mask, payload, len);
    size_t header_bytes = ws_frame_header(out, (enum ws_opcode)opcode, fin, len);
    if (len > 0)
        memcpy(out + header_bytes, payload, len);
    return header_bytes + len;
}

/* The close code that RFC 6455 gives a header of one or two bytes, 0 when nothing is wrong with it yet. */
static int naive_verdict(const uint8_t *data, size_t len, enum ws_role role, uint8_t open,
                         uint64_t max_payload)
{
    int opcode = data[0] & 15;
    bool fin = data[0] >> 7;
    if ((data[0] >> 4 & 7) != 0) /* §5.2: RSV1–3 MUST be 0 without an extension */
        return 1002;
    switch (opcode) {
    case 0: /* §5.4 */
        if (!open)
            return 1002;
        break;
    case 1:
    case 2:
        if (open)
            return 1002;
        break;
    case 8:
    case 9:
    case 10: /* §5.5: control frames MUST NOT be fragmented */
        if (!fin)
            return 1002;
        break;
    default: /* §5.2: unknown opcode */
        return 1002;
    }
    if (len == 1)
        return 0;
    bool masked = data[1] >= 128;
    int length = data[1] % 128;
    if (masked != (role == WS_ROLE_SERVER)) /* §5.1 */
        return 1002;
    if (opcode >= 8)
        return length > 125 || (opcode == 8 && length == 1) ? 1002 : 0; /* §5.5, §5.5.1 */
    uint64_t at_least = length == 127 ? 65536 : (uint64_t)length;
    return at_least > max_payload ? 1009 : 0;
}

static void every_header_of_two_bytes_is_judged_as_the_model_does(void **state)
{
    (void)state;
    static const uint64_t limits[] = {0, 1, 100, 125, 126, 65535, 65536, UINT64_MAX};
    static const uint8_t opens[] = {0, WS_TEXT, WS_BINARY};
    for (unsigned value = 0; value < 65536; value++) {
        uint8_t data[2] = {(uint8_t)(value >> 8), (uint8_t)value};
        for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]) * 3 * 2; i++) {
            enum ws_role role = i % 2 ? WS_ROLE_SERVER : WS_ROLE_CLIENT;
            struct ws_sequence seq = {.message_opcode = opens[i / 2 % 3]};
            uint64_t max_payload = limits[i / 6];
            struct ws_frame frame;
            for (size_t len = 1; len <= 2; len++) {
                int code = naive_verdict(data, len, role, seq.message_opcode, max_payload);
                bool whole = len == 2 && role == WS_ROLE_CLIENT && data[1] % 128 < 126;
                enum parse_result expected = code ? PARSE_BAD : whole ? PARSE_OK : PARSE_MORE;
                enum parse_result result = ws_frame_peek(data, len, role, &seq, max_payload, &frame);
                if (result != expected || (code && frame.close_code != code) || (code && frame.error == NULL))
                    fail_msg("%02x %02x (%zu bytes), role %d, open %d, limit %llu: %d %d, expected %d %d",
                             data[0], data[1], len, role, seq.message_opcode, (unsigned long long)max_payload,
                             result, frame.close_code, expected, code);
            }
        }
    }
}

static void every_16_bit_length_is_judged_as_the_model_does(void **state)
{
    (void)state;
    const uint64_t max_payload = 60000;
    struct ws_sequence seq = {0};
    struct ws_frame frame;
    for (unsigned value = 0; value < 65536; value++) {
        uint8_t data[4] = {0x82, 126, (uint8_t)(value >> 8), (uint8_t)value};
        int code = value < 126 ? 1002 : value > max_payload ? 1009 : 0;
        enum parse_result result = ws_frame_peek(data, 4, WS_ROLE_CLIENT, &seq, max_payload, &frame);
        assert_int_equal(result, code ? PARSE_BAD : PARSE_OK);
        assert_int_equal(frame.close_code, code);
        if (!code)
            assert_int_equal(frame.payload_bytes, value);
        /* With the low byte still to come, only what no low byte can save is bad. */
        bool hopeful = (value | 0xff) >= 126 && (value & 0xff00) <= max_payload;
        assert_int_equal(ws_frame_peek(data, 3, WS_ROLE_CLIENT, &seq, max_payload, &frame),
                         hopeful ? PARSE_MORE : PARSE_BAD);
    }
}

static void a_64_bit_length_fails_at_the_first_wrong_byte(void **state)
{
    (void)state;
    static const struct {
        uint64_t value, max_payload;
        size_t bad_at; /* bytes of the header that suffice to refuse, 0: good */
        int code;
    } rows[] = {
        {0, UINT64_MAX, 8, 1002}, /* six zero bytes: below 65536 whatever follows */
        {65535, UINT64_MAX, 8, 1002},
        {65536, UINT64_MAX, 0, 0},
        {65536, 65536, 0, 0},
        {65537, 65536, 10, 1009},
        {0, 100, 2, 1009},       /* too big whatever follows, however many bytes have come */
        {65536, 65535, 2, 1009}, /* a 64-bit length is at least 65536 */
        {UINT64_C(1) << 32, 1 << 20, 6, 1009},
        {INT64_MAX, UINT64_MAX, 0, 0},
        {INT64_MAX, 1 << 20, 3, 1009},
        {UINT64_C(1) << 63, UINT64_MAX, 3, 1002}, /* the most significant bit MUST be 0 */
        {UINT64_MAX, UINT64_MAX, 3, 1002},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint8_t data[14] = {0x82, 0x80 | 127};
        for (size_t b = 0; b < 8; b++)
            data[2 + b] = (uint8_t)(rows[i].value >> (56 - 8 * b));
        for (size_t len = 0; len <= 14; len++) {
            struct ws_sequence seq = {0};
            struct ws_frame frame;
            enum parse_result result =
                ws_frame_peek(data, len, WS_ROLE_SERVER, &seq, rows[i].max_payload, &frame);
            bool refused = rows[i].bad_at != 0 && len >= rows[i].bad_at;
            if (result != (refused ? PARSE_BAD : len < 14 ? PARSE_MORE : PARSE_OK))
                fail_msg("row %zu with %zu bytes: %d", i, len, result);
            if (refused)
                assert_int_equal(frame.close_code, rows[i].code);
            if (result == PARSE_OK)
                assert_true(frame.payload_bytes == rows[i].value && frame.header_bytes == 14);
        }
    }
}

static void the_limit_holds_exactly_and_not_for_control_frames(void **state)
{
    (void)state;
    struct ws_sequence seq = {0};
    struct ws_frame frame;
    uint8_t data[2] = {0x81, 100};
    assert_int_equal(ws_frame_peek(data, 2, WS_ROLE_CLIENT, &seq, 100, &frame), PARSE_OK);
    assert_int_equal(ws_frame_peek(data, 2, WS_ROLE_CLIENT, &seq, 99, &frame), PARSE_BAD);
    assert_int_equal(frame.close_code, 1009);
    data[0] = 0x89;
    assert_int_equal(ws_frame_peek(data, 2, WS_ROLE_CLIENT, &seq, 0, &frame), PARSE_OK);
    /* A continuation gets what is left of the message's limit; nothing may be left and the frame be empty. */
    seq.message_opcode = WS_TEXT;
    assert_int_equal(ws_frame_peek((uint8_t[]){0x80, 0}, 2, WS_ROLE_CLIENT, &seq, 0, &frame), PARSE_OK);
    assert_int_equal(ws_frame_peek((uint8_t[]){0x80, 1}, 2, WS_ROLE_CLIENT, &seq, 0, &frame), PARSE_BAD);
    assert_int_equal(frame.close_code, 1009);
}

static void frames_of_every_edge_length_come_back_whole(void **state)
{
    (void)state;
    static const size_t lengths[] = {0,    1,    2,    3,    4,    5,    124,  125,   126,   127,   4077,
                                     4081, 4082, 4088, 4092, 4096, 4097, 8192, 65535, 65536, 100001};
    uint8_t *payload = malloc(100001);
    assert_non_null(payload);
    for (size_t i = 0; i < 100001; i++)
        payload[i] = (uint8_t)(i * 31 + i / 251);
    for (int role = WS_ROLE_SERVER; role <= WS_ROLE_CLIENT; role++) {
        struct ws_reader *reader = ws_reader_create((enum ws_role)role);
        assert_non_null(reader);
        for (size_t i = 0; i < 2 * sizeof(lengths) / sizeof(lengths[0]); i++) {
            size_t len = lengths[i / 2];
            /* Exactly as long as the frame, so that a sanitizer sees one byte too many. */
            size_t header = (len < 126 ? 2 : len < 65536 ? 4 : 10) + (role == WS_ROLE_SERVER ? 4 : 0);
            uint8_t *data = malloc(header + len);
            assert_non_null(data);
            assert_int_equal(write_frame((enum ws_role)role, data, WS_BINARY, true, payload, len),
                             header + len);
            struct ws_sequence seq = {0};
            struct ws_frame frame;
            assert_int_equal(ws_reader_read(reader, data, header + len, &seq, &frame), PARSE_OK);
            assert_int_equal(frame.header_bytes, header);
            assert_int_equal(frame.payload_bytes, len);
            assert_ptr_equal(frame.payload, data + header);
            assert_memory_equal(frame.payload, payload, len);
            assert_true(frame.fin && frame.opcode == WS_BINARY && frame.masked == (role == WS_ROLE_SERVER));
            assert_true(seq.message_opcode == 0 && seq.utf8_state == 0);
            free(data);
        }
        ws_reader_destroy(reader);
    }
    free(payload);
}

struct fixture {
    struct ws_reader *reader;
    struct ws_sequence seq;
    struct ws_frame frame;
    uint8_t data[1024];
};

/* A frame from a client to us. */
static enum parse_result receive(struct fixture *f, uint8_t opcode, bool fin, const void *payload, size_t len)
{
    size_t bytes = write_frame(WS_ROLE_SERVER, f->data, opcode, fin, payload, len);
    enum parse_result result = ws_frame_peek(f->data, bytes, WS_ROLE_SERVER, &f->seq, 1000, &f->frame);
    if (result == PARSE_OK)
        result = ws_reader_read(f->reader, f->data, bytes, &f->seq, &f->frame);
    if (result == PARSE_BAD)
        assert_non_null(f->frame.error);
    return result;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    if (f == NULL)
        return -1;
    f->reader = ws_reader_create(WS_ROLE_SERVER);
    *state = f;
    return f->reader != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    ws_reader_destroy(f->reader);
    free(f);
    return 0;
}

static void text_may_be_fragmented_inside_a_character_with_pings_between(void **state)
{
    struct fixture *f = *state;
    static const char text[] =
        "\xce\xba\xe1\xbd\xb9\xcf\x83 ASCII between \xf0\x9f\x92\xa9\xe2\x82\xac\xf4\x8f\xbf\xbf!";
    size_t len = sizeof(text) - 1;
    for (size_t a = 0; a <= len; a++) {
        for (size_t b = a; b <= len; b++) {
            assert_int_equal(receive(f, WS_TEXT, false, text, a), PARSE_OK);
            assert_int_equal(f->seq.message_opcode, WS_TEXT);
            /* A ping's payload need not be UTF-8, and does not disturb the message around it. */
            struct ws_sequence before = f->seq;
            assert_int_equal(receive(f, WS_PING, true, "\xff\xfe", 2), PARSE_OK);
            assert_memory_equal(&before, &f->seq, sizeof(before));
            assert_int_equal(receive(f, WS_CONTINUATION, false, text + a, b - a), PARSE_OK);
            assert_int_equal(receive(f, WS_CONTINUATION, true, text + b, len - b), PARSE_OK);
            assert_memory_equal(f->frame.payload, text + b, len - b);
            assert_true(f->seq.message_opcode == 0 && f->seq.utf8_state == 0);
        }
    }
}

static void text_that_is_not_utf8_is_1007_in_the_fragment_that_breaks_it(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(receive(f, WS_TEXT, true, "a\xff", 2), PARSE_BAD);
    assert_int_equal(f->frame.close_code, 1007);

    f->seq = (struct ws_sequence){0};
    assert_int_equal(receive(f, WS_TEXT, false, "\xce\xba\xf4", 3), PARSE_OK);
    assert_int_equal(receive(f, WS_CONTINUATION, false, "\x90", 1), PARSE_BAD);
    assert_int_equal(f->frame.close_code, 1007);
}

static void text_that_ends_inside_a_character_is_1007(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(receive(f, WS_TEXT, true, "\xe2\x82", 2), PARSE_BAD);
    assert_int_equal(f->frame.close_code, 1007);

    f->seq = (struct ws_sequence){0};
    assert_int_equal(receive(f, WS_TEXT, false, "\xe2\x82", 2), PARSE_OK);
    assert_int_equal(receive(f, WS_CONTINUATION, true, "", 0), PARSE_BAD);
    assert_int_equal(f->frame.close_code, 1007);
}

static void binary_may_be_anything(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(receive(f, WS_BINARY, false, "\xff\xc0", 2), PARSE_OK);
    assert_int_equal(receive(f, WS_CONTINUATION, true, "\x80\xe2", 2), PARSE_OK);
    assert_int_equal(receive(f, WS_TEXT, true, "next", 4), PARSE_OK);
}

static void fragments_out_of_order_are_1002(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(receive(f, WS_CONTINUATION, true, "a", 1), PARSE_BAD);
    assert_int_equal(f->frame.close_code, 1002);
    assert_int_equal(receive(f, WS_TEXT, false, "a", 1), PARSE_OK);
    assert_int_equal(receive(f, WS_TEXT, true, "b", 1), PARSE_BAD);
    assert_int_equal(f->frame.close_code, 1002);
}

static void a_bad_frame_does_not_poison_the_next_connection(void **state)
{
    struct fixture *f = *state;
    static const uint8_t broken[] = {0xf1, 0x80, 1, 2, 3, 4};
    for (int i = 0; i < 10; i++) {
        f->seq = (struct ws_sequence){0};
        memcpy(f->data, broken, sizeof(broken));
        assert_int_equal(ws_reader_read(f->reader, f->data, sizeof(broken), &f->seq, &f->frame), PARSE_BAD);
        /* A caller's mistake: fewer and more bytes than the frame has. */
        size_t bytes = write_frame(WS_ROLE_SERVER, f->data, WS_TEXT, true, "hello", 5);
        assert_int_equal(ws_reader_read(f->reader, f->data, bytes - 1, &f->seq, &f->frame), PARSE_BAD);
        assert_int_equal(f->frame.close_code, 1011);
        assert_int_equal(ws_reader_read(f->reader, f->data, bytes + 1, &f->seq, &f->frame), PARSE_BAD);
        assert_int_equal(f->frame.close_code, 1011);
        assert_int_equal(receive(f, WS_TEXT, true, "\xff", 1), PARSE_BAD);

        assert_int_equal(receive(f, WS_TEXT, true, "hello", 5), PARSE_OK);
        assert_memory_equal(f->frame.payload, "hello", 5);
    }
}

static void after_an_error_of_wslay_the_reader_starts_afresh(void **state)
{
    struct fixture *f = *state;
    static uint8_t payload[20000];
    uint8_t *data = malloc(WS_HEADER_MAX + sizeof(payload));
    assert_non_null(data);
    for (int no_memory = 0; no_memory < 2; no_memory++) {
        size_t bytes = write_frame(WS_ROLE_SERVER, data, WS_BINARY, true, payload, sizeof(payload));
        fail_recv = true;
        fail_init = no_memory;
        enum parse_result result = ws_reader_read(f->reader, data, bytes, &f->seq, &f->frame);
        fail_recv = false;
        assert_int_equal(result, PARSE_BAD);
        assert_int_equal(f->frame.close_code, 1002);
        if (no_memory) {
            assert_int_equal(receive(f, WS_TEXT, true, "hello", 5), PARSE_BAD);
            assert_int_equal(f->frame.close_code, 1011);
        }
        fail_init = false;
        assert_int_equal(receive(f, WS_TEXT, true, "hello", 5), PARSE_OK);
        assert_memory_equal(f->frame.payload, "hello", 5);
    }
    fail_init = true;
    struct ws_reader *reader = ws_reader_create(WS_ROLE_SERVER);
    fail_init = false;
    assert_null(reader);
    ws_reader_destroy(NULL);
    free(data);
}

/* RFC 6455 §7.4.1–2 and the registry, one by one. */
static bool naive_close_code(unsigned code)
{
    switch (code) {
    case 1000:
    case 1001:
    case 1002:
    case 1003:
    case 1007:
    case 1008:
    case 1009:
    case 1010:
    case 1011:
    case 1012:
    case 1013:
    case 1014:
        return true;
    default:
        return code / 1000 == 3 || code / 1000 == 4;
    }
}

static void every_close_code_is_judged_as_the_registry_says(void **state)
{
    struct fixture *f = *state;
    for (unsigned code = 0; code < 65536; code++) {
        uint8_t payload[4] = {(uint8_t)(code >> 8), (uint8_t)code, 'o', 'k'};
        assert_int_equal(ws_close_code_valid((uint16_t)code), naive_close_code(code));
        enum parse_result result = receive(f, WS_CLOSE, true, payload, sizeof(payload));
        if (naive_close_code(code)) {
            assert_int_equal(result, PARSE_OK);
            assert_int_equal(ws_close_code_of(&f->frame), code);
        } else {
            assert_int_equal(result, PARSE_BAD);
            assert_int_equal(f->frame.close_code, 1002);
        }
    }
}

static void close_payloads_are_checked(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(receive(f, WS_CLOSE, true, "", 0), PARSE_OK);
    assert_int_equal(ws_close_code_of(&f->frame), 1005);
    assert_int_equal(receive(f, WS_CLOSE, true, "\x03", 1), PARSE_BAD);
    assert_int_equal(f->frame.close_code, 1002);
    assert_int_equal(receive(f, WS_CLOSE, true, "\x03\xe8", 2), PARSE_OK);
    assert_int_equal(ws_close_code_of(&f->frame), 1000);
    assert_int_equal(receive(f, WS_CLOSE, true, "\x03\xe8\xe2\x82\xac", 5), PARSE_OK);
    assert_int_equal(receive(f, WS_CLOSE, true, "\x03\xe8\xe2\x82", 4), PARSE_BAD);
    assert_int_equal(f->frame.close_code, 1007);
    /* A wrong code counts before a wrong reason. */
    assert_int_equal(receive(f, WS_CLOSE, true, "\x03\xed\xff", 3), PARSE_BAD);
    assert_int_equal(f->frame.close_code, 1002);
}

static void what_we_write_a_client_reads(void **state)
{
    (void)state;
    struct ws_reader *reader = ws_reader_create(WS_ROLE_CLIENT);
    assert_non_null(reader);
    uint8_t out[2 + WS_CONTROL_PAYLOAD_MAX], payload[300];
    struct ws_sequence seq = {0};
    struct ws_frame frame;
    memset(payload, 'p', sizeof(payload));
    for (size_t len = 0; len < sizeof(payload); len++) {
        size_t bytes = ws_frame_control(out, WS_PONG, payload, len);
        assert_int_equal(bytes, 2 + (len < 125 ? len : 125));
        assert_int_equal(ws_reader_read(reader, out, bytes, &seq, &frame), PARSE_OK);
        assert_int_equal(frame.opcode, WS_PONG);
    }
    assert_int_equal(ws_frame_close(out, 1005, "not written"), 2);
    assert_memory_equal(out, "\x88\x00", 2);
    assert_int_equal(ws_frame_close(out, 1000, NULL), 4);
    assert_memory_equal(out, "\x88\x02\x03\xe8", 4);
    assert_int_equal(ws_frame_close(out, 1013, "later"), 9);
    assert_memory_equal(out, "\x88\x07\x03\xf5later", 9);
    ws_reader_destroy(reader);
}

static void a_long_close_reason_is_cut_between_characters(void **state)
{
    (void)state;
    struct ws_reader *reader = ws_reader_create(WS_ROLE_CLIENT);
    assert_non_null(reader);
    for (size_t ascii = 100; ascii < 130; ascii++) {
        char text[200];
        size_t len = ascii;
        memset(text, 'a', ascii);
        for (int i = 0; i < 8; i++, len += 4)
            memcpy(text + len, "\xf0\x9f\x92\xa9", 4);
        text[len] = '\0';
        uint8_t out[2 + WS_CONTROL_PAYLOAD_MAX];
        struct ws_sequence seq = {0};
        struct ws_frame frame;
        size_t bytes = ws_frame_close(out, 1001, text);
        size_t whole = ascii >= 123 ? 123 : ascii + (123 - ascii) / 4 * 4;
        assert_int_equal(bytes, 2 + 2 + (whole < len ? whole : len));
        assert_int_equal(ws_reader_read(reader, out, bytes, &seq, &frame), PARSE_OK);
        assert_int_equal(ws_close_code_of(&frame), 1001);
    }
    ws_reader_destroy(reader);
}

static void headers_are_written_in_their_shortest_form(void **state)
{
    (void)state;
    uint8_t out[WS_SERVER_HEADER_MAX];
    assert_int_equal(ws_frame_header(out, WS_TEXT, true, 0), 2);
    assert_memory_equal(out, "\x81\x00", 2);
    assert_int_equal(ws_frame_header(out, WS_BINARY, false, 125), 2);
    assert_memory_equal(out, "\x02\x7d", 2);
    assert_int_equal(ws_frame_header(out, WS_TEXT, true, 126), 4);
    assert_memory_equal(out, "\x81\x7e\x00\x7e", 4);
    assert_int_equal(ws_frame_header(out, WS_TEXT, true, 65535), 4);
    assert_memory_equal(out, "\x81\x7e\xff\xff", 4);
    assert_int_equal(ws_frame_header(out, WS_TEXT, true, 65536), 10);
    assert_memory_equal(out, "\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00", 10);
}

/* RFC 6455 §5.7 */
static void the_examples_of_the_rfc_are_read(void **state)
{
    struct fixture *f = *state;
    uint8_t masked[] = {0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58};
    assert_int_equal(ws_reader_read(f->reader, masked, sizeof(masked), &f->seq, &f->frame), PARSE_OK);
    assert_int_equal(f->frame.payload_bytes, 5);
    assert_memory_equal(f->frame.payload, "Hello", 5);
    uint8_t written[WS_HEADER_MAX + 5];
    uint8_t expected[] = {0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58};
    assert_int_equal(ws_frame_masked(written, WS_TEXT, true, mask, "Hello", 5), sizeof(expected));
    assert_memory_equal(written, expected, sizeof(expected));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_header_of_two_bytes_is_judged_as_the_model_does),
        cmocka_unit_test(every_16_bit_length_is_judged_as_the_model_does),
        cmocka_unit_test(a_64_bit_length_fails_at_the_first_wrong_byte),
        cmocka_unit_test(the_limit_holds_exactly_and_not_for_control_frames),
        cmocka_unit_test(frames_of_every_edge_length_come_back_whole),
        cmocka_unit_test_setup_teardown(text_may_be_fragmented_inside_a_character_with_pings_between, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(text_that_is_not_utf8_is_1007_in_the_fragment_that_breaks_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(text_that_ends_inside_a_character_is_1007, set_up, tear_down),
        cmocka_unit_test_setup_teardown(binary_may_be_anything, set_up, tear_down),
        cmocka_unit_test_setup_teardown(fragments_out_of_order_are_1002, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_bad_frame_does_not_poison_the_next_connection, set_up, tear_down),
        cmocka_unit_test_setup_teardown(after_an_error_of_wslay_the_reader_starts_afresh, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_close_code_is_judged_as_the_registry_says, set_up, tear_down),
        cmocka_unit_test_setup_teardown(close_payloads_are_checked, set_up, tear_down),
        cmocka_unit_test(what_we_write_a_client_reads),
        cmocka_unit_test(a_long_close_reason_is_cut_between_characters),
        cmocka_unit_test(headers_are_written_in_their_shortest_form),
        cmocka_unit_test_setup_teardown(the_examples_of_the_rfc_are_read, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
