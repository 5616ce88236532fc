/* What a run measured, the verdict, and its forms: text and JSON.
 *
 * Thread: the main thread, after all others have ended. Owner: the caller; `samples` is the run's.
 */
#pragma once

#include "loadtest/options.h"
#include "loadtest/publisher.h"
#include "loadtest/stats.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* The state once a second. */
struct load_sample {
    double seconds;
    uint64_t open, failed, ended, delivered;
};

struct load_result {
    const struct load_options *options;
    struct load_stats total;
    const struct publisher *publisher; /* NULL: nothing was to be published */
    uint64_t started_at_ms;            /* since 1970 */
    double open_seconds;               /* until the last connection was open or had failed */
    double run_seconds;
    struct histogram spread_time;  /* with --one-by-one: from PUBLISH until a message was everywhere */
    uint64_t rss_before, rss_open; /* bytes, of this process, around the opening */
    double cpu_user, cpu_system;   /* seconds, of this process */
    unsigned workers;
    bool interrupted;
    const struct load_sample *samples;
    size_t sample_count;
};

/* True when all that was tried succeeded: exit status 0. */
bool load_result_good(const struct load_result *result);
/* User-space bytes of this tool per open connection; 0 when none is open. */
double load_result_bytes_per_connection(const struct load_result *result);
/* Messages per second, from the first PUBLISH to the last delivery; 0 when nothing was delivered. */
double load_result_delivery_rate(const struct load_result *result);

void load_report_text(const struct load_result *result, FILE *out);
bool load_report_json(const struct load_result *result, FILE *out) __attribute__((warn_unused_result));
