/* Sampling the counters and asking for topics. */
#include "gateway/admin_status_internal.h"

#include "gateway/base/clock.h"
#include "gateway/base/usage.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    WATCHED_MS = 30000, /* so long after the last look it is as if somebody looked */
    SAMPLE_MS = 1000,
    SAMPLE_ALONE_MS = 5000,
    SLICE_PAUSE_MS = 5,   /* between slices of topics: the broker's thread has publishers to serve */
    FRESH_MS = 3000,      /* so old may topics be told, or as old as the last walk took, eight times over */
    WALK_PAUSE_MS = 1000, /* between walks, and four times as long as the walk was */
};

static void read_acceptor(const struct acceptor_stats *stats, struct status_totals *out)
{
    for (unsigned t = 0; t < TRANSPORT_COUNT; t++)
        out->accepted[t] += counter_read(&stats->accepted[t]);
    for (unsigned i = 0; i < HANDSHAKE_FAILURE_COUNT; i++)
        out->failures[i] += counter_read(&stats->failures[i]);
    out->handshakes += counter_read(&stats->tls_handshakes);
    out->resumed += counter_read(&stats->tls_resumed);
    out->handshaking += counter_read(&stats->handshaking);
}

static void read_reactor(const struct reactor_stats *stats, struct status_totals *out)
{
    for (unsigned a = 0; a < ADAPTER_COUNT; a++)
        for (unsigned t = 0; t < TRANSPORT_COUNT; t++)
            out->connections[a][t] += counter_read(&stats->connections[a][t]);
    for (unsigned i = 0; i < CLOSE_REASON_COUNT; i++)
        out->closes[i] += counter_read(&stats->closes[i]);
    out->opened += counter_read(&stats->opened);
    out->deliveries += counter_read(&stats->deliveries);
    out->delivered_bytes += counter_read(&stats->delivered_bytes);
    out->drops += counter_read(&stats->drops);
    uint64_t slow = counter_read(&stats->outbox_connections);
    out->slow_connections += slow;
    /* Without any of them, what waits are the messages of a turn that is not yet at its end. */
    out->slow_bytes += slow > 0 ? counter_read(&stats->outbox_bytes) : 0;
    histogram_merge(&out->latency, &stats->delivery_latency);
}

void status_read(const struct admin_config *config, struct status_totals *out)
{
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < config->acceptor_count; i++)
        read_acceptor(config->acceptors[i], out);
    for (size_t i = 0; i < config->reactor_count; i++)
        read_reactor(config->reactors[i], out);
    if (config->publisher) {
        out->publishes = counter_read(&config->publisher->publishes);
        out->published_bytes = counter_read(&config->publisher->publish_bytes);
    }
    out->cpu_us = usage_cpu_us();
}

uint64_t status_connections(const struct status_totals *totals)
{
    uint64_t sum = 0;
    for (unsigned a = 0; a < ADAPTER_COUNT; a++)
        for (unsigned t = 0; t < TRANSPORT_COUNT; t++)
            sum += totals->connections[a][t];
    return sum;
}

uint64_t status_closes(const struct status_totals *totals)
{
    uint64_t sum = 0;
    for (unsigned i = CLOSE_NONE + 1; i < CLOSE_REASON_COUNT; i++)
        sum += totals->closes[i];
    return sum;
}

/* Samples
 * ----------------------------------------------------------------------------------------------------------
 */

static void make_mark(struct admin_status *status, uint64_t now_ms)
{
    uint32_t made = status->mark_count;
    if (made > 0 && now_ms - status->marks[(made - 1) % STATUS_MARKS].at_ms < STATUS_MARK_MS)
        return;
    struct status_mark *mark = &status->marks[made % STATUS_MARKS];
    mark->at_ms = now_ms;
    mark->drops = status->totals.drops;
    memcpy(mark->failures, status->totals.failures, sizeof mark->failures);
    memcpy(mark->closes, status->totals.closes, sizeof mark->closes);
    memcpy(&mark->latency, &status->totals.latency, sizeof mark->latency);
    status->mark_count++;
}

const struct status_mark *status_mark_minute_ago(const struct admin_status *status)
{
    uint32_t kept = status->mark_count < STATUS_MARKS ? status->mark_count : STATUS_MARKS;
    return kept == 0 ? NULL : &status->marks[(status->mark_count - kept) % STATUS_MARKS];
}

static double per_second(uint64_t now, uint64_t before, uint64_t ms)
{
    return now > before ? (double)(now - before) * 1000 / (double)ms : 0;
}

static double quantile_ms(const struct histogram *latency, double quantile)
{
    return histogram_count(latency) > 0 ? (double)histogram_quantile(latency, quantile) / 1000 : NAN;
}

static void push_sample(struct admin_status *status, const struct status_totals *now, uint64_t ms,
                        uint64_t second)
{
    const struct status_totals *before = &status->totals;
    uint64_t resumed = now->resumed - before->resumed, handshakes = now->handshakes - before->handshakes;
    struct histogram latency = {0};
    histogram_merge(&latency, &now->latency);
    histogram_subtract(&latency, &before->latency);
    const double values[STATUS_ROW_COUNT] = {
        [STATUS_CONNECTIONS] = (double)status_connections(now),
        [STATUS_ACCEPTS] = per_second(now->accepted[TRANSPORT_WS] + now->accepted[TRANSPORT_WSS],
                                      before->accepted[TRANSPORT_WS] + before->accepted[TRANSPORT_WSS], ms),
        [STATUS_HANDSHAKES_FULL] = per_second(handshakes, resumed, ms),
        [STATUS_HANDSHAKES_RESUMED] = per_second(resumed, 0, ms),
        [STATUS_OPENS] = per_second(now->opened, before->opened, ms),
        [STATUS_CLOSES] = per_second(status_closes(now), status_closes(before), ms),
        [STATUS_PUBLISHES] = per_second(now->publishes, before->publishes, ms),
        [STATUS_DELIVERIES] = per_second(now->deliveries, before->deliveries, ms),
        [STATUS_DELIVERED_BYTES] = per_second(now->delivered_bytes, before->delivered_bytes, ms),
        [STATUS_DROPS] = per_second(now->drops, before->drops, ms),
        [STATUS_LATENCY_P50] = quantile_ms(&latency, 0.5),
        [STATUS_LATENCY_P99] = quantile_ms(&latency, 0.99),
        [STATUS_SLOW_CONNECTIONS] = (double)now->slow_connections,
        [STATUS_SLOW_BYTES] = (double)now->slow_bytes,
        [STATUS_RESIDENT_BYTES] = (double)usage_resident_bytes(),
        [STATUS_CPU_PERCENT] = per_second(now->cpu_us, before->cpu_us, ms) / 10000,
    };
    series_push(&status->series, second, values, STATUS_ROW_COUNT);
}

static void sample(struct admin_status *status, uint64_t now_ms)
{
    struct status_totals now;
    status_read(&status->config, &now);
    push_sample(status, &now, now_ms - status->sampled_ms, (now_ms - status->began_ms) / 1000);
    memcpy(&status->totals, &now, sizeof now);
    status->sampled_ms = now_ms;
    status->samples++;
    make_mark(status, now_ms);
}

static bool watched(const struct admin_status *status, uint64_t now_ms)
{
    return status->looked_ms != 0 && now_ms < status->looked_ms + WATCHED_MS;
}

/* On whole seconds since the start, so that each second gets one. */
static uint64_t sample_due_ms(const struct admin_status *status, uint64_t now_ms)
{
    uint64_t second = (status->sampled_ms - status->began_ms) / 1000;
    uint64_t every = watched(status, now_ms) ? SAMPLE_MS : SAMPLE_ALONE_MS;
    return status->began_ms + second * 1000 + every;
}

/* Beginning and end
 * ----------------------------------------------------------------------------------------------------------
 */

struct admin_status *admin_status_create(const struct admin_config *config, struct mailbox *reply_to,
                                         uint64_t token, uint64_t started_ms)
{
    struct admin_status *status = calloc(1, sizeof *status);
    if (!status)
        return NULL;
    status->config = *config;
    status->reply_to = reply_to;
    status->token = token;
    status->started_ms = started_ms;
    status->began_ms = status->sampled_ms = clock_monotonic_ms();
    status->baseline_bytes = usage_resident_bytes();
    status->socket_bytes = usage_socket_bytes(""); /* while we may still be root */
    status_read(config, &status->totals);
    make_mark(status, status->began_ms);
    if (gethostname(status->node, sizeof status->node - 1) != 0)
        status->node[0] = '\0';
    return status;
}

void admin_status_destroy(struct admin_status *status)
{
    free(status);
}

/* Topics
 * ----------------------------------------------------------------------------------------------------------
 */

static void ask(struct admin_status *status, uint64_t now_ms)
{
    const struct broker_ask wanted = {.op = BROKER_TOP};
    struct status_walk *walk = &status->walk;
    struct broker_request *request = broker_request_create(&wanted);
    if (!request) {
        walk->next_ms = now_ms + WALK_PAUSE_MS;
        return;
    }
    if (walk->cursor == 0) {
        walk->found = (struct top){0};
        walk->began_ms = now_ms;
    }
    request->reactor = BROKER_NO_REACTOR;
    request->reply_to = status->reply_to;
    request->token = status->token;
    request->since.offset = walk->cursor;
    walk->asked = true;
    mailbox_push(status->config.broker_mail, &request->mail.node);
}

void admin_status_answered(struct admin_status *status, struct broker_request *answer, uint64_t now_ms)
{
    struct status_walk *walk = &status->walk;
    const struct broker_top *top = answer->top;
    walk->asked = false;
    walk->next_ms = now_ms + (top ? SLICE_PAUSE_MS : WALK_PAUSE_MS);
    if (top) {
        for (uint32_t i = 0; i < top->subscribers.count; i++) {
            const struct top_row *row = &top->subscribers.rows[i];
            top_offer(&walk->found, row->topic, row->topic_bytes, row->weight, 0, 0);
        }
        walk->traffic = top->traffic;
        walk->traffic_ns = top->traffic_ns;
        walk->cursor = (uint32_t)answer->position.offset;
    }
    if (top && walk->cursor == 0) {
        walk->took_ms = now_ms - walk->began_ms;
        walk->whole = walk->found;
        walk->whole_ms = now_ms;
        walk->next_ms = now_ms + (4 * walk->took_ms > WALK_PAUSE_MS ? 4 * walk->took_ms : WALK_PAUSE_MS);
    }
    broker_request_destroy(answer);
}

/* With a million topics a walk takes seconds, and the next one is a while away: nobody waits for that. */
bool admin_status_fresh(const struct admin_status *status, uint64_t now_ms)
{
    const struct status_walk *walk = &status->walk;
    uint64_t long_ago = 8 * walk->took_ms > FRESH_MS ? 8 * walk->took_ms : FRESH_MS;
    return walk->whole_ms > 0 && now_ms < walk->whole_ms + long_ago;
}

uint64_t admin_status_run(struct admin_status *status, uint64_t now_ms)
{
    struct status_walk *walk = &status->walk;
    if (sample_due_ms(status, now_ms) <= now_ms)
        sample(status, now_ms);
    uint64_t next = sample_due_ms(status, now_ms);
    if (walk->asked || !watched(status, now_ms))
        return next;
    if (walk->next_ms <= now_ms) {
        ask(status, now_ms);
        return next;
    }
    return walk->next_ms < next ? walk->next_ms : next;
}

void admin_status_look(struct admin_status *status, uint64_t now_ms)
{
    status->looked_ms = now_ms;
    (void)admin_status_run(status, now_ms);
}

uint64_t admin_status_samples(const struct admin_status *status)
{
    return status->samples;
}
