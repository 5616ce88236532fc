/* All connections of one reactor and what they share: slabs, wheel, topics, cryptography, scratch memory.
 *
 * Thread: the reactor's. Owner: embedded in the reactor; main only creates and destroys it while no thread
 * runs.
 */
#pragma once

#include "gateway/broker/broker.h"
#include "gateway/conn/access_log.h"
#include "gateway/conn/conn.h"
#include "gateway/conn/ip_limit.h"
#include "gateway/conn/topics.h"
#include "gateway/conn/transfer.h"
#include "gateway/settings/settings.h"

enum {
    POOL_RECORDS_PER_SEND = 4, /* records sealed for one system call */
    POOL_READ_BYTES = 64 * 1024,
};

struct index_list {
    uint32_t *items;
    uint32_t count, cap;
};

struct pool {
    const struct settings *settings;
    struct reactor_stats *stats;
    struct reactor_port *port;
    struct ip_limit *ip_limit;
    struct mailbox *broker_mail; /* set before the reactor's thread starts */
    struct mailbox *own_mail;    /* the reactor's: answers come there */
    struct auth *auth;           /* NULL: no keys */
    struct proxy *proxy;         /* NULL: no hooks */
    uint16_t reactor;            /* number, for interest items */
    uint32_t next_join;          /* tells a connection's joins of one topic apart */
    int epoll_fd;
    uint32_t now; /* tick, read once a turn */
    uint32_t
        next_generation; /* of the next connection: no two uses of a slot share one for 2^32 connections */
    struct slab conns, tls;
    struct slab sessions;  /* by a connection's index; only the memory is used: nothing is allocated in it */
    struct slab addresses; /* likewise, struct address, of those with address_kept */
    struct access_sampler access;
    bool keep_addresses; /* of everybody: they are logged, and after a reset the kernel knows them no more */
    struct wheel wheel;
    struct topics topics;
    struct tls_crypto *crypto;
    struct ws_reader *ws_reader;
    struct index_list ready, dirty;
    struct list waiting;           /* whose output the kernel does not take; longest without progress first */
    struct message_gauges *gauges; /* as broker_mail; NULL: nobody counts */
    uint64_t outbox_own, outbox_told;        /* of all outboxes, besides messages: now, and in the gauge */
    bool crowded;                            /* more have to leave than could in one turn */
    struct list inspections;                 /* that wait for their turn */
    struct order_copy *orders, *orders_last; /* that go on, the first of them under way */
    int32_t looks_left;                      /* of this turn, for orders */
    uint64_t input_left;                     /* of this turn: events beyond it are read in later turns */
    uint32_t freed_head;                     /* slots to free after the batch of events */
    uint64_t idle_ticks, ping_ticks, close_ticks;
    uint32_t idle_grain, ping_grain; /* deadlines are rounded up to these, so that they share ticks */
    uint8_t *read_scratch;           /* one partial record and POOL_READ_BYTES */
    uint8_t *seal_scratch;           /* POOL_RECORDS_PER_SEND records */
};

struct pool_config {
    const struct settings *settings;
    struct reactor_stats *stats;
    struct reactor_port *port;
    struct ip_limit *ip_limit;
    struct auth *auth;   /* NULL: no keys */
    struct proxy *proxy; /* NULL: no hooks */
    uint16_t reactor;
    uint32_t capacity;
};
/* False without memory or descriptors. epoll_fd is set by the reactor's thread. */
bool pool_init(struct pool *pool, const struct pool_config *config) __attribute__((warn_unused_result));
void pool_fini(struct pool *pool); /* closes what is still open */

static inline struct conn *pool_conn(const struct pool *pool, uint32_t index)
{
    return slab_at(&pool->conns, index);
}
static inline uint32_t pool_index(const struct pool *pool, const struct conn *conn)
{
    return (uint32_t)(((const uint8_t *)conn - pool->conns.base) / sizeof *conn);
}
static inline struct conn_tls *pool_tls(const struct pool *pool, const struct conn *conn)
{
    return slab_at(&pool->tls, conn->tls);
}
/* NULL when its adapter has none. */
static inline struct session *pool_session(const struct pool *pool, const struct conn *conn)
{
    return adapter_get((enum adapter_id)conn->adapter)->sessions
               ? slab_at(&pool->sessions, pool_index(pool, conn))
               : NULL;
}
static inline enum tls_suite conn_suite(const struct conn *conn)
{
    return conn->suite_chacha ? TLS_SUITE_CHACHA20_POLY1305_SHA256 : TLS_SUITE_AES_128_GCM_SHA256;
}
static inline enum transport conn_transport(const struct conn *conn)
{
    return conn->tls == SLAB_NONE ? TRANSPORT_WS : TRANSPORT_WSS;
}
static inline uint64_t conn_event_data(const struct pool *pool, const struct conn *conn)
{
    return (uint64_t)conn->generation << 32 | pool_index(pool, conn);
}
static inline struct conn_id pool_conn_id(const struct pool *pool, const struct conn *conn)
{
    return (struct conn_id){
        .reactor = pool->reactor, .slot = pool_index(pool, conn), .generation = conn->generation};
}
/* The connection that an event speaks of, or NULL when it has gone since. */
struct conn *pool_event_conn(const struct pool *pool, uint64_t data);

bool index_list_push(struct index_list *list, uint32_t index) __attribute__((warn_unused_result));

/* Takes one transferred connection: slot, epoll, topics, timer. It does not answer the upgrade yet
 * (conn_greet). NULL when that failed: the descriptor is closed. */
struct conn *pool_open(struct pool *pool, const struct transfer_item *item);
/* Tells the broker every topic count that has changed. */
void pool_tell_broker(struct pool *pool);
/* Ends a connection at once: leaves topics and wheel, closes the descriptor, counts the reason. The slot is
 * freed by pool_free_closed(). */
void pool_destroy(struct pool *pool, struct conn *conn, enum close_reason reason);
/* Leaves all topics: the first step of every close. */
void pool_leave(struct pool *pool, struct conn *conn);
void pool_free_closed(struct pool *pool);
/* Fires due deadlines. */
void pool_advance(struct pool *pool);
void pool_arm(struct pool *pool, struct conn *conn);

/* conn_address.c
 * ---------------------------------------------------------------------------------------------------------
 */

/* Who the client is: what a trusted proxy said, else whom the socket is connected to (a getpeername(), so not
 * for every message). ADDRESS_NONE when the kernel does not know any more. For connections that are not
 * destroyed yet. */
struct address conn_address(const struct pool *pool, const struct conn *conn);
/* `client`: what the acceptor was told by a proxy, or ADDRESS_NONE. */
void conn_keep_address(struct pool *pool, struct conn *conn, const struct address *client);
/* One line each at level debug; the close's before the descriptor is closed. */
void conn_log_open(const struct pool *pool, const struct conn *conn);
void conn_log_close(const struct pool *pool, const struct conn *conn, enum close_reason reason);

/* pool_topics.c
 * ----------------------------------------------------------------------------------------------------------
 */

/* Joins the topics of a transfer that need no word of the broker's first. False without memory, or when
 * topics_full(): none is joined. */
bool pool_join_topics(struct pool *pool, struct conn *conn, const struct transfer_item *item)
    __attribute__((warn_unused_result));
/* Where the connection stands in a topic, or NULL. Valid until it joins or leaves one. */
struct subscription *conn_subscription(struct conn *conn, uint32_t topic);
/* False without memory. */
bool conn_add_subscription(struct conn *conn, struct subscription subscription)
    __attribute__((warn_unused_result));
/* Leaves one topic: tells the broker what it must know. */
void pool_leave_topic(struct pool *pool, struct conn *conn, uint32_t topic);

/* The extra, borrowed when there is none; NULL without memory. */
struct conn_extra *conn_borrow(struct conn *conn);
/* Gives the extra back when all of it is empty. */
void conn_give_back(struct conn *conn);

/* pool_turn.c
 * ----------------------------------------------------------------------------------------------------------
 */

struct epoll_event;
/* First in every turn. */
void pool_turn_begin(struct pool *pool, uint32_t now);
/* What epoll tells about a connection. */
void pool_event(struct pool *pool, const struct epoll_event *event);
/* One read for each connection whose socket may still have bytes, so that a flooding client waits its turn
 * like all others. */
void pool_read_ready(struct pool *pool);
/* Sends what this turn has collected for connections. */
void pool_flush_dirty(struct pool *pool);

/* pool_outboxes.c
 * ----------------------------------------------------------------------------------------------------------
 */

/* After every change of an outbox: what it takes in memory by itself is counted. */
void pool_count_outbox(struct pool *pool, struct conn_extra *extra);
/* Its output has just made progress, or has only begun to wait: all others wait longer now. */
void pool_wait_anew(struct pool *pool, struct conn_extra *extra);
/* Bytes in the kernel that the client has not taken yet; 0 also when that cannot be told. */
uint32_t pool_unconfirmed(const struct conn *conn);
/* Once a turn: past limits.outbox_memory clients are closed as slow, those first that have taken nothing for
 * the longest time; past three quarters of it, those that have taken nothing for a second. */
void pool_relieve(struct pool *pool);
/* Milliseconds until the next turn has to look, −1: none has. */
int pool_relieve_wait_ms(const struct pool *pool);

/* conn_read.c
 * ----------------------------------------------------------------------------------------------------------
 */

/* Puts the connection on the ready list: it is read in a later turn. May destroy it (without memory). */
void conn_read_later(struct pool *pool, struct conn *conn);
/* Reads what the socket has, up to one scratch buffer; more puts the connection on the ready list. `hangup`:
 * the peer has ended its sending side, so read until there is an end. */
void conn_readable(struct pool *pool, struct conn *conn, bool hangup);
/* Bytes that came along with the transfer. */
void conn_input_early(struct pool *pool, struct conn *conn, const struct transfer_item *item);

/* conn_write.c
 * ---------------------------------------------------------------------------------------------------------
 */

/* Sends plaintext frames directly when nothing is queued. Returns how many bytes it has taken (sent, sealed,
 * or kept as the rest of a record): the caller queues the rest. May destroy the connection (returns `bytes`).
 */
size_t conn_send_direct(struct pool *pool, struct conn *conn, const uint8_t *data, size_t bytes);
/* Queues a message's frame, of which `taken` bytes have left already. Past limits.outbox_bytes its
 * slow_consumer says what is lost; a connection that is positioned in its topic is told so. */
void conn_queue_message(struct pool *pool, struct conn *conn, struct message *message, size_t taken,
                        bool positioned);
/* Queues a frame of the connection's own (ping, close); same bound, except for the close frame. */
void conn_send_own(struct pool *pool, struct conn *conn, const void *frame, size_t bytes);
/* The same for an answer to what the client sends: the first of a turn leaves at once, all others together at
 * its end, so that a burst of tiny frames does not cost as many system calls. */
void conn_answer(struct pool *pool, struct conn *conn, const void *frame, size_t bytes);
/* Sends what is queued, and a KeyUpdate that is owed; asks for EPOLLOUT when the kernel takes no more. */
void conn_flush(struct pool *pool, struct conn *conn);
/* Keeps the connection for conn_flush() at the end of this turn. */
void conn_mark_dirty(struct pool *pool, struct conn *conn);
/* Puts bytes that are ready for the wire (sealed records) out or into the outbox. False: destroyed. */
bool conn_send_wire(struct pool *pool, struct conn *conn, const uint8_t *wire, size_t bytes);

/* conn_greet.c: what an upgrade is answered
 * ---------------------------------------------------------------------------------------------------------
 */

/* 101. */
void conn_greet(struct pool *pool, struct conn *conn, const struct transfer_record *record);
/* There is no room for its topics: it is not greeted but closes, having none. What it sends is not read. */
void conn_refuse_begin(struct pool *pool, struct conn *conn);
/* Then: 503. */
void conn_refuse(struct pool *pool, struct conn *conn);

/* conn_link.c
 * ----------------------------------------------------------------------------------------------------------
 */

struct proxy_request;
/* One whole message of the client's, for its adapter. */
void conn_deliver(struct pool *pool, struct conn *conn, bool text, uint8_t *payload, size_t bytes);
/* After pool_tell_broker(): joins that need the broker's word begin, the upgrade is answered, the adapter
 * begins its conversation. May destroy the connection. */
void conn_opened(struct pool *pool, struct conn *conn, const struct transfer_item *item);
/* The answer to BROKER_SUBSCRIBE has had its turn among the topic's messages. Frees it. */
void conn_joined(struct pool *pool, uint32_t topic, struct broker_request *answer);
/* Any other answer of the broker's. Frees it. */
void conn_answered(struct pool *pool, struct broker_request *answer);
/* The answer of a backend hook. Frees it. */
void conn_proxied(struct pool *pool, struct proxy_request *answer);
/* What the server API ordered. False: it does not concern this one. */
bool conn_ordered(struct pool *pool, struct conn *conn, const struct order *order);
/* The session's deadline has passed. */
void conn_expired(struct pool *pool, struct conn *conn);
/* Messages of this topic were dropped: a positioned subscription is ended, so that the client recovers. */
void conn_gap(struct pool *pool, struct conn *conn, const struct message *message);

/* pool_orders.c
 * ----------------------------------------------------------------------------------------------------------
 */

/* What the server API ordered, for all connections that there are: begins at once, and goes on in later turns
 * when there are many. Takes it. */
void pool_ordered(struct pool *pool, struct order_copy *copy);
static inline bool pool_has_orders(const struct pool *pool)
{
    return pool->orders != NULL;
}
/* Once a turn: the next slice. */
void pool_orders_turn(struct pool *pool);
void pool_order_finish(struct order_copy *copy);
void pool_orders_fini(struct pool *pool);

/* pool_inspect.c
 * ----------------------------------------------------------------------------------------------------------
 */

/* An operator's question: it waits for its turn. Takes it. */
void pool_inspected(struct pool *pool, struct inspection *inspection);
static inline bool pool_has_inspections(const struct pool *pool)
{
    return !list_empty(&pool->inspections);
}
/* Answers the next one: one in a turn, each a bounded slice of work. */
void pool_inspect(struct pool *pool);

/* conn_close.c
 * ---------------------------------------------------------------------------------------------------------
 */

/* Begins the closing handshake with the reason's code, or `code` when it is not 0. Queued messages go first,
 * except for slow consumers. */
void conn_close(struct pool *pool, struct conn *conn, enum close_reason reason, uint16_t code,
                const char *text);
/* Called when output has run empty: goes on with a close that waits for it. */
void conn_close_continue(struct pool *pool, struct conn *conn);
/* Nothing that the peer of a closing connection sends will be understood: do not wait for its close frame. */
void conn_deafen(struct pool *pool, struct conn *conn);
/* Ends a wss connection over a TLS failure, telling the peer with an alert unless a record is half sent. */
void conn_tls_fail(struct pool *pool, struct conn *conn, enum tls_alert alert);
