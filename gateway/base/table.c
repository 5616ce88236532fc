/* Linear probing with backward-shift deletion. */
#include "gateway/base/table.h"

#include "gateway/base/assert.h"

#include <stdlib.h>

enum { SLOTS_MIN = 64 };

bool table_init(struct table *table)
{
    *table = (struct table){.slots = calloc(SLOTS_MIN, sizeof(struct table_slot)), .mask = SLOTS_MIN - 1};
    return table->slots != NULL;
}

void table_fini(struct table *table)
{
    free(table->slots);
    *table = (struct table){0};
}

void *table_find(const struct table *table, uint32_t hash, table_equal_fn *equal, const void *key)
{
    for (uint32_t i = hash & table->mask; table->slots[i].entry; i = (i + 1) & table->mask)
        if (table->slots[i].hash == hash && equal(table->slots[i].entry, key))
            return table->slots[i].entry;
    return NULL;
}

static void put(struct table_slot *slots, uint32_t mask, struct table_slot slot)
{
    uint32_t i = slot.hash & mask;
    while (slots[i].entry)
        i = (i + 1) & mask;
    slots[i] = slot;
}

static bool resize(struct table *table, uint32_t slots)
{
    struct table_slot *fresh = calloc(slots, sizeof *fresh);
    if (!fresh)
        return false;
    for (uint32_t i = 0; i <= table->mask; i++)
        if (table->slots[i].entry)
            put(fresh, slots - 1, table->slots[i]);
    free(table->slots);
    table->slots = fresh;
    table->mask = slots - 1;
    return true;
}

bool table_reserve(struct table *table)
{
    uint64_t slots = (uint64_t)table->mask + 1;
    if ((table->used + 1ull) * 4 <= slots * 3)
        return true;
    /* Without memory for a larger table this one is filled further, but searches need a free slot to end
     * at. */
    return (slots < 1u << 31 && resize(table, (uint32_t)slots * 2)) || table->used + 2ull <= slots;
}

void table_insert(struct table *table, uint32_t hash, void *entry)
{
    PG_ASSERT(entry && table->used < table->mask);
    put(table->slots, table->mask, (struct table_slot){.entry = entry, .hash = hash});
    table->used++;
}

void table_remove(struct table *table, uint32_t hash, const void *entry)
{
    uint32_t mask = table->mask, gap = hash & mask;
    while (table->slots[gap].entry != entry) {
        PG_ASSERT(table->slots[gap].entry); /* else it is not in the table */
        gap = (gap + 1) & mask;
    }
    /* Later members of the run move up unless that would put them before their own place. */
    for (uint32_t i = (gap + 1) & mask; table->slots[i].entry; i = (i + 1) & mask) {
        uint32_t home = table->slots[i].hash & mask;
        if (((i - home) & mask) < ((i - gap) & mask))
            continue;
        table->slots[gap] = table->slots[i];
        gap = i;
    }
    table->slots[gap] = (struct table_slot){0};
    table->used--;
    uint64_t slots = (uint64_t)mask + 1;
    if (slots > SLOTS_MIN && table->used * 8ull < slots)
        (void)resize(table, (uint32_t)(slots / 2)); /* without memory the larger table stays */
}

void *table_next(const struct table *table, uint64_t *cursor)
{
    while (*cursor <= table->mask) {
        void *entry = table->slots[(*cursor)++].entry;
        if (entry)
            return entry;
    }
    return NULL;
}
