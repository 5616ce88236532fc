/* publisher_channels: against a plain table of who listens to what. */
#include "gateway/publisher_channels.h"

#include "gateway/broker/message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct channels channels;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    *state = f;
    return f && channels_init(&f->channels) ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    channels_fini(&f->channels);
    free(f);
    return 0;
}

static enum channels_added add(struct fixture *f, struct listener *listener, bool pattern, const char *name)
{
    return channels_add(&f->channels, listener, pattern, name, strlen(name));
}

static void a_channel_exists_while_somebody_listens(void **state)
{
    struct fixture *f = *state;
    struct listener one, two;
    listener_init(&one);
    listener_init(&two);
    assert_null(channels_find(&f->channels, false, "news", 4));
    assert_int_equal(add(f, &one, false, "news"), CHANNELS_ADDED);
    assert_int_equal(add(f, &one, false, "news"), CHANNELS_ALREADY);
    assert_int_equal(add(f, &two, false, "news"), CHANNELS_ADDED);
    assert_int_equal(channels_find(&f->channels, false, "news", 4)->subscribers, 2);
    assert_null(channels_find(&f->channels, true, "news", 4)); /* a pattern of that name is another thing */
    assert_true(channels_remove(&f->channels, &one, false, "news", 4));
    assert_false(channels_remove(&f->channels, &one, false, "news", 4));
    assert_false(channels_remove(&f->channels, &two, true, "news", 4));
    assert_int_equal(channels_find(&f->channels, false, "news", 4)->subscribers, 1);
    assert_int_equal(f->channels.listener_count, 1);
    channels_forget(&f->channels, &two);
    channels_forget(&f->channels, &two);
    assert_null(channels_find(&f->channels, false, "news", 4));
    assert_int_equal(f->channels.listener_count, 0);
    assert_int_equal(channels_validate(&f->channels), 0);
}

static void names_are_bytes(void **state)
{
    struct fixture *f = *state;
    struct listener one;
    listener_init(&one);
    char longest[CHANNEL_BYTES_MAX];
    memset(longest, 'x', sizeof longest);
    assert_int_equal(channels_add(&f->channels, &one, false, NULL, 0), CHANNELS_ADDED);
    assert_int_equal(channels_add(&f->channels, &one, false, "a\0b", 3), CHANNELS_ADDED);
    assert_int_equal(channels_add(&f->channels, &one, false, "a\0c", 3), CHANNELS_ADDED);
    assert_int_equal(channels_add(&f->channels, &one, false, "a", 1), CHANNELS_ADDED);
    assert_int_equal(channels_add(&f->channels, &one, false, longest, sizeof longest), CHANNELS_ADDED);
    assert_true(channels_has(&f->channels, &one, false, "a\0b", 3));
    assert_true(channels_has(&f->channels, &one, false, "", 0));
    assert_false(channels_has(&f->channels, &one, false, "a\0", 2));
    assert_true(channels_has(&f->channels, &one, false, longest, sizeof longest));
    assert_int_equal(channels_validate(&f->channels), 5);
    channels_forget(&f->channels, &one);
}

static void only_what_begins_with_the_prefix_is_for_events(void **state)
{
    struct fixture *f = *state;
    struct listener one;
    listener_init(&one);
    static const char *const topics[] = {"*",        "push*",     "[p]ushgate:*", "\\pushgate:*",
                                         "pushgate", "?ushgate:x"};
    static const char *const events[] = {"pushgate:*", "pushgate:join:*", "pushgate:client:chat:?"};
    for (size_t i = 0; i < sizeof topics / sizeof *topics; i++)
        assert_int_equal(add(f, &one, true, topics[i]), CHANNELS_ADDED);
    assert_int_equal(f->channels.event_count, 0);
    for (size_t i = 0; i < sizeof events / sizeof *events; i++)
        assert_int_equal(add(f, &one, true, events[i]), CHANNELS_ADDED);
    assert_int_equal(f->channels.event_count, 3);
    size_t at = 0; /* both lists hold their own, in the order of their coming */
    for (const struct list *link = f->channels.patterns[false].next; link != &f->channels.patterns[false];
         link = link->next, at++) {
        const struct channel *pattern = LIST_ITEM(link, struct channel, listed);
        assert_int_equal(pattern->bytes, strlen(topics[at]));
        assert_memory_equal(pattern->name, topics[at], pattern->bytes);
    }
    assert_int_equal(at, sizeof topics / sizeof *topics);
    channels_forget(&f->channels, &one);
    assert_int_equal(f->channels.pattern_count, 0);
    assert_int_equal(f->channels.event_count, 0);
}

static uint64_t chance(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

enum { LISTENERS = 12, NAMES = 300, STEPS = 60000 };

struct visited {
    uint32_t count;
    uint64_t subscribers;
};

static void visit(void *context, const struct channel *channel)
{
    struct visited *visited = context;
    visited->count++;
    visited->subscribers += channel->subscribers;
}

/* The model: a table of truth for each listener, kind and name. */
static bool model[LISTENERS][2][NAMES];

static void check_against_model(struct fixture *f, const struct listener *listeners)
{
    uint32_t all = 0, channel_count = 0, pattern_count = 0, listening = 0, of_channels = 0;
    for (int l = 0; l < LISTENERS; l++) {
        uint32_t own[2] = {0, 0};
        for (int k = 0; k < 2; k++)
            for (int n = 0; n < NAMES; n++)
                own[k] += model[l][k][n];
        assert_int_equal(listeners[l].channel_count, own[0]);
        assert_int_equal(listeners[l].pattern_count, own[1]);
        all += own[0] + own[1];
        of_channels += own[0];
        listening += own[0] + own[1] > 0;
    }
    for (int k = 0; k < 2; k++)
        for (int n = 0; n < NAMES; n++) {
            char name[16];
            uint32_t subscribers = 0;
            size_t bytes = (size_t)snprintf(name, sizeof name, "n%d", n);
            for (int l = 0; l < LISTENERS; l++)
                subscribers += model[l][k][n];
            const struct channel *channel = channels_find(&f->channels, k == 1, name, bytes);
            assert_int_equal(channel ? channel->subscribers : 0, subscribers);
            *(k ? &pattern_count : &channel_count) += subscribers > 0;
        }
    assert_int_equal(f->channels.channel_count, channel_count);
    assert_int_equal(f->channels.pattern_count, pattern_count);
    assert_int_equal(f->channels.listener_count, listening);
    struct visited visited = {0};
    channels_visit(&f->channels, visit, &visited);
    assert_int_equal(visited.count, channel_count);
    assert_int_equal(visited.subscribers, of_channels);
    assert_int_equal(channels_validate(&f->channels), all);
}

static void it_says_what_a_plain_table_says(void **state)
{
    struct fixture *f = *state;
    static struct listener listeners[LISTENERS];
    for (int l = 0; l < LISTENERS; l++)
        listener_init(&listeners[l]);
    memset(model, 0, sizeof model);
    uint64_t seed = 88172645463325252;
    for (int step = 0; step < STEPS; step++) {
        uint64_t dice = chance(&seed);
        int l = (int)(dice % LISTENERS), k = (int)(dice >> 8 & 1), n = (int)(dice >> 16) % NAMES;
        n = n < 0 ? -n : n;
        char name[16];
        size_t bytes = (size_t)snprintf(name, sizeof name, "n%d", n);
        bool *truth = &model[l][k][n];
        bool growing = step / 10000 % 2 == 0; /* it grows and shrinks, and so do its tables */
        if (chance(&seed) % 3000 == 0) {
            channels_forget(&f->channels, &listeners[l]);
            memset(model[l], 0, sizeof model[l]);
        } else if ((chance(&seed) % 8 < 6) == growing) {
            assert_int_equal(channels_add(&f->channels, &listeners[l], k == 1, name, bytes),
                             *truth ? CHANNELS_ALREADY : CHANNELS_ADDED);
            *truth = true;
        } else {
            assert_int_equal(channels_remove(&f->channels, &listeners[l], k == 1, name, bytes), *truth);
            *truth = false;
        }
        assert_int_equal(channels_has(&f->channels, &listeners[l], k == 1, name, bytes), *truth);
        if (step % 1000 == 0)
            check_against_model(f, listeners);
    }
    check_against_model(f, listeners);
    for (int l = 0; l < LISTENERS; l++)
        channels_forget(&f->channels, &listeners[l]);
    assert_int_equal(channels_validate(&f->channels), 0);
    assert_true(f->channels.names.mask < 32); /* and give their memory back */
    assert_true(f->channels.subscriptions.mask < 32);
}

int main(void)
{
    if (!topic_hash_setup())
        return 1;
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_channel_exists_while_somebody_listens),
        TEST(names_are_bytes),
        TEST(only_what_begins_with_the_prefix_is_for_events),
        TEST(it_says_what_a_plain_table_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
