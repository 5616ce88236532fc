/* The table of topics that have subscribers: how many connections each reactor has for a topic, and which
 * encodings it needs.
 *
 * Open addressing with stored hashes; a topic costs a 16-byte slot (the table is ⅛ to ¾ full) and one heap
 * block of 16 bytes plus its name. Thread: the broker's. Owner: the registry owns entries; an entry is valid
 * until the next registry_update().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct registry_interest {
    uint32_t subscribers; /* never 0 */
    uint16_t reactor;
    uint16_t adapters; /* bit per adapter_id */
};
_Static_assert(sizeof(struct registry_interest) == 8, "stands where a pointer would");

/* Nearly every topic of an application with a topic per user lives on one reactor: that one stands inline. */
struct registry_entry {
    union {
        struct registry_interest one;   /* capacity 1 */
        struct registry_interest *many; /* capacity > 1; unordered, no gaps */
    } interest;
    uint16_t count;
    uint16_t capacity;
    uint8_t topic_bytes;
    char topic[]; /* not NUL-terminated */
};
_Static_assert(offsetof(struct registry_entry, topic) == 13, "what a topic costs beside its name");

struct registry_slot {
    struct registry_entry *entry; /* NULL: free */
    uint32_t hash;
};

struct registry {
    struct registry_slot *slots;
    uint32_t mask; /* slots − 1 */
    uint32_t used;
};

bool registry_init(struct registry *registry) __attribute__((warn_unused_result)); /* false without memory */
void registry_fini(struct registry *registry);
/* Sets what one reactor has for a topic; 0 subscribers removes, and the last removal takes the entry away.
 * False without memory: nothing changed. */
bool registry_update(struct registry *registry, uint32_t hash, const char *topic, size_t topic_bytes,
                     struct registry_interest interest) __attribute__((warn_unused_result));
/* NULL when nobody has the topic. */
struct registry_entry *registry_find(const struct registry *registry, uint32_t hash, const char *topic,
                                     size_t topic_bytes);
uint64_t registry_subscribers(const struct registry_entry *entry);

/* Walks the table in slices: visits the topics of so many places of the table (at least one), and returns
 * where to go on; begin with 0, it ends with 0. The table may change between slices: a topic that is there
 * all the time is visited at least once, and twice only when the table has shrunk meanwhile. */
typedef void registry_visit_fn(void *context, const struct registry_entry *entry);
uint32_t registry_scan(const struct registry *registry, uint32_t cursor, uint32_t places,
                       registry_visit_fn *visit, void *context);

static inline const struct registry_interest *registry_interests(const struct registry_entry *entry)
{
    return entry->capacity > 1 ? entry->interest.many : &entry->interest.one;
}
