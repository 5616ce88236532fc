/* What strangers write, made fit for terminals, lines and reports.
 *
 * Thread: any; pure. Owner: the caller's buffers.
 */
#pragma once

#include <stddef.h>

/* Copies `len` bytes to `out`, NUL-terminated. What is no UTF-8, and what a terminal would obey instead of
 * showing (control characters, those that turn the direction of writing), becomes \x1b and the like; what
 * does not fit becomes "…". `out_size` is at least 8. Returns the length. */
size_t printable(const void *bytes, size_t len, char *out, size_t out_size);
