/* The worker's loop: what the phase demands, then events. */
#include "loadtest/worker.h"

#include "gateway/base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum {
    EVENTS = 256,
    WALK_SLICE = 128, /* slots per turn, so that answers are read in between */
    OPEN_SLICE = 64,
    IDLE_MS = 50, /* how late a worker may notice a new phase */
    ALERT_MS = 2, /* the same where it matters */
    STACK_BYTES = 1 << 20,
    CLOSE_WAIT_MS = 1000, /* for the server's close frame, before a replaced connection is cut */
    CHURN_LOOK_MS = 10,
    TRICKLES_PER_SECOND = 10,
};

static const uint64_t RETRY_MIN_NS = 250 * UINT64_C(1000000), RETRY_MAX_NS = 2000 * UINT64_C(1000000);

static void finish(struct worker *worker)
{
    atomic_store_explicit(&worker->finished, worker->order, memory_order_release);
}

static uint64_t count_open(const struct worker *worker)
{
    return counter_read(&worker->stats.open) + counter_read(&worker->slow_stats.open);
}

static uint64_t count_started(const struct worker *worker)
{
    return counter_read(&worker->stats.started) + counter_read(&worker->slow_stats.started);
}

/* How many of at most `all` the rate has allowed since the phase began, and in how many ms it allows one more
 * than `done`. */
static uint64_t allowed(const struct worker *worker, double rate, uint64_t all, uint64_t done, int *wait_ms)
{
    *wait_ms = IDLE_MS;
    if (rate <= 0)
        return all;
    double seconds = (double)(clock_monotonic_ns() - worker->phase_ns) / 1e9;
    uint64_t due = (uint64_t)(seconds * rate) + 1;
    double next_ms = (((double)done + 1) / rate - seconds) * 1e3;
    if (next_ms < IDLE_MS)
        *wait_ms = next_ms < 1 ? 1 : (int)next_ms;
    return due < all ? due : all;
}

static int open_more(struct worker *worker)
{
    struct client_context *clients = &worker->clients;
    uint64_t started = count_started(worker);
    int wait_ms;
    uint64_t due = allowed(worker, worker->rate, worker->connections, started, &wait_ms);

    for (int i = 0; i < OPEN_SLICE && started < due && clients->in_progress_count < worker->in_progress_max;
         i++) {
        (void)client_open(clients); /* counts its failure itself */
        started++;
    }
    if (started == worker->connections && clients->in_progress_count == 0)
        finish(worker);
    if (started < due && clients->in_progress_count < worker->in_progress_max)
        return 0;
    return wait_ms;
}

/* Passes over all slots and opens those that were cut and are down; between two passes it waits, longer each
 * time. */
static int bring_back(struct worker *worker)
{
    struct client_context *clients = &worker->clients;
    uint32_t slots = clients->slab.fresh;
    int wait_ms;
    uint64_t due = allowed(worker, worker->rate, UINT64_MAX, worker->reopened, &wait_ms);

    for (int i = 0; i < OPEN_SLICE && worker->cursor < slots && worker->reopened < due &&
                    clients->in_progress_count < worker->in_progress_max;) {
        uint32_t index = worker->cursor++;
        const struct client *client = client_at(clients, index);
        if (!client->due_back || !client_is_down(client))
            continue;
        (void)client_reopen(clients, index);
        worker->reopened++;
        i++;
    }
    if (worker->cursor < slots)
        return worker->reopened < due && clients->in_progress_count < worker->in_progress_max ? 0 : wait_ms;
    if (clients->in_progress_count > 0)
        return IDLE_MS;
    if (count_open(worker) == worker->cut) {
        finish(worker);
        return IDLE_MS;
    }
    uint64_t now_ns = clock_monotonic_ns();
    if (worker->pass_ns == 0)
        worker->pass_ns = now_ns;
    if (now_ns - worker->pass_ns >= worker->pause_ns) {
        worker->cursor = 0;
        worker->pass_ns = 0;
        worker->pause_ns = worker->pause_ns * 2 < RETRY_MAX_NS ? worker->pause_ns * 2 : RETRY_MAX_NS;
    }
    return IDLE_MS;
}

/* Closes the next slot's connection: every second one by a closing handshake, the others vanish. */
static void close_to_replace(struct worker *worker, uint32_t now_ms)
{
    uint32_t slots = worker->clients.slab.fresh, index = (uint32_t)(worker->closed % slots);

    if ((index + worker->closed / slots) % 2 == 0)
        client_close(&worker->clients, index);
    else if (client_at(&worker->clients, index)->state == CLIENT_OPEN)
        client_cut(&worker->clients, index);
    worker->closed_ms[index] = now_ms;
    worker->closed++;
}

/* Opens the slot that was closed first. False when it must wait for the server's close frame. */
static bool replace_one(struct worker *worker, uint32_t now_ms)
{
    struct client_context *clients = &worker->clients;
    uint32_t index = (uint32_t)(worker->replaced % clients->slab.fresh);
    const struct client *client = client_at(clients, index);

    if (client->state == CLIENT_CLOSING) {
        if (now_ms - worker->closed_ms[index] < CLOSE_WAIT_MS)
            return false;
        client_abort(clients, index);
    }
    if (client_is_down(client))
        (void)client_reopen(clients, index);
    worker->replaced++;
    return true;
}

/* Both ends of the row of slots that are being replaced move on; without `close_more` until it is empty. */
static int churn(struct worker *worker, bool close_more)
{
    struct client_context *clients = &worker->clients;
    uint32_t now_ms = (uint32_t)(clock_monotonic_ns() / 1000000);
    uint64_t slots = clients->slab.fresh;
    int wait_ms = IDLE_MS;

    if (close_more) {
        uint64_t due = allowed(worker, worker->churn_rate, UINT64_MAX, worker->closed, &wait_ms);
        for (int i = 0; i < WALK_SLICE && worker->closed < due && worker->closed - worker->replaced < slots;
             i++)
            close_to_replace(worker, now_ms);
    }
    for (int i = 0; i < OPEN_SLICE && worker->replaced < worker->closed &&
                    clients->in_progress_count < worker->in_progress_max;
         i++)
        if (!replace_one(worker, now_ms))
            break;
    if (!close_more && worker->replaced == worker->closed && clients->in_progress_count == 0)
        finish(worker);
    return wait_ms < CHURN_LOOK_MS ? wait_ms : CHURN_LOOK_MS;
}

/* Gives the slow connections what --slow-read allows, a tenth of it every tenth of a second. */
static int trickle(struct worker *worker)
{
    uint64_t now_ns = clock_monotonic_ns(), bytes = worker->clients.options->slow_read / TRICKLES_PER_SECOND;

    if (worker->clients.options->slow_read == 0)
        return IDLE_MS;
    if (now_ns - worker->pass_ns >= UINT64_C(1000000000) / TRICKLES_PER_SECOND) {
        worker->pass_ns = now_ns;
        for (uint32_t i = 0; i < worker->clients.slab.fresh; i++)
            client_read_some(&worker->clients, i, bytes > 0 ? bytes : 1);
    }
    return IDLE_MS / 2;
}

/* Visits the next slots; false when all have been visited. */
static bool walk(struct worker *worker, void (*visit)(struct client_context *context, uint32_t index))
{
    for (int i = 0; i < WALK_SLICE && worker->cursor < worker->clients.slab.fresh; i++)
        visit(&worker->clients, worker->cursor++);
    return worker->cursor < worker->clients.slab.fresh;
}

static enum load_phase phase_of(const struct worker *worker)
{
    return (enum load_phase)(worker->order & ((1 << ORDER_PHASE_BITS) - 1));
}

/* Does what the phase demands; returns how long epoll may wait. */
static int work(struct worker *worker)
{
    client_expire(&worker->clients, clock_monotonic_ns());
    switch (phase_of(worker)) {
    case PHASE_OPEN:
        return open_more(worker);
    case PHASE_RETURN:
        return bring_back(worker);
    case PHASE_CHURN:
        return churn(worker, true);
    case PHASE_CALM:
        return churn(worker, false);
    case PHASE_STALL:
        return trickle(worker);
    case PHASE_PROBE:
        if (walk(worker, client_probe))
            return 0;
        if (counter_read(&worker->stats.probes_answered) == counter_read(&worker->stats.probes_sent))
            finish(worker);
        return IDLE_MS;
    case PHASE_SETTLE:
        if (worker->clients.outstanding == 0)
            finish(worker);
        return IDLE_MS;
    case PHASE_CLOSE:
        if (walk(worker, client_close))
            return 0;
        if (count_open(worker) == 0)
            finish(worker);
        return IDLE_MS;
    case PHASE_HOLD:
        return worker->clients.options->mode == LOAD_STORM ? ALERT_MS : IDLE_MS;
    case PHASE_CUT:
        return ALERT_MS;
    case PHASE_START:
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

static void cut_all(struct worker *worker)
{
    worker->cut = 0;
    for (uint32_t i = 0; i < worker->clients.slab.fresh; i++) {
        struct client *client = client_at(&worker->clients, i);
        client->due_back = client->state == CLIENT_OPEN;
        worker->cut += client->due_back;
        client_cut(&worker->clients, i);
    }
    finish(worker);
}

static void begin_settling(struct worker *worker)
{
    struct client_context *clients = &worker->clients;

    clients->published = atomic_load(&worker->shared->published);
    client_settle(clients);
    clients->slow_stalled = false;
    for (uint32_t i = 0; i < clients->slab.fresh; i++)
        client_read_on(clients, i);
}

static bool lets_connections_open(enum load_phase phase)
{
    return phase == PHASE_OPEN || phase == PHASE_RETURN || phase == PHASE_CHURN || phase == PHASE_CALM;
}

static void enter(struct worker *worker, load_order order)
{
    worker->order = order;
    worker->phase_ns = clock_monotonic_ns();
    worker->cursor = 0;
    worker->reopened = 0;
    worker->pass_ns = 0;
    worker->pause_ns = RETRY_MIN_NS;
    enum load_phase phase = phase_of(worker);
    if (!lets_connections_open(phase))
        abort_in_progress(worker);
    if (phase == PHASE_CUT)
        cut_all(worker);
    if (phase == PHASE_STALL)
        worker->clients.slow_stalled = true;
    if (phase == PHASE_SETTLE)
        begin_settling(worker);
    if (phase == PHASE_CLOSE) {
        worker->clients.slow_stalled = false;
        worker->clients.published = atomic_load(&worker->shared->published);
        if (worker->clients.payload)
            client_count_lost(&worker->clients);
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
        load_order order = atomic_load_explicit(&worker->shared->order, memory_order_acquire);
        if (order != worker->order)
            enter(worker, order);
        if (phase_of(worker) == PHASE_STOP)
            break;
        int count = epoll_wait(worker->clients.epoll_fd, events, EVENTS, work(worker));
        for (int i = 0; i < count; i++)
            client_event(&worker->clients, events[i].data.u64, events[i].events);
        if (phase_of(worker) == PHASE_HOLD && count < EVENTS)
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
    if (worker->clients.options->mode == LOAD_CHURN) {
        worker->closed_ms = calloc(worker->connections, sizeof(*worker->closed_ms));
        if (!worker->closed_ms) {
            snprintf(worker->error, sizeof(worker->error), "out of memory");
            client_context_fini(&worker->clients);
            atomic_store(&worker->failed, true);
            return NULL;
        }
    }
    finish(worker);
    run(worker);
    client_context_fini(&worker->clients);
    free(worker->closed_ms);
    return NULL;
}

bool worker_start(struct worker *worker)
{
    pthread_attr_t attributes;

    worker->order = load_order_of(0, PHASE_START);
    atomic_store(&worker->finished, load_order_of(0, PHASE_STOP)); /* no order that is ever given */
    worker->clients.stats = &worker->stats;
    worker->clients.slow_stats = &worker->slow_stats;
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

bool worker_finished(const struct worker *worker, load_order order)
{
    return atomic_load_explicit(&worker->finished, memory_order_acquire) == order;
}
