/* Files that are read whole: keys and the like.
 *
 * Thread: any. Owner: the caller's descriptor and memory.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Exactly `bytes` bytes from where the descriptor stands. False when it ends before (errno may be 0) or
 * fails. */
bool file_read_all(int fd, void *out, size_t bytes) __attribute__((warn_unused_result));
