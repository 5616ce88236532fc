/* The keys in use, how they are replaced while they are used, and the two checks. */
#include "gateway/auth/auth.h"

#include "gateway/auth/auth_claims.h"
#include "gateway/auth/auth_keys.h"
#include "gateway/auth/auth_token.h"

#include <jansson.h>
#include <openssl/crypto.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Two places, one of them in use. A check adds itself to the pins of the place in use and looks whether it
 * still is; only then it reads the keys there. A reload fills the other place, which nobody reads (see
 * release), makes it the one in use and waits until the pins of the old one are gone. All of these are
 * sequentially consistent: either the reload sees the pin, or the check sees the change. */
struct place {
    _Alignas(64) _Atomic uint32_t pins;
    struct auth_keys *keys;
};

struct auth {
    struct auth_config config;
    uint32_t allowed;
    _Atomic unsigned in_use;
    struct place places[2];
};

static struct place *pin(struct auth *auth)
{
    for (;;) {
        unsigned i = atomic_load(&auth->in_use);
        atomic_fetch_add(&auth->places[i].pins, 1);
        if (atomic_load(&auth->in_use) == i)
            return &auth->places[i];
        atomic_fetch_sub(&auth->places[i].pins, 1);
    }
}

static void unpin(struct place *place)
{
    atomic_fetch_sub(&place->pins, 1);
}

/* Nobody else's from now on: who pins it hereafter sees that it is not in use. */
static void release(struct place *place)
{
    const struct timespec pause = {.tv_nsec = 20000};
    while (atomic_load(&place->pins) != 0)
        nanosleep(&pause, NULL);
    auth_keys_destroy(place->keys);
    place->keys = NULL;
}

struct auth *auth_create(const struct auth_config *config, char *error, size_t error_size)
{
    uint32_t allowed;
    if (!auth_algorithms_read(config->algorithms, &allowed, error, error_size))
        return NULL;
    struct auth_keys *keys = auth_keys_load(config, error, error_size);
    if (!keys)
        return NULL;
    struct auth *auth = aligned_alloc(_Alignof(struct auth), sizeof *auth);
    if (!auth) {
        snprintf(error, error_size, "out of memory");
        auth_keys_destroy(keys);
        return NULL;
    }
    *auth = (struct auth){.config = *config, .allowed = allowed, .places = {{.keys = keys}}};
    json_object_seed(0); /* here, where there are no other threads yet */
    return auth;
}

bool auth_reload(struct auth *auth, char *error, size_t error_size)
{
    struct auth_keys *keys = auth_keys_load(&auth->config, error, error_size);
    if (!keys)
        return false;
    unsigned old = atomic_load(&auth->in_use);
    auth->places[!old].keys = keys;
    atomic_store(&auth->in_use, !old);
    release(&auth->places[old]);
    return true;
}

void auth_destroy(struct auth *auth)
{
    if (!auth)
        return;
    release(&auth->places[atomic_load(&auth->in_use)]);
    free(auth);
}

size_t auth_key_count(struct auth *auth)
{
    struct place *place = pin(auth);
    size_t count = place->keys->count;
    unpin(place);
    return count;
}

static enum auth_result check(struct auth *auth, const char *token, size_t token_bytes, int64_t now,
                              const struct auth_subject *subject, struct auth_identity *out)
{
    json_t *claims = NULL;
    *out = (struct auth_identity){0};
    struct place *place = pin(auth);
    enum auth_result result =
        auth_token_verify(place->keys, auth->allowed, token, token_bytes, &claims, &out->reason);
    unpin(place);
    if (result == AUTH_OK)
        result = auth_claims_read(claims, &auth->config, now, subject, out);
    json_decref(claims);
    return result;
}

enum auth_result auth_check_connection(struct auth *auth, const char *token, size_t token_bytes, int64_t now,
                                       struct auth_identity *out)
{
    return check(auth, token, token_bytes, now, NULL, out);
}

enum auth_result auth_check_subscription(struct auth *auth, const char *token, size_t token_bytes,
                                         int64_t now, const char *user, size_t user_bytes,
                                         const char *channel, size_t channel_bytes, struct auth_identity *out)
{
    const struct auth_subject subject = {user, user_bytes, channel, channel_bytes};
    return check(auth, token, token_bytes, now, &subject, out);
}

void auth_identity_fini(struct auth_identity *identity)
{
    if (identity->bytes)
        OPENSSL_cleanse(identity->bytes, (size_t)identity->user_bytes + 1 + identity->info_bytes + 1 +
                                             identity->channels_bytes);
    free(identity->bytes);
    *identity = (struct auth_identity){0};
}
