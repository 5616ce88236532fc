/* Certificates and ticket keys of listen.wss: read at the start, again on SIGHUP, and ticket keys of our own
 * replaced by and by.
 *
 * Thread: main; admin reads when certificates end. Owner: the gateway.
 */
#pragma once

#include "gateway/acceptor.h"
#include "gateway/tls/tls_certificates.h"

struct tls_keeper {
    const struct settings *settings;
    struct tls_certificates certificates;
    struct tls_ticket_keys *ticket_keys; /* NULL without wss or tickets */
    uint64_t rotation_ms;                /* when, by the monotonic clock; 0: never */
};

/* Without listen.wss there is nothing to keep. False with a sentence. */
bool tls_keeper_init(struct tls_keeper *keeper, const struct settings *settings, char *error,
                     size_t error_size) __attribute__((warn_unused_result));
/* What one more acceptor starts with: *context is its own, NULL without listen.wss. False with a sentence. */
bool tls_keeper_context(struct tls_keeper *keeper, struct tls_context **context, char *error,
                        size_t error_size) __attribute__((warn_unused_result));
/* Reads all files again: every acceptor gets the new ones, or all keep the old. Logs which; false: the old.
 */
bool tls_keeper_reload(struct tls_keeper *keeper, struct acceptor **acceptors, uint32_t count);
/* Replaces ticket keys of our own when it is time; a failure is logged, and tried again a period later. */
void tls_keeper_rotate(struct tls_keeper *keeper, struct acceptor **acceptors, uint32_t count,
                       uint64_t now_ms);
void tls_keeper_fini(struct tls_keeper *keeper);
