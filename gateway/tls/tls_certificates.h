/* When the certificates in use stop being good, for whoever has to renew them: one row for [tls] and one for
 * each [tls HOST].
 *
 * Thread: made, noted and ended by one (main); read by any. Owner: the caller, who keeps the hosts' names
 * alive.
 */
#pragma once

#include "gateway/tls/tls_context.h"

#include <stdatomic.h>
#include <stdint.h>

struct tls_certificate {
    const char *host;            /* "*": for names that no host has */
    _Atomic int64_t not_after_s; /* since 1970: the earliest end in its chain; 0: not known */
};

struct tls_certificates {
    size_t count;
    struct tls_certificate *rows;
};

/* Nothing is known of them yet. False without memory. */
bool tls_certificates_init(struct tls_certificates *certificates, const struct tls_host *hosts,
                           size_t host_count) __attribute__((warn_unused_result));
/* `context` was made for the same hosts, and is in use from now on. */
void tls_certificates_note(struct tls_certificates *certificates, const struct tls_context *context);
void tls_certificates_fini(struct tls_certificates *certificates);
