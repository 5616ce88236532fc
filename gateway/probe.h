/* Asks the gateway that runs with these settings whether it serves: for the health checks of containers,
 * whose images have no curl.
 *
 * Thread: main of a process of its own. Owner: nobody.
 */
#pragma once

#include "gateway/settings/settings.h"

#include <stdint.h>

/* GET /healthz on listen.admin, which a wildcard address is asked for on loopback. True when the answer is
 * 200 within `timeout_ms`; else false, with a sentence. */
bool probe_health(const struct settings *settings, uint64_t timeout_ms, char *error, size_t error_size)
    __attribute__((warn_unused_result));
