/* A real publisher thread with one mailbox in place of a reactor, spoken to through hiredis and through bare
 * sockets. */
#include "publisher_fixture.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <sys/wait.h>

static void publish_answers_how_many_connections_it_was_queued_to(void **state)
{
    (void)state;
    struct fixture *f = start(NULL, 0);
    redisContext *redis = dial(f);
    assert_string_equal(ask(redis, "PUBLISH nobody x"), ":0");
    subscribe(f, "news", 41);
    assert_string_equal(ask(redis, "publish news %b", "a\0b", (size_t)3), ":41");
    struct delivery *delivery = (struct delivery *)mailbox_detach(&f->reactor);
    assert_non_null(delivery);
    assert_memory_equal(message_frame(delivery->message, ADAPTER_RAW),
                        "\x81\x03"
                        "a\0b",
                        5);
    message_passed(delivery->message);
    assert_int_equal(counter_read(&publisher_stats(f->publisher)->publish_reached), 41);
    redisFree(redis);
    stop(f);
}

static void limits_of_topic_and_payload_are_told_and_the_connection_stays(void **state)
{
    (void)state;
    struct fixture *f = START("--limits.message_bytes=64KiB");
    redisContext *redis = dial(f);
    char *big = malloc(70000);
    assert_non_null(big);
    memset(big, 'x', 70000);
    assert_string_equal(ask(redis, "PUBLISH %b x", "", (size_t)0), "-ERR invalid topic: 1 to 255 bytes");
    assert_string_equal(ask(redis, "PUBLISH %b x", big, (size_t)256), "-ERR invalid topic: 1 to 255 bytes");
    assert_string_equal(ask(redis, "PUBLISH %b x", big, (size_t)255), ":0");
    assert_string_equal(ask(redis, "PUBLISH t %b", big, (size_t)65536), ":0");
    assert_string_equal(ask(redis, "PUBLISH t %b", big, (size_t)65537),
                        "-ERR message is too large: the limit is 65536 bytes (limits.message_bytes)");
    assert_string_equal(ask(redis, "PUBLISH t x"), ":0");
    free(big);
    redisFree(redis);
    stop(f);
}

static void commands_answer_as_redis_does(void **state)
{
    (void)state;
    struct fixture *f = start(NULL, 0);
    redisContext *redis = dial(f);
    subscribe(f, "chat:1", 1);
    subscribe(f, "chat:2", 2);
    static const char *const table[][2] = {
        {"PING", "+PONG"},
        {"PING hi", "$hi"},
        {"PING a b", "-ERR wrong number of arguments for 'ping' command"},
        {"ECHO hi", "$hi"},
        {"PUBLISH a", "-ERR wrong number of arguments for 'publish' command"},
        {"foo", "-ERR unknown command 'foo', with args beginning with: "},
        {"foo bar baz", "-ERR unknown command 'foo', with args beginning with: 'bar' 'baz' "},
        {"SELECT 0", "+OK"},
        {"SELECT 1", "-ERR DB index is out of range"},
        {"SELECT x", "-ERR value is not an integer or out of range"},
        {"CLIENT GETNAME", "nil"},
        {"CLIENT SETNAME me", "+OK"},
        {"CLIENT GETNAME", "$me"},
        {"CLIENT SETINFO lib-name hiredis", "+OK"},
        {"CLIENT ID", ":1"},
        {"CLIENT SETNAME", "-ERR wrong number of arguments for 'client|setname' command"},
        {"CLIENT FOO", "-ERR unknown subcommand 'FOO'. Try CLIENT HELP."},
        {"CONFIG GET maxmemory", "*[]"},
        {"CONFIG GET save", "*[$save $]"},
        {"COMMAND", "*[]"},
        {"COMMAND DOCS", "*[]"},
        {"COMMAND COUNT", ":27"},
        {"PUBSUB CHANNELS nothing*", "*[]"},
        {"PUBSUB CHANNELS *:1", "*[$chat:1]"},
        {"PUBSUB NUMSUB chat:2 none", "*[$chat:2 :2 $none :0]"},
        {"PUBSUB NUMPAT", ":0"},
        {"AUTH x", "-ERR AUTH <password> called without any password configured for the default user. Are "
                   "you sure your "
                   "configuration is correct?"},
        {"AUTH default x", "+OK"},
        {"HELLO 4", "-NOPROTO unsupported protocol version"},
        {"HELLO x", "-ERR Protocol version is not an integer or out of range"},
        {"HELLO 2 FOO", "-ERR Syntax error in HELLO option 'FOO'"},
        {"RESET", "+RESET"},
        {"CLIENT GETNAME", "nil"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        assert_string_equal(ask(redis, table[i][0]), table[i][1]);
    const char *all = ask(redis, "PUBSUB CHANNELS");
    assert_true(strcmp(all, "*[$chat:1 $chat:2]") == 0 || strcmp(all, "*[$chat:2 $chat:1]") == 0);
    const char *hello = ask(redis, "HELLO 2 SETNAME you");
    assert_non_null(strstr(hello, "*[$server $redis"));
    assert_non_null(strstr(hello, "$proto :2"));
    assert_string_equal(ask(redis, "CLIENT GETNAME"), "$you");
    const char *info = ask(redis, "INFO");
    assert_non_null(strstr(info, "# Server\r\npushgate_version:" PUSHGATE_VERSION "\r\nredis_version:7."));
    assert_non_null(strstr(info, "connected_clients:1\r\n"));
    assert_non_null(strstr(info, "pubsub_channels:2\r\n"));
    info = ask(redis, "INFO clients");
    assert_non_null(strstr(info, "$# Clients"));
    assert_null(strstr(info, "# Server"));
    assert_string_equal(ask(redis, "QUIT"), "+OK");
    assert_string_equal(ask(redis, "PING"), "Server closed the connection");
    redisFree(redis);
    stop(f);
}

static void hello_3_turns_maps_and_null_into_their_newer_form(void **state)
{
    (void)state;
    struct fixture *f = start(NULL, 0);
    int fd = dial_raw(f); /* by hand: not every hiredis reads RESP3 */
    const char commands[] = "CLIENT GETNAME\r\nHELLO 3\r\nCLIENT GETNAME\r\nCONFIG GET x\r\nPUBSUB NUMSUB "
                            "t\r\nHELLO 2\r\nQUIT\r\n";
    send_all(fd, commands, sizeof commands - 1);
    char text[1024];
    read_all(fd, text, sizeof text);
    const char server[] = "$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n$5\r\nproto\r\n";
    const char rest[] = "$2\r\nid\r\n:1\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$"
                        "7\r\nmodules\r\n*0\r\n";
    char expected[1024];
    snprintf(expected, sizeof expected,
             "$-1\r\n%%7\r\n%s:3\r\n%s_\r\n%%0\r\n*2\r\n$1\r\nt\r\n:0\r\n*14\r\n%s:2\r\n%s+OK\r\n", server,
             rest, server, rest);
    assert_string_equal(text, expected);
    close(fd);
    stop(f);
}

static void a_password_guards_everything_but_the_ways_to_give_it(void **state)
{
    (void)state;
    struct fixture *f = START("--publish.password=sesame", "--limits.handshake_timeout=1s");
    redisContext *redis = dial(f);
    assert_string_equal(ask(redis, "PUBLISH t x"), "-NOAUTH Authentication required.");
    assert_string_equal(ask(redis, "PING"), "-NOAUTH Authentication required.");
    assert_non_null(strstr(ask(redis, "HELLO 3"), "-NOAUTH HELLO must be called"));
    const char wrong[] = "-WRONGPASS invalid username-password pair or user is disabled.";
    assert_string_equal(ask(redis, "AUTH sesam"), wrong);
    assert_string_equal(ask(redis, "AUTH sesamesesame"), wrong);
    assert_string_equal(ask(redis, "AUTH %b", "", (size_t)0), wrong);
    assert_string_equal(ask(redis, "AUTH root sesame"), wrong);
    assert_string_equal(ask(redis, "HELLO 2 AUTH default no"), wrong);
    assert_string_equal(ask(redis, "PING"), "-NOAUTH Authentication required.");
    assert_string_equal(ask(redis, "AUTH default sesame"), "+OK");
    assert_string_equal(ask(redis, "PUBLISH t x"), ":0");
    assert_string_equal(ask(redis, "RESET"), "+RESET");
    assert_string_equal(ask(redis, "PING"), "-NOAUTH Authentication required.");
    assert_non_null(strstr(ask(redis, "HELLO 2 AUTH default sesame"), "$proto :2"));
    assert_string_equal(ask(redis, "PING"), "+PONG");
    assert_int_equal(counter_read(&publisher_stats(f->publisher)->auth_failures), 5);

    int stranger = dial_raw(f); /* says nothing */
    char text[16];
    uint64_t began = clock_monotonic_ms();
    assert_int_equal(read_all(stranger, text, sizeof text), 0);
    assert_in_range(clock_monotonic_ms() - began, 900, 4000);
    close(stranger);
    assert_string_equal(ask(redis, "PING"), "+PONG"); /* whoever gave it stays */
    redisFree(redis);
    stop(f);
}

static void strangers_may_not_make_the_gateway_hold_large_commands(void **state)
{
    (void)state;
    struct fixture *f = START("--publish.password=sesame");
    char text[256];
    int fd = dial_raw(f);
    send_all(fd, "*2\r\n$4\r\nAUTH\r\n$16385\r\n", 23);
    read_all(fd, text, sizeof text);
    assert_string_equal(text, "-ERR Protocol error: invalid bulk length\r\n");
    close(fd);
    stop(f);
}

static void malformed_input_closes_that_connection_and_harms_no_other(void **state)
{
    (void)state;
    static const char *const table[][2] = {
        {"*x\r\n", "invalid multibulk length"},
        {"*16385\r\n", "invalid multibulk length"},
        {"*1\r\nPING\r\n", "expected '$', got 'P'"},
        {"*1\r\n$x\r\n", "invalid bulk length"},
        {"*3\r\n$7\r\nPUBLISH\r\n$1\r\nt\r\n$999999999\r\n", "invalid bulk length"},
        {"*1\r\n$-1\r\n", "invalid bulk length"},
        {"*1\r\n$4\r\nPINGPING\r\n", "expected CRLF after bulk string"},
        {"PUBLISH t \"x\r\n", "unbalanced quotes in request"},
        {"*1111111111111111111111111111111111", "invalid multibulk length"},
    };
    enum { CASES = sizeof table / sizeof table[0] };
    struct fixture *f = start(NULL, 0);
    redisContext *other = dial(f);
    for (size_t i = 0; i < CASES; i++) {
        int fd = dial_raw(f);
        char text[256], expected[256];
        send_all(fd, "PING\r\n", 6); /* what came before is answered */
        send_all(fd, table[i][0], strlen(table[i][0]));
        send_all(fd, "PUBLISH t never\r\n", strncmp(table[i][0], "*11", 3) == 0 ? 0 : 17);
        read_all(fd, text, sizeof text);
        snprintf(expected, sizeof expected, "+PONG\r\n-ERR Protocol error: %s\r\n", table[i][1]);
        assert_string_equal(text, expected);
        close(fd);
        assert_string_equal(ask(other, "PING"), "+PONG");
    }
    assert_int_equal(counter_read(&publisher_stats(f->publisher)->protocol_errors), CASES);
    assert_int_equal(counter_read(&publisher_stats(f->publisher)->publishes), 0);
    redisFree(other);
    stop(f);
}

static void a_browser_cannot_be_made_to_publish(void **state)
{
    (void)state;
    struct fixture *f = start(NULL, 0);
    const char *const requests[] = {"POST / HTTP/1.1\r\nHost: x\r\n\r\nPUBLISH t x\r\n",
                                    "PUT / HTTP/1.1\r\nHost: x\r\n\r\nPUBLISH t x\r\n"};
    for (size_t i = 0; i < 2; i++) {
        int fd = dial_raw(f);
        send_all(fd, requests[i], strlen(requests[i]));
        char text[512];
        while (recv(fd, text, sizeof text, 0) > 0)
            ;
        close(fd);
    }
    assert_int_equal(counter_read(&publisher_stats(f->publisher)->publishes), 0);
    stop(f);
}

static void a_command_may_come_byte_by_byte(void **state)
{
    (void)state;
    struct fixture *f = start(NULL, 0);
    int fd = dial_raw(f);
    const char text[] = "*3\r\n$7\r\nPUBLISH\r\n$1\r\nt\r\n$2\r\nhi\r\nPING\r\nQUIT\r\n";
    for (size_t i = 0; i + 1 < sizeof text; i++) {
        send_all(fd, text + i, 1);
        pause_ms(1);
    }
    char reply[64];
    read_all(fd, reply, sizeof reply);
    assert_string_equal(reply, ":0\r\n+PONG\r\n+OK\r\n");
    close(fd);
    stop(f);
}

static void large_payloads_in_a_pipeline_arrive_whole_and_in_order(void **state)
{
    (void)state;
    enum { COUNT = 60, BYTES = 300000 };
    struct fixture *f = START("--limits.message_bytes=1MiB", "--limits.inflight_bytes=64MiB");
    subscribe(f, "t", 1);
    redisContext *redis = dial(f);
    char *payload = malloc(BYTES);
    assert_non_null(payload);
    for (int i = 0; i < COUNT; i++) {
        memset(payload, 'a' + i % 26, BYTES);
        redisAppendCommand(redis, "PUBLISH t %b", payload, (size_t)(BYTES - i * 1000));
    }
    for (int i = 0; i < COUNT; i++) {
        redisReply *reply;
        assert_int_equal(redisGetReply(redis, (void **)&reply), REDIS_OK);
        assert_int_equal(reply->integer, 1);
        freeReplyObject(reply);
    }
    int i = 0;
    for (struct mailbox_node *node = mailbox_detach(&f->reactor), *next; node; node = next, i++) {
        next = node->next;
        struct message *message = ((struct delivery *)node)->message;
        assert_int_equal(message->frames[ADAPTER_RAW].bytes, 10 + BYTES - i * 1000);
        const uint8_t *frame = message_frame(message, ADAPTER_RAW);
        assert_int_equal(frame[10], 'a' + i % 26);
        assert_int_equal(frame[9 + BYTES - i * 1000], 'a' + i % 26);
        message_passed(message);
    }
    assert_int_equal(i, COUNT);
    free(payload);
    redisFree(redis);
    stop(f);
}

static void whoever_is_told_subscribed_is_reached_by_the_next_publish(void **state)
{
    (void)state;
    struct fixture *f = start(NULL, 0);
    redisContext *redis = dial(f);
    for (int i = 0; i < 500;
         i++) { /* the interest is pushed before the command is sent: it must always count */
        char topic[32], expected[16];
        snprintf(topic, sizeof topic, "t%d", i);
        snprintf(expected, sizeof expected, ":%d", i + 1);
        subscribe(f, topic, (uint32_t)i + 1);
        assert_string_equal(ask(redis, "PUBLISH %s x", topic), expected);
    }
    redisFree(redis);
    stop(f);
}

static void congestion_holds_publishers_back_and_loses_nothing(void **state)
{
    (void)state;
    enum { COUNT = 3000 };
    struct fixture *f = START("--limits.inflight_bytes=1MiB");
    subscribe(f, "t", 1);
    redisContext *redis = dial(f), *other = dial(f);
    char payload[1000];
    memset(payload, 'x', sizeof payload);
    int fd = dial_raw(f);
    assert_true(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    char command[1100];
    int head = snprintf(command, sizeof command, "*3\r\n$7\r\nPUBLISH\r\n$1\r\nt\r\n$1000\r\n");
    // NOLINTNEXTLINE(bugprone-not-null-terminated-result): bytes, not text
    memcpy(command + head, payload, sizeof payload);
    // NOLINTNEXTLINE(bugprone-not-null-terminated-result): bytes, not text
    memcpy(command + head + 1000, "\r\n", 2);
    size_t total = (size_t)COUNT * ((size_t)head + 1002), sent = 0;
    uint64_t began = clock_monotonic_ms(), stood_still = began;
    /* Nobody takes deliveries: it must come to a stand. */
    while (sent < total && clock_monotonic_ms() - stood_still < 300) {
        size_t at = sent % ((size_t)head + 1002);
        ssize_t n = send(fd, command + at, (size_t)head + 1002 - at, MSG_NOSIGNAL);
        if (n > 0) {
            sent += (size_t)n;
            stood_still = clock_monotonic_ms();
        } else {
            pause_ms(2);
        }
    }
    while (!broker_congested(f->broker) && clock_monotonic_ms() - began < 10000)
        pause_ms(2); /* the kernel may have taken everything before the publisher has seen half */
    pause_ms(50);
    assert_in_range(broker_inflight_bytes(f->broker), 1 << 20, (1 << 20) + 2000);
    uint64_t wakes = counter_read(&publisher_stats(f->publisher)->wakes);
    pause_ms(100);
    assert_true(counter_read(&publisher_stats(f->publisher)->wakes) - wakes <
                200); /* it polls, it does not spin */
    /* Whoever does not publish is served meanwhile. */
    assert_string_equal(ask(other, "PING"), "+PONG");
    assert_non_null(strstr(ask(other, "INFO"), "# Stats"));
    /* One more publisher waits its turn, and is answered in the end. */
    redisAppendCommand(redis, "PUBLISH t last");
    unsigned taken = 0;
    char replies[4096];
    while (taken < COUNT + 1 && clock_monotonic_ms() - began < 20000) {
        taken += drop_deliveries(f);
        size_t at = sent % ((size_t)head + 1002);
        ssize_t n = sent < total ? send(fd, command + at, (size_t)head + 1002 - at, MSG_NOSIGNAL) : -1;
        if (n > 0)
            sent += (size_t)n;
        while (recv(fd, replies, sizeof replies, 0) > 0)
            ;
        int done = 0;
        redisBufferWrite(redis, &done);
    }
    assert_int_equal(taken, COUNT + 1);
    redisReply *reply;
    assert_int_equal(redisGetReply(redis, (void **)&reply), REDIS_OK);
    assert_int_equal(reply->integer, 1);
    freeReplyObject(reply);
    close(fd);
    redisFree(redis);
    redisFree(other);
    stop(f);
}

static void what_a_publisher_sent_before_it_left_is_published(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    struct fixture *f = START("--limits.inflight_bytes=1MiB");
    subscribe(f, "t", 1);
    int fd = dial_raw(f);
    static char text[COUNT * 13];
    for (int i = 0; i < COUNT; i++)
        // NOLINTNEXTLINE(bugprone-not-null-terminated-result): bytes, not text
        memcpy(text + (size_t)i * 13, "PUBLISH t x\r\n", 13);
    assert_true(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    unsigned taken = 0;
    for (size_t sent = 0; sent < sizeof text;) {
        ssize_t n = send(fd, text + sent, sizeof text - sent, MSG_NOSIGNAL);
        if (n > 0)
            sent += (size_t)n;
        taken += drop_deliveries(f);
    }
    shutdown(fd, SHUT_WR); /* blocked by congestion at this moment, with the end behind its commands */
    for (int i = 0; i < 5000 && taken < COUNT; i++) {
        pause_ms(1);
        taken += drop_deliveries(f);
    }
    assert_int_equal(taken, COUNT);
    close(fd);
    stop(f);
}

static void a_client_that_does_not_read_replies_is_not_read_and_loses_none(void **state)
{
    (void)state;
    struct fixture *f = START("--limits.message_bytes=64KiB");
    int fd = dial_raw(f);
    redisContext *other = dial(f);
    assert_true(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    enum { BYTES = 50000 };
    char *command = malloc(BYTES + 64);
    assert_non_null(command);
    int head = snprintf(command, 64, "*2\r\n$4\r\nECHO\r\n$%d\r\n", BYTES);
    memset(command + head, 'e', BYTES);
    // NOLINTNEXTLINE(bugprone-not-null-terminated-result): bytes, not text
    memcpy(command + head + BYTES, "\r\n", 2);
    size_t one = (size_t)head + BYTES + 2, sent = 0, got = 0;
    uint64_t stood_still = clock_monotonic_ms();
    while (clock_monotonic_ms() - stood_still < 300) {
        ssize_t n = send(fd, command + sent % one, one - sent % one, MSG_NOSIGNAL);
        if (n > 0) {
            sent += (size_t)n;
            stood_still = clock_monotonic_ms();
        } else {
            pause_ms(2);
        }
        assert_true(sent < 100u << 20); /* it must come to a stand */
    }
    assert_string_equal(ask(other, "PING"), "+PONG");
    size_t commands = sent / one, expected = commands * (BYTES + 10); /* "$50000\r\n" … "\r\n" */
    uint64_t began = clock_monotonic_ms();
    static char sink[65536];
    while (got < expected && clock_monotonic_ms() - began < 20000) {
        ssize_t n = recv(fd, sink, sizeof sink, 0);
        if (n > 0)
            got += (size_t)n;
        else
            pause_ms(1);
    }
    assert_int_equal(got, expected);
    free(command);
    close(fd);
    redisFree(other);
    stop(f);
}

static void a_flood_does_not_starve_a_quiet_publisher(void **state)
{
    (void)state;
    struct fixture *f = start(NULL, 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) { /* floods until it is killed */
        int fd = dial_raw(f);
        static char text[13 * 5000];
        for (int i = 0; i < 5000; i++)
            // NOLINTNEXTLINE(bugprone-not-null-terminated-result): bytes, not text
            memcpy(text + (size_t)i * 13, "PUBLISH t x\r\n", 13);
        fcntl(fd, F_SETFL, O_NONBLOCK);
        for (size_t at = 0;;) {
            ssize_t n = send(fd, text + at, sizeof text - at, MSG_NOSIGNAL);
            at = n > 0 ? (at + (size_t)n) % sizeof text : at;
            static char sink[65536];
            if (recv(fd, sink, sizeof sink, 0) == 0)
                _exit(0);
        }
    }
    redisContext *redis = dial(f);
    uint64_t worst = 0;
    for (int i = 0; i < 100; i++) {
        uint64_t began = clock_monotonic_ms();
        assert_string_equal(ask(redis, "PUBLISH t x"), ":0");
        uint64_t took = clock_monotonic_ms() - began;
        worst = took > worst ? took : worst;
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_true(worst < 1000);
    redisFree(redis);
    stop(f);
}

static void the_limit_of_publishers_is_told_and_holds(void **state)
{
    (void)state;
    struct fixture *f = START("--limits.publishers=2");
    redisContext *one = dial(f), *two = dial(f);
    assert_string_equal(ask(one, "PING"), "+PONG");
    assert_string_equal(ask(two, "PING"), "+PONG");
    int fd = dial_raw(f);
    char text[128];
    read_all(fd, text, sizeof text);
    assert_string_equal(text, "-ERR max number of clients reached\r\n");
    close(fd);
    redisFree(two);
    for (int i = 0; i < 100 && counter_read(&publisher_stats(f->publisher)->connections) > 1; i++)
        pause_ms(10);
    two = dial(f);
    assert_string_equal(ask(two, "PING"), "+PONG");
    redisFree(one);
    redisFree(two);
    stop(f);
}

static void without_descriptors_it_pauses_and_goes_on_when_there_are_some(void **state)
{
    (void)state;
    struct fixture *f = start(NULL, 0);
    redisContext *before = dial(f);
    assert_string_equal(ask(before, "PING"), "+PONG");
    int waiting = dial_raw(f); /* its descriptor exists here before the limit is set */
    pause_ms(20);
    int late = socket(AF_INET, SOCK_STREAM, 0);
    struct rlimit limit, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = limit;
    none.rlim_cur = 3;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_int_equal(connect(late, (struct sockaddr *)&f->address.storage, f->address.len), 0);
    pause_ms(30);
    uint64_t wakes = counter_read(&publisher_stats(f->publisher)->wakes);
    pause_ms(300);
    assert_true(counter_read(&publisher_stats(f->publisher)->wakes) - wakes < 20); /* no spin */
    assert_string_equal(ask(before, "PING"), "+PONG");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    send_all(late, "PING\r\n", 6);
    char text[16];
    assert_int_equal(recv(late, text, sizeof text, 0), 7);
    close(late);
    close(waiting);
    redisFree(before);
    stop(f);
}

static void an_idle_publisher_sleeps(void **state)
{
    (void)state;
    struct fixture *f = start(NULL, 0);
    redisContext *redis = dial(f);
    subscribe(f, "t", 1);
    assert_string_equal(ask(redis, "PUBLISH t x"), ":1");
    pause_ms(50);
    uint64_t wakes = counter_read(&publisher_stats(f->publisher)->wakes);
    pause_ms(200);
    assert_int_equal(counter_read(&publisher_stats(f->publisher)->wakes), wakes);
    redisFree(redis);
    stop(f);
}

static void it_stops_with_connections_open_and_commands_half_sent(void **state)
{
    (void)state;
    struct fixture *f = start(NULL, 0);
    int fds[20];
    for (int i = 0; i < 20; i++) {
        fds[i] = dial_raw(f);
        send_all(fds[i], "*3\r\n$7\r\nPUBL", (size_t)i % 12);
    }
    pause_ms(20);
    stop(f); /* LeakSanitizer looks */
    for (int i = 0; i < 20; i++)
        close(fds[i]);
}

/* Runs a tool; its exit status, 127 when it is not installed. */
static int tool(char *const *arguments)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 0);
        dup2(null, 1);
        dup2(null, 2);
        execvp(arguments[0], arguments);
        _exit(127);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void redis_cli_and_redis_benchmark_work(void **state)
{
    (void)state;
    struct fixture *f = start(NULL, 0);
    char port[16];
    snprintf(port, sizeof port, "%d", f->port);
    int cli = tool((char *[]){"redis-cli", "-3", "-p", port, "publish", "t", "x", NULL});
    int bench = tool((char *[]){"redis-benchmark", "-p", port, "-P", "16", "-n", "20000", "-q", "publish",
                                "t", "x", NULL});
    uint64_t published = counter_read(&publisher_stats(f->publisher)->publishes);
    stop(f);
    if (cli == 127 || bench == 127)
        skip();
    assert_int_equal(cli, 0);
    assert_int_equal(bench, 0);
    assert_true(published >= 20001);
}

int main(void)
{
    if (!topic_hash_setup())
        return 1;
    log_setup(LOG_ERROR, LOG_FORMAT_LOGFMT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(publish_answers_how_many_connections_it_was_queued_to),
        cmocka_unit_test(limits_of_topic_and_payload_are_told_and_the_connection_stays),
        cmocka_unit_test(commands_answer_as_redis_does),
        cmocka_unit_test(hello_3_turns_maps_and_null_into_their_newer_form),
        cmocka_unit_test(a_password_guards_everything_but_the_ways_to_give_it),
        cmocka_unit_test(strangers_may_not_make_the_gateway_hold_large_commands),
        cmocka_unit_test(malformed_input_closes_that_connection_and_harms_no_other),
        cmocka_unit_test(a_browser_cannot_be_made_to_publish),
        cmocka_unit_test(a_command_may_come_byte_by_byte),
        cmocka_unit_test(large_payloads_in_a_pipeline_arrive_whole_and_in_order),
        cmocka_unit_test(whoever_is_told_subscribed_is_reached_by_the_next_publish),
        cmocka_unit_test(congestion_holds_publishers_back_and_loses_nothing),
        cmocka_unit_test(what_a_publisher_sent_before_it_left_is_published),
        cmocka_unit_test(a_client_that_does_not_read_replies_is_not_read_and_loses_none),
        cmocka_unit_test(a_flood_does_not_starve_a_quiet_publisher),
        cmocka_unit_test(the_limit_of_publishers_is_told_and_holds),
        cmocka_unit_test(without_descriptors_it_pauses_and_goes_on_when_there_are_some),
        cmocka_unit_test(an_idle_publisher_sleeps),
        cmocka_unit_test(it_stops_with_connections_open_and_commands_half_sent),
        cmocka_unit_test(redis_cli_and_redis_benchmark_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
