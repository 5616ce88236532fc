/* The scenarios, as sequences of phases. */
#include "loadtest/run_internal.h"

#include "gateway/base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <string.h>
#include <unistd.h>

enum {
    LINGER_MS = 300,    /* for duplicates after the last message */
    SUBSCRIBED_MS = 50, /* a server may subscribe a connection a moment after its 101 */
};

static const uint64_t MS = 1000000; /* in ns */

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

/* Phases */

void run_set_phase(struct load_run *run, enum load_phase phase, const char *doing)
{
    run->doing = doing;
    run->phase_ns = clock_monotonic_ns();
    run->phase_live = run_look(run);
    run->order = load_order_of(++run->order_number, phase);
    atomic_store_explicit(&run->shared.order, run->order, memory_order_release);
}

bool run_all_finished(const struct load_run *run)
{
    for (unsigned i = 0; i < run->started_workers; i++)
        if (!worker_finished(&run->workers[i], run->order))
            return false;
    return true;
}

/* False when the rest of the plan is pointless: a signal, or nobody publishes any more. */
bool run_may_go_on(const struct load_run *run)
{
    return run->interrupts == 0 &&
           !(run->publishing && run->publisher.endless && publisher_done(&run->publisher));
}

/* Waits until all workers have finished the phase, nothing has moved for --settle, or more than
 * `interrupts_max` signals have come. */
static void await_quiet(struct load_run *run, unsigned interrupts_max)
{
    uint64_t moved_ns = clock_monotonic_ns();
    struct live last = run_look(run);

    while (!run_all_finished(run) && run->interrupts <= interrupts_max) {
        run_tick(run);
        struct live now = run_look(run);
        if (memcmp(&now, &last, sizeof(now)) != 0) {
            last = now;
            moved_ns = clock_monotonic_ns();
        }
        if (clock_monotonic_ns() - moved_ns > run->options->settle_ms * MS)
            return;
    }
}

/* True when the phase that await_quiet() has left was given up for a second signal, not for silence. */
static bool gave_up(const struct load_run *run)
{
    return run->interrupts > 1 && !run_all_finished(run);
}

void run_pause(struct load_run *run, uint64_t milliseconds)
{
    uint64_t began_ns = clock_monotonic_ns();
    while (run_may_go_on(run) && clock_monotonic_ns() - began_ns < milliseconds * MS) {
        run_tick(run);
        if (run->options->watch)
            run_watch(run);
    }
}

/* As run_pause(--hold); what a signal leaves of it was not checked. */
void run_hold(struct load_run *run, const char *what)
{
    uint64_t began_ns = clock_monotonic_ns();

    run_pause(run, run->options->hold_ms);
    if (run->interrupts > 0)
        run_unchecked(run, "all of --hold: %s for %.1f of %.1f s", what, run_seconds_since(began_ns),
                      (double)run->options->hold_ms / 1e3);
}

/* Ticks on although nobody publishes any more. */
static void linger(struct load_run *run)
{
    uint64_t began_ns = clock_monotonic_ns();
    while (run->interrupts <= 1 && clock_monotonic_ns() - began_ns < LINGER_MS * MS)
        run_tick(run);
}

static void announce_ready(const struct load_run *run)
{
    static const char line[] = "ready\n";

    if (run->terminal)
        fputc('\n', stderr);
    FILE *out = load_options_stdout_is_taken(run->options) ? stderr : stdout;
    fputs(line, out);
    fflush(out);
    if (run->options->ready_fd > 0 && write((int)run->options->ready_fd, line, sizeof(line) - 1) < 0)
        fprintf(stderr, "pushgate-load: --ready-fd: %s\n", strerror(errno));
}

static void open_all(struct load_run *run)
{
    run->result.rss_before = own_rss();
    (void)run_sample(run);
    run_set_phase(run, PHASE_OPEN, "opening");
    while (!run_all_finished(run) && run->interrupts == 0 && !run->enough)
        run_tick(run);
    run->result.opening_cut = !run_all_finished(run);
    run->result.open_seconds = run_seconds_since(run->began_ns);
    run_set_phase(run, PHASE_HOLD, "holding");
    (void)malloc_trim(0); /* handshakes are over: what they used is not the price of a connection */
    run->result.rss_open = own_rss();
    run->result.all_open = run_sample(run);
    run_mark(run, run->result.opening_cut ? "no more opened" : "all open");
    if (run->result.opening_cut)
        run_unchecked(run, "%" PRIu64 " of %" PRIu64 " connections were not opened",
                      run->options->connections - run_look(run).opened, run->options->connections);
    if (run->interrupts == 0 && run_look(run).opened > 0)
        announce_ready(run);
}

void run_probe(struct load_run *run)
{
    if (run->interrupts > 1) {
        run_unchecked(run, "whether the connections live");
        return;
    }
    run_set_phase(run, PHASE_PROBE, "asking");
    await_quiet(run, 1);
    run->result.probe_cut = gave_up(run);
    if (run->result.probe_cut)
        run_unchecked(run, "whether those connections live whose pong had not come");
}

/* Publishing */

bool run_start_publishing(struct load_run *run, bool endless)
{
    run_pause(run, SUBSCRIBED_MS);
    run->publisher.endless = endless;
    if (!publisher_start(&run->publisher)) {
        snprintf(run->publisher.error, sizeof(run->publisher.error), "no thread");
        return false;
    }
    run_mark(run, "publishing");
    return run->publishing = true;
}

/* Waits for the replies, unless a second signal comes. */
static void await_publisher(struct load_run *run)
{
    while (!publisher_done(&run->publisher)) {
        if (run->interrupts > 1)
            publisher_abandon(&run->publisher);
        run_tick(run);
    }
}

/* Waits for the messages that are under way. */
void run_settle(struct load_run *run)
{
    publisher_stop(&run->publisher);
    await_publisher(run);
    publisher_join(&run->publisher);
    /* What a publisher had written when its connection broke may have been published or not: nobody can miss
     * it. */
    atomic_store(&run->shared.published, counter_read(run->publisher.broke_off ? &run->publisher.answered
                                                                               : &run->publisher.published));
    run_set_phase(run, PHASE_SETTLE, "settling");
    await_quiet(run, 1);
    run->result.settle_cut = gave_up(run);
    if (run->result.settle_cut)
        run_unchecked(run, "whether messages that were under way arrive");
    if (run->interrupts > 0 && counter_read(&run->publisher.published) == 0)
        run_unchecked(run, "messages: none was published");
    else if (run->interrupts > 0 && run->options->messages > counter_read(&run->publisher.published))
        run_unchecked(run, "%" PRIu64 " of %" PRIu64 " messages, which were not published",
                      run->options->messages - counter_read(&run->publisher.published),
                      run->options->messages);
    linger(run);
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
        uint64_t took_us = last_ns > sent_ns ? (last_ns - sent_ns) / 1000 : 0;
        struct load_result *result = &run->result;
        histogram_record(&result->spread_time, took_us);
        if (result->spread_first_count < REPORT_SPREADS_MAX)
            result->spread_first_us[result->spread_first_count++] = took_us;
    }
    return true;
}

/* True when it is everywhere, or nobody has got it for --settle. */
static bool spread_ended(struct load_run *run, struct spread *spread, const struct live *live)
{
    uint64_t now_ns = clock_monotonic_ns();

    if (live->delivered != spread->seen) {
        spread->seen = live->delivered;
        spread->moved_ns = now_ns;
    }
    return spread_record(run, spread, live) ||
           now_ns - spread->moved_ns >= run->options->settle_ms * UINT64_C(1000000);
}

static void spread_step(struct load_run *run, struct spread *spread)
{
    struct live live = run_look(run);

    if (!spread_ended(run, spread, &live))
        return;
    spread->goal = live.delivered + live.open;
    spread->moved_ns = clock_monotonic_ns();
    atomic_store_explicit(&run->publisher.released, ++spread->released, memory_order_release);
}

/* The last message is timed like those before it: settling, every connection is asked what it has, and that
 * takes time from those that deliver. */
static void spread_last(struct load_run *run, struct spread *spread)
{
    for (;;) {
        struct live live = run_look(run);
        if (run->interrupts > 0 || counter_read(&run->publisher.published) < spread->released)
            break; /* the last one is everywhere: nothing comes of what was released behind it */
        if (spread_ended(run, spread, &live))
            break;
        run_tick(run);
    }
}

/* The modes */

static void idle(struct load_run *run)
{
    run_hold(run, "connections were held");
    run_probe(run);
}

static void fanout(struct load_run *run)
{
    struct spread spread = {0};

    run_pause(run, run->options->idle_hold_ms);
    if (!run_may_go_on(run)) {
        run_unchecked(run, "messages: none was published");
        return;
    }
    run->doing = "publishing";
    run->phase_ns = clock_monotonic_ns();
    if (!run_start_publishing(run, false))
        return;
    while (!publisher_done(&run->publisher)) {
        if (run->interrupts > 0)
            break; /* run_settle() stops it */
        run_tick(run);
        if (run->options->one_by_one)
            spread_step(run, &spread);
    }
    if (run->interrupts > 0 && run->options->messages == 0)
        run_unchecked(run, "all of --hold: messages were published for %.1f of %.1f s",
                      run_seconds_since(run->phase_ns), (double)run->options->hold_ms / 1e3);
    if (run->options->one_by_one)
        spread_last(run, &spread);
    run_settle(run);
}

static void churn(struct load_run *run)
{
    if (!run_start_publishing(run, true))
        return;
    run_set_phase(run, PHASE_CHURN, "churning");
    run_hold(run, "connections were replaced");
    run->result.churn_seconds = run_seconds_since(run->phase_ns);
    run->result.churn_returned = run_look(run).returned;
    run_set_phase(run, PHASE_CALM, "calming");
    await_quiet(run, 1);
    if (gave_up(run))
        run_unchecked(run, "whether the replacements that were under way open");
    run_pause(run, LINGER_MS); /* what opened last gets a message, too */
    run_settle(run);
}

static void slow(struct load_run *run)
{
    struct load_result *result = &run->result;

    if (!run_start_publishing(run, true))
        return;
    run_pause(run, run->options->hold_ms);
    run_latency(run, &result->latency_before);
    run_mark(run, "slow ones stop");
    run_set_phase(run, PHASE_STALL, "stalling");
    run_pause(run, run->options->hold_ms);
    run_latency(run, &result->latency_while);
    histogram_subtract(&result->latency_while, &result->latency_before);
    if (run->interrupts > 0)
        run_unchecked(run, "all of --hold: the slow ones did not read for %.1f s",
                      run_seconds_since(run->phase_ns));
    run_mark(run, "all read again");
    run_settle(run);
    result->slow_open = run_look(run).slow_open;
}

void run_scenario(struct load_run *run)
{
    static void (*const modes[LOAD_MODE_COUNT])(struct load_run * run) = {
        [LOAD_IDLE] = idle,   [LOAD_FANOUT] = fanout, [LOAD_STORM] = run_storm,
        [LOAD_CHURN] = churn, [LOAD_SLOW] = slow,
    };

    open_all(run);
    if (run->interrupts > 0 && run->options->mode != LOAD_IDLE)
        run_unchecked(run, "anything but the opening");
    else if (run_look(run).opened > 0)
        modes[run->options->mode](run);
    run_mark(run, "closing");
    run_set_phase(run, PHASE_CLOSE, "closing");
    await_quiet(run, 1);
    run->result.closing_cut = gave_up(run);
    if (run->result.closing_cut)
        run_unchecked(run, "whether the closing handshakes that were under way are completed");
    (void)run_sample(run);
}
