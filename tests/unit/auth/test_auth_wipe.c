/* Secrets are wiped before their memory is given back: every block that cjose, jansson or OpenSSL frees is
 * looked through for one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/auth/fixture.h"

#include <cjose/cjose.h>
#include <malloc.h>

static struct {
    bool looking;
    size_t blocks, found;
} freed;

static void look_and_free(void *block)
{
    if (block && freed.looking) {
        freed.blocks++;
        freed.found += memmem(block, malloc_usable_size(block), SECRET, strlen(SECRET)) != NULL;
    }
    free(block);
}

static void nothing_was_left(void)
{
    assert_true(freed.blocks > 0);
    assert_int_equal(freed.found, 0);
    freed.blocks = 0;
}

static void the_check_finds_what_is_not_wiped(void **state)
{
    (void)state;
    freed.looking = true;
    cjose_jwk_t *key = cjose_jwk_create_oct_spec((const uint8_t *)SECRET, strlen(SECRET), NULL);
    cjose_jwk_release(key);
    assert_int_equal(freed.found, 1);
    freed.looking = false;
    freed.blocks = freed.found = 0;
}

static void a_secret_is_wiped_when_keys_are_destroyed_or_replaced(void **state)
{
    struct fixture *f = *state;
    char set[256], k[128];
    signer_base64url(SECRET, strlen(SECRET), k);
    snprintf(set, sizeof set, "{\"keys\":[{\"kty\":\"oct\",\"k\":\"%s\"}]}", k);
    signer_write(fixture_file(f, "keys.json"), set);
    assert_int_equal(chmod(f->path, 0600), 0);
    char *token = signer_plain("HS256", NULL, SECRET, NULL, "{}");
    for (int from_file = 0; from_file <= 1; from_file++) {
        f->config.hmac_secret = from_file ? "" : SECRET;
        f->config.jwks_file = from_file ? f->path : "";
        freed.looking = true;
        fixture_open(f);
        fixture_accepts(f, token);
        assert_true(auth_reload(f->auth, f->error, sizeof f->error));
        fixture_accepts(f, token);
        auth_destroy(f->auth);
        f->auth = NULL;
        freed.looking = false;
        nothing_was_left();
    }
    free(token);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(the_check_finds_what_is_not_wiped),
        TEST(a_secret_is_wiped_when_keys_are_destroyed_or_replaced),
    };
    cjose_set_alloc_funcs(malloc, realloc, look_and_free);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
