/* CONNECTION, TOPIC and CONFIG on the publish socket; the test is the reactor that is asked. */
#include "publisher_fixture.h"

#include <signal.h>

/* The next question that has come to the reactor; answered with answer(). */
static struct inspection *asked(struct fixture *f)
{
    struct inspection *ask = NULL;
    struct pollfd poll_fd = {.fd = f->reactor.wake_fd, .events = POLLIN};
    while (!ask) {
        assert_int_equal(poll(&poll_fd, 1, 5000), 1);
        mailbox_clear_wake(&f->reactor);
        for (struct mailbox_node *node = mailbox_detach(&f->reactor), *next; node; node = next) {
            next = node->next;
            if (((struct mail *)node)->kind == MAIL_INSPECTION) {
                assert_null(ask); /* one command, one question at a time */
                ask = (struct inspection *)(void *)node;
            } else {
                message_passed(((struct delivery *)node)->message);
            }
        }
    }
    return ask;
}

/* With so many connections, called n, n + 1, … */
static void answer(struct fixture *f, struct inspection *ask, uint32_t found, int n, uint32_t next)
{
    char id[16];
    ask->found = found;
    ask->next = next;
    for (uint32_t i = 0; i < found && ask->kind != INSPECT_CLOSE; i++) {
        snprintf(id, sizeof id, "%d", n + (int)i);
        resp_map(&ask->out, 1);
        resp_bulk(&ask->out, "id", 2);
        resp_bulk(&ask->out, id, strlen(id));
    }
    mailbox_push(broker_mailbox(f->broker), &ask->mail.node);
}

static void begin(redisContext *redis, const char *command)
{
    int done = 0;
    redisAppendCommand(redis, command);
    while (!done)
        assert_int_equal(redisBufferWrite(redis, &done), REDIS_OK);
}

static const char *reply_of(redisContext *redis)
{
    static char text[8192];
    void *reply = NULL;
    if (redisGetReply(redis, &reply) != REDIS_OK)
        return redis->errstr;
    describe(reply, text, sizeof text);
    freeReplyObject(reply);
    return text;
}

/* No question comes: the publisher has done all that it had to when it answers this. */
static void expect_no_question(struct fixture *f, redisContext *other)
{
    assert_string_equal(ask(other, "PING"), "+PONG");
    assert_string_equal(ask(other, "PING"), "+PONG");
    assert_false(mailbox_pending(&f->reactor));
}

static void a_page_is_filled_slice_by_slice(void **state)
{
    (void)state;
    struct fixture *f = start(NULL, 0);
    redisContext *redis = dial(f);
    begin(redis, "CONNECTION LIST COUNT 3 USER bob");
    struct inspection *question = asked(f);
    assert_int_equal(question->kind, INSPECT_LIST);
    assert_int_equal(question->from, 0);
    assert_int_equal(question->count, 3);
    assert_true(question->filter.user_set && !question->filter.topic_set);
    assert_int_equal(question->filter.user.bytes, 3);
    assert_memory_equal(question->filter.user.data, "bob", 3);
    answer(f, question, 2, 1, 4096);
    question = asked(f);
    assert_int_equal(question->from, 4096);
    assert_int_equal(question->count, 1);
    answer(f, question, 0, 0, 8192); /* a slice may have none */
    question = asked(f);
    assert_int_equal(question->from, 8192);
    answer(f, question, 1, 3, 8200);
    assert_string_equal(reply_of(redis), "*[$8200 *[*[$id $1] *[$id $2] *[$id $3]]]");

    begin(redis, "CONNECTION LIST COUNT 3 CURSOR 8200");
    question = asked(f);
    assert_int_equal(question->from, 8200);
    answer(f, question, 3, 4, 0); /* full, and no more anywhere */
    assert_string_equal(reply_of(redis), "*[$0 *[*[$id $4] *[$id $5] *[$id $6]]]");
    begin(redis, "connection list");
    question = asked(f);
    assert_int_equal(question->count, 10);
    answer(f, question, 0, 0, 0);
    assert_string_equal(reply_of(redis), "*[$0 *[]]");
    /* A cursor of a reactor that is none. */
    assert_string_equal(ask(redis, "CONNECTION LIST CURSOR 9223372036854775807"), "*[$0 *[]]");
    assert_string_equal(ask(redis, "CONNECTION LIST CURSOR 4294967296"), "*[$0 *[]]");
    redisFree(redis);
    stop(f);
}

static void only_reactors_that_have_the_topic_are_asked(void **state)
{
    (void)state;
    struct fixture *f = start(NULL, 0);
    redisContext *redis = dial(f);
    assert_string_equal(ask(redis, "CONNECTION LIST TOPIC news"), "*[$0 *[]]");
    assert_string_equal(ask(redis, "CONNECTION CLOSE TOPIC news"), ":0");
    subscribe(f, "news", 1);
    begin(redis, "CONNECTION CLOSE TOPIC news CODE 4002 REASON bye");
    struct inspection *question = asked(f);
    assert_int_equal(question->kind, INSPECT_CLOSE);
    assert_int_equal(question->code, 4002);
    assert_int_equal(question->reason.bytes, 3);
    answer(f, question, 128, 0, 500);
    question = asked(f);
    assert_int_equal(question->from, 500);
    answer(f, question, 7, 0, 0);
    assert_string_equal(reply_of(redis), ":135");
    assert_string_equal(ask(redis, "CONNECTION INFO 1-0-0"), "-ERR No such connection"); /* no such reactor */
    begin(redis, "CONNECTION INFO 0-5-6");
    question = asked(f);
    assert_int_equal(question->filter.id.slot, 5);
    assert_int_equal(question->filter.id.generation, 6);
    answer(f, question, 0, 0, 0);
    assert_string_equal(reply_of(redis), "-ERR No such connection");
    begin(redis, "CONNECTION INFO 0-5-6");
    answer(f, asked(f), 1, 9, 0);
    assert_string_equal(reply_of(redis), "*[$id $9]");
    redisFree(redis);
    stop(f);
}

static void commands_behind_wait_and_other_clients_do_not(void **state)
{
    (void)state;
    struct fixture *f = start(NULL, 0);
    redisContext *redis = dial(f), *other = dial(f);
    redisAppendCommand(redis, "ECHO before");
    redisAppendCommand(redis, "CONNECTION LIST");
    redisAppendCommand(redis, "ECHO between");
    redisAppendCommand(redis, "CONNECTION CLOSE USER u");
    begin(redis, "ECHO behind");
    struct inspection *question = asked(f);
    assert_string_equal(reply_of(redis), "$before");
    assert_string_equal(ask(other, "PUBLISH news x"), ":0");
    begin(other, "CONNECTION LIST COUNT 1");
    struct inspection *second = asked(f);
    answer(f, second, 1, 5, 0);
    assert_string_equal(reply_of(other), "*[$0 *[*[$id $5]]]");
    answer(f, question, 1, 1, 0);
    assert_string_equal(reply_of(redis), "*[$0 *[*[$id $1]]]");
    assert_string_equal(reply_of(redis), "$between");
    answer(f, asked(f), 2, 0, 0);
    assert_string_equal(reply_of(redis), ":2");
    assert_string_equal(reply_of(redis), "$behind");
    redisFree(redis);
    redisFree(other);
    stop(f);
}

static void a_listener_hears_on_while_its_command_waits(void **state)
{
    (void)state;
    struct fixture *f = start(NULL, 0);
    int fd = dial_raw(f);
    char text[512];
    redisContext *other = dial(f);
    const char commands[] = "HELLO 3\r\nSUBSCRIBE news\r\n";
    send_all(fd, commands, sizeof commands - 1);
    for (size_t len = 0; len == 0 || !strstr(text, "$4\r\nnews\r\n:1\r\n");) {
        ssize_t n = recv(fd, text + len, sizeof text - 1 - len, 0);
        assert_true(n > 0);
        len += (size_t)n;
        text[len] = '\0';
    }
    const char list[] = "CONNECTION LIST\r\nQUIT\r\n";
    send_all(fd, list, sizeof list - 1);
    struct inspection *question = asked(f);
    assert_string_equal(ask(other, "PUBLISH news now"), ":1");
    assert_true(question->out.resp3);
    answer(f, question, 1, 1, 0);
    read_all(fd, text, sizeof text);
    assert_string_equal(text, ">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$3\r\nnow\r\n"
                              "*2\r\n$1\r\n0\r\n*1\r\n%1\r\n$2\r\nid\r\n$1\r\n1\r\n"
                              "+OK\r\n");
    close(fd);
    redisFree(other);
    stop(f);
}

static void answers_to_a_client_that_has_gone_are_thrown_away(void **state)
{
    (void)state;
    struct fixture *f = start(NULL, 0);
    redisContext *other = dial(f);
    const struct linger at_once = {.l_onoff = 1};
    for (int round = 0; round < 2; round++) {
        redisContext *redis = dial(f);
        begin(redis, round == 0 ? "CONNECTION LIST COUNT 100" : "CONNECTION CLOSE USER u");
        struct inspection *question = asked(f);
        setsockopt(redis->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once); /* a reset */
        redisFree(redis);
        answer(f, question, 1, 1, 50);
        question = asked(f); /* nobody is told of a reset while nothing is read or sent */
        answer(f, question, 1, 2, 0);
        expect_no_question(f, other);
    }
    redisFree(other);
    stop(f);
}

static void a_reactor_that_ends_has_no_connections(void **state)
{
    (void)state;
    struct fixture *f = start(NULL, 0);
    redisContext *redis = dial(f), *other = dial(f);
    begin(redis, "CONNECTION LIST COUNT 5");
    answer(f, asked(f), 2, 1, 9);
    struct inspection *questions[] = {asked(f), NULL};
    begin(other, "CONNECTION INFO 0-1-1");
    questions[1] = asked(f);
    struct reactor_ended *ended = malloc(sizeof *ended);
    assert_non_null(ended);
    *ended = (struct reactor_ended){.mail.kind = MAIL_ENDED};
    mailbox_push(broker_mailbox(f->broker), &ended->mail.node);
    assert_string_equal(reply_of(redis), "*[$0 *[*[$id $1] *[$id $2]]]");
    assert_string_equal(reply_of(other), "-ERR No such connection");
    inspection_destroy(questions[0]); /* as it does with what it has not answered */
    inspection_destroy(questions[1]);
    assert_string_equal(ask(redis, "CONNECTION LIST"), "*[$0 *[]]");
    assert_string_equal(ask(redis, "CONNECTION CLOSE USER u"), ":0");
    expect_no_question(f, other);
    redisFree(redis);
    redisFree(other);
    stop(f);
}

static void a_publisher_ends_while_commands_wait(void **state)
{
    (void)state;
    struct fixture *f = start(NULL, 0);
    redisContext *redis[3];
    struct inspection *questions[3];
    for (int i = 0; i < 3; i++) {
        redis[i] = dial(f);
        begin(redis[i], i == 2 ? "CONNECTION CLOSE USER u" : "CONNECTION LIST");
        questions[i] = asked(f);
    }
    publisher_stop(f->publisher);
    answer(f, questions[0], 1, 1, 0);                    /* to a mailbox that nobody reads any more */
    mailbox_push(&f->reactor, &questions[1]->mail.node); /* still there */
    mailbox_push(&f->reactor, &questions[2]->mail.node);
    stop(f);
    for (int i = 0; i < 3; i++)
        redisFree(redis[i]);
}

static void errors_say_what_was_wrong(void **state)
{
    (void)state;
    struct fixture *f = start(NULL, 0);
    redisContext *redis = dial(f);
    static const char *const table[][2] = {
        {"CONNECTION", "-ERR wrong number of arguments for 'connection' command"},
        {"CONNECTION FOO", "-ERR unknown subcommand 'FOO'. Try CONNECTION HELP."},
        {"CONNECTION LIST TOPIC", "-ERR syntax error"},
        {"CONNECTION LIST FOO bar", "-ERR syntax error"},
        {"CONNECTION LIST TOPIC a TOPIC b", "-ERR syntax error"},
        {"CONNECTION LIST CODE 1000", "-ERR syntax error"},
        {"CONNECTION LIST CURSOR -1", "-ERR invalid cursor"},
        {"CONNECTION LIST CURSOR x", "-ERR invalid cursor"},
        {"CONNECTION LIST COUNT 0", "-ERR value is out of range, must be positive"},
        {"CONNECTION LIST COUNT x", "-ERR value is not an integer or out of range"},
        {"CONNECTION LIST CLIENT 42", "-ERR invalid client id"},
        {"CONNECTION LIST ID 42", "-ERR invalid connection id: three numbers as in 0-17-42"},
        {"CONNECTION INFO", "-ERR wrong number of arguments for 'connection|info' command"},
        {"CONNECTION INFO x", "-ERR invalid connection id: three numbers as in 0-17-42"},
        {"CONNECTION CLOSE", "-ERR wrong number of arguments for 'connection|close' command"},
        {"CONNECTION CLOSE CODE 1000", "-ERR say which: ID, TOPIC, USER or CLIENT (DRAIN closes all)"},
        {"CONNECTION CLOSE USER u CODE 999",
         "-ERR invalid code: 1000 to 1003, 1007 to 1014, or 3000 to 4999"},
        {"CONNECTION CLOSE USER u CODE 1005",
         "-ERR invalid code: 1000 to 1003, 1007 to 1014, or 3000 to 4999"},
        {"CONNECTION CLOSE USER u CURSOR 1", "-ERR syntax error"},
        {"TOPIC FOO", "-ERR unknown subcommand 'FOO'. Try TOPIC HELP."},
        {"TOPIC LIST MATCH", "-ERR syntax error"},
        {"TOPIC LIST CURSOR 4294967296", "-ERR invalid cursor"},
        {"CONFIG SET log.level loud", "-ERR CONFIG SET failed (possibly related to argument 'log.level') - "
                                      "\"loud\" is not one of error, warn, "
                                      "info, debug"},
        {"CONFIG SET listen.ws x", "-ERR CONFIG SET failed (possibly related to argument 'listen.ws') - "
                                   "can't set immutable config: change "
                                   "the file, then reload or restart"},
        {"CONFIG SET foo x", "-ERR Unknown option or number of arguments for CONFIG SET - 'foo'"},
        {"DRAIN", "-ERR there is nobody to ask"},
        {"DRAIN NOW", "-ERR syntax error"},
        {"SHUTDOWN LATER", "-ERR syntax error"},
        {"METRICS", "-ERR nothing is counted"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        assert_string_equal(ask(redis, table[i][0]), table[i][1]);
    char reason[125];
    memset(reason, 'r', sizeof reason);
    assert_string_equal(ask(redis, "CONNECTION CLOSE USER u REASON %b", reason, (size_t)124),
                        "-ERR invalid reason: at most 123 bytes of UTF-8");
    assert_string_equal(ask(redis, "CONNECTION CLOSE USER u REASON %b", "\xff", (size_t)1),
                        "-ERR invalid reason: at most 123 bytes of UTF-8");
    const char *const helps[] = {"CONNECTION HELP", "TOPIC HELP",  "CONFIG HELP",
                                 "PUBSUB HELP",     "CLIENT HELP", "USER HELP"};
    for (size_t i = 0; i < sizeof helps / sizeof *helps; i++)
        assert_non_null(strstr(ask(redis, helps[i]), "+HELP +    Print this help.]"));
    redisFree(redis);
    stop(f);
}

static void publish_control_says_from_where(void **state)
{
    (void)state;
    struct fixture *f = START("--publish.control=off");
    redisContext *redis = dial(f);
    const char *const commands[] = {"CONNECTION LIST", "DRAIN", "SHUTDOWN NOW", "METRICS", "CONNECTION HELP"};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        assert_non_null(
            strstr(ask(redis, commands[i]), "-NOPERM this connection has no permissions to run the '"));
    assert_string_equal(ask(redis, "CONFIG SET log.level debug"),
                        "-NOPERM this connection has no permissions to run the 'config|set' command: "
                        "publish.control is off");
    assert_string_equal(ask(redis, "CONFIG GET *"),
                        "*[$save $ $appendonly $no]"); /* what tools ask everybody */
    assert_string_equal(ask(redis, "TOPIC LIST"), "*[$0 *[]]");
    redisFree(redis);
    stop(f);
}

static void settings_are_told_but_for_secrets(void **state)
{
    (void)state;
    struct fixture *f =
        START("--publish.password=hunter2hunter2", "--idle.timeout=90s", "--limits.message_bytes=64KiB",
              "--proxy.connect=https://bob:hunter3@example.org/connect?x=@");
    redisContext *redis = dial(f);
    assert_string_equal(ask(redis, "AUTH hunter2hunter2"), "+OK");
    assert_string_equal(ask(redis, "CONFIG GET publish.password"), "*[$publish.password $(secret)]");
    assert_string_equal(ask(redis, "CONFIG GET proxy.connect"),
                        "*[$proxy.connect $https://(secret)@example.org/connect?x=@]");
    assert_string_equal(ask(redis, "CONFIG GET idle.timeout limits.message_bytes"),
                        "*[$limits.message_bytes $64KiB $idle.timeout $90s]");
    assert_string_equal(ask(redis, "CONFIG GET threads.balance"), "*[$threads.balance $least_connections]");
    redisReply *all = redisCommand(redis, "CONFIG GET *");
    assert_non_null(all);
    for (size_t i = 0; i < all->elements; i++)
        assert_null(strstr(all->element[i]->str, "hunter"));
    assert_int_equal(all->elements, 2 * (settings_key_count + 2));
    freeReplyObject(all);
    enum log_level before = log_get_level();
    assert_string_equal(ask(redis, "CONFIG SET LOG.LEVEL error"), "+OK");
    assert_int_equal(log_get_level(), LOG_ERROR);
    assert_string_equal(ask(redis, "CONFIG GET log.level"), "*[$log.level $error]");
    log_set_level(before);
    redisFree(redis);
    stop(f);
}

static void topics_come_in_pages_each_at_least_once(void **state)
{
    (void)state;
    struct fixture *f = start(NULL, 0);
    redisContext *redis = dial(f);
    enum { TOPICS = 500 };
    int seen[TOPICS] = {0};
    char name[16];
    for (int i = 0; i < TOPICS; i++) {
        snprintf(name, sizeof name, "t:%d", i);
        subscribe(f, name, (uint32_t)i + 1);
    }
    char cursor[32] = "0";
    do {
        redisReply *reply = redisCommand(redis, "TOPIC LIST CURSOR %s COUNT 7 MATCH t:*", cursor);
        assert_non_null(reply);
        assert_int_equal(reply->elements, 2);
        snprintf(cursor, sizeof cursor, "%s", reply->element[0]->str);
        const redisReply *map = reply->element[1];
        for (size_t i = 0; i < map->elements; i += 2) {
            long n = strtol(map->element[i]->str + 2, NULL, 10);
            assert_int_equal(map->element[i + 1]->integer, n + 1);
            seen[n]++;
        }
        freeReplyObject(reply);
        subscribe(f, "grows", 1);
    } while (strcmp(cursor, "0") != 0);
    for (int i = 0; i < TOPICS; i++)
        assert_true(seen[i] >= 1);
    assert_string_equal(ask(redis, "TOPIC LIST MATCH nobody COUNT 100000"), "*[$0 *[]]");
    assert_string_equal(
        ask(redis, "TOPIC INFO t:41"),
        "*[$subscribers :42 $reactors :1 $listeners :0 $rule $ $history-items :0 $history-size :0 "
        "$history-offset :0 $presence-clients :0 $presence-users :0]");
    redisFree(redis);
    stop(f);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    log_setup(LOG_ERROR, LOG_FORMAT_LOGFMT);
    if (!topic_hash_setup())
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_is_filled_slice_by_slice),
        cmocka_unit_test(only_reactors_that_have_the_topic_are_asked),
        cmocka_unit_test(commands_behind_wait_and_other_clients_do_not),
        cmocka_unit_test(a_listener_hears_on_while_its_command_waits),
        cmocka_unit_test(answers_to_a_client_that_has_gone_are_thrown_away),
        cmocka_unit_test(a_reactor_that_ends_has_no_connections),
        cmocka_unit_test(a_publisher_ends_while_commands_wait),
        cmocka_unit_test(errors_say_what_was_wrong),
        cmocka_unit_test(publish_control_says_from_where),
        cmocka_unit_test(settings_are_told_but_for_secrets),
        cmocka_unit_test(topics_come_in_pages_each_at_least_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
