/* What one worker counts. Written by the worker, read by the main thread while it runs; summed for the
 * report.
 *
 * Thread: counters as in counters.h; `example` is read only after the worker has ended. Owner: embedded in
 * the worker.
 */
#pragma once

#include "gateway/base/counters.h"
#include "gateway/base/histogram.h"
#include "loadtest/reason.h"

enum {
    STATS_HTTP_STATUSES = 600,
    STATS_CLOSE_FIRST = 1000,
    STATS_CLOSE_CODES = 17, /* 1000 … 1015, and one for all others */
    STATS_EXAMPLE_BYTES = 160,
};

struct load_stats {
    counter started;      /* connection attempts */
    counter opened;       /* got their 101 */
    counter open;         /* now */
    counter returned;     /* opened in a place that had a connection before; counted in `opened`, too */
    counter last_open_ns; /* monotonic; merged by maximum */
    counter failed[FAIL_REASON_COUNT];
    counter failed_first; /* of those, in places that never had a connection; without FAIL_INTERRUPTED */
    counter ended[END_REASON_COUNT];
    counter http_status[STATS_HTTP_STATUSES];
    counter close_codes[STATS_CLOSE_CODES];
    counter session_tickets;
    counter sessions_resumed; /* handshakes that continued an earlier session */
    counter pings;            /* from the server, answered */
    counter probes_sent;
    counter probes_answered;
    counter other_pongs; /* that answered none of our pings */
    counter received_bytes;

    counter expected; /* messages, set when publishing has ended */
    counter lost;     /* the same, and what connections that were replaced have lost; may fall again */
    /* Messages that went to a connection's topic while its place had none, and those after its 101 but before
     * the first that came, at most for --grace. Both fall when one comes after all. */
    counter missed_away, missed_joining;
    counter late; /* came when lost ones had been counted, and are not counted as lost any more */
    counter delivered;
    counter recovered; /* of those, published while the place had no connection */
    counter duplicated;
    counter twice; /* came to a place's next connection, too, being under way when it opened */
    counter out_of_order;
    counter corrupt;
    counter misrouted;        /* intact, but of a topic that this connection has not subscribed to */
    counter foreign;          /* messages of another run */
    counter unknown;          /* messages of no run */
    counter unchecked;        /* messages of a run that publishes none itself */
    counter last_delivery_ns; /* monotonic; merged by maximum */

    struct histogram open_time;   /* connect() to 101 */
    struct histogram return_time; /* the same of those that returned; they are not in open_time */
    struct histogram probe_time;  /* ping to pong */
    struct histogram latency;     /* PUBLISH to frame */

    char fail_example[FAIL_REASON_COUNT][STATS_EXAMPLE_BYTES]; /* the first error's text */
    char end_example[END_REASON_COUNT][STATS_EXAMPLE_BYTES];
};

/* Adds `from` to `into`; examples are taken where `into` has none. `with_examples` only after the worker has
 * ended. */
void load_stats_merge(struct load_stats *into, const struct load_stats *from, bool with_examples);
/* Adds to `into`, and takes from `from`, what happened until connections were open. */
void load_stats_move_opening(struct load_stats *into, struct load_stats *from);
uint64_t load_stats_failed(const struct load_stats *stats);
/* Connections that ended for a reason that this tool did not cause. */
uint64_t load_stats_unexpected(const struct load_stats *stats);
