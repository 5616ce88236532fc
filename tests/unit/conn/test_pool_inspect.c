/* Operators' questions to one reactor: pages against a plain set under churn, filters, closes. */
#include "gateway/adapter/centrifuge_internal.h"
#include "pool_bench.h"

#include <hiredis/hiredis.h>

enum { PEERS = 300, STAYERS = 120, ROUNDS = 40 };

/* Asks; the answer is the caller's. */
static struct inspection *look(struct bench *bench, enum inspection_kind kind,
                               const struct conn_filter *filter, uint32_t from, uint32_t count)
{
    struct inspection *ask = inspection_create(kind, filter, (struct text){"gone", 4});
    assert_non_null(ask);
    ask->from = from;
    ask->count = count;
    ask->code = 4001;
    bench_forget_interest(bench);
    pool_inspected(&bench->pool, ask);
    assert_true(pool_has_inspections(&bench->pool));
    pool_inspect(&bench->pool);
    assert_false(pool_has_inspections(&bench->pool));
    struct inspection *answer = NULL;
    for (struct mailbox_node *node = mailbox_detach(&bench->broker_mail), *next; node; node = next) {
        next = node->next;
        if (((struct mail *)node)->kind == MAIL_INSPECTION)
            answer = (struct inspection *)(void *)node;
        else
            free(node);
    }
    assert_ptr_equal(answer, ask);
    return answer;
}

/* The n-th of the maps in an answer. freeReplyObject() by the caller. */
static redisReply *map_at(const struct inspection *answer, uint32_t n)
{
    redisReader *reader = redisReaderCreate();
    void *reply = NULL;
    assert_int_equal(redisReaderFeed(reader, answer->out.data, answer->out.len), REDIS_OK);
    for (uint32_t i = 0; i <= n; i++) {
        if (reply)
            freeReplyObject(reply);
        assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
        assert_non_null(reply);
    }
    redisReaderFree(reader);
    return reply;
}

static const redisReply *value_of(const redisReply *map, const char *key)
{
    for (size_t i = 0; i + 1 < map->elements; i += 2)
        if (strcmp(map->element[i]->str, key) == 0)
            return map->element[i + 1];
    fail_msg("no %s", key);
    return NULL;
}

static void id_at(const struct inspection *answer, uint32_t n, char out[CONN_ID_TEXT_BYTES])
{
    redisReply *map = map_at(answer, n);
    snprintf(out, CONN_ID_TEXT_BYTES, "%s", value_of(map, "id")->str);
    freeReplyObject(map);
}

static struct conn_filter topic_filter(const char *topic)
{
    return (struct conn_filter){.topic_set = true, .topic = {topic, strlen(topic)}};
}

static void hang_up(struct bench *bench, struct peer *peer)
{
    pool_destroy(&bench->pool, peer_conn(bench, peer), CLOSE_PEER);
    peer_fini(peer);
}

/* Whoever is there from the first page to the last stands on exactly one; nobody stands on two. */
static void every_connection_that_stays_is_listed_exactly_once(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    static struct peer peers[PEERS];
    unsigned seed = 7;
    for (int i = 0; i < PEERS; i++)
        peers[i] = peer_open(bench, 0, "all,some", 0);
    for (int round = 0; round < ROUNDS; round++) {
        struct conn_filter filter = round % 2 ? topic_filter("all") : (struct conn_filter){0};
        int seen[STAYERS] = {0};
        char ids[STAYERS][CONN_ID_TEXT_BYTES], last[CONN_ID_TEXT_BYTES] = "";
        for (int i = 0; i < STAYERS; i++)
            conn_id_format(pool_conn_id(&bench->pool, peer_conn(bench, &peers[i])), ids[i]);
        uint32_t from = 0, last_slot = 0;
        do {
            uint32_t count = 1 + (uint32_t)rand_r(&seed) % 40;
            struct inspection *page = look(bench, INSPECT_LIST, &filter, from, count);
            assert_true(page->found <= count);
            for (uint32_t n = 0; n < page->found; n++) {
                char id[CONN_ID_TEXT_BYTES];
                struct conn_id parsed;
                id_at(page, n, id);
                assert_true(conn_id_parse(id, strlen(id), &parsed));
                assert_true(!*last || parsed.slot > last_slot); /* so nobody comes twice */
                last_slot = parsed.slot;
                snprintf(last, sizeof last, "%s", id);
                for (int i = 0; i < STAYERS; i++)
                    seen[i] += strcmp(ids[i], id) == 0;
            }
            from = page->next;
            inspection_destroy(page);
            for (int change = 0; change < 10; change++) { /* others come and go */
                struct peer *peer = &peers[STAYERS + rand_r(&seed) % (PEERS - STAYERS)];
                hang_up(bench, peer);
                if (rand_r(&seed) % 2)
                    bench_turn(bench); /* its slot may be another's then */
                *peer = peer_open(bench, 0, "some,all", 0);
            }
            bench_turn(bench);
        } while (from != 0);
        for (int i = 0; i < STAYERS; i++)
            assert_int_equal(seen[i], 1);
    }
    for (int i = 0; i < PEERS; i++)
        hang_up(bench, &peers[i]);
    bench_settle(bench);
    bench_fini(bench);
}

static void a_topic_is_listed_in_the_order_of_slots_and_by_its_subscribers_only(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    struct peer peers[] = {peer_open(bench, 0, "b", 0), peer_open(bench, 0, "a,b", 0),
                           peer_open(bench, 0, "a", 0), peer_open(bench, 0, "b", 0)};
    struct conn_filter filter = topic_filter("b"), nobody = topic_filter("c");
    struct inspection *page = look(bench, INSPECT_LIST, &filter, 0, 2);
    char id[CONN_ID_TEXT_BYTES];
    assert_int_equal(page->found, 2);
    id_at(page, 0, id);
    assert_string_equal(id, "0-0-0");
    id_at(page, 1, id);
    assert_string_equal(id, "0-1-1");
    uint32_t next = page->next;
    inspection_destroy(page);
    page = look(bench, INSPECT_LIST, &filter, next, 2);
    assert_int_equal(page->found, 1);
    assert_int_equal(page->next, 0);
    id_at(page, 0, id);
    assert_string_equal(id, "0-3-3");
    inspection_destroy(page);
    page = look(bench, INSPECT_LIST, &nobody, 0, 10);
    assert_int_equal(page->found, 0);
    assert_int_equal(page->next, 0);
    inspection_destroy(page);
    for (size_t i = 0; i < sizeof peers / sizeof *peers; i++)
        hang_up(bench, &peers[i]);
    bench_settle(bench);
    bench_fini(bench);
}

static struct inspection *look_at_one(struct bench *bench, struct conn_id id)
{
    struct conn_filter filter = {.id_set = true, .id = id};
    return look(bench, INSPECT_ONE, &filter, 0, 1);
}

static void one_connection_shows_what_is_known_of_it(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    struct peer peer = peer_open(bench, CHACHA, "news,chat", 0);
    bench_pass(bench, 3000);
    struct conn_id id = pool_conn_id(&bench->pool, peer_conn(bench, &peer));
    struct inspection *answer = look_at_one(bench, id);
    assert_int_equal(answer->found, 1);
    redisReply *map = map_at(answer, 0);
    assert_string_equal(value_of(map, "adapter")->str, "raw");
    assert_string_equal(value_of(map, "transport")->str, "wss");
    assert_string_equal(value_of(map, "suite")->str, "TLS_CHACHA20_POLY1305_SHA256");
    assert_string_equal(value_of(map, "state")->str, "open");
    assert_string_equal(value_of(map, "address")->str, "unix");
    assert_int_equal(value_of(map, "close-reason")->type, REDIS_REPLY_NIL);
    assert_int_equal(value_of(map, "age")->integer, 3);
    assert_int_equal(value_of(map, "idle")->integer, 3);
    assert_int_equal(value_of(map, "subscriptions")->integer, 2);
    assert_int_equal(value_of(map, "topics")->elements, 2);
    assert_string_equal(value_of(map, "topics")->element[0]->str, "news");
    freeReplyObject(map);
    inspection_destroy(answer);

    hang_up(bench, &peer);
    answer = look_at_one(bench, id);
    assert_int_equal(answer->found, 0);
    inspection_destroy(answer);
    bench_settle(bench);
    struct peer other = peer_open(bench, 0, "news", 0); /* in the same slot */
    assert_int_equal(pool_index(&bench->pool, peer_conn(bench, &other)), id.slot);
    answer = look_at_one(bench, id);
    assert_int_equal(answer->found, 0);
    inspection_destroy(answer);
    hang_up(bench, &other);
    bench_settle(bench);
    bench_fini(bench);
}

/* The close code and reason that a peer has been sent. */
static void expect_close(struct bench *bench, struct peer *peer, uint16_t code, const char *reason)
{
    struct frame frame;
    size_t at = 0;
    peer_drain(bench, peer);
    peer_expect_101(bench, peer);
    if (!frame_at(peer, &at, &frame)) {
        fail_msg("nothing came");
        return;
    }
    assert_int_equal(frame.opcode, WS_CLOSE);
    assert_int_equal(frame.payload[0] << 8 | frame.payload[1], code);
    assert_int_equal(frame.bytes, 2 + strlen(reason));
    assert_memory_equal(frame.payload + 2, reason, strlen(reason));
}

static void the_connections_of_a_topic_are_closed_slice_by_slice(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    struct peer peers[9];
    for (int i = 0; i < 9; i++)
        peers[i] = peer_open(bench, 0, i == 4 ? "other" : "x", 0);
    struct conn_filter filter = topic_filter("x");
    uint32_t from = 0, closed = 0, slices = 0;
    do {
        struct inspection *answer = look(bench, INSPECT_CLOSE, &filter, from, 3);
        assert_true(answer->found <= 3);
        closed += answer->found;
        from = answer->next;
        slices++;
        inspection_destroy(answer);
        bench_turn(bench);
    } while (from != 0);
    assert_int_equal(closed, 8);
    assert_true(slices >= 3);
    for (int i = 0; i < 9; i++) {
        if (i != 4)
            expect_close(bench, &peers[i], 4001, "gone");
        assert_int_equal(peer_conn(bench, &peers[i])->state, i == 4 ? CONN_OPEN : CONN_CLOSING);
    }
    /* What is closing is not closed again. */
    struct inspection *again = look(bench, INSPECT_CLOSE, &filter, 0, 100);
    assert_int_equal(again->found, 0);
    inspection_destroy(again);
    struct conn_filter all = {0};
    again = look(bench, INSPECT_CLOSE, &all, 0, 100);
    assert_int_equal(again->found, 1);
    inspection_destroy(again);
    again = look(bench, INSPECT_LIST, &all, 0, 100); /* but it is listed as long as it is there */
    assert_int_equal(again->found, 9);
    redisReply *map = map_at(again, 0);
    assert_string_equal(value_of(map, "state")->str, "closing");
    assert_string_equal(value_of(map, "close-reason")->str, "operator");
    freeReplyObject(map);
    inspection_destroy(again);
    for (int i = 0; i < 9; i++)
        hang_up(bench, &peers[i]);
    assert_int_equal(bench_closes(bench, CLOSE_OPERATOR), 9);
    bench_settle(bench);
    bench_fini(bench);
}

/* Without a conversation there is no user: such connections are nobody's, not the anonymous user's. */
static void users_and_clients_are_those_of_sessions(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    struct peer raw = peer_open(bench, 0, "x", 0);
    struct peer strange = peer_open_as(bench, ADAPTER_CENTRIFUGE, 0, "", 0);
    struct peer ann = peer_open_as(bench, ADAPTER_CENTRIFUGE, 0, "", 0);
    struct peer anonymous = peer_open_as(bench, ADAPTER_CENTRIFUGE, 0, "", 0);
    struct session *session = pool_session(&bench->pool, peer_conn(bench, &ann));
    assert_true(session_be(session, &(struct who){.user = {"ann", 3}, .info = {"{\"a\":1}", 7}}));
    session->connected = true;
    pool_session(&bench->pool, peer_conn(bench, &anonymous))->connected = true;
    struct conn_filter filters[] = {
        {.user_set = true, .user = {"ann", 3}},
        {.user_set = true, .user = {"", 0}},
        {.user_set = true, .user = {"an", 2}},
        {.client_set = true},
        {.client_set = true, .user_set = true, .user = {"bob", 3}},
    };
    memcpy(filters[3].client, session->client, sizeof filters[3].client);
    memcpy(filters[4].client, session->client, sizeof filters[4].client);
    const uint32_t expected[] = {1, 1, 0, 1, 0}, slots[] = {2, 3, 0, 2, 0};
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
        struct inspection *answer = look(bench, INSPECT_LIST, &filters[i], 0, 10);
        assert_int_equal(answer->found, expected[i]);
        char id[CONN_ID_TEXT_BYTES];
        struct conn_id parsed;
        if (answer->found) {
            id_at(answer, 0, id);
            assert_true(conn_id_parse(id, strlen(id), &parsed));
            assert_int_equal(parsed.slot, slots[i]);
        }
        inspection_destroy(answer);
    }
    struct inspection *answer = look_at_one(bench, pool_conn_id(&bench->pool, peer_conn(bench, &ann)));
    redisReply *map = map_at(answer, 0);
    assert_string_equal(value_of(map, "user")->str, "ann");
    assert_string_equal(value_of(map, "info")->str, "{\"a\":1}");
    assert_int_equal(value_of(map, "client")->len, UUID_TEXT_BYTES - 1);
    freeReplyObject(map);
    inspection_destroy(answer);
    struct peer *all[] = {&raw, &strange, &ann, &anonymous};
    for (size_t i = 0; i < 4; i++)
        hang_up(bench, all[i]);
    bench_settle(bench);
    bench_fini(bench);
}

static void a_cursor_that_nobody_gave_does_no_harm(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    struct peer peer = peer_open(bench, 0, "x", 0);
    const uint32_t cursors[] = {1, 511, 512, 4096, UINT32_MAX};
    struct conn_filter filters[] = {{0}, topic_filter("x")};
    for (size_t f = 0; f < 2; f++)
        for (size_t i = 0; i < sizeof cursors / sizeof *cursors; i++) {
            struct inspection *answer = look(bench, INSPECT_LIST, &filters[f], cursors[i], 10);
            assert_int_equal(answer->found, 0);
            assert_int_equal(answer->next, 0);
            inspection_destroy(answer);
        }
    const struct conn_id ids[] = {{0, 1, 0}, {UINT32_MAX, 0, 0}, {512, 0, 0}, {0, 0, 7}};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        struct conn_filter filter = {.id_set = true, .id = ids[i]};
        struct inspection *answer = look(bench, INSPECT_CLOSE, &filter, 0, 10);
        assert_int_equal(answer->found, 0);
        inspection_destroy(answer);
    }
    hang_up(bench, &peer);
    bench_settle(bench);
    bench_fini(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_connection_that_stays_is_listed_exactly_once),
        cmocka_unit_test(a_topic_is_listed_in_the_order_of_slots_and_by_its_subscribers_only),
        cmocka_unit_test(one_connection_shows_what_is_known_of_it),
        cmocka_unit_test(the_connections_of_a_topic_are_closed_slice_by_slice),
        cmocka_unit_test(users_and_clients_are_those_of_sessions),
        cmocka_unit_test(a_cursor_that_nobody_gave_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
