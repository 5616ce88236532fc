/* The timing wheel against a naive list of deadlines. */
#include "gateway/base/wheel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/base/clock.h"

enum { ENTRIES = 512, STRIDE = 20 };
#define FAR_AHEAD 0x7fffffffu

/* The naive model: every entry's deadline, and how often each may fire. */
struct model {
    struct wheel wheel;
    uint64_t random;
    bool armed[ENTRIES];
    uint32_t expiry[ENTRIES];
    uint32_t armed_count;
    uint32_t last_tick; /* of the firing before, for the order */
    uint32_t target;    /* of the advance that runs */
    bool meddle;        /* callbacks arm and cancel */
    uint32_t fired;
    struct {
        struct wheel_entry timer;
        uint8_t rest[STRIDE - sizeof(struct wheel_entry)];
    } slots[ENTRIES];
};

static uint32_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 32);
}

static struct model *model_create(uint32_t now, uint64_t seed)
{
    struct model *model = calloc(1, sizeof *model);
    assert_non_null(model);
    assert_int_equal(sizeof model->slots[0], STRIDE);
    wheel_init(&model->wheel, &model->slots[0].timer, STRIDE, now);
    model->random = seed;
    model->last_tick = now;
    return model;
}

static void model_arm(struct model *model, uint32_t index, uint32_t expiry)
{
    wheel_arm(&model->wheel, index, expiry);
    if ((int32_t)(expiry - model->wheel.now) <= 0)
        expiry = model->wheel.now + 1;
    model->armed_count += !model->armed[index];
    model->armed[index] = true;
    model->expiry[index] = expiry;
}

static void model_cancel(struct model *model, uint32_t index)
{
    wheel_cancel(&model->wheel, index);
    model->armed_count -= model->armed[index];
    model->armed[index] = false;
}

/* Distances of every magnitude, so that all levels are used. */
static uint32_t random_distance(struct model *model)
{
    uint32_t distance = next_random(&model->random) >> (1 + next_random(&model->random) % 31);
    return distance > FAR_AHEAD ? FAR_AHEAD : distance;
}

static void fire(void *context, uint32_t index)
{
    struct model *model = context;
    assert_true(model->armed[index]);
    assert_false(wheel_is_armed(&model->wheel, index));
    assert_int_equal(model->expiry[index], model->wheel.now); /* to the tick */
    assert_true((int32_t)(model->wheel.now - model->last_tick) >= 0);
    assert_true((int32_t)(model->target - model->wheel.now) >= 0);
    model->last_tick = model->wheel.now;
    model->armed[index] = false;
    model->armed_count--;
    model->fired++;
    if (!model->meddle)
        return;
    uint32_t other = next_random(&model->random) % ENTRIES;
    switch (next_random(&model->random) % 6) {
    case 0:
        model_arm(model, index, model->wheel.now + random_distance(model));
        break;
    case 1: /* its neighbour in this bucket, often */
        model_cancel(model, (index + 1) % ENTRIES);
        break;
    case 2:
        model_cancel(model, other);
        break;
    case 3:
        model_arm(model, other, model->wheel.now + random_distance(model));
        break;
    default:
        break;
    }
}

/* The earliest deadline's distance, WHEEL_NO_DEADLINE without any. */
static uint32_t naive_next(const struct model *model)
{
    uint32_t nearest = WHEEL_NO_DEADLINE;
    for (uint32_t i = 0; i < ENTRIES; i++)
        if (model->armed[i] && model->expiry[i] - model->wheel.now < nearest)
            nearest = model->expiry[i] - model->wheel.now;
    return nearest;
}

static void advance(struct model *model, uint32_t target, uint32_t budget)
{
    model->target = target;
    while (wheel_advance(&model->wheel, target, budget, fire, model) == budget)
        assert_int_equal(model->wheel.armed, model->armed_count);
    assert_int_equal(model->wheel.now, target);
    for (uint32_t i = 0; i < ENTRIES; i++) {
        assert_int_equal(wheel_is_armed(&model->wheel, i), model->armed[i]);
        if (model->armed[i])
            assert_true((int32_t)(model->expiry[i] - target) > 0); /* none was missed */
    }
}

static void run_random_operations(uint32_t start, uint64_t seed, int steps)
{
    struct model *model = model_create(start, seed);
    model->meddle = true;
    for (int step = 0; step < steps; step++) {
        uint32_t index = next_random(&model->random) % ENTRIES;
        uint32_t what = next_random(&model->random) % 100;
        if (what < 60)
            model_arm(model, index, model->wheel.now + random_distance(model));
        else if (what < 62)
            model_arm(model, index, model->wheel.now - next_random(&model->random) % 1000);
        else if (what < 90)
            model_cancel(model, index);
        else
            advance(model, model->wheel.now + (random_distance(model) >> 1),
                    1 + next_random(&model->random) % 20);
        assert_int_equal(model->wheel.armed, model->armed_count);
        uint32_t next = wheel_next(&model->wheel), naive = naive_next(model);
        assert_true(naive == WHEEL_NO_DEADLINE ? next == WHEEL_NO_DEADLINE : next >= 1 && next <= naive);
        if (step % 100 == 0)
            assert_true(wheel_validate(&model->wheel));
    }
    assert_true(wheel_validate(&model->wheel));
    assert_true(model->fired > 0);
    free(model);
}

static void wheel_agrees_with_a_naive_list(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++)
        run_random_operations(next_random(&(uint64_t){seed}), seed, 25000);
}

static void wheel_agrees_with_a_naive_list_where_ticks_wrap_around(void **state)
{
    (void)state;
    for (uint64_t seed = 11; seed <= 20; seed++)
        run_random_operations(UINT32_MAX - next_random(&(uint64_t){seed}) % 70000, seed, 2000);
}

static void wheel_fires_at_the_exact_tick(void **state)
{
    (void)state;
    static const uint32_t distances[] = {1,        2,        254,      255,      256,        257,
                                         511,      512,      65535,    65536,    65537,      131072,
                                         16777215, 16777216, 16777217, 33554432, 0x7ffffffe, FAR_AHEAD};
    static const uint32_t starts[] = {0,        1,          255,        256,        65535,
                                      0xffffff, 0x7fffffff, 0x80000000, 0xfffffffe, UINT32_MAX};
    for (size_t s = 0; s < sizeof starts / sizeof *starts; s++)
        for (size_t d = 0; d < sizeof distances / sizeof *distances; d++) {
            struct model *model = model_create(starts[s], 1);
            model_arm(model, 7, starts[s] + distances[d]);
            assert_true(wheel_validate(&model->wheel));
            advance(model, starts[s] + distances[d] - 1, 10);
            assert_int_equal(model->fired, 0);
            advance(model, starts[s] + distances[d], 10);
            assert_int_equal(model->fired, 1);
            free(model);
        }
}

static void wheel_fires_in_the_order_of_ticks_over_a_huge_jump(void **state)
{
    (void)state;
    struct model *model = model_create(UINT32_MAX - 1000, 3); /* the wrap-around lies in the jump */
    for (uint32_t i = 0; i < ENTRIES; i++)
        model_arm(model, i, model->wheel.now + random_distance(model));
    uint64_t began = clock_monotonic_ms();
    advance(model, model->wheel.now + FAR_AHEAD, 1000); /* the order is checked by fire() */
    assert_int_equal(model->fired, ENTRIES);
    assert_in_range(clock_monotonic_ms() - began, 0, 200); /* 2^31 ticks one by one take seconds */
    assert_true(wheel_validate(&model->wheel));
    free(model);
}

static void an_expiry_that_is_past_fires_at_the_next_tick(void **state)
{
    (void)state;
    struct model *model = model_create(100, 1);
    model_arm(model, 0, 100);
    model_arm(model, 1, 50);
    model_arm(model, 2, 100u - FAR_AHEAD);
    advance(model, 100, 10);
    assert_int_equal(model->fired, 0);
    assert_int_equal(wheel_next(&model->wheel), 1);
    advance(model, 101, 10);
    assert_int_equal(model->fired, 3);
    free(model);
}

static void time_that_goes_backwards_is_ignored(void **state)
{
    (void)state;
    struct model *model = model_create(100, 1);
    model_arm(model, 0, 200);
    assert_int_equal(wheel_advance(&model->wheel, 50, 10, fire, model), 0);
    assert_int_equal(model->wheel.now, 100);
    free(model);
}

static void time_stands_where_the_budget_ended(void **state)
{
    (void)state;
    struct model *model = model_create(0, 1);
    model->target = 1000;
    for (uint32_t i = 0; i < 10; i++)
        model_arm(model, i, 300);
    model_arm(model, 10, 301);
    assert_int_equal(wheel_advance(&model->wheel, 1000, 4, fire, model), 4);
    assert_int_equal(model->wheel.now, 300);
    assert_int_equal(wheel_next(&model->wheel), 0); /* overdue */
    assert_true(wheel_validate(&model->wheel));
    model_arm(model, 20, 300); /* while tick 300 fires: the next tick's */
    assert_int_equal(model->expiry[20], 301);
    assert_int_equal(wheel_advance(&model->wheel, 1000, 4, fire, model), 4);
    assert_int_equal(wheel_advance(&model->wheel, 1000, 4, fire, model), 4);
    assert_int_equal(wheel_advance(&model->wheel, 1000, 4, fire, model), 0);
    assert_int_equal(model->wheel.now, 1000);
    assert_int_equal(wheel_next(&model->wheel), WHEEL_NO_DEADLINE);
    free(model);
}

struct bucket_fellows {
    struct wheel *wheel;
    uint32_t fired, rearmed;
};

/* The first to fire cancels the even ones and moves the odd ones, all of them in the bucket that is being
 * fired. */
static void scatter_the_bucket(void *context, uint32_t index)
{
    struct bucket_fellows *fellows = context;
    if (fellows->fired++ > 0)
        return;
    for (uint32_t i = 0; i < 100; i++) {
        if (i % 2 == 0)
            wheel_cancel(fellows->wheel, i);
        else
            wheel_arm(fellows->wheel, i, fellows->wheel->now); /* now is the next tick */
        fellows->rearmed += i % 2;
    }
    assert_true(wheel_validate(fellows->wheel));
    (void)index;
}

static void a_callback_may_cancel_and_move_the_bucket_that_fires(void **state)
{
    (void)state;
    struct model *model = model_create(0, 1);
    struct bucket_fellows fellows = {.wheel = &model->wheel};
    for (uint32_t i = 0; i < 100; i++)
        wheel_arm(&model->wheel, i, 256); /* a tick at which level 1 cascades */
    assert_int_equal(wheel_advance(&model->wheel, 256, 1000, scatter_the_bucket, &fellows), 1);
    assert_int_equal(model->wheel.armed, 50);
    assert_true(wheel_validate(&model->wheel));
    assert_int_equal(wheel_advance(&model->wheel, 257, 1000, scatter_the_bucket, &fellows), 50);
    assert_int_equal(model->wheel.armed, 0);
    free(model);
}

static void next_is_the_distance_to_a_firing_or_a_cascade(void **state)
{
    (void)state;
    struct model *model = model_create(0x12345, 1);
    assert_int_equal(wheel_next(&model->wheel), WHEEL_NO_DEADLINE);
    model_arm(model, 0, 0x9012345);
    assert_int_equal(wheel_next(&model->wheel), 0x9000000 - 0x12345); /* level 3 comes down */
    model_arm(model, 1, 0x22345);
    assert_int_equal(wheel_next(&model->wheel), 0x20000 - 0x12345);
    model_arm(model, 2, 0x12545);
    assert_int_equal(wheel_next(&model->wheel), 0x12500 - 0x12345);
    model_arm(model, 3, 0x12350);
    assert_int_equal(wheel_next(&model->wheel), 0x12350 - 0x12345);
    model_cancel(model, 3);
    advance(model, 0x12500, 10);
    assert_int_equal(wheel_next(&model->wheel), 0x45);
    free(model);
}

static void cancel_is_harmless_when_not_armed_and_arm_moves(void **state)
{
    (void)state;
    struct model *model = model_create(0, 1);
    model_cancel(model, 3);
    model_arm(model, 3, 10);
    model_arm(model, 3, 100000);
    assert_int_equal(model->wheel.armed, 1);
    advance(model, 50, 10);
    assert_int_equal(model->fired, 0);
    model_cancel(model, 3);
    model_cancel(model, 3);
    assert_int_equal(model->wheel.armed, 0);
    for (int i = 0; i < (int)sizeof(struct wheel_entry) - 4;
         i++) /* all zero is "not armed"; the expiry is left */
        assert_int_equal(((uint8_t *)&model->slots[3].timer)[i], 0);
    free(model);
}

static void validate_sees_broken_links_bitmaps_and_counts(void **state)
{
    (void)state;
    struct model *model = model_create(0, 1);
    model_arm(model, 0, 5);
    model_arm(model, 1, 5);
    model_arm(model, 2, 5000);
    assert_true(wheel_validate(&model->wheel));
    model->wheel.armed++;
    assert_false(wheel_validate(&model->wheel));
    model->wheel.armed--;
    model->wheel.occupied[1][0] ^= 1;
    assert_false(wheel_validate(&model->wheel));
    model->wheel.occupied[1][0] ^= 1;
    model->slots[2].timer.expiry = 6;
    assert_false(wheel_validate(&model->wheel));
    model->slots[2].timer.expiry = 5000;
    uint32_t prev = model->slots[0].timer.prev;
    model->slots[0].timer.prev = 3;
    assert_false(wheel_validate(&model->wheel));
    model->slots[0].timer.prev = prev;
    model->slots[0].timer.next = 2; /* a circle */
    assert_false(wheel_validate(&model->wheel));
    free(model);
}

static void count_firing(void *context, uint32_t index)
{
    (void)index;
    ++*(uint32_t *)context;
}

static void a_million_entries_are_armed_and_fired_quickly(void **state)
{
    (void)state;
    enum { MILLION = 1000000 };
    struct wheel_entry *entries = calloc(MILLION, sizeof *entries);
    assert_non_null(entries);
    struct wheel wheel;
    wheel_init(&wheel, entries, sizeof *entries, UINT32_MAX - 3000);
    uint64_t began = clock_monotonic_ms(), random = 1;
    for (uint32_t i = 0; i < MILLION; i++)
        wheel_arm(&wheel, i, wheel.now + 1 + next_random(&random) % 6000); /* a minute */
    assert_true(wheel_validate(&wheel));
    uint32_t fired = 0, ticks = 0;
    while (wheel.armed > 0) {
        wheel_advance(&wheel, wheel.now + 1, UINT32_MAX, count_firing, &fired);
        ticks++;
    }
    assert_int_equal(fired, MILLION);
    assert_in_range(ticks, 5900, 6000);
    assert_in_range(clock_monotonic_ms() - began, 0, 4000); /* some 0.1 s without sanitizers */
    free(entries);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wheel_agrees_with_a_naive_list),
        cmocka_unit_test(wheel_agrees_with_a_naive_list_where_ticks_wrap_around),
        cmocka_unit_test(wheel_fires_at_the_exact_tick),
        cmocka_unit_test(wheel_fires_in_the_order_of_ticks_over_a_huge_jump),
        cmocka_unit_test(an_expiry_that_is_past_fires_at_the_next_tick),
        cmocka_unit_test(time_that_goes_backwards_is_ignored),
        cmocka_unit_test(time_stands_where_the_budget_ended),
        cmocka_unit_test(a_callback_may_cancel_and_move_the_bucket_that_fires),
        cmocka_unit_test(next_is_the_distance_to_a_firing_or_a_cascade),
        cmocka_unit_test(cancel_is_harmless_when_not_armed_and_arm_moves),
        cmocka_unit_test(validate_sees_broken_links_bitmaps_and_counts),
        cmocka_unit_test(a_million_entries_are_armed_and_fired_quickly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
