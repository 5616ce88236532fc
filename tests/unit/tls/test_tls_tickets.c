/* Sets of ticket keys: files, their modes, and what is kept of a predecessor. */
#include "gateway/tls/tls_tickets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { IV_BYTES = 16 };

struct fixture {
    char path[128];
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    snprintf(f->path, sizeof f->path, "%s/pushgate-tickets-XXXXXX",
             getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    int fd = mkstemp(f->path);
    *state = f;
    return fd < 0 ? -1 : close(fd);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    unlink(f->path);
    free(f);
    return 0;
}

static void write_file(const struct fixture *f, const void *data, size_t bytes, mode_t mode)
{
    FILE *file = fopen(f->path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    fclose(file);
    assert_int_equal(chmod(f->path, mode), 0);
}

static void refused(const struct fixture *f, const char *words)
{
    char error[512] = "";
    assert_null(tls_ticket_keys_read(f->path, error, sizeof error));
    if (!strstr(error, words) || !strstr(error, f->path))
        fail_msg("\"%s\" does not say \"%s\"", error, words);
}

static struct tls_ticket_keys *keys_of_file(const struct fixture *f)
{
    char error[512] = "";
    struct tls_ticket_keys *keys = tls_ticket_keys_read(f->path, error, sizeof error);
    if (!keys)
        fail_msg("%s", error);
    return keys;
}

/* The name that a ticket made now would have. */
static void name_of(const struct tls_ticket_keys *keys, unsigned char name[TLS_TICKET_NAME_BYTES])
{
    unsigned char iv[IV_BYTES] = {0}, none[IV_BYTES] = {0};
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    EVP_CIPHER_CTX *cipher_ctx = EVP_CIPHER_CTX_new();
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *mac_ctx = EVP_MAC_CTX_new(mac);
    assert_int_equal(tls_ticket_keys_apply(keys, cipher, name, iv, cipher_ctx, mac_ctx, true), 1);
    assert_memory_not_equal(iv, none, sizeof iv);
    EVP_MAC_CTX_free(mac_ctx);
    EVP_MAC_free(mac);
    EVP_CIPHER_CTX_free(cipher_ctx);
    EVP_CIPHER_free(cipher);
}

static int opens(const struct tls_ticket_keys *keys, unsigned char name[TLS_TICKET_NAME_BYTES])
{
    unsigned char iv[IV_BYTES] = {0};
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    EVP_CIPHER_CTX *cipher_ctx = EVP_CIPHER_CTX_new();
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *mac_ctx = EVP_MAC_CTX_new(mac);
    int result = tls_ticket_keys_apply(keys, cipher, name, iv, cipher_ctx, mac_ctx, false);
    EVP_MAC_CTX_free(mac_ctx);
    EVP_MAC_free(mac);
    EVP_CIPHER_CTX_free(cipher_ctx);
    EVP_CIPHER_free(cipher);
    return result;
}

static void the_first_key_of_a_file_makes_and_all_of_them_open(void **state)
{
    unsigned char three[3 * TLS_TICKET_KEY_BYTES], name[TLS_TICKET_NAME_BYTES];
    for (size_t i = 0; i < sizeof three; i++)
        three[i] = (unsigned char)(i * 7 + i / TLS_TICKET_KEY_BYTES);
    write_file(*state, three, sizeof three, 0600);
    struct tls_ticket_keys *keys = keys_of_file(*state);
    assert_int_equal(tls_ticket_keys_count(keys), 3);
    name_of(keys, name);
    assert_memory_equal(name, three, sizeof name);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(opens(keys, three + i * TLS_TICKET_KEY_BYTES), 1);
    name[0] ^= 1;
    assert_int_equal(opens(keys, name), 0);
    tls_ticket_keys_release(keys);
}

static void a_successor_has_a_fresh_key_and_the_one_before(void **state)
{
    (void)state;
    unsigned char names[4][TLS_TICKET_NAME_BYTES];
    struct tls_ticket_keys *keys = tls_ticket_keys_create(NULL);
    assert_int_equal(tls_ticket_keys_count(keys), 1);
    name_of(keys, names[0]);
    for (int i = 1; i < 4; i++) {
        struct tls_ticket_keys *next = tls_ticket_keys_create(keys);
        tls_ticket_keys_release(keys);
        keys = next;
        name_of(keys, names[i]);
        assert_int_equal(tls_ticket_keys_count(keys), 2);
        for (int j = 0; j <= i; j++)
            assert_int_equal(opens(keys, names[j]), j >= i - 1);
    }
    tls_ticket_keys_release(keys);
}

static void a_file_that_others_can_reach_is_refused(void **state)
{
    unsigned char key[TLS_TICKET_KEY_BYTES] = {1};
    static const mode_t bad[] = {0644, 0604, 0602, 0620, 0660, 0777, 0601};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_file(*state, key, sizeof key, bad[i]);
        refused(*state, "lets others at the keys");
    }
    static const mode_t good[] = {0600, 0400, 0640, 0440};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(chmod(((struct fixture *)*state)->path, good[i]), 0);
        tls_ticket_keys_release(keys_of_file(*state));
    }
}

static void a_file_of_another_size_is_refused(void **state)
{
    static const size_t sizes[] = {0, 1, 48, 79, 81, 159, 720};
    unsigned char bytes[720];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i / 80);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        write_file(*state, bytes, sizes[i], 0600);
        refused(*state, "are not 1 to 8 keys of 80 bytes");
    }
    write_file(*state, bytes, 640, 0600); /* eight */
    tls_ticket_keys_release(keys_of_file(*state));
}

static void keys_of_one_name_are_refused(void **state)
{
    unsigned char bytes[160] = {0};
    bytes[100] = 1; /* another secret, the same name */
    write_file(*state, bytes, sizeof bytes, 0600);
    refused(*state, "same name");
}

static void a_missing_file_a_directory_and_a_fifo_are_refused(void **state)
{
    struct fixture *f = *state;
    unlink(f->path);
    refused(f, "No such file");
    assert_int_equal(mkfifo(f->path, 0600), 0);
    refused(f, "not a file");
    unlink(f->path);
    assert_int_equal(mkdir(f->path, 0700), 0);
    refused(f, "not a file");
    rmdir(f->path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_key_of_a_file_makes_and_all_of_them_open),
        cmocka_unit_test(a_successor_has_a_fresh_key_and_the_one_before),
        cmocka_unit_test(a_file_that_others_can_reach_is_refused),
        cmocka_unit_test(a_file_of_another_size_is_refused),
        cmocka_unit_test(keys_of_one_name_are_refused),
        cmocka_unit_test(a_missing_file_a_directory_and_a_fifo_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
