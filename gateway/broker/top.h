/* The heaviest few of many topics, heaviest first; of equal ones the first by name.
 *
 * Thread: one owner. Owner: the caller; all zero is empty.
 */
#pragma once

#include "gateway/broker/message.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TOP_ROWS = 20 };

struct top_row {
    uint64_t weight;
    uint64_t messages, deliveries; /* of traffic */
    uint8_t topic_bytes;
    char topic[TOPIC_BYTES_MAX]; /* not NUL-terminated */
};

struct top {
    uint32_t count;
    struct top_row rows[TOP_ROWS];
};

/* Would this one find a place? For whoever offers many, each once. */
bool top_admits(const struct top *top, const char *topic, size_t topic_bytes, uint64_t weight);
/* Puts a topic where its weight belongs, if that is among the heaviest. One that is there already is there
 * once, with its new weight. `messages` and `deliveries` are kept beside. */
void top_offer(struct top *top, const char *topic, size_t topic_bytes, uint64_t weight, uint64_t messages,
               uint64_t deliveries);
