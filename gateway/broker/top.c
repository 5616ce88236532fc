/* A sorted array: most topics of many are lighter than its last row, and cost one comparison. */
#include "gateway/broker/top.h"

#include "gateway/base/assert.h"

#include <string.h>

/* Does this one stand before the row? */
static bool before(const struct top_row *row, const char *topic, size_t topic_bytes, uint64_t weight)
{
    if (weight != row->weight)
        return weight > row->weight;
    size_t shorter = topic_bytes < row->topic_bytes ? topic_bytes : row->topic_bytes;
    int order = memcmp(topic, row->topic, shorter);
    return order < 0 || (order == 0 && topic_bytes < row->topic_bytes);
}

bool top_admits(const struct top *top, const char *topic, size_t topic_bytes, uint64_t weight)
{
    return top->count < TOP_ROWS || before(&top->rows[TOP_ROWS - 1], topic, topic_bytes, weight);
}

static void take_out(struct top *top, const char *topic, size_t topic_bytes)
{
    for (uint32_t i = 0; i < top->count; i++) {
        const struct top_row *row = &top->rows[i];
        if (row->topic_bytes != topic_bytes || memcmp(row->topic, topic, topic_bytes) != 0)
            continue;
        top->count--;
        memmove(&top->rows[i], &top->rows[i + 1], (top->count - i) * sizeof top->rows[i]);
        return;
    }
}

void top_offer(struct top *top, const char *topic, size_t topic_bytes, uint64_t weight, uint64_t messages,
               uint64_t deliveries)
{
    PG_ASSERT(topic_bytes >= 1 && topic_bytes <= TOPIC_BYTES_MAX);
    take_out(top, topic, topic_bytes);
    uint32_t at = top->count;
    while (at > 0 && before(&top->rows[at - 1], topic, topic_bytes, weight))
        at--;
    if (at == TOP_ROWS)
        return;
    uint32_t moved = top->count - at;
    if (top->count == TOP_ROWS)
        moved--;
    else
        top->count++;
    memmove(&top->rows[at + 1], &top->rows[at], moved * sizeof top->rows[at]);
    struct top_row *row = &top->rows[at];
    row->weight = weight;
    row->messages = messages;
    row->deliveries = deliveries;
    row->topic_bytes = (uint8_t)topic_bytes;
    memcpy(row->topic, topic, topic_bytes);
}
