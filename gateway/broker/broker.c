/* Publishing, and who gets what: the registry and the reactors' mailboxes. */
#include "gateway/base/assert.h"
#include "gateway/base/clock.h"
#include "gateway/broker/broker_internal.h"
#include "proto/json_text.h"
#include "proto/utf8.h"

#include <stdlib.h>
#include <string.h>

enum { BEAT_EVERY = 1024 }; /* pieces of mail: a millisecond or so */

struct broker_interest *broker_interest_create(uint16_t reactor, const char *topic, size_t topic_bytes,
                                               uint32_t hash, uint32_t subscribers, uint32_t adapters)
{
    PG_ASSERT(topic_bytes >= 1 && topic_bytes <= TOPIC_BYTES_MAX);
    struct broker_interest *interest = malloc(sizeof *interest + topic_bytes);
    if (!interest)
        return NULL;
    *interest = (struct broker_interest){
        .mail.kind = MAIL_INTEREST,
        .topic_hash = hash,
        .subscribers = subscribers,
        .adapters = adapters,
        .reactor = reactor,
        .topic_bytes = (uint8_t)topic_bytes,
    };
    memcpy(interest->topic, topic, topic_bytes);
    return interest;
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
        .settings = config->settings,
        .engine = config->engine,
    };
    size_t reactors = config->reactors > 0 ? config->reactors : 1;
    broker->targets = calloc(reactors, sizeof *broker->targets);
    broker->held = calloc(reactors, sizeof *broker->held);
    broker->traffic = traffic_create(clock_monotonic_ns());
    if (!broker->targets || !broker->held || !broker->traffic || !registry_init(&broker->registry))
        goto out;
    for (uint16_t i = 0; i < config->reactors; i++)
        broker->targets[i].mail = config->reactor_mail[i];
    if (mailbox_init(&broker->mailbox))
        return broker;
    registry_fini(&broker->registry);
out:
    free(broker->traffic);
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
    PG_ASSERT(broker_inflight_bytes(broker) == 0); /* messages point to the gauges */
    PG_ASSERT(atomic_load(&broker->gauges.outboxes) == 0);
    PG_ASSERT(atomic_load(&broker->answering) == 0); /* as answers do to theirs */
    PG_ASSERT(atomic_load(&broker->joining) == 0);
    broker_drop_reads(broker);
    for (struct mailbox_node *node = mailbox_detach(&broker->mailbox), *next; node; node = next) {
        next = node->next;
        if (((struct mail *)node)->kind == MAIL_REQUEST) /* nobody is left to answer to */
            broker_request_destroy((struct broker_request *)node);
        else if (((struct mail *)node)->kind == MAIL_INSPECTION)
            inspection_destroy((struct inspection *)(void *)node);
        else
            free(node);
    }
    mailbox_fini(&broker->mailbox);
    registry_fini(&broker->registry);
    free(broker->traffic);
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
    bool updated = registry_update(&broker->registry, interest->topic_hash, interest->topic,
                                   interest->topic_bytes, update);
    PG_ASSERT(updated); /* the reactor will not say it again, and its subscribers would miss messages
                           silently: better to stop */
    free(interest);
}

static void take_inspected(struct broker *broker, struct mail *mail)
{
    if (mail->kind == MAIL_ENDED)
        broker->targets[((struct reactor_ended *)mail)->reactor].ended = true;
    if (broker->inspected)
        broker->inspected(broker->inspected_context, mail);
    else if (mail->kind == MAIL_INSPECTION)
        inspection_destroy((struct inspection *)(void *)mail);
    else
        free(mail);
}

void broker_drain_mail(struct broker *broker)
{
    if (!mailbox_pending(&broker->mailbox))
        return;
    struct mailbox_node *answered = NULL, **last = &answered;
    uint32_t taken = 0;
    for (struct mailbox_node *node = mailbox_detach(&broker->mailbox), *next; node; node = next) {
        next = node->next;
        if (broker->pulse && ++taken % BEAT_EVERY == 0)
            pulse_beat(broker->pulse);
        if (((struct mail *)node)->kind == MAIL_INTEREST) {
            take_interest(broker, (struct broker_interest *)node);
            continue;
        }
        if (((struct mail *)node)->kind != MAIL_REQUEST) {
            take_inspected(broker, (struct mail *)node);
            continue;
        }
        struct broker_request *request = (struct broker_request *)node;
        if (broker_is_read(request)) {
            broker_take_read(broker, request);
            continue;
        }
        broker_serve_mailed(broker, request);
        if (request->op == BROKER_LEAVE)
            broker_request_destroy(request);
        else if (request->op == BROKER_SUBSCRIBE)
            continue; /* it is on its way back */
        else if (request->reactor != BROKER_NO_REACTOR)
            broker_hold(broker, request->reactor, node); /* among the messages, in order */
        else {
            node->next = NULL;
            *last = node;
            last = &node->next;
        }
    }
    broker_flush(broker); /* whoever reads the answer finds the message on its way */
    for (struct mailbox_node *next; answered; answered = next) {
        next = answered->next;
        mailbox_push(((struct broker_request *)answered)->reply_to, answered);
    }
}

void broker_hold(struct broker *broker, uint16_t reactor, struct mailbox_node *node)
{
    PG_ASSERT(reactor < broker->reactors);
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

const struct topic_rule *broker_rule(const struct broker *broker, const char *topic, size_t topic_bytes)
{
    return topic_rule_find(broker->settings, topic, topic_bytes);
}

/* Bit per adapter that has subscribers of the topic; `entry` may be NULL. */
static uint32_t adapters_of(const struct registry_entry *entry)
{
    uint32_t adapters = 0;
    for (uint16_t i = 0; entry && i < entry->count; i++)
        adapters |= registry_interests(entry)[i].adapters;
    return adapters;
}

/* Encodes once and holds one delivery for each reactor that has the topic. Connections, or -1 without memory.
 * `entry` may be NULL. */
static int64_t deliver(struct broker *broker, const struct publication *publication, uint32_t hash,
                       const struct registry_entry *entry, uint32_t adapters)
{
    if (!entry)
        return 0;
    const struct registry_interest *interests = registry_interests(entry);
    struct message *message = message_create(publication, hash, adapters, entry->count, &broker->gauges);
    if (!message)
        return -1;
    uint64_t queued = 0;
    for (uint16_t i = 0; i < entry->count; i++) {
        queued += interests[i].subscribers;
        broker_hold(broker, interests[i].reactor, &message->deliveries[i].mail.node);
    }
    if (publication->kind == PUBLICATION_MESSAGE)
        traffic_charge(broker->traffic, message->published_ns, hash, publication->topic,
                       publication->topic_bytes, queued, publication->payload_bytes);
    return (int64_t)queued;
}

struct append {
    bool done;
    enum engine_result result;
    struct stream_position position;
};

static void appended(void *context, enum engine_result result, struct stream_position position,
                     struct history_item *item)
{
    struct append *append = context;
    *append = (struct append){.done = true, .result = result, .position = position};
    if (item)
        history_item_unref(item);
}

/* Puts a publication into its topic's history. False: refused. */
static bool keep(struct broker *broker, const struct topic_rule *rule, struct publication *publication,
                 uint32_t hash, uint64_t *epoch)
{
    struct history_contents contents = {
        .payload = publication->payload,
        .payload_bytes = publication->payload_bytes,
        .info = publication->info,
        .info_bytes = publication->info_bytes,
        .tags = publication->tags,
        .tags_bytes = publication->tags_bytes,
        .published_ms = clock_realtime_ms(),
        .text = publication->text,
        .json = publication->json,
    };
    struct history_options options = broker_history_options(rule);
    struct append append = {0};
    struct engine_topic topic = {publication->topic, publication->topic_bytes, hash};
    broker->engine->ops->append(broker->engine, topic, &options, &contents, clock_monotonic_ms(), appended,
                                &append);
    PG_ASSERT(append.done); /* an engine that answers later needs publishers that wait: not built yet */
    publication->offset = append.position.offset;
    *epoch = append.position.epoch;
    return append.result == ENGINE_OK;
}

int64_t broker_publish_with(struct broker *broker, struct publication *publication, bool skip_history,
                            uint64_t *epoch)
{
    PG_ASSERT(publication->topic_bytes >= 1 && publication->topic_bytes <= TOPIC_BYTES_MAX);
    uint64_t stream = 0;
    if (epoch)
        *epoch = 0;
    if (broker->message_bytes != 0 && publication->payload_bytes > broker->message_bytes)
        return -1;
    uint32_t hash = topic_hash(publication->topic, publication->topic_bytes);
    const struct topic_rule *rule = broker_rule(broker, publication->topic, publication->topic_bytes);
    bool kept =
        rule->history_size > 0 && !skip_history && broker->engine && publication->kind == PUBLICATION_MESSAGE;
    const struct registry_entry *entry =
        registry_find(&broker->registry, hash, publication->topic, publication->topic_bytes);
    /* Nobody there and nothing kept: the commonest publication of all costs no more than this. */
    if (!kept && !broker->listener && !entry)
        return 0;
    uint32_t adapters = adapters_of(entry);
    publication->slow_consumer = (uint8_t)rule->slow_consumer;
    bool message = publication->kind == PUBLICATION_MESSAGE;
    publication->text = !message || utf8_valid(publication->payload, publication->payload_bytes);
    if (message && publication->text && (kept || adapters & 1u << ADAPTER_CENTRIFUGE))
        publication->json = json_text_valid(publication->payload, publication->payload_bytes);
    if (kept && !keep(broker, rule, publication, hash, &stream))
        return -1;
    if (epoch)
        *epoch = stream;
    int64_t queued = deliver(broker, publication, hash, entry, adapters);
    if (queued < 0 && kept)
        log_limited(&broker->no_memory, LOG_ERROR, "message_lost", "cause=%s", "no_memory");
    if (!broker->listener || (queued < 0 && !kept)) /* what is refused was never published */
        return queued;
    uint64_t heard = broker->listener(broker->listener_context, publication);
    return queued < 0 ? queued : queued + (int64_t)heard;
}

int64_t broker_publish(struct broker *broker, const char *topic, size_t topic_bytes, const void *payload,
                       size_t payload_bytes)
{
    struct publication publication = {
        .payload = payload, .payload_bytes = payload_bytes, .topic = topic, .topic_bytes = topic_bytes};
    return broker_publish_with(broker, &publication, false, NULL);
}

void broker_listen(struct broker *broker, broker_listener_fn *listener, void *context)
{
    broker->listener = listener;
    broker->listener_context = context;
}

bool broker_inspect(struct broker *broker, uint16_t reactor, struct inspection *inspection)
{
    PG_ASSERT(reactor < broker->reactors);
    if (broker->targets[reactor].ended)
        return false;
    broker_hold(broker, reactor, &inspection->mail.node);
    return true;
}

uint16_t broker_next_reactor(const struct broker *broker, uint16_t reactor, struct text topic)
{
    if (topic.bytes == 0)
        return reactor < broker->reactors ? reactor : BROKER_NO_REACTOR;
    const struct registry_entry *entry =
        registry_find(&broker->registry, topic_hash(topic.data, topic.bytes), topic.data, topic.bytes);
    uint16_t next = BROKER_NO_REACTOR;
    for (uint16_t i = 0; entry && i < entry->count; i++) {
        uint16_t has = registry_interests(entry)[i].reactor;
        if (has >= reactor && has < next)
            next = has;
    }
    return next;
}

void broker_inspected(struct broker *broker, broker_inspected_fn *handler, void *context)
{
    broker->inspected = handler;
    broker->inspected_context = context;
}

void broker_watched(struct broker *broker, struct pulse *pulse)
{
    broker->pulse = pulse;
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

bool broker_congested(struct broker *broker)
{
    uint64_t limit = broker->inflight_limit;
    bool before = atomic_load_explicit(&broker->congested, memory_order_relaxed);
    bool now = limit != 0 && broker_inflight_bytes(broker) > (before ? limit / 4 * 3 : limit);
    if (now != before)
        atomic_store_explicit(&broker->congested, now, memory_order_relaxed);
    return now;
}

bool broker_crowded(const struct broker *broker)
{
    return broker->inflight_limit != 0 && broker_inflight_bytes(broker) > broker->inflight_limit / 2;
}

uint64_t broker_inflight_bytes(const struct broker *broker)
{
    return atomic_load_explicit(&broker->gauges.inflight, memory_order_relaxed);
}

uint64_t broker_outbox_memory(const struct broker *broker)
{
    int64_t bytes = atomic_load_explicit(&broker->gauges.outboxes, memory_order_relaxed);
    return bytes > 0 ? (uint64_t)bytes : 0;
}

struct message_gauges *broker_gauges(struct broker *broker)
{
    return &broker->gauges;
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

struct scan {
    broker_visit_fn *visit;
    void *context;
};

static void scanned(void *context, const struct registry_entry *entry)
{
    const struct scan *scan = context;
    scan->visit(scan->context, entry->topic, entry->topic_bytes, registry_subscribers(entry));
}

uint32_t broker_scan_topics(struct broker *broker, uint32_t cursor, uint32_t places, broker_visit_fn *visit,
                            void *context)
{
    struct scan scan = {visit, context};
    return registry_scan(&broker->registry, cursor, places, scanned, &scan);
}

uint16_t broker_reactors_of(const struct broker *broker, const char *topic, size_t topic_bytes)
{
    const struct registry_entry *entry =
        registry_find(&broker->registry, topic_hash(topic, topic_bytes), topic, topic_bytes);
    return entry ? entry->count : 0;
}
