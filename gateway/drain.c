/* Main looks again every few milliseconds while a drain goes on: it waits for threads, which cannot be polled
 * for. */
#include "gateway/drain.h"

#include "gateway/base/log.h"

enum {
    STEP_MS = 5,          /* while something is waited for that takes no time */
    CLOSING_STEP_MS = 20, /* while closes go on */
    GRACE_STEP_MS = 500,  /* while nothing happens but that `left` changes */
    END_OF_THREADS_MS = 1000,
};

static uint64_t connections(const struct drain *drain)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < drain->reactor_count; i++)
        for (int a = 0; a < ADAPTER_COUNT; a++)
            for (int t = 0; t < TRANSPORT_COUNT; t++)
                sum += counter_read(&drain->reactor_stats[i]->connections[a][t]);
    return sum;
}

/* Before closing has begun, all that are open are left. */
static uint64_t note_left(struct drain *drain)
{
    uint64_t left = connections(drain);
    control_set_left(drain->control, drain->closing ? control_drain(drain->control).connections : left, left);
    return left;
}

static void join_acceptors(struct drain *drain)
{
    while (drain->acceptors_joined < drain->acceptor_count &&
           acceptor_try_join(drain->acceptors[drain->acceptors_joined]))
        drain->acceptors_joined++;
}

static void join_reactors(struct drain *drain)
{
    while (drain->reactors_joined < drain->reactor_count &&
           reactor_try_join(drain->reactors[drain->reactors_joined]))
        drain->reactors_joined++;
}

static void end_threads(struct drain *drain)
{
    control_set_phase(drain->control, PHASE_STOPPING);
    for (uint32_t i = drain->acceptors_joined; i < drain->acceptor_count; i++)
        acceptor_end(drain->acceptors[i]);
    for (uint32_t i = 0; i < drain->reactor_count; i++)
        reactor_end(drain->reactors[i]);
}

static void stop_accepting(struct drain *drain)
{
    control_set_phase(drain->control, PHASE_DRAINING);
    for (uint32_t i = 0; i < drain->acceptor_count; i++)
        acceptor_drain(drain->acceptors[i]);
}

/* Once nobody is on the way to a reactor any more. */
static void begin_closing(struct drain *drain, uint64_t now_ms)
{
    uint64_t span = drain->settings->drain.timeout, open = note_left(drain);
    drain->closing = true;
    control_set_drain(drain->control, control_drain(drain->control).began_ms, now_ms + span);
    log_event(LOG_INFO, "drain_closing", "connections=%llu timeout_ms=%llu", (unsigned long long)open,
              (unsigned long long)span);
    for (uint32_t i = 0; i < drain->reactor_count; i++) {
        struct reactor_drain how = {.span_ms = span, .share = i, .of = drain->reactor_count};
        reactor_drain(drain->reactors[i], &how);
    }
}

static bool all_accepted(const struct drain *drain)
{
    for (uint32_t i = drain->acceptors_joined; i < drain->acceptor_count; i++)
        if (!acceptor_drained(drain->acceptors[i]))
            return false;
    return true;
}

static bool all_closed(const struct drain *drain)
{
    for (uint32_t i = 0; i < drain->reactor_count; i++)
        if (!reactor_drained(drain->reactors[i]))
            return false;
    return drain->acceptors_joined == drain->acceptor_count;
}

static void begin(struct drain *drain, const char *by, uint64_t now_ms)
{
    const struct settings *settings = drain->settings;
    drain->accept_until_ms = now_ms + settings->drain.grace;
    drain->step_ms = now_ms;
    uint64_t open = note_left(drain);
    control_set_drain(drain->control, now_ms, drain->accept_until_ms + settings->drain.timeout);
    log_event(LOG_INFO, "drain", "by=%s connections=%llu grace_ms=%llu timeout_ms=%llu", by,
              (unsigned long long)open, (unsigned long long)settings->drain.grace,
              (unsigned long long)settings->drain.timeout);
    control_set_phase(drain->control, PHASE_GRACE);
}

/* Whatever is open. */
static void cut(struct drain *drain, uint64_t now_ms)
{
    if (control_phase(drain->control) == PHASE_STOPPING)
        return;
    if (control_phase(drain->control) != PHASE_STARTING)
        log_event(LOG_WARN, "drain_cut", "connections=%llu", (unsigned long long)note_left(drain));
    drain->step_ms = now_ms;
    end_threads(drain);
}

void drain_ask(struct drain *drain, enum control_request request, uint64_t now_ms)
{
    bool running = control_phase(drain->control) < PHASE_GRACE;
    bool again = request == CONTROL_TERMINATE && drain->terminated;
    if (request == CONTROL_TERMINATE)
        drain->terminated = true;
    if (request == CONTROL_END || again)
        cut(drain, now_ms);
    else if (running)
        begin(drain, request == CONTROL_TERMINATE ? "signal" : "request", now_ms);
    else if (request == CONTROL_TERMINATE) /* as a service manager does, once it has asked for a drain */
        log_event(LOG_INFO, "drain_goes_on", "connections=%llu hint=%s",
                  (unsigned long long)connections(drain), "once more ends at once");
}

uint64_t drain_due_ms(const struct drain *drain)
{
    return control_phase(drain->control) < PHASE_GRACE ? UINT64_MAX : drain->step_ms;
}

void drain_turn(struct drain *drain, uint64_t now_ms)
{
    switch (control_phase(drain->control)) {
    case PHASE_STARTING:
    case PHASE_RUNNING:
        return;
    case PHASE_GRACE:
        (void)note_left(drain);
        drain->step_ms =
            now_ms + GRACE_STEP_MS < drain->accept_until_ms ? now_ms + GRACE_STEP_MS : drain->accept_until_ms;
        if (now_ms < drain->accept_until_ms)
            return;
        stop_accepting(drain);
        break;
    case PHASE_DRAINING:
        (void)note_left(drain);
        join_acceptors(drain);
        if (!drain->closing && all_accepted(drain))
            begin_closing(drain, now_ms);
        else if (drain->closing && all_closed(drain)) {
            log_event(LOG_INFO, "drained", "connections=%llu ms=%llu",
                      (unsigned long long)control_drain(drain->control).connections,
                      (unsigned long long)(now_ms - control_drain(drain->control).began_ms));
            end_threads(drain);
        }
        break;
    case PHASE_STOPPING:
        (void)note_left(drain);
        join_acceptors(drain);
        join_reactors(drain);
        break;
    }
    drain->step_ms =
        now_ms +
        (drain->closing && control_phase(drain->control) == PHASE_DRAINING ? CLOSING_STEP_MS : STEP_MS);
}

bool drain_over(const struct drain *drain)
{
    return control_phase(drain->control) == PHASE_STOPPING &&
           drain->acceptors_joined == drain->acceptor_count && drain->reactors_joined == drain->reactor_count;
}

uint64_t drain_budget_ms(const struct settings *settings)
{
    return settings->drain.grace + settings->drain.timeout + REACTOR_DRAIN_PATIENCE_MS +
           settings->limits.close_timeout + END_OF_THREADS_MS;
}
