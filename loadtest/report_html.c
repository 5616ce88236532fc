/* The report as one HTML page that needs nothing else. */
#include "gateway/base/grouped.h"
#include "loadtest/plot.h"
#include "loadtest/report.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { POINTS_MAX = 400, TELLING_CONNECTIONS = 1000 };

static const char style[] =
    ":root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--line:#d5d9e0;--text:#1a1f29;--soft:#566072;"
    "--good:#14713d;--bad:#b3261e;--grid:#e6e9ee;--c1:#1d5fd1;--c2:#b25000;--c3:#12805c;--c4:#7a3fb0}\n"
    "@media(prefers-color-scheme:dark){:root{--page:#12151b;--card:#1a1f28;--line:#303846;--text:#e8ebf1;"
    "--soft:#a3adbd;--good:#62d394;--bad:#ff8a80;--grid:#2a313d;--c1:#8db8ff;--c2:#f1b35c;--c3:#5fd0a8;"
    "--c4:#cfa3ff}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0;background:var(--page);color:var(--text);font:16px/1.5 system-ui,-apple-system,'Segoe "
    "UI',Roboto,'Noto Sans',sans-serif}\n"
    "main{max-width:60rem;margin:0 auto;padding:1.25rem 1rem 3rem}\n"
    "h1{font-size:1.4rem;margin:0;overflow-wrap:anywhere}h2{font-size:1.05rem;margin:0 0 .25rem}\n"
    "p{margin:0 0 .5rem}.soft{color:var(--soft);font-size:.9rem;overflow-wrap:anywhere}\n"
    ".verdict{display:inline-block;font-weight:700;border:2px solid;border-radius:.4rem;padding:0 "
    ".55rem;margin-right:.6rem}\n"
    ".good{color:var(--good)}.bad{color:var(--bad)}\n"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:.75rem;margin:1rem 0}\n"
    ".tile,.card{background:var(--card);border:1px solid var(--line);border-radius:.6rem}\n"
    ".tile{padding:.6rem .8rem}.tile b{display:block;font-size:1.35rem;line-height:1.3;font-variant-numeric:"
    "tabular-nums}\n"
    ".tile span{color:var(--soft);font-size:.85rem;line-height:1.35;display:block}\n"
    ".card{padding:1rem;margin:1rem 0}.scroll{overflow-x:auto}\n"
    "svg{display:block;width:100%;height:auto}svg.narrow{display:none;max-width:34rem}\n"
    "@media(max-width:44rem){svg.wide{display:none}svg.narrow{display:block}}\n"
    "svg text{font-size:12.5px;fill:var(--soft);font-variant-numeric:tabular-nums}svg "
    "text.note{font-size:11.5px}\n"
    ".grid{stroke:var(--grid)}.mark{stroke:var(--soft);stroke-dasharray:3 3}\n"
    ".line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}.dashed{stroke-dasharray:5 "
    "4}\n"
    ".fill{opacity:.22}.hover{fill:transparent}.hover:hover{fill:var(--text);opacity:.08}\n"
    ".line.c1{stroke:var(--c1)}.line.c2{stroke:var(--c2)}.line.c3{stroke:var(--c3)}.line.c4{stroke:var(--c4)}"
    "\n"
    ".fill.c1,.bar.c1{fill:var(--c1)}.fill.c2{fill:var(--c2)}.fill.c3{fill:var(--c3)}.fill.c4{fill:var(--c4)}"
    "\n"
    ".legend{display:flex;flex-wrap:wrap;gap:.1rem 1rem;margin:0 0 "
    ".25rem;padding:0;list-style:none;font-size:.9rem;"
    "color:var(--soft)}\n"
    ".legend i{display:inline-block;width:1.1rem;border-top:3px "
    "solid;vertical-align:middle;margin-right:.35rem}\n"
    ".legend "
    "i.dashed{border-top-style:dashed}i.c1{color:var(--c1)}i.c2{color:var(--c2)}i.c3{color:var(--c3)}i.c4{"
    "color:var(--c4)}\n"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.92rem}\n"
    "th,td{text-align:right;padding:.25rem .75rem .25rem 0;border-top:1px solid "
    "var(--line);white-space:nowrap}\n"
    "thead th{border-top:0;font-weight:600;color:var(--soft)}th:first-child,td:first-child{text-align:left}\n"
    "tbody th{font-weight:400;white-space:normal;min-width:7rem}\n"
    "details{margin:.5rem "
    "0}summary{cursor:pointer}pre{overflow-x:auto;font-size:.82rem;line-height:1.4;margin:.5rem "
    "0 0}\n";

/* Series over time */

enum column {
    AT,
    OPEN,
    HANDSHAKES,
    DELIVERIES,
    P50,
    P99,
    MAXIMUM,
    KERNEL,
    GATEWAY,
    CLIENTS,
    GATEWAY_CPU,
    CLIENTS_CPU,
    COLUMN_COUNT
};

struct series {
    size_t count;
    double *columns[COLUMN_COUNT];
    double *memory;
};

static double grown(uint64_t now, uint64_t before)
{
    return now > before ? (double)(now - before) : 0;
}

static double rate(double now, double before, double seconds)
{
    return seconds > 0 && now > before ? (now - before) / seconds : 0;
}

/* One point for the samples from `from` up to and without `to`. */
static void fill_point(const struct load_result *result, struct series *series, size_t from, size_t to)
{
    const struct load_sample *samples = result->samples, *first = samples, *last = &samples[to - 1];
    const struct load_sample *before = from > 0 ? &samples[from - 1] : first;
    double seconds = last->seconds - before->seconds, p50 = 0, p99 = 0, max = 0;
    size_t i = series->count++;

    for (size_t s = from; s < to; s++) {
        p50 = fmax(p50, (double)samples[s].p50_us);
        p99 = fmax(p99, (double)samples[s].p99_us);
        max = fmax(max, (double)samples[s].max_us);
    }
    series->columns[AT][i] = last->seconds;
    series->columns[OPEN][i] = (double)last->open;
    series->columns[HANDSHAKES][i] = rate((double)last->opened, (double)before->opened, seconds);
    series->columns[DELIVERIES][i] = rate((double)last->delivered, (double)before->delivered, seconds);
    series->columns[P50][i] = max > 0 ? p50 : NAN;
    series->columns[P99][i] = max > 0 ? p99 : NAN;
    series->columns[MAXIMUM][i] = max > 0 ? max : NAN;
    series->columns[KERNEL][i] = grown(last->kernel.slab_bytes, first->kernel.slab_bytes);
    series->columns[GATEWAY][i] = last->gateway_seen ? grown(last->gateway_bytes, first->gateway_bytes) : NAN;
    series->columns[CLIENTS][i] = grown(last->own_bytes, first->own_bytes);
    series->columns[GATEWAY_CPU][i] = last->gateway_seen && before->gateway_seen
                                          ? rate(last->gateway_cpu, before->gateway_cpu, seconds)
                                          : NAN;
    series->columns[CLIENTS_CPU][i] = rate(last->own_cpu, before->own_cpu, seconds);
}

static bool make_series(const struct load_result *result, struct series *series)
{
    size_t stride = result->sample_count / POINTS_MAX + 1, capacity = result->sample_count / stride + 2;

    *series = (struct series){.memory = calloc(capacity * COLUMN_COUNT, sizeof(double))};
    if (!series->memory)
        return false;
    for (int column = 0; column < COLUMN_COUNT; column++)
        series->columns[column] = series->memory + capacity * (size_t)column;
    for (size_t from = 0; from < result->sample_count; from += stride)
        fill_point(result, series, from,
                   from + stride < result->sample_count ? from + stride : result->sample_count);
    return true;
}

/* Parts of the page */

static void tile(FILE *out, const char *value, const char *text, const char *class)
{
    fprintf(out, "<div class=tile><b class='%s'>%s</b><span>%s</span></div>\n", class, value, text);
}

static void tile_count(FILE *out, uint64_t value, const char *text, bool fault)
{
    char number[PLOT_TEXT_BYTES];
    tile(out, grouped(value, number), text, fault ? value > 0 ? "bad" : "good" : "");
}

/* With few connections, what a process needs for itself would be taken for theirs. */
static void write_memory_tiles(const struct load_result *result, FILE *out)
{
    const struct load_sample *open = &result->all_open, *first = result->samples;

    if (result->sample_count == 0 || open->open < TELLING_CONNECTIONS)
        return;
    if (result->options->gateway_pid > 0 && open->gateway_bytes > 0)
        tile_count(out, (uint64_t)grown(open->gateway_bytes, first->gateway_bytes) / open->open,
                   "user bytes per connection, gateway", false);
    tile_count(out, (uint64_t)load_result_bytes_per_connection(result), "user bytes per connection, clients",
               false);
    if (open->kernel.slab_bytes > 0)
        tile_count(out, (uint64_t)grown(open->kernel.slab_bytes, first->kernel.slab_bytes) / open->open,
                   "kernel bytes per connection", false);
}

static void write_tiles(const struct load_result *result, FILE *out)
{
    const struct load_stats *total = &result->total;
    char number[PLOT_TEXT_BYTES], text[128];
    uint64_t opened = counter_read(&total->opened) - counter_read(&total->returned);

    fputs("<div class=tiles>\n", out);
    snprintf(text, sizeof(text), "connections opened in %.1f s", result->open_seconds);
    tile_count(out, opened, text, false);
    if (result->options->mode == LOAD_CHURN) {
        snprintf(number, sizeof(number), "%.2f%%", load_result_churn_share(result) * 100);
        snprintf(text, sizeof(text), "of the connections replaced per second, %.2f%% wanted",
                 (double)result->options->churn_share * 100 / SHARE_WHOLE);
        tile(out, number, text, load_result_churned_late(result) ? "bad" : "");
    }
    for (size_t i = 0; i < result->storm_count; i++) {
        const struct load_storm *storm = &result->storms[i];
        snprintf(text, sizeof(text), "until %s were back, %s handshakes",
                 storm->back < storm->cut ? "NOT all" : "all", storm->handshakes);
        snprintf(number, sizeof(number), "%.2f s", storm->back_seconds);
        tile(out, number, text, storm->back < storm->cut ? "bad" : "");
    }
    tile_count(out, load_stats_failed(total), "attempts failed", result->options->mode != LOAD_STORM);
    tile_count(out, load_stats_unexpected(total), "closed unexpectedly", true);
    if (result->publisher && result->options->publish_rate > 0) {
        snprintf(number, sizeof(number), "%.1f", load_result_publish_rate(result));
        snprintf(text, sizeof(text), "messages published per second, %" PRIu64 " wanted",
                 result->options->publish_rate);
        tile(out, number, text, load_result_published_late(result) ? "bad" : "");
    }
    if (result->publisher) {
        tile_count(out, counter_read(&total->delivered), "messages delivered", false);
        tile_count(out, counter_read(&total->lost) + counter_read(&total->late), "messages lost or late",
                   true);
        tile_count(out,
                   counter_read(&total->duplicated) + counter_read(&total->out_of_order) +
                       counter_read(&total->corrupt) + counter_read(&total->misrouted) +
                       (result->options->allow_unknown ? 0 : counter_read(&total->unknown)),
                   "duplicated, out of order, corrupt, misrouted or unknown", true);
        if (counter_read(&total->twice) > 0)
            tile_count(out, counter_read(&total->twice), "received twice across a reconnect", false);
        if (histogram_count(&total->latency) > 0)
            tile(out, plot_duration((double)report_quantile(&total->latency, 0.99), number),
                 "p99 from publish to frame", "");
    } else {
        snprintf(text, sizeof(text), "of %" PRIu64 " answered a ping at the end",
                 counter_read(&total->probes_sent));
        tile_count(out, counter_read(&total->probes_answered), text, false);
    }
    if (result->options->mode == LOAD_SLOW) {
        snprintf(text, sizeof(text), "of %" PRIu64 " slow ones ended by the server",
                 load_result_slow_count(result));
        tile_count(out, load_stats_unexpected(&result->slow), text, false);
    }
    write_memory_tiles(result, out);
    fputs("</div>\n", out);
}

static void times_row(FILE *out, const char *name, const struct histogram *histogram)
{
    static const double quantiles[] = {0.5, 0.9, 0.99, 0.999};
    char number[PLOT_TEXT_BYTES];

    if (histogram_count(histogram) == 0)
        return;
    fprintf(out, "<tr><th scope=row>%s<td>%s", name, grouped(histogram_count(histogram), number));
    for (size_t i = 0; i < 4; i++)
        fprintf(out, "<td>%s", plot_duration((double)report_quantile(histogram, quantiles[i]), number));
    fprintf(out, "<td>%s\n", plot_duration((double)report_max(histogram), number));
}

static void write_times(const struct load_result *result, FILE *out)
{
    const struct load_stats *total = &result->total;

    fputs("<section class=card><h2>Times</h2><div "
          "class=scroll><table><thead><tr><th>what<th>count<th>p50<th>p90<th>p99"
          "<th>p99.9<th>max<tbody>\n",
          out);
    times_row(out, "connect to 101", &total->open_time);
    for (size_t i = 0; i < result->storm_count; i++) {
        char name[64];
        snprintf(name, sizeof(name), "connect to 101, %s handshakes", result->storms[i].handshakes);
        times_row(out, name, &result->storms[i].return_time);
    }
    if (result->storm_count == 0)
        times_row(out, "connect to 101, replacements", &total->return_time);
    times_row(out, "ping to pong", &total->probe_time);
    if (result->publisher)
        times_row(out, "publish to reply", &result->publisher->reply_time);
    times_row(out, "publish to frame", &total->latency);
    times_row(out, "publish to frame, all reading", &result->latency_before);
    times_row(out, "publish to frame, beside slow ones", &result->latency_while);
    times_row(out, "publish to all frames", &result->spread_time);
    fputs("</table></div></section>\n", out);
}

static void write_storms(const struct load_result *result, FILE *out)
{
    char number[PLOT_TEXT_BYTES];

    if (result->storm_count == 0)
        return;
    fputs("<section class=card><h2>Storms</h2><div "
          "class=scroll><table><thead><tr><th>handshakes<th>cut<th>back<th>"
          "seconds<th>per second<th>resumed<th>failed attempts<th>missed each<tbody>\n",
          out);
    for (size_t i = 0; i < result->storm_count; i++) {
        const struct load_storm *storm = &result->storms[i];
        fprintf(out, "<tr><th scope=row>%s<td>%s", storm->handshakes, grouped(storm->cut, number));
        fprintf(out, "<td class='%s'>%s<td>%.2f", storm->back < storm->cut ? "bad" : "",
                grouped(storm->back, number), storm->back_seconds);
        fprintf(out, "<td>%s", grouped((uint64_t)load_storm_rate(storm), number));
        fprintf(out, "<td>%s", grouped(storm->resumed, number));
        fprintf(out, "<td>%s", grouped(storm->failed, number));
        fprintf(out, result->publisher ? "<td>%.1f\n" : "<td>–\n",
                storm->back > 0 ? (double)load_storm_missed(storm) / (double)storm->back : 0);
    }
    fputs("</table></div></section>\n", out);
}

static void write_slow(const struct load_result *result, FILE *out)
{
    const struct load_stats *slow = &result->slow;
    char number[PLOT_TEXT_BYTES];

    if (result->options->mode != LOAD_SLOW)
        return;
    fputs("<section class=card><h2>Slow connections</h2><div class=scroll><table><tbody>\n", out);
    fprintf(out, "<tr><th scope=row>stopped reading<td>%s\n",
            grouped(load_result_slow_count(result), number));
    fprintf(out, "<tr><th scope=row>still open when all was read<td>%s\n",
            grouped(result->slow_open, number));
    for (int i = 0; i < END_REASON_COUNT; i++)
        if (end_reason_unexpected((enum end_reason)i) && counter_read(&slow->ended[i]) > 0)
            fprintf(out, "<tr><th scope=row>ended: %s<td>%s\n", end_reason_text((enum end_reason)i),
                    grouped(counter_read(&slow->ended[i]), number));
    for (int i = 0; i < STATS_CLOSE_CODES; i++)
        if (counter_read(&slow->close_codes[i]) > 0)
            fprintf(out, "<tr><th scope=row>close code %d%s<td>%s\n", STATS_CLOSE_FIRST + i,
                    i == STATS_CLOSE_CODES - 1 ? " or beyond" : "",
                    grouped(counter_read(&slow->close_codes[i]), number));
    fprintf(out, "<tr><th scope=row>messages delivered<td>%s\n",
            grouped(counter_read(&slow->delivered), number));
    fprintf(out, "<tr><th scope=row>messages missed<td>%s\n", grouped(counter_read(&slow->lost), number));
    fputs("</table></div></section>\n", out);
}

static void write_plot(const char *heading, const char *note, struct plot *plot,
                       const struct load_result *result, FILE *out)
{
    struct plot_mark marks[REPORT_MARKS_MAX];

    if (plot->count < 2)
        return;
    for (size_t i = 0; i < result->mark_count; i++)
        marks[i] = (struct plot_mark){.x = result->marks[i].seconds, .text = result->marks[i].text};
    plot->title = heading;
    plot->marks = marks;
    plot->mark_count = result->mark_count;
    fprintf(out, "<section class=card><h2>%s</h2>\n", heading);
    if (note)
        fprintf(out, "<p class=soft>%s</p>\n", note);
    if (plot->series_count > 1) {
        fputs("<ul class=legend>", out);
        for (size_t i = 0; i < plot->series_count; i++)
            fprintf(out, "<li><i class='c%zu%s'></i>%s", i + 1, plot->series[i].dashed ? " dashed" : "",
                    plot->series[i].name);
        fputs("</ul>\n", out);
    }
    plot_write(plot, out);
    fputs("</section>\n", out);
}

static void write_load_plots(const struct load_result *result, const struct series *series, FILE *out)
{
    struct plot plot = {.x = series->columns[AT],
                        .count = series->count,
                        .series_count = 1,
                        .area = true,
                        .format = plot_count};

    plot.series[0] = (struct plot_series){.name = "open", .y = series->columns[OPEN]};
    write_plot("Connections", NULL, &plot, result, out);
    plot.series[0] = (struct plot_series){.name = "per second", .y = series->columns[HANDSHAKES]};
    write_plot("Handshakes per second", NULL, &plot, result, out);
    if (!result->publisher)
        return;
    plot.series[0] = (struct plot_series){.name = "per second", .y = series->columns[DELIVERIES]};
    write_plot("Messages delivered per second", NULL, &plot, result, out);
    if (histogram_count(&result->total.latency) == 0)
        return;
    fputs("<section class=card><h2>Latency, publish to frame</h2><p class=soft>Share of the messages by the "
          "time that "
          "they took.</p>\n",
          out);
    plot_write_histogram("Latency histogram", &result->total.latency, out);
    fputs("</section>\n", out);
    plot = (struct plot){.x = series->columns[AT],
                         .count = series->count,
                         .series_count = 3,
                         .log_y = true,
                         .format = plot_duration};
    plot.series[0] = (struct plot_series){.name = "p50", .y = series->columns[P50]};
    plot.series[1] = (struct plot_series){.name = "p99", .y = series->columns[P99]};
    plot.series[2] = (struct plot_series){.name = "max", .y = series->columns[MAXIMUM], .dashed = true};
    write_plot("Latency over time", NULL, &plot, result, out);
}

static void write_machine_plots(const struct load_result *result, const struct series *series, FILE *out)
{
    bool kernel = result->sample_count > 0 && result->samples[0].kernel.slab_bytes > 0;
    bool gateway = result->all_open.gateway_bytes > 0;
    const char *unseen = gateway ? "" : " The gateway's own memory is shown with --gateway-pid.";
    char note[320];

    struct plot plot = {
        .x = series->columns[AT], .count = series->count, .stacked = true, .format = plot_bytes};
    plot.series[plot.series_count++] = (struct plot_series){.name = "clients", .y = series->columns[CLIENTS]};
    if (gateway)
        plot.series[plot.series_count++] =
            (struct plot_series){.name = "gateway", .y = series->columns[GATEWAY]};
    if (kernel)
        plot.series[plot.series_count++] =
            (struct plot_series){.name = "kernel", .y = series->columns[KERNEL]};
    snprintf(note, sizeof(note),
             kernel
                 ? "Added since the start: private memory of processes; kernel objects of the whole machine "
                   "(/proc/meminfo, Slab).%s"
                 : "Private memory added since the start.%s The kernel's is not shown here.",
             unseen);
    write_plot("Memory", note, &plot, result, out);

    plot = (struct plot){.x = series->columns[AT], .count = series->count, .format = plot_number};
    plot.series[plot.series_count++] =
        (struct plot_series){.name = "clients", .y = series->columns[CLIENTS_CPU]};
    if (gateway)
        plot.series[plot.series_count++] =
            (struct plot_series){.name = "gateway", .y = series->columns[GATEWAY_CPU]};
    write_plot("CPU, in cores", gateway ? NULL : "Of the clients; the gateway's is shown with --gateway-pid.",
               &plot, result, out);
}

static void write_text(const struct load_result *result, FILE *out)
{
    char *text = NULL;
    size_t len = 0;
    FILE *memory = open_memstream(&text, &len);

    if (!memory)
        return;
    load_report_text(result, memory);
    if (fclose(memory) == 0) {
        fputs("<section class=card><h2>Everything</h2><details><summary>All figures as text</summary><pre>",
              out);
        html_text(text, out);
        fputs("</pre></details>\n", out);
    }
    free(text);
}

/* The plots' figures, for readers who cannot see them. */
static void write_samples(const struct load_result *result, const struct series *series, FILE *out)
{
    char number[PLOT_TEXT_BYTES];
    bool kernel = result->all_open.kernel.slab_bytes > 0;

    fputs("<details><summary>The plots as a table</summary><div "
          "class=scroll><table><thead><tr><th>time<th>open<th>"
          "handshakes/s<th>delivered/s<th>p50<th>p99<th>max<th>clients<th>gateway<th>kernel<tbody>\n",
          out);
    for (size_t i = 0; i < series->count; i++) {
        fprintf(out, "<tr><th scope=row>%.1f s<td>%.0f<td>%.0f<td>%.0f", series->columns[AT][i],
                series->columns[OPEN][i], series->columns[HANDSHAKES][i], series->columns[DELIVERIES][i]);
        for (int column = P50; column <= MAXIMUM; column++) {
            double value = series->columns[column][i];
            fprintf(out, "<td>%s", isfinite(value) ? plot_duration(value, number) : "–");
        }
        fprintf(out, "<td>%s", plot_bytes(series->columns[CLIENTS][i], number));
        fprintf(out, "<td>%s",
                isfinite(series->columns[GATEWAY][i]) ? plot_bytes(series->columns[GATEWAY][i], number)
                                                      : "–");
        fprintf(out, "<td>%s\n", kernel ? plot_bytes(series->columns[KERNEL][i], number) : "–");
    }
    fputs("</table></div></details></section>\n", out);
}

static void write_head(const struct load_result *result, FILE *out)
{
    const struct load_options *options = result->options;
    static const struct {
        const char *title, *style, *text;
    } verdicts[] = {
        [LOAD_PASSED] = {"passed", "good", "passed"},
        [LOAD_FAILED] = {"failed", "bad", "FAILED"},
        [LOAD_ENDED_EARLY] = {"ended early", "soft", "ended early, no fault in what was checked"},
    };
    struct load_findings findings;
    enum load_verdict verdict = load_result_findings(result, &findings);
    char started[32] = "", number[PLOT_TEXT_BYTES], address[128], late[3][REPORT_SENTENCE_BYTES];
    time_t seconds = (time_t)(result->started_at_ms / 1000);
    struct tm utc;

    if (gmtime_r(&seconds, &utc))
        (void)strftime(started, sizeof(started), "%Y-%m-%d %H:%M:%S UTC", &utc);
    fprintf(out,
            "<!doctype html>\n<html lang=en><head><meta charset=utf-8>\n"
            "<meta name=viewport content='width=device-width, initial-scale=1'>\n"
            "<meta name=color-scheme content='light dark'>\n"
            "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; img-src data:; style-src "
            "'unsafe-inline'\">\n"
            "<link rel=icon href='data:,'>\n<title>pushgate-load %s: "
            "%s</title>\n<style>\n%s</style></head><body><main>\n",
            load_mode_name(options->mode), verdicts[verdict].title, style);
    fprintf(out, "<header><p><span class='verdict %s'>%s</span><span class=soft>%s</span></p>\n<h1>%s: ",
            verdicts[verdict].style, verdicts[verdict].text,
            result->interrupted && verdict == LOAD_FAILED ? "ended early by a signal" : "",
            load_mode_name(options->mode));
    html_text(options->target_text, out);
    net_format(&options->target.address, address, sizeof(address));
    fprintf(out, "</h1>\n<p class=soft>%s connections to %s from %u worker%s · ",
            grouped(options->connections, number), address, result->workers, result->workers == 1 ? "" : "s");
    if (result->publisher)
        fprintf(out, "%" PRIu64 " topic%s, messages of %" PRIu64 " bytes · ", options->topics,
                options->topics == 1 ? "" : "s", options->message_bytes);
    fprintf(out, "%s · %.0f s · pushgate-load " PUSHGATE_VERSION "</p>\n", started, result->run_seconds);
    if (result->publisher && result->publisher->broke_off)
        fprintf(out, "<p>%" PRIu64 " messages are unconfirmed and not counted as lost.</p>\n",
                load_result_unconfirmed(result));
    load_result_late_sentences(result, late[0], late[1]);
    snprintf(late[2], REPORT_SENTENCE_BYTES, "%s", result->note);
    for (size_t i = 0; i < 3; i++)
        if (late[i][0] != '\0') {
            fputs("<p class=bad>", out);
            html_text(late[i], out);
            fputs("</p>\n", out);
        }
    for (size_t i = 0; i < findings.fault_count; i++) {
        fputs("<p class=bad>", out);
        html_text(findings.faults[i], out);
        fputs("</p>\n", out);
    }
    for (size_t i = 0; i < findings.warning_count; i++) {
        fputs("<p>warning: ", out);
        html_text(findings.warnings[i], out);
        fputs("</p>\n", out);
    }
    for (size_t i = 0; i < result->unchecked_count; i++) {
        fputs("<p class=soft>not checked: ", out);
        html_text(result->unchecked[i], out);
        fputs("</p>\n", out);
    }
    fputs("</header>\n", out);
}

bool load_report_html(const struct load_result *result, FILE *out)
{
    struct series series;

    if (!make_series(result, &series))
        return false;
    write_head(result, out);
    write_tiles(result, out);
    write_storms(result, out);
    write_slow(result, out);
    write_load_plots(result, &series, out);
    write_times(result, out);
    write_machine_plots(result, &series, out);
    write_text(result, out);
    write_samples(result, &series, out);
    fputs("</main></body></html>\n", out);
    free(series.memory);
    return !ferror(out);
}
