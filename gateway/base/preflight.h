/* What this machine allows, held against what a number of connections needs.
 *
 * Values come from files under a root directory ("" is the real one), so that a made-up tree stands for any
 * machine; judging them is pure.
 *
 * Thread: any. Owner: everything is the caller's; no heap memory.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Of values that the machine does not show, and of limits that are none. */
#define PREFLIGHT_UNKNOWN   UINT64_MAX
#define PREFLIGHT_UNLIMITED (UINT64_MAX - 1)

enum {
    PREFLIGHT_ROWS = 13,
    /* Measured at a million loopback pairs: what slab caches grew by, for one end of an idle TCP connection.
     */
    PREFLIGHT_SOCKET_BYTES = 4160,
};

struct preflight_machine {
    uint64_t nofile_soft, nofile_hard; /* RLIMIT_NOFILE */
    uint64_t processes;                /* RLIMIT_NPROC, threads count */
    uint64_t nr_open;
    uint64_t file_max, files_used;
    uint64_t epoll_watches; /* of one user */
    uint64_t somaxconn;
    uint64_t tcp_mem[3];    /* pages */
    uint64_t ehash_buckets; /* of the kernel's table of established TCP sockets */
    uint64_t port_first, port_last;
    uint64_t conntrack_max, conntrack_count;
    uint64_t threads_max, pid_max;
    uint64_t memory_available; /* bytes: MemAvailable */
    uint64_t page_bytes;
};

struct preflight_demand {
    uint64_t connections;
    uint64_t ends; /* sockets of each connection on this machine: 2 when clients run on it as well, else 1 */
    uint64_t user_bytes;    /* of each connection, in the processes that are about to start */
    uint64_t message_bytes; /* of each more, while one message goes to all; 0: none does */
    uint64_t fixed_bytes;   /* whatever the number of connections */
    uint64_t table_fds;     /* descriptors that the fullest table will hold */
    uint64_t threads;
    uint64_t backlog;               /* 0: listens to nobody */
    uint64_t sources;               /* addresses to connect from; 0: connects to nobody */
    const char *descriptors_advice; /* what helps besides a higher limit; NULL: nothing */
};

enum preflight_verdict { PREFLIGHT_GOOD, PREFLIGHT_NOT_SHOWN, PREFLIGHT_TOO_SMALL };

struct preflight_row {
    const char *name;
    enum preflight_verdict verdict;
    uint64_t have, need; /* `have` may be PREFLIGHT_UNLIMITED */
    const char *unit;    /* what both count */
    const char *effect;  /* of being too small */
    char remedy[320];    /* lines to change it, each ended by \n; "" unless too small */
};

/* How many source addresses so many connections to one address and port are spread over best: connect() tries
 * every second port of one first, one after the other, and only then walks through those in use. 0
 * connections need one. */
uint64_t preflight_sources(const struct preflight_machine *machine, uint64_t connections);
/* Reads what is there. `root` "" or a directory that holds proc/. */
void preflight_read(const char *root, struct preflight_machine *machine);
/* Fills rows with those that concern the demand; returns how many. */
size_t preflight_judge(const struct preflight_machine *machine, const struct preflight_demand *demand,
                       struct preflight_row rows[PREFLIGHT_ROWS]);
size_t preflight_too_small(const struct preflight_row *rows, size_t count);
/* A table with one line per row, and below those that are too small what happens and what to change;
 * `only_too_small` leaves out the others. */
void preflight_print(const struct preflight_row *rows, size_t count, bool only_too_small, FILE *out);
/* "1,234,567" */
const char *preflight_number(uint64_t value, char out[32]);
