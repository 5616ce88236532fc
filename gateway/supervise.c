/* Messages to the service manager, and the watchdog. */
#include "gateway/supervise.h"

#include "gateway/base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    ASKS_PER_WATCHDOG = 4, /* three may go unanswered before the manager acts */
    ASK_EVERY_MIN_MS = 10,
    STATUS_EVERY_MIN_MS = 5000,
    STATUS_EVERY_MAX_MS = 60000,
    STOP_MARGIN_MS = 10000, /* after the last connection: joining threads, giving memory back */
};

/* A message that was lost is not worth ending for, but worth a line: the manager may end the gateway for it.
 */
static void tell(const char *what, bool sent)
{
    static struct log_limit limit;
    if (!sent)
        log_limited(&limit, LOG_WARN, "notify_failed", "message=%s error=%s", what, strerror(errno));
}

static void remember(struct supervise *supervise, uint64_t now_ms, const char *status)
{
    snprintf(supervise->status, sizeof supervise->status, "%s", status);
    supervise->status_every = STATUS_EVERY_MIN_MS;
    supervise->status_ms = now_ms + supervise->status_every;
}

void supervise_init(struct supervise *supervise)
{
    char why[256];
    *supervise = (struct supervise){.notify.fd = -1};
    if (!notify_open(&supervise->notify, why, sizeof why))
        log_event(LOG_WARN, "notify_off", "error=%s", why);
    uint64_t watchdog_ms = supervise->notify.watchdog_us / 1000;
    if (supervise->notify.watchdog_us) {
        supervise->ask_every = watchdog_ms / ASKS_PER_WATCHDOG;
        if (supervise->ask_every < ASK_EVERY_MIN_MS)
            supervise->ask_every = ASK_EVERY_MIN_MS;
    }
}

bool supervise_watch(struct supervise *supervise, const char *name, uint32_t number, struct pulse *pulse,
                     uint64_t patience_ms)
{
    if (!supervise->ask_every)
        return true;
    if (supervise->count == supervise->capacity) {
        uint32_t capacity = supervise->capacity ? 2 * supervise->capacity : 8;
        struct supervised *threads = reallocarray(supervise->threads, capacity, sizeof *supervise->threads);
        if (!threads)
            return false;
        supervise->threads = threads;
        supervise->capacity = capacity;
    }
    struct supervised *thread = &supervise->threads[supervise->count++];
    *thread = (struct supervised){.pulse = pulse, .patience_ms = patience_ms};
    snprintf(thread->name, sizeof thread->name, "%.10s-%u", name, number % 10000);
    return true;
}

static void ask_all(struct supervise *supervise, uint64_t now_ms)
{
    for (uint32_t i = 0; i < supervise->count; i++)
        pulse_ask(supervise->threads[i].pulse);
    supervise->ask_ms = now_ms + supervise->ask_every;
}

void supervise_ready(struct supervise *supervise, uint64_t now_ms, const char *status)
{
    if (!notify_heard(&supervise->notify))
        return;
    supervise->ready = true;
    remember(supervise, now_ms, status);
    tell("READY", notify_send(&supervise->notify, "READY=1\nSTATUS=%s", status));
    if (supervise->ask_every)
        ask_all(supervise, now_ms);
}

void supervise_reloading(struct supervise *supervise)
{
    struct timespec now; /* the manager compares it with when it asked for the reload, to the microsecond */
    if (!notify_heard(&supervise->notify))
        return;
    clock_gettime(CLOCK_MONOTONIC, &now);
    tell("RELOADING", notify_send(&supervise->notify, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
                                  (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000));
}

void supervise_reloaded(struct supervise *supervise, uint64_t now_ms, const char *status)
{
    if (!notify_heard(&supervise->notify))
        return;
    remember(supervise, now_ms, status);
    tell("READY", notify_send(&supervise->notify, "READY=1\nSTATUS=%s", status));
}

void supervise_stopping(struct supervise *supervise, uint64_t now_ms, uint64_t budget_ms, const char *status)
{
    supervise->stopping = true;
    if (!notify_heard(&supervise->notify))
        return;
    remember(supervise, now_ms, status);
    tell("STOPPING", notify_send(&supervise->notify, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%" PRIu64 "\nSTATUS=%s",
                                 (budget_ms + STOP_MARGIN_MS) * 1000, status));
}

uint64_t supervise_due_ms(const struct supervise *supervise)
{
    if (!supervise->ready)
        return UINT64_MAX;
    return supervise->ask_every && supervise->ask_ms < supervise->status_ms ? supervise->ask_ms
                                                                            : supervise->status_ms;
}

/* False when it has owed an answer for longer than it may. */
static bool alive(const struct supervise *supervise, struct supervised *thread, uint64_t now_ms)
{
    if (pulse_answered(thread->pulse)) {
        if (thread->late)
            log_event(LOG_WARN, "thread_answers", "thread=%s silent_ms=%" PRIu64, thread->name,
                      now_ms - thread->silent_ms);
        thread->silent_ms = 0;
        thread->late = false;
        return true;
    }
    if (!thread->silent_ms)
        thread->silent_ms = supervise->ask_ms - supervise->ask_every; /* when it was asked */
    if (now_ms - thread->silent_ms < thread->patience_ms)
        return true;
    if (!thread->late)
        log_event(LOG_ERROR, "thread_silent", "thread=%s silent_ms=%" PRIu64 " watchdog_ms=%" PRIu64,
                  thread->name, now_ms - thread->silent_ms, supervise->notify.watchdog_us / 1000);
    thread->late = true;
    return false;
}

static bool all_alive(const struct supervise *supervise, uint64_t now_ms)
{
    bool all = true;
    for (uint32_t i = 0; i < supervise->count; i++)
        all = alive(supervise, &supervise->threads[i], now_ms) && all;
    return all;
}

bool supervise_turn(struct supervise *supervise, uint64_t now_ms)
{
    if (!supervise->ready)
        return false;
    if (supervise->ask_every && now_ms >= supervise->ask_ms) {
        if (all_alive(supervise, now_ms))
            tell("WATCHDOG", notify_send(&supervise->notify, "WATCHDOG=1"));
        ask_all(supervise, now_ms); /* also those that have answered while another has not */
    }
    return now_ms >= supervise->status_ms;
}

void supervise_status(struct supervise *supervise, uint64_t now_ms, const char *status)
{
    if (!supervise->ready)
        return;
    if (strncmp(status, supervise->status, sizeof supervise->status - 1) == 0) {
        supervise->status_every *= 2;
        if (supervise->status_every > STATUS_EVERY_MAX_MS)
            supervise->status_every = STATUS_EVERY_MAX_MS;
        supervise->status_ms = now_ms + supervise->status_every;
        return;
    }
    remember(supervise, now_ms, status);
    tell("STATUS", notify_send(&supervise->notify, "STATUS=%s", status));
}

static uint64_t count_connections(const struct reactor_stats *const *reactors, uint32_t reactor_count)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < reactor_count; i++)
        for (int adapter = 0; adapter < ADAPTER_COUNT; adapter++)
            for (int transport = 0; transport < TRANSPORT_COUNT; transport++)
                sum += counter_read(&reactors[i]->connections[adapter][transport]);
    return sum;
}

void supervise_describe(const struct control *control, const struct reactor_stats *const *reactors,
                        uint32_t reactor_count, bool reload_failed, uint64_t now_ms,
                        char status[SUPERVISE_STATUS_MAX])
{
    struct control_drain drain = control_drain(control);
    unsigned long long open = count_connections(reactors, reactor_count);
    unsigned long long left_s = drain.until_ms > now_ms ? (drain.until_ms - now_ms + 999) / 1000 : 0;
    switch (drain.phase) {
    case PHASE_STARTING:
        snprintf(status, SUPERVISE_STATUS_MAX, "Starting");
        return;
    case PHASE_RUNNING:
        snprintf(status, SUPERVISE_STATUS_MAX, "Serving %llu connection%s%s", open, open == 1 ? "" : "s",
                 reload_failed ? "; the last reload failed, see the log" : "");
        return;
    case PHASE_GRACE:
        snprintf(status, SUPERVISE_STATUS_MAX, "Draining: not ready any more, %llu connection%s still served",
                 open, open == 1 ? "" : "s");
        return;
    case PHASE_DRAINING:
        snprintf(status, SUPERVISE_STATUS_MAX, "Draining: %llu connection%s left, %llu s", open,
                 open == 1 ? "" : "s", left_s);
        return;
    case PHASE_STOPPING:
        snprintf(status, SUPERVISE_STATUS_MAX, "Stopping");
        return;
    }
}

void supervise_fini(struct supervise *supervise)
{
    notify_close(&supervise->notify);
    free(supervise->threads);
    *supervise = (struct supervise){.notify.fd = -1};
}
