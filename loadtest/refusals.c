/* Sorted numbers of each topic. */
#include "loadtest/refusals.h"

#include <stdlib.h>

struct refusals_topic {
    uint32_t *numbers;
    uint32_t count, cap;
};

static bool grow(struct refusals_topic *of)
{
    if (of->count < of->cap)
        return true;
    uint32_t cap = of->cap > 0 ? of->cap * 2 : 4;
    uint32_t *grown = realloc(of->numbers, cap * sizeof(*grown));
    if (!grown)
        return false;
    of->numbers = grown;
    of->cap = cap;
    return true;
}

/* How many are below `end`. */
static uint32_t count_below(const struct refusals_topic *of, uint64_t end)
{
    uint32_t low = 0, high = of->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (of->numbers[middle] < end)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void refusals_init(struct refusals *refusals, uint64_t topics)
{
    *refusals = (struct refusals){.topics = topics};
    pthread_mutex_init(&refusals->lock, NULL);
}

void refusals_fini(struct refusals *refusals)
{
    for (uint64_t i = 0; refusals->of && i < refusals->topics; i++)
        free(refusals->of[i].numbers);
    free(refusals->of);
    pthread_mutex_destroy(&refusals->lock);
    *refusals = (struct refusals){0};
}

bool refusals_add(struct refusals *refusals, uint32_t topic, uint32_t number)
{
    pthread_mutex_lock(&refusals->lock);
    if (!refusals->of)
        refusals->of = calloc(refusals->topics, sizeof(*refusals->of));
    bool added = refusals->of && grow(&refusals->of[topic]);
    if (added) {
        refusals->of[topic].numbers[refusals->of[topic].count++] = number;
        atomic_fetch_add_explicit(&refusals->count, 1, memory_order_release);
    }
    pthread_mutex_unlock(&refusals->lock);
    return added;
}

uint64_t refusals_count(struct refusals *refusals, uint32_t topic, uint64_t from, uint64_t to)
{
    if (from >= to || atomic_load_explicit(&refusals->count, memory_order_acquire) == 0)
        return 0;
    pthread_mutex_lock(&refusals->lock);
    const struct refusals_topic *of = &refusals->of[topic];
    uint64_t count = count_below(of, to) - count_below(of, from);
    pthread_mutex_unlock(&refusals->lock);
    return count;
}
