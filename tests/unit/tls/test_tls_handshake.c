/* The server's handshake against OpenSSL's own client in memory, and our record layer against it once the
 * keys are ours. */
#include "gateway/tls/tls_handshake.h"
#include "proto/tls_post.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WIRE_BYTES = 64 * 1024, PATH_BYTES = 128 };

struct fixture {
    char dir[PATH_BYTES];
    struct tls_context *context;  /* P-256 */
    struct tls_ticket_keys *keys; /* of its tickets */
    struct tls_crypto *crypto;
};

/* One OpenSSL client and what stands opposite it. */
struct peer {
    SSL_CTX *ctx;
    SSL *ssl;
    BIO *to_client, *from_client; /* owned by ssl */
    struct tls_handshake *handshake;
    uint8_t wire[WIRE_BYTES]; /* from the client, not yet consumed */
    size_t wire_len;
    struct tls_handshake_result keys;
    struct tls_fragment fragment;
    struct tls_crypto *crypto;
};

static const char *path_of(const struct fixture *fixture, const char *name)
{
    static char paths[4][2 * PATH_BYTES];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", fixture->dir, name);
    return path;
}

static void write_key(const struct fixture *fixture, const char *name, EVP_PKEY *key, const char *passphrase)
{
    FILE *file = fopen(path_of(fixture, name), "w");
    assert_non_null(file);
    assert_int_equal(PEM_write_PKCS8PrivateKey(file, key, passphrase ? EVP_aes_128_cbc() : NULL, passphrase,
                                               passphrase ? (int)strlen(passphrase) : 0, NULL, NULL),
                     1);
    fclose(file);
}

static void write_certificate(const struct fixture *fixture, const char *name, EVP_PKEY *key)
{
    X509 *certificate = X509_new();
    assert_non_null(certificate);
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_NAME *subject = X509_get_subject_name(certificate);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1, 0);
    X509_set_issuer_name(certificate, subject);
    assert_int_equal(X509_set_pubkey(certificate, key), 1);
    assert_int_not_equal(X509_sign(certificate, key, EVP_sha256()), 0);
    FILE *file = fopen(path_of(fixture, name), "w");
    assert_non_null(file);
    assert_int_equal(PEM_write_X509(file, certificate), 1);
    fclose(file);
    X509_free(certificate);
}

static void write_text(const struct fixture *fixture, const char *name, const char *text)
{
    FILE *file = fopen(path_of(fixture, name), "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static const char *const files[] = {"ec.crt",    "ec.key",     "rsa.crt",    "rsa.key",
                                    "other.key", "locked.key", "legacy.key", "text"};

static struct tls_context *make_context(const struct fixture *fixture, const char *certificate,
                                        const char *key)
{
    struct tls_context_config config = {.certificate_file = path_of(fixture, certificate),
                                        .private_key_file = path_of(fixture, key),
                                        .tickets = 1};
    char error[256] = "";
    struct tls_context *context = tls_context_create(&config, error, sizeof error);
    if (!context)
        fail_msg("%s", error);
    struct tls_ticket_keys *keys = tls_ticket_keys_create(NULL);
    assert_non_null(keys);
    tls_context_set_ticket_keys(context, keys);
    tls_ticket_keys_release(keys);
    return context;
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    snprintf(fixture->dir, sizeof fixture->dir, "%s/pushgate-tls-XXXXXX",
             getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    assert_non_null(mkdtemp(fixture->dir));

    EVP_PKEY *ec = EVP_EC_gen("P-256");
    EVP_PKEY *other = EVP_EC_gen("P-256");
    EVP_PKEY *rsa = EVP_RSA_gen(2048);
    assert_non_null(ec);
    assert_non_null(other);
    assert_non_null(rsa);
    write_certificate(fixture, "ec.crt", ec);
    write_certificate(fixture, "rsa.crt", rsa);
    write_key(fixture, "ec.key", ec, NULL);
    write_key(fixture, "rsa.key", rsa, NULL);
    write_key(fixture, "other.key", other, NULL);
    write_key(fixture, "locked.key", ec, "open sesame");
    BIO *legacy = BIO_new_file(path_of(fixture, "legacy.key"), "w");
    assert_non_null(legacy);
    assert_int_equal(PEM_write_bio_PrivateKey_traditional(legacy, ec, EVP_aes_128_cbc(),
                                                          (const unsigned char *)"sesame", 6, NULL, NULL),
                     1);
    BIO_free(legacy);
    write_text(fixture, "text", "no PEM at all\n");
    EVP_PKEY_free(ec);
    EVP_PKEY_free(other);
    EVP_PKEY_free(rsa);

    fixture->context = make_context(fixture, "ec.crt", "ec.key");
    fixture->crypto = tls_crypto_create();
    assert_non_null(fixture->crypto);
    fixture->keys = tls_ticket_keys_create(NULL);
    assert_non_null(fixture->keys);
    tls_context_set_ticket_keys(fixture->context, fixture->keys);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        unlink(path_of(fixture, files[i]));
    rmdir(fixture->dir);
    tls_context_destroy(fixture->context);
    tls_ticket_keys_release(fixture->keys);
    tls_crypto_destroy(fixture->crypto);
    free(fixture);
    return 0;
}

/* The peer */

static struct peer *peer_create(struct fixture *fixture, struct tls_context *context)
{
    struct peer *peer = calloc(1, sizeof *peer);
    assert_non_null(peer);
    peer->ctx = SSL_CTX_new(TLS_client_method());
    assert_non_null(peer->ctx);
    SSL_CTX_set_session_cache_mode(peer->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    peer->crypto = fixture->crypto;
    peer->handshake = tls_handshake_create(context ? context : fixture->context, fixture->crypto);
    assert_non_null(peer->handshake);
    return peer;
}

/* After the test has set peer->ctx as it likes. */
static void peer_begin(struct peer *peer)
{
    peer->ssl = SSL_new(peer->ctx);
    assert_non_null(peer->ssl);
    peer->to_client = BIO_new(BIO_s_mem());
    peer->from_client = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(peer->to_client, -1);
    SSL_set_bio(peer->ssl, peer->to_client, peer->from_client);
    SSL_set_connect_state(peer->ssl);
}

static void peer_destroy(struct peer *peer)
{
    /* Else the client takes its session for broken and would not resume it. */
    if (peer->ssl)
        SSL_set_shutdown(peer->ssl, SSL_SENT_SHUTDOWN);
    SSL_free(peer->ssl);
    SSL_CTX_free(peer->ctx);
    tls_handshake_destroy(peer->handshake);
    tls_direction_wipe(&peer->keys.read);
    tls_direction_wipe(&peer->keys.write);
    ERR_clear_error();
    free(peer);
}

/* Moves what the client has written onto the wire. */
static void collect(struct peer *peer)
{
    int got =
        BIO_read(peer->from_client, peer->wire + peer->wire_len, (int)(sizeof peer->wire - peer->wire_len));
    if (got > 0)
        peer->wire_len += (size_t)got;
}

static void drop(struct peer *peer, size_t bytes)
{
    assert_true(bytes <= peer->wire_len);
    peer->wire_len -= bytes;
    memmove(peer->wire, peer->wire + bytes, peer->wire_len);
}

/* Takes our output in pieces, as a kernel might. */
static void deliver_output(struct peer *peer)
{
    size_t len;
    const uint8_t *data;
    while ((data = tls_handshake_output(peer->handshake, &len)) != NULL) {
        size_t piece = len > 700 ? 700 : len;
        assert_int_equal(BIO_write(peer->to_client, data, (int)piece), piece);
        tls_handshake_sent(peer->handshake, piece);
    }
}

/* Runs until the server is done or has failed; the client's bytes come at most `chunk` at a time. */
static enum tls_handshake_status shake(struct peer *peer, size_t chunk)
{
    enum tls_handshake_status status = TLS_HANDSHAKE_MORE;
    for (int round = 0; round < 10 && status == TLS_HANDSHAKE_MORE; round++) {
        SSL_do_handshake(peer->ssl);
        collect(peer);
        size_t shown = 0; /* bytes of the wire that the server has seen */
        while (shown < peer->wire_len && status == TLS_HANDSHAKE_MORE) {
            shown = peer->wire_len - shown > chunk ? shown + chunk : peer->wire_len;
            /* exact size, so that ASan sees a read past it */
            uint8_t *exact = malloc(shown);
            assert_non_null(exact);
            memcpy(exact, peer->wire, shown);
            size_t consumed;
            status = tls_handshake_feed(peer->handshake, exact, shown, &consumed);
            free(exact);
            assert_true(consumed <= shown);
            drop(peer, consumed);
            shown -= consumed;
        }
        deliver_output(peer);
    }
    return status;
}

static void finish(struct peer *peer, size_t chunk)
{
    enum tls_handshake_status status = shake(peer, chunk);
    if (status != TLS_HANDSHAKE_DONE)
        fail_msg("handshake: %s", tls_handshake_error(peer->handshake));
    assert_true(tls_handshake_take(peer->handshake, &peer->keys));
    assert_int_equal(SSL_do_handshake(peer->ssl), 1);
}

/* Opens the record at the front of the wire. */
static struct tls_post_result next_record(struct peer *peer, struct tls_opened *opened)
{
    assert_int_equal(
        tls_record_open(peer->crypto, &peer->keys.read, peer->keys.suite, peer->wire, peer->wire_len, opened),
        PARSE_OK);
    return tls_post_record(peer->crypto, &peer->keys.read, peer->keys.suite, &peer->fragment, opened);
}

static void expect_event(struct peer *peer, enum tls_event event)
{
    struct tls_opened opened;
    collect(peer);
    assert_int_equal(next_record(peer, &opened).event, event);
    drop(peer, opened.record_bytes);
}

static void expect_from_client(struct peer *peer, const char *text)
{
    struct tls_opened opened;
    collect(peer);
    assert_int_equal(next_record(peer, &opened).event, TLS_EVENT_DATA);
    assert_int_equal(opened.content_bytes, strlen(text));
    assert_memory_equal(opened.content, text, strlen(text));
    drop(peer, opened.record_bytes);
}

static void client_says(struct peer *peer, const char *text)
{
    assert_int_equal(SSL_write(peer->ssl, text, (int)strlen(text)), strlen(text));
    expect_from_client(peer, text);
}

static void server_says(struct peer *peer, const char *text)
{
    uint8_t record[256];
    char got[256];
    struct tls_slice part = {text, strlen(text)};
    size_t bytes = tls_record_seal(peer->crypto, &peer->keys.write, peer->keys.suite,
                                   TLS_CONTENT_APPLICATION_DATA, &part, 1, record);
    assert_int_not_equal(bytes, 0);
    BIO_write(peer->to_client, record, (int)bytes);
    assert_int_equal(SSL_read(peer->ssl, got, sizeof got), strlen(text));
    assert_memory_equal(got, text, strlen(text));
}

static void talk(struct peer *peer)
{
    server_says(peer, "from the gateway");
    client_says(peer, "from the browser");
    server_says(peer, "and once more");
    client_says(peer, "both ways");
    assert_int_equal(peer->wire_len, 0);
}

/* Tests */

static void the_keys_go_on_where_openssl_stopped(void **state)
{
    struct peer *peer = peer_create(*state, NULL);
    peer_begin(peer);
    finish(peer, SIZE_MAX);
    assert_int_equal(peer->keys.suite, TLS_SUITE_AES_128_GCM_SHA256);
    assert_false(peer->keys.resumed);
    assert_int_equal(tls_direction_seq(&peer->keys.read), 0);
    assert_int_equal(tls_direction_seq(&peer->keys.write), 1); /* one ticket */
    talk(peer);
    peer_destroy(peer);
}

static void chacha20_is_spoken_with_those_who_offer_nothing_else(void **state)
{
    struct peer *peer = peer_create(*state, NULL);
    SSL_CTX_set_ciphersuites(peer->ctx, "TLS_CHACHA20_POLY1305_SHA256");
    peer_begin(peer);
    finish(peer, SIZE_MAX);
    assert_int_equal(peer->keys.suite, TLS_SUITE_CHACHA20_POLY1305_SHA256);
    talk(peer);
    peer_destroy(peer);
}

static void aes_256_alone_is_refused(void **state)
{
    struct peer *peer = peer_create(*state, NULL);
    SSL_CTX_set_ciphersuites(peer->ctx, "TLS_AES_256_GCM_SHA384");
    peer_begin(peer);
    assert_int_equal(shake(peer, SIZE_MAX), TLS_HANDSHAKE_FAILED);
    assert_non_null(strstr(tls_handshake_error(peer->handshake), "no shared cipher"));
    assert_false(tls_handshake_old_version(peer->handshake));
    peer_destroy(peer);
}

static void an_rsa_certificate_works_too(void **state)
{
    struct fixture *fixture = *state;
    struct tls_context *context = make_context(fixture, "rsa.crt", "rsa.key");
    struct peer *peer = peer_create(fixture, context);
    tls_context_destroy(context); /* the handshake keeps what it needs */
    peer_begin(peer);
    finish(peer, SIZE_MAX);
    talk(peer);
    peer_destroy(peer);
}

static void single_bytes_make_the_same_handshake(void **state)
{
    struct peer *peer = peer_create(*state, NULL);
    peer_begin(peer);
    finish(peer, 1);
    talk(peer);
    peer_destroy(peer);
}

static void a_retry_for_another_group_succeeds(void **state)
{
    struct peer *peer = peer_create(*state, NULL);
    assert_int_equal(SSL_CTX_set1_groups_list(peer->ctx, "P-521:P-256"), 1);
    peer_begin(peer);
    finish(peer, 3);
    talk(peer);
    peer_destroy(peer);
}

static void foreign_groups_only_are_refused(void **state)
{
    struct peer *peer = peer_create(*state, NULL);
    assert_int_equal(SSL_CTX_set1_groups_list(peer->ctx, "P-521:P-384"), 1);
    peer_begin(peer);
    assert_int_equal(shake(peer, SIZE_MAX), TLS_HANDSHAKE_FAILED);
    assert_true(strlen(tls_handshake_error(peer->handshake)) > 0);
    peer_destroy(peer);
}

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    SSL_SESSION **kept = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    SSL_SESSION_free(*kept);
    *kept = session;
    return 1;
}

static SSL_SESSION *earn_ticket(struct fixture *fixture, struct tls_context *context)
{
    SSL_SESSION *session = NULL;
    struct peer *peer = peer_create(fixture, context);
    SSL_CTX_set_app_data(peer->ctx, &session);
    SSL_CTX_sess_set_new_cb(peer->ctx, keep_session);
    peer_begin(peer);
    finish(peer, SIZE_MAX);
    talk(peer);
    peer_destroy(peer);
    assert_non_null(session);
    return session;
}

static bool resumes(struct fixture *fixture, struct tls_context *context, SSL_SESSION *session)
{
    struct peer *peer = peer_create(fixture, context);
    peer_begin(peer);
    assert_int_equal(SSL_set_session(peer->ssl, session), 1);
    finish(peer, 5);
    assert_int_equal(SSL_session_reused(peer->ssl), peer->keys.resumed);
    bool resumed = peer->keys.resumed;
    assert_int_equal(tls_direction_seq(&peer->keys.write), 1);
    talk(peer);
    peer_destroy(peer);
    return resumed;
}

static void a_ticket_resumes_and_the_count_stays_right(void **state)
{
    SSL_SESSION *session = earn_ticket(*state, NULL);
    assert_int_equal(SSL_SESSION_get_max_early_data(session), 0);
    assert_true(resumes(*state, NULL, session));
    SSL_SESSION_free(session);
}

static void a_ticket_resumes_elsewhere_only_when_its_keys_are_shared(void **state)
{
    struct fixture *fixture = *state;
    struct tls_context *elsewhere = make_context(fixture, "ec.crt", "ec.key");
    SSL_SESSION *session = earn_ticket(fixture, NULL);
    assert_false(resumes(fixture, elsewhere, session));
    tls_context_set_ticket_keys(elsewhere, fixture->keys);
    assert_true(resumes(fixture, elsewhere, session));
    SSL_SESSION_free(session);
    tls_context_destroy(elsewhere);
}

static struct tls_ticket_keys *rotate(struct tls_context *context, struct tls_ticket_keys *keys)
{
    struct tls_ticket_keys *next = tls_ticket_keys_create(keys);
    assert_non_null(next);
    tls_context_set_ticket_keys(context, next);
    tls_ticket_keys_release(keys);
    return next;
}

static void a_ticket_outlives_one_rotation_and_not_two(void **state)
{
    struct fixture *fixture = *state;
    SSL_SESSION *session = earn_ticket(fixture, NULL);
    struct tls_ticket_keys *keys = rotate(fixture->context, tls_ticket_keys_retain(fixture->keys));
    assert_int_equal(tls_ticket_keys_count(keys), 2);
    assert_true(resumes(fixture, NULL, session));
    keys = rotate(fixture->context, keys);
    assert_int_equal(tls_ticket_keys_count(keys), 2);
    assert_false(resumes(fixture, NULL, session));
    SSL_SESSION_free(session);
    session = earn_ticket(fixture, NULL);
    assert_true(resumes(fixture, NULL, session));
    SSL_SESSION_free(session);
    tls_context_set_ticket_keys(fixture->context, fixture->keys);
    tls_ticket_keys_release(keys);
}

static void without_keys_there_are_no_tickets_and_nobody_resumes(void **state)
{
    struct fixture *fixture = *state;
    SSL_SESSION *session = earn_ticket(fixture, NULL);
    tls_context_set_ticket_keys(fixture->context, NULL);
    struct peer *peer = peer_create(fixture, NULL);
    peer_begin(peer);
    assert_int_equal(SSL_set_session(peer->ssl, session), 1);
    finish(peer, SIZE_MAX);
    assert_false(peer->keys.resumed);
    assert_int_equal(tls_direction_seq(&peer->keys.write), 0);
    talk(peer);
    peer_destroy(peer);
    tls_context_set_ticket_keys(fixture->context, fixture->keys);
    SSL_SESSION_free(session);
}

/* RFC 8446 §4.2.9: a resumption without a fresh key exchange would not be forward secret. */
static void resumption_always_exchanges_keys(void **state)
{
    struct fixture *fixture = *state;
    SSL_SESSION *session = earn_ticket(fixture, NULL);
    struct peer *peer = peer_create(fixture, NULL);
    SSL_CTX_set_options(peer->ctx, SSL_OP_ALLOW_NO_DHE_KEX);
    peer_begin(peer);
    assert_int_equal(SSL_set_session(peer->ssl, session), 1);
    finish(peer, SIZE_MAX);
    assert_true(peer->keys.resumed);
    EVP_PKEY *ours = NULL;
    assert_int_equal(SSL_get_peer_tmp_key(peer->ssl, &ours), 1);
    EVP_PKEY_free(ours);
    peer_destroy(peer);
    SSL_SESSION_free(session);
}

/* Whose certificate a client gets that asks for `name` (NULL: for none). */
static int certificate_for(struct fixture *fixture, struct tls_context *context, const char *name)
{
    struct peer *peer = peer_create(fixture, context);
    peer_begin(peer);
    if (name)
        assert_int_equal(SSL_set_tlsext_host_name(peer->ssl, name), 1);
    finish(peer, SIZE_MAX);
    int type = EVP_PKEY_get_base_id(X509_get0_pubkey(SSL_get0_peer_certificate(peer->ssl)));
    talk(peer);
    peer_destroy(peer);
    return type;
}

static void the_named_host_gets_its_certificate(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *asked;
        int type;
    } cases[] = {{NULL, EVP_PKEY_EC},
                 {"example.org", EVP_PKEY_RSA},
                 {"EXAMPLE.org", EVP_PKEY_RSA},
                 {"other.example.org", EVP_PKEY_EC},
                 {"a.wild.example.org", EVP_PKEY_RSA},
                 {"special.wild.example.org", EVP_PKEY_EC},
                 {"wild.example.org", EVP_PKEY_EC},
                 {"a.b.wild.example.org", EVP_PKEY_EC},
                 {"org", EVP_PKEY_EC},
                 {"example.orga", EVP_PKEY_EC},
                 {"*.wild.example.org", EVP_PKEY_RSA},
                 {".wild.example.org", EVP_PKEY_EC}};
    char *rsa_crt = strdup(path_of(fixture, "rsa.crt")), *rsa_key = strdup(path_of(fixture, "rsa.key"));
    char *ec_crt = strdup(path_of(fixture, "ec.crt")), *ec_key = strdup(path_of(fixture, "ec.key"));
    const struct tls_host hosts[] = {{(char *)"*.wild.example.org", rsa_crt, rsa_key},
                                     {(char *)"Example.Org", rsa_crt, rsa_key},
                                     {(char *)"special.wild.example.org", ec_crt, ec_key}};
    struct tls_context_config config = {
        .certificate_file = ec_crt, .private_key_file = ec_key, .hosts = hosts, .host_count = 3};
    char error[512] = "";
    struct tls_context *context = tls_context_create(&config, error, sizeof error);
    if (!context)
        fail_msg("%s", error);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (certificate_for(fixture, context, cases[i].asked) != cases[i].type)
            fail_msg("%s got the wrong certificate", cases[i].asked);

    tls_context_set_ticket_keys(context, fixture->keys);
    tls_context_destroy(context);
    const struct tls_host broken[] = {{(char *)"example.org", rsa_crt, ec_key}};
    config.hosts = broken;
    config.host_count = 1;
    assert_null(tls_context_create(&config, error, sizeof error));
    assert_non_null(strstr(error, "[tls example.org]: private key"));
    free(rsa_crt);
    free(rsa_key);
    free(ec_crt);
    free(ec_key);
}

static void names_that_no_host_can_have_are_refused(void **state)
{
    static const char *const bad[] = {"",     "*",     "*.",  "a..b", ".a",          "a.",   "a.*.b",
                                      "**.a", "ex*.a", "a b", "a/b",  "\xc3\xa4.de", "*.*.a"};
    static const char *const good[] = {"a", "localhost", "*.a", "xn--4ca.example", "a_b.c-d.e", "127.0.0.1"};
    char file[] = "file", error[512], name[300];
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct tls_host host = {(char *)(uintptr_t)bad[i], file, file};
        assert_false(tls_hosts_check(&host, 1, error, sizeof error));
        assert_non_null(strstr(error, "not the name of a host"));
    }
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct tls_host host = {(char *)(uintptr_t)good[i], file, file};
        assert_true(tls_hosts_check(&host, 1, error, sizeof error));
    }
    memset(name, 'a', sizeof name);
    name[63] = '\0';
    struct tls_host host = {name, file, file};
    assert_true(tls_hosts_check(&host, 1, error, sizeof error));
    name[63] = 'a';
    name[64] = '\0';
    assert_false(tls_hosts_check(&host, 1, error, sizeof error));
    struct tls_host twice[] = {{(char *)"example.org", file, file}, {(char *)"Example.ORG", file, file}};
    assert_false(tls_hosts_check(twice, 2, error, sizeof error));
    assert_non_null(strstr(error, "the same host"));
    char none[] = "";
    struct tls_host half = {(char *)"example.org", file, none};
    assert_false(tls_hosts_check(&half, 1, error, sizeof error));
    assert_non_null(strstr(error, "needs certificate and private_key"));
}

static int suite_with(struct fixture *fixture, const char *list)
{
    struct tls_context_config config = {.certificate_file = path_of(fixture, "ec.crt"),
                                        .private_key_file = path_of(fixture, "ec.key"),
                                        .ciphersuites = list};
    char error[512] = "";
    struct tls_context *context = tls_context_create(&config, error, sizeof error);
    if (!context)
        fail_msg("%s", error);
    struct peer *peer = peer_create(fixture, context);
    peer_begin(peer);
    finish(peer, SIZE_MAX);
    int suite = peer->keys.suite;
    talk(peer);
    peer_destroy(peer);
    tls_context_destroy(context);
    return suite;
}

static void the_order_of_cipher_suites_is_the_servers(void **state)
{
    assert_int_equal(suite_with(*state, "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256"),
                     TLS_SUITE_CHACHA20_POLY1305_SHA256);
    assert_int_equal(suite_with(*state, "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256"),
                     TLS_SUITE_AES_128_GCM_SHA256);
    assert_int_equal(suite_with(*state, "TLS_CHACHA20_POLY1305_SHA256"), TLS_SUITE_CHACHA20_POLY1305_SHA256);
    assert_int_equal(suite_with(*state, "TLS_AES_128_GCM_SHA256"), TLS_SUITE_AES_128_GCM_SHA256);
}

static void other_cipher_suites_are_refused_by_name(void **state)
{
    static const struct {
        const char *list, *sentence;
    } cases[] = {{"TLS_AES_256_GCM_SHA384", "\"TLS_AES_256_GCM_SHA384\" is none of"},
                 {"TLS_AES_128_GCM_SHA256:AES128-SHA", "\"AES128-SHA\" is none of"},
                 {"TLS_AES_128_GCM_SHA256:TLS_AES_128_GCM_SHA256", "stands twice"},
                 {"TLS_AES_128_GCM_SHA256:", "\"\" is none of"},
                 {"tls_aes_128_gcm_sha256", "is none of"},
                 {"", "\"\" is none of"}};
    char error[512];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_false(tls_ciphersuites_check(cases[i].list, error, sizeof error));
        if (!strstr(error, cases[i].sentence))
            fail_msg("unhelpful: %s", error);
    }
}

static void data_that_comes_with_the_finished_is_left_to_the_caller(void **state)
{
    struct peer *peer = peer_create(*state, NULL);
    peer_begin(peer);
    SSL_do_handshake(peer->ssl);
    collect(peer);
    size_t consumed;
    assert_int_equal(tls_handshake_feed(peer->handshake, peer->wire, peer->wire_len, &consumed),
                     TLS_HANDSHAKE_MORE);
    assert_int_equal(consumed, peer->wire_len);
    drop(peer, consumed);
    deliver_output(peer);
    assert_int_equal(SSL_do_handshake(peer->ssl), 1);
    assert_int_equal(SSL_write(peer->ssl, "GET /ws", 7), 7);
    assert_int_equal(SSL_write(peer->ssl, "more", 4), 4);
    collect(peer);
    uint8_t late[3]; /* the last record has not come whole */
    peer->wire_len -= sizeof late;
    memcpy(late, peer->wire + peer->wire_len, sizeof late);
    assert_int_equal(tls_handshake_feed(peer->handshake, peer->wire, peer->wire_len, &consumed),
                     TLS_HANDSHAKE_DONE);
    assert_true(consumed < peer->wire_len);
    drop(peer, consumed);
    /* Done is done: nothing more is taken. */
    assert_int_equal(tls_handshake_feed(peer->handshake, peer->wire, peer->wire_len, &consumed),
                     TLS_HANDSHAKE_DONE);
    assert_int_equal(consumed, 0);
    assert_true(tls_handshake_take(peer->handshake, &peer->keys));
    deliver_output(peer);
    expect_from_client(peer, "GET /ws");
    memcpy(peer->wire + peer->wire_len, late, sizeof late);
    peer->wire_len += sizeof late;
    expect_from_client(peer, "more");
    talk(peer);
    peer_destroy(peer);
}

static void keys_are_taken_once(void **state)
{
    struct peer *peer = peer_create(*state, NULL);
    struct tls_handshake_result again;
    peer_begin(peer);
    finish(peer, SIZE_MAX);
    assert_false(tls_handshake_take(peer->handshake, &again));
    peer_destroy(peer);
}

static void an_old_client_hears_protocol_version(void **state)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_1_VERSION, TLS1_VERSION};
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        struct peer *peer = peer_create(*state, NULL);
        SSL_CTX_set_security_level(peer->ctx, 0);
        SSL_CTX_set_cipher_list(peer->ctx, "ALL:@SECLEVEL=0");
        SSL_CTX_set_min_proto_version(peer->ctx, versions[i]);
        SSL_CTX_set_max_proto_version(peer->ctx, versions[i]);
        peer_begin(peer);
        assert_int_equal(shake(peer, SIZE_MAX), TLS_HANDSHAKE_FAILED);
        assert_true(tls_handshake_old_version(peer->handshake));
        assert_string_equal(tls_handshake_error(peer->handshake),
                            "the client offers only versions below TLS 1.3");
        ERR_clear_error();
        assert_int_equal(SSL_do_handshake(peer->ssl), -1);
        assert_int_equal(ERR_GET_REASON(ERR_peek_last_error()), SSL_R_TLSV1_ALERT_PROTOCOL_VERSION);
        peer_destroy(peer);
    }
}

static void set_alpn(struct peer *peer, const char *protocols)
{
    assert_int_equal(
        SSL_CTX_set_alpn_protos(peer->ctx, (const unsigned char *)protocols, (unsigned)strlen(protocols)), 0);
}

static void http11_is_selected_among_others(void **state)
{
    struct peer *peer = peer_create(*state, NULL);
    set_alpn(peer, "\x02h2\x08http/1.1");
    peer_begin(peer);
    finish(peer, SIZE_MAX);
    const unsigned char *chosen;
    unsigned len;
    SSL_get0_alpn_selected(peer->ssl, &chosen, &len);
    assert_int_equal(len, 8);
    assert_memory_equal(chosen, "http/1.1", 8);
    peer_destroy(peer);
}

static void http2_alone_hears_no_application_protocol(void **state)
{
    struct peer *peer = peer_create(*state, NULL);
    set_alpn(peer, "\x02h2");
    peer_begin(peer);
    assert_int_equal(shake(peer, SIZE_MAX), TLS_HANDSHAKE_FAILED);
    assert_non_null(strstr(tls_handshake_error(peer->handshake), "no_application_protocol"));
    peer_destroy(peer);
}

static void a_client_that_distrusts_us_is_named_as_the_cause(void **state)
{
    struct peer *peer = peer_create(*state, NULL);
    SSL_CTX_set_verify(peer->ctx, SSL_VERIFY_PEER, NULL);
    peer_begin(peer);
    assert_int_equal(shake(peer, SIZE_MAX), TLS_HANDSHAKE_FAILED);
    assert_string_equal(tls_handshake_error(peer->handshake), "the client sent the alert unknown_ca");
    peer_destroy(peer);
}

static void refuse(struct fixture *fixture, const void *data, size_t len, const char *sentence,
                   enum tls_alert alert)
{
    struct tls_handshake *handshake = tls_handshake_create(fixture->context, fixture->crypto);
    assert_non_null(handshake);
    size_t consumed, out_len;
    assert_int_equal(tls_handshake_feed(handshake, data, len, &consumed), TLS_HANDSHAKE_FAILED);
    if (!strstr(tls_handshake_error(handshake), sentence))
        fail_msg("unexpected: %s", tls_handshake_error(handshake));
    assert_false(tls_handshake_old_version(handshake));
    const uint8_t *out = tls_handshake_output(handshake, &out_len);
    assert_int_equal(out_len, 7);
    assert_int_equal(out[0], TLS_CONTENT_ALERT);
    assert_int_equal(out[6], alert);
    /* Failed is failed. */
    assert_int_equal(tls_handshake_feed(handshake, data, len, &consumed), TLS_HANDSHAKE_FAILED);
    assert_int_equal(consumed, 0);
    tls_handshake_destroy(handshake);
}

static void plain_http_on_the_tls_port_fails_cleanly(void **state)
{
    static const char get[] = "GET /ws HTTP/1.1\r\nHost: localhost\r\n\r\n";
    refuse(*state, get, sizeof get - 1, "plain HTTP on the TLS port", TLS_ALERT_UNEXPECTED_MESSAGE);
}

static void garbage_fails_at_its_first_bytes(void **state)
{
    static const uint8_t noise[] = {0x80, 0x2e, 1, 3, 1};
    refuse(*state, noise, sizeof noise, "this is not TLS", TLS_ALERT_UNEXPECTED_MESSAGE);
    refuse(*state, noise, 1, "this is not TLS", TLS_ALERT_UNEXPECTED_MESSAGE);
    static const uint8_t huge[] = {TLS_CONTENT_HANDSHAKE, 3, 1, 0xff, 0xff};
    refuse(*state, huge, sizeof huge, "longer than allowed", TLS_ALERT_RECORD_OVERFLOW);
    static const uint8_t hello_of_nothing[] = {TLS_CONTENT_HANDSHAKE, 3, 1, 0, 4, 1, 0, 0, 0};
    refuse(*state, hello_of_nothing, sizeof hello_of_nothing, "length too short", TLS_ALERT_DECODE_ERROR);
    static const uint8_t data_first[] = {TLS_CONTENT_APPLICATION_DATA, 3, 3, 0, 1, 0};
    refuse(*state, data_first, sizeof data_first, "", TLS_ALERT_UNEXPECTED_MESSAGE);
}

static void garbage_after_the_first_flight_gets_an_encrypted_alert(void **state)
{
    struct peer *peer = peer_create(*state, NULL);
    peer_begin(peer);
    SSL_do_handshake(peer->ssl);
    collect(peer);
    size_t consumed;
    assert_int_equal(tls_handshake_feed(peer->handshake, peer->wire, peer->wire_len, &consumed),
                     TLS_HANDSHAKE_MORE);
    deliver_output(peer);
    static const uint8_t noise[] = {99, 3, 3, 0, 1, 0};
    assert_int_equal(tls_handshake_feed(peer->handshake, noise, sizeof noise, &consumed),
                     TLS_HANDSHAKE_FAILED);
    size_t len;
    const uint8_t *out = tls_handshake_output(peer->handshake, &len);
    assert_true(len > 7);
    assert_int_equal(out[0], TLS_CONTENT_APPLICATION_DATA);
    deliver_output(peer);
    SSL_do_handshake(peer->ssl);
    char byte;
    ERR_clear_error();
    assert_true(SSL_read(peer->ssl, &byte, 1) <= 0);
    assert_int_equal(ERR_GET_REASON(ERR_peek_last_error()), SSL_R_SSLV3_ALERT_UNEXPECTED_MESSAGE);
    peer_destroy(peer);
}

static void a_wrong_finished_fails(void **state)
{
    struct peer *peer = peer_create(*state, NULL);
    peer_begin(peer);
    SSL_do_handshake(peer->ssl);
    collect(peer);
    size_t consumed;
    assert_int_equal(tls_handshake_feed(peer->handshake, peer->wire, peer->wire_len, &consumed),
                     TLS_HANDSHAKE_MORE);
    drop(peer, consumed);
    deliver_output(peer);
    assert_int_equal(SSL_do_handshake(peer->ssl), 1);
    collect(peer);
    peer->wire[peer->wire_len - 1] ^= 1;
    assert_int_equal(tls_handshake_feed(peer->handshake, peer->wire, peer->wire_len, &consumed),
                     TLS_HANDSHAKE_FAILED);
    assert_non_null(strstr(tls_handshake_error(peer->handshake), "bad_record_mac"));
    peer_destroy(peer);
}

static void a_handshake_beyond_sixteen_kilobytes_is_refused_by_its_headers(void **state)
{
    struct fixture *fixture = *state;
    /* A ClientHello that claims 24 KB, in two records. */
    uint8_t *data = calloc(1, 5 + 12000 + 5);
    assert_non_null(data);
    const uint8_t first[] = {TLS_CONTENT_HANDSHAKE, 3, 1, 12000 >> 8, 12000 & 255, 1, 0, 24000 >> 8,
                             24000 & 255,           3, 3};
    memcpy(data, first, sizeof first);
    memcpy(data + 5 + 12000, first, 5);
    refuse(fixture, data, 5 + 12000 + 5, "longer than 16384 bytes", TLS_ALERT_ILLEGAL_PARAMETER);
    free(data);
}

static void half_a_handshake_can_be_destroyed(void **state)
{
    struct peer *peer = peer_create(*state, NULL);
    peer_begin(peer);
    SSL_do_handshake(peer->ssl);
    collect(peer);
    size_t consumed;
    assert_int_equal(tls_handshake_feed(peer->handshake, peer->wire, peer->wire_len, &consumed),
                     TLS_HANDSHAKE_MORE);
    peer_destroy(peer);
    peer = peer_create(*state, NULL);
    peer_begin(peer);
    peer_destroy(peer);
}

static void the_client_renews_its_key_without_asking_for_ours(void **state)
{
    struct peer *peer = peer_create(*state, NULL);
    peer_begin(peer);
    finish(peer, SIZE_MAX);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(SSL_key_update(peer->ssl, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
        assert_int_equal(SSL_do_handshake(peer->ssl), 1);
        expect_event(peer, TLS_EVENT_PEER_UPDATED);
        assert_int_equal(tls_direction_seq(&peer->keys.read), 0);
        talk(peer);
    }
    peer_destroy(peer);
}

static void the_client_asks_for_our_key_update_and_gets_it(void **state)
{
    struct peer *peer = peer_create(*state, NULL);
    SSL_CTX_set_ciphersuites(peer->ctx, "TLS_CHACHA20_POLY1305_SHA256");
    peer_begin(peer);
    finish(peer, SIZE_MAX);
    assert_int_equal(SSL_key_update(peer->ssl, SSL_KEY_UPDATE_REQUESTED), 1);
    assert_int_equal(SSL_do_handshake(peer->ssl), 1);
    expect_event(peer, TLS_EVENT_PEER_UPDATED_REPLY);
    uint8_t record[64];
    size_t bytes = tls_post_key_update(peer->crypto, &peer->keys.write, peer->keys.suite, false, record);
    assert_int_equal(bytes, 5 + TLS_RECORD_OVERHEAD);
    BIO_write(peer->to_client, record, (int)bytes);
    assert_int_equal(tls_direction_seq(&peer->keys.write), 0);
    talk(peer);
    peer_destroy(peer);
}

static void our_key_update_is_followed_and_answered(void **state)
{
    struct peer *peer = peer_create(*state, NULL);
    peer_begin(peer);
    finish(peer, SIZE_MAX);
    uint8_t record[64];
    size_t bytes = tls_post_key_update(peer->crypto, &peer->keys.write, peer->keys.suite, true, record);
    assert_int_equal(bytes, 5 + TLS_RECORD_OVERHEAD);
    BIO_write(peer->to_client, record, (int)bytes);
    server_says(peer, "under the new key");
    assert_int_equal(SSL_write(peer->ssl, "answer", 6), 6);
    expect_event(peer, TLS_EVENT_PEER_UPDATED);
    expect_from_client(peer, "answer");
    talk(peer);
    peer_destroy(peer);
}

static void close_notify_goes_both_ways(void **state)
{
    struct peer *peer = peer_create(*state, NULL);
    peer_begin(peer);
    finish(peer, SIZE_MAX);
    talk(peer);
    assert_int_equal(SSL_shutdown(peer->ssl), 0);
    expect_event(peer, TLS_EVENT_CLOSE_NOTIFY);
    uint8_t record[64];
    size_t bytes =
        tls_post_alert(peer->crypto, &peer->keys.write, peer->keys.suite, TLS_ALERT_CLOSE_NOTIFY, record);
    BIO_write(peer->to_client, record, (int)bytes);
    char byte;
    assert_int_equal(SSL_read(peer->ssl, &byte, 1), 0);
    assert_int_equal(SSL_get_error(peer->ssl, 0), SSL_ERROR_ZERO_RETURN);
    peer_destroy(peer);
}

static void our_fatal_alert_is_understood(void **state)
{
    struct peer *peer = peer_create(*state, NULL);
    peer_begin(peer);
    finish(peer, SIZE_MAX);
    uint8_t record[64];
    size_t bytes =
        tls_post_alert(peer->crypto, &peer->keys.write, peer->keys.suite, TLS_ALERT_BAD_RECORD_MAC, record);
    BIO_write(peer->to_client, record, (int)bytes);
    char byte;
    ERR_clear_error();
    assert_true(SSL_read(peer->ssl, &byte, 1) <= 0);
    assert_int_equal(ERR_GET_REASON(ERR_peek_last_error()), SSL_R_SSLV3_ALERT_BAD_RECORD_MAC);
    peer_destroy(peer);
}

static void full_size_records_go_both_ways(void **state)
{
    enum { BYTES = TLS_RECORD_PLAINTEXT_MAX };
    struct peer *peer = peer_create(*state, NULL);
    peer_begin(peer);
    finish(peer, SIZE_MAX);
    uint8_t *data = malloc(BYTES), *record = malloc(BYTES + TLS_RECORD_OVERHEAD), *got = malloc(BYTES);
    assert_true(data && record && got);
    for (size_t i = 0; i < BYTES; i++)
        data[i] = (uint8_t)(i * 7);
    struct tls_slice parts[] = {{data, 1}, {data + 1, 4999}, {NULL, 0}, {data + 5000, BYTES - 5000}};
    size_t bytes = tls_record_seal(peer->crypto, &peer->keys.write, peer->keys.suite,
                                   TLS_CONTENT_APPLICATION_DATA, parts, 4, record);
    assert_int_equal(bytes, BYTES + TLS_RECORD_OVERHEAD);
    BIO_write(peer->to_client, record, (int)bytes);
    assert_int_equal(SSL_read(peer->ssl, got, BYTES), BYTES);
    assert_memory_equal(got, data, BYTES);
    assert_int_equal(SSL_write(peer->ssl, data, BYTES), BYTES);
    collect(peer);
    struct tls_opened opened;
    assert_int_equal(next_record(peer, &opened).event, TLS_EVENT_DATA);
    assert_int_equal(opened.content_bytes, BYTES);
    assert_memory_equal(opened.content, data, BYTES);
    free(data);
    free(record);
    free(got);
    peer_destroy(peer);
}

static void padding_of_the_client_is_stripped(void **state)
{
    struct peer *peer = peer_create(*state, NULL);
    SSL_CTX_set_block_padding(peer->ctx, 512);
    peer_begin(peer);
    finish(peer, SIZE_MAX);
    talk(peer);
    peer_destroy(peer);
}

static void expect_refusal(struct fixture *fixture, const char *certificate, const char *key,
                           const char *named, const char *sentence)
{
    struct tls_context_config config = {.certificate_file =
                                            certificate ? path_of(fixture, certificate) : NULL,
                                        .private_key_file = key ? path_of(fixture, key) : NULL};
    char error[512] = "";
    assert_null(tls_context_create(&config, error, sizeof error));
    assert_int_equal(ERR_peek_error(), 0);
    if (!strstr(error, sentence) || (named && !strstr(error, path_of(fixture, named))))
        fail_msg("unhelpful: %s", error);
}

static void bad_files_are_named_with_what_is_wrong(void **state)
{
    struct fixture *fixture = *state;
    expect_refusal(fixture, "missing.crt", "ec.key", "missing.crt", "No such file");
    expect_refusal(fixture, "ec.crt", "missing.key", "missing.key", "No such file");
    expect_refusal(fixture, "text", "ec.key", "text", "no usable PEM certificate");
    expect_refusal(fixture, "ec.crt", "text", "text", "no usable PEM private key");
    expect_refusal(fixture, "ec.key", "ec.key", "ec.key", "no usable PEM certificate");
    expect_refusal(fixture, NULL, "ec.key", NULL, "no certificate file is named");
    expect_refusal(fixture, "ec.crt", NULL, NULL, "no private key file is named");
    expect_refusal(fixture, ".", "ec.key", NULL, "certificate");
}

static void a_key_of_another_certificate_is_refused(void **state)
{
    expect_refusal(*state, "ec.crt", "other.key", "other.key", "does not belong to certificate");
    expect_refusal(*state, "ec.crt", "rsa.key", "rsa.key", "does not belong to certificate");
}

static void an_encrypted_key_is_refused_without_asking_the_terminal(void **state)
{
    expect_refusal(*state, "ec.crt", "locked.key", "locked.key", "is encrypted");
    expect_refusal(*state, "ec.crt", "legacy.key", "legacy.key", "is encrypted");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_keys_go_on_where_openssl_stopped),
        cmocka_unit_test(chacha20_is_spoken_with_those_who_offer_nothing_else),
        cmocka_unit_test(aes_256_alone_is_refused),
        cmocka_unit_test(an_rsa_certificate_works_too),
        cmocka_unit_test(single_bytes_make_the_same_handshake),
        cmocka_unit_test(a_retry_for_another_group_succeeds),
        cmocka_unit_test(foreign_groups_only_are_refused),
        cmocka_unit_test(a_ticket_resumes_and_the_count_stays_right),
        cmocka_unit_test(a_ticket_resumes_elsewhere_only_when_its_keys_are_shared),
        cmocka_unit_test(a_ticket_outlives_one_rotation_and_not_two),
        cmocka_unit_test(without_keys_there_are_no_tickets_and_nobody_resumes),
        cmocka_unit_test(resumption_always_exchanges_keys),
        cmocka_unit_test(the_named_host_gets_its_certificate),
        cmocka_unit_test(names_that_no_host_can_have_are_refused),
        cmocka_unit_test(the_order_of_cipher_suites_is_the_servers),
        cmocka_unit_test(other_cipher_suites_are_refused_by_name),
        cmocka_unit_test(data_that_comes_with_the_finished_is_left_to_the_caller),
        cmocka_unit_test(keys_are_taken_once),
        cmocka_unit_test(an_old_client_hears_protocol_version),
        cmocka_unit_test(http11_is_selected_among_others),
        cmocka_unit_test(http2_alone_hears_no_application_protocol),
        cmocka_unit_test(a_client_that_distrusts_us_is_named_as_the_cause),
        cmocka_unit_test(plain_http_on_the_tls_port_fails_cleanly),
        cmocka_unit_test(garbage_fails_at_its_first_bytes),
        cmocka_unit_test(garbage_after_the_first_flight_gets_an_encrypted_alert),
        cmocka_unit_test(a_wrong_finished_fails),
        cmocka_unit_test(a_handshake_beyond_sixteen_kilobytes_is_refused_by_its_headers),
        cmocka_unit_test(half_a_handshake_can_be_destroyed),
        cmocka_unit_test(the_client_renews_its_key_without_asking_for_ours),
        cmocka_unit_test(the_client_asks_for_our_key_update_and_gets_it),
        cmocka_unit_test(our_key_update_is_followed_and_answered),
        cmocka_unit_test(close_notify_goes_both_ways),
        cmocka_unit_test(our_fatal_alert_is_understood),
        cmocka_unit_test(full_size_records_go_both_ways),
        cmocka_unit_test(padding_of_the_client_is_stripped),
        cmocka_unit_test(bad_files_are_named_with_what_is_wrong),
        cmocka_unit_test(a_key_of_another_certificate_is_refused),
        cmocka_unit_test(an_encrypted_key_is_refused_without_asking_the_terminal),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
