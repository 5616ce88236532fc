/* Addresses out of the kernel's forms and into text. */
#include "gateway/base/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

struct address address_make(enum address_family family, const void *ip, uint16_t port)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    struct address address = {.family = (uint8_t)family, .port = port};
    if (family == ADDRESS_IPV6 && memcmp(ip, mapped, sizeof mapped) == 0) {
        address.family = ADDRESS_IPV4;
        memcpy(address.ip, (const uint8_t *)ip + sizeof mapped, 4);
    } else if (family == ADDRESS_IPV4 || family == ADDRESS_IPV6) {
        memcpy(address.ip, ip, family == ADDRESS_IPV4 ? 4 : 16);
    }
    return address;
}

struct address address_from_sockaddr(const struct sockaddr *from)
{
    const struct sockaddr_in *in4 = (const void *)from;
    const struct sockaddr_in6 *in6 = (const void *)from;
    switch (from->sa_family) {
    case AF_INET:
        return address_make(ADDRESS_IPV4, &in4->sin_addr, ntohs(in4->sin_port));
    case AF_INET6:
        return address_make(ADDRESS_IPV6, &in6->sin6_addr, ntohs(in6->sin6_port));
    case AF_UNIX:
        return (struct address){.family = ADDRESS_UNIX};
    default:
        return (struct address){.family = ADDRESS_NONE};
    }
}

struct address address_of_peer(int fd)
{
    struct sockaddr_storage storage = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof storage;
    if (getpeername(fd, (struct sockaddr *)&storage, &len) != 0)
        return (struct address){.family = ADDRESS_NONE};
    return address_from_sockaddr((const struct sockaddr *)&storage);
}

bool address_same_host(const struct address *a, const struct address *b)
{
    return a->family == b->family && memcmp(a->ip, b->ip, sizeof a->ip) == 0;
}

const char *address_format_host(const struct address *address, char *out, size_t size)
{
    if (address->family == ADDRESS_IPV4 || address->family == ADDRESS_IPV6) {
        int family = address->family == ADDRESS_IPV4 ? AF_INET : AF_INET6;
        if (!inet_ntop(family, address->ip, out, (socklen_t)size))
            *out = '\0';
    } else {
        snprintf(out, size, "%s", address->family == ADDRESS_UNIX ? "unix" : "unknown");
    }
    return out;
}

const char *address_format(const struct address *address, char *out, size_t size)
{
    char host[INET6_ADDRSTRLEN];
    address_format_host(address, host, sizeof host);
    if (address->port == 0)
        snprintf(out, size, "%s", host);
    else
        snprintf(out, size, address->family == ADDRESS_IPV6 ? "[%s]:%u" : "%s:%u", host, address->port);
    return out;
}
