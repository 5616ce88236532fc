/* What an allocation costs, so that bounds on memory are held against what the process really grows by.
 *
 * Thread: any; pure. Owner: nobody.
 */
#pragma once

#include <stddef.h>

/* Bytes that malloc(bytes) takes from the heap: a size word, rounded up to 16, at least 32 (glibc's malloc,
 * for blocks below its threshold of mmap; above it the rounding is to pages and does not matter). */
static inline size_t footprint(size_t bytes)
{
    size_t chunk = (bytes + sizeof(size_t) + 15) & ~(size_t)15;
    return chunk < 32 ? 32 : chunk;
}
