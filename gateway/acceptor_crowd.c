/* Who makes room when all slots of an acceptor are taken: strangers that connect and say nothing must not
 * keep everybody else out until their deadline.
 *
 * A client's first words (ClientHello, or the request of a ws client) come with its connection. So whoever
 * has not said them a moment later, or was answered and does not go, is closed first, the oldest before
 * others: the more of them come, the sooner. In the middle of a handshake a client is given time for its
 * round trips.
 */
#include "gateway/acceptor_internal.h"

#include <sys/socket.h>

enum {
    OUTSIDE_PATIENCE = 100 / WHEEL_TICK_MS,
    MIDWAY_PATIENCE = 1000 / WHEEL_TICK_MS,
    CLOSES = 64, /* at a time: as many as a turn accepts */
    LOOKS = 2 * CLOSES,
};

static void place(struct acceptor *acceptor, struct pending *pending, struct list *list)
{
    pending->placed_at = acceptor->now;
    list_append(list, &pending->place);
}

void crowd_came(struct acceptor *acceptor, struct pending *pending)
{
    place(acceptor, pending, &acceptor->outside);
}

void crowd_went_on(struct acceptor *acceptor, struct pending *pending)
{
    list_remove(&pending->place);
    place(acceptor, pending, &acceptor->midway);
}

void crowd_is_told(struct acceptor *acceptor, struct pending *pending)
{
    list_remove(&pending->place);
    place(acceptor, pending, &acceptor->outside);
}

/* Then it is we who have not listened yet. */
static bool has_spoken(const struct pending *pending)
{
    uint8_t byte;
    return recv(pending->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

static bool close_first(struct acceptor *acceptor, struct list *list, uint32_t patience)
{
    unsigned closed = 0;
    for (unsigned looks = 0; looks < LOOKS && closed < CLOSES && !list_empty(list); looks++) {
        struct pending *pending = LIST_ITEM(list->next, struct pending, place);
        if (acceptor->now - pending->placed_at < patience)
            break;
        if (has_spoken(pending)) {
            list_remove(&pending->place);
            place(acceptor, pending, list);
            continue;
        }
        pending_close(acceptor, pending,
                      pending_is_answered(pending) ? HANDSHAKE_FAILURE_COUNT : HANDSHAKE_CROWDED_OUT);
        closed++;
    }
    return closed > 0;
}

bool crowd_make_room(struct acceptor *acceptor)
{
    if (acceptor->freed.count > 0)
        return true;
    if (atomic_load_explicit(&acceptor->drain, memory_order_relaxed))
        return false; /* whoever has come is told, and nobody takes his place */
    return close_first(acceptor, &acceptor->outside, OUTSIDE_PATIENCE) ||
           close_first(acceptor, &acceptor->midway, MIDWAY_PATIENCE);
}
