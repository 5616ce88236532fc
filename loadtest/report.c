/* The text table of a run. */
#include "loadtest/report.h"
#include "gateway/base/grouped.h"

#include <inttypes.h>
#include <string.h>

enum { NUMBER_CHARS = 32 };

static const double quantiles[] = {0.5, 0.9, 0.99, 0.999};
static const char *const quantile_names[] = {"p50", "p90", "p99", "p99.9"};
enum { QUANTILES = sizeof(quantiles) / sizeof(quantiles[0]) };

static double rate_of(uint64_t count, double seconds)
{
    return seconds > 0 ? (double)count / seconds : 0;
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

uint64_t report_max(const struct histogram *histogram)
{
    return atomic_load_explicit(&histogram->max_us, memory_order_relaxed);
}

/* A quantile is rounded up to a cell's end. */
uint64_t report_quantile(const struct histogram *histogram, double quantile)
{
    uint64_t value = histogram_quantile(histogram, quantile), max = report_max(histogram);
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
        fprintf(out, " %s %s ", quantile_names[i],
                duration(report_quantile(histogram, quantiles[i]), number));
    fprintf(out, " max %s\n", duration(report_max(histogram), number));
}

static void text_ends(const struct load_stats *total, FILE *out)
{
    char name[32];

    for (int i = 0; i < END_REASON_COUNT; i++)
        text_nonzero(out, end_reason_name((enum end_reason)i), counter_read(&total->ended[i]),
                     end_reason_text((enum end_reason)i), total->end_example[i]);
    for (int i = 0; i < STATS_CLOSE_CODES; i++) {
        snprintf(name, sizeof(name), i < STATS_CLOSE_CODES - 1 ? "code %d" : "other codes",
                 STATS_CLOSE_FIRST + i);
        text_nonzero(out, name, counter_read(&total->close_codes[i]), "", "");
    }
}

static void text_connections(const struct load_result *result, FILE *out)
{
    const struct load_stats *total = &result->total;
    char note[96], name[32];

    text_count(out, "connections wanted", result->options->connections, "");
    uint64_t opened = counter_read(&total->opened) - counter_read(&total->returned);
    snprintf(note, sizeof(note), "in %.2f s, %.0f per second", result->open_seconds,
             rate_of(opened, result->open_seconds));
    text_count(out, "opened", opened, note);
    text_times(out, "time to open", &total->open_time);
    note[0] = '\0';
    if (result->options->mode == LOAD_CHURN)
        snprintf(note, sizeof(note), "%.2f%% of the connections per second (wanted: %.2f%%)",
                 load_result_churn_share(result) * 100,
                 (double)result->options->churn_share * 100 / SHARE_WHOLE);
    if (counter_read(&total->returned) > 0 || note[0] != '\0')
        text_count(out, "opened again", counter_read(&total->returned), note);
    text_times(out, "time to open again", &total->return_time);
    text_count(out, "failed to open", load_stats_failed(total), "");
    for (int i = 0; i < FAIL_REASON_COUNT; i++)
        text_nonzero(out, fail_reason_name((enum fail_reason)i), counter_read(&total->failed[i]),
                     fail_reason_text((enum fail_reason)i), total->fail_example[i]);
    for (int i = 0; i < STATS_HTTP_STATUSES; i++) {
        snprintf(name, sizeof(name), "status %d", i);
        text_nonzero(out, name, counter_read(&total->http_status[i]), "", "");
    }
    text_count(out, "closed unexpectedly", load_stats_unexpected(total), "");
    text_ends(total, out);
    if (counter_read(&total->probes_sent) > 0) {
        text_count(out, "asked by ping", counter_read(&total->probes_sent), "");
        text_count(out, "answered", counter_read(&total->probes_answered), "");
        if (counter_read(&total->other_pongs) > 0)
            text_count(out, "other pongs", counter_read(&total->other_pongs), "answers to no ping of ours");
        text_times(out, "ping to pong", &total->probe_time);
    }
}

static void text_messages(const struct load_result *result, FILE *out)
{
    const struct load_stats *total = &result->total;
    const struct publisher *publisher = result->publisher;
    char note[96];
    uint64_t wanted = result->options->publish_rate;

    int at = snprintf(note, sizeof(note), "in %.2f s, %.0f per second", load_result_publish_seconds(result),
                      load_result_publish_rate(result));
    if (wanted > 0)
        snprintf(note + at, sizeof(note) - (size_t)at, " (wanted: %" PRIu64 ")", wanted);
    text_count(out, "published", counter_read(&publisher->published), note);
    text_times(out, "publish to reply", &publisher->reply_time);
    text_count(out, "refused", counter_read(&publisher->refused), publisher->error);
    if (publisher->broke_off) {
        snprintf(note, sizeof(note), "the publisher broke off: may have been published, not counted as lost");
        text_count(out, "unconfirmed", load_result_unconfirmed(result), note);
    }
    text_count(out, "receivers reported", counter_read(&publisher->receivers), "");
    text_count(out, "expected", load_result_expected(result), "");
    if (result->options->mode == LOAD_STORM || result->options->mode == LOAD_CHURN) {
        text_count(out, "missed while away", load_result_missed(result),
                   "published while a place had no connection");
        text_count(out, "missed while joining", load_result_missed_joining(result),
                   "published after the 101, within --grace, before the first that came");
        text_count(out, "recovered", counter_read(&total->recovered),
                   "of those delivered, published while away");
    }
    snprintf(note, sizeof(note), "%.0f per second", load_result_delivery_rate(result));
    text_count(out, "delivered", counter_read(&total->delivered), note);
    text_count(out, "lost", counter_read(&total->lost),
               result->settle_cut ? "or still under way, when nobody waited any longer" : "");
    if (counter_read(&total->late) > 0)
        text_count(out, "late", counter_read(&total->late), "came when nobody waited any longer");
    text_count(out, "duplicated", counter_read(&total->duplicated), "");
    if (counter_read(&total->twice) > 0)
        text_count(out, "twice across reconnect", counter_read(&total->twice),
                   "on their way when the next connection opened, no fault");
    text_count(out, "out of order", counter_read(&total->out_of_order), "");
    text_count(out, "corrupt", counter_read(&total->corrupt), "");
    text_count(out, "misrouted", counter_read(&total->misrouted), "");
    if (counter_read(&total->foreign) > 0)
        text_count(out, "foreign", counter_read(&total->foreign), "of another run, ignored");
    if (counter_read(&total->unknown) > 0)
        text_count(out, "unknown", counter_read(&total->unknown),
                   result->options->allow_unknown ? "not published by pushgate-load, allowed"
                                                  : "not published by pushgate-load (--allow-unknown)");
    text_times(out, "publish to frame", &total->latency);
    text_times(out, "publish to all frames", &result->spread_time);
}

static void text_storms(const struct load_result *result, FILE *out)
{
    char note[160], missed[NUMBER_CHARS];

    for (size_t i = 0; i < result->storm_count; i++) {
        const struct load_storm *storm = &result->storms[i];
        fprintf(out, "  storm, %s handshakes\n", storm->handshakes);
        snprintf(note, sizeof(note), "cut in %.2f s", storm->cut_seconds);
        text_count(out, "  cut", storm->cut, note);
        snprintf(note, sizeof(note), "in %.2f s, %.0f handshakes per second%s", storm->back_seconds,
                 load_storm_rate(storm), storm->back < storm->cut ? "  NOT ALL" : "");
        text_count(out, "  back", storm->back, note);
        if (strcmp(storm->handshakes, "resumed") == 0)
            text_count(out, "  sessions resumed", storm->resumed, "");
        text_times(out, "  time to open again", &storm->return_time);
        if (storm->failed > 0)
            text_count(out, "  failed attempts", storm->failed, "repeated");
        if (result->publisher) {
            snprintf(note, sizeof(note), "%.1f a connection; and %s while joining",
                     storm->back > 0 ? (double)load_storm_missed(storm) / (double)storm->back : 0,
                     grouped(storm->missed_joining, missed));
            text_count(out, "  missed while away", load_storm_missed(storm), note);
        }
    }
}

static void text_slow(const struct load_result *result, FILE *out)
{
    const struct load_stats *slow = &result->slow;
    char note[96] = "they read nothing for a while";

    if (result->options->slow_read > 0)
        snprintf(note, sizeof(note), "they read %" PRIu64 " bytes per second for a while",
                 result->options->slow_read);
    text_times(out, "others, all reading", &result->latency_before);
    text_times(out, "others, meanwhile", &result->latency_while);
    text_count(out, "slow connections", load_result_slow_count(result), note);
    text_count(out, "  ended by the server", load_stats_unexpected(slow), "");
    text_ends(slow, out);
    text_count(out, "  still open", result->slow_open, "when all had been read that was there to read");
    text_count(out, "  delivered", counter_read(&slow->delivered), "");
    text_count(out, "  missed", counter_read(&slow->lost), "");
    text_nonzero(out, "duplicated", counter_read(&slow->duplicated), "", "");
    text_nonzero(out, "out of order", counter_read(&slow->out_of_order), "", "");
    text_nonzero(out, "corrupt", counter_read(&slow->corrupt), "", "");
    text_nonzero(out, "misrouted", counter_read(&slow->misrouted), "", "");
    text_nonzero(out, "unknown", counter_read(&slow->unknown), "", "");
    text_nonzero(out, "late", counter_read(&slow->late), "", "");
}

/* What the machine has used for the connections. */
static void text_machine(const struct load_result *result, FILE *out)
{
    const struct load_sample *first = result->samples, *open = &result->all_open;
    uint64_t opened = open->open;
    char note[96];

    if (result->sample_count == 0 || opened == 0)
        return;
    if (first->kernel.slab_bytes > 0 && open->kernel.slab_bytes > first->kernel.slab_bytes)
        text_count(out, "kernel bytes/connection",
                   (open->kernel.slab_bytes - first->kernel.slab_bytes) / opened,
                   "/proc/meminfo, Slab; the whole machine's difference");
    if (result->options->gateway_pid == 0)
        return;
    if (!open->gateway_seen) {
        fprintf(out, "  --gateway-pid=%" PRIu64 ": no such process, or not to be seen\n",
                result->options->gateway_pid);
        return;
    }
    snprintf(note, sizeof(note), "%.0f MiB private in all", (double)open->gateway_bytes / (1 << 20));
    text_count(out, "gateway bytes/conn.",
               open->gateway_bytes > first->gateway_bytes
                   ? (open->gateway_bytes - first->gateway_bytes) / opened
                   : 0,
               note);
    const struct load_sample *last = &result->samples[result->sample_count - 1];
    if (last->gateway_seen && first->gateway_seen)
        fprintf(out, "  %-22s %13.2f s\n", "gateway CPU", last->gateway_cpu - first->gateway_cpu);
    else
        fprintf(out, "  %-22s %15s  the process was not there %s\n", "gateway CPU", "not known",
                first->gateway_seen ? "any more at the end" : "at the start");
}

static void text_late(const struct load_result *result, FILE *out)
{
    char publishing[REPORT_SENTENCE_BYTES], churning[REPORT_SENTENCE_BYTES];

    load_result_late_sentences(result, publishing, churning);
    if (publishing[0] != '\0')
        fprintf(out, "  %s\n", publishing);
    if (churning[0] != '\0')
        fprintf(out, "  %s\n", churning);
}

void load_report_text(const struct load_result *result, FILE *out)
{
    static const char *const verdicts[] = {
        [LOAD_PASSED] = "passed",
        [LOAD_FAILED] = "FAILED",
        [LOAD_ENDED_EARLY] = "ended early: no fault in what was checked",
    };
    struct load_findings findings;
    enum load_verdict verdict = load_result_findings(result, &findings);
    char note[96], address[128];

    net_format(&result->options->target.address, address, sizeof(address));
    fprintf(out, "\npushgate-load %s %s%s\n", load_mode_name(result->options->mode),
            result->options->target_text,
            result->interrupted && verdict != LOAD_PASSED ? " (ended early)" : "");
    if (!result->options->target.host_is_ip)
        fprintf(out, "  %-22s %15s\n", "address", address);
    text_connections(result, out);
    if (result->publisher)
        text_messages(result, out);
    text_storms(result, out);
    if (result->options->mode == LOAD_SLOW)
        text_slow(result, out);
    text_late(result, out);
    if (result->note[0] != '\0')
        fprintf(out, "  %s\n", result->note);
    text_machine(result, out);
    if (counter_read(&result->total.pings) > 0)
        text_count(out, "server pings answered", counter_read(&result->total.pings), "");
    snprintf(note, sizeof(note), "%.0f MiB in all, %u worker%s", (double)result->rss_open / (1 << 20),
             result->workers, result->workers == 1 ? "" : "s");
    text_count(out, "own bytes/connection", (uint64_t)load_result_bytes_per_connection(result), note);
    snprintf(note, sizeof(note), "user %.2f s, system %.2f s", result->cpu_user, result->cpu_system);
    fprintf(out, "  %-22s %13.2f s  %s\n", "own CPU", result->cpu_user + result->cpu_system, note);
    for (size_t i = 0; i < findings.warning_count; i++)
        fprintf(out, "  warning: %s\n", findings.warnings[i]);
    for (size_t i = 0; i < result->unchecked_count; i++)
        fprintf(out, "  not checked: %s\n", result->unchecked[i]);
    for (size_t i = 0; i < findings.fault_count; i++)
        fprintf(out, "  fault: %s\n", findings.faults[i]);
    fprintf(out, "  %s\n", verdicts[verdict]);
}
