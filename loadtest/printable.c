/* Passes what shows, spells out the rest. */
#include "loadtest/printable.h"

#include "proto/utf8.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { ESCAPE_BYTES = 4 };

static const char ellipsis[] = "…";

/* U+200E, U+200F, U+2028 … U+202E and U+2066 … U+2069. */
static bool turns_or_breaks(const uint8_t *p)
{
    if (p[0] != 0xe2)
        return false;
    if (p[1] == 0x80)
        return p[2] == 0x8e || p[2] == 0x8f || (p[2] >= 0xa8 && p[2] <= 0xae);
    return p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9;
}

/* Bytes of the character at `p` when it may be shown as it is, else 0. */
static size_t shown_bytes(const uint8_t *p, size_t len)
{
    if (p[0] >= 0x20 && p[0] < 0x7f)
        return 1;
    if (p[0] < 0x80)
        return 0;
    size_t bytes = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (bytes > len || !utf8_valid(p, bytes))
        return 0;
    bool c1 = p[0] == 0xc2 && p[1] < 0xa0;
    return c1 || turns_or_breaks(p) ? 0 : bytes;
}

size_t printable(const void *bytes, size_t len, char *out, size_t out_size)
{
    const uint8_t *p = bytes, *end = p + len;
    size_t at = 0, cut = 0; /* the last place where "…" fits */

    while (p < end) {
        size_t shown = shown_bytes(p, (size_t)(end - p)), needed = shown > 0 ? shown : ESCAPE_BYTES;
        if (at + sizeof(ellipsis) <= out_size)
            cut = at;
        if (at + needed + 1 > out_size) {
            memcpy(out + cut, ellipsis, sizeof(ellipsis));
            return cut + sizeof(ellipsis) - 1;
        }
        if (shown > 0)
            memcpy(out + at, p, shown);
        else
            snprintf(out + at, out_size - at, "\\x%02x", *p);
        at += needed;
        p += shown > 0 ? shown : 1;
    }
    out[at] = '\0';
    return at;
}
