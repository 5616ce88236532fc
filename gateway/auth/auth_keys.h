/* A set of keys that tokens are checked with: a secret, PEM files, a JSON Web Key Set.
 *
 * Thread: made and destroyed on main; never changed in between, so any thread may read it. Owner: the auth.
 */
#pragma once

#include "gateway/auth/auth.h"
#include "gateway/auth/auth_algorithm.h"

#include <cjose/cjose.h>
#include <openssl/evp.h>

enum {
    AUTH_KEYS_MAX = 64, /* a token without `kid` may cost a check with each */
    AUTH_FILE_MAX = 1024 * 1024,
    AUTH_RSA_BITS_MIN = 2048, /* RFC 7518 §3.3 */
};

struct auth_key {
    enum auth_key_kind kind;
    char *kid; /* NULL: none */
    const struct auth_algorithm
        *only; /* the one that the key is for, as its `alg` says; NULL: all that fit */
    size_t secret_bytes;
    cjose_jwk_t *jwk; /* all but Ed25519, which cjose does not know */
    EVP_PKEY *ed25519;
};

struct auth_keys {
    size_t count;
    struct auth_key keys[AUTH_KEYS_MAX];
};

/* Everything that the configuration names. NULL with a sentence that names the setting and the file. */
struct auth_keys *auth_keys_load(const struct auth_config *config, char *error, size_t error_size);
void auth_keys_destroy(struct auth_keys *keys); /* NULL is allowed; wipes secrets */

/* The next key at or after *cursor (begin with 0) that fits algorithm and kid (NULL: a token without). When a
 * token has a kid, keys of that name are tried, and those without any: a PEM file gives none. */
const struct auth_key *auth_keys_next(const struct auth_keys *keys, const struct auth_algorithm *algorithm,
                                      const char *kid, size_t *cursor);

/* auth_keys.c for its siblings: room for one key more, zeroed; NULL with a sentence. */
struct auth_key *auth_keys_add(struct auth_keys *keys, char *error, size_t error_size);
/* auth_jwks.c: adds the keys of a JSON Web Key Set; those for other purposes or of kinds that we do not know
 * are passed over (RFC 7517 §5). False with a sentence without the file's name. */
bool auth_keys_add_jwks(struct auth_keys *keys, const char *text, size_t bytes, char *error,
                        size_t error_size) __attribute__((warn_unused_result));
/* auth_pem.c: adds every public key of a PEM file. */
bool auth_keys_add_pem(struct auth_keys *keys, const char *text, size_t bytes, char *error, size_t error_size)
    __attribute__((warn_unused_result));
