/* A real proxy thread against a real HTTP server (backend.mjs in Node), asked by this thread and by others.
 */
#include "gateway/proxy/proxy.h"

#include "gateway/base/clock.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    ANSWERS_MAX = 4096,
    PATIENCE_MS = 20000, /* for what must come: then the test fails */
    MAIL_KIND = 77,
};

/* The backend: one for all tests.
 * ---------------------------------------------------------------------------------------------------------------
 */

static struct {
    pid_t pid;
    int stdin_fd;
    int port, tls_port;
    char folder[64], certificate[96], key[96];
} backend;

static void run(const char *command)
{
    if (system(command) != 0) // NOLINT(cert-env33-c)
        fail_msg("failed: %s", command);
}

static int start_backend(void **state)
{
    (void)state;
    char command[512];
    /* A proxy in the environment must not be asked. */
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("https_proxy", "http://127.0.0.1:1", 1);
    setenv("all_proxy", "http://127.0.0.1:1", 1);
    unsetenv("no_proxy");
    snprintf(backend.folder, sizeof backend.folder, "/tmp/test_proxy.XXXXXX");
    assert_non_null(mkdtemp(backend.folder));
    snprintf(backend.certificate, sizeof backend.certificate, "%s/certificate.pem", backend.folder);
    snprintf(backend.key, sizeof backend.key, "%s/key.pem", backend.folder);
    snprintf(
        command, sizeof command,
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost "
        "-addext subjectAltName=IP:127.0.0.1 -keyout %s -out %s 2>/dev/null",
        backend.key, backend.certificate);
    run(command);
    int in[2], out[2];
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    backend.pid = fork();
    assert_true(backend.pid >= 0);
    if (backend.pid == 0) {
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        execlp("node", "node", PUSHGATE_SOURCE "/tests/unit/proxy/backend.mjs", backend.certificate,
               backend.key, (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    backend.stdin_fd = in[1];
    FILE *said = fdopen(out[0], "r");
    assert_non_null(said);
    assert_int_equal(fscanf(said, "%d %d", &backend.port, &backend.tls_port), 2); // NOLINT(cert-err34-c)
    fclose(said);
    return 0;
}

static int stop_backend(void **state)
{
    (void)state;
    close(backend.stdin_fd);
    waitpid(backend.pid, NULL, 0);
    unlink(backend.certificate);
    unlink(backend.key);
    rmdir(backend.folder);
    return 0;
}

/* A proxy, and an asker's mailbox.
 * ---------------------------------------------------------------------------------------------------------------
 */

struct asker {
    struct mailbox mail;
    struct proxy_request *answers[ANSWERS_MAX];
    size_t count;
};

struct fixture {
    struct proxy_config config;
    char urls[PROXY_KIND_COUNT][128];
    struct proxy *proxy;
    struct asker asker;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->config = (struct proxy_config){.headers = "Cookie, X-Request-Id",
                                      .timeout_ms = PATIENCE_MS,
                                      .concurrency = 8,
                                      .queue = 100,
                                      .answer_bytes = 64 * 1024};
    assert_true(mailbox_init(&f->asker.mail));
    *state = f;
    return 0;
}

static void serve_at(struct fixture *f, enum proxy_kind kind, const char *scheme, int port, const char *path)
{
    snprintf(f->urls[kind], sizeof f->urls[kind], "%s://127.0.0.1:%d%s", scheme, port, path);
    f->config.urls[kind] = f->urls[kind];
}

static void start(struct fixture *f)
{
    char error[256] = "";
    f->proxy = proxy_create(&f->config, error, sizeof error);
    if (!f->proxy)
        fail_msg("%s", error);
    assert_true(proxy_start(f->proxy));
}

/* Calls answered by `path`. */
static void start_rpc(struct fixture *f, const char *path)
{
    serve_at(f, PROXY_RPC, "http", backend.port, path);
    start(f);
}

static void collect(struct asker *asker)
{
    mailbox_clear_wake(&asker->mail);
    for (struct mailbox_node *node = mailbox_detach(&asker->mail); node; node = node->next) {
        assert_true(asker->count < ANSWERS_MAX);
        asker->answers[asker->count++] = (struct proxy_request *)(void *)node;
    }
}

/* Until so many have come back. */
static void await(struct asker *asker, size_t count)
{
    uint64_t end = clock_monotonic_ms() + PATIENCE_MS + 10000;
    for (collect(asker); asker->count < count; collect(asker)) {
        struct pollfd mail = {.fd = asker->mail.wake_fd, .events = POLLIN};
        if (clock_monotonic_ms() > end)
            fail_msg("%zu answers instead of %zu", asker->count, count);
        poll(&mail, 1, 1000);
    }
    assert_int_equal(asker->count, count);
}

static void forget(struct asker *asker)
{
    for (size_t i = 0; i < asker->count; i++)
        proxy_request_destroy(asker->answers[i]);
    asker->count = 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    if (f->proxy) {
        proxy_stop(f->proxy);
        proxy_destroy(f->proxy);
    }
    collect(&f->asker);
    forget(&f->asker);
    mailbox_fini(&f->asker.mail);
    free(f);
    return 0;
}

static struct json_slice slice(const char *text)
{
    return (struct json_slice){text, strlen(text)};
}

static void submit_ask(struct proxy *proxy, struct asker *asker, const struct proxy_ask *ask, uint64_t token)
{
    struct proxy_request *request = proxy_request_create(ask);
    assert_non_null(request);
    request->mail_kind = MAIL_KIND;
    request->token = token;
    request->command = (uint32_t)token + 1;
    request->reply_to = &asker->mail;
    proxy_submit(proxy, request);
}

/* A call whose data is its token. */
static void call(struct proxy *proxy, struct asker *asker, uint64_t token)
{
    char data[32];
    snprintf(data, sizeof data, "%llu", (unsigned long long)token);
    submit_ask(proxy, asker,
               &(struct proxy_ask){.kind = PROXY_RPC,
                                   .client = slice("9336a229-2400-4ebc-8c50-0a643d22e8a0"),
                                   .user = slice("56"),
                                   .method = slice("count"),
                                   .data = slice(data)},
               token);
}

/* One call and its answer. */
static const struct proxy_answer *call_once(struct fixture *f)
{
    size_t before = f->asker.count;
    call(f->proxy, &f->asker, 5);
    await(&f->asker, before + 1);
    return &f->asker.answers[before]->answer;
}

static void is_outcome(const struct proxy_answer *answer, enum proxy_outcome outcome)
{
    assert_string_equal(proxy_outcome_label(answer->outcome), proxy_outcome_label(outcome));
}

static void is_text(struct json_slice text, const char *expected)
{
    assert_non_null(text.data);
    assert_int_equal(text.len, strlen(expected));
    assert_memory_equal(text.data, expected, text.len);
}

static uint64_t counted(const struct fixture *f, enum proxy_outcome outcome)
{
    return counter_read(&proxy_stats(f->proxy)->answers[PROXY_RPC][outcome]);
}

static uint64_t number(struct json_slice object, const char *name)
{
    struct json_slice value = json_text_member(object, name);
    assert_non_null(value.data);
    return strtoull(value.data, NULL, 10);
}

/* What the backend has counted so far, asked through a proxy of its own. */
static uint64_t backend_seen(const char *name)
{
    void *state;
    set_up(&state);
    struct fixture *f = state;
    start_rpc(f, "/seen");
    const struct proxy_answer *answer = call_once(f);
    is_outcome(answer, PROXY_OK);
    uint64_t value = number(answer->data, name);
    tear_down(&state);
    return value;
}

/* Answers
 * ---------------------------------------------------------------------------------------------------------------
 */

static void an_answer_comes_back_in_the_request(void **state)
{
    struct fixture *f = *state;
    serve_at(f, PROXY_CONNECT, "http", backend.port, "/connect");
    start(f);
    assert_true(proxy_serves(f->proxy, PROXY_CONNECT));
    assert_false(proxy_serves(f->proxy, PROXY_RPC));
    assert_false(proxy_serves(NULL, PROXY_CONNECT));
    submit_ask(f->proxy, &f->asker,
               &(struct proxy_ask){.kind = PROXY_CONNECT, .client = slice("c"), .rest = slice("mine")},
               UINT64_C(0x123456789a));
    await(&f->asker, 1);
    const struct proxy_request *request = f->asker.answers[0];
    is_outcome(&request->answer, PROXY_OK);
    is_text(request->answer.user, "56");
    assert_int_equal(request->answer.expire_at, 1565436268);
    assert_int_equal(request->answer.channel_count, 1);
    is_text(request->answer.channels[0].name, "news");
    assert_int_equal(request->token, UINT64_C(0x123456789a));
    assert_int_equal(request->mail_kind, MAIL_KIND);
    is_text(request->rest, "mine");
}

static void the_backend_gets_the_body_and_the_listed_headers(void **state)
{
    struct fixture *f = *state;
    start_rpc(f, "/echo?key=1");
    submit_ask(
        f->proxy, &f->asker,
        &(struct proxy_ask){.kind = PROXY_RPC,
                            .client = slice("c1"),
                            .user = slice("Jo\"e\n"),
                            .method = slice("sum"),
                            .data = slice("{\"a\" : [1,\r\n 2]}"),
                            .headers = slice("Host: evil\r\ncookie: a=b; c\r\nAuthorization: hidden\r\n"
                                             "X-Request-Id: 1\x01\r\nX-REQUEST-ID:\t7 \r\nCookie:\r\n"
                                             "Content-Length: 3\r\nno colon\r\n")},
        1);
    await(&f->asker, 1);
    is_outcome(&f->asker.answers[0]->answer, PROXY_OK);
    struct json_slice echo = f->asker.answers[0]->answer.data;
    struct json_slice headers = json_text_member(echo, "headers"), body = json_text_member(echo, "body");
    char host[64];
    snprintf(host, sizeof host, "\"127.0.0.1:%d\"", backend.port);
    is_text(json_text_member(echo, "method"), "\"POST\"");
    is_text(json_text_member(echo, "url"), "\"/echo?key=1\"");
    is_text(json_text_member(headers, "host"), host);
    is_text(json_text_member(headers, "content-type"), "\"application/json\"");
    is_text(json_text_member(headers, "cookie"), "\"a=b; c\"");
    is_text(json_text_member(headers, "x-request-id"), "\"7\"");
    assert_null(json_text_member(headers, "authorization").data);
    assert_null(json_text_member(headers, "expect").data);
    is_text(json_text_member(body, "client"), "\"c1\"");
    is_text(json_text_member(body, "transport"), "\"websocket\"");
    is_text(json_text_member(body, "user"), "\"Jo\\\"e\\n\"");
    is_text(json_text_member(body, "method"), "\"sum\"");
    is_text(json_text_member(body, "data"), "{\"a\":[1,2]}");
}

static void errors_and_disconnects_are_the_backends_word(void **state)
{
    struct fixture *f = *state;
    serve_at(f, PROXY_SUBSCRIBE, "http", backend.port, "/error");
    serve_at(f, PROXY_PUBLISH, "http", backend.port, "/disconnect");
    start(f);
    submit_ask(f->proxy, &f->asker, &(struct proxy_ask){.kind = PROXY_SUBSCRIBE, .channel = slice("a")}, 0);
    await(&f->asker, 1);
    submit_ask(f->proxy, &f->asker, &(struct proxy_ask){.kind = PROXY_PUBLISH, .channel = slice("b")}, 0);
    await(&f->asker, 2);
    const struct proxy_answer *error = &f->asker.answers[0]->answer, *end = &f->asker.answers[1]->answer;
    is_outcome(error, PROXY_ERROR);
    assert_int_equal(error->code, 403);
    assert_false(error->temporary);
    is_text(error->text, "permission denied");
    is_outcome(end, PROXY_DISCONNECT);
    assert_int_equal(end->code, 4501);
    is_text(end->text, "unauthorized");
    is_text(f->asker.answers[1]->channel, "b");
}

/* Answers that are none
 * ---------------------------------------------------------------------------------------------------------------
 */

static void other_statuses_are_no_answer(void **state)
{
    static const char *const paths[] = {"/500", "/201", "/nowhere", "/large_500"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct fixture *f = *state;
        start_rpc(f, paths[i]);
        is_outcome(call_once(f), PROXY_BAD_STATUS);
        assert_int_equal(counted(f, PROXY_BAD_STATUS), 1);
        tear_down(state);
        set_up(state);
    }
}

static void a_redirect_is_not_followed(void **state)
{
    struct fixture *f = *state;
    start_rpc(f, "/redirect");
    is_outcome(call_once(f), PROXY_BAD_STATUS);
    assert_int_equal(backend_seen("redirected"), 0);
}

static void other_bodies_are_no_answer(void **state)
{
    static const char *const paths[] = {"/text", "/empty", "/large", "/endless", "/endless_head"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct fixture *f = *state;
        start_rpc(f, paths[i]);
        const struct proxy_answer *answer = call_once(f);
        is_outcome(answer, PROXY_BAD_BODY);
        assert_null(answer->data.data);
        assert_int_equal(counted(f, PROXY_BAD_BODY), 1);
        tear_down(state);
        set_up(state);
    }
}

static void a_backend_that_cuts_off_is_unreachable(void **state)
{
    static const char *const paths[] = {"/half", "/gone"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct fixture *f = *state;
        start_rpc(f, paths[i]);
        is_outcome(call_once(f), PROXY_UNREACHABLE);
        tear_down(state);
        set_up(state);
    }
}

static void a_backend_that_is_down_is_unreachable_at_once(void **state)
{
    struct fixture *f = *state;
    serve_at(f, PROXY_RPC, "http", 1, "/");
    start(f);
    uint64_t before = clock_monotonic_ms();
    is_outcome(call_once(f), PROXY_UNREACHABLE);
    assert_in_range(clock_monotonic_ms() - before, 0, PATIENCE_MS / 2);
    assert_int_equal(counted(f, PROXY_UNREACHABLE), 1);
    assert_int_equal(counter_read(&proxy_stats(f->proxy)->in_flight), 0);
}

static void a_backend_that_is_slow_times_out(void **state)
{
    static const char *const paths[] = {"/hang", "/trickle"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct fixture *f = *state;
        f->config.timeout_ms = 150;
        start_rpc(f, paths[i]);
        uint64_t before = clock_monotonic_ms();
        is_outcome(call_once(f), PROXY_TIMEOUT);
        assert_in_range(clock_monotonic_ms() - before, 149, PATIENCE_MS / 2);
        tear_down(state);
        set_up(state);
    }
}

/* Many at a time
 * ---------------------------------------------------------------------------------------------------------------
 */

static void many_share_few_connections(void **state)
{
    enum { CALLS = 2000 };
    struct fixture *f = *state;
    uint64_t connections = backend_seen("connections");
    f->config.queue = CALLS;
    start_rpc(f, "/data");
    bool back[CALLS] = {false};
    for (unsigned i = 0; i < CALLS; i++)
        call(f->proxy, &f->asker, i);
    await(&f->asker, CALLS);
    for (unsigned i = 0; i < CALLS; i++) {
        const struct proxy_request *request = f->asker.answers[i];
        is_outcome(&request->answer, PROXY_OK);
        assert_int_equal(strtoull(request->answer.data.data, NULL, 10), request->token);
        assert_int_equal(request->command, request->token + 1);
        assert_false(back[request->token]);
        back[request->token] = true;
    }
    assert_int_equal(counted(f, PROXY_OK), CALLS);
    assert_int_equal(histogram_count(&proxy_stats(f->proxy)->latency), CALLS);
    assert_int_equal(counter_read(&proxy_stats(f->proxy)->queued), 0);
    assert_int_equal(counter_read(&proxy_stats(f->proxy)->in_flight), 0);
    assert_in_range(counter_read(&proxy_stats(f->proxy)->connections), 1, f->config.concurrency);
    /* One more is that of the second look. */
    assert_in_range(backend_seen("connections") - connections, 2, f->config.concurrency + 1);
    assert_in_range(backend_seen("in_flight_max"), 2, f->config.concurrency + 2);
}

static void past_the_queue_it_is_busy_at_once(void **state)
{
    struct fixture *f = *state;
    f->config.concurrency = 2;
    f->config.queue = 3;
    start_rpc(f, "/hang");
    for (unsigned i = 0; i < 8; i++)
        call(f->proxy, &f->asker, i);
    collect(&f->asker);
    assert_int_equal(f->asker.count, 3);
    for (unsigned i = 0; i < 3; i++) {
        is_outcome(&f->asker.answers[i]->answer, PROXY_BUSY);
        assert_int_equal(f->asker.answers[i]->token, 5 + i);
    }
    assert_int_equal(counted(f, PROXY_BUSY), 3);
    proxy_stop(f->proxy);
    await(&f->asker, 8);
}

static void waiting_counts_as_time(void **state)
{
    struct fixture *f = *state;
    uint64_t requests = backend_seen("requests");
    f->config.concurrency = 1;
    f->config.timeout_ms = 200;
    start_rpc(f, "/hang");
    uint64_t before = clock_monotonic_ms();
    for (unsigned i = 0; i < 20; i++)
        call(f->proxy, &f->asker, i);
    await(&f->asker, 20);
    /* One after the other they would take 4 s. */
    assert_in_range(clock_monotonic_ms() - before, 199, 2000);
    for (unsigned i = 0; i < 20; i++)
        is_outcome(&f->asker.answers[i]->answer, PROXY_TIMEOUT);
    assert_int_equal(counted(f, PROXY_TIMEOUT), 20);
    /* The first was sent, perhaps some whose last millisecond had begun, and this look. */
    uint64_t sent = backend_seen("requests") - requests - 1;
    assert_in_range(sent, 1, 10);
    assert_in_range(histogram_count(&proxy_stats(f->proxy)->latency), sent, 10);
}

struct crowd {
    struct proxy *proxy;
    struct asker asker;
};

static void *ask_many(void *context)
{
    struct crowd *crowd = context;
    for (unsigned i = 0; i < 300; i++)
        call(crowd->proxy, &crowd->asker, i);
    await(&crowd->asker, 300);
    return NULL;
}

static void several_threads_ask(void **state)
{
    enum { THREADS = 4 };
    struct fixture *f = *state;
    f->config.concurrency = 32;
    f->config.queue = 600;
    start_rpc(f, "/data");
    struct crowd *crowds = calloc(THREADS, sizeof *crowds);
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        crowds[i].proxy = f->proxy;
        assert_true(mailbox_init(&crowds[i].asker.mail));
        assert_int_equal(pthread_create(&threads[i], NULL, ask_many, &crowds[i]), 0);
    }
    uint64_t ok = 0, busy = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        for (size_t a = 0; a < crowds[i].asker.count; a++) {
            const struct proxy_request *request = crowds[i].asker.answers[a];
            if (request->answer.outcome == PROXY_BUSY) {
                busy++;
                continue;
            }
            is_outcome(&request->answer, PROXY_OK);
            assert_int_equal(strtoull(request->answer.data.data, NULL, 10), request->token);
            ok++;
        }
        forget(&crowds[i].asker);
        mailbox_fini(&crowds[i].asker.mail);
    }
    free(crowds);
    assert_int_equal(ok + busy, THREADS * 300);
    assert_int_equal(counted(f, PROXY_OK), ok);
    assert_int_equal(counted(f, PROXY_BUSY), busy);
    assert_in_range(ok, 632, THREADS * 300); /* what there is room for at the least */
}

/* Connections
 * ---------------------------------------------------------------------------------------------------------------
 */

static void a_connection_that_the_backend_ended_is_replaced(void **state)
{
    struct fixture *f = *state;
    start_rpc(f, "/last");
    for (unsigned i = 0; i < 20; i++)
        is_outcome(call_once(f), PROXY_OK);
    assert_in_range(counter_read(&proxy_stats(f->proxy)->connections), 2, 20);
}

static void over_tls_all_share_one_http2_connection(void **state)
{
    enum { CALLS = 200 };
    struct fixture *f = *state;
    f->config.queue = CALLS;
    f->config.concurrency = 50;
    f->config.ca_file = backend.certificate;
    serve_at(f, PROXY_RPC, "https", backend.tls_port, "/data");
    serve_at(f, PROXY_PUBLISH, "https", backend.tls_port, "/echo");
    start(f);
    for (unsigned i = 0; i < CALLS; i++)
        call(f->proxy, &f->asker, i);
    await(&f->asker, CALLS);
    for (unsigned i = 0; i < CALLS; i++)
        is_outcome(&f->asker.answers[i]->answer, PROXY_OK);
    submit_ask(f->proxy, &f->asker, &(struct proxy_ask){.kind = PROXY_PUBLISH, .channel = slice("a")}, 0);
    await(&f->asker, CALLS + 1);
    is_text(json_text_member(f->asker.answers[CALLS]->answer.data, "httpVersion"), "\"2.0\"");
    assert_int_equal(counter_read(&proxy_stats(f->proxy)->connections), 1);
}

static void a_certificate_that_nobody_vouches_for_is_refused(void **state)
{
    struct fixture *f = *state;
    serve_at(f, PROXY_RPC, "https", backend.tls_port, "/data");
    start(f);
    is_outcome(call_once(f), PROXY_UNREACHABLE);
}

static void a_certificate_for_another_name_is_refused(void **state)
{
    struct fixture *f = *state;
    f->config.ca_file = backend.certificate;
    snprintf(f->urls[PROXY_RPC], sizeof f->urls[PROXY_RPC], "https://localhost:%d/data", backend.tls_port);
    f->config.urls[PROXY_RPC] = f->urls[PROXY_RPC];
    start(f);
    is_outcome(call_once(f), PROXY_UNREACHABLE);
}

/* Life
 * ---------------------------------------------------------------------------------------------------------------
 */

static void stopping_answers_everything(void **state)
{
    struct fixture *f = *state;
    f->config.concurrency = 2;
    start_rpc(f, "/hang");
    for (unsigned i = 0; i < 50; i++)
        call(f->proxy, &f->asker, i);
    uint64_t before = clock_monotonic_ms();
    proxy_stop(f->proxy);
    assert_in_range(clock_monotonic_ms() - before, 0, PATIENCE_MS / 2);
    collect(&f->asker);
    assert_int_equal(f->asker.count, 50);
    for (unsigned i = 0; i < 50; i++)
        is_outcome(&f->asker.answers[i]->answer, PROXY_STOPPED);
    assert_int_equal(counter_read(&proxy_stats(f->proxy)->in_flight), 0);
    proxy_stop(f->proxy);
}

static void one_that_never_ran_answers_too(void **state)
{
    struct fixture *f = *state;
    char error[256];
    serve_at(f, PROXY_RPC, "http", backend.port, "/data");
    f->proxy = proxy_create(&f->config, error, sizeof error);
    assert_non_null(f->proxy);
    call(f->proxy, &f->asker, 1);
    proxy_stop(f->proxy);
    collect(&f->asker);
    assert_int_equal(f->asker.count, 1);
    is_outcome(&f->asker.answers[0]->answer, PROXY_STOPPED);
}

static void idle_it_sleeps(void **state)
{
    struct fixture *f = *state;
    start_rpc(f, "/data");
    is_outcome(call_once(f), PROXY_OK);
    const struct proxy_stats *stats = proxy_stats(f->proxy);
    uint64_t before = counter_read(&stats->wakes);
    struct pollfd nothing = {.fd = -1};
    poll(&nothing, 1, 1000); /* the time over which wakes are counted */
    assert_in_range(counter_read(&stats->wakes) - before, 0, 5);
}

static void settings_that_make_no_sense_are_refused(void **state)
{
    struct fixture *f = *state;
    char error[256];
    serve_at(f, PROXY_RPC, "ftp", backend.port, "/data");
    assert_null(proxy_create(&f->config, error, sizeof error));
    assert_string_equal(error, "proxy.rpc is neither an http: nor an https: URL");
    serve_at(f, PROXY_RPC, "http", backend.port, "/data");
    f->config.headers = "Content-Length";
    assert_null(proxy_create(&f->config, error, sizeof error));
    assert_non_null(strstr(error, "proxy.headers: Content-Length cannot be passed on"));
    f->config.headers = "";
    f->config.ca_file = "/nowhere/ca.pem";
    assert_null(proxy_create(&f->config, error, sizeof error));
    assert_non_null(strstr(error, "proxy.ca_file: cannot read /nowhere/ca.pem"));
}

static void failures_are_logged_without_what_was_sent(void **state)
{
    struct fixture *f = *state;
    int saved = dup(STDERR_FILENO), ends[2];
    char text[8192];
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
    serve_at(f, PROXY_RPC, "http", backend.port, "/500?key=secret1");
    serve_at(f, PROXY_SUBSCRIBE, "http", backend.port, "/text?key=secret2");
    serve_at(f, PROXY_CONNECT, "http", 1, "/secret3");
    start(f);
    for (enum proxy_kind kind = PROXY_CONNECT; kind < PROXY_KIND_COUNT; kind++)
        if (proxy_serves(f->proxy, kind))
            submit_ask(f->proxy, &f->asker,
                       &(struct proxy_ask){.kind = kind,
                                           .token = slice("secret4"),
                                           .data = slice("\"secret5\""),
                                           .headers = slice("Cookie: secret6\r\n")},
                       0);
    await(&f->asker, 3);
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    close(saved);
    ssize_t got = read(ends[0], text, sizeof text - 1);
    close(ends[0]);
    close(ends[1]);
    assert_true(got > 0);
    text[got] = '\0';
    assert_null(strstr(text, "secret"));
    assert_non_null(strstr(text, "event=proxy_failed kind=rpc outcome=bad_status backend=127.0.0.1:"));
    assert_non_null(strstr(text, "kind=subscribe outcome=bad_body"));
    assert_non_null(strstr(text, "kind=connect outcome=unreachable backend=127.0.0.1:1 status=0"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(an_answer_comes_back_in_the_request),
        TEST(the_backend_gets_the_body_and_the_listed_headers),
        TEST(errors_and_disconnects_are_the_backends_word),
        TEST(other_statuses_are_no_answer),
        TEST(a_redirect_is_not_followed),
        TEST(other_bodies_are_no_answer),
        TEST(a_backend_that_cuts_off_is_unreachable),
        TEST(a_backend_that_is_down_is_unreachable_at_once),
        TEST(a_backend_that_is_slow_times_out),
        TEST(many_share_few_connections),
        TEST(past_the_queue_it_is_busy_at_once),
        TEST(waiting_counts_as_time),
        TEST(several_threads_ask),
        TEST(a_connection_that_the_backend_ended_is_replaced),
        TEST(over_tls_all_share_one_http2_connection),
        TEST(a_certificate_that_nobody_vouches_for_is_refused),
        TEST(a_certificate_for_another_name_is_refused),
        TEST(stopping_answers_everything),
        TEST(one_that_never_ran_answers_too),
        TEST(idle_it_sleeps),
        TEST(settings_that_make_no_sense_are_refused),
        TEST(failures_are_logged_without_what_was_sent),
    };
    return cmocka_run_group_tests(tests, start_backend, stop_backend);
}
