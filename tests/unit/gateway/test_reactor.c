/* A real reactor's thread, with the test in the place of acceptors, broker and clients. */
#include "gateway/reactor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { CYCLES = 10000 };
#else
enum { CYCLES = 100000 };
#endif
enum { PATIENCE_MS = 20000 };

struct stand {
    struct settings settings;
    struct ip_limit *ip_limit;
    struct mailbox broker_mail;
    struct message_gauges gauges;
    struct reactor_port port;
    struct reactor *reactor;
};

static struct stand *stand_new_asleep(void)
{
    struct stand *stand = calloc(1, sizeof *stand);
    assert_non_null(stand);
    assert_true(topic_hash_setup());
    stand->settings = (struct settings){.limits = {.message_bytes = 65536,
                                                   .topics_per_connection = 32,
                                                   .close_timeout = 500,
                                                   .outbox_bytes = 65536},
                                        .idle = {.timeout = 60000, .ping_interval = 20000}};
    stand->ip_limit = ip_limit_create(1000000);
    assert_non_null(stand->ip_limit);
    assert_true(mailbox_init(&stand->broker_mail));
    int pair[2];
    assert_true(transfer_pair(pair));
    stand->port = (struct reactor_port){.transfer_fd = pair[0], .capacity = 5000};
    struct reactor_config config = {.settings = &stand->settings,
                                    .capacity = stand->port.capacity,
                                    .private_fds = false, /* so that the test sees every descriptor */
                                    .transfer_fd = pair[1],
                                    .port = &stand->port,
                                    .ip_limit = stand->ip_limit};
    char error[256];
    stand->reactor = reactor_create(&config, error, sizeof error);
    assert_non_null(stand->reactor);
    return stand;
}

static void stand_start(struct stand *stand)
{
    char error[256];
    assert_true(reactor_start(stand->reactor, &stand->broker_mail, &stand->gauges, error, sizeof error));
}

static struct stand *stand_new(void)
{
    struct stand *stand = stand_new_asleep();
    stand_start(stand);
    return stand;
}

static void pause_ms(int ms)
{
    (void)poll(NULL, 0, ms);
}

static void drain(struct stand *stand, uint64_t span_ms)
{
    const struct reactor_drain how = {.span_ms = span_ms, .of = 1};
    reactor_drain(stand->reactor, &how);
}

/* Once the drain has closed everybody. */
static void join(struct stand *stand)
{
    for (int ms = 0; !reactor_drained(stand->reactor); ms += 2) {
        assert_true(ms < PATIENCE_MS);
        pause_ms(2);
    }
    reactor_end(stand->reactor);
    for (int ms = 0; !reactor_try_join(stand->reactor); ms += 2) {
        assert_true(ms < PATIENCE_MS);
        pause_ms(2);
    }
}

static uint64_t closed(const struct reactor_stats *stats)
{
    uint64_t sum = 0;
    for (int i = 0; i < CLOSE_REASON_COUNT; i++)
        sum += counter_read(&stats->closes[i]);
    return sum;
}

static void forget_interest(struct stand *stand)
{
    for (struct mailbox_node *node = mailbox_detach(&stand->broker_mail), *next; node; node = next) {
        next = node->next;
        free(node);
    }
}

/* After join(). Everything that was counted in has been counted out. */
static void stand_free(struct stand *stand)
{
    const struct reactor_stats *stats = reactor_stats(stand->reactor);
    assert_int_equal(atomic_load(&stand->port.load), 0);
    assert_int_equal(ip_limit_addresses(stand->ip_limit), 0);
    for (int a = 0; a < ADAPTER_COUNT; a++)
        for (int t = 0; t < TRANSPORT_COUNT; t++)
            assert_int_equal(counter_read(&stats->connections[a][t]), 0);
    assert_int_equal(counter_read(&stats->outbox_bytes), 0);
    assert_int_equal(counter_read(&stats->outbox_connections), 0);
    reactor_destroy(stand->reactor);
    close(stand->port.transfer_fd);
    forget_interest(stand);
    mailbox_fini(&stand->broker_mail);
    ip_limit_destroy(stand->ip_limit);
    free(stand);
}

static int open_descriptors(void)
{
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

/* Adds a connection to the batch; returns the client's end. */
static int add(struct stand *stand, struct transfer_batch *batch)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)};
    struct transfer_item item = {.fd = pair[0], .topics = (const uint8_t *)"\1a"};
    item.record = (struct transfer_record){.adapter = ADAPTER_RAW,
                                           .transport = TRANSPORT_WS,
                                           .topic_count = 1,
                                           .topics_bytes = 2,
                                           .accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="};
    struct address from = address_from_sockaddr((const struct sockaddr *)&address);
    item.record.ip_handle = ip_limit_acquire(stand->ip_limit, &from);
    assert_int_not_equal(item.record.ip_handle, IP_LIMIT_REFUSED);
    assert_true(transfer_add(batch, &item));
    atomic_fetch_add(&stand->port.load, 1);
    return pair[1];
}

static void send_all(struct stand *stand, struct transfer_batch *batch)
{
    enum io_result result;
    while ((result = transfer_send(batch, stand->port.transfer_fd)) == IO_AGAIN)
        pause_ms(1);
    assert_int_equal(result, IO_OK);
}

static struct transfer_batch *batch_new(void)
{
    struct transfer_batch *batch = malloc(sizeof *batch);
    assert_non_null(batch);
    transfer_batch_init(batch);
    return batch;
}

/* Reads until the end; the time for it is PATIENCE_MS. */
static size_t read_all(int fd, uint8_t *out, size_t size)
{
    size_t have = 0;
    for (;;) {
        ssize_t n = recv(fd, out + have, size - have, 0);
        if (n > 0) {
            have += (size_t)n;
            continue;
        }
        if (n == 0 || errno != EAGAIN)
            return have;
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        assert_true(poll(&poll_fd, 1, PATIENCE_MS) > 0);
    }
}

/* Acceptors have stopped, but what they had sent is still to be received, more than a turn takes. */
static void a_drain_tells_those_who_were_under_way_too(void **state)
{
    (void)state;
    int before = open_descriptors();
    struct stand *stand = stand_new_asleep();
    struct transfer_batch *batch = batch_new();
    enum { CLIENTS = 60 };
    int clients[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = add(stand, batch);
        send_all(stand, batch);
    }
    drain(stand, 2000);
    stand_start(stand);
    for (int i = 0; i < CLIENTS; i++) {
        uint8_t got[1024];
        struct pollfd poll_fd = {.fd = clients[i], .events = POLLIN};
        size_t have = 0;
        while (have < 4 || memcmp(got + have - 4, "down", 4) != 0) { /* the close frame's text ends so */
            assert_true(poll(&poll_fd, 1, PATIENCE_MS) > 0);
            ssize_t n = recv(clients[i], got + have, sizeof got - have, 0);
            assert_true(n > 0); /* no end without a close frame */
            have += (size_t)n;
        }
        assert_memory_equal(got, "HTTP/1.1 101 ", 13);
        assert_int_equal(send(clients[i], "\x88\x80\0\0\0\0", 6, MSG_NOSIGNAL), 6);
        assert_int_equal(read_all(clients[i], got, sizeof got), 0);
        close(clients[i]);
    }
    join(stand);
    assert_int_equal(counter_read(&reactor_stats(stand->reactor)->closes[CLOSE_DRAIN]), CLIENTS);
    stand_free(stand);
    free(batch);
    assert_int_equal(open_descriptors(), before);
}

struct closer {
    pthread_mutex_t lock;
    int fds[1024];
    int count;
    bool done;
};

/* Closes clients' ends while their other ends are on their way; some talk first, some reset. */
static void *close_clients(void *argument)
{
    struct closer *closer = argument;
    unsigned seed = 1;
    for (;;) {
        pthread_mutex_lock(&closer->lock);
        int fd = closer->count ? closer->fds[--closer->count] : -1;
        bool done = closer->done;
        pthread_mutex_unlock(&closer->lock);
        if (fd < 0 && done)
            return NULL;
        if (fd < 0) {
            pause_ms(1);
            continue;
        }
        switch (rand_r(&seed) % 4) {
        case 0:
            (void)!send(fd, "\x88\x80\0\0\0\0", 6, MSG_NOSIGNAL);
            break;
        case 1:
            (void)!send(fd, "\x89\x80\0\0\0\0", 6, MSG_NOSIGNAL);
            break;
        case 2:
            (void)!send(fd, "garbage", 7, MSG_NOSIGNAL);
            break;
        default:
            break;
        }
        close(fd);
    }
}

static void cycles_of_open_and_close_leave_nothing_behind(void **state)
{
    (void)state;
    int before = open_descriptors();
    struct stand *stand = stand_new();
    struct transfer_batch *batch = batch_new();
    struct closer *closer = calloc(1, sizeof *closer);
    pthread_mutex_init(&closer->lock, NULL);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, close_clients, closer), 0);
    const struct reactor_stats *stats = reactor_stats(stand->reactor);
    for (int i = 0; i < CYCLES; i++) {
        int fd = add(stand, batch);
        for (bool kept = false; !kept;) {
            pthread_mutex_lock(&closer->lock);
            kept = closer->count < 1024;
            if (kept)
                closer->fds[closer->count++] = fd;
            pthread_mutex_unlock(&closer->lock);
            if (!kept)
                pause_ms(1);
        }
        while (atomic_load(&stand->port.load) > 4000)
            pause_ms(1);
        if (batch->count == 16 || i % 37 == 0)
            send_all(stand, batch);
        if (i % 4096 == 0)
            forget_interest(stand);
    }
    if (batch->count)
        send_all(stand, batch);
    pthread_mutex_lock(&closer->lock);
    closer->done = true;
    pthread_mutex_unlock(&closer->lock);
    pthread_join(thread, NULL);
    for (int ms = 0; atomic_load(&stand->port.load) > 0; ms += 2) {
        assert_true(ms < PATIENCE_MS);
        pause_ms(2);
    }
    pause_ms(20);
    assert_int_equal(counter_read(&stats->opened), CYCLES);
    assert_int_equal(closed(stats), CYCLES);
    assert_int_equal(counter_read(&stats->wheel_entries), 0);
    assert_int_equal(counter_read(&stats->topics), 0);
    uint64_t wakes = counter_read(&stats->wakes);
    pause_ms(200);
    assert_in_range(counter_read(&stats->wakes), wakes, wakes + 2); /* and then it sleeps */
    drain(stand, 1000);
    join(stand);
    stand_free(stand);
    pthread_mutex_destroy(&closer->lock);
    free(closer);
    free(batch);
    assert_int_equal(open_descriptors(), before);
}

/* A drain that begins while transfers and closes go on. */
static void a_drain_in_the_middle_of_a_storm_ends_in_time_and_leaves_nothing_behind(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        int before = open_descriptors();
        struct stand *stand = stand_new();
        struct transfer_batch *batch = batch_new();
        struct closer *closer = calloc(1, sizeof *closer);
        pthread_mutex_init(&closer->lock, NULL);
        for (int i = 0; i < 300; i++) {
            closer->fds[closer->count++] = add(stand, batch);
            if (i % (1 + round) == 0 || batch->count == TRANSFER_BATCH_MAX)
                send_all(stand, batch);
        }
        if (batch->count)
            send_all(stand, batch);
        closer->done = true;
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, close_clients, closer), 0);
        drain(stand, 1000);
        pthread_join(thread, NULL);
        join(stand);
        const struct reactor_stats *stats = reactor_stats(stand->reactor);
        assert_int_equal(counter_read(&stats->opened), 300);
        assert_int_equal(closed(stats), 300);
        stand_free(stand);
        pthread_mutex_destroy(&closer->lock);
        free(closer);
        free(batch);
        assert_int_equal(open_descriptors(), before);
    }
}

/* The reactor's descriptor table is full: the kernel passes on what fits. */
static void transfers_that_find_no_descriptor_are_accounted_for(void **state)
{
    (void)state;
    struct rlimit limit, low;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    struct stand *stand = stand_new();
    struct transfer_batch *batch = batch_new();
    int clients[10], held[10], spare[4], fill[256], filled = 0, highest = 0;
    for (int i = 0; i < 10; i++) {
        clients[i] = add(stand, batch);
        highest = clients[i] > highest ? clients[i] : highest;
        held[i] = batch->fds[i]; /* what is sent stands far above, so that sending frees nothing below */
        batch->fds[i] = fcntl(held[i], F_DUPFD_CLOEXEC, 1000);
        assert_true(batch->fds[i] >= 1000);
    }
    low = limit;
    low.rlim_cur = (rlim_t)highest + 10;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    for (int i = 0; i < 4; i++)
        spare[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    while (filled < 256 && (fill[filled] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
        filled++;
    for (int i = 0; i < 4; i++)
        close(spare[i]);
    send_all(stand, batch);
    const struct reactor_stats *stats = reactor_stats(stand->reactor);
    for (int ms = 0; counter_read(&stats->opened) + counter_read(&stats->closes[CLOSE_INTERNAL]) < 10;
         ms += 2) {
        assert_true(ms < PATIENCE_MS);
        pause_ms(2);
    }
    assert_int_equal(counter_read(&stats->opened), 4);
    assert_int_equal(counter_read(&stats->closes[CLOSE_INTERNAL]), 6);
    assert_int_equal(atomic_load(&stand->port.load), 4);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    for (int i = 0; i < filled; i++)
        close(fill[i]);
    for (int i = 0; i < 10; i++) {
        close(clients[i]);
        close(held[i]);
    }
    drain(stand, 1000);
    join(stand);
    stand_free(stand);
    free(batch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_drain_tells_those_who_were_under_way_too),
        cmocka_unit_test(cycles_of_open_and_close_leave_nothing_behind),
        cmocka_unit_test(a_drain_in_the_middle_of_a_storm_ends_in_time_and_leaves_nothing_behind),
        cmocka_unit_test(transfers_that_find_no_descriptor_are_accounted_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
