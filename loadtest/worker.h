/* One thread with a descriptor table, an epoll set and a share of the connections of its own.
 *
 * The main thread moves all workers through the phases, in order; a worker says when it has finished one.
 *
 * Thread: worker_start/_join by the main thread; the rest of struct worker belongs to the worker, but its
 * atomics and counters. Owner: the main thread owns the array; a worker frees its own connections before it
 * ends.
 */
#pragma once

#include "loadtest/client.h"

#include <pthread.h>
#include <stdatomic.h>

enum load_phase {
    PHASE_START,  /* memory and descriptors are set up */
    PHASE_OPEN,   /* finished when every connection is open or has failed */
    PHASE_HOLD,   /* never finished by the worker: the main thread goes on */
    PHASE_PROBE,  /* finished when every ping is answered */
    PHASE_SETTLE, /* finished when no open connection misses a message */
    PHASE_CLOSE,  /* finished when every closing handshake is through */
    PHASE_STOP,
};

struct worker_shared {
    _Atomic int phase;
    _Atomic uint64_t published; /* set before PHASE_SETTLE and PHASE_CLOSE */
};

struct worker {
    struct worker_shared *shared;
    struct client_context clients;
    struct load_stats stats;
    uint32_t connections;
    uint32_t in_progress_max;
    double rate; /* connections per second, 0: unbounded */
    bool private_fds;

    pthread_t thread;
    _Atomic int finished; /* the highest phase that is */
    _Atomic bool failed;  /* `error` says why */
    char error[160];

    int phase;
    uint64_t phase_ns; /* when it began */
    uint32_t cursor;   /* of the walk over all slots in PROBE and CLOSE */
};

/* The caller has filled in shared, clients.options, .payload, .tls, .first, connections, in_progress_max,
 * rate, private_fds. False: no thread. */
bool worker_start(struct worker *worker) __attribute__((warn_unused_result));
void worker_join(struct worker *worker);
bool worker_finished(const struct worker *worker, enum load_phase phase);
