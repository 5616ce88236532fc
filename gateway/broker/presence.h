/* Presence in memory: who is on which topic.
 *
 * Three tables for all topics together: topics, members (a client on a topic), users of a topic with the
 * number of their clients. So a topic with one client costs no table of its own, and counting is O(1).
 *
 * Thread: the engine's. Owner: the presence owns all records and copies what it is given.
 */
#pragma once

#include "gateway/base/table.h"
#include "gateway/broker/engine.h"

struct presence {
    struct table topics, members, users;
    uint64_t bytes; /* of the records, not of the three tables */
};

bool presence_init(struct presence *presence) __attribute__((warn_unused_result)); /* false without memory */
void presence_fini(struct presence *presence);

/* As the operations of struct engine_ops. ENGINE_NO_MEMORY: nothing changed. */
enum engine_result presence_add(struct presence *presence, struct engine_topic topic,
                                const struct presence_entry *entry, uint32_t max_clients,
                                enum presence_change *change) __attribute__((warn_unused_result));
/* False when the client is not there. */
bool presence_remove(struct presence *presence, struct engine_topic topic,
                     const uint8_t client[PRESENCE_CLIENT_BYTES]);
/* Until `visit` returns false. Returns how many there are. */
uint32_t presence_visit(const struct presence *presence, struct engine_topic topic,
                        engine_presence_visit_fn *visit, void *context);
struct presence_stats presence_stats(const struct presence *presence, struct engine_topic topic);
uint64_t presence_bytes(const struct presence *presence);
/* Counts everything again and compares. O(entries), for tests. */
bool presence_validate(const struct presence *presence);
