/* Orders of the server API: in slices, for those who were there when they came. */
#include "broker_bench.h"

enum { CROWD = 12, DONE_LOOKS = 64 /* as in pool_orders.c */ };

struct stage {
    struct broker_bench own;
    struct topic_rule rule;
    struct peer peers[CROWD];
};

static struct peer connected(struct stage *stage)
{
    static const char connect[] = "{\"id\":1,\"connect\":{}}";
    struct peer peer = peer_open_as(stage->own.bench, ADAPTER_CENTRIFUGE, 0, "", 0);
    peer_frame(stage->own.bench, &peer, WS_TEXT, true, connect, sizeof connect - 1);
    broker_bench_settle(&stage->own);
    return peer;
}

static int set_up(void **state)
{
    struct stage *stage = calloc(1, sizeof *stage);
    assert_non_null(stage);
    struct settings settings = bench_settings();
    settings.auth.anonymous = true;
    broker_bench_init(&stage->own, &settings, 64 * 1024, 0);
    for (int i = 0; i < CROWD; i++)
        stage->peers[i] = connected(stage);
    *state = stage;
    return 0;
}

static int tear_down(void **state)
{
    struct stage *stage = *state;
    for (int i = 0; i < CROWD; i++)
        peer_fini(&stage->peers[i]);
    broker_bench_fini(&stage->own);
    free(stage);
    return 0;
}

static struct order_copy *order_of(enum order_kind kind, uint16_t code, const char *user, const char *topic)
{
    const struct order wanted = {
        .kind = (uint8_t)kind, .code = code, .user = {user, strlen(user)}, .topic = {topic, strlen(topic)}};
    struct order_copy *copy = malloc(sizeof *copy);
    assert_non_null(copy);
    *copy = (struct order_copy){.mail.kind = MAIL_ORDER, .order = order_create(&wanted)};
    assert_non_null(copy->order);
    return copy;
}

static bool closing(const struct stage *stage, int i)
{
    const struct conn *conn = peer_conn(stage->own.bench, &stage->peers[i]);
    return !conn || conn->state != CONN_OPEN;
}

static void a_small_crowd_has_it_before_anything_else_happens(void **state)
{
    struct stage *stage = *state;
    struct pool *pool = &stage->own.bench->pool;
    bench_turn(stage->own.bench);
    pool_ordered(pool, order_of(ORDER_DISCONNECT, 3500, "", ""));
    assert_false(pool_has_orders(pool));
    for (int i = 0; i < CROWD; i++)
        assert_true(closing(stage, i));
}

static void an_order_stops_where_the_turn_ends_and_goes_on_there(void **state)
{
    struct stage *stage = *state;
    struct pool *pool = &stage->own.bench->pool;
    pool->looks_left = 2 * DONE_LOOKS + 3; /* two, and what is left for a third to begin with */
    pool_ordered(pool, order_of(ORDER_DISCONNECT, 3500, "", ""));
    assert_true(pool_has_orders(pool));
    for (int i = 0; i < CROWD; i++)
        assert_int_equal(closing(stage, i), i < 3);
    pool_ordered(pool, order_of(ORDER_DISCONNECT, 3501, "", "")); /* waits behind it, and finds nobody */
    for (int i = 0; i < CROWD; i++)
        assert_int_equal(closing(stage, i), i < 3);
    bench_turn(stage->own.bench);
    assert_false(pool_has_orders(pool));
    for (int i = 0; i < CROWD; i++) {
        assert_true(closing(stage, i));
        peer_drain(stage->own.bench, &stage->peers[i]);
        const uint8_t *end = stage->peers[i].plain.data + stage->peers[i].plain.len;
        const uint8_t code[] = {3500 >> 8, 3500 & 0xff};
        assert_non_null(
            memmem(stage->peers[i].plain.data, (size_t)(end - stage->peers[i].plain.data), code, 2));
    }
}

static void who_comes_while_it_is_under_way_is_not_meant(void **state)
{
    struct stage *stage = *state;
    struct pool *pool = &stage->own.bench->pool;
    pool->looks_left = 0;
    peer_fini(&stage->peers[CROWD - 1]); /* its slot is free again: a later one takes it */
    for (int turns = 0; peer_conn(stage->own.bench, &stage->peers[CROWD - 1]); turns++) {
        assert_true(turns < 1000);
        bench_turn(stage->own.bench);
    }
    uint32_t fresh = pool->conns.fresh;
    pool->looks_left = 0;
    pool_ordered(pool, order_of(ORDER_DISCONNECT, 3500, "", ""));
    assert_true(pool_has_orders(pool));
    struct peer late = peer_open_as(stage->own.bench, ADAPTER_CENTRIFUGE, 0, "", 0);
    assert_int_equal(pool->conns.fresh, fresh); /* in a slot that the order is still to look at */
    struct conn *conn = peer_conn(stage->own.bench, &late);
    pool_session(pool, conn)->connected = true; /* as if its command had been served already */
    bench_turn(stage->own.bench);
    assert_false(pool_has_orders(pool));
    for (int i = 0; i < CROWD - 1; i++)
        assert_true(closing(stage, i));
    assert_int_equal(conn->state, CONN_OPEN);
    stage->peers[CROWD - 1] = late;
}

static void what_was_never_finished_is_freed_with_the_pool(void **state)
{
    struct stage *stage = *state;
    struct pool *pool = &stage->own.bench->pool;
    pool->looks_left = 0;
    pool_ordered(pool, order_of(ORDER_UNSUBSCRIBE, 0, "ann", "news"));
    assert_true(pool_has_orders(pool));
    pool_orders_fini(pool); /* as pool_fini() does; leaks are the checkers' to find */
    assert_false(pool_has_orders(pool));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_small_crowd_has_it_before_anything_else_happens),
        TEST(an_order_stops_where_the_turn_ends_and_goes_on_there),
        TEST(who_comes_while_it_is_under_way_is_not_meant),
        TEST(what_was_never_finished_is_freed_with_the_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
