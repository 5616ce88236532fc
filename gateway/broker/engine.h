/* The engine: a topic's history and presence behind one interface. The first implementation keeps both in
 * memory (engine_memory.h); one over a broker that several gateways share can stand in its place.
 *
 * Thread: one, the broker's, for every operation and every completion. Only history items leave it: whoever
 * holds a reference may read one and drop it on any thread.
 * Owner: what a caller passes in lives for that call only (engines copy what they keep); what a completion is
 * given lives for that completion only, but for references to items, each of which is the caller's to drop.
 *
 * Completions. Every operation ends in exactly one call of its `done`, on this thread: before the operation
 * returns (memory), or later (an engine that asks others). When it is called the engine's state is whole, so
 * it may start further operations; `visit` may not. Operations on one topic take effect in the order in which
 * they were started.
 *
 * What holds in every engine, one process or a cluster of gateways:
 *
 * - A topic with history is a stream. Its publications are numbered from 1 without gaps, whichever gateway
 *   they came through, and all gateways see them in that order. An offset is given out once within an epoch.
 * - An epoch is a random number that names one life of a stream. It changes whenever publications could have
 *   been lost or numbered anew without a trace: the stream's metadata (top offset and epoch) was evicted, the
 *   process that alone had it started again, the cluster's storage was restored. While it stays the same,
 *   (epoch, offset) names the same publication for ever, so "epoch equal, and nothing stored is missing after
 *   that offset" is proof that a client can be brought up to date. Metadata outlives the items: a topic whose
 *   items have expired still knows that a client has missed some, or none.
 * - What recovery reports is exact: a gap is never passed over in silence. Being unable to tell is a gap.
 * - A presence entry belongs to the gateway that holds the connection (`owner`), and only that gateway adds,
 *   renews or removes it. In a cluster it is held under a lease which the owner's engine renews for all of
 * its entries; when a gateway dies, its entries end when the lease does, without its doing. In one process
 * the lease is the process.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stream_position {
    uint64_t offset; /* of the last publication; 0: none yet */
    uint64_t epoch;  /* never 0 for a stream that exists */
};

enum { EPOCH_TEXT_BYTES = 17 }; /* 16 hexadecimal digits and NUL */
/* As clients see an epoch: 16 digits, lower case, NUL-terminated. */
void epoch_format(uint64_t epoch, char out[EPOCH_TEXT_BYTES]);
/* False when the text is not what epoch_format() writes for an epoch other than 0. */
bool epoch_parse(const char *text, size_t bytes, uint64_t *epoch) __attribute__((warn_unused_result));

/* What is published; also how an item's contents are given to an engine. */
struct history_contents {
    const void *payload;
    size_t payload_bytes;
    const char *info; /* JSON of the client that published; info_bytes 0: none */
    size_t info_bytes;
    const char *tags; /* JSON object of strings; tags_bytes 0: none */
    size_t tags_bytes;
    uint64_t published_ms; /* wall clock, milliseconds since 1970 */
    bool text;             /* payload is valid UTF-8 */
    bool json;             /* payload is valid JSON */
};

/* One stored publication: immutable, reference-counted, one allocation. */
struct history_item {
    _Atomic uint32_t refs;
    uint32_t payload_bytes, info_bytes, tags_bytes;
    uint64_t offset; /* in its stream, from 1 */
    uint64_t published_ms;
    bool text, json;
    uint8_t data[]; /* payload, info, tags; nothing between or after them */
};

/* One reference, the caller's. NULL without memory, or when a part is larger than 4 GiB. */
struct history_item *history_item_create(const struct history_contents *contents, uint64_t offset)
    __attribute__((warn_unused_result));
static inline struct history_item *history_item_ref(struct history_item *item)
{
    atomic_fetch_add_explicit(&item->refs, 1, memory_order_relaxed);
    return item;
}
void history_item_unref(struct history_item *item); /* any thread; the last one frees */
static inline const void *history_item_payload(const struct history_item *item)
{
    return item->data;
}
static inline const char *history_item_info(const struct history_item *item) /* not NUL-terminated */
{
    return (const char *)item->data + item->payload_bytes;
}
static inline const char *history_item_tags(const struct history_item *item) /* not NUL-terminated */
{
    return (const char *)item->data + item->payload_bytes + item->info_bytes;
}

enum engine_result {
    ENGINE_OK,
    ENGINE_NO_MEMORY,   /* nothing changed */
    ENGINE_UNAVAILABLE, /* others could not be asked in time: whether it took effect is not known */
};

struct engine_topic {
    const char *name; /* not NUL-terminated */
    size_t bytes;     /* 1 … 255 */
    uint32_t hash;    /* topic_hash(name, bytes) */
};

/* How much of a topic's history is kept. May change from call to call (configuration reloaded): the last
 * one holds. */
struct history_options {
    uint32_t size;   /* items; 0: none is kept, offsets still count */
    uint64_t ttl_ms; /* 0: no bound by age */
};

/* What of the items is of use to the reader, with since_set; what is of none is not given. */
enum history_demand {
    HISTORY_ANY,        /* whatever is there */
    HISTORY_CONTINUOUS, /* nothing when something is missing behind `since` */
    HISTORY_WHOLE,      /* nothing unless it is all that was missed: `recovered` */
};

/* An item counts for so much beside its payload, info and tags: no client gets one for less. */
enum { HISTORY_ITEM_BYTES = 16 };

/* Which items to read, and what they are for.
 *
 * Forward (reverse false): those after since.offset, or from the oldest when since_set is false, ascending.
 * Reverse: those before since.offset, or from the newest when since_set is false, descending. */
struct history_filter {
    bool since_set;
    /* Where the reader has got to. Epoch 0 means that the reader does not know it: the offset alone is
     * judged, as for /ws?topic=…&since=OFFSET. Then a stream that began anew and has already passed that
     * offset looks like the old one; who may not be fooled must bring the epoch. */
    struct stream_position since;
    uint32_t limit; /* items at most; 0: only the position; UINT32_MAX: all */
    bool reverse;
    enum history_demand demand;
    uint64_t bytes; /* of items at most, but for HISTORY_WHOLE at least one item; 0: no bound */
};

struct history_page {
    struct stream_position top; /* of the stream, after the read */
    /* With since_set: the epoch is this stream's (or 0), the offset lies in it, and no item that once stood
     * between `since` and the first of `items` is missing. False: what follows `since` has a gap, or it is
     * another stream (then there are no items). False without since_set. */
    bool continuous;
    /* continuous, forward, and `items` reach the top: the reader has missed exactly `items`. Holds with
     * count 0 when since is the top. A limit that cuts them short makes it false. */
    bool recovered;
    uint32_t count;
    uint64_t bytes;                    /* of the items, with HISTORY_ITEM_BYTES each */
    struct history_item *const *items; /* the array is the engine's, the references are the caller's */
};

enum { PRESENCE_CLIENT_BYTES = 16 };

/* One connection on a topic. Texts are not NUL-terminated; 0 bytes: none. */
struct presence_entry {
    uint8_t client[PRESENCE_CLIENT_BYTES]; /* UUID of the connection */
    uint64_t owner;                        /* id of the gateway that holds it */
    const char *user;                      /* "" is a user like any other: all anonymous clients */
    size_t user_bytes;
    const char *conn_info; /* JSON */
    size_t conn_info_bytes;
    const char *chan_info; /* JSON */
    size_t chan_info_bytes;
};

enum presence_change {
    PRESENCE_NEW,
    PRESENCE_UPDATED, /* the client was there: its entry is replaced */
    PRESENCE_FULL,    /* the topic has its maximum of clients: nothing changed */
};

struct presence_stats {
    uint32_t clients;
    uint32_t users;      /* distinct */
    uint64_t text_bytes; /* of all clients' users, conn_infos and chan_infos */
};

/* Gauges and counters of this process; evicted_* and streams_* since it started. */
struct engine_stats {
    uint64_t streams; /* with items or metadata only */
    uint64_t streams_empty;
    uint64_t items;
    uint64_t history_bytes;   /* items, metadata, tables: what the bound on memory is held against */
    uint64_t presence_topics; /* with at least one entry */
    uint64_t presence_entries;
    uint64_t presence_bytes;
    uint64_t evicted_size;    /* items, by reason: the topic's size, */
    uint64_t evicted_ttl;     /* its age, */
    uint64_t evicted_memory;  /* the bound on memory */
    uint64_t streams_expired; /* metadata dropped: unused for its time, */
    uint64_t streams_evicted; /* the bound on memory. Either way the topic's next epoch is another */
};

/* ENGINE_OK: `position` is the publication's own; `item` a reference for the caller. Else item is NULL. */
typedef void engine_append_fn(void *context, enum engine_result result, struct stream_position position,
                              struct history_item *item);
/* `page` is never NULL; all zero unless ENGINE_OK. */
typedef void engine_read_fn(void *context, enum engine_result result, const struct history_page *page);
typedef void engine_remove_fn(void *context, enum engine_result result);
typedef void engine_presence_add_fn(void *context, enum engine_result result, enum presence_change change);
typedef void engine_presence_remove_fn(void *context, enum engine_result result, bool removed);
/* False: the caller needs no more of them. */
typedef bool engine_presence_visit_fn(void *context, const struct presence_entry *entry);
typedef void engine_presence_get_fn(void *context, enum engine_result result, uint32_t entries);
typedef void engine_presence_stats_fn(void *context, enum engine_result result, struct presence_stats stats);

struct engine;

/* now_ms: milliseconds of a clock that never steps (clock_monotonic), for ages and for what was used last.
 * A value before an earlier one counts as that one. */
struct engine_ops {
    const char *name; /* in logs and metrics */
    /* Operations under way end with ENGINE_UNAVAILABLE before it returns. Items that others hold live on. */
    void (*destroy)(struct engine *engine);

    /* Numbers and stores a publication. What then is too much goes: the topic's oldest past its size, and
     * past the bound on memory the histories of the topics unused longest (used: appended to or read). */
    void (*append)(struct engine *engine, struct engine_topic topic, const struct history_options *options,
                   const struct history_contents *contents, uint64_t now_ms, engine_append_fn *done,
                   void *context);
    /* Reads, and makes the stream when there is none (offset 0, a new epoch): who subscribes to a topic that
     * has no publications yet can recover its first ones later. */
    void (*read)(struct engine *engine, struct engine_topic topic, const struct history_options *options,
                 const struct history_filter *filter, uint64_t now_ms, engine_read_fn *done, void *context);
    /* Drops the items; offset and epoch stay. ENGINE_OK when there was nothing, too. */
    void (*remove)(struct engine *engine, struct engine_topic topic, uint64_t now_ms, engine_remove_fn *done,
                   void *context);

    /* max_clients bounds the topic's entries (0: no bound); it does not hinder updates. */
    void (*presence_add)(struct engine *engine, struct engine_topic topic, const struct presence_entry *entry,
                         uint32_t max_clients, engine_presence_add_fn *done, void *context);
    void (*presence_remove)(struct engine *engine, struct engine_topic topic,
                            const uint8_t client[PRESENCE_CLIENT_BYTES], engine_presence_remove_fn *done,
                            void *context);
    /* Calls visit for each entry, in no order, until it returns false, and then done; both with the same
     * context. `entries` are all that there are. */
    void (*presence_get)(struct engine *engine, struct engine_topic topic, engine_presence_visit_fn *visit,
                         engine_presence_get_fn *done, void *context);
    void (*presence_stats)(struct engine *engine, struct engine_topic topic, engine_presence_stats_fn *done,
                           void *context);

    /* Expires what is too old, a bounded amount in one call. Returns the milliseconds until the next call is
     * wanted: 0 when more is waiting already, UINT64_MAX when nothing will expire. Reads are exact without
     * it; it gives memory back. Call it after every batch of operations, too: O(1) when nothing is due. */
    uint64_t (*maintain)(struct engine *engine, uint64_t now_ms);
    struct engine_stats (*stats)(const struct engine *engine);
};

/* First member of every implementation. */
struct engine {
    const struct engine_ops *ops;
};
