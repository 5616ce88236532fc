/* What a run measured, the verdict, and its forms: text, JSON and an HTML page.
 *
 * Thread: the main thread, after all others have ended. Owner: the caller; `samples` is the run's.
 */
#pragma once

#include "loadtest/measure.h"
#include "loadtest/options.h"
#include "loadtest/publisher.h"
#include "loadtest/stats.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum {
    REPORT_STORMS_MAX = 2,
    REPORT_MARKS_MAX = 16,
    REPORT_UNCHECKED_MAX = 8,
    REPORT_UNCHECKED_BYTES = 112,
    REPORT_SPREADS_MAX = 100,
    REPORT_SENTENCE_BYTES = 160,
    REPORT_FINDINGS_MAX = 32,
    REPORT_FINDING_BYTES = 224,
};

/* The state now and then: five times a second at first, later once a second and less. */
struct load_sample {
    double seconds; /* since the run began */
    uint64_t open, opened, failed, ended, published, delivered;
    uint64_t p50_us, p99_us, max_us; /* of messages since the sample before; 0: there were none */
    uint64_t own_bytes;              /* private, of this process */
    bool gateway_seen;               /* there was a process --gateway-pid; else what follows of it is 0 */
    uint64_t gateway_bytes;          /* private, of that process */
    struct kernel_use kernel;
    double own_cpu, gateway_cpu; /* seconds so far */
};

/* Something that happened at a moment, for the plots. */
struct load_mark {
    double seconds;
    const char *text;
};

/* All connections cut and brought back. */
struct load_storm {
    const char *handshakes; /* "plain", "full" or "resumed" */
    uint64_t cut, back;     /* connections */
    double cut_seconds;     /* until the last one was cut */
    double back_seconds;    /* from the first cut until the last one was back */
    uint64_t resumed;       /* sessions */
    uint64_t failed;        /* attempts */
    bool cut_short;         /* a signal came before all were back */
    uint64_t missed_away, missed_joining;
    struct histogram return_time;
};

struct load_result {
    const struct load_options *options;
    struct load_stats total; /* of all connections, but what only `slow` has */
    struct load_stats slow;  /* of those that stop reading: messages and ends */
    uint64_t slow_open;      /* of those, when all had been read that was there to read */
    struct histogram latency_before,
        latency_while; /* slow: of the others, before and while the slow ones stall */
    struct load_storm storms[REPORT_STORMS_MAX];
    size_t storm_count;
    bool no_tickets; /* the server gives none: no storm could resume */
    double churn_seconds;
    uint64_t churn_returned;           /* replacements that were open when those were over */
    const struct publisher *publisher; /* NULL: nothing was to be published */
    uint64_t started_at_ms;            /* since 1970 */
    double open_seconds;               /* until the last connection was open or had failed */
    double run_seconds;
    struct histogram spread_time; /* with --one-by-one: from PUBLISH until a message was everywhere */
    uint64_t spread_first_us[REPORT_SPREADS_MAX]; /* of the first messages, in their order */
    size_t spread_first_count;
    uint64_t rss_before, rss_open; /* bytes, of this process, around the opening */
    double cpu_user, cpu_system;   /* seconds, of this process */
    unsigned workers;
    bool interrupted;
    bool opening_cut; /* a signal came before all were open: nobody waited for the rest */
    bool settle_cut, probe_cut, closing_cut; /* the same for messages under way, pongs and closes */
    char unchecked[REPORT_UNCHECKED_MAX][REPORT_UNCHECKED_BYTES]; /* what signals left out of the plan */
    size_t unchecked_count;
    char note[160]; /* something of the plan that could not be done; "": nothing */
    const struct load_sample *samples;
    size_t sample_count;
    struct load_sample
        all_open; /* when the last connection was open or had failed; the first sample is before */
    struct load_mark marks[REPORT_MARKS_MAX];
    size_t mark_count;
};

/* What was wrong, a sentence each. */
struct load_findings {
    char faults[REPORT_FINDINGS_MAX][REPORT_FINDING_BYTES];
    char warnings[REPORT_FINDINGS_MAX][REPORT_FINDING_BYTES]; /* do not make the run fail */
    size_t fault_count, warning_count;
};

/* A fault weighs more than an early end. */
enum load_verdict { LOAD_PASSED, LOAD_FAILED, LOAD_ENDED_EARLY };
/* LOAD_PASSED: all of the plan was done, and there is no fault. LOAD_ENDED_EARLY: there is no fault, but
 * result->unchecked was not tried. */
enum load_verdict load_result_findings(const struct load_result *result, struct load_findings *findings);
enum load_verdict load_result_verdict(const struct load_result *result);
/* Closing handshakes that this tool began, and of those, how many the server did not complete. */
uint64_t load_result_closes(const struct load_result *result);
uint64_t load_result_closes_unfinished(const struct load_result *result);
/* User-space bytes of this tool for each connection that was open when the opening was over; 0 when none
 * was. */
double load_result_bytes_per_connection(const struct load_result *result);
/* Messages per second, from the first PUBLISH to the last delivery; 0 when nothing was delivered. */
double load_result_delivery_rate(const struct load_result *result);

/* Seconds of publishing: with a rate, until nothing was to be published any more; else until the last reply.
 */
double load_result_publish_seconds(const struct load_result *result);
/* Messages per second over those, never more than the rate that was wanted. */
double load_result_publish_rate(const struct load_result *result);
/* Of all connections, the share that was replaced per second. */
double load_result_churn_share(const struct load_result *result);
/* Far below what the options ask for. */
bool load_result_published_late(const struct load_result *result);
bool load_result_churned_late(const struct load_result *result);
/* What to say of those two; "" where nothing is. */
void load_result_late_sentences(const struct load_result *result, char publishing[REPORT_SENTENCE_BYTES],
                                char churning[REPORT_SENTENCE_BYTES]);

/* Messages that nobody can blame the server for: published while a place had no connection. */
uint64_t load_result_missed(const struct load_result *result);
/* Those published after the 101 of a connection that returned, within --grace, before the first that it got.
 */
uint64_t load_result_missed_joining(const struct load_result *result);
/* Messages that should have come, without those two. */
uint64_t load_result_expected(const struct load_result *result);
uint64_t load_result_slow_count(const struct load_result *result);
double load_storm_rate(const struct load_storm *storm);
uint64_t load_storm_missed(const struct load_storm *storm);
/* Messages that the publisher wrote but nobody confirmed; not counted as expected. */
uint64_t load_result_unconfirmed(const struct load_result *result);

/* Figures of a histogram for the report, never beyond its maximum. */
uint64_t report_quantile(const struct histogram *histogram, double quantile);
uint64_t report_max(const struct histogram *histogram);

void load_report_text(const struct load_result *result, FILE *out);
/* One page, nothing outside of it. */
bool load_report_html(const struct load_result *result, FILE *out) __attribute__((warn_unused_result));
bool load_report_json(const struct load_result *result, FILE *out) __attribute__((warn_unused_result));
