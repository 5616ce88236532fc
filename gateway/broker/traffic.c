#include "gateway/broker/traffic.h"

#include <stdlib.h>
#include <string.h>

struct traffic *traffic_create(uint64_t now_ns)
{
    struct traffic *traffic = calloc(1, sizeof *traffic);
    if (traffic)
        traffic->windows[0].began_ns = now_ns;
    return traffic;
}

/* Begins the next window when this one has had its minute. The other one is of use only when it ended just
 * now. */
static void turn(struct traffic *traffic, uint64_t now_ns)
{
    uint64_t began = traffic->windows[traffic->filling].began_ns;
    if (now_ns < began + TRAFFIC_WINDOW_NS)
        return;
    traffic->full = now_ns < began + 2 * TRAFFIC_WINDOW_NS;
    traffic->filling = !traffic->filling;
    struct traffic_window *window = &traffic->windows[traffic->filling];
    memset(window, 0, sizeof *window);
    window->began_ns = traffic->full ? began + TRAFFIC_WINDOW_NS : now_ns;
}

static struct traffic_set *set_of(struct traffic_window *window, uint32_t hash)
{
    return &window->sets[hash >> 28 & (TRAFFIC_SETS - 1)];
}

/* The topic's way, TRAFFIC_WAYS: it has none. */
static unsigned find(const struct traffic_set *set, uint32_t hash, const char *topic, size_t topic_bytes)
{
    unsigned way = 0;
    for (; way < TRAFFIC_WAYS; way++)
        if (set->hashes[way] == hash && set->places[way].topic_bytes == topic_bytes &&
            memcmp(set->places[way].topic, topic, topic_bytes) == 0)
            break;
    return way;
}

static unsigned lightest(const struct traffic_set *set)
{
    unsigned least = 0;
    for (unsigned way = 1; way < TRAFFIC_WAYS; way++)
        if (set->weights[way] < set->weights[least])
            least = way;
    return least;
}

void traffic_charge(struct traffic *traffic, uint64_t now_ns, uint32_t hash, const char *topic,
                    size_t topic_bytes, uint64_t deliveries, uint64_t payload_bytes)
{
    turn(traffic, now_ns);
    struct traffic_set *set = set_of(&traffic->windows[traffic->filling], hash);
    unsigned way = find(set, hash, topic, topic_bytes);
    if (way == TRAFFIC_WAYS) {
        way = lightest(set);
        struct traffic_place *place = &set->places[way];
        place->inherited = set->weights[way];
        place->messages = place->deliveries = 0;
        place->topic_bytes = (uint8_t)topic_bytes;
        memcpy(place->topic, topic, topic_bytes);
        set->hashes[way] = hash;
    }
    set->weights[way] += deliveries * payload_bytes + 1; /* an empty message is traffic, too */
    set->places[way].messages++;
    set->places[way].deliveries += deliveries;
}

/* What was charged to a topic itself: since it took its place, hence not more than in all. */
static uint64_t own_bytes(const struct traffic_set *set, unsigned way)
{
    return set->weights[way] - set->places[way].inherited - set->places[way].messages;
}

static void offer_all(struct traffic_window *window, struct traffic_window *other, struct top *out)
{
    for (unsigned s = 0; s < TRAFFIC_SETS; s++) {
        for (unsigned way = 0; way < TRAFFIC_WAYS; way++) {
            const struct traffic_set *set = &window->sets[s];
            const struct traffic_place *place = &set->places[way];
            if (place->topic_bytes == 0)
                continue;
            uint64_t bytes = own_bytes(set, way), messages = place->messages, deliveries = place->deliveries;
            const struct traffic_set *second = other ? &other->sets[s] : NULL;
            unsigned there =
                second ? find(second, set->hashes[way], place->topic, place->topic_bytes) : TRAFFIC_WAYS;
            if (there < TRAFFIC_WAYS) {
                bytes += own_bytes(second, there);
                messages += second->places[there].messages;
                deliveries += second->places[there].deliveries;
            }
            top_offer(out, place->topic, place->topic_bytes, bytes, messages, deliveries);
        }
    }
}

uint64_t traffic_top(struct traffic *traffic, uint64_t now_ns, struct top *out)
{
    turn(traffic, now_ns);
    struct traffic_window *filling = &traffic->windows[traffic->filling];
    struct traffic_window *whole = traffic->full ? &traffic->windows[!traffic->filling] : NULL;
    *out = (struct top){0};
    offer_all(filling, whole, out);
    if (whole)
        offer_all(whole, filling, out);
    uint64_t began = whole ? whole->began_ns : filling->began_ns;
    return now_ns > began ? now_ns - began : 0;
}
