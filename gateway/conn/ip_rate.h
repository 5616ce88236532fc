/* New connections per second and client address (IPv6 by /64), for limits.handshakes_per_ip: a token bucket
 * each.
 *
 * A table of fixed size: BUCKETS of 16 bytes, in sets of 8 that a keyed hash chooses. A bucket that has
 * filled up again says nothing and is anybody's. When a newcomer's set has none, the bucket goes that is
 * closest to full: so whoever is being held back goes last, and to wash its own bucket out it must spend the
 * bursts of many other addresses in a set that it cannot aim at. Whoever has as many addresses as the table
 * has buckets is not held by a limit per address.
 *
 * Thread: any; a mutex for each group of sets. Owner: create/destroy by main.
 */
#pragma once

#include "gateway/base/address.h"

enum { IP_RATE_BUCKETS = 1 << 17 };

struct ip_rate;
/* `per_second` ≥ 1 refill a bucket that holds `burst` (0: as many as a second brings). NULL without memory.
 */
struct ip_rate *ip_rate_create(uint64_t per_second, uint64_t burst);
void ip_rate_destroy(struct ip_rate *rate); /* NULL is fine */
/* True when this address may connect now (by the monotonic clock), and counts it. Else *retry_after is in how
 * many seconds it is worth to come again. With NULL for `rate`, and for what is not counted, always true. */
bool ip_rate_take(struct ip_rate *rate, const struct address *address, uint64_t now_ns, uint32_t *retry_after)
    __attribute__((warn_unused_result));
