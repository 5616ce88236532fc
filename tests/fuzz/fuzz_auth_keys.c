/* Files of keys: an operator's, but often fetched from elsewhere. First byte: 'p' PEM, else a JSON Web Key
 * Set. */
#include "gateway/auth/auth_keys.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    char error[256] = "";
    struct auth_keys *keys = calloc(1, sizeof *keys);
    must(keys != NULL);
    const char *text = (const char *)data + 1;
    bool good = data[0] == 'p' ? auth_keys_add_pem(keys, text, size - 1, error, sizeof error)
                               : auth_keys_add_jwks(keys, text, size - 1, error, sizeof error);
    must(good ? keys->count > 0 : *error);
    for (size_t i = 0; good && i < keys->count; i++)
        must((keys->keys[i].kind == AUTH_KEY_ED25519) == (keys->keys[i].ed25519 != NULL) &&
             (keys->keys[i].ed25519 == NULL) == (keys->keys[i].jwk != NULL) &&
             (keys->keys[i].kind != AUTH_KEY_SECRET || keys->keys[i].secret_bytes >= AUTH_SECRET_MIN));
    auth_keys_destroy(keys);
    return 0;
}
