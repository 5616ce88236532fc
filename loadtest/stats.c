/* Sums of workers' counters. */
#include "loadtest/stats.h"

#include <stdio.h>

static void add(counter *into, const counter *from)
{
    counter_add(into, counter_read(from));
}

static void take_example(char into[STATS_EXAMPLE_BYTES], const char from[STATS_EXAMPLE_BYTES])
{
    if (into[0] == '\0')
        snprintf(into, STATS_EXAMPLE_BYTES, "%s", from);
}

void load_stats_merge(struct load_stats *into, const struct load_stats *from, bool with_examples)
{
    add(&into->started, &from->started);
    add(&into->opened, &from->opened);
    add(&into->open, &from->open);
    add(&into->returned, &from->returned);
    add(&into->missed_away, &from->missed_away);
    add(&into->missed_joining, &from->missed_joining);
    for (int i = 0; i < FAIL_REASON_COUNT; i++)
        add(&into->failed[i], &from->failed[i]);
    add(&into->failed_first, &from->failed_first);
    for (int i = 0; i < END_REASON_COUNT; i++)
        add(&into->ended[i], &from->ended[i]);
    for (int i = 0; i < STATS_HTTP_STATUSES; i++)
        add(&into->http_status[i], &from->http_status[i]);
    for (int i = 0; i < STATS_CLOSE_CODES; i++)
        add(&into->close_codes[i], &from->close_codes[i]);
    add(&into->session_tickets, &from->session_tickets);
    add(&into->sessions_resumed, &from->sessions_resumed);
    add(&into->pings, &from->pings);
    add(&into->probes_sent, &from->probes_sent);
    add(&into->probes_answered, &from->probes_answered);
    add(&into->other_pongs, &from->other_pongs);
    add(&into->received_bytes, &from->received_bytes);
    add(&into->expected, &from->expected);
    add(&into->lost, &from->lost);
    add(&into->late, &from->late);
    add(&into->delivered, &from->delivered);
    add(&into->recovered, &from->recovered);
    add(&into->duplicated, &from->duplicated);
    add(&into->twice, &from->twice);
    add(&into->out_of_order, &from->out_of_order);
    add(&into->corrupt, &from->corrupt);
    add(&into->misrouted, &from->misrouted);
    add(&into->foreign, &from->foreign);
    add(&into->unknown, &from->unknown);
    add(&into->unchecked, &from->unchecked);
    if (counter_read(&from->last_delivery_ns) > counter_read(&into->last_delivery_ns))
        counter_set(&into->last_delivery_ns, counter_read(&from->last_delivery_ns));
    if (counter_read(&from->last_open_ns) > counter_read(&into->last_open_ns))
        counter_set(&into->last_open_ns, counter_read(&from->last_open_ns));
    histogram_merge(&into->open_time, &from->open_time);
    histogram_merge(&into->return_time, &from->return_time);
    histogram_merge(&into->probe_time, &from->probe_time);
    histogram_merge(&into->latency, &from->latency);
    if (!with_examples)
        return;
    for (int i = 0; i < FAIL_REASON_COUNT; i++)
        take_example(into->fail_example[i], from->fail_example[i]);
    for (int i = 0; i < END_REASON_COUNT; i++)
        take_example(into->end_example[i], from->end_example[i]);
}

static void move(counter *into, counter *from)
{
    add(into, from);
    counter_set(from, 0);
}

void load_stats_move_opening(struct load_stats *into, struct load_stats *from)
{
    move(&into->started, &from->started);
    move(&into->opened, &from->opened);
    move(&into->failed_first, &from->failed_first);
    move(&into->session_tickets, &from->session_tickets);
    move(&into->sessions_resumed, &from->sessions_resumed);
    for (int i = 0; i < FAIL_REASON_COUNT; i++) {
        move(&into->failed[i], &from->failed[i]);
        take_example(into->fail_example[i], from->fail_example[i]);
    }
    for (int i = 0; i < STATS_HTTP_STATUSES; i++)
        move(&into->http_status[i], &from->http_status[i]);
    histogram_merge(&into->open_time, &from->open_time);
    histogram_subtract(&from->open_time, &from->open_time);
}

uint64_t load_stats_failed(const struct load_stats *stats)
{
    uint64_t sum = 0;
    for (int i = 0; i < FAIL_REASON_COUNT; i++)
        sum += counter_read(&stats->failed[i]);
    return sum;
}

uint64_t load_stats_unexpected(const struct load_stats *stats)
{
    uint64_t sum = 0;
    for (int i = 0; i < END_REASON_COUNT; i++)
        if (end_reason_unexpected((enum end_reason)i))
            sum += counter_read(&stats->ended[i]);
    return sum;
}
