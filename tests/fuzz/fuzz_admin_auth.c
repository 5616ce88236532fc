/* Authorization headers as the admin listener reads them: what it takes for a password lies in the header or
 * in the room that it was given, and Basic agrees with decoding the long way. */
#include "gateway/admin_auth.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* Whole bytes of the bits that the digits before the padding have. */
static size_t decode(const char *text, size_t len, char *out)
{
    uint32_t bits = 0;
    size_t have = 0, bytes = 0;
    for (size_t i = 0; i < len && text[i] != '='; i++) {
        bits = bits << 6 | (uint32_t)digit(text[i]);
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[bytes++] = (char)(bits >> have);
        }
    }
    return bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char room[64], expected[64];
    struct http_slice password;
    char *header = malloc(size ? size : 1); /* of exact size, for the sanitizer */
    if (!header)
        return 0;
    memcpy(header, data, size);
    if (admin_auth_read((struct http_slice){header, size}, room, sizeof room, &password)) {
        if (password.data >= header && password.data < header + size) {
            if (password.data + password.len != header + size)
                abort();
        } else {
            if (password.data < room || password.data + password.len > room + sizeof room)
                abort();
            size_t at = size;
            while (header[at - 1] != ' ')
                at--;
            size_t bytes = decode(header + at, size - at, expected);
            if (bytes < password.len ||
                memcmp(expected + bytes - password.len, password.data, password.len) != 0)
                abort();
        }
    }
    free(header);
    return 0;
}
