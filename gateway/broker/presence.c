/* Members hang in a list at their topic and point to their user there. */
#include "gateway/broker/presence.h"

#include "gateway/base/assert.h"
#include "gateway/base/list.h"
#include "gateway/broker/footprint.h"
#include "gateway/broker/message.h"

#include <stdlib.h>
#include <string.h>

struct presence_topic {
    struct list members;
    uint32_t clients, users;
    uint64_t text_bytes; /* of all members */
    uint32_t hash;
    uint8_t name_bytes;
    char name[];
};

struct presence_user {
    struct presence_topic *topic;
    uint32_t clients;
    uint32_t hash;
    uint32_t name_bytes;
    char name[];
};

struct presence_member {
    struct list link;
    struct presence_topic *topic;
    struct presence_user *user;
    uint64_t owner;
    uint32_t hash;
    uint32_t conn_info_bytes, chan_info_bytes;
    uint8_t client[PRESENCE_CLIENT_BYTES];
    char infos[]; /* conn_info, chan_info */
};

struct user_key {
    const struct presence_topic *topic;
    const char *name;
    size_t bytes;
};

struct member_key {
    const struct presence_topic *topic;
    const uint8_t *client;
};

static bool topic_equal(const void *entry, const void *key)
{
    const struct presence_topic *topic = entry;
    const struct engine_topic *wanted = key;
    return topic->name_bytes == wanted->bytes && memcmp(topic->name, wanted->name, wanted->bytes) == 0;
}

static bool user_equal(const void *entry, const void *key)
{
    const struct presence_user *user = entry;
    const struct user_key *wanted = key;
    return user->topic == wanted->topic && user->name_bytes == wanted->bytes &&
           (wanted->bytes == 0 || memcmp(user->name, wanted->name, wanted->bytes) == 0);
}

static bool member_equal(const void *entry, const void *key)
{
    const struct presence_member *member = entry;
    const struct member_key *wanted = key;
    return member->topic == wanted->topic &&
           memcmp(member->client, wanted->client, sizeof member->client) == 0;
}

/* Of something on a topic: the same client or user on another topic has another one. */
static uint32_t hash_on(uint32_t topic, const void *name, size_t bytes)
{
    return (topic_hash(bytes > 0 ? name : "", bytes) ^ topic) * 2654435761u;
}

static size_t topic_bytes(const struct presence_topic *topic)
{
    return sizeof *topic + topic->name_bytes;
}

static size_t user_bytes(const struct presence_user *user)
{
    return sizeof *user + user->name_bytes;
}

static size_t member_bytes(const struct presence_member *member)
{
    return sizeof *member + member->conn_info_bytes + member->chan_info_bytes;
}

/* What it says of itself. */
static uint64_t text_bytes(const struct presence_member *member)
{
    return (uint64_t)member->user->name_bytes + member->conn_info_bytes + member->chan_info_bytes;
}

static struct presence_topic *find_topic(const struct presence *presence, struct engine_topic topic)
{
    return table_find(&presence->topics, topic.hash, topic_equal, &topic);
}

static struct presence_member *find_member(const struct presence *presence,
                                           const struct presence_topic *topic, const uint8_t *client)
{
    struct member_key key = {.topic = topic, .client = client};
    uint32_t hash = hash_on(topic->hash, client, PRESENCE_CLIENT_BYTES);
    return table_find(&presence->members, hash, member_equal, &key);
}

static struct presence_user *find_user(const struct presence *presence, const struct presence_topic *topic,
                                       const struct presence_entry *entry)
{
    struct user_key key = {.topic = topic, .name = entry->user, .bytes = entry->user_bytes};
    uint32_t hash = hash_on(topic->hash, entry->user, entry->user_bytes);
    return table_find(&presence->users, hash, user_equal, &key);
}

static struct presence_topic *topic_create(struct engine_topic name)
{
    PG_ASSERT(name.bytes >= 1 && name.bytes <= UINT8_MAX);
    struct presence_topic *topic = malloc(sizeof *topic + name.bytes);
    if (!topic)
        return NULL;
    *topic = (struct presence_topic){.hash = name.hash, .name_bytes = (uint8_t)name.bytes};
    list_init(&topic->members);
    memcpy(topic->name, name.name, name.bytes);
    return topic;
}

static struct presence_user *user_create(struct presence_topic *topic, const struct presence_entry *entry)
{
    if (entry->user_bytes > UINT32_MAX)
        return NULL;
    struct presence_user *user = malloc(sizeof *user + entry->user_bytes);
    if (!user)
        return NULL;
    *user = (struct presence_user){
        .topic = topic,
        .hash = hash_on(topic->hash, entry->user, entry->user_bytes),
        .name_bytes = (uint32_t)entry->user_bytes,
    };
    if (entry->user_bytes > 0)
        memcpy(user->name, entry->user, entry->user_bytes);
    return user;
}

static struct presence_member *member_create(struct presence_topic *topic, const struct presence_entry *entry)
{
    if (entry->conn_info_bytes > UINT32_MAX || entry->chan_info_bytes > UINT32_MAX)
        return NULL;
    struct presence_member *member = malloc(sizeof *member + entry->conn_info_bytes + entry->chan_info_bytes);
    if (!member)
        return NULL;
    *member = (struct presence_member){
        .topic = topic,
        .owner = entry->owner,
        .hash = hash_on(topic->hash, entry->client, sizeof entry->client),
        .conn_info_bytes = (uint32_t)entry->conn_info_bytes,
        .chan_info_bytes = (uint32_t)entry->chan_info_bytes,
    };
    memcpy(member->client, entry->client, sizeof member->client);
    if (entry->conn_info_bytes > 0)
        memcpy(member->infos, entry->conn_info, entry->conn_info_bytes);
    if (entry->chan_info_bytes > 0)
        memcpy(member->infos + entry->conn_info_bytes, entry->chan_info, entry->chan_info_bytes);
    return member;
}

static void link_member(struct presence *presence, struct presence_member *member, struct presence_user *user)
{
    member->user = user;
    user->clients++;
    member->topic->clients++;
    member->topic->text_bytes += text_bytes(member);
    list_append(&member->topic->members, &member->link);
    table_insert(&presence->members, member->hash, member);
    presence->bytes += footprint(member_bytes(member));
}

/* Takes user and topic along when it was their last. */
static void unlink_member(struct presence *presence, struct presence_member *member)
{
    struct presence_topic *topic = member->topic;
    struct presence_user *user = member->user;
    table_remove(&presence->members, member->hash, member);
    list_remove(&member->link);
    presence->bytes -= footprint(member_bytes(member));
    topic->text_bytes -= text_bytes(member);
    free(member);
    if (--user->clients == 0) {
        table_remove(&presence->users, user->hash, user);
        presence->bytes -= footprint(user_bytes(user));
        free(user);
        topic->users--;
    }
    if (--topic->clients == 0) {
        table_remove(&presence->topics, topic->hash, topic);
        presence->bytes -= footprint(topic_bytes(topic));
        free(topic);
    }
}

bool presence_init(struct presence *presence)
{
    *presence = (struct presence){0};
    if (table_init(&presence->topics) && table_init(&presence->members) && table_init(&presence->users))
        return true;
    presence_fini(presence);
    return false;
}

static void free_all(struct table *table)
{
    uint64_t cursor = 0;
    for (void *entry; table->slots && (entry = table_next(table, &cursor));)
        free(entry);
    table_fini(table);
}

void presence_fini(struct presence *presence)
{
    free_all(&presence->members);
    free_all(&presence->users);
    free_all(&presence->topics);
}

enum engine_result presence_add(struct presence *presence, struct engine_topic name,
                                const struct presence_entry *entry, uint32_t max_clients,
                                enum presence_change *change)
{
    struct presence_topic *topic = find_topic(presence, name);
    struct presence_member *old = topic ? find_member(presence, topic, entry->client) : NULL;
    if (topic && !old && max_clients > 0 && topic->clients >= max_clients) {
        *change = PRESENCE_FULL;
        return ENGINE_OK;
    }
    struct presence_topic *fresh_topic = NULL;
    struct presence_user *fresh_user = NULL;
    if (!table_reserve(&presence->topics) || !table_reserve(&presence->members) ||
        !table_reserve(&presence->users))
        return ENGINE_NO_MEMORY;
    if (!topic && !(topic = fresh_topic = topic_create(name)))
        return ENGINE_NO_MEMORY;
    struct presence_user *user = fresh_topic ? NULL : find_user(presence, topic, entry);
    if (!user)
        user = fresh_user = user_create(topic, entry);
    struct presence_member *member = user ? member_create(topic, entry) : NULL;
    if (!member) {
        free(fresh_user);
        free(fresh_topic);
        return ENGINE_NO_MEMORY;
    }

    if (fresh_topic) {
        table_insert(&presence->topics, topic->hash, topic);
        presence->bytes += footprint(topic_bytes(topic));
    }
    if (fresh_user) {
        table_insert(&presence->users, user->hash, user);
        presence->bytes += footprint(user_bytes(user));
        topic->users++;
    }
    link_member(presence, member, user);
    if (old) /* after the new one, so that the topic stays */
        unlink_member(presence, old);
    *change = old ? PRESENCE_UPDATED : PRESENCE_NEW;
    return ENGINE_OK;
}

bool presence_remove(struct presence *presence, struct engine_topic name,
                     const uint8_t client[PRESENCE_CLIENT_BYTES])
{
    struct presence_topic *topic = find_topic(presence, name);
    struct presence_member *member = topic ? find_member(presence, topic, client) : NULL;
    if (!member)
        return false;
    unlink_member(presence, member);
    return true;
}

uint32_t presence_visit(const struct presence *presence, struct engine_topic name,
                        engine_presence_visit_fn *visit, void *context)
{
    const struct presence_topic *topic = find_topic(presence, name);
    if (!topic)
        return 0;
    for (const struct list *link = topic->members.next; link != &topic->members; link = link->next) {
        const struct presence_member *member = LIST_ITEM(link, struct presence_member, link);
        struct presence_entry entry = {
            .owner = member->owner,
            .user = member->user->name,
            .user_bytes = member->user->name_bytes,
            .conn_info = member->infos,
            .conn_info_bytes = member->conn_info_bytes,
            .chan_info = member->infos + member->conn_info_bytes,
            .chan_info_bytes = member->chan_info_bytes,
        };
        memcpy(entry.client, member->client, sizeof entry.client);
        if (!visit(context, &entry))
            break;
    }
    return topic->clients;
}

struct presence_stats presence_stats(const struct presence *presence, struct engine_topic name)
{
    const struct presence_topic *topic = find_topic(presence, name);
    if (!topic)
        return (struct presence_stats){0};
    return (struct presence_stats){
        .clients = topic->clients, .users = topic->users, .text_bytes = topic->text_bytes};
}

uint64_t presence_bytes(const struct presence *presence)
{
    return presence->bytes + footprint(table_bytes(&presence->topics)) +
           footprint(table_bytes(&presence->members)) + footprint(table_bytes(&presence->users));
}

bool presence_validate(const struct presence *presence)
{
    uint64_t cursor = 0, bytes = 0, clients = 0, listed = 0, users = 0, user_clients = 0;
    for (const struct presence_topic *topic; (topic = table_next(&presence->topics, &cursor));) {
        uint32_t members = 0;
        uint64_t texts = 0;
        for (const struct list *link = topic->members.next; link != &topic->members; link = link->next) {
            const struct presence_member *member = LIST_ITEM(link, struct presence_member, link);
            bytes += footprint(member_bytes(member));
            texts += text_bytes(member);
            members++;
            if (member->topic != topic || member->user->topic != topic)
                return false;
        }
        bytes += footprint(topic_bytes(topic));
        clients += topic->clients;
        users += topic->users;
        listed += members;
        if (members == 0 || members != topic->clients || topic->users == 0 || topic->users > members ||
            texts != topic->text_bytes)
            return false;
    }
    cursor = 0;
    for (const struct presence_user *user; (user = table_next(&presence->users, &cursor));) {
        bytes += footprint(user_bytes(user));
        user_clients += user->clients;
        if (user->clients == 0)
            return false;
    }
    return bytes == presence->bytes && clients == presence->members.used && listed == clients &&
           user_clients == clients && users == presence->users.used;
}
