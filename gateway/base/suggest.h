/* The known word that a mistyped one was probably meant to be.
 *
 * Thread: any. Owner: words belong to the caller.
 */
#pragma once

#include <stddef.h>

struct suggestion {
    const char *typed, *nearest; /* NULL: none is near enough so far */
    size_t typed_len, nearest_len, distance;
};

/* Words longer than 64 bytes get no suggestion. */
void suggest_begin(struct suggestion *suggestion, const char *typed, size_t len);
/* A word that would have been right. The first of those equally near stays. */
void suggest_offer(struct suggestion *suggestion, const char *word, size_t len);
/* The same when there is a better reason than letters to think of this word: it counts as at most `distance`
 * letters away. */
void suggest_offer_at(struct suggestion *suggestion, const char *word, size_t len, size_t distance);
