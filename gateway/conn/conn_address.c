/* Who a connection's client is, and the lines that say so. */
#include "gateway/base/log.h"
#include "gateway/conn/pool.h"

static struct address *kept_address(const struct pool *pool, const struct conn *conn)
{
    return slab_at(&pool->addresses, pool_index(pool, conn));
}

struct address conn_address(const struct pool *pool, const struct conn *conn)
{
    return conn->address_kept ? *kept_address(pool, conn) : address_of_peer(conn->fd);
}

void conn_keep_address(struct pool *pool, struct conn *conn, const struct address *client)
{
    bool forwarded = client->family != ADDRESS_NONE;
    if (!forwarded && !pool->keep_addresses)
        return;
    *kept_address(pool, conn) = forwarded ? *client : address_of_peer(conn->fd);
    conn->address_kept = true;
}

void conn_log_open(const struct pool *pool, const struct conn *conn)
{
    char client[ADDRESS_TEXT_MAX], id[CONN_ID_TEXT_BYTES];
    if (!log_enabled(LOG_DEBUG))
        return;
    struct address address = conn_address(pool, conn);
    conn_id_format(pool_conn_id(pool, conn), id);
    log_event(LOG_DEBUG, "open", "adapter=%s transport=%s conn=%s client=%s",
              adapter_get((enum adapter_id)conn->adapter)->name,
              conn_transport(conn) == TRANSPORT_WSS ? "wss" : "ws", id,
              address_format(&address, client, sizeof client));
}

void conn_log_close(const struct pool *pool, const struct conn *conn, enum close_reason reason)
{
    char client[ADDRESS_TEXT_MAX], id[CONN_ID_TEXT_BYTES];
    if (!log_enabled(LOG_DEBUG))
        return;
    struct address address = conn_address(pool, conn);
    conn_id_format(pool_conn_id(pool, conn), id);
    log_event(LOG_DEBUG, "close", "reason=%s conn=%s client=%s", close_reason_label(reason), id,
              address_format(&address, client, sizeof client));
}
