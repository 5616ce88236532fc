/* Who a client is: JSON Web Tokens (RFC 7519, signed as in RFC 7515) against the keys of the configuration.
 *
 * Thread: auth_create(), auth_reload() and auth_destroy() on main; the checks on any thread at any time,
 * without a lock: a check pins the set of keys that is in use, a reload puts a new set beside it and waits
 * until nobody has the old one pinned before it wipes that (a check takes well under a millisecond).
 *
 * Owner: main owns the auth; the caller of a check owns what it fills, until auth_identity_fini().
 */
#pragma once

#include "proto/http_request.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    AUTH_TOKEN_MAX = 16 * 1024,         /* bytes of a token */
    AUTH_USER_MAX = 255,                /* bytes of `sub` */
    AUTH_INFO_MAX = 4096,               /* bytes of `info` as compact JSON */
    AUTH_CHANNELS_MAX = 255,            /* names in `channels` */
    AUTH_CHANNEL_BYTES_MAX = 255,       /* of one name: a topic */
    AUTH_CHANNELS_BYTES_MAX = 8 * 1024, /* of `channels`, packed */
    AUTH_SECRET_MIN = 32,               /* bytes of a secret for HS256 (RFC 7518 §3.2) */
};

/* Strings must live as long as the auth; empty is unset, none is NULL. */
struct auth_config {
    const char *hmac_secret; /* the bytes as they stand: HS256, and HS384 or HS512 when it is 48 or 64 long */
    const char *public_keys; /* PEM files, spaces or commas between: RSA, P-256, P-384, P-521, Ed25519 */
    const char *jwks_file;   /* JSON Web Key Set (RFC 7517), public keys and `oct` */
    const char *algorithms;  /* the allowed ones, spaces or commas between; empty: all that fit a key */
    const char *audience;    /* must be among `aud`; empty: `aud` is not looked at */
    const char *issuer;      /* must equal `iss`; empty: `iss` is not looked at */
    uint64_t leeway_s;       /* by how much clocks may differ */
};

struct auth;

/* Without any key it can be made, too: then every token is invalid. NULL with a sentence that names the file
 * or the setting; never with any of the secret. */
struct auth *auth_create(const struct auth_config *config, char *error, size_t error_size);
/* Reads the files again. False with a sentence that names the file: the keys in use stay. */
bool auth_reload(struct auth *auth, char *error, size_t error_size) __attribute__((warn_unused_result));
void auth_destroy(struct auth *auth); /* NULL is allowed; wipes. No check may be under way */
size_t auth_key_count(struct auth *auth);

enum auth_result {
    AUTH_OK,
    AUTH_EXPIRED, /* signed by one of our keys, but `exp` has passed: a fresh token will do */
    AUTH_INVALID, /* anything else that is wrong with a token */
    AUTH_NO_MEMORY,
};

/* What a token says, in one block without pointers inside, so that it can be copied into a record. */
struct auth_identity {
    int64_t expires_at;      /* Unix seconds, leeway included, so later than the check's `now`; 0: never */
    uint16_t user_bytes;     /* 0: a token without `sub` is anonymous */
    uint16_t info_bytes;     /* 0: no claim `info` */
    uint16_t channels_bytes; /* packed: length byte + name, in the token's order, without repeats */
    uint8_t channel_count;
    const char *reason; /* static; for the debug log when the result is not AUTH_OK, else NULL */
    char *bytes;        /* user, NUL, info, NUL, channels; NULL unless AUTH_OK */
};

static inline const char *auth_identity_user(const struct auth_identity *identity)
{
    return identity->bytes; /* NUL-terminated UTF-8, without NUL in it */
}
static inline const char *auth_identity_info(const struct auth_identity *identity)
{
    return identity->bytes + identity->user_bytes + 1; /* NUL-terminated JSON, "" without the claim */
}
static inline const uint8_t *auth_identity_channels(const struct auth_identity *identity)
{
    return (const uint8_t *)identity->bytes + identity->user_bytes + 1 + identity->info_bytes + 1;
}
void auth_identity_fini(struct auth_identity *identity); /* wipes; harmless after any result, and twice */

/* A connection token: signature, algorithm, `exp`, `nbf`, `iat`, `aud`, `iss`; then `sub`, `info`,
 * `channels`. A claim `expire_at` (0: never) says when the connection ends if not at `exp`. A token with a
 * claim `channel` is a subscription's and refused. `now`: Unix seconds. Fills *out whatever the result. */
enum auth_result auth_check_connection(struct auth *auth, const char *token, size_t token_bytes, int64_t now,
                                       struct auth_identity *out) __attribute__((warn_unused_result));
/* A subscription token: the same, and `channel` must equal `channel`, `sub` (absent: "") the connection's
 * user. No channels come out. */
enum auth_result auth_check_subscription(struct auth *auth, const char *token, size_t token_bytes,
                                         int64_t now, const char *user, size_t user_bytes,
                                         const char *channel, size_t channel_bytes, struct auth_identity *out)
    __attribute__((warn_unused_result));

enum auth_token_place {
    AUTH_TOKEN_NONE,  /* the request says nothing of who asks; so does an empty token */
    AUTH_TOKEN_FOUND, /* *out_bytes of it in `out`, which the caller wipes */
    AUTH_TOKEN_BAD,   /* it has one that cannot be read or stands twice: as good as an invalid one */
};
/* Where an upgrade request has its token: `Authorization: Bearer …`, else `?token=…`, else the cookie
 * `cookie`
 * ("": none is looked at). With HTTP_HEAD_MAX bytes of `out` it always fits. */
enum auth_token_place auth_request_token(const struct http_request *request, const char *cookie, char *out,
                                         size_t out_size, size_t *out_bytes)
    __attribute__((warn_unused_result));
