/* Which reactor a connection goes to, and the batches that take it there. */
#include "gateway/acceptor_internal.h"

#include "gateway/base/assert.h"
#include "gateway/base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { NEIGHBOURS_FROM = 1024 }; /* connections of the least loaded reactor */

static uint64_t total_load(const struct acceptor *acceptor)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < acceptor->shared->port_count; i++)
        total += atomic_load_explicit(&acceptor->shared->ports[i].load, memory_order_relaxed);
    return total;
}

bool acceptor_room(const struct acceptor *acceptor)
{
    const struct acceptor_shared *shared = acceptor->shared;
    if (shared->connection_limit && total_load(acceptor) >= shared->connection_limit)
        return false;
    for (uint32_t i = 0; i < shared->port_count; i++)
        if (atomic_load_explicit(&shared->ports[i].load, memory_order_relaxed) < shared->ports[i].capacity)
            return true;
    return false;
}

/* Several acceptors may look at the same time; whoever is one too many takes its claim back. */
static bool claim(struct reactor_port *port)
{
    if (atomic_fetch_add_explicit(&port->load, 1, memory_order_relaxed) < port->capacity)
        return true;
    atomic_fetch_sub_explicit(&port->load, 1, memory_order_relaxed);
    return false;
}

static bool claim_round_robin(struct acceptor_shared *shared, uint32_t *chosen)
{
    uint32_t start = atomic_fetch_add_explicit(&shared->round_robin, 1, memory_order_relaxed);
    for (uint32_t i = 0; i < shared->port_count; i++) {
        *chosen = (start + i) % shared->port_count;
        if (claim(&shared->ports[*chosen]))
            return true;
    }
    return false;
}

static bool claim_least(struct acceptor_shared *shared, uint32_t *chosen)
{
    for (int attempt = 0; attempt < 4; attempt++) {
        uint32_t least = UINT32_MAX;
        for (uint32_t i = 0; i < shared->port_count; i++) {
            uint32_t load = atomic_load_explicit(&shared->ports[i].load, memory_order_relaxed);
            if (load < shared->ports[i].capacity && load < least) {
                least = load;
                *chosen = i;
            }
        }
        if (least == UINT32_MAX)
            return false;
        if (claim(&shared->ports[*chosen]))
            return true;
    }
    return false;
}

/* Connections that come one after the other have sockets that are neighbours in the kernel's memory, and a
 * reactor serves its own in the order in which they came: with neighbours in one reactor, a fan-out finds
 * more of what it needs in caches, and they travel there together. Only where so few more or less are no
 * imbalance. */
static bool claim_neighbours(struct acceptor *acceptor, uint32_t *chosen)
{
    if (acceptor->neighbours_left == 0 || !claim(&acceptor->shared->ports[acceptor->neighbours_port]))
        return false;
    acceptor->neighbours_left--;
    *chosen = acceptor->neighbours_port;
    return true;
}

static bool claim_least_for_neighbours(struct acceptor *acceptor, uint32_t *chosen)
{
    if (!claim_least(acceptor->shared, chosen))
        return false;
    uint32_t load = atomic_load_explicit(&acceptor->shared->ports[*chosen].load, memory_order_relaxed);
    acceptor->neighbours_left = load >= NEIGHBOURS_FROM ? TRANSFER_BATCH_MAX - 1 : 0;
    acceptor->neighbours_port = *chosen;
    return true;
}

bool acceptor_choose(struct acceptor *acceptor, uint32_t *port)
{
    struct acceptor_shared *shared = acceptor->shared;
    bool claimed = shared->settings->threads.balance == REACTOR_ROUND_ROBIN
                       ? claim_round_robin(shared, port)
                       : claim_neighbours(acceptor, port) || claim_least_for_neighbours(acceptor, port);
    if (!claimed)
        return false;
    if (shared->connection_limit && total_load(acceptor) > shared->connection_limit) {
        acceptor_unchoose(acceptor, *port);
        return false;
    }
    return true;
}

void acceptor_unchoose(struct acceptor *acceptor, uint32_t port)
{
    atomic_fetch_sub_explicit(&acceptor->shared->ports[port].load, 1, memory_order_relaxed);
}

/* Connections that no reactor will have: their clients find a closed socket. */
static void give_up(struct acceptor *acceptor, uint32_t port, const char *error)
{
    struct transfer_batch *batch = acceptor->batches[port];
    uint32_t count = batch->count;
    static struct log_limit limit;
    log_limited(&limit, LOG_ERROR, "transfer_failed", "acceptor=%u reactor=%u connections=%u error=%s",
                acceptor->config.number, port, count, error);
    counter_add(&acceptor->stats.failures[HANDSHAKE_TRANSFER], count);
    for (uint32_t i = 0; i < count; i++) {
        ip_limit_release(acceptor->shared->ip_limit, batch->records[i].ip_handle);
        acceptor_unchoose(acceptor, port);
    }
    transfer_abandon(batch);
    acceptor->batches_waiting--;
}

static void send_batch(struct acceptor *acceptor, uint32_t port)
{
    struct transfer_batch *batch = acceptor->batches[port];
    uint32_t count = batch->count;
    enum io_result result = transfer_send(batch, acceptor->shared->ports[port].transfer_fd);
    if (result == IO_AGAIN)
        return;
    if (result != IO_OK) {
        give_up(acceptor, port, strerror(errno));
        return;
    }
    acceptor->batches_waiting--;
    counter_add(&acceptor->stats.transferred, count);
}

bool acceptor_transfer(struct acceptor *acceptor, struct pending *pending, uint32_t port,
                       const struct transfer_item *item)
{
    if (!acceptor->batches[port]) {
        acceptor->batches[port] = malloc(sizeof *acceptor->batches[port]);
        if (!acceptor->batches[port])
            return false;
        transfer_batch_init(acceptor->batches[port]);
    }
    struct transfer_batch *batch = acceptor->batches[port];
    if (!transfer_add(batch, item)) { /* full: make room */
        send_batch(acceptor, port);
        if (batch->count > 0 || !transfer_add(batch, item))
            return false;
    }
    if (batch->count == 1)
        acceptor->batches_waiting++;
    /* The file lives on in the reactor's table: closing our number would not take it out of our epoll set. */
    PG_ASSERT(epoll_ctl(acceptor->epoll_fd, EPOLL_CTL_DEL, item->fd, NULL) == 0);
    pending_release(acceptor, pending);
    return true;
}

void acceptor_flush_transfers(struct acceptor *acceptor)
{
    for (uint32_t i = 0; i < acceptor->shared->port_count && acceptor->batches_waiting; i++)
        if (acceptor->batches[i] && acceptor->batches[i]->count)
            send_batch(acceptor, i);
}

void acceptor_abandon_transfers(struct acceptor *acceptor)
{
    for (uint32_t i = 0; i < acceptor->shared->port_count && acceptor->batches_waiting; i++)
        if (acceptor->batches[i] && acceptor->batches[i]->count)
            give_up(acceptor, i, "the reactor has not taken them for limits.close_timeout");
}
