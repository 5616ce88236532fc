/* Certificates and policy for TLS 1.3: one context per acceptor thread, built from files, replaced on reload.
 *
 * Thread: created on any, used by one. Owner: whoever created it; handshakes in progress keep what they need
 * alive themselves (each holds a reference).
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
struct tls_context *tls_context_create(const struct tls_context_config *config, char *error,
                                       size_t error_size);
void tls_context_destroy(struct tls_context *context);
/* Takes over the keys of `from`'s session tickets, so that a client resumes on any acceptor and after a
 * reload. False when OpenSSL refuses. */
bool tls_context_share_tickets(struct tls_context *context, struct tls_context *from)
    __attribute__((warn_unused_result));
