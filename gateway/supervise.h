/* What the service manager hears of the gateway: ready, reloading, stopping, how many connections there are,
 * and that every thread is alive.
 *
 * Without $NOTIFY_SOCKET nothing happens here: no wake-up, no line. With it main wakes for a status line at
 * most every five seconds and, while nothing changes, once a minute. With $WATCHDOG_USEC as well, every
 * thread is asked for its pulse four times in that span, and WATCHDOG=1 goes out only when all have answered:
 * one thread that hangs, and the manager ends and starts the gateway.
 *
 * Thread: main. Owner: main; pulses are the threads' and must outlive it.
 */
#pragma once

#include "gateway/base/control.h"
#include "gateway/base/notify.h"
#include "gateway/base/pulse.h"
#include "gateway/conn/stats.h"

#include <stddef.h>

enum { SUPERVISE_STATUS_MAX = 256 };

struct supervised {
    char name[16];
    struct pulse *pulse;
    uint64_t patience_ms; /* how long it may owe an answer */
    uint64_t silent_ms;   /* since when it does; 0: it does not */
    bool late;            /* longer than that, and the log has it */
};

struct supervise {
    struct notify notify;
    struct supervised *threads;
    uint32_t count, capacity;
    bool ready;         /* before that there is nobody to ask, and no status */
    bool stopping;      /* and it was said */
    uint64_t ask_every; /* ms; 0: no watchdog */
    uint64_t ask_ms; /* when the next question, or the look at the answers, is due; by the monotonic clock */
    uint64_t status_ms; /* when the next status is due */
    uint64_t status_every;
    char status[SUPERVISE_STATUS_MAX]; /* the last one sent */
};

/* Reads the environment; what cannot be used is logged, and then nobody is told anything. */
void supervise_init(struct supervise *supervise);
/* One more thread that must be alive, or may be silent for so long; before supervise_ready(). False without
 * memory. */
bool supervise_watch(struct supervise *supervise, const char *name, uint32_t number, struct pulse *pulse,
                     uint64_t patience_ms) __attribute__((warn_unused_result));
/* All listeners are open. */
void supervise_ready(struct supervise *supervise, uint64_t now_ms, const char *status);
/* Around a reload: reloading before, reloaded after, whatever came of it. */
void supervise_reloading(struct supervise *supervise);
void supervise_reloaded(struct supervise *supervise, uint64_t now_ms, const char *status);
/* From now on the gateway drains, which may take `budget_ms`: the manager must not end it sooner. */
void supervise_stopping(struct supervise *supervise, uint64_t now_ms, uint64_t budget_ms, const char *status);

/* When supervise_turn() has something to do; UINT64_MAX: never. */
uint64_t supervise_due_ms(const struct supervise *supervise);
/* Does what is due. True when a status is wanted, too: then call supervise_status(). */
bool supervise_turn(struct supervise *supervise, uint64_t now_ms);
/* Sent when it is another one than before. */
void supervise_status(struct supervise *supervise, uint64_t now_ms, const char *status);
/* One line about the gateway, for people who read systemctl status. */
void supervise_describe(const struct control *control, const struct reactor_stats *const *reactors,
                        uint32_t reactor_count, bool reload_failed, uint64_t now_ms,
                        char status[SUPERVISE_STATUS_MAX]);
void supervise_fini(struct supervise *supervise);
