/* Addresses and sockets: parsing `listen.*` values, opening listeners, naming peers.
 *
 * Thread: any. Owner: descriptors belong to the caller.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>

struct net_address {
    struct sockaddr_storage storage;
    socklen_t len;
};

/* Who may connect to a unix socket. */
struct net_unix_access {
    mode_t mode;
    uid_t user; /* (uid_t)-1: whoever runs this process; the group alike */
    gid_t group;
};

/* "127.0.0.1:8443", "[::1]:8443", "*:8443" (all IPv4 and IPv6), "unix:/path". Host names are not resolved.
 * False with a sentence. */
bool net_parse(const char *text, struct net_address *out, char *error, size_t error_size)
    __attribute__((warn_unused_result));
/* Non-blocking, close-on-exec stream listener; TCP with SO_REUSEADDR, and SO_REUSEPORT when asked; a stale
 * unix socket file (nobody answers there) is replaced, its mode is 0660. Port 0 picks one. Returns the
 * descriptor, or -1 with a sentence. */
int net_listen(const struct net_address *address, int backlog, bool reuse_port, char *error,
               size_t error_size) __attribute__((warn_unused_result));
/* The same, a unix socket with this owner and mode; nobody can connect before it has them. */
int net_listen_as(const struct net_address *address, int backlog, bool reuse_port,
                  const struct net_unix_access *unix_access, char *error, size_t error_size)
    __attribute__((warn_unused_result));
/* Text of an address, "127.0.0.1:8443" or "unix:/path", for logs. */
void net_format(const struct net_address *address, char *out, size_t out_size);
/* The address that a listener is bound to (for port 0). */
bool net_local_address(int fd, struct net_address *out) __attribute__((warn_unused_result));
/* Is the peer of a connection on this machine: on a unix socket, or at a loopback address? */
bool net_peer_is_local(int fd);
/* Is this error of accept(2) that of one connection, which has failed meanwhile, so that the next one may be
 * accepted at once? Others (no descriptors, no memory) last, and the listener stays readable meanwhile. */
bool net_accept_error_passes(int error);
bool net_set_nonblocking(int fd) __attribute__((warn_unused_result));
/* EPOLL_CTL_ADD. False, with a line in the log, when the kernel watches no more
 * (fs.epoll.max_user_watches, or memory). */
bool net_watch(int epoll_fd, int fd, struct epoll_event *event) __attribute__((warn_unused_result));
