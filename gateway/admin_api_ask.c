/* Calls, read and asked for. */
#include "gateway/admin_api_internal.h"
#include "gateway/base/clock.h"
#include "proto/centrifuge_codes.h"

#include <string.h>

size_t api_request_bytes(const struct broker_request *request)
{
    return sizeof *request + request->topic.bytes + request->payload.bytes + request->tags.bytes +
           request->rest.bytes;
}

void api_dispatch(struct admin_api *api)
{
    if (api->oldest)
        mailbox_push_chain(api->config.broker_mail, api->oldest, api->newest);
    api->oldest = api->newest = NULL;
}

/* Until dispatch(), so that many wake the broker once. */
void api_enqueue(struct admin_api *api, struct broker_request *request)
{
    struct mailbox_node *node = &request->mail.node;
    node->next = NULL;
    if (api->newest)
        api->newest->next = node;
    else
        api->oldest = node;
    api->newest = node;
    api->held += api_request_bytes(request);
}

/* A place for one more; there is one. */
static struct unit *add_unit(struct admin_api_job *job, enum api_method method, struct json_slice id)
{
    struct unit *unit = &job->units[job->next++ % API_WINDOW];
    *unit = (struct unit){.method = method, .id = id};
    return unit;
}

/* Sends the unit's request; without one, what is known already is its answer. */
static void ask(struct admin_api *api, struct admin_api_job *job, struct unit *unit,
                struct broker_request *request)
{
    if (!request) {
        unit->ready = true;
        return;
    }
    request->command = job->next - 1;
    request->token = job->token;
    request->reply_to = api->reply_to;
    api_enqueue(api, request);
}

static void publish(struct admin_api *api, struct admin_api_job *job, struct unit *unit,
                    const struct api_publication *publication, struct text topic)
{
    struct broker_request *request = NULL;
    enum idempotency_state state = IDEMPOTENCY_NEW;
    if (publication->key.bytes > 0)
        state = idempotency_begin(&api->keys, topic, publication->key, clock_monotonic_ms(), &unit->known);
    unit->repeated = state == IDEMPOTENCY_DONE || state == IDEMPOTENCY_PENDING;
    if (state == IDEMPOTENCY_NEW) {
        request = api_publish_request(publication, topic);
        if (!request && publication->key.bytes > 0)
            idempotency_forget(&api->keys, topic, publication->key);
    } else if (state == IDEMPOTENCY_PENDING) {
        /* Answers come in the order of requests: whatever is asked now is answered after the first one. */
        struct broker_ask question = {.op = BROKER_INFO, .topic = topic, .rest = publication->key};
        request = broker_request_create(&question);
    }
    if (!request && state != IDEMPOTENCY_DONE)
        api_error_set(&unit->error, CENTRIFUGE_ERROR_INTERNAL, NULL, "out of memory");
    ask(api, job, unit, request);
}

static void broadcast_next(struct admin_api *api, struct admin_api_job *job)
{
    struct api_reader reader;
    char room[TOPIC_BYTES_MAX * 6]; /* every byte may be an escape */
    struct json_slice name = job->next_topic;
    struct unit *unit = add_unit(job, API_BROADCAST, job->broadcast_id);
    reader.room = room;
    reader.room_left = sizeof room;
    reader.error.code = 0;
    unit->part = true;
    unit->opens = job->topics_cursor == 0;
    struct text topic = {0};
    if (name.len > sizeof room)
        api_error_set(&reader.error, CENTRIFUGE_ERROR_BAD_REQUEST, NULL, "channel is longer than 255 bytes");
    else
        topic = api_topic_in(&reader, name);
    (void)json_text_element(job->topics, &job->topics_cursor, &name);
    size_t ahead = job->topics_cursor;
    unit->closes = !json_text_element(job->topics, &ahead, &job->next_topic);
    job->broadcasting = !unit->closes;
    unit->error = reader.error;
    if (unit->error.code != 0)
        unit->ready = true;
    else
        publish(api, job, unit, &job->publication, topic);
}

size_t api_count_elements(struct json_slice array)
{
    struct json_slice element;
    size_t cursor = 0, elements = 0;
    while (json_text_element(array, &cursor, &element))
        elements++;
    return elements;
}

static void begin_broadcast(struct admin_api *api, struct admin_api_job *job, struct api_reader *reader,
                            struct json_slice id)
{
    struct json_slice topics = reader->at[API_PARAM_CHANNELS];
    size_t cursor = 0, topic_count = api_count_elements(topics);
    if (topic_count == 0)
        api_error_set(&reader->error, CENTRIFUGE_ERROR_BAD_REQUEST, NULL, "channels is missing or empty");
    if (topic_count > api->config.settings->api.commands)
        api_error_set(&reader->error, CENTRIFUGE_ERROR_LIMIT_EXCEEDED, NULL,
                      "more channels than api.commands");
    api_read_publication(reader, api->config.settings, &job->publication);
    if (reader->error.code != 0) {
        struct unit *unit = add_unit(job, API_BROADCAST, id);
        unit->error = reader->error;
        unit->ready = true;
        return;
    }
    job->topics = topics;
    job->topics_cursor = 0;
    job->broadcast_id = id;
    job->broadcasting = json_text_element(topics, &cursor, &job->next_topic);
    broadcast_next(api, job);
}

static void record(struct admin_api *api, const struct admin_api_job *job, const struct order *order)
{
    char from[ADDRESS_TEXT_MAX];
    order_record(order, &api->log_orders, "api", address_format(&job->asker, from, sizeof from));
}

/* Turns one call into a unit and what it asks for. */
static void begin_call(struct admin_api *api, struct admin_api_job *job, enum api_method method,
                       struct json_slice params, struct json_slice id)
{
    static const struct json_slice none = {"{}", 2};
    struct api_reader reader;
    reader.room = job->room;
    reader.room_left = job->room_bytes;
    reader.error.code = 0;
    api_read(&reader, params.data ? params : none);
    if (method == API_BROADCAST && reader.error.code == 0) {
        begin_broadcast(api, job, &reader, id);
        return;
    }
    struct unit *unit = add_unit(job, method, id);
    struct broker_request *request = NULL;
    if (method == API_PUBLISH) {
        struct api_publication publication;
        struct text topic = api_topic(&reader, API_PARAM_CHANNEL);
        api_read_publication(&reader, api->config.settings, &publication);
        unit->error = reader.error;
        if (unit->error.code == 0) {
            publish(api, job, unit, &publication, topic);
            return;
        }
    } else if (reader.error.code == 0) {
        request = api_call_request(method, &reader);
        if (request && request->order)
            record(api, job, request->order);
    }
    unit->error = reader.error;
    /* Their answers may be large. */
    job->alone = request && (method == API_HISTORY || method == API_PRESENCE || method == API_CHANNELS);
    if (request && method == API_PRESENCE)
        request->limit = (uint32_t)api->config.settings->api.response_bytes;
    ask(api, job, unit, request);
}

/* {"publish":{…}}: the first member that names a method. */
static void begin_command(struct admin_api *api, struct admin_api_job *job, struct json_slice command)
{
    struct json_slice name, params = {0}, none = {0};
    size_t cursor = 0;
    enum api_method method = API_UNKNOWN;
    while (method == API_UNKNOWN && json_text_next(command, &cursor, &name, &params))
        method = api_method_find(name.data + 1, name.len - 2);
    if (method == API_UNKNOWN || method == API_BATCH)
        begin_call(api, job, API_UNKNOWN, *command.data == '{' ? none : command, none);
    else
        begin_call(api, job, method, params, none);
}

/* {"id":1,"method":"publish","params":{…}} */
static void begin_line(struct admin_api *api, struct admin_api_job *job, struct json_slice line)
{
    struct json_slice name = json_text_member(line, "method"), id = json_text_member(line, "id");
    enum api_method method = API_UNKNOWN;
    if (name.data && *name.data == '"')
        method = api_method_find(name.data + 1, name.len - 2);
    bool number = id.data && ((*id.data >= '1' && *id.data <= '9') || *id.data == '-');
    begin_call(api, job, method == API_BATCH ? API_UNKNOWN : method, json_text_member(line, "params"),
               number ? id : (struct json_slice){0});
}

bool api_next_line(struct json_slice body, size_t *cursor, struct json_slice *line)
{
    while (*cursor < body.len) {
        const char *at = body.data + *cursor;
        const char *newline = memchr(at, '\n', body.len - *cursor);
        *line = (struct json_slice){at, newline ? (size_t)(newline - at) : body.len - *cursor};
        *cursor += line->len + (newline != NULL);
        for (size_t i = 0; i < line->len; i++)
            if (at[i] != ' ' && at[i] != '\t' && at[i] != '\r')
                return true;
    }
    return false;
}

bool api_begin_next(struct admin_api *api, struct admin_api_job *job)
{
    struct json_slice next;
    if (job->broadcasting) {
        broadcast_next(api, job);
        return true;
    }
    switch (job->form) {
    case FORM_ONE:
        if (job->cursor++ > 0)
            return false;
        begin_call(api, job, job->method, job->commands, (struct json_slice){0});
        return true;
    case FORM_BATCH:
        if (!json_text_element(job->commands, &job->cursor, &next))
            return false;
        begin_command(api, job, next);
        return true;
    case FORM_LINES:
        if (job->whole) {
            next = job->commands;
            if (job->cursor++ > 0)
                return false;
        } else if (!api_next_line(job->commands, &job->cursor, &next)) {
            return false;
        }
        begin_line(api, job, next);
        return true;
    }
    return false;
}
