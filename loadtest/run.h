/* One run: sets workers and publisher up, leads them through the phases of the mode, gathers the result.
 *
 * Thread: the main thread; SIGINT, SIGTERM and SIGUSR1 must be blocked in it before, so that every thread
 * inherits that. Owner: the run owns workers, publisher and samples until load_run_destroy().
 */
#pragma once

#include "loadtest/report.h"

struct load_run;

/* NULL with a sentence: the machine lacks something, or the endpoint's or certificate files are wrong. */
struct load_run *load_run_create(const struct load_options *options, char *error, size_t error_size);
/* Runs to the end, or until SIGINT or SIGTERM; SIGUSR1 ends the opening. False with a sentence when it could
 * not start. */
bool load_run_execute(struct load_run *run, char *error, size_t error_size)
    __attribute__((warn_unused_result));
const struct load_result *load_run_result(const struct load_run *run);
void load_run_destroy(struct load_run *run);
