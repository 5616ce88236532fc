/* Finds settings that do not go together. */
#include "gateway/settings/collisions.h"

#include "gateway/base/net.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

enum { ADDRESSES_MAX = 8, ADDRESS_TEXT_MAX = 256 };

struct listener {
    const char *key;
    char text[ADDRESS_TEXT_MAX];
    struct net_address address;
};

static in_port_t port_of(const struct net_address *address)
{
    if (address->storage.ss_family == AF_INET6)
        return ((const struct sockaddr_in6 *)(const void *)&address->storage)->sin6_port;
    return ((const struct sockaddr_in *)(const void *)&address->storage)->sin_port;
}

/* All addresses of its family; of both, when it is IPv6's. */
static bool is_wildcard(const struct net_address *address)
{
    if (address->storage.ss_family == AF_INET6)
        return IN6_IS_ADDR_UNSPECIFIED(
            &((const struct sockaddr_in6 *)(const void *)&address->storage)->sin6_addr);
    return ((const struct sockaddr_in *)(const void *)&address->storage)->sin_addr.s_addr == INADDR_ANY;
}

static bool collide(const struct net_address *a, const struct net_address *b)
{
    bool unix_a = a->storage.ss_family == AF_UNIX, unix_b = b->storage.ss_family == AF_UNIX;
    if (unix_a || unix_b)
        return unix_a && unix_b &&
               strcmp(((const struct sockaddr_un *)(const void *)&a->storage)->sun_path,
                      ((const struct sockaddr_un *)(const void *)&b->storage)->sun_path) == 0;
    if (port_of(a) == 0 || port_of(a) != port_of(b)) /* 0: the kernel chooses */
        return false;
    if (a->storage.ss_family == b->storage.ss_family)
        return is_wildcard(a) || is_wildcard(b) ||
               (a->len == b->len && memcmp(&a->storage, &b->storage, a->len) == 0);
    const struct net_address *six = a->storage.ss_family == AF_INET6 ? a : b;
    return is_wildcard(six);
}

/* Adds every address of the list that parses. */
static size_t add_listeners(struct listener *listeners, size_t count, const char *key, const char *list)
{
    static const char between[] = " ,\t";
    char why[256];
    for (list += strspn(list, between); *list && count < ADDRESSES_MAX; list += strspn(list, between)) {
        size_t len = strcspn(list, between);
        struct listener *listener = &listeners[count];
        listener->key = key;
        snprintf(listener->text, sizeof listener->text, "%.*s", (int)len, list);
        count += net_parse(listener->text, &listener->address, why, sizeof why);
        list += len;
    }
    return count;
}

/* With SO_REUSEPORT the kernel would let ws and wss share a port, and half of the clients would meet the
 * wrong one. */
static bool check_addresses(const struct settings *settings, char *error, size_t error_size)
{
    struct listener listeners[ADDRESSES_MAX];
    size_t count = add_listeners(listeners, 0, "listen.wss", settings->listen.wss);
    count = add_listeners(listeners, count, "listen.ws", settings->listen.ws);
    count = add_listeners(listeners, count, "listen.publish", settings->listen.publish);
    count = add_listeners(listeners, count, "listen.admin", settings->listen.admin);
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (!collide(&listeners[i].address, &listeners[j].address))
                continue;
            snprintf(error, error_size, "%s: %s is taken by %s already; give each a port or path of its own",
                     listeners[i].key, listeners[i].text, listeners[j].key);
            return false;
        }
    }
    return true;
}

static bool check_topics(const struct settings *settings, char *error, size_t error_size)
{
    for (size_t i = 0; i < settings->topics.count; i++) {
        const struct topic_rule *rule = &settings->topics.rules[i];
        if (!rule->recover || rule->history_size)
            continue;
        snprintf(
            error, error_size,
            "[topic %s]: recover needs history_size, or there is nothing that clients could be sent again",
            rule->name);
        return false;
    }
    return true;
}

bool settings_collisions_check(const struct settings *settings, char *error, size_t error_size)
{
    return check_addresses(settings, error, error_size) && check_topics(settings, error, error_size);
}
