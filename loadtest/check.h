/* What this machine lacks for the connections that are about to be opened (gateway/base/preflight.h).
 *
 * Thread: the main thread, before others start. Owner: nothing is owned.
 */
#pragma once

#include "loadtest/options.h"

/* Prints what is too small, with the lines that change it; nothing when all is large enough. `workers` each
 * have a descriptor table unless options->shared_fds. `root` is "", or a directory with another machine's
 * proc/. */
void load_check_machine(const struct load_options *options, unsigned workers, const char *root, FILE *out);
