/* Private descriptor tables. */
#include "gateway/base/fdtable.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_close_range
#error "Linux 5.9 headers are needed for close_range(2)"
#endif

static bool close_between(unsigned first, unsigned last)
{
    return first > last || syscall(SYS_close_range, first, last, 0u) == 0;
}

bool fdtable_make_private(const int *keep, size_t count)
{
    if (unshare(CLONE_FILES) != 0)
        return false;
    unsigned from = 0;
    for (;;) { /* the smallest kept descriptor at or above `from`, and the gap before it */
        unsigned next = UINT_MAX;
        for (size_t i = 0; i < count; i++)
            if (keep[i] >= 0 && (unsigned)keep[i] >= from && (unsigned)keep[i] < next)
                next = (unsigned)keep[i];
        if (next == UINT_MAX)
            return close_between(from, UINT_MAX);
        if (next > from && !close_between(from, next - 1))
            return false;
        from = next + 1;
    }
}

static void *try_unshare(void *allowed)
{
    *(bool *)allowed = unshare(CLONE_FILES) == 0;
    return NULL;
}

bool fdtable_private_allowed(void)
{
    pthread_t thread;
    bool allowed = false;
    return pthread_create(&thread, NULL, try_unshare, &allowed) == 0 && pthread_join(thread, NULL) == 0 &&
           allowed;
}

uint64_t fdtable_raise_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 1024;
    if (limit.rlim_cur < limit.rlim_max) {
        struct rlimit wanted = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &wanted) == 0)
            limit = wanted;
    }
    return limit.rlim_cur;
}
