/* The access log: one line for each request that was refused or answered, and one for each WebSocket at its
 * end; of every `log.access` such events one, per thread. Off by default, and nothing is kept for it but,
 * while it is on, the address of each connection (20 bytes).
 *
 * Of what a stranger writes, nothing stands in it: the path is the endpoint's, or "other"; no query, no
 * header.
 *
 * Thread: the acceptor's or reactor's that the sampler belongs to. Owner: the caller.
 */
#pragma once

#include "gateway/adapter/adapter.h"
#include "gateway/base/address.h"
#include "gateway/conn/close_reason.h"

struct access_sampler {
    uint64_t every, seen; /* every 0: off */
};

struct pool;
struct conn;

/* A WebSocket ends; its descriptor is still open. */
void access_log_close(struct access_sampler *sampler, const struct pool *pool, const struct conn *conn,
                      enum close_reason reason);
/* A request that is no WebSocket got `status`. `path`: of an endpoint, or NULL. */
void access_log_response(struct access_sampler *sampler, const struct address *client, const char *transport,
                         const char *path, int status);
