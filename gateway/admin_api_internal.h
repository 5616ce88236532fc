/* Inside of the server API: jobs and their units, shared by admin_api.c (their life), admin_api_ask.c (calls
 * read and asked for) and admin_api_write.c (answers written). Not for others.
 *
 * Thread: the admin's. Owner: as admin_api.h says.
 */
#pragma once

#include "gateway/admin_api.h"
#include "gateway/admin_idempotency.h"
#include "gateway/base/address.h"
#include "gateway/base/log.h"
#include "gateway/base/uuid.h"

enum form {
    FORM_ONE,   /* the body is the parameters */
    FORM_BATCH, /* {"commands":[{"publish":{…}},…]} */
    FORM_LINES, /* {"method":"publish","params":{…}} and so on, one a line */
};

/* One place in what is written: a call's reply, or one topic's part of a broadcast's. */
struct unit {
    enum api_method method;
    bool part, opens, closes; /* of a broadcast's reply: its first and its last */
    bool ready;
    bool repeated;        /* a key that was seen before: the answer is the first one's */
    struct json_slice id; /* FORM_LINES: to be given back */
    struct api_error error;
    struct stream_position known; /* repeated: where the first one stands */
    struct broker_request *answer;
};

/* Where a reply begins, to go back to when it becomes too long. */
struct mark {
    size_t len;
    bool comma;
};

struct admin_api_job {
    enum form form;
    enum api_method method;     /* FORM_ONE */
    struct json_slice commands; /* FORM_BATCH: the array; else the body */
    size_t cursor;
    bool whole; /* FORM_LINES: the body is one value, whatever lines it has */
    bool ended; /* no further call */

    /* A broadcast under way. */
    struct json_slice topics;
    size_t topics_cursor;
    struct api_publication publication;
    struct json_slice next_topic;
    struct json_slice broadcast_id;
    bool broadcasting;

    uint32_t first, next; /* units: those between are under way */
    bool alone;           /* the last one wants to be the only one until it is answered */
    uint64_t token;
    struct json_out out;
    bool broken;      /* memory ran out in the middle: there is no whole answer */
    bool streaming;   /* channels: the reply is being written, piece by piece */
    struct mark mark; /* where it began */
    struct address asker;
    size_t held;
    struct unit units[API_WINDOW];
    size_t room_bytes;
    char room[]; /* decoded texts of the call that is being read */
};

struct admin_api {
    struct admin_config config;
    struct mailbox *reply_to;
    uint64_t started_ms;
    size_t held, held_max;
    struct mailbox_node *oldest, *newest; /* to be pushed together */
    struct idempotency keys;
    struct log_limit log_orders;
    struct admin_api_stats stats;
    char uid[UUID_TEXT_BYTES], name[256];
};

/* Begins the next call, or the next part of a broadcast; there is room for one more unit. False: there is
 * none. */
bool api_begin_next(struct admin_api *api, struct admin_api_job *job);
/* A body of FORM_LINES: the next line with something on it. */
bool api_next_line(struct json_slice body, size_t *cursor, struct json_slice *line);
size_t api_count_elements(struct json_slice array);
/* Leaves a request for api_dispatch(), so that many wake the broker once. */
void api_enqueue(struct admin_api *api, struct broker_request *request);
void api_dispatch(struct admin_api *api);
size_t api_request_bytes(const struct broker_request *request);

/* Writes what is answered, as far as nothing before it is missing. */
void api_write_ready(struct admin_api *api, struct admin_api_job *job);
/* A slice of the topics. False: there are more to come. */
bool api_write_channels(struct admin_api *api, struct admin_api_job *job, struct unit *unit,
                        const struct broker_request *answer);
/* Around all replies of a batch. */
void api_open_batch(struct admin_api_job *job);
void api_close_batch(struct admin_api *api, struct admin_api_job *job);
/* Notes what the job takes. */
void api_hold(struct admin_api *api, struct admin_api_job *job);
