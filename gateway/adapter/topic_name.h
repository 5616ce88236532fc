/* Which names topics may have, whatever protocol names them.
 *
 * Thread: any; pure. Owner: nobody.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* 1 to TOPIC_BYTES_MAX bytes of UTF-8 without control characters. */
bool topic_name_valid(const void *name, size_t bytes);
