/* UTF-8 validation: ASCII by the word, the rest by a table of which byte may come next. */
#include "proto/utf8.h"

#include <string.h>

/* States inside a sequence, by what is still to come. The four named after a lead byte are those whose next
 * byte is narrower than 80–BF: that is where overlong forms, surrogates and code points above U+10FFFF would
 * start. */
enum {
    NEED_ONE = 2,
    NEED_TWO,
    NEED_THREE,
    AFTER_E0,
    AFTER_ED,
    AFTER_F0,
    AFTER_F4,
    STATE_COUNT,
};

struct step {
    uint8_t low, high; /* the bytes that may follow */
    uint8_t next;
};

static const struct step steps[STATE_COUNT] = {
    [NEED_ONE] = {0x80, 0xbf, UTF8_START}, [NEED_TWO] = {0x80, 0xbf, NEED_ONE},
    [NEED_THREE] = {0x80, 0xbf, NEED_TWO}, [AFTER_E0] = {0xa0, 0xbf, NEED_ONE},
    [AFTER_ED] = {0x80, 0x9f, NEED_ONE},   [AFTER_F0] = {0x90, 0xbf, NEED_TWO},
    [AFTER_F4] = {0x80, 0x8f, NEED_TWO},
};

/* `byte` is not ASCII. */
static uint8_t state_after_lead(uint8_t byte)
{
    if (byte < 0xc2) /* a continuation byte, or the start of an overlong form */
        return UTF8_REJECT;
    if (byte < 0xe0)
        return NEED_ONE;
    if (byte < 0xf0)
        return byte == 0xe0 ? AFTER_E0 : byte == 0xed ? AFTER_ED : NEED_TWO;
    if (byte < 0xf5)
        return byte == 0xf0 ? AFTER_F0 : byte == 0xf4 ? AFTER_F4 : NEED_THREE;
    return UTF8_REJECT;
}

static const uint8_t *skip_ascii(const uint8_t *at, const uint8_t *end)
{
    while (end - at >= 8) {
        uint64_t word;
        memcpy(&word, at, sizeof(word));
        if (word & 0x8080808080808080u)
            break;
        at += 8;
    }
    while (at < end && *at < 0x80)
        at++;
    return at;
}

uint8_t utf8_feed(uint8_t state, const void *data, size_t len)
{
    if (state == UTF8_REJECT || state >= STATE_COUNT)
        return UTF8_REJECT;
    if (len == 0)
        return state;
    const uint8_t *at = data;
    const uint8_t *end = at + len;
    for (;;) {
        if (state == UTF8_START) {
            at = skip_ascii(at, end);
            if (at == end)
                return UTF8_START;
            state = state_after_lead(*at++);
            if (state == UTF8_REJECT)
                return UTF8_REJECT;
        }
        if (at == end)
            return state;
        const struct step *step = &steps[state];
        if (*at < step->low || *at > step->high)
            return UTF8_REJECT;
        state = step->next;
        at++;
    }
}

bool utf8_valid(const void *data, size_t len)
{
    return utf8_feed(UTF8_START, data, len) == UTF8_START;
}
