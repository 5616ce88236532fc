/* All slots of an acceptor taken by clients that do not go on: whoever means it gets in all the same. */
#include "acceptor_stand.h"

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

static uint64_t crowded_out(const struct stand *stand)
{
    return counter_read(&acceptor_stats(stand->acceptor)->failures[HANDSHAKE_CROWDED_OUT]);
}

/* Takes all slots and says `words` on each; handshake_timeout is a minute. */
static void fill(const struct stand *stand, enum transport transport, const void *words, size_t bytes,
                 int fds[static SLOTS])
{
    const struct sockaddr_in *address = transport == TRANSPORT_WSS ? &stand->tls_address : &stand->address;
    for (int i = 0; i < SLOTS; i++) {
        fds[i] = dial_to(address, 1);
        if (bytes)
            assert_int_equal(send(fds[i], words, bytes, MSG_NOSIGNAL), (ssize_t)bytes);
    }
    wait_for(&acceptor_stats(stand->acceptor)->accepted[transport], SLOTS - 1);
}

static void expect_upgrades(const struct stand *stand)
{
    const struct acceptor_stats *stats = acceptor_stats(stand->acceptor);
    for (unsigned i = 0; i < 10; i++) {
        int fd = dial(stand, 2);
        ask(fd);
        wait_for(&stats->transferred, i + 1);
        close(fd);
    }
}

static bool is_closed(int fd)
{
    char byte;
    return recv(fd, &byte, 1, MSG_DONTWAIT) == 0 || errno == ECONNRESET;
}

static void close_all(const int fds[static SLOTS])
{
    for (int i = 0; i < SLOTS; i++)
        close(fds[i]);
}

/* The oldest, and not the newest, and no more than need be. */
static void expect_way_made(const struct stand *stand, const int fds[static SLOTS])
{
    expect_upgrades(stand);
    assert_in_range(crowded_out(stand), 1, SLOTS / 2);
    assert_true(is_closed(fds[0]));
    assert_false(is_closed(fds[SLOTS - 1]));
    assert_int_equal(counter_read(&acceptor_stats(stand->acceptor)->failures[HANDSHAKE_TIMEOUT]), 0);
}

static void expect_way_made_by(const char *words)
{
    if (!many_descriptors())
        skip();
    struct stand *stand = stand_new(0, 0);
    static int fds[SLOTS];
    fill(stand, TRANSPORT_WS, words, strlen(words), fds);
    expect_way_made(stand, fds);
    close_all(fds);
    stand_free(stand);
}

static void connections_that_say_nothing_make_way_for_clients(void **state)
{
    (void)state;
    expect_way_made_by("");
}

static void connections_that_do_not_finish_their_request_make_way(void **state)
{
    (void)state;
    expect_way_made_by("GET /ws?topic=a HTTP/1.1\r\nHost: ");
}

static void connections_that_were_answered_and_stay_make_way_and_are_counted_once(void **state)
{
    (void)state;
    if (!many_descriptors())
        skip();
    struct stand *stand = stand_new(0, 0);
    const struct acceptor_stats *stats = acceptor_stats(stand->acceptor);
    static int fds[SLOTS];
    fill(stand, TRANSPORT_WS, "?", 1, fds);
    wait_for(&stats->failures[HANDSHAKE_HTTP_BAD], SLOTS - 1);
    expect_upgrades(stand);
    assert_int_equal(crowded_out(stand), 0);
    char answer[64] = "";
    assert_true(recv(fds[0], answer, sizeof answer - 1, 0) > 13); /* no reset has overtaken it */
    assert_memory_equal(answer, "HTTP/1.1 400 ", 13);
    close_all(fds);
    stand_free(stand);
}

static struct tls_context *make_context(void)
{
    char certificate_file[] = "/tmp/pushgate-crowd-XXXXXX", key_file[] = "/tmp/pushgate-crowd-XXXXXX";
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    FILE *out = fdopen(mkstemp(certificate_file), "w");
    assert_non_null(out);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    assert_int_equal(X509_set_pubkey(certificate, key), 1);
    assert_int_not_equal(X509_sign(certificate, key, EVP_sha256()), 0);
    assert_int_equal(PEM_write_X509(out, certificate), 1);
    fclose(out);
    out = fdopen(mkstemp(key_file), "w");
    assert_non_null(out);
    assert_int_equal(PEM_write_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(out);
    X509_free(certificate);
    EVP_PKEY_free(key);
    struct tls_context_config config = {.certificate_file = certificate_file, .private_key_file = key_file};
    char error[256] = "";
    struct tls_context *context = tls_context_create(&config, error, sizeof error);
    if (!context)
        fail_msg("%s", error);
    unlink(certificate_file);
    unlink(key_file);
    return context;
}

/* Nothing in it is only for one server to see. */
static size_t client_hello(uint8_t *out, size_t room)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ctx);
    BIO *to_server = BIO_new(BIO_s_mem());
    assert_non_null(to_server);
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), to_server);
    assert_int_equal(SSL_connect(ssl), -1);
    int bytes = BIO_read(to_server, out, (int)room);
    assert_in_range(bytes, 100, room - 1);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    return (size_t)bytes;
}

/* They have made us sign, and then nothing. */
static void handshakes_that_stand_still_make_way_after_a_second(void **state)
{
    (void)state;
    if (!many_descriptors())
        skip();
    struct stand *stand = stand_new_with((struct stand_options){.tls = make_context()});
    static int fds[SLOTS];
    uint8_t hello[4096];
    fill(stand, TRANSPORT_WSS, hello, client_hello(hello, sizeof hello), fds);
    expect_upgrades(stand);
    assert_in_range(crowded_out(stand), 1, SLOTS / 2);
    char flight[16384];
    while (recv(fds[0], flight, sizeof flight, MSG_DONTWAIT) > 0)
        ;
    assert_true(is_closed(fds[0]));
    close_all(fds);
    stand_free(stand);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connections_that_say_nothing_make_way_for_clients),
        cmocka_unit_test(connections_that_do_not_finish_their_request_make_way),
        cmocka_unit_test(connections_that_were_answered_and_stay_make_way_and_are_counted_once),
        cmocka_unit_test(handshakes_that_stand_still_make_way_after_a_second),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
