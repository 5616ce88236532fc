/* What a rising count was a fixed time ago, as a thread knows it that looks at the count again and again.
 *
 * Thread: one. Owner: embedded; no heap memory.
 */
#pragma once

#include <stdint.h>

enum { AGED_LOOKS = 128 };

struct aged {
    uint64_t age_ns;
    uint64_t
        count; /* at least age_ns ago, and no longer ago than a looker's pauses and age_ns / 64 make it */
    unsigned first, used;
    struct aged_look {
        uint64_t at_ns, count;
    } looks[AGED_LOOKS]; /* younger than age_ns; a ring */
};

static inline void aged_init(struct aged *aged, uint64_t age_ns)
{
    *aged = (struct aged){.age_ns = age_ns};
}
/* `now_ns` never falls. */
void aged_look(struct aged *aged, uint64_t now_ns, uint64_t count);
