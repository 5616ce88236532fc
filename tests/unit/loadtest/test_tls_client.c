/* The client's handshake against OpenSSL's server, in memory, and what follows it. */
#include "loadtest/tls_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <cmocka.h>

enum { WIRE_BYTES = 64 * 1024 };

struct pair {
    SSL_CTX *server_context;
    SSL *server;
    BIO *to_server, *from_server;
    struct tls_client_context *context;
    struct tls_client *client;
    struct tls_crypto *crypto;
    enum tls_suite suite;
    struct tls_direction read, write;
    uint8_t wire[WIRE_BYTES]; /* from the server, not consumed yet */
    size_t wire_bytes;
};

static void use_own_certificate(SSL_CTX *context)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    assert_non_null(key);
    assert_non_null(certificate);
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    assert_int_equal(SSL_CTX_use_certificate(context, certificate), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(context, key), 1);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static struct pair *pair_create(const char *suites, size_t tickets, bool insecure)
{
    struct pair *pair = calloc(1, sizeof(*pair));
    const struct tls_client_config config = {.host = "127.0.0.1", .host_is_ip = true, .insecure = insecure};
    char error[128];

    assert_non_null(pair);
    pair->server_context = SSL_CTX_new(TLS_server_method());
    assert_non_null(pair->server_context);
    assert_int_equal(SSL_CTX_set_ciphersuites(pair->server_context, suites), 1);
    SSL_CTX_set_num_tickets(pair->server_context, tickets);
    use_own_certificate(pair->server_context);
    pair->server = SSL_new(pair->server_context);
    pair->to_server = BIO_new(BIO_s_mem());
    pair->from_server = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(pair->to_server, -1);
    SSL_set_bio(pair->server, pair->to_server, pair->from_server);
    SSL_set_accept_state(pair->server);
    pair->context = tls_client_context_create(&config, error, sizeof(error));
    assert_non_null(pair->context);
    pair->client = tls_client_create(pair->context);
    assert_non_null(pair->client);
    pair->crypto = tls_crypto_create();
    assert_non_null(pair->crypto);
    return pair;
}

static void pair_destroy(struct pair *pair)
{
    tls_client_destroy(pair->client);
    tls_client_context_destroy(pair->context);
    tls_crypto_destroy(pair->crypto);
    SSL_free(pair->server);
    SSL_CTX_free(pair->server_context);
    free(pair);
}

static void take_from_server(struct pair *pair)
{
    int n = BIO_read(pair->from_server, pair->wire + pair->wire_bytes, (int)(WIRE_BYTES - pair->wire_bytes));
    if (n > 0)
        pair->wire_bytes += (size_t)n;
}

/* Feeds the client `step` more bytes at a time until the handshake has ended. */
static enum tls_client_status handshake(struct pair *pair, size_t step)
{
    enum tls_client_status status = TLS_CLIENT_MORE;
    size_t shown = 0, used;

    status = tls_client_feed(pair->client, NULL, 0, &used);
    for (int turn = 0; turn < 100000 && status == TLS_CLIENT_MORE; turn++) {
        size_t len;
        const uint8_t *out = tls_client_output(pair->client, &len);
        if (len > 0)
            assert_int_equal(BIO_write(pair->to_server, out, (int)len), len);
        (void)SSL_do_handshake(pair->server);
        take_from_server(pair);
        shown = shown + step < pair->wire_bytes ? shown + step : pair->wire_bytes;
        if (shown == 0)
            continue;
        status = tls_client_feed(pair->client, pair->wire, shown, &used);
        pair->wire_bytes -= used;
        shown -= used;
        memmove(pair->wire, pair->wire + used, pair->wire_bytes);
    }
    if (status != TLS_CLIENT_DONE)
        return status;
    size_t len;
    const uint8_t *out = tls_client_output(pair->client, &len);
    assert_int_equal(BIO_write(pair->to_server, out, (int)len), len);
    assert_int_equal(SSL_do_handshake(pair->server), 1);
    assert_true(tls_client_take(pair->client, pair->crypto, &pair->suite, &pair->read, &pair->write));
    return status;
}

/* Opens records until data comes; returns its length. */
static size_t read_data(struct pair *pair, uint8_t *out, uint32_t *tickets, struct tls_client_post *post)
{
    struct tls_opened opened;
    take_from_server(pair);
    for (;;) {
        assert_int_equal(
            tls_record_open(pair->crypto, &pair->read, pair->suite, pair->wire, pair->wire_bytes, &opened),
            PARSE_OK);
        struct tls_post_result result =
            tls_client_post_record(pair->crypto, &pair->read, pair->suite, post, &opened, tickets);
        size_t len = result.event == TLS_EVENT_DATA ? opened.content_bytes : 0;
        assert_int_not_equal(result.event, TLS_EVENT_ERROR);
        memcpy(out, opened.content, len);
        pair->wire_bytes -= opened.record_bytes;
        memmove(pair->wire, pair->wire + opened.record_bytes, pair->wire_bytes);
        if (len > 0)
            return len;
    }
}

static void expect_conversation(const char *suites, size_t tickets, size_t step)
{
    struct pair *pair = pair_create(suites, tickets, true);
    struct tls_client_post post = {0};
    uint8_t record[64 + TLS_RECORD_OVERHEAD], heard[64];
    uint32_t seen = 0;

    assert_int_equal(handshake(pair, step), TLS_CLIENT_DONE);
    const struct tls_slice hello = {"hello", 5};
    size_t len = tls_record_seal(pair->crypto, &pair->write, pair->suite, TLS_CONTENT_APPLICATION_DATA,
                                 &hello, 1, record);
    assert_int_equal(BIO_write(pair->to_server, record, (int)len), len);
    assert_int_equal(SSL_read(pair->server, heard, sizeof(heard)), 5);
    assert_memory_equal(heard, "hello", 5);

    assert_int_equal(SSL_write(pair->server, "world", 5), 5);
    assert_int_equal(read_data(pair, heard, &seen, &post), 5);
    assert_memory_equal(heard, "world", 5);
    assert_int_equal(seen, tickets);

    assert_int_equal(SSL_key_update(pair->server, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
    assert_int_equal(SSL_write(pair->server, "after", 5), 5);
    assert_int_equal(read_data(pair, heard, &seen, &post), 5);
    assert_memory_equal(heard, "after", 5);
    pair_destroy(pair);
}

static void keys_continue_where_the_handshake_stopped(void **state)
{
    (void)state;
    for (size_t tickets = 0; tickets <= 2; tickets++) {
        expect_conversation("TLS_AES_128_GCM_SHA256", tickets, WIRE_BYTES);
        expect_conversation("TLS_CHACHA20_POLY1305_SHA256", tickets, WIRE_BYTES);
    }
}

static void records_may_arrive_byte_by_byte(void **state)
{
    (void)state;
    expect_conversation("TLS_AES_128_GCM_SHA256", 2, 1);
}

static void an_unknown_certificate_is_refused(void **state)
{
    (void)state;
    struct pair *pair = pair_create("TLS_AES_128_GCM_SHA256", 2, false);
    assert_int_equal(handshake(pair, WIRE_BYTES), TLS_CLIENT_FAILED);
    assert_true(tls_client_refused_certificate(pair->client));
    assert_true(strlen(tls_client_error(pair->client)) > 0);
    pair_destroy(pair);
}

static void a_server_that_speaks_no_tls_is_told_apart(void **state)
{
    (void)state;
    struct pair *pair = pair_create("TLS_AES_128_GCM_SHA256", 2, true);
    static const uint8_t http[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
    size_t used;
    assert_int_equal(tls_client_feed(pair->client, NULL, 0, &used), TLS_CLIENT_MORE);
    assert_int_equal(tls_client_feed(pair->client, http, sizeof(http) - 1, &used), TLS_CLIENT_FAILED);
    assert_false(tls_client_refused_certificate(pair->client));
    pair_destroy(pair);
}

static struct tls_post_result post_bytes(struct tls_client_post *post, uint8_t *bytes, size_t len,
                                         uint32_t *tickets)
{
    struct tls_direction none = {0};
    const struct tls_opened opened = {.content = bytes, .content_bytes = len, .type = TLS_CONTENT_HANDSHAKE};
    return tls_client_post_record(NULL, &none, TLS_SUITE_AES_128_GCM_SHA256, post, &opened, tickets);
}

static void tickets_may_be_cut_anywhere(void **state)
{
    (void)state;
    uint8_t two[] = {4, 0, 0, 3, 'a', 'b', 'c', 4, 0, 0, 1, 'd'};
    for (size_t cut = 1; cut < sizeof(two); cut++) {
        struct tls_client_post post = {0};
        uint32_t tickets = 0;
        assert_int_equal(post_bytes(&post, two, cut, &tickets).event, TLS_EVENT_NONE);
        assert_int_equal(post_bytes(&post, two + cut, sizeof(two) - cut, &tickets).event, TLS_EVENT_NONE);
        assert_int_equal(tickets, 2);
        assert_true(post.skip == 0 && post.have == 0);
    }
}

static void other_handshake_messages_are_errors(void **state)
{
    (void)state;
    uint8_t finished[] = {20, 0, 0, 1, 0}, long_update[] = {24, 0, 0, 2, 0, 0},
            trailing[] = {24, 0, 0, 1, 0, 4};
    uint32_t tickets = 0;
    struct tls_client_post post = {0};
    assert_int_equal(post_bytes(&post, finished, sizeof(finished), &tickets).event, TLS_EVENT_ERROR);
    post = (struct tls_client_post){0};
    assert_int_equal(post_bytes(&post, long_update, sizeof(long_update), &tickets).event, TLS_EVENT_ERROR);
    post = (struct tls_client_post){0};
    assert_int_equal(post_bytes(&post, trailing, sizeof(trailing), &tickets).event, TLS_EVENT_ERROR);
    post = (struct tls_client_post){0};
    assert_int_equal(post_bytes(&post, finished, 0, &tickets).event, TLS_EVENT_ERROR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_continue_where_the_handshake_stopped),
        cmocka_unit_test(records_may_arrive_byte_by_byte),
        cmocka_unit_test(an_unknown_certificate_is_refused),
        cmocka_unit_test(a_server_that_speaks_no_tls_is_told_apart),
        cmocka_unit_test(tickets_may_be_cut_anywhere),
        cmocka_unit_test(other_handshake_messages_are_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
