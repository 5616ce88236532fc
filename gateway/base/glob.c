#include "gateway/base/glob.h"

#include <stdint.h>

/* Matches one byte against the class behind its '['; moves `*at` behind its ']'. A class without an end
 * reaches to the end, as in Redis. */
static bool match_class(const char *pattern, size_t len, size_t *at, uint8_t c)
{
    size_t i = *at;
    bool negated = i < len && pattern[i] == '^', found = false;
    i += negated;
    while (i < len && pattern[i] != ']') {
        if (pattern[i] == '\\' && i + 1 < len)
            i++;
        uint8_t low = (uint8_t)pattern[i], high = low;
        if (i + 2 < len && pattern[i + 1] == '-') {
            high = (uint8_t)pattern[i + 2];
            i += 2;
        }
        if (low > high) {
            uint8_t swap = low;
            low = high;
            high = swap;
        }
        found |= c >= low && c <= high;
        i++;
    }
    *at = i < len ? i + 1 : i;
    return found != negated;
}

/* Matches one byte against the element at `*at` (not a star) and moves behind it. */
static bool match_one(const char *pattern, size_t len, size_t *at, uint8_t c)
{
    char p = pattern[(*at)++];
    if (p == '?')
        return true;
    if (p == '[')
        return match_class(pattern, len, at, c);
    if (p == '\\' && *at < len)
        p = pattern[(*at)++];
    return (uint8_t)p == c;
}

bool glob_match(const char *pattern, size_t pattern_len, const char *name, size_t name_len)
{
    size_t p = 0, n = 0, star = SIZE_MAX, star_name = 0;
    while (n < name_len) {
        if (p < pattern_len && pattern[p] == '*') {
            star = ++p;
            star_name = n;
            continue;
        }
        if (p < pattern_len && match_one(pattern, pattern_len, &p, (uint8_t)name[n])) {
            n++;
            continue;
        }
        if (star == SIZE_MAX)
            return false;
        /* The last star takes one byte more. Earlier stars need not: what they could give, this one can too.
         */
        p = star;
        n = ++star_name;
    }
    while (p < pattern_len && pattern[p] == '*')
        p++;
    return p == pattern_len;
}
