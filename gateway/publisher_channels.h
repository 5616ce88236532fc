/* Who on the publish socket listens to what: channels by their exact name, patterns by Redis' globs.
 *
 * A channel is a topic's name, or the name of an event, which begins with EVENT_PREFIX (README, "Listen").
 * Events are told only to those who ask for events: a pattern that does not begin with the prefix itself
 * matches topics only.
 *
 * Thread: the publisher's. Owner: the tables own channels and subscriptions; listeners are embedded in what
 * their owner has, and forgotten (channels_forget) before they go.
 */
#pragma once

#include "gateway/adapter/adapter.h"
#include "gateway/base/list.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EVENT_PREFIX "pushgate:"
#define EVENT_JOIN   EVENT_PREFIX "join:"
#define EVENT_LEAVE  EVENT_PREFIX "leave:"
#define EVENT_CLIENT EVENT_PREFIX "client:"

/* No longer name can be the name of anything. */
enum { CHANNEL_BYTES_MAX = TOPIC_BYTES_MAX + sizeof EVENT_CLIENT - 1 };

struct listener {
    struct list channels, patterns; /* of subscription.by_listener, oldest first */
    uint32_t channel_count, pattern_count;
};

struct chain_link {
    struct chain_link *next;
    uint32_t hash;
};

/* Open hashing; the number of buckets follows the number of entries both ways. */
struct chains {
    struct chain_link **buckets;
    uint32_t mask; /* buckets − 1 */
    uint32_t used;
};

/* Exists while somebody listens to it. */
struct channel {
    struct chain_link link;    /* in channels.names */
    struct list listed;        /* a pattern: in channels.patterns[event] */
    struct list subscriptions; /* of subscription.by_channel, oldest first */
    uint32_t subscribers;
    bool pattern, event;
    uint16_t bytes;
    char name[]; /* not NUL-terminated */
};

struct subscription {
    struct chain_link link; /* in channels.subscriptions */
    struct list by_channel, by_listener;
    struct channel *channel;
    struct listener *listener;
};

struct channels {
    struct chains names, subscriptions;
    struct list patterns[2]; /* of topics; of events. Oldest first */
    uint32_t pattern_count;  /* distinct ones */
    uint32_t channel_count;  /* distinct ones */
    uint32_t listener_count; /* with at least one subscription */
    uint32_t event_count;    /* of names: channels and patterns of events */
};

bool channels_init(struct channels *channels) __attribute__((warn_unused_result)); /* false without memory */
void channels_fini(struct channels *channels); /* all listeners forgotten */

void listener_init(struct listener *listener);
static inline uint32_t listener_count(const struct listener *listener)
{
    return listener->channel_count + listener->pattern_count;
}

/* Does the name belong to an event, or the pattern to events? */
bool channel_is_event(const char *name, size_t bytes);

/* NULL when nobody listens to it. */
struct channel *channels_find(const struct channels *channels, bool pattern, const char *name, size_t bytes);
bool channels_has(const struct channels *channels, const struct listener *listener, bool pattern,
                  const char *name, size_t bytes);

enum channels_added { CHANNELS_ADDED, CHANNELS_ALREADY, CHANNELS_NO_MEMORY };
/* At most CHANNEL_BYTES_MAX bytes. */
enum channels_added channels_add(struct channels *channels, struct listener *listener, bool pattern,
                                 const char *name, size_t bytes) __attribute__((warn_unused_result));
/* False: it did not listen to that. A channel that nobody listens to any more is gone. */
bool channels_remove(struct channels *channels, struct listener *listener, bool pattern, const char *name,
                     size_t bytes);
/* Everything of one listener. Harmless when it has nothing. */
void channels_forget(struct channels *channels, struct listener *listener);

/* Calls visit for each channel (not patterns), in no order. */
typedef void channels_visit_fn(void *context, const struct channel *channel);
void channels_visit(const struct channels *channels, channels_visit_fn *visit, void *context);

/* Aborts when something does not fit: for tests. Returns the number of subscriptions. */
uint32_t channels_validate(const struct channels *channels);
