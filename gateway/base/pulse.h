/* Is a thread alive? Its loop answers when it is asked; an idle one is not woken otherwise, and when nobody
 * asks, the answer costs one comparison a turn.
 *
 * Whoever asks counts up and wakes the loop; a turn of the loop shows that it has seen the count. A thread
 * that hangs, spins in one turn, or waits for ever does not come round to that.
 *
 * Thread: pulse_beat() and pulse_end() by the thread itself; the others by one thread that asks (main).
 * Owner: embedded in the thread's struct; the mailbox must outlive it.
 */
#pragma once

#include "gateway/base/mailbox.h"

struct pulse {
    struct mailbox *mailbox; /* what wakes the loop */
    _Atomic uint32_t asked, answered;
    _Atomic bool ended;
};

static inline void pulse_init(struct pulse *pulse, struct mailbox *mailbox)
{
    pulse->mailbox = mailbox;
    atomic_init(&pulse->asked, 0);
    atomic_init(&pulse->answered, 0);
    atomic_init(&pulse->ended, false);
}

/* Once a turn of the loop. */
static inline void pulse_beat(struct pulse *pulse)
{
    uint32_t asked = atomic_load_explicit(&pulse->asked, memory_order_relaxed);
    if (asked != atomic_load_explicit(&pulse->answered, memory_order_relaxed))
        atomic_store_explicit(&pulse->answered, asked, memory_order_relaxed);
}

/* The loop has ended as it should: from now on the thread counts as alive. */
static inline void pulse_end(struct pulse *pulse)
{
    atomic_store_explicit(&pulse->ended, true, memory_order_relaxed);
}

static inline bool pulse_answered(const struct pulse *pulse)
{
    return atomic_load_explicit(&pulse->ended, memory_order_relaxed) ||
           atomic_load_explicit(&pulse->answered, memory_order_relaxed) ==
               atomic_load_explicit(&pulse->asked, memory_order_relaxed);
}

/* One question at a time: a thread that still owes an answer is not asked again. */
static inline void pulse_ask(struct pulse *pulse)
{
    if (!pulse_answered(pulse) || atomic_load_explicit(&pulse->ended, memory_order_relaxed))
        return;
    atomic_store_explicit(&pulse->asked, atomic_load_explicit(&pulse->asked, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    mailbox_wake(pulse->mailbox);
}
