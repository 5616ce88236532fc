/* The table of algorithms. */
#include "gateway/auth/auth_algorithm.h"

#include <stdio.h>
#include <string.h>

static const struct auth_algorithm algorithms[] = {
    {"HS256", AUTH_KEY_SECRET, 32, 32},   {"HS384", AUTH_KEY_SECRET, 48, 48},
    {"HS512", AUTH_KEY_SECRET, 64, 64},   {"RS256", AUTH_KEY_RSA, 0, 0},
    {"RS384", AUTH_KEY_RSA, 0, 0},        {"RS512", AUTH_KEY_RSA, 0, 0},
    {"ES256", AUTH_KEY_P256, 0, 64},      {"ES384", AUTH_KEY_P384, 0, 96},
    {"ES512", AUTH_KEY_P521, 0, 132},     {"EdDSA", AUTH_KEY_ED25519, 0, 64},
    {"Ed25519", AUTH_KEY_ED25519, 0, 64},
};
enum { COUNT = sizeof algorithms / sizeof *algorithms };
_Static_assert(COUNT < 32, "one bit each");

const struct auth_algorithm *auth_algorithm_find(const char *name, size_t len)
{
    for (size_t i = 0; i < COUNT; i++)
        if (strlen(algorithms[i].name) == len && memcmp(algorithms[i].name, name, len) == 0)
            return &algorithms[i];
    return NULL;
}

uint32_t auth_algorithm_bit(const struct auth_algorithm *algorithm)
{
    return UINT32_C(1) << (algorithm - algorithms);
}

static void list_all(char *out, size_t out_size)
{
    size_t used = 0;
    for (size_t i = 0; i < COUNT && used < out_size; i++)
        used += (size_t)snprintf(out + used, out_size - used, "%s%s", i ? ", " : "", algorithms[i].name);
}

bool auth_algorithms_read(const char *list, uint32_t *allowed, char *error, size_t error_size)
{
    static const char between[] = " ,";
    *allowed = 0;
    for (const char *at = list + strspn(list, between); *at; at += strspn(at, between)) {
        size_t len = strcspn(at, between);
        const struct auth_algorithm *found = auth_algorithm_find(at, len);
        if (!found) {
            char all[128];
            list_all(all, sizeof all);
            snprintf(error, error_size, "auth.algorithms: \"%.*s\" is none of %s", (int)(len < 40 ? len : 40),
                     at, all);
            return false;
        }
        *allowed |= auth_algorithm_bit(found);
        at += len;
    }
    if (*allowed == 0)
        *allowed = (UINT32_C(1) << COUNT) - 1;
    return true;
}
