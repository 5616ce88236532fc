/* Files that are part of the program: embedded_file.cmake writes them as arrays at build time.
 *
 * Thread: any; read-only. Owner: nobody, they live in the program's image.
 */
#pragma once

#include <stddef.h>
#include <string.h>

struct embedded_file {
    const char *path, *content_type;
    const unsigned char *data;
    size_t bytes;
};

/* NULL: there is none at this path. */
static inline const struct embedded_file *embedded_file_find(const struct embedded_file *files, size_t count,
                                                             const char *path, size_t path_len)
{
    for (size_t i = 0; i < count; i++)
        if (strlen(files[i].path) == path_len && memcmp(files[i].path, path, path_len) == 0)
            return &files[i];
    return NULL;
}
