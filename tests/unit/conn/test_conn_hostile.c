/* Clients that do anything in any order, with and without memory: nothing may crash, leak or stay behind. */
#include "pool_bench.h"
#include "tests/unit/failing_memory.h"

enum { PEERS = 24, STEPS = 12000 };

struct world {
    struct bench *bench;
    struct peer peers[PEERS];
    int rate; /* of failing allocations inside the gateway's code */
};

static void turn(struct world *world)
{
    struct pool *pool = &world->bench->pool;
    struct epoll_event events[64];
    int count = epoll_wait(pool->epoll_fd, events, 64, 0);
    fail_one_in = world->rate;
    pool_turn_begin(pool, world->bench->now);
    for (int i = 0; i < count; i++)
        pool_event(pool, &events[i]);
    pool_read_ready(pool);
    (void)fanout_slice(&world->bench->fanout, world->bench->slice);
    pool_advance(pool);
    pool_flush_dirty(pool);
    fail_one_in = 0; /* without memory to tell the broker the process ends, on purpose */
    pool_tell_broker(pool);
    pool_free_closed(pool);
}

static void open_peer(struct world *world, struct peer *peer)
{
    static const char *const lists[] = {"", "a", "a", "b", "a,b", "c,a,b", "d"};
    struct bench *bench = world->bench;
    int tls = rand() % 3, pair[2];
    const char *topics = lists[rand() % 7];
    *peer = (struct peer){.tls = tls != 0,
                          .suite = tls == CHACHA ? TLS_SUITE_CHACHA20_POLY1305_SHA256
                                                 : TLS_SUITE_AES_128_GCM_SHA256};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    int small = 4608;
    if (rand() % 2)
        (void)setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    peer->fd = pair[1];
    uint8_t packed[4096], secret[TLS_SECRET_BYTES] = {1}, early[200];
    struct transfer_item item = {.fd = pair[0], .topics = packed, .plain = early};
    item.record.adapter = *topics ? ADAPTER_RAW : ADAPTER_ECHO;
    item.record.topics_bytes = (uint16_t)pack_topics(packed, topics, &item.record.topic_count);
    item.record.transport = tls ? TRANSPORT_WSS : TRANSPORT_WS;
    memcpy(item.record.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", 29);
    if (rand() % 4 == 0)
        item.record.plain_bytes =
            (uint32_t)masked(early, rand() % 2 ? WS_CLOSE : WS_PING, true, "\x03\xe8", 2);
    if (tls) {
        item.record.suite = (uint16_t)peer->suite;
        assert_true(tls_direction_init(bench->crypto, &item.record.read, peer->suite, secret, 0));
        item.record.write = peer->write = item.record.read;
    }
    atomic_fetch_add(&bench->port.load, 1);
    fail_one_in = world->rate;
    struct conn *conn = pool_open(&bench->pool, &item);
    fail_one_in = 0;
    pool_tell_broker(&bench->pool);
    if (!conn)
        return;
    peer->event = conn_event_data(&bench->pool, conn);
    fail_one_in = world->rate;
    conn_greet(&bench->pool, conn, &item.record);
    if (item.record.plain_bytes && conn->state != CONN_FREE)
        conn_input_early(&bench->pool, conn, &item);
    fail_one_in = 0;
}

static void send_wire(struct peer *peer, const void *data, size_t bytes)
{
    while (bytes > 0) { /* in pieces, or as much as goes in */
        size_t piece = rand() % 2 ? bytes : 1 + (size_t)rand() % bytes;
        ssize_t n = send(peer->fd, data, piece, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n <= 0)
            return; /* the rest is lost: as hostile as anything */
        data = (const uint8_t *)data + n;
        bytes -= (size_t)n;
    }
}

static void send_plain(struct world *world, struct peer *peer, const uint8_t *data, size_t bytes)
{
    static uint8_t record[TLS_RECORD_PLAINTEXT_MAX + TLS_RECORD_OVERHEAD];
    if (!peer->tls) {
        send_wire(peer, data, bytes);
        return;
    }
    size_t sealed = peer_seal(world->bench, peer, TLS_CONTENT_APPLICATION_DATA, data, bytes, record);
    if (sealed && rand() % 200 == 0)
        record[(size_t)rand() % sealed] ^= 1;
    send_wire(peer, record, sealed);
}

static size_t random_frames(uint8_t *out, size_t room)
{
    static const uint8_t zeros[3000];
    static const enum ws_opcode opcodes[] = {WS_TEXT, WS_BINARY, WS_CONTINUATION, WS_CONTINUATION,
                                             WS_PING, WS_PING,   WS_PONG,         WS_CLOSE};
    size_t bytes = 0;
    for (int i = rand() % 12; i >= 0; i--) {
        enum ws_opcode opcode = opcodes[rand() % (rand() % 8 ? 7 : 8)];
        size_t payload =
            opcode >= WS_CLOSE ? (size_t)rand() % 126 : (size_t)rand() % (rand() % 3 ? 50 : 3000);
        if (bytes + payload + WS_HEADER_MAX > room)
            break;
        bytes += masked(out + bytes, opcode, opcode >= WS_CLOSE || rand() % 3 > 0,
                        opcode == WS_CLOSE ? (const uint8_t *)"\x03\xe8" : zeros,
                        opcode == WS_CLOSE ? 2 : payload);
    }
    if (rand() % 20 == 0 && bytes) {
        out[(size_t)rand() % bytes] ^= (uint8_t)(1 << rand() % 8);
        bytes -= (size_t)rand() % bytes;
    }
    return bytes;
}

static void act(struct world *world, struct peer *peer)
{
    static uint8_t data[16000];
    struct bench *bench = world->bench;
    struct conn *conn;
    switch (rand() % 16) {
    case 0:
        close(peer->fd);
        peer->fd = -1;
        break;
    case 1:
        shutdown(peer->fd, SHUT_WR);
        break;
    case 2:
        send_wire(peer, data, (size_t)rand() % 300);
        break;
    case 3:
        if (peer->tls)
            send_wire(peer, data,
                      tls_post_key_update(bench->crypto, &peer->write, peer->suite, rand() % 2, data));
        break;
    case 4:
        if (peer->tls && rand() % 4 == 0)
            send_wire(peer, data,
                      tls_post_alert(bench->crypto, &peer->write, peer->suite,
                                     rand() % 2 ? TLS_ALERT_CLOSE_NOTIFY : TLS_ALERT_INTERNAL_ERROR, data));
        break;
    case 5:
        conn = pool_event_conn(&bench->pool, peer->event);
        if (conn && conn->fd >= 0 && rand() % 4 == 0) {
            fail_one_in = world->rate;
            conn_close(&bench->pool, conn, rand() % 2 ? CLOSE_DRAIN : CLOSE_IDLE, 0, NULL);
            fail_one_in = 0;
        }
        break;
    case 6:
    case 7:
    case 8:
        (void)!recv(peer->fd, data, 1 + (size_t)rand() % sizeof data, MSG_DONTWAIT);
        break;
    default:
        send_plain(world, peer, data, random_frames(data, sizeof data));
    }
}

static void live(unsigned seed, int rate)
{
    static const char *const names[] = {"a", "b", "c", "d", "nobody"};
    static uint8_t payload[60000];
    srand(seed);
    fail_seed = seed;
    struct settings settings = bench_settings();
    settings.limits.outbox_bytes = seed % 3 ? 30000 : 0;
    settings.limits.close_timeout = 200;
    settings.idle.timeout = 3000;
    settings.idle.ping_interval = 1000;
    struct world *world = calloc(1, sizeof *world);
    world->bench = bench_new_with(&settings);
    world->bench->slice = 1 + (uint32_t)rand() % 30;
    world->rate = rate;
    for (int i = 0; i < PEERS; i++)
        world->peers[i].fd = -1;
    for (int step = 0; step < STEPS; step++) {
        struct peer *peer = &world->peers[rand() % PEERS];
        if (peer->fd < 0)
            open_peer(world, peer);
        else
            act(world, peer);
        if (rand() % 5 == 0)
            bench_publish(world->bench, names[rand() % 5], payload,
                          (size_t)rand() % (rand() % 4 ? 300 : sizeof payload));
        if (rand() % 3 == 0)
            turn(world);
        if (rand() % 50 == 0)
            world->bench->now += (uint32_t)rand() % 50;
        if (step % 1000 == 0)
            bench_forget_interest(world->bench);
    }
    assert_true(slab_validate(&world->bench->pool.conns));
    assert_true(wheel_validate(&world->bench->pool.wheel));
    for (int i = 0; i < PEERS; i++)
        if (world->peers[i].fd >= 0)
            close(world->peers[i].fd);
    world->rate = 0;
    for (int i = 0; i < 50; i++) {
        world->bench->now += 10;
        bench_settle(world->bench);
    }
    assert_int_equal(world->bench->pool.conns.used, 0); /* nobody is there any more */
    bench_fini(world->bench);
    free(world);
}

static void whatever_clients_do_nothing_stays_behind(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 4; seed++)
        live(seed, 0);
}

static void without_memory_connections_end_but_nothing_else_does(void **state)
{
    (void)state;
    for (unsigned seed = 11; seed <= 14; seed++)
        live(seed, seed % 2 ? 20 : 300);
    assert_true(failed > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_clients_do_nothing_stays_behind),
        cmocka_unit_test(without_memory_connections_end_but_nothing_else_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
