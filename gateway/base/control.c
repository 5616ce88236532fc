/* One eventfd for requests, one signalfd for signals, and main waits for both. */
#include "gateway/base/control.h"

#include "gateway/base/assert.h"
#include "gateway/base/clock.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

static const struct {
    int signal;
    enum control_request request;
} meanings[] = {
    {SIGTERM, CONTROL_TERMINATE},
    {SIGINT, CONTROL_TERMINATE},
    {SIGHUP, CONTROL_RELOAD},
    {SIGUSR1, CONTROL_REOPEN_LOGS},
};

bool control_init(struct control *control)
{
    *control = (struct control){.signal_fd = -1, .wake_fd = -1};
    sigset_t signals;
    sigemptyset(&signals);
    for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++)
        sigaddset(&signals, meanings[i].signal);
    errno = pthread_sigmask(SIG_BLOCK, &signals, NULL);
    if (errno != 0)
        return false;
    control->signal_fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    control->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (control->signal_fd >= 0 && control->wake_fd >= 0)
        return true;
    int reason = errno;
    control_fini(control);
    errno = reason;
    return false;
}

void control_fini(struct control *control)
{
    if (control->signal_fd >= 0)
        close(control->signal_fd);
    if (control->wake_fd >= 0)
        close(control->wake_fd);
    control->signal_fd = control->wake_fd = -1;
}

void control_ask(struct control *control, enum control_request request)
{
    PG_ASSERT(request > CONTROL_NOTHING && request < CONTROL_REQUEST_COUNT);
    (void)atomic_fetch_or(&control->asked, 1u << request);
    const uint64_t one = 1;
    /* A full counter wakes as well; EINTR does not happen to an eventfd that takes no time. */
    (void)!write(control->wake_fd, &one, sizeof one);
}

/* Takes the most urgent request. */
static enum control_request take(struct control *control)
{
    uint32_t asked = atomic_load(&control->asked);
    if (!asked)
        return CONTROL_NOTHING;
    int request = __builtin_ctz(asked);
    (void)atomic_fetch_and(&control->asked, ~(1u << request));
    return (enum control_request)request;
}

/* Signals stand among the requests from then on. A second SIGTERM waits in the kernel until the first has
 * been served, so that the two stay two. */
static void read_signal(struct control *control)
{
    struct signalfd_siginfo info;
    if (atomic_load(&control->asked) & 1u << CONTROL_TERMINATE ||
        read(control->signal_fd, &info, sizeof info) != (ssize_t)sizeof info)
        return;
    for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++)
        if ((int)info.ssi_signo == meanings[i].signal)
            (void)atomic_fetch_or(&control->asked, 1u << meanings[i].request);
}

enum control_request control_wait(struct control *control, int64_t ms)
{
    uint64_t until = ms < 0 ? UINT64_MAX : clock_monotonic_ms() + (uint64_t)ms;
    struct pollfd fds[] = {{.fd = control->signal_fd, .events = POLLIN},
                           {.fd = control->wake_fd, .events = POLLIN}};
    for (;;) {
        read_signal(control);
        uint64_t count;
        (void)!read(control->wake_fd, &count, sizeof count); /* before the bits are looked at */
        enum control_request request = take(control);
        if (request != CONTROL_NOTHING)
            return request;
        uint64_t now = clock_monotonic_ms();
        if (now >= until)
            return CONTROL_NOTHING;
        uint64_t left = until - now;
        int timeout = until == UINT64_MAX ? -1 : left < INT_MAX ? (int)left : INT_MAX;
        if (poll(fds, 2, timeout) < 0)
            PG_ASSERT(errno == EINTR);
    }
}

void control_set_phase(struct control *control, enum control_phase phase)
{
    atomic_store_explicit(&control->phase, phase, memory_order_release);
}

void control_set_drain(struct control *control, uint64_t began_ms, uint64_t until_ms)
{
    atomic_store_explicit(&control->began_ms, began_ms, memory_order_relaxed);
    atomic_store_explicit(&control->until_ms, until_ms, memory_order_relaxed);
}

void control_set_left(struct control *control, uint64_t connections, uint64_t left)
{
    atomic_store_explicit(&control->connections, connections, memory_order_relaxed);
    atomic_store_explicit(&control->left, left, memory_order_relaxed);
}

const char *control_phase_label(enum control_phase phase)
{
    static const char *const labels[] = {"starting", "running", "grace", "draining", "stopping"};
    PG_ASSERT((unsigned)phase < sizeof labels / sizeof *labels);
    return labels[phase];
}

struct control_drain control_drain(const struct control *control)
{
    return (struct control_drain){
        .phase = control_phase(control),
        .connections = atomic_load_explicit(&control->connections, memory_order_relaxed),
        .left = atomic_load_explicit(&control->left, memory_order_relaxed),
        .began_ms = atomic_load_explicit(&control->began_ms, memory_order_relaxed),
        .until_ms = atomic_load_explicit(&control->until_ms, memory_order_relaxed),
    };
}
