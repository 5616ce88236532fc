/* The report as JSON; its schema is tests/integration/lib/load_report.schema.json. */
#include "loadtest/json.h"
#include "loadtest/report.h"

#include <time.h>

static const double quantiles[] = {0.5, 0.9, 0.99, 0.999};
static const char *const quantile_names[] = {"p50", "p90", "p99", "p99.9"};
enum { QUANTILES = sizeof(quantiles) / sizeof(quantiles[0]) };

static double rate_of(uint64_t count, double seconds)
{
    return seconds > 0 ? (double)count / seconds : 0;
}

static void json_times(struct json *json, const char *name, const struct histogram *histogram)
{
    uint64_t count = histogram_count(histogram);

    json_object_begin(json, name);
    json_uint(json, "count", count);
    json_double(json, "mean", count ? (double)histogram_sum_us(histogram) / (double)count : 0);
    for (size_t i = 0; i < QUANTILES; i++)
        json_uint(json, quantile_names[i], report_quantile(histogram, quantiles[i]));
    json_uint(json, "max", report_max(histogram));
    json_object_end(json);
}

static void json_options(struct json *json, const struct load_options *options)
{
    char address[128];

    net_format(&options->target.address, address, sizeof(address));
    json_object_begin(json, "options");
    json_string(json, "target", options->target_text);
    json_string(json, "address", address);
    json_uint(json, "connections", options->connections);
    json_uint(json, "rate", options->rate);
    json_uint(json, "in_progress", options->in_progress);
    json_uint(json, "hold_ms", options->hold_ms);
    if (options->mode == LOAD_CHURN)
        json_double(json, "churn", (double)options->churn_share / SHARE_WHOLE);
    if (options->mode == LOAD_CHURN || options->mode == LOAD_STORM)
        json_uint(json, "grace_ms", options->grace_ms);
    if (options->mode == LOAD_SLOW) {
        json_double(json, "slow", (double)options->slow_share / SHARE_WHOLE);
        json_uint(json, "slow_read", options->slow_read);
    }
    if (options->publish) {
        json_string(json, "publish", options->publish);
        json_uint(json, "publish_rate", options->publish_rate);
        json_uint(json, "publish_pipeline", options->publish_pipeline);
        json_uint(json, "messages", options->messages);
        json_uint(json, "topics", options->topics);
        json_uint(json, "message_bytes", options->message_bytes);
    }
    json_object_end(json);
}

static void json_ends(struct json *json, const struct load_stats *total)
{
    char name[16];

    json_object_begin(json, "closed_by_reason");
    for (int i = 0; i < END_REASON_COUNT; i++)
        if (counter_read(&total->ended[i]) > 0)
            json_uint(json, end_reason_name((enum end_reason)i), counter_read(&total->ended[i]));
    json_object_end(json);
    json_object_begin(json, "close_codes");
    for (int i = 0; i < STATS_CLOSE_CODES; i++) {
        snprintf(name, sizeof(name), i < STATS_CLOSE_CODES - 1 ? "%d" : "other", STATS_CLOSE_FIRST + i);
        if (counter_read(&total->close_codes[i]) > 0)
            json_uint(json, name, counter_read(&total->close_codes[i]));
    }
    json_object_end(json);
}

static void json_connections(struct json *json, const struct load_result *result)
{
    const struct load_stats *total = &result->total;
    uint64_t opened = counter_read(&total->opened) - counter_read(&total->returned);
    char name[16];

    json_object_begin(json, "connections");
    json_uint(json, "wanted", result->options->connections);
    json_uint(json, "opened", opened);
    json_double(json, "open_seconds", result->open_seconds);
    json_double(json, "open_per_second", rate_of(opened, result->open_seconds));
    json_times(json, "open_time_us", &total->open_time);
    json_uint(json, "returned", counter_read(&total->returned));
    json_times(json, "return_time_us", &total->return_time);
    json_uint(json, "failed", load_stats_failed(total));
    json_object_begin(json, "failed_by_reason");
    for (int i = 0; i < FAIL_REASON_COUNT; i++)
        if (counter_read(&total->failed[i]) > 0)
            json_uint(json, fail_reason_name((enum fail_reason)i), counter_read(&total->failed[i]));
    json_object_end(json);
    json_object_begin(json, "http_status");
    for (int i = 0; i < STATS_HTTP_STATUSES; i++) {
        snprintf(name, sizeof(name), "%d", i);
        if (counter_read(&total->http_status[i]) > 0)
            json_uint(json, name, counter_read(&total->http_status[i]));
    }
    json_object_end(json);
    json_uint(json, "closed_unexpectedly", load_stats_unexpected(total));
    json_ends(json, total);
    json_object_begin(json, "errors");
    for (int i = 0; i < FAIL_REASON_COUNT; i++)
        if (total->fail_example[i][0] != '\0')
            json_string(json, fail_reason_name((enum fail_reason)i), total->fail_example[i]);
    json_object_end(json);
    json_uint(json, "probes_sent", counter_read(&total->probes_sent));
    json_uint(json, "probes_answered", counter_read(&total->probes_answered));
    json_uint(json, "other_pongs", counter_read(&total->other_pongs));
    json_times(json, "probe_time_us", &total->probe_time);
    json_uint(json, "server_pings", counter_read(&total->pings));
    json_uint(json, "session_tickets", counter_read(&total->session_tickets));
    json_uint(json, "sessions_resumed", counter_read(&total->sessions_resumed));
    json_uint(json, "unchecked_messages", counter_read(&total->unchecked));
    json_uint(json, "received_bytes", counter_read(&total->received_bytes));
    json_object_end(json);
}

static void json_messages(struct json *json, const struct load_result *result)
{
    const struct load_stats *total = &result->total;
    const struct publisher *publisher = result->publisher;

    json_object_begin(json, "messages");
    json_uint(json, "published", counter_read(&publisher->published));
    json_double(json, "published_per_second", load_result_publish_rate(result));
    json_uint(json, "wanted_per_second", result->options->publish_rate);
    json_bool(json, "published_late", load_result_published_late(result));
    json_uint(json, "publish_answered", counter_read(&publisher->answered));
    json_uint(json, "publish_refused", counter_read(&publisher->refused));
    json_string(json, "publish_error", publisher->error);
    json_bool(json, "publisher_broke_off", publisher->broke_off);
    json_uint(json, "unconfirmed", load_result_unconfirmed(result));
    json_uint(json, "receivers_reported", counter_read(&publisher->receivers));
    json_times(json, "publish_reply_us", &publisher->reply_time);
    json_uint(json, "expected", load_result_expected(result));
    json_uint(json, "missed_while_away", load_result_missed(result));
    json_uint(json, "missed_while_joining", load_result_missed_joining(result));
    json_uint(json, "delivered", counter_read(&total->delivered));
    json_uint(json, "recovered", counter_read(&total->recovered));
    json_uint(json, "lost", counter_read(&total->lost));
    json_uint(json, "late", counter_read(&total->late));
    json_uint(json, "duplicated", counter_read(&total->duplicated));
    json_uint(json, "twice_across_reconnect", counter_read(&total->twice));
    json_uint(json, "out_of_order", counter_read(&total->out_of_order));
    json_uint(json, "corrupt", counter_read(&total->corrupt));
    json_uint(json, "misrouted", counter_read(&total->misrouted));
    json_uint(json, "foreign", counter_read(&total->foreign));
    json_uint(json, "unknown", counter_read(&total->unknown));
    json_double(json, "delivered_per_second", load_result_delivery_rate(result));
    json_times(json, "latency_us", &total->latency);
    json_times(json, "spread_us", &result->spread_time);
    json_array_begin(json, "spread_first_us");
    for (size_t i = 0; i < result->spread_first_count; i++)
        json_uint(json, NULL, result->spread_first_us[i]);
    json_array_end(json);
    json_object_end(json);
}

static void json_storms(struct json *json, const struct load_result *result)
{
    json_array_begin(json, "storms");
    for (size_t i = 0; i < result->storm_count; i++) {
        const struct load_storm *storm = &result->storms[i];
        json_object_begin(json, NULL);
        json_string(json, "handshakes", storm->handshakes);
        json_uint(json, "cut", storm->cut);
        json_double(json, "cut_seconds", storm->cut_seconds);
        json_uint(json, "back", storm->back);
        json_double(json, "back_seconds", storm->back_seconds);
        json_double(json, "handshakes_per_second", load_storm_rate(storm));
        json_uint(json, "resumed", storm->resumed);
        json_uint(json, "failed_attempts", storm->failed);
        json_uint(json, "missed_while_away", load_storm_missed(storm));
        json_uint(json, "missed_while_joining", storm->missed_joining);
        json_times(json, "return_time_us", &storm->return_time);
        json_object_end(json);
    }
    json_array_end(json);
}

static void json_slow(struct json *json, const struct load_result *result)
{
    const struct load_stats *slow = &result->slow;

    json_object_begin(json, "slow");
    json_uint(json, "connections", load_result_slow_count(result));
    json_uint(json, "still_open", result->slow_open);
    json_uint(json, "ended_by_server", load_stats_unexpected(slow));
    json_ends(json, slow);
    json_uint(json, "expected", counter_read(&slow->expected));
    json_uint(json, "delivered", counter_read(&slow->delivered));
    json_uint(json, "missed", counter_read(&slow->lost));
    json_uint(json, "duplicated", counter_read(&slow->duplicated));
    json_uint(json, "out_of_order", counter_read(&slow->out_of_order));
    json_uint(json, "corrupt", counter_read(&slow->corrupt));
    json_uint(json, "misrouted", counter_read(&slow->misrouted));
    json_uint(json, "unknown", counter_read(&slow->unknown));
    json_uint(json, "late", counter_read(&slow->late));
    json_times(json, "others_latency_before_us", &result->latency_before);
    json_times(json, "others_latency_while_us", &result->latency_while);
    json_object_end(json);
}

static void json_memory(struct json *json, const struct load_result *result)
{
    const struct load_sample *first = result->samples, *open = &result->all_open;

    if (result->sample_count == 0)
        return;
    json_object_begin(json, "memory");
    json_uint(json, "kernel_before_bytes", first->kernel.slab_bytes);
    json_uint(json, "kernel_open_bytes", open->kernel.slab_bytes);
    json_uint(json, "tcp_before_bytes", first->kernel.tcp_bytes);
    json_uint(json, "tcp_open_bytes", open->kernel.tcp_bytes);
    json_uint(json, "available_before_bytes", first->kernel.available);
    json_uint(json, "available_open_bytes", open->kernel.available);
    if (first->gateway_seen && open->gateway_seen) {
        json_uint(json, "gateway_before_bytes", first->gateway_bytes);
        json_uint(json, "gateway_open_bytes", open->gateway_bytes);
    }
    json_object_end(json);
}

static void json_samples(struct json *json, const struct load_result *result)
{
    json_array_begin(json, "samples");
    for (size_t i = 0; i < result->sample_count; i++) {
        const struct load_sample *sample = &result->samples[i];
        json_object_begin(json, NULL);
        json_double(json, "seconds", sample->seconds);
        json_uint(json, "open", sample->open);
        json_uint(json, "opened", sample->opened);
        json_uint(json, "failed", sample->failed);
        json_uint(json, "ended", sample->ended);
        json_uint(json, "published", sample->published);
        json_uint(json, "delivered", sample->delivered);
        json_uint(json, "p50_us", sample->p50_us);
        json_uint(json, "p99_us", sample->p99_us);
        json_uint(json, "max_us", sample->max_us);
        json_uint(json, "own_bytes", sample->own_bytes);
        json_double(json, "own_cpu_seconds", sample->own_cpu);
        if (sample->kernel.slab_bytes > 0) {
            json_uint(json, "kernel_bytes", sample->kernel.slab_bytes);
            json_uint(json, "tcp_bytes", sample->kernel.tcp_bytes);
        }
        if (sample->gateway_seen) {
            json_uint(json, "gateway_bytes", sample->gateway_bytes);
            json_double(json, "gateway_cpu_seconds", sample->gateway_cpu);
        }
        json_object_end(json);
    }
    json_array_end(json);
}

bool load_report_json(const struct load_result *result, FILE *out)
{
    struct json json;
    struct load_findings findings;
    char started[32] = "";
    time_t seconds = (time_t)(result->started_at_ms / 1000);
    struct tm utc;

    if (gmtime_r(&seconds, &utc))
        (void)strftime(started, sizeof(started), "%Y-%m-%dT%H:%M:%SZ", &utc);
    json_init(&json, out);
    json_object_begin(&json, NULL);
    json_string(&json, "tool", "pushgate-load");
    json_string(&json, "version", PUSHGATE_VERSION);
    json_string(&json, "mode", load_mode_name(result->options->mode));
    json_string(&json, "started", started);
    json_bool(&json, "passed", load_result_findings(result, &findings) == LOAD_PASSED);
    json_bool(&json, "interrupted", result->interrupted);
    json_array_begin(&json, "unchecked");
    for (size_t i = 0; i < result->unchecked_count; i++)
        json_string(&json, NULL, result->unchecked[i]);
    json_array_end(&json);
    json_array_begin(&json, "faults");
    for (size_t i = 0; i < findings.fault_count; i++)
        json_string(&json, NULL, findings.faults[i]);
    json_array_end(&json);
    json_array_begin(&json, "warnings");
    for (size_t i = 0; i < findings.warning_count; i++)
        json_string(&json, NULL, findings.warnings[i]);
    json_array_end(&json);
    json_double(&json, "run_seconds", result->run_seconds);
    json_options(&json, result->options);
    json_connections(&json, result);
    if (result->publisher)
        json_messages(&json, result);
    if (result->options->mode == LOAD_STORM)
        json_storms(&json, result);
    if (result->options->mode == LOAD_CHURN) {
        json_double(&json, "churn_seconds", result->churn_seconds);
        json_double(&json, "churn_per_second", load_result_churn_share(result));
        json_bool(&json, "churned_late", load_result_churned_late(result));
    }
    if (result->options->mode == LOAD_SLOW)
        json_slow(&json, result);
    if (result->note[0] != '\0')
        json_string(&json, "note", result->note);
    json_object_begin(&json, "self");
    json_uint(&json, "workers", result->workers);
    json_uint(&json, "rss_before_bytes", result->rss_before);
    json_uint(&json, "rss_open_bytes", result->rss_open);
    json_double(&json, "bytes_per_connection", load_result_bytes_per_connection(result));
    json_double(&json, "cpu_user_seconds", result->cpu_user);
    json_double(&json, "cpu_system_seconds", result->cpu_system);
    json_object_end(&json);
    json_memory(&json, result);
    json_samples(&json, result);
    json_object_end(&json);
    return json_finish(&json);
}
