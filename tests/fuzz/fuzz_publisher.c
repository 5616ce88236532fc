/* Commands on the publish socket, executed: whatever comes, in whatever pieces, the answers to the sender and
 * what a listener hears are whole values of the protocol, tables stay sound, and everything is given back.
 *
 * A publisher without its thread, one end of socket pairs; the first two bytes choose how the rest is cut and
 * how slowly the listener reads. */
#include "gateway/base/log.h"
#include "gateway/broker/engine_memory.h"
#include "gateway/publisher_client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECTIONS = 7, FOUND_MAX = 3 }; /* of the reactor; in one of its answers */
enum { PEERS = 2, DEPTH_MAX = 8, HEARD_MAX = 4 * 1024 * 1024 };

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

/* Our end of one connection. */
struct peer {
    int fd;
    char *heard;
    size_t len, cap;
    bool ended;
};

struct world {
    struct settings settings;
    struct config *config;
    struct engine *engine;
    struct mailbox reactor;
    struct broker *broker;
    struct publisher *publisher;
    bool reactor_ends;        /* at the first question */
    struct peer peers[PEERS]; /* who sends; who listens */
};

static void check(int truth)
{
    if (!truth)
        abort();
}

/* Bytes of the value at the beginning, 0 when it is not whole; aborts when it is none. */
static size_t value_bytes(const char *data, size_t len, int depth)
{
    check(depth < DEPTH_MAX && data[0] != '\0');
    const char *end = memmem(data, len, "\r\n", 2);
    if (!end)
        return 0;
    size_t at = (size_t)(end - data) + 2;
    if (strchr("+-_", data[0]))
        return at;
    char digits[24], *rest; /* strtoll() wants an end of its own */
    size_t count = (size_t)(end - data) - 1;
    check(count > 0 && count < sizeof digits);
    memcpy(digits, data + 1, count);
    digits[count] = '\0';
    long long number = strtoll(digits, &rest, 10);
    check(*rest == '\0');
    if (data[0] == ':' || (data[0] == '$' && number == -1))
        return at;
    check(number >= 0);
    if (data[0] == '$') {
        if (len - at < (size_t)number + 2)
            return 0;
        check(memcmp(data + at + number, "\r\n", 2) == 0);
        return at + (size_t)number + 2;
    }
    check(strchr("*>%", data[0]) != NULL);
    for (long long left = data[0] == '%' ? number * 2 : number; left > 0; left--) {
        size_t one = at < len ? value_bytes(data + at, len - at, depth + 1) : 0;
        if (one == 0)
            return 0;
        at += one;
    }
    return at;
}

/* Takes whole values from what was heard. */
static void take_values(struct peer *peer)
{
    size_t at = 0;
    for (size_t one; at < peer->len && (one = value_bytes(peer->heard + at, peer->len - at, 0)) > 0;)
        at += one;
    memmove(peer->heard, peer->heard + at, peer->len - at);
    peer->len -= at;
}

/* False: there was nothing. */
static bool hear(struct peer *peer, size_t most)
{
    bool any = false;
    while (!peer->ended && most > 0) {
        if (peer->cap == peer->len) {
            peer->cap = peer->cap ? peer->cap * 2 : 65536;
            check(peer->cap <= HEARD_MAX * 2);
            peer->heard = realloc(peer->heard, peer->cap);
            check(peer->heard != NULL);
        }
        size_t room = peer->cap - peer->len;
        ssize_t n = recv(peer->fd, peer->heard + peer->len, room < most ? room : most, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
            break;
        peer->ended = n <= 0;
        any = true;
        if (n > 0) {
            peer->len += (size_t)n;
            most -= (size_t)n;
            take_values(peer);
        }
    }
    return any;
}

/* What a reactor would find of so many connections, some in every slice; or it has ended and never says. */
static void inspect(struct world *world, struct inspection *ask)
{
    if (world->reactor_ends) {
        inspection_destroy(ask);
        struct reactor_ended *ended = malloc(sizeof *ended);
        check(ended != NULL);
        *ended = (struct reactor_ended){.mail.kind = MAIL_ENDED};
        mailbox_push(broker_mailbox(world->broker), &ended->mail.node);
        return;
    }
    check(ask->reason.bytes <= 123 && ask->count > 0);
    bool closes = ask->kind == INSPECT_CLOSE;
    uint32_t there = ask->from < CONNECTIONS ? CONNECTIONS - ask->from : 0;
    ask->found = there < FOUND_MAX ? there : FOUND_MAX;
    if (ask->found > ask->count)
        ask->found = ask->count;
    ask->next = ask->found < there ? ask->from + ask->found : 0;
    for (uint32_t i = 0; i < ask->found && !closes; i++) {
        resp_map(&ask->out, 1);
        resp_bulk(&ask->out, "id", 2);
        resp_bulk(&ask->out, "0-1-2", 5);
    }
    mailbox_push(broker_mailbox(world->broker), &ask->mail.node);
}

/* One turn of the publisher's loop for all its connections. */
static void turn(struct world *world)
{
    struct publisher *publisher = world->publisher;
    struct epoll_event events[PEERS + 1];
    int count = epoll_wait(publisher->epoll_fd, events, PEERS + 1, 0);
    check(count >= 0);
    for (int i = 0; i < count; i++)
        if (((struct source *)events[i].data.ptr)->kind == SOURCE_CLIENT)
            client_event(publisher, events[i].data.ptr, events[i].events);
    clients_answer(publisher);
    check(list_empty(&publisher->pushed) && list_empty(&publisher->answering));
    for (struct mailbox_node *node = mailbox_detach(&world->reactor), *next; node; node = next) {
        next = node->next;
        if (((struct mail *)node)->kind == MAIL_ORDER) {
            order_unref(((struct order_copy *)node)->order);
            free(node);
        } else if (((struct mail *)node)->kind == MAIL_INSPECTION) {
            inspect(world, (struct inspection *)(void *)node);
        } else {
            message_passed(((struct delivery *)node)->message);
        }
    }
    broker_drain_mail(world->broker);
    operations_go_on(publisher);
    clients_answer(publisher);
}

static void tell(struct peer *peer, const char *data, size_t len)
{
    if (!peer->ended)
        peer->ended = send(peer->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)len;
}

static void begin(struct world *world, uint8_t how)
{
    static struct topic_rule rule = {.name = "a*", .history_size = 4, .presence = true, .join_leave = true};
    char error[128];
    *world = (struct world){0};
    world->config = config_create(settings_keys, settings_key_count, &world->settings);
    check(world->config &&
          config_read_argument(world->config, "--publish.outbox_bytes=64KiB", error, sizeof error));
    check(config_read_argument(world->config, "--publish.channels=40", error, sizeof error));
    check(config_read_argument(world->config, "--publish.patterns=8", error, sizeof error));
    check(config_read_argument(
        world->config, how & 0x80 ? "--publish.password=p" : "--publish.password=", error, sizeof error));
    world->settings.topics.rules = &rule;
    world->settings.topics.count = 1;
    world->engine = engine_memory_create(&(struct engine_memory_config){.epoch_seed = 1});
    check(world->engine && mailbox_init(&world->reactor));
    struct mailbox *mail[] = {&world->reactor};
    world->broker =
        broker_create(&(struct broker_config){.reactors = 1,
                                              .reactor_mail = mail,
                                              .message_bytes = world->settings.limits.message_bytes,
                                              .settings = &world->settings,
                                              .engine = world->engine});
    check(world->broker != NULL);
    struct broker_interest *interest = broker_interest_create(0, "ab", 2, topic_hash("ab", 2), 3,
                                                              1u << ADAPTER_RAW | 1u << ADAPTER_CENTRIFUGE);
    check(interest != NULL);
    mailbox_push(broker_mailbox(world->broker), &interest->mail.node);
    world->publisher =
        publisher_create(&(struct publisher_config){.settings = &world->settings, .broker = world->broker});
    check(world->publisher != NULL);
    for (int i = 0; i < PEERS; i++) {
        int pair[2];
        check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
        world->peers[i].fd = pair[0];
        client_open(world->publisher, pair[1]);
    }
    static const char listen[] = "AUTH p\r\nHELLO 3\r\nPSUBSCRIBE * pushgate:* a?\r\nSUBSCRIBE ab b\r\n";
    tell(&world->peers[1], listen, sizeof listen - 1);
    turn(world);
}

static void end(struct world *world)
{
    /* When nobody hears anything any more, everything was whole; then both say that they have no more. */
    for (int quiet = 0, shut = 0; !list_empty(&world->publisher->clients); quiet++) {
        for (int p = 0; p < PEERS; p++)
            quiet = hear(&world->peers[p], SIZE_MAX) ? 0 : quiet;
        check(quiet < 10);
        for (int p = 0; quiet == 2 && !shut && p < PEERS; p++) {
            check(world->peers[p].ended || world->peers[p].len == 0);
            shutdown(world->peers[p].fd, SHUT_WR);
        }
        shut |= quiet == 2;
        turn(world);
        channels_validate(&world->publisher->channels);
    }
    publisher_destroy(world->publisher);
    broker_destroy(world->broker);
    world->engine->ops->destroy(world->engine);
    mailbox_fini(&world->reactor);
    world->settings.topics.count = 0;
    config_destroy(world->config);
    for (int p = 0; p < PEERS; p++) {
        close(world->peers[p].fd);
        free(world->peers[p].heard);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    static bool ready;
    if (!ready) {
        log_setup(LOG_ERROR, LOG_FORMAT_LOGFMT);
        ready = topic_hash_setup();
        check(ready);
    }
    if (size < 2)
        return 0;
    size_t piece = (size_t)(input[0] & 0x7f) * 64 + 1, slow = input[1];
    struct world world;
    begin(&world, input[0]);
    world.reactor_ends = slow == 0xfe;
    for (size_t at = 2; at < size; at += piece) {
        tell(&world.peers[0], (const char *)input + at, size - at < piece ? size - at : piece);
        turn(&world);
        hear(&world.peers[0], SIZE_MAX);
        hear(&world.peers[1], slow == 0xff ? SIZE_MAX : slow * 16);
        channels_validate(&world.publisher->channels);
    }
    end(&world);
    return 0;
}
