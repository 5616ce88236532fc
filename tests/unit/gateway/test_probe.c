/* The health check against listeners that answer well, badly and not at all. */
#include "gateway/probe.h"

#include "gateway/base/net.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { TEXT = 512, PATIENCE_MS = 300 };

struct answerer {
    int listen_fd;
    const char *answer; /* NULL: accepts, and says nothing until the other side is gone */
    pthread_t thread;
    char asked[256];
};

static void *answer_one(void *argument)
{
    struct answerer *answerer = argument;
    int fd = accept(answerer->listen_fd, NULL, NULL);
    if (fd < 0)
        return NULL;
    ssize_t got = recv(fd, answerer->asked, sizeof answerer->asked - 1, 0);
    answerer->asked[got > 0 ? got : 0] = '\0';
    if (answerer->answer) /* in two pieces: the first line need not come whole */
        for (size_t sent = 0, bytes = strlen(answerer->answer); sent < bytes;) {
            size_t piece = sent == 0 && bytes > 5 ? 5 : bytes - sent;
            if (send(fd, answerer->answer + sent, piece, MSG_NOSIGNAL) < 0)
                break;
            sent += piece;
        }
    else
        (void)!recv(fd, (char[1]){0}, 1, 0);
    close(fd);
    return NULL;
}

/* Listens on `address`; `where` gets what listen.admin would say, its port chosen by the kernel. */
static void answerer_start(struct answerer *answerer, const char *address, const char *answer,
                           char where[TEXT])
{
    struct net_address parsed;
    *answerer = (struct answerer){.answer = answer};
    assert_true(net_parse(address, &parsed, where, TEXT));
    answerer->listen_fd = net_listen(&parsed, 8, false, where, TEXT);
    if (answerer->listen_fd < 0)
        fail_msg("%s", where);
    assert_true(net_local_address(answerer->listen_fd, &parsed));
    net_format(&parsed, where, TEXT);
    int flags = 0; /* blocking: accept() waits for the probe */
    assert_int_equal(fcntl(answerer->listen_fd, F_SETFL, flags), 0);
    assert_int_equal(pthread_create(&answerer->thread, NULL, answer_one, answerer), 0);
}

static void answerer_stop(struct answerer *answerer)
{
    shutdown(answerer->listen_fd, SHUT_RDWR);
    pthread_join(answerer->thread, NULL);
    close(answerer->listen_fd);
}

static bool probe(char *where, char error[TEXT])
{
    struct settings settings = {.listen.admin = where};
    *error = '\0';
    return probe_health(&settings, PATIENCE_MS, error, TEXT);
}

static void a_gateway_that_answers_200_is_healthy_wherever_it_listens(void **state)
{
    (void)state;
    char path[64];
    snprintf(path, sizeof path, "unix:/tmp/pushgate-test-probe-%d", (int)getpid());
    const char *const addresses[] = {"127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "*:0", path};
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
        struct answerer answerer;
        char where[TEXT], error[TEXT];
        answerer_start(&answerer, addresses[i], "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n", where);
        if (!probe(where, error))
            fail_msg("%s: %s", addresses[i], error);
        answerer_stop(&answerer);
        assert_string_equal(answerer.asked, "GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n");
    }
    unlink(path + strlen("unix:"));
}

static void any_other_answer_is_not_health(void **state)
{
    (void)state;
    static const struct {
        const char *answer, *names;
    } cases[] = {
        {"HTTP/1.1 503 Service Unavailable\r\n\r\n", "answers 503"},
        {"HTTP/1.1 404 Not Found\r\n\r\n", "answers 404"},
        {"-ERR unknown command\r\n", "not HTTP"},
        {"HTTP/1.1 20", "not HTTP"},
        {"HTTP/1.1 2x0 OK\r\n\r\n", "not HTTP"},
        {"", "not HTTP"},
        {NULL, "no answer in time"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct answerer answerer;
        char where[TEXT], error[TEXT];
        answerer_start(&answerer, "127.0.0.1:0", cases[i].answer, where);
        assert_false(probe(where, error));
        answerer_stop(&answerer);
        if (!strstr(error, cases[i].names))
            fail_msg("%s: %s", cases[i].names, error);
    }
}

static void nobody_there_is_said(void **state)
{
    (void)state;
    struct answerer answerer;
    char where[TEXT], error[TEXT], none[] = "";
    answerer_start(&answerer, "127.0.0.1:0", "", where);
    answerer_stop(&answerer);
    assert_false(probe(where, error));
    assert_non_null(strstr(error, "Connection refused"));
    assert_false(probe(none, error));
    assert_non_null(strstr(error, "listen.admin is not set"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gateway_that_answers_200_is_healthy_wherever_it_listens),
        cmocka_unit_test(any_other_answer_is_not_health),
        cmocka_unit_test(nobody_there_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
