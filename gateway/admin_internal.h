/* Inside of the admin listener: its struct and its connections, shared by admin.c (the thread, accepting) and
 * admin_connection.c (requests and responses). Not for others.
 *
 * Thread: the admin's. Owner: the admin owns its connections, each its buffers and its job.
 */
#pragma once

#include "gateway/admin.h"
#include "gateway/admin_api.h"
#include "gateway/admin_auth.h"
#include "gateway/admin_live.h"
#include "gateway/admin_routes.h"
#include "gateway/admin_status.h"
#include "gateway/base/log.h"

#include <pthread.h>

enum {
    CONNECTIONS_MAX = 256, /* an index fits in a token's low byte */
    IN_BYTES_FIRST = 16384,
    REQUEST_MS = 10000,
    IDLE_MS = 30000,                /* between requests */
    LINGER_MS = 2000,               /* for a peer that still sends to read why it was refused */
    TOKEN_JOB = CONNECTIONS_MAX,    /* bit of a token beside the index: what it names is a job's */
    LIVE_MAX = 32,                  /* that stream the status */
    STATUS_WAIT_MS = 1000,          /* for topics, then /status.json is answered without */
    TAG_LISTENER = CONNECTIONS_MAX, /* in place of an index */
    TAG_MAILBOX,
};
#define TOKEN_STATUS UINT64_MAX /* of what the status asks the broker */

/* READING → (WAITING →) WRITING → READING, or → LINGERING → closed; READING → LIVE → LINGERING. Any state may
 * close. */
enum connection_state {
    CONNECTION_FREE,
    CONNECTION_READING,
    CONNECTION_WAITING, /* for the broker's answer */
    CONNECTION_WRITING,
    CONNECTION_LIVE,      /* the status is streamed */
    CONNECTION_LINGERING, /* all is said; reads and forgets */
};

struct connection {
    enum connection_state state;
    int fd;
    struct throttle_key peer;
    struct address address;
    uint32_t generation; /* epoll events carry it: one for an earlier connection in this place is ignored */
    uint32_t events;     /* armed in epoll */
    uint64_t deadline_ms;
    uint64_t token;            /* of the broker requests that it waits for */
    struct admin_api_job *job; /* of the server API; NULL: none */
    size_t job_bytes;          /* of the request that it reads, at the beginning of `in` */
    bool go_on;                /* the job has an answer, or was told to come back */
    char *in;                  /* NULL while nothing was read */
    size_t in_bytes, in_room;
    struct http_progress progress; /* of the request at its beginning */
    char *out;                     /* one response */
    size_t out_bytes, out_sent;
    struct admin_live *live; /* NULL: it does not stream */
    bool wants_status;       /* WAITING for topics, with the status to be answered */
    bool keep_alive, head_only;
    bool linger; /* the peer may still be sending what nobody will read */
};

struct admin {
    struct admin_config config;
    uint64_t started_ms;
    struct mailbox mailbox; /* answers from the broker */
    struct pulse pulse;
    int epoll_fd;
    pthread_t thread;
    _Atomic bool running, stopping;
    /* The rest is the thread's. */
    bool accepting;           /* the listener is in the epoll set */
    uint64_t accept_again_ms; /* 0: when a place is free */
    struct log_limit accept_log;
    uint64_t last_token;
    size_t held_bytes, held_bytes_max; /* buffers beyond the first and payloads that the broker has */
    size_t request_bytes_max, body_bytes_max;
    struct admin_api *api;
    struct admin_auth auth;
    struct admin_desk desk;
    struct admin_status *status;
    struct ws_reader *reader; /* of all that stream; NULL until the first one */
    size_t live_count;
    uint64_t told_samples; /* they have heard of */
    bool jobs_go_on;       /* some connection's go_on is true */
    bool stalled;          /* and it is a job that was told to come back */
    struct connection connections[CONNECTIONS_MAX];
};

static inline uint64_t admin_event_tag(uint32_t generation, uint32_t index)
{
    return (uint64_t)generation << 32 | index;
}

/* In or out of the epoll set. */
void admin_set_accepting(struct admin *admin, bool accepting);

/* A place that is free; takes the descriptor. */
void admin_connection_open(struct admin *admin, struct connection *connection, int fd,
                           const struct throttle_key *peer);
void admin_connection_close(struct admin *admin, struct connection *connection);
/* Something has happened to its descriptor. */
void admin_connection_serve(struct admin *admin, struct connection *connection, uint32_t events);
/* Its deadline has passed. */
void admin_connection_expire(struct admin *admin, struct connection *connection);
/* What the broker has answered to any of them. */
void admin_take_answers(struct admin *admin);
/* Jobs of the server API that may go on. */
void admin_jobs_go_on(struct admin *admin);
/* /status.json that waits for topics: answered when they are there. */
void admin_answer_status(struct admin *admin);

/* For streams. */
void admin_connection_set_events(struct admin *admin, struct connection *connection, uint32_t events);
/* Takes the buffer; there is none. */
void admin_connection_set_output(struct admin *admin, struct connection *connection, char *out, size_t bytes);
void admin_connection_release_output(struct admin *admin, struct connection *connection);
void admin_connection_release_input(struct admin *admin, struct connection *connection);
void admin_connection_linger(struct admin *admin, struct connection *connection);

/* Upgrades, and begins with the whole status. `request` stands at the beginning of the connection's input. */
void admin_stream_begin(struct admin *admin, struct connection *connection,
                        const struct http_request *request, uint64_t now_ms);
void admin_stream_serve(struct admin *admin, struct connection *connection, uint32_t events);
/* A frame to each stream, when there is a new sample. */
void admin_stream_tell(struct admin *admin, uint64_t now_ms);
/* Says that the gateway stops, as far as it can be said at once. */
void admin_stream_end(struct admin *admin, struct connection *connection);
