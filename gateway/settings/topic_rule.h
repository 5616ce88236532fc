/* What a topic has beside its subscribers: the sections [topic PATTERN] of the configuration.
 *
 * Thread: read-only after start, any. Owner: the settings.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum subscribe_right { SUBSCRIBE_ANYONE, SUBSCRIBE_AUTHENTICATED, SUBSCRIBE_TOKEN };
enum publish_right { PUBLISH_NONE, PUBLISH_SUBSCRIBERS, PUBLISH_AUTHENTICATED };
enum slow_policy { SLOW_DISCONNECT, SLOW_DROP_OLDEST, SLOW_LATEST };

struct topic_rule {
    char *name;            /* glob pattern */
    uint64_t history_size; /* publications; 0: none are kept */
    uint64_t history_ttl;  /* ms; 0: no limit of age */
    bool recover;          /* subscribers may ask for what they missed */
    bool presence;
    bool join_leave;
    int subscribe;            /* enum subscribe_right */
    int publish;              /* enum publish_right: of clients */
    int slow_consumer;        /* enum slow_policy */
    uint64_t max_subscribers; /* in this gateway; 0: no limit */
};

struct settings;

/* The first rule whose pattern matches; for all other topics, one that keeps nothing and lets anyone
 * subscribe and no client publish. Never NULL; `settings` may be NULL, which has no rules. */
const struct topic_rule *topic_rule_find(const struct settings *settings, const char *topic,
                                         size_t topic_bytes);
