/* Start, signals, drain, end. */
#include "gateway/gateway.h"

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/base/log_writer.h"
#include "gateway/gateway_internal.h"
#include "gateway/harden.h"
#include "gateway/seccomp.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    READY_FLUSH_MS = 100,
};

/* Starting
 * --------------------------------------------------------------------------------------------------------------
 */

/* Before the first thread: what is given up here belongs to threads, and later ones inherit it. */
static bool drop_privileges(struct gateway *gateway)
{
    if (!privileges_drop(&gateway->privileges, gateway->error, sizeof gateway->error))
        return false;
    if (gateway->privileges.change)
        harden_again(gateway->settings->debug.core_dumps);
    privileges_check_files(gateway->settings);
    return true;
}

/* As whom the file will be opened again. Lines before this went to stderr. */
static bool open_log(struct gateway *gateway)
{
    if (!log_writer_start(gateway->settings->log.file, gateway->error, sizeof gateway->error))
        return false;
    listeners_log(&gateway->listeners);
    return true;
}

static bool not_started(struct gateway *gateway, const char *what)
{
    snprintf(gateway->error, sizeof gateway->error, "cannot start the %s: %s", what, strerror(errno));
    return false;
}

static bool start_threads(struct gateway *gateway)
{
    if (gateway->proxy && !proxy_start(gateway->proxy))
        return not_started(gateway, "proxy");
    for (; gateway->reactors_started < gateway->reactor_count; gateway->reactors_started++)
        if (!reactor_start(gateway->reactors[gateway->reactors_started], broker_mailbox(gateway->broker),
                           broker_gauges(gateway->broker), gateway->error, sizeof gateway->error))
            return false;
    if (!publisher_start(gateway->publisher))
        return not_started(gateway, "publisher");
    for (; gateway->acceptors_started < gateway->acceptor_count; gateway->acceptors_started++)
        if (!acceptor_start(gateway->acceptors[gateway->acceptors_started], gateway->error,
                            sizeof gateway->error))
            return false;
    return !gateway->admin || admin_start(gateway->admin) || not_started(gateway, "admin listener");
}

/* When all threads have made what they need. A kernel that has no filters serves without. */
static void refuse_system_calls(const struct gateway *gateway)
{
    char why[160];
    enum seccomp_mode mode = (enum seccomp_mode)gateway->settings->process.seccomp;
    if (!seccomp_install(mode, why, sizeof why))
        log_event(LOG_WARN, "hardening_failed", "what=seccomp error=%s", why);
}

/* Running
 * ----------------------------------------------------------------------------------------------------------------
 */

static bool reload_auth(struct gateway *gateway)
{
    char why[512];
    if (!*gateway->settings->auth.public_keys && !*gateway->settings->auth.jwks_file)
        return true;
    if (!auth_reload(gateway->auth, why, sizeof why)) {
        log_event(LOG_ERROR, "reload_failed", "error=%s kept=%s", why, "the keys of tokens in use");
        return false;
    }
    log_event(LOG_INFO, "token_keys_reloaded", "keys=%zu", auth_key_count(gateway->auth));
    return true;
}

static void describe(const struct gateway *gateway, char status[SUPERVISE_STATUS_MAX])
{
    supervise_describe(&gateway->control, gateway->reactor_stats, gateway->reactor_count,
                       gateway->reload_failed, clock_monotonic_ms(), status);
}

static void reload(struct gateway *gateway)
{
    char status[SUPERVISE_STATUS_MAX];
    supervise_reloading(&gateway->supervise);
    /* Apart from one another: a key set that is being written must not hold up a new certificate. */
    bool tls = tls_keeper_reload(&gateway->tls_keeper, gateway->acceptors, gateway->acceptor_count);
    bool auth = reload_auth(gateway);
    bool networks = admission_reload(&gateway->admission, gateway->acceptors, gateway->acceptor_count);
    gateway->reload_failed = !tls || !auth || !networks;
    describe(gateway, status);
    supervise_reloaded(&gateway->supervise, clock_monotonic_ms(), status);
}

/* What the service manager is to hear by now. */
static void tend(struct gateway *gateway, uint64_t now_ms)
{
    char status[SUPERVISE_STATUS_MAX];
    bool drains = control_phase(&gateway->control) >= PHASE_GRACE && !gateway->supervise.stopping;
    bool wanted = supervise_turn(&gateway->supervise, now_ms);
    if (!drains && !wanted)
        return;
    describe(gateway, status);
    if (drains)
        supervise_stopping(&gateway->supervise, now_ms, drain_budget_ms(gateway->settings), status);
    else
        supervise_status(&gateway->supervise, now_ms, status);
}

static void serve(struct gateway *gateway, enum control_request request)
{
    switch (request) {
    case CONTROL_END:
    case CONTROL_TERMINATE:
    case CONTROL_DRAIN:
        drain_ask(&gateway->drain, request, clock_monotonic_ms());
        break;
    case CONTROL_RELOAD:
        if (control_phase(&gateway->control) <= PHASE_GRACE)
            reload(gateway);
        break;
    case CONTROL_REOPEN_LOGS:
        log_writer_reopen();
        break;
    case CONTROL_NOTHING:
    case CONTROL_REQUEST_COUNT:
        break;
    }
}

/* When main has something to do unasked, by the monotonic clock; UINT64_MAX: never. */
static uint64_t next_due_ms(const struct gateway *gateway)
{
    uint64_t due = drain_due_ms(&gateway->drain), manager = supervise_due_ms(&gateway->supervise);
    if (manager < due)
        due = manager;
    uint64_t rotation = gateway->tls_keeper.rotation_ms;
    return rotation && rotation < due ? rotation : due;
}

/* Main's loop, until all connections and the threads that they need have ended. */
static void run(struct gateway *gateway)
{
    while (!drain_over(&gateway->drain)) {
        uint64_t due = next_due_ms(gateway), now = clock_monotonic_ms();
        serve(gateway, control_wait(&gateway->control, due == UINT64_MAX ? -1
                                                       : due > now       ? (int64_t)(due - now)
                                                                         : 0));
        now = clock_monotonic_ms();
        tls_keeper_rotate(&gateway->tls_keeper, gateway->acceptors, gateway->acceptor_count, now);
        if (drain_due_ms(&gateway->drain) <= now)
            drain_turn(&gateway->drain, now);
        tend(gateway, now);
    }
}

/* Every thread that must not hang. The proxy may have to wait for the system's resolver, and to be without
 * hooks for so long is no reason to cut everybody. */
static bool watch_threads(struct gateway *gateway)
{
    static const uint64_t proxy_patience_ms = UINT64_C(5) * 60 * 1000;
    struct supervise *supervise = &gateway->supervise;
    bool watched =
        supervise_watch(supervise, "publisher", 0, publisher_pulse(gateway->publisher), 0) &&
        (!gateway->admin || supervise_watch(supervise, "admin", 0, admin_pulse(gateway->admin), 0)) &&
        (!gateway->proxy ||
         supervise_watch(supervise, "proxy", 0, proxy_pulse(gateway->proxy), proxy_patience_ms));
    for (uint32_t i = 0; watched && i < gateway->acceptor_count; i++)
        watched = supervise_watch(supervise, "acceptor", i, acceptor_pulse(gateway->acceptors[i]), 0);
    for (uint32_t i = 0; watched && i < gateway->reactor_count; i++)
        watched = supervise_watch(supervise, "reactor", i, reactor_pulse(gateway->reactors[i]), 0);
    return watched || gateway_no_memory(gateway);
}

static void tell_ready(struct gateway *gateway)
{
    char status[SUPERVISE_STATUS_MAX];
    describe(gateway, status);
    supervise_ready(&gateway->supervise, clock_monotonic_ms(), status);
}

static bool start(struct gateway *gateway)
{
    return gateway_build(gateway) && drop_privileges(gateway) && open_log(gateway) &&
           start_threads(gateway) && watch_threads(gateway);
}

int gateway_run(const struct settings *settings)
{
    struct gateway *gateway = calloc(1, sizeof *gateway);
    if (!gateway)
        return 1;
    gateway->settings = settings;
    gateway->started_ms = clock_realtime_ms();
    log_setup((enum log_level)settings->log.level, (enum log_format)settings->log.format);
    log_set_priorities((enum log_priorities)settings->log.priorities);
    harden_process(settings->debug.core_dumps);
    if (!control_init(&gateway->control)) {
        log_event(LOG_ERROR, "start_failed", "error=cannot wait for signals: %s", strerror(errno));
        free(gateway);
        return 1;
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a log that has met RLIMIT_FSIZE is no reason to end */
    supervise_init(&gateway->supervise);
    bool ok = start(gateway);
    if (ok)
        refuse_system_calls(gateway);
    gateway->drain = (struct drain){.control = &gateway->control,
                                    .settings = settings,
                                    .acceptors = gateway->acceptors,
                                    .acceptor_count = gateway->acceptors_started,
                                    .reactors = gateway->reactors,
                                    .reactor_count = gateway->reactors_started,
                                    .reactor_stats = gateway->reactor_stats};
    if (ok) {
        log_event(LOG_INFO, "ready", "version=%s acceptors=%u reactors=%u connections_per_reactor=%u",
                  PUSHGATE_VERSION, gateway->acceptor_count, gateway->reactor_count,
                  gateway->ports[0].capacity);
        log_writer_flush(READY_FLUSH_MS); /* whoever waits for readiness may look at the log then */
        control_set_phase(&gateway->control, PHASE_RUNNING);
        tell_ready(gateway);
    } else {
        log_event(LOG_ERROR, "start_failed", "error=%s", gateway->error);
        if (*settings->log.file) /* whoever started it looks at stderr */
            fprintf(stderr, "pushgate: %s\n", gateway->error);
        control_ask(&gateway->control, CONTROL_END);
    }
    run(gateway);
    gateway_demolish(gateway);
    if (ok)
        log_event(LOG_INFO, "stopped", "version=%s", PUSHGATE_VERSION);
    supervise_fini(&gateway->supervise);
    log_writer_stop();
    control_fini(&gateway->control);
    free(gateway);
    return ok ? 0 : 1;
}
