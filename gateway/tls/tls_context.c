/* Builds an SSL_CTX for a TLS 1.3 server that gives its secrets away after the handshake. */
#include "gateway/tls/tls_context.h"

#include "gateway/base/assert.h"
#include "gateway/tls/tls_internal.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tls_context {
    SSL_CTX *ssl;
    BIO_METHOD *bio_method;
    _Atomic unsigned references; /* the creator's, and one of every handshake that has begun */
};

enum { TICKET_KEYS_BYTES = 80 }; /* SSL_CTX_set_tlsext_ticket_keys: name, HMAC key, AES key */

static __attribute__((format(printf, 3, 4))) bool fail(char *error, size_t error_size, const char *format,
                                                       ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error, error_size, format, args);
    va_end(args);
    ERR_clear_error();
    return false;
}

/* The last reason on OpenSSL's queue is the most specific one that still says something to an operator. */
static const char *openssl_reason(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    return reason ? reason : "unknown error";
}

/* Never asks the terminal; remembers that a passphrase would have been needed. */
static int refuse_passphrase(char *buffer, int size, int writing, void *encrypted)
{
    (void)writing;
    if (size > 0)
        buffer[0] = '\0';
    *(bool *)encrypted = true;
    return -1;
}

/* RFC 7301 §3.2: when the client names protocols and none is ours, the handshake ends with
 * no_application_protocol. */
static int select_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
                       unsigned in_len, void *arg)
{
    static const unsigned char http11[] = "http/1.1";
    const size_t http11_len = sizeof http11 - 1;
    (void)ssl;
    (void)arg;
    for (size_t at = 0; at < in_len;) {
        size_t len = in[at];
        if (len > in_len - at - 1)
            break;
        if (len == http11_len && memcmp(in + at + 1, http11, len) == 0) {
            *out = in + at + 1;
            *out_len = (unsigned char)len;
            return SSL_TLSEXT_ERR_OK;
        }
        at += 1 + len;
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static bool set_policy(SSL_CTX *ssl)
{
    SSL_CTX_set_options(ssl,
                        SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(ssl, 0); /* nothing may stay inside OpenSSL when the keys leave it */
    SSL_CTX_set_verify(ssl, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF); /* tickets hold all that resumption needs */
    SSL_CTX_set_alpn_select_cb(ssl, select_alpn, NULL);
    SSL_CTX_set_keylog_callback(ssl, tls_handshake_keylog);
    /* 32-byte secrets only; AES first, as it costs us half of what ChaCha20 does. */
    return SSL_CTX_set_min_proto_version(ssl, TLS1_3_VERSION) == 1 &&
           SSL_CTX_set_max_proto_version(ssl, TLS1_3_VERSION) == 1 &&
           SSL_CTX_set_ciphersuites(ssl, "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256") == 1 &&
           SSL_CTX_set1_groups_list(ssl, "X25519:P-256") == 1 && SSL_CTX_set_num_tickets(ssl, 1) == 1 &&
           SSL_CTX_set_max_early_data(ssl, 0) == 1 && SSL_CTX_set_recv_max_early_data(ssl, 0) == 1 &&
           SSL_CTX_set_session_id_context(ssl, (const unsigned char *)"pushgate", 8) == 1;
}

static bool readable(const char *what, const char *path, char *error, size_t error_size)
{
    if (!path || !*path)
        return fail(error, error_size, "no %s file is named", what);
    FILE *file = fopen(path, "re");
    if (!file)
        return fail(error, error_size, "%s %s: %s", what, path, strerror(errno));
    fclose(file);
    return true;
}

static bool load_files(SSL_CTX *ssl, const struct tls_context_config *config, char *error, size_t error_size)
{
    const char *certificate = config->certificate_file;
    const char *key = config->private_key_file;
    if (!readable("certificate", certificate, error, error_size) ||
        !readable("private key", key, error, error_size))
        return false;

    bool encrypted = false;
    SSL_CTX_set_default_passwd_cb(ssl, refuse_passphrase);
    SSL_CTX_set_default_passwd_cb_userdata(ssl, &encrypted);
    ERR_clear_error();
    bool have_certificate = SSL_CTX_use_certificate_chain_file(ssl, certificate) == 1;
    if (!have_certificate) {
        if (encrypted)
            fail(error, error_size, "certificate %s is encrypted", certificate);
        else
            fail(error, error_size, "certificate %s: no usable PEM certificate (%s)", certificate,
                 openssl_reason());
    }
    bool have_key = have_certificate && SSL_CTX_use_PrivateKey_file(ssl, key, SSL_FILETYPE_PEM) == 1;
    if (have_certificate && !have_key) {
        int reason = ERR_GET_REASON(ERR_peek_last_error());
        if (encrypted)
            fail(error, error_size,
                 "private key %s is encrypted: write one without a passphrase, as with openssl pkey -in ... "
                 "-out ...",
                 key);
        else if (reason == X509_R_KEY_VALUES_MISMATCH || reason == X509_R_KEY_TYPE_MISMATCH)
            fail(error, error_size, "private key %s does not belong to certificate %s", key, certificate);
        else
            fail(error, error_size, "private key %s: no usable PEM private key (%s)", key, openssl_reason());
    }
    /* The flag dies with this function. */
    SSL_CTX_set_default_passwd_cb_userdata(ssl, NULL);
    SSL_CTX_set_default_passwd_cb(ssl, NULL);
    if (!have_key)
        return false;
    if (SSL_CTX_check_private_key(ssl) != 1)
        return fail(error, error_size, "private key %s does not belong to certificate %s", key, certificate);
    return true;
}

struct tls_context *tls_context_create(const struct tls_context_config *config, char *error,
                                       size_t error_size)
{
    struct tls_context *context = calloc(1, sizeof *context);
    if (!context) {
        fail(error, error_size, "out of memory");
        return NULL;
    }
    atomic_init(&context->references, 1);
    context->ssl = SSL_CTX_new(TLS_server_method());
    context->bio_method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "whole TLS records");
    if (!context->ssl || !context->bio_method || !tls_handshake_bio_setup(context->bio_method) ||
        !set_policy(context->ssl)) {
        fail(error, error_size, "OpenSSL cannot do TLS 1.3 as needed: %s", openssl_reason());
        goto out;
    }
    if (!load_files(context->ssl, config, error, error_size))
        goto out;
    return context;
out:
    tls_context_destroy(context);
    return NULL;
}

bool tls_context_share_tickets(struct tls_context *context, struct tls_context *from)
{
    unsigned char keys[TICKET_KEYS_BYTES];
    bool done = SSL_CTX_get_tlsext_ticket_keys(from->ssl, keys, sizeof keys) == 1 &&
                SSL_CTX_set_tlsext_ticket_keys(context->ssl, keys, sizeof keys) == 1;
    OPENSSL_cleanse(keys, sizeof keys);
    return done;
}

void tls_context_destroy(struct tls_context *context)
{
    if (!context || atomic_fetch_sub_explicit(&context->references, 1, memory_order_acq_rel) != 1)
        return;
    SSL_CTX_free(context->ssl);
    BIO_meth_free(context->bio_method);
    free(context);
}

SSL_CTX *tls_context_ssl(const struct tls_context *context)
{
    return context->ssl;
}

const BIO_METHOD *tls_context_bio_method(const struct tls_context *context)
{
    return context->bio_method;
}

struct tls_context *tls_context_retain(struct tls_context *context)
{
    unsigned before = atomic_fetch_add_explicit(&context->references, 1, memory_order_relaxed);
    PG_ASSERT(before > 0);
    return context;
}
