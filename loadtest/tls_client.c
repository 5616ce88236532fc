/* Client handshakes by OpenSSL, and post-handshake messages as a client sees them. */
#include "loadtest/tls_client_internal.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    HANDSHAKE_NEW_SESSION_TICKET = 4,
    HANDSHAKE_KEY_UPDATE = 24,
    HANDSHAKE_HEADER_BYTES = 4,
    TICKET_BYTES_MAX = 1 << 17, /* a ticket is at most 2^16 − 1 bytes, its nonce and extensions little more */
};

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* `line` is "<label> <client random> <secret>"; false when it has another label or length. */
static bool keylog_secret(const char *line, const char *label, uint8_t secret[TLS_SECRET_BYTES])
{
    size_t label_len = strlen(label);
    if (strncmp(line, label, label_len) != 0 || line[label_len] != ' ')
        return false;
    const char *hex = strrchr(line, ' ') + 1;
    if (strlen(hex) != (size_t)2 * TLS_SECRET_BYTES)
        return false;
    for (size_t i = 0; i < TLS_SECRET_BYTES; i++) {
        int high = hex_digit(hex[2 * i]), low = hex_digit(hex[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        secret[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static void on_keylog(const SSL *ssl, const char *line)
{
    struct tls_client *client = SSL_get_app_data(ssl);
    if (keylog_secret(line, "SERVER_TRAFFIC_SECRET_0", client->read_secret))
        client->has_read = true;
    else if (keylog_secret(line, "CLIENT_TRAFFIC_SECRET_0", client->write_secret))
        client->has_write = true;
}

/* NULL: OpenSSL's own words will do. */
static const char *plain_words(unsigned long code)
{
    if (ERR_GET_LIB(code) != ERR_LIB_SSL)
        return NULL;
    switch (ERR_GET_REASON(code)) {
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
        return "the server does not speak TLS 1.3, and this program speaks nothing older";
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
        return "the server refused the handshake; it was offered TLS 1.3 with AES-128-GCM or "
               "ChaCha20-Poly1305";
    default:
        return NULL;
    }
}

void tls_client_sentence(char *out, size_t size)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = plain_words(code);
    if (!reason)
        reason = code ? ERR_reason_error_string(code) : NULL;
    snprintf(out, size, "%s", reason ? reason : "unknown TLS error");
    ERR_clear_error();
}

struct tls_client_context *tls_client_context_create(const struct tls_client_config *config, char *error,
                                                     size_t error_size)
{
    struct tls_client_context *context = calloc(1, sizeof(*context));
    char reason[100];

    if (!context) {
        snprintf(error, error_size, "out of memory");
        return NULL;
    }
    snprintf(context->host, sizeof(context->host), "%s", config->host);
    context->host_is_ip = config->host_is_ip;
    SSL_CTX *ssl_context = context->ssl_context = SSL_CTX_new(TLS_client_method());
    if (!ssl_context || !SSL_CTX_set_min_proto_version(ssl_context, TLS1_3_VERSION) ||
        !SSL_CTX_set_ciphersuites(ssl_context, "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256"))
        goto fail;
    SSL_CTX_set_session_cache_mode(ssl_context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(ssl_context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_keylog_callback(ssl_context, on_keylog);
    if (config->insecure)
        return context;
    SSL_CTX_set_verify(ssl_context, SSL_VERIFY_PEER, NULL);
    if (config->ca_file ? !SSL_CTX_load_verify_locations(ssl_context, config->ca_file, NULL)
                        : !SSL_CTX_set_default_verify_paths(ssl_context)) {
        tls_client_sentence(reason, sizeof(reason));
        snprintf(error, error_size, "--cafile: %s: %s",
                 config->ca_file ? config->ca_file : "system certificates", reason);
        tls_client_context_destroy(context);
        return NULL;
    }
    return context;
fail:
    tls_client_sentence(error, error_size);
    tls_client_context_destroy(context);
    return NULL;
}

void tls_client_context_destroy(struct tls_client_context *context)
{
    if (!context)
        return;
    SSL_SESSION_free(context->session);
    SSL_CTX_free(context->ssl_context);
    free(context);
}

bool tls_client_set_host(SSL *ssl, const struct tls_client_context *context)
{
    if (context->host_is_ip)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), context->host) == 1;
    return SSL_set_tlsext_host_name(ssl, context->host) == 1 && SSL_set1_host(ssl, context->host) == 1;
}

/* A copy, as an SSL object that is freed without ceremony spoils the session that it had. */
static bool set_session(SSL *ssl, const struct tls_client_context *context)
{
    if (!context->session)
        return true;
    SSL_SESSION *copy = SSL_SESSION_dup(context->session);
    bool done = copy && SSL_set_session(ssl, copy) == 1;
    SSL_SESSION_free(copy);
    return done;
}

struct tls_client *tls_client_create(struct tls_client_context *context)
{
    struct tls_client *client = calloc(1, sizeof(*client));
    if (!client)
        return NULL;
    client->ssl = SSL_new(context->ssl_context);
    client->in = BIO_new(BIO_s_mem());
    client->out = BIO_new(BIO_s_mem());
    if (!client->ssl || !client->in || !client->out) {
        BIO_free(client->in);
        BIO_free(client->out);
        SSL_free(client->ssl);
        free(client);
        return NULL;
    }
    BIO_set_mem_eof_return(client->in, -1); /* empty means "later", not end of file */
    SSL_set_bio(client->ssl, client->in, client->out);
    SSL_set_app_data(client->ssl, client);
    SSL_set_connect_state(client->ssl);
    if (!tls_client_set_host(client->ssl, context) || !set_session(client->ssl, context)) {
        tls_client_destroy(client);
        return NULL;
    }
    return client;
}

void tls_client_destroy(struct tls_client *client)
{
    if (!client)
        return;
    SSL_free(client->ssl);
    free(client->taken);
    OPENSSL_cleanse(client->read_secret, sizeof(client->read_secret));
    OPENSSL_cleanse(client->write_secret, sizeof(client->write_secret));
    free(client);
}

static enum tls_client_status step(struct tls_client *client)
{
    ERR_clear_error();
    int result = SSL_do_handshake(client->ssl);
    if (result == 1)
        return TLS_CLIENT_DONE;
    if (SSL_get_error(client->ssl, result) == SSL_ERROR_WANT_READ)
        return TLS_CLIENT_MORE;
    long verdict = SSL_get_verify_result(client->ssl);
    client->refused_certificate = verdict != X509_V_OK && SSL_get_verify_mode(client->ssl) != SSL_VERIFY_NONE;
    if (client->refused_certificate)
        snprintf(client->error, sizeof(client->error), "%s", X509_verify_cert_error_string(verdict));
    else
        tls_client_sentence(client->error, sizeof(client->error));
    return TLS_CLIENT_FAILED;
}

enum tls_client_status tls_client_feed(struct tls_client *client, const uint8_t *data, size_t len,
                                       size_t *consumed)
{
    struct tls_opened record;
    enum tls_client_status status = TLS_CLIENT_MORE;

    *consumed = 0;
    if (len == 0)
        return step(client);
    while (status == TLS_CLIENT_MORE) {
        enum parse_result result =
            tls_record_peek(data + *consumed, len - *consumed, TLS_RECORD_CIPHERTEXT_MAX, &record);
        if (result == PARSE_BAD) {
            snprintf(client->error, sizeof(client->error), "not a TLS record");
            return TLS_CLIENT_FAILED;
        }
        if (result == PARSE_MORE || record.record_bytes > len - *consumed)
            return TLS_CLIENT_MORE;
        if (BIO_write(client->in, data + *consumed, (int)record.record_bytes) != (int)record.record_bytes) {
            snprintf(client->error, sizeof(client->error), "out of memory");
            return TLS_CLIENT_FAILED;
        }
        *consumed += record.record_bytes;
        status = step(client);
    }
    return status;
}

const uint8_t *tls_client_output(struct tls_client *client, size_t *len)
{
    char *data = NULL;
    long pending = BIO_get_mem_data(client->out, &data);

    free(client->taken);
    client->taken = NULL;
    *len = 0;
    if (pending <= 0 || !(client->taken = malloc((size_t)pending)))
        return NULL;
    *len = (size_t)pending;
    memcpy(client->taken, data, *len);
    (void)BIO_reset(client->out);
    return (const uint8_t *)client->taken;
}

bool tls_client_take(struct tls_client *client, struct tls_crypto *crypto, enum tls_suite *suite,
                     struct tls_direction *read_dir, struct tls_direction *write_dir)
{
    const SSL_CIPHER *cipher = SSL_get_current_cipher(client->ssl);
    if (!cipher || !client->has_read || !client->has_write)
        return false;
    *suite = (enum tls_suite)SSL_CIPHER_get_protocol_id(cipher);
    return tls_direction_init(crypto, read_dir, *suite, client->read_secret, 0) &&
           tls_direction_init(crypto, write_dir, *suite, client->write_secret, 0);
}

bool tls_client_resumed(const struct tls_client *client)
{
    return SSL_session_reused(client->ssl) == 1;
}

const char *tls_client_error(const struct tls_client *client)
{
    return client->error;
}

bool tls_client_refused_certificate(const struct tls_client *client)
{
    return client->refused_certificate;
}

static struct tls_post_result post_error(enum tls_alert alert)
{
    return (struct tls_post_result){.event = TLS_EVENT_ERROR, .alert = alert};
}

/* A KeyUpdate is whole in post->head: the shared code checks and applies it. */
static struct tls_post_result key_update(struct tls_crypto *crypto, struct tls_direction *read_dir,
                                         enum tls_suite suite, struct tls_client_post *post)
{
    struct tls_fragment none = {0};
    struct tls_opened message = {
        .content = post->head, .content_bytes = sizeof(post->head), .type = TLS_CONTENT_HANDSHAKE};
    struct tls_post_result result = tls_post_record(crypto, read_dir, suite, &none, &message);
    post->have = 0;
    return result;
}

struct tls_post_result tls_client_post_record(struct tls_crypto *crypto, struct tls_direction *read_dir,
                                              enum tls_suite suite, struct tls_client_post *post,
                                              const struct tls_opened *opened, uint32_t *tickets)
{
    const uint8_t *data = opened->content;
    size_t len = opened->content_bytes;

    if (opened->type != TLS_CONTENT_HANDSHAKE) {
        struct tls_fragment none = {0};
        if (post->skip > 0 ||
            post->have > 0) /* RFC 8446 §5.1: nothing comes between the records of one message */
            return post_error(TLS_ALERT_UNEXPECTED_MESSAGE);
        return tls_post_record(crypto, read_dir, suite, &none, opened);
    }
    if (len == 0)
        return post_error(TLS_ALERT_UNEXPECTED_MESSAGE);
    while (len > 0) {
        if (post->skip > 0) {
            size_t skipped = post->skip < len ? post->skip : len;
            post->skip -= (uint32_t)skipped;
            data += skipped;
            len -= skipped;
            continue;
        }
        post->head[post->have++] = *data++;
        len--;
        if (post->have < HANDSHAKE_HEADER_BYTES)
            continue;
        uint32_t body = (uint32_t)post->head[1] << 16 | (uint32_t)post->head[2] << 8 | post->head[3];
        if (post->head[0] == HANDSHAKE_NEW_SESSION_TICKET && body <= TICKET_BYTES_MAX) {
            (*tickets)++;
            post->skip = body;
            post->have = 0;
        } else if (post->head[0] != HANDSHAKE_KEY_UPDATE || body != 1) {
            return post_error(TLS_ALERT_UNEXPECTED_MESSAGE);
        } else if (post->have == sizeof(post->head)) {
            if (len > 0) /* RFC 8446 §5.1: a key change ends its record */
                return post_error(TLS_ALERT_UNEXPECTED_MESSAGE);
            return key_update(crypto, read_dir, suite, post);
        }
    }
    return (struct tls_post_result){.event = TLS_EVENT_NONE};
}
