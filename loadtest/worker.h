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
    PHASE_CUT,    /* finished when no connection is left */
    PHASE_RETURN, /* opens what was cut, again and again; finished when all of that is open */
    PHASE_CHURN,  /* replaces connections at the rate; never finished */
    PHASE_CALM,   /* finished when the replacements of PHASE_CHURN have opened or failed */
    PHASE_STALL,  /* slow connections read little or nothing; never finished */
    PHASE_PROBE,  /* finished when every ping is answered */
    PHASE_SETTLE, /* finished when no open connection misses a message */
    PHASE_CLOSE,  /* finished when every closing handshake is through */
    PHASE_STOP,
};

/* A phase and its number in the run, in one word: so that the same phase can come again. */
typedef uint32_t load_order;
enum { ORDER_PHASE_BITS = 8 };

static inline load_order load_order_of(uint32_t number, enum load_phase phase)
{
    return number << ORDER_PHASE_BITS | (uint32_t)phase;
}

struct worker_shared {
    _Atomic load_order order;
    _Atomic uint64_t published; /* set before PHASE_SETTLE and PHASE_CLOSE; see client_context */
};

struct worker {
    struct worker_shared *shared;
    struct client_context clients;
    struct load_stats stats, slow_stats;
    uint32_t connections;
    uint32_t in_progress_max;
    double rate;       /* connections per second, 0: unbounded */
    double churn_rate; /* the same, to be replaced */
    bool private_fds;

    pthread_t thread;
    _Atomic load_order finished; /* the last order that is */
    _Atomic bool failed;         /* `error` says why */
    char error[160];

    load_order order;
    uint64_t phase_ns;          /* when it began */
    uint32_t cursor;            /* of a walk over all slots */
    uint64_t reopened;          /* in this phase */
    uint64_t cut;               /* in the last PHASE_CUT */
    uint64_t pause_ns, pass_ns; /* PHASE_RETURN: between two passes, end of the last one */
    uint64_t closed, replaced;  /* PHASE_CHURN: slots in turn, the one behind the other */
    uint32_t *closed_ms;        /* of each slot, when it was closed to be replaced; NULL unless churn */
};

/* The caller has filled in shared, clients.options, .payload, .tls, .first, .published_now, .confirmed_now,
 * .refusals, connections, in_progress_max, rate, churn_rate, private_fds. False: no thread. */
bool worker_start(struct worker *worker) __attribute__((warn_unused_result));
void worker_join(struct worker *worker);
bool worker_finished(const struct worker *worker, load_order order);
