/* The worker's loop: what the phase demands, then events. */
#include "loadtest/worker.h"

#include "gateway/base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum {
    EVENTS = 256,
    WALK_SLICE = 128, /* slots per turn, so that answers are read in between */
    OPEN_SLICE = 64,
    IDLE_MS = 50, /* how late a worker may notice a new phase */
    STACK_BYTES = 1 << 20,
};

static void finish(struct worker *worker, enum load_phase phase)
{
    if (atomic_load_explicit(&worker->finished, memory_order_relaxed) < (int)phase)
        atomic_store_explicit(&worker->finished, (int)phase, memory_order_release);
}

/* How many connections the rate has allowed since the phase began, and in how many ms it allows one more than
 * `started`. */
static uint64_t allowed(const struct worker *worker, uint64_t now_ns, uint64_t started, int *wait_ms)
{
    *wait_ms = IDLE_MS;
    if (worker->rate <= 0)
        return worker->connections;
    double seconds = (double)(now_ns - worker->phase_ns) / 1e9;
    uint64_t due = (uint64_t)(seconds * worker->rate) + 1;
    double next_ms = (((double)started + 1) / worker->rate - seconds) * 1e3;
    if (next_ms < IDLE_MS)
        *wait_ms = next_ms < 1 ? 1 : (int)next_ms;
    return due < worker->connections ? due : worker->connections;
}

static int open_more(struct worker *worker)
{
    struct client_context *clients = &worker->clients;
    uint64_t now_ns = clock_monotonic_ns();
    uint64_t started = counter_read(&worker->stats.started);
    int wait_ms;
    uint64_t due = allowed(worker, now_ns, started, &wait_ms);

    client_expire(clients, now_ns);
    for (int i = 0; i < OPEN_SLICE && started < due && clients->in_progress_count < worker->in_progress_max;
         i++) {
        (void)client_open(clients); /* counts its failure itself */
        started++;
    }
    if (started == worker->connections && clients->in_progress_count == 0)
        finish(worker, PHASE_OPEN);
    if (started < due && clients->in_progress_count < worker->in_progress_max)
        return 0;
    return wait_ms;
}

/* Visits the next slots; false when all have been visited. */
static bool walk(struct worker *worker, void (*visit)(struct client_context *context, uint32_t index))
{
    for (int i = 0; i < WALK_SLICE && worker->cursor < worker->clients.slab.fresh; i++)
        visit(&worker->clients, worker->cursor++);
    return worker->cursor < worker->clients.slab.fresh;
}

/* Does what the phase demands; returns how long epoll may wait. */
static int work(struct worker *worker)
{
    switch ((enum load_phase)worker->phase) {
    case PHASE_OPEN:
        return open_more(worker);
    case PHASE_PROBE:
        if (walk(worker, client_probe))
            return 0;
        if (counter_read(&worker->stats.probes_answered) == counter_read(&worker->stats.probes_sent))
            finish(worker, PHASE_PROBE);
        return IDLE_MS;
    case PHASE_SETTLE:
        if (worker->clients.outstanding == 0)
            finish(worker, PHASE_SETTLE);
        return IDLE_MS;
    case PHASE_CLOSE:
        if (walk(worker, client_close))
            return 0;
        if (counter_read(&worker->stats.open) == 0)
            finish(worker, PHASE_CLOSE);
        return IDLE_MS;
    case PHASE_START:
    case PHASE_HOLD:
    case PHASE_STOP:
        break;
    }
    return IDLE_MS;
}

static void abort_in_progress(struct worker *worker)
{
    struct list *list = &worker->clients.in_progress;
    while (!list_empty(list))
        client_abort(&worker->clients, LIST_ITEM(list->next, struct client_heap, in_progress)->index);
}

static void begin_settling(struct worker *worker)
{
    struct client_context *clients = &worker->clients;

    clients->published = atomic_load(&worker->shared->published);
    clients->outstanding = 0;
    for (uint32_t i = 0; i < clients->slab.fresh; i++)
        if (client_at(clients, i)->state == CLIENT_OPEN)
            clients->outstanding += client_outstanding(clients, i, clients->published);
    clients->settling = true;
}

/* What was published since a connection opened and has not arrived is lost, also when the connection has
 * ended meanwhile. */
static void count_lost(struct worker *worker)
{
    struct client_context *clients = &worker->clients;
    uint64_t published = atomic_load(&worker->shared->published);

    for (uint32_t i = 0; i < clients->slab.fresh; i++) {
        if (!client_at(clients, i)->was_open)
            continue;
        counter_add(&worker->stats.expected, client_expected(clients, i, published));
        counter_add(&worker->stats.lost, client_outstanding(clients, i, published));
    }
}

static void enter(struct worker *worker, int phase)
{
    worker->phase = phase;
    worker->phase_ns = clock_monotonic_ns();
    worker->cursor = 0;
    if (phase > PHASE_OPEN)
        abort_in_progress(worker);
    if (phase == PHASE_SETTLE)
        begin_settling(worker);
    if (phase == PHASE_CLOSE) {
        worker->clients.settling = false;
        worker->clients.leaving = true;
        if (worker->clients.payload)
            count_lost(worker);
    }
}

/* While nobody waits in epoll_wait(), a frame that arrives only joins the list of what is ready. */
static void nap(uint64_t milliseconds)
{
    struct timespec pause = {.tv_sec = (time_t)(milliseconds / 1000),
                             .tv_nsec = (long)(milliseconds % 1000 * 1000000)};
    if (milliseconds > 0)
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
}

static void run(struct worker *worker)
{
    struct epoll_event events[EVENTS];

    for (;;) {
        int phase = atomic_load_explicit(&worker->shared->phase, memory_order_acquire);
        if (phase != worker->phase)
            enter(worker, phase);
        if (phase == PHASE_STOP)
            break;
        int count = epoll_wait(worker->clients.epoll_fd, events, EVENTS, work(worker));
        for (int i = 0; i < count; i++)
            client_event(&worker->clients, events[i].data.u64, events[i].events);
        if (phase == PHASE_HOLD && count < EVENTS)
            nap(worker->clients.options->nap_ms);
    }
    for (uint32_t i = 0; i < worker->clients.slab.fresh; i++)
        client_abort(&worker->clients, i);
}

static void *worker_main(void *argument)
{
    struct worker *worker = argument;

    /* A table of its own makes RLIMIT_NOFILE count per worker; what main has open is no business of ours. */
    if (worker->private_fds && close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_UNSHARE) != 0) {
        snprintf(worker->error, sizeof(worker->error), "private descriptor table: %s", strerror(errno));
        atomic_store(&worker->failed, true);
        return NULL;
    }
    if (!client_context_init(&worker->clients, worker->connections, worker->error, sizeof(worker->error))) {
        atomic_store(&worker->failed, true);
        return NULL;
    }
    finish(worker, PHASE_START);
    run(worker);
    client_context_fini(&worker->clients);
    return NULL;
}

bool worker_start(struct worker *worker)
{
    pthread_attr_t attributes;

    atomic_store(&worker->finished, -1);
    worker->clients.stats = &worker->stats;
    worker->clients.epoll_fd = -1;
    if (pthread_attr_init(&attributes) != 0)
        return false;
    (void)pthread_attr_setstacksize(&attributes, STACK_BYTES);
    bool started = pthread_create(&worker->thread, &attributes, worker_main, worker) == 0;
    pthread_attr_destroy(&attributes);
    return started;
}

void worker_join(struct worker *worker)
{
    pthread_join(worker->thread, NULL);
}

bool worker_finished(const struct worker *worker, enum load_phase phase)
{
    return atomic_load_explicit(&worker->finished, memory_order_acquire) >= (int)phase;
}
