/* What the files of the TLS client share among themselves; see tls_client.h and tls_session.h.
 *
 * Thread: as there. Owner: as there.
 */
#pragma once

#include "loadtest/tls_client.h"

#include <openssl/ssl.h>

struct tls_client_context {
    SSL_CTX *ssl_context;
    SSL_SESSION *session; /* NULL: full handshakes */
    char host[256];
    bool host_is_ip;
};

struct tls_client {
    SSL *ssl;
    BIO *in, *out; /* owned by ssl */
    char *taken;   /* what tls_client_output() has handed out */
    bool has_read, has_write;
    bool refused_certificate;
    uint8_t read_secret[TLS_SECRET_BYTES], write_secret[TLS_SECRET_BYTES];
    char error[120];
};

/* What OpenSSL's error queue says last, as a sentence; empties the queue. */
void tls_client_sentence(char *out, size_t size);
/* Name and certificate check of a connection. */
bool tls_client_set_host(SSL *ssl, const struct tls_client_context *context);
