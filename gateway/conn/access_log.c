/* Bytes are the kernel's count for the socket, with TLS and handshakes: so nothing is counted for this here.
 */
#include "gateway/conn/access_log.h"

#include "gateway/base/log.h"
#include "gateway/conn/pool.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

static bool due(struct access_sampler *sampler)
{
    return sampler->every && sampler->seen++ % sampler->every == 0;
}

void access_log_close(struct access_sampler *sampler, const struct pool *pool, const struct conn *conn,
                      enum close_reason reason)
{
    if (!due(sampler))
        return;
    char client[ADDRESS_TEXT_MAX], id[CONN_ID_TEXT_BYTES];
    const struct adapter *adapter = adapter_get((enum adapter_id)conn->adapter);
    struct address address = conn_address(pool, conn);
    struct tcp_info tcp = {0};
    socklen_t bytes = sizeof tcp; /* zeros for a unix socket */
    (void)getsockopt(conn->fd, IPPROTO_TCP, TCP_INFO, &tcp, &bytes);
    conn_id_format(pool_conn_id(pool, conn), id);
    log_always(LOG_INFO, "access",
               "client=%s path=%s status=101 adapter=%s transport=%s conn=%s duration_ms=%llu bytes_in=%llu "
               "bytes_out=%llu reason=%s",
               address_format(&address, client, sizeof client), adapter->path, adapter->name,
               conn_transport(conn) == TRANSPORT_WSS ? "wss" : "ws", id,
               (unsigned long long)(pool->now - conn->opened) * WHEEL_TICK_MS,
               (unsigned long long)tcp.tcpi_bytes_received, (unsigned long long)tcp.tcpi_bytes_acked,
               close_reason_label(reason));
}

void access_log_response(struct access_sampler *sampler, const struct address *client, const char *transport,
                         const char *path, int status)
{
    char text[ADDRESS_TEXT_MAX];
    if (due(sampler))
        log_always(LOG_INFO, "access", "client=%s path=%s status=%d transport=%s",
                   address_format(client, text, sizeof text), path ? path : "other", status, transport);
}
