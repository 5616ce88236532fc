/* How much memory the machine should have for the gateway, by its settings: the formula of
 * deploy/OPERATIONS.md.
 *
 * Thread: any; pure. Owner: nothing is owned.
 */
#pragma once

#include "gateway/settings/settings.h"

#include <stdint.h>
#include <stdio.h>

/* All in bytes. */
struct memory_need {
    uint64_t connections; /* so many */
    uint64_t user;        /* of each, idle: the gateway's own */
    uint64_t page;        /* of each more, while one message goes to all */
    uint64_t history, inflight, outboxes, process;
    uint64_t listener_outbox; /* of each backend that reads slowly, at most; 0: none listens */
};

struct memory_need memory_reckon(const struct settings *settings, uint64_t connections, uint64_t page_bytes);
/* What does not depend on the number of connections. */
uint64_t memory_fixed(const struct memory_need *need);
/* Its parts, and what is in none of them because it has no bound, or nobody knows how often it will be. */
void memory_print(const struct memory_need *need, const struct settings *settings, FILE *out);
