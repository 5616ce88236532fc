/* The storm: everybody cut at once, and brought back. */
#include "gateway/base/clock.h"
#include "loadtest/run_internal.h"
#include "loadtest/tls_session.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const uint64_t MS = 1000000; /* in ns */

/* What a storm is the difference of. */
struct storm_view {
    struct live live;
    uint64_t missed_away, missed_joining, last_open_ns;
    struct histogram return_time;
};

static void view_storm(const struct load_run *run, struct storm_view *view)
{
    *view = (struct storm_view){.live = run_look(run)};
    for (unsigned i = 0; i < run->started_workers; i++) {
        const struct load_stats *stats = &run->workers[i].stats;
        uint64_t last_ns = counter_read(&stats->last_open_ns);
        view->missed_away += counter_read(&stats->missed_away);
        view->missed_joining += counter_read(&stats->missed_joining);
        view->last_open_ns = last_ns > view->last_open_ns ? last_ns : view->last_open_ns;
        histogram_merge(&view->return_time, &stats->return_time);
    }
}

static void cut_and_return(struct load_run *run, const char *handshakes)
{
    struct load_storm *storm = &run->result.storms[run->result.storm_count++];
    struct storm_view before, after;
    uint64_t began_ns = clock_monotonic_ns();

    view_storm(run, &before);
    storm->handshakes = handshakes;
    storm->cut = before.live.open;
    run_mark(run, "cut");
    run_set_phase(run, PHASE_CUT, "cutting");
    while (!run_all_finished(run) && run->interrupts <= 1)
        run_tick_of(run, 1);
    storm->cut_seconds = run_seconds_since(began_ns);
    run_set_phase(run, PHASE_RETURN, "returning");
    while (!run_all_finished(run) && run_may_go_on(run) &&
           clock_monotonic_ns() - run->phase_ns < run->options->return_within_ms * MS)
        run_tick(run);
    bool whole = run_all_finished(run);
    storm->cut_short = !whole && run->interrupts > 0;
    storm->back_seconds = run_seconds_since(began_ns);
    run_set_phase(run, PHASE_HOLD, "holding");
    storm->back = run_look(run).open;
    if (storm->cut_short)
        run_unchecked(
            run, "whether the %" PRIu64 " of %" PRIu64 " that were not back yet get back (%s handshakes)",
            storm->cut - storm->back, storm->cut, handshakes);
    if (whole)
        run_mark(run, "all back");
    if (run->interrupts == 0)
        run_hold(run, "connections that were back were held");
    view_storm(run, &after); /* only now: what was missed shows when the next message comes */
    if (whole)
        storm->back_seconds = (double)(after.last_open_ns - began_ns) / 1e9;
    storm->resumed = after.live.resumed - before.live.resumed;
    storm->failed = after.live.failed - before.live.failed;
    storm->missed_away = after.missed_away - before.missed_away;
    if (after.missed_joining > before.missed_joining)
        storm->missed_joining = after.missed_joining - before.missed_joining;
    storm->return_time = after.return_time;
    histogram_subtract(&storm->return_time, &before.return_time);
}

static bool tick_on(void *argument)
{
    struct load_run *run = argument;
    run_tick(run);
    return run_may_go_on(run);
}

/* Only while no worker opens a connection: they all present the session that this fetches. False when there
 * is nothing to resume, and neither is the storm to take place without; `note` says why. */
static bool fetch_session(struct load_run *run, const char **handshakes)
{
    const struct load_options *options = run->options;
    char reason[120];

    run->doing = "asking for a session ticket";
    enum tls_session_result fetched =
        tls_session_fetch(run->tls, &options->target.address, options->connect_timeout_ms, tick_on, run,
                          reason, sizeof(reason));
    if (fetched == TLS_SESSION_FETCHED || fetched == TLS_SESSION_GIVEN_UP)
        return fetched == TLS_SESSION_FETCHED;
    run->result.no_tickets = fetched == TLS_SESSION_NONE;
    bool instead = fetched == TLS_SESSION_NONE && options->handshakes == HANDSHAKES_RESUMED;
    snprintf(run->result.note, sizeof(run->result.note), "%s: %s", reason,
             instead ? "the storm's handshakes were full ones" : "no storm with resumed handshakes");
    *handshakes = "full";
    return instead;
}

static void storm_of(struct load_run *run, const char *handshakes)
{
    if (run->interrupts == 0 && run_may_go_on(run) &&
        (strcmp(handshakes, "resumed") != 0 || fetch_session(run, &handshakes)))
        cut_and_return(run, handshakes);
    else if (run->interrupts > 0)
        run_unchecked(run, "a storm with %s handshakes: it did not take place", handshakes);
}

void run_storm(struct load_run *run)
{
    const struct load_options *options = run->options;

    if (options->publish && !run_start_publishing(run, true))
        return;
    run_pause(run, options->hold_ms);
    if (!options->target.tls)
        storm_of(run, "plain");
    if (options->target.tls && options->handshakes != HANDSHAKES_RESUMED)
        storm_of(run, "full");
    if (options->target.tls && options->handshakes != HANDSHAKES_FULL)
        storm_of(run, "resumed");
    if (run->publishing)
        run_settle(run);
    run_probe(run);
}
