/* What an upgrade request has said about its sender, on its way from the acceptor to the adapter's opened():
 * one block of bytes without pointers.
 *
 * Thread: any; pure. Owner: the caller; what is unpacked points into the packed bytes.
 */
#pragma once

#include "gateway/broker/request.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct identity {
    bool known;             /* a token was there, and it was good; else only `headers` count */
    uint8_t channel_count;  /* in `channels` */
    int64_t expires_at;     /* unix seconds; 0: never */
    struct text user, info; /* "" anonymous; JSON or "" */
    struct text channels;   /* topics to be subscribed to, packed: length byte + name */
    struct text headers;    /* lines for the backend's hooks, or "" */
};

enum { IDENTITY_TEXT_MAX = UINT16_MAX }; /* bytes of each text */

/* Bytes that identity_pack() needs; 0 when a text is too long. */
size_t identity_packed_bytes(const struct identity *identity);
/* Returns the bytes written, 0 when they do not fit. */
size_t identity_pack(const struct identity *identity, void *out, size_t size);
/* False when the bytes are none of identity_pack()'s. */
bool identity_unpack(const void *packed, size_t bytes, struct identity *out)
    __attribute__((warn_unused_result));
