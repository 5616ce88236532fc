/* Sets of networks: "10.0.0.0/8, 2001:db8::/32 192.0.2.7 unix" in a setting, or thousands of them in a file.
 *
 * Held as sorted ranges that do not overlap, so that a look-up costs a binary search whatever the set's size.
 * IPv4 and IPv6 are kept apart: ::/0 has every IPv6 address and no IPv4 address. The word "unix" stands for
 * peers on unix sockets. A network with bits behind its prefix (10.0.0.1/8) is refused: it is a slip more
 * often than not.
 *
 * Thread: a set is immutable once made, and then anybody's. Owner: whoever made it destroys it.
 */
#pragma once

#include "gateway/base/address.h"

struct cidr_set;

enum { CIDR_NETWORKS_MAX = 4000000 }; /* of one set */

/* `list`: networks with spaces, commas or line ends between. `file`: a path, or "" for none; one or more
 * networks a line, '#' begins a comment. NULL with a sentence that names the network, and for files the line.
 */
struct cidr_set *cidr_set_create(const char *list, const char *file, char *error, size_t error_size);
void cidr_set_destroy(struct cidr_set *set); /* NULL is fine */
/* Is `list` well written? */
bool cidr_list_check(const char *list, char *error, size_t error_size) __attribute__((warn_unused_result));

bool cidr_set_has(const struct cidr_set *set, const struct address *address);
bool cidr_set_empty(const struct cidr_set *set);
/* Ranges that are left when networks that touch or overlap have become one. */
size_t cidr_set_ranges(const struct cidr_set *set);
