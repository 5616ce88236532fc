#include "gateway/admin_idempotency.h"

#include "gateway/broker/message.h"

#include <stdlib.h>
#include <string.h>

struct known_key {
    struct list link;
    struct stream_position position;
    uint64_t ends_ms;
    uint32_t hash;
    bool done;
    uint8_t topic_bytes, key_bytes;
    char text[]; /* topic, key */
};

struct wanted {
    struct text topic, key;
};

static bool is_wanted(const void *entry, const void *context)
{
    const struct known_key *known = entry;
    const struct wanted *wanted = context;
    return known->topic_bytes == wanted->topic.bytes && known->key_bytes == wanted->key.bytes &&
           memcmp(known->text, wanted->topic.data, wanted->topic.bytes) == 0 &&
           memcmp(known->text + known->topic_bytes, wanted->key.data, wanted->key.bytes) == 0;
}

static uint32_t hash_of(const struct wanted *wanted)
{
    return topic_hash(wanted->topic.data, wanted->topic.bytes) * 31 +
           topic_hash(wanted->key.data, wanted->key.bytes);
}

static struct known_key *find(const struct idempotency *keys, const struct wanted *wanted)
{
    return keys->table.slots ? table_find(&keys->table, hash_of(wanted), is_wanted, wanted) : NULL;
}

static void drop(struct idempotency *keys, struct known_key *known)
{
    table_remove(&keys->table, known->hash, known);
    list_remove(&known->link);
    keys->count--;
    free(known);
}

static struct known_key *oldest(const struct idempotency *keys)
{
    return LIST_ITEM(keys->oldest_first.next, struct known_key, link);
}

void idempotency_init(struct idempotency *keys)
{
    *keys = (struct idempotency){.count = 0};
    list_init(&keys->oldest_first);
}

void idempotency_fini(struct idempotency *keys)
{
    for (struct list *link = keys->oldest_first.next, *next; link != &keys->oldest_first; link = next) {
        next = link->next;
        free(LIST_ITEM(link, struct known_key, link));
    }
    if (keys->table.slots)
        table_fini(&keys->table);
}

static bool note(struct idempotency *keys, const struct wanted *wanted, uint64_t now_ms)
{
    if (!keys->table.slots && !table_init(&keys->table))
        return false;
    struct known_key *known = malloc(sizeof *known + wanted->topic.bytes + wanted->key.bytes);
    if (!known || !table_reserve(&keys->table)) {
        free(known);
        return false;
    }
    *known = (struct known_key){.ends_ms = now_ms + IDEMPOTENCY_MS,
                                .hash = hash_of(wanted),
                                .topic_bytes = (uint8_t)wanted->topic.bytes,
                                .key_bytes = (uint8_t)wanted->key.bytes};
    memcpy(known->text, wanted->topic.data, wanted->topic.bytes);
    memcpy(known->text + wanted->topic.bytes, wanted->key.data, wanted->key.bytes);
    table_insert(&keys->table, known->hash, known);
    list_append(&keys->oldest_first, &known->link);
    keys->count++;
    return true;
}

enum idempotency_state idempotency_look(const struct idempotency *keys, struct text topic, struct text key,
                                        uint64_t now_ms, struct stream_position *position)
{
    const struct known_key *known = find(keys, &(struct wanted){topic, key});
    if (!known || known->ends_ms <= now_ms)
        return IDEMPOTENCY_NEW;
    *position = known->position;
    return known->done ? IDEMPOTENCY_DONE : IDEMPOTENCY_PENDING;
}

enum idempotency_state idempotency_begin(struct idempotency *keys, struct text topic, struct text key,
                                         uint64_t now_ms, struct stream_position *position)
{
    while (keys->count > 0 && oldest(keys)->ends_ms <= now_ms)
        drop(keys, oldest(keys));
    enum idempotency_state state = idempotency_look(keys, topic, key, now_ms, position);
    if (state != IDEMPOTENCY_NEW)
        return state;
    if (keys->count == IDEMPOTENCY_KEYS_MAX)
        drop(keys, oldest(keys));
    return note(keys, &(struct wanted){topic, key}, now_ms) ? IDEMPOTENCY_NEW : IDEMPOTENCY_NO_MEMORY;
}

void idempotency_done(struct idempotency *keys, struct text topic, struct text key,
                      struct stream_position position)
{
    struct known_key *known = find(keys, &(struct wanted){topic, key});
    if (!known)
        return;
    known->done = true;
    known->position = position;
}

void idempotency_forget(struct idempotency *keys, struct text topic, struct text key)
{
    struct known_key *known = find(keys, &(struct wanted){topic, key});
    if (known)
        drop(keys, known);
}
