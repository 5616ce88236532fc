/* Hash table of pointers to the caller's entries: open addressing, linear probing, stored hashes, no
 * tombstones. A slot costs 16 bytes; the table is ⅛ to ¾ full.
 *
 * Insertion is split in two, so that a caller who needs several things at once can get all memory first and
 * then do what cannot fail: table_reserve(), table_insert().
 *
 * Thread: one owner. Owner: the table owns its slots; entries are the caller's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct table_slot {
    void *entry; /* NULL: free */
    uint32_t hash;
};

struct table {
    struct table_slot *slots;
    uint32_t mask; /* slots − 1 */
    uint32_t used;
};

bool table_init(struct table *table) __attribute__((warn_unused_result)); /* false without memory */
void table_fini(struct table *table);

typedef bool table_equal_fn(const void *entry, const void *key);
/* The entry with this hash for which equal() says yes, or NULL. */
void *table_find(const struct table *table, uint32_t hash, table_equal_fn *equal, const void *key);
/* Room for one insertion more. False without memory. */
bool table_reserve(struct table *table) __attribute__((warn_unused_result));
/* After table_reserve(). Does not look whether an equal entry is there. */
void table_insert(struct table *table, uint32_t hash, void *entry);
/* Removes this very entry, which must be there; it is told by its address and not looked into. */
void table_remove(struct table *table, uint32_t hash, const void *entry);
/* Walks all entries: start with *cursor 0; NULL at the end. Nothing may be inserted or removed meanwhile. */
void *table_next(const struct table *table, uint64_t *cursor);

static inline size_t table_bytes(const struct table *table)
{
    return ((size_t)table->mask + 1) * sizeof *table->slots;
}
