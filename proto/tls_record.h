/* TLS 1.3 record protection without an SSL object (RFC 8446 §5, §7.1–7.3).
 *
 * OpenSSL does the handshake; its traffic secrets are installed here, and from then on records are sealed and
 * opened with two `struct tls_direction`, 84 bytes each, and one `struct tls_crypto` per thread.
 *
 * Thread: a tls_crypto belongs to one thread; a tls_direction to whoever owns the connection.
 * Owner: the caller owns all memory; nothing is kept between calls but what stands in the structs.
 * Secrets: tls_direction holds key material; tls_direction_wipe() it when the connection ends.
 */
#pragma once

#include "proto/parse.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TLS_RECORD_HEADER_BYTES = 5,
    TLS_RECORD_PLAINTEXT_MAX = 1 << 14,          /* RFC 8446 §5.1 */
    TLS_RECORD_CIPHERTEXT_MAX = (1 << 14) + 256, /* RFC 8446 §5.2: length field of a protected record */
    TLS_RECORD_OVERHEAD = 5 + 1 + 16,            /* header, inner content type, AEAD tag; no padding */
    TLS_SECRET_BYTES = 32,                       /* both suites hash with SHA-256 */
    TLS_RECORDS_PER_KEY = 23726566, /* RFC 8446 §5.5: 2^24.5 full records under one AES-GCM key */
};

enum tls_suite {
    TLS_SUITE_NONE = 0,
    TLS_SUITE_AES_128_GCM_SHA256 = 0x1301,
    TLS_SUITE_CHACHA20_POLY1305_SHA256 = 0x1303,
};

enum tls_content_type {
    TLS_CONTENT_CHANGE_CIPHER_SPEC = 20,
    TLS_CONTENT_ALERT = 21,
    TLS_CONTENT_HANDSHAKE = 22,
    TLS_CONTENT_APPLICATION_DATA = 23,
};

/* RFC 8446 §6; only those that this layer sends or names. */
enum tls_alert {
    TLS_ALERT_CLOSE_NOTIFY = 0,
    TLS_ALERT_UNEXPECTED_MESSAGE = 10,
    TLS_ALERT_BAD_RECORD_MAC = 20,
    TLS_ALERT_RECORD_OVERFLOW = 22,
    TLS_ALERT_ILLEGAL_PARAMETER = 47,
    TLS_ALERT_DECODE_ERROR = 50,
    TLS_ALERT_PROTOCOL_VERSION = 70,
    TLS_ALERT_INTERNAL_ERROR = 80,
    TLS_ALERT_USER_CANCELED = 90,
    TLS_ALERT_NONE = 255, /* not on the wire: no alert */
};

/* One direction of one connection. Pointer-free and fixed-size: it travels in the transfer record as it is.
 */
struct tls_direction {
    uint32_t seq_low; /* sequence number of the next record, split to keep 4-byte alignment */
    uint32_t seq_high;
    uint8_t secret[TLS_SECRET_BYTES]; /* application_traffic_secret_N, needed for KeyUpdate */
    uint8_t key[32];                  /* AES-128 uses the first 16 */
    uint8_t iv[12];
};
_Static_assert(sizeof(struct tls_direction) == 84, "a direction is 84 bytes; two stand in every wss slot");

struct tls_crypto; /* fetched ciphers, re-keyable contexts, KDF: made once per thread */

/* NULL when OpenSSL lacks an algorithm or memory. */
struct tls_crypto *tls_crypto_create(void);
void tls_crypto_destroy(struct tls_crypto *crypto);

/* Installs a traffic secret: derives key and iv (labels "key", "iv") and sets the next sequence number.
 * False when the KDF fails or the suite is unknown. */
bool tls_direction_init(struct tls_crypto *crypto, struct tls_direction *dir, enum tls_suite suite,
                        const uint8_t secret[TLS_SECRET_BYTES], uint64_t next_seq)
    __attribute__((warn_unused_result));
/* RFC 8446 §7.2: next generation ("traffic upd"), sequence number back to 0; the old secret is overwritten.
 */
bool tls_direction_update(struct tls_crypto *crypto, struct tls_direction *dir, enum tls_suite suite)
    __attribute__((warn_unused_result));
void tls_direction_wipe(struct tls_direction *dir);
uint64_t tls_direction_seq(const struct tls_direction *dir);
/* True when the next record must be preceded by a KeyUpdate of ours: TLS_RECORDS_PER_KEY for both suites. */
bool tls_direction_needs_update(const struct tls_crypto *crypto, const struct tls_direction *dir);
/* The same for what a peer seals: true once for every such number of records that it has sent under one key,
 * when it should be asked for a KeyUpdate. */
bool tls_direction_overused(const struct tls_crypto *crypto, const struct tls_direction *dir);
/* Another bound than TLS_RECORDS_PER_KEY, for tests; 0 is that. */
void tls_crypto_limit_records(struct tls_crypto *crypto, uint32_t records_per_key);

/* Seals up to TLS_RECORD_PLAINTEXT_MAX bytes of `content` gathered from `parts` into one record at `out`,
 * which must have room for the sum of lengths + TLS_RECORD_OVERHEAD and must not overlap the parts. Returns
 * the record's bytes, 0 on failure of the AEAD or a length out of range. */
struct tls_slice {
    const void *data;
    size_t len;
};
size_t tls_record_seal(struct tls_crypto *crypto, struct tls_direction *dir, enum tls_suite suite,
                       enum tls_content_type type, const struct tls_slice *parts, size_t part_count,
                       uint8_t *out);

/* One record opened in place. */
struct tls_opened {
    size_t record_bytes;        /* PARSE_OK: bytes taken from the input */
    uint8_t *content;           /* PARSE_OK: plaintext without padding, inside the input buffer */
    size_t content_bytes;       /* may be 0 (RFC 8446 §5.4) */
    enum tls_content_type type; /* inner type: application data, alert or handshake; an outer
                                   change_cipher_spec or plaintext record is PARSE_BAD after the handshake */
    enum tls_alert alert;       /* PARSE_BAD: the alert that the RFC demands */
};
enum parse_result tls_record_open(struct tls_crypto *crypto, struct tls_direction *dir, enum tls_suite suite,
                                  uint8_t *data, size_t len, struct tls_opened *out)
    __attribute__((warn_unused_result));

/* Looks at a record header without keys: PARSE_OK gives record_bytes (header and body) even when the body has
 * not arrived; PARSE_BAD gives `alert`. Used to hand OpenSSL whole records only. `max_body` is
 * TLS_RECORD_CIPHERTEXT_MAX, or TLS_RECORD_PLAINTEXT_MAX before encryption. */
enum parse_result tls_record_peek(const uint8_t *data, size_t len, size_t max_body, struct tls_opened *out)
    __attribute__((warn_unused_result));
