/* Looks at a run while it goes on: samples for the report, a line for whoever waits. */
#include "loadtest/run_internal.h"

#include "gateway/base/clock.h"

#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum {
    TICK_MS = 20,
    SAMPLE_FIRST_MS = 200,
    SAMPLE_LATER_MS = 1000, /* after so many seconds: */
    SAMPLE_LATER_AFTER = 20,
    SAMPLE_LONG_MS = 5000,
    SAMPLE_LONG_AFTER = 1200,
    SAMPLES_MAX = 100000,
    SECOND_INTERRUPT_MS = 500, /* sooner is the same: shells and timeout(1) signal process and group */
    LINE_MS = 5000,
    LIVE_LINE_MS = 200,
    LINE_CHARS = 256,
    BAR_CHARS = 10,
};

static const uint64_t MS = 1000000; /* in ns */

double run_seconds_since(uint64_t then_ns)
{
    return (double)(clock_monotonic_ns() - then_ns) / 1e9;
}

static void add_live(struct live *live, const struct load_stats *stats)
{
    live->started += counter_read(&stats->started);
    live->opened += counter_read(&stats->opened);
    live->open += counter_read(&stats->open);
    live->returned += counter_read(&stats->returned);
    live->failed += load_stats_failed(stats);
    for (int reason = 0; reason < END_REASON_COUNT; reason++)
        live->ended += counter_read(&stats->ended[reason]);
    live->answered += counter_read(&stats->probes_answered);
    live->delivered += counter_read(&stats->delivered);
    live->resumed += counter_read(&stats->sessions_resumed);
}

struct live run_look(const struct load_run *run)
{
    struct live live = {0};
    for (unsigned i = 0; i < run->started_workers; i++) {
        add_live(&live, &run->workers[i].stats);
        add_live(&live, &run->workers[i].slow_stats);
        live.slow_open += counter_read(&run->workers[i].slow_stats.open);
    }
    return live;
}

void run_latency(const struct load_run *run, struct histogram *out)
{
    memset(out, 0, sizeof(*out));
    for (unsigned i = 0; i < run->started_workers; i++)
        histogram_merge(out, &run->workers[i].stats.latency);
}

void run_mark(struct load_run *run, const char *text)
{
    struct load_result *result = &run->result;
    if (result->mark_count < REPORT_MARKS_MAX)
        result->marks[result->mark_count++] =
            (struct load_mark){.seconds = run_seconds_since(run->began_ns), .text = text};
}

void run_unchecked(struct load_run *run, const char *format, ...)
{
    struct load_result *result = &run->result;
    va_list arguments;
    if (result->unchecked_count == REPORT_UNCHECKED_MAX)
        return;
    va_start(arguments, format);
    vsnprintf(result->unchecked[result->unchecked_count++], REPORT_UNCHECKED_BYTES, format, arguments);
    va_end(arguments);
}

/* Samples */

static double own_cpu(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0)
        return 0;
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static bool keep(struct load_run *run, const struct load_sample *sample)
{
    if (run->sample_count == run->sample_cap) {
        size_t cap = run->sample_cap ? run->sample_cap * 2 : 64;
        struct load_sample *grown =
            cap > SAMPLES_MAX ? NULL : realloc(run->samples, cap * sizeof(*run->samples));
        if (!grown)
            return false;
        run->samples = grown;
        run->sample_cap = cap;
    }
    run->samples[run->sample_count++] = *sample;
    return true;
}

struct load_sample run_sample(struct load_run *run)
{
    struct live live = run_look(run);
    struct process_use use;
    struct histogram latency, fresh;
    struct load_sample sample = {
        .seconds = run_seconds_since(run->began_ns),
        .open = live.open,
        .opened = live.opened,
        .failed = live.failed,
        .ended = live.ended,
        .published = counter_read(&run->publisher.published),
        .delivered = live.delivered,
        .own_cpu = own_cpu(),
    };

    run_latency(run, &latency);
    fresh = latency;
    histogram_subtract(&fresh, &run->sampled_latency);
    run->sampled_latency = latency;
    sample.p50_us = report_quantile(&fresh, 0.5);
    sample.p99_us = report_quantile(&fresh, 0.99);
    sample.max_us = report_max(&fresh);
    if (measure_process(0, &use))
        sample.own_bytes = use.private;
    if (run->options->gateway_pid > 0 && measure_process((pid_t)run->options->gateway_pid, &use)) {
        sample.gateway_seen = true;
        sample.gateway_bytes = use.private;
        sample.gateway_cpu = use.cpu_seconds;
    }
    measure_kernel(&sample.kernel);
    run->sampled_ns = clock_monotonic_ns();
    (void)keep(run, &sample); /* without memory the plots end here */
    return sample;
}

static uint64_t sample_pause_ns(const struct load_run *run)
{
    double seconds = run_seconds_since(run->began_ns);
    return MS * (seconds < SAMPLE_LATER_AFTER  ? SAMPLE_FIRST_MS
                 : seconds < SAMPLE_LONG_AFTER ? SAMPLE_LATER_MS
                                               : SAMPLE_LONG_MS);
}

/* The line */

static unsigned terminal_columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 80;
}

/* How far the phase is, 0 … 1; below 0 where nobody can tell. */
static double share_done(const struct load_run *run, const struct live *live)
{
    const struct load_options *options = run->options;
    double connections = (double)options->connections;
    uint64_t published = counter_read(&run->publisher.published), planned_ms;

    switch ((enum load_phase)(run->order & ((1 << ORDER_PHASE_BITS) - 1))) {
    case PHASE_OPEN:
        return (double)(live->opened + live->failed) / connections;
    case PHASE_RETURN:
        return (double)live->open / (double)run->result.storms[run->result.storm_count - 1].cut;
    case PHASE_CLOSE:
        return 1 - (double)live->open / connections;
    case PHASE_HOLD:
        if (run->publishing && options->messages > 0)
            return (double)published / (double)options->messages;
        planned_ms =
            options->mode == LOAD_FANOUT && !run->publishing ? options->idle_hold_ms : options->hold_ms;
        return planned_ms > 0 ? run_seconds_since(run->phase_ns) * 1e3 / (double)planned_ms : -1;
    case PHASE_CHURN:
    case PHASE_STALL:
        return run_seconds_since(run->phase_ns) * 1e3 / (double)options->hold_ms;
    default:
        return -1;
    }
}

static const char *short_time(uint64_t us, char out[16])
{
    if (us < 1000)
        snprintf(out, 16, "%u µs", (unsigned)us);
    else if (us < 10000000)
        snprintf(out, 16, us < 100000 ? "%.1f ms" : "%.0f ms", (double)us / 1e3);
    else
        snprintf(out, 16, "%.0f s", (double)us / 1e6);
    return out;
}

static void print_line(const struct load_run *run)
{
    struct live live = run_look(run);
    double share = share_done(run, &live), in_phase = run_seconds_since(run->phase_ns);
    char line[LINE_CHARS], bar[BAR_CHARS * 3 + 1] = "", p50[16], p99[16];
    size_t at = 0;

#define ADD(...)                                                                                             \
    do {                                                                                                     \
        if (at < sizeof(line))                                                                               \
            at += (size_t)snprintf(line + at, sizeof(line) - at, __VA_ARGS__);                               \
    } while (0)
    share = share > 1 ? 1 : share;
    if (run->terminal && share >= 0) {
        for (int i = 0; i < BAR_CHARS; i++)
            strcat(bar, (double)i < share * BAR_CHARS ? "█" : "░"); // NOLINT(clang-analyzer-security*)
        ADD("%s ", bar);
    }
    ADD("%6.1f s  %-10s %" PRIu64 " of %" PRIu64 " open", run_seconds_since(run->began_ns), run->doing,
        live.open, run->options->connections);
    if (live.opened > run->phase_live.opened && in_phase > 0)
        ADD("  %.0f/s", (double)(live.opened - run->phase_live.opened) / in_phase);
    if (share > 0 && share < 1)
        ADD("  eta %.0f s", in_phase * (1 - share) / share);
    if (run->publishing && run->sample_count > 0 && run->samples[run->sample_count - 1].max_us > 0)
        ADD("  p50 %s  p99 %s", short_time(run->samples[run->sample_count - 1].p50_us, p50),
            short_time(run->samples[run->sample_count - 1].p99_us, p99));
    if (live.failed > 0)
        ADD("  failed %" PRIu64, live.failed);
    if (run->publishing)
        ADD("  published %" PRIu64 "  delivered %" PRIu64, counter_read(&run->publisher.published),
            live.delivered);
    if (live.ended > 0)
        ADD("  ended %" PRIu64, live.ended);
#undef ADD
    if (!run->terminal) {
        fprintf(stderr, "%s\n", line);
        return;
    }
    /* Cut to the terminal's width, counting characters, not bytes: a line that wraps cannot be taken back. */
    unsigned columns = terminal_columns() - 1;
    size_t end = 0;
    while (line[end]) {
        if (((unsigned char)line[end] & 0xc0) != 0x80 && columns-- == 0)
            break;
        end++;
    }
    fprintf(stderr, "\r%.*s\033[K", (int)end, line);
}

void run_watch(struct load_run *run)
{
    uint64_t messages = 0, open = 0, last_ns = 0;

    for (unsigned i = 0; i < run->started_workers; i++) {
        const struct load_stats *stats = &run->workers[i].stats;
        uint64_t at_ns = counter_read(&stats->last_delivery_ns);
        messages += counter_read(&stats->unchecked);
        open += counter_read(&stats->open);
        last_ns = at_ns > last_ns ? at_ns : last_ns;
    }
    if (messages == run->watched && messages != run->watch_printed) {
        printf("messages %" PRIu64 " open %" PRIu64 " last %" PRIu64 "\n", messages, open, last_ns);
        fflush(stdout);
        run->watch_printed = messages;
    }
    run->watched = messages;
}

static void take_signals(struct load_run *run, unsigned milliseconds)
{
    struct timespec pause = {.tv_nsec = milliseconds * 1000000L};
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGUSR1);
    int signal = sigtimedwait(&signals, NULL, &pause);
    if (signal == SIGUSR1)
        run->enough = true;
    if (signal <= 0 || signal == SIGUSR1)
        return;
    uint64_t now_ns = clock_monotonic_ns();
    if (run->interrupts > 0 && now_ns - run->interrupted_ns <= SECOND_INTERRUPT_MS * MS)
        return;
    run->interrupts++;
    run->interrupted_ns = now_ns;
    run->result.interrupted = true;
}

void run_tick(struct load_run *run)
{
    run_tick_of(run, TICK_MS);
}

void run_tick_of(struct load_run *run, unsigned milliseconds)
{
    take_signals(run, milliseconds);
    uint64_t now_ns = clock_monotonic_ns();
    if (now_ns - run->sampled_ns >= sample_pause_ns(run))
        (void)run_sample(run);
    if (!run->options->quiet && now_ns - run->line_ns >= (run->terminal ? LIVE_LINE_MS : LINE_MS) * MS) {
        run->line_ns = now_ns;
        print_line(run);
    }
}
