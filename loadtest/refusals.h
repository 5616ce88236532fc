/* Which messages the endpoint has refused to publish: nobody can miss those.
 *
 * Thread: refusals_add by the publisher, refusals_count by any; a lock guards what `count` > 0 says is there.
 * Owner: whoever called refusals_init, and calls refusals_fini when no other thread is left.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct refusals {
    _Atomic uint64_t count;
    uint64_t topics;
    pthread_mutex_t lock;
    struct refusals_topic *of; /* per topic; NULL while there are none */
};

void refusals_init(struct refusals *refusals, uint64_t topics);
void refusals_fini(struct refusals *refusals);
/* Numbers of one topic come in rising order. False without memory. */
bool refusals_add(struct refusals *refusals, uint32_t topic, uint32_t number)
    __attribute__((warn_unused_result));
/* How many of the topic's numbers from `from` up to and without `to` have been refused so far. */
uint64_t refusals_count(struct refusals *refusals, uint32_t topic, uint64_t from, uint64_t to);
