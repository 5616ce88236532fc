/* Sharded hash tables of addresses, chained by index so that handles stay valid when a table grows. A shard
 * that counts nobody gives its memory back; before that, freed entries are used again. */
#include "gateway/conn/ip_limit.h"

#include "gateway/base/assert.h"
#include "gateway/conn/ip_key.h"

#include <pthread.h>
#include <stdlib.h>

enum { SHARD_BITS = 4, SHARDS = 1 << SHARD_BITS, FIRST_CAPACITY = 16 };
/* A handle is (entry + 1) << SHARD_BITS | shard; the greatest one is IP_LIMIT_REFUSED. */
#define CAPACITY_MAX (UINT32_C(1) << (31 - SHARD_BITS))

struct entry {
    uint64_t prefix;
    uint32_t family;
    uint32_t count; /* 0: free */
    uint32_t next;  /* entry + 1 in the chain or the free list, 0 at its end */
};

struct shard {
    pthread_mutex_t lock; /* guards all below */
    struct entry *entries;
    uint32_t *chains;   /* as many as entries: entry + 1, or 0 */
    uint32_t capacity;  /* a power of two, or 0 */
    uint32_t fresh;     /* entries from here on were never used */
    uint32_t free_head; /* entry + 1, or 0 */
    uint32_t addresses; /* entries in use */
};

struct ip_limit {
    uint32_t limit; /* 0: none */
    struct ip_secret secret;
    struct shard shards[SHARDS];
};

/* --- One shard, its lock held --- */

static uint32_t *chain_of(const struct ip_limit *table, const struct shard *shard, struct ip_key key)
{
    return &shard->chains[ip_key_hash(&table->secret, key) >> SHARD_BITS & (shard->capacity - 1)];
}

static struct ip_key entry_key(const struct entry *entry)
{
    return (struct ip_key){entry->prefix, entry->family};
}

/* Doubles the shard. Entries keep their places, so handles stay good. */
static bool grow(const struct ip_limit *table, struct shard *shard)
{
    uint32_t capacity = shard->capacity ? shard->capacity * 2 : FIRST_CAPACITY;
    if (capacity > CAPACITY_MAX)
        return false;
    uint32_t *chains = calloc(capacity, sizeof *chains);
    struct entry *entries = realloc(shard->entries, capacity * sizeof *entries);
    if (entries)
        shard->entries = entries;
    if (!chains || !entries) {
        free(chains);
        return false;
    }
    free(shard->chains);
    shard->chains = chains;
    shard->capacity = capacity;
    for (uint32_t i = 0; i < shard->fresh; i++) { /* growth means that no entry is free */
        uint32_t *chain = chain_of(table, shard, entry_key(&entries[i]));
        entries[i].next = *chain;
        *chain = i + 1;
    }
    return true;
}

/* Entry + 1, or 0. */
static uint32_t find(const struct ip_limit *table, const struct shard *shard, struct ip_key key)
{
    uint32_t link = shard->capacity ? *chain_of(table, shard, key) : 0;
    while (link) {
        const struct entry *entry = &shard->entries[link - 1];
        if (entry->prefix == key.prefix && entry->family == key.family)
            break;
        link = entry->next;
    }
    return link;
}

/* A new entry with count 0; entry + 1, or 0 without memory. */
static uint32_t add(const struct ip_limit *table, struct shard *shard, struct ip_key key)
{
    uint32_t link = shard->free_head;
    if (!link && shard->fresh == shard->capacity && !grow(table, shard))
        return 0;
    if (link)
        shard->free_head = shard->entries[link - 1].next;
    else
        link = ++shard->fresh;
    uint32_t *chain = chain_of(table, shard, key);
    shard->entries[link - 1] =
        (struct entry){.prefix = key.prefix, .family = (uint32_t)key.family, .next = *chain};
    *chain = link;
    shard->addresses++;
    return link;
}

static void drop_memory(struct shard *shard)
{
    free(shard->entries);
    free(shard->chains);
    shard->entries = NULL;
    shard->chains = NULL;
    shard->capacity = shard->fresh = shard->free_head = 0;
}

static void drop_entry(const struct ip_limit *table, struct shard *shard, uint32_t link)
{
    struct entry *entry = &shard->entries[link - 1];
    uint32_t *at = chain_of(table, shard, entry_key(entry));
    while (*at != link)
        at = &shard->entries[*at - 1].next;
    *at = entry->next;
    entry->next = shard->free_head;
    shard->free_head = link;
    if (--shard->addresses == 0 && shard->capacity > FIRST_CAPACITY)
        drop_memory(shard);
}

/* --- The table --- */

struct ip_limit *ip_limit_create(uint64_t limit)
{
    struct ip_limit *table = calloc(1, sizeof *table);
    if (!table)
        return NULL;
    table->limit = limit > UINT32_MAX ? UINT32_MAX : (uint32_t)limit;
    if (!ip_secret_make(&table->secret)) {
        free(table);
        return NULL;
    }
    for (int i = 0; i < SHARDS; i++)
        pthread_mutex_init(&table->shards[i].lock, NULL); /* cannot fail without attributes */
    return table;
}

void ip_limit_destroy(struct ip_limit *table)
{
    if (!table)
        return;
    for (int i = 0; i < SHARDS; i++) {
        drop_memory(&table->shards[i]);
        pthread_mutex_destroy(&table->shards[i].lock);
    }
    free(table);
}

uint32_t ip_limit_acquire(struct ip_limit *table, const struct address *address)
{
    struct ip_key key;
    if (table->limit == 0 || !ip_key_of(address, &key))
        return IP_LIMIT_NONE;
    uint32_t number = (uint32_t)(ip_key_hash(&table->secret, key) & (SHARDS - 1));
    struct shard *shard = &table->shards[number];
    uint32_t handle = IP_LIMIT_REFUSED;
    pthread_mutex_lock(&shard->lock);
    uint32_t link = find(table, shard, key);
    if (!link)
        link = add(table, shard, key);
    if (link && shard->entries[link - 1].count < table->limit) {
        shard->entries[link - 1].count++;
        handle = link << SHARD_BITS | number;
    }
    pthread_mutex_unlock(&shard->lock);
    return handle;
}

void ip_limit_release(struct ip_limit *table, uint32_t handle)
{
    if (handle == IP_LIMIT_NONE)
        return;
    uint32_t link = handle >> SHARD_BITS;
    struct shard *shard = &table->shards[handle & (SHARDS - 1)];
    pthread_mutex_lock(&shard->lock);
    PG_ASSERT(link >= 1 && link <= shard->fresh && shard->entries[link - 1].count > 0);
    if (--shard->entries[link - 1].count == 0)
        drop_entry(table, shard, link);
    pthread_mutex_unlock(&shard->lock);
}

uint64_t ip_limit_addresses(struct ip_limit *table)
{
    uint64_t addresses = 0;
    for (int i = 0; i < SHARDS; i++) {
        pthread_mutex_lock(&table->shards[i].lock);
        addresses += table->shards[i].addresses;
        pthread_mutex_unlock(&table->shards[i].lock);
    }
    return addresses;
}
