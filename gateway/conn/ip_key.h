/* What limits per address count by: an IPv4 address, or the first 64 bits of an IPv6 address, which is the
 * least that one customer of a provider has.
 *
 * Strangers choose the keys, so tables hash them with a secret of this process (SipHash-1-3, Aumasson and
 * Bernstein, 2012): nobody can aim addresses at one chain or set.
 *
 * Thread: any; pure but for ip_secret_make(). Owner: the caller.
 */
#pragma once

#include "gateway/base/address.h"

struct ip_key {
    uint64_t prefix;
    uint64_t family; /* enum address_family */
};

struct ip_secret {
    uint64_t words[2];
};

/* False for what is not counted: unix sockets, addresses that nobody knows. */
bool ip_key_of(const struct address *address, struct ip_key *key);
bool ip_secret_make(struct ip_secret *secret) __attribute__((warn_unused_result));
uint64_t ip_key_hash(const struct ip_secret *secret, struct ip_key key);
