/* JSON Web Key Sets (RFC 7517, RFC 7518 §6, RFC 8037 §2). */
#include "gateway/auth/auth_base64url.h"
#include "gateway/auth/auth_keys.h"

#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { ED25519_BYTES = 32 };

/* Of one key: taken, passed over, or the whole set is refused. */
enum taken { TAKEN, PASSED_OVER, REFUSED };

static enum taken refuse(char *error, size_t error_size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static enum taken refuse(char *error, size_t error_size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error, error_size, format, args);
    va_end(args);
    return REFUSED;
}

static bool text_is(const json_t *object, const char *name, const char *text)
{
    const char *value = json_string_value(json_object_get(object, name));
    return value && strcmp(value, text) == 0;
}

/* What kind it is, of those that we know. */
static bool find_kind(const json_t *object, enum auth_key_kind *kind)
{
    static const struct {
        const char *kty, *crv;
        enum auth_key_kind kind;
    } kinds[] = {
        {"oct", NULL, AUTH_KEY_SECRET}, {"RSA", NULL, AUTH_KEY_RSA},    {"EC", "P-256", AUTH_KEY_P256},
        {"EC", "P-384", AUTH_KEY_P384}, {"EC", "P-521", AUTH_KEY_P521}, {"OKP", "Ed25519", AUTH_KEY_ED25519},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (!text_is(object, "kty", kinds[i].kty) || (kinds[i].crv && !text_is(object, "crv", kinds[i].crv)))
            continue;
        *kind = kinds[i].kind;
        return true;
    }
    return false;
}

/* Is it for signatures? A key that does not say what it is for is. */
static bool checks_signatures(const json_t *object)
{
    const json_t *use = json_object_get(object, "use"), *operations = json_object_get(object, "key_ops");
    if (use && !text_is(object, "use", "sig"))
        return false;
    for (size_t i = 0; i < json_array_size(operations); i++) {
        const char *operation = json_string_value(json_array_get(operations, i));
        if (operation && strcmp(operation, "verify") == 0)
            return true;
    }
    return !operations;
}

/* What a key is made of, as far as it is there. */
static bool material_is_base64url(const json_t *object)
{
    static const char *const names[] = {"k", "n", "e", "x", "y"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const json_t *value = json_object_get(object, names[i]);
        if (value && (!json_is_string(value) ||
                      !auth_base64url_good(json_string_value(value), json_string_length(value))))
            return false;
    }
    return true;
}

/* A member's bytes, which the caller frees as cjose does; NULL: it is missing or damaged. */
static uint8_t *read_bytes(const json_t *object, const char *name, size_t *bytes)
{
    const json_t *value = json_object_get(object, name);
    uint8_t *raw = NULL;
    if (!json_is_string(value) ||
        !cjose_base64url_decode(json_string_value(value), json_string_length(value), &raw, bytes, NULL))
        return NULL;
    return raw;
}

static enum taken take_ed25519(struct auth_key *key, const json_t *object, char *error, size_t error_size)
{
    size_t bytes;
    uint8_t *raw = read_bytes(object, "x", &bytes);
    if (raw && bytes == ED25519_BYTES)
        key->ed25519 = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, raw, bytes);
    cjose_get_dealloc()(raw);
    return key->ed25519 ? TAKEN : refuse(error, error_size, "its x is not base64url of 32 bytes");
}

/* Not by cjose's import, which leaves a copy of the secret behind. */
static enum taken take_secret(struct auth_key *key, const json_t *object, char *error, size_t error_size)
{
    uint8_t *raw = read_bytes(object, "k", &key->secret_bytes);
    if (!raw)
        return refuse(error, error_size, "its k is missing");
    bool good = key->secret_bytes >= AUTH_SECRET_MIN;
    if (good)
        key->jwk = cjose_jwk_create_oct_spec(raw, key->secret_bytes, NULL);
    OPENSSL_cleanse(raw, key->secret_bytes);
    cjose_get_dealloc()(raw);
    if (!good)
        return refuse(error, error_size, "its secret has %zu bytes, and %d are the least that is safe",
                      key->secret_bytes, AUTH_SECRET_MIN);
    return key->jwk ? TAKEN : refuse(error, error_size, "out of memory");
}

/* Private halves have no business here; what is not there cannot leak. */
static void drop_private_members(json_t *object)
{
    static const char *const names[] = {"d", "p", "q", "dp", "dq", "qi", "oth"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        (void)json_object_del(object, names[i]);
}

static enum taken take_material(struct auth_key *key, json_t *object, char *error, size_t error_size)
{
    if (!material_is_base64url(object))
        return refuse(error, error_size, "one of k, n, e, x, y is no base64url");
    if (key->kind == AUTH_KEY_ED25519)
        return take_ed25519(key, object, error, error_size);
    if (key->kind == AUTH_KEY_SECRET)
        return take_secret(key, object, error, error_size);
    drop_private_members(object);
    key->jwk = cjose_jwk_import_json((cjose_header_t *)object, NULL); /* a json_t by its documentation */
    if (!key->jwk)
        return refuse(error, error_size, "what belongs to its kty is missing or damaged");
    size_t bits = cjose_jwk_get_keysize(key->jwk, NULL);
    if (key->kind == AUTH_KEY_RSA && bits < AUTH_RSA_BITS_MIN)
        return refuse(error, error_size, "its RSA modulus of %zu bits is too weak; %d are the least", bits,
                      AUTH_RSA_BITS_MIN);
    return TAKEN;
}

static enum taken take_key(struct auth_keys *keys, json_t *object, char *error, size_t error_size)
{
    enum auth_key_kind kind;
    if (!json_is_object(object))
        return refuse(error, error_size, "it is no object");
    const json_t *kid = json_object_get(object, "kid"), *alg = json_object_get(object, "alg");
    if ((kid && !json_is_string(kid)) || (alg && !json_is_string(alg)))
        return refuse(error, error_size, "its kid or alg is no string");
    const struct auth_algorithm *only =
        alg ? auth_algorithm_find(json_string_value(alg), json_string_length(alg)) : NULL;
    if (!find_kind(object, &kind) || !checks_signatures(object) || (alg && !only))
        return PASSED_OVER;
    if (only && only->kind != kind)
        return refuse(error, error_size, "its alg %s does not fit its kty", only->name);
    struct auth_key *key = auth_keys_add(keys, error, error_size);
    if (!key)
        return REFUSED;
    key->kind = kind;
    key->only = only;
    if (kid && !(key->kid = strdup(json_string_value(kid))))
        return refuse(error, error_size, "out of memory");
    return take_material(key, object, error, error_size);
}

/* jansson frees strings as they are. */
static void wipe_secret(const json_t *object)
{
    const json_t *k = json_object_get(object, "k");
    if (json_is_string(k))
        OPENSSL_cleanse((void *)(uintptr_t)json_string_value(k), json_string_length(k));
}

bool auth_keys_add_jwks(struct auth_keys *keys, const char *text, size_t bytes, char *error,
                        size_t error_size)
{
    json_error_t at;
    size_t before = keys->count;
    json_t *set = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &at);
    if (!set) {
        /* Its text quotes what it stands at, which may be a secret. */
        snprintf(error, error_size, "no valid JSON, line %d, column %d", at.line, at.column);
        return false;
    }
    const json_t *list = json_object_get(set, "keys");
    bool good = true;
    if (!json_is_array(list)) {
        snprintf(error, error_size, "no key set: {\"keys\":[…]} is wanted");
        good = false;
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        char why[128];
        json_t *object = json_array_get(list, i);
        if (good && take_key(keys, object, why, sizeof why) == REFUSED) {
            snprintf(error, error_size, "key %zu: %s", i + 1, why);
            good = false;
        }
        wipe_secret(object);
    }
    if (good && keys->count == before) {
        snprintf(error, error_size, "it has no key that checks signatures");
        good = false;
    }
    json_decref(set);
    ERR_clear_error();
    return good;
}
