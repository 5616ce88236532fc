/* The table of pointers against a plain array. */
#include "gateway/base/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ENTRIES = 400, ROUNDS = 100000 };

struct entry {
    unsigned number;
    bool present;
};

/* Few distinct values, so that runs of colliding hashes form, wrap around the end and are broken up again. */
static uint32_t poor_hash(unsigned number)
{
    return number % 7 == 0 ? UINT32_MAX - number % 3 : number / 5 * 2654435761u;
}

static bool equal(const void *entry, const void *key)
{
    return ((const struct entry *)entry)->number == *(const unsigned *)key;
}

static void check_all(const struct table *table, struct entry *entries, uint32_t present)
{
    for (unsigned i = 0; i < ENTRIES; i++)
        assert_ptr_equal(table_find(table, poor_hash(i), equal, &i), entries[i].present ? &entries[i] : NULL);
    uint64_t cursor = 0;
    uint32_t walked = 0;
    for (struct entry *entry; (entry = table_next(table, &cursor)); walked++)
        assert_true(entry->present);
    assert_int_equal(walked, present);
    assert_int_equal(table->used, present);
}

static void random_insertions_and_removals_agree_with_an_array(void **state)
{
    (void)state;
    static struct entry entries[ENTRIES];
    for (unsigned i = 0; i < ENTRIES; i++)
        entries[i].number = i;
    struct table table;
    assert_true(table_init(&table));
    unsigned seed = 5;
    uint32_t present = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct entry *entry = &entries[(unsigned)rand_r(&seed) % ENTRIES];
        /* the share of removals swings, so that the table grows and shrinks */
        bool insert = (unsigned)rand_r(&seed) % 100 < (round / 10000 % 2 ? 10 : 80);
        if (insert && !entry->present) {
            assert_true(table_reserve(&table));
            table_insert(&table, poor_hash(entry->number), entry);
            present++;
            entry->present = true;
        } else if (!insert && entry->present) {
            table_remove(&table, poor_hash(entry->number), entry);
            present--;
            entry->present = false;
        }
        assert_true(((uint64_t)table.mask + 1) * 3 >= table.used * 4ull);
        if (round % 250 == 0)
            check_all(&table, entries, present);
    }
    for (unsigned i = 0; i < ENTRIES; i++)
        if (entries[i].present)
            table_remove(&table, poor_hash(i), &entries[i]);
    assert_int_equal(table.used, 0);
    assert_true(table.mask < 100); /* it shrinks with its entries */
    table_fini(&table);
}

static void equal_entries_are_removed_by_address(void **state)
{
    (void)state;
    struct entry twins[2] = {{.number = 3}, {.number = 3}};
    struct table table;
    assert_true(table_init(&table));
    for (int i = 0; i < 2; i++) {
        assert_true(table_reserve(&table));
        table_insert(&table, 77, &twins[i]);
    }
    table_remove(&table, 77, &twins[0]);
    assert_ptr_equal(table_find(&table, 77, equal, &twins[0].number), &twins[1]);
    table_remove(&table, 77, &twins[1]);
    assert_null(table_find(&table, 77, equal, &twins[0].number));
    table_fini(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_insertions_and_removals_agree_with_an_array),
        cmocka_unit_test(equal_entries_are_removed_by_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
