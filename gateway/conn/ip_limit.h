/* Counts connections per client address (IPv6 by /64) for limits.connections_per_ip.
 *
 * Thread: any; a mutex per shard, taken at accept and at close only. Owner: create/destroy by main.
 */
#pragma once

#include "gateway/base/address.h"

#define IP_LIMIT_NONE    0u /* not counted: no limit is set, or the client has no address */
#define IP_LIMIT_REFUSED UINT32_MAX

struct ip_limit;
struct ip_limit *
ip_limit_create(uint64_t limit); /* 0: every acquire returns IP_LIMIT_NONE; NULL without memory */
void ip_limit_destroy(struct ip_limit *table);
/* A handle to release exactly once, or IP_LIMIT_REFUSED. */
uint32_t ip_limit_acquire(struct ip_limit *table, const struct address *address)
    __attribute__((warn_unused_result));
void ip_limit_release(struct ip_limit *table, uint32_t handle);
/* Addresses with at least one connection. */
uint64_t ip_limit_addresses(struct ip_limit *table);
