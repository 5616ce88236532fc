#include "gateway/publisher_channels.h"

#include "gateway/base/assert.h"
#include "gateway/broker/message.h"

#include <stdlib.h>
#include <string.h>

enum { BUCKETS_MIN = 16 };

/* Chains
 * ------------------------------------------------------------------------------------------------------------
 */

static bool chains_init(struct chains *chains)
{
    chains->buckets = calloc(BUCKETS_MIN, sizeof *chains->buckets);
    chains->mask = BUCKETS_MIN - 1;
    return chains->buckets != NULL;
}

/* Without memory the old ones stay: slower, not wrong. */
static void chains_resize(struct chains *chains, uint32_t count)
{
    struct chain_link **buckets = calloc(count, sizeof *buckets);
    if (!buckets)
        return;
    for (uint32_t i = 0; i <= chains->mask; i++)
        for (struct chain_link *link = chains->buckets[i], *next; link; link = next) {
            next = link->next;
            link->next = buckets[link->hash & (count - 1)];
            buckets[link->hash & (count - 1)] = link;
        }
    free(chains->buckets);
    chains->buckets = buckets;
    chains->mask = count - 1;
}

static void chains_insert(struct chains *chains, struct chain_link *link, uint32_t hash)
{
    if (chains->used > chains->mask && chains->mask < UINT32_MAX / 4)
        chains_resize(chains, (chains->mask + 1) * 2);
    link->hash = hash;
    link->next = chains->buckets[hash & chains->mask];
    chains->buckets[hash & chains->mask] = link;
    chains->used++;
}

static void chains_remove(struct chains *chains, struct chain_link *link)
{
    struct chain_link **at = &chains->buckets[link->hash & chains->mask];
    while (*at != link) {
        PG_ASSERT(*at != NULL);
        at = &(*at)->next;
    }
    *at = link->next;
    chains->used--;
    if (chains->mask >= BUCKETS_MIN && chains->used < (chains->mask + 1) / 8)
        chains_resize(chains, (chains->mask + 1) / 4);
}

/* Names
 * ------------------------------------------------------------------------------------------------------------
 */

static struct channel *find(const struct channels *channels, bool pattern, const char *name, size_t bytes,
                            uint32_t hash)
{
    for (struct chain_link *link = channels->names.buckets[hash & channels->names.mask]; link;
         link = link->next) {
        struct channel *channel = LIST_ITEM(link, struct channel, link);
        if (link->hash == hash && channel->pattern == pattern && channel->bytes == bytes &&
            memcmp(channel->name, name, bytes) == 0)
            return channel;
    }
    return NULL;
}

/* The empty name is one like any other; a hash takes no NULL. */
static uint32_t hash_of(const char *name, size_t bytes)
{
    return topic_hash(bytes > 0 ? name : "", bytes);
}

static struct channel *create(struct channels *channels, bool pattern, const char *name, size_t bytes,
                              uint32_t hash)
{
    PG_ASSERT(bytes <= CHANNEL_BYTES_MAX);
    struct channel *channel = malloc(sizeof *channel + bytes);
    if (!channel)
        return NULL;
    *channel = (struct channel){
        .pattern = pattern, .event = channel_is_event(name, bytes), .bytes = (uint16_t)bytes};
    if (bytes > 0)
        memcpy(channel->name, name, bytes);
    list_init(&channel->subscriptions);
    list_init(&channel->listed);
    if (pattern)
        list_append(&channels->patterns[channel->event], &channel->listed);
    channels->pattern_count += pattern;
    channels->channel_count += !pattern;
    channels->event_count += channel->event;
    chains_insert(&channels->names, &channel->link, hash);
    return channel;
}

static void destroy(struct channels *channels, struct channel *channel)
{
    chains_remove(&channels->names, &channel->link);
    list_remove(&channel->listed);
    channels->pattern_count -= channel->pattern;
    channels->channel_count -= !channel->pattern;
    channels->event_count -= channel->event;
    free(channel);
}

/* Subscriptions
 * ----------------------------------------------------------------------------------------------------
 */

/* Addresses, mixed so that all their bits count (Fibonacci hashing). */
static uint32_t pair_hash(const struct channel *channel, const struct listener *listener)
{
    uint64_t hash = (uint64_t)(uintptr_t)channel * UINT64_C(0x9e3779b97f4a7c15);
    hash = (hash ^ hash >> 32 ^ (uint64_t)(uintptr_t)listener) * UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(hash >> 32);
}

static struct subscription *find_subscription(const struct channels *channels, const struct channel *channel,
                                              const struct listener *listener)
{
    uint32_t hash = pair_hash(channel, listener);
    for (struct chain_link *link = channels->subscriptions.buckets[hash & channels->subscriptions.mask]; link;
         link = link->next) {
        struct subscription *subscription = LIST_ITEM(link, struct subscription, link);
        if (subscription->channel == channel && subscription->listener == listener)
            return subscription;
    }
    return NULL;
}

static void end_subscription(struct channels *channels, struct subscription *subscription)
{
    struct channel *channel = subscription->channel;
    struct listener *listener = subscription->listener;
    chains_remove(&channels->subscriptions, &subscription->link);
    list_remove(&subscription->by_channel);
    list_remove(&subscription->by_listener);
    free(subscription);
    listener->pattern_count -= channel->pattern;
    listener->channel_count -= !channel->pattern;
    if (listener_count(listener) == 0)
        channels->listener_count--;
    if (--channel->subscribers == 0)
        destroy(channels, channel);
}

/* The whole
 * ----------------------------------------------------------------------------------------------------------
 */

bool channels_init(struct channels *channels)
{
    *channels = (struct channels){0};
    list_init(&channels->patterns[false]);
    list_init(&channels->patterns[true]);
    if (chains_init(&channels->names) && chains_init(&channels->subscriptions))
        return true;
    channels_fini(channels);
    return false;
}

void channels_fini(struct channels *channels)
{
    PG_ASSERT(channels->names.used == 0 && channels->subscriptions.used == 0);
    free(channels->names.buckets);
    free(channels->subscriptions.buckets);
    *channels = (struct channels){0};
}

void listener_init(struct listener *listener)
{
    *listener = (struct listener){0};
    list_init(&listener->channels);
    list_init(&listener->patterns);
}

bool channel_is_event(const char *name, size_t bytes)
{
    return bytes >= sizeof EVENT_PREFIX - 1 && memcmp(name, EVENT_PREFIX, sizeof EVENT_PREFIX - 1) == 0;
}

struct channel *channels_find(const struct channels *channels, bool pattern, const char *name, size_t bytes)
{
    return find(channels, pattern, name, bytes, hash_of(name, bytes));
}

bool channels_has(const struct channels *channels, const struct listener *listener, bool pattern,
                  const char *name, size_t bytes)
{
    const struct channel *channel = channels_find(channels, pattern, name, bytes);
    return channel && find_subscription(channels, channel, listener);
}

enum channels_added channels_add(struct channels *channels, struct listener *listener, bool pattern,
                                 const char *name, size_t bytes)
{
    uint32_t hash = hash_of(name, bytes);
    struct channel *channel = find(channels, pattern, name, bytes, hash);
    if (channel && find_subscription(channels, channel, listener))
        return CHANNELS_ALREADY;
    struct subscription *subscription = calloc(1, sizeof *subscription);
    if (subscription && !channel)
        channel = create(channels, pattern, name, bytes, hash);
    if (!subscription || !channel) {
        free(subscription);
        return CHANNELS_NO_MEMORY;
    }
    if (listener_count(listener) == 0)
        channels->listener_count++;
    listener->pattern_count += pattern;
    listener->channel_count += !pattern;
    channel->subscribers++;
    subscription->channel = channel;
    subscription->listener = listener;
    list_append(&channel->subscriptions, &subscription->by_channel);
    list_append(pattern ? &listener->patterns : &listener->channels, &subscription->by_listener);
    chains_insert(&channels->subscriptions, &subscription->link, pair_hash(channel, listener));
    return CHANNELS_ADDED;
}

bool channels_remove(struct channels *channels, struct listener *listener, bool pattern, const char *name,
                     size_t bytes)
{
    const struct channel *channel = channels_find(channels, pattern, name, bytes);
    struct subscription *subscription = channel ? find_subscription(channels, channel, listener) : NULL;
    if (!subscription)
        return false;
    end_subscription(channels, subscription);
    return true;
}

void channels_forget(struct channels *channels, struct listener *listener)
{
    struct list *lists[] = {&listener->channels, &listener->patterns};
    for (size_t i = 0; i < 2; i++)
        for (struct list *link = lists[i]->next, *next; link != lists[i]; link = next) {
            next = link->next;
            end_subscription(channels, LIST_ITEM(link, struct subscription, by_listener));
        }
}

void channels_visit(const struct channels *channels, channels_visit_fn *visit, void *context)
{
    for (uint32_t i = 0; i <= channels->names.mask; i++)
        for (const struct chain_link *link = channels->names.buckets[i]; link; link = link->next) {
            const struct channel *channel = LIST_ITEM(link, struct channel, link);
            if (!channel->pattern)
                visit(context, channel);
        }
}

uint32_t channels_validate(const struct channels *channels)
{
    uint32_t names = 0, patterns = 0, events = 0, subscriptions = 0;
    for (uint32_t i = 0; i <= channels->names.mask; i++)
        for (const struct chain_link *link = channels->names.buckets[i]; link; link = link->next, names++) {
            const struct channel *channel = LIST_ITEM(link, struct channel, link);
            uint32_t subscribers = 0;
            for (const struct list *at = channel->subscriptions.next; at != &channel->subscriptions;
                 at = at->next, subscribers++) {
                const struct subscription *one = LIST_ITEM(at, struct subscription, by_channel);
                PG_ASSERT(one->channel == channel);
                PG_ASSERT(find_subscription(channels, channel, one->listener) == one);
            }
            PG_ASSERT(subscribers > 0 && subscribers == channel->subscribers);
            PG_ASSERT((link->hash & channels->names.mask) == i);
            PG_ASSERT(list_empty(&channel->listed) != channel->pattern);
            patterns += channel->pattern;
            events += channel->event;
            subscriptions += subscribers;
        }
    PG_ASSERT(names == channels->names.used && patterns == channels->pattern_count);
    PG_ASSERT(names - patterns == channels->channel_count && events == channels->event_count);
    PG_ASSERT(subscriptions == channels->subscriptions.used);
    return subscriptions;
}
