/* The end of accepting: nobody who has come so far is left without an answer. */
#include "gateway/acceptor_internal.h"

#include "gateway/base/log.h"

#include <sys/epoll.h>
#include <unistd.h>

static void close_listeners(struct acceptor *acceptor)
{
    for (int i = 0; i < TRANSPORT_COUNT; i++) {
        if (acceptor->config.listen_fds[i] < 0)
            continue;
        /* Whoever the kernel has let in already would be reset. */
        while (acceptor_accept(acceptor, (enum transport)i))
            ;
        acceptor_set_listening(acceptor, false);
        (void)epoll_ctl(acceptor->epoll_fd, EPOLL_CTL_DEL, acceptor->config.listen_fds[i], NULL);
        close(acceptor->config.listen_fds[i]);
        acceptor->config.listen_fds[i] = -1;
    }
}

void acceptor_begin_drain(struct acceptor *acceptor)
{
    close_listeners(acceptor);
    acceptor->closed = true;
    uint64_t ticks = acceptor->shared->settings->limits.close_timeout / WHEEL_TICK_MS;
    acceptor->closed_until = acceptor->now + (uint32_t)(ticks < INT32_MAX ? ticks : INT32_MAX) + 1;
    for (uint32_t i = 0; i < acceptor->slots.fresh; i++) {
        struct pending *pending = acceptor_slot(acceptor, i);
        if (pending->state == PENDING_FREE)
            continue;
        wheel_arm(&acceptor->wheel, i, acceptor->closed_until);
        pending_step(acceptor, pending);
    }
}

bool acceptor_drain_turn(struct acceptor *acceptor)
{
    bool late = (int32_t)(acceptor->now - acceptor->closed_until) >= 0;
    if (acceptor->batches_waiting && late)
        acceptor_abandon_transfers(acceptor); /* to a reactor that has not taken them for so long */
    if (acceptor->batches_waiting)
        return false;
    atomic_store_explicit(&acceptor->drained, true, memory_order_release);
    return acceptor->slots.used == 0;
}
