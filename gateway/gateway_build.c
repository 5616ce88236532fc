/* From settings to everything that threads need, and back. */
#include "gateway/gateway_internal.h"

#include "gateway/admin_metrics.h"
#include "gateway/base/fdtable.h"
#include "gateway/base/log.h"
#include "gateway/broker/engine_memory.h"
#include "gateway/key_files.h"
#include "gateway/plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PROXY_ANSWER_EXTRA = 64 * 1024 }; /* beside one message: channels, info and the like */

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

bool gateway_no_memory(struct gateway *gateway)
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
        return gateway_no_memory(gateway);
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
        return gateway_no_memory(gateway);
    struct broker_config config = {
        .settings = gateway->settings,
        .engine = gateway->engine,
        .reactors = (uint16_t)gateway->reactor_count,
        .reactor_mail = gateway->reactor_mail,
        .message_bytes = gateway->settings->limits.message_bytes,
        .inflight_bytes = gateway->settings->limits.inflight_bytes,
    };
    gateway->broker = broker_create(&config);
    return gateway->broker || gateway_no_memory(gateway);
}

/* On the publisher's thread, so without what is counted on admin's alone. */
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

static bool build_acceptors(struct gateway *gateway)
{
    const struct settings *settings = gateway->settings;
    if (!tls_keeper_init(&gateway->tls_keeper, settings, gateway->error, sizeof gateway->error))
        return false;
    gateway->acceptors = calloc(gateway->acceptor_count, sizeof *gateway->acceptors);
    gateway->acceptor_stats = calloc(gateway->acceptor_count, sizeof *gateway->acceptor_stats);
    if (!gateway->acceptors || !gateway->acceptor_stats)
        return gateway_no_memory(gateway);
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
                                         .ticket_keys = gateway->tls_keeper.ticket_keys,
                                         .access = gateway->admission.access};
        if (!tls_keeper_context(&gateway->tls_keeper, &config.tls, gateway->error, sizeof gateway->error))
            return false;
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
        .certificates = &gateway->tls_keeper.certificates,
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

bool gateway_build(struct gateway *gateway)
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
           build_publisher(gateway) && build_acceptors(gateway) && build_admin(gateway);
}

void gateway_demolish(struct gateway *gateway)
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
    tls_keeper_fini(&gateway->tls_keeper);
    auth_destroy(gateway->auth);
    free(gateway->acceptors);
    free(gateway->acceptor_stats);
    free(gateway->reactors);
    free(gateway->reactor_mail);
    free(gateway->reactor_stats);
    free(gateway->ports);
}
