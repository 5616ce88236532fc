/* The sections [topic PATTERN], and which one holds for a topic. */
#include "gateway/settings/topic_rule.h"

#include "gateway/base/glob.h"
#include "gateway/settings/settings.h"

#include <string.h>

#define IN(field) offsetof(struct topic_rule, field)
#define DAY       UINT64_C(86400000) /* ms */

static const struct config_key rule_keys[] = {
    {.name = "topic.history_size",
     .type = CONFIG_UINT,
     .offset = IN(history_size),
     .default_value = "0",
     .min = 1,
     .max = 1000000,
     .zero = "no history",
     .help = "Publications that are kept for HISTORY and for clients that come back."},
    {.name = "topic.history_ttl",
     .type = CONFIG_DURATION,
     .offset = IN(history_ttl),
     .default_value = "5m",
     .min = 1000,
     .max = 366 * DAY,
     .zero = "no limit of age",
     .help = "How long a publication is kept."},
    {.name = "topic.recover",
     .type = CONFIG_BOOL,
     .offset = IN(recover),
     .default_value = "off",
     .help = "Clients that come back get what they missed, from the history."},
    {.name = "topic.presence",
     .type = CONFIG_BOOL,
     .offset = IN(presence),
     .default_value = "off",
     .help = "Who is subscribed can be asked for."},
    {.name = "topic.join_leave",
     .type = CONFIG_BOOL,
     .offset = IN(join_leave),
     .default_value = "off",
     .help = "Subscribers that want to know are told who comes and who leaves."},
    {.name = "topic.subscribe",
     .type = CONFIG_ENUM,
     .offset = IN(subscribe),
     .default_value = "anyone",
     .choices = "anyone|authenticated|token",
     .help = "Who may subscribe: anyone who may connect, clients with a user, or holders of a subscription "
             "token for this topic."},
    {.name = "topic.publish",
     .type = CONFIG_ENUM,
     .offset = IN(publish),
     .default_value = "none",
     .choices = "none|subscribers|authenticated",
     .help = "Which clients may publish: none (backends may), subscribers of the topic, or clients with a "
             "user."},
    {.name = "topic.slow_consumer",
     .type = CONFIG_ENUM,
     .offset = IN(slow_consumer),
     .default_value = "disconnect",
     .choices = "disconnect|drop_oldest|latest",
     .help = "What happens past limits.outbox_bytes: the client is disconnected, loses its oldest waiting "
             "messages of such topics, or keeps only the newest of each."},
    {.name = "topic.max_subscribers",
     .type = CONFIG_UINT,
     .offset = IN(max_subscribers),
     .default_value = "0",
     .min = 1,
     .max = 100000000,
     .zero = "no limit",
     .help = "Subscribers at a time."},
};

_Static_assert(IN(name) == 0, "config.h: an item begins with its name");

const struct config_section settings_topic_rules = {
    .name = "topic",
    .placeholder = "PATTERN",
    .help =
        "What topics have whose name matches the pattern (* any characters, ? one, [a-z] one of these). The "
        "first section that matches holds; a topic without one keeps nothing, anyone may subscribe and only "
        "backends publish.",
    .keys = rule_keys,
    .key_count = sizeof rule_keys / sizeof *rule_keys,
    .item_bytes = sizeof(struct topic_rule),
    .items_offset = offsetof(struct settings, topics.rules),
    .count_offset = offsetof(struct settings, topics.count),
    .max = 1000,
};

const struct topic_rule *topic_rule_find(const struct settings *settings, const char *topic,
                                         size_t topic_bytes)
{
    static const struct topic_rule none = {.name = ""};
    for (size_t i = 0; settings && i < settings->topics.count; i++) {
        const struct topic_rule *rule = &settings->topics.rules[i];
        if (glob_match(rule->name, strlen(rule->name), topic, topic_bytes))
            return rule;
    }
    return &none;
}
