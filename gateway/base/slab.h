/* Fixed-size slots by u32 index in one reserved stretch of address space: slots never move, untouched ones
 * cost no memory. A free slot stays readable, as it was but for its first 4 bytes: owners may look at a state
 * field in it to tell a stale index from a live one.
 *
 * Thread: one owner; no locks. Owner: the slab owns the memory; x_free() returns a slot to the free list
 * (LIFO) without touching the OS; slab_trim() gives the pages of a wholly free slab back.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLAB_NONE UINT32_MAX

struct slab {
    uint8_t *base;
    size_t slot_bytes;
    size_t mapped_bytes;
    uint32_t capacity;
    uint32_t used;      /* slots in use */
    uint32_t fresh;     /* slots from here on were never used */
    uint32_t free_head; /* first free slot; the link stands in the slot's first 4 bytes */
};

/* slot_bytes ≥ 4, capacity ≥ 1. False when address space cannot be reserved. */
bool slab_init(struct slab *slab, size_t slot_bytes, uint32_t capacity) __attribute__((warn_unused_result));
void slab_fini(struct slab *slab);
/* SLAB_NONE when full. The slot's bytes are zero. */
uint32_t slab_alloc(struct slab *slab) __attribute__((warn_unused_result));
void slab_free(struct slab *slab, uint32_t index);
/* When no slot is in use, gives all pages back to the kernel. */
void slab_trim(struct slab *slab);
/* Keeps the slots out of core dumps (madvise(2), MADV_DONTDUMP). */
void slab_hide(struct slab *slab);
/* Walks the free list and counts; false when it is broken. For tests and asserts. */
bool slab_validate(const struct slab *slab);

static inline void *slab_at(const struct slab *slab, uint32_t index)
{
    return slab->base + (size_t)index * slab->slot_bytes;
}
