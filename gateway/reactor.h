/* A sub-reactor: one thread that owns its connections from their transfer to their close.
 *
 * Thread: created, started and destroyed by main; everything else happens on its own thread. reactor_drain()
 * and reactor_end() ask it. Owner: main owns the reactor; the reactor its pool and, with
 * private_fds, a descriptor table of its own.
 */
#pragma once

#include "gateway/base/pulse.h"
#include "gateway/conn/pool.h"

struct reactor;

struct reactor_config {
    const struct settings *settings;
    uint16_t number;
    uint32_t capacity; /* connections */
    bool private_fds;
    int transfer_fd; /* receiving end; owned by the reactor from now on */
    struct reactor_port *port;
    struct ip_limit *ip_limit;
    struct auth *auth;   /* NULL: no keys */
    struct proxy *proxy; /* NULL: no hooks */
};

/* NULL with a sentence. */
struct reactor *reactor_create(const struct reactor_config *config, char *error, size_t error_size);
/* Starts the thread and waits until it has its own descriptor table. `broker_mail` hears of its topics; what
 * its outboxes hold counts in `gauges` (the broker's), with those of all reactors. */
bool reactor_start(struct reactor *reactor, struct mailbox *broker_mail, struct message_gauges *gauges,
                   char *error, size_t error_size) __attribute__((warn_unused_result));
struct mailbox *reactor_mailbox(struct reactor *reactor);
const struct reactor_stats *reactor_stats(const struct reactor *reactor);
struct pulse *reactor_pulse(struct reactor *reactor); /* for main's watchdog */
/* By so much a close may be later than its time: it waits for a fan-out that is under way. */
enum { REACTOR_DRAIN_PATIENCE_MS = 2000 };
/* How the closes of a drain are spread: all reactors over the same time, each shifted by its share of a step.
 */
struct reactor_drain {
    uint64_t span_ms; /* 0: at once */
    uint32_t share, of;
};
/* Begins to close all connections. No transfers should come any more: whoever still does is closed at once.
 */
void reactor_drain(struct reactor *reactor, const struct reactor_drain *how);
/* True when a drain has closed the last connection. The thread goes on, for its mailbox. */
bool reactor_drained(const struct reactor *reactor);
/* Asks the thread to end now, whatever is open. */
void reactor_end(struct reactor *reactor);
/* True when the thread has ended, and is joined then. */
bool reactor_try_join(struct reactor *reactor) __attribute__((warn_unused_result));
void reactor_destroy(struct reactor *reactor); /* after join */
