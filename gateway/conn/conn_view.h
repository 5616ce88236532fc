/* What is known of a connection, for operators: looked up when they ask, so that it costs nothing before.
 *
 * Tokens and keys are not in it; nor is what the backend alone should know of a client.
 *
 * Thread: the connection's reactor. Owner: texts are the connection's.
 */
#pragma once

#include "gateway/base/uuid.h"
#include "gateway/conn/pool.h"
#include "proto/resp.h"

struct conn_view {
    char id[CONN_ID_TEXT_BYTES];
    char address[ADDRESS_TEXT_MAX]; /* the client's, also behind a proxy */
    const char *adapter, *transport, *state;
    const char *suite;            /* NULL: no TLS */
    const char *close_reason;     /* NULL: it is open */
    struct text user, info;       /* info: JSON or "" */
    char client[UUID_TEXT_BYTES]; /* "": its protocol gives no ids, or has not yet */
    uint64_t age_s, idle_s;       /* since it opened, since anything was heard of it */
    uint64_t queued_bytes;        /* in its outbox */
    uint64_t subscriptions;
};

/* `conn` is in use. */
struct conn_view conn_view(const struct pool *pool, struct conn *conn);
/* One map: what stands in a list. */
void conn_view_write(const struct conn_view *view, struct resp_out *out);
/* One map with all that can be found out: the kernel's view of the socket, its topics. */
void conn_view_write_all(const struct pool *pool, struct conn *conn, struct resp_out *out);
