/* libcurl's memory: each block remembers its size, and is wiped before it is freed. */
#include "gateway/proxy/proxy_internal.h"

#include <stdlib.h>
#include <string.h>

/* Before each block; as wide as the strictest alignment, so that what follows is aligned, too. */
union block {
    size_t bytes;
    max_align_t align;
};

static void *wiped_malloc(size_t bytes)
{
    if (bytes > SIZE_MAX - sizeof(union block))
        return NULL;
    union block *block = malloc(sizeof *block + bytes);
    if (!block)
        return NULL;
    block->bytes = bytes;
    return block + 1;
}

static void wiped_free(void *memory)
{
    if (!memory)
        return;
    union block *block = (union block *)memory - 1;
    explicit_bzero(memory, block->bytes);
    free(block);
}

static void *wiped_realloc(void *memory, size_t bytes)
{
    if (!memory)
        return wiped_malloc(bytes);
    size_t before = ((union block *)memory - 1)->bytes;
    if (bytes <= before && bytes >= before / 2)
        return memory;
    void *grown = wiped_malloc(bytes);
    if (!grown)
        return NULL;
    memcpy(grown, memory, before < bytes ? before : bytes);
    wiped_free(memory);
    return grown;
}

static void *wiped_calloc(size_t count, size_t each)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, each, &bytes))
        return NULL;
    void *memory = wiped_malloc(bytes);
    if (memory)
        memset(memory, 0, bytes);
    return memory;
}

static char *wiped_strdup(const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = wiped_malloc(bytes);
    return copy ? memcpy(copy, text, bytes) : NULL;
}

bool proxy_curl_retain(void)
{
    return curl_global_init_mem(CURL_GLOBAL_DEFAULT, wiped_malloc, wiped_free, wiped_realloc, wiped_strdup,
                                wiped_calloc) == CURLE_OK;
}

void proxy_curl_release(void)
{
    curl_global_cleanup();
}
