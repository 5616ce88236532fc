/* Incremental UTF-8 validation (RFC 3629), as RFC 6455 §8.1 needs it across fragments.
 *
 * Thread: any; pure. Owner: the caller keeps one state byte per message in progress.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { UTF8_START = 0, UTF8_REJECT = 1 }; /* other values: inside a sequence */

/* Feeds `len` bytes; returns the new state. UTF8_REJECT is final. Fast on ASCII. */
uint8_t utf8_feed(uint8_t state, const void *data, size_t len);
/* True when the whole of `data` is valid UTF-8. */
bool utf8_valid(const void *data, size_t len);
