/* One run: sets workers and publisher up, leads them through the phases of the mode, gathers the result.
 *
 * Thread: the main thread, in which SIGUSR1 is blocked; other threads start in load_run_execute().
 * Owner: the run owns workers, publisher and samples until load_run_destroy().
 */
#pragma once

#include "loadtest/report.h"

struct load_run;

/* Connects to the endpoint that is to publish. NULL with a sentence: the machine lacks something, the
 * endpoint cannot be used, or certificate or password files are wrong. */
struct load_run *load_run_create(const struct load_options *options, char *error, size_t error_size);
/* Runs to the end, or until SIGINT or SIGTERM, which are blocked from here on, as threads inherit that;
 * SIGUSR1 ends the opening. False with a sentence when it could not start. */
bool load_run_execute(struct load_run *run, char *error, size_t error_size)
    __attribute__((warn_unused_result));
const struct load_result *load_run_result(const struct load_run *run);
void load_run_destroy(struct load_run *run);
