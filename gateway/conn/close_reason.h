/* Why a connection ends: one list for close code, metric label and log text.
 *
 * X(enum name, label, close code (0: no close frame is sent), Centrifuge code (0: the same; 3000 … 3499: come
 * back, from 3500 on: do not), text)
 */
#pragma once

#include <stdint.h>

#define CLOSE_REASONS(X)                                                                                     \
    X(CLOSE_NONE, "none", 0, 0, "still open")                                                                \
    X(CLOSE_PEER, "peer_closed", 1000, 0, "the client closed with a close frame")                            \
    X(CLOSE_PEER_EOF, "peer_eof", 0, 0, "the client ended the connection without a close frame")             \
    X(CLOSE_PEER_RESET, "peer_reset", 0, 0, "the connection was reset")                                      \
    X(CLOSE_TLS_TRUNCATED, "tls_truncated", 0, 0, "the connection ended without close_notify")               \
    X(CLOSE_TLS_ALERT, "tls_alert", 0, 0, "the client sent a fatal TLS alert")                               \
    X(CLOSE_TLS_ERROR, "tls_error", 0, 0, "a TLS record broke the protocol")                                 \
    X(CLOSE_PROTOCOL, "protocol_error", 1002, 0, "a frame broke the WebSocket protocol")                     \
    X(CLOSE_BAD_UTF8, "invalid_payload", 1007, 0, "a text message or close reason was not UTF-8")            \
    X(CLOSE_POLICY, "policy", 1008, 0, "the client sent what its protocol does not allow")                   \
    X(CLOSE_TOO_BIG, "message_too_big", 1009, 0, "a message was longer than limits.message_bytes")           \
    X(CLOSE_SLOW, "slow_consumer", 1013, 3008,                                                               \
      "the client read too slowly: limits.outbox_bytes, or limits.outbox_memory for all of them")            \
    X(CLOSE_IDLE, "idle_timeout", 1001, 3012, "nothing was heard for idle.timeout")                          \
    X(CLOSE_NO_PONG, "no_pong", 1001, 3012, "the client did not answer a ping")                              \
    X(CLOSE_DRAIN, "drain", 1001, 3001, "the gateway is shutting down")                                      \
    X(CLOSE_APPLICATION, "application", 1000, 0, "closed by its protocol adapter")                           \
    X(CLOSE_OPERATOR, "operator", 1000, 3503, "an operator's command closed it")                             \
    X(CLOSE_INTERNAL, "internal_error", 1011, 3004, "the gateway ran out of memory or failed")

enum close_reason {
#define X(name, label, code, centrifuge, text) name,
    CLOSE_REASONS(X)
#undef X
        CLOSE_REASON_COUNT
};

const char *close_reason_label(enum close_reason reason);
const char *close_reason_text(enum close_reason reason);
uint16_t close_reason_code(enum close_reason reason);
/* For clients of the Centrifuge protocol; 0: no close frame. */
uint16_t close_reason_centrifuge_code(enum close_reason reason);
