/* Answers, in the order of their calls. */
#include "gateway/admin_api_internal.h"
#include "gateway/base/clock.h"
#include "proto/centrifuge_codes.h"

static void count(struct admin_api *api, enum api_method method, uint16_t code)
{
    static const uint16_t codes[] = {
#define X(code, label) code,
        API_OUTCOMES(X)
#undef X
    };
    for (unsigned i = 0; i < API_OUTCOME_COUNT; i++)
        api->stats.calls[method][i] += codes[i] == code;
}

void api_hold(struct admin_api *api, struct admin_api_job *job)
{
    size_t held = sizeof *job + job->room_bytes + job->out.cap;
    api->held += held - job->held; /* never less than before */
    job->held = held;
}

static struct api_node node_of(const struct admin_api *api)
{
    struct api_node node = {.uid = api->uid, .name = api->name};
    for (size_t r = 0; r < api->config.reactor_count; r++)
        for (int a = 0; a < ADAPTER_COUNT; a++)
            for (int t = 0; t < TRANSPORT_COUNT; t++)
                node.clients += counter_read(&api->config.reactors[r]->connections[a][t]);
    uint64_t now = clock_realtime_ms();
    node.uptime_s = now > api->started_ms ? (now - api->started_ms) / 1000 : 0;
    return node;
}

/* Everything before the result or the error. */
static void open_reply(struct admin_api_job *job, const struct unit *unit, bool failed)
{
    struct json_out *out = &job->out;
    if (job->form == FORM_LINES)
        json_out_line(out);
    json_out_object(out);
    if (unit->id.data) {
        json_out_name(out, "id");
        json_out_json(out, unit->id);
    }
    json_out_name(out, failed ? "error" : job->form == FORM_BATCH ? api_method_name(unit->method) : "result");
}

static struct mark mark_here(const struct json_out *out)
{
    return (struct mark){out->len, out->comma};
}

/* Takes back what did not fit. Errors are short and as many as calls: they always fit. */
static void go_back(struct json_out *out, struct mark mark)
{
    out->len = mark.len;
    out->comma = mark.comma;
    out->failed = false;
    out->max = 0;
}

/* out->max bounds what is asked of the heap; errors may have taken more. */
static bool is_too_long(const struct admin_api *api, const struct json_out *out)
{
    return out->failed || out->len > api->config.settings->api.response_bytes;
}

static void too_long(struct api_error *error)
{
    api_error_set(error, CENTRIFUGE_ERROR_LIMIT_EXCEEDED, NULL, "longer than api.response_bytes");
}

static void write_outcome(struct admin_api *api, struct admin_api_job *job, const struct unit *unit)
{
    struct api_node node = {0};
    if (unit->repeated) {
        api_write_position(&job->out, unit->known);
        return;
    }
    if (unit->method == API_INFO)
        node = node_of(api);
    api_write_result(&job->out, unit->method, unit->answer, &node);
}

/* The same for an element of "responses". */
static void open_part(struct admin_api_job *job, const struct unit *unit, bool failed)
{
    (void)unit;
    json_out_object(&job->out);
    json_out_name(&job->out, failed ? "error" : "result");
}

typedef void open_fn(struct admin_api_job *job, const struct unit *unit, bool failed);

/* The result, or the error: also when the result is too long. */
static void write_answer(struct admin_api *api, struct admin_api_job *job, struct unit *unit, open_fn *open)
{
    struct json_out *out = &job->out;
    struct mark mark = mark_here(out);
    if (unit->error.code == 0) {
        open(job, unit, false);
        write_outcome(api, job, unit);
        json_out_object_end(out);
        if (is_too_long(api, out))
            too_long(&unit->error);
    }
    if (unit->error.code != 0) {
        go_back(out, mark);
        open(job, unit, true);
        api_write_error(out, &unit->error);
        json_out_object_end(out);
    }
}

static void write_reply(struct admin_api *api, struct admin_api_job *job, struct unit *unit)
{
    write_answer(api, job, unit, open_reply);
    job->broken |= job->out.failed;
    count(api, unit->method, unit->error.code);
}

/* {"responses":[{"result":{…}},{"error":{…}},…]}, one element at a time. */
static void write_part(struct admin_api *api, struct admin_api_job *job, struct unit *unit)
{
    struct json_out *out = &job->out;
    if (unit->opens) {
        out->max = 0;
        open_reply(job, unit, false);
        json_out_object(out);
        json_out_name(out, "responses");
        json_out_array(out);
        job->broken |= out->failed;
    }
    out->max = api->config.settings->api.response_bytes;
    write_answer(api, job, unit, open_part);
    if (unit->closes) {
        out->max = 0;
        json_out_array_end(out);
        json_out_object_end(out);
        json_out_object_end(out);
        count(api, API_BROADCAST, 0);
    }
    job->broken |= out->failed;
}

bool api_write_channels(struct admin_api *api, struct admin_api_job *job, struct unit *unit,
                        const struct broker_request *answer)
{
    struct json_out *out = &job->out;
    if (!job->streaming) {
        job->mark = mark_here(out);
        job->streaming = true;
        open_reply(job, unit, false);
        json_out_object(out);
        json_out_name(out, "channels");
        json_out_object(out);
    }
    out->max = api->config.settings->api.response_bytes;
    if (answer->json_bytes > 0) {
        if (out->comma)
            json_out_raw(out, ",", 1);
        json_out_raw(out, answer->json, answer->json_bytes);
    }
    bool last = answer->position.offset == 0;
    for (int i = 0; i < 3 && last; i++)
        json_out_object_end(out);
    if (is_too_long(api, out))
        too_long(&unit->error);
    else
        (void)api_answer_failed(API_CHANNELS, answer, &unit->error);
    if (unit->error.code != 0)
        go_back(out, job->mark);
    job->streaming = !last && unit->error.code == 0;
    return !job->streaming;
}

/* A repeated key was waiting for the first publication's answer, which has come before its own. */
static void settle_repeated(struct admin_api *api, struct unit *unit)
{
    struct broker_request *answer = unit->answer;
    enum idempotency_state state =
        idempotency_look(&api->keys, answer->topic, answer->rest, clock_monotonic_ms(), &unit->known);
    if (state != IDEMPOTENCY_DONE)
        api_error_set(&unit->error, CENTRIFUGE_ERROR_INTERNAL, NULL,
                      "the first publication with this key failed");
}

void api_write_ready(struct admin_api *api, struct admin_api_job *job)
{
    while (job->first != job->next && job->units[job->first % API_WINDOW].ready) {
        struct unit *unit = &job->units[job->first++ % API_WINDOW];
        job->out.max = api->config.settings->api.response_bytes;
        if (unit->answer && unit->repeated)
            settle_repeated(api, unit);
        else if (unit->answer)
            (void)api_answer_failed(unit->method, unit->answer, &unit->error);
        if (unit->part)
            write_part(api, job, unit);
        else if (unit->method != API_CHANNELS || unit->error.code != 0)
            write_reply(api, job, unit);
        else
            count(api, API_CHANNELS, 0); /* it stands there already */
        broker_request_destroy(unit->answer);
        unit->answer = NULL;
    }
    api_hold(api, job);
}

void api_open_batch(struct admin_api_job *job)
{
    json_out_object(&job->out);
    json_out_name(&job->out, "replies");
    json_out_array(&job->out);
}

void api_close_batch(struct admin_api *api, struct admin_api_job *job)
{
    job->out.max = 0;
    json_out_array_end(&job->out);
    json_out_object_end(&job->out);
    count(api, API_BATCH, 0);
}
