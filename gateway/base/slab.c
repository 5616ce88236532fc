/* Slots are handed out from a reserved stretch, the most recently freed first. */
#include "gateway/base/slab.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gateway/base/assert.h"

/* What a free slot begins with; packed, because a slot may stand at any address. */
struct __attribute__((packed)) free_link {
    uint32_t next;
};

static uint32_t read_link(const struct slab *slab, uint32_t index)
{
    const struct free_link *link = slab_at(slab, index);
    return link->next;
}

static size_t round_to_page(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (bytes + page - 1) / page * page;
}

bool slab_init(struct slab *slab, size_t slot_bytes, uint32_t capacity)
{
    PG_ASSERT(slot_bytes >= sizeof(struct free_link) && capacity >= 1);
    memset(slab, 0, sizeof *slab);
    size_t bytes;
    if (__builtin_mul_overflow(slot_bytes, (size_t)capacity, &bytes) || bytes > PTRDIFF_MAX / 2)
        return false;
    bytes = round_to_page(bytes);
    void *base =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return false;
    /* Memory grows with use, a page at a time; a kernel without huge pages refuses, which is as good. */
    (void)madvise(base, bytes, MADV_NOHUGEPAGE);
    slab->base = base;
    slab->slot_bytes = slot_bytes;
    slab->mapped_bytes = bytes;
    slab->capacity = capacity;
    slab->free_head = SLAB_NONE;
    return true;
}

void slab_fini(struct slab *slab)
{
    if (slab->base)
        munmap(slab->base, slab->mapped_bytes);
    memset(slab, 0, sizeof *slab);
    slab->free_head = SLAB_NONE;
}

uint32_t slab_alloc(struct slab *slab)
{
    uint32_t index = slab->free_head;
    if (index != SLAB_NONE) {
        PG_ASSERT(index < slab->fresh);
        uint8_t *slot = slab_at(slab, index);
        slab->free_head = read_link(slab, index);
        memset(slot, 0, slab->slot_bytes);
    } else if (slab->fresh < slab->capacity) {
        index = slab->fresh++; /* zero pages from the kernel */
    } else {
        return SLAB_NONE;
    }
    slab->used++;
    return index;
}

void slab_free(struct slab *slab, uint32_t index)
{
    /* Also catches the double free that is cheap to see: the same slot twice in a row. */
    PG_ASSERT(index < slab->fresh && slab->used > 0 && index != slab->free_head);
    struct free_link *link = slab_at(slab, index);
    link->next = slab->free_head;
    slab->free_head = index;
    slab->used--;
}

void slab_trim(struct slab *slab)
{
    if (slab->used > 0 || slab->fresh == 0)
        return;
    if (madvise(slab->base, round_to_page((size_t)slab->fresh * slab->slot_bytes), MADV_DONTNEED) != 0)
        return; /* locked memory: keep the pages and the free list */
    slab->fresh = 0;
    slab->free_head = SLAB_NONE;
}

void slab_hide(struct slab *slab)
{
    (void)madvise(slab->base, slab->mapped_bytes, MADV_DONTDUMP); /* fails only on a kernel without it */
}

bool slab_validate(const struct slab *slab)
{
    if (slab->fresh > slab->capacity || slab->used > slab->fresh)
        return false;
    uint32_t free_slots = slab->fresh - slab->used;
    uint32_t walked = 0;
    for (uint32_t index = slab->free_head; index != SLAB_NONE; index = read_link(slab, index))
        if (index >= slab->fresh || ++walked > free_slots)
            return false;
    return walked == free_slots;
}
