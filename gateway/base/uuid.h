/* UUIDs as text (RFC 9562 §4).
 *
 * Thread: any; pure. Owner: nobody.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { UUID_BYTES = 16, UUID_TEXT_BYTES = 37 };

/* A random one (version 4), from the kernel's generator. False when that has none: before it was seeded. */
bool uuid_make(uint8_t out[UUID_BYTES]) __attribute__((warn_unused_result));
/* Thirty-two digits in the usual five groups, in either case. */
bool uuid_parse(const char *text, size_t bytes, uint8_t out[UUID_BYTES]) __attribute__((warn_unused_result));
/* Lower case with dashes, NUL-terminated. */
void uuid_format(const uint8_t uuid[UUID_BYTES], char out[UUID_TEXT_BYTES]);
