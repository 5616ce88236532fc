/* Sums, verdict, rates and JSON of the report. */
#include "loadtest/report.h"

#include "loadtest/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct load_options options = {.connections = 10, .target_text = "ws://h/\"q\""};

/* Ten connections, all open, all closed by us. */
static struct load_result *good_result(void)
{
    struct load_result *result = calloc(1, sizeof(*result));
    assert_non_null(result);
    result->options = &options;
    counter_set(&result->total.started, 10);
    counter_set(&result->total.opened, 10);
    counter_set(&result->total.ended[END_DONE], 10);
    return result;
}

static void a_run_without_faults_is_good(void **state)
{
    (void)state;
    struct load_result *result = good_result();
    assert_int_equal(load_result_verdict(result), LOAD_PASSED);
    free(result);
}

static void every_kind_of_fault_fails_the_run(void **state)
{
    (void)state;
    struct load_result *result = good_result();
    counter *const faults[] = {
        &result->total.lost,
        &result->total.duplicated,
        &result->total.out_of_order,
        &result->total.corrupt,
        &result->total.misrouted,
        &result->total.unknown,
        &result->total.late,
        &result->slow.duplicated,
        &result->slow.unknown,
        &result->total.failed_first,
        &result->total.failed[FAIL_RESET],
        &result->total.probes_sent,
        &result->total.ended[END_EOF],
        &result->total.ended[END_CLOSE_FRAME],
        &result->total.ended[END_RESET],
    };
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        counter_set(faults[i], 1);
        assert_int_equal(load_result_verdict(result), LOAD_FAILED);
        counter_set(faults[i], 0);
        assert_int_equal(load_result_verdict(result), LOAD_PASSED);
    }
    counter_set(&result->total.twice, 1); /* across a reconnect */
    assert_int_equal(load_result_verdict(result), LOAD_PASSED);
    counter_set(&result->total.opened, 9);
    assert_int_equal(load_result_verdict(result), LOAD_FAILED);
    free(result);
}

static void a_publisher_that_failed_fails_the_run(void **state)
{
    (void)state;
    struct load_result *result = good_result();
    struct publisher *publisher = calloc(1, sizeof(*publisher));
    assert_non_null(publisher);
    result->publisher = publisher;
    assert_int_equal(load_result_verdict(result), LOAD_PASSED);
    counter_set(&publisher->refused, 1);
    assert_int_equal(load_result_verdict(result), LOAD_FAILED);
    counter_set(&publisher->refused, 0);
    snprintf(publisher->error, sizeof(publisher->error), "gone");
    assert_int_equal(load_result_verdict(result), LOAD_FAILED);
    free(publisher);
    free(result);
}

static void what_an_interrupt_prevented_is_no_fault_and_not_passed(void **state)
{
    (void)state;
    struct load_result *result = good_result();
    result->interrupted = result->opening_cut = true;
    counter_set(&result->total.started, 8);
    counter_set(&result->total.opened, 6);
    counter_set(&result->total.failed[FAIL_INTERRUPTED], 2);
    snprintf(result->unchecked[result->unchecked_count++], REPORT_UNCHECKED_BYTES, "4 connections");
    assert_int_equal(load_result_verdict(result), LOAD_ENDED_EARLY);
    counter_set(&result->total.lost, 3);
    assert_int_equal(load_result_verdict(result), LOAD_FAILED);
    result->settle_cut = true;
    assert_int_equal(load_result_verdict(result), LOAD_ENDED_EARLY);
    counter_set(&result->total.probes_sent, 6);
    assert_int_equal(load_result_verdict(result), LOAD_FAILED);
    result->probe_cut = true;
    assert_int_equal(load_result_verdict(result), LOAD_ENDED_EARLY);
    counter_set(&result->total.opened, 5);
    counter_set(&result->total.failed[FAIL_RESET], 1); /* and nobody interrupted that */
    counter_set(&result->total.failed_first, 1);
    assert_int_equal(load_result_verdict(result), LOAD_FAILED);
    free(result);
}

static void an_interrupt_after_the_opening_excuses_no_connection(void **state)
{
    (void)state;
    struct load_result *result = good_result();
    result->interrupted = true;
    assert_int_equal(load_result_verdict(result), LOAD_PASSED);
    counter_set(&result->total.opened, 9);
    assert_int_equal(load_result_verdict(result), LOAD_FAILED);
    free(result);
}

static void a_storm_that_had_its_time_is_judged_although_a_signal_came_later(void **state)
{
    (void)state;
    static const struct load_options of_a_storm = {
        .connections = 10, .target_text = "ws://h/", .mode = LOAD_STORM};
    struct load_result *result = good_result();
    result->options = &of_a_storm;
    result->interrupted = true;
    result->storm_count = 1;
    result->storms[0] = (struct load_storm){.handshakes = "plain", .cut = 10, .back = 9};
    assert_int_equal(load_result_verdict(result), LOAD_FAILED);
    result->storms[0].cut_short = true;
    snprintf(result->unchecked[result->unchecked_count++], REPORT_UNCHECKED_BYTES, "1 of 10");
    assert_int_equal(load_result_verdict(result), LOAD_ENDED_EARLY);
    free(result);
}

static void a_storm_excuses_no_connection_that_never_opened(void **state)
{
    (void)state;
    static const struct load_options of_a_storm = {
        .connections = 10, .target_text = "ws://h/", .mode = LOAD_STORM};
    struct load_result *result = good_result();
    result->options = &of_a_storm;
    result->storm_count = 1;
    result->storms[0] = (struct load_storm){.handshakes = "plain", .cut = 10, .back = 10};
    counter_set(&result->total.opened, 20);
    counter_set(&result->total.returned, 10);
    counter_set(&result->total.failed[FAIL_HTTP_STATUS], 7); /* attempts to get back that were repeated */
    assert_int_equal(load_result_verdict(result), LOAD_PASSED);
    result->storms[0] = (struct load_storm){.handshakes = "plain", .cut = 5, .back = 5};
    counter_set(&result->total.opened, 10);
    counter_set(&result->total.returned, 5);
    assert_int_equal(load_result_verdict(result), LOAD_FAILED);
    free(result);
}

static void closing_handshakes_that_the_server_leaves_are_a_warning_until_they_are_many(void **state)
{
    (void)state;
    struct load_findings findings;
    struct load_result *result = good_result();
    counter_set(&result->total.ended[END_DONE], 90);
    counter_set(&result->total.ended[END_CLOSE_CUT], 4);
    counter_set(&result->total.ended[END_UNANSWERED], 6);
    assert_int_equal(load_result_findings(result, &findings), LOAD_PASSED);
    assert_int_equal(findings.warning_count, 1);
    assert_string_equal(findings.warnings[0], "the server did not complete 10 of 100 closing handshakes");
    counter_set(&result->total.ended[END_DONE], 89);
    counter_set(&result->total.ended[END_CLOSE_CUT], 5);
    assert_int_equal(load_result_findings(result, &findings), LOAD_FAILED);
    assert_int_equal(findings.warning_count, 0);
    result->closing_cut = true;
    assert_int_equal(load_result_findings(result, &findings), LOAD_PASSED);
    free(result);
}

static void unknown_messages_may_be_allowed(void **state)
{
    (void)state;
    static const struct load_options tolerant = {
        .connections = 10, .target_text = "ws://h/", .allow_unknown = true};
    struct load_result *result = good_result();
    counter_set(&result->total.unknown, 3);
    counter_set(&result->total.foreign, 3);
    assert_int_equal(load_result_verdict(result), LOAD_FAILED);
    result->options = &tolerant;
    assert_int_equal(load_result_verdict(result), LOAD_PASSED);
    free(result);
}

static char *text_of(const struct load_result *result)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    load_report_text(result, out);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void the_text_names_every_fault(void **state)
{
    (void)state;
    struct load_result *result = good_result();
    counter_set(&result->total.lost, 3);
    counter_set(&result->total.ended[END_EOF], 2);
    char *text = text_of(result);
    assert_non_null(strstr(text, "\n  fault: 2 connections were closed unexpectedly\n"
                                 "  fault: 3 messages were lost\n  FAILED\n"));
    free(text);
    free(result);
}

static void the_gateways_cpu_is_not_known_when_it_has_gone(void **state)
{
    (void)state;
    static const struct load_options watching = {
        .connections = 10, .target_text = "ws://h/", .gateway_pid = 4711};
    struct load_result *result = good_result();
    struct load_sample samples[2] = {{.gateway_seen = true, .gateway_cpu = 7},
                                     {.gateway_seen = true, .gateway_cpu = 9.5}};
    result->options = &watching;
    result->samples = samples;
    result->sample_count = 2;
    result->all_open = (struct load_sample){.open = 10, .gateway_seen = true, .gateway_bytes = 4000};
    char *text = text_of(result);
    assert_non_null(strstr(text, " 2.50 s\n"));
    free(text);
    samples[1] = (struct load_sample){.open = 10};
    text = text_of(result);
    assert_non_null(strstr(text, "not known  the process was not there any more at the end\n"));
    assert_null(strstr(text, "-7"));
    free(text);
    free(result);
}

static void the_text_says_what_was_not_checked(void **state)
{
    (void)state;
    char text[4096] = "";
    struct load_result *result = good_result();
    snprintf(result->unchecked[result->unchecked_count++], REPORT_UNCHECKED_BYTES, "4 connections");
    FILE *out = fmemopen(text, sizeof(text) - 1, "w");
    load_report_text(result, out);
    fclose(out);
    assert_non_null(
        strstr(text, "\n  not checked: 4 connections\n  ended early: no fault in what was checked\n"));
    assert_null(strstr(text, "passed"));
    free(result);
}

static void bytes_and_rates_survive_missing_figures(void **state)
{
    (void)state;
    struct load_result *result = good_result();
    struct publisher *publisher = calloc(1, sizeof(*publisher));
    assert_non_null(publisher);
    assert_true(load_result_delivery_rate(result) == 0);
    result->publisher = publisher;
    counter_set(&publisher->began_ns, 1000000000);
    counter_set(&result->total.last_delivery_ns, 3000000000);
    counter_set(&result->total.delivered, 500);
    assert_true(load_result_delivery_rate(result) == 250);
    result->rss_before = 5000;
    result->rss_open = 8000;
    result->all_open.open = 10;
    counter_set(&result->total.opened, 25); /* with those that came back */
    assert_true(load_result_bytes_per_connection(result) == 300);
    result->rss_open = 100;
    assert_true(load_result_bytes_per_connection(result) == 0);
    free(publisher);
    free(result);
}

static void rates_are_those_of_the_time_in_which_publishing_was_wanted(void **state)
{
    (void)state;
    struct load_options wanted = {.connections = 200,
                                  .target_text = "ws://h/",
                                  .mode = LOAD_CHURN,
                                  .publish_rate = 100,
                                  .churn_share = 500};
    struct load_result *result = good_result();
    struct publisher *publisher = calloc(1, sizeof(*publisher));
    char publishing[REPORT_SENTENCE_BYTES], churning[REPORT_SENTENCE_BYTES];

    assert_non_null(publisher);
    result->options = &wanted;
    assert_true(load_result_publish_rate(result) == 0 && !load_result_published_late(result));
    result->publisher = publisher;
    assert_true(load_result_publish_rate(result) == 0 && !load_result_published_late(result));
    counter_set(&publisher->began_ns, 1000000000);
    counter_set(&publisher->stopped_ns, 2990000000); /* the last of 200 has left in time */
    counter_set(&publisher->ended_ns, 9000000000);   /* and been answered late */
    counter_set(&publisher->published, 200);
    assert_true(load_result_publish_rate(result) == 100 && !load_result_published_late(result));
    counter_set(&publisher->stopped_ns, 5000000000);
    assert_true(load_result_publish_rate(result) == 50 && load_result_published_late(result));
    wanted.publish_rate = 0;
    assert_true(load_result_publish_rate(result) == 25 && !load_result_published_late(result));

    assert_false(load_result_churned_late(result)); /* it was interrupted before */
    result->churn_seconds = 10;
    result->churn_returned = 96;
    assert_true(load_result_churn_share(result) == 0.048);
    assert_false(load_result_churned_late(result));
    result->churn_returned = 40;
    assert_true(load_result_churned_late(result));
    wanted.publish_rate = 100;
    load_result_late_sentences(result, publishing, churning);
    assert_string_equal(publishing,
                        "publishing fell behind: 50.0 of the 100 messages per second that were wanted; "
                        "their ages count from when each was due");
    assert_string_equal(churning,
                        "replacing fell behind: 2.00% of the connections per second, 5.00% were wanted");
    free(publisher);
    free(result);
}

static void a_storm_that_cannot_resume_is_judged_by_what_was_asked_for(void **state)
{
    (void)state;
    struct load_options wanted = {
        .connections = 10, .target_text = "wss://h/", .mode = LOAD_STORM, .target = {.tls = true}};
    struct load_result *result = good_result();
    result->options = &wanted;
    result->storm_count = 1;
    result->storms[0] = (struct load_storm){.handshakes = "full", .cut = 10, .back = 10};
    wanted.handshakes = HANDSHAKES_BOTH;
    assert_int_equal(load_result_verdict(result), LOAD_FAILED);
    result->no_tickets = true;
    assert_int_equal(load_result_verdict(result), LOAD_PASSED);
    wanted.handshakes = HANDSHAKES_RESUMED;
    assert_int_equal(load_result_verdict(result), LOAD_FAILED);
    free(result);
}

static void sums_add_counters_and_keep_the_latest_delivery(void **state)
{
    (void)state;
    struct load_stats *stats = calloc(3, sizeof(*stats));
    assert_non_null(stats);
    for (int i = 1; i < 3; i++) {
        counter_set(&stats[i].opened, (uint64_t)i);
        counter_set(&stats[i].failed[FAIL_TLS], 10);
        counter_set(&stats[i].ended[END_WS_ERROR], 1);
        counter_set(&stats[i].ended[END_DONE], 5);
        histogram_record(&stats[i].latency, (uint64_t)i * 1000);
        snprintf(stats[i].fail_example[FAIL_TLS], STATS_EXAMPLE_BYTES, "example %d", i);
    }
    counter_set(&stats[1].last_delivery_ns, 9);
    counter_set(&stats[2].last_delivery_ns, 4);
    load_stats_merge(&stats[0], &stats[1], true);
    load_stats_merge(&stats[0], &stats[2], true);
    assert_int_equal(counter_read(&stats[0].opened), 3);
    assert_int_equal(load_stats_failed(&stats[0]), 20);
    assert_int_equal(load_stats_unexpected(&stats[0]), 2);
    assert_int_equal(counter_read(&stats[0].last_delivery_ns), 9);
    assert_int_equal(histogram_count(&stats[0].latency), 2);
    assert_string_equal(stats[0].fail_example[FAIL_TLS], "example 1");
    free(stats);
}

static char *written(void (*write)(FILE *out, const void *argument), const void *argument)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    write(out, argument);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void write_string(FILE *out, const void *text)
{
    struct json json;
    json_init(&json, out);
    json_string(&json, NULL, text);
    assert_true(json_finish(&json));
}

static void json_strings_are_escaped(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"plain", "\"plain\"\n"},
        {"\"\\", "\"\\\"\\\\\"\n"},
        {"a\nb\x01\x7f", "\"a\\u000ab\\u0001\\u007f\"\n"},
        {"µs €", "\"µs €\"\n"},
        {"\xff!", "\"\\ufffd!\"\n"},
        {"\xe2\x82", "\"\\ufffd\"\n"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *text = written(write_string, cases[i].in);
        assert_string_equal(text, cases[i].out);
        free(text);
    }
}

static void write_report(FILE *out, const void *result)
{
    assert_true(load_report_json(result, out));
}

static void the_json_report_is_balanced_and_complete(void **state)
{
    (void)state;
    struct load_result *result = good_result();
    struct load_sample samples[2] = {{.seconds = 1, .open = 3}, {.seconds = 2, .open = 10}};
    result->samples = samples;
    result->sample_count = 2;
    char *text = written(write_report, result);
    int depth = 0;
    bool quoted = false;
    for (const char *p = text; *p; p++) {
        if (*p == '\\' && quoted)
            p++;
        else if (*p == '"')
            quoted = !quoted;
        else if (!quoted)
            depth += (*p == '{' || *p == '[') - (*p == '}' || *p == ']');
        assert_true(depth > 0 || p[1] == '\n' || *p == '\n');
    }
    assert_int_equal(depth, 0);
    assert_non_null(strstr(text, "\"passed\": true"));
    assert_non_null(strstr(text, "\"target\": \"ws://h/\\\"q\\\"\""));
    assert_non_null(strstr(text, "\"closed_by_reason\": {"));
    free(text);
    free(result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_without_faults_is_good),
        cmocka_unit_test(every_kind_of_fault_fails_the_run),
        cmocka_unit_test(a_publisher_that_failed_fails_the_run),
        cmocka_unit_test(what_an_interrupt_prevented_is_no_fault_and_not_passed),
        cmocka_unit_test(an_interrupt_after_the_opening_excuses_no_connection),
        cmocka_unit_test(a_storm_that_had_its_time_is_judged_although_a_signal_came_later),
        cmocka_unit_test(a_storm_excuses_no_connection_that_never_opened),
        cmocka_unit_test(closing_handshakes_that_the_server_leaves_are_a_warning_until_they_are_many),
        cmocka_unit_test(unknown_messages_may_be_allowed),
        cmocka_unit_test(the_text_names_every_fault),
        cmocka_unit_test(the_gateways_cpu_is_not_known_when_it_has_gone),
        cmocka_unit_test(the_text_says_what_was_not_checked),
        cmocka_unit_test(bytes_and_rates_survive_missing_figures),
        cmocka_unit_test(rates_are_those_of_the_time_in_which_publishing_was_wanted),
        cmocka_unit_test(a_storm_that_cannot_resume_is_judged_by_what_was_asked_for),
        cmocka_unit_test(sums_add_counters_and_keep_the_latest_delivery),
        cmocka_unit_test(json_strings_are_escaped),
        cmocka_unit_test(the_json_report_is_balanced_and_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
