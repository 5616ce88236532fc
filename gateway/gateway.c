/* Start, signals, drain, end. */
#include "gateway/gateway.h"

#include "gateway/acceptor.h"
#include "gateway/admin.h"
#include "gateway/admin_metrics.h"
#include "gateway/admission.h"
#include "gateway/base/clock.h"
#include "gateway/base/control.h"
#include "gateway/base/fdtable.h"
#include "gateway/base/log.h"
#include "gateway/base/log_writer.h"
#include "gateway/broker/engine_memory.h"
#include "gateway/drain.h"
#include "gateway/harden.h"
#include "gateway/key_files.h"
#include "gateway/listeners.h"
#include "gateway/plan.h"
#include "gateway/privileges.h"
#include "gateway/proxy/proxy.h"
#include "gateway/publisher.h"
#include "gateway/reactor.h"
#include "gateway/seccomp.h"
#include "gateway/supervise.h"
#include "gateway/tls/tls_certificates.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    READY_FLUSH_MS = 100,
    PROXY_ANSWER_EXTRA = 64 * 1024, /* beside one message: channels, info and the like */
};

struct gateway {
    const struct settings *settings;
    struct privileges privileges;
    struct listeners listeners;
    struct admission admission;
    struct reactor **reactors;
    struct mailbox **reactor_mail;
    const struct reactor_stats **reactor_stats;
    struct reactor_port *ports;
    uint32_t reactor_count, reactors_started;
    bool private_fds;
    uint64_t connection_limit; /* by settings and descriptors */
    struct auth *auth;
    struct engine *engine;
    struct broker *broker;
    struct publisher *publisher;
    struct proxy *proxy; /* NULL: no URL is set */
    struct acceptor_shared shared;
    struct acceptor **acceptors;
    const struct acceptor_stats **acceptor_stats;
    uint32_t acceptor_count, acceptors_started;
    struct tls_certificates certificates; /* of listen.wss */
    struct tls_ticket_keys *ticket_keys;  /* NULL without wss or tickets */
    uint64_t ticket_rotation;             /* ms by the monotonic clock; 0: never */
    struct admin *admin;
    struct admin_config
        admin_config;    /* what is counted, and where; complete before the first thread starts */
    uint64_t started_ms; /* since 1970 */
    struct control control;
    struct supervise supervise;
    bool reload_failed; /* the last one */
    struct drain drain;
    char error[512];
};

static bool make_plan(struct gateway *gateway, uint32_t *capacity)
{
    struct plan plan;
    struct settings settings = *gateway->settings; /* with what is allowed here */
    uint64_t nofile = fdtable_raise_limit();
    if (settings.threads.private_fds && !fdtable_private_allowed()) {
        settings.threads.private_fds = false;
        log_event(LOG_WARN, "private_fds_refused", "error=%s effect=%s nofile=%llu",
                  "unshare(2) is forbidden here, as in containers by default",
                  "one table of descriptors for all connections", (unsigned long long)nofile);
    }
    gateway->private_fds = settings.threads.private_fds;
    if (!plan_make(&settings, plan_cores(), nofile, &plan, gateway->error, sizeof gateway->error))
        return false;
    uint64_t possible = (uint64_t)plan.reactors * plan.capacity;
    gateway->connection_limit = plan.connections < possible ? plan.connections : possible;
    if (plan.connections > possible)
        log_event(LOG_WARN, "fewer_connections", "wanted=%llu possible=%llu reactors=%u nofile=%llu",
                  (unsigned long long)plan.connections, (unsigned long long)possible, plan.reactors,
                  (unsigned long long)nofile);
    gateway->acceptor_count = plan.acceptors;
    gateway->reactor_count = plan.reactors;
    *capacity = plan.capacity;
    return true;
}

/* Before anything else: a key that cannot be read should not first open listeners. */
static bool load_auth(struct gateway *gateway)
{
    gateway->auth = key_files_auth(gateway->settings, gateway->error, sizeof gateway->error);
    return gateway->auth != NULL;
}

/* Building
 * ---------------------------------------------------------------------------------------------------------------
 */

static bool no_memory(struct gateway *gateway)
{
    snprintf(gateway->error, sizeof gateway->error, "out of memory");
    return false;
}

/* Before the reactors, which keep the descriptor of its mailbox. */
static bool build_proxy(struct gateway *gateway)
{
    const struct settings *settings = gateway->settings;
    if (!settings_use_proxy(settings))
        return true;
    struct proxy_config config = {
        .urls = {[PROXY_CONNECT] = settings->proxy.connect,
                 [PROXY_REFRESH] = settings->proxy.refresh,
                 [PROXY_SUBSCRIBE] = settings->proxy.subscribe,
                 [PROXY_SUB_REFRESH] = settings->proxy.sub_refresh,
                 [PROXY_PUBLISH] = settings->proxy.publish,
                 [PROXY_RPC] = settings->proxy.rpc},
        .headers = settings->proxy.headers,
        .ca_file = settings->proxy.ca_file,
        .timeout_ms = settings->proxy.timeout,
        .concurrency = (uint32_t)settings->proxy.concurrency,
        .queue = (uint32_t)settings->proxy.queue,
        .answer_bytes = settings->limits.message_bytes + PROXY_ANSWER_EXTRA,
    };
    gateway->proxy = proxy_create(&config, gateway->error, sizeof gateway->error);
    return gateway->proxy != NULL;
}

static bool build_reactors(struct gateway *gateway, uint32_t capacity)
{
    uint32_t n = gateway->reactor_count;
    gateway->reactors = calloc(n, sizeof *gateway->reactors);
    gateway->reactor_mail = calloc(n, sizeof *gateway->reactor_mail);
    gateway->reactor_stats = calloc(n, sizeof *gateway->reactor_stats);
    gateway->ports = calloc(n, sizeof *gateway->ports);
    if (!gateway->reactors || !gateway->reactor_mail || !gateway->reactor_stats || !gateway->ports)
        return no_memory(gateway);
    for (uint32_t i = 0; i < n; i++)
        gateway->ports[i].transfer_fd = -1;
    for (uint32_t i = 0; i < n; i++) {
        int pair[2];
        if (!transfer_pair(pair)) {
            snprintf(gateway->error, sizeof gateway->error, "cannot make a socket pair: %s", strerror(errno));
            return false;
        }
        gateway->ports[i].transfer_fd = pair[0];
        gateway->ports[i].capacity = capacity;
        struct reactor_config config = {
            .settings = gateway->settings,
            .number = (uint16_t)i,
            .capacity = capacity,
            .private_fds = gateway->private_fds,
            .transfer_fd = pair[1],
            .port = &gateway->ports[i],
            .ip_limit = gateway->admission.ip_limit,
            .auth = gateway->auth,
            .proxy = gateway->proxy,
        };
        gateway->reactors[i] = reactor_create(&config, gateway->error, sizeof gateway->error);
        if (!gateway->reactors[i]) {
            close(pair[1]);
            return false;
        }
        gateway->reactor_mail[i] = reactor_mailbox(gateway->reactors[i]);
        gateway->reactor_stats[i] = reactor_stats(gateway->reactors[i]);
    }
    return true;
}

static bool build_broker(struct gateway *gateway)
{
    struct engine_memory_config memory = {.history_bytes = gateway->settings->history.memory};
    gateway->engine = engine_memory_create(&memory);
    if (!gateway->engine)
        return no_memory(gateway);
    struct broker_config config = {
        .settings = gateway->settings,
        .engine = gateway->engine,
        .reactors = (uint16_t)gateway->reactor_count,
        .reactor_mail = gateway->reactor_mail,
        .message_bytes = gateway->settings->limits.message_bytes,
        .inflight_bytes = gateway->settings->limits.inflight_bytes,
    };
    gateway->broker = broker_create(&config);
    return gateway->broker || no_memory(gateway);
}

/* On the publisher's thread. */
static void write_metrics(void *context, FILE *out)
{
    const struct gateway *gateway = context;
    admin_metrics_write(&gateway->admin_config, gateway->started_ms, NULL, NULL, out);
}

static bool build_publisher(struct gateway *gateway)
{
    struct publisher_config config = {.settings = gateway->settings,
                                      .listen_fds = gateway->listeners.publish, /* which stay there */
                                      .listen_count = gateway->listeners.publish_count,
                                      .broker = gateway->broker,
                                      .control = &gateway->control,
                                      .reactor_count = gateway->reactor_count,
                                      .reactors = gateway->reactor_stats,
                                      .write_metrics = write_metrics,
                                      .metrics_context = gateway};
    gateway->publisher = publisher_create(&config);
    if (!gateway->publisher) {
        snprintf(gateway->error, sizeof gateway->error, "cannot set up the publisher: %s", strerror(errno));
        return false;
    }
    return true;
}

/* The file's keys, or a random one and the first of those in use. */
static struct tls_ticket_keys *next_ticket_keys(const struct gateway *gateway, char *error, size_t error_size)
{
    if (*gateway->settings->tls.ticket_key_file)
        return key_files_ticket_keys(gateway->settings, error, error_size);
    struct tls_ticket_keys *keys = tls_ticket_keys_create(gateway->ticket_keys);
    if (!keys)
        snprintf(error, error_size, "cannot make a ticket key: out of memory or random bytes");
    return keys;
}

static void plan_rotation(struct gateway *gateway)
{
    const struct settings *settings = gateway->settings;
    bool own = gateway->ticket_keys && !*settings->tls.ticket_key_file;
    gateway->ticket_rotation =
        own && settings->tls.ticket_rotation ? clock_monotonic_ms() + settings->tls.ticket_rotation : 0;
}

static bool make_ticket_keys(struct gateway *gateway)
{
    const struct settings *settings = gateway->settings;
    if (!*settings->listen.wss || !settings->tls.tickets)
        return true;
    gateway->ticket_keys = next_ticket_keys(gateway, gateway->error, sizeof gateway->error);
    plan_rotation(gateway);
    return gateway->ticket_keys != NULL;
}

/* Takes over the reference. */
static void use_ticket_keys(struct gateway *gateway, struct tls_ticket_keys *keys)
{
    tls_ticket_keys_release(gateway->ticket_keys);
    gateway->ticket_keys = keys;
    for (uint32_t i = 0; i < gateway->acceptor_count; i++)
        acceptor_rotate(gateway->acceptors[i], tls_ticket_keys_retain(keys));
}

static void rotate_ticket_keys(struct gateway *gateway)
{
    char why[256];
    struct tls_ticket_keys *keys = next_ticket_keys(gateway, why, sizeof why);
    if (keys) {
        use_ticket_keys(gateway, keys);
        log_event(LOG_INFO, "ticket_keys_rotated", "keys=%zu", tls_ticket_keys_count(keys));
    } else {
        log_event(LOG_ERROR, "rotation_failed", "error=%s kept=%s", why, "the ticket keys in use");
    }
    plan_rotation(gateway);
}

static bool build_acceptors(struct gateway *gateway)
{
    const struct settings *settings = gateway->settings;
    if (!make_ticket_keys(gateway))
        return false;
    if (*settings->listen.wss &&
        !tls_certificates_init(&gateway->certificates, settings->tls.hosts, settings->tls.host_count))
        return no_memory(gateway);
    gateway->acceptors = calloc(gateway->acceptor_count, sizeof *gateway->acceptors);
    gateway->acceptor_stats = calloc(gateway->acceptor_count, sizeof *gateway->acceptor_stats);
    if (!gateway->acceptors || !gateway->acceptor_stats)
        return no_memory(gateway);
    gateway->shared = (struct acceptor_shared){
        .settings = settings,
        .ports = gateway->ports,
        .port_count = gateway->reactor_count,
        .broker_mail = broker_mailbox(gateway->broker),
        .auth = gateway->auth,
        .connection_limit = settings->limits.connections,
    };
    admission_share(&gateway->admission, &gateway->shared);
    for (uint32_t i = 0; i < gateway->acceptor_count; i++) {
        struct acceptor_config config = {.shared = &gateway->shared,
                                         .number = (uint16_t)i,
                                         .ticket_keys = gateway->ticket_keys,
                                         .access = gateway->admission.access};
        if (*settings->listen.wss) {
            config.tls = key_files_tls(settings, gateway->error, sizeof gateway->error);
            if (!config.tls)
                return false;
            tls_certificates_note(&gateway->certificates, config.tls);
        }
        for (int t = 0; t < TRANSPORT_COUNT; t++)
            config.listen_fds[t] = listener_take(&gateway->listeners.acceptors[i][t]);
        gateway->acceptors[i] = acceptor_create(&config, gateway->error, sizeof gateway->error);
        if (!gateway->acceptors[i])
            return false;
        gateway->acceptor_stats[i] = acceptor_stats(gateway->acceptors[i]);
    }
    return true;
}

static bool build_admin(struct gateway *gateway)
{
    const struct settings *settings = gateway->settings;
    gateway->admin_config = (struct admin_config){
        .settings = settings,
        .listen_fd = gateway->listeners.admin,
        .broker_mail = broker_mailbox(gateway->broker),
        .broker = gateway->broker,
        .acceptor_count = gateway->acceptor_count,
        .acceptors = gateway->acceptor_stats,
        .reactor_count = gateway->reactor_count,
        .reactors = gateway->reactor_stats,
        .publisher = publisher_stats(gateway->publisher),
        .proxy = gateway->proxy ? proxy_stats(gateway->proxy) : NULL,
        .certificates = &gateway->certificates,
        .connection_limit = gateway->connection_limit,
        .control = &gateway->control,
    };
    if (gateway->listeners.admin < 0)
        return true;
    if (settings_reachable(settings->listen.admin) && !*settings->admin.password)
        log_event(LOG_WARN, "admin_password_missing", "instead=%s advice=%s", "publish.password",
                  "set admin.password, so that whoever watches cannot publish");
    gateway->admin = admin_create(&gateway->admin_config, gateway->error, sizeof gateway->error);
    if (gateway->admin)
        (void)listener_take(&gateway->listeners.admin);
    return gateway->admin != NULL;
}

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
                           gateway->error, sizeof gateway->error))
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

static bool reload_tls(struct gateway *gateway)
{
    if (!*gateway->settings->listen.wss)
        return true;
    /* All or nothing: a bad file must not leave acceptors with different certificates. */
    struct tls_context **fresh = calloc(gateway->acceptor_count, sizeof *fresh);
    struct tls_ticket_keys *keys = NULL;
    char why[512] = "out of memory";
    bool ok = fresh != NULL;
    for (uint32_t i = 0; ok && i < gateway->acceptor_count; i++) {
        fresh[i] = key_files_tls(gateway->settings, why, sizeof why);
        ok = fresh[i] != NULL;
    }
    /* Random keys have nothing to do with certificates: they go on as they are. */
    if (ok && gateway->ticket_keys && *gateway->settings->tls.ticket_key_file) {
        keys = next_ticket_keys(gateway, why, sizeof why);
        ok = keys != NULL;
    }
    if (!ok) {
        log_event(LOG_ERROR, "reload_failed", "error=%s kept=%s", why,
                  "the certificates and ticket keys in use");
        for (uint32_t i = 0; fresh && i < gateway->acceptor_count; i++)
            if (fresh[i])
                tls_context_destroy(fresh[i]);
        free(fresh);
        return false;
    }
    tls_certificates_note(&gateway->certificates, fresh[0]);
    for (uint32_t i = 0; i < gateway->acceptor_count; i++)
        acceptor_reload(gateway->acceptors[i], fresh[i]);
    free(fresh);
    if (keys)
        use_ticket_keys(gateway, keys);
    log_event(LOG_INFO, "reloaded", "certificate=%s hosts=%zu ticket_keys=%zu",
              gateway->settings->tls.certificate, gateway->settings->tls.host_count,
              gateway->ticket_keys ? tls_ticket_keys_count(gateway->ticket_keys) : 0);
    return true;
}

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
    bool tls = reload_tls(gateway), auth = reload_auth(gateway);
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
    return gateway->ticket_rotation && gateway->ticket_rotation < due ? gateway->ticket_rotation : due;
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
        if (gateway->ticket_rotation && gateway->ticket_rotation <= now)
            rotate_ticket_keys(gateway);
        if (drain_due_ms(&gateway->drain) <= now)
            drain_turn(&gateway->drain, now);
        tend(gateway, now);
    }
}

/* After run(). */
static void tear_down(struct gateway *gateway)
{
    if (gateway->proxy)
        proxy_stop(gateway->proxy); /* what reactors still asked comes back to their mailboxes */
    if (gateway->publisher)
        publisher_stop(gateway->publisher);
    if (gateway->admin)
        admin_stop(gateway->admin);
    for (uint32_t i = 0; gateway->reactors && i < gateway->reactor_count; i++)
        if (gateway->reactors[i])
            reactor_destroy(gateway->reactors[i]); /* gives back the messages that the broker counts */
    if (gateway->publisher)
        publisher_destroy(gateway->publisher);
    if (gateway->broker)
        broker_destroy(gateway->broker);
    if (gateway->engine)
        gateway->engine->ops->destroy(gateway->engine);
    if (gateway->admin)
        admin_destroy(gateway->admin);
    proxy_destroy(gateway->proxy);
    for (uint32_t i = 0; gateway->acceptors && i < gateway->acceptor_count; i++)
        if (gateway->acceptors[i])
            acceptor_destroy(gateway->acceptors[i]);
    for (uint32_t i = 0; gateway->ports && i < gateway->reactor_count; i++)
        if (gateway->ports[i].transfer_fd >= 0)
            close(gateway->ports[i].transfer_fd);
    admission_fini(&gateway->admission);
    listeners_fini(&gateway->listeners);
    tls_ticket_keys_release(gateway->ticket_keys);
    tls_certificates_fini(&gateway->certificates);
    auth_destroy(gateway->auth);
    free(gateway->acceptors);
    free(gateway->acceptor_stats);
    free(gateway->reactors);
    free(gateway->reactor_mail);
    free(gateway->reactor_stats);
    free(gateway->ports);
}

/* Every thread that must not hang. The proxy may have to wait for the system's resolver, and to be without
 * hooks for so long is no reason to cut everybody. */
static bool watch_threads(struct gateway *gateway)
{
    static const uint64_t proxy_patience_ms = 5 * 60 * 1000;
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
    return watched || no_memory(gateway);
}

static void tell_ready(struct gateway *gateway)
{
    char status[SUPERVISE_STATUS_MAX];
    describe(gateway, status);
    supervise_ready(&gateway->supervise, clock_monotonic_ms(), status);
}

static bool start(struct gateway *gateway)
{
    uint32_t capacity;
    if (!topic_hash_setup()) {
        snprintf(gateway->error, sizeof gateway->error, "the kernel gives no random bytes: %s",
                 strerror(errno));
        return false;
    }
    if (!privileges_plan(gateway->settings, &gateway->privileges, gateway->error, sizeof gateway->error) ||
        !load_auth(gateway) ||
        !admission_init(&gateway->admission, gateway->settings, gateway->error, sizeof gateway->error))
        return false;
    return make_plan(gateway, &capacity) && build_proxy(gateway) && build_reactors(gateway, capacity) &&
           build_broker(gateway) &&
           listeners_open(&gateway->listeners, gateway->settings, gateway->acceptor_count, gateway->error,
                          sizeof gateway->error) &&
           build_publisher(gateway) && build_acceptors(gateway) && build_admin(gateway) &&
           drop_privileges(gateway) && open_log(gateway) && start_threads(gateway) && watch_threads(gateway);
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
    tear_down(gateway);
    if (ok)
        log_event(LOG_INFO, "stopped", "version=%s", PUSHGATE_VERSION);
    supervise_fini(&gateway->supervise);
    log_writer_stop();
    control_fini(&gateway->control);
    free(gateway);
    return ok ? 0 : 1;
}
