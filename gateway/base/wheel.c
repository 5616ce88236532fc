/* Four rings of buckets: level k holds what differs from `now` in byte k of the tick and in none above.
 *
 * Two facts follow and carry everything here. An entry of level k is due only after every entry of the levels
 * below, so the lowest level that is not empty says what comes next. And an entry moves down exactly when
 * `now` reaches its byte with zeros below. On levels 0 to 2 such a byte is greater than that of `now`; on
 * level 3 the ring closes, because ticks wrap around.
 *
 * While tick `now` fires, its bucket of level 0 holds what has still to fire, and nothing can join it: to arm
 * is to arm for now + 1 or later. So the bucket is popped from its head, and callbacks may cancel and arm
 * what they like.
 *
 * Links: heads and `next` are index + 1 or 0; `prev` is index + 1, or for the first of a bucket HEAD_FLAG
 * with the bucket's number, so that it is never 0 in an armed entry. */
#include "gateway/base/wheel.h"

#include <string.h>

#include "gateway/base/assert.h"

#define HEAD_FLAG 0x80000000u

enum { WORDS = WHEEL_BUCKETS / 64 };

struct place {
    unsigned level, bucket;
};

static struct wheel_entry *entry_at(const struct wheel *wheel, uint32_t index)
{
    return (struct wheel_entry *)(void *)(wheel->entries + (size_t)index * wheel->stride);
}

static struct place place_of(const struct wheel *wheel, uint32_t expiry)
{
    uint32_t differs = expiry ^ wheel->now;
    unsigned level = differs ? (31u - (unsigned)__builtin_clz(differs)) / 8 : 0;
    return (struct place){level, expiry >> 8 * level & 255};
}

/* First bucket of the level that is ≥ from and not empty; WHEEL_BUCKETS when there is none. */
static unsigned find_bucket(const struct wheel *wheel, unsigned level, unsigned from)
{
    if (from >= WHEEL_BUCKETS)
        return WHEEL_BUCKETS;
    unsigned word = from / 64;
    uint64_t bits = wheel->occupied[level][word] & UINT64_MAX << from % 64;
    while (!bits) {
        if (++word == WORDS)
            return WHEEL_BUCKETS;
        bits = wheel->occupied[level][word];
    }
    return word * 64 + (unsigned)__builtin_ctzll(bits);
}

static void link_entry(struct wheel *wheel, uint32_t index, struct place place)
{
    struct wheel_entry *entry = entry_at(wheel, index);
    uint32_t *head = &wheel->heads[place.level][place.bucket];
    entry->next = *head;
    entry->prev = HEAD_FLAG | place.level << 8 | place.bucket;
    if (*head)
        entry_at(wheel, *head - 1)->prev = index + 1;
    else
        wheel->occupied[place.level][place.bucket / 64] |= UINT64_C(1) << place.bucket % 64;
    *head = index + 1;
}

static void unlink_entry(struct wheel *wheel, struct wheel_entry *entry)
{
    if (entry->next)
        entry_at(wheel, entry->next - 1)->prev = entry->prev;
    if (entry->prev & HEAD_FLAG) {
        unsigned level = entry->prev >> 8 & (WHEEL_LEVELS - 1), bucket = entry->prev & 255;
        wheel->heads[level][bucket] = entry->next;
        if (!entry->next)
            wheel->occupied[level][bucket / 64] &= ~(UINT64_C(1) << bucket % 64);
    } else {
        entry_at(wheel, entry->prev - 1)->next = entry->next;
    }
    entry->next = entry->prev = 0;
}

/* Moves the bucket's entries to where they belong now that its byte has come. */
static void cascade(struct wheel *wheel, unsigned level)
{
    unsigned bucket = wheel->now >> 8 * level & 255;
    uint32_t link = wheel->heads[level][bucket];
    wheel->heads[level][bucket] = 0;
    wheel->occupied[level][bucket / 64] &= ~(UINT64_C(1) << bucket % 64);
    while (link) {
        uint32_t index = link - 1;
        struct wheel_entry *entry = entry_at(wheel, index);
        link = entry->next;
        link_entry(wheel, index, place_of(wheel, entry->expiry));
    }
}

/* Moves time to `tick`, with nothing due on the way there. */
static void step_to(struct wheel *wheel, uint32_t tick)
{
    wheel->now = tick;
    for (unsigned level = WHEEL_LEVELS - 1; level >= 1; level--)
        if ((tick & ((UINT32_C(1) << 8 * level) - 1)) == 0)
            cascade(wheel, level);
}

void wheel_init(struct wheel *wheel, void *entries, size_t stride, uint32_t now)
{
    memset(wheel, 0, sizeof *wheel);
    wheel->entries = entries;
    wheel->stride = stride;
    wheel->now = now;
}

void wheel_arm(struct wheel *wheel, uint32_t index, uint32_t expiry)
{
    PG_ASSERT(index < HEAD_FLAG - 1);
    wheel_cancel(wheel, index);
    if ((int32_t)(expiry - wheel->now) <= 0)
        expiry = wheel->now + 1;
    entry_at(wheel, index)->expiry = expiry;
    link_entry(wheel, index, place_of(wheel, expiry));
    wheel->armed++;
}

void wheel_cancel(struct wheel *wheel, uint32_t index)
{
    struct wheel_entry *entry = entry_at(wheel, index);
    if (!entry->prev)
        return;
    unlink_entry(wheel, entry);
    wheel->armed--;
}

bool wheel_is_armed(const struct wheel *wheel, uint32_t index)
{
    return entry_at(wheel, index)->prev != 0;
}

uint32_t wheel_advance(struct wheel *wheel, uint32_t now, uint32_t budget, wheel_fire_fn *fire, void *context)
{
    uint32_t fired = 0;
    while ((int32_t)(now - wheel->now) >= 0) {
        const uint32_t *head = &wheel->heads[0][wheel->now & 255];
        while (*head) {
            if (fired == budget)
                return fired;
            uint32_t index = *head - 1;
            wheel_cancel(wheel, index);
            fired++;
            fire(context, index);
        }
        uint32_t distance = wheel_next(wheel), left = now - wheel->now;
        if (distance > left) {
            /* Nothing until then, so no cascade either. */
            wheel->now = now;
            break;
        }
        step_to(wheel, wheel->now + distance);
    }
    return fired;
}

uint32_t wheel_next(const struct wheel *wheel)
{
    if (wheel->armed == 0)
        return WHEEL_NO_DEADLINE;
    uint32_t now = wheel->now;
    unsigned bucket = find_bucket(wheel, 0, now & 255);
    if (bucket < WHEEL_BUCKETS)
        return bucket - (now & 255);
    for (unsigned level = 1; level < WHEEL_LEVELS; level++) {
        unsigned shift = 8 * level;
        bucket = find_bucket(wheel, level, (now >> shift & 255) + 1);
        if (bucket == WHEEL_BUCKETS && level == WHEEL_LEVELS - 1)
            bucket = find_bucket(wheel, level, 0); /* around the ring */
        if (bucket < WHEEL_BUCKETS) {
            uint32_t below = (UINT32_C(1) << shift) - 1;
            unsigned ahead = (bucket - (now >> shift)) & 255;
            return (ahead << shift) - (now & below);
        }
    }
    PG_ASSERT(!"an armed entry is in no bucket");
    return WHEEL_NO_DEADLINE;
}

static bool validate_bucket(const struct wheel *wheel, struct place place, uint32_t *counted)
{
    uint32_t link = wheel->heads[place.level][place.bucket];
    bool bit = wheel->occupied[place.level][place.bucket / 64] >> place.bucket % 64 & 1;
    if (bit != (link != 0))
        return false;
    uint32_t prev = HEAD_FLAG | place.level << 8 | place.bucket;
    while (link) {
        const struct wheel_entry *entry = entry_at(wheel, link - 1);
        struct place right = place_of(wheel, entry->expiry);
        if (entry->prev != prev || right.level != place.level || right.bucket != place.bucket ||
            (int32_t)(entry->expiry - wheel->now) < 0 || ++*counted > wheel->armed)
            return false;
        prev = link;
        link = entry->next;
    }
    return true;
}

bool wheel_validate(const struct wheel *wheel)
{
    uint32_t counted = 0;
    for (unsigned level = 0; level < WHEEL_LEVELS; level++)
        for (unsigned bucket = 0; bucket < WHEEL_BUCKETS; bucket++)
            if (!validate_bucket(wheel, (struct place){level, bucket}, &counted))
                return false;
    return counted == wheel->armed;
}
