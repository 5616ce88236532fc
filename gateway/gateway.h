/* The gateway: builds, wires and joins the threads.
 *
 * Thread: main's. Owner: everything that it starts, it ends.
 */
#pragma once

#include "gateway/settings/settings.h"

/* Runs until SIGTERM or SIGINT has drained it; SIGHUP reloads certificates and the keys of tokens. Returns
 * the exit status: 0, or 1 when it could not start (said on stderr and in the log). */
int gateway_run(const struct settings *settings);
