/* Addresses in and out of text, and listeners. */
#include "gateway/base/net.h"

#include "gateway/base/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static const char unix_prefix[] = "unix:";
enum { UNIX_PREFIX_LEN = sizeof unix_prefix - 1, UNIX_MODE_DEFAULT = 0660 };

/* --- Text to address --- */

static bool parse_unix(const char *path, struct net_address *out, char *error, size_t error_size)
{
    struct sockaddr_un *un = (struct sockaddr_un *)&out->storage;
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof un->sun_path) {
        snprintf(error, error_size, "\"unix:%s\": the path must have 1 to %zu bytes, not %zu", path,
                 sizeof un->sun_path - 1, len);
        return false;
    }
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, path, len + 1);
    out->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
    return true;
}

/* 0 … 65535 in plain digits. */
static bool parse_port(const char *text, in_port_t *port)
{
    unsigned value = 0;
    size_t len = strlen(text);
    if (len == 0 || len > 5 || strspn(text, "0123456789") != len)
        return false;
    for (; *text; text++)
        value = value * 10 + (unsigned)(*text - '0');
    *port = htons((uint16_t)value);
    return value <= UINT16_MAX;
}

static bool parse_host(const char *host, size_t len, in_port_t port, struct net_address *out)
{
    char name[INET6_ADDRSTRLEN + 2];
    struct sockaddr_in *in4 = (struct sockaddr_in *)&out->storage;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&out->storage;
    bool bracketed = len >= 2 && host[0] == '[' && host[len - 1] == ']';
    if (bracketed) {
        host++;
        len -= 2;
    }
    if (len >= sizeof name)
        return false;
    memcpy(name, host, len);
    name[len] = '\0';
    if (bracketed ? inet_pton(AF_INET6, name, &in6->sin6_addr) == 1 : strcmp(name, "*") == 0) {
        in6->sin6_family = AF_INET6; /* for * the address is all zeros already */
        in6->sin6_port = port;
        out->len = sizeof *in6;
        return true;
    }
    if (bracketed || inet_pton(AF_INET, name, &in4->sin_addr) != 1)
        return false;
    in4->sin_family = AF_INET;
    in4->sin_port = port;
    out->len = sizeof *in4;
    return true;
}

bool net_parse(const char *text, struct net_address *out, char *error, size_t error_size)
{
    memset(out, 0, sizeof *out);
    if (strncmp(text, unix_prefix, UNIX_PREFIX_LEN) == 0)
        return parse_unix(text + UNIX_PREFIX_LEN, out, error, error_size);
    const char *colon = strrchr(text, ':');
    in_port_t port;
    if (!colon || !parse_port(colon + 1, &port)) {
        snprintf(error, error_size,
                 "\"%s\": an address needs a port from 0 to 65535 at its end, as in 127.0.0.1:8443", text);
        return false;
    }
    if (parse_host(text, (size_t)(colon - text), port, out))
        return true;
    snprintf(
        error, error_size,
        "\"%s\" is not an address: write 127.0.0.1:8443, [::1]:8443, *:8443 or unix:/path (host names are "
        "not looked up)",
        text);
    return false;
}

/* --- Address to text --- */

void net_format(const struct net_address *address, char *out, size_t out_size)
{
    const struct sockaddr_in *in4 = (const struct sockaddr_in *)&address->storage;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address->storage;
    const struct sockaddr_un *un = (const struct sockaddr_un *)&address->storage;
    char host[INET6_ADDRSTRLEN];
    switch (address->storage.ss_family) {
    case AF_INET:
        inet_ntop(AF_INET, &in4->sin_addr, host, sizeof host);
        snprintf(out, out_size, "%s:%u", host, (unsigned)ntohs(in4->sin_port));
        break;
    case AF_INET6:
        /* An IPv4 peer on a listener for both; "*" is how a listener on all addresses was written. */
        if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
            inet_ntop(AF_INET, &in6->sin6_addr.s6_addr[12], host, sizeof host);
            snprintf(out, out_size, "%s:%u", host, (unsigned)ntohs(in6->sin6_port));
        } else if (IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr)) {
            snprintf(out, out_size, "*:%u", (unsigned)ntohs(in6->sin6_port));
        } else {
            inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
            snprintf(out, out_size, "[%s]:%u", host, (unsigned)ntohs(in6->sin6_port));
        }
        break;
    case AF_UNIX: {
        /* Clients are unnamed; the kernel's length says how much of the path is there, and it need not end in
         * a zero. */
        size_t start = offsetof(struct sockaddr_un, sun_path);
        size_t room = address->len > start ? address->len - start : 0;
        if (room > sizeof un->sun_path)
            room = sizeof un->sun_path;
        snprintf(out, out_size, "unix:%.*s", (int)strnlen(un->sun_path, room), un->sun_path);
        break;
    }
    default:
        snprintf(out, out_size, "unknown");
        break;
    }
}

/* --- Listeners --- */

static bool is_any(const struct net_address *address)
{
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address->storage;
    return address->storage.ss_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr);
}

/* Is the path a socket that nobody listens on? Connecting to a regular file fails alike, so the type is asked
 * first. */
static bool is_stale_socket(const struct sockaddr_un *un, socklen_t len)
{
    struct stat st;
    if (lstat(un->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode))
        return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    bool stale = connect(fd, (const struct sockaddr *)un, len) != 0 && errno == ECONNREFUSED;
    close(fd);
    return stale;
}

/* Nobody can connect before listen(), so owner and mode have until then. */
static bool bind_unix(int fd, const struct net_address *address, const struct net_unix_access *unix_access)
{
    const struct sockaddr *name = (const struct sockaddr *)&address->storage;
    const struct sockaddr_un *un = (const struct sockaddr_un *)&address->storage;
    /* The file takes the socket's mode less the umask: so it has it from the first moment, and no chmod() has
     * to follow a path that somebody may have replaced. */
    if (fchmod(fd, unix_access->mode) != 0)
        return false;
    mode_t before = umask(0);
    bool bound = bind(fd, name, address->len) == 0;
    if (!bound && errno == EADDRINUSE) {
        bool replaced = is_stale_socket(un, address->len) && unlink(un->sun_path) == 0;
        errno = EADDRINUSE;
        bound = replaced && bind(fd, name, address->len) == 0;
    }
    umask(before);
    if (!bound)
        return false;
    return (unix_access->user == (uid_t)-1 && unix_access->group == (gid_t)-1) ||
           lchown(un->sun_path, unix_access->user, unix_access->group) == 0;
}

static bool bind_tcp(int fd, const struct net_address *address, bool reuse_port)
{
    const int on = 1, off = 0;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0)
        return false;
    if (reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0)
        return false;
    if (is_any(address) && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) != 0)
        return false;
    return bind(fd, (const struct sockaddr *)&address->storage, address->len) == 0;
}

int net_listen_as(const struct net_address *address, int backlog, bool reuse_port,
                  const struct net_unix_access *unix_access, char *error, size_t error_size)
{
    struct net_address used = *address;
    const int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    int fd = socket(used.storage.ss_family, type, 0);
    if (fd < 0 && errno == EAFNOSUPPORT && is_any(address)) {
        /* A kernel without IPv6: all addresses are all IPv4 addresses. */
        struct sockaddr_in in4 = {.sin_family = AF_INET};
        in4.sin_port = ((const struct sockaddr_in6 *)&address->storage)->sin6_port;
        memset(&used, 0, sizeof used);
        memcpy(&used.storage, &in4, sizeof in4);
        used.len = sizeof in4;
        fd = socket(AF_INET, type, 0);
    }
    bool bound = fd >= 0 && (used.storage.ss_family == AF_UNIX ? bind_unix(fd, &used, unix_access)
                                                               : bind_tcp(fd, &used, reuse_port));
    if (bound && listen(fd, backlog) == 0)
        return fd;
    int reason = errno;
    char text[sizeof(struct sockaddr_un) + UNIX_PREFIX_LEN];
    net_format(address, text, sizeof text);
    errno = reason;
    snprintf(error, error_size, "cannot listen on %s: %m%s", text,
             reason == EADDRINUSE ? " (is another pushgate running?)" : "");
    if (fd >= 0)
        close(fd);
    return -1;
}

int net_listen(const struct net_address *address, int backlog, bool reuse_port, char *error,
               size_t error_size)
{
    const struct net_unix_access usual = {.mode = UNIX_MODE_DEFAULT, .user = (uid_t)-1, .group = (gid_t)-1};
    return net_listen_as(address, backlog, reuse_port, &usual, error, error_size);
}

bool net_local_address(int fd, struct net_address *out)
{
    memset(out, 0, sizeof *out);
    out->len = sizeof out->storage;
    return getsockname(fd, (struct sockaddr *)&out->storage, &out->len) == 0;
}

bool net_peer_is_local(int fd)
{
    struct net_address peer = {.len = sizeof peer.storage};
    if (getpeername(fd, (struct sockaddr *)&peer.storage, &peer.len) != 0)
        return false;
    const struct sockaddr_in *in4 = (const struct sockaddr_in *)&peer.storage;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&peer.storage;
    switch (peer.storage.ss_family) {
    case AF_UNIX:
        return true;
    case AF_INET:
        return ntohl(in4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    case AF_INET6:
        return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr) ||
               (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) && in6->sin6_addr.s6_addr[12] == IN_LOOPBACKNET);
    default:
        return false;
    }
}

bool net_accept_error_passes(int error)
{
    switch (error) {
    case EINTR:
    case ECONNABORTED:
    case EPERM: /* by the firewall */
    /* Errors of the network that Linux passes on, as accept(2) says. */
    case ENETDOWN:
    case EPROTO:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
    case ETIMEDOUT:
        return true;
    default:
        return false;
    }
}

bool net_set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

bool net_watch(int epoll_fd, int fd, struct epoll_event *event)
{
    static struct log_limit limit;
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, event) == 0)
        return true;
    log_limited(
        &limit, LOG_ERROR, "watch_failed", "error=%s advice=%s", strerror(errno),
        errno == ENOSPC
            ? "raise fs.epoll.max_user_watches: this user's processes watch as many sockets as it allows"
            : "give the machine memory");
    return false;
}
