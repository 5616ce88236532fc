#include "gateway/broker/registry.h"

#include "gateway/base/assert.h"

#include <stdlib.h>
#include <string.h>

enum { SLOTS_MIN = 64 };

bool registry_init(struct registry *registry)
{
    *registry =
        (struct registry){.slots = calloc(SLOTS_MIN, sizeof(struct registry_slot)), .mask = SLOTS_MIN - 1};
    return registry->slots != NULL;
}

static void entry_free(struct registry_entry *entry)
{
    if (entry->capacity > 1)
        free(entry->interest.many);
    free(entry);
}

void registry_fini(struct registry *registry)
{
    for (uint32_t i = 0; registry->slots && i <= registry->mask; i++)
        if (registry->slots[i].entry)
            entry_free(registry->slots[i].entry);
    free(registry->slots);
    *registry = (struct registry){0};
}

/* The topic's slot, or the free one where it would stand. There is always a free one. */
static struct registry_slot *find_slot(const struct registry *registry, uint32_t hash, const char *topic,
                                       size_t topic_bytes)
{
    for (uint32_t i = hash & registry->mask;; i = (i + 1) & registry->mask) {
        struct registry_slot *slot = &registry->slots[i];
        if (!slot->entry)
            return slot;
        if (slot->hash == hash && slot->entry->topic_bytes == topic_bytes &&
            memcmp(slot->entry->topic, topic, topic_bytes) == 0)
            return slot;
    }
}

static bool resize(struct registry *registry, uint32_t slots)
{
    struct registry_slot *fresh = calloc(slots, sizeof *fresh);
    if (!fresh)
        return false;
    for (uint32_t i = 0; i <= registry->mask; i++) {
        if (!registry->slots[i].entry)
            continue;
        uint32_t to = registry->slots[i].hash & (slots - 1);
        while (fresh[to].entry)
            to = (to + 1) & (slots - 1);
        fresh[to] = registry->slots[i];
    }
    free(registry->slots);
    registry->slots = fresh;
    registry->mask = slots - 1;
    return true;
}

/* Frees a slot without leaving a tombstone: later members of the run move up unless that would put them
 * before their own place. */
static void close_gap(struct registry *registry, struct registry_slot *slot)
{
    uint32_t gap = (uint32_t)(slot - registry->slots), mask = registry->mask;
    for (uint32_t i = (gap + 1) & mask; registry->slots[i].entry; i = (i + 1) & mask) {
        uint32_t home = registry->slots[i].hash & mask;
        if (((i - home) & mask) < ((i - gap) & mask))
            continue;
        registry->slots[gap] = registry->slots[i];
        gap = i;
    }
    registry->slots[gap] = (struct registry_slot){0};
}

static bool insert(struct registry *registry, struct registry_slot *slot, uint32_t hash, const char *topic,
                   size_t topic_bytes, struct registry_interest interest)
{
    uint64_t slots = (uint64_t)registry->mask + 1;
    if ((registry->used + 1ull) * 4 > slots * 3) {
        /* Without memory for a larger table this one is filled further, but searches need a free slot to end
         * at. */
        if (slots < 1u << 31 && resize(registry, (uint32_t)slots * 2))
            slot = find_slot(registry, hash, topic, topic_bytes);
        else if (registry->used + 2ull > slots)
            return false;
    }
    size_t bytes = offsetof(struct registry_entry, topic) + topic_bytes;
    struct registry_entry *entry = malloc(bytes < sizeof *entry ? sizeof *entry : bytes);
    if (!entry)
        return false;
    *entry = (struct registry_entry){
        .interest.one = interest, .count = 1, .capacity = 1, .topic_bytes = (uint8_t)topic_bytes};
    memcpy(entry->topic, topic, topic_bytes);
    *slot = (struct registry_slot){.entry = entry, .hash = hash};
    registry->used++;
    return true;
}

static void remove_entry(struct registry *registry, struct registry_slot *slot)
{
    entry_free(slot->entry);
    close_gap(registry, slot);
    registry->used--;
    uint64_t slots = (uint64_t)registry->mask + 1;
    if (slots > SLOTS_MIN && (uint64_t)registry->used * 8 < slots)
        (void)resize(registry, (uint32_t)(slots / 2)); /* without memory the larger table stays */
}

static bool entry_add(struct registry_entry *entry, struct registry_interest interest)
{
    if (entry->count == entry->capacity) {
        PG_ASSERT(entry->capacity >= 1 && entry->capacity <= UINT16_MAX / 2);
        uint16_t capacity = (uint16_t)(entry->capacity * 2);
        struct registry_interest *grown =
            realloc(entry->capacity > 1 ? entry->interest.many : NULL, capacity * sizeof *grown);
        if (!grown)
            return false;
        if (entry->capacity == 1)
            grown[0] = entry->interest.one;
        entry->interest.many = grown;
        entry->capacity = capacity;
    }
    entry->interest.many[entry->count++] = interest;
    return true;
}

static void entry_remove(struct registry_entry *entry, uint16_t index)
{
    struct registry_interest *many = entry->interest.many; /* count > 1, hence not inline */
    many[index] = many[--entry->count];
    if (entry->count == 1) {
        entry->interest.one = many[0];
        entry->capacity = 1;
        free(many);
    }
}

bool registry_update(struct registry *registry, uint32_t hash, const char *topic, size_t topic_bytes,
                     struct registry_interest interest)
{
    struct registry_slot *slot = find_slot(registry, hash, topic, topic_bytes);
    struct registry_entry *entry = slot->entry;
    if (!entry)
        return interest.subscribers == 0 || insert(registry, slot, hash, topic, topic_bytes, interest);
    struct registry_interest *all = entry->capacity > 1 ? entry->interest.many : &entry->interest.one;
    for (uint16_t i = 0; i < entry->count; i++) {
        if (all[i].reactor != interest.reactor)
            continue;
        if (interest.subscribers > 0)
            all[i] = interest;
        else if (entry->count > 1)
            entry_remove(entry, i);
        else
            remove_entry(registry, slot);
        return true;
    }
    return interest.subscribers == 0 || entry_add(entry, interest);
}

struct registry_entry *registry_find(const struct registry *registry, uint32_t hash, const char *topic,
                                     size_t topic_bytes)
{
    return find_slot(registry, hash, topic, topic_bytes)->entry;
}

static uint32_t reverse_bits(uint32_t value)
{
    value = (value >> 1 & 0x55555555u) | (value & 0x55555555u) << 1;
    value = (value >> 2 & 0x33333333u) | (value & 0x33333333u) << 2;
    value = (value >> 4 & 0x0f0f0f0fu) | (value & 0x0f0f0f0fu) << 4;
    return __builtin_bswap32(value);
}

/* Places are counted with their bits in reverse order. When the table doubles, the topics of a place spread
 * over two that differ in the new highest bit, which stand beside each other in this order; so what lies
 * behind the cursor is the same topics before and after. */
uint32_t registry_scan(const struct registry *registry, uint32_t cursor, uint32_t places,
                       registry_visit_fn *visit, void *context)
{
    uint32_t mask = registry->mask;
    do {
        uint32_t home = cursor & mask;
        for (uint32_t i = home; registry->slots[i].entry; i = (i + 1) & mask)
            if ((registry->slots[i].hash & mask) == home)
                visit(context, registry->slots[i].entry);
        cursor = reverse_bits(reverse_bits(cursor | ~mask) + 1);
    } while (cursor != 0 && --places > 0);
    return cursor;
}

uint64_t registry_subscribers(const struct registry_entry *entry)
{
    const struct registry_interest *all = registry_interests(entry);
    uint64_t sum = 0;
    for (uint16_t i = 0; i < entry->count; i++)
        sum += all[i].subscribers;
    return sum;
}
