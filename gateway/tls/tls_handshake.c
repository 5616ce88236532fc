/* Drives OpenSSL through one handshake, record by record, and takes its traffic secrets when it is done. */
#include "gateway/tls/tls_handshake.h"
#include "proto/hex.h"

#include "gateway/base/assert.h"
#include "gateway/tls/tls_internal.h"
#include "proto/tls_post.h"

#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* All that a client may send until its Finished: two ClientHellos with post-quantum shares and tickets
       stay far below. */
    INPUT_MAX = 16 * 1024,
    /* All that we send; the certificate chain is the operator's, so a bound only keeps a mistake from
       growing. */
    OUTPUT_MAX = 256 * 1024,
    OUTPUT_FIRST = 2048,
    ERROR_BYTES = 128,
    ALERT_LEVEL_FATAL = 2,
};

struct tls_handshake {
    struct tls_context *context;
    struct tls_crypto *crypto;
    SSL *ssl;
    enum tls_handshake_status status;

    const uint8_t *input; /* what OpenSSL has not read of the record being fed; the caller's memory */
    size_t input_len;
    size_t input_total; /* whole records so far */

    uint8_t *output;
    size_t output_sent, output_len, output_cap;

    uint8_t read_secret[TLS_SECRET_BYTES], write_secret[TLS_SECRET_BYTES];
    bool have_read_secret, have_write_secret;
    uint64_t write_seq; /* records that OpenSSL sent under write_secret */

    uint8_t alert_sent, alert_received; /* TLS_ALERT_NONE: none */
    bool old_version;
    char error[ERROR_BYTES];
};

/* Output */

static bool output_append(struct tls_handshake *handshake, const void *data, size_t len)
{
    if (len > OUTPUT_MAX - handshake->output_len)
        return false;
    size_t need = handshake->output_len + len;
    if (need > handshake->output_cap) {
        size_t cap = handshake->output_cap ? handshake->output_cap : OUTPUT_FIRST;
        while (cap < need)
            cap *= 2;
        uint8_t *grown = realloc(handshake->output, cap);
        if (!grown)
            return false;
        handshake->output = grown;
        handshake->output_cap = cap;
    }
    memcpy(handshake->output + handshake->output_len, data, len);
    handshake->output_len = need;
    return true;
}

/* The BIO between OpenSSL and us: reads end where the current record ends, writes append. */

static int bio_read(BIO *bio, char *out, size_t size, size_t *read)
{
    struct tls_handshake *handshake = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (handshake->input_len == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    size_t take = size < handshake->input_len ? size : handshake->input_len;
    memcpy(out, handshake->input, take);
    handshake->input += take;
    handshake->input_len -= take;
    *read = take;
    return 1;
}

static int bio_write(BIO *bio, const char *data, size_t len, size_t *written)
{
    BIO_clear_retry_flags(bio);
    if (!output_append(BIO_get_data(bio), data, len))
        return 0;
    *written = len;
    return 1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

bool tls_handshake_bio_setup(BIO_METHOD *method)
{
    return BIO_meth_set_read_ex(method, bio_read) == 1 && BIO_meth_set_write_ex(method, bio_write) == 1 &&
           BIO_meth_set_ctrl(method, bio_ctrl) == 1;
}

static BIO *make_bio(struct tls_handshake *handshake)
{
    BIO *bio = BIO_new(tls_context_bio_method(handshake->context));
    if (bio) {
        BIO_set_data(bio, handshake);
        BIO_set_init(bio, 1);
    }
    return bio;
}

/* What OpenSSL tells while it works */

static bool read_secret(const char *hex, uint8_t out[TLS_SECRET_BYTES])
{
    for (size_t i = 0; i < TLS_SECRET_BYTES; i++) {
        int high = hex_digit(hex[2 * i]);
        int low = high < 0 ? -1 : hex_digit(hex[2 * i + 1]);
        if (low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return hex[(size_t)2 * TLS_SECRET_BYTES] == '\0';
}

/* When `line` is "LABEL client_random secret", returns where the secret begins. */
static const char *secret_of(const char *line, const char *label)
{
    size_t len = strlen(label);
    if (strncmp(line, label, len) != 0 || line[len] != ' ')
        return NULL;
    const char *space = strchr(line + len + 1, ' ');
    return space ? space + 1 : NULL;
}

const struct tls_context *tls_handshake_context(const SSL *ssl)
{
    const struct tls_handshake *handshake = SSL_get_app_data(ssl);
    return handshake ? handshake->context : NULL;
}

/* Called by OpenSSL for every secret of a handshake while listen_to_secrets() lets it. */
static void on_secret(const SSL *ssl, const char *line)
{
    struct tls_handshake *handshake = SSL_get_app_data(ssl);
    if (!handshake)
        return;
    const char *hex = secret_of(line, "CLIENT_TRAFFIC_SECRET_0");
    if (hex)
        handshake->have_read_secret = read_secret(hex, handshake->read_secret);
    hex = secret_of(line, "SERVER_TRAFFIC_SECRET_0");
    if (hex) {
        /* OpenSSL changes its write key here: on_message() counts from now on; the Finished was still under
         * the old one. */
        handshake->have_write_secret = read_secret(hex, handshake->write_secret);
    }
}

/* OpenSSL prints five secrets of every handshake as text before it calls anybody, which costs as much as a
 * tenth of a signature each: it is asked only for those around the client's and our Finished. The SSL_CTX
 * belongs to this thread. */
static void listen_to_secrets(SSL *ssl, bool listen)
{
    SSL_CTX_set_keylog_callback(SSL_get_SSL_CTX(ssl), listen ? on_secret : NULL);
}

static void on_message(int writing, int version, int content_type, const void *data, size_t len, SSL *ssl,
                       void *arg)
{
    struct tls_handshake *handshake = arg;
    const uint8_t *bytes = data;
    (void)version;
    /* Our Finished is followed by the secrets that we want. */
    if (content_type == SSL3_RT_HANDSHAKE && writing && len > 0 && bytes[0] == SSL3_MT_FINISHED)
        listen_to_secrets(ssl, true);
    if (content_type == SSL3_RT_HEADER && writing && handshake->have_write_secret && len > 0 &&
        bytes[0] == TLS_CONTENT_APPLICATION_DATA)
        handshake->write_seq++;
    if (content_type == SSL3_RT_ALERT && len == 2) {
        if (writing)
            handshake->alert_sent = bytes[1];
        else
            handshake->alert_received = bytes[1];
    }
}

/* Failing */

static __attribute__((format(printf, 2, 3))) enum tls_handshake_status fail(struct tls_handshake *handshake,
                                                                            const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(handshake->error, sizeof handshake->error, format, args);
    va_end(args);
    ERR_clear_error();
    handshake->status = TLS_HANDSHAKE_FAILED;
    return handshake->status;
}

/* OpenSSL has given up and has queued its alert. */
static enum tls_handshake_status fail_openssl(struct tls_handshake *handshake)
{
    int reason = ERR_GET_REASON(ERR_peek_error());
    if (handshake->alert_received != TLS_ALERT_NONE)
        return fail(handshake, "the client sent the alert %s", tls_alert_name(handshake->alert_received));
    if (handshake->alert_sent == TLS_ALERT_PROTOCOL_VERSION && reason == SSL_R_UNSUPPORTED_PROTOCOL) {
        handshake->old_version = true;
        return fail(handshake, "the client offers only versions below TLS 1.3");
    }
    const char *text = ERR_reason_error_string(ERR_peek_error());
    if (handshake->alert_sent != TLS_ALERT_NONE)
        return fail(handshake, "%s (alert %s sent)", text ? text : "handshake failed",
                    tls_alert_name(handshake->alert_sent));
    return fail(handshake, "%s", text ? text : "handshake failed");
}

/* An alert of our own can go out in the clear only before the server's first flight. */
static void queue_plain_alert(struct tls_handshake *handshake, enum tls_alert alert)
{
    if (handshake->output_len > 0)
        return;
    const uint8_t record[] = {TLS_CONTENT_ALERT, 3, 3, 0, 2, ALERT_LEVEL_FATAL, (uint8_t)alert};
    if (output_append(handshake, record, sizeof record))
        handshake->alert_sent = (uint8_t)alert;
}

static bool looks_like_http(const uint8_t *data, size_t len)
{
    static const char *const methods[] = {"GET ", "POST", "HEAD", "PUT ", "OPTI",
                                          "CONN", "DELE", "PATC", "PRI "};
    for (size_t i = 0; len >= 4 && i < sizeof methods / sizeof *methods; i++)
        if (memcmp(data, methods[i], 4) == 0)
            return true;
    return false;
}

/* One whole record into OpenSSL. */
static enum tls_handshake_status step(struct tls_handshake *handshake, const uint8_t *record,
                                      size_t record_bytes)
{
    handshake->input = record;
    handshake->input_len = record_bytes;
    handshake->input_total += record_bytes;
    ERR_clear_error();
    listen_to_secrets(handshake->ssl, handshake->have_write_secret);
    int done = SSL_do_handshake(handshake->ssl);
    listen_to_secrets(handshake->ssl, false);
    size_t unread = handshake->input_len;
    handshake->input = NULL; /* the caller's memory ends with this call */
    handshake->input_len = 0;

    if (done != 1 && SSL_get_error(handshake->ssl, done) != SSL_ERROR_WANT_READ)
        return fail_openssl(handshake);
    /* Bytes left behind would be lost to whoever reads on. */
    if (unread > 0 || (done == 1 && SSL_has_pending(handshake->ssl)))
        return fail(handshake, "a TLS record was not read to its end");
    handshake->status = done == 1 ? TLS_HANDSHAKE_DONE : TLS_HANDSHAKE_MORE;
    return handshake->status;
}

/* A record header that can never be right. */
static enum tls_handshake_status fail_header(struct tls_handshake *handshake, const uint8_t *data, size_t len,
                                             enum tls_alert alert)
{
    /* After the first flight alerts must be encrypted: OpenSSL judges the same header and says so under its
     * keys. */
    if (handshake->output_len > 0 &&
        step(handshake, data, len < TLS_RECORD_HEADER_BYTES ? len : TLS_RECORD_HEADER_BYTES) ==
            TLS_HANDSHAKE_FAILED)
        return TLS_HANDSHAKE_FAILED;
    queue_plain_alert(handshake, alert);
    if (handshake->input_total == 0 && looks_like_http(data, len))
        return fail(handshake, "plain HTTP on the TLS port");
    if (alert == TLS_ALERT_RECORD_OVERFLOW)
        return fail(handshake, "a TLS record is longer than allowed");
    return fail(handshake, handshake->input_total == 0 ? "this is not TLS" : "an unknown TLS record type");
}

static void wipe_secrets(struct tls_handshake *handshake)
{
    OPENSSL_cleanse(handshake->read_secret, sizeof handshake->read_secret);
    OPENSSL_cleanse(handshake->write_secret, sizeof handshake->write_secret);
    handshake->have_read_secret = false;
    handshake->have_write_secret = false;
}

struct tls_handshake *tls_handshake_create(struct tls_context *context, struct tls_crypto *crypto)
{
    struct tls_handshake *handshake = calloc(1, sizeof *handshake);
    if (!handshake)
        return NULL;
    handshake->context = tls_context_retain(context);
    handshake->crypto = crypto;
    handshake->status = TLS_HANDSHAKE_MORE;
    handshake->alert_sent = TLS_ALERT_NONE;
    handshake->alert_received = TLS_ALERT_NONE;
    handshake->ssl = SSL_new(tls_context_ssl(context));
    BIO *bio = handshake->ssl ? make_bio(handshake) : NULL;
    if (!bio)
        goto out;
    SSL_set_bio(handshake->ssl, bio, bio); /* owns it now */
    if (SSL_set_app_data(handshake->ssl, handshake) != 1)
        goto out;
    if (!tls_context_makes_tickets(context) && SSL_set_num_tickets(handshake->ssl, 0) != 1)
        goto out;
    SSL_set_msg_callback(handshake->ssl, on_message);
    SSL_set_msg_callback_arg(handshake->ssl, handshake);
    SSL_set_accept_state(handshake->ssl);
    return handshake;
out:
    ERR_clear_error();
    tls_handshake_destroy(handshake);
    return NULL;
}

void tls_handshake_destroy(struct tls_handshake *handshake)
{
    if (!handshake)
        return;
    SSL_free(handshake->ssl);
    tls_context_destroy(handshake->context);
    wipe_secrets(handshake);
    free(handshake->output);
    free(handshake);
}

enum tls_handshake_status tls_handshake_feed(struct tls_handshake *handshake, const uint8_t *data, size_t len,
                                             size_t *consumed)
{
    *consumed = 0;
    while (handshake->status == TLS_HANDSHAKE_MORE) {
        const uint8_t *at = data + *consumed;
        size_t rest = len - *consumed;
        struct tls_opened record;
        enum parse_result result = tls_record_peek(at, rest, TLS_RECORD_CIPHERTEXT_MAX, &record);
        if (result == PARSE_BAD)
            return fail_header(handshake, at, rest, record.alert);
        if (result == PARSE_MORE)
            break;
        /* Judged by its header, so that nobody makes the acceptor keep what is refused in the end. */
        if (record.record_bytes > INPUT_MAX - handshake->input_total) {
            queue_plain_alert(handshake, TLS_ALERT_ILLEGAL_PARAMETER);
            return fail(handshake, "the client's handshake is longer than %d bytes", INPUT_MAX);
        }
        if (record.record_bytes > rest)
            break;
        *consumed += record.record_bytes;
        step(handshake, at, record.record_bytes);
    }
    return handshake->status;
}

const uint8_t *tls_handshake_output(struct tls_handshake *handshake, size_t *len)
{
    *len = handshake->output_len - handshake->output_sent;
    return *len ? handshake->output + handshake->output_sent : NULL;
}

void tls_handshake_sent(struct tls_handshake *handshake, size_t bytes)
{
    PG_ASSERT(bytes <= handshake->output_len - handshake->output_sent);
    handshake->output_sent += bytes;
}

bool tls_handshake_take(struct tls_handshake *handshake, struct tls_handshake_result *out)
{
    PG_ASSERT(handshake->status == TLS_HANDSHAKE_DONE);
    if (!handshake->ssl)
        return false;
    const SSL_CIPHER *cipher = SSL_get_current_cipher(handshake->ssl);
    memset(out, 0, sizeof *out);
    out->suite = cipher ? (enum tls_suite)SSL_CIPHER_get_protocol_id(cipher) : TLS_SUITE_NONE;
    out->resumed = SSL_session_reused(handshake->ssl) == 1;
    /* The client's count is zero: OpenSSL was fed nothing after its Finished. */
    bool done = handshake->have_read_secret && handshake->have_write_secret &&
                tls_direction_init(handshake->crypto, &out->read, out->suite, handshake->read_secret, 0) &&
                tls_direction_init(handshake->crypto, &out->write, out->suite, handshake->write_secret,
                                   handshake->write_seq);
    if (!done) {
        tls_direction_wipe(&out->read);
        tls_direction_wipe(&out->write);
    }
    wipe_secrets(handshake);
    SSL_free(handshake->ssl);
    handshake->ssl = NULL;
    return done;
}

const char *tls_handshake_error(const struct tls_handshake *handshake)
{
    return handshake->error;
}

bool tls_handshake_old_version(const struct tls_handshake *handshake)
{
    return handshake->old_version;
}
