/* Seals and opens TLS 1.3 records with OpenSSL's AEADs, re-keying one context per suite and direction for
 * every connection. */
#include "proto/tls_record.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <string.h>

enum {
    TAG_BYTES = 16,
    NONCE_BYTES = 12,
    KEY_BYTES_MAX = 32,
};

/* One re-keyable AEAD. The key that it was last given is remembered, so that several records of one
 * connection in a row pay for one key schedule only. */
struct aead {
    EVP_CIPHER_CTX *ctx;
    size_t key_bytes;
    bool keyed;
    uint8_t key[KEY_BYTES_MAX];
};

struct suite_crypto {
    EVP_CIPHER *cipher;
    struct aead seal, open;
};

struct tls_crypto {
    EVP_KDF *kdf;
    EVP_KDF_CTX *kdf_ctx;
    uint32_t records_per_key;
    struct suite_crypto aes_128_gcm, chacha20_poly1305;
};

static bool aead_init(struct aead *aead, const EVP_CIPHER *cipher, int encrypt)
{
    aead->key_bytes = (size_t)EVP_CIPHER_get_key_length(cipher);
    aead->ctx = EVP_CIPHER_CTX_new();
    return aead->ctx && aead->key_bytes <= KEY_BYTES_MAX && EVP_CIPHER_get_iv_length(cipher) == NONCE_BYTES &&
           EVP_CipherInit_ex2(aead->ctx, cipher, NULL, NULL, encrypt, NULL) == 1;
}

static void aead_fini(struct aead *aead)
{
    EVP_CIPHER_CTX_free(aead->ctx);
    OPENSSL_cleanse(aead->key, sizeof aead->key);
}

/* Installs key and nonce for one record. A context whose re-keying failed is never taken for keyed. */
static bool aead_begin(struct aead *aead, const uint8_t *key, const uint8_t nonce[NONCE_BYTES])
{
    const uint8_t *new_key = NULL;
    if (!aead->keyed || memcmp(aead->key, key, aead->key_bytes) != 0)
        new_key = key;
    aead->keyed = false;
    if (EVP_CipherInit_ex2(aead->ctx, NULL, new_key, nonce, -1, NULL) != 1)
        return false;
    if (new_key)
        memcpy(aead->key, new_key, aead->key_bytes);
    aead->keyed = true;
    return true;
}

static bool suite_crypto_init(struct suite_crypto *suite, const char *name)
{
    suite->cipher = EVP_CIPHER_fetch(NULL, name, NULL);
    return suite->cipher && aead_init(&suite->seal, suite->cipher, 1) &&
           aead_init(&suite->open, suite->cipher, 0);
}

static void suite_crypto_fini(struct suite_crypto *suite)
{
    aead_fini(&suite->seal);
    aead_fini(&suite->open);
    EVP_CIPHER_free(suite->cipher);
}

static struct suite_crypto *suite_find(struct tls_crypto *crypto, enum tls_suite suite)
{
    switch (suite) {
    case TLS_SUITE_AES_128_GCM_SHA256:
        return &crypto->aes_128_gcm;
    case TLS_SUITE_CHACHA20_POLY1305_SHA256:
        return &crypto->chacha20_poly1305;
    case TLS_SUITE_NONE:
        break;
    }
    return NULL;
}

/* HKDF-Expand-Label(secret, label, "", out_bytes), RFC 8446 §7.1. */
static bool expand_label(struct tls_crypto *crypto, const uint8_t secret[TLS_SECRET_BYTES], const char *label,
                         uint8_t *out, size_t out_bytes)
{
    int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)secret, TLS_SECRET_BYTES),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PREFIX, (void *)"tls13 ", 6),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_LABEL, (void *)label, strlen(label)),
        OSSL_PARAM_construct_end(),
    };
    bool done = EVP_KDF_derive(crypto->kdf_ctx, out, out_bytes, params) == 1;
    EVP_KDF_CTX_reset(crypto->kdf_ctx); /* wipes its copy of the secret */
    return done;
}

static bool derive_keys(struct tls_crypto *crypto, struct tls_direction *dir, size_t key_bytes)
{
    memset(dir->key, 0, sizeof dir->key);
    return expand_label(crypto, dir->secret, "key", dir->key, key_bytes) &&
           expand_label(crypto, dir->secret, "iv", dir->iv, sizeof dir->iv);
}

static void direction_set_seq(struct tls_direction *dir, uint64_t seq)
{
    dir->seq_low = (uint32_t)seq;
    dir->seq_high = (uint32_t)(seq >> 32);
}

/* RFC 8446 §5.3: the sequence number, big-endian and padded on the left, XORed with the iv. */
static void make_nonce(const struct tls_direction *dir, uint8_t nonce[NONCE_BYTES])
{
    memcpy(nonce, dir->iv, NONCE_BYTES);
    for (unsigned i = 0; i < 4; i++) {
        nonce[4 + i] ^= (uint8_t)(dir->seq_high >> (24 - 8 * i));
        nonce[8 + i] ^= (uint8_t)(dir->seq_low >> (24 - 8 * i));
    }
}

/* Gathers the parts and the inner content type where the record will stand and encrypts them there: the copy
 * costs less than an AEAD call per part, which ends in the middle of a cipher block. */
static bool encrypt_parts(struct aead *aead, const struct tls_slice *parts, size_t part_count, uint8_t type,
                          uint8_t *out)
{
    uint8_t *end = out;
    for (size_t i = 0; i < part_count; i++) {
        if (parts[i].len > 0)
            memcpy(end, parts[i].data, parts[i].len);
        end += parts[i].len;
    }
    *end++ = type;
    int len = (int)(end - out);
    int written = 0;
    return EVP_EncryptUpdate(aead->ctx, out, &written, out, len) == 1 && written == len;
}

static bool encrypt_final(struct aead *aead, uint8_t tag[TAG_BYTES])
{
    uint8_t none[TAG_BYTES];
    int written = 0;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, tag, TAG_BYTES),
        OSSL_PARAM_construct_end(),
    };
    return EVP_EncryptFinal_ex(aead->ctx, none, &written) == 1 && written == 0 &&
           EVP_CIPHER_CTX_get_params(aead->ctx, params) == 1;
}

/* Decrypts `len` bytes in place and checks the tag that follows them. */
static bool decrypt_body(struct aead *aead, const uint8_t header[TLS_RECORD_HEADER_BYTES], uint8_t *body,
                         size_t len)
{
    uint8_t none[TAG_BYTES];
    int written = 0;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, body + len, TAG_BYTES),
        OSSL_PARAM_construct_end(),
    };
    return EVP_CIPHER_CTX_set_params(aead->ctx, params) == 1 &&
           EVP_DecryptUpdate(aead->ctx, NULL, &written, header, TLS_RECORD_HEADER_BYTES) == 1 &&
           (len == 0 || EVP_DecryptUpdate(aead->ctx, body, &written, body, (int)len) == 1) &&
           EVP_DecryptFinal_ex(aead->ctx, none, &written) == 1;
}

static enum parse_result bad(struct tls_opened *out, enum tls_alert alert)
{
    out->alert = alert;
    return PARSE_BAD;
}

/* Splits an authenticated TLSInnerPlaintext into content, type and padding (RFC 8446 §5.2, §5.4). */
static enum parse_result read_inner(uint8_t *inner, size_t len, struct tls_opened *out)
{
    while (len > 0 && inner[len - 1] == 0)
        len--;
    if (len == 0)
        return bad(out, TLS_ALERT_UNEXPECTED_MESSAGE);
    uint8_t type = inner[len - 1];
    switch (type) {
    case TLS_CONTENT_APPLICATION_DATA:
        break;
    case TLS_CONTENT_ALERT:
    case TLS_CONTENT_HANDSHAKE:
        if (len == 1) /* RFC 8446 §5.1, §5.4: no zero-length fragments of these */
            return bad(out, TLS_ALERT_UNEXPECTED_MESSAGE);
        break;
    default:
        return bad(out, TLS_ALERT_UNEXPECTED_MESSAGE);
    }
    out->type = (enum tls_content_type)type;
    out->content = inner;
    out->content_bytes = len - 1;
    return PARSE_OK;
}

struct tls_crypto *tls_crypto_create(void)
{
    struct tls_crypto *crypto = OPENSSL_zalloc(sizeof *crypto);
    if (!crypto)
        return NULL;
    crypto->records_per_key = TLS_RECORDS_PER_KEY;
    crypto->kdf = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_TLS1_3_KDF, NULL);
    if (crypto->kdf)
        crypto->kdf_ctx = EVP_KDF_CTX_new(crypto->kdf);
    if (!crypto->kdf_ctx || !suite_crypto_init(&crypto->aes_128_gcm, "AES-128-GCM") ||
        !suite_crypto_init(&crypto->chacha20_poly1305, "ChaCha20-Poly1305")) {
        tls_crypto_destroy(crypto);
        return NULL;
    }
    return crypto;
}

void tls_crypto_destroy(struct tls_crypto *crypto)
{
    if (!crypto)
        return;
    suite_crypto_fini(&crypto->aes_128_gcm);
    suite_crypto_fini(&crypto->chacha20_poly1305);
    EVP_KDF_CTX_free(crypto->kdf_ctx);
    EVP_KDF_free(crypto->kdf);
    OPENSSL_free(crypto);
}

bool tls_direction_init(struct tls_crypto *crypto, struct tls_direction *dir, enum tls_suite suite,
                        const uint8_t secret[TLS_SECRET_BYTES], uint64_t next_seq)
{
    const struct suite_crypto *keys = suite_find(crypto, suite);
    if (!keys)
        return false;
    memcpy(dir->secret, secret, TLS_SECRET_BYTES);
    direction_set_seq(dir, next_seq);
    return derive_keys(crypto, dir, keys->seal.key_bytes);
}

bool tls_direction_update(struct tls_crypto *crypto, struct tls_direction *dir, enum tls_suite suite)
{
    const struct suite_crypto *keys = suite_find(crypto, suite);
    uint8_t next[TLS_SECRET_BYTES];
    bool done = keys && expand_label(crypto, dir->secret, "traffic upd", next, sizeof next);
    if (done) {
        memcpy(dir->secret, next, sizeof next);
        direction_set_seq(dir, 0);
        done = derive_keys(crypto, dir, keys->seal.key_bytes);
    }
    OPENSSL_cleanse(next, sizeof next);
    return done;
}

void tls_direction_wipe(struct tls_direction *dir)
{
    OPENSSL_cleanse(dir, sizeof *dir);
}

uint64_t tls_direction_seq(const struct tls_direction *dir)
{
    return (uint64_t)dir->seq_high << 32 | dir->seq_low;
}

bool tls_direction_needs_update(const struct tls_crypto *crypto, const struct tls_direction *dir)
{
    /* The KeyUpdate itself is the last record under the old key. */
    return tls_direction_seq(dir) >= crypto->records_per_key - 1;
}

bool tls_direction_overused(const struct tls_crypto *crypto, const struct tls_direction *dir)
{
    uint64_t seq = tls_direction_seq(dir);
    return seq > 0 && seq % crypto->records_per_key == 0;
}

void tls_crypto_limit_records(struct tls_crypto *crypto, uint32_t records_per_key)
{
    crypto->records_per_key =
        records_per_key && records_per_key < TLS_RECORDS_PER_KEY ? records_per_key : TLS_RECORDS_PER_KEY;
}

size_t tls_record_seal(struct tls_crypto *crypto, struct tls_direction *dir, enum tls_suite suite,
                       enum tls_content_type type, const struct tls_slice *parts, size_t part_count,
                       uint8_t *out)
{
    struct suite_crypto *keys = suite_find(crypto, suite);
    uint64_t seq = tls_direction_seq(dir);
    size_t total = 0;
    for (size_t i = 0; i < part_count; i++) {
        if (parts[i].len > TLS_RECORD_PLAINTEXT_MAX - total)
            return 0;
        total += parts[i].len;
    }
    if (!keys || seq == UINT64_MAX) /* a sequence number must never wrap, RFC 8446 §5.3 */
        return 0;

    size_t body = total + 1 + TAG_BYTES;
    out[0] = TLS_CONTENT_APPLICATION_DATA;
    out[1] = 3;
    out[2] = 3;
    out[3] = (uint8_t)(body >> 8);
    out[4] = (uint8_t)body;

    uint8_t nonce[NONCE_BYTES];
    make_nonce(dir, nonce);
    /* Moved on before the AEAD runs: even after a failure no nonce is used twice. */
    direction_set_seq(dir, seq + 1);
    int written = 0;
    uint8_t *inner = out + TLS_RECORD_HEADER_BYTES;
    if (!aead_begin(&keys->seal, dir->key, nonce) ||
        EVP_EncryptUpdate(keys->seal.ctx, NULL, &written, out, TLS_RECORD_HEADER_BYTES) != 1 ||
        !encrypt_parts(&keys->seal, parts, part_count, (uint8_t)type, inner) ||
        !encrypt_final(&keys->seal, inner + total + 1)) {
        keys->seal.keyed = false;
        OPENSSL_cleanse(inner, total + 1); /* may still hold plaintext */
        return 0;
    }
    return TLS_RECORD_HEADER_BYTES + body;
}

enum parse_result tls_record_open(struct tls_crypto *crypto, struct tls_direction *dir, enum tls_suite suite,
                                  uint8_t *data, size_t len, struct tls_opened *out)
{
    enum parse_result result = tls_record_peek(data, len, TLS_RECORD_CIPHERTEXT_MAX, out);
    if (result == PARSE_BAD)
        return result;
    /* RFC 8446 §5: after the handshake only protected records; the type can be judged before the rest is
     * here. */
    if (len > 0 && data[0] != TLS_CONTENT_APPLICATION_DATA)
        return bad(out, TLS_ALERT_UNEXPECTED_MESSAGE);
    if (result == PARSE_MORE)
        return result;
    size_t body = out->record_bytes - TLS_RECORD_HEADER_BYTES;
    if (body < TAG_BYTES)
        return bad(out, TLS_ALERT_BAD_RECORD_MAC);
    size_t inner_bytes = body - TAG_BYTES;
    if (inner_bytes > TLS_RECORD_PLAINTEXT_MAX + 1)
        return bad(out, TLS_ALERT_RECORD_OVERFLOW);
    if (len < out->record_bytes)
        return PARSE_MORE;

    struct suite_crypto *keys = suite_find(crypto, suite);
    uint64_t seq = tls_direction_seq(dir);
    if (!keys || seq == UINT64_MAX)
        return bad(out, TLS_ALERT_INTERNAL_ERROR);
    uint8_t nonce[NONCE_BYTES];
    make_nonce(dir, nonce);
    if (!aead_begin(&keys->open, dir->key, nonce))
        return bad(out, TLS_ALERT_INTERNAL_ERROR);
    uint8_t *inner = data + TLS_RECORD_HEADER_BYTES;
    if (!decrypt_body(&keys->open, data, inner, inner_bytes)) {
        keys->open.keyed = false;
        return bad(out, TLS_ALERT_BAD_RECORD_MAC);
    }
    direction_set_seq(dir, seq + 1);
    return read_inner(inner, inner_bytes, out);
}

enum parse_result tls_record_peek(const uint8_t *data, size_t len, size_t max_body, struct tls_opened *out)
{
    memset(out, 0, sizeof *out);
    out->alert = TLS_ALERT_NONE;
    if (len > 0 && (data[0] < TLS_CONTENT_CHANGE_CIPHER_SPEC || data[0] > TLS_CONTENT_APPLICATION_DATA))
        return bad(out, TLS_ALERT_UNEXPECTED_MESSAGE);
    if (len < TLS_RECORD_HEADER_BYTES)
        return PARSE_MORE;
    size_t body = (size_t)data[3] << 8 | data[4];
    if (body > max_body)
        return bad(out, TLS_ALERT_RECORD_OVERFLOW);
    out->record_bytes = TLS_RECORD_HEADER_BYTES + body;
    return PARSE_OK;
}
