/* What the files that make up a run share among themselves; see run.h.
 *
 * Thread: the main thread. Owner: as in run.h.
 */
#pragma once

#include "loadtest/run.h"
#include "loadtest/worker.h"

struct load_run {
    const struct load_options *options;
    struct payload_format payload;
    struct tls_client_context *tls;
    struct worker_shared shared;
    struct worker *workers;
    unsigned worker_count, started_workers;
    struct publisher publisher;
    bool publishing; /* its thread has been started */
    char *password;

    uint64_t began_ns, sampled_ns, line_ns;
    uint64_t phase_ns;
    struct live {
        uint64_t started, opened, open, slow_open, returned, failed, ended, answered, delivered, resumed;
    } phase_live;                    /* when the phase began */
    uint64_t watched, watch_printed; /* messages at the last look, and on the last line of --watch */
    uint32_t order_number;
    load_order order;
    const char *doing;
    bool terminal;
    unsigned interrupts; /* 1: end early; 2: at once */
    uint64_t interrupted_ns;
    bool enough; /* SIGUSR1: open no more, go on with those that are open */
    struct load_sample *samples;
    size_t sample_count, sample_cap;
    struct histogram sampled_latency; /* of all messages up to the last sample */
    struct load_result result;
};

/* progress.c */
struct live run_look(const struct load_run *run);
/* Sleeps for a tick, takes signals, samples, shows progress. */
void run_tick(struct load_run *run);
/* The same, a tick of `milliseconds`. */
void run_tick_of(struct load_run *run, unsigned milliseconds);
/* Takes a sample out of turn. */
struct load_sample run_sample(struct load_run *run);
/* --watch: says how many messages there have been once no more are coming. */
void run_watch(struct load_run *run);
void run_mark(struct load_run *run, const char *text);
/* Says what of the plan a signal has left out, for the report. */
void run_unchecked(struct load_run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));
double run_seconds_since(uint64_t then_ns);
/* Sum of the latencies so far, without those of slow connections. */
void run_latency(const struct load_run *run, struct histogram *out);

/* scenario.c */
void run_set_phase(struct load_run *run, enum load_phase phase, const char *doing);
bool run_all_finished(const struct load_run *run);
/* False when the rest of the plan is pointless: a signal, or nobody publishes any more. */
bool run_may_go_on(const struct load_run *run);
void run_pause(struct load_run *run, uint64_t milliseconds);
/* As run_pause(--hold); what a signal leaves of it was not checked. */
void run_hold(struct load_run *run, const char *what);
/* Asks by ping whether the connections live. */
void run_probe(struct load_run *run);
bool run_start_publishing(struct load_run *run, bool endless);
/* Waits for the messages that are under way. */
void run_settle(struct load_run *run);
/* All of it, from the first connection to the last. */
void run_scenario(struct load_run *run);

/* storm.c */
void run_storm(struct load_run *run);
