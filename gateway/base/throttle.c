/* Buckets in a plain array: it is looked at once for every secret that is given. */
#include "gateway/base/throttle.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static bool same_key(const struct throttle_key *a, const struct throttle_key *b)
{
    return a->family == b->family && memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

struct throttle_key throttle_key(const struct sockaddr_storage *address)
{
    struct throttle_key key = {.family = 0};
    const struct sockaddr_in *in = (const void *)address;
    const struct sockaddr_in6 *in6 = (const void *)address;
    if (address->ss_family == AF_INET) {
        key.family = 4;
        memcpy(key.bytes, &in->sin_addr, 4);
    } else if (address->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
        key.family = 4;
        memcpy(key.bytes, in6->sin6_addr.s6_addr + 12, 4);
    } else if (address->ss_family == AF_INET6) {
        key.family = 6;
        memcpy(key.bytes, in6->sin6_addr.s6_addr, sizeof key.bytes);
    }
    return key;
}

void throttle_key_format(const struct throttle_key *key, char out[THROTTLE_KEY_TEXT])
{
    uint8_t address[16] = {0};
    char text[INET6_ADDRSTRLEN] = "";
    memcpy(address, key->bytes, sizeof key->bytes);
    if (key->family == 0 || !inet_ntop(key->family == 4 ? AF_INET : AF_INET6, address, text, sizeof text))
        snprintf(out, THROTTLE_KEY_TEXT, "unix");
    else
        snprintf(out, THROTTLE_KEY_TEXT, "%s%s", text, key->family == 6 ? "/64" : "");
}

uint64_t throttle_wait_ms(const struct throttle *throttle, const struct throttle_key *key, uint64_t now_ms)
{
    const uint64_t credit = (uint64_t)THROTTLE_BURST * THROTTLE_EACH_MS;
    for (size_t i = 0; i < THROTTLE_PLACES; i++) {
        uint64_t paid = throttle->places[i].paid_ms;
        if (paid > now_ms && same_key(&throttle->places[i].key, key)) {
            uint64_t due = paid + THROTTLE_EACH_MS - now_ms; /* after one more failure */
            return due > credit ? due - credit : 0;
        }
    }
    return 0;
}

void throttle_fail(struct throttle *throttle, const struct throttle_key *key, uint64_t now_ms)
{
    size_t place = 0;
    for (size_t i = 0; i < THROTTLE_PLACES; i++) {
        if (throttle->places[i].paid_ms > now_ms && same_key(&throttle->places[i].key, key)) {
            throttle->places[i].paid_ms += THROTTLE_EACH_MS;
            return;
        }
        if (throttle->places[i].paid_ms < throttle->places[place].paid_ms)
            place = i;
    }
    throttle->places[place].key = *key;
    throttle->places[place].paid_ms = now_ms + THROTTLE_EACH_MS;
}
