/* Which names topics may have. */
#include "gateway/adapter/topic_name.h"

#include "gateway/adapter/adapter.h"
#include "proto/utf8.h"

/* C0, DEL, and C1 (U+0080–U+009F), which valid UTF-8 writes as C2 80 … C2 9F. */
static bool has_control_characters(const uint8_t *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] < 0x20 || text[i] == 0x7f)
            return true;
        if (text[i] == 0xc2 && i + 1 < bytes && text[i + 1] < 0xa0)
            return true;
    }
    return false;
}

bool topic_name_valid(const void *name, size_t bytes)
{
    return bytes >= 1 && bytes <= TOPIC_BYTES_MAX && utf8_valid(name, bytes) &&
           !has_control_characters(name, bytes);
}
