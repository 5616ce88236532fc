/* One server-side TLS 1.3 handshake by OpenSSL, fed with whole records, until the traffic keys are ours.
 *
 * No sockets here: bytes in, bytes out. When it is done, the SSL object is freed and the two tls_directions
 * continue exactly where OpenSSL stopped (session tickets that it sent are counted). Records after the
 * client's Finished are left to the caller.
 *
 * Thread: the acceptor's. Owner: the acceptor; destroy at any state.
 */
#pragma once

#include "gateway/tls/tls_context.h"
#include "proto/tls_record.h"

struct tls_handshake;

enum tls_handshake_status {
    TLS_HANDSHAKE_MORE,   /* send the output, then feed more */
    TLS_HANDSHAKE_DONE,   /* send the output, then take the result */
    TLS_HANDSHAKE_FAILED, /* send the output (an alert), then close */
};

struct tls_handshake_result {
    enum tls_suite suite;
    struct tls_direction read, write;
    bool resumed;
};

/* `crypto` is the acceptor's. NULL without memory. */
struct tls_handshake *tls_handshake_create(struct tls_context *context, struct tls_crypto *crypto);
void tls_handshake_destroy(struct tls_handshake *handshake); /* wipes */

/* Feeds received bytes. *consumed counts whole records only; keep the rest and feed it again with more. */
enum tls_handshake_status tls_handshake_feed(struct tls_handshake *handshake, const uint8_t *data, size_t len,
                                             size_t *consumed) __attribute__((warn_unused_result));
/* Bytes to send, valid until the next call; tell how many the kernel took. */
const uint8_t *tls_handshake_output(struct tls_handshake *handshake, size_t *len);
void tls_handshake_sent(struct tls_handshake *handshake, size_t bytes);
/* After DONE, once: moves the keys out and frees the SSL object. False when a key is missing (internal
 * error). */
bool tls_handshake_take(struct tls_handshake *handshake, struct tls_handshake_result *out)
    __attribute__((warn_unused_result));
/* After FAILED: a sentence for the log, and whether the client offered only versions below 1.3. */
const char *tls_handshake_error(const struct tls_handshake *handshake);
bool tls_handshake_old_version(const struct tls_handshake *handshake);
