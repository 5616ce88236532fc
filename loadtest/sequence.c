/* A sliding window of 64 numbers that notices gaps, late arrivals and duplicates. */
#include "loadtest/sequence.h"

enum { WINDOW = 64 };

static uint32_t missing_in_window(const struct sequence *sequence)
{
    uint32_t width = sequence->next < WINDOW ? sequence->next : WINDOW;
    return width - (uint32_t)__builtin_popcountll(sequence->seen);
}

static enum sequence_verdict accept_older(struct sequence *sequence, uint32_t number)
{
    uint32_t back = sequence->next - 1 - number;
    if (back < WINDOW) {
        uint64_t bit = UINT64_C(1) << back;
        if (sequence->seen & bit)
            return SEQUENCE_DUPLICATE;
        sequence->seen |= bit;
    } else if (sequence->missing <= missing_in_window(sequence)) {
        return SEQUENCE_DUPLICATE;
    }
    sequence->missing--;
    return SEQUENCE_LATE;
}

enum sequence_verdict sequence_accept(struct sequence *sequence, uint32_t number)
{
    if (number < sequence->next)
        return accept_older(sequence, number);

    uint32_t gap = number - sequence->next;
    sequence->missing += gap;
    sequence->seen = gap + 1 < WINDOW ? sequence->seen << (gap + 1) | 1 : 1;
    sequence->next = number + 1;
    return gap == 0 ? SEQUENCE_IN_ORDER : SEQUENCE_GAP;
}

void sequence_begin(struct sequence *sequence, uint32_t number)
{
    *sequence = (struct sequence){
        .seen = number < WINDOW ? (UINT64_C(1) << number) - 1 : UINT64_MAX,
        .next = number,
    };
}
