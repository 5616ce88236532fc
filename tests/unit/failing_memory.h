/* Allocators that fail at random, for programs named *_hostile: the linker puts these in the place of
 * malloc() and its like in our own code, not in libraries (tests/CMakeLists.txt).
 *
 * Thread: the test's. Include in one file of a program.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);

static unsigned fail_one_in; /* 0: none */
static unsigned fail_seed = 1;
static uint64_t failed; /* so far */

static bool fails(void)
{
    if (!fail_one_in || (unsigned)rand_r(&fail_seed) % fail_one_in != 0)
        return false;
    failed++;
    return true;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    return fails() ? NULL : __real_realloc(memory, size);
}
