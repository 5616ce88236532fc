/* admin: a real listener on loopback, a stub in the broker's place, and clients that behave and misbehave. */
#include "gateway/admin.h"
#include "gateway/base/clock.h"
#include "gateway/base/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

enum { ACCEPTORS = 1, REACTORS = 2, ANSWER_MAX = 1 << 18 };

/* Answers requests as the publisher's thread does: `queued` is the payload's length; a payload "refuse" gets
 * -1. */
struct stub_broker {
    struct mailbox mail;
    pthread_t thread;
    _Atomic bool stop, silent; /* silent: takes requests and never answers */
    _Atomic unsigned taken;
    char last_topic[256];
};

struct fixture {
    struct settings settings;
    struct config *config;
    struct acceptor_stats acceptor_stats[ACCEPTORS];
    struct reactor_stats reactor_stats[REACTORS];
    struct publisher_stats publisher_stats;
    const struct acceptor_stats *acceptors[ACCEPTORS];
    const struct reactor_stats *reactors[REACTORS];
    struct control control; /* of which only the phase is looked at */
    struct stub_broker broker;
    struct admin *admin;
    struct net_address address;
    char answer[ANSWER_MAX];
};

static void stub_take(struct stub_broker *broker, struct mailbox_node *node)
{
    struct broker_request *request = (struct broker_request *)(void *)node;
    struct text topic = request->topic, payload = request->payload;
    memcpy(broker->last_topic, topic.data, topic.bytes);
    broker->last_topic[topic.bytes] = '\0';
    request->queued = (int64_t)payload.bytes;
    if (payload.bytes == 6 && memcmp(payload.data, "refuse", 6) == 0)
        request->queued = -1;
    if (payload.bytes == 4 && memcmp(payload.data, "busy", 4) == 0)
        request->result = BROKER_BUSY;
    atomic_fetch_add(&broker->taken, 1);
    if (atomic_load(&broker->silent))
        broker_request_destroy(request);
    else
        mailbox_push(request->reply_to, node);
}

static void *stub_run(void *context)
{
    struct stub_broker *broker = context;
    struct pollfd wait = {.fd = broker->mail.wake_fd, .events = POLLIN};
    while (!atomic_load(&broker->stop)) {
        poll(&wait, 1, -1);
        mailbox_clear_wake(&broker->mail);
        for (struct mailbox_node *node = mailbox_detach(&broker->mail); node;) {
            struct mailbox_node *next = node->next;
            stub_take(broker, node);
            node = next;
        }
    }
    return NULL;
}

static void read_setting(struct fixture *f, const char *argument)
{
    char error[256];
    if (!config_read_argument(f->config, argument, error, sizeof error))
        fail_msg("%s", error);
}

/* `setting` is read before the listener opens; NULL: none. */
static int set_up_with(void **state, uint64_t request_ms, const char *setting)
{
    struct fixture *f = calloc(1, sizeof *f);
    char error[256];
    *state = f;
    f->config = settings_config(&f->settings);
    assert_non_null(f->config);
    if (setting)
        read_setting(f, setting);
    for (size_t i = 0; i < ACCEPTORS; i++)
        f->acceptors[i] = &f->acceptor_stats[i];
    for (size_t i = 0; i < REACTORS; i++)
        f->reactors[i] = &f->reactor_stats[i];
    assert_true(mailbox_init(&f->broker.mail));
    assert_int_equal(pthread_create(&f->broker.thread, NULL, stub_run, &f->broker), 0);
    struct net_address address;
    assert_true(net_parse("127.0.0.1:0", &address, error, sizeof error));
    int fd = net_listen(&address, 512, false, error, sizeof error);
    assert_true(fd >= 0);
    assert_true(net_local_address(fd, &f->address));
    const struct admin_config config = {
        .settings = &f->settings,
        .listen_fd = fd,
        .broker_mail = &f->broker.mail,
        .acceptor_count = ACCEPTORS,
        .acceptors = f->acceptors,
        .reactor_count = REACTORS,
        .reactors = f->reactors,
        .publisher = &f->publisher_stats,
        .control = &f->control,
        .request_ms = request_ms,
    };
    f->admin = admin_create(&config, error, sizeof error);
    assert_non_null(f->admin);
    assert_true(admin_start(f->admin));
    return 0;
}

static int set_up(void **state)
{
    return set_up_with(state, 0, NULL);
}

static int set_up_hasty(void **state)
{
    return set_up_with(state, 100, NULL);
}

static int set_up_api(void **state)
{
    return set_up_with(state, 0, "--api.key=secret");
}

static int set_up_hasty_api(void **state)
{
    return set_up_with(state, 100, "--api.key=secret");
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    admin_stop(f->admin);
    atomic_store(&f->broker.stop, true);
    mailbox_wake(&f->broker.mail);
    pthread_join(f->broker.thread, NULL);
    for (struct mailbox_node *node = mailbox_detach(&f->broker.mail), *next; node; node = next) {
        next = node->next; /* asked for when nobody answered any more */
        broker_request_destroy((struct broker_request *)(void *)node);
    }
    admin_destroy(f->admin);
    mailbox_fini(&f->broker.mail);
    config_destroy(f->config);
    free(f);
    return 0;
}

static int dial(struct fixture *f)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval patience = {.tv_sec = 20};
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    assert_int_equal(connect(fd, (const struct sockaddr *)&f->address.storage, f->address.len), 0);
    return fd;
}

static void send_bytes(int fd, const void *data, size_t len)
{
    const char *at = data;
    while (len > 0) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
        if (n <= 0)
            fail_msg("send: %s", strerror(errno));
        at += n;
        len -= (size_t)n;
    }
}

static void send_text(int fd, const char *text)
{
    send_bytes(fd, text, strlen(text));
}

/* Reads one response into f->answer; returns its status, 0 at the connection's end. `head_only`: no body
 * follows. */
static int read_response(struct fixture *f, int fd, bool head_only)
{
    size_t used = 0;
    char *body = NULL;
    while (!body) {
        ssize_t n = recv(fd, f->answer + used, 1, 0);
        if (n <= 0)
            return 0;
        f->answer[++used] = '\0';
        body = strstr(f->answer, "\r\n\r\n");
        assert_true(used < 4096);
    }
    const char *length = strstr(f->answer, "Content-Length: ");
    assert_non_null(length);
    size_t bytes = head_only ? 0 : strtoul(length + 16, NULL, 10);
    assert_true(used + bytes < ANSWER_MAX);
    for (size_t end = used + bytes; used < end;) {
        ssize_t n = recv(fd, f->answer + used, end - used, 0);
        assert_true(n > 0);
        used += (size_t)n;
    }
    f->answer[used] = '\0';
    assert_int_equal(strncmp(f->answer, "HTTP/1.1 ", 9), 0);
    return (int)strtol(f->answer + 9, NULL, 10);
}

static const char *body_of(const struct fixture *f)
{
    return strstr(f->answer, "\r\n\r\n") + 4;
}

/* One request on a connection of its own; f->answer has the response. */
static int ask(struct fixture *f, const char *request)
{
    int fd = dial(f);
    send_text(fd, request);
    int status = read_response(f, fd, strncmp(request, "HEAD", 4) == 0);
    close(fd);
    return status;
}

static bool closed_by_peer(int fd)
{
    char byte;
    return recv(fd, &byte, 1, 0) <= 0 && errno != EAGAIN;
}

static void index_health_and_metrics_answer(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(ask(f, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    assert_non_null(strstr(body_of(f), "/metrics"));
    assert_int_equal(ask(f, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    assert_string_equal(body_of(f), "ok\n");
    assert_int_equal(ask(f, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    assert_non_null(strstr(f->answer, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert_non_null(strstr(body_of(f), "\npushgate_connections{adapter=\"raw\",transport=\"wss\"} 0\n"));
}

static void readiness_follows_the_gateway(void **state)
{
    static const char request[] = "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n";
    struct fixture *f = *state;
    assert_int_equal(ask(f, request), 503);
    control_set_phase(&f->control, PHASE_RUNNING);
    assert_int_equal(ask(f, request), 200);
    control_set_phase(&f->control, PHASE_GRACE);
    assert_int_equal(ask(f, request), 503);
    assert_string_equal(body_of(f), "draining\n");
}

static void head_gets_no_body_and_the_connection_stays_usable(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);
    send_text(fd, "HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(read_response(f, fd, true), 200);
    assert_non_null(strstr(f->answer, "Content-Length: 3\r\n"));
    send_text(fd, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(read_response(f, fd, false), 200);
    close(fd);
}

static void wrong_paths_and_methods_are_told_apart(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(ask(f, "GET /nope HTTP/1.1\r\nHost: x\r\n\r\n"), 404);
    assert_int_equal(ask(f, "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"), 405);
    assert_non_null(strstr(f->answer, "Allow: GET, HEAD\r\n"));
    assert_int_equal(ask(f, "GET /publish?topic=a HTTP/1.1\r\nHost: x\r\n\r\n"), 405);
    assert_non_null(strstr(f->answer, "Allow: POST\r\n"));
    assert_int_equal(ask(f, "DELETE /healthz HTTP/1.1\r\nHost: x\r\n\r\n"), 405);
}

static void connections_close_when_the_request_says_so(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);
    send_text(fd, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_int_equal(read_response(f, fd, false), 200);
    assert_true(closed_by_peer(fd));
    close(fd);
    fd = dial(f);
    send_text(fd, "GET /healthz HTTP/1.0\r\n\r\n");
    assert_int_equal(read_response(f, fd, false), 200);
    assert_true(closed_by_peer(fd));
    close(fd);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    struct fixture *f = *state;
    static const char *const requests[] = {
        "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /publish?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody",
        "GET /nope HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    };
    static const int statuses[] = {200, 200, 404, 200};
    enum { ROUNDS = 50 };
    static char all[ROUNDS * 400];
    size_t len = 0;
    for (int i = 0; i < ROUNDS * 4; i++)
        len += (size_t)sprintf(all + len, "%s", requests[i % 4]);
    int fd = dial(f);
    /* In pieces that end anywhere, the first with several requests. */
    for (size_t at = 0, piece = 301; at < len; at += piece, piece = 97 + at % 211)
        send_bytes(fd, all + at, piece < len - at ? piece : len - at);
    for (int i = 0; i < ROUNDS * 4; i++) {
        assert_int_equal(read_response(f, fd, false), statuses[i % 4]);
        if (i % 4 == 1)
            assert_string_equal(body_of(f), "{\"queued\":4}\n");
    }
    assert_int_equal(atomic_load(&f->broker.taken), ROUNDS);
    close(fd);
}

static void a_request_before_a_half_close_is_answered(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);
    send_text(fd, "POST /publish?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx");
    shutdown(fd, SHUT_WR);
    assert_int_equal(read_response(f, fd, false), 200);
    assert_true(closed_by_peer(fd));
    close(fd);
}

static void publish_reaches_the_broker_and_says_how_many(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(
        ask(f, "POST /publish?x=1&topic=chat%3Aroom+1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"),
        200);
    assert_string_equal(body_of(f), "{\"queued\":5}\n");
    assert_string_equal(f->broker.last_topic, "chat:room 1");
    assert_int_equal(ask(f, "POST /publish?topic=t HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    assert_string_equal(body_of(f), "{\"queued\":0}\n");
    assert_int_equal(ask(f, "POST /publish?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nrefuse"),
                     503);
    assert_int_equal(ask(f, "POST /publish?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbusy"),
                     503);
    assert_non_null(strstr(body_of(f), "limits.inflight_bytes"));
}

static void publish_without_a_good_topic_is_refused(void **state)
{
    struct fixture *f = *state;
    char request[1024], topic[301];
    assert_int_equal(ask(f, "POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"), 400);
    assert_int_equal(ask(f, "POST /publish?topic= HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"), 400);
    assert_int_equal(ask(f, "POST /publish?topic=%zz HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"),
                     400);
    memset(topic, 't', sizeof topic);
    snprintf(request, sizeof request, "POST /publish?topic=%.256s HTTP/1.1\r\nHost: x\r\n\r\n", topic);
    assert_int_equal(ask(f, request), 400);
    assert_int_equal(atomic_load(&f->broker.taken), 0);
    snprintf(request, sizeof request, "POST /publish?topic=%.255s HTTP/1.1\r\nHost: x\r\n\r\n", topic);
    assert_int_equal(ask(f, request), 200);
}

/* Posts `bytes` of body, announced as such. */
static int post_bytes(struct fixture *f, size_t bytes)
{
    char head[128];
    int fd = dial(f);
    char *body = calloc(1, bytes);
    int len =
        sprintf(head, "POST /publish?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", bytes);
    send_bytes(fd, head, (size_t)len);
    send_bytes(fd, body, bytes);
    int status = read_response(f, fd, false);
    free(body);
    close(fd);
    return status;
}

static void the_largest_message_passes_and_one_byte_more_does_not(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(post_bytes(f, 65536), 200);
    assert_string_equal(body_of(f), "{\"queued\":65536}\n");
    assert_int_equal(post_bytes(f, 65537), 413);
    /* The peer reads the answer although it is still sending. */
    assert_int_equal(post_bytes(f, 8u << 20), 413);
    assert_int_equal(
        ask(f, "POST /publish?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999999999999\r\n\r\n"),
        413);
}

static void pages_of_other_sites_may_not_publish(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *host, *origin;
        int status;
    } rows[] = {
        {"127.0.0.1:9190", "http://127.0.0.1:9190", 200},
        {"localhost:9190", "http://localhost:9190", 200},
        {"[::1]:9190", "http://[::1]:9190", 200},
        {"127.0.0.1:9190", "http://127.0.0.1:8080", 403},
        {"127.0.0.1:9190", "https://evil.example", 403},
        {"127.0.0.1:9190", "null", 403},
        {"127.0.0.1:9190", "garbage", 403},
        /* a name that was made to resolve here */
        {"evil.example:9190", "http://evil.example:9190", 403},
        {"127.0.0.1.evil.example", "http://127.0.0.1.evil.example", 403},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char request[512];
        snprintf(request, sizeof request,
                 "POST /publish?topic=t HTTP/1.1\r\nHost: %s\r\nOrigin: %s\r\nContent-Length: 1\r\n\r\nx",
                 rows[i].host, rows[i].origin);
        assert_int_equal(ask(f, request), rows[i].status);
    }
    assert_int_equal(atomic_load(&f->broker.taken), 3);
}

static void a_publish_password_is_asked_for(void **state)
{
    struct fixture *f = *state;
    char error[128];
    static const struct {
        const char *header;
        int status;
    } rows[] = {
        {"", 401},
        {"Authorization: Bearer open\r\n", 401},
        {"Authorization: Bearer sesamf\r\n", 401},
        {"Authorization: Bearer sesame2\r\n", 401},
        {"Authorization: Basic sesame\r\n", 401},
        {"Authorization: Bearer sesame\r\n", 200},
    };
    assert_true(config_read_argument(f->config, "--publish.password=sesame", error, sizeof error));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char request[512];
        snprintf(request, sizeof request,
                 "POST /publish?topic=t HTTP/1.1\r\nHost: x\r\n%sContent-Length: 1\r\n\r\nx", rows[i].header);
        assert_int_equal(ask(f, request), rows[i].status);
    }
    assert_int_equal(ask(f, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
}

/* GET of a path with `headers` (whole lines). */
static int get(struct fixture *f, const char *path, const char *headers)
{
    char request[1024];
    snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n", path, headers);
    return ask(f, request);
}

static void the_admin_password_is_asked_for_by_all_but_probes(void **state)
{
    struct fixture *f = *state;
    static const char *const pages[] = {"/", "/metrics"};
    static const struct {
        const char *header;
        int status;
    } rows[] = {
        {"", 401},
        {"Authorization: Bearer correct hors\r\n", 401},
        {"Authorization: Bearer correct horse battery\r\n", 401},
        {"Authorization: Basic correct horse\r\n", 401},
        {"Authorization: Basic Y29ycmVjdCBob3JzZQ==\r\n", 401},     /* no colon */
        {"Authorization: Basic b3BzOmNvcnJlY3QgaG9yc2==\r\n", 401}, /* ops:correct hors + rubbish */
        {"Authorization: Bearer correct horse\r\n", 200},
        {"Authorization: bearer correct horse\r\n", 200},
        {"Authorization: Basic b3BzOmNvcnJlY3QgaG9yc2U=\r\n", 200}, /* ops:correct horse */
        {"Authorization: Basic OmNvcnJlY3QgaG9yc2U=\r\n", 200},     /* :correct horse */
    };
    control_set_phase(&f->control, PHASE_RUNNING);
    read_setting(f, "--admin.password=correct horse");
    for (size_t p = 0; p < sizeof pages / sizeof *pages; p++)
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
            assert_int_equal(get(f, pages[p], rows[i].header), rows[i].status);
    assert_int_equal(get(f, "/metrics", ""), 401);
    assert_non_null(strstr(f->answer, "WWW-Authenticate: Basic realm=\"pushgate\""));
    assert_int_equal(get(f, "/healthz", ""), 200);
    assert_int_equal(get(f, "/readyz", ""), 200);
    assert_int_equal(ask(f, "POST /publish?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"), 401);
    assert_int_equal(ask(f, "POST /publish?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
                            "Authorization: Bearer correct horse\r\n\r\nx"),
                     200);
    read_setting(f, "--publish.password=sesame"); /* from now on who may look may not publish */
    assert_int_equal(ask(f, "POST /publish?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
                            "Authorization: Bearer correct horse\r\n\r\nx"),
                     401);
    assert_int_equal(get(f, "/metrics", "Authorization: Bearer sesame\r\n"), 401);
}

static void whoever_guesses_has_to_wait(void **state)
{
    struct fixture *f = *state;
    int refused = 0;
    read_setting(f, "--admin.password=correct horse");
    while (get(f, "/metrics", "Authorization: Bearer guess\r\n") == 401 && refused < 100)
        refused++;
    assert_in_range(refused, 20, 60); /* more than the burst only when this machine is slow */
    assert_non_null(strstr(f->answer, " 429 "));
    assert_non_null(strstr(f->answer, "Retry-After: 1\r\n"));
    assert_int_equal(get(f, "/metrics", "Authorization: Bearer guess\r\n") / 100, 4);
    assert_int_equal(get(f, "/metrics", ""), 401); /* which is no guess */
    assert_int_equal(get(f, "/healthz", "Authorization: Bearer guess\r\n"), 200);
    uint64_t patience = clock_monotonic_ms() + 20000;
    while (get(f, "/metrics", "Authorization: Bearer correct horse\r\n") != 200)
        assert_true(clock_monotonic_ms() < patience);
    assert_null(strstr(body_of(f), "pushgate_admin_refused_total{reason=\"wrong\"} 0\n"));
    assert_null(strstr(body_of(f), "pushgate_admin_refused_total{reason=\"throttled\"} 0\n"));
}

/* The server API
 * ----------------------------------------------------------------------------------------------------------
 */

/* POST of a body to a path, with `headers` (whole lines). */
static int post(struct fixture *f, const char *path, const char *headers, const char *body)
{
    static char request[4096];
    snprintf(request, sizeof request, "POST %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %zu\r\n\r\n%s", path,
             headers, strlen(body), body);
    return ask(f, request);
}

#define KEY "X-API-Key: secret\r\n"

static void the_api_is_off_without_a_key(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(post(f, "/api/info", "", "{}"), 403);
    assert_non_null(strstr(body_of(f), "api.key"));
    assert_int_equal(post(f, "/api", "X-API-Key: \r\n", "{}"), 403);
    read_setting(f, "--api.insecure=on");
    assert_int_equal(post(f, "/api/info", "", "{}"), 200);
    assert_int_equal(post(f, "/api/info", "Origin: http://evil.example\r\n", "{}"), 403);
}

static void the_api_asks_for_its_key(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *header;
        int status;
    } rows[] = {
        {"", 401},
        {"X-API-Key: \r\n", 401},
        {"X-API-Key: secre\r\n", 401},
        {"X-API-Key: secrets\r\n", 401},
        {"X-API-Key: Secret\r\n", 401},
        {"Authorization: Bearer secret\r\n", 401},
        {"Authorization: secret\r\n", 401},
        {"Authorization: apikey secreT\r\n", 401},
        {"X-API-Key: secret\r\n", 200},
        {"x-api-key: secret\r\n", 200},
        {"Authorization: apikey secret\r\n", 200},
        {"Authorization: ApiKey secret\r\n", 200},
        {"X-API-Key: secret\r\nOrigin: http://evil.example\r\n", 403},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(post(f, "/api/info", rows[i].header, "{}"), rows[i].status);
    /* It is for nothing else, and nothing else is for it. */
    read_setting(f, "--publish.password=sesame");
    assert_int_equal(post(f, "/api/info", "Authorization: Bearer sesame\r\n", "{}"), 401);
    assert_int_equal(post(f, "/publish?topic=t", KEY, "x"), 401);
    assert_int_equal(ask(f, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    assert_non_null(strstr(body_of(f), "\npushgate_api_refused_total{reason=\"unauthorized\"} 9\n"));
    assert_non_null(strstr(body_of(f), "\npushgate_api_calls_total{method=\"info\",outcome=\"ok\"} 4\n"));
}

static void the_api_answers_json_and_its_paths_are_its_own(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(post(f, "/api/publish", KEY, "{\"channel\":\"c\",\"data\":{}}"), 200);
    assert_string_equal(body_of(f), "{\"result\":{}}\n");
    assert_string_equal(f->broker.last_topic, "c");
    assert_non_null(strstr(f->answer, "Content-Type: application/json\r\n"));
    assert_int_equal(post(f, "/api", KEY, "{\"method\":\"channels\"}"), 200);
    assert_string_equal(body_of(f), "{\"result\":{\"channels\":{}}}");
    assert_int_equal(post(f, "/api/", KEY, "{\"method\":\"channels\"}"), 200);
    assert_int_equal(post(f, "/api/nope", KEY, "{}"), 404);
    assert_int_equal(post(f, "/api/publish/", KEY, "{}"), 404);
    assert_int_equal(post(f, "/apis", KEY, "{}"), 404);
    assert_int_equal(post(f, "/api/publish", KEY, "{"), 400);
    assert_int_equal(post(f, "/api/publish", KEY, "{}"), 200);
    assert_int_equal(ask(f, "GET /api/info HTTP/1.1\r\nHost: x\r\n" KEY "\r\n"), 405);
    assert_non_null(strstr(f->answer, "Allow: POST\r\n"));
    assert_int_equal(post(f, "/api/publish?api_key=secret", "", "{}"), 401);
}

static void api_requests_may_be_pipelined(void **state)
{
    struct fixture *f = *state;
    enum { ROUNDS = 40 };
    static const char *const bodies[] = {
        "{\"commands\":[{\"info\":{}},{\"publish\":{\"channel\":\"c\",\"data\":1}}]}",
        "{\"commands\":[]}",
        "{\"commands\":",
    };
    static const int statuses[] = {200, 200, 400};
    static char all[ROUNDS * 700];
    size_t len = 0;
    for (int i = 0; i < ROUNDS * 3; i++) {
        len += (size_t)sprintf(all + len,
                               "POST /api/batch HTTP/1.1\r\nHost: x\r\n" KEY "Content-Length: %zu\r\n\r\n%s",
                               strlen(bodies[i % 3]), bodies[i % 3]);
        if (i % 3 == 2)
            len += (size_t)sprintf(all + len, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    int fd = dial(f);
    for (size_t at = 0, piece = 333; at < len; at += piece, piece = 97 + at % 211)
        send_bytes(fd, all + at, piece < len - at ? piece : len - at);
    for (int i = 0; i < ROUNDS * 3; i++) {
        assert_int_equal(read_response(f, fd, false), statuses[i % 3]);
        if (i % 3 == 0)
            assert_non_null(strstr(body_of(f), ",{\"publish\":{}}]}"));
        else if (i % 3 == 1)
            assert_string_equal(body_of(f), "{\"replies\":[]}\n");
        else
            assert_int_equal(read_response(f, fd, false), 200);
    }
    close(fd);
}

/* A body of `bytes`, to the API or by POST /publish. */
static int post_large(struct fixture *f, const char *path, size_t bytes)
{
    char head[256];
    int fd = dial(f);
    char *body = malloc(bytes + 1);
    memset(body, ' ', bytes);
    body[0] = '{';
    body[1] = '}';
    int len = sprintf(head, "POST %s HTTP/1.1\r\nHost: x\r\n" KEY "Content-Length: %zu\r\n\r\n", path, bytes);
    send_bytes(fd, head, (size_t)len);
    send_bytes(fd, body, bytes);
    int status = read_response(f, fd, false);
    free(body);
    close(fd);
    return status;
}

static void the_largest_body_of_the_api_passes_and_one_byte_more_does_not(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(post_large(f, "/api/info", 1 << 20), 200);
    assert_int_equal(post_large(f, "/api/info", (1 << 20) + 1), 413);
    assert_int_equal(post_large(f, "/publish?topic=t", 65536), 200);
    assert_int_equal(post_large(f, "/publish?topic=t", 65537), 413);
}

static void many_clients_of_the_api_are_served_at_once(void **state)
{
    struct fixture *f = *state;
    enum { CLIENTS = 100, COMMANDS = 300 };
    static char body[COMMANDS * 64], request[sizeof body + 200];
    int fds[CLIENTS];
    size_t len = (size_t)sprintf(body, "{\"commands\":[");
    for (int i = 0; i < COMMANDS; i++)
        len +=
            (size_t)sprintf(body + len, "%s{\"publish\":{\"channel\":\"c%d\",\"data\":1}}", i ? "," : "", i);
    len += (size_t)sprintf(body + len, "]}");
    sprintf(request, "POST /api/batch HTTP/1.1\r\nHost: x\r\n" KEY "Content-Length: %zu\r\n\r\n%s", len,
            body);
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = dial(f);
        send_text(fds[i], request);
    }
    for (int i = 0; i < CLIENTS; i++) {
        assert_int_equal(read_response(f, fds[i], false), 200);
        size_t count = 0;
        for (const char *at = f->answer; (at = strstr(at, "{\"publish\":{}}")); at++)
            count++;
        assert_int_equal(count, COMMANDS);
        close(fds[i]);
    }
    assert_int_equal(atomic_load(&f->broker.taken), CLIENTS * COMMANDS);
}

static void the_api_says_503_when_the_broker_is_silent(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->broker.silent, true);
    uint64_t before = clock_monotonic_ms();
    assert_int_equal(post(f, "/api/info", KEY, "{}"), 503);
    assert_in_range(clock_monotonic_ms() - before, 90, 8000);
    atomic_store(&f->broker.silent, false);
    assert_int_equal(post(f, "/api/info", KEY, "{}"), 200);
}

/* Clients that leave in the middle of a batch: its answers reach nobody else. */
static void answers_never_reach_a_later_client_of_the_api(void **state)
{
    struct fixture *f = *state;
    static const char body[] = "{\"commands\":[{\"publish\":{\"channel\":\"c\",\"data\":1}},{\"info\":{}},{"
                               "\"channels\":{}},{\"info\":{}}]}";
    char request[512];
    sprintf(request, "POST /api/batch HTTP/1.1\r\nHost: x\r\n" KEY "Content-Length: %zu\r\n\r\n%s",
            sizeof body - 1, body);
    for (int i = 0; i < 300; i++) {
        int fd = dial(f);
        send_text(fd, request);
        struct linger reset = {.l_onoff = 1};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        close(fd);
        assert_int_equal(post(f, "/api/unsubscribe", KEY, "{\"channel\":\"c\",\"user\":\"u\"}"), 200);
        assert_string_equal(body_of(f), "{\"result\":{}}\n");
    }
}

static void malformed_requests_get_their_status_and_the_end(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *request;
        int status;
    } rows[] = {
        {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400},
        {"GET /healthz HTTP/1.1\r\n\r\n", 400},
        {"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
        {"GET http://x/healthz HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"POST /publish?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: "
         "chunked\r\n\r\n",
         400},
        {"POST /publish?topic=t HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411},
        {"POST /publish?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int fd = dial(f);
        send_text(fd, rows[i].request);
        assert_int_equal(read_response(f, fd, false), rows[i].status);
        assert_non_null(strstr(f->answer, "Connection: close\r\n"));
        assert_true(closed_by_peer(fd));
        close(fd);
    }
    static char big[20000];
    int len = sprintf(big, "GET / HTTP/1.1\r\nHost: x\r\nX: ");
    memset(big + len, 'y', sizeof big - 1 - (size_t)len);
    assert_int_equal(ask(f, big), 431);
    assert_int_equal(ask(f, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
}

/* More clients than there are places, each with half a request: they cost nobody who asks properly, but have
 * to wait for a place. */
static void idle_connections_give_way_to_new_ones(void **state)
{
    struct fixture *f = *state;
    enum { IDLE = 300 };
    int idle[IDLE];
    for (int i = 0; i < IDLE; i++)
        idle[i] = dial(f);
    uint64_t before = clock_monotonic_ms();
    for (int i = 0; i < 20; i++)
        assert_int_equal(ask(f, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    assert_true(clock_monotonic_ms() - before < 5000);
    /* The oldest had to go. */
    assert_true(closed_by_peer(idle[0]));
    for (int i = 0; i < IDLE; i++)
        close(idle[i]);
}

static void a_full_house_of_slow_clients_makes_others_wait_not_spin(void **state)
{
    struct fixture *f = *state;
    enum { SLOW = 256 };
    int slow[SLOW];
    for (int i = 0; i < SLOW; i++) {
        slow[i] = dial(f);
        send_text(slow[i], "GET /healthz HTTP/1.1\r\n");
    }
    int fd = dial(f);
    send_text(fd, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    poll(&wait, 1, 200); /* whether it has to wait depends on whether all slow ones were read already */
    clock_t burnt = clock();
    poll(NULL, 0, 200);
    assert_true(clock() - burnt < CLOCKS_PER_SEC / 10);
    close(slow[7]);
    close(slow[200]);
    assert_int_equal(read_response(f, fd, false), 200);
    close(fd);
    for (int i = 0; i < SLOW; i++)
        if (i != 7 && i != 200)
            close(slow[i]);
}

static void one_byte_at_a_time_is_fine_within_the_deadline(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);
    for (const char *at = "POST /publish?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"; *at;
         at++)
        send_bytes(fd, at, 1);
    assert_int_equal(read_response(f, fd, false), 200);
    assert_string_equal(body_of(f), "{\"queued\":3}\n");
    close(fd);
}

/* Asks for metrics again and again without reading: the thread stops reading it, and others are served. */
static void a_client_that_does_not_read_blocks_nobody(void **state)
{
    static const char request[] = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    struct fixture *f = *state;
    int fd = dial(f);
    int small = 4096;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    size_t sent = 0;
    for (int quiet = 0; quiet < 5 && sent < 16u << 20;) {
        ssize_t n = send(fd, request, sizeof request - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) {
            sent += (size_t)n;
            quiet = 0;
        } else {
            poll(NULL, 0, 20);
            quiet++;
        }
    }
    assert_true(sent < 16u << 20);
    assert_int_equal(ask(f, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    close(fd);
}

static void half_a_request_gets_408_at_the_deadline(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f), mute = dial(f);
    uint64_t before = clock_monotonic_ms();
    send_text(fd, "POST /publish?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n");
    /* More bytes do not move the deadline. */
    poll(NULL, 0, 60);
    send_text(fd, "a");
    assert_int_equal(read_response(f, fd, false), 408);
    uint64_t took = clock_monotonic_ms() - before;
    assert_in_range(took, 90, 8000);
    /* Who never asked gets no answer. */
    assert_int_equal(read_response(f, mute, false), 0);
    close(fd);
    close(mute);
}

static void a_silent_broker_means_503_at_the_deadline(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->broker.silent, true);
    uint64_t before = clock_monotonic_ms();
    assert_int_equal(ask(f, "POST /publish?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"), 503);
    assert_in_range(clock_monotonic_ms() - before, 90, 8000);
}

static void a_response_that_is_not_taken_is_given_up_at_the_deadline(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);
    static char requests[64 * 200];
    for (size_t i = 0; i < 200; i++) /* more than socket buffers hold of answers */
        memcpy(requests + i * 64, "GET /metrics HTTP/1.1\r\nHost: x\r\nX-Padding: 01234567890123456\r\n\r\n",
               64);
    int small = 4096;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    for (int i = 0; i < 40; i++)
        if (send(fd, requests, sizeof requests, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
            break;
    poll(NULL, 0, 600);
    ssize_t n;
    size_t taken = 0;
    while ((n = recv(fd, f->answer, sizeof f->answer, 0)) > 0)
        taken += (size_t)n;
    assert_true(n == 0 || errno == ECONNRESET);
    assert_true(taken < (size_t)40 * 200 * 8000);
    close(fd);
}

static void stop_does_not_wait_for_a_broker_that_is_silent(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->broker.silent, true);
    int fd = dial(f), gone = dial(f);
    send_text(fd, "POST /publish?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx");
    send_text(gone, "POST /publish?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx");
    while (atomic_load(&f->broker.taken) < 2)
        poll(NULL, 0, 5);
    close(gone);
    uint64_t before = clock_monotonic_ms();
    admin_stop(f->admin);
    assert_true(clock_monotonic_ms() - before < 2000);
    assert_true(closed_by_peer(fd));
    close(fd);
}

/* Clients that leave while the broker has their request: the answer must not reach whoever took the place. */
static void an_answer_never_reaches_a_later_connection(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 300; i++) {
        int fd = dial(f);
        send_text(fd, "POST /publish?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nrefuse");
        struct linger reset = {.l_onoff = 1};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        close(fd);
        assert_int_equal(ask(f, "POST /publish?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok"),
                         200);
        assert_string_equal(body_of(f), "{\"queued\":2}\n");
    }
}

int main(void)
{
#define HASTY(name) cmocka_unit_test_setup_teardown(name, set_up_hasty, tear_down)
#define TEST(name)  cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(index_health_and_metrics_answer),
        TEST(readiness_follows_the_gateway),
        TEST(head_gets_no_body_and_the_connection_stays_usable),
        TEST(wrong_paths_and_methods_are_told_apart),
        TEST(connections_close_when_the_request_says_so),
        TEST(pipelined_requests_are_answered_in_order),
        TEST(a_request_before_a_half_close_is_answered),
        TEST(publish_reaches_the_broker_and_says_how_many),
        TEST(publish_without_a_good_topic_is_refused),
        TEST(the_largest_message_passes_and_one_byte_more_does_not),
        TEST(pages_of_other_sites_may_not_publish),
        TEST(a_publish_password_is_asked_for),
        TEST(the_admin_password_is_asked_for_by_all_but_probes),
        TEST(whoever_guesses_has_to_wait),
        TEST(malformed_requests_get_their_status_and_the_end),
        TEST(idle_connections_give_way_to_new_ones),
        TEST(a_full_house_of_slow_clients_makes_others_wait_not_spin),
        TEST(one_byte_at_a_time_is_fine_within_the_deadline),
        TEST(a_client_that_does_not_read_blocks_nobody),
        HASTY(half_a_request_gets_408_at_the_deadline),
        HASTY(a_silent_broker_means_503_at_the_deadline),
        HASTY(a_response_that_is_not_taken_is_given_up_at_the_deadline),
        TEST(stop_does_not_wait_for_a_broker_that_is_silent),
        TEST(an_answer_never_reaches_a_later_connection),
        cmocka_unit_test_setup_teardown(the_api_is_off_without_a_key, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_api_asks_for_its_key, set_up_api, tear_down),
        cmocka_unit_test_setup_teardown(the_api_answers_json_and_its_paths_are_its_own, set_up_api,
                                        tear_down),
        cmocka_unit_test_setup_teardown(api_requests_may_be_pipelined, set_up_api, tear_down),
        cmocka_unit_test_setup_teardown(the_largest_body_of_the_api_passes_and_one_byte_more_does_not,
                                        set_up_api, tear_down),
        cmocka_unit_test_setup_teardown(many_clients_of_the_api_are_served_at_once, set_up_api, tear_down),
        cmocka_unit_test_setup_teardown(the_api_says_503_when_the_broker_is_silent, set_up_hasty_api,
                                        tear_down),
        cmocka_unit_test_setup_teardown(answers_never_reach_a_later_client_of_the_api, set_up_api, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
