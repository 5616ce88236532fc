#include "gateway/publisher_client.h"
#include "gateway/base/address.h"
#include "gateway/base/assert.h"
#include "gateway/base/log.h"
#include "gateway/base/net.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LINGER_MS = 1000 };

static void forget_query(struct publisher_client *client)
{
    free(client->query);
    client->query = NULL;
    client->query_len = client->query_cap = client->query_need = 0;
}

bool client_keep_query(struct publisher_client *client, const char *data, size_t len)
{
    if (len == 0) {
        forget_query(client);
        return true;
    }
    if (client->query_cap >= len) {
        memmove(client->query, data, len);
    } else {
        char *query = malloc(len);
        if (!query)
            return false;
        memcpy(query, data, len);
        free(client->query);
        client->query = query;
        client->query_cap = len;
    }
    client->query_len = len;
    return true;
}

static void forget_replies(struct publisher_client *client)
{
    resp_out_fini(&client->out);
    client->out_sent = 0;
}

void client_close(struct publisher *publisher, struct publisher_client *client)
{
    if (client->source.fd < 0)
        return;
    /* Not left to close(): epoll forgets a descriptor only when no other table holds its file. */
    if (client->armed)
        epoll_ctl(publisher->epoll_fd, EPOLL_CTL_DEL, client->source.fd, NULL);
    client->armed = 0;
    listener_forget(publisher, client);
    close(client->source.fd);
    client->source.fd = -1;
    forget_query(client);
    forget_replies(client);
    free(client->name);
    client->name = NULL;
    operation_abandon(client);
    list_remove(&client->timed);
    list_remove(&client->answering);
    list_remove(&client->pushed);
    list_remove(&client->link);
    list_append(&publisher->dead, &client->link);
    publisher->client_count--;
    counter_set(&publisher->stats.connections, publisher->client_count);
}

/* False: it was closed because the kernel has no memory to watch it. */
static bool arm(struct publisher *publisher, struct publisher_client *client, uint32_t events)
{
    if (client->armed == events)
        return true;
    int operation = events == 0 ? EPOLL_CTL_DEL : client->armed == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    struct epoll_event event = {.events = events, .data.ptr = &client->source};
    bool done = operation == EPOLL_CTL_ADD
                    ? net_watch(publisher->epoll_fd, client->source.fd, &event)
                    : epoll_ctl(publisher->epoll_fd, operation, client->source.fd, &event) == 0;
    if (!done) {
        client_close(publisher, client);
        return false;
    }
    client->armed = events;
    return true;
}

/* All replies are out: shuts our side, and waits a little for the peer to close first, because closing with
 * unread bytes would reset the connection and could destroy the last reply before it is read. */
static void linger(struct publisher *publisher, struct publisher_client *client)
{
    if (client->mute || shutdown(client->source.fd, SHUT_WR) != 0) {
        client_close(publisher, client);
        return;
    }
    forget_query(client);
    client->lingering = true;
    client->deadline_ms = publisher->now_ms + LINGER_MS;
    list_remove(&client->timed);
    list_append(&publisher->lingering, &client->timed);
    arm(publisher, client, EPOLLIN);
}

void client_begin_closing(struct publisher *publisher, struct publisher_client *client)
{
    client->closing = true;
    listener_forget(publisher, client);
}

void client_settle(struct publisher *publisher, struct publisher_client *client)
{
    if (client->source.fd < 0 || client->lingering)
        return;
    size_t pending = client_pending(client);
    if (client->closing && pending == 0) {
        linger(publisher, client);
        return;
    }
    uint32_t events = pending > 0 ? EPOLLOUT : 0;
    if (!client->closing && !client->stalled && pending < client_replies_max(client))
        events |= EPOLLIN;
    arm(publisher, client, events);
}

/* Sends what it can of [data, data + len); the bytes taken. A peer that is gone takes everything. */
static size_t send_some(struct publisher_client *client, const char *data, size_t len)
{
    size_t sent = 0;
    while (sent < len && !client->mute) {
        ssize_t n = send(client->source.fd, data + sent, len - sent, MSG_NOSIGNAL);
        if (n > 0)
            sent += (size_t)n;
        else if (n < 0 && errno == EAGAIN)
            return sent;
        else if (n == 0 || errno != EINTR)
            client->mute = true; /* what it sent before it left is still executed, so it is not closed here */
    }
    return len;
}

void client_send_pending(struct publisher_client *client)
{
    client->out_sent += send_some(client, client->out.data + client->out_sent, client_pending(client));
    if (client_pending(client) == 0) {
        forget_replies(client);
    } else if (client->out_sent >=
               REPLIES_MAX / 4) { /* one that reads slowly but steadily must not make it grow */
        memmove(client->out.data, client->out.data + client->out_sent, client_pending(client));
        client->out.len -= client->out_sent;
        client->out_sent = 0;
    }
}

void client_send_replies(struct publisher *publisher, struct publisher_client *client)
{
    const char *data = publisher->reply.data + client->reply_at;
    size_t len = client->reply_len;
    client->reply_len = 0;
    if (client->out.len > 0) { /* replies of earlier turns wait: these stand behind them already */
        client_send_pending(client);
        return;
    }
    size_t sent = len > 0 ? send_some(client, data, len) : 0;
    if (sent == len)
        return;
    client->out = (struct resp_out){.data = malloc(len - sent), .len = len - sent, .cap = len - sent};
    if (client->out.data)
        memcpy(client->out.data, data + sent, len - sent);
    else
        client->out = (struct resp_out){.failed = true};
}

/* Makes room in the client's own buffer for the rest of a long command. Grows with what has come, not with
 * what was announced. */
static bool grow_query(struct publisher *publisher, struct publisher_client *client)
{
    if (client->query_cap > client->query_len)
        return true;
    size_t cap = client->query_len * 2;
    if (client->query_need > client->query_len && client->query_need < cap)
        cap = client->query_need;
    if (cap > publisher->query_max)
        cap = publisher->query_max;
    PG_ASSERT(cap > client->query_len); /* execute() refuses longer commands */
    char *query = realloc(client->query, cap);
    if (!query)
        return false;
    client->query = query;
    client->query_cap = cap;
    return true;
}

static void read_commands(struct publisher *publisher, struct publisher_client *client)
{
    char *data = publisher->receive;
    size_t len = client->query_len, cap = RECEIVE_BYTES;
    if (len > CARRY_BYTES) {
        if (!grow_query(publisher, client)) {
            client_close(publisher, client);
            return;
        }
        data = client->query;
        cap = client->query_cap;
        if (cap - len > RECEIVE_BYTES)
            cap = len + RECEIVE_BYTES;
    } else if (len > 0) {
        memcpy(data, client->query, len);
    }
    ssize_t n = recv(client->source.fd, data + len, cap - len, 0);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR)
            client_close(publisher, client);
        return;
    }
    if (n == 0) { /* it may still read: replies that wait go out first */
        client_begin_closing(publisher, client);
        if (client_pending(client) == 0)
            client_close(publisher, client);
        return;
    }
    /* Whoever heard "subscribed" before these bytes were sent must be reached by them (broker.h). */
    broker_drain_mail(publisher->broker);
    if (client->cut)
        return;
    len += (size_t)n;
    if (len < client->query_need) {
        client->query_len = data == client->query ? len : client->query_len;
        if (data != client->query && !client_keep_query(client, data, len))
            client_close(publisher, client);
        return;
    }
    client_run(publisher, client, data, len);
}

static void discard(struct publisher *publisher, struct publisher_client *client)
{
    ssize_t n = recv(client->source.fd, publisher->receive, RECEIVE_BYTES, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        client_close(publisher, client);
}

void client_event(struct publisher *publisher, struct publisher_client *client, uint32_t events)
{
    if (client->source.fd < 0 || client->cut)
        return;
    if (client->lingering) {
        discard(publisher, client);
        return;
    }
    if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) && client_pending(client) > 0) {
        client_send_pending(client);
        if (client_may_go_on(client)) {
            broker_drain_mail(publisher->broker);
            if (!client->cut)
                client_run(publisher, client, client->query, client->query_len);
        }
    }
    if (client->source.fd >= 0 && (client->armed & EPOLLIN) && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) &&
        !client->stalled && !client->closing && list_empty(&client->answering))
        read_commands(publisher, client);
    if (list_empty(&client->answering)) /* else when it is answered */
        client_settle(publisher, client);
    if (publisher->turn_bytes >= TURN_BYTES)
        clients_answer(publisher);
}

void client_unblock(struct publisher *publisher, struct publisher_client *client)
{
    list_remove(&client->timed);
    client->blocked = false;
    broker_drain_mail(publisher->broker);
    if (!client->cut)
        client_run(publisher, client, client->query, client->query_len);
}

_Static_assert((int)ORIGIN_TEXT_MAX >= (int)ADDRESS_TEXT_MAX, "client_origin()");

void client_origin(const struct publisher_client *client, char out[ORIGIN_TEXT_MAX])
{
    struct address peer = address_of_peer(client->source.fd);
    struct ucred who;
    socklen_t bytes = sizeof who;
    if (peer.family == ADDRESS_UNIX &&
        getsockopt(client->source.fd, SOL_SOCKET, SO_PEERCRED, &who, &bytes) == 0)
        snprintf(out, ORIGIN_TEXT_MAX, "unix uid=%lu pid=%ld", (unsigned long)who.uid, (long)who.pid);
    else
        address_format(&peer, out, ORIGIN_TEXT_MAX);
}

void client_open(struct publisher *publisher, int fd)
{
    struct publisher_client *client = calloc(1, sizeof *client);
    if (!client) {
        close(fd);
        return;
    }
    int on = 1; /* fail on unix sockets, which need neither */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    client->source = (struct source){.kind = SOURCE_CLIENT, .fd = fd};
    client->id = ++publisher->last_id;
    client->local = net_peer_is_local(fd);
    client->authenticated = publisher->settings->publish.password[0] == '\0';
    list_append(&publisher->clients, &client->link);
    list_init(&client->timed);
    list_init(&client->answering);
    list_init(&client->pushed);
    listener_init(&client->listener);
    if (!client->authenticated && publisher->settings->limits.handshake_timeout > 0) {
        client->deadline_ms = publisher->now_ms + publisher->settings->limits.handshake_timeout;
        list_append(&publisher->strangers, &client->timed);
    }
    publisher->client_count++;
    counter_set(&publisher->stats.connections, publisher->client_count);
    arm(publisher, client, EPOLLIN);
}
