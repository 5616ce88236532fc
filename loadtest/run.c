/* The scenarios, as a sequence of phases. */
#include "loadtest/run.h"

#include "gateway/base/clock.h"
#include "loadtest/check.h"
#include "loadtest/worker.h"

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum {
    WORKER_CONNECTIONS_MAX = 18000,
    FD_RESERVE = 64, /* descriptors of a worker that are no connections */
    TICK_MS = 20,
    LINGER_MS = 300, /* for duplicates after the last message */
    SAMPLE_MS = 1000,
    SECOND_INTERRUPT_MS = 500, /* sooner is the same: shells and timeout(1) signal process and group */
    LINE_MS = 5000,
    LIVE_LINE_MS = 200,
    SAMPLES_MAX = 100000,
};

struct load_run {
    const struct load_options *options;
    struct payload_format payload;
    struct tls_client_context *tls;
    struct worker_shared shared;
    struct worker *workers;
    unsigned worker_count, started_workers;
    struct publisher publisher;
    bool publishing;

    uint64_t began_ns, sampled_ns, line_ns;
    uint64_t watched, watch_printed; /* messages at the last look, and on the last line of --watch */
    const char *doing;
    bool terminal;
    unsigned interrupts; /* 1: end early; 2: at once */
    uint64_t interrupted_ns;
    struct load_sample *samples;
    size_t sample_count, sample_cap;
    struct load_result result;
};

static double seconds_since(uint64_t then_ns)
{
    return (double)(clock_monotonic_ns() - then_ns) / 1e9;
}

static uint64_t own_rss(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    unsigned long pages = 0;

    if (!file)
        return 0;
    if (fscanf(file, "%*s %lu", &pages) != 1) // NOLINT(cert-err34-c): the kernel's own number
        pages = 0;
    fclose(file);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Progress */

struct live {
    uint64_t started, opened, open, failed, ended, answered, delivered;
};

static struct live look(const struct load_run *run)
{
    struct live live = {0};
    for (unsigned i = 0; i < run->started_workers; i++) {
        const struct load_stats *stats = &run->workers[i].stats;
        live.started += counter_read(&stats->started);
        live.opened += counter_read(&stats->opened);
        live.open += counter_read(&stats->open);
        live.failed += load_stats_failed(stats);
        for (int reason = 0; reason < END_REASON_COUNT; reason++)
            live.ended += counter_read(&stats->ended[reason]);
        live.answered += counter_read(&stats->probes_answered);
        live.delivered += counter_read(&stats->delivered);
    }
    return live;
}

static void print_line(const struct load_run *run, const struct live *live)
{
    double seconds = seconds_since(run->began_ns);
    char more[64] = "";

    if (run->publishing)
        snprintf(more, sizeof(more), "  published %" PRIu64 "  delivered %" PRIu64,
                 counter_read(&run->publisher.published), live->delivered);
    else if (strcmp(run->doing, "opening") == 0 && live->opened > 0 && seconds > 0)
        snprintf(more, sizeof(more), "  %.0f/s  eta %.0f s", (double)live->opened / seconds,
                 (double)(run->options->connections - live->opened - live->failed) * seconds /
                     (double)live->opened);
    fprintf(stderr,
            "%s%6.1f s  %-10s open %" PRIu64 " of %" PRIu64 "  failed %" PRIu64 "  ended %" PRIu64 "%s%s",
            run->terminal ? "\r" : "", seconds, run->doing, live->open, run->options->connections,
            live->failed, live->ended, more, run->terminal ? "\033[K" : "\n");
}

static void sample(struct load_run *run, const struct live *live)
{
    if (run->sample_count == run->sample_cap) {
        size_t cap = run->sample_cap ? run->sample_cap * 2 : 64;
        struct load_sample *grown =
            cap > SAMPLES_MAX ? NULL : realloc(run->samples, cap * sizeof(*run->samples));
        if (!grown)
            return;
        run->samples = grown;
        run->sample_cap = cap;
    }
    run->samples[run->sample_count++] = (struct load_sample){
        .seconds = seconds_since(run->began_ns),
        .open = live->open,
        .failed = live->failed,
        .ended = live->ended,
        .delivered = live->delivered,
    };
}

/* Sleeps for a tick, takes signals, shows progress. */
static void tick(struct load_run *run)
{
    struct timespec pause = {.tv_nsec = TICK_MS * 1000000L};
    sigset_t signals;
    uint64_t now_ns = clock_monotonic_ns();

    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    if (sigtimedwait(&signals, NULL, &pause) > 0 &&
        (run->interrupts == 0 || now_ns - run->interrupted_ns > SECOND_INTERRUPT_MS * UINT64_C(1000000))) {
        run->interrupts++;
        run->interrupted_ns = now_ns;
        run->result.interrupted = true;
    }
    bool due_sample = now_ns - run->sampled_ns >= SAMPLE_MS * UINT64_C(1000000);
    bool due_line = !run->options->quiet &&
                    now_ns - run->line_ns >= (run->terminal ? LIVE_LINE_MS : LINE_MS) * UINT64_C(1000000);
    if (!due_sample && !due_line)
        return;
    struct live live = look(run);
    if (due_sample) {
        run->sampled_ns = now_ns;
        sample(run, &live);
    }
    if (due_line) {
        run->line_ns = now_ns;
        print_line(run, &live);
    }
}

/* Phases */

static bool all_finished(const struct load_run *run, enum load_phase phase)
{
    for (unsigned i = 0; i < run->started_workers; i++)
        if (!worker_finished(&run->workers[i], phase))
            return false;
    return true;
}

static void set_phase(struct load_run *run, enum load_phase phase, const char *doing)
{
    run->doing = doing;
    atomic_store_explicit(&run->shared.phase, (int)phase, memory_order_release);
}

/* Waits until all workers have finished the phase, nothing has moved for --settle, or more than
 * `interrupts_max` signals have come. */
static void await_quiet(struct load_run *run, enum load_phase phase, unsigned interrupts_max)
{
    uint64_t moved_ns = clock_monotonic_ns();
    struct live last = look(run);

    while (!all_finished(run, phase) && run->interrupts <= interrupts_max) {
        tick(run);
        struct live now = look(run);
        if (memcmp(&now, &last, sizeof(now)) != 0) {
            last = now;
            moved_ns = clock_monotonic_ns();
        }
        if (clock_monotonic_ns() - moved_ns > run->options->settle_ms * 1000000)
            return;
    }
}

/* Says how many messages there have been once no more are coming. */
static void watch(struct load_run *run)
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

static void pause_for(struct load_run *run, uint64_t milliseconds)
{
    uint64_t began_ns = clock_monotonic_ns();
    while (run->interrupts == 0 && clock_monotonic_ns() - began_ns < milliseconds * 1000000) {
        tick(run);
        if (run->options->watch)
            watch(run);
    }
}

static void announce_ready(const struct load_run *run)
{
    static const char line[] = "ready\n";

    if (run->terminal)
        fputc('\n', stderr);
    fputs(line, stdout);
    fflush(stdout);
    if (run->options->ready_fd > 0 && write((int)run->options->ready_fd, line, sizeof(line) - 1) < 0)
        fprintf(stderr, "pushgate-load: --ready-fd: %s\n", strerror(errno));
}

static void open_all(struct load_run *run)
{
    run->result.rss_before = own_rss();
    set_phase(run, PHASE_OPEN, "opening");
    while (!all_finished(run, PHASE_OPEN) && run->interrupts == 0)
        tick(run);
    run->result.open_seconds = seconds_since(run->began_ns);
    set_phase(run, PHASE_HOLD, "holding");
    (void)malloc_trim(0); /* handshakes are over: what they used is not the price of a connection */
    run->result.rss_open = own_rss();
    if (run->interrupts == 0 && look(run).opened > 0)
        announce_ready(run);
}

static void hold_and_probe(struct load_run *run)
{
    if (look(run).opened == 0)
        return;
    pause_for(run, run->options->hold_ms);
    if (run->interrupts > 1)
        return;
    set_phase(run, PHASE_PROBE, "asking");
    await_quiet(run, PHASE_PROBE, 1);
}

static uint64_t last_delivery_ns(const struct load_run *run)
{
    uint64_t last_ns = 0;
    for (unsigned i = 0; i < run->started_workers; i++) {
        uint64_t at_ns = counter_read(&run->workers[i].stats.last_delivery_ns);
        last_ns = at_ns > last_ns ? at_ns : last_ns;
    }
    return last_ns;
}

/* One message at a time: when it is everywhere, or nothing has come for --settle, the next one may go. */
struct spread {
    uint64_t released;
    uint64_t goal; /* deliveries, when it is everywhere */
    uint64_t seen;
    uint64_t moved_ns;
};

/* True when all that was released has been published and is everywhere. */
static bool spread_record(struct load_run *run, const struct spread *spread, const struct live *live)
{
    if (counter_read(&run->publisher.published) < spread->released || live->delivered < spread->goal)
        return false;
    if (spread->released > 0) {
        uint64_t sent_ns = counter_read(&run->publisher.last_sent_ns), last_ns = last_delivery_ns(run);
        histogram_record(&run->result.spread_time, last_ns > sent_ns ? (last_ns - sent_ns) / 1000 : 0);
    }
    return true;
}

static void spread_step(struct load_run *run, struct spread *spread)
{
    struct live live = look(run);
    uint64_t now_ns = clock_monotonic_ns();

    if (live.delivered != spread->seen) {
        spread->seen = live.delivered;
        spread->moved_ns = now_ns;
    }
    if (!spread_record(run, spread, &live) &&
        now_ns - spread->moved_ns < run->options->settle_ms * UINT64_C(1000000))
        return;
    spread->goal = live.delivered + live.open;
    spread->moved_ns = now_ns;
    atomic_store_explicit(&run->publisher.released, ++spread->released, memory_order_release);
}

static void publish_and_settle(struct load_run *run)
{
    struct spread spread = {0};

    if (run->interrupts > 0 || look(run).opened == 0)
        return;
    pause_for(run, run->options->idle_hold_ms);
    if (run->interrupts > 0)
        return;
    run->doing = "publishing";
    run->publisher.options = run->options;
    run->publisher.payload = &run->payload;
    if (!publisher_start(&run->publisher)) {
        snprintf(run->publisher.error, sizeof(run->publisher.error), "no thread");
        return;
    }
    run->publishing = true;
    while (!publisher_done(&run->publisher)) {
        if (run->interrupts > 0)
            publisher_stop(&run->publisher);
        tick(run);
        if (run->options->one_by_one)
            spread_step(run, &spread);
    }
    publisher_join(&run->publisher);
    atomic_store(&run->shared.published, counter_read(&run->publisher.published));
    set_phase(run, PHASE_SETTLE, "settling");
    await_quiet(run, PHASE_SETTLE, 1);
    if (run->options->one_by_one) {
        struct live live = look(run);
        (void)spread_record(run, &spread, &live); /* of the last message */
    }
    uint64_t began_ns = clock_monotonic_ns();
    while (clock_monotonic_ns() - began_ns < LINGER_MS * UINT64_C(1000000))
        tick(run);
}

/* Set-up */

/* Raises the soft limit to the hard one and returns how many connections a descriptor table holds; 0: cannot
 * even start. */
static uint32_t connections_per_table(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 0;
    if (limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
        (void)getrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur <= FD_RESERVE)
        return 0;
    return limit.rlim_cur - FD_RESERVE < UINT32_MAX ? (uint32_t)(limit.rlim_cur - FD_RESERVE) : UINT32_MAX;
}

static bool choose_workers(struct load_run *run, char *error, size_t error_size)
{
    const struct load_options *options = run->options;
    uint32_t per_table = connections_per_table();
    uint64_t total_max = options->shared_fds ? per_table : UINT64_MAX;
    uint64_t each_max = per_table < WORKER_CONNECTIONS_MAX ? per_table : WORKER_CONNECTIONS_MAX;

    if (each_max == 0 || options->connections > total_max) {
        snprintf(error, error_size,
                 "RLIMIT_NOFILE allows %u connections in one descriptor table; raise it (ulimit -n)%s",
                 per_table, options->shared_fds ? " or leave out --shared-fds" : "");
        return false;
    }
    uint64_t needed = (options->connections + each_max - 1) / each_max;
    run->worker_count = (unsigned)(options->processes > 0 ? options->processes : needed);
    if (run->worker_count > options->connections)
        run->worker_count = (unsigned)options->connections;
    if (run->worker_count < needed && !options->shared_fds) {
        snprintf(error, error_size,
                 "--processes=%u: %" PRIu64 " connections need at least %" PRIu64 " (RLIMIT_NOFILE: %" PRIu64
                 " each)",
                 run->worker_count, options->connections, needed, each_max);
        return false;
    }
    return true;
}

static bool start_workers(struct load_run *run, char *error, size_t error_size)
{
    const struct load_options *options = run->options;
    uint64_t first = 0;

    for (unsigned i = 0; i < run->worker_count; i++) {
        struct worker *worker = &run->workers[i];
        uint64_t next = options->connections * (i + 1) / run->worker_count;
        uint64_t in_progress = options->in_progress / run->worker_count;
        worker->shared = &run->shared;
        worker->clients.options = options;
        worker->clients.payload = options->mode == LOAD_FANOUT ? &run->payload : NULL;
        worker->clients.tls = run->tls;
        worker->clients.first = (uint32_t)first;
        worker->connections = (uint32_t)(next - first);
        worker->in_progress_max = in_progress > 0 ? (uint32_t)in_progress : 1;
        worker->rate = (double)options->rate * (double)worker->connections / (double)options->connections;
        worker->private_fds = !options->shared_fds;
        first = next;
        if (!worker_start(worker)) {
            snprintf(error, error_size, "cannot start thread %u of %u: %s", i + 1, run->worker_count,
                     strerror(errno));
            return false;
        }
        run->started_workers++;
    }
    for (unsigned i = 0; i < run->worker_count; i++) {
        struct worker *worker = &run->workers[i];
        while (!worker_finished(worker, PHASE_START)) {
            if (atomic_load(&worker->failed)) {
                snprintf(error, error_size, "worker %u: %s", i + 1, worker->error);
                return false;
            }
            usleep(1000);
        }
    }
    return true;
}

static void stop_workers(struct load_run *run)
{
    set_phase(run, PHASE_STOP, "done");
    for (unsigned i = 0; i < run->started_workers; i++)
        worker_join(&run->workers[i]);
}

static void gather(struct load_run *run)
{
    struct load_result *result = &run->result;
    struct rusage usage;

    for (unsigned i = 0; i < run->started_workers; i++)
        load_stats_merge(&result->total, &run->workers[i].stats, true);
    result->options = run->options;
    result->publisher = run->options->mode == LOAD_FANOUT ? &run->publisher : NULL;
    result->workers = run->worker_count;
    result->run_seconds = seconds_since(run->began_ns);
    result->samples = run->samples;
    result->sample_count = run->sample_count;
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        result->cpu_user = (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec / 1e6;
        result->cpu_system = (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec / 1e6;
    }
}

struct load_run *load_run_create(const struct load_options *options, char *error, size_t error_size)
{
    struct load_run *run = calloc(1, sizeof(*run));
    uint32_t run_id;

    if (!run || getrandom(&run_id, sizeof(run_id), 0) != sizeof(run_id)) {
        snprintf(error, error_size, "out of memory");
        free(run);
        return NULL;
    }
    run->options = options;
    run->watched = run->watch_printed = UINT64_MAX; /* none yet, which deserves a line, too */
    run->doing = "starting";
    run->terminal = isatty(STDERR_FILENO) && !options->quiet;
    atomic_store(&run->shared.phase, PHASE_START);
    const struct tls_client_config tls = {
        .host = options->target.host,
        .host_is_ip = options->target.host_is_ip,
        .ca_file = options->ca_file,
        .insecure = options->insecure,
    };
    if (!choose_workers(run, error, error_size))
        goto fail;
    load_check_machine(options, run->worker_count, "", stderr);
    if (options->target.tls && !(run->tls = tls_client_context_create(&tls, error, error_size)))
        goto fail;
    run->workers = calloc(run->worker_count, sizeof(*run->workers));
    if (run->workers && payload_format_init(&run->payload, run_id, options->message_bytes))
        return run;
    snprintf(error, error_size, "out of memory");
fail:
    load_run_destroy(run);
    return NULL;
}

bool load_run_execute(struct load_run *run, char *error, size_t error_size)
{
    bool started;

    /* Threads whose handshakes come and go would each keep an arena's worth of free memory. */
    (void)mallopt(M_ARENA_MAX, 2);
    if (run->options->resume &&
        !tls_client_context_fetch_session(run->tls, &run->options->target.address,
                                          run->options->connect_timeout_ms, error, error_size))
        return false;
    started = start_workers(run, error, error_size);
    if (!started) {
        stop_workers(run);
        return false;
    }
    run->result.started_at_ms = clock_realtime_ms();
    run->began_ns = run->line_ns = run->sampled_ns = clock_monotonic_ns();
    open_all(run);
    if (run->options->mode == LOAD_IDLE)
        hold_and_probe(run);
    else
        publish_and_settle(run);
    set_phase(run, PHASE_CLOSE, "closing");
    await_quiet(run, PHASE_CLOSE, 1);
    stop_workers(run);
    if (run->terminal)
        fputc('\n', stderr);
    gather(run);
    return true;
}

const struct load_result *load_run_result(const struct load_run *run)
{
    return &run->result;
}

void load_run_destroy(struct load_run *run)
{
    if (!run)
        return;
    tls_client_context_destroy(run->tls);
    payload_format_fini(&run->payload);
    free(run->workers);
    free(run->samples);
    free(run);
}
