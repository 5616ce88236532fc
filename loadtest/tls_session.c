/* One connection, step by step, none of which blocks. */
#include "loadtest/tls_session.h"

#include "gateway/base/clock.h"
#include "loadtest/tls_client_internal.h"

#include <openssl/err.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LOOK_MS = 20 };

/* Tickets follow the client's Finished: one round trip, of which the handshake took two. */
static const uint64_t TICKET_WAIT_NS = 2000 * UINT64_C(1000000);

struct fetch {
    struct tls_client_context *context;
    int fd;
    SSL *ssl;
    struct tls_client unused; /* takes the secrets that nobody needs */
    uint64_t deadline_ns;
    bool (*go_on)(void *argument);
    void *argument;
    bool given_up;
    char *error;
    size_t error_size;
};

static bool fail(struct fetch *fetch, const char *what, const char *detail)
{
    snprintf(fetch->error, fetch->error_size, "%s%s", what, detail);
    return false;
}

/* False when the time is over or nobody wants it any more. */
static bool await(struct fetch *fetch, short events, uint64_t until_ns)
{
    struct pollfd wait = {.fd = fetch->fd, .events = events};

    while (clock_monotonic_ns() < until_ns) {
        if (poll(&wait, 1, LOOK_MS) == 1)
            return true;
        if (fetch->go_on && !fetch->go_on(fetch->argument)) {
            fetch->given_up = true;
            return fail(fetch, "given up", "");
        }
    }
    return false;
}

static bool connect_to(struct fetch *fetch, const struct net_address *address)
{
    int error = 0;
    socklen_t len = sizeof(error);

    fetch->fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fetch->fd < 0)
        return fail(fetch, "", strerror(errno));
    if (connect(fetch->fd, (const struct sockaddr *)&address->storage, address->len) == 0)
        return true;
    if (errno != EINPROGRESS)
        return fail(fetch, "", strerror(errno));
    if (!await(fetch, POLLOUT, fetch->deadline_ns))
        return fail(fetch, "no connection in time", "");
    if (getsockopt(fetch->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0)
        return fail(fetch, "", strerror(error ? error : errno));
    return true;
}

/* Waits for what the call that returned `result` wants. */
static bool await_wanted(struct fetch *fetch, int result, uint64_t until_ns)
{
    int wanted = SSL_get_error(fetch->ssl, result);
    return (wanted == SSL_ERROR_WANT_READ && await(fetch, POLLIN, until_ns)) ||
           (wanted == SSL_ERROR_WANT_WRITE && await(fetch, POLLOUT, until_ns));
}

static bool shake_hands(struct fetch *fetch)
{
    char reason[120];

    fetch->ssl = SSL_new(fetch->context->ssl_context);
    if (!fetch->ssl || SSL_set_fd(fetch->ssl, fetch->fd) != 1 ||
        !tls_client_set_host(fetch->ssl, fetch->context))
        return fail(fetch, "out of memory", "");
    SSL_set_app_data(fetch->ssl, &fetch->unused);
    for (;;) {
        ERR_clear_error();
        int result = SSL_connect(fetch->ssl);
        if (result == 1)
            return true;
        if (await_wanted(fetch, result, fetch->deadline_ns))
            continue;
        if (clock_monotonic_ns() >= fetch->deadline_ns)
            return fail(fetch, "the TLS handshake took too long", "");
        tls_client_sentence(reason, sizeof(reason));
        return fetch->given_up ? false : fail(fetch, "TLS handshake failed: ", reason);
    }
}

/* NULL: none has come so far. */
static SSL_SESSION *session_of(SSL *ssl)
{
    SSL_SESSION *session = SSL_get1_session(ssl);
    if (session && SSL_SESSION_is_resumable(session))
        return session;
    SSL_SESSION_free(session);
    return NULL;
}

static SSL_SESSION *await_session(struct fetch *fetch, uint64_t handshake_ns)
{
    uint64_t wait_ns = handshake_ns > TICKET_WAIT_NS ? handshake_ns : TICKET_WAIT_NS;
    uint64_t until_ns = clock_monotonic_ns() + wait_ns;
    SSL_SESSION *session;
    char byte;
    int result;

    until_ns = until_ns < fetch->deadline_ns ? until_ns : fetch->deadline_ns;
    do {
        ERR_clear_error();
        result = SSL_read(fetch->ssl, &byte, 1);
        session = session_of(fetch->ssl);
    } while (!session &&
             (result > 0 ? clock_monotonic_ns() < until_ns : await_wanted(fetch, result, until_ns)));
    SSL_set_shutdown(fetch->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* or it counts as spoilt */
    if (!session && !fetch->given_up)
        (void)fail(fetch, "the server gives no session tickets", "");
    return session;
}

enum tls_session_result tls_session_fetch(struct tls_client_context *context,
                                          const struct net_address *address, uint64_t timeout_ms,
                                          bool (*go_on)(void *argument), void *argument, char *error,
                                          size_t error_size)
{
    uint64_t began_ns = clock_monotonic_ns();
    struct fetch fetch = {
        .context = context,
        .fd = -1,
        .deadline_ns = began_ns + timeout_ms * UINT64_C(1000000),
        .go_on = go_on,
        .argument = argument,
        .error = error,
        .error_size = error_size,
    };
    enum tls_session_result result = TLS_SESSION_FAILED;

    if (connect_to(&fetch, address) && shake_hands(&fetch)) {
        SSL_SESSION *session = await_session(&fetch, clock_monotonic_ns() - began_ns);
        result = session ? TLS_SESSION_FETCHED : TLS_SESSION_NONE;
        if (session) {
            SSL_SESSION_free(context->session);
            context->session = session;
        }
    }
    if (fetch.given_up)
        result = TLS_SESSION_GIVEN_UP;
    SSL_free(fetch.ssl);
    if (fetch.fd >= 0)
        close(fetch.fd);
    OPENSSL_cleanse(&fetch.unused, sizeof(fetch.unused));
    ERR_clear_error();
    return result;
}
