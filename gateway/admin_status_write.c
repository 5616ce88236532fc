/* The status as JSON; STATUS.md describes every member. */
#include "gateway/admin_status_internal.h"

#include "gateway/base/usage.h"
#include "gateway/tls/tls_certificates.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    CONNECTIONS_TELLING = 1000, /* below, memory for each is lost in what the process takes for itself */
    CERTIFICATES_LIVE = 20,
};

static const char *const transport_names[TRANSPORT_COUNT] = {[TRANSPORT_WS] = "ws", [TRANSPORT_WSS] = "wss"};

static const struct {
    const char *name;
    bool rate; /* stands among the rates of the last second, too */
} rows[STATUS_ROW_COUNT] = {
    [STATUS_CONNECTIONS] = {"connections", false},
    [STATUS_ACCEPTS] = {"accepts", true},
    [STATUS_HANDSHAKES_FULL] = {"handshakes_full", true},
    [STATUS_HANDSHAKES_RESUMED] = {"handshakes_resumed", true},
    [STATUS_OPENS] = {"opens", true},
    [STATUS_CLOSES] = {"closes", true},
    [STATUS_PUBLISHES] = {"publishes", true},
    [STATUS_DELIVERIES] = {"deliveries", true},
    [STATUS_DELIVERED_BYTES] = {"delivered_bytes", true},
    [STATUS_DROPS] = {"drops", true},
    [STATUS_LATENCY_P50] = {"latency_p50_ms", false},
    [STATUS_LATENCY_P99] = {"latency_p99_ms", false},
    [STATUS_SLOW_CONNECTIONS] = {"slow_connections", false},
    [STATUS_SLOW_BYTES] = {"slow_bytes", false},
    [STATUS_RESIDENT_BYTES] = {"resident_bytes", false},
    [STATUS_CPU_PERCENT] = {"cpu_percent", false},
};

/* At most three places behind the point, none for a whole number; null for none at all. */
static void put_number(struct json_out *out, double value)
{
    char text[64];
    if (!isfinite(value)) {
        json_out_json(out, (struct json_slice){0});
        return;
    }
    int len = snprintf(text, sizeof text, "%.3f", value);
    while (len > 0 && text[len - 1] == '0')
        len--;
    if (len > 0 && text[len - 1] == '.')
        len--;
    json_out_json(out, (struct json_slice){text, (size_t)len});
}

static void name_number(struct json_out *out, const char *name, double value)
{
    json_out_name(out, name);
    put_number(out, value);
}

static void name_uint(struct json_out *out, const char *name, uint64_t value)
{
    json_out_name(out, name);
    json_out_uint(out, value);
}

static void name_text(struct json_out *out, const char *name, const char *text)
{
    json_out_name(out, name);
    json_out_text(out, text);
}

/* How far a stop is; null while nobody has asked for one. */
static void write_drain(const struct control_drain *drain, uint64_t now_ms, struct json_out *out)
{
    json_out_name(out, "drain");
    if (drain->began_ms == 0) {
        json_out_json(out, (struct json_slice){0});
        return;
    }
    uint64_t left_ms = drain->until_ms > now_ms ? drain->until_ms - now_ms : 0;
    json_out_object(out);
    name_uint(out, "connections", drain->connections);
    name_uint(out, "left", drain->left);
    name_number(out, "elapsed_seconds", (double)(now_ms - drain->began_ms) / 1000);
    name_number(out, "seconds_left", (double)left_ms / 1000);
    json_out_object_end(out);
}

static void write_state(const struct control *control, uint64_t now_ms, struct json_out *out)
{
    const struct control_drain drain = control_drain(control);
    json_out_name(out, "state");
    json_out_object(out);
    name_text(out, "phase", control_phase_label(drain.phase));
    json_out_name(out, "ready");
    json_out_bool(out, drain.phase == PHASE_RUNNING);
    write_drain(&drain, now_ms, out);
    json_out_object_end(out);
}

static void write_connections(const struct admin_config *config, const struct status_totals *totals,
                              struct json_out *out)
{
    json_out_name(out, "connections");
    json_out_object(out);
    name_uint(out, "open", status_connections(totals));
    name_uint(out, "limit", config->connection_limit);
    name_uint(out, "handshaking", totals->handshaking);
    json_out_name(out, "by_transport");
    json_out_object(out);
    for (unsigned t = 0; t < TRANSPORT_COUNT; t++) {
        uint64_t sum = 0;
        for (unsigned a = 0; a < ADAPTER_COUNT; a++)
            sum += totals->connections[a][t];
        name_uint(out, transport_names[t], sum);
    }
    json_out_object_end(out);
    json_out_name(out, "by_adapter");
    json_out_object(out);
    for (unsigned a = 0; a < ADAPTER_COUNT; a++) {
        uint64_t sum = 0;
        for (unsigned t = 0; t < TRANSPORT_COUNT; t++)
            sum += totals->connections[a][t];
        name_uint(out, adapter_get((enum adapter_id)a)->name, sum);
    }
    json_out_object_end(out);
    json_out_name(out, "by_reactor");
    json_out_array(out);
    for (size_t r = 0; r < config->reactor_count; r++) {
        uint64_t sum = 0;
        for (unsigned a = 0; a < ADAPTER_COUNT; a++)
            for (unsigned t = 0; t < TRANSPORT_COUNT; t++)
                sum += counter_read(&config->reactors[r]->connections[a][t]);
        json_out_uint(out, sum);
    }
    json_out_array_end(out);
    json_out_object_end(out);
}

static void write_rates(const struct series *series, struct json_out *out)
{
    json_out_name(out, "rates");
    json_out_object(out);
    for (size_t row = 0; row < STATUS_ROW_COUNT; row++)
        if (rows[row].rate)
            name_number(out, rows[row].name, series->count > 0 ? series_at(series, row, 0) : 0);
    json_out_object_end(out);
}

static void write_totals(const struct status_totals *totals, struct json_out *out)
{
    json_out_name(out, "totals");
    json_out_object(out);
    name_uint(out, "accepts", totals->accepted[TRANSPORT_WS] + totals->accepted[TRANSPORT_WSS]);
    name_uint(out, "handshakes_full", totals->handshakes - totals->resumed);
    name_uint(out, "handshakes_resumed", totals->resumed);
    name_uint(out, "opens", totals->opened);
    name_uint(out, "closes", status_closes(totals));
    name_uint(out, "publishes", totals->publishes);
    name_uint(out, "published_bytes", totals->published_bytes);
    name_uint(out, "deliveries", totals->deliveries);
    name_uint(out, "delivered_bytes", totals->delivered_bytes);
    name_uint(out, "drops", totals->drops);
    json_out_object_end(out);
}

static void write_quantiles(const char *name, const struct histogram *latency, struct json_out *out)
{
    static const struct {
        const char *name;
        double quantile;
    } quantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}, {"max", 1}};
    uint64_t count = histogram_count(latency);
    json_out_name(out, name);
    json_out_object(out);
    name_uint(out, "count", count);
    for (size_t i = 0; i < sizeof quantiles / sizeof *quantiles; i++)
        name_number(out, quantiles[i].name,
                    count > 0 ? (double)histogram_quantile(latency, quantiles[i].quantile) / 1000 : NAN);
    json_out_object_end(out);
}

static void write_latency(const struct admin_status *status, const struct status_totals *totals,
                          struct json_out *out)
{
    const struct status_mark *mark = status_mark_minute_ago(status);
    struct histogram recent = {0};
    histogram_merge(&recent, &totals->latency);
    if (mark)
        histogram_subtract(&recent, &mark->latency);
    json_out_name(out, "latency_ms");
    json_out_object(out);
    write_quantiles("last_minute", &recent, out);
    write_quantiles("since_start", &totals->latency, out);
    json_out_object_end(out);
}

/* What is known to be something else than connections is taken away first. */
static double user_bytes_each(const struct admin_status *status, uint64_t resident, uint64_t other,
                              uint64_t connections)
{
    if (connections < CONNECTIONS_TELLING || resident <= status->baseline_bytes + other)
        return NAN;
    uint64_t bytes = (resident - status->baseline_bytes - other) / connections;
    return (double)bytes;
}

static void write_memory(const struct admin_status *status, const struct status_totals *totals,
                         struct json_out *out)
{
    const struct publisher_stats *publisher = status->config.publisher;
    uint64_t connections = status_connections(totals), resident = usage_resident_bytes();
    uint64_t history = publisher ? counter_read(&publisher->history_bytes) : 0;
    uint64_t presence = publisher ? counter_read(&publisher->presence_bytes) : 0;
    const struct broker *broker = status->config.broker;
    uint64_t inflight = broker ? broker_inflight_bytes(broker) : 0;
    uint64_t outboxes = broker ? broker_outbox_memory(broker) : 0;
    struct usage_tcp tcp;
    /* Of all sockets that there are: it tells of ours when they are many of them, perhaps beside their
     * peers'. */
    bool buffers = connections >= CONNECTIONS_TELLING && usage_tcp_read("", &tcp) && tcp.sockets > 0 &&
                   connections >= tcp.sockets / 3;
    json_out_name(out, "memory");
    json_out_object(out);
    name_uint(out, "resident_bytes", resident);
    name_uint(out, "baseline_bytes", status->baseline_bytes);
    name_uint(out, "history_bytes", history);
    name_uint(out, "presence_bytes", presence);
    name_uint(out, "outbox_bytes", outboxes);
    name_uint(out, "inflight_bytes", inflight);
    json_out_name(out, "per_connection");
    json_out_object(out);
    name_number(out, "user_bytes",
                user_bytes_each(status, resident, history + presence + outboxes + inflight, connections));
    name_text(out, "user_method",
              "(resident - baseline - history - presence - outboxes - inflight) / connections");
    name_number(out, "kernel_socket_bytes", status->socket_bytes > 0 ? (double)status->socket_bytes : NAN);
    uint64_t buffer = buffers ? tcp.buffer_bytes / tcp.sockets : 0;
    name_number(out, "kernel_buffer_bytes", buffers ? (double)buffer : NAN);
    name_text(out, "kernel_method",
              status->socket_bytes > 0
                  ? "sizes of a socket's objects in /proc/slabinfo; buffers of /proc/net/sockstat / sockets"
                  : "/proc/slabinfo is for root only; buffers of /proc/net/sockstat / sockets");
    json_out_object_end(out);
    json_out_object_end(out);
}

static void write_cpu(const struct admin_status *status, const struct status_totals *totals,
                      struct json_out *out)
{
    const struct series *series = &status->series;
    json_out_name(out, "cpu");
    json_out_object(out);
    name_number(out, "percent", series->count > 0 ? series_at(series, STATUS_CPU_PERCENT, 0) : 0);
    name_number(out, "seconds", (double)totals->cpu_us / 1e6);
    json_out_object_end(out);
}

static void write_closes(const struct admin_status *status, const struct status_totals *totals,
                         struct json_out *out)
{
    const struct status_mark *mark = status_mark_minute_ago(status);
    json_out_name(out, "closes");
    json_out_array(out);
    for (unsigned i = CLOSE_NONE + 1; i < CLOSE_REASON_COUNT; i++) {
        enum close_reason reason = (enum close_reason)i;
        json_out_object(out);
        name_text(out, "reason", close_reason_label(reason));
        name_text(out, "text", close_reason_text(reason));
        name_uint(out, "code", close_reason_code(reason));
        name_uint(out, "total", totals->closes[i]);
        name_uint(out, "last_minute", totals->closes[i] - (mark ? mark->closes[i] : 0));
        json_out_object_end(out);
    }
    json_out_array_end(out);
    json_out_name(out, "handshake_failures");
    json_out_array(out);
    for (unsigned i = 0; i < HANDSHAKE_FAILURE_COUNT; i++) {
        json_out_object(out);
        name_text(out, "reason", handshake_failure_label((enum handshake_failure)i));
        name_uint(out, "total", totals->failures[i]);
        name_uint(out, "last_minute", totals->failures[i] - (mark ? mark->failures[i] : 0));
        json_out_object_end(out);
    }
    json_out_array_end(out);
}

static void write_slow(const struct admin_status *status, const struct status_totals *totals,
                       struct json_out *out)
{
    const struct status_mark *mark = status_mark_minute_ago(status);
    json_out_name(out, "slow_consumers");
    json_out_object(out);
    name_uint(out, "connections", totals->slow_connections);
    name_uint(out, "bytes", totals->slow_bytes);
    name_uint(out, "bytes_each_max", status->config.settings->limits.outbox_bytes);
    name_uint(out, "closed", totals->closes[CLOSE_SLOW]);
    name_uint(out, "drops", totals->drops);
    name_uint(out, "drops_last_minute", totals->drops - (mark ? mark->drops : 0));
    json_out_object_end(out);
}

static void write_publisher(const struct publisher_stats *publisher, struct json_out *out)
{
    json_out_name(out, "publishers");
    json_out_object(out);
    name_uint(out, "connections", publisher ? counter_read(&publisher->connections) : 0);
    name_uint(out, "listeners", publisher ? counter_read(&publisher->listeners) : 0);
    json_out_object_end(out);
}

/* A topic that somebody has is UTF-8 (adapter/topic_name.h). */
static void name_topic(struct json_out *out, const struct top_row *row)
{
    json_out_name(out, "topic");
    json_out_string(out, (struct json_slice){row->topic, row->topic_bytes});
}

static void write_topics(const struct admin_status *status, uint64_t now_ms, struct json_out *out)
{
    const struct status_walk *walk = &status->walk;
    const struct top *found = walk->whole_ms > 0 ? &walk->whole : &walk->found;
    json_out_name(out, "topics");
    json_out_object(out);
    name_uint(out, "count", status->config.publisher ? counter_read(&status->config.publisher->topics) : 0);
    json_out_name(out, "by_subscribers");
    json_out_object(out);
    json_out_name(out, "complete");
    json_out_bool(out, walk->whole_ms > 0);
    name_number(out, "age_seconds", walk->whole_ms > 0 ? (double)(now_ms - walk->whole_ms) / 1000 : NAN);
    json_out_name(out, "top");
    json_out_array(out);
    for (uint32_t i = 0; i < found->count; i++) {
        json_out_object(out);
        name_topic(out, &found->rows[i]);
        name_uint(out, "subscribers", found->rows[i].weight);
        json_out_object_end(out);
    }
    json_out_array_end(out);
    json_out_object_end(out);
    json_out_name(out, "by_traffic");
    json_out_object(out);
    name_number(out, "window_seconds", (double)walk->traffic_ns / 1e9);
    json_out_name(out, "top");
    json_out_array(out);
    for (uint32_t i = 0; i < walk->traffic.count; i++) {
        const struct top_row *row = &walk->traffic.rows[i];
        json_out_object(out);
        name_topic(out, row);
        name_uint(out, "messages", row->messages);
        name_uint(out, "deliveries", row->deliveries);
        name_uint(out, "bytes", row->weight);
        json_out_object_end(out);
    }
    json_out_array_end(out);
    json_out_object_end(out);
    json_out_object_end(out);
}

/* The one that ends first stands first; what is not known stands last. */
static bool ends_before(int64_t a, int64_t b)
{
    return a != 0 && (b == 0 || a < b);
}

static void write_certificate(const struct tls_certificate *row, int64_t now_s, struct json_out *out)
{
    int64_t end = atomic_load_explicit(&row->not_after_s, memory_order_relaxed);
    json_out_object(out);
    name_text(out, "name", row->host);
    name_number(out, "not_after", end != 0 ? (double)end : NAN);
    name_number(out, "seconds_left", end != 0 ? (double)(end - now_s) : NAN);
    json_out_object_end(out);
}

/* `most` of them; picked one after another, for they are few and the list is the configuration's. */
static void write_certificates(const struct tls_certificates *certificates, int64_t now_s, size_t most,
                               struct json_out *out)
{
    size_t count = certificates ? certificates->count : 0;
    const struct tls_certificate *last = NULL;
    json_out_name(out, "certificates");
    json_out_array(out);
    for (size_t n = 0; n < count && n < most; n++) {
        const struct tls_certificate *next = NULL;
        for (size_t i = 0; i < count; i++) {
            const struct tls_certificate *row = &certificates->rows[i];
            int64_t end = row->not_after_s, last_end = last ? last->not_after_s : 0;
            bool done = last && (ends_before(end, last_end) || (end == last_end && row <= last));
            if (!done && (!next || ends_before(end, next->not_after_s)))
                next = row;
        }
        if (!next)
            break;
        write_certificate(next, now_s, out);
        last = next;
    }
    json_out_array_end(out);
}

static void write_series(const struct series *series, uint32_t seconds, struct json_out *out)
{
    uint32_t count = series->count < seconds ? series->count : seconds;
    json_out_name(out, "series");
    json_out_object(out);
    name_uint(out, "newest", series->newest);
    name_uint(out, "count", count);
    for (size_t row = 0; row < STATUS_ROW_COUNT; row++) {
        json_out_name(out, rows[row].name);
        json_out_array(out);
        for (uint32_t age = count; age > 0; age--)
            put_number(out, series_at(series, row, age - 1));
        json_out_array_end(out);
    }
    json_out_object_end(out);
}

void admin_status_write(struct admin_status *status, uint64_t now_ms, uint32_t seconds, struct json_out *out)
{
    struct status_totals totals;
    status_read(&status->config, &totals);
    uint64_t uptime_ms = now_ms - status->began_ms, real_ms = status->started_ms + uptime_ms;
    json_out_object(out);
    name_uint(out, "schema", 1);
    name_text(out, "version", PUSHGATE_VERSION);
    name_text(out, "node", status->node);
    name_uint(out, "pid", (uint64_t)getpid());
    name_number(out, "time", (double)real_ms / 1000);
    name_number(out, "uptime_seconds", (double)uptime_ms / 1000);
    write_state(status->config.control, now_ms, out);
    write_connections(&status->config, &totals, out);
    write_rates(&status->series, out);
    write_totals(&totals, out);
    write_latency(status, &totals, out);
    write_memory(status, &totals, out);
    write_cpu(status, &totals, out);
    write_closes(status, &totals, out);
    write_slow(status, &totals, out);
    write_publisher(status->config.publisher, out);
    write_topics(status, now_ms, out);
    write_certificates(status->config.certificates, (int64_t)(real_ms / 1000),
                       seconds == STATUS_SECONDS_LIVE ? CERTIFICATES_LIVE : SIZE_MAX, out);
    write_series(&status->series, seconds, out);
    json_out_object_end(out);
}
