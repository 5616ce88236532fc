/* Listening on the publish socket: what is heard, in which order, by whom, and what it may cost. */
#include "publisher_fixture.h"

/* Sends text, a command a line. */
static void say(int fd, const char *text)
{
    send_all(fd, text, strlen(text));
}

/* Reads exactly what is expected, not a byte more. */
static void hear_bytes(int fd, const char *expected, size_t bytes)
{
    char *got = calloc(1, bytes + 1);
    assert_non_null(got);
    for (size_t len = 0; len < bytes;) {
        ssize_t n = recv(fd, got + len, bytes - len, 0);
        if (n <= 0)
            fail_msg("it ended after: %s", got);
        len += (size_t)n;
        if (memcmp(got, expected, len) != 0)
            fail_msg("expected: %s\ngot: %s", expected, got);
    }
    free(got);
}

#define HEAR_BYTES(fd, literal) hear_bytes(fd, literal, sizeof(literal) - 1)

static void hear(int fd, const char *expected)
{
    hear_bytes(fd, expected, strlen(expected));
}

/* Nothing waits: a PING is answered next. Not for a RESP2 listener. */
static void hear_nothing(int fd)
{
    say(fd, "PING\r\n");
    hear(fd, "+PONG\r\n");
}

/* A request as a reactor or the server API makes it; waits for the answer. */
static void ask_broker(struct fixture *f, struct broker_request *request)
{
    assert_non_null(request);
    request->reply_to = &f->answers;
    mailbox_push(broker_mailbox(f->broker), &request->mail.node);
    for (int i = 0; i < 5000; i++) {
        struct mailbox_node *node = mailbox_detach(&f->answers);
        if (node) {
            assert_ptr_equal(node, request);
            return;
        }
        pause_ms(1);
    }
    fail_msg("the broker did not answer");
}

/* A client's publication. Returns how many it was queued to. */
static int64_t client_publishes(struct fixture *f, const char *topic, const void *payload, size_t bytes,
                                const char *tags)
{
    struct broker_ask ask = {
        .op = BROKER_PUBLISH,
        .topic = {topic, strlen(topic)},
        .payload = {payload, bytes},
        .tags = {tags, tags ? strlen(tags) : 0},
        .user = {"ann", 3},
        .conn_info = {"{\"name\":\"Ann\"}", 14},
    };
    struct broker_request *request = broker_request_create(&ask);
    assert_non_null(request);
    memset(request->client, 0x11, sizeof request->client);
    ask_broker(f, request);
    int64_t queued = request->queued;
    broker_request_destroy(request);
    return queued;
}
#define ANN                                                                                                  \
    "{\"user\":\"ann\",\"client\":\"11111111-1111-1111-1111-111111111111\",\"conn_info\":{\"name\":\"Ann\"}" \
    "}"

/* A client joins or leaves, as its reactor tells. */
static void client_comes(struct fixture *f, const char *topic, bool comes)
{
    struct broker_ask ask = {
        .op = comes ? BROKER_SUBSCRIBE : BROKER_LEAVE,
        .topic = {topic, strlen(topic)},
        .user = {"ann", 3},
        .conn_info = {"{\"name\":\"Ann\"}", 14},
    };
    struct broker_request *request = broker_request_create(&ask);
    assert_non_null(request);
    memset(request->client, 0x11, sizeof request->client);
    request->reactor = 0;
    request->flags = SUBSCRIPTION_PRESENT | SUBSCRIPTION_ANNOUNCED;
    mailbox_push(broker_mailbox(f->broker), &request->mail.node);
    for (int i = 0; comes && i < 5000; i++) {
        struct mailbox_node *node = mailbox_detach(&f->reactor);
        if (node) {
            assert_ptr_equal(node, request);
            broker_request_destroy(request);
            return;
        }
        pause_ms(1);
    }
    if (comes)
        fail_msg("the broker did not answer");
}

static uint64_t stat_of(const counter *c)
{
    return counter_read(c);
}

static void wait_for(const counter *c, uint64_t value)
{
    for (int i = 0; i < 5000 && stat_of(c) != value; i++)
        pause_ms(1);
    assert_int_equal(stat_of(c), value);
}

static void a_listener_hears_backends_and_clients_in_order(void **state)
{
    (void)state;
    struct fixture *f = start(NULL, 0);
    redisContext *backend = dial(f);
    int fd = dial_raw(f);
    say(fd, "SUBSCRIBE news\r\n");
    hear(fd, "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
    for (int i = 0; i < 100; i++) {
        char text[16];
        snprintf(text, sizeof text, "c%02d", i);
        assert_string_equal(ask(backend, "PUBLISH news b%02d", i), ":1");
        assert_int_equal(client_publishes(f, "news", text, 3, NULL), 1);
        assert_string_equal(ask(backend, "PUBLISH other x"), ":0");
    }
    for (int i = 0; i < 100; i++) {
        char text[128];
        snprintf(
            text, sizeof text,
            "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$3\r\nb%02d\r\n*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$3\r\n"
            "c%02d\r\n",
            i, i);
        hear(fd, text);
    }
    assert_int_equal(stat_of(&publisher_stats(f->publisher)->listener_messages), 200);
    close(fd);
    redisFree(backend);
    stop(f);
}

static void a_publish_counts_subscribers_channels_and_patterns(void **state)
{
    (void)state;
    struct fixture *f = start(NULL, 0);
    redisContext *backend = dial(f);
    subscribe(f, "chat:1", 5);
    int one = dial_raw(f), two = dial_raw(f);
    say(one, "SUBSCRIBE chat:1\r\n");
    hear(one, "*3\r\n$9\r\nsubscribe\r\n$6\r\nchat:1\r\n:1\r\n");
    say(one, "PSUBSCRIBE chat:* ch?t:1\r\n");
    hear(
        one,
        "*3\r\n$10\r\npsubscribe\r\n$6\r\nchat:*\r\n:2\r\n*3\r\n$10\r\npsubscribe\r\n$6\r\nch?t:1\r\n:3\r\n");
    say(two, "PSUBSCRIBE chat:*\r\n");
    hear(two, "*3\r\n$10\r\npsubscribe\r\n$6\r\nchat:*\r\n:1\r\n");
    assert_string_equal(ask(backend, "PUBSUB NUMPAT"), ":2"); /* distinct ones */
    assert_string_equal(ask(backend, "PUBSUB NUMSUB chat:1 chat:2"), "*[$chat:1 :6 $chat:2 :0]");
    assert_string_equal(ask(backend, "PUBLISH chat:1 x"), ":9"); /* 5 + 1 + 2 + 1 */
    hear(one, "*3\r\n$7\r\nmessage\r\n$6\r\nchat:1\r\n$1\r\nx\r\n"
              "*4\r\n$8\r\npmessage\r\n$6\r\nchat:*\r\n$6\r\nchat:1\r\n$1\r\nx\r\n"
              "*4\r\n$8\r\npmessage\r\n$6\r\nch?t:1\r\n$6\r\nchat:1\r\n$1\r\nx\r\n");
    hear(two, "*4\r\n$8\r\npmessage\r\n$6\r\nchat:*\r\n$6\r\nchat:1\r\n$1\r\nx\r\n");
    assert_string_equal(ask(backend, "PUBSUB CHANNELS chat*"), "*[$chat:1]"); /* once */
    say(two, "SUBSCRIBE own\r\n");
    hear(two, "*3\r\n$9\r\nsubscribe\r\n$3\r\nown\r\n:2\r\n");
    assert_string_equal(ask(backend, "PUBSUB CHANNELS o*"), "*[$own]");
    assert_non_null(strstr(ask(backend, "INFO"), "pubsub_channels:2\r\npubsub_patterns:2\r\n"));
    assert_non_null(strstr(ask(backend, "INFO listeners"),
                           "# Listeners\r\nlisteners:2\r\nlistener_channels:2\r\nlistener_patterns:2\r\n"
                           "listener_messages:4\r\nlisteners_cut:0\r\n"));
    close(one);
    close(two);
    wait_for(&publisher_stats(f->publisher)->listeners, 0);
    assert_string_equal(ask(backend, "PUBLISH chat:1 x"), ":5");
    assert_string_equal(ask(backend, "PUBSUB NUMPAT"), ":0");
    redisFree(backend);
    stop(f);
}

static void a_resp2_listener_may_only_say_what_it_can_be_answered(void **state)
{
    (void)state;
    struct fixture *f = start(NULL, 0);
    int fd = dial_raw(f);
    say(fd, "SUBSCRIBE a\r\nPING\r\nPING hi\r\nPUBLISH a x\r\nECHO x\r\nUNSUBSCRIBE "
            "b\r\nUNSUBSCRIBE\r\nPING\r\n");
    hear(fd, "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n*2\r\n$4\r\npong\r\n$"
             "2\r\nhi\r\n"
             "-ERR Can't execute 'publish': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are "
             "allowed in this context\r\n"
             "-ERR Can't execute 'echo': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are "
             "allowed in this context\r\n"
             "*3\r\n$11\r\nunsubscribe\r\n$1\r\nb\r\n:1\r\n*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n+"
             "PONG\r\n");
    say(fd, "UNSUBSCRIBE\r\nPUNSUBSCRIBE\r\nPUNSUBSCRIBE x\r\nSUBSCRIBE\r\nPUBLISH a x\r\n");
    hear(fd, "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n*3\r\n$12\r\npunsubscribe\r\n$-1\r\n:0\r\n"
             "*3\r\n$12\r\npunsubscribe\r\n$1\r\nx\r\n:0\r\n"
             "-ERR wrong number of arguments for 'subscribe' command\r\n:0\r\n");
    say(fd, "PSUBSCRIBE a* b*\r\nSUBSCRIBE c c\r\nRESET\r\nPUBLISH c x\r\nSUBSCRIBE c\r\nQUIT\r\nPUBLISH c "
            "y\r\n");
    hear(
        fd,
        "*3\r\n$10\r\npsubscribe\r\n$2\r\na*\r\n:1\r\n*3\r\n$10\r\npsubscribe\r\n$2\r\nb*\r\n:2\r\n"
        "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:3\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:3\r\n+RESET\r\n:0\r\n"
        "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n+OK\r\n");
    char rest[8];
    assert_int_equal(recv(fd, rest, sizeof rest, 0), 0);
    wait_for(&publisher_stats(f->publisher)->listeners, 0);
    close(fd);
    stop(f);
}

static void a_resp3_listener_may_say_everything_and_hears_in_pushes(void **state)
{
    (void)state;
    struct fixture *f = start(NULL, 0);
    int fd = dial_raw(f);
    /* Everything in one segment: it begins to listen in the middle of it. */
    say(fd, "HELLO 3\r\nECHO before\r\nSUBSCRIBE a\r\nPSUBSCRIBE *\r\nPUBLISH a x\r\nPING\r\nUNSUBSCRIBE "
            "a\r\nPUNSUBSCRIBE\r\nPUNSUBSCRIBE\r\nPUBLISH a y\r\nQUIT\r\n");
    char text[2048];
    size_t len = read_all(fd, text, sizeof text);
    assert_true(len > 0);
    const char *from = strstr(text, "$6\r\nbefore");
    assert_non_null(from);
    assert_string_equal(
        from, "$6\r\nbefore\r\n"
              ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n>3\r\n$10\r\npsubscribe\r\n$1\r\n*\r\n:2\r\n"
              ">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n"
              ">4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$1\r\na\r\n$1\r\nx\r\n:2\r\n+PONG\r\n"
              ">3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:1\r\n>3\r\n$12\r\npunsubscribe\r\n$1\r\n*\r\n:0\r\n"
              ">3\r\n$12\r\npunsubscribe\r\n_\r\n:0\r\n:0\r\n+OK\r\n");
    close(fd);
    stop(f);
}

static void channels_and_payloads_are_bytes(void **state)
{
    (void)state;
    struct fixture *f = start(NULL, 0);
    redisContext *backend = dial(f);
    int fd = dial_raw(f);
    static const char command[] = "*3\r\n$9\r\nSUBSCRIBE\r\n$3\r\na\0\n\r\n$0\r\n\r\n";
    send_all(fd, command, sizeof command - 1);
    HEAR_BYTES(fd, "*3\r\n$9\r\nsubscribe\r\n$3\r\na\0\n\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$0\r\n\r\n:2\r\n");
    assert_string_equal(ask(backend, "PUBLISH %b %b", "a\0\n", (size_t)3, "\r\n\xff\0", (size_t)4), ":1");
    HEAR_BYTES(fd, "*3\r\n$7\r\nmessage\r\n$3\r\na\0\n\r\n$4\r\n\r\n\xff\0\r\n");
    assert_string_equal(ask(backend, "PUBLISH %b %b", "a\0\n", (size_t)3, "", (size_t)0), ":1");
    HEAR_BYTES(fd, "*3\r\n$7\r\nmessage\r\n$3\r\na\0\n\r\n$0\r\n\r\n");
    close(fd);
    redisFree(backend);
    stop(f);
}

static void events_are_told_to_those_who_ask_for_events(void **state)
{
    (void)state;
    struct topic_rule rule = {.name = "chat:*", .presence = true, .join_leave = true, .history_size = 10};
    struct fixture *f = start_with(&rule, 1, NULL, 0);
    int all = dial_raw(f), events = dial_raw(f);
    say(all, "HELLO 3\r\nPSUBSCRIBE *\r\nECHO end\r\n");
    char text[1024];
    size_t len = 0;
    do {
        ssize_t n = recv(all, text + len, sizeof text - 1 - len, 0);
        assert_true(n > 0);
        len += (size_t)n;
        text[len] = '\0';
    } while (!strstr(text, "$3\r\nend\r\n"));
    say(events, "SUBSCRIBE pushgate:join:chat:1 pushgate:client:chat:1\r\nPSUBSCRIBE pushgate:leave:*\r\n");
    hear(events, "*3\r\n$9\r\nsubscribe\r\n$20\r\npushgate:join:chat:1\r\n:1\r\n"
                 "*3\r\n$9\r\nsubscribe\r\n$22\r\npushgate:client:chat:1\r\n:2\r\n"
                 "*3\r\n$10\r\npsubscribe\r\n$16\r\npushgate:leave:*\r\n:3\r\n");
    char expected[1024];
    client_comes(f, "chat:1", true);
    snprintf(expected, sizeof expected,
             "*3\r\n$7\r\nmessage\r\n$20\r\npushgate:join:chat:1\r\n$%zu\r\n%s\r\n", strlen(ANN), ANN);
    hear(events, expected);
    /* Told to the channel of its name, which `all` hears too, and to those who want to know who it was. */
    assert_int_equal(client_publishes(f, "chat:1", "{\"a\":1}", 7, "{\"t\":\"x\"}"), 2);
    const char envelope[] = "{\"data\":{\"a\":1},\"info\":" ANN ",\"tags\":{\"t\":\"x\"},\"offset\":1}";
    snprintf(expected, sizeof expected,
             "*3\r\n$7\r\nmessage\r\n$22\r\npushgate:client:chat:1\r\n$%zu\r\n%s\r\n", strlen(envelope),
             envelope);
    hear(events, expected);
    hear(all, ">4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$6\r\nchat:1\r\n$7\r\n{\"a\":1}\r\n");
    assert_int_equal(client_publishes(f, "chat:1", "\xff", 1, NULL), 2);
    const char binary[] = "{\"data\":{\"b64data\":\"/w==\"},\"info\":" ANN ",\"offset\":2}";
    snprintf(expected, sizeof expected,
             "*3\r\n$7\r\nmessage\r\n$22\r\npushgate:client:chat:1\r\n$%zu\r\n%s\r\n", strlen(binary),
             binary);
    hear(events, expected);
    HEAR_BYTES(all, ">4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$6\r\nchat:1\r\n$1\r\n\xff\r\n");
    client_comes(f, "chat:1", false);
    snprintf(
        expected, sizeof expected,
        "*4\r\n$8\r\npmessage\r\n$16\r\npushgate:leave:*\r\n$21\r\npushgate:leave:chat:1\r\n$%zu\r\n%s\r\n",
        strlen(ANN), ANN);
    hear(events, expected);
    hear_nothing(all);
    close(all);
    close(events);
    stop(f);
}

static void nobody_can_forge_an_event(void **state)
{
    (void)state;
    struct fixture *f = start(NULL, 0);
    redisContext *backend = dial(f);
    int fd = dial_raw(f);
    say(fd, "SUBSCRIBE pushgate:join:chat last\r\nPSUBSCRIBE pushgate:* *\r\n");
    hear(
        fd,
        "*3\r\n$9\r\nsubscribe\r\n$18\r\npushgate:join:chat\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$4\r\nlast\r\n:"
        "2\r\n"
        "*3\r\n$10\r\npsubscribe\r\n$10\r\npushgate:*\r\n:3\r\n*3\r\n$10\r\npsubscribe\r\n$1\r\n*\r\n:4\r\n");
    assert_string_equal(ask(backend, "PUBLISH pushgate:join:chat {}"), ":0");
    /* A client that may publish to such a topic is told of as one that does. */
    assert_int_equal(client_publishes(f, "pushgate:join:chat", "{}", 2, NULL), 1);
    char expected[512];
    const char envelope[] = "{\"data\":{},\"info\":" ANN "}";
    snprintf(expected, sizeof expected,
             "*4\r\n$8\r\npmessage\r\n$10\r\npushgate:*\r\n$34\r\npushgate:client:pushgate:join:chat\r\n$%"
             "zu\r\n%s\r\n",
             strlen(envelope), envelope);
    hear(fd, expected);
    assert_string_equal(ask(backend, "PUBLISH last x"), ":2");
    hear(fd, "*3\r\n$7\r\nmessage\r\n$4\r\nlast\r\n$1\r\nx\r\n");
    close(fd);
    redisFree(backend);
    stop(f);
}

static void too_much_to_listen_to_is_refused_as_a_whole(void **state)
{
    (void)state;
    struct fixture *f = START("--publish.channels=3", "--publish.patterns=2");
    redisContext *backend = dial(f);
    int fd = dial_raw(f), other = dial_raw(f);
    say(fd, "SUBSCRIBE a b c d\r\nSUBSCRIBE a b\r\nPSUBSCRIBE x* y*\r\nSUBSCRIBE a b c\r\nPSUBSCRIBE x*\r\n");
    hear(fd, "-ERR too many channels: the limit of a connection is 3 (publish.channels)\r\n"
             "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n"
             "-ERR too many channels: the limit of a connection is 3 (publish.channels)\r\n"
             "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:2\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n"
             "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:3\r\n"
             "-ERR too many channels: the limit of a connection is 3 (publish.channels)\r\n");
    say(other, "PSUBSCRIBE x*\r\nPSUBSCRIBE y* z*\r\nPSUBSCRIBE y*\r\n");
    hear(other, "*3\r\n$10\r\npsubscribe\r\n$2\r\nx*\r\n:1\r\n"
                "-ERR too many patterns: the limit of all connections together is 2 (publish.patterns)\r\n"
                "*3\r\n$10\r\npsubscribe\r\n$2\r\ny*\r\n:2\r\n");
    say(fd, "UNSUBSCRIBE c\r\nPSUBSCRIBE z*\r\nPSUBSCRIBE y*\r\n");
    hear(fd, "*3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:2\r\n"
             "-ERR too many patterns: the limit of all connections together is 2 (publish.patterns)\r\n"
             "*3\r\n$10\r\npsubscribe\r\n$2\r\ny*\r\n:3\r\n"); /* one that is there already costs nothing */
    char name[CHANNEL_BYTES_MAX + 2];
    memset(name, 'n', sizeof name);
    assert_string_equal(ask(backend, "SUBSCRIBE %b", name, (size_t)CHANNEL_BYTES_MAX + 1),
                        "-ERR invalid channel: at most 271 bytes");
    assert_string_equal(ask(backend, "PING"), "+PONG");
    close(fd);
    close(other);
    redisFree(backend);
    stop(f);
}

static void whoever_comes_back_subscribes_to_everything_in_one_command(void **state)
{
    (void)state;
    enum { CHANNELS = 10000 };
    struct fixture *f = start(NULL, 0);
    redisContext *backend = dial(f);
    char *command = malloc(CHANNELS * 300), *expected = malloc(CHANNELS * 300);
    assert_true(command && expected);
    size_t len = (size_t)sprintf(command, "*%d\r\n$9\r\nSUBSCRIBE\r\n", CHANNELS + 1), out = 0;
    for (int i = 0; i < CHANNELS; i++) {
        len += (size_t)sprintf(command + len, "$250\r\n%0250d\r\n", i);
        out +=
            (size_t)sprintf(expected + out, "*3\r\n$9\r\nsubscribe\r\n$250\r\n%0250d\r\n:%d\r\n", i, i + 1);
    }
    int fd = dial_raw(f);
    send_all(fd, command, len);
    hear_bytes(fd, expected, out);
    assert_string_equal(ask(backend, "PUBLISH %0250d x", CHANNELS - 1), ":1");
    free(command);
    free(expected);
    close(fd);
    redisFree(backend);
    stop(f);
}

/* What waits for it in this process and the kernel is more than the bound. */
static void a_listener_that_does_not_read_is_cut_and_the_others_hear_on(void **state)
{
    (void)state;
    enum { BYTES = 50000, COUNT = 400 };
    struct fixture *f = START("--publish.outbox_bytes=1MiB", "--limits.message_bytes=64KiB");
    redisContext *backend = dial(f);
    int slow = dial_raw(f), good = dial_raw(f);
    say(slow, "SUBSCRIBE t\r\n");
    say(good, "SUBSCRIBE t\r\n");
    hear(slow, "*3\r\n$9\r\nsubscribe\r\n$1\r\nt\r\n:1\r\n");
    hear(good, "*3\r\n$9\r\nsubscribe\r\n$1\r\nt\r\n:1\r\n");
    char *payload = malloc(BYTES), *expected = malloc(BYTES + 64);
    assert_true(payload && expected);
    size_t worst = 0;
    bool cut = false;
    for (int i = 0; i < COUNT; i++) {
        memset(payload, 'a' + i % 26, BYTES);
        int head = snprintf(expected, 64, "*3\r\n$7\r\nmessage\r\n$1\r\nt\r\n$%d\r\n", BYTES);
        memcpy(expected + head, payload, BYTES);
        memcpy(expected + head + BYTES, "\r\n", 2); // NOLINT(bugprone-not-null-terminated-result): bytes
        const char *reached = ask(backend, "PUBLISH t %b", payload, (size_t)BYTES);
        assert_true(strcmp(reached, ":2") == 0 || strcmp(reached, ":1") == 0);
        cut |= strcmp(reached, ":1") == 0;
        worst += !cut;
        hear_bytes(good, expected, (size_t)head + BYTES + 2);
    }
    assert_true(cut);
    assert_true(worst * BYTES > (size_t)1 << 20); /* the bound was used */
    assert_int_equal(stat_of(&publisher_stats(f->publisher)->listeners_cut), 1);
    assert_int_equal(stat_of(&publisher_stats(f->publisher)->listeners), 1);
    assert_string_equal(ask(backend, "PUBSUB NUMSUB t"), "*[$t :1]");
    /* What the kernel had taken arrives, whole messages in order; then it ends. */
    char sink[65536];
    ssize_t n;
    while ((n = recv(slow, sink, sizeof sink, 0)) > 0)
        ;
    assert_true(n == 0 || errno == ECONNRESET);
    free(payload);
    free(expected);
    close(slow);
    close(good);
    redisFree(backend);
    stop(f);
}

static void a_burst_of_one_turn_cuts_nobody_who_reads(void **state)
{
    (void)state;
    enum { BYTES = 8000, COUNT = 50, PATTERNS = 10 };
    /* One publication is more than the bound for it; the kernel takes some of it meanwhile. */
    struct fixture *f = START("--publish.outbox_bytes=64KiB", "--limits.message_bytes=16KiB");
    redisContext *backend = dial(f), *listener = dial(f);
    for (int i = 0; i < PATTERNS; i++)
        assert_non_null(strstr(ask(listener, "PSUBSCRIBE t%s", &"**********"[i]), "psubscribe"));
    char payload[BYTES];
    memset(payload, 'x', sizeof payload);
    for (int i = 0; i < COUNT; i++) {
        assert_string_equal(ask(backend, "PUBLISH t %b", payload, sizeof payload), ":10");
        for (int j = 0; j < PATTERNS; j++) {
            redisReply *reply = NULL;
            assert_int_equal(redisGetReply(listener, (void **)&reply), REDIS_OK);
            assert_int_equal(reply->elements, 4);
            assert_int_equal(reply->element[3]->len, BYTES);
            freeReplyObject(reply);
        }
    }
    assert_int_equal(stat_of(&publisher_stats(f->publisher)->listeners_cut), 0);
    redisFree(listener);
    redisFree(backend);
    stop(f);
}

/* One for which much waits is still read: or it could not put an end to it. */
static void a_listener_that_does_not_keep_up_may_unsubscribe(void **state)
{
    (void)state;
    enum { BYTES = 50000, COUNT = 400 }; /* more than the kernel takes and REPLIES_MAX */
    struct fixture *f = START("--publish.outbox_bytes=1GiB");
    redisContext *backend = dial(f);
    const struct publisher_stats *stats = publisher_stats(f->publisher);
    int fd = dial_raw(f);
    say(fd, "SUBSCRIBE t\r\n");
    wait_for(&stats->listeners, 1);
    char *payload = malloc(BYTES);
    assert_non_null(payload);
    memset(payload, 'x', BYTES);
    for (int i = 0; i < COUNT; i++)
        assert_string_equal(ask(backend, "PUBLISH t %b", payload, (size_t)BYTES), ":1");
    say(fd, "UNSUBSCRIBE\r\nQUIT\r\n"); /* not a byte was read yet */
    wait_for(&stats->listeners, 0);
    assert_string_equal(ask(backend, "PUBLISH t x"), ":0");
    assert_int_equal(stat_of(&stats->listeners_cut), 0);
    HEAR_BYTES(fd, "*3\r\n$9\r\nsubscribe\r\n$1\r\nt\r\n:1\r\n");
    char *expected = malloc(BYTES + 64);
    assert_non_null(expected);
    int head = snprintf(expected, 64, "*3\r\n$7\r\nmessage\r\n$1\r\nt\r\n$%d\r\n", BYTES);
    memcpy(expected + head, payload, BYTES);
    memcpy(expected + head + BYTES, "\r\n", 2); // NOLINT(bugprone-not-null-terminated-result): bytes
    for (int i = 0; i < COUNT; i++)             /* nothing was lost */
        hear_bytes(fd, expected, (size_t)head + BYTES + 2);
    HEAR_BYTES(fd, "*3\r\n$11\r\nunsubscribe\r\n$1\r\nt\r\n:0\r\n+OK\r\n");
    free(expected);
    free(payload);
    close(fd);
    redisFree(backend);
    stop(f);
}

static void a_listener_that_goes_is_forgotten_at_once(void **state)
{
    (void)state;
    struct fixture *f = start(NULL, 0);
    redisContext *backend = dial(f);
    for (int i = 0; i < 200; i++) {
        int fd = dial_raw(f);
        say(fd, "SUBSCRIBE a b c\r\nPSUBSCRIBE *\r\n");
        wait_for(&publisher_stats(f->publisher)->listener_patterns, 1);
        if (i % 2 == 0)
            shutdown(fd, SHUT_WR); /* its end of the input is its end */
        ask(backend, "PUBLISH a x");
        if (i % 4 == 1) { /* reset, with messages unread */
            struct linger now = {.l_onoff = 1};
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        }
        close(fd);
        wait_for(&publisher_stats(f->publisher)->listeners, 0);
    }
    assert_string_equal(ask(backend, "PUBLISH a x"), ":0");
    redisFree(backend);
    stop(f);
}

static void it_stops_with_listeners_and_what_waits_for_them(void **state)
{
    (void)state;
    struct fixture *f = start(NULL, 0);
    redisContext *backend = dial(f);
    int fds[10];
    for (int i = 0; i < 10; i++) {
        fds[i] = dial_raw(f);
        say(fds[i], "SUBSCRIBE a\r\nPSUBSCRIBE a* b*\r\n");
    }
    wait_for(&publisher_stats(f->publisher)->listeners, 10);
    char payload[60000];
    memset(payload, 'x', sizeof payload);
    for (int i = 0; i < 10; i++)
        ask(backend, "PUBLISH a %b", payload, sizeof payload);
    redisFree(backend);
    stop(f); /* LeakSanitizer looks */
    for (int i = 0; i < 10; i++)
        close(fds[i]);
}

int main(void)
{
    if (!topic_hash_setup())
        return 1;
    log_setup(LOG_ERROR, LOG_FORMAT_LOGFMT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_listener_hears_backends_and_clients_in_order),
        cmocka_unit_test(a_publish_counts_subscribers_channels_and_patterns),
        cmocka_unit_test(a_resp2_listener_may_only_say_what_it_can_be_answered),
        cmocka_unit_test(a_resp3_listener_may_say_everything_and_hears_in_pushes),
        cmocka_unit_test(channels_and_payloads_are_bytes),
        cmocka_unit_test(events_are_told_to_those_who_ask_for_events),
        cmocka_unit_test(nobody_can_forge_an_event),
        cmocka_unit_test(too_much_to_listen_to_is_refused_as_a_whole),
        cmocka_unit_test(whoever_comes_back_subscribes_to_everything_in_one_command),
        cmocka_unit_test(a_listener_that_does_not_read_is_cut_and_the_others_hear_on),
        cmocka_unit_test(a_burst_of_one_turn_cuts_nobody_who_reads),
        cmocka_unit_test(a_listener_that_does_not_keep_up_may_unsubscribe),
        cmocka_unit_test(a_listener_that_goes_is_forgotten_at_once),
        cmocka_unit_test(it_stops_with_listeners_and_what_waits_for_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
