/* Compares words by letters to add, leave out, replace or swap with their neighbour (Damerau, 1964; optimal
 * string alignment). */
#include "gateway/base/suggest.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <strings.h>

enum { WORD_BYTES_MAX = 64 };

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static bool same(char a, char b)
{
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* Both at most WORD_BYTES_MAX long. */
static size_t edit_distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    uint8_t table[WORD_BYTES_MAX + 1][WORD_BYTES_MAX + 1];
    for (size_t i = 0; i <= a_len; i++)
        table[i][0] = (uint8_t)i;
    for (size_t j = 0; j <= b_len; j++)
        table[0][j] = (uint8_t)j;
    for (size_t i = 1; i <= a_len; i++) {
        for (size_t j = 1; j <= b_len; j++) {
            size_t best = table[i - 1][j - 1] + !same(a[i - 1], b[j - 1]);
            best = least(best, 1u + least(table[i - 1][j], table[i][j - 1]));
            if (i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1]))
                best = least(best, 1u + table[i - 2][j - 2]);
            table[i][j] = (uint8_t)best;
        }
    }
    return table[a_len][b_len];
}

void suggest_begin(struct suggestion *suggestion, const char *typed, size_t len)
{
    *suggestion = (struct suggestion){.typed = typed, .typed_len = len, .distance = 2 + len / 4};
}

void suggest_offer_at(struct suggestion *suggestion, const char *word, size_t len, size_t distance)
{
    if (suggestion->typed_len > WORD_BYTES_MAX || len > WORD_BYTES_MAX)
        return;
    size_t shorter = least(suggestion->typed_len, len), longer = suggestion->typed_len + len - shorter;
    distance = least(distance, edit_distance(suggestion->typed, suggestion->typed_len, word, len));
    /* A word cut short or drawn out is nearer than its letters say. */
    if (shorter >= 3 && strncasecmp(suggestion->typed, word, shorter) == 0)
        distance = least(distance, (longer - shorter + 3) / 4);
    if (distance >= suggestion->distance)
        return;
    suggestion->distance = distance;
    suggestion->nearest = word;
    suggestion->nearest_len = len;
}

void suggest_offer(struct suggestion *suggestion, const char *word, size_t len)
{
    suggest_offer_at(suggestion, word, len, SIZE_MAX);
}
