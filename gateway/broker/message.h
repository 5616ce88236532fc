/* One published message: immutable, reference-counted, encoded once per adapter in use.
 *
 * It is on its way until the fan-outs of all its reactors have passed it: that is what publishers wait for.
 * Whoever keeps it longer (outboxes of clients that do not read) is counted apart, and holds nobody up.
 *
 * Thread: made by the publisher's thread; read by any that holds a reference; freed by whoever drops the
 * last. Owner: references. One allocation holds the struct, its mailbox nodes, topic and frames.
 */
#pragma once

#include "gateway/adapter/adapter.h"
#include "gateway/broker/mail.h"

#include <stdatomic.h>

struct message;

/* What lands in a reactor's mailbox: one per reactor that has subscribers; embedded in the message, which its
 * reference keeps alive. */
struct delivery {
    struct mail mail; /* first */
    struct message *message;
};

struct message_frame {
    uint32_t offset; /* from data */
    uint32_t bytes;  /* 0: not encoded for this adapter */
};

/* Where messages' memory is: each counts in one of them, once, however many hold it. */
struct message_gauges {
    _Atomic uint64_t inflight; /* on the way through fan-outs: limits.inflight_bytes */
    _Atomic int64_t outboxes;  /* only outboxes keep them. For an instant below zero: who takes a message off
                                  need not wait for who puts it on */
};

struct message {
    _Atomic uint64_t holders; /* lower half: references; upper half: those of fan-outs among them */
    uint32_t topic_hash;
    uint32_t total_bytes; /* of this allocation: what the gauges count */
    uint8_t topic_bytes;
    uint8_t kind; /* enum publication_kind */
    bool text;
    uint8_t slow_consumer; /* enum slow_policy, of its topic */
    uint16_t delivery_count;
    uint64_t published_ns;         /* clock_monotonic_ns() when the publisher parsed it */
    struct message_gauges *gauges; /* the broker's; live longer than it */
    struct message_frame frames[ADAPTER_COUNT];
    uint8_t *data; /* topic, then frames; inside this allocation */
    struct delivery deliveries[];
};

/* adapters: bit per adapter_id to encode for; deliveries: how many reactors will get one reference each (the
 * initial count is max(1, deliveries)). NULL without memory. */
struct message *message_create(const struct publication *publication, uint32_t topic_hash, uint32_t adapters,
                               uint16_t deliveries, struct message_gauges *gauges);
/* Gives back a delivery's reference: its reactor has handed the message on, or dropped it. */
void message_passed(struct message *message);
/* To keep it beyond that. Only by who holds a reference. */
static inline void message_ref(struct message *message)
{
    atomic_fetch_add_explicit(&message->holders, 1, memory_order_relaxed);
}
/* Gives back what message_ref() took. */
void message_unref(struct message *message);
static inline const char *message_topic(const struct message *message)
{
    return (const char *)message->data;
}
static inline const uint8_t *message_frame(const struct message *message, enum adapter_id adapter)
{
    return message->data + message->frames[adapter].offset;
}
/* Hash of a topic name with the process' random key (SipHash or better; strangers choose names). Same on
 * every thread. */
uint32_t topic_hash(const char *topic, size_t bytes);
/* Once, before any thread. False when the kernel gives no randomness. */
bool topic_hash_setup(void) __attribute__((warn_unused_result));
