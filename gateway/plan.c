/* The arithmetic of descriptors. */
#include "gateway/plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

enum {
    FDS_OF_A_REACTOR = 16,   /* besides connections: epoll, mailboxes, transfer, stderr and some air */
    FDS_OF_THE_PROCESS = 64, /* the same for the shared table, per-reactor ones apart */
    FDS_PER_REACTOR = 4,     /* in the shared table */
    REACTORS_MAX = UINT16_MAX / 2,
};

static uint64_t divide_up(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

uint32_t plan_cores(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (uint32_t)n : 1;
}

static uint64_t choose_reactors(const struct settings *settings, uint32_t cores, uint64_t private_capacity)
{
    uint64_t wanted = settings->limits.connections, reactors = cores > 0 ? cores : 1;
    if (settings->threads.reactors > 0)
        return settings->threads.reactors;
    if (settings->threads.private_fds && wanted > reactors * private_capacity)
        return divide_up(wanted, private_capacity);
    return reactors;
}

bool plan_make(const struct settings *settings, uint32_t cores, uint64_t nofile, struct plan *plan,
               char *error, size_t error_size)
{
    uint64_t wanted = settings->limits.connections;
    uint64_t each = nofile > 2ull * FDS_OF_A_REACTOR ? nofile - FDS_OF_A_REACTOR : FDS_OF_A_REACTOR;
    uint64_t reactors = choose_reactors(settings, cores, each);
    uint64_t shared = FDS_OF_THE_PROCESS + settings->limits.publishers + reactors * FDS_PER_REACTOR;
    if (settings_use_proxy(
            settings)) /* to the backends: one in use, and one that closes or looks up a name */
        shared += 2 * settings->proxy.concurrency;
    if (!settings->threads.private_fds)
        each = nofile > shared + reactors ? (nofile - shared) / reactors : 1;
    if (reactors == 0 || reactors > REACTORS_MAX) {
        snprintf(error, error_size,
                 "limits.connections=%" PRIu64 " needs %" PRIu64 " reactors under RLIMIT_NOFILE %" PRIu64
                 ": raise that limit or lower the other",
                 wanted, reactors, nofile);
        return false;
    }
    *plan = (struct plan){
        .acceptors = settings->threads.acceptors ? (uint32_t)settings->threads.acceptors : (cores + 1) / 2,
        .reactors = (uint32_t)reactors,
        .capacity = each < UINT32_MAX / 8 ? (uint32_t)each : UINT32_MAX / 8,
    };
    plan->connections = wanted ? wanted : reactors * plan->capacity;
    if (!settings->threads.private_fds) {
        plan->table_fds = shared + plan->connections;
    } else {
        /* With reactors to choose, any limit that the plan was made for will do. */
        uint64_t own = divide_up(plan->connections, reactors) + FDS_OF_A_REACTOR;
        plan->table_fds = own > shared ? own : shared;
    }
    return true;
}
