/* Connections of the admin listener: requests read, responses written, answers waited for. */
#include "gateway/admin_internal.h"
#include "gateway/base/assert.h"
#include "gateway/base/clock.h"
#include "gateway/base/net.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static uint32_t index_of(const struct admin *admin, const struct connection *connection)
{
    return (uint32_t)(connection - admin->connections);
}

void admin_connection_release_input(struct admin *admin, struct connection *connection)
{
    if (connection->in_room > IN_BYTES_FIRST)
        admin->held_bytes -= connection->in_room - IN_BYTES_FIRST;
    free(connection->in);
    connection->in = NULL;
    connection->progress = (struct http_progress){0};
    connection->in_bytes = connection->in_room = 0;
}

/* What a response takes beyond what every connection may have. */
static size_t large(size_t bytes)
{
    return bytes > IN_BYTES_FIRST ? bytes : 0;
}

void admin_connection_release_output(struct admin *admin, struct connection *connection)
{
    admin->held_bytes -= large(connection->out_bytes);
    free(connection->out);
    connection->out = NULL;
    connection->out_bytes = connection->out_sent = 0;
}

void admin_connection_set_output(struct admin *admin, struct connection *connection, char *out, size_t bytes)
{
    connection->out = out;
    connection->out_bytes = bytes;
    connection->out_sent = 0;
    admin->held_bytes += large(bytes);
}

static void end_job(struct admin *admin, struct connection *connection)
{
    if (connection->job)
        admin_api_end(admin->api, connection->job);
    connection->job = NULL;
    connection->go_on = false;
}

void admin_connection_close(struct admin *admin, struct connection *connection)
{
    close(connection->fd);
    end_job(admin, connection);
    if (connection->live)
        admin->live_count -=
            connection->state == CONNECTION_LIVE || connection->state == CONNECTION_LINGERING;
    free(connection->live);
    admin_connection_release_input(admin, connection);
    admin_connection_release_output(admin, connection);
    *connection = (struct connection){.fd = -1, .generation = connection->generation + 1};
    if (admin->accept_again_ms == 0)
        admin_set_accepting(admin, true);
}

/* Closes when epoll refuses, which would leave the connection deaf. */
void admin_connection_set_events(struct admin *admin, struct connection *connection, uint32_t events)
{
    if (connection->events == events)
        return;
    struct epoll_event event = {
        .events = events, .data.u64 = admin_event_tag(connection->generation, index_of(admin, connection))};
    if (epoll_ctl(admin->epoll_fd, EPOLL_CTL_MOD, connection->fd, &event) != 0)
        admin_connection_close(admin, connection);
    else
        connection->events = events;
}

void admin_connection_linger(struct admin *admin, struct connection *connection)
{
    if (shutdown(connection->fd, SHUT_WR) != 0) {
        admin_connection_close(admin, connection);
        return;
    }
    admin_connection_release_input(admin, connection);
    connection->state = CONNECTION_LINGERING;
    connection->deadline_ms = clock_monotonic_ms() + LINGER_MS;
    admin_connection_set_events(admin, connection, EPOLLIN);
}

static void finish_response(struct admin *admin, struct connection *connection)
{
    admin_connection_release_output(admin, connection);
    if (!connection->keep_alive) {
        if (connection->linger)
            admin_connection_linger(admin, connection);
        else
            admin_connection_close(admin, connection);
        return;
    }
    bool pipelined = connection->in_bytes > 0;
    if (!pipelined)
        admin_connection_release_input(admin, connection);
    connection->state = CONNECTION_READING;
    connection->deadline_ms = clock_monotonic_ms() + (pipelined ? admin->config.request_ms : IDLE_MS);
    /* EPOLLOUT comes back at once, for the request that is here already: others get their turn before it. */
    admin_connection_set_events(admin, connection, pipelined ? EPOLLIN | EPOLLOUT : EPOLLIN);
    if (!pipelined && admin->accept_again_ms == 0)
        admin_set_accepting(admin, true); /* who is idle makes room */
}

static void write_some(struct admin *admin, struct connection *connection)
{
    ssize_t n = send(connection->fd, connection->out + connection->out_sent,
                     connection->out_bytes - connection->out_sent, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        admin_connection_close(admin, connection);
        return;
    }
    connection->out_sent += n > 0 ? (size_t)n : 0;
    if (connection->out_sent == connection->out_bytes)
        finish_response(admin, connection);
    else
        admin_connection_set_events(admin, connection, EPOLLOUT);
}

static void take_too_much(struct admin_response *response)
{
    free(response->body);
    admin_route_error(503, "too much is being answered; try again", response);
}

/* Takes the response's body. */
static void respond(struct admin *admin, struct connection *connection, struct admin_response *response)
{
    char head[2048];
    if (large(response->body_bytes) > admin->held_bytes_max - admin->held_bytes)
        take_too_much(response);
    size_t head_bytes = http_response_head(head, sizeof head, response->status, response->content_type,
                                           response->body_bytes, connection->keep_alive, response->headers);
    size_t body_bytes = connection->head_only ? 0 : response->body_bytes;
    PG_ASSERT(head_bytes > 0);
    char *out = malloc(head_bytes + body_bytes);
    if (out) {
        memcpy(out, head, head_bytes);
        if (body_bytes > 0)
            memcpy(out + head_bytes, response->body, body_bytes);
    }
    free(response->body);
    response->body = NULL;
    if (!out) {
        admin_connection_close(admin, connection);
        return;
    }
    admin_connection_set_output(admin, connection, out, head_bytes + body_bytes);
    connection->state = CONNECTION_WRITING;
    connection->deadline_ms = clock_monotonic_ms() + admin->config.request_ms;
    write_some(admin, connection);
}

/* For requests that were not understood or not taken whole: what follows them means nothing. */
static void respond_and_close(struct admin *admin, struct connection *connection, int status,
                              const char *sentence)
{
    struct admin_response response;
    connection->keep_alive = false;
    connection->linger = true;
    admin_route_error(status, sentence, &response);
    respond(admin, connection, &response);
}

/* Index, whether it is a job's, and a number that no other request has. */
static uint64_t next_token(struct admin *admin, struct connection *connection, uint64_t job)
{
    connection->token = ++admin->last_token << 9 | job | index_of(admin, connection);
    return connection->token;
}

static void start_waiting(struct admin *admin, struct connection *connection)
{
    connection->state = CONNECTION_WAITING;
    connection->deadline_ms = clock_monotonic_ms() + admin->config.request_ms;
    admin_connection_set_events(admin, connection, 0);
}

/* False when too much is held already, or without memory. */
static bool ask_broker(struct admin *admin, struct connection *connection, const struct admin_response *route,
                       struct http_slice body)
{
    if (body.len > admin->held_bytes_max - admin->held_bytes)
        return false;
    struct broker_request *request =
        broker_request_publish(&admin->mailbox, next_token(admin, connection, 0), route->topic,
                               route->topic_bytes, body.data, body.len);
    if (!request)
        return false;
    request->backend = true;
    admin->held_bytes += body.len;
    start_waiting(admin, connection); /* before the push: the answer finds the connection ready or gone */
    mailbox_push(admin->config.broker_mail, &request->mail.node);
    return true;
}

static void consume(struct connection *connection, size_t bytes)
{
    connection->in_bytes -= bytes;
    connection->progress = (struct http_progress){0};
    memmove(connection->in, connection->in + bytes, connection->in_bytes);
}

/* Lets a job ask for more; responds when it has everything. */
static void go_on(struct admin *admin, struct connection *connection)
{
    enum admin_api_state state = admin_api_go_on(admin->api, connection->job);
    connection->go_on = state == API_STALLED;
    admin->jobs_go_on |= connection->go_on;
    admin->stalled |= connection->go_on;
    if (state != API_DONE)
        return;
    struct admin_response response;
    size_t bytes = 0;
    char *json = admin_api_take(connection->job, &bytes);
    end_job(admin, connection);
    consume(connection, connection->job_bytes);
    admin_route_answered(json, bytes, &response);
    respond(admin, connection, &response);
}

static void begin_job(struct admin *admin, struct connection *connection, const struct http_request *request,
                      const struct admin_response *route)
{
    int status;
    const char *sentence;
    connection->job = admin_api_begin(admin->api, route->api_method, request->body,
                                      next_token(admin, connection, TOKEN_JOB), &status, &sentence);
    connection->job_bytes = request->request_bytes;
    if (!connection->job) {
        struct admin_response response;
        consume(connection, connection->job_bytes);
        admin_route_error(status, sentence, &response);
        respond(admin, connection, &response);
        return;
    }
    admin_api_asked_by(connection->job, &connection->address);
    start_waiting(admin, connection);
    if (connection->state == CONNECTION_WAITING)
        go_on(admin, connection);
}

static void respond_status(struct admin *admin, struct connection *connection)
{
    struct admin_response response;
    connection->wants_status = false;
    admin_route_status(&admin->desk, &response);
    respond(admin, connection, &response);
}

/* Now, or when the broker has told of topics. */
static void tell_status(struct admin *admin, struct connection *connection)
{
    uint64_t now_ms = clock_monotonic_ms();
    admin_status_look(admin->status, now_ms);
    if (admin_status_fresh(admin->status, now_ms)) {
        respond_status(admin, connection);
        return;
    }
    start_waiting(admin, connection);
    connection->wants_status = connection->state == CONNECTION_WAITING;
    connection->deadline_ms = now_ms + STATUS_WAIT_MS;
}

void admin_answer_status(struct admin *admin)
{
    if (!admin_status_fresh(admin->status, clock_monotonic_ms()))
        return;
    for (size_t i = 0; i < CONNECTIONS_MAX; i++)
        if (admin->connections[i].wants_status)
            respond_status(admin, &admin->connections[i]);
}

static void go_live(struct admin *admin, struct connection *connection, const struct http_request *request)
{
    if (admin->live_count >= LIVE_MAX)
        respond_and_close(admin, connection, 503, "too many watch the status already");
    else
        admin_stream_begin(admin, connection, request, clock_monotonic_ms());
}

/* Answers one request, when a whole one is there. */
static void process_input(struct admin *admin, struct connection *connection)
{
    struct http_request request;
    struct admin_response response;
    enum parse_result result = http_request_read(connection->in, connection->in_bytes, admin->body_bytes_max,
                                                 &connection->progress, &request);
    if (result == PARSE_MORE) {
        admin_connection_set_events(admin, connection, EPOLLIN);
        return;
    }
    if (result == PARSE_BAD) {
        connection->head_only = false;
        respond_and_close(admin, connection, request.status, request.error);
        return;
    }
    connection->keep_alive = request.keep_alive;
    connection->head_only = request.method == HTTP_METHOD_HEAD;
    admin_route(&admin->desk, &connection->peer, &request, &response);
    switch (response.next) {
    case ADMIN_BEGIN_JOB:
        begin_job(admin, connection, &request, &response); /* which reads the body where it stands */
        return;
    case ADMIN_GO_LIVE:
        go_live(admin, connection, &request);
        return;
    case ADMIN_PUBLISH:
        if (!ask_broker(admin, connection, &response, request.body)) {
            respond_and_close(admin, connection, 503, "too much is being published; try again");
            return;
        }
        break;
    case ADMIN_TELL_STATUS:
    case ADMIN_RESPOND:
        break;
    }
    if (connection->state == CONNECTION_FREE)
        return;
    consume(connection, request.request_bytes); /* `request` is of no use from here on */
    if (response.next == ADMIN_RESPOND)
        respond(admin, connection, &response);
    else if (response.next == ADMIN_TELL_STATUS)
        tell_status(admin, connection);
}

/* Room for at least one more byte. False: too much is held, or no memory. */
static bool make_room(struct admin *admin, struct connection *connection)
{
    if (connection->in_bytes < connection->in_room)
        return true;
    size_t room = connection->in_room ? connection->in_room * 2 : IN_BYTES_FIRST;
    if (room > admin->request_bytes_max)
        room = admin->request_bytes_max;
    if (room <= connection->in_bytes) /* the parser should have refused it by now */
        return false;
    size_t more = connection->in_room ? room - connection->in_room : 0;
    if (more > admin->held_bytes_max - admin->held_bytes)
        return false;
    char *grown = realloc(connection->in, room);
    if (!grown)
        return false;
    admin->held_bytes += more;
    connection->in = grown;
    connection->in_room = room;
    return true;
}

static void read_some(struct admin *admin, struct connection *connection)
{
    if (!make_room(admin, connection)) {
        connection->head_only = false;
        respond_and_close(admin, connection, 503, "too much is being published; try again");
        return;
    }
    bool first = connection->in_bytes == 0;
    ssize_t n = recv(connection->fd, connection->in + connection->in_bytes,
                     connection->in_room - connection->in_bytes, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        admin_connection_close(admin, connection);
        return;
    }
    connection->in_bytes += (size_t)n;
    if (first)
        connection->deadline_ms = clock_monotonic_ms() + admin->config.request_ms;
    process_input(admin, connection);
}

static void discard_some(struct admin *admin, struct connection *connection)
{
    char scratch[16384];
    ssize_t n = recv(connection->fd, scratch, sizeof scratch, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        admin_connection_close(admin, connection);
}

void admin_connection_serve(struct admin *admin, struct connection *connection, uint32_t events)
{
    switch (connection->state) {
    case CONNECTION_READING:
        if (events & EPOLLOUT)
            process_input(admin, connection);
        else
            read_some(admin, connection);
        return;
    case CONNECTION_WAITING: /* nothing is armed, so this is EPOLLHUP or EPOLLERR */
        admin_connection_close(admin, connection);
        return;
    case CONNECTION_WRITING:
        write_some(admin, connection);
        return;
    case CONNECTION_LIVE:
        admin_stream_serve(admin, connection, events);
        return;
    case CONNECTION_LINGERING:
        discard_some(admin, connection);
        return;
    case CONNECTION_FREE:
        return;
    }
}

void admin_connection_open(struct admin *admin, struct connection *connection, int fd,
                           const struct throttle_key *peer)
{
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on,
                     sizeof on); /* fails on a unix socket, which needs none */
    connection->fd = fd;
    connection->peer = *peer;
    connection->address = address_of_peer(fd);
    connection->events = EPOLLIN;
    connection->state = CONNECTION_READING;
    connection->deadline_ms = clock_monotonic_ms() + admin->config.request_ms;
    struct epoll_event event = {
        .events = EPOLLIN, .data.u64 = admin_event_tag(connection->generation, index_of(admin, connection))};
    if (!net_watch(admin->epoll_fd, fd, &event))
        admin_connection_close(admin, connection);
}

/* An answer for a job; it goes on when all that have come are taken. */
static void take_job_answer(struct admin *admin, struct connection *connection, struct broker_request *answer)
{
    bool there = connection->state == CONNECTION_WAITING && connection->token == answer->token;
    admin_api_answered(admin->api, there ? connection->job : NULL, answer);
    if (!there)
        return;
    connection->deadline_ms = clock_monotonic_ms() + admin->config.request_ms;
    connection->go_on = admin->jobs_go_on = true;
}

void admin_take_answers(struct admin *admin)
{
    mailbox_clear_wake(&admin->mailbox);
    struct mailbox_node *node = mailbox_detach(&admin->mailbox);
    while (node) {
        struct broker_request *request = (struct broker_request *)(void *)node;
        struct connection *connection = &admin->connections[request->token % CONNECTIONS_MAX];
        node = node->next;
        if (request->token == TOKEN_STATUS) {
            admin_status_answered(admin->status, request, clock_monotonic_ms());
            admin_answer_status(admin);
            continue;
        }
        if (request->token & TOKEN_JOB) {
            take_job_answer(admin, connection, request);
            continue;
        }
        admin->held_bytes -= request->payload.bytes;
        if (connection->state == CONNECTION_WAITING && connection->token == request->token) {
            struct admin_response response;
            admin_route_published(request, &response);
            respond(admin, connection, &response);
        }
        broker_request_destroy(request);
    }
}

void admin_jobs_go_on(struct admin *admin)
{
    if (!admin->jobs_go_on)
        return;
    admin->jobs_go_on = admin->stalled = false;
    for (size_t i = 0; i < CONNECTIONS_MAX; i++)
        if (admin->connections[i].go_on)
            go_on(admin, &admin->connections[i]);
}

void admin_connection_expire(struct admin *admin, struct connection *connection)
{
    if (connection->wants_status) {
        respond_status(admin, connection);
    } else if (connection->state == CONNECTION_WAITING) {
        end_job(admin, connection);
        respond_and_close(admin, connection, 503, "the publisher's thread did not answer in time");
    } else if (connection->state == CONNECTION_READING && connection->in_bytes > 0) {
        connection->head_only = false;
        respond_and_close(admin, connection, 408, "the request took too long to arrive");
    } else {
        admin_connection_close(admin, connection);
    }
}
