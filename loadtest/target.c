/* Reads target URLs and source ranges. */
#include "loadtest/target.h"

#include "proto/http_request.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { CHOICE_TIMEOUT_MS = 3000 };

static const char placeholder[] = "{topic}";

static bool fail(char *error, size_t error_size, const char *what, const char *value)
{
    snprintf(error, error_size, "%s: %s", what, value);
    return false;
}

/* Splits "host:port" or "[v6]:port"; `port` becomes the default without one. */
static bool split_authority(struct target *target, const char *text, size_t len, char port[6])
{
    const char *host = text, *end = text + len, *colon = NULL;
    size_t host_len;

    if (len > 0 && *text == '[') {
        const char *close = memchr(text, ']', len);
        if (!close || (close + 1 < end && close[1] != ':'))
            return false;
        host = text + 1;
        host_len = (size_t)(close - host);
        colon = close + 1 < end ? close + 1 : NULL;
    } else {
        colon = memchr(text, ':', len);
        host_len = colon ? (size_t)(colon - text) : len;
    }
    if (host_len == 0 || host_len >= sizeof(target->host))
        return false;
    memcpy(target->host, host, host_len);
    target->host[host_len] = '\0';
    if (!colon) {
        snprintf(port, 6, "%s", target->tls ? "443" : "80");
        return true;
    }
    size_t port_len = (size_t)(end - colon) - 1;
    if (port_len == 0 || port_len > 5)
        return false;
    memcpy(port, colon + 1, port_len);
    port[port_len] = '\0';
    if (strspn(port, "0123456789") != port_len)
        return false;
    long number = strtol(port, NULL, 10);
    return number >= 1 && number <= 65535;
}

static bool resolve(struct target *target, const char *port, char *error, size_t error_size)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *found = NULL;
    unsigned char binary[sizeof(struct in6_addr)];
    int result = getaddrinfo(target->host, port, &hints, &found);

    if (result != 0) {
        snprintf(error, error_size, "--target: %s: %s", target->host, gai_strerror(result));
        return false;
    }
    for (const struct addrinfo *at = found; at && target->found_count < TARGET_ADDRESSES_MAX;
         at = at->ai_next) {
        struct net_address *address = &target->found[target->found_count++];
        memcpy(&address->storage, at->ai_addr, at->ai_addrlen);
        address->len = at->ai_addrlen;
    }
    freeaddrinfo(found);
    target->address = target->found[0];
    target->host_is_ip =
        inet_pton(AF_INET, target->host, binary) == 1 || inet_pton(AF_INET6, target->host, binary) == 1;
    return true;
}

/* Finds the raw value of a `topic` parameter, as http_query_next() finds the decoded one. */
static char *raw_topic(char *path, size_t *len)
{
    char *p = strchr(path, '?');
    while (p) {
        p++;
        if (strncmp(p, "topic=", 6) == 0) {
            *len = strcspn(p + 6, "&");
            return p + 6;
        }
        p = strchr(p, '&');
    }
    return NULL;
}

static bool find_topic(struct target *target, uint32_t topics, char *error, size_t error_size)
{
    char *mark = strstr(target->path, placeholder);
    size_t raw_len;

    snprintf(target->topic, sizeof(target->topic), "load");
    if (mark) {
        target->numbered = true;
        snprintf(target->path_after, sizeof(target->path_after), "%s", mark + strlen(placeholder));
        if (strstr(target->path_after, placeholder))
            return fail(error, error_size, "--target", "{topic} may stand there once");
        snprintf(mark, 6, "load-");
        return true;
    }
    char *raw = raw_topic(target->path, &raw_len);
    if (raw) {
        const char *query = strchr(target->path, '?') + 1;
        size_t cursor = 0, len = 0;
        if (http_query_next((struct http_slice){query, strlen(query)}, "topic", &cursor, target->topic,
                            sizeof(target->topic) - 1, &len) != PARSE_OK ||
            len == 0)
            return fail(error, error_size, "--target", "the topic parameter is empty, too long or broken");
        target->topic[len] = '\0';
    }
    if (topics == 1)
        return true;
    if (!raw)
        return fail(error, error_size, "--topics", "more than one needs {topic} or topic=NAME in --target");
    target->numbered = true;
    snprintf(target->path_after, sizeof(target->path_after), "%s", raw + raw_len);
    if (raw_len + 2 > sizeof(target->path) - (size_t)(raw - target->path))
        return fail(error, error_size, "--target", "too long");
    raw[raw_len] = '-';
    raw[raw_len + 1] = '\0';
    return true;
}

bool target_parse(struct target *target, const char *text, uint32_t topics, char *error, size_t error_size)
{
    char port[6];

    memset(target, 0, sizeof(*target));
    if (strncasecmp(text, "wss://", 6) == 0)
        target->tls = true;
    else if (strncasecmp(text, "ws://", 5) != 0)
        return fail(error, error_size, "--target must begin with ws:// or wss://", text);
    const char *authority = text + (target->tls ? 6 : 5);
    size_t authority_len = strcspn(authority, "/?#");
    const char *path = authority + authority_len;
    size_t path_len = strcspn(path, "#"); /* a fragment is never sent */

    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        if (*p <= ' ' || *p >= 0x7f)
            return fail(error, error_size, "--target must be percent-encoded ASCII", text);
    if (authority_len >= sizeof(target->authority) || path_len + 8 >= sizeof(target->path))
        return fail(error, error_size, "--target", "too long");
    if (!split_authority(target, authority, authority_len, port))
        return fail(error, error_size, "--target has no valid host and port (1 … 65535)", text);
    memcpy(target->authority, authority, authority_len);
    snprintf(target->path, sizeof(target->path), "%s%.*s", *path == '/' ? "" : "/", (int)path_len, path);
    return find_topic(target, topics, error, error_size) && resolve(target, port, error, error_size);
}

static bool accepts(const struct net_address *address, uint64_t timeout_ms)
{
    int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error = 0;
    socklen_t len = sizeof(error);
    struct pollfd wait = {.fd = fd, .events = POLLOUT};

    if (fd < 0)
        return false;
    bool good = connect(fd, (const struct sockaddr *)&address->storage, address->len) == 0;
    if (!good && errno == EINPROGRESS)
        good = poll(&wait, 1, timeout_ms < CHOICE_TIMEOUT_MS ? (int)timeout_ms : CHOICE_TIMEOUT_MS) == 1 &&
               getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error == 0;
    close(fd);
    return good;
}

bool target_choose(struct target *target, bool v4_only, uint64_t timeout_ms)
{
    size_t kept = 0;

    for (size_t i = 0; i < target->found_count; i++)
        if (!v4_only || target->found[i].storage.ss_family == AF_INET)
            target->found[kept++] = target->found[i];
    target->found_count = kept;
    if (kept == 0)
        return false;
    target->address = target->found[0];
    for (size_t i = 0; kept > 1 && i < kept; i++)
        if (accepts(&target->found[i], timeout_ms)) {
            target->address = target->found[i];
            break;
        }
    return true;
}

bool target_is_loopback(const struct target *target)
{
    const struct sockaddr_in *v4 = (const void *)&target->address.storage;
    const struct sockaddr_in6 *v6 = (const void *)&target->address.storage;
    if (target->address.storage.ss_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
    return target->address.storage.ss_family == AF_INET && ntohl(v4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

size_t target_topic_name(const struct target *target, uint32_t topic, char *out, size_t out_size)
{
    int len = target->numbered ? snprintf(out, out_size, "%s-%u", target->topic, topic)
                               : snprintf(out, out_size, "%s", target->topic);
    return len < 0 ? 0 : (size_t)len < out_size ? (size_t)len : out_size - 1;
}

bool source_range_parse(struct source_range *range, const char *text, char *error, size_t error_size)
{
    char copy[64];
    struct in_addr first, last;

    *range = (struct source_range){0};
    if (*text == '\0')
        return true;
    if (strlen(text) >= sizeof(copy))
        return fail(error, error_size, "--sources must be FIRST-LAST, two IPv4 addresses", text);
    snprintf(copy, sizeof(copy), "%s", text);
    char *dash = strchr(copy, '-');
    if (dash)
        *dash = '\0';
    if (inet_pton(AF_INET, copy, &first) != 1 || inet_pton(AF_INET, dash ? dash + 1 : copy, &last) != 1 ||
        ntohl(last.s_addr) < ntohl(first.s_addr) || ntohl(last.s_addr) - ntohl(first.s_addr) >= 65536)
        return fail(error, error_size, "--sources must be FIRST-LAST, two IPv4 addresses", text);
    range->first = ntohl(first.s_addr);
    range->count = ntohl(last.s_addr) - range->first + 1;
    return true;
}

struct sockaddr_in source_range_at(const struct source_range *range, uint64_t number)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(range->first + (uint32_t)(number % range->count)),
    };
}
