/* Fetches a session ticket over a connection of its own; handshakes that begin later present it.
 *
 * Thread: the main thread, while no other begins a handshake. Owner: the session is the context's.
 */
#pragma once

#include "gateway/base/net.h"
#include "loadtest/tls_client.h"

enum tls_session_result {
    TLS_SESSION_FETCHED,
    TLS_SESSION_NONE,     /* the handshake went well, but the server gives no tickets */
    TLS_SESSION_FAILED,   /* no connection, or no handshake */
    TLS_SESSION_GIVEN_UP, /* go_on() said so */
};

/* Takes at most `timeout_ms` in all. Asks go_on(argument), which may take its time, some fifty times a
 * second; NULL: nobody is asked. All but FETCHED leave a sentence. */
enum tls_session_result tls_session_fetch(struct tls_client_context *context,
                                          const struct net_address *address, uint64_t timeout_ms,
                                          bool (*go_on)(void *argument), void *argument, char *error,
                                          size_t error_size) __attribute__((warn_unused_result));
