/* What each thread counts, for /metrics: one struct per thread, written by its owner only (counters.h), read
 * by the admin thread.
 *
 * Here and not with the threads because the admin thread must not include its siblings.
 */
#pragma once

#include "gateway/adapter/adapter.h"
#include "gateway/base/counters.h"
#include "gateway/base/histogram.h"
#include "gateway/conn/close_reason.h"

enum transport { TRANSPORT_WS, TRANSPORT_WSS, TRANSPORT_COUNT };

/* Why an accepted connection never became a WebSocket. */
#define HANDSHAKE_FAILURES(X)                                                                                \
    X(HANDSHAKE_TIMEOUT, "timeout")                                                                          \
    X(HANDSHAKE_PEER_GONE, "peer_gone")                                                                      \
    X(HANDSHAKE_CROWDED_OUT, "crowded_out")                                                                  \
    X(HANDSHAKE_TLS, "tls")                                                                                  \
    X(HANDSHAKE_TLS_VERSION, "tls_version")                                                                  \
    X(HANDSHAKE_HTTP_BAD, "http_bad_request")                                                                \
    X(HANDSHAKE_HTTP_ORIGIN, "origin")                                                                       \
    X(HANDSHAKE_HTTP_TOKEN, "token")                                                                         \
    X(HANDSHAKE_HTTP_NOT_FOUND, "not_found")                                                                 \
    X(HANDSHAKE_HTTP_METHOD, "method")                                                                       \
    X(HANDSHAKE_HTTP_UPGRADE, "upgrade_required")                                                            \
    X(HANDSHAKE_HTTP_TOO_LARGE, "header_too_large")                                                          \
    X(HANDSHAKE_FULL, "full")                                                                                \
    X(HANDSHAKE_PER_IP, "per_ip_limit")                                                                      \
    X(HANDSHAKE_PER_IP_RATE, "per_ip_rate")                                                                  \
    X(HANDSHAKE_ACCESS, "access_denied")                                                                     \
    X(HANDSHAKE_PROXY_UNTRUSTED, "proxy_header_untrusted")                                                   \
    X(HANDSHAKE_PROXY_MALFORMED, "proxy_header_malformed")                                                   \
    X(HANDSHAKE_PROXY_TIMEOUT, "proxy_header_timeout")                                                       \
    X(HANDSHAKE_TRANSFER, "transfer")                                                                        \
    X(HANDSHAKE_DRAIN, "drain")                                                                              \
    X(HANDSHAKE_INTERNAL, "internal")

enum handshake_failure {
#define X(name, label) name,
    HANDSHAKE_FAILURES(X)
#undef X
        HANDSHAKE_FAILURE_COUNT
};
const char *handshake_failure_label(enum handshake_failure failure);

struct acceptor_stats {
    counter accepted[TRANSPORT_COUNT];
    counter accept_errors;               /* accept4 failed, and would have again at once */
    counter accept_pauses;               /* because there was no slot for a handshake */
    counter tls_handshakes, tls_resumed; /* completed */
    counter failures[HANDSHAKE_FAILURE_COUNT];
    counter http_responses; /* answered without upgrade: demo page and errors */
    counter transferred;
    counter handshaking; /* gauge */
    counter wakes;       /* returns of epoll_wait */
};

struct reactor_stats {
    counter connections[ADAPTER_COUNT][TRANSPORT_COUNT]; /* gauge */
    counter opened;
    counter closes[CLOSE_REASON_COUNT];
    counter deliveries; /* publications times subscribers that were served; `drops` of them in vain */
    counter delivered_bytes;
    counter drops; /* of deliveries: what a connection missed because it was closed first */
    counter frames_in, bytes_in;
    counter pings;
    counter outbox_bytes;              /* gauge */
    counter outbox_connections;        /* gauge */
    counter topics;                    /* gauge */
    counter topics_refused;            /* joins of topics for which there was no room */
    counter wheel_entries;             /* gauge */
    counter wakes;                     /* returns of epoll_wait */
    struct histogram loop_latency;     /* of one turn of the loop, without waiting */
    struct histogram delivery_latency; /* from the publisher's parse to the last subscriber of a batch */
};

struct publisher_stats {
    counter connections; /* gauge */
    counter commands, errors, protocol_errors, auth_failures;
    counter publishes, publish_bytes;
    counter publish_reached; /* sum of PUBLISH's answers */
    counter topics;          /* gauge */
    counter wakes;
    counter listeners, listener_channels, listener_patterns; /* gauges */
    counter listener_messages;                               /* handed to listeners */
    counter listeners_cut;
    counter history_streams, history_items, history_bytes; /* gauges */
    counter history_evicted_size, history_evicted_ttl, history_evicted_memory;
    counter presence_topics, presence_clients, presence_bytes; /* gauges */
};
