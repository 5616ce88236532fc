#include "gateway/broker/message.h"

#include "gateway/base/assert.h"
#include "gateway/base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* The one piece of process-wide state here: every thread hashes topics, and all must agree. Written once by
 * topic_hash_setup() before any thread starts, read-only from then on. */
static struct {
    uint64_t k0, k1;
    bool ready;
} hash_key;

bool topic_hash_setup(void)
{
    if (hash_key.ready)
        return true;
    uint64_t key[2];
    size_t have = 0;
    while (have < sizeof key) {
        ssize_t got = getrandom((uint8_t *)key + have, sizeof key - have, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        have += (size_t)got;
    }
    hash_key.k0 = key[0];
    hash_key.k1 = key[1];
    hash_key.ready = true;
    return true;
}

static inline uint64_t rotate(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

struct sip {
    uint64_t v0, v1, v2, v3;
};

static inline void sip_round(struct sip *s)
{
    s->v0 += s->v1;
    s->v1 = rotate(s->v1, 13) ^ s->v0;
    s->v0 = rotate(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = rotate(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = rotate(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = rotate(s->v1, 17) ^ s->v2;
    s->v2 = rotate(s->v2, 32);
}

/* SipHash-1-3 (Aumasson and Bernstein, 2012), as hash tables use it: one round a word, three at the end.
 * Words in the machine's byte order: the value never leaves the process. */
uint32_t topic_hash(const char *topic, size_t bytes)
{
    struct sip s = {
        hash_key.k0 ^ 0x736f6d6570736575u,
        hash_key.k1 ^ 0x646f72616e646f6du,
        hash_key.k0 ^ 0x6c7967656e657261u,
        hash_key.k1 ^ 0x7465646279746573u,
    };
    size_t i = 0;
    for (; i + 8 <= bytes; i += 8) {
        uint64_t word;
        memcpy(&word, topic + i, 8);
        s.v3 ^= word;
        sip_round(&s);
        s.v0 ^= word;
    }
    uint64_t last = (uint64_t)bytes << 56;
    for (unsigned shift = 0; i < bytes; i++, shift += 8)
        last |= (uint64_t)(uint8_t)topic[i] << shift;
    s.v3 ^= last;
    sip_round(&s);
    s.v0 ^= last;
    s.v2 ^= 0xff;
    sip_round(&s);
    sip_round(&s);
    sip_round(&s);
    uint64_t hash = s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
    return (uint32_t)(hash ^ hash >> 32);
}

#define A_FANOUT ((uint64_t)1 << 32) /* in message.holders */

struct message *message_create(const struct publication *publication, uint32_t hash, uint32_t adapters,
                               uint16_t deliveries, struct message_gauges *gauges)
{
    PG_ASSERT(publication->topic_bytes >= 1 && publication->topic_bytes <= TOPIC_BYTES_MAX);
    uint64_t total = sizeof(struct message) + deliveries * sizeof(struct delivery) + publication->topic_bytes;
    size_t bounds[ADAPTER_COUNT] = {0};
    for (unsigned id = 0; id < ADAPTER_COUNT; id++) {
        if (!(adapters & 1u << id))
            continue;
        bounds[id] = adapter_get(id)->encoded_bound(publication);
        if (bounds[id] > UINT32_MAX || (total += bounds[id]) > UINT32_MAX)
            return NULL;
    }
    struct message *message = malloc(total);
    if (!message)
        return NULL;
    *message = (struct message){
        .topic_hash = hash,
        .total_bytes = (uint32_t)total,
        .topic_bytes = (uint8_t)publication->topic_bytes,
        .kind = (uint8_t)publication->kind,
        .text = publication->text,
        .slow_consumer = publication->slow_consumer,
        .delivery_count = deliveries,
        .published_ns = clock_monotonic_ns(),
        .gauges = gauges,
        .data = (uint8_t *)&message->deliveries[deliveries],
    };
    atomic_init(&message->holders, (deliveries > 0 ? deliveries : 1) * (A_FANOUT + 1));
    for (uint16_t i = 0; i < deliveries; i++)
        message->deliveries[i] = (struct delivery){.mail.kind = MAIL_DELIVERY, .message = message};
    memcpy(message->data, publication->topic, publication->topic_bytes);
    uint32_t offset = (uint32_t)publication->topic_bytes;
    for (unsigned id = 0; id < ADAPTER_COUNT; id++) {
        if (bounds[id] == 0)
            continue;
        size_t bytes = adapter_get(id)->encode(publication, message->data + offset);
        PG_ASSERT(bytes <= bounds[id]);
        message->frames[id] = (struct message_frame){.offset = offset, .bytes = (uint32_t)bytes};
        offset += (uint32_t)bytes;
    }
    atomic_fetch_add_explicit(&gauges->inflight, total, memory_order_relaxed);
    return message;
}

/* Release: this thread's reads come before the free. Acquire: whoever frees has seen all of them. */
static uint64_t give_back(struct message *message, uint64_t holders)
{
    uint64_t before = atomic_fetch_sub_explicit(&message->holders, holders, memory_order_acq_rel);
    PG_ASSERT((uint32_t)before > 0 && before >= holders);
    return before;
}

void message_passed(struct message *message)
{
    struct message_gauges *gauges = message->gauges; /* others may free it as soon as it is given back */
    uint32_t bytes = message->total_bytes;
    uint64_t before = give_back(message, A_FANOUT + 1);
    if (before / A_FANOUT > 1)
        return;
    atomic_fetch_sub_explicit(&gauges->inflight, bytes, memory_order_relaxed);
    if ((uint32_t)before > 1)
        atomic_fetch_add_explicit(&gauges->outboxes, bytes, memory_order_relaxed);
    else
        free(message);
}

void message_unref(struct message *message)
{
    uint64_t before = give_back(message, 1);
    if ((uint32_t)before > 1)
        return;
    PG_ASSERT(before / A_FANOUT == 0); /* each of them has a reference of its own */
    atomic_fetch_sub_explicit(&message->gauges->outboxes, message->total_bytes, memory_order_relaxed);
    free(message);
}
