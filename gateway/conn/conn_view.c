#include "gateway/conn/conn_view.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

static const char *const states[] = {
    [CONN_FREE] = "free",
    [CONN_OPEN] = "open",
    [CONN_CLOSING] = "closing",
    [CONN_LINGER] = "lingering",
};

/* As TLS names them. */
static const char *suite_name(const struct conn *conn)
{
    if (conn_transport(conn) == TRANSPORT_WS)
        return NULL;
    return conn->suite_chacha ? "TLS_CHACHA20_POLY1305_SHA256" : "TLS_AES_128_GCM_SHA256";
}

static uint64_t seconds_since(const struct pool *pool, uint32_t tick)
{
    int32_t ticks = (int32_t)(pool->now - tick);
    return ticks > 0 ? (uint64_t)ticks * WHEEL_TICK_MS / 1000 : 0;
}

struct conn_view conn_view(const struct pool *pool, struct conn *conn)
{
    const struct adapter *adapter = adapter_get((enum adapter_id)conn->adapter);
    const struct session *session = pool_session(pool, conn);
    struct address address = conn_address(pool, conn);
    struct conn_view view = {
        .adapter = adapter->name,
        .transport = conn_transport(conn) == TRANSPORT_WSS ? "wss" : "ws",
        .suite = suite_name(conn),
        .state = states[conn->state],
        .close_reason = conn->state == CONN_OPEN ? NULL : close_reason_label((enum close_reason)conn->reason),
        .age_s = seconds_since(pool, conn->opened),
        .idle_s = seconds_since(pool, conn->last_heard),
        .queued_bytes = conn->extra ? conn->extra->outbox.bytes : 0,
        .subscriptions = conn->topic_count,
    };
    conn_id_format(pool_conn_id(pool, conn), view.id);
    address_format(&address, view.address, sizeof view.address);
    if (session && session->connected) {
        struct broker_ask known = {0};
        adapter->who(session, "", 0, &known);
        view.user = known.user;
        view.info = known.conn_info;
        uuid_format(session->client, view.client);
    }
    return view;
}

static void put_text(struct resp_out *out, const char *text)
{
    if (text)
        resp_bulk(out, text, strlen(text));
    else
        resp_null(out);
}

static void name(struct resp_out *out, const char *key)
{
    put_text(out, key);
}

static void put_number(struct resp_out *out, const char *key, uint64_t value)
{
    name(out, key);
    resp_integer(out, (int64_t)value);
}

static void put_string(struct resp_out *out, const char *key, const char *value)
{
    name(out, key);
    put_text(out, value);
}

enum { SHORT_PAIRS = 13, MORE_PAIRS = 8 };

static void write_short(const struct conn_view *view, struct resp_out *out)
{
    put_string(out, "id", view->id);
    put_string(out, "address", view->address);
    put_string(out, "adapter", view->adapter);
    put_string(out, "transport", view->transport);
    put_string(out, "suite", view->suite);
    put_string(out, "state", view->state);
    put_string(out, "close-reason", view->close_reason);
    name(out, "user");
    resp_bulk(out, view->user.data ? view->user.data : "", view->user.bytes);
    put_string(out, "client", view->client);
    put_number(out, "age", view->age_s);
    put_number(out, "idle", view->idle_s);
    put_number(out, "queued", view->queued_bytes);
    put_number(out, "subscriptions", view->subscriptions);
}

void conn_view_write(const struct conn_view *view, struct resp_out *out)
{
    resp_map(out, SHORT_PAIRS);
    write_short(view, out);
}

static void write_topics(const struct pool *pool, const struct conn *conn, struct resp_out *out)
{
    name(out, "topics");
    resp_array(out, conn->topic_count);
    for (uint32_t i = 0; i < conn->topic_count; i++) {
        const struct subscription *own = conn->topic_count > 1 ? &conn->many[i] : &conn->one;
        const struct topic *topic = topics_at(&pool->topics, own->topic);
        resp_bulk(out, topic->name, topic->name_bytes);
    }
}

void conn_view_write_all(const struct pool *pool, struct conn *conn, struct resp_out *out)
{
    struct conn_view view = conn_view(pool, conn);
    struct tcp_info tcp = {0};
    socklen_t bytes = sizeof tcp; /* zeros for a unix socket */
    (void)getsockopt(conn->fd, IPPROTO_TCP, TCP_INFO, &tcp, &bytes);
    resp_map(out, SHORT_PAIRS + MORE_PAIRS);
    write_short(&view, out);
    put_number(out, "reactor", pool->reactor);
    put_number(out, "fd", (uint64_t)conn->fd);
    put_number(out, "unsent", tcp.tcpi_notsent_bytes);
    put_number(out, "unacknowledged", tcp.tcpi_unacked);
    put_number(out, "retransmits", tcp.tcpi_total_retrans);
    put_number(out, "rtt-us", tcp.tcpi_rtt);
    name(out, "info");
    resp_bulk(out, view.info.data ? view.info.data : "", view.info.bytes);
    write_topics(pool, conn, out);
}
