/* Binary heap, the earliest at the root. */
#include "gateway/base/deadlines.h"

#include "gateway/base/assert.h"

#include <stdlib.h>

enum { CAPACITY_MIN = 16 };

void deadlines_init(struct deadlines *deadlines)
{
    *deadlines = (struct deadlines){0};
}

void deadlines_fini(struct deadlines *deadlines)
{
    free((void *)deadlines->heap);
    *deadlines = (struct deadlines){0};
}

static void put(struct deadlines *deadlines, uint32_t index, struct deadline *deadline)
{
    deadlines->heap[index] = deadline;
    deadline->index = index;
}

/* Finds the place of a deadline, starting from `hole`, which nobody holds. */
static void sift(struct deadlines *deadlines, uint32_t hole, struct deadline *deadline)
{
    while (hole > 0 && deadlines->heap[(hole - 1) / 2]->at > deadline->at) {
        put(deadlines, hole, deadlines->heap[(hole - 1) / 2]);
        hole = (hole - 1) / 2;
    }
    for (;;) {
        uint64_t child = hole * 2ull + 1;
        if (child >= deadlines->used)
            break;
        if (child + 1 < deadlines->used && deadlines->heap[child + 1]->at < deadlines->heap[child]->at)
            child++;
        if (deadlines->heap[child]->at >= deadline->at)
            break;
        put(deadlines, hole, deadlines->heap[child]);
        hole = (uint32_t)child;
    }
    put(deadlines, hole, deadline);
}

static bool resize(struct deadlines *deadlines, uint64_t capacity)
{
    if (capacity > UINT32_MAX)
        return false;
    struct deadline **heap = realloc((void *)deadlines->heap, capacity * sizeof *heap);
    if (!heap)
        return false;
    deadlines->heap = heap;
    deadlines->capacity = (uint32_t)capacity;
    return true;
}

bool deadlines_reserve(struct deadlines *deadlines)
{
    if (deadlines->used < deadlines->capacity)
        return true;
    return resize(deadlines, deadlines->capacity < CAPACITY_MIN ? CAPACITY_MIN : deadlines->capacity * 2ull);
}

void deadlines_insert(struct deadlines *deadlines, struct deadline *deadline, uint64_t at)
{
    PG_ASSERT(deadlines->used < deadlines->capacity);
    deadline->at = at;
    sift(deadlines, deadlines->used++, deadline);
}

void deadlines_move(struct deadlines *deadlines, struct deadline *deadline, uint64_t at)
{
    PG_ASSERT(deadline->index < deadlines->used && deadlines->heap[deadline->index] == deadline);
    deadline->at = at;
    sift(deadlines, deadline->index, deadline);
}

void deadlines_remove(struct deadlines *deadlines, struct deadline *deadline)
{
    PG_ASSERT(deadline->index < deadlines->used && deadlines->heap[deadline->index] == deadline);
    struct deadline *last = deadlines->heap[--deadlines->used];
    if (last != deadline)
        sift(deadlines, deadline->index, last);
    if (deadlines->capacity > CAPACITY_MIN && deadlines->used < deadlines->capacity / 4)
        (void)resize(deadlines, deadlines->capacity / 2); /* staying large is harmless */
}

struct deadline *deadlines_first(const struct deadlines *deadlines)
{
    return deadlines->used > 0 ? deadlines->heap[0] : NULL;
}

bool deadlines_validate(const struct deadlines *deadlines)
{
    if (deadlines->used > deadlines->capacity)
        return false;
    for (uint32_t i = 0; i < deadlines->used; i++)
        if (deadlines->heap[i]->index != i || deadlines->heap[(i - (i > 0)) / 2]->at > deadlines->heap[i]->at)
            return false;
    return true;
}
