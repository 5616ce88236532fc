#include "gateway/broker/conn_id.h"

#include <inttypes.h>
#include <stdio.h>

void conn_id_format(struct conn_id id, char out[CONN_ID_TEXT_BYTES])
{
    snprintf(out, CONN_ID_TEXT_BYTES, "%u-%" PRIu32 "-%" PRIu32, (unsigned)id.reactor, id.slot,
             id.generation);
}

/* A decimal number as we write it: without sign and leading zeros. Ends at `end` or at what is no digit. */
static bool take_number(const char **at, const char *end, uint64_t max, uint64_t *out)
{
    const char *begin = *at;
    uint64_t number = 0;
    for (; *at < end && **at >= '0' && **at <= '9'; ++*at) {
        number = number * 10 + (uint64_t)(**at - '0');
        if (number > max)
            return false;
    }
    *out = number;
    return *at > begin && (*begin != '0' || *at == begin + 1);
}

static bool take_dash(const char **at, const char *end)
{
    return *at < end && *(*at)++ == '-';
}

bool conn_id_parse(const char *text, size_t bytes, struct conn_id *out)
{
    const char *at = text, *end = text + bytes;
    uint64_t reactor, slot, generation;
    if (!take_number(&at, end, UINT16_MAX, &reactor) || !take_dash(&at, end) ||
        !take_number(&at, end, UINT32_MAX, &slot) || !take_dash(&at, end) ||
        !take_number(&at, end, UINT32_MAX, &generation) || at != end)
        return false;
    *out = (struct conn_id){
        .reactor = (uint16_t)reactor, .slot = (uint32_t)slot, .generation = (uint32_t)generation};
    return true;
}
