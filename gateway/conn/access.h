/* Who may connect at all: access.allow and access.deny with their files.
 *
 * A client in a denied network may not, whatever else is said. Else everybody may when nothing is allowed by
 * name, and only those in an allowed network otherwise. Order and length of prefixes do not matter.
 *
 * Thread: any; immutable and reference-counted. Owner: whoever holds a reference.
 */
#pragma once

#include "gateway/base/address.h"

struct access;

struct access_config {
    const char *allow, *deny;           /* networks (base/cidr.h) */
    const char *allow_file, *deny_file; /* "" none */
};
/* Reads the files. NULL with a sentence. */
struct access *access_create(const struct access_config *config, char *error, size_t error_size);
struct access *access_retain(struct access *access);
void access_release(struct access *access); /* NULL is fine */
/* With NULL for `access` everybody may. */
bool access_allows(const struct access *access, const struct address *client);
/* Ranges of networks in both, for logs. */
size_t access_ranges(const struct access *access);
