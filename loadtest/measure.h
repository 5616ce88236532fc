/* What processes and the kernel use, as /proc shows it.
 *
 * Thread: any. Owner: nothing is owned.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct process_use {
    uint64_t resident;  /* bytes: VmRSS */
    uint64_t private;   /* bytes: RssAnon, without what a program shares with its file */
    double cpu_seconds; /* user and system, all threads, since its start */
};

/* `pid` 0: this process. False when there is no such process (any more) or /proc does not show it. */
bool measure_process(pid_t pid, struct process_use *use) __attribute__((warn_unused_result));

/* All of the machine, whoever uses it: differences say what a run has added. */
struct kernel_use {
    uint64_t slab_bytes; /* /proc/meminfo, Slab: sockets, files, inodes, epoll entries …; 0: not shown */
    uint64_t tcp_bytes;  /* /proc/net/sockstat: what TCP accounts for data in flight and queued */
    uint64_t available;  /* MemAvailable */
};

void measure_kernel(struct kernel_use *use);
