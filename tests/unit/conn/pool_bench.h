/* A pool with real sockets but without a thread: peers at the other ends of socket pairs, a broker's mailbox
 * that nobody reads, time that the test moves, turns that the test takes.
 *
 * Thread: the test's. Owner: the test; bench_fini() ends everything and checks that nothing was left.
 */
#pragma once

#include "gateway/base/clock.h"
#include "gateway/conn/fanout.h"
#include "proto/tls_post.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define KIB   ((size_t)1024)
#define BENCH static inline __attribute__((unused))

struct bench {
    struct settings settings;
    struct reactor_stats stats;
    struct reactor_port port;
    struct ip_limit *ip_limit;
    struct mailbox broker_mail;
    struct pool pool;
    struct fanout fanout;
    struct tls_crypto *crypto; /* the peers' */
    struct message_gauges gauges;
    uint32_t now;
    uint32_t slice;
    struct transfer_record like; /* ask_broker and since of the next peers */
    const uint8_t *identity;     /* of the next peers, packed (identity.h) */
    uint32_t identity_bytes;
    bool vanished;   /* the next peers have gone before they are opened */
    int socket_type; /* SOCK_SEQPACKET shows each system call as a packet */
};

/* The client's end. */
struct peer {
    struct buffer raw, plain; /* received: not yet opened, not yet looked at */
    uint64_t event;           /* names its connection */
    int fd;
    enum tls_suite suite;
    int alert;            /* fatal one, or -1 */
    uint32_t key_updates; /* of the gateway */
    struct tls_direction read, write;
    bool tls;
    bool eof, reset; /* how the stream ended */
    bool notified;   /* close_notify was read: nothing may follow */
};

struct frame {
    uint8_t opcode;
    bool fin;
    const uint8_t *payload;
    size_t bytes;
};

enum { BENCH_CAPACITY = 512, CHACHA = 2 };

BENCH struct bench *bench_new_with(const struct settings *settings)
{
    struct bench *bench = calloc(1, sizeof *bench);
    assert_non_null(bench);
    assert_true(topic_hash_setup());
    bench->settings = *settings;
    bench->port = (struct reactor_port){.transfer_fd = -1, .capacity = BENCH_CAPACITY};
    bench->ip_limit = ip_limit_create(0);
    assert_true(mailbox_init(&bench->broker_mail));
    bench->crypto = tls_crypto_create();
    struct pool_config config = {.settings = &bench->settings,
                                 .stats = &bench->stats,
                                 .port = &bench->port,
                                 .ip_limit = bench->ip_limit,
                                 .capacity = BENCH_CAPACITY};
    assert_true(pool_init(&bench->pool, &config));
    bench->pool.broker_mail = &bench->broker_mail;
    bench->pool.gauges = &bench->gauges;
    bench->pool.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    assert_true(bench->pool.epoll_fd >= 0);
    fanout_init(&bench->fanout, &bench->pool);
    bench->now = bench->pool.now;
    bench->slice = 256;
    bench->socket_type = SOCK_STREAM;
    return bench;
}

BENCH struct settings bench_settings(void)
{
    return (struct settings){.limits = {.message_bytes = 64 * KIB,
                                        .topics_per_connection = 32,
                                        .close_timeout = 1000,
                                        .outbox_bytes = 256 * KIB},
                             .demo = {.enabled = true}};
}

BENCH struct bench *bench_new(void)
{
    struct settings settings = bench_settings();
    return bench_new_with(&settings);
}

BENCH uint32_t bench_forget_interest(struct bench *bench)
{
    uint32_t items = 0;
    for (struct mailbox_node *node = mailbox_detach(&bench->broker_mail), *next; node; node = next) {
        next = node->next;
        free(node);
        items++;
    }
    return items;
}

/* Everything that was counted in must be counted out. */
BENCH void bench_fini(struct bench *bench)
{
    fanout_fini(&bench->fanout);
    for (uint32_t i = 0; i < bench->pool.conns.fresh; i++)
        if (pool_conn(&bench->pool, i)->state != CONN_FREE)
            pool_destroy(&bench->pool, pool_conn(&bench->pool, i), CLOSE_DRAIN);
    pool_relieve(&bench->pool);
    pool_tell_broker(&bench->pool);
    pool_free_closed(&bench->pool);
    assert_int_equal(bench->pool.conns.used, 0);
    assert_int_equal(bench->pool.tls.used, 0);
    assert_int_equal(bench->pool.topics.used, 0);
    assert_int_equal(bench->pool.wheel.armed, 0);
    assert_true(slab_validate(&bench->pool.conns) && slab_validate(&bench->pool.tls));
    assert_int_equal(counter_read(&bench->stats.outbox_bytes), 0);
    assert_int_equal(counter_read(&bench->stats.outbox_connections), 0);
    for (int a = 0; a < ADAPTER_COUNT; a++)
        for (int t = 0; t < TRANSPORT_COUNT; t++)
            assert_int_equal(counter_read(&bench->stats.connections[a][t]), 0);
    assert_int_equal(atomic_load(&bench->port.load), 0);
    assert_int_equal(atomic_load(&bench->gauges.inflight), 0);
    assert_int_equal(atomic_load(&bench->gauges.outboxes), 0);
    close(bench->pool.epoll_fd);
    pool_fini(&bench->pool);
    bench_forget_interest(bench);
    mailbox_fini(&bench->broker_mail);
    ip_limit_destroy(bench->ip_limit);
    tls_crypto_destroy(bench->crypto);
    free(bench);
}

/* One turn as the reactor takes it. Returns how many events there were. */
BENCH int bench_turn(struct bench *bench)
{
    struct pool *pool = &bench->pool;
    struct epoll_event events[64];
    int count = epoll_wait(pool->epoll_fd, events, 64, 0);
    pool_turn_begin(pool, bench->now);
    for (int i = 0; i < count; i++)
        pool_event(pool, &events[i]);
    pool_read_ready(pool);
    (void)fanout_slice(&bench->fanout, bench->slice);
    pool_advance(pool);
    pool_flush_dirty(pool);
    pool_relieve(pool);
    pool_tell_broker(pool);
    pool_free_closed(pool);
    return count;
}

/* Turns until nothing happens any more. */
BENCH void bench_settle(struct bench *bench)
{
    for (int quiet = 0, turns = 0; quiet < 2; turns++) {
        assert_true(turns < 100000); /* else it spins */
        bool busy = bench_turn(bench) > 0 || bench->pool.ready.count || fanout_pending(&bench->fanout);
        quiet = busy ? 0 : quiet + 1;
    }
}

BENCH void bench_pass(struct bench *bench, uint32_t ms)
{
    for (uint32_t passed = 0; passed < ms; passed += WHEEL_TICK_MS) {
        bench->now++;
        bench_turn(bench);
    }
}

BENCH struct conn *peer_conn(struct bench *bench, const struct peer *peer)
{
    return pool_event_conn(&bench->pool, peer->event);
}

BENCH uint64_t bench_closes(const struct bench *bench, enum close_reason reason)
{
    return counter_read(&bench->stats.closes[reason]);
}

BENCH size_t pack_topics(uint8_t out[4096], const char *topics, uint8_t *count)
{
    size_t bytes = 0;
    *count = 0;
    while (*topics) {
        size_t len = strcspn(topics, ",");
        out[bytes] = (uint8_t)len;
        memcpy(out + bytes + 1, topics, len);
        bytes += len + 1;
        ++*count;
        topics += len + (topics[len] == ',');
    }
    return bytes;
}

/* Opens a connection as a transfer does. `topics` are separated by commas. `early` came along as plaintext.
 * `send_buffer` 0: the system's. */
BENCH struct peer peer_open_with(struct bench *bench, enum adapter_id adapter, int tls, const char *topics,
                                 int send_buffer, const void *early, size_t early_bytes)
{
    struct peer peer = {.tls = tls != 0, .alert = -1};
    peer.suite = tls == CHACHA ? TLS_SUITE_CHACHA20_POLY1305_SHA256 : TLS_SUITE_AES_128_GCM_SHA256;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, bench->socket_type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    peer.fd = pair[1];
    if (bench->vanished)
        assert_int_equal(shutdown(pair[0], SHUT_WR), 0);
    if (send_buffer)
        assert_int_equal(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof send_buffer), 0);
    uint8_t packed[4096], secret[2][TLS_SECRET_BYTES];
    memset(secret[0], 0x11, sizeof secret[0]);
    memset(secret[1], 0x22, sizeof secret[1]);
    struct transfer_item item = {
        .fd = pair[0], .topics = packed, .identity = bench->identity, .plain = early};
    item.record.identity_bytes = bench->identity_bytes;
    item.record.ask_broker = bench->like.ask_broker;
    item.record.since_set = bench->like.since_set;
    item.record.since_offset = bench->like.since_offset;
    item.record.since_epoch = bench->like.since_epoch;
    item.record.adapter = (uint8_t)adapter;
    item.record.topics_bytes = (uint16_t)pack_topics(packed, topics, &item.record.topic_count);
    item.record.plain_bytes = (uint32_t)early_bytes;
    item.record.transport = tls ? TRANSPORT_WSS : TRANSPORT_WS;
    memcpy(item.record.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", 29);
    if (tls) {
        item.record.suite = (uint16_t)peer.suite;
        assert_true(tls_direction_init(bench->crypto, &item.record.read, peer.suite, secret[0], 0));
        assert_true(tls_direction_init(bench->crypto, &item.record.write, peer.suite, secret[1], 2));
        peer.write = item.record.read;
        peer.read = item.record.write;
    }
    atomic_fetch_add(&bench->port.load, 1);
    struct conn *conn = pool_open(&bench->pool, &item);
    assert_non_null(conn);
    peer.event = conn_event_data(&bench->pool, conn);
    pool_tell_broker(&bench->pool);
    conn_opened(&bench->pool, conn, &item);
    if (early_bytes && conn->state != CONN_FREE)
        conn_input_early(&bench->pool, conn, &item);
    pool_flush_dirty(&bench->pool);
    return peer;
}

/* Raw, or an echo when `topics` is "". */
BENCH struct peer peer_open_early(struct bench *bench, int tls, const char *topics, int send_buffer,
                                  const void *early, size_t early_bytes)
{
    return peer_open_with(bench, *topics ? ADAPTER_RAW : ADAPTER_ECHO, tls, topics, send_buffer, early,
                          early_bytes);
}

BENCH struct peer peer_open_as(struct bench *bench, enum adapter_id adapter, int tls, const char *topics,
                               int send_buffer)
{
    return peer_open_with(bench, adapter, tls, topics, send_buffer, NULL, 0);
}

BENCH struct peer peer_open(struct bench *bench, int tls, const char *topics, int send_buffer)
{
    return peer_open_early(bench, tls, topics, send_buffer, NULL, 0);
}

BENCH void peer_opened(struct bench *bench, struct peer *peer, struct tls_opened *opened)
{
    struct tls_fragment fragment = {0};
    assert_false(peer->notified); /* nothing after close_notify */
    assert_int_equal(peer->alert, -1);
    struct tls_post_result post = tls_post_record(bench->crypto, &peer->read, peer->suite, &fragment, opened);
    switch (post.event) {
    case TLS_EVENT_DATA:
        assert_true(buffer_append(&peer->plain, opened->content, opened->content_bytes));
        break;
    case TLS_EVENT_CLOSE_NOTIFY:
        peer->notified = true;
        break;
    case TLS_EVENT_FATAL_ALERT:
        peer->alert = post.peer_alert;
        break;
    case TLS_EVENT_PEER_UPDATED:
        peer->key_updates++;
        break;
    default:
        fail_msg("unexpected TLS event %d", post.event);
    }
}

/* Reads up to `max` bytes of what has come, and opens the records. Returns the bytes. */
BENCH size_t peer_read(struct bench *bench, struct peer *peer, size_t max)
{
    static uint8_t bytes[64 * KIB];
    size_t total = 0;
    while (!peer->eof && !peer->reset && total < max) {
        size_t want = max - total < sizeof bytes ? max - total : sizeof bytes;
        ssize_t n = recv(peer->fd, bytes, want, MSG_DONTWAIT);
        if (n == 0)
            peer->eof = true;
        else if (n < 0 && errno == ECONNRESET)
            peer->reset = true;
        if (n <= 0)
            break;
        total += (size_t)n;
        assert_true(buffer_append(peer->tls ? &peer->raw : &peer->plain, bytes, (size_t)n));
    }
    size_t used = 0;
    while (used < peer->raw.len) {
        struct tls_opened opened;
        enum parse_result result = tls_record_open(bench->crypto, &peer->read, peer->suite,
                                                   peer->raw.data + used, peer->raw.len - used, &opened);
        assert_int_not_equal(result, PARSE_BAD);
        if (result == PARSE_MORE)
            break;
        peer_opened(bench, peer, &opened);
        used += opened.record_bytes;
    }
    if (used)
        buffer_consume(&peer->raw, used);
    return total;
}

/* Settles and reads until nothing comes any more. */
BENCH void peer_drain(struct bench *bench, struct peer *peer)
{
    do
        bench_settle(bench);
    while (peer_read(bench, peer, SIZE_MAX) > 0);
}

BENCH size_t peer_seal(struct bench *bench, struct peer *peer, enum tls_content_type type, const void *data,
                       size_t bytes, uint8_t *out)
{
    struct tls_slice slice = {data, bytes};
    size_t sealed = tls_record_seal(bench->crypto, &peer->write, peer->suite, type, &slice, 1, out);
    assert_true(sealed > 0);
    return sealed;
}

BENCH void peer_send_raw(struct peer *peer, const void *data, size_t bytes)
{
    assert_int_equal(send(peer->fd, data, bytes, MSG_NOSIGNAL), (ssize_t)bytes);
}

/* Plaintext of the WebSocket stream, at most one record's worth. */
BENCH void peer_send(struct bench *bench, struct peer *peer, const void *data, size_t bytes)
{
    if (!peer->tls) {
        peer_send_raw(peer, data, bytes);
        return;
    }
    uint8_t record[TLS_RECORD_PLAINTEXT_MAX + TLS_RECORD_OVERHEAD];
    peer_send_raw(peer, record, peer_seal(bench, peer, TLS_CONTENT_APPLICATION_DATA, data, bytes, record));
}

BENCH size_t masked(uint8_t *out, enum ws_opcode opcode, bool fin, const void *payload, size_t bytes)
{
    return ws_frame_masked(out, opcode, fin, (const uint8_t *)"\x37\xfa\x21\x3d", payload, bytes);
}

BENCH void peer_frame(struct bench *bench, struct peer *peer, enum ws_opcode opcode, bool fin,
                      const void *payload, size_t bytes)
{
    uint8_t frame[16 * KIB];
    assert_true(bytes + WS_HEADER_MAX <= sizeof frame);
    peer_send(bench, peer, frame, masked(frame, opcode, fin, payload, bytes));
}

BENCH void peer_close_frame(struct bench *bench, struct peer *peer, uint16_t code)
{
    uint8_t payload[2] = {(uint8_t)(code >> 8), (uint8_t)code};
    peer_frame(bench, peer, WS_CLOSE, true, payload, 2);
}

/* The 101 is the first thing that a peer reads. */
BENCH void peer_expect_101(struct bench *bench, struct peer *peer)
{
    peer_read(bench, peer, SIZE_MAX);
    char *end = peer->plain.len ? memmem(peer->plain.data, peer->plain.len, "\r\n\r\n", 4) : NULL;
    assert_non_null(end);
    assert_memory_equal(peer->plain.data, "HTTP/1.1 101 ", 13);
    buffer_consume(&peer->plain, (size_t)(end + 4 - (char *)peer->plain.data));
}

/* The frame at `at` of what was read; false when it is not whole. */
BENCH bool frame_at(const struct peer *peer, size_t *at, struct frame *frame)
{
    const uint8_t *p = peer->plain.data + *at;
    size_t left = peer->plain.len - *at, header = 2;
    if (left < 2)
        return false;
    assert_int_equal(p[0] & 0x70, 0);
    assert_int_equal(p[1] & 0x80, 0);
    size_t bytes = p[1] & 0x7f;
    if (bytes == 126) {
        header = 4;
        if (left < header)
            return false;
        bytes = (size_t)p[2] << 8 | p[3];
    } else if (bytes == 127) {
        header = 10;
        if (left < header)
            return false;
        bytes = 0;
        for (int i = 2; i < 10; i++)
            bytes = bytes << 8 | p[i];
    }
    if (left - header < bytes)
        return false;
    *frame = (struct frame){.opcode = p[0] & 15, .fin = p[0] >> 7, .payload = p + header, .bytes = bytes};
    *at += header + bytes;
    return true;
}

/* Takes the next frame off; its payload is copied to `payload` (room for 64 KiB) when that is not NULL. */
BENCH bool peer_next(struct peer *peer, struct frame *frame, uint8_t *payload)
{
    size_t at = 0;
    if (!frame_at(peer, &at, frame))
        return false;
    if (payload && frame->bytes)
        memcpy(payload, frame->payload, frame->bytes);
    frame->payload = payload;
    buffer_consume(&peer->plain, at);
    return true;
}

BENCH void peer_expect(struct peer *peer, enum ws_opcode opcode, const void *payload, size_t bytes)
{
    uint8_t got[64 * KIB] = {0};
    struct frame frame = {0};
    assert_true(peer_next(peer, &frame, got));
    assert_int_equal(frame.opcode, opcode);
    assert_int_equal(frame.bytes, bytes);
    if (bytes)
        assert_memory_equal(got, payload, bytes);
}

/* A close frame with this code is the last thing that was read. */
BENCH void peer_expect_close(struct peer *peer, uint16_t code)
{
    uint8_t got[64 * KIB] = {0};
    struct frame frame = {0};
    assert_true(peer_next(peer, &frame, got));
    assert_int_equal(frame.opcode, WS_CLOSE);
    if (code == WS_CLOSE_NO_STATUS)
        assert_int_equal(frame.bytes, 0);
    else
        assert_int_equal(got[0] << 8 | got[1], code);
    assert_int_equal(peer->plain.len, 0);
}

BENCH void peer_fini(struct peer *peer)
{
    if (peer->fd >= 0)
        close(peer->fd);
    peer->fd = -1;
    buffer_fini(&peer->raw);
    buffer_fini(&peer->plain);
}

BENCH void bench_publish(struct bench *bench, const char *topic, const void *payload, size_t bytes)
{
    const struct topic_rule *rule = topic_rule_find(&bench->settings, topic, strlen(topic));
    struct publication publication = {.payload = payload,
                                      .payload_bytes = bytes,
                                      .text = false,
                                      .slow_consumer = (uint8_t)rule->slow_consumer,
                                      .topic = topic,
                                      .topic_bytes = strlen(topic)};
    struct message *message =
        message_create(&publication, topic_hash(topic, strlen(topic)), 1u << ADAPTER_RAW, 1, &bench->gauges);
    assert_non_null(message);
    fanout_accept(&bench->fanout, &message->deliveries[0].mail);
}
