/* Public keys in PEM files, also inside certificates. */
#include "gateway/auth/auth_keys.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

enum { NUMBER_MAX = 2048 }; /* bytes of an RSA modulus: OpenSSL goes no further than 16384 bits */

static bool fail(char *error, size_t error_size, const char *why)
{
    snprintf(error, error_size, "%s", why);
    return false;
}

/* A number of the key, big-endian and padded to `bytes`; 0: as long as it is. Returns its length; 0: failed.
 */
static size_t number(const EVP_PKEY *pkey, const char *name, uint8_t out[NUMBER_MAX], size_t bytes)
{
    BIGNUM *value = NULL;
    size_t len = 0;
    if (EVP_PKEY_get_bn_param(pkey, name, &value) == 1) {
        len = bytes ? bytes : (size_t)BN_num_bytes(value);
        if (len > NUMBER_MAX || BN_bn2binpad(value, out, (int)len) < 0)
            len = 0;
    }
    BN_free(value);
    return len;
}

static bool take_rsa(struct auth_key *key, const EVP_PKEY *pkey, char *error, size_t error_size)
{
    uint8_t n[NUMBER_MAX], e[NUMBER_MAX];
    int bits = EVP_PKEY_get_bits(pkey);
    if (bits < AUTH_RSA_BITS_MIN) {
        snprintf(error, error_size, "its RSA key of %d bits is too weak; %d are the least", bits,
                 AUTH_RSA_BITS_MIN);
        return false;
    }
    cjose_jwk_rsa_keyspec spec = {.n = n, .e = e};
    spec.nlen = number(pkey, OSSL_PKEY_PARAM_RSA_N, n, 0);
    spec.elen = number(pkey, OSSL_PKEY_PARAM_RSA_E, e, 0);
    key->kind = AUTH_KEY_RSA;
    if (spec.nlen && spec.elen)
        key->jwk = cjose_jwk_create_RSA_spec(&spec, NULL);
    return key->jwk || fail(error, error_size, "its RSA key cannot be used");
}

static bool take_ec(struct auth_key *key, const EVP_PKEY *pkey, char *error, size_t error_size)
{
    static const struct {
        enum auth_key_kind kind;
        cjose_jwk_ec_curve curve; /* OpenSSL's number of it, too */
        size_t bytes;
    } curves[] = {
        {AUTH_KEY_P256, CJOSE_JWK_EC_P_256, 32},
        {AUTH_KEY_P384, CJOSE_JWK_EC_P_384, 48},
        {AUTH_KEY_P521, CJOSE_JWK_EC_P_521, 66},
    };
    char name[64] = "";
    uint8_t x[NUMBER_MAX], y[NUMBER_MAX];
    (void)EVP_PKEY_get_group_name(pkey, name, sizeof name, NULL);
    for (size_t i = 0; i < sizeof curves / sizeof *curves; i++) {
        if (OBJ_txt2nid(name) != (int)curves[i].curve)
            continue;
        size_t bytes = curves[i].bytes;
        cjose_jwk_ec_keyspec spec = {.crv = curves[i].curve, .x = x, .xlen = bytes, .y = y, .ylen = bytes};
        key->kind = curves[i].kind;
        if (number(pkey, OSSL_PKEY_PARAM_EC_PUB_X, x, bytes) &&
            number(pkey, OSSL_PKEY_PARAM_EC_PUB_Y, y, bytes))
            key->jwk = cjose_jwk_create_EC_spec(&spec, NULL);
        return key->jwk || fail(error, error_size, "its EC key cannot be used");
    }
    snprintf(error, error_size, "its EC key is on %.40s; P-256, P-384 and P-521 are known here",
             *name ? name : "a curve without name");
    return false;
}

static bool take_key(struct auth_keys *keys, EVP_PKEY *pkey, char *error, size_t error_size)
{
    struct auth_key *key = auth_keys_add(keys, error, error_size);
    if (!key)
        return false;
    switch (EVP_PKEY_get_base_id(pkey)) {
    case EVP_PKEY_RSA:
        return take_rsa(key, pkey, error, error_size);
    case EVP_PKEY_EC:
        return take_ec(key, pkey, error, error_size);
    case EVP_PKEY_ED25519:
        key->kind = AUTH_KEY_ED25519;
        key->ed25519 = EVP_PKEY_up_ref(pkey) == 1 ? pkey : NULL;
        return key->ed25519 || fail(error, error_size, "its key cannot be used");
    default:
        return fail(error, error_size, "its key is neither RSA nor EC nor Ed25519");
    }
}

static EVP_PKEY *decode(const char *name, const unsigned char *data, long bytes)
{
    if (strcmp(name, PEM_STRING_PUBLIC) == 0)
        return d2i_PUBKEY(NULL, &data, bytes);
    X509 *certificate = d2i_X509(NULL, &data, bytes);
    EVP_PKEY *pkey = certificate ? X509_get_pubkey(certificate) : NULL;
    X509_free(certificate);
    return pkey;
}

static bool take_block(struct auth_keys *keys, const char *name, const unsigned char *data, long bytes,
                       char *error, size_t error_size)
{
    if (strstr(name, "PRIVATE KEY"))
        return fail(error, error_size,
                    "this is a private key, which only the issuer of tokens should have; take the public one "
                    "from it with openssl pkey -in FILE -pubout");
    if (strcmp(name, PEM_STRING_PUBLIC) != 0 && strcmp(name, PEM_STRING_X509) != 0)
        return true; /* parameters and the like */
    EVP_PKEY *pkey = decode(name, data, bytes);
    if (!pkey)
        return fail(error, error_size, "a key in it is damaged");
    bool good = take_key(keys, pkey, error, error_size);
    EVP_PKEY_free(pkey);
    return good;
}

bool auth_keys_add_pem(struct auth_keys *keys, const char *text, size_t bytes, char *error, size_t error_size)
{
    size_t before = keys->count;
    bool good = true;
    BIO *bio = BIO_new_mem_buf(text, (int)bytes);
    if (!bio)
        return fail(error, error_size, "out of memory");
    ERR_clear_error(); /* its last entry tells the end of the file from damage */
    char *name, *header;
    unsigned char *data;
    long len;
    while (good && PEM_read_bio(bio, &name, &header, &data, &len) == 1) {
        good = take_block(keys, name, data, len, error, error_size);
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_clear_free(data, (size_t)len);
    }
    if (good && ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        good = fail(error, error_size, "its PEM is damaged");
    else if (good && keys->count == before)
        good =
            fail(error, error_size,
                 "no PEM public key is in it; openssl pkey -in PRIVATE -pubout makes one of a private key");
    ERR_clear_error();
    BIO_free(bio);
    return good;
}
