/* The admin listener: HTTP for people, probes, Prometheus and backends that publish by POST.
 *
 * GET /, /metrics, /healthz and /readyz, POST /publish?topic=NAME. Small on purpose:
 * 256 connections, bounded buffers, a deadline for every request.
 *
 * Thread: one of its own, which only reads the other threads' statistics. Owner: create, start, stop and
 * destroy by main. The broker answers into this struct's mailbox, so destroy it after the publisher's thread
 * has ended.
 */
#pragma once

#include "gateway/base/control.h"
#include "gateway/base/pulse.h"
#include "gateway/broker/broker.h"
#include "gateway/conn/stats.h"
#include "gateway/proxy/proxy.h"
#include "gateway/settings/settings.h"
#include "gateway/tls/tls_certificates.h"

#include <stdbool.h>
#include <stddef.h>

struct admin_config {
    const struct settings *settings;
    int listen_fd;               /* from net_listen(); belongs to the admin once it is created */
    struct mailbox *broker_mail; /* broker_mailbox() */
    struct broker *broker;       /* for the bytes in flight, which sink while its thread sleeps; NULL: none */
    size_t acceptor_count;
    const struct acceptor_stats *const *acceptors;
    size_t reactor_count;
    const struct reactor_stats *const *reactors;
    const struct publisher_stats *publisher;     /* NULL: none */
    const struct proxy_stats *proxy;             /* NULL: none */
    const struct tls_certificates *certificates; /* NULL: none */
    uint64_t connection_limit; /* client connections at a time, by settings and descriptors */
    struct control *control;   /* /readyz answers 200 in PHASE_RUNNING only */
    uint64_t request_ms; /* to send a request, to wait for the broker, to take the response: each; 0: 10 s */
};

struct admin;
/* Everything that the config points to must outlive the admin. NULL with a sentence; then listen_fd is still
 * the caller's. */
struct admin *admin_create(const struct admin_config *config, char *error, size_t error_size);
/* False with errno when there is no thread. */
bool admin_start(struct admin *admin) __attribute__((warn_unused_result));
struct pulse *admin_pulse(struct admin *admin); /* for main's watchdog */
/* Any thread: tells the thread to stop, closes its connections and waits for its end. Harmless when it never
 * started or has stopped. */
void admin_stop(struct admin *admin);
void admin_destroy(struct admin *admin); /* stops it first; NULL is harmless */
