/* The slab against a naive set of live slots. */
#include "gateway/base/slab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static uint32_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

static bool all_bytes_are(const uint8_t *bytes, size_t len, uint8_t value)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i] != value)
            return false;
    return true;
}

static size_t resident_pages(const struct slab *slab)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = slab->mapped_bytes / page, resident = 0;
    unsigned char *map = malloc(pages);
    assert_non_null(map);
    assert_int_equal(mincore(slab->base, slab->mapped_bytes, map), 0);
    for (size_t i = 0; i < pages; i++)
        resident += map[i] & 1;
    free(map);
    return resident;
}

static void slots_are_handed_out_once_and_zeroed(void **state)
{
    (void)state;
    enum { CAPACITY = 500, SLOT = 37 }; /* an odd size: slots stand at any address */
    static uint8_t fill[CAPACITY];      /* the naive model: 0 is free */
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct slab slab;
        assert_true(slab_init(&slab, SLOT, CAPACITY));
        memset(fill, 0, sizeof fill);
        uint32_t live = 0;
        uint64_t random = seed;
        for (int step = 0; step < 20000; step++) {
            uint32_t pick = next_random(&random) % CAPACITY;
            bool growing = step / 3000 % 2 == 0;
            if (next_random(&random) % 10 < (growing ? 7u : 3u)) {
                uint32_t index = slab_alloc(&slab);
                if (live == CAPACITY) {
                    assert_int_equal(index, SLAB_NONE);
                    continue;
                }
                assert_in_range(index, 0, CAPACITY - 1);
                assert_int_equal(fill[index], 0);
                assert_true(all_bytes_are(slab_at(&slab, index), SLOT, 0));
                fill[index] = (uint8_t)(1 + step % 255);
                memset(slab_at(&slab, index), fill[index], SLOT);
                live++;
            } else if (fill[pick]) {
                assert_true(all_bytes_are(slab_at(&slab, pick), SLOT, fill[pick]));
                slab_free(&slab, pick);
                fill[pick] = 0;
                live--;
            }
            assert_int_equal(slab.used, live);
            if (step % 500 == 0)
                assert_true(slab_validate(&slab));
        }
        slab_fini(&slab);
    }
}

static void the_slot_freed_last_is_handed_out_first(void **state)
{
    (void)state;
    struct slab slab;
    assert_true(slab_init(&slab, 64, 8));
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(slab_alloc(&slab), i);
    assert_int_equal(slab_alloc(&slab), SLAB_NONE);
    slab_free(&slab, 2);
    slab_free(&slab, 5);
    assert_int_equal(slab_alloc(&slab), 5);
    assert_int_equal(slab_alloc(&slab), 2);
    slab_fini(&slab);
}

static void untouched_slots_cost_no_memory(void **state)
{
    (void)state;
    struct slab slab;
    assert_true(slab_init(&slab, 256, 1u << 20));
    assert_int_equal(resident_pages(&slab), 0);
    for (int i = 0; i < 64; i++)
        memset(slab_at(&slab, slab_alloc(&slab)), 1, 256);
    assert_in_range(resident_pages(&slab), 1, 5); /* 16 KiB; not a huge page of 512 */
    slab_fini(&slab);
}

static void trim_gives_all_pages_back_only_when_nothing_is_in_use(void **state)
{
    (void)state;
    struct slab slab;
    assert_true(slab_init(&slab, 256, 4096));
    for (uint32_t i = 0; i < 4096; i++)
        memset(slab_at(&slab, slab_alloc(&slab)), 1, 256);
    for (uint32_t i = 1; i < 4096; i++)
        slab_free(&slab, i);
    slab_trim(&slab);
    assert_in_range(resident_pages(&slab), 200, 256);
    assert_int_equal(*(uint8_t *)slab_at(&slab, 0), 1);
    slab_free(&slab, 0);
    slab_trim(&slab);
    assert_int_equal(resident_pages(&slab), 0);
    assert_true(slab_validate(&slab));
    uint32_t index = slab_alloc(&slab);
    assert_int_equal(index, 0);
    assert_true(all_bytes_are(slab_at(&slab, index), 256, 0));
    slab_fini(&slab);
}

static void a_size_beyond_the_address_space_is_refused(void **state)
{
    (void)state;
    struct slab slab;
    assert_false(slab_init(&slab, SIZE_MAX / 2, UINT32_MAX));
    assert_false(slab_init(&slab, SIZE_MAX / UINT32_MAX / 2, UINT32_MAX));
}

static void validate_sees_a_broken_free_list(void **state)
{
    (void)state;
    struct slab slab;
    assert_true(slab_init(&slab, 64, 8));
    for (int i = 0; i < 4; i++)
        (void)!slab_alloc(&slab);
    slab_free(&slab, 1);
    slab_free(&slab, 3);
    assert_true(slab_validate(&slab));
    slab.free_head = 1; /* slot 3 is lost */
    assert_false(slab_validate(&slab));
    slab.free_head = 7; /* never handed out */
    assert_false(slab_validate(&slab));
    slab_fini(&slab);
}

/* Runs in a child, whose abort is the result that is looked for. */
static bool aborts(void (*act)(struct slab *))
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        struct slab slab;
        if (!slab_init(&slab, 64, 8))
            _exit(1);
        (void)!slab_alloc(&slab);
        (void)!slab_alloc(&slab);
        close(STDERR_FILENO);
        act(&slab);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return !WIFEXITED(status) || WEXITSTATUS(status) > 1;
}

static void free_twice(struct slab *slab)
{
    slab_free(slab, 0);
    slab_free(slab, 0);
}

static void free_more_than_was_allocated(struct slab *slab)
{
    slab_free(slab, 0);
    slab_free(slab, 1);
    slab_free(slab, 0);
}

static void free_what_was_never_allocated(struct slab *slab)
{
    slab_free(slab, 2);
}

static void free_once(struct slab *slab)
{
    slab_free(slab, 1);
}

static void freeing_what_is_not_in_use_ends_the_process(void **state)
{
    (void)state;
    assert_true(aborts(free_twice));
    assert_true(aborts(free_more_than_was_allocated));
    assert_true(aborts(free_what_was_never_allocated));
    assert_false(aborts(free_once));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_are_handed_out_once_and_zeroed),
        cmocka_unit_test(the_slot_freed_last_is_handed_out_first),
        cmocka_unit_test(untouched_slots_cost_no_memory),
        cmocka_unit_test(trim_gives_all_pages_back_only_when_nothing_is_in_use),
        cmocka_unit_test(a_size_beyond_the_address_space_is_refused),
        cmocka_unit_test(validate_sees_a_broken_free_list),
        cmocka_unit_test(freeing_what_is_not_in_use_ends_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
