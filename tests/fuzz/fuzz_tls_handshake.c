/* What a client may send before its keys are ours: raw bytes, or an honest OpenSSL client whose bytes are
 * altered on the way.
 *
 * First byte: bit 0 asks for the client, the other bits are the size of a piece. With a client, up to eight
 * alterations of four bytes follow: which flight, where (two bytes), and what is XORed.
 */
#include "gateway/base/assert.h"
#include "gateway/tls/tls_handshake.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FLIGHT_BYTES = 8192, ALTERATION_BYTES = 4, ALTERATIONS_MAX = 8 };

struct server {
    struct tls_context *context;
    struct tls_crypto *crypto;
    SSL_CTX *client;
};

static void write_pem(const char *path, EVP_PKEY *key, X509 *certificate)
{
    FILE *file = fopen(path, "w");
    PG_ASSERT(file);
    PG_ASSERT(certificate ? PEM_write_X509(file, certificate)
                          : PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL));
    fclose(file);
}

static void make_server(struct server *server)
{
    char dir[] = "/tmp/pushgate-fuzz-XXXXXX", certificate_file[64], key_file[64], error[256];
    PG_ASSERT(mkdtemp(dir));
    snprintf(certificate_file, sizeof certificate_file, "%s/crt", dir);
    snprintf(key_file, sizeof key_file, "%s/key", dir);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    PG_ASSERT(key && certificate);
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 1000000);
    X509_set_pubkey(certificate, key);
    PG_ASSERT(X509_sign(certificate, key, EVP_sha256()) > 0);
    write_pem(certificate_file, key, certificate);
    write_pem(key_file, key, NULL);
    struct tls_context_config config = {
        .certificate_file = certificate_file, .private_key_file = key_file, .tickets = 1};
    server->context = tls_context_create(&config, error, sizeof error);
    server->crypto = tls_crypto_create();
    server->client = SSL_CTX_new(TLS_client_method());
    PG_ASSERT(server->context && server->crypto && server->client);
    struct tls_ticket_keys *keys = tls_ticket_keys_create(NULL);
    PG_ASSERT(keys);
    tls_context_set_ticket_keys(server->context, keys);
    tls_ticket_keys_release(keys);
    unlink(certificate_file);
    unlink(key_file);
    rmdir(dir);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static void check(struct tls_handshake *handshake, enum tls_handshake_status status)
{
    struct tls_handshake_result keys;
    size_t len;
    const uint8_t *output = tls_handshake_output(handshake, &len);
    PG_ASSERT((output != NULL) == (len > 0));
    PG_ASSERT(len < 65536);
    switch (status) {
    case TLS_HANDSHAKE_MORE:
        break;
    case TLS_HANDSHAKE_FAILED:
        PG_ASSERT(tls_handshake_error(handshake)[0] != '\0');
        break;
    case TLS_HANDSHAKE_DONE:
        PG_ASSERT(tls_handshake_take(handshake, &keys));
        PG_ASSERT(keys.suite != TLS_SUITE_NONE && tls_direction_seq(&keys.write) == 1);
        break;
    }
}

/* Shows the bytes piece by piece, whole records leaving at the front. */
static enum tls_handshake_status feed(struct tls_handshake *handshake, const uint8_t *data, size_t size,
                                      size_t piece)
{
    enum tls_handshake_status status = TLS_HANDSHAKE_MORE;
    size_t from = 0, shown = 0;
    while (shown < size && status == TLS_HANDSHAKE_MORE) {
        shown = size - shown > piece ? shown + piece : size;
        size_t consumed;
        status = tls_handshake_feed(handshake, data + from, shown - from, &consumed);
        PG_ASSERT(consumed <= shown - from);
        from += consumed;
    }
    return status;
}

static enum tls_handshake_status with_client(struct server *server, struct tls_handshake *handshake,
                                             const uint8_t *alterations, size_t size, size_t piece)
{
    SSL *client = SSL_new(server->client);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    PG_ASSERT(client && in && out);
    SSL_set_bio(client, in, out);
    SSL_set_connect_state(client);
    enum tls_handshake_status status = TLS_HANDSHAKE_MORE;
    for (unsigned flight = 0; flight < 3 && status == TLS_HANDSHAKE_MORE; flight++) {
        uint8_t bytes[FLIGHT_BYTES];
        SSL_do_handshake(client);
        int len = BIO_read(out, bytes, sizeof bytes);
        if (len <= 0)
            break;
        for (size_t at = 0; at + ALTERATION_BYTES <= size && at < (size_t)ALTERATIONS_MAX * ALTERATION_BYTES;
             at += ALTERATION_BYTES)
            if (alterations[at] % 3 == flight)
                bytes[(alterations[at + 1] << 8 | alterations[at + 2]) % len] ^= alterations[at + 3];
        status = feed(handshake, bytes, (size_t)len, piece);
        size_t output_len;
        const uint8_t *output = tls_handshake_output(handshake, &output_len);
        if (output_len > 0)
            BIO_write(in, output, (int)output_len);
        tls_handshake_sent(handshake, output_len);
    }
    SSL_free(client);
    ERR_clear_error();
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct server server; /* once for the whole run */
    if (!server.context)
        make_server(&server);
    if (size < 1)
        return 0;
    size_t piece = data[0] >> 1 ? data[0] >> 1 : SIZE_MAX;
    struct tls_handshake *handshake = tls_handshake_create(server.context, server.crypto);
    PG_ASSERT(handshake);
    enum tls_handshake_status status;
    if (data[0] & 1) {
        status = with_client(&server, handshake, data + 1, size - 1, piece);
        if (size == 1)
            PG_ASSERT(status == TLS_HANDSHAKE_DONE);
    } else {
        status = feed(handshake, data + 1, size - 1, piece);
        PG_ASSERT(status != TLS_HANDSHAKE_DONE);
    }
    check(handshake, status);
    tls_handshake_destroy(handshake);
    return 0;
}
