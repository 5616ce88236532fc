/* What cjose, as distributions have it, leaves to its caller is done here: characters outside base64url,
 * header extensions (crit), the length of signatures, and that an algorithm fits the key: 0.6.2 computes an
 * HMAC over whatever memory a key of another kind has there before it finds that out. Errors are asked for by
 * NULL, because the text that comes with them is formatted into a buffer that all threads share. */
#include "gateway/auth/auth_token.h"

#include "gateway/auth/auth_base64url.h"

#include <openssl/crypto.h>
#include <openssl/err.h>

struct part {
    const char *text;
    size_t len;
};

struct token {
    struct part whole, header, payload, signature;
    const struct auth_algorithm *algorithm;
    const char *kid; /* belongs to header_json; NULL: none */
    json_t *header_json;
};

/* The part at *at, which moves behind it. */
static bool take_part(const char **at, const char *end, struct part *part)
{
    part->text = *at;
    while (*at < end && **at != '.')
        (*at)++;
    part->len = (size_t)(*at - part->text);
    return auth_base64url_good(part->text, part->len);
}

static bool take_apart(struct token *token)
{
    const char *at = token->whole.text, *end = at + token->whole.len;
    return take_part(&at, end, &token->header) && at < end && *at++ == '.' &&
           take_part(&at, end, &token->payload) && at < end && *at++ == '.' &&
           take_part(&at, end, &token->signature) && at == end;
}

static json_t *decode_object(const struct part *part)
{
    uint8_t *text = NULL;
    size_t bytes = 0;
    if (!cjose_base64url_decode(part->text, part->len, &text, &bytes, NULL))
        return NULL;
    json_t *json = json_loadb((const char *)text, bytes, JSON_REJECT_DUPLICATES, NULL);
    OPENSSL_cleanse(text, bytes);
    cjose_get_dealloc()(text);
    if (json_is_object(json))
        return json;
    json_decref(json);
    return NULL;
}

/* Why the header will not do; NULL: it will. */
static const char *read_header(struct token *token, uint32_t allowed)
{
    token->header_json = decode_object(&token->header);
    if (!token->header_json)
        return "header is no JSON object";
    const json_t *alg = json_object_get(token->header_json, "alg");
    const json_t *kid = json_object_get(token->header_json, "kid");
    if (!json_is_string(alg))
        return "header names no algorithm";
    token->algorithm = auth_algorithm_find(json_string_value(alg), json_string_length(alg));
    if (!token->algorithm || !(allowed & auth_algorithm_bit(token->algorithm)))
        return "algorithm is not allowed";
    if (kid && !json_is_string(kid))
        return "kid is no string";
    token->kid = json_string_value(kid);
    /* RFC 7515 §4.1.11: whoever does not understand an extension must refuse, and we understand none. */
    if (json_object_get(token->header_json, "crit"))
        return "header has critical extensions";
    size_t bytes = token->algorithm->signature_bytes;
    if (bytes && token->signature.len != (bytes * 4 + 2) / 3)
        return "signature has the wrong length";
    return NULL;
}

static bool ed25519_good(const struct token *token, EVP_PKEY *key)
{
    uint8_t *signature = NULL;
    size_t bytes = 0;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good =
        ctx &&
        cjose_base64url_decode(token->signature.text, token->signature.len, &signature, &bytes, NULL) &&
        EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key) == 1 &&
        EVP_DigestVerify(ctx, signature, bytes, (const unsigned char *)token->whole.text,
                         token->header.len + 1 + token->payload.len) == 1;
    EVP_MD_CTX_free(ctx);
    cjose_get_dealloc()(signature);
    return good;
}

/* By one of the keys that fit. */
static bool signature_good(const struct token *token, const struct auth_keys *keys, cjose_jws_t *jws,
                           const char **reason)
{
    size_t cursor = 0;
    const struct auth_key *key;
    *reason = token->kid ? "no key fits its algorithm and kid" : "no key fits its algorithm";
    while ((key = auth_keys_next(keys, token->algorithm, token->kid, &cursor))) {
        *reason = "signature does not match";
        if (key->ed25519 ? ed25519_good(token, key->ed25519) : cjose_jws_verify(jws, key->jwk, NULL))
            return true;
    }
    return false;
}

static enum auth_result check_signature(const struct token *token, const struct auth_keys *keys,
                                        const char **reason)
{
    cjose_jws_t *jws = NULL;
    if (token->algorithm->kind != AUTH_KEY_ED25519) {
        cjose_err error = {.code = CJOSE_ERR_NONE};
        jws = cjose_jws_import(token->whole.text, token->whole.len, &error);
        if (!jws) {
            *reason = "malformed";
            return error.code == CJOSE_ERR_NO_MEMORY ? AUTH_NO_MEMORY : AUTH_INVALID;
        }
    }
    bool good = signature_good(token, keys, jws, reason);
    uint8_t *payload;
    size_t bytes;
    if (jws && cjose_jws_get_plaintext(jws, &payload, &bytes, NULL))
        OPENSSL_cleanse(payload, bytes);
    cjose_jws_release(jws);
    return good ? AUTH_OK : AUTH_INVALID;
}

enum auth_result auth_token_verify(const struct auth_keys *keys, uint32_t allowed, const char *text,
                                   size_t len, json_t **claims, const char **reason)
{
    struct token token = {.whole = {text, len}};
    enum auth_result result = AUTH_INVALID;
    *claims = NULL;
    *reason = "malformed";
    if (len > AUTH_TOKEN_MAX) {
        *reason = "too long";
        return AUTH_INVALID;
    }
    if (!take_apart(&token))
        return AUTH_INVALID;
    *reason = read_header(&token, allowed);
    if (!*reason)
        result = check_signature(&token, keys, reason);
    if (result == AUTH_OK) {
        *claims = decode_object(&token.payload);
        *reason = *claims ? NULL : "payload is no JSON object";
        result = *claims ? AUTH_OK : AUTH_INVALID;
    }
    json_decref(token.header_json);
    ERR_clear_error(); /* the TLS of this thread looks at the queue, too */
    return result;
}
