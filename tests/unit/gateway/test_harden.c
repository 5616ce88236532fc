/* What the process gives up at its start, seen from inside. */
#include "gateway/harden.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* In a child, because there is no way back: exit status 2 for dumpable, 1 for a limit above 0. */
static int after_hardening(bool core_dumps)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit limit = {1, 1};
        harden_process(core_dumps);
        if (getrlimit(RLIMIT_CORE, &limit) != 0)
            _exit(99);
        _exit((prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 1 ? 2 : 0) + (limit.rlim_max > 0));
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void a_hardened_process_leaves_no_core(void **state)
{
    (void)state;
    assert_int_equal(after_hardening(false), 0);
}

static void core_dumps_that_are_asked_for_stay_as_they_were(void **state)
{
    (void)state;
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_CORE, &limit), 0);
    assert_int_equal(after_hardening(true), 2 + (limit.rlim_max > 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hardened_process_leaves_no_core),
        cmocka_unit_test(core_dumps_that_are_asked_for_stay_as_they_were),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
