#include "gateway/base/uuid.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

static bool dash_before(size_t byte)
{
    return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

bool uuid_make(uint8_t out[UUID_BYTES])
{
    ssize_t got;
    do
        got = getrandom(out, UUID_BYTES, 0);
    while (got < 0 && errno == EINTR);
    out[6] = (uint8_t)((out[6] & 0x0f) | 0x40);
    out[8] = (uint8_t)((out[8] & 0x3f) | 0x80);
    return got == UUID_BYTES;
}

void uuid_format(const uint8_t uuid[UUID_BYTES], char out[UUID_TEXT_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < UUID_BYTES; i++) {
        if (dash_before(i))
            *out++ = '-';
        *out++ = digits[uuid[i] >> 4];
        *out++ = digits[uuid[i] & 15];
    }
    *out = '\0';
}
