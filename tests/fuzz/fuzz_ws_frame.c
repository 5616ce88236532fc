/* WebSocket frames: a stream read whole and read in pieces must have the same frames and end with the same
 * verdict.
 *
 * First byte: bit 0 the role, bits 1–2 the limit of a message. Second byte: seed of the pieces' sizes. Then
 * the stream. */
#include "proto/utf8.h"
#include "proto/ws_frame.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* One connection's ears. */
struct stream {
    struct ws_reader *reader;
    enum ws_role role;
    struct ws_sequence seq;
    uint64_t max_message, message_bytes;
    uint8_t *bytes; /* all that has arrived */
    size_t len, at;
    uint8_t *message; /* of text or binary, fragments joined */
    uint64_t digest;  /* of all frames */
    uint32_t frames;
    uint16_t close_code; /* not 0: refused */
};

static void mix(struct stream *s, uint64_t value)
{
    s->digest = (s->digest ^ value) * UINT64_C(0x100000001b3);
}

/* What wslay unmasked, against the definition in RFC 6455 §5.3. */
static void check_payload(const struct ws_frame *frame, const uint8_t *raw)
{
    const uint8_t *key = raw + frame->header_bytes - 4;
    for (uint64_t i = 0; i < frame->payload_bytes; i++)
        must(frame->payload[i] == (raw[frame->header_bytes + i] ^ (frame->masked ? key[i % 4] : 0)));
}

static void take(struct stream *s, const struct ws_frame *frame, uint8_t opened_as)
{
    s->frames++;
    mix(s, frame->opcode | (uint64_t)frame->fin << 8 | frame->payload_bytes << 16);
    for (uint64_t i = 0; i < frame->payload_bytes; i++)
        mix(s, frame->payload[i]);
    if (frame->opcode >= WS_CLOSE) {
        must(frame->fin && frame->payload_bytes <= WS_CONTROL_PAYLOAD_MAX);
        uint16_t code = frame->opcode == WS_CLOSE ? ws_close_code_of(frame) : WS_CLOSE_NO_STATUS;
        must(code == WS_CLOSE_NO_STATUS || ws_close_code_valid(code));
        return;
    }
    must((frame->opcode == WS_CONTINUATION) == (opened_as != 0));
    if (frame->payload_bytes > 0)
        memcpy(s->message + s->message_bytes, frame->payload, frame->payload_bytes);
    s->message_bytes += frame->payload_bytes;
    must(s->message_bytes <= s->max_message);
    uint8_t type = opened_as != 0 ? opened_as : frame->opcode;
    must(s->seq.message_opcode == (frame->fin ? 0 : type));
    if (!frame->fin)
        return;
    must(s->seq.utf8_state == UTF8_START);
    must(type != WS_TEXT || utf8_valid(s->message, s->message_bytes));
    s->message_bytes = 0;
}

/* Handles what has arrived, as a connection does: peek, wait for the whole frame, read. */
static void advance(struct stream *s)
{
    while (s->close_code == 0) {
        struct ws_frame frame;
        enum parse_result result = ws_frame_peek(s->bytes + s->at, s->len - s->at, s->role, &s->seq,
                                                 s->max_message - s->message_bytes, &frame);
        if (result == PARSE_MORE)
            return;
        if (result == PARSE_OK) {
            if (s->len - s->at - frame.header_bytes < frame.payload_bytes)
                return;
            /* A block of its own, so that ASan sees a step outside the frame. */
            size_t bytes = frame.header_bytes + (size_t)frame.payload_bytes;
            uint8_t *copy = malloc(bytes);
            must(copy != NULL);
            memcpy(copy, s->bytes + s->at, bytes);
            uint8_t opened_as = s->seq.message_opcode;
            result = ws_reader_read(s->reader, copy, bytes, &s->seq, &frame);
            if (result == PARSE_OK) {
                check_payload(&frame, s->bytes + s->at);
                take(s, &frame, opened_as);
            }
            s->at += bytes;
            free(copy);
        }
        if (result == PARSE_BAD) {
            must(frame.error != NULL);
            must(frame.close_code == 1002 || frame.close_code == 1007 || frame.close_code == 1009);
            s->close_code = frame.close_code;
        }
    }
}

static struct stream run(const uint8_t *data, size_t size, enum ws_role role, uint64_t max_message,
                         uint32_t seed, struct ws_reader *reader)
{
    struct stream s = {.reader = reader, .role = role, .max_message = max_message};
    s.bytes = malloc(size + 1);
    s.message = malloc(size + 1);
    must(s.bytes != NULL && s.message != NULL);
    while (s.len < size) {
        size_t piece = size - s.len;
        if (seed != 0) {
            seed = seed * 1664525 + 1013904223;
            size_t wanted = 1 + (seed >> 24) % 17;
            piece = wanted < piece ? wanted : piece;
        }
        memcpy(s.bytes + s.len, data + s.len, piece);
        s.len += piece;
        advance(&s);
    }
    free(s.bytes);
    free(s.message);
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint64_t limits[] = {0, 100, 1000, 1 << 20};
    if (size < 2)
        return 0;
    enum ws_role role = data[0] & 1 ? WS_ROLE_CLIENT : WS_ROLE_SERVER;
    uint64_t max_message = limits[data[0] >> 1 & 3];
    struct ws_reader *reader = ws_reader_create(role);
    must(reader != NULL);
    struct stream whole = run(data + 2, size - 2, role, max_message, 0, reader);
    struct stream pieces = run(data + 2, size - 2, role, max_message, data[1] + 1u, reader);
    must(whole.frames == pieces.frames && whole.digest == pieces.digest &&
         whole.close_code == pieces.close_code);
    must(whole.close_code != 0 || whole.at == pieces.at);

    /* Whatever the stream did to the reader, the next connection's frame is read. */
    uint8_t hello[] = {0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58};
    uint8_t hello_unmasked[] = {0x81, 0x05, 'H', 'e', 'l', 'l', 'o'};
    bool server = role == WS_ROLE_SERVER;
    struct ws_sequence seq = {0};
    struct ws_frame frame;
    must(ws_reader_read(reader, server ? hello : hello_unmasked,
                        server ? sizeof(hello) : sizeof(hello_unmasked), &seq, &frame) == PARSE_OK);
    must(frame.payload_bytes == 5 && memcmp(frame.payload, "Hello", 5) == 0);
    ws_reader_destroy(reader);
    return 0;
}
