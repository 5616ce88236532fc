/* A ring of looks that are too young to count. */
#include "loadtest/aged.h"

enum { LOOKS_PER_AGE = 64 };

void aged_look(struct aged *aged, uint64_t now_ns, uint64_t count)
{
    while (aged->used > 0 && now_ns - aged->looks[aged->first].at_ns >= aged->age_ns) {
        aged->count = aged->looks[aged->first].count;
        aged->first = (aged->first + 1) % AGED_LOOKS;
        aged->used--;
    }
    const struct aged_look *last = &aged->looks[(aged->first + aged->used + AGED_LOOKS - 1) % AGED_LOOKS];
    if (aged->used == AGED_LOOKS || (aged->used > 0 && now_ns - last->at_ns < aged->age_ns / LOOKS_PER_AGE))
        return;
    aged->looks[(aged->first + aged->used) % AGED_LOOKS] = (struct aged_look){now_ns, count};
    aged->used++;
}
