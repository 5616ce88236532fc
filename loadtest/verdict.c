/* What was wrong in a run, and what follows from it. */
#include "loadtest/report.h"

#include <inttypes.h>
#include <stdarg.h>

/* Of the closing handshakes, one in so many may be left unfinished: a server under load may give up waiting,
 * and loses nothing by it. */
enum { CLOSES_TOLERANCE = 10 };

#define PRINTF_LIKE __attribute__((format(printf, 2, 3)))

PRINTF_LIKE static void fault(struct load_findings *findings, const char *format, ...)
{
    va_list arguments;
    if (findings->fault_count == REPORT_FINDINGS_MAX)
        return;
    va_start(arguments, format);
    vsnprintf(findings->faults[findings->fault_count++], REPORT_FINDING_BYTES, format, arguments);
    va_end(arguments);
}

PRINTF_LIKE static void warn(struct load_findings *findings, const char *format, ...)
{
    va_list arguments;
    if (findings->warning_count == REPORT_FINDINGS_MAX)
        return;
    va_start(arguments, format);
    vsnprintf(findings->warnings[findings->warning_count++], REPORT_FINDING_BYTES, format, arguments);
    va_end(arguments);
}

static uint64_t not_below_zero(uint64_t value)
{
    return value > INT64_MAX ? 0 : value;
}

/* Sums */

uint64_t load_result_missed(const struct load_result *result)
{
    return not_below_zero(counter_read(&result->total.missed_away));
}

uint64_t load_result_missed_joining(const struct load_result *result)
{
    return not_below_zero(counter_read(&result->total.missed_joining));
}

uint64_t load_result_expected(const struct load_result *result)
{
    const struct load_stats *total = &result->total;
    return not_below_zero(counter_read(&total->expected) - counter_read(&total->missed_away) -
                          counter_read(&total->missed_joining));
}

uint64_t load_result_unconfirmed(const struct load_result *result)
{
    const struct publisher *publisher = result->publisher;
    return publisher && publisher->broke_off
               ? counter_read(&publisher->published) - counter_read(&publisher->answered)
               : 0;
}

uint64_t load_result_slow_count(const struct load_result *result)
{
    const struct load_options *options = result->options;
    return options->mode == LOAD_SLOW ? options->connections * options->slow_share / SHARE_WHOLE : 0;
}

double load_storm_rate(const struct load_storm *storm)
{
    return storm->back_seconds > 0 ? (double)storm->back / storm->back_seconds : 0;
}

uint64_t load_storm_missed(const struct load_storm *storm)
{
    return not_below_zero(storm->missed_away);
}

double load_result_bytes_per_connection(const struct load_result *result)
{
    uint64_t open = result->all_open.open;
    if (open == 0 || result->rss_open <= result->rss_before)
        return 0;
    return (double)(result->rss_open - result->rss_before) / (double)open;
}

double load_result_delivery_rate(const struct load_result *result)
{
    uint64_t last = counter_read(&result->total.last_delivery_ns);
    uint64_t first = result->publisher ? counter_read(&result->publisher->began_ns) : 0;
    if (first == 0 || last <= first)
        return 0;
    return (double)counter_read(&result->total.delivered) * 1e9 / (double)(last - first);
}

uint64_t load_result_closes(const struct load_result *result)
{
    return counter_read(&result->total.ended[END_DONE]) + load_result_closes_unfinished(result);
}

uint64_t load_result_closes_unfinished(const struct load_result *result)
{
    return counter_read(&result->total.ended[END_CLOSE_CUT]) +
           counter_read(&result->total.ended[END_UNANSWERED]);
}

/* Findings */

static void find_opening(const struct load_result *result, struct load_findings *findings)
{
    const struct load_stats *total = &result->total;
    uint64_t opened = counter_read(&total->opened) - counter_read(&total->returned);
    uint64_t wanted = result->options->connections, failed_first = counter_read(&total->failed_first);
    uint64_t failed_later =
        load_stats_failed(total) - failed_first - counter_read(&total->failed[FAIL_INTERRUPTED]);

    if (!result->opening_cut && opened < wanted)
        fault(findings, "%" PRIu64 " of %" PRIu64 " connections did not open", wanted - opened, wanted);
    else if (failed_first > 0)
        fault(findings, "%" PRIu64 " connections failed to open", failed_first);
    /* A storm may take several attempts. */
    if (result->options->mode != LOAD_STORM && failed_later > 0)
        fault(findings, "%" PRIu64 " connections that replace others failed to open", failed_later);
}

static void find_storms(const struct load_result *result, struct load_findings *findings)
{
    const struct load_options *options = result->options;
    size_t planned = !options->target.tls ? 1 : options->handshakes == HANDSHAKES_BOTH ? 2 : 1;

    if (options->mode != LOAD_STORM)
        return;
    if (result->no_tickets && options->handshakes == HANDSHAKES_BOTH)
        planned = 1; /* the other one is impossible, which the note says */
    if (result->no_tickets && options->handshakes == HANDSHAKES_RESUMED)
        fault(findings, "the storm's handshakes were full ones, not resumed ones as asked for");
    if (!result->interrupted && result->storm_count < planned)
        fault(findings, "%zu of %zu storms did not take place", planned - result->storm_count, planned);
    for (size_t i = 0; i < result->storm_count; i++) {
        const struct load_storm *storm = &result->storms[i];
        if (storm->back < storm->cut && !storm->cut_short)
            fault(findings, "%" PRIu64 " of %" PRIu64 " connections did not come back (%s handshakes)",
                  storm->cut - storm->back, storm->cut, storm->handshakes);
    }
}

static void find_ends(const struct load_result *result, struct load_findings *findings)
{
    const struct load_stats *total = &result->total;
    uint64_t unexpected = load_stats_unexpected(total);
    uint64_t asked = counter_read(&total->probes_sent), answered = counter_read(&total->probes_answered);
    uint64_t closes = load_result_closes(result), unfinished = load_result_closes_unfinished(result);

    if (unexpected > 0)
        fault(findings, "%" PRIu64 " connections were closed unexpectedly", unexpected);
    if (answered < asked && !result->probe_cut)
        fault(findings, "%" PRIu64 " of %" PRIu64 " connections did not answer a ping", asked - answered,
              asked);
    if (unfinished == 0 || result->closing_cut)
        return;
    if (unfinished > closes / CLOSES_TOLERANCE)
        fault(findings, "the server did not complete %" PRIu64 " of %" PRIu64 " closing handshakes",
              unfinished, closes);
    else
        warn(findings, "the server did not complete %" PRIu64 " of %" PRIu64 " closing handshakes",
             unfinished, closes);
}

static void find_messages(const struct load_result *result, const struct load_stats *stats, const char *whose,
                          struct load_findings *findings)
{
    const struct {
        const counter *of;
        const char *text;
    } kinds[] = {
        {&stats->duplicated, "duplicated"},
        {&stats->out_of_order, "out of order"},
        {&stats->corrupt, "corrupt"},
        {&stats->misrouted, "of another topic"},
        {&stats->unknown, "not published by pushgate-load (--allow-unknown if they may come)"},
    };

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (counter_read(kinds[i].of) > 0 &&
            (kinds[i].of != &stats->unknown || !result->options->allow_unknown))
            fault(findings, "%" PRIu64 " messages%s were %s", counter_read(kinds[i].of), whose,
                  kinds[i].text);
}

static void find_losses(const struct load_result *result, struct load_findings *findings)
{
    const struct load_stats *total = &result->total;

    if (result->settle_cut)
        return;
    if (counter_read(&total->lost) > 0)
        fault(findings, "%" PRIu64 " messages were lost", counter_read(&total->lost));
    if (counter_read(&total->late) > 0)
        fault(findings, "%" PRIu64 " messages came later than --settle waits", counter_read(&total->late));
}

static void find_publisher(const struct publisher *publisher, struct load_findings *findings)
{
    if (!publisher)
        return;
    if (counter_read(&publisher->refused) > 0)
        fault(findings, "%" PRIu64 " messages were refused by the endpoint",
              counter_read(&publisher->refused));
    if (publisher->error[0] != '\0')
        fault(findings, "publishing: %s", publisher->error);
}

enum load_verdict load_result_findings(const struct load_result *result, struct load_findings *findings)
{
    findings->fault_count = findings->warning_count = 0;
    find_opening(result, findings);
    find_storms(result, findings);
    find_ends(result, findings);
    find_losses(result, findings);
    find_messages(result, &result->total, "", findings);
    find_messages(result, &result->slow, " of slow connections", findings);
    find_publisher(result->publisher, findings);
    return findings->fault_count > 0     ? LOAD_FAILED
           : result->unchecked_count > 0 ? LOAD_ENDED_EARLY
                                         : LOAD_PASSED;
}

enum load_verdict load_result_verdict(const struct load_result *result)
{
    struct load_findings findings;
    return load_result_findings(result, &findings);
}
