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

enum kernel_source {
    KERNEL_NOT_SHOWN,
    KERNEL_SLABINFO, /* sum over all caches of objects × size; root may read it */
    KERNEL_MEMINFO,  /* the line Slab, whole pages */
};

/* All of the machine, whoever uses it: differences say what a run has added. */
struct kernel_use {
    enum kernel_source source;
    uint64_t slab_bytes; /* sockets, files, inodes, epoll entries … */
    uint64_t tcp_bytes;  /* /proc/net/sockstat: what TCP accounts for data in flight and queued */
    uint64_t available;  /* MemAvailable */
};

/* Keeps to `source` unless that is KERNEL_NOT_SHOWN, which takes the best that can be read. */
void measure_kernel(enum kernel_source source, struct kernel_use *use);
/* "/proc/slabinfo", … */
const char *kernel_source_name(enum kernel_source source);
