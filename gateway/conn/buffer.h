/* A growable run of bytes that is held only while something waits in it.
 *
 * Thread: one owner. Owner: embedded; all zero is empty and holds no memory.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct buffer {
    uint8_t *data;
    uint32_t len, cap;
};

static inline void buffer_fini(struct buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct buffer){0};
}

/* Room for `more` bytes behind len. False without memory or past 2 GiB; the contents stay. */
static inline bool buffer_reserve(struct buffer *buffer, size_t more)
{
    size_t need = (size_t)buffer->len + more;
    if (need <= buffer->cap)
        return true;
    if (need > INT32_MAX)
        return false;
    size_t cap = buffer->cap ? (size_t)buffer->cap * 2 : 256;
    while (cap < need)
        cap *= 2;
    uint8_t *data = realloc(buffer->data, cap);
    if (!data)
        return false;
    buffer->data = data;
    buffer->cap = (uint32_t)cap;
    return true;
}

static inline bool buffer_append(struct buffer *buffer, const void *data, size_t len)
{
    if (!len)
        return true;
    if (!buffer_reserve(buffer, len))
        return false;
    memcpy(buffer->data + buffer->len, data, len);
    buffer->len += (uint32_t)len;
    return true;
}

/* Drops the first `n` bytes; frees the memory when nothing is left. */
static inline void buffer_consume(struct buffer *buffer, size_t n)
{
    if (n >= buffer->len) {
        buffer_fini(buffer);
        return;
    }
    if (n) /* else a large frame that comes a byte at a time would be moved for each */
        memmove(buffer->data, buffer->data + n, buffer->len - n);
    buffer->len -= (uint32_t)n;
}
