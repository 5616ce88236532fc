/* What the run wanted every second, and what came of it. */
#include "loadtest/report.h"

#include <inttypes.h>

static const double FAR_BELOW = 0.9;

/* Seconds over which `count` events at `wanted` per second have taken place: the last one takes its share,
 * too.
 */
static double span(uint64_t began_ns, uint64_t ended_ns, uint64_t count, double wanted)
{
    double seconds = ended_ns > began_ns ? (double)(ended_ns - began_ns) / 1e9 : 0;
    return wanted > 0 && (double)count / wanted > seconds ? (double)count / wanted : seconds;
}

double load_result_publish_seconds(const struct load_result *result)
{
    const struct publisher *publisher = result->publisher;
    uint64_t rate = result->options->publish_rate;

    if (!publisher || counter_read(&publisher->began_ns) == 0)
        return 0;
    return span(counter_read(&publisher->began_ns),
                counter_read(rate > 0 ? &publisher->stopped_ns : &publisher->ended_ns),
                counter_read(&publisher->published), (double)rate);
}

double load_result_publish_rate(const struct load_result *result)
{
    double seconds = load_result_publish_seconds(result);
    return seconds > 0 ? (double)counter_read(&result->publisher->published) / seconds : 0;
}

double load_result_churn_share(const struct load_result *result)
{
    double places = (double)result->options->connections;
    return result->churn_seconds > 0 ? (double)result->churn_returned / places / result->churn_seconds : 0;
}

bool load_result_published_late(const struct load_result *result)
{
    const struct load_options *options = result->options;
    double achieved = load_result_publish_rate(result);

    return options->publish_rate > 0 && !options->one_by_one && achieved > 0 &&
           achieved < (double)options->publish_rate * FAR_BELOW;
}

bool load_result_churned_late(const struct load_result *result)
{
    return result->options->mode == LOAD_CHURN && result->churn_seconds > 0 &&
           load_result_churn_share(result) < (double)result->options->churn_share / SHARE_WHOLE * FAR_BELOW;
}

void load_result_late_sentences(const struct load_result *result, char publishing[REPORT_SENTENCE_BYTES],
                                char churning[REPORT_SENTENCE_BYTES])
{
    publishing[0] = churning[0] = '\0';
    if (load_result_published_late(result))
        snprintf(publishing, REPORT_SENTENCE_BYTES,
                 "publishing fell behind: %.1f of the %" PRIu64
                 " messages per second that were wanted; their ages count from when each was due",
                 load_result_publish_rate(result), result->options->publish_rate);
    if (load_result_churned_late(result))
        snprintf(churning, REPORT_SENTENCE_BYTES,
                 "replacing fell behind: %.2f%% of the connections per second, %.2f%% were wanted",
                 load_result_churn_share(result) * 100,
                 (double)result->options->churn_share * 100 / SHARE_WHOLE);
}
