/* What the process gives up at its start, so that keys stay inside it.
 *
 * Thread: main, before others start. Owner: nobody.
 */
#pragma once

#include <stdbool.h>

/* Without `core_dumps`: no core dumps, and nobody but root reads this process's memory (prctl(2),
 * PR_SET_DUMPABLE). Logs what the kernel refuses. */
void harden_process(bool core_dumps);
/* After the process has become another user, for which the kernel sets that flag anew: it is as asked for
 * again. */
void harden_again(bool core_dumps);
