/* Verdict, text table and JSON of a run. */
#include "loadtest/report.h"

#include "loadtest/json.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

enum { NUMBER_CHARS = 32 };

static const double quantiles[] = {0.5, 0.9, 0.99, 0.999};
static const char *const quantile_names[] = {"p50", "p90", "p99", "p99.9"};
enum { QUANTILES = sizeof(quantiles) / sizeof(quantiles[0]) };

bool load_result_good(const struct load_result *result)
{
    const struct load_stats *total = &result->total;
    uint64_t interrupted = counter_read(&total->failed[FAIL_INTERRUPTED]);
    uint64_t wanted =
        result->interrupted ? counter_read(&total->started) - interrupted : result->options->connections;

    if (counter_read(&total->opened) < wanted || load_stats_unexpected(total) > 0)
        return false;
    if (counter_read(&total->probes_answered) < counter_read(&total->probes_sent))
        return false;
    if (counter_read(&total->lost) + counter_read(&total->duplicated) + counter_read(&total->out_of_order) +
            counter_read(&total->corrupt) + counter_read(&total->misrouted) >
        0)
        return false;
    return !result->publisher ||
           (result->publisher->error[0] == '\0' && counter_read(&result->publisher->refused) == 0);
}

double load_result_bytes_per_connection(const struct load_result *result)
{
    uint64_t opened = counter_read(&result->total.opened);
    if (opened == 0 || result->rss_open <= result->rss_before)
        return 0;
    return (double)(result->rss_open - result->rss_before) / (double)opened;
}

double load_result_delivery_rate(const struct load_result *result)
{
    uint64_t last = counter_read(&result->total.last_delivery_ns);
    uint64_t first = result->publisher ? counter_read(&result->publisher->began_ns) : 0;
    if (first == 0 || last <= first)
        return 0;
    return (double)counter_read(&result->total.delivered) * 1e9 / (double)(last - first);
}

static double rate_of(uint64_t count, double seconds)
{
    return seconds > 0 ? (double)count / seconds : 0;
}

/* "1,234,567" */
static const char *grouped(uint64_t value, char out[NUMBER_CHARS])
{
    char digits[NUMBER_CHARS];
    int len = snprintf(digits, sizeof(digits), "%" PRIu64, value), at = 0;
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = '\0';
    return out;
}

/* "870 µs", "12.3 ms", "2.41 s" */
static const char *duration(uint64_t microseconds, char out[NUMBER_CHARS])
{
    if (microseconds < 1000)
        snprintf(out, NUMBER_CHARS, "%" PRIu64 " µs", microseconds);
    else if (microseconds < 1000000)
        snprintf(out, NUMBER_CHARS, "%.*f ms", microseconds < 100000 ? 1 : 0, (double)microseconds / 1e3);
    else
        snprintf(out, NUMBER_CHARS, "%.2f s", (double)microseconds / 1e6);
    return out;
}

static uint64_t max_us(const struct histogram *histogram)
{
    return atomic_load_explicit(&histogram->max_us, memory_order_relaxed);
}

/* A quantile is rounded up to a cell's end: never show more than the maximum. */
static uint64_t quantile_us(const struct histogram *histogram, double quantile)
{
    uint64_t value = histogram_quantile(histogram, quantile), max = max_us(histogram);
    return value < max ? value : max;
}

static void text_count(FILE *out, const char *name, uint64_t value, const char *note)
{
    char number[NUMBER_CHARS];
    fprintf(out, "  %-22s %15s%s%s\n", name, grouped(value, number), note[0] ? "  " : "", note);
}

static void text_nonzero(FILE *out, const char *name, uint64_t value, const char *text, const char *example)
{
    char number[NUMBER_CHARS];
    if (value > 0)
        fprintf(out, "    %-20s %15s  %s%s%s\n", name, grouped(value, number), text, example[0] ? ": " : "",
                example);
}

static void text_times(FILE *out, const char *name, const struct histogram *histogram)
{
    char number[NUMBER_CHARS];
    if (histogram_count(histogram) == 0)
        return;
    fprintf(out, "  %-22s", name);
    for (size_t i = 0; i < QUANTILES; i++)
        fprintf(out, " %s %s ", quantile_names[i], duration(quantile_us(histogram, quantiles[i]), number));
    fprintf(out, " max %s\n", duration(max_us(histogram), number));
}

static void text_connections(const struct load_result *result, FILE *out)
{
    const struct load_stats *total = &result->total;
    char note[96], name[32];

    text_count(out, "connections wanted", result->options->connections, "");
    snprintf(note, sizeof(note), "in %.2f s, %.0f per second", result->open_seconds,
             rate_of(counter_read(&total->opened), result->open_seconds));
    text_count(out, "opened", counter_read(&total->opened), note);
    text_times(out, "time to open", &total->open_time);
    text_count(out, "failed to open", load_stats_failed(total), "");
    for (int i = 0; i < FAIL_REASON_COUNT; i++)
        text_nonzero(out, fail_reason_name((enum fail_reason)i), counter_read(&total->failed[i]),
                     fail_reason_text((enum fail_reason)i), total->fail_example[i]);
    for (int i = 0; i < STATS_HTTP_STATUSES; i++) {
        snprintf(name, sizeof(name), "status %d", i);
        text_nonzero(out, name, counter_read(&total->http_status[i]), "", "");
    }
    text_count(out, "closed unexpectedly", load_stats_unexpected(total), "");
    for (int i = 0; i < END_REASON_COUNT; i++)
        text_nonzero(out, end_reason_name((enum end_reason)i), counter_read(&total->ended[i]),
                     end_reason_text((enum end_reason)i), total->end_example[i]);
    for (int i = 0; i < STATS_CLOSE_CODES; i++) {
        snprintf(name, sizeof(name), i < STATS_CLOSE_CODES - 1 ? "code %d" : "other codes",
                 STATS_CLOSE_FIRST + i);
        text_nonzero(out, name, counter_read(&total->close_codes[i]), "", "");
    }
    if (counter_read(&total->probes_sent) > 0) {
        text_count(out, "asked by ping", counter_read(&total->probes_sent), "");
        text_count(out, "answered", counter_read(&total->probes_answered), "");
        text_times(out, "ping to pong", &total->probe_time);
    }
}

static void text_messages(const struct load_result *result, FILE *out)
{
    const struct load_stats *total = &result->total;
    const struct publisher *publisher = result->publisher;
    char note[96];
    double seconds = (double)(counter_read(&publisher->ended_ns) - counter_read(&publisher->began_ns)) / 1e9;

    if (counter_read(&publisher->began_ns) == 0)
        seconds = 0;
    snprintf(note, sizeof(note), "in %.2f s, %.0f per second", seconds,
             rate_of(counter_read(&publisher->published), seconds));
    text_count(out, "published", counter_read(&publisher->published), note);
    text_times(out, "publish to reply", &publisher->reply_time);
    text_count(out, "refused", counter_read(&publisher->refused), publisher->error);
    text_count(out, "receivers reported", counter_read(&publisher->receivers), "");
    text_count(out, "expected", counter_read(&total->expected), "");
    snprintf(note, sizeof(note), "%.0f per second", load_result_delivery_rate(result));
    text_count(out, "delivered", counter_read(&total->delivered), note);
    text_count(out, "lost", counter_read(&total->lost), "");
    text_count(out, "duplicated", counter_read(&total->duplicated), "");
    text_count(out, "out of order", counter_read(&total->out_of_order), "");
    text_count(out, "corrupt", counter_read(&total->corrupt), "");
    text_count(out, "misrouted", counter_read(&total->misrouted), "");
    if (counter_read(&total->foreign) > 0)
        text_count(out, "foreign", counter_read(&total->foreign), "not of this run, ignored");
    text_times(out, "publish to frame", &total->latency);
    text_times(out, "publish to all frames", &result->spread_time);
}

void load_report_text(const struct load_result *result, FILE *out)
{
    char note[96];

    fprintf(out, "\npushgate-load %s %s%s\n", load_mode_name(result->options->mode),
            result->options->target_text, result->interrupted ? " (ended early)" : "");
    text_connections(result, out);
    if (result->publisher)
        text_messages(result, out);
    if (counter_read(&result->total.pings) > 0)
        text_count(out, "server pings answered", counter_read(&result->total.pings), "");
    snprintf(note, sizeof(note), "%.0f MiB in all, %u worker%s", (double)result->rss_open / (1 << 20),
             result->workers, result->workers == 1 ? "" : "s");
    text_count(out, "own bytes/connection", (uint64_t)load_result_bytes_per_connection(result), note);
    snprintf(note, sizeof(note), "user %.2f s, system %.2f s", result->cpu_user, result->cpu_system);
    fprintf(out, "  %-22s %13.2f s  %s\n", "own CPU", result->cpu_user + result->cpu_system, note);
    fprintf(out, "  %s\n", load_result_good(result) ? "passed" : "FAILED");
}

static void json_times(struct json *json, const char *name, const struct histogram *histogram)
{
    uint64_t count = histogram_count(histogram);

    json_object_begin(json, name);
    json_uint(json, "count", count);
    json_double(json, "mean", count ? (double)histogram_sum_us(histogram) / (double)count : 0);
    for (size_t i = 0; i < QUANTILES; i++)
        json_uint(json, quantile_names[i], quantile_us(histogram, quantiles[i]));
    json_uint(json, "max", max_us(histogram));
    json_object_end(json);
}

static void json_options(struct json *json, const struct load_options *options)
{
    json_object_begin(json, "options");
    json_string(json, "target", options->target_text);
    json_uint(json, "connections", options->connections);
    json_uint(json, "rate", options->rate);
    json_uint(json, "in_progress", options->in_progress);
    json_uint(json, "hold_ms", options->hold_ms);
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

static void json_connections(struct json *json, const struct load_result *result)
{
    const struct load_stats *total = &result->total;
    char name[16];

    json_object_begin(json, "connections");
    json_uint(json, "wanted", result->options->connections);
    json_uint(json, "opened", counter_read(&total->opened));
    json_double(json, "open_seconds", result->open_seconds);
    json_double(json, "open_per_second", rate_of(counter_read(&total->opened), result->open_seconds));
    json_times(json, "open_time_us", &total->open_time);
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
    json_object_begin(json, "errors");
    for (int i = 0; i < FAIL_REASON_COUNT; i++)
        if (total->fail_example[i][0] != '\0')
            json_string(json, fail_reason_name((enum fail_reason)i), total->fail_example[i]);
    json_object_end(json);
    json_uint(json, "probes_sent", counter_read(&total->probes_sent));
    json_uint(json, "probes_answered", counter_read(&total->probes_answered));
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
    json_uint(json, "publish_answered", counter_read(&publisher->answered));
    json_uint(json, "publish_refused", counter_read(&publisher->refused));
    json_string(json, "publish_error", publisher->error);
    json_uint(json, "receivers_reported", counter_read(&publisher->receivers));
    json_times(json, "publish_reply_us", &publisher->reply_time);
    json_uint(json, "expected", counter_read(&total->expected));
    json_uint(json, "delivered", counter_read(&total->delivered));
    json_uint(json, "lost", counter_read(&total->lost));
    json_uint(json, "duplicated", counter_read(&total->duplicated));
    json_uint(json, "out_of_order", counter_read(&total->out_of_order));
    json_uint(json, "corrupt", counter_read(&total->corrupt));
    json_uint(json, "misrouted", counter_read(&total->misrouted));
    json_uint(json, "foreign", counter_read(&total->foreign));
    json_double(json, "delivered_per_second", load_result_delivery_rate(result));
    json_times(json, "latency_us", &total->latency);
    json_times(json, "spread_us", &result->spread_time);
    json_object_end(json);
}

bool load_report_json(const struct load_result *result, FILE *out)
{
    struct json json;
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
    json_bool(&json, "passed", load_result_good(result));
    json_bool(&json, "interrupted", result->interrupted);
    json_double(&json, "run_seconds", result->run_seconds);
    json_options(&json, result->options);
    json_connections(&json, result);
    if (result->publisher)
        json_messages(&json, result);
    json_object_begin(&json, "self");
    json_uint(&json, "workers", result->workers);
    json_uint(&json, "rss_before_bytes", result->rss_before);
    json_uint(&json, "rss_open_bytes", result->rss_open);
    json_double(&json, "bytes_per_connection", load_result_bytes_per_connection(result));
    json_double(&json, "cpu_user_seconds", result->cpu_user);
    json_double(&json, "cpu_system_seconds", result->cpu_system);
    json_object_end(&json);
    json_array_begin(&json, "samples");
    for (size_t i = 0; i < result->sample_count; i++) {
        const struct load_sample *sample = &result->samples[i];
        json_object_begin(&json, NULL);
        json_double(&json, "seconds", sample->seconds);
        json_uint(&json, "open", sample->open);
        json_uint(&json, "failed", sample->failed);
        json_uint(&json, "ended", sample->ended);
        json_uint(&json, "delivered", sample->delivered);
        json_object_end(&json);
    }
    json_array_end(&json);
    json_object_end(&json);
    return json_finish(&json);
}
