/* A queue into a thread: many producers, one consumer, woken by an eventfd only when the queue turns
 * non-empty.
 *
 * Producers push lock-free (compare-and-swap); the consumer detaches everything at once and works outside.
 * Thread: push from any; drain and the eventfd's reading by the consumer only.
 * Owner: nodes are embedded in the producer's objects and belong to the consumer once pushed.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct mailbox_node {
    struct mailbox_node *next;
};

struct mailbox {
    _Atomic(struct mailbox_node *) head; /* newest first */
    int wake_fd;            /* eventfd, non-blocking; same open file in producers' and consumer's fd tables */
    _Atomic uint64_t wakes; /* eventfd writes, for tests and metrics */
};

bool mailbox_init(struct mailbox *mailbox)
    __attribute__((warn_unused_result));    /* false: no eventfd (errno) */
void mailbox_fini(struct mailbox *mailbox); /* must be empty */
/* Pushes one node, or a chain of nodes that is linked oldest → newest by `next`. Order per producer is kept.
 */
void mailbox_push(struct mailbox *mailbox, struct mailbox_node *node);
void mailbox_push_chain(struct mailbox *mailbox, struct mailbox_node *oldest, struct mailbox_node *newest);
/* Wakes the consumer without a node (stop requests). */
void mailbox_wake(struct mailbox *mailbox);
/* Cheap look: may the consumer find something? */
bool mailbox_pending(const struct mailbox *mailbox);
/* Detaches everything, oldest first; NULL when empty. */
struct mailbox_node *mailbox_detach(struct mailbox *mailbox);
/* Reads the eventfd so that a level-triggered poll falls silent; call before mailbox_detach(). Returns its
 * count (0 when none). */
uint64_t mailbox_clear_wake(struct mailbox *mailbox);
