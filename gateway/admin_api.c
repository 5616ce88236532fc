/* The life of jobs. */
#include "gateway/admin_api_internal.h"
#include "gateway/base/assert.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    HELD_BYTES = 64 << 20, /* of all jobs; beyond it they take turns */
    CALLS_A_TURN = 4096,   /* that need no answer: then others have their turn */
};

struct admin_api *admin_api_create(const struct admin_config *config, struct mailbox *reply_to,
                                   uint64_t started_ms)
{
    uint8_t uid[UUID_BYTES];
    struct admin_api *api = calloc(1, sizeof *api);
    if (!api || !uuid_make(uid)) {
        free(api);
        return NULL;
    }
    api->config = *config;
    api->reply_to = reply_to;
    api->started_ms = started_ms;
    api->held_max = HELD_BYTES + 2 * (size_t)config->settings->api.body_bytes;
    idempotency_init(&api->keys);
    uuid_format(uid, api->uid);
    if (gethostname(api->name, sizeof api->name - 1) != 0)
        api->name[0] = '\0';
    return api;
}

void admin_api_destroy(struct admin_api *api)
{
    if (!api)
        return;
    idempotency_fini(&api->keys);
    free(api);
}

size_t admin_api_held(const struct admin_api *api)
{
    return api->held;
}

struct admin_api_stats *admin_api_stats(struct admin_api *api)
{
    return &api->stats;
}

const char *api_outcome_label(unsigned outcome)
{
    static const char *const labels[] = {
#define X(code, label) label,
        API_OUTCOMES(X)
#undef X
    };
    _Static_assert(sizeof labels / sizeof *labels == API_OUTCOME_COUNT, "API_OUTCOMES");
    return labels[outcome];
}

/* Publishing is as fast as reactors hand on; what has been asked for takes memory until it is answered. */
static bool must_wait(const struct admin_api *api)
{
    return api->held > api->held_max || (api->config.broker && broker_congested(api->config.broker));
}

enum admin_api_state admin_api_go_on(struct admin_api *api, struct admin_api_job *job)
{
    enum admin_api_state state = API_WAITS;
    for (unsigned begun = 0; !job->ended; begun++) {
        bool full = job->next - job->first == API_WINDOW;
        if (full || job->alone)
            api_write_ready(api, job);
        job->alone &= job->first != job->next;
        if (job->alone || job->next - job->first == API_WINDOW)
            break;
        if (begun == CALLS_A_TURN || must_wait(api)) {
            state = API_STALLED;
            break;
        }
        job->ended = !api_begin_next(api, job);
    }
    api_dispatch(api);
    api_write_ready(api, job);
    if (!job->ended || job->first != job->next)
        return state;
    if (job->form == FORM_BATCH)
        api_close_batch(api, job);
    return API_DONE;
}

void admin_api_answered(struct admin_api *api, struct admin_api_job *job, struct broker_request *answer)
{
    api->held -= api_request_bytes(answer);
    if (answer->op == BROKER_PUBLISH && answer->rest.bytes > 0) {
        if (answer->result == BROKER_OK)
            idempotency_done(&api->keys, answer->topic, answer->rest, answer->position);
        else
            idempotency_forget(&api->keys, answer->topic, answer->rest);
    }
    if (!job) {
        broker_request_destroy(answer);
        return;
    }
    struct unit *unit = &job->units[answer->command % API_WINDOW];
    PG_ASSERT(answer->command - job->first < job->next - job->first && !unit->ready);
    if (answer->op == BROKER_CHANNELS) {
        api_write_ready(api, job); /* what was asked before it has been answered before it */
        bool last = api_write_channels(api, job, unit, answer);
        api_hold(api, job);
        if (!last) {
            free(answer->json);
            answer->json = NULL;
            answer->json_bytes = 0;
            answer->since.offset = answer->position.offset;
            api_enqueue(api, answer);
            api_dispatch(api);
            return;
        }
        broker_request_destroy(answer);
        answer = NULL;
    }
    unit->answer = answer;
    unit->ready = true;
}

void admin_api_asked_by(struct admin_api_job *job, const struct address *asker)
{
    job->asker = *asker;
}

/* Beginning and ending
 * ----------------------------------------------------------------------------------------------------------
 */

static struct admin_api_job *job_create(struct admin_api *api, enum form form, struct json_slice commands,
                                        size_t room_bytes, uint64_t token)
{
    struct admin_api_job *job = calloc(1, sizeof *job + room_bytes);
    if (!job)
        return NULL;
    job->form = form;
    job->commands = commands;
    job->token = token;
    job->room_bytes = room_bytes;
    api_hold(api, job);
    if (form == FORM_BATCH)
        api_open_batch(job);
    return job;
}

/* False: there is none, or one is not JSON. */
static bool count_lines(struct json_slice body, size_t *lines)
{
    struct json_slice line;
    size_t cursor = 0;
    for (*lines = 0; api_next_line(body, &cursor, &line); ++*lines)
        if (!json_text_valid(line.data, line.len))
            return false;
    return *lines > 0;
}

/* What the body is in this form. Anything but 0 is an HTTP status. */
static int read_body(const struct admin_api *api, enum form form, struct json_slice *commands, bool *whole,
                     const char **sentence)
{
    struct json_slice body = *commands;
    size_t count = 1;
    *whole = json_text_valid(body.data, body.len);
    if (form == FORM_LINES && !*whole && !count_lines(body, &count)) {
        *sentence = "the body is not a JSON object, or several with one on each line";
        return 400;
    }
    if (form != FORM_LINES && !*whole) {
        *sentence = "the body is not JSON";
        return 400;
    }
    if (form == FORM_BATCH) {
        *commands = json_text_member(body, "commands");
        count = api_count_elements(*commands);
        if (!commands->data || *commands->data != '[') {
            *sentence = "commands is missing: {\"commands\":[{\"publish\":{...}},...]}";
            return 400;
        }
    }
    if (count > api->config.settings->api.commands) {
        *sentence = "more commands than api.commands";
        return 413;
    }
    return 0;
}

struct admin_api_job *admin_api_begin(struct admin_api *api, struct http_slice method, struct http_slice body,
                                      uint64_t token, int *status, const char **sentence)
{
    static const char nothing[] = "{}";
    struct json_slice commands = {body.data, body.len};
    enum api_method which = API_UNKNOWN;
    bool whole;
    if (method.len > 1)
        which = api_method_find(method.data + 1, method.len - 1);
    if (method.len > 1 && which == API_UNKNOWN) {
        *status = 404;
        *sentence = "the server API has no such method";
        return NULL;
    }
    enum form form = which == API_UNKNOWN ? FORM_LINES : which == API_BATCH ? FORM_BATCH : FORM_ONE;
    if (body.len == 0 && form == FORM_ONE) /* info, channels */
        commands = (struct json_slice){nothing, sizeof nothing - 1};
    *status = read_body(api, form, &commands, &whole, sentence);
    if (*status != 0) {
        api->stats.malformed++;
        return NULL;
    }
    struct admin_api_job *job =
        api->held > api->held_max ? NULL : job_create(api, form, commands, body.len, token);
    if (!job) {
        *status = 503;
        *sentence = "too much is being asked for; try again";
        return NULL;
    }
    job->method = which;
    job->whole = whole;
    return job;
}

char *admin_api_take(struct admin_api_job *job, size_t *bytes)
{
    if (job->form != FORM_LINES) /* which ends where its last line does, as client libraries expect */
        json_out_raw(&job->out, "\n", 1);
    if (job->broken || job->out.failed)
        return NULL;
    char *data = job->out.data;
    *bytes = job->out.len;
    job->out = (struct json_out){0};
    return data;
}

void admin_api_end(struct admin_api *api, struct admin_api_job *job)
{
    for (; job->first != job->next; job->first++)
        broker_request_destroy(job->units[job->first % API_WINDOW].answer);
    json_out_fini(&job->out);
    api->held -= job->held;
    free(job);
}
