/* The client's half of the WebSocket opening handshake (RFC 6455 §4.1).
 *
 * Thread: any; pure. Owner: the caller.
 */
#pragma once

#include "proto/parse.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { UPGRADE_KEY_CHARS = 24, UPGRADE_ACCEPT_CHARS = 28, UPGRADE_HEAD_MAX = 16 * 1024 };

struct upgrade_request {
    const char *path_parts[3]; /* written one after the other; NULL is empty */
    const char *authority;
    const char *subprotocol; /* "" for none */
    const char *headers;     /* further header lines, each with CRLF; "" for none */
};

/* base64 of 16 random bytes, and the Sec-WebSocket-Accept that answers it; both NUL-terminated. */
void upgrade_key(const uint8_t random[16], char key[UPGRADE_KEY_CHARS + 1],
                 char accept[UPGRADE_ACCEPT_CHARS + 1]);
/* Returns bytes, 0 when it does not fit. */
size_t upgrade_write(const struct upgrade_request *request, const char *key, char *out, size_t out_size);

struct upgrade_answer {
    int status;        /* once the first line is whole, else 0; other than 101 is PARSE_BAD */
    size_t head_bytes; /* PARSE_OK: status line, headers and the empty line */
    const char *error; /* PARSE_BAD: a static sentence */
};

/* Checks status, Upgrade, Connection and Sec-WebSocket-Accept, that no extension was chosen, and that the
 * subprotocol is the offered one. */
enum parse_result upgrade_parse(const char *data, size_t len, const char *accept, const char *subprotocol,
                                struct upgrade_answer *out) __attribute__((warn_unused_result));
