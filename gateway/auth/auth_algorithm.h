/* The algorithms that a token may be signed with (RFC 7518 §3.1, RFC 8037 §3.1, RFC 9864), and which kind of
 * key each needs: what a token's header says is only ever looked up here, and never decides what a key is
 * used for.
 *
 * Thread: any; constant. Owner: nobody.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum auth_key_kind {
    AUTH_KEY_SECRET,
    AUTH_KEY_RSA,
    AUTH_KEY_P256,
    AUTH_KEY_P384,
    AUTH_KEY_P521,
    AUTH_KEY_ED25519,
};

struct auth_algorithm {
    const char *name; /* as in `alg` */
    enum auth_key_kind kind;
    uint8_t secret_min;      /* bytes that a secret must have (RFC 7518 §3.2) */
    uint8_t signature_bytes; /* 0: as long as the key's modulus, which OpenSSL checks */
};

/* Exact name; NULL: unknown, as `none` is. */
const struct auth_algorithm *auth_algorithm_find(const char *name, size_t len);
/* One bit for each. */
uint32_t auth_algorithm_bit(const struct auth_algorithm *algorithm);
/* A list with spaces or commas between; empty: all. False with a sentence. */
bool auth_algorithms_read(const char *list, uint32_t *allowed, char *error, size_t error_size)
    __attribute__((warn_unused_result));
