/* A client's address as limits, lists and logs see it: an IPv4 or IPv6 address and a port, or a unix socket.
 *
 * An IPv4 address that stands in an IPv6 one (::ffff:192.0.2.1) is that IPv4 address, everywhere.
 *
 * Thread: any; pure. Owner: the caller's memory.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum address_family {
    ADDRESS_NONE, /* not known */
    ADDRESS_UNIX, /* a unix socket: whoever may open it */
    ADDRESS_IPV4,
    ADDRESS_IPV6,
};

enum { ADDRESS_TEXT_MAX = 56 }; /* with brackets, port and NUL */

struct address {
    uint8_t ip[16]; /* in network order; of IPv4 the first 4 bytes, the others zero */
    uint16_t port;  /* 0: not known */
    uint8_t family; /* enum address_family */
    uint8_t reserved;
};
_Static_assert(sizeof(struct address) == 20, "a forwarded connection costs this beside its slot");

/* `ip`: 4 bytes with ADDRESS_IPV4, 16 with ADDRESS_IPV6. */
struct address address_make(enum address_family family, const void *ip, uint16_t port);
struct address address_from_sockaddr(const struct sockaddr *from);
/* Whom a connected socket speaks with; ADDRESS_NONE when the kernel does not know any more (after a reset).
 */
struct address address_of_peer(int fd);
/* True when both are the same host, whatever the ports. */
bool address_same_host(const struct address *a, const struct address *b);
/* "192.0.2.1:5000", "[2001:db8::1]:5000" (without a port "192.0.2.1", "2001:db8::1"), "unix", "unknown".
 * `size` ≥ ADDRESS_TEXT_MAX. Returns `out`. */
const char *address_format(const struct address *address, char *out, size_t size);
/* The same without a port. */
const char *address_format_host(const struct address *address, char *out, size_t size);
