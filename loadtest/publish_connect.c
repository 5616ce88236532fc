/* connect(), AUTH and PING, each with an end. */
#include "loadtest/publish_connect.h"

#include "gateway/base/clock.h"
#include "loadtest/printable.h"

#include <openssl/crypto.h>

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    TIMEOUT_MS = 5000, /* to connect, and for each answer */
    LOOK_MS = 50,      /* how late it may be noticed that nobody waits any more */
    COMMAND_BYTES = 2048,
    REPLY_BYTES = 256,
};

struct attempt {
    const struct publish_endpoint *endpoint;
    const _Atomic bool *give_up;
    int fd;
    char *error;
    size_t error_size;
};

/* `detail` may be a stranger's. */
static bool fail(struct attempt *attempt, const char *what, const char *detail)
{
    char text[120];

    (void)printable(detail, strlen(detail), text, sizeof(text));
    snprintf(attempt->error, attempt->error_size, "--publish=%s: %s%s", attempt->endpoint->text, what, text);
    return false;
}

/* False when nothing has come of it in time. */
static bool await(struct attempt *attempt, short events)
{
    uint64_t deadline_ns = clock_monotonic_ns() + TIMEOUT_MS * UINT64_C(1000000);
    struct pollfd wait = {.fd = attempt->fd, .events = events};

    while (clock_monotonic_ns() < deadline_ns) {
        if (attempt->give_up && atomic_load_explicit(attempt->give_up, memory_order_relaxed))
            return false;
        if (poll(&wait, 1, LOOK_MS) == 1)
            return true;
    }
    return false;
}

static bool connect_to(struct attempt *attempt)
{
    const struct net_address *address = &attempt->endpoint->address;
    const int on = 1;
    int error = 0;
    socklen_t len = sizeof(error);

    attempt->fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (attempt->fd < 0)
        return fail(attempt, "", strerror(errno));
    if (address->storage.ss_family != AF_UNIX)
        (void)setsockopt(attempt->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(attempt->fd, (const struct sockaddr *)&address->storage, address->len) == 0)
        return true;
    if (errno != EINPROGRESS)
        return fail(attempt, "", strerror(errno));
    if (!await(attempt, POLLOUT))
        return fail(attempt, "no connection within 5 s", "");
    if (getsockopt(attempt->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0)
        return fail(attempt, "", strerror(error ? error : errno));
    return true;
}

/* Sends one command and takes one line. */
static bool ask(struct attempt *attempt, const char *name, const char *command, size_t len,
                char reply[REPLY_BYTES])
{
    char what[48];
    size_t have = 0;

    if (send(attempt->fd, command, len, MSG_NOSIGNAL) != (ssize_t)len)
        return fail(attempt, "", strerror(errno));
    while (!memchr(reply, '\n', have)) {
        if (have == REPLY_BYTES - 1)
            break; /* whatever it is, it is too long */
        snprintf(what, sizeof(what), "no answer to %s within 5 s", name);
        if (!await(attempt, POLLIN))
            return fail(attempt, what, "");
        ssize_t n = recv(attempt->fd, reply + have, REPLY_BYTES - 1 - have, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        snprintf(what, sizeof(what), "at %s: ", name);
        if (n <= 0)
            return fail(attempt, what, n == 0 ? "the endpoint closed the connection" : strerror(errno));
        have += (size_t)n;
    }
    reply[have] = '\0';
    reply[strcspn(reply, "\r\n")] = '\0';
    return true;
}

static bool authenticate(struct attempt *attempt)
{
    const char *password = attempt->endpoint->password;
    char command[COMMAND_BYTES], reply[REPLY_BYTES];

    if (!password)
        return true;
    int len =
        snprintf(command, sizeof(command), "*2\r\n$4\r\nAUTH\r\n$%zu\r\n%s\r\n", strlen(password), password);
    if (len < 0 || (size_t)len >= sizeof(command))
        return fail(attempt, "the password is too long", "");
    bool answered = ask(attempt, "AUTH", command, (size_t)len, reply);
    OPENSSL_cleanse(command, sizeof(command));
    return answered && (reply[0] == '+' || fail(attempt, "AUTH was refused: ", reply + (reply[0] == '-')));
}

/* An endpoint may not know PING: an error is an answer, too, unless it asks for a password. */
static bool greet(struct attempt *attempt)
{
    static const char ping[] = "*1\r\n$4\r\nPING\r\n";
    char reply[REPLY_BYTES];

    if (!ask(attempt, "PING", ping, sizeof(ping) - 1, reply))
        return false;
    if (strncmp(reply, "-NOAUTH", 7) == 0)
        return fail(attempt, "--publish-password-file is needed: ", reply + 1);
    return reply[0] == '+' || reply[0] == '-' || reply[0] == ':' ||
           fail(attempt, "this is no Redis-protocol endpoint: PING was answered with ", reply);
}

int publish_connect(const struct publish_endpoint *endpoint, const _Atomic bool *give_up, char *error,
                    size_t error_size)
{
    struct attempt attempt = {
        .endpoint = endpoint, .give_up = give_up, .fd = -1, .error = error, .error_size = error_size};

    if (connect_to(&attempt) && authenticate(&attempt) && greet(&attempt))
        return attempt.fd;
    if (attempt.fd >= 0)
        close(attempt.fd);
    return -1;
}

bool publish_still_connected(int fd)
{
    struct pollfd look = {.fd = fd, .events = POLLIN | POLLRDHUP};
    return poll(&look, 1, 0) == 0;
}
