/* The end of a gateway in good order, as steps of main's loop:
 *
 *   RUNNING  ──asked──►  GRACE: not ready, still accepting (drain.grace)
 *            ──►  DRAINING: listeners close; when nobody is on the way to a reactor any more, the reactors
 * spread their closes over drain.timeout; who does not answer goes after limits.close_timeout ──►  STOPPING:
 * the threads of acceptors and reactors end. Publisher and admin go on until then.
 *
 * A second SIGTERM or SIGINT, or CONTROL_END, goes to STOPPING from anywhere. How far it is stands in the
 * control.
 *
 * Thread: main. Owner: main; acceptors and reactors stay its own, and are joined when drain_over().
 */
#pragma once

#include "gateway/acceptor.h"
#include "gateway/base/control.h"
#include "gateway/reactor.h"

struct drain {
    struct control *control;
    const struct settings *settings;
    struct acceptor **acceptors; /* started ones, likewise below */
    struct reactor **reactors;
    const struct reactor_stats **reactor_stats;
    uint32_t acceptor_count, reactor_count;
    /* its own */
    uint32_t acceptors_joined, reactors_joined;
    bool terminated; /* SIGTERM or SIGINT has come once */
    bool closing;    /* reactors have been told */
    uint64_t accept_until_ms, step_ms;
};

/* What main is asked for: CONTROL_TERMINATE, CONTROL_DRAIN or CONTROL_END. */
void drain_ask(struct drain *drain, enum control_request request, uint64_t now_ms);
/* When drain_turn() has something to do; UINT64_MAX: never. */
uint64_t drain_due_ms(const struct drain *drain);
/* One step; never waits. */
void drain_turn(struct drain *drain, uint64_t now_ms);
/* All threads that it was given have ended and are joined. */
bool drain_over(const struct drain *drain);
/* How long a drain may take at most, for whoever would end the process after a while. */
uint64_t drain_budget_ms(const struct settings *settings);
