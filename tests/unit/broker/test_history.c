/* History against plain arrays of all that was ever published, and against clients that come and go. */
#include "gateway/broker/history.h"

#include "gateway/broker/message.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TOPICS = 24, CLIENTS = 3, STEPS = 30000, LOG_MAX = STEPS + 1, HELD = 64, METADATA_TTL = 5000 };

/* One publication, in the order in which the topic got them: its serial number says what is in it. */
struct published {
    unsigned serial;
    uint64_t added_ms;
};

/* Remembers how far it has got, as a client does: next_index is where that is in the log, which no engine
 * knows of. */
struct client {
    bool connected;
    struct stream_position position;
    uint32_t next_index;
};

struct model_topic {
    struct engine_topic name;
    char text[32];
    struct history_options options;
    struct published *log; /* all, across epochs */
    uint32_t published;
    uint32_t epoch_start; /* index of the epoch's first */
    uint64_t epoch;       /* 0: not known to exist */
    uint64_t top;
    uint64_t first; /* offset from which on all should be stored; top + 1: nothing */
    uint64_t used_ms;
    struct client clients[CLIENTS];
};

struct held {
    struct history_item *item;
    unsigned serial;
};

struct bench {
    struct history history;
    struct model_topic topics[TOPICS];
    struct held held[HELD]; /* references that outlive what they were taken from */
    uint64_t now_ms, latest_ms;
    unsigned seed, serial, new_epochs;
    bool bounded; /* by memory: less may be stored than the model says */
    uint64_t recovered, refused, read_all, short_of_room, nothing_for_the_whole;
};

static unsigned pick(struct bench *bench, unsigned below)
{
    return (unsigned)rand_r(&bench->seed) % below;
}

/* ---- what is in a publication of a serial number ---- */

struct body {
    char payload[512], info[32], tags[32];
    struct history_contents contents;
};

static const struct history_contents *body_of(unsigned serial, struct body *body)
{
    memset(body->payload, 'a' + (int)(serial % 26), sizeof body->payload);
    int head = sprintf(body->payload, "%u;", serial);
    body->payload[head] = '.';
    body->contents = (struct history_contents){
        .payload = body->payload,
        .payload_bytes = (size_t)head + serial * 7919 % 400,
        .info = body->info,
        .info_bytes = serial % 3 ? (size_t)sprintf(body->info, "{\"user\":%u}", serial) : 0,
        .tags = body->tags,
        .tags_bytes = serial % 5 ? 0 : (size_t)sprintf(body->tags, "{\"n\":\"%u\"}", serial),
        .published_ms = 1700000000000u + serial,
        .text = serial % 2,
        .json = serial % 7 == 0,
    };
    return &body->contents;
}

static void check_item(const struct history_item *item, unsigned serial)
{
    struct body body;
    const struct history_contents *contents = body_of(serial, &body);
    assert_int_equal(item->payload_bytes, contents->payload_bytes);
    assert_memory_equal(history_item_payload(item), contents->payload, contents->payload_bytes);
    assert_int_equal(item->info_bytes, contents->info_bytes);
    assert_true(contents->info_bytes == 0 ||
                memcmp(history_item_info(item), contents->info, contents->info_bytes) == 0);
    assert_int_equal(item->tags_bytes, contents->tags_bytes);
    assert_true(contents->tags_bytes == 0 ||
                memcmp(history_item_tags(item), contents->tags, contents->tags_bytes) == 0);
    assert_true(item->published_ms == contents->published_ms && item->text == contents->text &&
                item->json == contents->json);
}

/* ---- references that are held on to ---- */

static void hold(struct bench *bench, struct history_item *item, unsigned serial)
{
    if (pick(bench, 4) != 0) {
        history_item_unref(item);
        return;
    }
    struct held *held = &bench->held[pick(bench, HELD)];
    if (held->item) {
        check_item(held->item, held->serial);
        history_item_unref(held->item);
    }
    *held = (struct held){.item = item, .serial = serial};
}

static void let_go(struct bench *bench)
{
    for (int i = 0; i < HELD; i++) {
        if (!bench->held[i].item)
            continue;
        check_item(bench->held[i].item, bench->held[i].serial);
        unsigned holders = 0; /* one item may be held more than once */
        for (int j = 0; j < HELD; j++)
            holders += bench->held[j].item == bench->held[i].item;
        assert_int_equal(bench->held[i].item->refs, holders); /* nobody else has it any more */
        history_item_unref(bench->held[i].item);
        bench->held[i].item = NULL;
    }
}

/* ---- the model ---- */

static const struct published *at_offset(const struct model_topic *topic, uint64_t offset)
{
    assert_true(offset >= 1 && offset <= topic->top);
    return &topic->log[topic->epoch_start + offset - 1];
}

/* What time has taken away. */
static void model_expire(const struct bench *bench, struct model_topic *topic)
{
    uint64_t ttl = topic->options.ttl_ms;
    while (ttl > 0 && topic->first <= topic->top &&
           at_offset(topic, topic->first)->added_ms + ttl <= bench->latest_ms)
        topic->first++;
}

static void model_trim(struct model_topic *topic)
{
    if (topic->top >= topic->options.size && topic->first < topic->top - topic->options.size + 1)
        topic->first = topic->top - topic->options.size + 1;
}

/* A use of the topic, before which it may have got new options. */
static void model_use(struct bench *bench, struct model_topic *topic)
{
    if (bench->now_ms > bench->latest_ms)
        bench->latest_ms = bench->now_ms;
    model_expire(bench, topic);
    if (pick(bench, 200) == 0) {
        topic->options.size = pick(bench, 8) == 0 ? pick(bench, 2) : 1 + pick(bench, 60);
        topic->options.ttl_ms = pick(bench, 4) == 0 ? 0 : 1 + pick(bench, 3000);
    }
    model_expire(bench, topic);
    model_trim(topic);
}

/* The epoch that the engine tells after a use: the model's, or the topic's metadata were gone, which needs a
 * reason. */
static void model_meet_epoch(struct bench *bench, struct model_topic *topic, uint64_t epoch)
{
    assert_true(epoch != 0);
    if (topic->epoch != epoch) {
        if (topic->epoch != 0) {
            bench->new_epochs++;
            assert_true(bench->bounded ||
                        (topic->first > topic->top && topic->used_ms + METADATA_TTL <= bench->latest_ms));
        }
        for (unsigned t = 0; t < TOPICS; t++) /* nobody ever had it */
            assert_true(bench->topics[t].epoch != epoch);
        topic->epoch = epoch;
        topic->epoch_start = topic->published;
        topic->top = 0;
        topic->first = 1;
    }
    topic->used_ms = bench->latest_ms;
}

/* ---- what happens to a topic ---- */

static void publish(struct bench *bench, struct model_topic *topic)
{
    model_use(bench, topic);
    unsigned serial = ++bench->serial;
    struct body body;
    struct stream_position position;
    struct history_item *item;
    assert_int_equal(history_append(&bench->history, topic->name, &topic->options, body_of(serial, &body),
                                    bench->now_ms, &position, &item),
                     ENGINE_OK);
    uint64_t before = topic->top;
    model_meet_epoch(bench, topic, position.epoch);
    topic->log[topic->published++] = (struct published){.serial = serial, .added_ms = bench->latest_ms};
    topic->top++;
    assert_true(position.offset == topic->top); /* dense, from 1 in each epoch */
    assert_true(topic->top == 1 || topic->top == before + 1);
    model_trim(topic);
    assert_true(item->offset == position.offset);
    check_item(item, serial);
    hold(bench, item, serial);
    for (int c = 0; c < CLIENTS; c++) {
        struct client *client = &topic->clients[c];
        if (!client->connected)
            continue;
        assert_int_equal(client->next_index, topic->published - 1); /* the one it waits for */
        client->next_index = topic->published;
        client->position = position;
    }
}

/* Checks that a page's items are those of the offsets from `offset` on, and drops the references. */
static void take_items(struct bench *bench, const struct model_topic *topic, const struct history_page *page,
                       uint64_t offset, int step)
{
    for (uint32_t i = 0; i < page->count; i++, offset += (uint64_t)(int64_t)step) {
        struct history_item *item = page->items[i];
        assert_true(item->offset == offset);
        unsigned serial = at_offset(topic, offset)->serial;
        check_item(item, serial);
        hold(bench, item, serial);
    }
    free((void *)page->items);
}

static struct history_page read_page(struct bench *bench, struct model_topic *topic,
                                     struct history_filter filter)
{
    struct history_page page;
    assert_int_equal(
        history_read(&bench->history, topic->name, &topic->options, &filter, bench->now_ms, &page),
        ENGINE_OK);
    model_meet_epoch(bench, topic, page.top.epoch);
    assert_true(page.top.offset == topic->top);
    assert_true((page.count == 0) == (page.items == NULL));
    return page;
}

/* All that is stored; brings the model's `first` up to date where memory was the bound. */
static void read_all(struct bench *bench, struct model_topic *topic)
{
    model_use(bench, topic);
    struct history_page page = read_page(bench, topic, (struct history_filter){.limit = UINT32_MAX});
    uint64_t first = topic->top - page.count + 1;
    if (bench->bounded)
        assert_true(first >= topic->first);
    else
        assert_true(first == topic->first);
    topic->first = first;
    assert_false(page.continuous || page.recovered);
    take_items(bench, topic, &page, first, 1);
    bench->read_all++;
}

static uint64_t bytes_of(unsigned serial)
{
    struct body body;
    const struct history_contents *contents = body_of(serial, &body);
    return HISTORY_ITEM_BYTES + contents->payload_bytes + contents->info_bytes + contents->tags_bytes;
}

static void check_page(struct bench *bench, const struct model_topic *topic, struct history_filter filter,
                       const struct history_page *page)
{
    struct stream_position since = filter.since;
    uint64_t low = topic->first, high = topic->top;
    bool continuous = false;
    if (filter.since_set) {
        bool ours = (since.epoch == 0 || since.epoch == topic->epoch) && since.offset <= topic->top;
        /* the offsets that stand between `since` and the end of the stream in that direction */
        uint64_t next = filter.reverse ? since.offset - 1 : since.offset + 1;
        bool none_left = filter.reverse ? since.offset <= 1 : since.offset == topic->top;
        continuous = ours && (none_left || next >= topic->first);
        if (!ours || none_left)
            low = 1, high = 0;
        else if (filter.reverse)
            high = next;
        else if (next > low)
            low = next;
    }
    uint64_t all = high >= low ? high - low + 1 : 0, expected = all < filter.limit ? all : filter.limit;
    if (filter.since_set && filter.demand != HISTORY_ANY && !continuous)
        expected = 0;
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < expected; i++) {
        uint64_t more = bytes_of(at_offset(topic, filter.reverse ? high - i : low + i)->serial);
        if (filter.bytes > 0 && bytes + more > filter.bytes && (i > 0 || filter.demand == HISTORY_WHOLE)) {
            bench->short_of_room++;
            expected = i;
        } else
            bytes += more;
    }
    bool recovered = continuous && !filter.reverse && expected == all;
    if (filter.since_set && filter.demand == HISTORY_WHOLE && !recovered) {
        bench->nothing_for_the_whole += all > 0;
        expected = bytes = 0;
    }
    assert_int_equal(page->count, expected);
    assert_int_equal(page->bytes, bytes);
    assert_int_equal(page->continuous, continuous);
    assert_int_equal(page->recovered, recovered);
    take_items(bench, topic, page, filter.reverse ? high : low, filter.reverse ? -1 : 1);
}

static void read_some(struct bench *bench, struct model_topic *topic)
{
    read_all(bench, topic); /* so that the model knows exactly */
    struct history_filter filter = {
        .since_set = pick(bench, 3) > 0,
        .limit = pick(bench, 3) == 0 ? UINT32_MAX : pick(bench, 20),
        .reverse = pick(bench, 2),
        .demand = (enum history_demand)pick(bench, 3),
        .bytes = pick(bench, 2) ? 0 : 1 + pick(bench, 4000),
    };
    if (filter.since_set) {
        filter.since.offset = topic->top + 1 - (topic->top + 1) * pick(bench, 100) / 90;
        filter.since.epoch = pick(bench, 3) == 0 ? 0 : topic->epoch + (pick(bench, 10) == 0);
    }
    struct history_page page = read_page(bench, topic, filter);
    check_page(bench, topic, filter, &page);
}

/* A client comes back. It gets exactly what it has missed or is told that there is a gap; neither offsets nor
 * epochs are looked at here, only what was really published. */
static void come_or_go(struct bench *bench, struct model_topic *topic)
{
    struct client *client = &topic->clients[pick(bench, CLIENTS)];
    if (client->connected) {
        client->connected = false;
        return;
    }
    model_use(bench, topic);
    bool knows = client->position.epoch != 0;
    struct history_filter filter = {
        .since_set = knows,
        .since = client->position,
        .limit = knows ? (pick(bench, 5) ? UINT32_MAX : pick(bench, 10)) : 0,
    };
    struct history_page page = read_page(bench, topic, filter);
    if (page.recovered) {
        assert_int_equal(client->next_index + page.count, topic->published);
        for (uint32_t i = 0; i < page.count; i++)
            check_item(page.items[i], topic->log[client->next_index + i].serial);
        bench->recovered++;
    } else {
        bench->refused += knows;
    }
    for (uint32_t i = 0; i < page.count; i++)
        history_item_unref(page.items[i]);
    free((void *)page.items);
    *client = (struct client){.connected = true, .position = page.top, .next_index = topic->published};
}

static void clear(struct bench *bench, struct model_topic *topic)
{
    if (bench->now_ms > bench->latest_ms)
        bench->latest_ms = bench->now_ms;
    model_expire(bench, topic);
    history_remove(&bench->history, topic->name, bench->now_ms);
    topic->first = topic->top + 1;
}

static void maintain(struct bench *bench)
{
    if (bench->now_ms > bench->latest_ms)
        bench->latest_ms = bench->now_ms;
    while (history_maintain(&bench->history, bench->now_ms) == 0)
        ;
    /* all that is too old has gone */
    for (unsigned t = 0; t < TOPICS; t++)
        model_expire(bench, &bench->topics[t]);
    uint64_t stored = 0;
    for (unsigned t = 0; t < TOPICS; t++)
        stored += bench->topics[t].top - bench->topics[t].first + 1;
    if (bench->bounded)
        assert_true(bench->history.items <= stored);
    else
        assert_true(bench->history.items == stored);
}

static void pass_time(struct bench *bench)
{
    switch (pick(bench, 40)) {
    case 0:
        bench->now_ms += METADATA_TTL + pick(bench, 40000); /* nothing happens for long */
        break;
    case 1:
        bench->now_ms -= pick(bench, 500); /* a clock that a caller read earlier */
        break;
    case 2:
    case 3:
        bench->now_ms += pick(bench, 2000);
        break;
    default:
        bench->now_ms += pick(bench, 5);
    }
}

static void run(unsigned seed, uint64_t bound, uint64_t least_recovered, uint64_t least_refused)
{
    struct bench *bench = calloc(1, sizeof *bench);
    assert_non_null(bench);
    bench->seed = seed;
    bench->bounded = bound > 0;
    bench->now_ms = 1000000;
    struct history_config config = {.bytes = bound, .metadata_ttl_ms = METADATA_TTL, .epoch_seed = seed};
    assert_true(history_init(&bench->history, &config));
    for (unsigned t = 0; t < TOPICS; t++) {
        struct model_topic *topic = &bench->topics[t];
        size_t bytes = (size_t)sprintf(topic->text, "topic-%u", t);
        topic->name = (struct engine_topic){
            .name = topic->text, .bytes = bytes, .hash = topic_hash(topic->text, bytes)};
        topic->log = calloc(LOG_MAX, sizeof *topic->log);
        assert_non_null(topic->log);
        topic->first = 1;
        topic->options = (struct history_options){.size = 1 + pick(bench, 60),
                                                  .ttl_ms = t % 3 ? 1 + pick(bench, 2000) : 0};
    }
    print_message("seed %u, bound %llu\n", seed, (unsigned long long)bound);
    for (unsigned step = 0; step < STEPS; step++) {
        /* some topics are used much more than others */
        struct model_topic *topic = &bench->topics[pick(bench, 3) ? pick(bench, 4) : pick(bench, TOPICS)];
        unsigned what = pick(bench, 100);
        if (what < 55)
            publish(bench, topic);
        else if (what < 65)
            read_some(bench, topic);
        else if (what < 85)
            come_or_go(bench, topic);
        else if (what < 86)
            clear(bench, topic);
        else if (what < 88)
            maintain(bench);
        else
            pass_time(bench);
        if (bound > 0) /* the stream in use is never dropped */
            assert_true(history_bytes(&bench->history) <= bound ||
                        (bench->history.items == 0 && bench->history.streams.used <= 1));
        if (step % 64 == 0)
            assert_true(history_validate(&bench->history));
    }
    /* it was worth the while: each outcome was met often */
    print_message(
        "  recovered %llu, refused %llu, new epochs %u, evicted by size %llu, age %llu, memory %llu\n",
        (unsigned long long)bench->recovered, (unsigned long long)bench->refused, bench->new_epochs,
        (unsigned long long)bench->history.counters.evicted_size,
        (unsigned long long)bench->history.counters.evicted_ttl,
        (unsigned long long)bench->history.counters.evicted_memory);
    assert_true(bench->recovered > least_recovered && bench->refused > least_refused);
    if (bound != 1) /* which leaves next to nothing to read */
        assert_true(bench->short_of_room > 50 && bench->nothing_for_the_whole > 50);
    assert_true(bench->new_epochs > 20 && bench->new_epochs <= bench->history.counters.streams_expired +
                                                                   bench->history.counters.streams_evicted);
    assert_true((bench->history.counters.evicted_memory > 0) == (bound > 0));

    for (unsigned t = 0; t < TOPICS; t++)
        clear(bench, &bench->topics[t]);
    assert_true(history_validate(&bench->history));
    assert_true(bench->history.items == 0);
    bench->now_ms = bench->latest_ms + 1000000; /* ten ttls, too */
    maintain(bench);
    assert_true(bench->history.bytes == 0 && bench->history.streams.used == 0);
    assert_true(history_maintain(&bench->history, bench->now_ms) == UINT64_MAX);
    history_fini(&bench->history);
    let_go(bench);
    for (unsigned t = 0; t < TOPICS; t++)
        free(bench->topics[t].log);
    free(bench);
}

static void random_use_bounded_by_size_and_age_agrees_with_a_log_of_everything(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 8; seed++)
        run(seed, 0, 500, 200);
}

static void random_use_bounded_by_memory_never_hides_a_gap(void **state)
{
    (void)state;
    for (unsigned seed = 11; seed <= 16; seed++)
        run(seed, 48 * 1024, 500, 200);
    run(21, 8 * 1024, 200, 200);
    run(22, 1, 0, 200); /* nothing fits: every publication goes at once */
}

/* ---- one rule at a time ---- */

static struct engine_topic named(const char *name)
{
    return (struct engine_topic){.name = name, .bytes = strlen(name), .hash = topic_hash(name, strlen(name))};
}

static const struct history_options ten = {.size = 10};

static struct stream_position put(struct history *history, const char *topic,
                                  const struct history_options *options, size_t bytes, uint64_t now_ms)
{
    static const char payload[4096];
    const struct history_contents contents = {.payload = payload, .payload_bytes = bytes};
    struct stream_position position = {0};
    struct history_item *item = NULL;
    assert_int_equal(history_append(history, named(topic), options, &contents, now_ms, &position, &item),
                     ENGINE_OK);
    history_item_unref(item);
    return position;
}

/* How many items a topic has, and where it stands. */
static uint32_t count(struct history *history, const char *topic, const struct history_options *options,
                      uint64_t now_ms, struct stream_position *top)
{
    struct history_page page;
    struct history_filter filter = {.limit = UINT32_MAX};
    assert_int_equal(history_read(history, named(topic), options, &filter, now_ms, &page), ENGINE_OK);
    for (uint32_t i = 0; i < page.count; i++)
        history_item_unref(page.items[i]);
    free((void *)page.items);
    if (top)
        *top = page.top;
    return page.count;
}

static bool recovers(struct history *history, const char *topic, struct stream_position since,
                     uint64_t now_ms, uint32_t expected)
{
    struct history_page page;
    struct history_filter filter = {.since_set = true, .since = since, .limit = UINT32_MAX};
    assert_int_equal(history_read(history, named(topic), &ten, &filter, now_ms, &page), ENGINE_OK);
    assert_int_equal(page.count, expected);
    for (uint32_t i = 0; i < page.count; i++)
        history_item_unref(page.items[i]);
    free((void *)page.items);
    return page.recovered;
}

static void start(struct history *history, uint64_t bound)
{
    struct history_config config = {.bytes = bound, .metadata_ttl_ms = METADATA_TTL, .epoch_seed = 99};
    assert_true(history_init(history, &config));
}

static void a_reader_of_a_topic_without_publications_recovers_its_first_ones(void **state)
{
    (void)state;
    struct history history;
    start(&history, 0);
    struct stream_position start_of_it;
    assert_int_equal(count(&history, "new", &ten, 1, &start_of_it), 0);
    assert_true(start_of_it.offset == 0 && start_of_it.epoch != 0);
    assert_true(recovers(&history, "new", start_of_it, 1, 0)); /* nothing was missed */
    struct stream_position first = put(&history, "new", &ten, 10, 2);
    assert_true(first.offset == 1 && first.epoch == start_of_it.epoch);
    assert_true(recovers(&history, "new", start_of_it, 3, 1));
    history_fini(&history);
}

static void an_unknown_epoch_is_judged_by_the_offset_alone(void **state)
{
    (void)state;
    struct history history;
    start(&history, 0);
    for (int i = 0; i < 12; i++)
        put(&history, "t", &ten, 10, 1); /* 3 … 12 are kept */
    assert_true(recovers(&history, "t", (struct stream_position){.offset = 2}, 1, 10));
    assert_true(recovers(&history, "t", (struct stream_position){.offset = 12}, 1, 0));
    assert_false(recovers(&history, "t", (struct stream_position){.offset = 1}, 1, 10)); /* 2 is missing */
    assert_false(recovers(&history, "t", (struct stream_position){.offset = 13}, 1, 0));
    assert_false(recovers(&history, "t", (struct stream_position){.offset = UINT64_MAX}, 1, 0));
    assert_false(recovers(&history, "t", (struct stream_position){.offset = 5, .epoch = 5}, 1, 0));
    history_fini(&history);
}

static void metadata_outlive_the_items_and_then_the_epoch_changes(void **state)
{
    (void)state;
    struct history history;
    start(&history, 0);
    const struct history_options brief = {.size = 10, .ttl_ms = 100}, ages = {.size = 10, .ttl_ms = 2000};
    struct stream_position first = put(&history, "brief", &brief, 10, 1000);
    struct stream_position long_lived = put(&history, "long", &ages, 10, 1000);
    assert_true(history_maintain(&history, 1000) == 100);
    assert_true(history_maintain(&history, 1099) > 0);
    assert_true(history.items == 2);
    assert_true(history_maintain(&history, 1100) == 1900); /* to the other topic's item */
    assert_true(history.items == 1 && history.streams.used == 2 && history.idle_streams == 1);
    assert_true(history_maintain(&history, 3000) == 3100); /* brief's metadata: 1100 + METADATA_TTL */
    assert_true(history.items == 0);
    assert_true(history_maintain(&history, 6099) > 0 && history.streams.used == 2);
    assert_true(history_maintain(&history, 6100) == 3000 + 20000 - 6100); /* ten ttls are longer */
    assert_true(history.streams.used == 1);
    struct stream_position top;
    assert_int_equal(count(&history, "long", &ages, 22999, &top), 0); /* a read is a use: another 20 s */
    assert_true(top.offset == 1 && top.epoch == long_lived.epoch);
    struct stream_position again = put(&history, "brief", &brief, 10, 22999);
    assert_true(again.offset == 1 && again.epoch != first.epoch);
    assert_true(history_maintain(&history, 23000) > 0);
    count(&history, "long", &ages, 42998, &top);
    assert_true(top.epoch == long_lived.epoch);
    assert_true(history_maintain(&history, 42998) > 0);
    assert_true(history.counters.streams_expired == 1 && history.counters.evicted_ttl == 3);
    history_fini(&history);
}

static void what_was_too_old_does_not_come_back_with_a_longer_ttl(void **state)
{
    (void)state;
    struct history history;
    start(&history, 0);
    const struct history_options brief = {.size = 10, .ttl_ms = 100}, ages = {.size = 10, .ttl_ms = 100000};
    put(&history, "t", &brief, 10, 1000);
    put(&history, "t", &brief, 10, 1090);
    assert_int_equal(count(&history, "t", &ages, 1150, NULL), 1);
    assert_int_equal(count(&history, "t", &ages, 90000, NULL), 1);
    assert_int_equal(count(&history, "t", &brief, 90000, NULL), 0); /* a shorter one holds at once */
    history_fini(&history);
}

static void past_the_bound_the_least_recently_used_history_goes_first(void **state)
{
    (void)state;
    struct history history;
    start(&history, 40 * 1024);
    const char *order[] = {"a", "b", "c", "d"};
    for (int round = 0; round < 8; round++)
        for (int t = 0; t < 4; t++)
            put(&history, order[t], &ten, 1000, 1);
    assert_true(history.counters.evicted_memory == 0);
    count(&history, "a", &ten, 2, NULL); /* now b is the oldest, then c */
    while (history.counters.evicted_memory < 10)
        put(&history, "e", &(struct history_options){.size = 100}, 1000, 3);
    struct stream_position b;
    assert_true(history_bytes(&history) <= 40 * 1024);
    /* all of b, then some of c; the reads come last, because they are uses */
    uint64_t evicted = history.counters.evicted_memory;
    assert_true(evicted < 16);
    assert_int_equal(count(&history, "a", &ten, 4, NULL), 8);
    assert_int_equal(count(&history, "b", &ten, 4, &b), 0);
    assert_int_equal(count(&history, "c", &ten, 4, NULL), 16 - evicted);
    assert_int_equal(count(&history, "d", &ten, 4, NULL), 8);
    assert_true(b.offset == 8); /* it still knows */
    assert_true(recovers(&history, "b", b, 4, 0));
    assert_false(recovers(&history, "b", (struct stream_position){.offset = 7, .epoch = b.epoch}, 4, 0));
    history_fini(&history);
}

static void a_crowd_of_new_topics_does_not_push_out_history(void **state)
{
    (void)state;
    enum { BOUND = 256 * 1024 };
    struct history history;
    start(&history, BOUND);
    struct stream_position before = {0};
    for (int i = 0; i < 100; i++)
        before = put(&history, "kept", &(struct history_options){.size = 100}, 1000, 1);
    for (int i = 0; i < 20000; i++) {
        char name[32];
        sprintf(name, "stranger-%d", i);
        count(&history, name, &ten, 2, NULL);
        assert_true(history_bytes(&history) <= BOUND && history.idle_bytes <= BOUND / 4);
    }
    assert_true(history.counters.streams_evicted > 10000);
    struct stream_position after;
    assert_int_equal(count(&history, "kept", &(struct history_options){.size = 100}, 3, &after), 100);
    assert_true(after.epoch == before.epoch && after.offset == 100);
    assert_true(history_validate(&history));
    history_fini(&history);
}

static void maintenance_takes_bounded_steps(void **state)
{
    (void)state;
    struct history history;
    start(&history, 0);
    const struct history_options brief = {.size = 5000, .ttl_ms = 100};
    for (int i = 0; i < 3000; i++)
        put(&history, "one", &brief, 10, 1000);
    for (int i = 0; i < 3000; i++) {
        char name[32];
        sprintf(name, "many-%d", i);
        put(&history, name, &brief, 10, 1000);
    }
    uint64_t left = history.items;
    unsigned calls = 0;
    for (uint64_t wait = 0; wait == 0; calls++) {
        wait = history_maintain(&history, 2000);
        assert_true(left - history.items <= 256);
        left = history.items;
    }
    assert_true(left == 0 && calls >= 6000 / 256);
    assert_true(history_validate(&history));
    history_fini(&history);
}

static void items_that_expire_one_after_another_are_gathered(void **state)
{
    (void)state;
    struct history history;
    start(&history, 0);
    const struct history_options brief = {.size = 5000, .ttl_ms = 1000};
    for (unsigned i = 0; i < 1000; i++)
        put(&history, "t", &brief, 10, 1000 + i);
    uint64_t now = 2000;
    unsigned calls = 0;
    for (; history.items > 0; calls++)
        now += history_maintain(&history, now);
    assert_true(calls <= 12); /* in 1000 ms */
    history_fini(&history);
}

/* Bytes that the allocator has given out. */
static uint64_t allocated(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* Sanitizers bring an allocator of their own, which mallinfo2() knows nothing of. */
static bool allocator_counts(void)
{
    uint64_t before = allocated();
    void *volatile probe = malloc(4096);
    uint64_t after = allocated();
    free(probe);
    return after >= before + 4096;
}

static void the_bytes_counted_are_the_bytes_allocated(void **state)
{
    (void)state;
    uint64_t before = allocated();
    struct history history;
    start(&history, 0);
    for (unsigned i = 0; i < 20000; i++) {
        char name[32];
        sprintf(name, "topic-%u", i % 700);
        put(&history, name, &(struct history_options){.size = 1 + i % 700 % 50}, i % 300, 1);
    }
    assert_true(history.items > 10000);
    uint64_t counted = history_bytes(&history), grown = allocated() - before;
    if (allocator_counts())
        assert_true(counted >= grown - grown / 50 && counted <= grown + grown / 50);
    history_fini(&history);
}

static void memory_follows_what_is_stored(void **state)
{
    (void)state;
    struct history history;
    start(&history, 0);
    uint64_t empty = history_bytes(&history);
    const struct history_options large = {.size = 100000};
    for (int i = 0; i < 10000; i++)
        put(&history, "t", &large, 100, 1);
    assert_true(history_bytes(&history) > 10000 * (100 + 16) && history_bytes(&history) < 10000 * 220);
    put(&history, "t", &(struct history_options){.size = 5}, 100, 1);
    assert_true(history_bytes(&history) < empty + 2048); /* the ring, too */
    history_remove(&history, named("t"), 2);
    assert_true(history_bytes(&history) < empty + 512);
    assert_true(history_validate(&history));
    history_fini(&history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_use_bounded_by_size_and_age_agrees_with_a_log_of_everything),
        cmocka_unit_test(random_use_bounded_by_memory_never_hides_a_gap),
        cmocka_unit_test(a_reader_of_a_topic_without_publications_recovers_its_first_ones),
        cmocka_unit_test(an_unknown_epoch_is_judged_by_the_offset_alone),
        cmocka_unit_test(metadata_outlive_the_items_and_then_the_epoch_changes),
        cmocka_unit_test(what_was_too_old_does_not_come_back_with_a_longer_ttl),
        cmocka_unit_test(past_the_bound_the_least_recently_used_history_goes_first),
        cmocka_unit_test(a_crowd_of_new_topics_does_not_push_out_history),
        cmocka_unit_test(maintenance_takes_bounded_steps),
        cmocka_unit_test(items_that_expire_one_after_another_are_gathered),
        cmocka_unit_test(the_bytes_counted_are_the_bytes_allocated),
        cmocka_unit_test(memory_follows_what_is_stored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
