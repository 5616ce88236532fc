/* Where connections go and come from: the target URL with its topic, and the range of source addresses.
 *
 * Thread: parsed at start, read-only afterwards. Owner: embedded; no heap memory.
 */
#pragma once

#include "gateway/base/net.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TARGET_TEXT_MAX = 2048, TARGET_TOPIC_MAX = 255, TARGET_ADDRESSES_MAX = 8 };

struct target {
    bool tls;
    bool host_is_ip;
    bool numbered;       /* topics are <topic>-0 … <topic>-(K − 1); else there is one, named <topic> */
    char host[256];      /* without brackets: SNI and certificate check */
    char authority[272]; /* for the Host header */
    struct net_address address;                     /* where connections go */
    struct net_address found[TARGET_ADDRESSES_MAX]; /* what the host's name stands for, best first */
    size_t found_count;
    char topic[TARGET_TOPIC_MAX + 1];
    char path[TARGET_TEXT_MAX]; /* path and query in two parts; what stands between them is the topic when
                                   `numbered` */
    char path_after[TARGET_TEXT_MAX];
};

/* "wss://host:port/path?query". `{topic}` in it is replaced by load-<k>; without it, a topic=NAME parameter
 * stands for itself when `topics` is 1, and else becomes NAME-<k>. Resolves the host; `address` is the first
 * that was found. False with a sentence. */
bool target_parse(struct target *target, const char *text, uint32_t topics, char *error, size_t error_size)
    __attribute__((warn_unused_result));
/* Of several addresses that were found, takes the first that accepts a TCP connection; without one, or with a
 * single one, the first. Blocks for `timeout_ms` an address at most, and for a few seconds. With `v4_only`
 * others do not count; false when there are only those. */
bool target_choose(struct target *target, bool v4_only, uint64_t timeout_ms)
    __attribute__((warn_unused_result));
/* True for 127.0.0.0/8 and ::1. */
bool target_is_loopback(const struct target *target);
/* The name of topic k, as a publisher needs it; NUL-terminated, returns its length. */
size_t target_topic_name(const struct target *target, uint32_t topic, char *out, size_t out_size);

struct source_range {
    uint32_t first; /* IPv4, host order */
    uint32_t count; /* 0: let the kernel choose */
};
/* "127.0.0.1-127.0.0.40", one address, or "" for none. */
bool source_range_parse(struct source_range *range, const char *text, char *error, size_t error_size)
    __attribute__((warn_unused_result));
struct sockaddr_in source_range_at(const struct source_range *range, uint64_t number);
