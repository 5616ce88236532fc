#include "gateway/conn/access.h"

#include "gateway/base/cidr.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

struct access {
    _Atomic uint32_t references;
    bool by_name; /* only who is in `allow` */
    struct cidr_set *allow, *deny;
};

struct access *access_create(const struct access_config *config, char *error, size_t error_size)
{
    struct cidr_set *allow = cidr_set_create(config->allow, config->allow_file, error, error_size);
    struct cidr_set *deny =
        allow ? cidr_set_create(config->deny, config->deny_file, error, error_size) : NULL;
    struct access *access = deny ? malloc(sizeof *access) : NULL;
    if (!access) {
        if (deny)
            snprintf(error, error_size, "out of memory");
        cidr_set_destroy(allow);
        cidr_set_destroy(deny);
        return NULL;
    }
    /* A file that is named and empty allows nobody. */
    *access = (struct access){.references = 1,
                              .by_name = *config->allow_file || !cidr_set_empty(allow),
                              .allow = allow,
                              .deny = deny};
    return access;
}

struct access *access_retain(struct access *access)
{
    atomic_fetch_add_explicit(&access->references, 1, memory_order_relaxed);
    return access;
}

void access_release(struct access *access)
{
    if (!access || atomic_fetch_sub_explicit(&access->references, 1, memory_order_acq_rel) != 1)
        return;
    cidr_set_destroy(access->allow);
    cidr_set_destroy(access->deny);
    free(access);
}

bool access_allows(const struct access *access, const struct address *client)
{
    if (!access)
        return true;
    return !cidr_set_has(access->deny, client) && (!access->by_name || cidr_set_has(access->allow, client));
}

size_t access_ranges(const struct access *access)
{
    return cidr_set_ranges(access->allow) + cidr_set_ranges(access->deny);
}
