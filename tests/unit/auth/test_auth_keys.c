/* Keys: files and what is wrong with them, key sets and kid, reload, also while others check. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/auth/fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

static void cannot_open(struct fixture *f, const char *words)
{
    char error[512] = "";
    assert_null(auth_create(&f->config, error, sizeof error));
    if (!strstr(error, words))
        fail_msg("\"%s\" does not say \"%s\"", error, words);
}

static void write_set(struct fixture *f, const char *name, const char *text)
{
    signer_write(fixture_file(f, name), text);
    assert_int_equal(chmod(f->path, 0600), 0);
    f->config.jwks_file = f->path;
}

static void files_that_are_no_keys_are_refused_by_name(void **state)
{
    static const struct {
        const char *text, *words;
    } bad[] = {
        {"", "it is empty"},
        {"hello\n", "no PEM public key is in it"},
        {"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "a key in it is damaged"},
        {"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n", "PEM is damaged"},
        {"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n"
         "-----END PRIVATE KEY-----\n",
         "this is a private key"},
    };
    struct fixture *f = *state;
    f->config.public_keys = "/no/such/file";
    cannot_open(f, "auth.public_keys: /no/such/file: No such file");
    f->config.public_keys = f->folder;
    cannot_open(f, "this is not a file");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        signer_write(fixture_file(f, "bad.pem"), bad[i].text);
        f->config.public_keys = f->path;
        cannot_open(f, bad[i].words);
        cannot_open(f, "bad.pem: ");
    }
}

static void weak_and_strange_keys_are_refused(void **state)
{
    struct fixture *f = *state;
    EVP_PKEY *keys[] = {EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)1024),
                        EVP_PKEY_Q_keygen(NULL, NULL, "EC", "secp256k1"),
                        EVP_PKEY_Q_keygen(NULL, NULL, "X25519")};
    static const char *const words[] = {"RSA key of 1024 bits is too weak", "on secp256k1",
                                        "neither RSA nor EC nor Ed25519"};
    for (int i = 0; i < 3; i++) {
        signer_write_pem(fixture_file(f, "key.pem"), keys[i]);
        f->config.public_keys = f->path;
        cannot_open(f, words[i]);
    }
    char set[2048] = "{\"keys\":[";
    signer_jwk(keys[0], "weak", "", set + strlen(set), sizeof set - strlen(set));
    f->config.public_keys = "";
    signer_add(set, sizeof set, "]}");
    write_set(f, "keys.json", set);
    cannot_open(f, "key 1: its RSA modulus of 1024 bits is too weak");
    for (int i = 0; i < 3; i++)
        EVP_PKEY_free(keys[i]);
}

static void a_short_secret_is_refused_and_not_shown(void **state)
{
    struct fixture *f = *state;
    f->config.hmac_secret = "hunter2hunter2hunter2hunter2hun";
    cannot_open(f, "auth.hmac_secret has 31 bytes");
    char error[512];
    assert_null(auth_create(&f->config, error, sizeof error));
    assert_null(strstr(error, "hunter"));
}

static void unknown_algorithms_are_refused(void **state)
{
    struct fixture *f = *state;
    f->config.algorithms = "ES256 none";
    cannot_open(f, "auth.algorithms: \"none\" is none of HS256");
}

/* One file may hold several keys, and certificates. */
static void a_pem_file_may_hold_several_keys(void **state)
{
    struct fixture *f = *state;
    EVP_PKEY *keys[] = {signer_key("P-256"), signer_key("Ed25519"), signer_key("P-256")};
    X509 *certificate = X509_new();
    assert_int_equal(X509_set_pubkey(certificate, keys[2]), 1);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(certificate), 0));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(certificate), 60));
    assert_true(X509_sign(certificate, keys[2], EVP_sha256()) > 0);
    FILE *file = fopen(fixture_file(f, "keys.pem"), "w");
    fputs("A comment.\n", file);
    PEM_write_PUBKEY(file, keys[0]);
    PEM_write_PUBKEY(file, keys[1]);
    PEM_write_X509(file, certificate);
    fclose(file);
    X509_free(certificate);
    f->config.public_keys = f->path;
    fixture_open(f);
    assert_int_equal(auth_key_count(f->auth), 3);
    for (int i = 0; i < 3; i++) {
        char *token = signer_plain(i == 1 ? "EdDSA" : "ES256", keys[i], NULL, "any", "{}");
        fixture_accepts(f, token);
        free(token);
        EVP_PKEY_free(keys[i]);
    }
}

static void sets_that_are_none_are_refused_by_name(void **state)
{
    static const struct {
        const char *text, *words;
    } bad[] = {
        {"{\"keys\":[", "no valid JSON, line 1"},
        {"[]", "no key set"},
        {"{}", "no key set"},
        {"{\"keys\":{}}", "no key set"},
        {"{\"keys\":[]}", "no key that checks signatures"},
        {"{\"keys\":[7]}", "key 1: it is no object"},
        {"{\"keys\":[{\"kty\":\"oct\"}]}", "key 1: its k is missing"},
        {"{\"keys\":[{\"kty\":\"oct\",\"k\":\"c2hvcnQ\"}]}", "key 1: its secret has 5 bytes"},
        {"{\"keys\":[{\"kty\":\"oct\",\"k\":7}]}", "key 1: one of k, n, e, x, y is no base64url"},
        {"{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAAA=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}]}",
         "is no base64url"},
        {"{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}]}",
         "is no base64url"},
        {"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tu=9uPHvRVEU\"}"
         "]}",
         "is no base64url"},
        {"{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AQAB\"}]}", "key 1: "},
        {"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAA\",\"y\":\"AAAA\"}]}",
         "key 1: what belongs"},
        {"{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\"}]}",
         "key 1: its x is not base64url of 32 bytes"},
        {"{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\"}]}", "key 1: its x"},
        {"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
         "\"y\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\"}]}",
         "key 1: what belongs"}, /* not on the curve */
        {"{\"keys\":[{\"kty\":\"oct\",\"kid\":7}]}", "key 1: its kid or alg is no string"},
        {"{\"keys\":[{\"kty\":\"oct\",\"alg\":\"RS256\"}]}", "key 1: its alg RS256 does not fit its kty"},
        {"{\"keys\":[{\"kty\":\"RSA\",\"use\":\"enc\"},{\"kty\":\"OKP\",\"crv\":\"X25519\"},{\"kty\":\"EC\","
         "\"crv\":\"secp256k1\"},"
         "{\"kty\":\"RSA\",\"alg\":\"RSA-OAEP\"},{\"kty\":\"oct\",\"key_ops\":[\"encrypt\"]},{\"kty\":"
         "\"new\"},{}]}",
         "no key that checks signatures"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_set(f, "bad.json", bad[i].text);
        cannot_open(f, bad[i].words);
        cannot_open(f, "auth.jwks_file: ");
        cannot_open(f, "bad.json: ");
    }
}

static void a_set_with_a_secret_is_for_its_owner_only(void **state)
{
    struct fixture *f = *state;
    char set[256], k[128];
    signer_base64url(SECRET, strlen(SECRET), k);
    snprintf(set, sizeof set, "{\"keys\":[{\"kty\":\"oct\",\"kid\":\"s\",\"k\":\"%s\"}]}", k);
    write_set(f, "keys.json", set);
    fixture_open(f);
    assert_int_equal(chmod(f->path, 0640), 0);
    fixture_open(f);
    static const mode_t open_modes[] = {0644, 0604, 0660, 0602};
    for (size_t i = 0; i < sizeof open_modes / sizeof *open_modes; i++) {
        assert_int_equal(chmod(f->path, open_modes[i]), 0);
        cannot_open(f, "lets others at it");
    }
    char *token = signer_plain("HS512", NULL, SECRET, "s", "{}");
    fixture_accepts(f, token);
    free(token);
}

/* Two keys of one kind and one of another, with their names. */
static void kid_chooses_the_key(void **state)
{
    struct fixture *f = *state;
    EVP_PKEY *a = signer_key("P-256"), *b = signer_key("P-256"), *c = signer_key("Ed25519");
    char set[2048], jwk[3][512];
    signer_jwk(a, "a", ",\"use\":\"sig\"", jwk[0], sizeof jwk[0]);
    signer_jwk(b, "b", ",\"alg\":\"ES256\",\"key_ops\":[\"verify\"]", jwk[1], sizeof jwk[1]);
    signer_jwk(c, "a", ",\"d\":\"AAAA\"", jwk[2], sizeof jwk[2]);
    snprintf(set, sizeof set, "{\"keys\":[%s,%s,%s]}", jwk[0], jwk[1], jwk[2]);
    write_set(f, "keys.json", set);
    fixture_open(f);
    assert_int_equal(auth_key_count(f->auth), 3);
    const struct {
        const char *alg;
        EVP_PKEY *key;
        const char *kid, *wrong;
    } cases[] = {
        {"ES256", a, "a", NULL},
        {"ES256", b, "b", NULL},
        {"EdDSA", c, "a", NULL},
        {"ES256", a, NULL, NULL},
        {"ES256", b, NULL, NULL},
        {"ES256", a, "b", "signature does not match"},
        {"ES256", b, "a", "signature does not match"},
        {"EdDSA", c, "b", "no key fits its algorithm and kid"},
        {"ES256", a, "c", "no key fits its algorithm and kid"},
        {"ES256", a, "", "no key fits its algorithm and kid"},
        {"ES256", a, "A", "no key fits"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *token = signer_plain(cases[i].alg, cases[i].key, NULL, cases[i].kid, "{}");
        if (cases[i].wrong)
            fixture_refuses(f, token, AUTH_INVALID, cases[i].wrong);
        else
            fixture_accepts(f, token);
        free(token);
    }
    EVP_PKEY_free(a);
    EVP_PKEY_free(b);
    EVP_PKEY_free(c);
}

/* An RSA key whose JWK says RS256 does not check RS512. */
static void alg_of_a_key_narrows_it(void **state)
{
    struct fixture *f = *state;
    EVP_PKEY *key = signer_key("RSA");
    char set[2048] = "{\"keys\":[";
    signer_jwk(key, "r", ",\"alg\":\"RS256\"", set + strlen(set), sizeof set - strlen(set));
    signer_add(set, sizeof set, "]}");
    write_set(f, "keys.json", set);
    fixture_open(f);
    char *narrow = signer_plain("RS256", key, NULL, "r", "{}"),
         *wide = signer_plain("RS512", key, NULL, "r", "{}");
    fixture_accepts(f, narrow);
    fixture_refuses(f, wide, AUTH_INVALID, "no key fits");
    free(narrow);
    free(wide);
    EVP_PKEY_free(key);
}

static void more_keys_than_may_be_are_refused(void **state)
{
    enum { SET_SIZE = 40000 };
    struct fixture *f = *state;
    EVP_PKEY *key = signer_key("P-256");
    char jwk[512], *set = malloc(SET_SIZE);
    signer_jwk(key, "k", "", jwk, sizeof jwk);
    for (int count = 64; count <= 65; count++) {
        *set = '\0';
        for (int i = 0; i < count; i++)
            signer_add(set, SET_SIZE, "%s%s", i ? "," : "{\"keys\":[", jwk);
        signer_add(set, SET_SIZE, "]}");
        write_set(f, "keys.json", set);
        if (count == 64)
            fixture_open(f);
        else
            cannot_open(f, "more than 64 keys");
    }
    free(set);
    EVP_PKEY_free(key);
}

static void write_one(struct fixture *f, EVP_PKEY *first, EVP_PKEY *second)
{
    char set[2048], jwk[2][512] = {"", ""};
    signer_jwk(first, "first", "", jwk[0], sizeof jwk[0]);
    if (second)
        signer_jwk(second, "second", "", jwk[1], sizeof jwk[1]);
    snprintf(set, sizeof set, "{\"keys\":[%s%s%s]}", jwk[0], second ? "," : "", jwk[1]);
    write_set(f, "keys.json", set);
}

static void a_reload_takes_the_files_as_they_are_now(void **state)
{
    struct fixture *f = *state;
    EVP_PKEY *old = signer_key("Ed25519"), *new = signer_key("Ed25519");
    char error[512];
    char *by_old = signer_plain("EdDSA", old, NULL, "first", "{}"),
         *by_new = signer_plain("EdDSA", new, NULL, NULL, "{}");
    write_one(f, old, NULL);
    fixture_open(f);
    fixture_accepts(f, by_old);
    fixture_refuses(f, by_new, AUTH_INVALID, "signature");
    write_one(f, old, new);
    assert_true(auth_reload(f->auth, error, sizeof error));
    assert_int_equal(auth_key_count(f->auth), 2);
    fixture_accepts(f, by_old);
    fixture_accepts(f, by_new);
    write_one(f, new, NULL);
    assert_true(auth_reload(f->auth, error, sizeof error));
    fixture_refuses(f, by_old, AUTH_INVALID, "signature");
    fixture_accepts(f, by_new);
    /* A bad file changes nothing. */
    static const char *const bad[] = {"", "{\"keys\":[", "{\"keys\":[]}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        signer_write(f->path, bad[i]);
        assert_false(auth_reload(f->auth, error, sizeof error));
        assert_non_null(strstr(error, f->path));
        fixture_accepts(f, by_new);
    }
    unlink(f->path);
    assert_false(auth_reload(f->auth, error, sizeof error));
    assert_non_null(strstr(error, "No such file"));
    fixture_accepts(f, by_new);
    free(by_old);
    free(by_new);
    EVP_PKEY_free(old);
    EVP_PKEY_free(new);
}

enum { CHECKERS = 4, RELOADS = 150 };

struct race {
    struct auth *auth;
    char *always, *sometimes; /* signed by the key that is in every set, and by the one in every other */
    _Atomic bool stop;
    _Atomic unsigned ready, found, missed;
};

static void *check_for_ever(void *argument)
{
    struct race *race = argument;
    atomic_fetch_add(&race->ready, 1);
    while (!atomic_load(&race->stop)) {
        struct auth_identity identity;
        if (auth_check_connection(race->auth, race->always, strlen(race->always), NOW, &identity) != AUTH_OK)
            abort();
        auth_identity_fini(&identity);
        bool found = auth_check_connection(race->auth, race->sometimes, strlen(race->sometimes), NOW,
                                           &identity) == AUTH_OK;
        atomic_fetch_add(found ? &race->found : &race->missed, 1);
        auth_identity_fini(&identity);
    }
    return NULL;
}

static void checks_go_on_while_keys_are_reloaded(void **state)
{
    struct fixture *f = *state;
    EVP_PKEY *a = signer_key("P-256"), *b = signer_key("Ed25519");
    write_one(f, a, b);
    f->config.hmac_secret = SECRET;
    fixture_open(f);
    struct race race = {.auth = f->auth,
                        .always = signer_plain("ES256", a, NULL, "first", "{\"sub\":\"ann\"}"),
                        .sometimes = signer_plain("EdDSA", b, NULL, "second", "{\"info\":{\"a\":1}}")};
    pthread_t threads[CHECKERS];
    for (int i = 0; i < CHECKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, check_for_ever, &race), 0);
    while (atomic_load(&race.ready) < CHECKERS)
        sched_yield();
    for (int i = 0; i < RELOADS || !atomic_load(&race.found) || !atomic_load(&race.missed); i++) {
        write_one(f, a, i % 2 ? b : NULL);
        assert_true(auth_reload(f->auth, f->error, sizeof f->error));
    }
    atomic_store(&race.stop, true);
    for (int i = 0; i < CHECKERS; i++)
        pthread_join(threads[i], NULL);
    free(race.always);
    free(race.sometimes);
    EVP_PKEY_free(a);
    EVP_PKEY_free(b);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(files_that_are_no_keys_are_refused_by_name),
        TEST(weak_and_strange_keys_are_refused),
        TEST(a_short_secret_is_refused_and_not_shown),
        TEST(unknown_algorithms_are_refused),
        TEST(a_pem_file_may_hold_several_keys),
        TEST(sets_that_are_none_are_refused_by_name),
        TEST(a_set_with_a_secret_is_for_its_owner_only),
        TEST(kid_chooses_the_key),
        TEST(alg_of_a_key_narrows_it),
        TEST(more_keys_than_may_be_are_refused),
        TEST(a_reload_takes_the_files_as_they_are_now),
        TEST(checks_go_on_while_keys_are_reloaded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
