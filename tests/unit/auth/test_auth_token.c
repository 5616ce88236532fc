/* Signatures: the examples of the RFCs, every algorithm, and what pretends to be signed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/auth/fixture.h"

#define ISS_JOE                                                                                              \
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"

/* RFC 7515, appendices A.1 to A.3. Their `exp` is 1300819380. */
static void the_examples_of_rfc_7515_verify(void **state)
{
    static const struct {
        const char *key, *token;
    } examples[] = {
        {"{\"kty\":\"oct\",\"k\":\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-"
         "1qS0gZH75aKtMN3Yj0iPS4hcgUuTwj"
         "AzZr1Z9CAow\"}",
         "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." ISS_JOE ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"},
        {"{\"kty\":\"RSA\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-"
         "4qPCJrc"
         "S2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-"
         "bSf63kpaSHSXn"
         "dS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_"
         "I5IhlJH7aGhyxXFv"
         "UK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ\",\"e\":\"AQAB\"}",
         "eyJhbGciOiJSUzI1NiJ9." ISS_JOE
         ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_"
         "O8W2Fp5jujGbds"
         "9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_"
         "nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_"
         "eSN9383LcOLn6_dO--xi12jzDwusC-"
         "eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5"
         "AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":\"x_"
         "FEzRu9"
         "m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}",
         "eyJhbGciOiJFUzI1NiJ9." ISS_JOE
         ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"},
    };
    struct fixture *f = *state;
    f->config.jwks_file = fixture_file(f, "keys.json");
    f->config.issuer = "joe";
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
        char set[1024];
        snprintf(set, sizeof set, "{\"keys\":[%s]}", examples[i].key);
        signer_write(f->path, set);
        assert_int_equal(chmod(f->path, 0600), 0);
        fixture_open(f);
        size_t len = strlen(examples[i].token);
        assert_int_equal(auth_check_connection(f->auth, examples[i].token, len, 1300819379, &f->identity),
                         AUTH_OK);
        assert_int_equal(f->identity.expires_at, 1300819380);
        assert_int_equal(f->identity.user_bytes, 0);
        fixture_refuses(f, examples[i].token, AUTH_EXPIRED, "expired");
    }
}

/* RFC 8037, appendix A.4: its payload is text, so the signature is right and the claims are not. */
static void the_example_of_rfc_8037_verifies(void **state)
{
    static const char token[] =
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-"
        "09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    struct fixture *f = *state;
    f->config.jwks_file = fixture_file(f, "keys.json");
    signer_write(f->path, "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\","
                          "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}");
    fixture_open(f);
    fixture_refuses(f, token, AUTH_INVALID, "payload is no JSON object");
    char *other = strdup(token);
    char *some = strrchr(other, '.') + 10;
    *some = *some == 'A' ? 'B' : 'A';
    fixture_refuses(f, other, AUTH_INVALID, "signature does not match");
    free(other);
}

static const struct {
    const char *alg, *kind; /* "": the secret */
} algorithms[] = {
    {"HS256", ""},      {"HS384", ""},        {"HS512", ""},          {"RS256", "RSA"},
    {"RS384", "RSA"},   {"RS512", "RSA"},     {"ES256", "P-256"},     {"ES384", "P-384"},
    {"ES512", "P-521"}, {"EdDSA", "Ed25519"}, {"Ed25519", "Ed25519"},
};
static const char *const kinds[] = {"RSA", "P-256", "P-384", "P-521", "Ed25519"};
enum { ALGORITHMS = sizeof algorithms / sizeof *algorithms, KINDS = sizeof kinds / sizeof *kinds };

static EVP_PKEY *key_of(EVP_PKEY *const keys[KINDS], const char *kind)
{
    for (int i = 0; i < KINDS; i++)
        if (strcmp(kinds[i], kind) == 0)
            return keys[i];
    return NULL;
}

/* One PEM file each, named in f->config together with the secret. The caller frees the list. */
static char *open_all(struct fixture *f, EVP_PKEY *keys[KINDS])
{
    size_t size = KINDS * (sizeof f->path + 3);
    char *list = calloc(1, size);
    for (int i = 0; i < KINDS; i++) {
        keys[i] = signer_key(kinds[i]);
        signer_write_pem(fixture_file(f, kinds[i]), keys[i]);
        signer_add(list, size, "%s%s", i ? " , " : "", f->path);
    }
    f->config.public_keys = list;
    fixture_open_secret(f);
    assert_int_equal(auth_key_count(f->auth), KINDS + 1);
    return list;
}

static void free_all(EVP_PKEY *keys[KINDS], char *list)
{
    for (int i = 0; i < KINDS; i++)
        EVP_PKEY_free(keys[i]);
    free(list);
}

static void each_algorithm_is_accepted_by_its_own_key_and_no_other(void **state)
{
    struct fixture *f = *state;
    EVP_PKEY *keys[KINDS];
    char *list = open_all(f, keys);
    for (int i = 0; i < ALGORITHMS; i++) {
        const char *alg = algorithms[i].alg;
        bool secret = !*algorithms[i].kind;
        char *good = signer_plain(alg, key_of(keys, algorithms[i].kind), secret ? SECRET : NULL, NULL,
                                  "{\"sub\":\"ann\"}");
        fixture_accepts(f, good);
        assert_string_equal(auth_identity_user(&f->identity), "ann");
        /* Each bit of a signature counts, but those of the last character, which may be padding. */
        char *signature = strrchr(good, '.') + 1;
        for (size_t at = 0; at + 1 < strlen(signature); at += 7) {
            char before = signature[at];
            signature[at] = before == 'A' ? 'B' : 'A';
            fixture_refuses(f, good, AUTH_INVALID, "signature does not match");
            signature[at] = before;
        }
        fixture_accepts(f, good);
        free(good);
        /* Signed by a key of the same kind that is not ours. */
        EVP_PKEY *other = secret ? NULL : signer_key(algorithms[i].kind);
        char *foreign = signer_plain(alg, other, secret ? SECRET "x" : NULL, NULL, "{\"sub\":\"ann\"}");
        fixture_refuses(f, foreign, AUTH_INVALID, "signature does not match");
        free(foreign);
        EVP_PKEY_free(other);
    }
    free_all(keys, list);
}

/* The header lies about how the token was signed: with every algorithm named, for every one used. */
static void no_algorithm_passes_for_another(void **state)
{
    struct fixture *f = *state;
    EVP_PKEY *keys[KINDS];
    char *list = open_all(f, keys);
    for (int signed_as = 0; signed_as < ALGORITHMS; signed_as++) {
        for (int named = 0; named < ALGORITHMS; named++) {
            char header[64];
            bool secret = !*algorithms[signed_as].kind;
            snprintf(header, sizeof header, "{\"alg\":\"%s\"}", algorithms[named].alg);
            char *token = signer_token(algorithms[signed_as].alg, key_of(keys, algorithms[signed_as].kind),
                                       secret ? SECRET : NULL, header, "{}");
            bool same = named == signed_as ||
                        (algorithms[named].alg[1] == 'd' && algorithms[signed_as].alg[1] == 'd');
            assert_int_equal(fixture_check(f, token), same ? AUTH_OK : AUTH_INVALID);
            free(token);
        }
    }
    free_all(keys, list);
}

/* The classic: the public key is no secret, so everybody could sign with it as one. */
static void a_public_key_does_not_pass_for_a_secret(void **state)
{
    static const char *const files[] = {"RSA", "P-256", "Ed25519"};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        EVP_PKEY *key = signer_key(files[i]);
        char pem[2048];
        signer_write_pem(fixture_file(f, files[i]), key);
        FILE *file = fopen(f->path, "r");
        pem[fread(pem, 1, sizeof pem - 1, file)] = '\0';
        fclose(file);
        f->config.public_keys = f->path;
        fixture_open(f);
        for (int hs = 0; hs < 3; hs++) {
            char *token = signer_plain(algorithms[hs].alg, NULL, pem, NULL, "{}");
            fixture_refuses(f, token, AUTH_INVALID, "no key fits its algorithm");
            free(token);
        }
        EVP_PKEY_free(key);
    }
}

static void unsigned_tokens_are_refused_however_none_is_written(void **state)
{
    static const char *const headers[] = {"{\"alg\":\"none\"}",   "{\"alg\":\"None\"}", "{\"alg\":\"NONE\"}",
                                          "{\"alg\":\"nOnE\"}",   "{\"alg\":\"\"}",     "{\"alg\":\"hs256\"}",
                                          "{\"alg\":\"HS256 \"}", "{\"alg\":\"PS256\"}"};
    struct fixture *f = *state;
    fixture_open_secret(f);
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        char *token = signer_token("HS256", NULL, SECRET, headers[i], "{\"sub\":\"ann\"}");
        fixture_refuses(f, token, AUTH_INVALID, "algorithm is not allowed");
        *(strrchr(token, '.') + 1) = '\0';
        fixture_refuses(f, token, AUTH_INVALID, "malformed");
        free(token);
    }
}

static void headers_that_are_not_understood_are_refused(void **state)
{
    static const struct {
        const char *header, *words;
    } bad[] = {
        {"[]", "header is no JSON object"},
        {"{", "header is no JSON object"},
        {"HS256", "header is no JSON object"},
        {"{\"alg\":\"HS256\",\"alg\":\"HS256\"}", "header is no JSON object"},
        {"{}", "names no algorithm"},
        {"{\"alg\":256}", "names no algorithm"},
        {"{\"alg\":null}", "names no algorithm"},
        {"{\"alg\":[\"HS256\"]}", "names no algorithm"},
        {"{\"alg\":\"HS256\",\"kid\":7}", "kid is no string"},
        {"{\"alg\":\"HS256\",\"crit\":[\"b64\"],\"b64\":false}", "critical"},
        {"{\"alg\":\"HS256\",\"crit\":[]}", "critical"},
    };
    struct fixture *f = *state;
    fixture_open_secret(f);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *token = signer_token("HS256", NULL, SECRET, bad[i].header, "{}");
        fixture_refuses(f, token, AUTH_INVALID, bad[i].words);
        free(token);
    }
}

static void only_allowed_algorithms_are_accepted(void **state)
{
    struct fixture *f = *state;
    f->config.algorithms = "HS384,HS512";
    fixture_open_secret(f);
    for (int i = 0; i < 3; i++) {
        char *token = signer_plain(algorithms[i].alg, NULL, SECRET, NULL, "{}");
        if (i == 0)
            fixture_refuses(f, token, AUTH_INVALID, "algorithm is not allowed");
        else
            fixture_accepts(f, token);
        free(token);
    }
}

/* RFC 7518 §3.2: a secret is at least as long as the hash. */
static void a_short_secret_is_for_short_hashes_only(void **state)
{
    struct fixture *f = *state;
    f->config.hmac_secret = &SECRET[16];
    fixture_open(f);
    for (int i = 0; i < 3; i++) {
        char *token = signer_plain(algorithms[i].alg, NULL, &SECRET[16], NULL, "{}");
        if (i == 2)
            fixture_refuses(f, token, AUTH_INVALID, "no key fits");
        else
            fixture_accepts(f, token);
        free(token);
    }
}

static void nothing_but_three_whole_parts_is_a_token(void **state)
{
    static const char *const bad[] = {"",
                                      ".",
                                      "..",
                                      "...",
                                      "a.b",
                                      "e30.e30.",
                                      ".e30.AA",
                                      "e30..AA",
                                      "e30.e30.AA.AA",
                                      "e30.e30",
                                      "=.=.=",
                                      "e.e30.AA",
                                      "\xff.\xff.\xff"};
    struct fixture *f = *state;
    fixture_open_secret(f);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        fixture_refuses(f, bad[i], AUTH_INVALID, "");
    char *token = signer_plain("HS256", NULL, SECRET, NULL, "{\"sub\":\"ann\"}");
    size_t len = strlen(token);
    for (size_t cut = 0; cut < len; cut++) { /* every beginning */
        assert_int_equal(auth_check_connection(f->auth, token, cut, NOW, &f->identity), AUTH_INVALID);
        assert_non_null(f->identity.reason);
    }
    for (size_t at = 0; at < len; at++) { /* every place, with what base64url does not have */
        static const char strange[] = {'\0', '\n', ' ', '+', '/', '=', '.', '%', '\x7f', '\xff'};
        char before = token[at];
        for (size_t i = 0; i < sizeof strange; i++) {
            if (strange[i] == before)
                continue;
            token[at] = strange[i];
            assert_int_equal(auth_check_connection(f->auth, token, len, NOW, &f->identity), AUTH_INVALID);
        }
        token[at] = before;
    }
    fixture_accepts(f, token);
    free(token);
}

static void a_token_is_16_kib_at_most(void **state)
{
    struct fixture *f = *state;
    fixture_open_secret(f);
    char *claims = malloc(AUTH_TOKEN_MAX);
    int edge = 0;
    for (int spaces = 12150; spaces < 12300; spaces++) {
        snprintf(claims, AUTH_TOKEN_MAX, "{%*s}", spaces, "");
        char *token = signer_plain("HS256", NULL, SECRET, NULL, claims);
        if (strlen(token) <= AUTH_TOKEN_MAX) {
            edge |= 1;
            fixture_accepts(f, token);
        } else {
            edge |= 2;
            fixture_refuses(f, token, AUTH_INVALID, "too long");
        }
        free(token);
    }
    assert_int_equal(edge, 3);
    free(claims);
}

static void deep_json_is_refused_and_harmless(void **state)
{
    struct fixture *f = *state;
    fixture_open_secret(f);
    char *claims = malloc(AUTH_TOKEN_MAX);
    for (size_t depth = 1; depth < 6000; depth *= 3) {
        memset(claims, '[', depth);
        claims[depth] = '\0';
        char *token = signer_plain("HS256", NULL, SECRET, NULL, claims);
        fixture_refuses(f, token, AUTH_INVALID, "payload is no JSON object");
        free(token);
        token = signer_token("HS256", NULL, SECRET, claims, "{}");
        fixture_refuses(f, token, AUTH_INVALID, "header is no JSON object");
        free(token);
    }
    free(claims);
}

static void without_keys_no_token_is_valid(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    assert_int_equal(auth_key_count(f->auth), 0);
    char *token = signer_plain("HS256", NULL, SECRET, NULL, "{}");
    fixture_refuses(f, token, AUTH_INVALID, "no key fits");
    free(token);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(the_examples_of_rfc_7515_verify),
        TEST(the_example_of_rfc_8037_verifies),
        TEST(each_algorithm_is_accepted_by_its_own_key_and_no_other),
        TEST(no_algorithm_passes_for_another),
        TEST(a_public_key_does_not_pass_for_a_secret),
        TEST(unsigned_tokens_are_refused_however_none_is_written),
        TEST(headers_that_are_not_understood_are_refused),
        TEST(only_allowed_algorithms_are_accepted),
        TEST(a_short_secret_is_for_short_hashes_only),
        TEST(nothing_but_three_whole_parts_is_a_token),
        TEST(a_token_is_16_kib_at_most),
        TEST(deep_json_is_refused_and_harmless),
        TEST(without_keys_no_token_is_valid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
