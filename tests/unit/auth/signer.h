/* A signer of tokens for tests: OpenSSL alone, so that it shares no code with what it tests. */
#pragma once

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIGNER_TEXT_MAX = 64 * 1024 };

/* Adds to the text in `out`, which has room for `out_size` bytes. */
static inline void signer_add(char *out, size_t out_size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static inline void signer_add(char *out, size_t out_size, const char *format, ...)
{
    size_t used = strlen(out);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(out + used, out_size - used, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= out_size - used)
        abort();
}

/* base64url without padding; returns its length, NUL-terminated. */
static inline size_t signer_base64url(const void *data, size_t len, char *out)
{
    size_t n = (size_t)EVP_EncodeBlock((unsigned char *)out, data, (int)len);
    while (n > 0 && out[n - 1] == '=')
        n--;
    out[n] = '\0';
    for (size_t i = 0; i < n; i++)
        out[i] = (char)(out[i] == '+' ? '-' : out[i] == '/' ? '_' : out[i]);
    return n;
}

static inline const EVP_MD *signer_digest(const char *alg)
{
    const char *bits = alg + strlen(alg) - 3;
    return strcmp(bits, "256") == 0 ? EVP_sha256() : strcmp(bits, "384") == 0 ? EVP_sha384() : EVP_sha512();
}

/* Raw r ‖ s of an ECDSA signature in DER, `half` bytes each. */
static inline size_t signer_raw_ecdsa(const uint8_t *der, size_t len, int half, uint8_t *out)
{
    ECDSA_SIG *parts = d2i_ECDSA_SIG(NULL, &der, (long)len);
    BN_bn2binpad(ECDSA_SIG_get0_r(parts), out, half);
    BN_bn2binpad(ECDSA_SIG_get0_s(parts), out + half, half);
    ECDSA_SIG_free(parts);
    return (size_t)half * 2;
}

static inline size_t signer_sign(const char *alg, EVP_PKEY *key, const char *text, size_t len, uint8_t *out,
                                 size_t out_size)
{
    bool eddsa = alg[0] == 'E' && alg[1] == 'd';
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t bytes = out_size;
    bool good = EVP_DigestSignInit(ctx, NULL, eddsa ? NULL : signer_digest(alg), NULL, key) == 1 &&
                EVP_DigestSign(ctx, out, &bytes, (const unsigned char *)text, len) == 1;
    EVP_MD_CTX_free(ctx);
    if (!good)
        abort();
    if (EVP_PKEY_get_base_id(key) != EVP_PKEY_EC)
        return bytes;
    uint8_t der[256];
    memcpy(der, out, bytes);
    return signer_raw_ecdsa(der, bytes, (EVP_PKEY_get_bits(key) + 7) / 8, out);
}

/* A whole token with this header and payload, signed as `alg` says (which the header may deny): by `key`, or
 * by the secret when that is not NULL. The caller frees it. */
static inline char *signer_bytes(const char *alg, EVP_PKEY *key, const char *secret, const void *header,
                                 size_t header_len, const void *payload, size_t payload_len)
{
    char *token = malloc(SIGNER_TEXT_MAX);
    uint8_t signature[1024];
    if (!token || (header_len + payload_len) * 4 / 3 > SIGNER_TEXT_MAX - 2048)
        abort();
    size_t at = signer_base64url(header, header_len, token), bytes;
    token[at++] = '.';
    at += signer_base64url(payload, payload_len, token + at);
    if (secret) {
        unsigned len;
        HMAC(signer_digest(alg), secret, (int)strlen(secret), (const unsigned char *)token, at, signature,
             &len);
        bytes = len;
    } else {
        bytes = signer_sign(alg, key, token, at, signature, sizeof signature);
    }
    token[at++] = '.';
    signer_base64url(signature, bytes, token + at);
    return token;
}

static inline char *signer_token(const char *alg, EVP_PKEY *key, const char *secret, const char *header,
                                 const char *payload)
{
    return signer_bytes(alg, key, secret, header, strlen(header), payload, strlen(payload));
}

/* With an ordinary header. */
static inline char *signer_plain(const char *alg, EVP_PKEY *key, const char *secret, const char *kid,
                                 const char *payload)
{
    char header[256];
    if (kid)
        snprintf(header, sizeof header, "{\"alg\":\"%s\",\"typ\":\"JWT\",\"kid\":\"%s\"}", alg, kid);
    else
        snprintf(header, sizeof header, "{\"alg\":\"%s\",\"typ\":\"JWT\"}", alg);
    return signer_token(alg, key, secret, header, payload);
}

static inline EVP_PKEY *signer_key(const char *kind)
{
    EVP_PKEY *key = strcmp(kind, "RSA") == 0       ? EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048)
                    : strcmp(kind, "Ed25519") == 0 ? EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")
                                                   : EVP_PKEY_Q_keygen(NULL, NULL, "EC", kind);
    if (!key)
        abort();
    return key;
}

static inline void signer_write(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    if (!file || fputs(text, file) < 0 || fclose(file) != 0)
        abort();
}

static inline void signer_write_pem(const char *path, EVP_PKEY *key)
{
    FILE *file = fopen(path, "w");
    if (!file || PEM_write_PUBKEY(file, key) != 1 || fclose(file) != 0)
        abort();
}

static inline void signer_number(EVP_PKEY *key, const char *name, int width, char *out)
{
    BIGNUM *value = NULL;
    uint8_t bytes[1024];
    if (EVP_PKEY_get_bn_param(key, name, &value) != 1)
        abort();
    int len = width ? width : BN_num_bytes(value);
    BN_bn2binpad(value, bytes, len);
    BN_free(value);
    signer_base64url(bytes, (size_t)len, out);
}

/* The public half as a JWK; `more` is "" or further members, beginning with a comma. */
static inline void signer_jwk(EVP_PKEY *key, const char *kid, const char *more, char *out, size_t out_size)
{
    char a[1024], b[1024];
    uint8_t raw[32];
    size_t bytes = sizeof raw;
    int width = (EVP_PKEY_get_bits(key) + 7) / 8;
    switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_RSA:
        signer_number(key, OSSL_PKEY_PARAM_RSA_N, 0, a);
        signer_number(key, OSSL_PKEY_PARAM_RSA_E, 0, b);
        snprintf(out, out_size, "{\"kty\":\"RSA\",\"kid\":\"%s\",\"n\":\"%s\",\"e\":\"%s\"%s}", kid, a, b,
                 more);
        break;
    case EVP_PKEY_EC:
        signer_number(key, OSSL_PKEY_PARAM_EC_PUB_X, width, a);
        signer_number(key, OSSL_PKEY_PARAM_EC_PUB_Y, width, b);
        snprintf(out, out_size,
                 "{\"kty\":\"EC\",\"crv\":\"P-%d\",\"kid\":\"%s\",\"x\":\"%s\",\"y\":\"%s\"%s}",
                 EVP_PKEY_get_bits(key), kid, a, b, more);
        break;
    default:
        if (EVP_PKEY_get_raw_public_key(key, raw, &bytes) != 1)
            abort();
        signer_base64url(raw, bytes, a);
        snprintf(out, out_size, "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"%s\",\"x\":\"%s\"%s}", kid, a,
                 more);
    }
}
