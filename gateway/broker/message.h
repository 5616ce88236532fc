/* One published message: immutable, reference-counted, encoded once per adapter in use.
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

struct message {
    _Atomic uint32_t refs;
    uint32_t topic_hash;
    uint32_t total_bytes; /* of this allocation: what counts against limits.inflight_bytes */
    uint8_t topic_bytes;
    uint8_t kind; /* enum publication_kind */
    bool text;
    uint16_t delivery_count;
    uint64_t published_ns;      /* clock_monotonic_ns() when the publisher parsed it */
    _Atomic uint64_t *inflight; /* the broker's gauge, decreased when the message is freed */
    struct message_frame frames[ADAPTER_COUNT];
    uint8_t *data; /* topic, then frames; inside this allocation */
    struct delivery deliveries[];
};

/* adapters: bit per adapter_id to encode for; deliveries: how many reactors will get one reference each (the
 * initial count is max(1, deliveries)). NULL without memory. */
struct message *message_create(const struct publication *publication, uint32_t topic_hash, uint32_t adapters,
                               uint16_t deliveries, _Atomic uint64_t *inflight);
static inline void message_ref(struct message *message)
{
    atomic_fetch_add_explicit(&message->refs, 1, memory_order_relaxed);
}
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
