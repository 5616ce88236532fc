/* The broker: which reactor has subscribers of which topic, publishing to them, and what a topic keeps.
 *
 * Registry, publishing and the engine belong to one thread (the publisher's), so the total order of a topic's
 * messages is the order of its calls. Reactors tell it about their subscribers with interest items in its
 * mailbox; all else that other threads want of it are requests (request.h). Before it executes commands that
 * it has just read from a socket, the publisher's thread must call broker_drain_mail(): then whoever was told
 * "subscribed" by a reactor that pushed its interest first will be counted and reached.
 *
 * Owner: the broker owns registry entries; items belong to the broker once pushed (interest: freed by it;
 * request: handed back).
 */
#pragma once

#include "gateway/broker/inspection.h"
#include "gateway/broker/message.h"
#include "gateway/broker/request.h"

/* From a reactor: it has now `subscribers` connections for the topic (absolute, 0 removes). */
struct broker_interest {
    struct mail mail; /* first */
    uint32_t topic_hash;
    uint32_t subscribers;
    uint32_t adapters; /* bit per adapter_id that needs an encoded frame */
    uint16_t reactor;
    uint8_t topic_bytes;
    char topic[]; /* not NUL-terminated */
};
struct broker_interest *broker_interest_create(uint16_t reactor, const char *topic, size_t topic_bytes,
                                               uint32_t hash, uint32_t subscribers, uint32_t adapters);

struct broker;
struct pulse;

struct broker_config {
    uint16_t reactors;
    struct mailbox **reactor_mail; /* one per reactor, not owned */
    uint64_t message_bytes;        /* largest payload; 0: no limit */
    uint64_t inflight_bytes; /* bound of broker_congested() and, its half, of broker_crowded(); 0: none */
    const struct settings *settings; /* for the rules of topics; NULL: no topic has one */
    struct engine *engine;           /* not owned; NULL: nothing is kept */
};

struct broker *broker_create(const struct broker_config *config); /* NULL without memory */
void broker_destroy(struct broker *broker);
struct mailbox *broker_mailbox(struct broker *broker);

/* Takes everything from the mailbox, and does it, but for clients' questions (who is there, what was): these
 * wait in line for broker_work(). Cheap when there is nothing. */
void broker_drain_mail(struct broker *broker);
/* Answers questions that wait in line, at least one, until clock_monotonic_ns() has passed until_ns or the
 * answers made so far must first be read. Returns milliseconds until the next call is wanted: 0 when more can
 * be answered at once, UINT64_MAX when nothing waits. */
uint64_t broker_work(struct broker *broker, uint64_t until_ns);
/* Does broker_work() have anything to do? */
bool broker_has_work(const struct broker *broker);
/* A long broker_drain_mail() shows by this that its thread is alive. The pulse is the caller's; NULL: none.
 */
void broker_watched(struct broker *broker, struct pulse *pulse);
/* Publishes; returns the number of connections that it was queued to, or -1 (too large: nothing was sent).
 * Deliveries are held back per reactor until broker_flush(), so that a pipelined batch is one push and one
 * wake per reactor. topic_bytes 1 … TOPIC_BYTES_MAX. */
int64_t broker_publish(struct broker *broker, const char *topic, size_t topic_bytes, const void *payload,
                       size_t payload_bytes);
/* The same with all that a publication may have. `offset`, `text` and `json` are found out and filled in;
 * `epoch` (may be NULL) gets the stream's, 0 when the topic keeps no history. */
int64_t broker_publish_with(struct broker *broker, struct publication *publication, bool skip_history,
                            uint64_t *epoch);
void broker_flush(struct broker *broker);

/* Does what a request asks for, fills in its answer. For this thread's own requests; those in the mailbox are
 * served by broker_drain_mail() and broker_work(). Never BROKER_SUBSCRIBE, BROKER_LEAVE, BROKER_ORDER. */
void broker_serve(struct broker *broker, struct broker_request *request);
/* The rule of a topic. Never NULL. */
const struct topic_rule *broker_rule(const struct broker *broker, const char *topic, size_t topic_bytes);

/* Hears every publication, join and leave on this thread, in order, before its deliveries leave; whatever
 * topic, subscribed or not. Returns how many it passes it on to: they count with the connections that a
 * publication was queued to. NULL: nobody listens, and publishing to nobody costs nothing more. */
typedef uint64_t broker_listener_fn(void *context, const struct publication *publication);
void broker_listen(struct broker *broker, broker_listener_fn *listener, void *context);

/* Sends an inspection along with what is published, and comes back to the handler. False: that reactor has
 * ended; the inspection is still the caller's. */
bool broker_inspect(struct broker *broker, uint16_t reactor, struct inspection *inspection)
    __attribute__((warn_unused_result));
/* The next reactor from `reactor` on that has the topic (any reactor, without one); BROKER_NO_REACTOR: none
 * has. */
uint16_t broker_next_reactor(const struct broker *broker, uint16_t reactor, struct text topic);
/* Who takes MAIL_INSPECTION that comes back, and MAIL_ENDED, on this thread, while broker_drain_mail() runs:
 * it must not call the broker. NULL: they are freed. */
typedef void broker_inspected_fn(void *context, struct mail *mail);
void broker_inspected(struct broker *broker, broker_inspected_fn *handler, void *context);

/* Lets the engine expire what is due; returns milliseconds until the next call is wanted, UINT64_MAX: none.
 */
uint64_t broker_maintain(struct broker *broker, uint64_t now_ms);
struct engine_stats broker_engine_stats(const struct broker *broker);

/* What was published by request items since the last call: the publish socket counts its own. */
struct broker_served {
    uint64_t publishes, bytes, reached;
};
struct broker_served broker_take_served(struct broker *broker);
/* Backends have to wait: more than inflight_bytes are published and not yet handed to the kernel, and from
 * then on until three quarters are. Any thread. */
bool broker_congested(struct broker *broker);
/* Clients are refused from half of it on: backends wait for it to fall, and what clients ask for must not
 * keep it from falling. */
bool broker_crowded(const struct broker *broker);
/* Bytes of messages that were published and have not passed every reactor's fan-out. Any thread. */
uint64_t broker_inflight_bytes(const struct broker *broker);
/* Memory of what waits in all outboxes: a message that many keep counts once. Any thread. */
uint64_t broker_outbox_memory(const struct broker *broker);
/* For reactors, which count there what their outboxes hold besides messages. */
struct message_gauges *broker_gauges(struct broker *broker);

uint64_t broker_subscribers(struct broker *broker, const char *topic, size_t topic_bytes);
uint64_t broker_topic_count(const struct broker *broker);
/* Calls visit for each topic that has subscribers. */
typedef void broker_visit_fn(void *context, const char *topic, size_t topic_bytes, uint64_t subscribers);
/* The same for so many places of the table from `cursor` on, 0 at first; returns where to go on, 0 at the
 * end. A topic that is there all the time is visited at least once. */
uint32_t broker_scan_topics(struct broker *broker, uint32_t cursor, uint32_t places, broker_visit_fn *visit,
                            void *context);
uint16_t broker_reactors_of(const struct broker *broker, const char *topic, size_t topic_bytes);
void broker_visit_topics(struct broker *broker, broker_visit_fn *visit, void *context);
