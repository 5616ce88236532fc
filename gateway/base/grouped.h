/* Numbers as people read them: "1,234,567".
 *
 * Thread: any; pure. Owner: the caller's buffer.
 */
#pragma once

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>

enum { GROUPED_BYTES = 32 }; /* the largest number, its commas and NUL */

/* Writes `value` with a comma between thousands; returns `out`. */
static inline const char *grouped(uint64_t value, char out[GROUPED_BYTES])
{
    char digits[GROUPED_BYTES];
    int len = snprintf(digits, sizeof digits, "%" PRIu64, value), at = 0;
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = '\0';
    return out;
}
