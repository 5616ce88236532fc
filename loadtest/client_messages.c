/* What messages a connection is owed, which of them it gets, and what its place has missed. */
#include "loadtest/client_internal.h"

#include <stdlib.h>

/* A delivery may be slower by so much than all that have been seen. */
static const uint64_t SLOWER_NS = 100000000;

static uint32_t owed_of(const struct client_context *context, const struct client *client)
{
    return context->places ? context->places[client_index(context, client)].owed : 0;
}

/* Of the numbers from `from` up to `to`, those that have been published; one whose refusal is still under way
 * counts. */
static uint64_t published_in(const struct client_context *context, const struct client *client, uint64_t from,
                             uint64_t to)
{
    uint32_t topic = client_topic(context, client_index(context, client));
    return from < to ? to - from - refusals_count(context->refusals, topic, from, to) : 0;
}

/* What is owed and missing below sequence.next. */
static uint64_t gaps_of(const struct client_context *context, const struct client *client)
{
    const struct sequence *sequence = &client->sequence;
    uint32_t topic = client_topic(context, client_index(context, client));
    uint64_t refused = sequence->missing > 0 ? refusals_count(context->refusals, topic,
                                                              owed_of(context, client), sequence->next)
                                             : 0;
    return sequence->missing > refused ? sequence->missing - refused : 0;
}

/* Whether it has arrived or not, this is the first number that could be new. */
static uint32_t next_of(const struct client_context *context, const struct client *client)
{
    uint32_t owed = owed_of(context, client);
    return owed > client->sequence.next ? owed : client->sequence.next;
}

static uint64_t missing_of(const struct client_context *context, const struct client *client)
{
    uint64_t end = client_expected(context, client_index(context, client), context->published);
    return gaps_of(context, client) + published_in(context, client, next_of(context, client), end);
}

uint64_t client_expected(const struct client_context *context, uint32_t index, uint64_t published)
{
    uint64_t topics = context->options->topics;
    return published / topics + (client_topic(context, index) < published % topics ? 1 : 0);
}

uint64_t client_outstanding(const struct client_context *context, const struct client *client)
{
    return context->settling && client->state == CLIENT_OPEN ? missing_of(context, client) : 0;
}

/* Places */

bool client_places_init(struct client_context *context, uint32_t capacity)
{
    const struct load_options *options = context->options;

    list_init(&context->joining);
    aged_init(&context->confirmed, options->grace_ms * 1000000);
    if (!context->payload || (options->mode != LOAD_STORM && options->mode != LOAD_CHURN))
        return true;
    context->places = calloc(capacity, sizeof(*context->places));
    for (uint32_t i = 0; context->places && i < capacity; i++)
        list_init(&context->places[i].joining);
    return context->places != NULL;
}

void client_places_fini(struct client_context *context)
{
    free(context->places);
    context->places = NULL;
}

/* What was published until now need not have reached the one that joins. */
static void end_grace(struct client_context *context, struct client *client, uint64_t published)
{
    uint32_t index = client_index(context, client);
    struct client_place *place = &context->places[index];
    uint64_t before = client_outstanding(context, client);
    uint64_t end = client_expected(context, index, published);

    list_remove(&place->joining);
    if (end <= place->owed)
        return;
    counter_add(&client_stats(context, client)->missed_joining,
                published_in(context, client, place->owed, end));
    place->owed = (uint32_t)end;
    context->outstanding += client_outstanding(context, client) - before;
}

void client_places_expire(struct client_context *context, uint64_t now_ns)
{
    if (!context->places)
        return;
    aged_look(&context->confirmed, now_ns, counter_read(context->confirmed_now));
    while (!list_empty(&context->joining)) {
        struct client_place *place = LIST_ITEM(context->joining.next, struct client_place, joining);
        if (now_ns < place->joined_ns || now_ns - place->joined_ns < context->confirmed.age_ns)
            return;
        end_grace(context, client_at(context, (uint32_t)(place - context->places)),
                  counter_read(context->published_now));
    }
}

void client_place_left(struct client_context *context, struct client *client)
{
    if (!context->places || context->counted)
        return;
    uint32_t index = client_index(context, client);
    struct client_place *place = &context->places[index];
    uint64_t next = next_of(context, client);
    uint64_t end = client_expected(context, index, context->confirmed.count);

    list_remove(&place->joining);
    end = end > next ? end : next;
    counter_add(&client_stats(context, client)->lost,
                gaps_of(context, client) + published_in(context, client, next, end));
    client->sequence.missing = 0;
    place->lost_from = (uint32_t)next;
    place->away_from = place->joining_from = place->owed = (uint32_t)end;
}

void client_place_taken(struct client_context *context, struct client *client, uint64_t started_ns,
                        uint64_t now_ns)
{
    if (!context->places)
        return;
    uint32_t index = client_index(context, client);
    struct client_place *place = &context->places[index];
    uint64_t now = client_expected(context, index, counter_read(context->published_now));

    if (now > place->away_from) {
        counter_add(&client_stats(context, client)->missed_away,
                    published_in(context, client, place->away_from, now));
        place->joining_from = place->owed = (uint32_t)now;
    }
    place->started_ns = started_ns;
    place->joined_ns = now_ns;
    place->received = 0;
    list_append(&context->joining, &place->joining);
}

/* From `number` on, below place->owed, nothing is written off any longer. */
static void take_back(struct client_context *context, struct client *client, uint32_t number)
{
    struct load_stats *stats = client_stats(context, client);
    struct client_place *place = &context->places[client_index(context, client)];
    const struct {
        counter *of;
        uint32_t from, to;
    } parts[] = {
        {&stats->missed_away, 0, place->lost_from}, /* of connections before the last one */
        {&stats->lost, place->lost_from, place->away_from},
        {&stats->missed_away, place->away_from, place->joining_from},
        {&stats->missed_joining, place->joining_from, place->owed},
    };

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        counter_sub(parts[i].of, published_in(context, client,
                                              number > parts[i].from ? number : parts[i].from, parts[i].to));
    place->owed = number;
}

/* One that had been written off has come after all. */
static void take_one_back(struct client_context *context, struct client *client, uint32_t number)
{
    struct load_stats *stats = client_stats(context, client);
    const struct client_place *place = &context->places[client_index(context, client)];

    counter_sub(number >= place->joining_from                             ? &stats->missed_joining
                : number >= place->away_from || number < place->lost_from ? &stats->missed_away
                                                                          : &stats->lost,
                1);
}

/* The first new message since the 101: a server that recovers begins with what was missed; others were not
 * yet there for those before it, which is no loss within --grace. From now on, everything must come. */
static void join(struct client_context *context, struct client *client, uint32_t number)
{
    struct client_place *place = &context->places[client_index(context, client)];

    if (number < place->owed) {
        take_back(context, client, number);
    } else if (!list_empty(&place->joining)) {
        counter_add(&client_stats(context, client)->missed_joining,
                    published_in(context, client, place->owed, number));
        place->owed = number;
    }
    list_remove(&place->joining);
    client->joining = false;
}

/* Messages */

/* Whether the present connection has received neither this one nor a later one before. */
static bool first_here(struct client_context *context, const struct client *client, uint32_t number)
{
    if (!context->places)
        return false;
    struct client_place *place = &context->places[client_index(context, client)];
    bool first = number >= place->received;
    if (first)
        place->received = number + 1;
    return first;
}

/* Whether a message may have been on its way to the subscribers when the connection became one, which it did
 * some time after its connect(). */
static bool was_under_way(const struct client_context *context, const struct client *client,
                          const struct payload *payload)
{
    const struct client_place *place = &context->places[client_index(context, client)];
    uint64_t grace_ns = context->confirmed.age_ns;
    uint64_t slowest_ns =
        atomic_load_explicit(&client_stats(context, client)->latency.max_us, memory_order_relaxed) * 1000 +
        SLOWER_NS;
    uint64_t open_ns = context->now_ns > place->joined_ns ? context->now_ns - place->joined_ns : 0;
    uint64_t age_ns = place->started_ns > payload->sent_ns ? place->started_ns - payload->sent_ns : 0;

    return open_ns < grace_ns && age_ns < grace_ns && age_ns <= slowest_ns;
}

/* What the place's earlier connection has received may reach this one, too, as a new subscriber: a server
 * that does not remember each client's messages cannot know. Twice on one connection, or sent again from a
 * memory, is a fault. */
static void take_duplicate(struct client_context *context, struct client *client,
                           const struct payload *payload, bool first)
{
    struct load_stats *stats = client_stats(context, client);
    counter_add(first && was_under_way(context, client, payload) ? &stats->twice : &stats->duplicated, 1);
}

/* What comes when the lost ones have been counted is one of them. */
static void take_late(struct client_context *context, struct client *client, const struct payload *payload)
{
    struct load_stats *stats = client_stats(context, client);
    uint32_t owed = owed_of(context, client), number = payload->sequence;
    bool first = first_here(context, client, number);

    if (sequence_accept(&client->sequence, number, owed) == SEQUENCE_DUPLICATE) {
        take_duplicate(context, client, payload, first);
        return;
    }
    if (number < owed)
        take_one_back(context, client, number);
    else if (number < client_expected(context, client_index(context, client), context->published))
        counter_sub(&stats->lost, 1);
    counter_add(&stats->late, 1);
}

static void take_number(struct client_context *context, struct client *client, const struct payload *payload)
{
    struct load_stats *stats = client_stats(context, client);
    uint64_t before = client_outstanding(context, client);
    bool first = first_here(context, client, payload->sequence);

    if (client->joining && context->places && payload->sequence >= client->sequence.next)
        join(context, client, payload->sequence);
    uint32_t owed = owed_of(context, client);
    enum sequence_verdict verdict = sequence_accept(&client->sequence, payload->sequence, owed);
    context->outstanding += client_outstanding(context, client) - before;
    if (verdict == SEQUENCE_DUPLICATE) {
        take_duplicate(context, client, payload, first);
        return;
    }
    if (verdict == SEQUENCE_LATE) {
        counter_add(&stats->out_of_order, 1);
        if (payload->sequence < owed)
            take_one_back(context, client, payload->sequence);
    }
    counter_add(&stats->delivered, 1);
    counter_set(&stats->last_delivery_ns, context->now_ns);
    if (context->places && payload->sequence < context->places[client_index(context, client)].joining_from) {
        counter_add(&stats->recovered, 1); /* its age tells how long the place was empty */
        return;
    }
    uint64_t age_ns = context->now_ns > payload->sent_ns ? context->now_ns - payload->sent_ns : 0;
    histogram_record(&stats->latency, age_ns / 1000);
}

static void take_payload(struct client_context *context, struct client *client, const uint8_t *data,
                         size_t len)
{
    struct load_stats *stats = client_stats(context, client);
    struct payload payload;

    switch (payload_read(context->payload, data, len, &payload)) {
    case PAYLOAD_FOREIGN:
        counter_add(&stats->foreign, 1);
        return;
    case PAYLOAD_UNKNOWN:
        counter_add(&stats->unknown, 1);
        return;
    case PAYLOAD_CORRUPT:
        counter_add(&stats->corrupt, 1);
        return;
    case PAYLOAD_OK:
        break;
    }
    if (payload.topic != client_topic(context, client_index(context, client)))
        counter_add(&stats->misrouted, 1);
    else if (context->counted)
        take_late(context, client, &payload);
    else
        take_number(context, client, &payload);
}

void client_take_message(struct client_context *context, struct client *client, const uint8_t *data,
                         size_t len)
{
    const struct payload_format *format = context->payload;
    const uint8_t *end = data + len;

    if (!format) {
        struct load_stats *stats = client_stats(context, client);
        counter_add(&stats->unchecked, 1);
        counter_set(&stats->last_delivery_ns, context->now_ns);
        return;
    }
    if (!context->options->unwrap) {
        take_payload(context, client, data, len);
        return;
    }
    while ((data = payload_find(format, data, (size_t)(end - data)))) {
        size_t left = (size_t)(end - data),
               bytes = left < format->message_bytes ? left : format->message_bytes;
        take_payload(context, client, data, bytes);
        data += bytes;
    }
}

/* The end */

void client_settle(struct client_context *context)
{
    context->settling = true;
    context->outstanding = 0;
    for (uint32_t i = 0; i < context->slab.fresh; i++)
        context->outstanding += client_outstanding(context, client_at(context, i));
}

/* What was published since a connection opened and has not arrived is lost, also when the server has ended
 * the connection meanwhile; but where connections come and go, a place without one just misses messages. */
static void count_one(struct client_context *context, uint32_t index)
{
    struct client *client = client_at(context, index);
    struct load_stats *stats = client_stats(context, client);
    uint64_t end = client_expected(context, index, context->published);

    if (!client->was_open)
        return;
    counter_add(&stats->expected, published_in(context, client, 0, end));
    if (!context->places || client->state == CLIENT_OPEN) {
        if (context->places && !list_empty(&context->places[index].joining))
            end_grace(context, client, context->published);
        counter_add(&stats->lost, missing_of(context, client));
        return;
    }
    if (client->state == CLIENT_CLOSING)
        client_place_left(context, client);
    counter_add(&stats->missed_away, published_in(context, client, context->places[index].owed, end));
}

void client_count_lost(struct client_context *context)
{
    context->settling = false;
    for (uint32_t i = 0; i < context->slab.fresh; i++)
        count_one(context, i);
    context->counted = true;
}
