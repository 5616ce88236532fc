/* A sliding window of 64 numbers that notices gaps, late arrivals and duplicates. */
#include "loadtest/sequence.h"

enum { WINDOW = 64 };

static uint32_t missing_in_window(const struct sequence *sequence, uint32_t owed)
{
    uint32_t width = sequence->next > owed ? sequence->next - owed : 0;
    if (width >= WINDOW)
        return WINDOW - (uint32_t)__builtin_popcountll(sequence->seen);
    return width - (uint32_t)__builtin_popcountll(sequence->seen & ((UINT64_C(1) << width) - 1));
}

static enum sequence_verdict accept_older(struct sequence *sequence, uint32_t number, uint32_t owed)
{
    uint32_t back = sequence->next - 1 - number;
    if (back < WINDOW) {
        uint64_t bit = UINT64_C(1) << back;
        if (sequence->seen & bit)
            return SEQUENCE_DUPLICATE;
        sequence->seen |= bit;
    } else if (number < owed || sequence->missing <= missing_in_window(sequence, owed)) {
        return SEQUENCE_DUPLICATE;
    }
    if (number >= owed)
        sequence->missing--;
    return SEQUENCE_LATE;
}

enum sequence_verdict sequence_accept(struct sequence *sequence, uint32_t number, uint32_t owed)
{
    if (number < sequence->next)
        return accept_older(sequence, number, owed);

    uint32_t width = number - sequence->next, from = sequence->next > owed ? sequence->next : owed;
    uint32_t gap = number > from ? number - from : 0;
    sequence->missing += gap;
    sequence->seen = width + 1 < WINDOW ? sequence->seen << (width + 1) | 1 : 1;
    sequence->next = number + 1;
    return gap == 0 ? SEQUENCE_IN_ORDER : SEQUENCE_GAP;
}
