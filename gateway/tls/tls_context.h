/* Certificates and policy for TLS 1.3: one context per acceptor thread, built from files, replaced on reload.
 *
 * Thread: created on any, used by one. Owner: whoever created it; handshakes in progress keep what they need
 * alive themselves (each holds a reference).
 */
#pragma once

#include "gateway/tls/tls_tickets.h"

struct tls_context;

/* A certificate for one name. */
struct tls_host {
    char *name;             /* example.org, or *.example.org for every name with one label more */
    char *certificate_file; /* PEM chain, leaf first */
    char *private_key_file; /* PEM */
};

#define TLS_CIPHERSUITES_DEFAULT "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256"

struct tls_context_config {
    const char *certificate_file; /* PEM chain, leaf first: for names that no host has */
    const char *private_key_file; /* PEM */
    const struct tls_host *hosts;
    size_t host_count;
    const char *ciphersuites;   /* in order of preference; NULL: the default */
    unsigned tickets;           /* after a full handshake */
    uint64_t ticket_lifetime_s; /* 0: half a day */
};

/* A list with colons between, of the suites that the record layer can do (tls_record.h), each at most once.
 * False with a sentence. */
bool tls_ciphersuites_check(const char *list, char *error, size_t error_size)
    __attribute__((warn_unused_result));
/* Names that can be names of hosts, each once, each with both files. False with a sentence. */
bool tls_hosts_check(const struct tls_host *hosts, size_t count, char *error, size_t error_size)
    __attribute__((warn_unused_result));

/* Checks that files exist, parse and belong together; NULL with a sentence that names the file. */
struct tls_context *tls_context_create(const struct tls_context_config *config, char *error,
                                       size_t error_size);
void tls_context_destroy(struct tls_context *context);
/* Keys of the tickets that handshakes from now on make and open; takes a reference. Without keys nobody
 * resumes. By the thread that uses the context. */
void tls_context_set_ticket_keys(struct tls_context *context, struct tls_ticket_keys *keys);
