/* admin_api: batches, the older form, limits, and jobs that wait or leave. */
#include "api_bench.h"

#include <jansson.h>

/* Many at once
 * ----------------------------------------------------------------------------------------------------------
 */

static void a_batch_answers_in_order(void **state)
{
    struct fixture *f = *state;
    answers(
        f, "/batch",
        "{\"parallel\":true,\"commands\":[{\"publish\":{\"channel\":\"h:b\",\"data\":1}},{\"nope\":{}},{},5,"
        "{\"publish\":{\"channel\":\"h:b\"}},{\"history\":{\"channel\":\"h:b\",\"limit\":1}},{\"batch\":{}},"
        "{\"broadcast\":{\"channels\":[\"h:b\",\"x\"],\"data\":2}},{\"unheard\":1,\"presence_stats\":{"
        "\"channel\":"
        "\"p:b\"}},{\"broadcast\":{}},{\"disconnect\":{\"user\":\"u\"}}]}",
        "{\"replies\":[{\"publish\":{\"offset\":1,\"epoch\":\"E\"}},"
        "{\"error\":{\"code\":104,\"message\":\"method not found\"}},"
        "{\"error\":{\"code\":104,\"message\":\"method not found\"}},"
        "{\"error\":{\"code\":107,\"message\":\"bad request: parameters are a JSON object\"}},"
        "{\"error\":{\"code\":107,\"message\":\"bad request: data is missing\"}},"
        "{\"history\":{\"publications\":[{\"data\":1,\"offset\":1}],\"epoch\":\"E\",\"offset\":1}},"
        "{\"error\":{\"code\":104,\"message\":\"method not found\"}},"
        "{\"broadcast\":{\"responses\":[{\"result\":{\"offset\":2,\"epoch\":\"E\"}},{\"result\":{}}]}},"
        "{\"presence_stats\":{\"num_clients\":0,\"num_users\":0}},"
        "{\"error\":{\"code\":107,\"message\":\"bad request: channels is missing or empty\"}},"
        "{\"disconnect\":{}}]}");
    answers(f, "/batch", "{\"commands\":[]}", "{\"replies\":[]}");
    drop_mail(f);
}

static void the_older_form_answers_line_by_line(void **state)
{
    struct fixture *f = *state;
    answers(f, "", "{\"method\":\"publish\",\"params\":{\"channel\":\"h:o\",\"data\":1}}",
            "{\"result\":{\"offset\":1,\"epoch\":\"E\"}}");
    answers(f, "",
            "{\n \"id\" : 12 ,\r\n \"method\":\"presence_stats\",\n\"params\":{\"channel\":\"p:o\"}}\n",
            "{\"id\":12,\"result\":{\"num_clients\":0,\"num_users\":0}}");
    answers(f, "",
            "\n{\"method\":\"publish\",\"params\":{\"channel\":\"h:o\",\"data\":{\"a\":2}}}\r\n"
            " {\"id\":2,\"method\":\"nope\"}\n\n{\"id\":0,\"method\":\"channels\"}\n"
            "{\"id\":\"x\",\"method\":\"batch\",\"params\":{\"commands\":[]}}\n"
            "{\"id\":5,\"method\":\"broadcast\",\"params\":{\"channels\":[\"a\"],\"data\":1}}\n"
            "{\"method\":\"history\",\"params\":{\"channel\":\"h:o\",\"limit\":9}}",
            "{\"result\":{\"offset\":2,\"epoch\":\"E\"}}\n"
            "{\"id\":2,\"error\":{\"code\":104,\"message\":\"method not found\"}}\n"
            "{\"result\":{\"channels\":{}}}\n"
            "{\"error\":{\"code\":104,\"message\":\"method not found\"}}\n"
            "{\"id\":5,\"result\":{\"responses\":[{\"result\":{}}]}}\n"
            "{\"result\":{\"publications\":[{\"data\":1,\"offset\":1},{\"data\":{\"a\":2},\"offset\":2}],"
            "\"epoch\":\"E\",\"offset\":2}}");
    /* What was published with line breaks does not break lines. */
    (void)run(f, "/publish", "{\"channel\":\"h:nl\",\"data\":{\n}}");
    answers(f, "", "{\"method\":\"history\",\"params\":{\"channel\":\"h:nl\",\"limit\":9}}",
            "{\"result\":{\"publications\":[{\"data\":{ },\"offset\":1}],\"epoch\":\"E\",\"offset\":1}}");
}

static void bodies_that_hold_no_calls_are_refused(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *method, *body;
        int status;
    } rows[] = {
        {"/nope", "{}", 404},
        {"/publish/x", "{}", 404},
        {"/PUBLISH", "{}", 404},
        {"/unknown", "{}", 404},
        {"/publish", "{", 400},
        {"/publish", "{} {}", 400},
        {"/publish", "{\"channel\":\"\xff\"}", 400},
        {"/batch", "", 400},
        {"/batch", "{}", 400},
        {"/batch", "{\"commands\":{}}", 400},
        {"/batch", "[]", 400},
        {"", "", 400},
        {"", "\n \n", 400},
        {"", "{\"method\":\"info\"}\n{", 400},
        {"", "{\"method\":\"info\"} {\"method\":\"info\"}", 400},
        {"/", "nope", 400},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        (void)run(f, rows[i].method, rows[i].body);
        if (f->status != rows[i].status)
            fail_msg("%s %s: %d %s", rows[i].method, rows[i].body, f->status, f->text);
    }
    assert_int_equal(admin_api_stats(f->api)->malformed, 12);
    /* A body that begins with a NUL character is not an empty line. */
    (void)run_bytes(f, "", (struct http_slice){"\0\n{\"method\":\"info\"}", 19});
    assert_int_equal(f->status, 400);
    set(f, "--api.commands=2");
    (void)run(f, "/batch", "{\"commands\":[{},{},{}]}");
    assert_int_equal(f->status, 413);
    (void)run(f, "", "{}\n{}\n{}");
    assert_int_equal(f->status, 413);
    answers(f, "", "{}\n{}",
            "{\"error\":{\"code\":104,\"message\":\"method not found\"}}\n"
            "{\"error\":{\"code\":104,\"message\":\"method not found\"}}");
}

static void many_calls_are_on_their_way_together_but_not_all(void **state)
{
    struct fixture *f = *state;
    enum { COMMANDS = 1000 };
    size_t room = COMMANDS * 80 + 100, at = 0;
    char *body = malloc(room), *expected = malloc(room);
    at = (size_t)sprintf(body, "{\"commands\":[");
    for (int i = 0; i < COMMANDS; i++)
        at += (size_t)sprintf(body + at, "%s{\"publish\":{\"channel\":\"long:%d\",\"data\":%d}}",
                              i ? "," : "", i % 7, i);
    sprintf(body + at, "]}");
    at = (size_t)sprintf(expected, "{\"replies\":[");
    for (int i = 0; i < COMMANDS; i++)
        at += (size_t)sprintf(expected + at, "%s{\"publish\":{\"offset\":%d,\"epoch\":\"E\"}}", i ? "," : "",
                              i / 7 + 1);
    sprintf(expected + at, "]}\n");
    assert_string_equal(run(f, "/batch", body), expected);
    assert_int_equal(f->most_on_the_way, API_WINDOW);
    assert_int_equal(admin_api_stats(f->api)->calls[API_PUBLISH][0], COMMANDS);
    assert_int_equal(admin_api_stats(f->api)->calls[API_BATCH][0], 1);
    free(body);
    free(expected);
}

/* Batches of random calls against arrays of what was published: order holds within a batch, whatever is on
 * its way together. */
static void random_batches_agree_with_a_plain_model(void **state)
{
    struct fixture *f = *state;
    enum { ROUNDS = 60, TOPICS = 4 };
    static int model[TOPICS][100000];
    int counts[TOPICS] = {0}, serial = 0;
    srand(5);
    for (int round = 0; round < ROUNDS; round++) {
        char *body = NULL, *expected = NULL;
        size_t bytes;
        FILE *b = open_memstream(&body, &bytes), *e = open_memstream(&expected, &bytes);
        fputs("{\"commands\":[", b);
        fputs("{\"replies\":[", e);
        for (int i = 0, commands = 1 + rand() % 150; i < commands; i++) {
            const char *comma = i ? "," : "";
            int t = rand() % TOPICS, kind = rand() % 10;
            if (kind < 6) {
                fprintf(b, "%s{\"publish\":{\"channel\":\"long:r%d\",\"data\":%d}}", comma, t, serial);
                model[t][counts[t]++] = serial++;
                fprintf(e, "%s{\"publish\":{\"offset\":%d,\"epoch\":\"E\"}}", comma, counts[t]);
            } else if (kind < 8) {
                int since = rand() % (counts[t] + 1), limit = 1 + rand() % 5;
                fprintf(b,
                        "%s{\"history\":{\"channel\":\"long:r%d\",\"limit\":%d,\"since\":{\"offset\":%d}}}",
                        comma, t, limit, since);
                fprintf(e, "%s{\"history\":{\"publications\":[", comma);
                for (int k = since; k < counts[t] && k < since + limit; k++)
                    fprintf(e, "%s{\"data\":%d,\"offset\":%d}", k > since ? "," : "", model[t][k], k + 1);
                fprintf(e, "],\"epoch\":\"E\",\"offset\":%d}}", counts[t]);
            } else if (kind == 8) {
                fprintf(b, "%s{\"broadcast\":{\"data\":%d,\"channels\":[", comma, serial);
                fprintf(e, "%s{\"broadcast\":{\"responses\":[", comma);
                for (int k = 0, n = 1 + rand() % 100; k < n; k++) {
                    int u = rand() % TOPICS;
                    model[u][counts[u]++] = serial;
                    fprintf(b, "%s\"long:r%d\"", k ? "," : "", u);
                    fprintf(e, "%s{\"result\":{\"offset\":%d,\"epoch\":\"E\"}}", k ? "," : "", counts[u]);
                }
                serial++;
                fputs("]}}", b);
                fputs("]}}", e);
            } else {
                fprintf(b, "%s{\"publish\":{}}", comma);
                fprintf(e, "%s{\"error\":{\"code\":107,\"message\":\"bad request: channel is missing\"}}",
                        comma);
            }
        }
        fputs("]}", b);
        fputs("]}\n", e);
        fclose(b);
        fclose(e);
        assert_string_equal(run(f, "/batch", body), expected);
        free(body);
        free(expected);
    }
}

static void a_long_answer_is_an_error_and_the_others_stay(void **state)
{
    struct fixture *f = *state;
    char body[1200], data[1001];
    memset(data, 'x', sizeof data - 1);
    data[1000] = '\0';
    snprintf(body, sizeof body, "{\"channel\":\"h:long\",\"data\":\"%s\"}", data);
    for (int i = 0; i < 5; i++)
        (void)run(f, "/publish", body);
    set(f, "--api.response_bytes=1KiB");
    answers(f, "/history", "{\"channel\":\"h:long\",\"limit\":5}",
            "{\"error\":{\"code\":106,\"message\":\"limit exceeded: longer than api.response_bytes\"}}");
    answers(f, "/batch",
            "{\"commands\":[{\"history\":{\"channel\":\"h:long\",\"limit\":5}},{\"history\":{\"channel\":\"h:"
            "long\"}}]}",
            "{\"replies\":[{\"error\":{\"code\":106,\"message\":\"limit exceeded: longer than "
            "api.response_bytes\"}},"
            "{\"history\":{\"publications\":[],\"epoch\":\"E\",\"offset\":5}}]}");
    /* A broadcast's parts, too: its JSON stays whole. */
    char *many = malloc(20000);
    size_t at = (size_t)sprintf(many, "{\"data\":1,\"channels\":[");
    for (int i = 0; i < 100; i++)
        at += (size_t)sprintf(many + at, "%s\"h:%d\"", i ? "," : "", i);
    sprintf(many + at, "]}");
    json_t *answer = json_loads(run(f, "/broadcast", many), 0, NULL);
    json_t *responses = json_object_get(json_object_get(answer, "result"), "responses");
    assert_int_equal(json_array_size(responses), 100);
    assert_non_null(json_object_get(json_array_get(responses, 0), "result"));
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(json_array_get(responses, 99), "error"), "code")),
        106);
    json_decref(answer);
    free(many);
}

/* Being held up, and leaving
 * ----------------------------------------------------------------------------------------------------------
 */

static void a_job_waits_for_reactors_that_are_behind(void **state)
{
    struct fixture *f = *state;
    int status;
    const char *sentence;
    static const char body[] = "{\"commands\":[{\"publish\":{\"channel\":\"a\",\"data\":2}},{\"info\":{}}]}";
    char payload[1000] = {0};
    tell_interest(f, 0, "a", 1);
    broker_drain_mail(f->broker);
    while (!broker_congested(f->broker))
        assert_int_equal(broker_publish(f->broker, "a", 1, payload, sizeof payload), 1);
    broker_flush(f->broker);
    struct admin_api_job *job =
        admin_api_begin(f->api, slice_of("/batch"), slice_of(body), TOKEN, &status, &sentence);
    assert_non_null(job);
    assert_int_equal(admin_api_go_on(f->api, job), API_STALLED);
    assert_int_equal(answer_all(f, job), 0);
    assert_int_equal(admin_api_go_on(f->api, job), API_STALLED);
    drop_mail(f);
    assert_int_equal(admin_api_go_on(f->api, job), API_WAITS);
    assert_int_equal(answer_all(f, job), 2);
    assert_int_equal(admin_api_go_on(f->api, job), API_DONE);
    admin_api_end(f->api, job);
    drop_mail(f);
}

/* Congested by the job's own publications: those under way are not refused, or a later one could overtake. */
static void what_is_under_way_is_published_although_reactors_fall_behind(void **state)
{
    struct fixture *f = *state;
    char body[8192], *at = body;
    at += sprintf(at, "{\"commands\":[");
    for (int i = 0; i < 10; i++)
        at += sprintf(at, "%s{\"publish\":{\"channel\":\"long:own\",\"data\":\"%0600d\"}}", i ? "," : "", i);
    sprintf(at, "]}");
    tell_interest(f, 0, "long:own", 1);
    broker_drain_mail(f->broker);
    run(f, "/batch", body); /* 6 KB, of which 4 KB may wait */
    assert_int_equal(f->most_on_the_way, 10);
    for (int i = 1; i <= 10; i++) {
        char reply[64];
        snprintf(reply, sizeof reply, "{\"publish\":{\"offset\":%d,", i);
        assert_non_null(strstr(f->text, reply));
    }
    assert_true(broker_congested(f->broker));
    drop_mail(f);
}

static void answers_for_a_job_that_has_left_are_dropped(void **state)
{
    struct fixture *f = *state;
    int status;
    const char *sentence;
    static const char body[] =
        "{\"commands\":[{\"publish\":{\"channel\":\"h:gone\",\"data\":1,\"idempotency_key\":"
        "\"k\"}},{\"channels\":{}},{\"publish\":{\"channel\":\"h:gone\",\"data\":2}}]}";
    struct admin_api_job *job =
        admin_api_begin(f->api, slice_of("/batch"), slice_of(body), TOKEN, &status, &sentence);
    assert_int_equal(admin_api_go_on(f->api, job), API_WAITS);
    admin_api_end(f->api, job);
    assert_true(admin_api_held(f->api) > 0); /* what is on its way */
    assert_int_equal(answer_all(f, NULL), 2);
    assert_int_equal(admin_api_held(f->api), 0);
    /* Its first was published, and its key is known. */
    answers(f, "/publish", "{\"channel\":\"h:gone\",\"data\":1,\"idempotency_key\":\"k\"}",
            "{\"result\":{\"offset\":1,\"epoch\":\"E\"}}");
    answers(f, "/history", "{\"channel\":\"h:gone\",\"limit\":9}",
            "{\"result\":{\"publications\":[{\"data\":1,\"offset\":1}],\"epoch\":\"E\",\"offset\":1}}");
    /* Answered, but not yet written. */
    job = admin_api_begin(f->api, slice_of("/info"), slice_of("{}"), TOKEN, &status, &sentence);
    assert_int_equal(admin_api_go_on(f->api, job), API_WAITS);
    assert_int_equal(answer_all(f, job), 1);
    admin_api_end(f->api, job);
}

static void calls_are_counted_by_outcome(void **state)
{
    struct fixture *f = *state;
    const struct admin_api_stats *stats = admin_api_stats(f->api);
    (void)run(f, "/publish", "{\"channel\":\"a\",\"data\":1}");
    (void)run(f, "/publish", "{}");
    (void)run(f, "/history", "{\"channel\":\"a\"}");
    (void)run(f, "/broadcast", "{\"channels\":[\"a\",\"\"],\"data\":1}");
    (void)run(f, "/rpc", "{}");
    (void)run(f, "", "{\"method\":\"nope\"}");
    (void)run(f, "/channels", "{}");
    static const struct {
        enum api_method method;
        const char *outcome;
    } rows[] = {
        {API_PUBLISH, "ok"},   {API_PUBLISH, "bad_request"},  {API_HISTORY, "not_available"},
        {API_BROADCAST, "ok"}, {API_RPC, "method_not_found"}, {API_UNKNOWN, "method_not_found"},
        {API_CHANNELS, "ok"},
    };
    uint64_t sum = 0;
    for (unsigned m = 0; m < API_METHOD_COUNT; m++)
        for (unsigned o = 0; o < API_OUTCOME_COUNT; o++) {
            sum += stats->calls[m][o];
            for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
                if (rows[i].method == m && strcmp(rows[i].outcome, api_outcome_label(o)) == 0)
                    assert_int_equal(stats->calls[m][o], 1);
        }
    assert_int_equal(sum, sizeof rows / sizeof rows[0]);
}

int main(void)
{
    if (!topic_hash_setup())
        return 1;
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_batch_answers_in_order),
        TEST(the_older_form_answers_line_by_line),
        TEST(bodies_that_hold_no_calls_are_refused),
        TEST(many_calls_are_on_their_way_together_but_not_all),
        TEST(random_batches_agree_with_a_plain_model),
        TEST(a_long_answer_is_an_error_and_the_others_stay),
        TEST(a_job_waits_for_reactors_that_are_behind),
        TEST(what_is_under_way_is_published_although_reactors_fall_behind),
        TEST(answers_for_a_job_that_has_left_are_dropped),
        TEST(calls_are_counted_by_outcome),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
