/* The client's side of TLS 1.3 until the traffic keys are ours, and what a client hears after the handshake.
 *
 * OpenSSL does the handshake, fed with whole records and only until it is complete; its traffic secrets then
 * move into two tls_directions and the SSL object is freed. The client's Finished is the last record under
 * its handshake key and no record under the server's traffic key has been fed, so both sequence numbers begin
 * at 0. Session tickets that follow are skipped here.
 *
 * Thread: a tls_client_context is shared by all workers; a tls_client belongs to one.
 * Owner: whoever created it; a tls_client may be destroyed in any state and wipes its secrets.
 */
#pragma once

#include "proto/tls_post.h"
#include "proto/tls_record.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tls_client_context;
struct tls_client;

struct tls_client_config {
    const char *host; /* checked against the certificate; SNI when it is a name */
    bool host_is_ip;
    const char *ca_file; /* NULL: the system's */
    bool insecure;       /* no check of the certificate */
};

/* NULL with a sentence. */
struct tls_client_context *tls_client_context_create(const struct tls_client_config *config, char *error,
                                                     size_t error_size);
void tls_client_context_destroy(struct tls_client_context *context);

enum tls_client_status {
    TLS_CLIENT_MORE,
    TLS_CLIENT_DONE,   /* send the output, then take the keys */
    TLS_CLIENT_FAILED, /* tls_client_error() says why; the output may hold an alert */
};

struct tls_client *tls_client_create(struct tls_client_context *context); /* NULL without memory */
void tls_client_destroy(struct tls_client *client);

/* Feeds received bytes; call with none to begin. *consumed counts whole records only. Stops right after the
 * server's Finished. */
enum tls_client_status tls_client_feed(struct tls_client *client, const uint8_t *data, size_t len,
                                       size_t *consumed) __attribute__((warn_unused_result));
/* Bytes to send; valid until the next call. Taking them empties the output. */
const uint8_t *tls_client_output(struct tls_client *client, size_t *len);
/* After DONE: derives both directions. False when a secret is missing or the KDF fails. */
bool tls_client_take(struct tls_client *client, struct tls_crypto *crypto, enum tls_suite *suite,
                     struct tls_direction *read_dir, struct tls_direction *write_dir)
    __attribute__((warn_unused_result));
bool tls_client_resumed(const struct tls_client *client);
const char *tls_client_error(const struct tls_client *client);
bool tls_client_refused_certificate(const struct tls_client *client);

/* A handshake message that began in an earlier record. All zero: none. */
struct tls_client_post {
    uint32_t skip;   /* bytes left of a session ticket */
    uint8_t have;    /* bytes in `head` */
    uint8_t head[5]; /* type, length and, for KeyUpdate, its one byte */
};

/* tls_post_record() for a client: also accepts and skips NewSessionTicket (RFC 8446 §4.6.1), counting them
 * into *tickets. */
struct tls_post_result tls_client_post_record(struct tls_crypto *crypto, struct tls_direction *read_dir,
                                              enum tls_suite suite, struct tls_client_post *post,
                                              const struct tls_opened *opened, uint32_t *tickets);
