/* WebSocket frames: early checks on headers, wslay for framing and unmasking, and our own writing. */
#include "proto/ws_frame.h"

#include "proto/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <wslay/wslay.h>

enum {
    LENGTH_16 = 126, /* values of the 7-bit length that announce a longer one */
    LENGTH_64 = 127,
    MASK_BYTES = 4,
};

struct ws_reader {
    wslay_frame_context_ptr wslay; /* NULL after an error that memory did not suffice to recover from */
    enum ws_role role;
    const uint8_t *next; /* what the receive callback serves from, during one read */
    size_t left;
};

static enum parse_result bad(struct ws_frame *out, uint16_t close_code, const char *error)
{
    out->close_code = close_code;
    out->error = error;
    return PARSE_BAD;
}

static bool is_control(uint8_t opcode)
{
    return (opcode & 0x8) != 0;
}

static bool is_known(uint8_t opcode)
{
    return opcode <= WS_BINARY || (opcode >= WS_CLOSE && opcode <= WS_PONG);
}

/* The header's first byte: FIN, RSV, opcode. */
static enum parse_result check_first_byte(uint8_t byte, const struct ws_sequence *seq, struct ws_frame *out)
{
    out->fin = (byte & 0x80) != 0;
    out->opcode = byte & 0x0f;
    if (byte & 0x70)
        return bad(out, WS_CLOSE_PROTOCOL_ERROR, "reserved bit set without an extension");
    if (!is_known(out->opcode))
        return bad(out, WS_CLOSE_PROTOCOL_ERROR, "reserved opcode");
    if (is_control(out->opcode))
        return out->fin ? PARSE_OK : bad(out, WS_CLOSE_PROTOCOL_ERROR, "fragmented control frame");
    if (out->opcode == WS_CONTINUATION && seq->message_opcode == 0)
        return bad(out, WS_CLOSE_PROTOCOL_ERROR, "continuation without a message to continue");
    if (out->opcode != WS_CONTINUATION && seq->message_opcode != 0)
        return bad(out, WS_CLOSE_PROTOCOL_ERROR, "new message inside a fragmented one");
    return PARSE_OK;
}

/* The header's second byte: mask and 7-bit length. */
static enum parse_result check_second_byte(uint8_t byte, enum ws_role role, struct ws_frame *out)
{
    out->masked = (byte & 0x80) != 0;
    if (role == WS_ROLE_SERVER && !out->masked)
        return bad(out, WS_CLOSE_PROTOCOL_ERROR, "unmasked frame from a client");
    if (role == WS_ROLE_CLIENT && out->masked)
        return bad(out, WS_CLOSE_PROTOCOL_ERROR, "masked frame from a server");
    uint8_t length = byte & 0x7f;
    if (is_control(out->opcode) && length > WS_CONTROL_PAYLOAD_MAX)
        return bad(out, WS_CLOSE_PROTOCOL_ERROR, "control frame longer than 125 bytes");
    if (out->opcode == WS_CLOSE && length == 1)
        return bad(out, WS_CLOSE_PROTOCOL_ERROR, "close payload of one byte");
    return PARSE_OK;
}

/* The extended length, `have` of whose `size` bytes have arrived: judged by the least and the greatest value
 * that it can still become. */
static enum parse_result check_extended_length(const uint8_t *bytes, size_t have, size_t size,
                                               uint64_t max_payload, struct ws_frame *out)
{
    uint64_t least = 0, greatest = 0;
    for (size_t i = 0; i < size; i++) {
        least = least << 8 | (i < have ? bytes[i] : 0);
        greatest = greatest << 8 | (i < have ? bytes[i] : 0xff);
    }
    uint64_t minimum = size == 2 ? LENGTH_16 : UINT64_C(1) << 16;
    if (minimum > max_payload) /* known before any of these bytes, so it comes first: the verdict must not
                                  depend on how bytes arrive */
        return bad(out, WS_CLOSE_MESSAGE_TOO_BIG, "message too big");
    if (least >> 63)
        return bad(out, WS_CLOSE_PROTOCOL_ERROR, "payload length above 2^63-1");
    if (greatest < minimum)
        return bad(out, WS_CLOSE_PROTOCOL_ERROR, "payload length not in its shortest form");
    if (least < minimum)
        least = minimum;
    if (least > max_payload)
        return bad(out, WS_CLOSE_MESSAGE_TOO_BIG, "message too big");
    out->payload_bytes = least;
    return have == size ? PARSE_OK : PARSE_MORE;
}

enum parse_result ws_frame_peek(const uint8_t *data, size_t len, enum ws_role role,
                                const struct ws_sequence *seq, uint64_t max_payload, struct ws_frame *out)
{
    *out = (struct ws_frame){0};
    if (len < 1)
        return PARSE_MORE;
    if (check_first_byte(data[0], seq, out) == PARSE_BAD)
        return PARSE_BAD;
    if (len < 2)
        return PARSE_MORE;
    if (check_second_byte(data[1], role, out) == PARSE_BAD)
        return PARSE_BAD;

    uint8_t length = data[1] & 0x7f;
    size_t length_bytes = length == LENGTH_64 ? 8 : length == LENGTH_16 ? 2 : 0;
    out->header_bytes = 2 + length_bytes + (out->masked ? MASK_BYTES : 0);
    if (length_bytes != 0) {
        size_t have = len - 2 < length_bytes ? len - 2 : length_bytes;
        enum parse_result result = check_extended_length(data + 2, have, length_bytes, max_payload, out);
        if (result != PARSE_OK)
            return result;
    } else {
        out->payload_bytes = length;
        if (!is_control(out->opcode) && length > max_payload)
            return bad(out, WS_CLOSE_MESSAGE_TOO_BIG, "message too big");
    }
    return len < out->header_bytes ? PARSE_MORE : PARSE_OK;
}

static ssize_t serve(uint8_t *buffer, size_t len, int flags, void *user_data)
{
    (void)flags;
    struct ws_reader *reader = user_data;
    size_t n = len < reader->left ? len : reader->left;
    if (n == 0)
        return -1;
    memcpy(buffer, reader->next, n);
    reader->next += n;
    reader->left -= n;
    return (ssize_t)n;
}

/* Gives the reader a context in its start state. */
static bool renew_context(struct ws_reader *reader)
{
    const struct wslay_frame_callbacks callbacks = {.recv_callback = serve};
    if (reader->wslay != NULL)
        wslay_frame_context_free(reader->wslay);
    reader->wslay = NULL;
    if (wslay_frame_context_init(&reader->wslay, &callbacks, reader) != 0) {
        reader->wslay = NULL;
        return false;
    }
    return true;
}

struct ws_reader *ws_reader_create(enum ws_role role)
{
    struct ws_reader *reader = calloc(1, sizeof(*reader));
    if (reader == NULL)
        return NULL;
    reader->role = role;
    if (!renew_context(reader)) {
        free(reader);
        return NULL;
    }
    return reader;
}

void ws_reader_destroy(struct ws_reader *reader)
{
    if (reader == NULL)
        return;
    if (reader->wslay != NULL)
        wslay_frame_context_free(reader->wslay);
    free(reader);
}

/* Runs wslay over the frame and writes what it unmasked over the payload. Wslay has copied the bytes that are
 * overwritten before. It is back in its start state exactly when it has taken every byte and given the whole
 * payload: else it is no longer fit for use. */
static bool unmask(struct ws_reader *reader, uint8_t *data, size_t len, const struct ws_frame *frame)
{
    uint8_t *payload = data + frame->header_bytes;
    uint64_t done = 0;
    reader->next = data;
    reader->left = len;
    do {
        struct wslay_frame_iocb piece = {0};
        ssize_t n = wslay_frame_recv(reader->wslay, &piece);
        if (n < 0 || (uint64_t)n > frame->payload_bytes - done || (n == 0 && frame->payload_bytes != 0))
            return false;
        if (piece.fin != frame->fin || piece.rsv != 0 || piece.opcode != frame->opcode ||
            piece.mask != frame->masked || piece.payload_length != frame->payload_bytes ||
            piece.data_length != (size_t)n)
            return false;
        if (n > 0)
            memcpy(payload + done, piece.data, (size_t)n);
        done += (uint64_t)n;
    } while (done < frame->payload_bytes);
    return reader->left == 0;
}

static enum parse_result check_close(struct ws_frame *frame)
{
    if (frame->payload_bytes == 0)
        return PARSE_OK;
    if (!ws_close_code_valid(ws_close_code_of(frame)))
        return bad(frame, WS_CLOSE_PROTOCOL_ERROR, "invalid close code");
    if (!utf8_valid(frame->payload + 2, (size_t)frame->payload_bytes - 2))
        return bad(frame, WS_CLOSE_INVALID_PAYLOAD, "close reason is not UTF-8");
    return PARSE_OK;
}

/* One more frame of a data message. */
static enum parse_result advance(struct ws_sequence *seq, struct ws_frame *frame)
{
    struct ws_sequence now = *seq;
    if (frame->opcode != WS_CONTINUATION)
        now = (struct ws_sequence){.message_opcode = frame->opcode, .utf8_state = UTF8_START};
    if (now.message_opcode == WS_TEXT) {
        now.utf8_state = utf8_feed(now.utf8_state, frame->payload, (size_t)frame->payload_bytes);
        if (now.utf8_state == UTF8_REJECT)
            return bad(frame, WS_CLOSE_INVALID_PAYLOAD, "text is not UTF-8");
        if (frame->fin && now.utf8_state != UTF8_START)
            return bad(frame, WS_CLOSE_INVALID_PAYLOAD, "text ends inside a UTF-8 sequence");
    }
    if (frame->fin)
        now = (struct ws_sequence){0};
    *seq = now;
    return PARSE_OK;
}

enum parse_result ws_reader_read(struct ws_reader *reader, uint8_t *data, size_t len, struct ws_sequence *seq,
                                 struct ws_frame *out)
{
    enum parse_result result = ws_frame_peek(data, len, reader->role, seq, UINT64_MAX, out);
    if (result == PARSE_BAD)
        return PARSE_BAD;
    if (result == PARSE_MORE || out->payload_bytes != len - out->header_bytes)
        return bad(out, WS_CLOSE_INTERNAL_ERROR, "frame and length differ");
    if (reader->wslay == NULL && !renew_context(reader))
        return bad(out, WS_CLOSE_INTERNAL_ERROR, "out of memory");
    bool unmasked = unmask(reader, data, len, out);
    reader->next = NULL;
    reader->left = 0;
    if (!unmasked) {
        (void)renew_context(reader); /* without memory now, the next read tries again */
        return bad(out, WS_CLOSE_PROTOCOL_ERROR, "malformed frame");
    }
    out->payload = data + out->header_bytes;
    if (out->opcode == WS_CLOSE)
        return check_close(out);
    return is_control(out->opcode) ? PARSE_OK : advance(seq, out);
}

uint16_t ws_close_code_of(const struct ws_frame *frame)
{
    if (frame->payload_bytes < 2)
        return WS_CLOSE_NO_STATUS;
    return (uint16_t)(frame->payload[0] << 8 | frame->payload[1]);
}

bool ws_close_code_valid(uint16_t code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

size_t ws_frame_header(uint8_t out[WS_SERVER_HEADER_MAX], enum ws_opcode opcode, bool fin,
                       uint64_t payload_bytes)
{
    out[0] = (uint8_t)((fin ? 0x80 : 0) | opcode);
    if (payload_bytes < LENGTH_16) {
        out[1] = (uint8_t)payload_bytes;
        return 2;
    }
    size_t length_bytes = payload_bytes <= UINT16_MAX ? 2 : 8;
    out[1] = length_bytes == 2 ? LENGTH_16 : LENGTH_64;
    for (size_t i = 0; i < length_bytes; i++)
        out[2 + i] = (uint8_t)(payload_bytes >> (8 * (length_bytes - 1 - i)));
    return 2 + length_bytes;
}

size_t ws_frame_control(uint8_t out[2 + WS_CONTROL_PAYLOAD_MAX], enum ws_opcode opcode, const void *payload,
                        size_t payload_bytes)
{
    if (payload_bytes > WS_CONTROL_PAYLOAD_MAX)
        payload_bytes = WS_CONTROL_PAYLOAD_MAX;
    size_t header_bytes = ws_frame_header(out, opcode, true, payload_bytes);
    if (payload_bytes > 0)
        memcpy(out + header_bytes, payload, payload_bytes);
    return header_bytes + payload_bytes;
}

size_t ws_frame_close(uint8_t out[2 + WS_CONTROL_PAYLOAD_MAX], uint16_t code, const char *text)
{
    if (code == WS_CLOSE_NO_STATUS)
        return ws_frame_control(out, WS_CLOSE, NULL, 0);
    const size_t text_max = WS_CONTROL_PAYLOAD_MAX - 2;
    uint8_t payload[WS_CONTROL_PAYLOAD_MAX] = {(uint8_t)(code >> 8), (uint8_t)code};
    size_t text_bytes = text != NULL ? strlen(text) : 0;
    if (text_bytes > text_max) {
        text_bytes = text_max;
        while (text_bytes > 0 && ((uint8_t)text[text_bytes] & 0xc0) == 0x80)
            text_bytes--;
    }
    if (text_bytes > 0) {
        /* A frame has no NUL. NOLINTNEXTLINE(bugprone-not-null-terminated-result) */
        memcpy(payload + 2, text, text_bytes);
    }
    return ws_frame_control(out, WS_CLOSE, payload, 2 + text_bytes);
}

size_t ws_frame_masked(uint8_t *out, enum ws_opcode opcode, bool fin, const uint8_t mask[4],
                       const void *payload, size_t payload_bytes)
{
    size_t header_bytes = ws_frame_header(out, opcode, fin, payload_bytes);
    out[1] |= 0x80;
    memcpy(out + header_bytes, mask, MASK_BYTES);
    header_bytes += MASK_BYTES;
    const uint8_t *from = payload;
    for (size_t i = 0; i < payload_bytes; i++)
        out[header_bytes + i] = from[i] ^ mask[i % MASK_BYTES];
    return header_bytes + payload_bytes;
}
