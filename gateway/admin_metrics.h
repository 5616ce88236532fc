/* What the threads counted, as Prometheus text (exposition format 0.0.4).
 *
 * Thread: the admin's; reads counters that other threads write. Owner: nobody.
 */
#pragma once

#include "gateway/admin.h"
#include "gateway/admin_api.h"
#include "gateway/admin_auth.h"

#include <stdint.h>
#include <stdio.h>

#define ADMIN_METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* `api`, `auth`: the admin thread's own; NULL: their families are left out. `started_ms`: when the process
 * started, milliseconds since 1970. */
void admin_metrics_write(const struct admin_config *config, uint64_t started_ms,
                         const struct admin_api_stats *api, const struct admin_auth *auth, FILE *out);
