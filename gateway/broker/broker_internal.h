/* Inside of the broker: its struct, and what broker.c (publishing) and broker_serve.c (requests) share. Not
 * for others.
 *
 * Thread: the publisher's. Owner: as broker.h says.
 */
#pragma once

#include "gateway/base/log.h"
#include "gateway/base/pulse.h"
#include "gateway/broker/broker.h"
#include "gateway/broker/registry.h"
#include "gateway/broker/traffic.h"
#include "gateway/settings/settings.h"

_Static_assert(ADAPTER_COUNT <= 16, "registry_interest.adapters has 16 bits");

/* A reactor, and its deliveries that wait for broker_flush(). */
struct target {
    struct mailbox *mail;
    struct mailbox_node *oldest, *newest;
    bool ended; /* its thread has: nothing is answered any more */
};

/* Questions of clients that wait for their turn (broker_reads.c). */
struct reads {
    struct mailbox_node *oldest, *newest;
    uint32_t count;
};

/* Reactors write the first ones all the time, so those must not share a cache line with what the publisher
 * reads for every command. */
struct broker { // NOLINT(clang-analyzer-optin.performance.Padding): wanted
    _Alignas(64) struct message_gauges gauges;
    _Atomic uint64_t answering; /* bytes that answers to questions on their way to reactors will be, */
    _Atomic uint64_t joining; /* and bytes of memory that answers to who joins take for what it has missed */
    _Atomic bool congested;   /* what broker_congested() has said last */
    struct mailbox mailbox;
    _Alignas(64) struct registry registry;
    struct target *targets; /* per reactor */
    struct reads reads;
    uint16_t *held; /* reactors whose chain is not empty, so that a flush does not look at all */
    uint16_t held_count;
    uint16_t reactors;
    uint64_t message_bytes;
    uint64_t inflight_limit;
    const struct settings *settings;
    struct engine *engine;
    struct traffic *traffic;
    broker_listener_fn *listener;
    void *listener_context;
    broker_inspected_fn *inspected;
    void *inspected_context;
    struct pulse *pulse; /* of this thread; NULL: nobody watches it */
    struct log_limit no_memory;
    struct broker_served served;
};

/* Appends an item to what broker_flush() pushes to a reactor. */
void broker_hold(struct broker *broker, uint16_t reactor, struct mailbox_node *node);
/* broker_serve() and what only mail asks for. */
void broker_serve_mailed(struct broker *broker, struct broker_request *request);
/* A client's question, which broker_work() answers. */
bool broker_is_read(const struct broker_request *request);
void broker_take_read(struct broker *broker, struct broker_request *request);
void broker_drop_reads(struct broker *broker);

static inline struct history_options broker_history_options(const struct topic_rule *rule)
{
    return (struct history_options){.size = (uint32_t)rule->history_size, .ttl_ms = rule->history_ttl};
}
