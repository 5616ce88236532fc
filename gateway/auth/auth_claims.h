/* What a token's claims (RFC 7519 §4) must say, and what they say of a client.
 *
 * Thread: any. Owner: the caller.
 */
#pragma once

#include "gateway/auth/auth.h"

#include <jansson.h>

/* Of a subscription token. */
struct auth_subject {
    const char *user;
    size_t user_bytes;
    const char *channel;
    size_t channel_bytes;
};

/* Judges the claims of a token whose signature is right and fills *out (zeroed by the caller). `subject`
 * NULL: a connection token. AUTH_EXPIRED only when nothing else is wrong. */
enum auth_result auth_claims_read(const json_t *claims, const struct auth_config *config, int64_t now,
                                  const struct auth_subject *subject, struct auth_identity *out)
    __attribute__((warn_unused_result));
