/* The admin listener's thread: a level-triggered epoll set, at most 256 connections. */
#include "gateway/admin_internal.h"
#include "gateway/base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    ACCEPT_PAUSE_MS = 100,
    HELD_BYTES = 64 << 20,
    EVENTS_MAX = 64,
    STALL_MS = 10, /* until a job looks again whether it may go on */
};

void admin_set_accepting(struct admin *admin, bool accepting)
{
    if (admin->accepting == accepting)
        return;
    struct epoll_event event = {.events = accepting ? EPOLLIN : 0,
                                .data.u64 = admin_event_tag(0, TAG_LISTENER)};
    if (epoll_ctl(admin->epoll_fd, EPOLL_CTL_MOD, admin->config.listen_fd, &event) == 0)
        admin->accepting = accepting;
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
        admin_connection_close(admin, idle);
    return idle;
}

/* Without descriptors or memory the listener would stay readable and this thread busy: it rests a moment. */
static void pause_accepting(struct admin *admin, int reason)
{
    log_limited(&admin->accept_log, LOG_WARN, "accept_failed", "listener=admin error=%s", strerror(reason));
    admin->accept_again_ms = clock_monotonic_ms() + ACCEPT_PAUSE_MS;
    admin_set_accepting(admin, false);
}

/* One connection a turn: the listener stays readable while more wait. */
static void accept_one(struct admin *admin)
{
    struct connection *place = find_place(admin);
    if (!place) {
        admin_set_accepting(admin, false); /* until one closes */
        return;
    }
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof address;
    int fd =
        accept4(admin->config.listen_fd, (struct sockaddr *)&address, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        const struct throttle_key peer = throttle_key(&address);
        admin_connection_open(admin, place, fd, &peer);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
        pause_accepting(admin, errno);
}

/* Ends what is overdue; returns milliseconds until the next deadline. */
static int keep_time(struct admin *admin)
{
    uint64_t now = clock_monotonic_ms(), next = admin_status_run(admin->status, now);
    admin_stream_tell(admin, now);
    if (admin->accept_again_ms != 0 && admin->accept_again_ms <= now) {
        admin->accept_again_ms = 0;
        admin_set_accepting(admin, true);
    }
    if (admin->accept_again_ms != 0 && admin->accept_again_ms < next)
        next = admin->accept_again_ms;
    for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
        struct connection *connection = &admin->connections[i];
        if (connection->state != CONNECTION_FREE && connection->deadline_ms <= now)
            admin_connection_expire(admin, connection);
        if (connection->state != CONNECTION_FREE && connection->deadline_ms < next)
            next = connection->deadline_ms;
    }
    if (admin->stalled && next > now + STALL_MS)
        next = now + STALL_MS;
    return next <= now ? 0 : (int)(next - now);
}

static void handle(struct admin *admin, const struct epoll_event *event)
{
    uint32_t index = (uint32_t)event->data.u64;
    if (index == TAG_LISTENER) {
        accept_one(admin);
    } else if (index == TAG_MAILBOX) {
        admin_take_answers(admin);
    } else {
        struct connection *connection = &admin->connections[index];
        if (connection->generation == (uint32_t)(event->data.u64 >> 32))
            admin_connection_serve(admin, connection, event->events);
    }
}

static void *run(void *context)
{
    struct admin *admin = context;
    struct epoll_event events[EVENTS_MAX];
    while (!atomic_load(&admin->stopping)) {
        int count = epoll_wait(admin->epoll_fd, events, EVENTS_MAX, keep_time(admin));
        pulse_beat(&admin->pulse);
        for (int i = 0; i < count; i++)
            handle(admin, &events[i]);
        admin_jobs_go_on(admin);
    }
    pulse_end(&admin->pulse);
    for (size_t i = 0; i < CONNECTIONS_MAX; i++)
        if (admin->connections[i].state == CONNECTION_LIVE)
            admin_stream_end(admin, &admin->connections[i]);
    for (size_t i = 0; i < CONNECTIONS_MAX; i++)
        if (admin->connections[i].state != CONNECTION_FREE)
            admin_connection_close(admin, &admin->connections[i]);
    return NULL;
}

static bool watch(int epoll_fd, int fd, uint32_t tag)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = admin_event_tag(0, tag)};
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
    admin->body_bytes_max = config->settings->limits.message_bytes;
    if (admin_route_api_on(config->settings) && config->settings->api.body_bytes > admin->body_bytes_max)
        admin->body_bytes_max = config->settings->api.body_bytes;
    admin->request_bytes_max = HTTP_HEAD_MAX + admin->body_bytes_max;
    if (admin->request_bytes_max < IN_BYTES_FIRST)
        admin->request_bytes_max = IN_BYTES_FIRST;
    admin->held_bytes_max = HELD_BYTES + 2 * admin->request_bytes_max;
    admin->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    bool mailed = mailbox_init(&admin->mailbox);
    pulse_init(&admin->pulse, &admin->mailbox);
    admin->api = admin_api_create(&admin->config, &admin->mailbox, admin->started_ms);
    admin->status = admin_status_create(&admin->config, &admin->mailbox, TOKEN_STATUS, admin->started_ms);
    if (!admin->api || !admin->status || !admin_auth_init(&admin->auth, config->settings))
        errno = ENOMEM;
    else
        admin->desk = (struct admin_desk){.config = &admin->config,
                                          .started_ms = admin->started_ms,
                                          .api = admin_api_stats(admin->api),
                                          .auth = &admin->auth,
                                          .status = admin->status};
    if (!admin->desk.status || admin->epoll_fd < 0 || !mailed ||
        !watch(admin->epoll_fd, config->listen_fd, TAG_LISTENER) ||
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

struct pulse *admin_pulse(struct admin *admin)
{
    return &admin->pulse;
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
        broker_request_destroy((struct broker_request *)(void *)node);
        node = next;
    }
    mailbox_fini(&admin->mailbox);
    admin_api_destroy(admin->api);
    admin_status_destroy(admin->status);
    if (admin->reader)
        ws_reader_destroy(admin->reader);
    explicit_bzero(&admin->auth, sizeof admin->auth);
    if (admin->epoll_fd >= 0)
        close(admin->epoll_fd);
    if (admin->config.listen_fd >= 0)
        close(admin->config.listen_fd);
    free(admin);
}
