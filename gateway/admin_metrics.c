/* Writes every counter of conn/stats.h, summed over threads, as Prometheus text. */
#include "gateway/admin_metrics.h"

#include "gateway/base/log_writer.h"
#include "gateway/base/usage.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

/* Buckets end at 64 µs, 128 µs … 16.8 s: powers of two, where the histogram's cells end too. */
enum { BUCKET_FIRST_POWER = 6, BUCKET_LAST_POWER = 24 };

static const char *const transport_labels[TRANSPORT_COUNT] = {[TRANSPORT_WS] = "ws", [TRANSPORT_WSS] = "wss"};

/* A counter or gauge without labels. */
struct metric {
    const char *name, *type, *help;
    size_t offset; /* of the counter in its thread's statistics */
};

#define AT(field) offsetof(struct acceptor_stats, field)
static const struct metric acceptor_metrics[] = {
    {"pushgate_accept_errors_total", "counter", "Failures to accept, for lack of descriptors or memory.",
     AT(accept_errors)},
    {"pushgate_accept_pauses_total", "counter",
     "Times of 100 ms in which an acceptor took nobody because it had 4,095 handshakes under way.",
     AT(accept_pauses)},
    {"pushgate_tls_handshakes_total", "counter", "TLS handshakes completed.", AT(tls_handshakes)},
    {"pushgate_tls_resumed_total", "counter", "TLS handshakes that resumed a session.", AT(tls_resumed)},
    {"pushgate_http_responses_total", "counter",
     "Requests answered without upgrade: errors and the demo page.", AT(http_responses)},
    {"pushgate_transferred_total", "counter", "Connections handed from acceptors to reactors.",
     AT(transferred)},
    {"pushgate_handshaking", "gauge", "Connections whose handshake is under way.", AT(handshaking)},
};
#undef AT

#define AT(field) offsetof(struct reactor_stats, field)
static const struct metric reactor_metrics[] = {
    {"pushgate_opened_total", "counter", "WebSocket connections opened.", AT(opened)},
    {"pushgate_deliveries_total", "counter", "Messages handed to a connection.", AT(deliveries)},
    {"pushgate_delivered_bytes_total", "counter", "Bytes of those messages.", AT(delivered_bytes)},
    {"pushgate_drops_total", "counter", "Messages that a slow connection missed.", AT(drops)},
    {"pushgate_received_frames_total", "counter", "Frames received from clients.", AT(frames_in)},
    {"pushgate_received_bytes_total", "counter", "Bytes received from clients.", AT(bytes_in)},
    {"pushgate_pings_total", "counter", "Pings sent.", AT(pings)},
    {"pushgate_outbox_bytes", "gauge", "Bytes that wait for slow clients.", AT(outbox_bytes)},
    {"pushgate_outbox_connections", "gauge", "Connections for which bytes wait.", AT(outbox_connections)},
    {"pushgate_topics_refused_total", "counter", "Subscriptions for which a reactor had no room.",
     AT(topics_refused)},
    {"pushgate_reactor_topics", "gauge", "Topics with subscribers, counted once for each reactor.",
     AT(topics)},
    {"pushgate_wheel_entries", "gauge", "Timers armed.", AT(wheel_entries)},
};
#undef AT

#define AT(field) offsetof(struct publisher_stats, field)
static const struct metric publisher_metrics[] = {
    {"pushgate_publisher_connections", "gauge", "Connections to the publish socket.", AT(connections)},
    {"pushgate_commands_total", "counter", "Commands read from the publish socket.", AT(commands)},
    {"pushgate_command_errors_total", "counter", "Commands answered with an error.", AT(errors)},
    {"pushgate_publisher_protocol_errors_total", "counter", "Publishers closed for malformed input.",
     AT(protocol_errors)},
    {"pushgate_publisher_auth_failures_total", "counter", "Wrong passwords on the publish socket.",
     AT(auth_failures)},
    {"pushgate_publishes_total", "counter", "Messages published.", AT(publishes)},
    {"pushgate_published_bytes_total", "counter", "Bytes of those messages.", AT(publish_bytes)},
    {"pushgate_publish_reached_total", "counter", "Connections that those messages were queued to.",
     AT(publish_reached)},
    {"pushgate_topics", "gauge", "Topics with subscribers.", AT(topics)},
    {"pushgate_listeners", "gauge", "Connections to the publish socket that have subscribed.", AT(listeners)},
    {"pushgate_listener_channels", "gauge", "Channels that they listen to.", AT(listener_channels)},
    {"pushgate_listener_patterns", "gauge", "Patterns that they listen to.", AT(listener_patterns)},
    {"pushgate_listener_messages_total", "counter", "Messages and events handed to them.",
     AT(listener_messages)},
    {"pushgate_listeners_cut_total", "counter", "Those that were closed because they read too slowly.",
     AT(listeners_cut)},
    {"pushgate_history_streams", "gauge", "Topics with history, or with an offset that is remembered.",
     AT(history_streams)},
    {"pushgate_history_items", "gauge", "Publications kept in histories.", AT(history_items)},
    {"pushgate_history_bytes", "gauge", "Memory of histories, held against history.memory.",
     AT(history_bytes)},
    {"pushgate_presence_topics", "gauge", "Topics on which somebody is present.", AT(presence_topics)},
    {"pushgate_presence_clients", "gauge", "Clients present, counted once for each topic.",
     AT(presence_clients)},
    {"pushgate_presence_bytes", "gauge", "Memory of presence.", AT(presence_bytes)},
};
#undef AT

#define AT(field) offsetof(struct proxy_stats, field)
static const struct metric proxy_metrics[] = {
    {"pushgate_proxy_queued", "gauge", "Requests that wait for their turn at the backend.", AT(queued)},
    {"pushgate_proxy_in_flight", "gauge", "Requests at the backend.", AT(in_flight)},
    {"pushgate_proxy_connections_total", "counter", "Connections opened to the backend.", AT(connections)},
};
#undef AT

/* Statistics of all threads of one kind. */
struct threads {
    const void *const *stats;
    size_t count;
};

static struct threads acceptors_of(const struct admin_config *config)
{
    return (struct threads){(const void *const *)config->acceptors, config->acceptor_count};
}

static struct threads reactors_of(const struct admin_config *config)
{
    return (struct threads){(const void *const *)config->reactors, config->reactor_count};
}

static void family(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void single(FILE *out, const char *name, const char *type, const char *help, uint64_t value)
{
    family(out, name, type, help);
    fprintf(out, "%s %" PRIu64 "\n", name, value);
}

static void labelled(FILE *out, const char *name, const char *label, const char *label_value, uint64_t value)
{
    fprintf(out, "%s{%s=\"%s\"} %" PRIu64 "\n", name, label, label_value, value);
}

static uint64_t read_at(const void *stats, size_t offset)
{
    return counter_read((const counter *)(const void *)((const char *)stats + offset));
}

static uint64_t sum_at(struct threads threads, size_t offset)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < threads.count; i++)
        sum += read_at(threads.stats[i], offset);
    return sum;
}

static void write_metrics(const struct metric *metrics, size_t count, struct threads threads, FILE *out)
{
    for (size_t i = 0; i < count; i++)
        single(out, metrics[i].name, metrics[i].type, metrics[i].help, sum_at(threads, metrics[i].offset));
}

static void write_usage(FILE *out)
{
    uint64_t cpu_us = usage_cpu_us(), resident = usage_resident_bytes();
    family(out, "process_cpu_seconds_total", "counter", "User and system time spent.");
    fprintf(out, "process_cpu_seconds_total %" PRIu64 ".%06" PRIu64 "\n", cpu_us / 1000000, cpu_us % 1000000);
    if (resident > 0)
        single(out, "process_resident_memory_bytes", "gauge",
               "Memory in use, without the kernel's for sockets.", resident);
}

static void write_log(FILE *out)
{
    const struct log_counts log = log_writer_counts();
    family(out, "pushgate_log_lines_lost_total", "counter",
           "Lines of the log that nobody will read: written faster than taken, or refused by the file.");
    labelled(out, "pushgate_log_lines_lost_total", "reason", "full", log.lost_full);
    labelled(out, "pushgate_log_lines_lost_total", "reason", "write", log.lost_write);
}

/* Of the table that this thread shares with acceptors and publisher. Linux tells the number as the
 * directory's size from 6.2 on. */
static void write_descriptors(FILE *out)
{
    static const char path[] = "/proc/thread-self/fd";
    struct rlimit limit;
    struct stat directory;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        single(out, "process_max_fds", "gauge",
               "Descriptors that one table may hold; each reactor has a table of its own.", limit.rlim_cur);
    if (stat(path, &directory) != 0)
        return;
    uint64_t open = (uint64_t)directory.st_size;
    DIR *listing = open == 0 ? opendir(path) : NULL;
    if (listing) {
        for (const struct dirent *entry; (entry = readdir(listing));) // NOLINT(concurrency-mt-unsafe)
            open += entry->d_name[0] != '.';
        closedir(listing);
        open--; /* the listing's own */
    }
    single(out, "process_open_fds", "gauge", "Descriptors in the table that all but the reactors share.",
           open);
}

static void write_process(const struct admin_config *config, uint64_t started_ms, FILE *out)
{
    family(out, "pushgate_info", "gauge", "Version of this gateway.");
    labelled(out, "pushgate_info", "version", PUSHGATE_VERSION, 1);
    enum control_phase phase = control_phase(config->control);
    single(out, "pushgate_ready", "gauge", "1 while new clients are welcome.", phase == PHASE_RUNNING);
    single(out, "pushgate_draining", "gauge", "1 while the gateway is stopping.", phase > PHASE_RUNNING);
    family(out, "process_start_time_seconds", "gauge", "When the gateway started, seconds since 1970.");
    fprintf(out, "process_start_time_seconds %" PRIu64 ".%03" PRIu64 "\n", started_ms / 1000,
            started_ms % 1000);
    write_usage(out);
    write_log(out);
    write_descriptors(out);
}

/* What the settings bound, so that a rule can tell how much of it is left. */
static void write_limits(const struct admin_config *config, FILE *out)
{
    single(out, "pushgate_connections_limit", "gauge",
           "Client connections at a time, by limits.connections and descriptors.", config->connection_limit);
    if (!config->settings)
        return;
    single(out, "pushgate_outbox_memory_limit_bytes", "gauge", "limits.outbox_memory; 0: no limit.",
           config->settings->limits.outbox_memory);
    single(out, "pushgate_inflight_limit_bytes", "gauge", "limits.inflight_bytes; 0: no limit.",
           config->settings->limits.inflight_bytes);
    single(out, "pushgate_history_limit_bytes", "gauge", "history.memory; 0: no limit.",
           config->settings->history.memory);
}

static void write_certificates(const struct tls_certificates *certificates, FILE *out)
{
    static const char name[] = "pushgate_certificate_not_after_timestamp_seconds";
    family(out, name, "gauge",
           "When the certificate of [tls HOST], or another in its chain, stops being good; * for [tls].");
    for (size_t i = 0; i < certificates->count; i++)
        fprintf(out, "%s{host=\"%s\"} %" PRId64 "\n", name, certificates->rows[i].host,
                atomic_load_explicit(&certificates->rows[i].not_after_s, memory_order_relaxed));
}

static void write_acceptors(const struct admin_config *config, FILE *out)
{
    struct threads acceptors = acceptors_of(config);
    family(out, "pushgate_accepted_total", "counter", "Client connections accepted.");
    for (unsigned t = 0; t < TRANSPORT_COUNT; t++)
        labelled(out, "pushgate_accepted_total", "transport", transport_labels[t],
                 sum_at(acceptors, offsetof(struct acceptor_stats, accepted) + t * sizeof(counter)));
    family(out, "pushgate_handshake_failures_total", "counter",
           "Accepted connections that never became a WebSocket.");
    for (unsigned i = 0; i < HANDSHAKE_FAILURE_COUNT; i++)
        labelled(out, "pushgate_handshake_failures_total", "reason",
                 handshake_failure_label((enum handshake_failure)i),
                 sum_at(acceptors, offsetof(struct acceptor_stats, failures) + i * sizeof(counter)));
    write_metrics(acceptor_metrics, sizeof acceptor_metrics / sizeof *acceptor_metrics, acceptors, out);
}

static size_t connections_offset(unsigned adapter, unsigned transport)
{
    return offsetof(struct reactor_stats, connections) +
           (adapter * TRANSPORT_COUNT + transport) * sizeof(counter);
}

static void write_connections(const struct admin_config *config, FILE *out)
{
    struct threads reactors = reactors_of(config);
    family(out, "pushgate_connections", "gauge", "Open WebSocket connections.");
    for (unsigned a = 0; a < ADAPTER_COUNT; a++)
        for (unsigned t = 0; t < TRANSPORT_COUNT; t++)
            fprintf(out, "pushgate_connections{adapter=\"%s\",transport=\"%s\"} %" PRIu64 "\n",
                    adapter_get((enum adapter_id)a)->name, transport_labels[t],
                    sum_at(reactors, connections_offset(a, t)));

    family(out, "pushgate_reactor_connections", "gauge", "Open WebSocket connections of each reactor.");
    for (size_t r = 0; r < reactors.count; r++) {
        uint64_t sum = 0;
        for (unsigned a = 0; a < ADAPTER_COUNT; a++)
            for (unsigned t = 0; t < TRANSPORT_COUNT; t++)
                sum += read_at(reactors.stats[r], connections_offset(a, t));
        fprintf(out, "pushgate_reactor_connections{reactor=\"%zu\"} %" PRIu64 "\n", r, sum);
    }
}

/* Merged first, so that buckets and count come from one snapshot and agree. */
static void write_histogram(struct threads threads, size_t offset, const char *name, const char *help,
                            FILE *out)
{
    struct histogram merged = {0};
    for (size_t i = 0; i < threads.count; i++)
        histogram_merge(&merged,
                        (const struct histogram *)(const void *)((const char *)threads.stats[i] + offset));
    family(out, name, "histogram", help);
    for (unsigned power = BUCKET_FIRST_POWER; power <= BUCKET_LAST_POWER; power++) {
        uint64_t limit = UINT64_C(1) << power;
        fprintf(out, "%s_bucket{le=\"%" PRIu64 ".%06" PRIu64 "\"} %" PRIu64 "\n", name, limit / 1000000,
                limit % 1000000, histogram_count_le(&merged, limit));
    }
    uint64_t count = histogram_count(&merged), sum = histogram_sum_us(&merged);
    fprintf(out,
            "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_sum %" PRIu64 ".%06" PRIu64 "\n%s_count %" PRIu64 "\n",
            name, count, name, sum / 1000000, sum % 1000000, name, count);
}

static void write_reactors(const struct admin_config *config, FILE *out)
{
    struct threads reactors = reactors_of(config);
    write_connections(config, out);
    family(out, "pushgate_closes_total", "counter", "Closed WebSocket connections.");
    for (unsigned i = CLOSE_NONE + 1; i < CLOSE_REASON_COUNT; i++)
        labelled(out, "pushgate_closes_total", "reason", close_reason_label((enum close_reason)i),
                 sum_at(reactors, offsetof(struct reactor_stats, closes) + i * sizeof(counter)));
    write_metrics(reactor_metrics, sizeof reactor_metrics / sizeof *reactor_metrics, reactors, out);
    write_histogram(reactors, offsetof(struct reactor_stats, loop_latency), "pushgate_loop_latency_seconds",
                    "One turn of a reactor's loop, without waiting.", out);
    write_histogram(reactors, offsetof(struct reactor_stats, delivery_latency),
                    "pushgate_delivery_latency_seconds", "From reading a publication to its last subscriber.",
                    out);
}

static void write_proxy(struct threads proxy, FILE *out)
{
    family(out, "pushgate_proxy_answers_total", "counter", "Requests to the backend by what became of them.");
    for (unsigned k = 0; k < PROXY_KIND_COUNT; k++)
        for (unsigned o = 0; o < PROXY_OUTCOME_COUNT; o++)
            fprintf(out, "pushgate_proxy_answers_total{kind=\"%s\",outcome=\"%s\"} %" PRIu64 "\n",
                    proxy_kind_label((enum proxy_kind)k), proxy_outcome_label((enum proxy_outcome)o),
                    sum_at(proxy, offsetof(struct proxy_stats, answers) +
                                      (k * PROXY_OUTCOME_COUNT + o) * sizeof(counter)));
    write_metrics(proxy_metrics, sizeof proxy_metrics / sizeof *proxy_metrics, proxy, out);
    write_histogram(proxy, offsetof(struct proxy_stats, latency), "pushgate_proxy_latency_seconds",
                    "From a client's command to the backend's answer, of requests that were sent.", out);
}

static void write_evictions(struct threads publisher, FILE *out)
{
    static const char name[] = "pushgate_history_evicted_total";
    family(out, name, "counter", "Publications that left a history.");
    labelled(out, name, "reason", "size",
             sum_at(publisher, offsetof(struct publisher_stats, history_evicted_size)));
    labelled(out, name, "reason", "ttl",
             sum_at(publisher, offsetof(struct publisher_stats, history_evicted_ttl)));
    labelled(out, name, "reason", "memory",
             sum_at(publisher, offsetof(struct publisher_stats, history_evicted_memory)));
}

static void write_wakes(const struct admin_config *config, struct threads publisher, FILE *out)
{
    family(out, "pushgate_wakes_total", "counter", "Times that a kind of thread woke up to work.");
    labelled(out, "pushgate_wakes_total", "thread", "acceptor",
             sum_at(acceptors_of(config), offsetof(struct acceptor_stats, wakes)));
    labelled(out, "pushgate_wakes_total", "thread", "reactor",
             sum_at(reactors_of(config), offsetof(struct reactor_stats, wakes)));
    labelled(out, "pushgate_wakes_total", "thread", "publisher",
             sum_at(publisher, offsetof(struct publisher_stats, wakes)));
    if (config->proxy)
        labelled(out, "pushgate_wakes_total", "thread", "proxy", counter_read(&config->proxy->wakes));
}

/* Only what has happened: a sample for each method and outcome would be a hundred. */
static void write_api(const struct admin_api_stats *api, FILE *out)
{
    family(out, "pushgate_api_calls_total", "counter", "Calls of the server API, each of a batch by itself.");
    for (unsigned m = 0; m < API_METHOD_COUNT; m++)
        for (unsigned o = 0; o < API_OUTCOME_COUNT; o++)
            if (o == 0 || api->calls[m][o] > 0)
                fprintf(out, "pushgate_api_calls_total{method=\"%s\",outcome=\"%s\"} %" PRIu64 "\n",
                        api_method_name((enum api_method)m), api_outcome_label(o), api->calls[m][o]);
    family(out, "pushgate_api_refused_total", "counter", "Requests to the server API that held no calls.");
    labelled(out, "pushgate_api_refused_total", "reason", "unauthorized", api->unauthorized);
    labelled(out, "pushgate_api_refused_total", "reason", "malformed", api->malformed);
}

static void write_auth(const struct admin_auth *auth, FILE *out)
{
    static const char name[] = "pushgate_admin_refused_total";
    family(out, name, "counter", "Passwords and keys that the admin listener refused.");
    labelled(out, name, "reason", "wrong", auth->wrong);
    labelled(out, name, "reason", "throttled", auth->throttled);
}

void admin_metrics_write(const struct admin_config *config, uint64_t started_ms,
                         const struct admin_api_stats *api, const struct admin_auth *auth, FILE *out)
{
    const void *const publisher_stats[] = {config->publisher};
    struct threads publisher = {publisher_stats, config->publisher ? 1 : 0};
    write_process(config, started_ms, out);
    write_limits(config, out);
    if (config->certificates && config->certificates->count > 0)
        write_certificates(config->certificates, out);
    write_acceptors(config, out);
    write_reactors(config, out);
    write_metrics(publisher_metrics, sizeof publisher_metrics / sizeof *publisher_metrics, publisher, out);
    write_evictions(publisher, out);
    single(out, "pushgate_inflight_bytes", "gauge", "Bytes published and not yet handed to the kernel.",
           config->broker ? broker_inflight_bytes(config->broker) : 0);
    single(out, "pushgate_outbox_memory_bytes", "gauge",
           "Memory of what waits for slow clients; a message that waits for many counts once.",
           config->broker ? broker_outbox_memory(config->broker) : 0);
    const void *const proxy_stats[] = {config->proxy};
    if (config->proxy)
        write_proxy((struct threads){proxy_stats, 1}, out);
    write_wakes(config, publisher, out);
    if (api)
        write_api(api, out);
    if (auth)
        write_auth(auth, out);
}
