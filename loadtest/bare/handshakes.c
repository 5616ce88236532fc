/* The bare handshake: OpenSSL against OpenSSL through memory, without sockets; only the server's half counts.
 */
#include "loadtest/bare/bare.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <stdio.h>
#include <time.h>

enum { WARM_UP = 50 };

static noreturn void fail(const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    bare_die("%s: %s", what, reason ? reason : "unknown error");
}

static uint64_t own_cpu_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static SSL *new_end(SSL_CTX *context, SSL *peer)
{
    SSL *ssl = SSL_new(context);
    BIO *in = peer ? SSL_get_wbio(peer) : BIO_new(BIO_s_mem());
    BIO *out = peer ? SSL_get_rbio(peer) : BIO_new(BIO_s_mem());

    if (!ssl || !in || !out)
        fail("out of memory");
    if (peer && (!BIO_up_ref(in) || !BIO_up_ref(out)))
        fail("out of memory");
    BIO_set_mem_eof_return(in, -1);
    BIO_set_mem_eof_return(out, -1);
    SSL_set_bio(ssl, in, out);
    return ssl;
}

static void step(SSL *ssl, bool *done)
{
    int result = SSL_do_handshake(ssl);
    if (result != 1 && SSL_get_error(ssl, result) != SSL_ERROR_WANT_READ)
        fail("handshake");
    *done = result == 1;
}

/* One handshake; returns the server's CPU time. `session` is presented when there is one, else set. */
static uint64_t shake(SSL_CTX *server_context, SSL_CTX *client_context, SSL_SESSION **session)
{
    SSL *client = new_end(client_context, NULL);
    bool client_done = false, server_done = false;
    SSL *server = NULL;
    char byte;

    if (*session) {
        SSL_SESSION *copy = SSL_SESSION_dup(*session);
        if (!copy || SSL_set_session(client, copy) != 1)
            fail("session");
        SSL_SESSION_free(copy);
    }
    SSL_set_connect_state(client);
    uint64_t cpu_ns = 0;
    while (!client_done || !server_done) {
        step(client, &client_done);
        uint64_t began_ns = own_cpu_ns();
        if (!server) {
            server = new_end(server_context, client);
            SSL_set_accept_state(server);
        }
        step(server, &server_done);
        cpu_ns += own_cpu_ns() - began_ns;
    }
    if (!*session) {
        (void)SSL_read(client, &byte, 1); /* the ticket */
        *session = SSL_get1_session(client);
    } else if (!SSL_session_reused(client)) {
        fail("the session was not resumed");
    }
    SSL_set_shutdown(client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(client);
    uint64_t began_ns = own_cpu_ns();
    SSL_free(server);
    return cpu_ns + own_cpu_ns() - began_ns;
}

static SSL_CTX *new_context(const SSL_METHOD *method)
{
    SSL_CTX *context = SSL_CTX_new(method);
    if (!context || SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") != 1 ||
        SSL_CTX_set1_groups_list(context, "X25519") != 1)
        fail("OpenSSL");
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_clear_mode(context, SSL_MODE_AUTO_RETRY);
    return context;
}

static double rate_of(SSL_CTX *server, SSL_CTX *client, SSL_SESSION *resumed, uint32_t rounds)
{
    uint64_t cpu_ns = 0;
    for (uint32_t i = 0; i < WARM_UP + rounds; i++) {
        SSL_SESSION *session = resumed;
        uint64_t one_ns = shake(server, client, &session);
        if (i >= WARM_UP)
            cpu_ns += one_ns;
        if (!resumed)
            SSL_SESSION_free(session);
    }
    return (double)rounds * 1e9 / (double)cpu_ns;
}

void bare_handshakes(const char *certificate, const char *key, uint32_t rounds)
{
    SSL_CTX *server = new_context(TLS_server_method()), *client = new_context(TLS_client_method());
    SSL_SESSION *session = NULL;

    if (SSL_CTX_use_certificate_chain_file(server, certificate) != 1 ||
        SSL_CTX_use_PrivateKey_file(server, key, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_set_num_tickets(server, 1) != 1)
        fail("certificate");
    double full = rate_of(server, client, NULL, rounds);
    (void)shake(server, client, &session);
    double resumed = rate_of(server, client, session, rounds);
    printf("{\"full_per_second\": %.1f, \"resumed_per_second\": %.1f}\n", full, resumed);
    SSL_SESSION_free(session);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
}
