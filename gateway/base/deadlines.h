/* A set of deadlines, ordered: a binary heap of entries that stand inside the caller's objects. For deadlines
 * of any distance to the millisecond, in objects that stand anywhere; a reactor's many short ones are the
 * wheel's.
 *
 * Thread: one owner. Owner: the heap owns its array; entries are the caller's and must not move meanwhile.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DEADLINE_NEVER UINT64_MAX

struct deadline {
    uint64_t at;    /* read only: deadlines_move() sets it */
    uint32_t index; /* in the heap */
};

struct deadlines {
    struct deadline **heap;
    uint32_t used, capacity;
};

void deadlines_init(struct deadlines *deadlines);
void deadlines_fini(struct deadlines *deadlines);
/* Room for one insertion more. False without memory. */
bool deadlines_reserve(struct deadlines *deadlines) __attribute__((warn_unused_result));
/* After deadlines_reserve(). */
void deadlines_insert(struct deadlines *deadlines, struct deadline *deadline, uint64_t at);
void deadlines_move(struct deadlines *deadlines, struct deadline *deadline, uint64_t at);
void deadlines_remove(struct deadlines *deadlines, struct deadline *deadline);
/* The earliest, or NULL when there is none. */
struct deadline *deadlines_first(const struct deadlines *deadlines);
/* Checks order and links; false when one is broken. O(n). */
bool deadlines_validate(const struct deadlines *deadlines);

static inline size_t deadlines_bytes(const struct deadlines *deadlines)
{
    return deadlines->capacity * sizeof(struct deadline *);
}
