/* The sub-reactor's loop: transfers, events, messages, deadlines, in slices that never wait for one another.
 */
#include "gateway/reactor.h"

#include "gateway/base/assert.h"
#include "gateway/base/clock.h"
#include "gateway/base/fdtable.h"
#include "gateway/base/log.h"
#include "gateway/base/pace.h"
#include "gateway/conn/fanout.h"
#include "gateway/proxy/proxy.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
    EVENTS_MAX = 256,
    TRANSFERS_PER_TURN = 4, /* messages of up to TRANSFER_BATCH_MAX connections */
    SLICE_SERVED = 256,     /* connections served by fan-out before other work gets its turn */
    DRAIN_CLOSES = 256,     /* of one turn */
    DRAIN_VISITED = 16384,  /* slots, most of which may be free */
};

/* Event data beside connections' generation and index: slots' indices never reach these. */
#define EVENT_TRANSFER UINT64_MAX
#define EVENT_MAILBOX  (UINT64_MAX - 1)

struct reactor {
    struct pool pool;
    struct fanout fanout;
    struct reactor_stats stats;
    struct mailbox mailbox;
    struct pulse pulse;
    struct reactor_config config;
    struct transfer_batch *transfers; /* scratch */
    struct reactor_drain drain;       /* main writes it before `drain_asked` */
    _Atomic bool drain_asked, end_asked;
    _Atomic bool drained;
    struct pace pace; /* meaningful when `draining`, as is: */
    uint32_t drain_cursor;
    bool draining;
    pthread_t thread;
    sem_t started;
    struct reactor_ended *ended; /* what it will say at last */
    bool start_ok;
    bool pool_live; /* pool_fini() is still to be called */
};

struct reactor *reactor_create(const struct reactor_config *config, char *error, size_t error_size)
{
    struct reactor *reactor = calloc(1, sizeof *reactor);
    if (!reactor) {
        snprintf(error, error_size, "out of memory for a reactor");
        return NULL;
    }
    reactor->config = *config;
    struct pool_config pool = {.settings = config->settings,
                               .stats = &reactor->stats,
                               .port = config->port,
                               .ip_limit = config->ip_limit,
                               .auth = config->auth,
                               .proxy = config->proxy,
                               .reactor = config->number,
                               .capacity = config->capacity};
    bool pool_made = pool_init(&reactor->pool, &pool);
    reactor->transfers = malloc(sizeof *reactor->transfers);
    reactor->ended = malloc(sizeof *reactor->ended);
    if (!pool_made || !reactor->transfers || !reactor->ended || !mailbox_init(&reactor->mailbox)) {
        snprintf(error, error_size, "cannot set up reactor %u: %s", config->number, strerror(errno));
        pool_fini(&reactor->pool);
        free(reactor->transfers);
        free(reactor->ended);
        free(reactor);
        return NULL;
    }
    pulse_init(&reactor->pulse, &reactor->mailbox);
    *reactor->ended = (struct reactor_ended){.mail.kind = MAIL_ENDED, .reactor = config->number};
    reactor->pool_live = true;
    reactor->pool.own_mail = &reactor->mailbox;
    fanout_init(&reactor->fanout, &reactor->pool);
    sem_init(&reactor->started, 0, 0);
    return reactor;
}

struct mailbox *reactor_mailbox(struct reactor *reactor)
{
    return &reactor->mailbox;
}

const struct reactor_stats *reactor_stats(const struct reactor *reactor)
{
    return &reactor->stats;
}

struct pulse *reactor_pulse(struct reactor *reactor)
{
    return &reactor->pulse;
}

/* Start
 * ------------------------------------------------------------------------------------------------------------------
 */

static bool watch(int epoll_fd, int fd, uint64_t data)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = data};
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

static bool set_up_thread(struct reactor *reactor)
{
    const struct reactor_config *config = &reactor->config;
    int keep[] = {STDERR_FILENO,
                  log_fd(),
                  config->transfer_fd,
                  reactor->mailbox.wake_fd,
                  reactor->pool.broker_mail->wake_fd,
                  -1};
    size_t kept = sizeof keep / sizeof keep[0] - 1;
    if (config->proxy)
        keep[kept++] = proxy_mailbox(config->proxy)->wake_fd;
    if (config->private_fds && !fdtable_make_private(keep, kept))
        return false;
    reactor->pool.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    return reactor->pool.epoll_fd >= 0 &&
           watch(reactor->pool.epoll_fd, config->transfer_fd, EVENT_TRANSFER) &&
           watch(reactor->pool.epoll_fd, reactor->mailbox.wake_fd, EVENT_MAILBOX);
}

/* One turn
 * ---------------------------------------------------------------------------------------------------------------
 */

static void count_lost(struct reactor *reactor)
{
    const struct transfer_batch *batch = reactor->transfers;
    if (!batch->lost)
        return;
    static struct log_limit limit;
    log_limited(&limit, LOG_ERROR, "transfer_lost", "reactor=%u connections=%u cause=%s",
                reactor->config.number, batch->lost, "no_descriptors");
    for (uint32_t i = 0; i < batch->lost; i++)
        ip_limit_release(reactor->config.ip_limit, batch->records[batch->count + i].ip_handle);
    atomic_fetch_sub_explicit(&reactor->config.port->load, batch->lost, memory_order_relaxed);
    counter_add(&reactor->stats.closes[CLOSE_INTERNAL], batch->lost);
}

/* With the code that says "come back" in the client's protocol, and the words that it knows. */
static void drain_close(struct pool *pool, struct conn *conn)
{
    bool own_words = adapter_get((enum adapter_id)conn->adapter)->centrifuge_codes;
    conn_close(pool, conn, CLOSE_DRAIN, 0, own_words ? NULL : close_reason_text(CLOSE_DRAIN));
}

static void open_all(struct reactor *reactor)
{
    struct pool *pool = &reactor->pool;
    const struct transfer_batch *batch = reactor->transfers;
    struct conn *opened[TRANSFER_BATCH_MAX];
    struct transfer_item item;
    uint32_t cursor = 0;
    for (uint32_t i = 0; i < batch->count; i++) {
        transfer_item_at(batch, i, &cursor, &item);
        opened[i] = pool_open(pool, &item);
    }
    /* First the broker, then the clients: whoever reads its 101 is counted by a PUBLISH sent after it. */
    pool_tell_broker(pool);
    cursor = 0;
    for (uint32_t i = 0; i < batch->count; i++) {
        transfer_item_at(batch, i, &cursor, &item);
        if (!opened[i])
            continue;
        conn_opened(pool, opened[i], &item);
        if (opened[i]->state != CONN_FREE && item.record.plain_bytes + item.record.raw_bytes > 0)
            conn_input_early(pool, opened[i], &item);
        if (reactor->draining)
            drain_close(pool, opened[i]);
    }
    tls_direction_wipe(&item.record.read);
    tls_direction_wipe(&item.record.write);
}

/* Receives one message; false when there is none. */
static bool take_transfer(struct reactor *reactor)
{
    struct transfer_batch *batch = reactor->transfers;
    enum io_result result = transfer_receive(batch, reactor->config.transfer_fd);
    if (result == IO_AGAIN || result == IO_CLOSED)
        return false;
    if (result == IO_ERROR) {
        static struct log_limit limit;
        bool more = errno == EPROTO; /* that message is gone; without memory it is still there */
        log_limited(&limit, LOG_ERROR, "transfer_failed", "reactor=%u error=%s", reactor->config.number,
                    strerror(errno));
        return more;
    }
    if (batch->count)
        open_all(reactor);
    count_lost(reactor);
    transfer_wipe(batch);
    return true;
}

static void take_transfers(struct reactor *reactor)
{
    for (int turn = 0; turn < TRANSFERS_PER_TURN && take_transfer(reactor); turn++)
        ;
}

/* Drain
 * ------------------------------------------------------------------------------------------------------------------
 */

static void drain_begin(struct reactor *reactor)
{
    /* Acceptors have stopped: what they have sent is here, and then no more comes. */
    while (take_transfer(reactor))
        ;
    reactor->draining = true;
    reactor->pace = (struct pace){.began_ms = clock_monotonic_ms(),
                                  .span_ms = reactor->drain.span_ms,
                                  .total = reactor->pool.conns.used,
                                  .share = reactor->drain.share,
                                  .of = reactor->drain.of};
}

/* In the order of slots. Who leaves by himself meanwhile makes the drain shorter, not the others' time. */
static void drain_step(struct reactor *reactor)
{
    struct pool *pool = &reactor->pool;
    uint32_t due = pace_due(&reactor->pace, clock_monotonic_ms()), fresh = pool->conns.fresh;
    uint32_t closes = due < DRAIN_CLOSES ? due : DRAIN_CLOSES;
    for (uint32_t visited = 0; closes > 0 && visited < DRAIN_VISITED && reactor->drain_cursor < fresh;
         visited++) {
        struct conn *conn = pool_conn(pool, reactor->drain_cursor++);
        if (conn->state != CONN_OPEN)
            continue;
        drain_close(pool, conn);
        reactor->pace.done++;
        closes--;
    }
}

/* Whoever has been counted for a message gets it before its close: while a fan-out is under way closes wait,
 * but not for ever, or a publisher that never rests would hold up the drain. */
static bool may_close(const struct reactor *reactor)
{
    return !fanout_pending(&reactor->fanout) ||
           clock_monotonic_ms() >= pace_next_ms(&reactor->pace) + REACTOR_DRAIN_PATIENCE_MS;
}

/* Milliseconds until the next close is due, −1 when there is none to come. */
static int drain_wait_ms(const struct reactor *reactor)
{
    if (!reactor->draining || reactor->drain_cursor >= reactor->pool.conns.fresh)
        return -1;
    uint64_t next = pace_next_ms(&reactor->pace), now = clock_monotonic_ms();
    if (next <= now)
        return reactor->pace.total > reactor->pace.done ? 0 : -1;
    return next - now < WHEEL_TICK_MS ? WHEEL_TICK_MS : (int)(next - now < 3600000 ? next - now : 3600000);
}

/* The loop
 * ---------------------------------------------------------------------------------------------------------------
 */

/* Of two waits, −1 without end. */
static int sooner(int a, int b)
{
    return a < 0 || (b >= 0 && b < a) ? b : a;
}

static int wait_ms(const struct reactor *reactor)
{
    if (reactor->pool.ready.count || fanout_pending(&reactor->fanout) ||
        pool_has_inspections(&reactor->pool) || pool_has_orders(&reactor->pool))
        return 0;
    int wait = sooner(drain_wait_ms(reactor), pool_relieve_wait_ms(&reactor->pool));
    uint32_t ticks = wheel_next(&reactor->pool.wheel);
    if (ticks == WHEEL_NO_DEADLINE)
        return wait;
    uint64_t ms = (uint64_t)ticks * WHEEL_TICK_MS;
    return sooner(wait, ms < 3600000 ? (int)ms : 3600000);
}

/* What others have put into the mailbox, in order. */
static void take_mail(struct reactor *reactor)
{
    struct pool *pool = &reactor->pool;
    for (struct mailbox_node *node = mailbox_detach(&reactor->mailbox), *next; node; node = next) {
        next = node->next; /* before a message can be freed: the node is inside it */
        struct mail *mail = (struct mail *)node;
        switch ((enum mail_kind)mail->kind) {
        case MAIL_DELIVERY:
            fanout_accept(&reactor->fanout, mail);
            break;
        case MAIL_REQUEST:
            if (((struct broker_request *)mail)->op == BROKER_SUBSCRIBE)
                fanout_accept(&reactor->fanout, mail);
            else
                conn_answered(pool, (struct broker_request *)mail);
            break;
        case MAIL_ORDER:
            pool_ordered(pool, (struct order_copy *)mail);
            break;
        case MAIL_PROXY:
            conn_proxied(pool, (struct proxy_request *)(void *)mail);
            break;
        case MAIL_INSPECTION:
            pool_inspected(pool, (struct inspection *)(void *)mail);
            break;
        case MAIL_INTEREST:
        case MAIL_ENDED:
            PG_ASSERT(!"these are the broker's mail");
        }
    }
}

/* What comes when nobody is there any more. */
static void drop_mail(struct mailbox *mailbox)
{
    for (struct mailbox_node *node = mailbox_detach(mailbox), *next; node; node = next) {
        next = node->next;
        struct mail *mail = (struct mail *)node;
        if (mail->kind == MAIL_DELIVERY)
            message_passed(((struct delivery *)mail)->message);
        else if (mail->kind == MAIL_REQUEST)
            broker_request_destroy((struct broker_request *)mail);
        else if (mail->kind == MAIL_PROXY)
            proxy_request_destroy((struct proxy_request *)(void *)mail);
        else if (mail->kind == MAIL_INSPECTION)
            inspection_destroy((struct inspection *)(void *)mail);
        else
            pool_order_finish((struct order_copy *)mail);
    }
}

static void turn(struct reactor *reactor, const struct epoll_event *events, int count)
{
    struct pool *pool = &reactor->pool;
    uint64_t began = clock_monotonic_ns();
    pool_turn_begin(pool, (uint32_t)(began / 1000000 / WHEEL_TICK_MS));
    bool transfers = false;
    for (int i = 0; i < count; i++) {
        if (events[i].data.u64 == EVENT_MAILBOX)
            (void)mailbox_clear_wake(&reactor->mailbox);
        else if (events[i].data.u64 == EVENT_TRANSFER)
            transfers = true;
        else
            pool_event(pool, &events[i]);
    }
    /* Looked at in every turn, not only after a wake: one that came in the meantime is seen sooner. Those who
     * were connected when a message was published come before those who connect now. */
    take_mail(reactor);
    if (transfers)
        take_transfers(reactor);
    pool_read_ready(pool);
    pool_inspect(pool);
    (void)fanout_slice(&reactor->fanout, SLICE_SERVED);
    pool_advance(pool);
    if (reactor->draining && may_close(reactor))
        drain_step(reactor);
    pool_flush_dirty(pool);
    pool_relieve(pool);
    pool_tell_broker(pool);
    pool_free_closed(pool);
    histogram_record(&reactor->stats.loop_latency, (clock_monotonic_ns() - began) / 1000);
}

static void *reactor_main(void *argument)
{
    struct reactor *reactor = argument;
    reactor->start_ok = set_up_thread(reactor);
    int start_errno = errno;
    sem_post(&reactor->started);
    if (!reactor->start_ok) {
        log_event(LOG_ERROR, "reactor_start", "reactor=%u error=%s", reactor->config.number,
                  strerror(start_errno));
        return NULL;
    }
    struct epoll_event events[EVENTS_MAX];
    while (!atomic_load_explicit(&reactor->end_asked, memory_order_acquire)) {
        int count = epoll_wait(reactor->pool.epoll_fd, events, EVENTS_MAX, wait_ms(reactor));
        if (count < 0)
            PG_ASSERT(errno == EINTR);
        counter_add(&reactor->stats.wakes, 1);
        pulse_beat(&reactor->pulse);
        turn(reactor, events, count < 0 ? 0 : count);
        if (!reactor->draining && atomic_load_explicit(&reactor->drain_asked, memory_order_acquire))
            drain_begin(reactor);
        if (reactor->draining && reactor->pool.conns.used == 0)
            atomic_store_explicit(&reactor->drained, true, memory_order_release);
    }
    pulse_end(&reactor->pulse);
    /* First: whoever is told so waits for no answer that is thrown away here. */
    mailbox_push(reactor->pool.broker_mail, &reactor->ended->mail.node);
    reactor->ended = NULL;
    drop_mail(&reactor->mailbox);
    fanout_fini(&reactor->fanout);
    pool_fini(&reactor->pool); /* here: descriptors are numbers of this thread's table */
    reactor->pool_live = false;
    close(reactor->pool.epoll_fd);
    close(reactor->config.transfer_fd);
    return NULL;
}

bool reactor_start(struct reactor *reactor, struct mailbox *broker_mail, struct message_gauges *gauges,
                   char *error, size_t error_size)
{
    reactor->pool.broker_mail = broker_mail;
    reactor->pool.gauges = gauges;
    int failed = pthread_create(&reactor->thread, NULL, reactor_main, reactor);
    if (failed) {
        snprintf(error, error_size, "cannot start a reactor's thread: %s", strerror(failed));
        return false;
    }
    char name[16];
    snprintf(name, sizeof name, "reactor-%u", reactor->config.number);
    pthread_setname_np(reactor->thread, name);
    while (sem_wait(&reactor->started) != 0)
        ;
    if (!reactor->start_ok) {
        pthread_join(reactor->thread, NULL);
        snprintf(error, error_size, "cannot set up reactor %u, see the log", reactor->config.number);
    }
    return reactor->start_ok;
}

void reactor_drain(struct reactor *reactor, const struct reactor_drain *how)
{
    reactor->drain = *how;
    atomic_store_explicit(&reactor->drain_asked, true, memory_order_release);
    mailbox_wake(&reactor->mailbox);
}

bool reactor_drained(const struct reactor *reactor)
{
    return atomic_load_explicit(&reactor->drained, memory_order_acquire);
}

void reactor_end(struct reactor *reactor)
{
    atomic_store_explicit(&reactor->end_asked, true, memory_order_release);
    mailbox_wake(&reactor->mailbox);
}

bool reactor_try_join(struct reactor *reactor)
{
    return pthread_tryjoin_np(reactor->thread, NULL) == 0;
}

void reactor_destroy(struct reactor *reactor)
{
    drop_mail(&reactor->mailbox); /* what came after the thread had ended */
    if (reactor->pool_live)
        pool_fini(&reactor->pool);
    mailbox_fini(&reactor->mailbox);
    sem_destroy(&reactor->started);
    free(reactor->transfers);
    free(reactor->ended);
    free(reactor);
}
