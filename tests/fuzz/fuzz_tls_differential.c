/* The same records from a client through our record layer and through OpenSSL's: the same plaintext, or the
 * same refusal.
 *
 * Of every handshake both sides' bytes are known to two servers: OpenSSL's own SSL object, which goes on with
 * it, and a pair of tls_directions that are given the same secrets. The client's records are sealed by this
 * program, so that it may break the rules after having the right keys.
 *
 * Input: first byte: bit 0 the suite, bit 1 pieces instead of whole records; then steps, as in enum step.
 *
 * Differences that are meant to be (each is named where it is let pass):
 * - OpenSSL bounds warnings (5) and empty records (32) in a row on its own and KeyUpdates not at all; ours
 * bounds all of them together (tls_post_count()). Inputs have fewer steps than any of these.
 * - Neither the RFC nor we care for an alert's level; OpenSSL refuses levels other than warning and fatal.
 * - Padding past 2^14 + 1 bytes is refused by us as RFC 8446 §5.4 says; OpenSSL takes it.
 * - OpenSSL may wait for a whole header or record where ours refuses the beginning, and the other way round.
 * - Several mistakes in one record have no order in the RFC: the alerts may differ where pick_alert() says
 * so.
 */
#include "gateway/base/assert.h"
#include "proto/tls_post.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    STEPS_MAX = 24, /* fewer than OpenSSL's bounds, but for its warnings */
    WARNINGS_MAX = 4,
    PLAIN_MAX = STEPS_MAX * (TLS_RECORD_PLAINTEXT_MAX + 1),
    RECORD_MAX = TLS_RECORD_HEADER_BYTES + 65535,
};

enum step {
    STEP_DATA,       /* length, bytes */
    STEP_PADDED,     /* length, padding, bytes */
    STEP_TYPED,      /* inner type, length, bytes */
    STEP_KEY_UPDATE, /* request_update */
    STEP_ALERT,      /* level, description */
    STEP_ALTERED,    /* place, mask, length, bytes: data with one byte changed */
    STEP_RAW,        /* length, bytes: as they are */
    STEP_LARGE,      /* two bytes of length around the limits of a record */
    STEP_FRAGMENTS,  /* request_update, length of the first piece: a KeyUpdate in two records */
    STEP_COUNT,
};

/* What a server made of the bytes. */
struct verdict {
    uint8_t plain[PLAIN_MAX];
    size_t plain_bytes;
    bool ended;        /* by close_notify, an alert of the peer or one of ours */
    bool close_notify; /* of the peer */
    int alert_sent;    /* −1: none */
    int alert_heard;   /* fatal, −1: none */
    unsigned updates;  /* answered */
};

struct differential {
    SSL_CTX *server, *client;
    struct tls_crypto *crypto;
};

/* One connection in both forms. */
struct twins {
    SSL *server;
    BIO *to_server, *from_server;
    struct tls_crypto *crypto;
    enum tls_suite suite;
    struct tls_direction client; /* seals what the client sends */
    struct tls_direction read;   /* ours of the server */
    struct tls_fragment fragment;
    uint8_t held[RECORD_MAX]; /* of ours: the beginning of a record */
    size_t held_bytes;
    struct verdict openssl, ours;
    uint8_t secret[TLS_SECRET_BYTES];
    bool have_secret;
};

static void keylog(const SSL *ssl, const char *line)
{
    static const char label[] = "CLIENT_TRAFFIC_SECRET_0 ";
    struct twins *twins = SSL_get_app_data(ssl);
    if (!twins || strncmp(line, label, sizeof label - 1) != 0)
        return;
    const char *hex = strrchr(line, ' ') + 1;
    for (size_t i = 0; i < TLS_SECRET_BYTES; i++) {
        char pair[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
        twins->secret[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    twins->have_secret = true;
}

static void on_message(int writing, int version, int type, const void *data, size_t len, SSL *ssl, void *arg)
{
    struct twins *twins = arg;
    const uint8_t *bytes = data;
    (void)version;
    (void)ssl;
    if (type == SSL3_RT_ALERT && len == 2) {
        if (writing)
            twins->openssl.alert_sent = bytes[1];
        else if (bytes[1] == SSL_AD_CLOSE_NOTIFY)
            twins->openssl.close_notify = true;
        else if (bytes[1] != SSL_AD_USER_CANCELLED)
            twins->openssl.alert_heard = bytes[1];
    }
    if (type == SSL3_RT_HANDSHAKE && writing && len == 5 && bytes[0] == SSL3_MT_KEY_UPDATE)
        twins->openssl.updates++;
}

static bool set_up(struct differential *all)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    PG_ASSERT(key && certificate);
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 1000000);
    X509_set_pubkey(certificate, key);
    PG_ASSERT(X509_sign(certificate, key, EVP_sha256()) > 0);
    all->server = SSL_CTX_new(TLS_server_method());
    all->client = SSL_CTX_new(TLS_client_method());
    all->crypto = tls_crypto_create();
    PG_ASSERT(all->server && all->client && all->crypto);
    PG_ASSERT(SSL_CTX_use_certificate(all->server, certificate) == 1 &&
              SSL_CTX_use_PrivateKey(all->server, key) == 1 && SSL_CTX_set_num_tickets(all->server, 0) == 1 &&
              SSL_CTX_set_min_proto_version(all->server, TLS1_3_VERSION) == 1 &&
              SSL_CTX_set1_groups_list(all->client, "P-256") == 1);
    SSL_CTX_set_keylog_callback(all->server, keylog);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return true;
}

static void move(BIO *from, BIO *to)
{
    uint8_t bytes[4096];
    for (int n; (n = BIO_read(from, bytes, sizeof bytes)) > 0;)
        PG_ASSERT(BIO_write(to, bytes, n) == n);
}

/* A handshake by OpenSSL on both sides; then the client's object goes and its secret stays. */
static void connect_twins(struct differential *all, struct twins *twins, bool chacha)
{
    SSL *client = SSL_new(all->client);
    twins->server = SSL_new(all->server);
    twins->to_server = BIO_new(BIO_s_mem());
    twins->from_server = BIO_new(BIO_s_mem());
    BIO *from_client = BIO_new(BIO_s_mem()), *to_client = BIO_new(BIO_s_mem());
    PG_ASSERT(client && twins->server && twins->to_server && twins->from_server && from_client && to_client);
    BIO_set_mem_eof_return(twins->to_server, -1);
    BIO_set_mem_eof_return(to_client, -1);
    SSL_set_bio(twins->server, twins->to_server, twins->from_server);
    SSL_set_bio(client, to_client, from_client);
    PG_ASSERT(
        SSL_set_ciphersuites(client, chacha ? "TLS_CHACHA20_POLY1305_SHA256" : "TLS_AES_128_GCM_SHA256"));
    SSL_set_app_data(twins->server, twins);
    SSL_set_connect_state(client);
    SSL_set_accept_state(twins->server);
    bool done = false;
    for (int round = 0; round < 5 && !done; round++) {
        int client_done = SSL_do_handshake(client);
        move(from_client, twins->to_server);
        int server_done = SSL_do_handshake(twins->server);
        move(twins->from_server, to_client);
        done = client_done == 1 && server_done == 1;
    }
    PG_ASSERT(done && twins->have_secret);
    SSL_free(client);
    SSL_set_msg_callback(twins->server, on_message);
    SSL_set_msg_callback_arg(twins->server, twins);
    twins->crypto = all->crypto;
    twins->suite = chacha ? TLS_SUITE_CHACHA20_POLY1305_SHA256 : TLS_SUITE_AES_128_GCM_SHA256;
    PG_ASSERT(tls_direction_init(all->crypto, &twins->client, twins->suite, twins->secret, 0));
    PG_ASSERT(tls_direction_init(all->crypto, &twins->read, twins->suite, twins->secret, 0));
}

static void keep(struct verdict *verdict, const void *data, size_t len)
{
    PG_ASSERT(len <= PLAIN_MAX - verdict->plain_bytes);
    if (len > 0)
        memcpy(verdict->plain + verdict->plain_bytes, data, len);
    verdict->plain_bytes += len;
}

/* OpenSSL's server */

static void hear_openssl(struct twins *twins, const uint8_t *data, size_t len)
{
    struct verdict *verdict = &twins->openssl;
    uint8_t plain[4096];
    if (verdict->ended)
        return;
    PG_ASSERT(len == 0 || BIO_write(twins->to_server, data, (int)len) == (int)len);
    ERR_clear_error();
    for (;;) {
        size_t got = 0;
        if (SSL_read_ex(twins->server, plain, sizeof plain, &got) == 1) {
            keep(verdict, plain, got);
            continue;
        }
        verdict->ended = SSL_get_error(twins->server, 0) != SSL_ERROR_WANT_READ;
        break;
    }
    ERR_clear_error();
}

/* Ours */

static void end_with(struct verdict *verdict, int alert)
{
    verdict->ended = true;
    verdict->alert_sent = alert;
}

static void interpret(struct twins *twins, const struct tls_opened *opened)
{
    struct verdict *verdict = &twins->ours;
    struct tls_post_result result =
        tls_post_record(twins->crypto, &twins->read, twins->suite, &twins->fragment, opened);
    switch (result.event) {
    case TLS_EVENT_DATA:
        keep(verdict, opened->content, opened->content_bytes);
        break;
    case TLS_EVENT_PEER_UPDATED_REPLY:
        verdict->updates++;
        break;
    case TLS_EVENT_CLOSE_NOTIFY:
        verdict->close_notify = true;
        verdict->ended = true;
        break;
    case TLS_EVENT_FATAL_ALERT:
        verdict->alert_heard = result.peer_alert;
        verdict->ended = true;
        break;
    case TLS_EVENT_ERROR:
        end_with(verdict, result.alert);
        break;
    case TLS_EVENT_NONE:
    case TLS_EVENT_PEER_UPDATED:
        break;
    }
}

static void hear_ours(struct twins *twins, const uint8_t *data, size_t len)
{
    struct verdict *verdict = &twins->ours;
    while (!verdict->ended) {
        size_t take = sizeof twins->held - twins->held_bytes;
        take = take < len ? take : len;
        if (take > 0)
            memcpy(twins->held + twins->held_bytes, data, take);
        twins->held_bytes += take;
        data += take;
        len -= take;
        struct tls_opened opened;
        enum parse_result parsed = tls_record_open(twins->crypto, &twins->read, twins->suite, twins->held,
                                                   twins->held_bytes, &opened);
        if (parsed == PARSE_MORE)
            return;
        if (parsed == PARSE_BAD) {
            end_with(verdict, opened.alert);
            return;
        }
        interpret(twins, &opened);
        twins->held_bytes -= opened.record_bytes;
        memmove(twins->held, twins->held + opened.record_bytes, twins->held_bytes);
    }
}

/* The client */

/* Seals without asking our own layer, and what it would not seal. `inner` ends with its type and padding. */
static size_t seal(struct twins *twins, const uint8_t *inner, size_t len, uint8_t *record)
{
    struct tls_direction *keys = &twins->client;
    bool chacha = twins->suite == TLS_SUITE_CHACHA20_POLY1305_SHA256;
    uint64_t seq = tls_direction_seq(keys);
    uint8_t nonce[12];
    memcpy(nonce, keys->iv, sizeof nonce);
    for (int i = 0; i < 8; i++)
        nonce[4 + i] ^= (uint8_t)(seq >> (56 - 8 * i));
    const uint8_t header[] = {TLS_CONTENT_APPLICATION_DATA, 3, 3, (uint8_t)((len + 16) >> 8),
                              (uint8_t)(len + 16)};
    memcpy(record, header, sizeof header);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int written = 0, last = 0;
    PG_ASSERT(ctx && EVP_EncryptInit_ex(ctx, chacha ? EVP_chacha20_poly1305() : EVP_aes_128_gcm(), NULL,
                                        keys->key, nonce) == 1);
    PG_ASSERT(EVP_EncryptUpdate(ctx, NULL, &written, header, sizeof header) == 1);
    PG_ASSERT(len == 0 || EVP_EncryptUpdate(ctx, record + 5, &written, inner, (int)len) == 1);
    PG_ASSERT(EVP_EncryptFinal_ex(ctx, record + 5 + len, &last) == 1 && last == 0);
    PG_ASSERT(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, 16, record + 5 + len) == 1);
    EVP_CIPHER_CTX_free(ctx);
    keys->seq_low++; /* far from its end here */
    return 5 + len + 16;
}

struct script {
    const uint8_t *data;
    size_t size;
    bool pieces;
    /* What the RFC leaves open from here on: which of several mistakes is named. */
    bool any_alert;
    unsigned warnings;
};

static uint8_t take(struct script *script)
{
    if (script->size == 0)
        return 0;
    script->size--;
    return *script->data++;
}

static size_t take_bytes(struct script *script, uint8_t *out, size_t len)
{
    size_t n = len < script->size ? len : script->size;
    if (n > 0)
        memcpy(out, script->data, n);
    script->data += n;
    script->size -= n;
    return n;
}

static void send_wire(struct twins *twins, const struct script *script, const uint8_t *wire, size_t len)
{
    size_t piece = script->pieces ? 1 + len / 3 : len;
    for (size_t at = 0; at < len; at += piece) {
        size_t n = len - at < piece ? len - at : piece;
        hear_openssl(twins, wire + at, n);
        hear_ours(twins, wire + at, n);
    }
}

static void send_inner(struct twins *twins, const struct script *script, const uint8_t *inner, size_t len)
{
    static uint8_t record[RECORD_MAX + 64];
    send_wire(twins, script, record, seal(twins, inner, len, record));
}

static void send_key_update(struct twins *twins, const struct script *script, uint8_t request, size_t first)
{
    const uint8_t message[] = {24, 0, 0, 1, request};
    uint8_t inner[sizeof message + 1];
    for (size_t at = 0, n = first; at < sizeof message; at += n, n = sizeof message - at) {
        memcpy(inner, message + at, n);
        inner[n] = TLS_CONTENT_HANDSHAKE;
        send_inner(twins, script, inner, n + 1);
    }
    PG_ASSERT(tls_direction_update(twins->crypto, &twins->client, twins->suite));
}

static void act(struct twins *twins, struct script *script, enum step step)
{
    static uint8_t inner[TLS_RECORD_CIPHERTEXT_MAX + 600];
    size_t len;
    uint8_t padding;
    switch (step) {
    case STEP_DATA:
        len = take_bytes(script, inner, take(script));
        inner[len++] = TLS_CONTENT_APPLICATION_DATA;
        send_inner(twins, script, inner, len);
        break;
    case STEP_PADDED: {
        len = take(script);
        padding = take(script);
        len = take_bytes(script, inner, len);
        inner[len++] = TLS_CONTENT_APPLICATION_DATA;
        memset(inner + len, 0, padding);
        send_inner(twins, script, inner, len + padding);
        break;
    }
    case STEP_TYPED: {
        uint8_t type = take(script);
        len = take_bytes(script, inner, take(script) % 64);
        /* Zeros at the end are padding: the type is what stands before them. */
        for (padding = 0; type == 0 && len > 0; padding++)
            type = inner[--len];
        /* Handshake messages that a server of ours never hears have no common answer. */
        if (type == TLS_CONTENT_HANDSHAKE || type == TLS_CONTENT_ALERT)
            script->any_alert = true;
        if (type == TLS_CONTENT_ALERT && ++script->warnings > WARNINGS_MAX)
            break;
        if (type == TLS_CONTENT_ALERT && len == 2 && inner[0] != 1 && inner[0] != 2)
            break; /* a level that OpenSSL refuses */
        if (type == TLS_CONTENT_ALERT && len == 2 && inner[0] == 1 && inner[1] > 1 && inner[1] != 90)
            inner[0] = 2; /* OpenSSL takes a warning's level seriously */
        inner[len++] = type;
        memset(inner + len, 0, padding);
        send_inner(twins, script, inner, len + padding);
        break;
    }
    case STEP_KEY_UPDATE:
        send_key_update(twins, script, take(script) % 3, 5);
        break;
    case STEP_ALERT:
        inner[1] = take(script);
        inner[0] = inner[1] == 0 || inner[1] == 90 ? 1 : 2;
        inner[2] = TLS_CONTENT_ALERT;
        if (++script->warnings <= WARNINGS_MAX)
            send_inner(twins, script, inner, 3);
        break;
    case STEP_ALTERED: {
        static uint8_t record[RECORD_MAX];
        uint8_t place = take(script), mask = take(script);
        len = take_bytes(script, inner, take(script));
        inner[len++] = TLS_CONTENT_APPLICATION_DATA;
        size_t bytes = seal(twins, inner, len, record);
        record[place % bytes] ^= mask;
        if (mask && place % bytes < TLS_RECORD_HEADER_BYTES)
            script->any_alert = true; /* RFC 8446 §5.1: the version is to be ignored; OpenSSL looks at it */
        send_wire(twins, script, record, bytes);
        break;
    }
    case STEP_RAW:
        len = take_bytes(script, inner, take(script));
        script->any_alert = true;
        send_wire(twins, script, inner, len);
        break;
    case STEP_LARGE:
        len = TLS_RECORD_PLAINTEXT_MAX - 3 + take(script) % 8;
        padding = take(script);
        memset(inner, 'x', len);
        inner[len++] = TLS_CONTENT_APPLICATION_DATA;
        /* OpenSSL lets padding go past 2^14 + 1 bytes, which RFC 8446 §5.4 forbids and we refuse. */
        if (len + padding > TLS_RECORD_PLAINTEXT_MAX + 1)
            padding = len <= TLS_RECORD_PLAINTEXT_MAX + 1 ? (uint8_t)(TLS_RECORD_PLAINTEXT_MAX + 1 - len) : 0;
        memset(inner + len, 0, padding);
        send_inner(twins, script, inner, len + padding);
        break;
    case STEP_FRAGMENTS: {
        uint8_t request = take(script) % 2;
        send_key_update(twins, script, request, 1 + take(script) % 4);
        break;
    }
    case STEP_COUNT:
        break;
    }
}

static void compare(const struct twins *twins, const struct script *script)
{
    const struct verdict *a = &twins->openssl, *b = &twins->ours;
    PG_ASSERT(a->plain_bytes == b->plain_bytes && memcmp(a->plain, b->plain, a->plain_bytes) == 0);
    PG_ASSERT(a->ended == b->ended);
    PG_ASSERT(a->close_notify == b->close_notify);
    PG_ASSERT(a->alert_heard == b->alert_heard);
    PG_ASSERT((a->alert_sent >= 0) == (b->alert_sent >= 0));
    PG_ASSERT(script->any_alert || a->alert_sent == b->alert_sent);
    /* One answer to several requests is enough (RFC 8446 §4.6.3). */
    PG_ASSERT((a->updates > 0) == (b->updates > 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct differential all; /* once for the whole run */
    static bool ready;
    if (!ready)
        ready = set_up(&all);
    if (size < 1)
        return 0;
    struct twins *twins = calloc(1, sizeof *twins);
    PG_ASSERT(twins);
    twins->openssl.alert_sent = twins->openssl.alert_heard = -1;
    twins->ours.alert_sent = twins->ours.alert_heard = -1;
    connect_twins(&all, twins, data[0] & 1);
    struct script script = {.data = data + 1, .size = size - 1, .pieces = data[0] & 2};
    for (int i = 0; i < STEPS_MAX && script.size > 0 && !twins->openssl.ended && !twins->ours.ended; i++)
        act(twins, &script, (enum step)(take(&script) % STEP_COUNT));
    if (twins->openssl.ended != twins->ours.ended || twins->held_bytes > 0) {
        /* One has judged a beginning: the rest lets the other judge too. */
        static const uint8_t rest[RECORD_MAX];
        script.any_alert = true;
        hear_openssl(twins, rest, sizeof rest);
        hear_ours(twins, rest, sizeof rest);
    }
    size_t written;
    if (!twins->openssl.ended) /* its answer to a KeyUpdate waits for this */
        PG_ASSERT(SSL_write_ex(twins->server, "x", 1, &written) == 1);
    /* Whether it was still answered is open when the connection has ended. */
    if (twins->openssl.ended)
        twins->openssl.updates = twins->ours.updates;
    compare(twins, &script);
    SSL_free(twins->server);
    free(twins);
    return 0;
}
