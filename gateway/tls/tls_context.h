/* Certificates and policy for TLS 1.3: one context per acceptor thread, built from files, replaced on reload.
 *
 * Thread: created on any, used by one. Owner: whoever created it; handshakes in progress keep what they need alive themselves (SSL_CTX is
 * reference-counted by OpenSSL).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct tls_context;

struct tls_context_config {
    const char *certificate_file; /* PEM chain, leaf first */
    const char *private_key_file; /* PEM */
};

/* Checks that files exist, parse and belong together; NULL with a sentence that names the file. */
struct tls_context *tls_context_create(const struct tls_context_config *config, char *error, size_t error_size);
void tls_context_destroy(struct tls_context *context);
