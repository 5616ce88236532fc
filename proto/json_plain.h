/* Which bytes stand for themselves in a JSON string; shared by those who read strings and those who write
 * them.
 *
 * Thread: any; pure. Owner: nobody.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* True when none of eight bytes is a quote, a backslash or a control character. May be false for others too,
 * never true for one of these. */
static inline bool json_eight_plain(const char *at)
{
    const uint64_t ones = UINT64_MAX / 0xff;
    uint64_t word;
    memcpy(&word, at, sizeof word);
    uint64_t quote = word ^ (ones * '"'), backslash = word ^ (ones * '\\');
    uint64_t special =
        ((word - ones * 0x20) & ~word) | ((quote - ones) & ~quote) | ((backslash - ones) & ~backslash);
    return (special & (ones * 0x80)) == 0;
}

static inline bool json_is_plain(char c)
{
    return c != '"' && c != '\\' && (unsigned char)c >= 0x20;
}

/* Behind the bytes that stand for themselves in a JSON string. */
static inline const char *json_skip_plain(const char *at, const char *end)
{
    while (end - at >= 8 && json_eight_plain(at))
        at += 8;
    while (at < end && json_is_plain(*at))
        at++;
    return at;
}
