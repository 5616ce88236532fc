/* admin_metrics: every counter shows, sums are sums, and promtool finds nothing to say. */
#include "gateway/admin_metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    struct acceptor_stats acceptors[2];
    struct reactor_stats reactors[2];
    struct publisher_stats publisher;
    struct proxy_stats proxy;
    struct admin_api_stats api;
    struct admin_auth auth;
    const struct acceptor_stats *acceptor_list[2];
    const struct reactor_stats *reactor_list[2];
    struct control control; /* of which only the phase is looked at */
    struct settings settings;
    struct tls_certificate rows[2];
    struct tls_certificates certificates;
    struct admin_config config;
    char *text;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    for (int i = 0; i < 2; i++) {
        f->acceptor_list[i] = &f->acceptors[i];
        f->reactor_list[i] = &f->reactors[i];
    }
    f->certificates = (struct tls_certificates){.count = 2, .rows = f->rows};
    f->rows[0].host = "*";
    f->rows[1].host = "*.example.org";
    f->config = (struct admin_config){.listen_fd = -1,
                                      .settings = &f->settings,
                                      .certificates = &f->certificates,
                                      .acceptor_count = 2,
                                      .acceptors = f->acceptor_list,
                                      .reactor_count = 2,
                                      .reactors = f->reactor_list,
                                      .publisher = &f->publisher,
                                      .proxy = &f->proxy,
                                      .control = &f->control};
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    free(f->text);
    free(f);
    return 0;
}

static void write_text(struct fixture *f)
{
    size_t len;
    free(f->text);
    FILE *out = open_memstream(&f->text, &len);
    admin_metrics_write(&f->config, 1700000000123, &f->api, &f->auth, out);
    assert_int_equal(fclose(out), 0);
}

static void has_line(const struct fixture *f, const char *line)
{
    char whole[256];
    snprintf(whole, sizeof whole, "\n%s\n", line);
    if (!strstr(f->text, whole))
        fail_msg("no line \"%s\"", line);
}

/* Gives each counter of a struct a number of its own from `first` on, and returns the next free one. */
static uint64_t number_counters(counter *first_counter, size_t bytes, uint64_t first)
{
    for (size_t i = 0; i < bytes / sizeof(counter); i++)
        counter_set(&first_counter[i], first++);
    return first;
}

static void values_are_summed_over_threads(void **state)
{
    struct fixture *f = *state;
    counter_set(&f->reactors[0].connections[ADAPTER_RAW][TRANSPORT_WSS], 3);
    counter_set(&f->reactors[1].connections[ADAPTER_RAW][TRANSPORT_WSS], 4);
    counter_set(&f->reactors[1].connections[ADAPTER_ECHO][TRANSPORT_WS], 5);
    counter_set(&f->reactors[0].closes[CLOSE_IDLE], 6);
    counter_set(&f->reactors[1].closes[CLOSE_IDLE], 7);
    counter_set(&f->acceptors[0].accepted[TRANSPORT_WS], 8);
    counter_set(&f->acceptors[1].accepted[TRANSPORT_WS], 9);
    counter_set(&f->acceptors[1].failures[HANDSHAKE_TIMEOUT], 10);
    counter_set(&f->publisher.publishes, 11);
    counter_set(&f->proxy.answers[PROXY_RPC][PROXY_TIMEOUT], 12);
    control_set_phase(&f->control, PHASE_GRACE);
    write_text(f);
    has_line(f, "pushgate_connections{adapter=\"raw\",transport=\"wss\"} 7");
    has_line(f, "pushgate_connections{adapter=\"echo\",transport=\"ws\"} 5");
    has_line(f, "pushgate_reactor_connections{reactor=\"0\"} 3");
    has_line(f, "pushgate_reactor_connections{reactor=\"1\"} 9");
    has_line(f, "pushgate_closes_total{reason=\"idle_timeout\"} 13");
    has_line(f, "pushgate_accepted_total{transport=\"ws\"} 17");
    has_line(f, "pushgate_handshake_failures_total{reason=\"timeout\"} 10");
    has_line(f, "pushgate_publishes_total 11");
    has_line(f, "pushgate_proxy_answers_total{kind=\"rpc\",outcome=\"timeout\"} 12");
    has_line(f, "pushgate_draining 1");
    has_line(f, "pushgate_ready 0");
    has_line(f, "process_start_time_seconds 1700000000.123");
    assert_non_null(strstr(f->text, "pushgate_info{version=\"" PUSHGATE_VERSION "\"} 1\n"));
}

/* Whoever adds a counter to stats.h must show it: each is given a number that stands nowhere else. */
static void every_counter_shows(void **state)
{
    struct fixture *f = *state;
    enum { FIRST = 1000001 };
    f->config.acceptor_count = f->config.reactor_count = 1;
    uint64_t next = number_counters((counter *)(void *)&f->acceptors[0], sizeof f->acceptors[0], FIRST);
    /* Connections show as one sum and apart; the histograms behind the counters have tests of their own. */
    next = number_counters((counter *)(void *)&f->reactors[0], offsetof(struct reactor_stats, loop_latency),
                           next);
    next = number_counters((counter *)(void *)&f->publisher, sizeof f->publisher, next);
    next = number_counters((counter *)(void *)&f->proxy, offsetof(struct proxy_stats, latency), next);
    write_text(f);
    uint64_t none = counter_read(&f->reactors[0].closes[CLOSE_NONE]); /* not a close */
    for (uint64_t value = FIRST; value < next; value++) {
        char end[32];
        snprintf(end, sizeof end, " %llu\n", (unsigned long long)value);
        if (value != none && !strstr(f->text, end))
            fail_msg("counter number %llu does not show", (unsigned long long)(value - FIRST));
    }
}

static void histograms_are_cumulative_and_in_seconds(void **state)
{
    struct fixture *f = *state;
    histogram_record(&f->reactors[0].loop_latency, 10);
    histogram_record(&f->reactors[0].loop_latency, 100);
    histogram_record(&f->reactors[1].loop_latency, 100);
    histogram_record(&f->reactors[1].loop_latency, 3000000);
    histogram_record(&f->reactors[1].loop_latency, 100000000);
    write_text(f);
    has_line(f, "pushgate_loop_latency_seconds_bucket{le=\"0.000064\"} 1");
    has_line(f, "pushgate_loop_latency_seconds_bucket{le=\"0.000128\"} 3");
    has_line(f, "pushgate_loop_latency_seconds_bucket{le=\"2.097152\"} 3");
    has_line(f, "pushgate_loop_latency_seconds_bucket{le=\"4.194304\"} 4");
    has_line(f, "pushgate_loop_latency_seconds_bucket{le=\"16.777216\"} 4");
    has_line(f, "pushgate_loop_latency_seconds_bucket{le=\"+Inf\"} 5");
    has_line(f, "pushgate_loop_latency_seconds_sum 103.000210");
    has_line(f, "pushgate_loop_latency_seconds_count 5");
    has_line(f, "pushgate_delivery_latency_seconds_count 0");
}

static void promtool_accepts_every_name_type_and_help(void **state)
{
    struct fixture *f = *state;
    if (system("command -v promtool >/dev/null 2>&1") != 0) // NOLINT(cert-env33-c)
        skip();
    write_text(f);
    FILE *promtool = popen("promtool check metrics", "w"); // NOLINT(cert-env33-c)
    assert_non_null(promtool);
    fputs(f->text, promtool);
    int status = pclose(promtool);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void calls_of_the_api_show_by_method_and_outcome(void **state)
{
    struct fixture *f = *state;
    write_text(f);
    has_line(f, "pushgate_api_calls_total{method=\"history_remove\",outcome=\"ok\"} 0");
    assert_null(
        strstr(f->text, "outcome=\"bad_request\"")); /* what has not happened does not fill the page */
    f->api.calls[API_PUBLISH][0] = 5;
    for (unsigned o = 0; o < API_OUTCOME_COUNT; o++)
        if (strcmp(api_outcome_label(o), "bad_request") == 0)
            f->api.calls[API_PUBLISH][o] = 6;
    f->api.unauthorized = 7;
    f->api.malformed = 8;
    write_text(f);
    has_line(f, "pushgate_api_calls_total{method=\"publish\",outcome=\"ok\"} 5");
    has_line(f, "pushgate_api_calls_total{method=\"publish\",outcome=\"bad_request\"} 6");
    has_line(f, "pushgate_api_refused_total{reason=\"unauthorized\"} 7");
    has_line(f, "pushgate_api_refused_total{reason=\"malformed\"} 8");
}

static void without_a_proxy_it_has_no_metrics(void **state)
{
    struct fixture *f = *state;
    f->config.proxy = NULL;
    write_text(f);
    assert_null(strstr(f->text, "pushgate_proxy"));
}

static void limits_show_beside_what_they_bound(void **state)
{
    struct fixture *f = *state;
    f->config.connection_limit = 1234;
    f->settings.limits.outbox_memory = 3456;
    f->settings.limits.inflight_bytes = 5678;
    f->settings.history.memory = 9012;
    write_text(f);
    has_line(f, "pushgate_connections_limit 1234");
    has_line(f, "pushgate_outbox_memory_limit_bytes 3456");
    has_line(f, "pushgate_inflight_limit_bytes 5678");
    has_line(f, "pushgate_history_limit_bytes 9012");
}

static void certificates_show_by_host(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->rows[0].not_after_s, 1800000000);
    atomic_store(&f->rows[1].not_after_s, -5); /* before 1970: what stands in a file may be anything */
    write_text(f);
    has_line(f, "pushgate_certificate_not_after_timestamp_seconds{host=\"*\"} 1800000000");
    has_line(f, "pushgate_certificate_not_after_timestamp_seconds{host=\"*.example.org\"} -5");
    f->certificates.count = 0;
    write_text(f);
    assert_null(strstr(f->text, "certificate"));
}

static uint64_t value_of(const struct fixture *f, const char *name)
{
    char start[64];
    snprintf(start, sizeof start, "\n%s ", name);
    const char *at = strstr(f->text, start);
    assert_non_null(at);
    return strtoull(at + strlen(start), NULL, 10);
}

static void descriptors_are_counted(void **state)
{
    struct fixture *f = *state;
    enum { MORE = 7 };
    int fds[MORE];
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    write_text(f);
    uint64_t before = value_of(f, "process_open_fds");
    assert_int_equal(value_of(f, "process_max_fds"), limit.rlim_cur);
    for (int i = 0; i < MORE; i++)
        fds[i] = dup(0);
    write_text(f);
    assert_int_equal(value_of(f, "process_open_fds"), before + MORE);
    for (int i = 0; i < MORE; i++)
        close(fds[i]);
    assert_true(before >= 3 && before < 64); /* what a test has open, and not the size of something else */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(values_are_summed_over_threads),
        TEST(every_counter_shows),
        TEST(histograms_are_cumulative_and_in_seconds),
        TEST(calls_of_the_api_show_by_method_and_outcome),
        TEST(limits_show_beside_what_they_bound),
        TEST(certificates_show_by_host),
        TEST(descriptors_are_counted),
        TEST(without_a_proxy_it_has_no_metrics),
        TEST(promtool_accepts_every_name_type_and_help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
