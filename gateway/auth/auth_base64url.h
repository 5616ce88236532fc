/* Is a text base64url without padding (RFC 7515 §2)? To be asked before cjose decodes it: 0.6.2 reads '+',
 * '/' and what follows a '=' in ways of its own, and asserts that a text with '=' has a length that it need
 * not have.
 *
 * Thread: any; pure. Owner: nobody.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

static inline bool auth_is_base64url(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static inline bool auth_base64url_good(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!auth_is_base64url(text[i]))
            return false;
    return len > 0 && len % 4 != 1;
}
