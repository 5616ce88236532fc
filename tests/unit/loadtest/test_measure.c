/* measure: figures of processes and of the kernel. */
#include "loadtest/measure.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void memory_that_is_touched_shows(void **state)
{
    (void)state;
    const size_t bytes = 32 << 20;
    struct process_use before, after;
    assert_true(measure_process(0, &before));
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    memset(memory, 1, bytes);
    assert_true(measure_process(getpid(), &after));
    assert_true(after.private >= before.private + bytes - (1 << 20));
    assert_true(after.resident >= after.private);
    munmap(memory, bytes);
}

static void time_that_is_spent_shows(void **state)
{
    (void)state;
    struct process_use use = {0};
    for (volatile unsigned i = 0; use.cpu_seconds < 0.02; i++)
        if (i % 100000 == 0)
            assert_true(measure_process(0, &use));
    assert_true(use.cpu_seconds < 60);
}

static void a_process_that_is_gone_is_not_measured(void **state)
{
    (void)state;
    struct process_use use;
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    assert_true(child > 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_false(measure_process(child, &use));
    assert_int_equal(use.private, 0);
}

static void the_kernel_uses_memory(void **state)
{
    (void)state;
    struct kernel_use use;
    measure_kernel(&use);
    assert_true(use.slab_bytes > 1 << 20);
    assert_true(use.available > 1 << 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_that_is_touched_shows),
        cmocka_unit_test(time_that_is_spent_shows),
        cmocka_unit_test(a_process_that_is_gone_is_not_measured),
        cmocka_unit_test(the_kernel_uses_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
