/* One small HTTP request and the status of its answer. */
#include "gateway/probe.h"

#include "gateway/base/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static const char request[] = "GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n";

/* Who listens on every address listens on loopback, too. */
static void use_loopback(struct net_address *address)
{
    struct sockaddr_in *in4 = (struct sockaddr_in *)&address->storage;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&address->storage;
    if (address->storage.ss_family == AF_INET && in4->sin_addr.s_addr == htonl(INADDR_ANY))
        in4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (address->storage.ss_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr))
        in6->sin6_addr = in6addr_loopback;
}

/* Of the answer's first line, which may come in pieces; −1 with errno, 0 when it is none of HTTP. */
static int read_status(int fd)
{
    char line[16]; /* "HTTP/1.1 200 …" */
    size_t have = 0;
    while (have < sizeof line - 1) {
        ssize_t got = recv(fd, line + have, sizeof line - 1 - have, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        have += (size_t)got;
    }
    line[have] = '\0';
    const char *status = line + strlen("HTTP/1.1 ");
    if (have < strlen("HTTP/1.1 200") || strncmp(line, "HTTP/1.", strlen("HTTP/1.")) != 0 ||
        strspn(status, "0123456789") < 3)
        return 0;
    return (status[0] - '0') * 100 + (status[1] - '0') * 10 + status[2] - '0';
}

bool probe_health(const struct settings *settings, uint64_t timeout_ms, char *error, size_t error_size)
{
    const char *where = settings->listen.admin;
    struct net_address address;
    char why[256];
    if (!*where) {
        snprintf(error, error_size, "listen.admin is not set, so there is nobody to ask");
        return false;
    }
    if (!net_parse(where, &address, why, sizeof why)) {
        snprintf(error, error_size, "listen.admin=%s: %s", where, why);
        return false;
    }
    use_loopback(&address);
    const struct timeval timeout = {.tv_sec = (time_t)(timeout_ms / 1000),
                                    .tv_usec = (suseconds_t)(timeout_ms % 1000 * 1000)};
    int status = -1;
    int fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) == 0 &&
        connect(fd, (const struct sockaddr *)&address.storage, address.len) == 0 &&
        send(fd, request, sizeof request - 1, MSG_NOSIGNAL) == (ssize_t)sizeof request - 1)
        status = read_status(fd);
    if (status < 0) {
        bool late = errno == EAGAIN || errno == EINPROGRESS;
        snprintf(error, error_size, "listen.admin=%s: %s", where,
                 late ? "no answer in time" : strerror(errno));
    } else if (status == 0) {
        snprintf(error, error_size, "listen.admin=%s: the answer is not HTTP", where);
    } else if (status != 200) {
        snprintf(error, error_size, "listen.admin=%s: /healthz answers %d", where, status);
    }
    if (fd >= 0)
        close(fd);
    return status == 200;
}
