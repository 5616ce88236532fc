/* An acceptor: one thread that accepts, does TLS and HTTP under one deadline, and transfers what became a
 * WebSocket.
 *
 * Thread: created, started, drained, joined and destroyed by main; acceptor_reload() may be called by main at
 * any time. Owner: main owns the acceptor; the acceptor its listeners, handshakes and TLS context.
 */
#pragma once

#include "gateway/auth/auth.h"
#include "gateway/base/cidr.h"
#include "gateway/base/pulse.h"
#include "gateway/broker/broker.h"
#include "gateway/conn/access.h"
#include "gateway/conn/ip_limit.h"
#include "gateway/conn/ip_rate.h"
#include "gateway/conn/transfer.h"
#include "gateway/tls/tls_context.h"

struct acceptor;

/* What all acceptors share. */
struct acceptor_shared {
    const struct settings *settings;
    struct reactor_port *ports;
    uint32_t port_count;
    struct ip_limit *ip_limit;
    struct ip_rate *ip_rate;              /* NULL: no limit */
    const struct cidr_set *trusted;       /* who may say who the client is; NULL without the next two */
    bool proxy_protocol[TRANSPORT_COUNT]; /* its connections begin with a PROXY header */
    enum forwarded_header forwarded;
    struct mailbox *broker_mail;
    struct auth *auth;
    uint64_t connection_limit; /* 0: only what the reactors hold */
    _Atomic uint32_t round_robin;
};

struct acceptor_config {
    struct acceptor_shared *shared;
    uint16_t number;
    int listen_fds[2];       /* by enum transport; -1: none. Owned by the acceptor from now on */
    struct tls_context *tls; /* NULL without a wss listener. Owned by the acceptor from now on */
    struct access *access;   /* NULL: everybody may come. The acceptor takes a reference of its own */
    struct tls_ticket_keys *ticket_keys; /* NULL: nobody resumes. The acceptor takes a reference of its own */
};

struct acceptor *acceptor_create(const struct acceptor_config *config, char *error, size_t error_size);
bool acceptor_start(struct acceptor *acceptor, char *error, size_t error_size)
    __attribute__((warn_unused_result));
const struct acceptor_stats *acceptor_stats(const struct acceptor *acceptor);
struct pulse *acceptor_pulse(struct acceptor *acceptor); /* for main's watchdog */
/* New handshakes use `context` (owned by the acceptor from now on); those in progress and live connections
 * are not touched. */
void acceptor_reload(struct acceptor *acceptor, struct tls_context *context);
/* Tickets are made and opened with `keys` from now on (a reference of the acceptor's from now on). */
void acceptor_rotate(struct acceptor *acceptor, struct tls_ticket_keys *keys);
/* The end of accepting: listeners close, who is in the middle of a handshake gets 503 as soon as it can be
 * told anything, or is cut off after limits.close_timeout; then the thread ends. */
void acceptor_drain(struct acceptor *acceptor);
/* True when nothing more will be transferred, which may be before the thread ends. */
bool acceptor_drained(const struct acceptor *acceptor);
/* Asks the thread to end now, whatever is unfinished. */
void acceptor_end(struct acceptor *acceptor);
/* True when the thread has ended, and is joined then. */
bool acceptor_try_join(struct acceptor *acceptor) __attribute__((warn_unused_result));
/* New connections are held against `access` (a reference of the acceptor's from now on). */
void acceptor_restrict(struct acceptor *acceptor, struct access *access);
void acceptor_destroy(struct acceptor *acceptor);
