/* How many threads of each kind the gateway starts, and how many connections each reactor may hold: from the
 * settings, the cores and the limit of descriptors.
 *
 * Thread: any; pure. Owner: nothing is owned.
 */
#pragma once

#include "gateway/settings/settings.h"

#include <stddef.h>
#include <stdint.h>

struct plan {
    uint32_t acceptors, reactors;
    uint32_t capacity;    /* connections of one reactor */
    uint64_t connections; /* all that the settings ask for; without a limit, all that reactors may hold */
    uint64_t table_fds;   /* RLIMIT_NOFILE that holds them with these settings */
};

/* `nofile` is the limit in force. False with a sentence when no number of reactors would do. plan->capacity ×
 * reactors may be less than plan->connections: then table_fds is more than nofile. */
bool plan_make(const struct settings *settings, uint32_t cores, uint64_t nofile, struct plan *plan,
               char *error, size_t error_size) __attribute__((warn_unused_result));
/* Cores that are online, at least 1. */
uint32_t plan_cores(void);
