/* Sockets of the admin listener: one thread, a level-triggered epoll set, at most 256 connections. */
#include "gateway/admin.h"

#include "gateway/admin_routes.h"
#include "gateway/base/assert.h"
#include "gateway/base/clock.h"
#include "gateway/base/log.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
    CONNECTIONS_MAX = 256, /* an index fits in a token's low byte */
    IN_BYTES_FIRST = 16384,
    REQUEST_MS = 10000,
    IDLE_MS = 30000,  /* between requests */
    LINGER_MS = 2000, /* for a peer that still sends to read why it was refused */
    ACCEPT_PAUSE_MS = 100,
    HELD_BYTES = 64 << 20,
    EVENTS_MAX = 64,
    TAG_LISTENER = CONNECTIONS_MAX, /* in place of an index */
    TAG_MAILBOX,
};

/* READING → (WAITING →) WRITING → READING, or → LINGERING → closed. Any state may close. */
enum connection_state {
    CONNECTION_FREE,
    CONNECTION_READING,
    CONNECTION_WAITING, /* for the broker's answer */
    CONNECTION_WRITING,
    CONNECTION_LINGERING, /* all is said; reads and forgets */
};

struct connection {
    enum connection_state state;
    int fd;
    uint32_t generation; /* epoll events carry it: one for an earlier connection in this place is ignored */
    uint32_t events;     /* armed in epoll */
    uint64_t deadline_ms;
    uint64_t token; /* of the broker request that it waits for */
    char *in;       /* NULL while nothing was read */
    size_t in_bytes, in_room;
    char *out; /* one response */
    size_t out_bytes, out_sent;
    bool keep_alive, head_only;
    bool linger; /* the peer may still be sending what nobody will read */
};

struct admin {
    struct admin_config config;
    uint64_t started_ms;
    struct mailbox mailbox; /* answers from the broker */
    int epoll_fd;
    pthread_t thread;
    _Atomic bool running, stopping;
    /* The rest is the thread's. */
    bool accepting;           /* the listener is in the epoll set */
    uint64_t accept_again_ms; /* 0: when a place is free */
    struct log_limit accept_log;
    uint64_t last_token;
    size_t held_bytes, held_bytes_max; /* buffers beyond the first and payloads that the broker has */
    size_t request_bytes_max;
    struct connection connections[CONNECTIONS_MAX];
};

static uint64_t event_tag(uint32_t generation, uint32_t index)
{
    return (uint64_t)generation << 32 | index;
}

static uint32_t index_of(const struct admin *admin, const struct connection *connection)
{
    return (uint32_t)(connection - admin->connections);
}

static void set_accepting(struct admin *admin, bool accepting)
{
    if (admin->accepting == accepting)
        return;
    struct epoll_event event = {.events = accepting ? EPOLLIN : 0, .data.u64 = event_tag(0, TAG_LISTENER)};
    if (epoll_ctl(admin->epoll_fd, EPOLL_CTL_MOD, admin->config.listen_fd, &event) == 0)
        admin->accepting = accepting;
}

static void release_input(struct admin *admin, struct connection *connection)
{
    if (connection->in_room > IN_BYTES_FIRST)
        admin->held_bytes -= connection->in_room - IN_BYTES_FIRST;
    free(connection->in);
    connection->in = NULL;
    connection->in_bytes = connection->in_room = 0;
}

static void close_connection(struct admin *admin, struct connection *connection)
{
    close(connection->fd);
    release_input(admin, connection);
    free(connection->out);
    *connection = (struct connection){.fd = -1, .generation = connection->generation + 1};
    if (admin->accept_again_ms == 0)
        set_accepting(admin, true);
}

/* Closes when epoll refuses, which would leave the connection deaf. */
static void set_events(struct admin *admin, struct connection *connection, uint32_t events)
{
    if (connection->events == events)
        return;
    struct epoll_event event = {.events = events,
                                .data.u64 = event_tag(connection->generation, index_of(admin, connection))};
    if (epoll_ctl(admin->epoll_fd, EPOLL_CTL_MOD, connection->fd, &event) != 0)
        close_connection(admin, connection);
    else
        connection->events = events;
}

static void start_lingering(struct admin *admin, struct connection *connection)
{
    if (shutdown(connection->fd, SHUT_WR) != 0) {
        close_connection(admin, connection);
        return;
    }
    release_input(admin, connection);
    connection->state = CONNECTION_LINGERING;
    connection->deadline_ms = clock_monotonic_ms() + LINGER_MS;
    set_events(admin, connection, EPOLLIN);
}

static void finish_response(struct admin *admin, struct connection *connection)
{
    free(connection->out);
    connection->out = NULL;
    if (!connection->keep_alive) {
        if (connection->linger)
            start_lingering(admin, connection);
        else
            close_connection(admin, connection);
        return;
    }
    bool pipelined = connection->in_bytes > 0;
    if (!pipelined)
        release_input(admin, connection);
    connection->state = CONNECTION_READING;
    connection->deadline_ms = clock_monotonic_ms() + (pipelined ? admin->config.request_ms : IDLE_MS);
    /* EPOLLOUT comes back at once, for the request that is here already: others get their turn before it. */
    set_events(admin, connection, pipelined ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void write_some(struct admin *admin, struct connection *connection)
{
    ssize_t n = send(connection->fd, connection->out + connection->out_sent,
                     connection->out_bytes - connection->out_sent, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        close_connection(admin, connection);
        return;
    }
    connection->out_sent += n > 0 ? (size_t)n : 0;
    if (connection->out_sent == connection->out_bytes)
        finish_response(admin, connection);
    else
        set_events(admin, connection, EPOLLOUT);
}

/* Takes the response's body. */
static void respond(struct admin *admin, struct connection *connection, struct admin_response *response)
{
    char head[1024];
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
        close_connection(admin, connection);
        return;
    }
    connection->out = out;
    connection->out_bytes = head_bytes + body_bytes;
    connection->out_sent = 0;
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

/* False when too much is held already, or without memory. */
static bool ask_broker(struct admin *admin, struct connection *connection, const struct admin_response *route,
                       struct http_slice body)
{
    if (body.len > admin->held_bytes_max - admin->held_bytes)
        return false;
    uint64_t token = ++admin->last_token << 8 | index_of(admin, connection);
    struct broker_request *request =
        broker_request_publish(&admin->mailbox, token, route->topic, route->topic_bytes, body.data, body.len);
    if (!request)
        return false;
    admin->held_bytes += body.len;
    connection->token = token;
    connection->state = CONNECTION_WAITING;
    connection->deadline_ms = clock_monotonic_ms() + admin->config.request_ms;
    set_events(admin, connection, 0); /* before the push: the answer finds the connection ready or gone */
    mailbox_push(admin->config.broker_mail, &request->mail.node);
    return true;
}

static void consume(struct connection *connection, size_t bytes)
{
    connection->in_bytes -= bytes;
    memmove(connection->in, connection->in + bytes, connection->in_bytes);
}

/* Answers one request, when a whole one is there. */
static void process_input(struct admin *admin, struct connection *connection)
{
    struct http_request request;
    struct admin_response response;
    uint64_t message_bytes = admin->config.settings->limits.message_bytes;
    enum parse_result result =
        http_request_parse(connection->in, connection->in_bytes, message_bytes, &request);
    if (result == PARSE_MORE) {
        set_events(admin, connection, EPOLLIN);
        return;
    }
    if (result == PARSE_BAD) {
        connection->head_only = false;
        respond_and_close(admin, connection, request.status, request.error);
        return;
    }
    connection->keep_alive = request.keep_alive;
    connection->head_only = request.method == HTTP_METHOD_HEAD;
    admin_route(&admin->config, admin->started_ms, &request, &response);
    if (response.status == 0 && !ask_broker(admin, connection, &response, request.body)) {
        respond_and_close(admin, connection, 503, "too much is being published; try again");
        return;
    }
    if (connection->state == CONNECTION_FREE)
        return;
    consume(connection, request.request_bytes); /* `request` is of no use from here on */
    if (response.status != 0)
        respond(admin, connection, &response);
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
        close_connection(admin, connection);
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
        close_connection(admin, connection);
}

static void serve(struct admin *admin, struct connection *connection, uint32_t events)
{
    switch (connection->state) {
    case CONNECTION_READING:
        if (events & EPOLLOUT)
            process_input(admin, connection);
        else
            read_some(admin, connection);
        return;
    case CONNECTION_WAITING: /* nothing is armed, so this is EPOLLHUP or EPOLLERR */
        close_connection(admin, connection);
        return;
    case CONNECTION_WRITING:
        write_some(admin, connection);
        return;
    case CONNECTION_LINGERING:
        discard_some(admin, connection);
        return;
    case CONNECTION_FREE:
        return;
    }
}

/* A free place, if need be that of the connection which has been idle longest. NULL: all are at work. */
static struct connection *find_place(struct admin *admin)
{
    struct connection *idle = NULL;
    for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
        struct connection *connection = &admin->connections[i];
        if (connection->state == CONNECTION_FREE)
            return connection;
        if (connection->state == CONNECTION_READING && connection->in_bytes == 0 &&
            (!idle || connection->deadline_ms < idle->deadline_ms))
            idle = connection;
    }
    if (idle)
        close_connection(admin, idle);
    return idle;
}

/* Without descriptors or memory the listener would stay readable and this thread busy: it rests a moment. */
static void pause_accepting(struct admin *admin, int reason)
{
    log_limited(&admin->accept_log, LOG_WARN, "accept_failed", "listener=admin error=%s", strerror(reason));
    admin->accept_again_ms = clock_monotonic_ms() + ACCEPT_PAUSE_MS;
    set_accepting(admin, false);
}

static void open_connection(struct admin *admin, struct connection *connection, int fd)
{
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on,
                     sizeof on); /* fails on a unix socket, which needs none */
    connection->fd = fd;
    connection->events = EPOLLIN;
    connection->state = CONNECTION_READING;
    connection->deadline_ms = clock_monotonic_ms() + admin->config.request_ms;
    struct epoll_event event = {.events = EPOLLIN,
                                .data.u64 = event_tag(connection->generation, index_of(admin, connection))};
    if (epoll_ctl(admin->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        close_connection(admin, connection);
}

/* One connection a turn: the listener stays readable while more wait. */
static void accept_one(struct admin *admin)
{
    struct connection *place = find_place(admin);
    if (!place) {
        set_accepting(admin, false); /* until one closes */
        return;
    }
    int fd = accept4(admin->config.listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0)
        open_connection(admin, place, fd);
    else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
        pause_accepting(admin, errno);
}

static void take_answers(struct admin *admin)
{
    mailbox_clear_wake(&admin->mailbox);
    struct mailbox_node *node = mailbox_detach(&admin->mailbox);
    while (node) {
        struct broker_request *request = (struct broker_request *)(void *)node;
        struct connection *connection = &admin->connections[request->token % CONNECTIONS_MAX];
        node = node->next;
        admin->held_bytes -= request->payload.bytes;
        if (connection->state == CONNECTION_WAITING && connection->token == request->token) {
            struct admin_response response;
            admin_route_published(request->queued, &response);
            respond(admin, connection, &response);
        }
        broker_request_destroy(request);
    }
}

static void expire(struct admin *admin, struct connection *connection)
{
    if (connection->state == CONNECTION_WAITING) {
        respond_and_close(admin, connection, 503, "the publisher's thread did not answer in time");
    } else if (connection->state == CONNECTION_READING && connection->in_bytes > 0) {
        connection->head_only = false;
        respond_and_close(admin, connection, 408, "the request took too long to arrive");
    } else {
        close_connection(admin, connection);
    }
}

/* Ends what is overdue; returns milliseconds until the next deadline, -1 for none. */
static int keep_time(struct admin *admin)
{
    uint64_t now = clock_monotonic_ms(), next = UINT64_MAX;
    if (admin->accept_again_ms != 0 && admin->accept_again_ms <= now) {
        admin->accept_again_ms = 0;
        set_accepting(admin, true);
    }
    if (admin->accept_again_ms != 0)
        next = admin->accept_again_ms;
    for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
        struct connection *connection = &admin->connections[i];
        if (connection->state != CONNECTION_FREE && connection->deadline_ms <= now)
            expire(admin, connection);
        if (connection->state != CONNECTION_FREE && connection->deadline_ms < next)
            next = connection->deadline_ms;
    }
    if (next == UINT64_MAX)
        return -1;
    return next <= now ? 0 : (int)(next - now);
}

static void handle(struct admin *admin, const struct epoll_event *event)
{
    uint32_t index = (uint32_t)event->data.u64;
    if (index == TAG_LISTENER) {
        accept_one(admin);
    } else if (index == TAG_MAILBOX) {
        take_answers(admin);
    } else {
        struct connection *connection = &admin->connections[index];
        if (connection->generation == (uint32_t)(event->data.u64 >> 32))
            serve(admin, connection, event->events);
    }
}

static void *run(void *context)
{
    struct admin *admin = context;
    struct epoll_event events[EVENTS_MAX];
    while (!atomic_load(&admin->stopping)) {
        int count = epoll_wait(admin->epoll_fd, events, EVENTS_MAX, keep_time(admin));
        for (int i = 0; i < count; i++)
            handle(admin, &events[i]);
    }
    for (size_t i = 0; i < CONNECTIONS_MAX; i++)
        if (admin->connections[i].state != CONNECTION_FREE)
            close_connection(admin, &admin->connections[i]);
    return NULL;
}

static bool watch(int epoll_fd, int fd, uint32_t tag)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = event_tag(0, tag)};
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

struct admin *admin_create(const struct admin_config *config, char *error, size_t error_size)
{
    struct admin *admin = calloc(1, sizeof *admin);
    if (!admin) {
        snprintf(error, error_size, "admin listener: out of memory");
        return NULL;
    }
    admin->config = *config;
    if (admin->config.request_ms == 0)
        admin->config.request_ms = REQUEST_MS;
    admin->started_ms = clock_realtime_ms();
    admin->accepting = true;
    admin->request_bytes_max = HTTP_HEAD_MAX + (size_t)config->settings->limits.message_bytes;
    if (admin->request_bytes_max < IN_BYTES_FIRST)
        admin->request_bytes_max = IN_BYTES_FIRST;
    admin->held_bytes_max = HELD_BYTES + 2 * admin->request_bytes_max;
    admin->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    bool mailed = mailbox_init(&admin->mailbox);
    if (admin->epoll_fd < 0 || !mailed || !watch(admin->epoll_fd, config->listen_fd, TAG_LISTENER) ||
        !watch(admin->epoll_fd, admin->mailbox.wake_fd, TAG_MAILBOX)) {
        snprintf(error, error_size, "admin listener: %s", strerror(errno));
        admin->config.listen_fd = -1;
        admin_destroy(admin);
        return NULL;
    }
    return admin;
}

bool admin_start(struct admin *admin)
{
    errno = pthread_create(&admin->thread, NULL, run, admin);
    if (errno != 0)
        return false;
    (void)pthread_setname_np(admin->thread, "admin");
    atomic_store(&admin->running, true);
    return true;
}

void admin_stop(struct admin *admin)
{
    if (!atomic_exchange(&admin->running, false))
        return;
    atomic_store(&admin->stopping, true);
    mailbox_wake(&admin->mailbox);
    pthread_join(admin->thread, NULL);
}

void admin_destroy(struct admin *admin)
{
    if (!admin)
        return;
    admin_stop(admin);
    for (struct mailbox_node *node = mailbox_detach(&admin->mailbox); node;) {
        struct mailbox_node *next = node->next;
        free(node);
        node = next;
    }
    mailbox_fini(&admin->mailbox);
    if (admin->epoll_fd >= 0)
        close(admin->epoll_fd);
    if (admin->config.listen_fd >= 0)
        close(admin->config.listen_fd);
    free(admin);
}
