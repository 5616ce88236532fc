/* What this process takes: memory, time, and what the kernel keeps for sockets.
 *
 * Thread: any. Owner: nobody.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

uint64_t usage_resident_bytes(void); /* 0: not known */
uint64_t usage_cpu_us(void);         /* user and system time spent */

/* Kernel memory of one accepted TCP connection that is watched by epoll, without buffers: the sizes of the
 * objects that make it up, from /proc/slabinfo, which only root may read. 0: not known. `root`: in front of
 * the path, "" for this machine. */
uint64_t usage_socket_bytes(const char *root);

struct usage_tcp {
    uint64_t sockets;      /* of this network namespace, whoever's */
    uint64_t buffer_bytes; /* in their queues, of all namespaces */
};
/* From /proc/net/sockstat. */
bool usage_tcp_read(const char *root, struct usage_tcp *out) __attribute__((warn_unused_result));
