/* A token taken apart (JWS compact serialisation, RFC 7515 §3.1) and its signature checked.
 *
 * Thread: any. Owner: the caller owns the claims.
 */
#pragma once

#include "gateway/auth/auth_keys.h"

#include <jansson.h>

/* AUTH_OK: *claims is the payload, a JSON object without repeated names, signed by one of the keys with an
 * allowed algorithm. Else NULL, and *reason says what is wrong; nothing of the payload was looked at.
 * `allowed`: see auth_algorithm_bit(). */
enum auth_result auth_token_verify(const struct auth_keys *keys, uint32_t allowed, const char *token,
                                   size_t len, json_t **claims, const char **reason)
    __attribute__((warn_unused_result));
