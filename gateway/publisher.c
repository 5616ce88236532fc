#include "gateway/publisher.h"

#include "gateway/base/assert.h"
#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/base/net.h"
#include "gateway/publisher_client.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    EVENTS_MAX = 128,
    ACCEPTS_MAX = 64,            /* in one turn */
    ACCEPT_PAUSE_MS = 100,       /* when there are no descriptors or no memory */
    BUSY_COMMANDS = 8,           /* in one turn: pipelines */
    READS_SLICE_NS = 500 * 1000, /* at least, of clients' questions in one turn */
    BUSY_LOOK_NS = 50 * 1000,    /* before sleeping after such a turn */
    CONGESTED_POLL_MS =
        2, /* reactors do not tell when they have caught up: it is looked at, but only while somebody waits */
};

static bool watch(struct publisher *publisher, struct source *source)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = source};
    return epoll_ctl(publisher->epoll_fd, EPOLL_CTL_ADD, source->fd, &event) == 0;
}

struct publisher *publisher_create(const struct publisher_config *config)
{
    struct publisher *publisher = calloc(1, sizeof *publisher);
    if (!publisher)
        return NULL;
    publisher->settings = config->settings;
    publisher->broker = config->broker;
    publisher->config = *config;
    publisher->config.listen_fds = NULL; /* the caller's no longer */
    publisher->maintain_ms = publisher->work_ms = UINT64_MAX;
    pulse_init(&publisher->pulse, broker_mailbox(config->broker));
    broker_watched(config->broker, &publisher->pulse);
    list_init(&publisher->clients);
    list_init(&publisher->dead);
    list_init(&publisher->strangers);
    list_init(&publisher->blocked);
    list_init(&publisher->lingering);
    list_init(&publisher->answering);
    list_init(&publisher->pushed);
    list_init(&publisher->operations);
    list_init(&publisher->answered);
    broker_inspected(config->broker, operation_mail, publisher);
    uint64_t message_bytes = config->settings->limits.message_bytes;
    publisher->bulk_max =
        message_bytes == 0 || message_bytes > BULK_UNLIMITED ? BULK_UNLIMITED : message_bytes;
    if (publisher->bulk_max < BULK_MIN)
        publisher->bulk_max = BULK_MIN;
    /* A little more than allowed is still read, so that the answer says what the limit is instead of cutting
     * the connection. */
    publisher->bulk_max += BULK_MIN;
    publisher->query_max = publisher->bulk_max + QUERY_EXTRA;
    publisher->mailbox =
        (struct source){.kind = SOURCE_MAILBOX, .fd = broker_mailbox(config->broker)->wake_fd};
    publisher->receive = malloc(RECEIVE_BYTES);
    publisher->listeners = calloc(config->listen_count + 1, sizeof *publisher->listeners);
    publisher->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!channels_init(&publisher->channels) || !publisher->receive || !publisher->listeners ||
        publisher->epoll_fd < 0 || !watch(publisher, &publisher->mailbox))
        goto out;
    for (size_t i = 0; i < config->listen_count; i++) {
        publisher->listeners[i] = (struct source){.kind = SOURCE_LISTENER, .fd = config->listen_fds[i]};
        if (!watch(publisher, &publisher->listeners[i]))
            goto out;
        publisher->listener_count++;
    }
    return publisher;
out:;
    int cause = errno;
    publisher_destroy(publisher);
    errno = cause;
    return NULL;
}

static void pause_listeners(struct publisher *publisher, int cause)
{
    log_limited(&publisher->log_accept, LOG_WARN, "publisher_accept_failed", "cause=%s pause_ms=%d",
                strerror(cause), (int)ACCEPT_PAUSE_MS);
    for (size_t i = 0; i < publisher->listener_count; i++)
        epoll_ctl(publisher->epoll_fd, EPOLL_CTL_DEL, publisher->listeners[i].fd, NULL);
    publisher->listen_again_ms = publisher->now_ms + ACCEPT_PAUSE_MS;
}

static void resume_listeners(struct publisher *publisher)
{
    publisher->listen_again_ms = 0;
    for (size_t i = 0; i < publisher->listener_count; i++)
        if (!watch(publisher, &publisher->listeners[i]) && errno != EEXIST)
            publisher->listen_again_ms = publisher->now_ms + ACCEPT_PAUSE_MS;
}

static void accept_clients(struct publisher *publisher, int listen_fd)
{
    static const char full[] = "-ERR max number of clients reached\r\n";
    uint64_t limit = publisher->settings->limits.publishers;
    for (int i = 0; i < ACCEPTS_MAX && publisher->listen_again_ms == 0; i++) {
        int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EAGAIN)
                return;
            if (!net_accept_error_passes(errno))
                pause_listeners(publisher, errno);
            continue;
        }
        publisher->accepted++;
        if (limit != 0 && publisher->client_count >= limit) {
            (void)!send(fd, full, sizeof full - 1, MSG_NOSIGNAL);
            close(fd);
            continue;
        }
        client_open(publisher, fd);
    }
}

static void handle(struct publisher *publisher, const struct epoll_event *event)
{
    struct source *source = event->data.ptr;
    switch (source->kind) {
    case SOURCE_MAILBOX:
        mailbox_clear_wake(broker_mailbox(publisher->broker));
        broker_drain_mail(publisher->broker);
        return;
    case SOURCE_LISTENER:
        accept_clients(publisher, source->fd);
        return;
    case SOURCE_CLIENT:
        client_event(publisher, (struct publisher_client *)source, event->events);
        return;
    }
}

static void close_expired(struct publisher *publisher, struct list *list)
{
    while (!list_empty(list)) {
        struct publisher_client *client = LIST_ITEM(list->next, struct publisher_client, timed);
        if (client->deadline_ms > publisher->now_ms)
            return;
        client_close(publisher, client);
    }
}

/* Lets blocked clients go on in the order in which they were blocked; each once, because it may be blocked
 * again. */
static void unblock(struct publisher *publisher)
{
    if (!publisher->holding || broker_congested(publisher->broker))
        return;
    publisher->holding = false;
    struct list waiting;
    list_init(&waiting);
    for (struct list *link; (link = list_pop(&publisher->blocked));)
        list_append(&waiting, link);
    for (struct list *link; !publisher->holding && (link = list_pop(&waiting));)
        client_unblock(publisher, LIST_ITEM(link, struct publisher_client, timed));
    /* Those that had no turn come before those that had one. */
    while (!list_empty(&waiting)) {
        struct list *link = waiting.prev;
        list_remove(link);
        list_append(publisher->blocked.next, link);
    }
}

static void free_dead(struct publisher *publisher)
{
    for (struct list *link = publisher->dead.next, *next; link != &publisher->dead; link = next) {
        next = link->next;
        free(LIST_ITEM(link, struct publisher_client, link));
    }
    list_init(&publisher->dead);
}

static int earlier(const struct publisher *publisher, int wait_ms, uint64_t deadline_ms)
{
    uint64_t left = deadline_ms > publisher->now_ms ? deadline_ms - publisher->now_ms : 0;
    return wait_ms >= 0 && (uint64_t)wait_ms <= left ? wait_ms : left > INT32_MAX ? INT32_MAX : (int)left;
}

/* Milliseconds until something is due; −1: nothing is, and the thread sleeps until it is woken. */
static int next_wait(const struct publisher *publisher)
{
    int wait_ms = publisher->holding ? CONGESTED_POLL_MS : -1;
    if (publisher->maintain_ms != UINT64_MAX)
        wait_ms = earlier(publisher, wait_ms, publisher->maintain_ms);
    if (publisher->work_ms != UINT64_MAX)
        wait_ms = earlier(publisher, wait_ms, publisher->work_ms);
    if (publisher->listen_again_ms != 0)
        wait_ms = earlier(publisher, wait_ms, publisher->listen_again_ms);
    const struct list *lists[] = {&publisher->strangers, &publisher->lingering};
    for (size_t i = 0; i < 2; i++)
        if (!list_empty(lists[i]))
            wait_ms = earlier(publisher, wait_ms,
                              LIST_ITEM(lists[i]->next, struct publisher_client, timed)->deadline_ms);
    return wait_ms;
}

/* Waits for events. After a turn of pipelined commands that no reactor has to act on, the next ones are
 * usually a few microseconds away: looking for them that long costs less than sleeping, which would make
 * every sender pay for a wake. */
static int wait_events(struct publisher *publisher, struct epoll_event *events, uint64_t commands_before,
                       uint64_t reached_before)
{
    const struct publisher_stats *stats = &publisher->stats;
    int wait_ms = next_wait(publisher);
    if (wait_ms != 0 && counter_read(&stats->commands) - commands_before >= BUSY_COMMANDS &&
        counter_read(&stats->publish_reached) == reached_before) {
        uint64_t until = clock_monotonic_ns() + BUSY_LOOK_NS;
        do {
            int count = epoll_wait(publisher->epoll_fd, events, EVENTS_MAX, 0);
            if (count != 0)
                return count;
            sched_yield(); /* whoever else wants this core has it first, perhaps the sender itself */
        } while (clock_monotonic_ns() < until);
    }
    return epoll_wait(publisher->epoll_fd, events, EVENTS_MAX, wait_ms);
}

/* Messages that came by POST or from the demo page count like those of the publish socket. */
static void count_served(struct publisher *publisher)
{
    struct broker_served served = broker_take_served(publisher->broker);
    if (!served.publishes)
        return;
    counter_add(&publisher->stats.publishes, served.publishes);
    counter_add(&publisher->stats.publish_bytes, served.bytes);
    counter_add(&publisher->stats.publish_reached, served.reached);
}

/* What the engine keeps, for whoever reads the counters. */
static void count_kept(struct publisher *publisher)
{
    const struct engine_stats kept = broker_engine_stats(publisher->broker);
    struct publisher_stats *stats = &publisher->stats;
    counter_set(&stats->history_streams, kept.streams);
    counter_set(&stats->history_items, kept.items);
    counter_set(&stats->history_bytes, kept.history_bytes);
    counter_set(&stats->history_evicted_size, kept.evicted_size);
    counter_set(&stats->history_evicted_ttl, kept.evicted_ttl);
    counter_set(&stats->history_evicted_memory, kept.evicted_memory);
    counter_set(&stats->presence_topics, kept.presence_topics);
    counter_set(&stats->presence_clients, kept.presence_entries);
    counter_set(&stats->presence_bytes, kept.presence_bytes);
}

/* Clients' questions have as much of a turn as its commands had, so that neither waits for the other. */
static void answer_reads(struct publisher *publisher, uint64_t turn_began_ns)
{
    publisher->work_ms = UINT64_MAX;
    if (!broker_has_work(publisher->broker))
        return;
    uint64_t now = clock_monotonic_ns(), slice = now - turn_began_ns;
    uint64_t wanted = broker_work(publisher->broker, now + (slice > READS_SLICE_NS ? slice : READS_SLICE_NS));
    if (wanted != UINT64_MAX)
        publisher->work_ms = publisher->now_ms + wanted;
}

static void *publisher_main(void *context)
{
    struct publisher *publisher = context;
    struct epoll_event events[EVENTS_MAX];
    uint64_t commands = 0, reached = 0;
    while (!atomic_load_explicit(&publisher->stop, memory_order_acquire)) {
        int count = wait_events(publisher, events, commands, reached);
        commands = counter_read(&publisher->stats.commands);
        reached = counter_read(&publisher->stats.publish_reached);
        PG_ASSERT(count >= 0 || errno == EINTR);
        uint64_t began_ns = clock_monotonic_ns();
        publisher->now_ms = began_ns / 1000000;
        counter_add(&publisher->stats.wakes, 1);
        pulse_beat(&publisher->pulse);
        for (int i = 0; i < count; i++)
            handle(publisher, &events[i]);
        clients_answer(publisher);
        unblock(publisher);
        clients_answer(publisher);
        operations_go_on(publisher);
        clients_answer(publisher);
        close_expired(publisher, &publisher->strangers);
        close_expired(publisher, &publisher->lingering);
        free_dead(publisher);
        answer_reads(publisher, began_ns);
        if (publisher->listen_again_ms != 0 && publisher->now_ms >= publisher->listen_again_ms)
            resume_listeners(publisher);
        count_served(publisher);
        counter_set(&publisher->stats.topics, broker_topic_count(publisher->broker));
        uint64_t wanted = broker_maintain(publisher->broker, publisher->now_ms);
        publisher->maintain_ms = wanted == UINT64_MAX ? UINT64_MAX : publisher->now_ms + wanted;
        count_kept(publisher);
    }
    pulse_end(&publisher->pulse);
    broker_drain_mail(publisher->broker);
    return NULL;
}

bool publisher_start(struct publisher *publisher)
{
    PG_ASSERT(!publisher->started);
    publisher->started_ms = publisher->now_ms = clock_monotonic_ms();
    sigset_t all, before;
    sigfillset(&all);        /* signals are main's, */
    sigdelset(&all, SIGSYS); /* but a call that seccomp refuses is answered in its own thread */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&publisher->thread, NULL, publisher_main, publisher);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        errno = error;
        return false;
    }
    pthread_setname_np(publisher->thread, "publisher");
    publisher->started = true;
    return true;
}

void publisher_stop(struct publisher *publisher)
{
    if (!publisher->started)
        return;
    atomic_store_explicit(&publisher->stop, true, memory_order_release);
    mailbox_wake(broker_mailbox(publisher->broker));
    pthread_join(publisher->thread, NULL);
    publisher->started = false;
}

void publisher_destroy(struct publisher *publisher)
{
    if (!publisher)
        return;
    PG_ASSERT(!publisher->started);
    while (!list_empty(&publisher->clients))
        client_close(publisher, LIST_ITEM(publisher->clients.next, struct publisher_client, link));
    free_dead(publisher);
    broker_inspected(publisher->broker, NULL, NULL);
    broker_watched(publisher->broker, NULL);
    operations_fini(publisher);
    channels_fini(&publisher->channels);
    resp_out_fini(&publisher->reply);
    if (publisher->epoll_fd >= 0)
        close(publisher->epoll_fd);
    free(publisher->listeners);
    free(publisher->receive);
    free(publisher);
}

const struct publisher_stats *publisher_stats(const struct publisher *publisher)
{
    return &publisher->stats;
}

struct pulse *publisher_pulse(struct publisher *publisher)
{
    return &publisher->pulse;
}
