/* What other threads and signals ask of the main thread, and the phase of life that all may read.
 *
 * A request is one bit: it needs no memory, cannot fail, and asked twice before main looks it is done once.
 *
 * Thread: control_ask() and the readers any; all else main. Owner: main; it outlives the other threads.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* The most urgent first: of several that wait, it is served first. */
enum control_request {
    CONTROL_NOTHING,     /* time is up */
    CONTROL_END,         /* end at once, whatever is open */
    CONTROL_TERMINATE,   /* SIGTERM, SIGINT: the first is CONTROL_DRAIN, another one CONTROL_END */
    CONTROL_DRAIN,       /* close all connections in good order, then end; more of them change nothing */
    CONTROL_RELOAD,      /* SIGHUP: certificates, ticket keys, keys of tokens */
    CONTROL_REOPEN_LOGS, /* SIGUSR1 */
    CONTROL_REQUEST_COUNT,
};

enum control_phase {
    PHASE_STARTING,
    PHASE_RUNNING,
    PHASE_GRACE,    /* not ready any more, and still accepting: drain.grace */
    PHASE_DRAINING, /* listeners are closed, connections are being closed: drain.timeout */
    PHASE_STOPPING, /* no connection is left, or nobody waits for them any more */
};

/* How far a drain is. Times are of the monotonic clock. */
struct control_drain {
    enum control_phase phase;
    uint64_t connections; /* open when closing began; before that those open now */
    uint64_t left;        /* of them, still open */
    uint64_t began_ms;    /* of the whole drain; 0: none */
    uint64_t until_ms;    /* when the last close is due by drain.grace and drain.timeout */
};

struct control {
    int signal_fd, wake_fd;
    _Atomic uint32_t asked; /* bits by enum control_request */
    /* main writes, anybody reads */
    _Atomic int phase;
    _Atomic uint64_t connections, left, began_ms, until_ms;
};

/* Blocks the signals above in this thread and in those that it will start. False: errno. */
bool control_init(struct control *control) __attribute__((warn_unused_result));
void control_fini(struct control *control);
/* Asks main; returns at once. */
void control_ask(struct control *control, enum control_request request);
/* What is asked for next, or CONTROL_NOTHING after `ms` (−1: never). */
enum control_request control_wait(struct control *control, int64_t ms);

void control_set_phase(struct control *control, enum control_phase phase);
/* Before the phase that it belongs to. */
void control_set_drain(struct control *control, uint64_t began_ms, uint64_t until_ms);
void control_set_left(struct control *control, uint64_t connections, uint64_t left);

static inline enum control_phase control_phase(const struct control *control)
{
    return (enum control_phase)atomic_load_explicit(&control->phase, memory_order_acquire);
}
const char *control_phase_label(enum control_phase phase); /* "starting", "running", … */
struct control_drain control_drain(const struct control *control);
