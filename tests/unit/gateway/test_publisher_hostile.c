/* Listeners that come, go and read as they like, with and without memory: whoever hears a number hears the
 * next one too, or is closed; nothing crashes, leaks or stays behind. */
#include "gateway/base/log.h"
#include "gateway/publisher_client.h"
#include "tests/unit/failing_memory.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { PEERS = 10, LAZY = 7 /* and later ones seldom read */, STEPS = 30000, HEARD_MAX = 2 * 1024 * 1024 };

/* A listener's end; the first peer publishes. */
struct peer {
    int fd; /* -1: none */
    char *heard;
    size_t len;
    bool listens[2]; /* to the channel, to the pattern: by what it was answered */
    bool has_last[2];
    uint64_t last[2];
    uint64_t messages;
};

struct world {
    struct settings settings;
    struct config *config;
    struct mailbox reactor;
    struct broker *broker;
    struct publisher *publisher;
    struct peer peers[PEERS];
    uint64_t next, messages, closed;
    unsigned seed;
    int rate; /* of failing allocations inside the gateway's code */
};

static unsigned chance(struct world *world, unsigned below)
{
    return (unsigned)rand_r(&world->seed) % below;
}

/* The bulk strings of one array, or a plain line as one. Bytes taken, 0: not whole. */
static size_t parse(const char *data, size_t len, struct text *parts, size_t *count)
{
    const char *end = memmem(data, len, "\r\n", 2);
    if (!end)
        return 0;
    size_t at = (size_t)(end - data) + 2;
    *count = 1;
    parts[0] = (struct text){data, at - 2};
    if (data[0] != '*')
        return at;
    long wanted = strtol(data + 1, NULL, 10);
    assert_in_range(wanted, 2, 4);
    for (*count = 0; *count < (size_t)wanted; (*count)++) {
        const char *line = data + at, *line_end = memmem(line, len - at, "\r\n", 2);
        if (!line_end)
            return 0;
        at += (size_t)(line_end - line) + 2;
        parts[*count] = (struct text){line, (size_t)(line_end - line)};
        if (line[0] == ':')
            continue;
        assert_int_equal(line[0], '$');
        size_t bytes = strtoul(line + 1, NULL, 10);
        if (line[1] == '-')
            continue;
        if (len - at < bytes + 2)
            return 0;
        parts[*count] = (struct text){data + at, bytes};
        assert_memory_equal(data + at + bytes, "\r\n", 2);
        at += bytes + 2;
    }
    return at;
}

static bool is(struct text text, const char *word)
{
    return text.bytes == strlen(word) && memcmp(text.data, word, text.bytes) == 0;
}

static void judge(struct world *world, struct peer *peer, const struct text *parts, size_t count)
{
    if (count < 3)
        return; /* +PONG, pong, an error, a publication's answer */
    bool pattern = parts[0].data[0] == 'p';
    if (!is(parts[1], pattern ? "t*" : "tt"))
        return; /* the others come and go at once */
    if (is(parts[0], "subscribe") || is(parts[0], "psubscribe")) {
        peer->has_last[pattern] &= peer->listens[pattern]; /* twice changes nothing */
        peer->listens[pattern] = true;
    } else if (is(parts[0], "unsubscribe") || is(parts[0], "punsubscribe")) {
        peer->listens[pattern] = peer->has_last[pattern] = false;
    } else {
        assert_true(is(parts[0], pattern ? "pmessage" : "message"));
        assert_true(peer->listens[pattern]);
        uint64_t number = strtoull(parts[count - 1].data, NULL, 10);
        if (peer->has_last[pattern])
            assert_int_equal(number, peer->last[pattern] + 1);
        peer->has_last[pattern] = true;
        peer->last[pattern] = number;
        world->messages++;
    }
}

static void hang_up(struct peer *peer)
{
    close(peer->fd);
    free(peer->heard);
    *peer = (struct peer){.fd = -1};
}

/* Reads some; false: the connection has ended, and what stood before its end was whole but for the last. */
static bool hear(struct world *world, struct peer *peer, size_t most)
{
    while (peer->fd >= 0 && most > 0) {
        size_t room = HEARD_MAX - peer->len;
        assert_true(room > 0);
        ssize_t n = recv(peer->fd, peer->heard + peer->len, room < most ? room : most, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
            return true;
        if (n <= 0)
            return false;
        peer->len += (size_t)n;
        most -= (size_t)n;
        size_t at = 0, count;
        struct text parts[4];
        for (size_t one;
             at < peer->len && (one = parse(peer->heard + at, peer->len - at, parts, &count)) > 0;) {
            judge(world, peer, parts, count);
            at += one;
        }
        memmove(peer->heard, peer->heard + at, peer->len - at);
        peer->len -= at;
    }
    return true;
}

static void dial(struct world *world, struct peer *peer)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    *peer = (struct peer){.fd = pair[0], .heard = malloc(HEARD_MAX)};
    assert_non_null(peer->heard);
    client_open(world->publisher, pair[1]);
}

static void turn(struct world *world)
{
    struct publisher *publisher = world->publisher;
    struct epoll_event events[PEERS + 1];
    int count = epoll_wait(publisher->epoll_fd, events, PEERS + 1, 0);
    fail_one_in = world->rate;
    for (int i = 0; i < count; i++)
        if (((struct source *)events[i].data.ptr)->kind == SOURCE_CLIENT)
            client_event(publisher, events[i].data.ptr, events[i].events);
    clients_answer(publisher);
    fail_one_in = 0;
    channels_validate(&publisher->channels);
}

static void say(struct peer *peer, const char *text, size_t len)
{
    (void)!send(peer->fd, text, len,
                MSG_NOSIGNAL | MSG_DONTWAIT); /* whole commands or nothing: they are short */
}

static void publish(struct world *world)
{
    static const size_t sizes[] = {20, 20, 200, 3000};
    char payload[3001], command[3100];
    memset(payload, ' ', sizeof payload);
    size_t bytes = sizes[chance(world, 4)];
    payload[snprintf(payload, sizeof payload, "%llu", (unsigned long long)world->next)] = ' ';
    int len = snprintf(command, sizeof command, "*3\r\n$7\r\nPUBLISH\r\n$2\r\ntt\r\n$%zu\r\n%.*s\r\n", bytes,
                       (int)bytes, payload);
    int rate = world->rate;
    world->rate = 0; /* the one who counts must not fail */
    say(&world->peers[0], command, (size_t)len);
    world->rate = rate;
    world->next++;
}

static void step(struct world *world)
{
    static const char *const words[] = {
        "SUBSCRIBE tt\r\n",
        "PSUBSCRIBE t*\r\n",
        "UNSUBSCRIBE tt\r\n",
        "PUNSUBSCRIBE t*\r\n",
        "SUBSCRIBE a b c\r\nUNSUBSCRIBE a b c\r\n",
        "PING\r\n",
        "SUBSCRIBE tt tt\r\nPSUBSCRIBE t* t?\r\nPUNSUBSCRIBE t?\r\n",
    };
    struct peer *peer = &world->peers[1 + chance(world, PEERS - 1)];
    switch (chance(world, 10)) {
    case 0:
    case 1: {
        const char *word = words[chance(world, sizeof words / sizeof *words)];
        say(peer, word, strlen(word));
        break;
    }
    case 2:
        if (chance(world, 30) == 0) {
            hang_up(peer);
            dial(world, peer);
        }
        break;
    case 3:
    case 4:
    case 5:
        if (peer >= &world->peers[LAZY] && chance(world, 100) != 0)
            break;
        if (!hear(world, peer, chance(world, 4) ? SIZE_MAX : chance(world, 5000))) {
            world->closed++;
            hang_up(peer);
            dial(world, peer);
        }
        break;
    default:
        publish(world);
    }
    turn(world);
    /* The publisher reads its answers; without memory even it may be closed. */
    if (!hear(world, &world->peers[0], SIZE_MAX)) {
        hang_up(&world->peers[0]);
        dial(world, &world->peers[0]);
        world->next++; /* whether the last one was heard is not known */
        for (int i = 1; i < PEERS; i++)
            world->peers[i].has_last[0] = world->peers[i].has_last[1] = false;
    }
}

static void run(int rate, unsigned seed)
{
    static struct world world;
    world = (struct world){.rate = rate, .seed = seed};
    char error[128];
    world.config = config_create(settings_keys, settings_key_count, &world.settings);
    assert_non_null(world.config);
    assert_true(config_read_argument(world.config, "--publish.outbox_bytes=64KiB", error, sizeof error));
    assert_true(mailbox_init(&world.reactor));
    struct mailbox *mail[] = {&world.reactor};
    world.broker = broker_create(
        &(struct broker_config){.reactors = 1, .reactor_mail = mail, .settings = &world.settings});
    assert_non_null(world.broker);
    world.publisher =
        publisher_create(&(struct publisher_config){.settings = &world.settings, .broker = world.broker});
    assert_non_null(world.publisher);
    fail_seed = seed;
    failed = 0;
    for (int i = 0; i < PEERS; i++)
        dial(&world, &world.peers[i]);
    for (int i = 0; i < STEPS; i++)
        step(&world);
    world.rate = 0;
    assert_true(world.messages > 5000);
    assert_true(counter_read(&publisher_stats(world.publisher)->listeners_cut) >
                0); /* some did not keep up */
    assert_true((failed > 0) == (rate > 0));
    for (int i = 0; i < PEERS; i++)
        shutdown(world.peers[i].fd, SHUT_WR);
    for (int i = 0; i < 1000 && !list_empty(&world.publisher->clients); i++) {
        turn(&world);
        for (int p = 0; p < PEERS; p++)
            (void)hear(&world, &world.peers[p], SIZE_MAX);
    }
    assert_true(list_empty(&world.publisher->clients));
    assert_int_equal(channels_validate(&world.publisher->channels), 0);
    assert_int_equal(counter_read(&publisher_stats(world.publisher)->listeners), 0);
    for (int i = 0; i < PEERS; i++)
        hang_up(&world.peers[i]);
    publisher_destroy(world.publisher);
    broker_destroy(world.broker);
    mailbox_fini(&world.reactor);
    config_destroy(world.config);
}

static void whoever_hears_hears_everything_or_is_closed(void **state)
{
    (void)state;
    run(0, 1);
    run(0, 2);
}

static void without_memory_too(void **state)
{
    (void)state;
    run(50, 3);
    run(500, 4);
}

int main(void)
{
    if (!topic_hash_setup())
        return 1;
    log_setup(LOG_ERROR, LOG_FORMAT_LOGFMT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whoever_hears_hears_everything_or_is_closed),
        cmocka_unit_test(without_memory_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
