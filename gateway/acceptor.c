/* The acceptor's loop: listeners, handshakes, answers, deadlines, transfers. */
#include "gateway/acceptor_internal.h"

#include "gateway/base/assert.h"
#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/base/net.h"

#include <errno.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
    EVENTS_MAX = 128,
    ACCEPTS_PER_TURN = 64,
    ACCEPT_PAUSE_MS = 100, /* after an error that passes only when something is freed */
    QUIET_MS = 1000,       /* a pause so soon after another has no line of its own */
    SLOTS_KEPT_FREE = 1,
    BATCH_RETRY_MS = 1,
    TRIM_AFTER = 256, /* handshakes: a few MiB of OpenSSL's */
    TRIM_EVERY_MS = 1000,
    ADVANCE_BUDGET = 1024,
};

#define EVENT_LISTENER UINT64_MAX /* − transport */
#define EVENT_MAILBOX  (UINT64_MAX - TRANSPORT_COUNT)

struct acceptor *acceptor_create(const struct acceptor_config *config, char *error, size_t error_size)
{
    struct acceptor *acceptor = calloc(1, sizeof *acceptor);
    if (!acceptor)
        goto failed;
    acceptor->config = *config;
    acceptor->shared = config->shared;
    acceptor->tls = config->tls;
    acceptor->access = config->access ? access_retain(config->access) : NULL;
    if (config->ticket_keys)
        acceptor->ticket_keys = tls_ticket_keys_retain(config->ticket_keys);
    if (acceptor->tls)
        tls_context_set_ticket_keys(acceptor->tls, acceptor->ticket_keys);
    acceptor->epoll_fd = -1;
    acceptor->mailbox.wake_fd = -1;
    list_init(&acceptor->outside);
    list_init(&acceptor->midway);
    acceptor->access_log.every = config->shared->settings->log.access;
    uint64_t ticks = config->shared->settings->limits.handshake_timeout / WHEEL_TICK_MS;
    acceptor->deadline_ticks = ticks < INT32_MAX ? (uint32_t)ticks : INT32_MAX;
    if (!slab_init(&acceptor->slots, sizeof(struct pending), ACCEPTOR_SLOTS))
        goto failed;
    slab_hide(&acceptor->slots); /* keys among them, once a handshake is done */
    acceptor->now = (uint32_t)(clock_monotonic_ms() / WHEEL_TICK_MS);
    wheel_init(&acceptor->wheel, acceptor->slots.base + offsetof(struct pending, timer),
               sizeof(struct pending), acceptor->now);
    acceptor->crypto = tls_crypto_create();
    acceptor->batches = calloc(config->shared->port_count, sizeof *acceptor->batches);
    acceptor->freed.items = malloc(ACCEPTOR_SLOTS * sizeof *acceptor->freed.items);
    acceptor->scratch = malloc(ACCEPTOR_SCRATCH);
    acceptor->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!acceptor->crypto || !acceptor->batches || !acceptor->freed.items || !acceptor->scratch ||
        acceptor->epoll_fd < 0 || !mailbox_init(&acceptor->mailbox))
        goto failed;
    pulse_init(&acceptor->pulse, &acceptor->mailbox);
    return acceptor;
failed:
    snprintf(error, error_size, "cannot set up acceptor %u: %s", config->number,
             strerror(errno ? errno : ENOMEM));
    if (acceptor)
        acceptor_destroy(acceptor);
    return NULL;
}

const struct acceptor_stats *acceptor_stats(const struct acceptor *acceptor)
{
    return &acceptor->stats;
}

struct pulse *acceptor_pulse(struct acceptor *acceptor)
{
    return &acceptor->pulse;
}

/* Listeners
 * --------------------------------------------------------------------------------------------------------------
 */

static bool control_listeners(struct acceptor *acceptor, int operation, uint32_t events)
{
    bool good = true;
    for (int i = 0; i < TRANSPORT_COUNT; i++) {
        struct epoll_event event = {.events = events, .data.u64 = EVENT_LISTENER - (uint64_t)i};
        if (acceptor->config.listen_fds[i] >= 0)
            good &= epoll_ctl(acceptor->epoll_fd, operation, acceptor->config.listen_fds[i], &event) == 0;
    }
    return good;
}

/* They stay watched: a listener that is added again may find fs.epoll.max_user_watches exhausted. */
void acceptor_set_listening(struct acceptor *acceptor, bool listening)
{
    if (acceptor->listening == listening)
        return;
    acceptor->listening = listening;
    PG_ASSERT(control_listeners(acceptor, EPOLL_CTL_MOD, listening ? EPOLLIN : 0));
}

static void pause_accepting(struct acceptor *acceptor)
{
    acceptor_set_listening(acceptor, false);
    acceptor->accept_pause_until = acceptor->now + ACCEPT_PAUSE_MS / WHEEL_TICK_MS;
}

static bool slots_left(const struct acceptor *acceptor)
{
    return acceptor->slots.used + SLOTS_KEPT_FREE < ACCEPTOR_SLOTS;
}

/* Until a handshake ends or its deadline ends it. Who comes meanwhile waits in the kernel's queue. */
static void pause_full(struct acceptor *acceptor)
{
    static struct log_limit limit;
    counter_add(&acceptor->stats.accept_pauses, 1);
    if (acceptor->now - acceptor->accept_pause_until > QUIET_MS / WHEEL_TICK_MS) /* the first of a row */
        log_limited(&limit, LOG_WARN, "accept_paused", "acceptor=%u reason=handshakes under_way=%u",
                    acceptor->config.number, acceptor->slots.used);
    pause_accepting(acceptor);
}

/* Until something is freed. */
static void pause_failed(struct acceptor *acceptor, int error)
{
    static struct log_limit limit;
    counter_add(&acceptor->stats.accept_errors, 1);
    log_limited(&limit, LOG_WARN, "accept_paused", "acceptor=%u reason=kernel error=%s",
                acceptor->config.number, strerror(error));
    pause_accepting(acceptor);
}

static void begin(struct acceptor *acceptor, int fd, enum transport transport, const struct sockaddr *address)
{
    uint32_t index = slab_alloc(&acceptor->slots);
    PG_ASSERT(index != SLAB_NONE);
    struct pending *pending = acceptor_slot(acceptor, index);
    *pending = (struct pending){.fd = fd,
                                .generation = acceptor->next_generation++,
                                .transport = (uint8_t)transport,
                                .state = PENDING_PROXY,
                                .refusal = HANDSHAKE_FAILURE_COUNT,
                                .ip_handle = IP_LIMIT_NONE,
                                .client = address_from_sockaddr(address)};
    counter_add(&acceptor->stats.handshaking, 1);
    crowd_came(acceptor, pending);
    if (!pending_arrive(acceptor, pending))
        return;
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* a push must not wait for an ACK */
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = acceptor_event_data(acceptor, pending)};
    if (!net_watch(acceptor->epoll_fd, fd, &event)) {
        pending_close(acceptor, pending, HANDSHAKE_INTERNAL);
        return;
    }
    if (acceptor->deadline_ticks)
        wheel_arm(&acceptor->wheel, index, acceptor->now + acceptor->deadline_ticks);
}

bool acceptor_accept(struct acceptor *acceptor, enum transport transport)
{
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        if (!slots_left(acceptor)) {
            if (!crowd_make_room(acceptor))
                pause_full(acceptor);
            return false;
        }
        struct sockaddr_storage address;
        socklen_t address_bytes = sizeof address;
        int fd = accept4(acceptor->config.listen_fds[transport], (struct sockaddr *)&address, &address_bytes,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            counter_add(&acceptor->stats.accepted[transport], 1);
            begin(acceptor, fd, transport, (struct sockaddr *)&address);
            continue;
        }
        if (errno == EAGAIN)
            return false;
        if (!net_accept_error_passes(errno)) {
            pause_failed(acceptor, errno);
            return false;
        }
    }
    return true;
}

/* Loop
 * -------------------------------------------------------------------------------------------------------------------
 */

static void deadline(void *context, uint32_t index)
{
    struct acceptor *acceptor = context;
    struct pending *pending = acceptor_slot(acceptor, index);
    if (pending->state == PENDING_PROXY && !acceptor->closed) {
        pending_proxy_late(acceptor, pending);
        return;
    }
    enum handshake_failure failure = acceptor->closed ? HANDSHAKE_DRAIN : HANDSHAKE_TIMEOUT;
    pending_close(acceptor, pending, pending_is_answered(pending) ? HANDSHAKE_FAILURE_COUNT : failure);
}

static void read_mailbox(struct acceptor *acceptor)
{
    (void)mailbox_clear_wake(&acceptor->mailbox);
    for (struct mailbox_node *node = mailbox_detach(&acceptor->mailbox); node;) {
        struct mailbox_node *next = node->next;
        pending_publish_answer(acceptor, (struct broker_request *)node);
        node = next;
    }
    struct tls_context *fresh = atomic_exchange(&acceptor->new_tls, NULL);
    if (fresh) {
        tls_context_destroy(acceptor->tls);
        acceptor->tls = fresh;
    }
    struct access *access = atomic_exchange(&acceptor->new_access, NULL);
    if (access) {
        access_release(acceptor->access);
        acceptor->access = access;
    }
    struct tls_ticket_keys *keys = atomic_exchange(&acceptor->new_ticket_keys, NULL);
    if (keys) {
        tls_ticket_keys_release(acceptor->ticket_keys);
        acceptor->ticket_keys = keys;
    }
    if (fresh || keys)
        tls_context_set_ticket_keys(acceptor->tls, acceptor->ticket_keys);
}

static void handle_event(struct acceptor *acceptor, const struct epoll_event *event)
{
    if (event->data.u64 == EVENT_MAILBOX) {
        read_mailbox(acceptor);
        return;
    }
    if (event->data.u64 > EVENT_MAILBOX) {
        if (acceptor->listening) /* else what this turn began with has made it pause */
            (void)acceptor_accept(acceptor, (enum transport)(EVENT_LISTENER - event->data.u64));
        return;
    }
    struct pending *pending = acceptor_slot(acceptor, (uint32_t)event->data.u64);
    if (pending->state == PENDING_FREE || pending->generation != event->data.u64 >> 32)
        return;
    if (event->events & EPOLLOUT)
        pending_writable(acceptor, pending);
    if (pending->state != PENDING_FREE && (event->events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        pending_readable(acceptor, pending);
}

static int wait_ms(const struct acceptor *acceptor)
{
    if (acceptor->batches_waiting)
        return BATCH_RETRY_MS;
    uint32_t ticks = wheel_next(&acceptor->wheel);
    if (!acceptor->listening && !acceptor->closed) {
        int32_t pause = (int32_t)(acceptor->accept_pause_until - acceptor->now);
        uint32_t left = pause > 0 ? (uint32_t)pause : 0;
        ticks = left < ticks ? left : ticks;
    }
    if (ticks == WHEEL_NO_DEADLINE)
        return -1;
    uint64_t ms = (uint64_t)ticks * WHEEL_TICK_MS;
    return ms < 3600000 ? (int)ms : 3600000;
}

/* A herd of handshakes leaves the allocator's heaps large and empty: when the last one is through, they go
 * back to the kernel. */
static void trim_memory(struct acceptor *acceptor)
{
    if (acceptor->slots.used > 0 || acceptor->ended_since_trim < TRIM_AFTER ||
        acceptor->now - acceptor->trimmed_at < TRIM_EVERY_MS / WHEEL_TICK_MS)
        return;
    acceptor->ended_since_trim = 0;
    acceptor->trimmed_at = acceptor->now;
    slab_trim(&acceptor->slots);
    (void)malloc_trim(0);
}

static void *acceptor_main(void *argument)
{
    struct acceptor *acceptor = argument;
    struct epoll_event events[EVENTS_MAX];
    while (!atomic_load_explicit(&acceptor->end, memory_order_acquire)) {
        int count = epoll_wait(acceptor->epoll_fd, events, EVENTS_MAX, wait_ms(acceptor));
        if (count < 0)
            PG_ASSERT(errno == EINTR);
        counter_add(&acceptor->stats.wakes, 1);
        pulse_beat(&acceptor->pulse);
        acceptor->now = (uint32_t)(clock_monotonic_ms() / WHEEL_TICK_MS);
        for (int i = 0; i < count; i++)
            handle_event(acceptor, &events[i]);
        if (!acceptor->closed && atomic_load_explicit(&acceptor->drain, memory_order_acquire))
            acceptor_begin_drain(acceptor);
        (void)wheel_advance(&acceptor->wheel, acceptor->now, ADVANCE_BUDGET, deadline, acceptor);
        acceptor_flush_transfers(acceptor);
        for (uint32_t i = 0; i < acceptor->freed.count; i++)
            slab_free(&acceptor->slots, acceptor->freed.items[i]);
        acceptor->freed.count = 0;
        trim_memory(acceptor);
        if (acceptor->closed) {
            if (acceptor_drain_turn(acceptor))
                break;
        } else if (!acceptor->listening && (int32_t)(acceptor->now - acceptor->accept_pause_until) >= 0) {
            acceptor_set_listening(acceptor, true); /* without a slot: for somebody who waits, room is made */
        }
    }
    pulse_end(&acceptor->pulse);
    return NULL;
}

bool acceptor_start(struct acceptor *acceptor, char *error, size_t error_size)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = EVENT_MAILBOX};
    if (epoll_ctl(acceptor->epoll_fd, EPOLL_CTL_ADD, acceptor->mailbox.wake_fd, &event) != 0 ||
        !control_listeners(acceptor, EPOLL_CTL_ADD, EPOLLIN)) {
        snprintf(error, error_size, "cannot set up acceptor %u: %s", acceptor->config.number,
                 strerror(errno));
        return false;
    }
    acceptor->listening = true;
    int failed = pthread_create(&acceptor->thread, NULL, acceptor_main, acceptor);
    if (failed) {
        snprintf(error, error_size, "cannot start an acceptor's thread: %s", strerror(failed));
        return false;
    }
    char name[16];
    snprintf(name, sizeof name, "acceptor-%u", acceptor->config.number);
    pthread_setname_np(acceptor->thread, name);
    return true;
}

void acceptor_reload(struct acceptor *acceptor, struct tls_context *context)
{
    struct tls_context *unused = atomic_exchange(&acceptor->new_tls, context);
    if (unused)
        tls_context_destroy(unused);
    mailbox_wake(&acceptor->mailbox);
}

void acceptor_restrict(struct acceptor *acceptor, struct access *access)
{
    access_release(atomic_exchange(&acceptor->new_access, access));
    mailbox_wake(&acceptor->mailbox);
}

void acceptor_rotate(struct acceptor *acceptor, struct tls_ticket_keys *keys)
{
    tls_ticket_keys_release(atomic_exchange(&acceptor->new_ticket_keys, keys));
    mailbox_wake(&acceptor->mailbox);
}

void acceptor_drain(struct acceptor *acceptor)
{
    atomic_store_explicit(&acceptor->drain, true, memory_order_release);
    mailbox_wake(&acceptor->mailbox);
}

bool acceptor_drained(const struct acceptor *acceptor)
{
    return atomic_load_explicit(&acceptor->drained, memory_order_acquire);
}

void acceptor_end(struct acceptor *acceptor)
{
    atomic_store_explicit(&acceptor->end, true, memory_order_release);
    mailbox_wake(&acceptor->mailbox);
}

bool acceptor_try_join(struct acceptor *acceptor)
{
    if (pthread_tryjoin_np(acceptor->thread, NULL) != 0)
        return false;
    acceptor_flush_transfers(acceptor);
    for (uint32_t i = 0; i < acceptor->slots.fresh; i++)
        if (acceptor_slot(acceptor, i)->state != PENDING_FREE)
            pending_close(acceptor, acceptor_slot(acceptor, i), HANDSHAKE_FAILURE_COUNT);
    return true;
}

void acceptor_destroy(struct acceptor *acceptor)
{
    for (struct mailbox_node *node = acceptor->mailbox.wake_fd >= 0 ? mailbox_detach(&acceptor->mailbox)
                                                                    : NULL;
         node;) {
        struct mailbox_node *next = node->next;
        broker_request_destroy((struct broker_request *)node);
        node = next;
    }
    for (uint32_t i = 0; acceptor->batches && i < acceptor->shared->port_count; i++) {
        if (acceptor->batches[i])
            transfer_abandon(acceptor->batches[i]);
        free(acceptor->batches[i]);
    }
    free(acceptor->batches);
    for (int i = 0; i < TRANSPORT_COUNT; i++)
        if (acceptor->config.listen_fds[i] >= 0)
            close(acceptor->config.listen_fds[i]);
    if (acceptor->tls)
        tls_context_destroy(acceptor->tls);
    struct tls_context *unused = atomic_load(&acceptor->new_tls);
    if (unused)
        tls_context_destroy(unused);
    tls_ticket_keys_release(acceptor->ticket_keys);
    tls_ticket_keys_release(atomic_load(&acceptor->new_ticket_keys));
    access_release(acceptor->access);
    access_release(atomic_load(&acceptor->new_access));
    if (acceptor->mailbox.wake_fd >= 0)
        mailbox_fini(&acceptor->mailbox);
    if (acceptor->epoll_fd >= 0)
        close(acceptor->epoll_fd);
    if (acceptor->slots.base)
        slab_fini(&acceptor->slots);
    if (acceptor->crypto)
        tls_crypto_destroy(acceptor->crypto);
    free(acceptor->freed.items);
    free(acceptor->scratch);
    free(acceptor);
}
