/* What an acceptor does at its limits, and at its end. */
#include "acceptor_stand.h"

static void publish(int fd)
{
    static const char request[] = "POST /publish?topic=a HTTP/1.1\r\nHost: localhost\r\n"
                                  "Origin: http://localhost\r\nContent-Length: 1\r\n\r\na";
    assert_int_equal(send(fd, request, sizeof request - 1, MSG_NOSIGNAL), sizeof request - 1);
}

/* Of those that wait for us: their time is not theirs to waste. */
static void full_of_handshakes_it_sleeps_and_accepts_again_when_one_ends(void **state)
{
    (void)state;
    if (!many_descriptors())
        skip();
    struct stand *stand = stand_new_with((struct stand_options){.demo = true});
    const struct acceptor_stats *stats = acceptor_stats(stand->acceptor);
    static int fds[SLOTS];
    for (int i = 0; i < SLOTS; i++) {
        fds[i] = dial(stand, 1);
        publish(fds[i]); /* and the broker does not answer */
    }
    wait_for(&stats->handshaking, SLOTS - 1);
    pause_ms(250); /* the first pause is over */
    uint64_t wakes = counter_read(&stats->wakes);
    pause_ms(300);
    assert_true(counter_read(&stats->wakes) - wakes < 50);
    uint64_t accepted = counter_read(&stats->accepted[TRANSPORT_WS]);
    for (int i = 0; i < 10; i++)
        close(fds[i]);
    wait_for(&stats->accepted[TRANSPORT_WS], accepted + 1);
    for (int i = 10; i < SLOTS; i++)
        close(fds[i]);
    stand_free(stand);
}

static void an_address_past_its_limit_cannot_take_all_handshakes(void **state)
{
    (void)state;
    if (!many_descriptors())
        skip();
    struct stand *stand = stand_new(2, 0);
    const struct acceptor_stats *stats = acceptor_stats(stand->acceptor);
    static int fds[SLOTS];
    for (int i = 0; i < SLOTS; i++)
        fds[i] = dial(stand, 1); /* and not a word */
    wait_for(&stats->accepted[TRANSPORT_WS], SLOTS - 1);
    int polite = dial(stand, 2);
    ask(polite);
    wait_for(&stats->transferred, 1);
    assert_true(counter_read(&stats->failures[HANDSHAKE_PER_IP]) > SLOTS / 2);
    close(polite);
    for (int i = 0; i < SLOTS; i++)
        close(fds[i]);
    stand_free(stand);
}

/* Few at a time hear why. */
static void an_address_past_its_limit_is_told_429(void **state)
{
    (void)state;
    struct stand *stand = stand_new(1, 0);
    int first = dial(stand, 1), second = dial(stand, 1);
    wait_for(&acceptor_stats(stand->acceptor)->accepted[TRANSPORT_WS], 2);
    ask(second);
    char answer[512] = "";
    assert_true(recv(second, answer, sizeof answer - 1, 0) > 0);
    assert_memory_equal(answer, "HTTP/1.1 429 ", 13);
    assert_non_null(strstr(answer, "Retry-After:"));
    close(first);
    close(second);
    stand_free(stand);
}

enum { CROWD = 400 };

/* Many who ask for a reactor that takes nobody: its socket and the batch before it are full afterwards. */
static const struct acceptor_stats *crowd_in(const struct stand *stand, int fds[static CROWD])
{
    for (int i = 0; i < CROWD; i++) {
        fds[i] = dial(stand, 1);
        ask(fds[i]);
    }
    const struct acceptor_stats *stats = acceptor_stats(stand->acceptor);
    wait_for(&stats->failures[HANDSHAKE_TRANSFER], CROWD / 4);
    return stats;
}

/* Whoever comes then hears 503, nobody just an end. */
static void a_reactor_that_does_not_keep_up_makes_newcomers_hear_503(void **state)
{
    (void)state;
    struct stand *stand = stand_new(0, 16384);
    int fds[CROWD];
    const struct acceptor_stats *stats = crowd_in(stand, fds);
    pause_ms(100);
    uint32_t refused = 0;
    for (int i = 0; i < CROWD; i++) {
        char answer[512];
        ssize_t n = recv(fds[i], answer, sizeof answer, MSG_DONTWAIT);
        if (n < 0) {
            assert_int_equal(errno, EAGAIN);
            continue;
        }
        assert_true(n > 13);
        assert_memory_equal(answer, "HTTP/1.1 503 ", 13);
        refused++;
    }
    assert_int_equal(refused, counter_read(&stats->failures[HANDSHAKE_TRANSFER]));
    assert_int_equal(atomic_load(&stand->port.load), CROWD - refused);
    for (int i = 0; i < CROWD; i++)
        close(fds[i]);
    stand_free(stand);
}

static void no_topic_of_a_url_comes_past_the_backend_that_decides(void **state)
{
    (void)state;
    struct stand *stand = stand_new_with((struct stand_options){.subscribe_hook = "http://127.0.0.1:1/"});
    int fd = dial(stand, 1);
    char answer[512] = "";
    struct pollfd answered = {.fd = fd, .events = POLLIN};
    ask(fd);
    assert_int_equal(poll(&answered, 1, PATIENCE_MS), 1);
    assert_true(recv(fd, answer, sizeof answer - 1, 0) > 0);
    assert_non_null(strstr(answer, " 403 "));
    assert_int_equal(counter_read(&acceptor_stats(stand->acceptor)->failures[HANDSHAKE_HTTP_TOKEN]), 1);
    close(fd);
    stand_free(stand);
}

/* Also those whom the kernel has let in and nobody has accepted yet. */
static void a_drain_answers_everybody_who_has_come_and_ends(void **state)
{
    (void)state;
    struct stand *stand = stand_new(0, 0);
    enum { COMERS = 200 };
    int fds[COMERS];
    for (int i = 0; i < COMERS; i++)
        fds[i] = dial(stand, 1);
    assert_int_equal(send(fds[0], "GET /ws?top", 11, MSG_NOSIGNAL), 11);
    acceptor_drain(stand->acceptor);
    for (int i = 0; i < COMERS; i++) {
        char answer[512] = "";
        struct pollfd answered = {.fd = fds[i], .events = POLLIN};
        assert_int_equal(poll(&answered, 1, PATIENCE_MS), 1);
        assert_true(recv(fds[i], answer, sizeof answer - 1, 0) > 13); /* no reset */
        assert_memory_equal(answer, "HTTP/1.1 503 ", 13);
        assert_non_null(strstr(answer, "Retry-After:"));
        close(fds[i]);
    }
    join(stand); /* by itself */
    assert_true(acceptor_drained(stand->acceptor));
    int late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(late, (struct sockaddr *)&stand->address, sizeof stand->address), -1);
    assert_int_equal(errno, ECONNREFUSED);
    close(late);
    assert_int_equal(counter_read(&acceptor_stats(stand->acceptor)->failures[HANDSHAKE_DRAIN]), COMERS);
    stand->joined = true;
    stand_free(stand);
}

static void a_drain_waits_for_a_reactor_no_longer_than_close_timeout(void **state)
{
    (void)state;
    struct stand *stand = stand_new(0, 16384);
    int fds[CROWD];
    const struct acceptor_stats *stats = crowd_in(stand, fds);
    acceptor_drain(stand->acceptor);
    for (int ms = 0; !acceptor_drained(stand->acceptor); ms += 2) {
        assert_true(ms < PATIENCE_MS);
        pause_ms(2);
    }
    assert_int_equal(atomic_load(&stand->port.load), counter_read(&stats->transferred));
    for (int i = 0; i < CROWD; i++)
        close(fds[i]);
    join(stand);
    stand->joined = true;
    stand_free(stand);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_of_handshakes_it_sleeps_and_accepts_again_when_one_ends),
        cmocka_unit_test(an_address_past_its_limit_cannot_take_all_handshakes),
        cmocka_unit_test(an_address_past_its_limit_is_told_429),
        cmocka_unit_test(no_topic_of_a_url_comes_past_the_backend_that_decides),
        cmocka_unit_test(a_reactor_that_does_not_keep_up_makes_newcomers_hear_503),
        cmocka_unit_test(a_drain_answers_everybody_who_has_come_and_ends),
        cmocka_unit_test(a_drain_waits_for_a_reactor_no_longer_than_close_timeout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
