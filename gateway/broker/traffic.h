/* Which topics have the most traffic of late: bytes published times connections that they were queued to.
 *
 * Space-Saving (Metwally, Agrawal, El Abbadi, 2005) in sets, as a cache has them: a topic's hash says in
 * which set it is looked for, and there it takes the place of the lightest. So a charge looks at eight
 * places, however many topics there are. In one set, a topic with more than an eighth of the set's bytes is
 * always there, and what is told of it is never more than was charged to it.
 *
 * Two windows: the one being filled, of up to a minute, and the one before it, so that what is told is one to
 * two minutes long once as much time has passed.
 *
 * Thread: the broker's. Owner: the broker.
 */
#pragma once

#include "gateway/broker/top.h"

enum {
    TRAFFIC_WAYS = 8,
    TRAFFIC_SETS = 16, /* a power of two */
};
#define TRAFFIC_WINDOW_NS UINT64_C(60000000000)

struct traffic_place {
    uint64_t inherited; /* of the weight: what others had charged before this one took the place */
    uint64_t messages, deliveries;
    uint8_t topic_bytes; /* 0: free */
    char topic[TOPIC_BYTES_MAX];
};

struct traffic_set {
    uint32_t hashes[TRAFFIC_WAYS];
    uint64_t weights[TRAFFIC_WAYS]; /* bytes; 0 where it is free */
    struct traffic_place places[TRAFFIC_WAYS];
};

struct traffic_window {
    uint64_t began_ns;
    struct traffic_set sets[TRAFFIC_SETS];
};

struct traffic {
    unsigned filling; /* windows[filling] is being filled */
    bool full;        /* the other one is whole */
    struct traffic_window windows[2];
};

struct traffic *traffic_create(uint64_t now_ns); /* NULL without memory; free() ends it */
void traffic_charge(struct traffic *traffic, uint64_t now_ns, uint32_t hash, const char *topic,
                    size_t topic_bytes, uint64_t deliveries, uint64_t payload_bytes);
/* The heaviest, weighed by bytes. Returns how many nanoseconds of traffic they were found in. */
uint64_t traffic_top(struct traffic *traffic, uint64_t now_ns, struct top *out);
