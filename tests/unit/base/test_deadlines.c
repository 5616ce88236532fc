/* The heap of deadlines against a search of all. */
#include "gateway/base/deadlines.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ENTRIES = 300, ROUNDS = 60000 };

struct entry {
    struct deadline deadline;
    bool present;
    uint64_t at;
};

static uint64_t random_time(unsigned *seed)
{
    switch (rand_r(seed) % 10) {
    case 0:
        return DEADLINE_NEVER;
    case 1:
        return 0;
    default:
        return (uint64_t)rand_r(seed) % 1000; /* many are equal */
    }
}

static void the_first_is_the_earliest_whatever_was_moved_or_removed(void **state)
{
    (void)state;
    static struct entry entries[ENTRIES];
    struct deadlines deadlines;
    deadlines_init(&deadlines);
    assert_null(deadlines_first(&deadlines));
    unsigned seed = 9;
    uint32_t present = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct entry *entry = &entries[(unsigned)rand_r(&seed) % ENTRIES];
        unsigned removals = round / 10000 % 2 ? 70 : 20;
        if (!entry->present) {
            if ((unsigned)rand_r(&seed) % 100 < removals)
                continue;
            assert_true(deadlines_reserve(&deadlines));
            entry->at = random_time(&seed);
            deadlines_insert(&deadlines, &entry->deadline, entry->at);
            entry->present = true;
            present++;
        } else if ((unsigned)rand_r(&seed) % 100 < removals) {
            deadlines_remove(&deadlines, &entry->deadline);
            entry->present = false;
            present--;
        } else {
            entry->at = random_time(&seed);
            deadlines_move(&deadlines, &entry->deadline, entry->at);
        }
        uint64_t earliest = DEADLINE_NEVER;
        for (unsigned i = 0; i < ENTRIES; i++)
            if (entries[i].present && entries[i].at < earliest)
                earliest = entries[i].at;
        assert_int_equal(deadlines.used, present);
        assert_true(present == 0 || deadlines_first(&deadlines)->at == earliest);
        if (round % 100 == 0)
            assert_true(deadlines_validate(&deadlines));
    }
    for (uint64_t last = 0; present > 0; present--) {
        struct deadline *first = deadlines_first(&deadlines);
        assert_true(first->at >= last);
        last = first->at;
        deadlines_remove(&deadlines, first);
        assert_true(deadlines_validate(&deadlines));
    }
    assert_null(deadlines_first(&deadlines));
    assert_true(deadlines.capacity <= 32); /* it shrinks with its entries */
    deadlines_fini(&deadlines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_is_the_earliest_whatever_was_moved_or_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
