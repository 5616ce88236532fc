/* What acceptors let clients in by: limits per address, proxies that are trusted, lists of networks.
 *
 * Thread: main. Owner: the gateway; it outlives acceptors and reactors.
 */
#pragma once

#include "gateway/acceptor.h"

struct admission {
    const struct settings *settings;
    struct ip_limit *ip_limit;
    struct ip_rate *ip_rate;  /* NULL: no limit */
    struct cidr_set *trusted; /* NULL: nobody has to be */
    struct access *access;    /* NULL: everybody may connect */
};

/* Reads access.allow_file and access.deny_file. False with a sentence; admission_fini() is due all the same.
 */
bool admission_init(struct admission *admission, const struct settings *settings, char *error,
                    size_t error_size) __attribute__((warn_unused_result));
void admission_fini(struct admission *admission);
/* Its part of what all acceptors share. */
void admission_share(const struct admission *admission, struct acceptor_shared *shared);
/* Reads the files of networks again and tells the acceptors; when one is bad, those in use stay (false). Says
 * so in the log. */
bool admission_reload(struct admission *admission, struct acceptor *const *acceptors, uint32_t count);
