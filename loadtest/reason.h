/* Why a connection could not be opened and why one ended, each list once: name in JSON and text.
 *
 * Thread: any; constant. Owner: nobody.
 */
#pragma once

#include <stdbool.h>

#define FAIL_REASONS(X)                                                                                      \
    X(REFUSED, "refused", "connection refused")                                                              \
    X(TIMEOUT, "timeout", "not open before --connect-timeout")                                               \
    X(RESET, "reset", "reset while opening")                                                                 \
    X(EOF, "eof", "closed by the server while opening")                                                      \
    X(NO_PORT, "no_port", "no free local port (more --sources?)")                                            \
    X(NO_FD, "no_fd", "no free file descriptor")                                                             \
    X(NETWORK, "network", "other socket error")                                                              \
    X(TLS, "tls", "TLS handshake failed")                                                                    \
    X(CERTIFICATE, "certificate", "certificate refused (--cafile, --insecure)")                              \
    X(HTTP_STATUS, "http_status", "HTTP status other than 101")                                              \
    X(BAD_UPGRADE, "bad_upgrade", "answer that breaks RFC 6455")                                             \
    X(MEMORY, "memory", "out of memory")                                                                     \
    X(INTERRUPTED, "interrupted", "given up at the end of the run")

enum fail_reason {
#define X(symbol, name, text) FAIL_##symbol,
    FAIL_REASONS(X)
#undef X
        FAIL_REASON_COUNT
};

/* symbol, name, unexpected (makes the run fail), text */
#define END_REASONS(X)                                                                                       \
    X(DONE, "done", false, "closed by us, closing handshake complete")                                       \
    X(CLOSE_CUT, "close_cut", false, "closed by us, ended by the server without a close frame")              \
    X(CUT, "cut", false, "cut by us")                                                                        \
    X(UNANSWERED, "unanswered", false, "closed by us, the server did not finish in time")                    \
    X(CLOSE_FRAME, "close_frame", true, "close frame from the server")                                       \
    X(EOF, "eof", true, "end of stream without a close frame")                                               \
    X(RESET, "reset", true, "reset or other socket error")                                                   \
    X(TLS_ALERT, "tls_alert", true, "TLS alert from the server")                                             \
    X(TLS_ERROR, "tls_error", true, "TLS record that does not open")                                         \
    X(WS_ERROR, "ws_error", true, "frame that breaks RFC 6455")                                              \
    X(TOO_BIG, "too_big", true, "message over 1 MiB, more than this program takes")                          \
    X(MEMORY, "memory", true, "out of memory here")

enum end_reason {
#define X(symbol, name, unexpected, text) END_##symbol,
    END_REASONS(X)
#undef X
        END_REASON_COUNT
};

const char *fail_reason_name(enum fail_reason reason);
const char *fail_reason_text(enum fail_reason reason);
const char *end_reason_name(enum end_reason reason);
const char *end_reason_text(enum end_reason reason);
bool end_reason_unexpected(enum end_reason reason);
