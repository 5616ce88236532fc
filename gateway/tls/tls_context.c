/* Builds an SSL_CTX for a TLS 1.3 server that gives its secrets away after the handshake. */
#include "gateway/tls/tls_context.h"

#include "gateway/base/assert.h"
#include "gateway/tls/tls_internal.h"

#include "gateway/base/log.h"
#include "proto/tls_record.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    HOST_BYTES_MAX = 253, /* RFC 1035 */
    LABEL_BYTES_MAX = 63,
    TICKET_LIFETIME_S = 12 * 3600,
    RENEW_TICKET = 2, /* SSL_CTX_set_tlsext_ticket_key_evp_cb(3) */
};

struct host_ssl {
    char name[HOST_BYTES_MAX + 1]; /* small letters; "*.example.org" as it is written */
    SSL_CTX *ssl;
};

struct tls_context {
    SSL_CTX *ssl;           /* of the default certificate; begins every handshake */
    struct host_ssl *hosts; /* sorted by name */
    size_t host_count;
    BIO_METHOD *bio_method;
    EVP_CIPHER *ticket_cipher;
    struct tls_ticket_keys *ticket_keys; /* NULL: none */
    _Atomic unsigned references;         /* the creator's, and one of every handshake that has begun */
};

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

/* Hosts by name (RFC 6066 §3)
 * ---------------------------------------------------------------------------------------------------------
 */

/* One label; *at moves behind it and its dot. */
static bool take_label(const char **at)
{
    size_t len = strcspn(*at, ".");
    if (len == 0 || len > LABEL_BYTES_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)(*at)[i];
        if (c >= 0x80 || !(isalnum(c) || c == '-' || c == '_'))
            return false;
    }
    *at += len;
    if (**at == '.' && (*at)[1])
        (*at)++;
    return true;
}

static bool host_name_good(const char *name)
{
    if (strlen(name) > HOST_BYTES_MAX)
        return false;
    bool wildcard = strncmp(name, "*.", 2) == 0;
    const char *at = wildcard ? name + 2 : name;
    do {
        if (!take_label(&at))
            return false;
    } while (*at && *at != '.');
    return !*at;
}

static int compare_hosts(const void *a, const void *b)
{
    return strcmp(((const struct host_ssl *)a)->name, ((const struct host_ssl *)b)->name);
}

static SSL_CTX *look_up(const struct tls_context *context, const char *name)
{
    size_t low = 0, high = context->host_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, context->hosts[middle].name);
        if (order == 0)
            return context->hosts[middle].ssl;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* The name itself, else its parent's wildcard; NULL: neither. */
static SSL_CTX *find_host(const struct tls_context *context, const char *asked)
{
    char name[HOST_BYTES_MAX + 1];
    size_t len = strlen(asked);
    if (len == 0 || len > HOST_BYTES_MAX)
        return NULL;
    for (size_t i = 0; i <= len; i++)
        name[i] = (char)tolower((unsigned char)asked[i]);
    SSL_CTX *found = look_up(context, name);
    char *dot = strchr(name, '.');
    if (found || !dot || dot == name)
        return found;
    *--dot = '*'; /* takes the place of the first label's last byte */
    return look_up(context, dot);
}

static int select_host(SSL *ssl, int *alert, void *arg)
{
    const struct tls_context *context = arg;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    (void)alert;
    SSL_CTX *found = name ? find_host(context, name) : NULL;
    if (!found)
        return SSL_TLSEXT_ERR_NOACK; /* the default certificate; the client judges it */
    return SSL_set_SSL_CTX(ssl, found) == found ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

bool tls_hosts_check(const struct tls_host *hosts, size_t count, char *error, size_t error_size)
{
    for (size_t i = 0; i < count; i++) {
        if (!host_name_good(hosts[i].name))
            return fail(error, error_size,
                        "[tls %s]: this is not the name of a host; write example.org, or *.example.org for "
                        "every name with one label more",
                        hosts[i].name);
        if (!*hosts[i].certificate_file || !*hosts[i].private_key_file)
            return fail(error, error_size, "[tls %s] needs certificate and private_key", hosts[i].name);
        for (size_t j = 0; j < i; j++)
            if (strcasecmp(hosts[i].name, hosts[j].name) == 0)
                return fail(error, error_size, "[tls %s] and [tls %s] are the same host", hosts[j].name,
                            hosts[i].name);
    }
    return true;
}

/* Tickets
 * ---------------------------------------------------------------------------------------------------------
 */

static int ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher_ctx,
                      EVP_MAC_CTX *mac_ctx, int making)
{
    const struct tls_context *context = tls_handshake_context(ssl);
    if (!context || !context->ticket_keys)
        return making ? -1 : 0;
    int result = tls_ticket_keys_apply(context->ticket_keys, context->ticket_cipher, name, iv, cipher_ctx,
                                       mac_ctx, making);
    /* A ticket is used once (RFC 8446 §C.4), so whoever comes with one gets the next. */
    return !making && result == 1 ? RENEW_TICKET : result;
}

void tls_context_set_ticket_keys(struct tls_context *context, struct tls_ticket_keys *keys)
{
    if (context->ticket_keys == keys)
        return;
    tls_ticket_keys_release(context->ticket_keys);
    context->ticket_keys = keys ? tls_ticket_keys_retain(keys) : NULL;
}

bool tls_context_makes_tickets(const struct tls_context *context)
{
    return context->ticket_keys != NULL;
}

/* Policy
 * ----------------------------------------------------------------------------------------------------------
 */

bool tls_ciphersuites_check(const char *list, char *error, size_t error_size)
{
    static const char *const known[] = {"TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"};
    enum { KNOWN = sizeof known / sizeof *known };
    bool seen[KNOWN] = {false};
    const char *at = list;
    for (;;) {
        size_t len = strcspn(at, ":");
        size_t i = 0;
        while (i < KNOWN && (strlen(known[i]) != len || memcmp(known[i], at, len) != 0))
            i++;
        if (i == KNOWN)
            return fail(error, error_size,
                        "tls.ciphersuites: \"%.*s\" is none of %s and %s (with a colon between)",
                        (int)(len < 100 ? len : 100), at, known[0], known[1]);
        if (seen[i])
            return fail(error, error_size, "tls.ciphersuites: %s stands twice", known[i]);
        seen[i] = true;
        if (!at[len])
            return true;
        at += len + 1;
    }
}

static bool set_policy(SSL_CTX *ssl, const struct tls_context_config *config)
{
    long lifetime = config->ticket_lifetime_s ? (long)config->ticket_lifetime_s : TICKET_LIFETIME_S;
    SSL_CTX_set_options(ssl,
                        SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(ssl, 0); /* nothing may stay inside OpenSSL when the keys leave it */
    SSL_CTX_set_verify(ssl, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF); /* tickets hold all that resumption needs */
    SSL_CTX_set_alpn_select_cb(ssl, select_alpn, NULL);
    SSL_CTX_set_timeout(ssl, lifetime);
    /* 32-byte secrets only; by default AES first, as it costs us half of what ChaCha20 does. */
    return SSL_CTX_set_min_proto_version(ssl, TLS1_3_VERSION) == 1 &&
           SSL_CTX_set_max_proto_version(ssl, TLS1_3_VERSION) == 1 &&
           SSL_CTX_set_ciphersuites(ssl, config->ciphersuites ? config->ciphersuites
                                                              : TLS_CIPHERSUITES_DEFAULT) == 1 &&
           SSL_CTX_set1_groups_list(ssl, "X25519:P-256") == 1 &&
           SSL_CTX_set_num_tickets(ssl, config->tickets) == 1 &&
           SSL_CTX_set_tlsext_ticket_key_evp_cb(ssl, ticket_key) == 1 &&
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

static bool load_files(SSL_CTX *ssl, const char *certificate, const char *key, char *error, size_t error_size)
{
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

static SSL_CTX *make_ssl(const struct tls_context_config *config, const char *certificate, const char *key,
                         char *error, size_t error_size)
{
    SSL_CTX *ssl = SSL_CTX_new(TLS_server_method());
    if (!ssl || !set_policy(ssl, config)) {
        fail(error, error_size, "OpenSSL cannot do TLS 1.3 as needed: %s", openssl_reason());
        SSL_CTX_free(ssl);
        return NULL;
    }
    if (!load_files(ssl, certificate, key, error, error_size)) {
        SSL_CTX_free(ssl);
        return NULL;
    }
    return ssl;
}

/* An operator's likely mistake, and no reason to refuse: the client judges. */
static void warn_of_other_name(const struct host_ssl *host, const char *file)
{
    char example[HOST_BYTES_MAX + 8];
    bool wildcard = host->name[0] == '*';
    snprintf(example, sizeof example, "%s%s", wildcard ? "any" : "", host->name + wildcard);
    if (X509_check_host(SSL_CTX_get0_certificate(host->ssl), example, 0, 0, NULL) != 1)
        log_event(LOG_WARN, "certificate_of_other_name", "host=%s certificate=%s", host->name, file);
    ERR_clear_error();
}

static bool load_hosts(struct tls_context *context, const struct tls_context_config *config, char *error,
                       size_t error_size)
{
    if (config->host_count == 0)
        return true;
    context->hosts = calloc(config->host_count, sizeof *context->hosts);
    if (!context->hosts)
        return fail(error, error_size, "out of memory");
    for (size_t i = 0; i < config->host_count; i++) {
        const struct tls_host *from = &config->hosts[i];
        struct host_ssl *host = &context->hosts[i];
        char what[512];
        host->ssl = make_ssl(config, from->certificate_file, from->private_key_file, what, sizeof what);
        if (!host->ssl)
            return fail(error, error_size, "[tls %s]: %s", from->name, what);
        context->host_count++;
        for (size_t j = 0; from->name[j]; j++) /* tls_hosts_check() knows that it fits */
            host->name[j] = (char)tolower((unsigned char)from->name[j]);
        warn_of_other_name(host, from->certificate_file);
    }
    qsort(context->hosts, context->host_count, sizeof *context->hosts, compare_hosts);
    return SSL_CTX_set_tlsext_servername_callback(context->ssl, select_host) == 1 &&
           SSL_CTX_set_tlsext_servername_arg(context->ssl, context) == 1;
}

struct tls_context *tls_context_create(const struct tls_context_config *config, char *error,
                                       size_t error_size)
{
    if (!tls_hosts_check(config->hosts, config->host_count, error, error_size) ||
        (config->ciphersuites && !tls_ciphersuites_check(config->ciphersuites, error, error_size)))
        return NULL;
    struct tls_context *context = calloc(1, sizeof *context);
    if (!context) {
        fail(error, error_size, "out of memory");
        return NULL;
    }
    atomic_init(&context->references, 1);
    context->bio_method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "whole TLS records");
    context->ticket_cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    if (!context->bio_method || !context->ticket_cipher || !tls_handshake_bio_setup(context->bio_method)) {
        fail(error, error_size, "OpenSSL cannot do TLS 1.3 as needed: %s", openssl_reason());
        goto out;
    }
    context->ssl = make_ssl(config, config->certificate_file, config->private_key_file, error, error_size);
    if (!context->ssl || !load_hosts(context, config, error, error_size))
        goto out;
    return context;
out:
    tls_context_destroy(context);
    return NULL;
}

void tls_context_destroy(struct tls_context *context)
{
    if (!context || atomic_fetch_sub_explicit(&context->references, 1, memory_order_acq_rel) != 1)
        return;
    SSL_CTX_free(context->ssl);
    for (size_t i = 0; i < context->host_count; i++)
        SSL_CTX_free(context->hosts[i].ssl);
    free(context->hosts);
    BIO_meth_free(context->bio_method);
    EVP_CIPHER_free(context->ticket_cipher);
    tls_ticket_keys_release(context->ticket_keys);
    free(context);
}

SSL_CTX *tls_context_ssl(const struct tls_context *context)
{
    return context->ssl;
}

SSL_CTX *tls_context_host_ssl(const struct tls_context *context, const char *name)
{
    char small[HOST_BYTES_MAX + 1];
    size_t len = strlen(name);
    if (len >= sizeof small)
        return NULL;
    for (size_t i = 0; i <= len; i++)
        small[i] = (char)tolower((unsigned char)name[i]);
    return look_up(context, small);
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
