/* What an upgrade is answered: the first bytes that a connection sends. */
#include "gateway/base/assert.h"
#include "gateway/conn/pool.h"
#include "proto/http_request.h"

#include <string.h>

void conn_greet(struct pool *pool, struct conn *conn, const struct transfer_record *record)
{
    char response[512];
    size_t bytes = http_upgrade_response(response, sizeof response, record->accept, record->subprotocol);
    PG_ASSERT(bytes > 0);
    conn_send_own(pool, conn, response, bytes);
}

void conn_refuse_begin(struct pool *pool, struct conn *conn)
{
    pool_leave(pool, conn);
    conn->state = CONN_CLOSING;
    conn->reason = CLOSE_INTERNAL;
    conn->deaf = true;
    pool_arm(pool, conn);
}

void conn_refuse(struct pool *pool, struct conn *conn)
{
    static const char body[] = "503 Service Unavailable: the gateway has no room for another topic\n";
    char response[512];
    size_t bytes =
        http_response_head(response, sizeof response - sizeof body, 503, "text/plain; charset=utf-8",
                           sizeof body - 1, false, "Retry-After: 5\r\n");
    PG_ASSERT(bytes > 0);
    memcpy(response + bytes, body, sizeof body - 1);
    conn_send_own(pool, conn, response, bytes + sizeof body - 1);
    if (conn->state != CONN_FREE)
        conn_close_continue(pool, conn);
}
