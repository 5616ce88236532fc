/* WebSocket frames (RFC 6455 §5): wslay's frame layer does the framing and unmasking; the rules that it
 * leaves to its caller (masking by role, RSV, opcodes, control frames, fragmentation order, close codes) are
 * here.
 *
 * Thread: a ws_reader belongs to one thread and serves all its connections, one whole frame at a time.
 * Owner: the caller owns the buffers; payloads point into them.
 */
#pragma once

#include "proto/parse.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ws_opcode {
    WS_CONTINUATION = 0x0,
    WS_TEXT = 0x1,
    WS_BINARY = 0x2,
    WS_CLOSE = 0x8,
    WS_PING = 0x9,
    WS_PONG = 0xa,
};

/* RFC 6455 §7.4.1 and the IANA registry. */
enum ws_close_code {
    WS_CLOSE_NORMAL = 1000,
    WS_CLOSE_GOING_AWAY = 1001,
    WS_CLOSE_PROTOCOL_ERROR = 1002,
    WS_CLOSE_UNSUPPORTED_DATA = 1003,
    WS_CLOSE_NO_STATUS = 1005, /* never on the wire */
    WS_CLOSE_ABNORMAL = 1006,  /* never on the wire */
    WS_CLOSE_INVALID_PAYLOAD = 1007,
    WS_CLOSE_POLICY_VIOLATION = 1008,
    WS_CLOSE_MESSAGE_TOO_BIG = 1009,
    WS_CLOSE_INTERNAL_ERROR = 1011,
    WS_CLOSE_SERVICE_RESTART = 1012,
    WS_CLOSE_TRY_AGAIN_LATER = 1013,
};

enum ws_role {
    WS_ROLE_SERVER,
    WS_ROLE_CLIENT
}; /* whose ears: a server demands masks, a client forbids them */

enum {
    WS_HEADER_MAX = 14,        /* with a mask */
    WS_SERVER_HEADER_MAX = 10, /* without */
    WS_CONTROL_PAYLOAD_MAX = 125,
};

/* Order rules within one direction of one connection (RFC 6455 §5.4). All zero at the start. */
struct ws_sequence {
    uint8_t message_opcode; /* WS_TEXT or WS_BINARY while a fragmented message is open, else 0 */
    uint8_t utf8_state;     /* of the open text message */
};

struct ws_frame {
    uint8_t opcode;
    bool fin;
    bool masked;
    size_t header_bytes;
    uint64_t payload_bytes;
    uint8_t *payload;    /* only after ws_reader_read(): unmasked, inside the input */
    uint16_t close_code; /* PARSE_BAD: the code to close with, 1002, 1007 or 1009; 1011 without memory */
    const char *error;   /* PARSE_BAD: a static sentence for the log */
};

/* Reads a header and applies every rule that needs no payload: RSV bits, opcode, mask by role, minimal length
 * encoding, control frame size and FIN, fragment order against `seq`, payload_bytes ≤ max_payload for data
 * frames (else 1009; for a continuation the caller passes what is left of the message's limit). PARSE_OK as
 * soon as the header is whole: the frame occupies header_bytes + payload_bytes. Does not change `seq`. Fails
 * at the first byte that is wrong, even when the header is not whole. */
enum parse_result ws_frame_peek(const uint8_t *data, size_t len, enum ws_role role,
                                const struct ws_sequence *seq, uint64_t max_payload, struct ws_frame *out)
    __attribute__((warn_unused_result));

struct ws_reader;
struct ws_reader *ws_reader_create(enum ws_role role); /* NULL without memory */
void ws_reader_destroy(struct ws_reader *reader);

/* Reads one whole frame that ws_frame_peek() has accepted (`len` = header_bytes + payload_bytes), unmasks the
 * payload in place, checks UTF-8 of text (across fragments) and close payloads, and advances `seq`. PARSE_OK
 * or PARSE_BAD. */
enum parse_result ws_reader_read(struct ws_reader *reader, uint8_t *data, size_t len, struct ws_sequence *seq,
                                 struct ws_frame *out) __attribute__((warn_unused_result));

/* The code in a close frame's payload; WS_CLOSE_NO_STATUS when it is empty. The payload has been checked by
 * ws_reader_read(). */
uint16_t ws_close_code_of(const struct ws_frame *frame);
/* True for codes that may stand on the wire (RFC 6455 §7.4.1–2, IANA: 1000–1003, 1007–1014, 3000–4999). */
bool ws_close_code_valid(uint16_t code);

/* Writes the header of an unmasked frame (server to client); returns its bytes, 2, 4 or 10. */
size_t ws_frame_header(uint8_t out[WS_SERVER_HEADER_MAX], enum ws_opcode opcode, bool fin,
                       uint64_t payload_bytes);
/* Writes a whole unmasked control frame; payload_bytes ≤ 125 (longer is cut). Returns its bytes, at most 127.
 */
size_t ws_frame_control(uint8_t out[2 + WS_CONTROL_PAYLOAD_MAX], enum ws_opcode opcode, const void *payload,
                        size_t payload_bytes);
/* Writes a whole unmasked close frame with code and text (cut to 123 bytes at a UTF-8 boundary); code 1005
 * writes an empty payload. */
size_t ws_frame_close(uint8_t out[2 + WS_CONTROL_PAYLOAD_MAX], uint16_t code, const char *text);
/* Writes a whole masked frame (client to server). `out` has room for WS_HEADER_MAX + payload_bytes. */
size_t ws_frame_masked(uint8_t *out, enum ws_opcode opcode, bool fin, const uint8_t mask[4],
                       const void *payload, size_t payload_bytes);
