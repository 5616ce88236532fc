/* A Treiber stack that the consumer takes whole and turns around. */
#include "gateway/base/mailbox.h"

#include <errno.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "gateway/base/assert.h"

/* Turns newest → oldest into oldest → newest, and the other way round. */
static struct mailbox_node *reverse(struct mailbox_node *node)
{
    struct mailbox_node *reversed = NULL;
    while (node) {
        struct mailbox_node *next = node->next;
        node->next = reversed;
        reversed = node;
        node = next;
    }
    return reversed;
}

/* `newest` … `oldest` are linked newest first. */
static void push_reversed(struct mailbox *mailbox, struct mailbox_node *newest, struct mailbox_node *oldest)
{
    struct mailbox_node *head = atomic_load_explicit(&mailbox->head, memory_order_relaxed);
    do
        oldest->next = head;
    while (!atomic_compare_exchange_weak_explicit(&mailbox->head, &head, newest, memory_order_release,
                                                  memory_order_relaxed));
    /* Whoever found the mailbox empty wakes. Nobody else needs to: until the consumer detaches, which it does
     * after clearing the eventfd, that wake stands for all that was pushed meanwhile. */
    if (!head)
        mailbox_wake(mailbox);
}

bool mailbox_init(struct mailbox *mailbox)
{
    atomic_init(&mailbox->head, NULL);
    atomic_init(&mailbox->wakes, 0);
    mailbox->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return mailbox->wake_fd >= 0;
}

void mailbox_fini(struct mailbox *mailbox)
{
    PG_ASSERT(!mailbox_pending(mailbox));
    if (mailbox->wake_fd >= 0)
        close(mailbox->wake_fd);
    mailbox->wake_fd = -1;
}

void mailbox_push(struct mailbox *mailbox, struct mailbox_node *node)
{
    push_reversed(mailbox, node, node);
}

void mailbox_push_chain(struct mailbox *mailbox, struct mailbox_node *oldest, struct mailbox_node *newest)
{
    newest->next = NULL;
    push_reversed(mailbox, reverse(oldest), oldest);
}

void mailbox_wake(struct mailbox *mailbox)
{
    atomic_fetch_add_explicit(&mailbox->wakes, 1, memory_order_relaxed);
    int written;
    do /* the library writes 8 bytes in this machine's order, as the kernel reads them */
        written = eventfd_write(mailbox->wake_fd, 1);
    while (written != 0 && errno == EINTR);
    /* EAGAIN: 2^64 − 2 wakes are waiting already. Anything else is a descriptor that is not ours: a lost
     * wake, so a hang. */
    PG_ASSERT(written == 0 || errno == EAGAIN);
}

bool mailbox_pending(const struct mailbox *mailbox)
{
    return atomic_load_explicit(&mailbox->head, memory_order_relaxed) != NULL;
}

struct mailbox_node *mailbox_detach(struct mailbox *mailbox)
{
    return reverse(atomic_exchange_explicit(&mailbox->head, NULL, memory_order_acquire));
}

uint64_t mailbox_clear_wake(struct mailbox *mailbox)
{
    eventfd_t count = 0;
    int result;
    do
        result = eventfd_read(mailbox->wake_fd, &count);
    while (result != 0 && errno == EINTR);
    return result == 0 ? count : 0;
}
