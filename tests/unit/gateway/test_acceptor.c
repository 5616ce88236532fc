/* What an acceptor does at its limits, and at its end. */
#include "acceptor_stand.h"

#include "gateway/base/log.h"

/* The next so many calls of accept4() fail with this error. */
static _Atomic int accept_fails, accept_error;

int __real_accept4(int fd, struct sockaddr *address, socklen_t *bytes, int flags);
int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *bytes, int flags);
int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *bytes, int flags)
{
    int left = atomic_load(&accept_fails);
    if (left == 0)
        return __real_accept4(fd, address, bytes, flags);
    atomic_store(&accept_fails, left - 1); /* one acceptor calls this */
    errno = atomic_load(&accept_error);
    return -1;
}

static enum log_level level_before;

/* What is logged from here on goes to a file. */
static int capture(int *saved)
{
    level_before = log_get_level();
    FILE *file = tmpfile();
    assert_non_null(file);
    int fd = dup(fileno(file));
    fclose(file);
    *saved = dup(STDERR_FILENO);
    assert_true(fd >= 0 && *saved >= 0 && dup2(fd, STDERR_FILENO) >= 0);
    log_set_level(LOG_WARN);
    return fd;
}

/* All of it, which holds for the test's life. */
static const char *release(int fd, int saved)
{
    static char text[16384];
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    log_set_level(level_before);
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    assert_true(n >= 0);
    text[n] = '\0';
    close(fd);
    close(saved);
    return text;
}

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
    int saved, log = capture(&saved);
    for (int i = 0; i < SLOTS; i++) {
        fds[i] = dial(stand, 1);
        publish(fds[i]); /* and the broker does not answer */
    }
    wait_for(&stats->handshaking, SLOTS - 1);
    wait_for(&stats->accept_pauses, 2); /* the first is over */
    assert_non_null(strstr(release(log, saved), "level=warn event=accept_paused acceptor=0 "
                                                "reason=handshakes under_way=4095\n"));
    uint64_t wakes = counter_read(&stats->wakes);
    pause_ms(300);
    assert_true(counter_read(&stats->wakes) - wakes < 50);
    uint64_t accepted = counter_read(&stats->accepted[TRANSPORT_WS]);
    for (int i = 0; i < 10; i++)
        close(fds[i]);
    wait_for(&stats->accepted[TRANSPORT_WS], accepted + 1);
    assert_int_equal(counter_read(&stats->accept_errors), 0);
    for (int i = 10; i < SLOTS; i++)
        close(fds[i]);
    stand_free(stand);
}

/* It had to pause, because they had only just come. */
static void whoever_takes_the_last_slots_and_says_nothing_makes_room_after_the_pause(void **state)
{
    (void)state;
    if (!many_descriptors())
        skip();
    struct stand *stand = stand_new_with((struct stand_options){.demo = true});
    const struct acceptor_stats *stats = acceptor_stats(stand->acceptor);
    static int fds[SLOTS], silent[100];
    enum { SILENT = sizeof silent / sizeof *silent, BUSY = SLOTS - 20 };
    for (int i = 0; i < BUSY; i++) {
        fds[i] = dial(stand, 1);
        publish(fds[i]); /* and the broker does not answer */
    }
    wait_for(&stats->handshaking, BUSY);
    for (int i = 0; i < SILENT; i++)
        silent[i] = dial(stand, 1);
    int polite = dial(stand, 2);
    ask(polite);
    wait_for(&stats->transferred, 1);
    assert_in_range(counter_read(&stats->failures[HANDSHAKE_CROWDED_OUT]), 1, SILENT);
    assert_true(counter_read(&stats->accept_pauses) >= 1);
    close(polite);
    for (int i = 0; i < BUSY; i++)
        close(fds[i]);
    for (int i = 0; i < SILENT; i++)
        close(silent[i]);
    stand_free(stand);
}

static void errors_of_accept_that_last_are_counted_and_others_are_passed_over(void **state)
{
    (void)state;
    static const struct {
        int error;
        bool lasts;
    } errors[] = {{ECONNABORTED, false}, {EINTR, false}, {EPROTO, false}, {EMFILE, true},
                  {ENOMEM, true},        {EINVAL, true}, {EPERM, false}};
    struct stand *stand = stand_new(0, 0);
    const struct acceptor_stats *stats = acceptor_stats(stand->acceptor);
    int saved, log = capture(&saved);
    uint64_t counted = 0;
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        atomic_store(&accept_error, errors[i].error);
        atomic_store(&accept_fails, errors[i].lasts ? 1 : 3);
        int fd = dial(stand, 1);
        wait_for(&stats->accepted[TRANSPORT_WS], i + 1); /* in the end, it is let in */
        assert_int_equal(atomic_load(&accept_fails), 0);
        counted += errors[i].lasts;
        assert_int_equal(counter_read(&stats->accept_errors), counted);
        close(fd);
    }
    const char *said = release(log, saved);
    assert_non_null(
        strstr(said, "event=accept_paused acceptor=0 reason=kernel error=\"Too many open files\"\n"));
    assert_null(strstr(said, "abort"));
    assert_int_equal(counter_read(&stats->accept_pauses), 0);
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
    assert_non_null(strstr(answer, "the backend says who may subscribe (proxy.subscribe)"));
    assert_non_null(strstr(answer, "subscribe on /connection/websocket\n"));
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
        cmocka_unit_test(whoever_takes_the_last_slots_and_says_nothing_makes_room_after_the_pause),
        cmocka_unit_test(errors_of_accept_that_last_are_counted_and_others_are_passed_over),
        cmocka_unit_test(an_address_past_its_limit_cannot_take_all_handshakes),
        cmocka_unit_test(an_address_past_its_limit_is_told_429),
        cmocka_unit_test(no_topic_of_a_url_comes_past_the_backend_that_decides),
        cmocka_unit_test(a_reactor_that_does_not_keep_up_makes_newcomers_hear_503),
        cmocka_unit_test(a_drain_answers_everybody_who_has_come_and_ends),
        cmocka_unit_test(a_drain_waits_for_a_reactor_no_longer_than_close_timeout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
