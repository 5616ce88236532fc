/* A descriptor table of one thread's own, so that RLIMIT_NOFILE counts per thread and look-ups share nothing
 * (unshare(2), CLONE_FILES).
 *
 * Thread: the one that gets the table. Owner: descriptors that are kept are copies of the process'; each
 * table closes its own.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Gives the calling thread its own table and closes everything in it but `keep`. False with errno. */
bool fdtable_make_private(const int *keep, size_t count) __attribute__((warn_unused_result));
/* Whether the kernel lets a thread have a table of its own: the seccomp filters that Docker, containerd and
 * Kubernetes (RuntimeDefault) put around containers forbid unshare(2). Tries it in a thread that ends at
 * once. */
bool fdtable_private_allowed(void);
/* Raises the soft limit of descriptors to the hard one; returns the limit in force. */
uint64_t fdtable_raise_limit(void);
