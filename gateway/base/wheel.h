/* Hierarchical timing wheel (Varghese and Lauck, 1987): 4 levels of 256 buckets, O(1) arm and cancel, exact
 * to the tick.
 *
 * Entries are not the wheel's: they stand inside the owner's slots, in one array with a fixed stride (a
 * slab), and are linked by u32 index. Lazy re-arm is the owner's affair: traffic only stamps a time; when an
 * entry fires too early, the owner arms it again.
 *
 * Thread: one owner. Owner: the wheel owns its buckets; the caller the entries, which must not move while
 * armed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WHEEL_TICK_MS = 10, WHEEL_LEVELS = 4, WHEEL_BUCKETS = 256 };
#define WHEEL_NO_DEADLINE UINT32_MAX

/* Twelve bytes; all zero is "not armed". */
struct wheel_entry {
    uint32_t next; /* index + 1, or bucket marker; implementation's own */
    uint32_t prev;
    uint32_t expiry; /* tick */
};
_Static_assert(sizeof(struct wheel_entry) == 12, "three words in every slot");

struct wheel {
    uint8_t *entries; /* address of entry 0 */
    size_t stride;
    uint32_t now;   /* the last tick processed */
    uint32_t armed; /* entries in the wheel */
    uint32_t heads[WHEEL_LEVELS][WHEEL_BUCKETS];
    uint64_t occupied[WHEEL_LEVELS][WHEEL_BUCKETS / 64];
};

/* `entries` is the address of the struct wheel_entry of index 0, `stride` the bytes between neighbours. */
void wheel_init(struct wheel *wheel, void *entries, size_t stride, uint32_t now);
/* Arms entry `index` for tick `expiry` (wrap-around arithmetic: up to 2^31 − 1 ticks ahead; one that is past
 * or now fires at the next tick). An armed entry is moved. */
void wheel_arm(struct wheel *wheel, uint32_t index, uint32_t expiry);
void wheel_cancel(struct wheel *wheel, uint32_t index); /* harmless when not armed */
bool wheel_is_armed(const struct wheel *wheel, uint32_t index);

typedef void wheel_fire_fn(void *context, uint32_t index);
/* Advances to tick `now` and fires every entry with expiry ≤ now, in order of ticks. The callback may arm and
 * cancel any entry, this one included. At most `budget` entries fire in a call; returns how many did: when it
 * equals budget, call again (time stands where it stopped). */
uint32_t wheel_advance(struct wheel *wheel, uint32_t now, uint32_t budget, wheel_fire_fn *fire,
                       void *context);
/* Ticks from wheel->now until something must be done (an entry fires or a bucket must cascade), 0 when it is
 * overdue, WHEEL_NO_DEADLINE when nothing is armed. O(levels). */
uint32_t wheel_next(const struct wheel *wheel);
/* Checks links, buckets, bitmaps and counts; false when one is broken. O(armed). */
bool wheel_validate(const struct wheel *wheel);
