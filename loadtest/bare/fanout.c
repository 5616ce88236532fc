/* The bare fan-out: one frame, a plain loop of send() over all clients' sockets. */
#include "loadtest/bare/bare.h"

#include "proto/http_request.h"
#include "proto/resp.h"
#include "proto/ws_frame.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    EVENTS = 256,
    INPUT_BYTES = BARE_MESSAGE_MAX + 4096,
    COMMAND_ARGS = 4,
};

enum peer_kind { PEER_CLIENT_LISTENER, PEER_PUBLISH_LISTENER, PEER_CLIENT, PEER_PUBLISHER };

struct fanout {
    int epoll_fd;
    int client_listener, publish_listener;
    int publisher; /* the one connection to the publish listener; -1: none */
    int *clients;  /* in the order of their upgrades */
    uint32_t count, capacity;
    char *input; /* of the publisher */
    size_t input_bytes;
};

static void watch(const struct fanout *fanout, int fd, enum peer_kind kind)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)kind << 32 | (uint32_t)fd};
    if (epoll_ctl(fanout->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        bare_die("epoll_ctl: %s", strerror(errno));
}

static void accept_all(struct fanout *fanout, int listener, enum peer_kind kind)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | (kind == PEER_CLIENT ? SOCK_NONBLOCK : 0));
        if (fd < 0 && errno == EAGAIN)
            return;
        if (fd < 0)
            bare_die("accept4: %s", strerror(errno));
        bare_no_delay(fd);
        if (kind == PEER_PUBLISHER) {
            fanout->publisher = fd;
            fanout->input_bytes = 0;
        }
        watch(fanout, fd, kind);
    }
}

static void forget_client(struct fanout *fanout, int fd)
{
    for (uint32_t i = 0; i < fanout->count; i++) {
        if (fanout->clients[i] == fd) {
            fanout->clients[i] = fanout->clients[--fanout->count];
            break;
        }
    }
    close(fd);
}

/* The request comes in one piece from the client that this serves; anything else ends the connection. */
static void client_input(struct fanout *fanout, int fd)
{
    char request[HTTP_HEAD_MAX], response[512], accept[29];
    struct http_request parsed;
    ssize_t n = recv(fd, request, sizeof(request), 0);

    if (n <= 0 || http_request_parse(request, (size_t)n, 0, &parsed) != PARSE_OK ||
        !parsed.upgrade_websocket || fanout->count == fanout->capacity) {
        forget_client(fanout, fd);
        return;
    }
    http_upgrade_accept(parsed.websocket_key, accept);
    bare_send_all(fd, response, http_upgrade_response(response, sizeof(response), accept, ""));
    fanout->clients[fanout->count++] = fd;
}

/* The loop that the gateway is measured against. */
static void send_to_all(const struct fanout *fanout, const void *frame, size_t bytes)
{
    for (uint32_t i = 0; i < fanout->count; i++)
        if (send(fanout->clients[i], frame, bytes, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)bytes)
            bare_die("a client took less than a frame: it does not keep up");
}

static void publish(const struct fanout *fanout, const struct resp_arg *message)
{
    uint8_t frame[WS_SERVER_HEADER_MAX + BARE_MESSAGE_MAX];
    char reply[24];

    if (message->len > BARE_MESSAGE_MAX)
        bare_die("a message of more than %d bytes", BARE_MESSAGE_MAX);
    size_t header = ws_frame_header(frame, WS_TEXT, true, message->len);
    memcpy(frame + header, message->data, message->len);
    send_to_all(fanout, frame, header + message->len);
    int bytes = snprintf(reply, sizeof(reply), ":%" PRIu32 "\r\n", fanout->count);
    bare_send_all(fanout->publisher, reply, (size_t)bytes);
}

static void publisher_input(struct fanout *fanout)
{
    struct resp_arg args[COMMAND_ARGS];
    size_t used = 0;
    ssize_t n =
        recv(fanout->publisher, fanout->input + fanout->input_bytes, INPUT_BYTES - fanout->input_bytes, 0);

    if (n <= 0) {
        close(fanout->publisher);
        fanout->publisher = -1;
        return;
    }
    fanout->input_bytes += (size_t)n;
    for (;;) {
        struct resp_command command = {.args = args, .args_max = COMMAND_ARGS};
        enum parse_result result =
            resp_parse(fanout->input + used, fanout->input_bytes - used, BARE_MESSAGE_MAX, &command);
        if (result == PARSE_MORE)
            break;
        if (result == PARSE_BAD || command.arg_count != 3 || !resp_arg_is(&args[0], "PUBLISH"))
            bare_die("only PUBLISH is known here");
        publish(fanout, &args[2]);
        used += command.command_bytes;
    }
    fanout->input_bytes -= used;
    memmove(fanout->input, fanout->input + used, fanout->input_bytes);
}

static void handle(struct fanout *fanout, uint64_t tag)
{
    int fd = (int)(uint32_t)tag;

    switch ((enum peer_kind)(tag >> 32)) {
    case PEER_CLIENT_LISTENER:
        accept_all(fanout, fd, PEER_CLIENT);
        break;
    case PEER_PUBLISH_LISTENER:
        accept_all(fanout, fd, PEER_PUBLISHER);
        break;
    case PEER_CLIENT:
        client_input(fanout, fd);
        break;
    case PEER_PUBLISHER:
        publisher_input(fanout);
        break;
    }
}

void bare_fanout(const char *listen, const char *publish_at)
{
    struct rlimit limit;
    struct epoll_event events[EVENTS];
    struct fanout fanout = {.publisher = -1};

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        bare_die("RLIMIT_NOFILE: %s", strerror(errno));
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    fanout.capacity = limit.rlim_max < 1000000 ? (uint32_t)limit.rlim_max : 1000000;
    fanout.clients = calloc(fanout.capacity, sizeof(*fanout.clients));
    fanout.input = malloc(INPUT_BYTES);
    fanout.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!fanout.clients || !fanout.input || fanout.epoll_fd < 0)
        bare_die("out of memory");
    fanout.client_listener = bare_listen(listen);
    fanout.publish_listener = bare_listen(publish_at);
    watch(&fanout, fanout.client_listener, PEER_CLIENT_LISTENER);
    watch(&fanout, fanout.publish_listener, PEER_PUBLISH_LISTENER);
    for (;;) {
        int count = epoll_wait(fanout.epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < count; i++)
            handle(&fanout, events[i].data.u64);
    }
}
