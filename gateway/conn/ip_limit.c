/* Sharded hash tables of addresses, chained by index so that handles stay valid when a table grows.
 *
 * Strangers choose the keys, so the hash is keyed (SipHash-1-3, Aumasson and Bernstein, 2012) with a secret
 * of this process: nobody can aim addresses at one chain. A shard that counts nobody gives its memory back;
 * before that, freed entries are used again. */
#include "gateway/conn/ip_limit.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "gateway/base/assert.h"

enum { SHARD_BITS = 4, SHARDS = 1 << SHARD_BITS, FIRST_CAPACITY = 16 };
/* A handle is (entry + 1) << SHARD_BITS | shard; the greatest one is IP_LIMIT_REFUSED. */
#define CAPACITY_MAX (UINT32_C(1) << (31 - SHARD_BITS))

/* An IPv4 address, or the first 64 bits of an IPv6 address. */
struct key {
    uint64_t prefix;
    uint64_t family;
};

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
    uint64_t secret[2];
    struct shard shards[SHARDS];
};

/* --- Keys and their hash --- */

static uint64_t rotate(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

/* The key as a message of 16 bytes: two words, then the word that holds the length. */
static uint64_t hash_key(const struct ip_limit *table, struct key key)
{
    const uint64_t words[] = {key.prefix, key.family, (uint64_t)16 << 56};
    uint64_t v[4] = {
        table->secret[0] ^ 0x736f6d6570736575u,
        table->secret[1] ^ 0x646f72616e646f6du,
        table->secret[0] ^ 0x6c7967656e657261u,
        table->secret[1] ^ 0x7465646279746573u,
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        v[3] ^= words[i];
        sip_round(v);
        v[0] ^= words[i];
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* False for what is not counted. */
static bool key_of(const struct sockaddr *address, struct key *key)
{
    key->prefix = 0;
    key->family = AF_INET;
    if (address->sa_family == AF_INET) {
        memcpy(&key->prefix, &((const struct sockaddr_in *)(const void *)address)->sin_addr, 4);
        return true;
    }
    if (address->sa_family != AF_INET6)
        return false;
    const struct in6_addr *in6 = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(in6)) {
        memcpy(&key->prefix, &in6->s6_addr[12], 4);
    } else {
        key->family = AF_INET6;
        memcpy(&key->prefix, in6->s6_addr, 8);
    }
    return true;
}

/* --- One shard, its lock held --- */

static uint32_t *chain_of(const struct ip_limit *table, const struct shard *shard, struct key key)
{
    return &shard->chains[hash_key(table, key) >> SHARD_BITS & (shard->capacity - 1)];
}

static struct key entry_key(const struct entry *entry)
{
    return (struct key){entry->prefix, entry->family};
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
static uint32_t find(const struct ip_limit *table, const struct shard *shard, struct key key)
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
static uint32_t add(const struct ip_limit *table, struct shard *shard, struct key key)
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
    if (getrandom(table->secret, sizeof table->secret, 0) != (ssize_t)sizeof table->secret) {
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

uint32_t ip_limit_acquire(struct ip_limit *table, const struct sockaddr *address)
{
    struct key key;
    if (table->limit == 0 || !key_of(address, &key))
        return IP_LIMIT_NONE;
    uint32_t number = (uint32_t)(hash_key(table, key) & (SHARDS - 1));
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
