/* What the two files of gateway/tls know of each other; for nobody else.
 *
 * Thread: as tls_context.h and tls_handshake.h say. Owner: a handshake retains its context, so that a reload
 * may drop it.
 */
#pragma once

#include "gateway/tls/tls_context.h"

#include <openssl/bio.h>
#include <openssl/ssl.h>

SSL_CTX *tls_context_ssl(const struct tls_context *context);
/* Of the host that has this name as it stands in the settings; NULL: there is none. */
SSL_CTX *tls_context_host_ssl(const struct tls_context *context, const char *name);
/* The method of the handshake's BIO: it must outlive every BIO made from it, hence the reference. */
const BIO_METHOD *tls_context_bio_method(const struct tls_context *context);
struct tls_context *tls_context_retain(struct tls_context *context);

/* Without keys none may be made: OpenSSL would make tickets of its own. */
bool tls_context_makes_tickets(const struct tls_context *context);

/* The context of a handshake in progress; NULL when the SSL object is nobody's. */
const struct tls_context *tls_handshake_context(const SSL *ssl);
/* Fills in reading and writing. False when OpenSSL refuses. */
bool tls_handshake_bio_setup(BIO_METHOD *method);
