/* The codes of the Centrifuge client protocol (centrifugal.dev/docs/server/codes): errors in replies,
 * unsubscribe pushes, disconnects. A disconnect's code is the WebSocket close code, its reason the close
 * reason.
 *
 * Thread: any; constants.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* X(name, code, message, temporary): temporary errors may be tried again. */
#define CENTRIFUGE_ERRORS(X)                                                                                 \
    X(INTERNAL, 100, "internal server error", true)                                                          \
    X(UNAUTHORIZED, 101, "unauthorized", false)                                                              \
    X(UNKNOWN_CHANNEL, 102, "unknown channel", false)                                                        \
    X(PERMISSION_DENIED, 103, "permission denied", false)                                                    \
    X(METHOD_NOT_FOUND, 104, "method not found", false)                                                      \
    X(ALREADY_SUBSCRIBED, 105, "already subscribed", false)                                                  \
    X(LIMIT_EXCEEDED, 106, "limit exceeded", false)                                                          \
    X(BAD_REQUEST, 107, "bad request", false)                                                                \
    X(NOT_AVAILABLE, 108, "not available", false)                                                            \
    X(TOKEN_EXPIRED, 109, "token expired", false)                                                            \
    X(EXPIRED, 110, "expired", false)                                                                        \
    X(TOO_MANY_REQUESTS, 111, "too many requests", true)                                                     \
    X(UNRECOVERABLE_POSITION, 112, "unrecoverable position", false)

/* X(name, code, reason): from 2500 on the client subscribes again. */
#define CENTRIFUGE_UNSUBSCRIBES(X)                                                                           \
    X(SERVER, 2000, "server unsubscribe")                                                                    \
    X(INSUFFICIENT_STATE, 2500, "insufficient state")                                                        \
    X(EXPIRED, 2501, "subscription expired")                                                                 \
    X(STATE_INVALIDATED, 2502, "state invalidated")

/* X(name, code, reason): 3000 to 3499 the client reconnects, 3500 to 3999 it does not. 4000 to 4499 and 4500
 * to 4999 are the same two ranges for an operator's own codes. */
#define CENTRIFUGE_DISCONNECTS(X)                                                                            \
    X(CONNECTION_CLOSED, 3000, "connection closed")                                                          \
    X(SHUTDOWN, 3001, "shutdown")                                                                            \
    X(SERVER_ERROR, 3004, "internal server error")                                                           \
    X(EXPIRED, 3005, "connection expired")                                                                   \
    X(SUBSCRIPTION_EXPIRED, 3006, "subscription expired")                                                    \
    X(SLOW, 3008, "slow")                                                                                    \
    X(WRITE_ERROR, 3009, "write error")                                                                      \
    X(INSUFFICIENT_STATE, 3010, "insufficient state")                                                        \
    X(FORCE_RECONNECT, 3011, "force reconnect")                                                              \
    X(NO_PONG, 3012, "no pong")                                                                              \
    X(TOO_MANY_REQUESTS, 3013, "too many requests")                                                          \
    X(STATE_INVALIDATED, 3014, "state invalidated")                                                          \
    X(INVALID_TOKEN, 3500, "invalid token")                                                                  \
    X(BAD_REQUEST, 3501, "bad request")                                                                      \
    X(STALE, 3502, "stale")                                                                                  \
    X(FORCE_NO_RECONNECT, 3503, "force disconnect")                                                          \
    X(CONNECTION_LIMIT, 3504, "connection limit")                                                            \
    X(CHANNEL_LIMIT, 3505, "channel limit")                                                                  \
    X(INAPPROPRIATE_PROTOCOL, 3506, "inappropriate protocol")                                                \
    X(PERMISSION_DENIED, 3507, "permission denied")                                                          \
    X(NOT_AVAILABLE, 3508, "not available")                                                                  \
    X(TOO_MANY_ERRORS, 3509, "too many errors")

enum centrifuge_error {
#define X(name, code, message, temporary) CENTRIFUGE_ERROR_##name = (code),
    CENTRIFUGE_ERRORS(X)
#undef X
};
enum centrifuge_unsubscribe {
#define X(name, code, reason) CENTRIFUGE_UNSUBSCRIBE_##name = (code),
    CENTRIFUGE_UNSUBSCRIBES(X)
#undef X
};
enum centrifuge_disconnect {
#define X(name, code, reason) CENTRIFUGE_DISCONNECT_##name = (code),
    CENTRIFUGE_DISCONNECTS(X)
#undef X
};

/* Texts of codes in the tables; NULL for others, whose text their caller must bring. */
const char *centrifuge_error_message(uint32_t code);
bool centrifuge_error_temporary(uint32_t code);
const char *centrifuge_unsubscribe_reason(uint32_t code);
const char *centrifuge_disconnect_reason(uint32_t code);
/* Whether a client comes back after a disconnect with this code. */
bool centrifuge_disconnect_reconnects(uint32_t code);
/* Whether the code may be sent as a disconnect at all: 3000 to 4999. */
bool centrifuge_disconnect_valid(uint32_t code);
