/* Redis-style patterns for names: * any bytes, ? one byte, [abc] [a-z] [^a] one of a class, \x the byte x.
 *
 * Thread: any; pure. Owner: nobody. Time is at most pattern × name: only the last star is ever tried again.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

bool glob_match(const char *pattern, size_t pattern_len, const char *name, size_t name_len);
