/* What the threads counted, as Prometheus text (exposition format 0.0.4).
 *
 * Thread: the admin's; reads counters that other threads write. Owner: nobody.
 */
#pragma once

#include "gateway/admin.h"

#include <stdio.h>

#define ADMIN_METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

void admin_metrics_write(const struct admin_config *config, FILE *out);
