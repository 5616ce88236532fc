/* What is lost, missed, late and twice where connections come and go: messages are handed to connections that
 * have no socket. */
#include "loadtest/client_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TOPICS = 2, PLACES = 4, BYTES = 64, GRACE_MS = 1000, OPENING_MS = 10 };

static const uint64_t SECOND = 1000000000;

struct scene {
    struct load_options options;
    struct payload_format format;
    struct refusals refusals;
    struct load_stats *stats;
    counter published, answered;
    struct client_context clients;
    uint64_t now_ns;
};

/* All places are open; nothing has been published. */
static struct scene *begin(enum load_mode mode)
{
    struct scene *scene = calloc(1, sizeof(*scene));
    char error[100];
    assert_non_null(scene);
    scene->options = (struct load_options){.mode = mode, .topics = TOPICS, .grace_ms = GRACE_MS};
    scene->stats = calloc(1, sizeof(*scene->stats));
    assert_non_null(scene->stats);
    refusals_init(&scene->refusals, TOPICS);
    assert_true(payload_format_init(&scene->format, 7, BYTES));
    scene->clients = (struct client_context){.options = &scene->options,
                                             .payload = &scene->format,
                                             .stats = scene->stats,
                                             .slow_stats = scene->stats,
                                             .published_now = &scene->published,
                                             .confirmed_now = &scene->answered,
                                             .refusals = &scene->refusals};
    assert_true(client_context_init(&scene->clients, PLACES, error, sizeof(error)));
    for (uint32_t i = 0; i < PLACES; i++) {
        struct client *client = client_at(&scene->clients, slab_alloc(&scene->clients.slab));
        client->fd = -1;
        client->state = CLIENT_OPEN;
        client->was_open = true;
    }
    scene->now_ns = 10 * SECOND;
    return scene;
}

static void end(struct scene *scene)
{
    client_context_fini(&scene->clients);
    payload_format_fini(&scene->format);
    refusals_fini(&scene->refusals);
    free(scene->stats);
    free(scene);
}

static void pass(struct scene *scene, uint64_t milliseconds)
{
    for (uint64_t i = 0; i < milliseconds; i += 10)
        client_places_expire(&scene->clients, scene->now_ns += 10000000);
}

/* `each` messages more to every topic. */
static void publish(struct scene *scene, uint64_t each)
{
    counter_add(&scene->published, each * TOPICS);
    counter_add(&scene->answered, each * TOPICS);
}

static void take(struct scene *scene, uint32_t index, uint32_t from, uint32_t to)
{
    for (uint32_t number = from; number < to; number++) {
        struct payload payload = {.topic = index % TOPICS, .sequence = number};
        uint8_t text[BYTES];
        payload_write(&scene->format, &payload, (char *)text);
        client_take_message(&scene->clients, client_at(&scene->clients, index), text, BYTES);
    }
}

/* One message, published `ago` milliseconds ago, arrives. */
static void take_aged(struct scene *scene, uint32_t index, uint32_t number, uint64_t ago)
{
    struct payload payload = {
        .topic = index % TOPICS, .sequence = number, .sent_ns = scene->now_ns - ago * 1000000};
    uint8_t text[BYTES];
    payload_write(&scene->format, &payload, (char *)text);
    scene->clients.now_ns = scene->now_ns;
    client_take_message(&scene->clients, client_at(&scene->clients, index), text, BYTES);
}

static void leave(struct scene *scene, uint32_t index)
{
    client_end(&scene->clients, client_at(&scene->clients, index), END_CUT, NULL);
}

static void come_back(struct scene *scene, uint32_t index)
{
    struct client *client = client_at(&scene->clients, index);
    client->joining = true;
    client->state = CLIENT_OPEN;
    client_place_taken(&scene->clients, client, scene->now_ns - OPENING_MS * UINT64_C(1000000),
                       scene->now_ns);
}

static void settle(struct scene *scene)
{
    scene->clients.published = counter_read(&scene->answered);
    client_settle(&scene->clients);
}

static void count(struct scene *scene)
{
    scene->clients.published = counter_read(&scene->answered);
    client_count_lost(&scene->clients);
}

#define SAYS(scene, name, value) assert_int_equal(counter_read(&(scene)->stats->name), value)

/* Every message that was expected is in one place of the sum. */
static void adds_up(const struct scene *scene)
{
    const struct load_stats *stats = scene->stats;
    assert_int_equal(counter_read(&stats->expected),
                     counter_read(&stats->delivered) + counter_read(&stats->lost) +
                         counter_read(&stats->late) + counter_read(&stats->missed_away) +
                         counter_read(&stats->missed_joining));
}

static void what_is_published_while_a_place_is_empty_is_missed_and_not_lost(void **state)
{
    (void)state;
    struct scene *scene = begin(LOAD_STORM);
    publish(scene, 5);
    for (uint32_t i = 0; i < PLACES; i++)
        take(scene, i, 0, 5);
    pass(scene, 3000);
    leave(scene, 1);
    publish(scene, 3);
    pass(scene, 3000);
    come_back(scene, 1);
    publish(scene, 2);
    take(scene, 1, 8, 10);
    for (uint32_t i = 0; i < PLACES; i++)
        if (i != 1)
            take(scene, i, 5, 10);
    count(scene);
    SAYS(scene, lost, 0);
    SAYS(scene, missed_away, 3);
    SAYS(scene, missed_joining, 0);
    SAYS(scene, recovered, 0);
    SAYS(scene, delivered, PLACES * 10 - 3);
    adds_up(scene);
    end(scene);
}

static void what_is_missed_after_the_101_is_lost_when_grace_is_over(void **state)
{
    (void)state;
    struct scene *scene = begin(LOAD_CHURN);
    for (uint32_t i = 0; i < PLACES; i++)
        leave(scene, i);
    pass(scene, 100);
    for (uint32_t i = 0; i < PLACES; i++)
        come_back(scene, i);
    pass(scene, 500);
    publish(scene, 4);
    take(scene, 0, 3, 4); /* was there in time */
    pass(scene, 600);
    publish(scene, 6);
    take(scene, 0, 4, 10);
    take(scene, 1, 8, 10); /* was not */
    take(scene, 2, 2, 10); /* had been, but that came late */
    count(scene);          /* 3: nothing at all */
    SAYS(scene, missed_joining, 3 + 4 + 2 + 4);
    SAYS(scene, missed_away, 0);
    SAYS(scene, lost, 4 + 6);
    adds_up(scene);
    end(scene);
}

static void a_connection_that_got_nothing_is_found_out_when_it_is_replaced(void **state)
{
    (void)state;
    struct scene *scene = begin(LOAD_CHURN);
    publish(scene, 10);
    pass(scene, 2000);
    publish(scene, 5); /* may be under way */
    take(scene, 0, 0, 15);
    for (uint32_t i = 0; i < PLACES; i++)
        leave(scene, i);
    SAYS(scene, lost, 30);
    come_back(scene, 0);
    come_back(scene, 1);
    SAYS(scene, missed_away, 5);
    leave(scene, 1); /* at once: nothing is counted twice */
    come_back(scene, 1);
    publish(scene, 1);
    for (uint32_t i = 0; i < 2; i++)
        take(scene, i, 15, 16);
    count(scene);
    SAYS(scene, lost, 30);
    SAYS(scene, missed_away, 3 * 5 + 2); /* two places stayed empty */
    adds_up(scene);
    end(scene);
}

static void a_server_that_recovers_is_credited_and_one_that_repeats_is_found_out(void **state)
{
    (void)state;
    struct scene *scene = begin(LOAD_STORM);
    publish(scene, 5);
    for (uint32_t i = 0; i < PLACES; i++)
        take(scene, i, 0, 5);
    for (uint32_t i = 0; i < PLACES; i++)
        leave(scene, i);
    publish(scene, 100);
    for (uint32_t i = 0; i < PLACES; i++)
        come_back(scene, i);
    SAYS(scene, missed_away, PLACES * 100);
    publish(scene, 1);
    take(scene, 0, 5, 106);   /* all that was missed */
    take(scene, 1, 0, 106);   /* and what was not */
    take(scene, 2, 95, 106);  /* the last of it */
    take(scene, 3, 105, 106); /* in the wrong order */
    take(scene, 3, 104, 105);
    count(scene);
    SAYS(scene, duplicated, 5);
    SAYS(scene, out_of_order, 1);
    SAYS(scene, recovered, 100 + 100 + 10 + 1);
    SAYS(scene, missed_away, 90 + 99);
    SAYS(scene, missed_joining, 0);
    SAYS(scene, lost, 0);
    adds_up(scene);
    end(scene);
}

static void what_was_on_its_way_when_a_connection_was_replaced_is_no_duplicate(void **state)
{
    (void)state;
    struct scene *scene = begin(LOAD_CHURN);
    publish(scene, 4);
    for (uint32_t i = 0; i < PLACES; i++)
        for (uint32_t number = 0; number < 4; number++)
            take_aged(scene, i, number, 50);
    for (uint32_t i = 0; i < PLACES; i++)
        leave(scene, i);
    pass(scene, 100);
    for (uint32_t i = 0; i < PLACES; i++)
        come_back(scene, i);
    take_aged(scene, 0, 2, 50 + 100 + OPENING_MS + 1); /* slower than any, by more than is allowed */
    SAYS(scene, duplicated, 1);
    SAYS(scene, twice, 0);
    take_aged(scene, 0, 3, 50 + 100 + OPENING_MS);
    SAYS(scene, duplicated, 1);
    SAYS(scene, twice, 1);
    take_aged(scene, 0, 3, 50 + 100 + OPENING_MS); /* and again on the same connection */
    take_aged(scene, 0, 2, 50 + 100 + OPENING_MS); /* and what came before it */
    SAYS(scene, duplicated, 3);
    leave(scene, 0);
    come_back(scene, 0);
    take_aged(scene, 0, 3, 50 + 100 + OPENING_MS); /* was slow enough for a third connection */
    SAYS(scene, twice, 2);
    publish(scene, 1);
    for (uint32_t i = 0; i < PLACES; i++)
        take_aged(scene, i, 4, 0);
    take_aged(scene, 0, 4, 0);
    take_aged(scene, 1, 3, 50); /* never before on this connection, but after a later one */
    SAYS(scene, duplicated, 5);
    SAYS(scene, twice, 2);
    SAYS(scene, delivered, PLACES * 5);
    SAYS(scene, out_of_order, 0);
    SAYS(scene, recovered, 0);
    count(scene);
    SAYS(scene, lost, 0);
    adds_up(scene);
    end(scene);
}

static void what_a_slow_server_still_had_under_way_is_no_duplicate_within_grace(void **state)
{
    (void)state;
    struct scene *scene = begin(LOAD_STORM);
    publish(scene, 2);
    for (uint32_t i = 0; i < PLACES; i++) {
        take_aged(scene, i, 0, 5000); /* the slowest */
        take_aged(scene, i, 1, 0);
    }
    for (uint32_t i = 0; i < PLACES; i++)
        leave(scene, i);
    pass(scene, 900);
    for (uint32_t i = 0; i < PLACES; i++)
        come_back(scene, i);
    take_aged(scene, 0, 0, GRACE_MS + OPENING_MS); /* was published longer ago than it could be owed for */
    take_aged(scene, 1, 1, 900);
    SAYS(scene, duplicated, 1);
    SAYS(scene, twice, 1);
    settle(scene);
    assert_int_equal(scene->clients.outstanding, 0);
    pass(scene, 500);
    count(scene); /* there was nothing to wait for */
    take_aged(scene, 2, 1, 1400);
    SAYS(scene, twice, 2);
    pass(scene, 500);
    take_aged(scene, 3, 1, 1900);
    SAYS(scene, duplicated, 2);
    SAYS(scene, twice, 2);
    SAYS(scene, late, 0);
    SAYS(scene, delivered, PLACES * 2);
    adds_up(scene);
    end(scene);
}

static void twice_on_one_connection_is_a_duplicate_however_young(void **state)
{
    (void)state;
    for (int mode = LOAD_FANOUT; mode <= LOAD_CHURN; mode++) {
        struct scene *scene = begin((enum load_mode)mode);
        publish(scene, 3);
        take_aged(scene, 0, 0, 0);
        take_aged(scene, 0, 0, 0);
        take_aged(scene, 0, 2, 0);
        take_aged(scene, 0, 1, 0);
        take_aged(scene, 0, 1, 0);
        SAYS(scene, duplicated, 2);
        SAYS(scene, twice, 0);
        SAYS(scene, delivered, 3);
        end(scene);
    }
}

static void what_a_silent_connection_lost_is_credited_to_a_server_that_recovers_it(void **state)
{
    (void)state;
    struct scene *scene = begin(LOAD_CHURN);
    publish(scene, 10);
    pass(scene, 2000);
    leave(scene, 0);
    SAYS(scene, lost, 10);
    come_back(scene, 0);
    pass(scene, 2000);
    take(scene, 0, 0, 10);
    SAYS(scene, lost, 0);
    SAYS(scene, delivered, 10);
    for (uint32_t i = 1; i < PLACES; i++)
        take(scene, i, 0, 10);
    count(scene);
    adds_up(scene);
    end(scene);
}

static void what_comes_when_the_lost_are_counted_is_late_and_not_lost(void **state)
{
    (void)state;
    for (int mode = LOAD_FANOUT; mode <= LOAD_CHURN; mode++) {
        struct scene *scene = begin((enum load_mode)mode);
        publish(scene, 5);
        for (uint32_t i = 0; i < PLACES; i++)
            take(scene, i, 0, 3);
        settle(scene);
        assert_int_equal(scene->clients.outstanding, 2 * PLACES);
        take(scene, 0, 3, 4);
        assert_int_equal(scene->clients.outstanding, 2 * PLACES - 1);
        count(scene);
        SAYS(scene, lost, 2 * PLACES - 1);
        take(scene, 0, 4, 5);
        take(scene, 1, 4, 5);
        take(scene, 1, 3, 5);
        SAYS(scene, lost, 2 * PLACES - 4);
        SAYS(scene, late, 3);
        SAYS(scene, duplicated, 1);
        SAYS(scene, delivered, 3 * PLACES + 1);
        adds_up(scene);
        end(scene);
    }
}

static void refused_messages_are_neither_lost_nor_excuse_a_loss(void **state)
{
    (void)state;
    struct scene *scene = begin(LOAD_CHURN);
    for (uint32_t number = 1; number < 4; number++)
        for (uint32_t topic = 0; topic < TOPICS; topic++)
            assert_true(refusals_add(&scene->refusals, topic, number));
    publish(scene, 5);
    for (uint32_t i = 0; i < PLACES; i++) {
        take(scene, i, 0, 1);
        take(scene, i, 4, 5);
    }
    pass(scene, 2000);
    leave(scene, 0);
    SAYS(scene, lost, 0);
    come_back(scene, 0);
    publish(scene, 5);
    take(scene, 0, 5, 8); /* loses two; refused were others */
    for (uint32_t i = 1; i < PLACES; i++)
        take(scene, i, 5, 10);
    settle(scene);
    assert_int_equal(scene->clients.outstanding, 2);
    count(scene);
    SAYS(scene, lost, 2);
    SAYS(scene, expected, PLACES * 7);
    adds_up(scene);
    end(scene);
}

static void grace_that_ends_while_settling_takes_what_it_excuses_from_the_wait(void **state)
{
    (void)state;
    struct scene *scene = begin(LOAD_STORM);
    leave(scene, 0);
    come_back(scene, 0);
    publish(scene, 5);
    for (uint32_t i = 1; i < PLACES; i++)
        take(scene, i, 0, 5);
    settle(scene);
    assert_int_equal(scene->clients.outstanding, 5);
    pass(scene, 1100);
    assert_int_equal(scene->clients.outstanding, 0);
    count(scene);
    SAYS(scene, missed_joining, 5);
    SAYS(scene, lost, 0);
    adds_up(scene);
    end(scene);
}

static void messages_of_no_run_and_of_another_are_told_apart(void **state)
{
    (void)state;
    struct scene *scene = begin(LOAD_FANOUT);
    struct payload_format other;
    struct payload payload = {0};
    uint8_t text[BYTES] = "welcome";
    assert_true(payload_format_init(&other, 8, BYTES));
    client_take_message(&scene->clients, client_at(&scene->clients, 0), text, 7);
    payload_write(&other, &payload, (char *)text);
    client_take_message(&scene->clients, client_at(&scene->clients, 0), text, BYTES);
    SAYS(scene, unknown, 1);
    SAYS(scene, foreign, 1);
    SAYS(scene, delivered, 0);
    payload_format_fini(&other);
    end(scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_published_while_a_place_is_empty_is_missed_and_not_lost),
        cmocka_unit_test(what_is_missed_after_the_101_is_lost_when_grace_is_over),
        cmocka_unit_test(a_connection_that_got_nothing_is_found_out_when_it_is_replaced),
        cmocka_unit_test(a_server_that_recovers_is_credited_and_one_that_repeats_is_found_out),
        cmocka_unit_test(what_was_on_its_way_when_a_connection_was_replaced_is_no_duplicate),
        cmocka_unit_test(what_a_slow_server_still_had_under_way_is_no_duplicate_within_grace),
        cmocka_unit_test(twice_on_one_connection_is_a_duplicate_however_young),
        cmocka_unit_test(what_a_silent_connection_lost_is_credited_to_a_server_that_recovers_it),
        cmocka_unit_test(what_comes_when_the_lost_are_counted_is_late_and_not_lost),
        cmocka_unit_test(refused_messages_are_neither_lost_nor_excuse_a_loss),
        cmocka_unit_test(grace_that_ends_while_settling_takes_what_it_excuses_from_the_wait),
        cmocka_unit_test(messages_of_no_run_and_of_another_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
