/* Connections of the admin listener on which the status is streamed: one JSON frame with each sample.
 *
 * A client that has not taken the frame before gets none: at most one frame and one control frame wait for
 * it. One that is not heard of for a minute, pongs included, is closed.
 */
#include "gateway/admin_internal.h"
#include "gateway/base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum {
    HEARD_MS = 60000,
    PING_SAMPLES = 20, /* seconds, for a sample is taken each second then */
    UPGRADE_BYTES = 512,
};

/* Sends what waits, as far as the socket takes it. */
static void flush(struct admin *admin, struct connection *connection)
{
    struct admin_live *live = connection->live;
    while (connection->out || live->reply_bytes > 0) {
        const char *from = connection->out ? connection->out : (const char *)live->reply;
        size_t bytes = connection->out ? connection->out_bytes : live->reply_bytes;
        ssize_t n =
            send(connection->fd, from + connection->out_sent, bytes - connection->out_sent, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            admin_connection_close(admin, connection);
            return;
        }
        connection->out_sent += n > 0 ? (size_t)n : 0;
        if (connection->out_sent < bytes) {
            admin_connection_set_events(admin, connection, EPOLLIN | EPOLLOUT);
            return;
        }
        if (connection->out)
            admin_connection_release_output(admin, connection);
        else
            live->reply_bytes = 0;
        connection->out_sent = 0;
    }
    if (live->closing)
        admin_connection_linger(admin, connection);
    else
        admin_connection_set_events(admin, connection, EPOLLIN);
}

/* A control frame that is on its way must not be replaced. */
static bool reply_under_way(const struct connection *connection)
{
    return !connection->out && connection->out_sent > 0;
}

static void take(struct admin *admin, struct connection *connection, const uint8_t *data, size_t len)
{
    struct admin_live *live = connection->live;
    if (reply_under_way(connection)) {
        /* Its rest becomes ordinary output, so that the reply's place is free. */
        size_t rest = live->reply_bytes - connection->out_sent;
        connection->out = malloc(rest);
        if (!connection->out) {
            admin_connection_close(admin, connection);
            return;
        }
        memcpy(connection->out, live->reply + connection->out_sent, rest);
        connection->out_bytes = rest;
        connection->out_sent = 0;
        live->reply_bytes = 0;
    }
    admin_live_take(live, admin->reader, data, len);
    flush(admin, connection);
}

void admin_stream_serve(struct admin *admin, struct connection *connection, uint32_t events)
{
    uint8_t scratch[4096];
    if (events & EPOLLOUT) {
        flush(admin, connection);
        return;
    }
    ssize_t n = recv(connection->fd, scratch, sizeof scratch, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        admin_connection_close(admin, connection);
        return;
    }
    connection->deadline_ms = clock_monotonic_ms() + HEARD_MS;
    take(admin, connection, scratch, (size_t)n);
}

/* `before`: bytes that go in front of the frame. False without memory. */
static bool put_frame(struct admin *admin, struct connection *connection, const char *before,
                      size_t before_bytes, const struct json_out *json)
{
    uint8_t header[WS_SERVER_HEADER_MAX];
    size_t header_bytes = ws_frame_header(header, WS_TEXT, true, json->len);
    size_t bytes = before_bytes + header_bytes + json->len;
    if (json->failed || bytes > admin->held_bytes_max - admin->held_bytes)
        return false;
    char *out = malloc(bytes);
    if (!out)
        return false;
    if (before_bytes > 0)
        memcpy(out, before, before_bytes);
    memcpy(out + before_bytes, header, header_bytes);
    memcpy(out + before_bytes + header_bytes, json->data, json->len);
    admin_connection_set_output(admin, connection, out, bytes);
    return true;
}

void admin_stream_begin(struct admin *admin, struct connection *connection,
                        const struct http_request *request, uint64_t now_ms)
{
    char accept[29], head[UPGRADE_BYTES];
    struct json_out json = {0};
    http_upgrade_accept(request->websocket_key, accept);
    size_t head_bytes = http_upgrade_response(head, sizeof head, accept, "");
    if (!admin->reader)
        admin->reader = ws_reader_create(WS_ROLE_SERVER);
    admin_status_look(admin->status, now_ms);
    admin_status_write(admin->status, now_ms, STATUS_SECONDS_ALL, &json);
    connection->live = admin->reader && head_bytes > 0 ? calloc(1, sizeof *connection->live) : NULL;
    bool good = connection->live && put_frame(admin, connection, head, head_bytes, &json);
    json_out_fini(&json);
    if (!good) {
        admin_connection_close(admin, connection);
        return;
    }
    admin->live_count++;
    connection->state = CONNECTION_LIVE;
    connection->deadline_ms = now_ms + HEARD_MS;
    /* What came behind the request is the client's first frames. */
    size_t early = connection->in_bytes - request->request_bytes;
    if (early > 0)
        admin_live_take(connection->live, admin->reader,
                        (const uint8_t *)connection->in + request->request_bytes, early);
    admin_connection_release_input(admin, connection);
    flush(admin, connection);
}

void admin_stream_tell(struct admin *admin, uint64_t now_ms)
{
    struct json_out json = {0};
    uint64_t samples = admin_status_samples(admin->status);
    if (admin->live_count == 0 || samples == admin->told_samples)
        return;
    admin->told_samples = samples;
    admin_status_look(admin->status, now_ms);
    admin_status_write(admin->status, now_ms, STATUS_SECONDS_LIVE, &json);
    for (size_t i = 0; i < CONNECTIONS_MAX && !json.failed; i++) {
        struct connection *connection = &admin->connections[i];
        if (connection->state != CONNECTION_LIVE || connection->out || connection->live->reply_bytes > 0)
            continue;
        if (samples % PING_SAMPLES == 0)
            admin_live_ping(connection->live);
        (void)put_frame(admin, connection, NULL, 0,
                        &json); /* without room for it a ping goes out all the same */
        flush(admin, connection);
    }
    json_out_fini(&json);
}

void admin_stream_end(struct admin *admin, struct connection *connection)
{
    if (connection->out || reply_under_way(connection))
        return;
    admin_live_close(connection->live, WS_CLOSE_GOING_AWAY, "the gateway stops");
    flush(admin, connection);
}
