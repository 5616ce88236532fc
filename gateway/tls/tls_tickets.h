/* Keys of session tickets (RFC 8446 §4.6.1, RFC 5077 §4): the first makes tickets, all of them open them.
 *
 * A set never changes: rotation makes a new one with a fresh key before the one in use until then, whose
 * tickets are still honoured; keys older than that are wiped with the last set that has them.
 *
 * Thread: any; references are counted atomically. Owner: everyone who holds a reference.
 */
#pragma once

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TLS_TICKET_KEY_BYTES = 80, /* name 16, HMAC-SHA256 key 32, AES-256 key 32: as nginx and OpenSSL have it */
    TLS_TICKET_KEYS_MAX = 8,
    TLS_TICKET_NAME_BYTES = 16,
};

struct tls_ticket_keys;

/* A fresh random key, then the first of `previous` (NULL: none). NULL without memory or random bytes. */
struct tls_ticket_keys *tls_ticket_keys_create(const struct tls_ticket_keys *previous);
/* Reads up to TLS_TICKET_KEYS_MAX keys; others than owner and group must not reach the file. NULL with a
 * sentence that names it. */
struct tls_ticket_keys *tls_ticket_keys_read(const char *path, char *error, size_t error_size);
struct tls_ticket_keys *tls_ticket_keys_retain(struct tls_ticket_keys *keys);
void tls_ticket_keys_release(struct tls_ticket_keys *keys); /* NULL is allowed; the last one wipes */
size_t tls_ticket_keys_count(const struct tls_ticket_keys *keys);

/* As SSL_CTX_set_tlsext_ticket_key_evp_cb() wants it: sets up cipher and MAC of one ticket; `cipher` is
 * AES-256-CBC. 1 done, 0 no key for this ticket, -1 failed. */
int tls_ticket_keys_apply(const struct tls_ticket_keys *keys, const EVP_CIPHER *cipher,
                          unsigned char name[TLS_TICKET_NAME_BYTES], unsigned char *iv,
                          EVP_CIPHER_CTX *cipher_ctx, EVP_MAC_CTX *mac_ctx, bool making);
