/* HISTORY, PRESENCE and USER on the publish socket, against a memory engine. */
#include "publisher_fixture.h"

static struct topic_rule rules[] = {
    {.name = "small:*", .history_size = 3, .presence = true, .join_leave = true},
    {.name = "chat:*", .history_size = 1000, .presence = true},
};
#define START_RULES() start_with(rules, sizeof rules / sizeof *rules, NULL, 0)

static const char none[] =
    "-ERR the topic keeps none: no [topic PATTERN] that matches it first has history_size";

/* The epoch in the answer to `HISTORY topic COUNT 0`. */
static void epoch_of(redisContext *redis, const char *topic, char epoch[EPOCH_TEXT_BYTES])
{
    const char *answer = ask(redis, "HISTORY %s COUNT 0", topic);
    assert_memory_equal(answer, "*[$", 3);
    memcpy(epoch, answer + 3, EPOCH_TEXT_BYTES - 1);
    epoch[EPOCH_TEXT_BYTES - 1] = '\0';
}

static void history_is_what_was_published(void **state)
{
    (void)state;
    struct fixture *f = START_RULES();
    redisContext *redis = dial(f);
    char epoch[EPOCH_TEXT_BYTES], expected[1024];
    epoch_of(redis, "chat:1", epoch);
    snprintf(expected, sizeof expected, "*[$%s :0 *[]]", epoch);
    assert_string_equal(ask(redis, "HISTORY chat:1"), expected);
    for (int i = 1; i <= 5; i++)
        assert_string_equal(ask(redis, "PUBLISH chat:1 m%d", i), ":0"); /* kept, though nobody is there */
    static const char *const table[][2] = {
        {"HISTORY chat:1",
         "*[*[:1 $m1 nil nil] *[:2 $m2 nil nil] *[:3 $m3 nil nil] *[:4 $m4 nil nil] *[:5 $m5 nil nil]]"},
        {"history chat:1 since 3", "*[*[:4 $m4 nil nil] *[:5 $m5 nil nil]]"},
        {"HISTORY chat:1 COUNT 2", "*[*[:1 $m1 nil nil] *[:2 $m2 nil nil]]"},
        {"HISTORY chat:1 COUNT 2 SINCE 2", "*[*[:3 $m3 nil nil] *[:4 $m4 nil nil]]"},
        {"HISTORY chat:1 REV COUNT 2", "*[*[:5 $m5 nil nil] *[:4 $m4 nil nil]]"},
        {"HISTORY chat:1 Rev since 3", "*[*[:2 $m2 nil nil] *[:1 $m1 nil nil]]"},
        {"HISTORY chat:1 SINCE 5", "*[]"},
        {"HISTORY chat:1 COUNT 0", "*[]"},
        {"HISTORY chat:1 COUNT 99999999999",
         "*[*[:1 $m1 nil nil] *[:2 $m2 nil nil] *[:3 $m3 nil nil] *[:4 $m4 nil "
         "nil] *[:5 $m5 nil nil]]"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        snprintf(expected, sizeof expected, "*[$%s :5 %s]", epoch, table[i][1]);
        assert_string_equal(ask(redis, table[i][0]), expected);
    }
    snprintf(expected, sizeof expected, "*[$%s :5 *[*[:5 $m5 nil nil]]]", epoch);
    assert_string_equal(ask(redis, "HISTORY chat:1 EPOCH %s SINCE 4", epoch), expected);
    snprintf(expected, sizeof expected, "*[$%s :5 *[]]", epoch);
    epoch[0] = epoch[0] == '1' ? '2' : '1'; /* of another stream: there is nothing to go on with */
    assert_string_equal(ask(redis, "HISTORY chat:1 SINCE 4 EPOCH %s", epoch), expected);
    redisFree(redis);
    stop(f);
}

static void history_keeps_bytes_info_and_tags(void **state)
{
    (void)state;
    struct fixture *f = START_RULES();
    redisContext *redis = dial(f);
    struct broker_ask asked = {
        .op = BROKER_PUBLISH,
        .topic = {"chat:1", 6},
        .payload = {"\0\r\n\xff", 4},
        .tags = {"{\"a\":\"b\"}", 9},
        .user = {"ann", 3},
    };
    struct broker_request *request = broker_request_create(&asked);
    assert_non_null(request);
    memset(request->client, 0x22, sizeof request->client);
    request->reply_to = &f->answers;
    mailbox_push(broker_mailbox(f->broker), &request->mail.node);
    struct mailbox_node *answered = NULL;
    for (int i = 0; i < 5000 && !(answered = mailbox_detach(&f->answers)); i++)
        pause_ms(1);
    assert_ptr_equal(answered, request);
    broker_request_destroy(request);
    redisReply *reply = redisCommand(redis, "HISTORY chat:1");
    assert_non_null(reply);
    assert_int_equal(reply->elements, 3);
    assert_int_equal(reply->element[2]->elements, 1);
    redisReply **item = reply->element[2]->element[0]->element;
    assert_int_equal(item[0]->integer, 1);
    assert_int_equal(item[1]->len, 4);
    assert_memory_equal(item[1]->str, "\0\r\n\xff", 4);
    assert_string_equal(item[2]->str,
                        "{\"user\":\"ann\",\"client\":\"22222222-2222-2222-2222-222222222222\"}");
    assert_string_equal(item[3]->str, "{\"a\":\"b\"}");
    freeReplyObject(reply);
    redisFree(redis);
    stop(f);
}

static void a_gap_shows_in_the_offsets(void **state)
{
    (void)state;
    struct fixture *f = START_RULES();
    redisContext *redis = dial(f);
    for (int i = 1; i <= 10; i++)
        ask(redis, "PUBLISH small:1 m%d", i);
    const char *answer = ask(redis, "HISTORY small:1 SINCE 2");
    assert_non_null(strstr(answer, " :10 *[*[:8 $m8 nil nil] *[:9 $m9 nil nil] *[:10 $m10 nil nil]]]"));
    assert_non_null(
        strstr(ask(redis, "INFO history"), "# History\r\nhistory_streams:1\r\nhistory_items:3\r\n"));
    assert_non_null(strstr(ask(redis, "INFO history"), "history_evicted_size:7\r\n"));
    assert_string_equal(ask(redis, "HISTORYDEL small:1"), ":3");
    assert_string_equal(ask(redis, "HISTORYDEL small:1"), ":0");
    assert_non_null(strstr(ask(redis, "HISTORY small:1"), " :10 *[]]")); /* the offset goes on */
    ask(redis, "PUBLISH small:1 next");
    assert_non_null(strstr(ask(redis, "HISTORY small:1"), " :11 *[*[:11 $next nil nil]]]"));
    redisFree(redis);
    stop(f);
}

/* One answer is bounded; whoever goes on behind its last offset gets all. */
static void a_long_history_comes_in_pages(void **state)
{
    (void)state;
    enum { COUNT = 60, BYTES = 60000 };
    struct fixture *f = START_RULES();
    redisContext *redis = dial(f);
    char *payload = malloc(BYTES);
    assert_non_null(payload);
    for (int i = 0; i < COUNT; i++) {
        memset(payload, 'a' + i % 26, BYTES);
        assert_string_equal(ask(redis, "PUBLISH chat:1 %b", payload, (size_t)BYTES), ":0");
    }
    unsigned got = 0, pages = 0;
    while (got < COUNT) {
        redisReply *reply = redisCommand(redis, "HISTORY chat:1 SINCE %u", got);
        assert_non_null(reply);
        assert_int_equal(reply->element[1]->integer, COUNT);
        const redisReply *items = reply->element[2];
        assert_in_range(items->elements, 1, (1 << 20) / BYTES);
        for (size_t i = 0; i < items->elements; i++, got++) {
            assert_int_equal(items->element[i]->element[0]->integer, got + 1);
            assert_int_equal(items->element[i]->element[1]->str[0], 'a' + got % 26);
        }
        freeReplyObject(reply);
        pages++;
    }
    assert_int_equal(got, COUNT);
    assert_in_range(pages, 3, 5);
    free(payload);
    redisFree(redis);
    stop(f);
}

static void what_is_wrong_with_a_question_is_told(void **state)
{
    (void)state;
    struct fixture *f = START_RULES();
    redisContext *redis = dial(f);
    static const char *const table[][2] = {
        {"HISTORY other", none},
        {"HISTORYDEL other", none},
        {"PRESENCE other",
         "-ERR the topic keeps none: no [topic PATTERN] that matches it first has presence"},
        {"PRESENCESTATS other",
         "-ERR the topic keeps none: no [topic PATTERN] that matches it first has presence"},
        {"HISTORY", "-ERR wrong number of arguments for 'history' command"},
        {"HISTORYDEL", "-ERR wrong number of arguments for 'historydel' command"},
        {"PRESENCE a b", "-ERR wrong number of arguments for 'presence' command"},
        {"HISTORY chat:1 SINCE", "-ERR syntax error"},
        {"HISTORY chat:1 COUNT", "-ERR syntax error"},
        {"HISTORY chat:1 FOO", "-ERR syntax error"},
        {"HISTORY chat:1 REV REV", "-ERR syntax error"},
        {"HISTORY chat:1 COUNT 1 COUNT 1", "-ERR syntax error"},
        {"HISTORY chat:1 EPOCH 0123456789abcdef", "-ERR syntax error"},
        {"HISTORY chat:1 SINCE x", "-ERR value is not an integer or out of range"},
        {"HISTORY chat:1 SINCE -1", "-ERR value is not an integer or out of range"},
        {"HISTORY chat:1 SINCE 99999999999999999999", "-ERR value is not an integer or out of range"},
        {"HISTORY chat:1 COUNT x", "-ERR value is not an integer or out of range"},
        {"HISTORY chat:1 COUNT -1", "-ERR value is out of range, must be positive"},
        {"HISTORY chat:1 SINCE 1 EPOCH x", "-ERR invalid epoch: 16 digits as an answer had them"},
        {"HISTORY chat:1 SINCE 1 EPOCH 0000000000000000",
         "-ERR invalid epoch: 16 digits as an answer had them"},
        {"USER", "-ERR wrong number of arguments for 'user' command"},
        {"USER FOO", "-ERR unknown subcommand 'FOO'. Try USER HELP."},
        {"USER DISCONNECT", "-ERR wrong number of arguments for 'user|disconnect' command"},
        {"USER SUBSCRIBE ann", "-ERR wrong number of arguments for 'user|subscribe' command"},
        {"USER UNSUBSCRIBE ann a CLIENT", "-ERR syntax error"},
        {"USER SUBSCRIBE ann a CODE 3000", "-ERR syntax error"},
        {"USER UNSUBSCRIBE ann a CLIENT 1", "-ERR invalid client id"},
        {"USER DISCONNECT ann CODE 1000", "-ERR invalid code: 3000 to 4999"},
        {"USER DISCONNECT ann CODE 99999999", "-ERR invalid code: 3000 to 4999"},
        {"USER DISCONNECT ann CODE x", "-ERR invalid code: 3000 to 4999"},
        {"USER DISCONNECT ann FOO 1", "-ERR syntax error"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        assert_string_equal(ask(redis, table[i][0]), table[i][1]);
    char text[300];
    memset(text, 'x', sizeof text);
    assert_string_equal(ask(redis, "HISTORY %b", "", (size_t)0), "-ERR invalid topic: 1 to 255 bytes");
    assert_string_equal(ask(redis, "PRESENCE %b", text, (size_t)256), "-ERR invalid topic: 1 to 255 bytes");
    assert_string_equal(ask(redis, "USER SUBSCRIBE ann %b", text, (size_t)256),
                        "-ERR invalid topic: 1 to 255 bytes");
    assert_string_equal(ask(redis, "USER SUBSCRIBE ann %b", "\xff", (size_t)1),
                        "-ERR invalid topic: UTF-8 without control characters");
    static const char endless[4097] = "";
    assert_string_equal(ask(redis, "USER DISCONNECT %b", endless, sizeof endless),
                        "-ERR invalid user: at most 4096 bytes");
    assert_string_equal(ask(redis, "USER DISCONNECT ann REASON %b", text, (size_t)124),
                        "-ERR invalid reason: at most 123 bytes of UTF-8");
    assert_string_equal(ask(redis, "USER DISCONNECT ann REASON %b", "\xff", (size_t)1),
                        "-ERR invalid reason: at most 123 bytes of UTF-8");
    assert_null(mailbox_detach(&f->reactor)); /* nothing of that went to a reactor */
    assert_int_equal(counter_read(&publisher_stats(f->publisher)->errors), sizeof table / sizeof *table + 7);
    redisFree(redis);
    stop(f);
}

static void come(struct fixture *f, uint8_t id, const char *user)
{
    struct broker_ask asked = {.op = BROKER_SUBSCRIBE, .topic = {"chat:1", 6}, .user = {user, strlen(user)}};
    struct broker_request *request = broker_request_create(&asked);
    assert_non_null(request);
    memset(request->client, id, sizeof request->client);
    request->reactor = 0;
    request->flags = SUBSCRIPTION_PRESENT;
    mailbox_push(broker_mailbox(f->broker), &request->mail.node);
    struct mailbox_node *answered = NULL;
    for (int i = 0; i < 5000 && !(answered = mailbox_detach(&f->reactor)); i++)
        pause_ms(1);
    assert_ptr_equal(answered, request);
    broker_request_destroy(request);
}

static void presence_is_a_map_of_client_infos(void **state)
{
    (void)state;
    struct fixture *f = START_RULES();
    redisContext *redis = dial(f);
    assert_string_equal(ask(redis, "PRESENCE chat:1"), "*[]");
    assert_string_equal(ask(redis, "PRESENCESTATS chat:1"), "*[$clients :0 $users :0]");
    come(f, 0x11, "ann");
    assert_string_equal(ask(redis, "PRESENCE chat:1"),
                        "*[$11111111-1111-1111-1111-111111111111 "
                        "${\"user\":\"ann\",\"client\":\"11111111-1111-1111-1111-111111111111\"}]");
    come(f, 0x22, "ann");
    come(f, 0x33, "bob \"b\"");
    redisReply *reply = redisCommand(redis, "PRESENCE chat:1");
    assert_non_null(reply);
    assert_int_equal(reply->elements, 6);
    for (size_t i = 0; i < 6; i += 2)
        assert_non_null(strstr(reply->element[i + 1]->str, reply->element[i]->str));
    freeReplyObject(reply);
    assert_string_equal(ask(redis, "PRESENCESTATS chat:1"), "*[$clients :3 $users :2]");
    assert_non_null(
        strstr(ask(redis, "INFO presence"), "# Presence\r\npresence_topics:1\r\npresence_clients:3\r\n"));
    redisFree(redis);
    int fd = dial_raw(f); /* RESP3: maps */
    send_all(fd, "HELLO 3\r\nECHO then\r\nPRESENCESTATS chat:1\r\nPRESENCE chat:2\r\nQUIT\r\n", 66);
    char text[2048];
    read_all(fd, text, sizeof text);
    assert_string_equal(strstr(text, "then\r\n") + 6,
                        "%2\r\n$7\r\nclients\r\n:3\r\n$5\r\nusers\r\n:2\r\n%0\r\n+OK\r\n");
    close(fd);
    stop(f);
}

static struct order_copy *take_order(struct fixture *f)
{
    struct mailbox_node *node = NULL;
    for (int i = 0; i < 5000 && !(node = mailbox_detach(&f->reactor)); i++)
        pause_ms(1);
    assert_non_null(node);
    assert_null(node->next);
    assert_int_equal(((struct mail *)node)->kind, MAIL_ORDER);
    return (struct order_copy *)node;
}

static void drop_order(struct order_copy *copy)
{
    order_unref(copy->order);
    free(copy);
}

static void text_is(struct text text, const char *expected)
{
    assert_int_equal(text.bytes, strlen(expected));
    assert_memory_equal(text.data, expected, text.bytes);
}

static void orders_go_to_every_reactor(void **state)
{
    (void)state;
    struct fixture *f = START_RULES();
    redisContext *redis = dial(f);
    assert_string_equal(ask(redis, "USER DISCONNECT ann"), "+OK");
    struct order_copy *copy = take_order(f);
    assert_int_equal(copy->order->kind, ORDER_DISCONNECT);
    assert_int_equal(copy->order->code, 3503);
    text_is(copy->order->user, "ann");
    text_is(copy->order->client, "");
    text_is(copy->order->reason, "force disconnect");
    drop_order(copy);
    assert_string_equal(ask(redis, "user disconnect ann code 4001 reason %s client %s", "go away",
                            "11111111-1111-1111-1111-111111111111"),
                        "+OK");
    copy = take_order(f);
    assert_int_equal(copy->order->code, 4001);
    text_is(copy->order->reason, "go away");
    text_is(copy->order->client, "11111111-1111-1111-1111-111111111111");
    drop_order(copy);
    assert_string_equal(ask(redis, "USER DISCONNECT ann CODE 4001"), "+OK");
    copy = take_order(f);
    text_is(copy->order->reason, ""); /* a code of the operator's own has no text of ours */
    drop_order(copy);
    assert_string_equal(ask(redis, "USER DISCONNECT %b", "", (size_t)0), "+OK"); /* whoever is anonymous */
    copy = take_order(f);
    text_is(copy->order->user, "");
    drop_order(copy);
    assert_string_equal(ask(redis, "USER SUBSCRIBE ann chat:1"), "+OK");
    copy = take_order(f);
    assert_int_equal(copy->order->kind, ORDER_SUBSCRIBE);
    text_is(copy->order->topic, "chat:1");
    drop_order(copy);
    assert_string_equal(ask(redis, "USER UNSUBSCRIBE ann chat:1"), "+OK");
    copy = take_order(f);
    assert_int_equal(copy->order->kind, ORDER_UNSUBSCRIBE);
    text_is(copy->order->topic, "chat:1");
    text_is(copy->order->user, "ann");
    drop_order(copy);
    redisFree(redis);
    stop(f);
}

int main(void)
{
    if (!topic_hash_setup())
        return 1;
    log_setup(LOG_ERROR, LOG_FORMAT_LOGFMT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(history_is_what_was_published),
        cmocka_unit_test(history_keeps_bytes_info_and_tags),
        cmocka_unit_test(a_gap_shows_in_the_offsets),
        cmocka_unit_test(a_long_history_comes_in_pages),
        cmocka_unit_test(what_is_wrong_with_a_question_is_told),
        cmocka_unit_test(presence_is_a_map_of_client_infos),
        cmocka_unit_test(orders_go_to_every_reactor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
