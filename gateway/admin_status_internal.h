/* Inside of the status: what has been sampled, shared by admin_status.c (sampling, asking) and
 * admin_status_write.c (the JSON). Not for others.
 *
 * Thread: the admin's. Owner: as admin_status.h says.
 */
#pragma once

#include "gateway/admin_status.h"

enum {
    STATUS_MARK_MS = 10000,
    STATUS_MARKS = 7, /* so that the oldest is a minute old */
};

/* Sums over all threads, at one time. */
struct status_totals {
    uint64_t accepted[TRANSPORT_COUNT], handshakes, resumed, handshaking;
    uint64_t failures[HANDSHAKE_FAILURE_COUNT];
    uint64_t connections[ADAPTER_COUNT][TRANSPORT_COUNT];
    uint64_t opened, closes[CLOSE_REASON_COUNT];
    uint64_t deliveries, delivered_bytes, drops;
    uint64_t slow_connections, slow_bytes;
    uint64_t publishes, published_bytes;
    uint64_t cpu_us;
    struct histogram latency;
};

/* A cut of what only grows, to tell what the last minute brought. */
struct status_mark {
    uint64_t at_ms;
    uint64_t failures[HANDSHAKE_FAILURE_COUNT], closes[CLOSE_REASON_COUNT], drops;
    struct histogram latency;
};

/* Walking all topics: slice by slice, the whole walk's heaviest so far in `found`. */
struct status_walk {
    bool asked; /* an answer is on its way */
    uint32_t cursor;
    uint64_t began_ms, next_ms; /* of the walk; when the broker is to be asked again */
    struct top found, whole;    /* whole: of the last walk that came to its end */
    uint64_t whole_ms, took_ms; /* when that was, 0: never; and how long it had taken */
    struct top traffic;
    uint64_t traffic_ns;
};

struct admin_status {
    struct admin_config config;
    struct mailbox *reply_to;
    uint64_t token;
    uint64_t started_ms; /* since 1970 */
    uint64_t began_ms;   /* by the monotonic clock */
    uint64_t looked_ms;  /* 0: never */
    uint64_t samples, sampled_ms;
    struct status_totals totals; /* of the last sample */
    struct series series;
    struct status_mark marks[STATUS_MARKS];
    uint32_t mark_count; /* ever made */
    struct status_walk walk;
    uint64_t baseline_bytes; /* resident, before anybody connected */
    uint64_t socket_bytes;   /* of the kernel, for one connection; 0: not known */
    char node[256];
};

uint64_t status_connections(const struct status_totals *totals);
uint64_t status_closes(const struct status_totals *totals);
void status_read(const struct admin_config *config, struct status_totals *out);
/* The oldest mark that is at most a minute old. */
const struct status_mark *status_mark_minute_ago(const struct admin_status *status);
