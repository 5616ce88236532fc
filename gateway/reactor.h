/* A sub-reactor: one thread that owns its connections from their transfer to their close.
 *
 * Thread: created, started and destroyed by main; everything else happens on its own thread. reactor_stop()
 * and reactor_drain() may be called by any. Owner: main owns the reactor; the reactor its pool and, with
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
/* Starts the thread and waits until it has its own descriptor table. `broker_mail` hears of its topics. */
bool reactor_start(struct reactor *reactor, struct mailbox *broker_mail, char *error, size_t error_size)
    __attribute__((warn_unused_result));
struct mailbox *reactor_mailbox(struct reactor *reactor);
const struct reactor_stats *reactor_stats(const struct reactor *reactor);
struct pulse *reactor_pulse(struct reactor *reactor); /* for main's watchdog */
/* Begins to close all connections (1001), spread over `ms`; the thread ends when none is left or time is up.
 * No transfers may come any more. */
void reactor_drain(struct reactor *reactor, uint64_t ms);
/* True when the thread has ended, and is joined then. */
bool reactor_try_join(struct reactor *reactor) __attribute__((warn_unused_result));
void reactor_destroy(struct reactor *reactor); /* after join */
