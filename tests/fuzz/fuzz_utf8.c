/* UTF-8: the validator against a decoder that does it the long way, whole and split where the first byte
 * says. */
#include "proto/utf8.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool naive_valid(const uint8_t *text, size_t len)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    for (size_t at = 0; at < len;) {
        uint8_t lead = text[at];
        size_t bytes = lead < 0x80             ? 1
                       : (lead & 0xe0) == 0xc0 ? 2
                       : (lead & 0xf0) == 0xe0 ? 3
                       : (lead & 0xf8) == 0xf0 ? 4
                                               : 0;
        if (bytes == 0 || bytes > len - at)
            return false;
        uint32_t point = bytes == 1 ? lead : lead & (0x7fu >> bytes);
        for (size_t i = 1; i < bytes; i++) {
            if ((text[at + i] & 0xc0) != 0x80)
                return false;
            point = point << 6 | (text[at + i] & 0x3f);
        }
        if (point < smallest[bytes] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
            return false;
        at += bytes;
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    size_t split = data[0] % size; /* of the text, which has size - 1 bytes */
    const uint8_t *text = data + 1;
    size_t len = size - 1;
    bool expected = naive_valid(text, len);
    if (utf8_valid(text, len) != expected)
        abort();
    uint8_t state = utf8_feed(UTF8_START, text, split);
    state = utf8_feed(state, text + split, len - split);
    if ((state == UTF8_START) != expected)
        abort();
    uint8_t single = UTF8_START;
    for (size_t i = 0; i < len; i++)
        single = utf8_feed(single, text + i, 1);
    if (single != state)
        abort();
    return 0;
}
