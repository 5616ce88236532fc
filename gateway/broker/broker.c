#include "gateway/broker/broker.h"

#include "gateway/base/assert.h"
#include "gateway/base/log.h"
#include "gateway/broker/registry.h"
#include "proto/utf8.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(ADAPTER_COUNT <= 16, "registry_interest.adapters has 16 bits");

/* A reactor, and its deliveries that wait for broker_flush(). */
struct target {
    struct mailbox *mail;
    struct mailbox_node *oldest, *newest;
};

/* Reactors write the first two all the time, so those must not share a cache line with what the publisher
 * reads for every command. */
struct broker { // NOLINT(clang-analyzer-optin.performance.Padding): wanted
    _Alignas(64) _Atomic uint64_t inflight;
    struct mailbox mailbox;
    _Alignas(64) struct registry registry;
    struct target *targets; /* per reactor */
    uint16_t *held;         /* reactors whose chain is not empty, so that a flush does not look at all */
    uint16_t held_count;
    uint16_t reactors;
    uint64_t message_bytes;
    uint64_t inflight_limit;
    struct log_limit no_memory;
    struct broker_served served;
};

struct broker_interest *broker_interest_create(uint16_t reactor, const char *topic, size_t topic_bytes,
                                               uint32_t hash, uint32_t subscribers, uint32_t adapters)
{
    PG_ASSERT(topic_bytes >= 1 && topic_bytes <= TOPIC_BYTES_MAX);
    struct broker_interest *interest = malloc(sizeof *interest + topic_bytes);
    if (!interest)
        return NULL;
    *interest = (struct broker_interest){
        .mail.kind = BROKER_INTEREST,
        .topic_hash = hash,
        .subscribers = subscribers,
        .adapters = adapters,
        .reactor = reactor,
        .topic_bytes = (uint8_t)topic_bytes,
    };
    memcpy(interest->topic, topic, topic_bytes);
    return interest;
}

struct broker_request *broker_request_create(struct mailbox *reply_to, uint64_t token, const char *topic,
                                             size_t topic_bytes, const void *payload, size_t payload_bytes)
{
    PG_ASSERT(topic_bytes >= 1 && topic_bytes <= TOPIC_BYTES_MAX);
    size_t bytes;
    if (__builtin_add_overflow(sizeof(struct broker_request) + topic_bytes, payload_bytes, &bytes))
        return NULL;
    struct broker_request *request = malloc(bytes);
    if (!request)
        return NULL;
    *request = (struct broker_request){
        .mail.kind = BROKER_REQUEST,
        .reply_to = reply_to,
        .token = token,
        .queued = -1,
        .topic_bytes = (uint8_t)topic_bytes,
        .payload_bytes = payload_bytes,
    };
    memcpy(request->data, topic, topic_bytes);
    if (payload_bytes > 0)
        memcpy(request->data + topic_bytes, payload, payload_bytes);
    return request;
}

struct broker *broker_create(const struct broker_config *config)
{
    struct broker *broker = aligned_alloc(_Alignof(struct broker), sizeof *broker);
    if (!broker)
        return NULL;
    *broker = (struct broker){
        .reactors = config->reactors,
        .message_bytes = config->message_bytes,
        .inflight_limit = config->inflight_bytes,
    };
    size_t reactors = config->reactors > 0 ? config->reactors : 1;
    broker->targets = calloc(reactors, sizeof *broker->targets);
    broker->held = calloc(reactors, sizeof *broker->held);
    if (!broker->targets || !broker->held || !registry_init(&broker->registry))
        goto out;
    for (uint16_t i = 0; i < config->reactors; i++)
        broker->targets[i].mail = config->reactor_mail[i];
    if (mailbox_init(&broker->mailbox))
        return broker;
    registry_fini(&broker->registry);
out:
    free(broker->held);
    free(broker->targets);
    free(broker);
    return NULL;
}

void broker_destroy(struct broker *broker)
{
    if (!broker)
        return;
    PG_ASSERT(broker->held_count == 0);
    PG_ASSERT(broker_inflight_bytes(broker) == 0); /* messages point to the gauge */
    for (struct mailbox_node *node = mailbox_detach(&broker->mailbox), *next; node; node = next) {
        next = node->next;
        free(node); /* interest or request alike; nobody is left to answer to */
    }
    mailbox_fini(&broker->mailbox);
    registry_fini(&broker->registry);
    free(broker->held);
    free(broker->targets);
    free(broker);
}

struct mailbox *broker_mailbox(struct broker *broker)
{
    return &broker->mailbox;
}

static void take_interest(struct broker *broker, struct broker_interest *interest)
{
    PG_ASSERT(interest->reactor < broker->reactors);
    struct registry_interest update = {
        .subscribers = interest->subscribers,
        .reactor = interest->reactor,
        .adapters = (uint16_t)interest->adapters,
    };
    if (!registry_update(&broker->registry, interest->topic_hash, interest->topic, interest->topic_bytes,
                         update))
        log_limited(&broker->no_memory, LOG_ERROR, "topic_lost", "reactor=%u cause=%s",
                    (unsigned)interest->reactor, "no_memory");
    free(interest);
}

void broker_drain_mail(struct broker *broker)
{
    if (!mailbox_pending(&broker->mailbox))
        return;
    struct mailbox_node *answered = NULL, **last = &answered;
    for (struct mailbox_node *node = mailbox_detach(&broker->mailbox), *next; node; node = next) {
        next = node->next;
        if (((struct broker_mail *)node)->kind == BROKER_INTEREST) {
            take_interest(broker, (struct broker_interest *)node);
            continue;
        }
        struct broker_request *request = (struct broker_request *)node;
        request->queued = broker_publish(broker, request->data, request->topic_bytes,
                                         request->data + request->topic_bytes, request->payload_bytes);
        if (request->queued >= 0) {
            broker->served.publishes++;
            broker->served.bytes += request->payload_bytes;
            broker->served.reached += (uint64_t)request->queued;
        }
        node->next = NULL;
        *last = node;
        last = &node->next;
    }
    if (!answered)
        return;
    broker_flush(broker); /* whoever reads the answer finds the message on its way */
    for (struct mailbox_node *next; answered; answered = next) {
        next = answered->next;
        mailbox_push(((struct broker_request *)answered)->reply_to, answered);
    }
}

static void hold(struct broker *broker, uint16_t reactor, struct mailbox_node *node)
{
    struct target *target = &broker->targets[reactor];
    node->next = NULL;
    if (target->newest)
        target->newest->next = node;
    else {
        target->oldest = node;
        broker->held[broker->held_count++] = reactor;
    }
    target->newest = node;
}

struct broker_served broker_take_served(struct broker *broker)
{
    struct broker_served served = broker->served;
    broker->served = (struct broker_served){0};
    return served;
}

int64_t broker_publish(struct broker *broker, const char *topic, size_t topic_bytes, const void *payload,
                       size_t payload_bytes)
{
    PG_ASSERT(topic_bytes >= 1 && topic_bytes <= TOPIC_BYTES_MAX);
    if (broker->message_bytes != 0 && payload_bytes > broker->message_bytes)
        return -1;
    uint32_t hash = topic_hash(topic, topic_bytes);
    const struct registry_entry *entry = registry_find(&broker->registry, hash, topic, topic_bytes);
    if (!entry)
        return 0;
    const struct registry_interest *interests = registry_interests(entry);
    uint32_t adapters = 0;
    for (uint16_t i = 0; i < entry->count; i++)
        adapters |= interests[i].adapters;
    struct publication publication = {
        .payload = payload,
        .payload_bytes = payload_bytes,
        .text = utf8_valid(payload, payload_bytes),
        .topic = topic,
        .topic_bytes = topic_bytes,
    };
    struct message *message = message_create(&publication, hash, adapters, entry->count, &broker->inflight);
    if (!message)
        return -1;
    uint64_t queued = 0;
    for (uint16_t i = 0; i < entry->count; i++) {
        queued += interests[i].subscribers;
        hold(broker, interests[i].reactor, &message->deliveries[i].node);
    }
    return (int64_t)queued;
}

void broker_flush(struct broker *broker)
{
    for (uint16_t i = 0; i < broker->held_count; i++) {
        struct target *target = &broker->targets[broker->held[i]];
        mailbox_push_chain(target->mail, target->oldest, target->newest);
        target->oldest = target->newest = NULL;
    }
    broker->held_count = 0;
}

bool broker_congested(const struct broker *broker)
{
    return broker->inflight_limit != 0 && broker_inflight_bytes(broker) > broker->inflight_limit;
}

uint64_t broker_inflight_bytes(const struct broker *broker)
{
    return atomic_load_explicit(&broker->inflight, memory_order_relaxed);
}

uint64_t broker_subscribers(struct broker *broker, const char *topic, size_t topic_bytes)
{
    if (topic_bytes < 1 || topic_bytes > TOPIC_BYTES_MAX)
        return 0;
    const struct registry_entry *entry =
        registry_find(&broker->registry, topic_hash(topic, topic_bytes), topic, topic_bytes);
    return entry ? registry_subscribers(entry) : 0;
}

uint64_t broker_topic_count(const struct broker *broker)
{
    return broker->registry.used;
}

void broker_visit_topics(struct broker *broker, broker_visit_fn *visit, void *context)
{
    for (uint32_t i = 0; i <= broker->registry.mask; i++) {
        const struct registry_entry *entry = broker->registry.slots[i].entry;
        if (entry)
            visit(context, entry->topic, entry->topic_bytes, registry_subscribers(entry));
    }
}
