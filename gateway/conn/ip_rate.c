/* Token buckets as one time each: when the bucket will be full again (the generic cell rate algorithm).
 * Taking a token moves that time on by what a token takes to come; a bucket may owe as much time as its whole
 * burst takes. */
#include "gateway/conn/ip_rate.h"

#include "gateway/conn/ip_key.h"

#include <pthread.h>
#include <stdlib.h>

enum { WAYS = 8, SETS = IP_RATE_BUCKETS / WAYS, LOCKS = 64 };
#define NS_PER_SECOND UINT64_C(1000000000)

struct bucket {
    uint64_t prefix;
    uint64_t ipv6 : 1;
    uint64_t full_at : 63; /* ns; 0: never used */
};
_Static_assert(sizeof(struct bucket) == 16, "what an address costs");

struct ip_rate {
    uint64_t token_ns; /* what a token takes to come */
    uint64_t room_ns;  /* what all of a burst's take */
    struct ip_secret secret;
    pthread_mutex_t locks[LOCKS]; /* of sets by their number modulo LOCKS */
    struct bucket buckets[SETS][WAYS];
};

struct ip_rate *ip_rate_create(uint64_t per_second, uint64_t burst)
{
    struct ip_rate *rate = calloc(1, sizeof *rate); /* pages that no set of is used cost nothing */
    if (!rate)
        return NULL;
    if (!ip_secret_make(&rate->secret)) {
        free(rate);
        return NULL;
    }
    rate->token_ns = NS_PER_SECOND / per_second;
    rate->room_ns = rate->token_ns * (burst ? burst : per_second);
    for (int i = 0; i < LOCKS; i++)
        pthread_mutex_init(&rate->locks[i], NULL); /* cannot fail without attributes */
    return rate;
}

void ip_rate_destroy(struct ip_rate *rate)
{
    if (!rate)
        return;
    for (int i = 0; i < LOCKS; i++)
        pthread_mutex_destroy(&rate->locks[i]);
    free(rate);
}

/* The key's bucket: its own, or the one that is to become it. */
static struct bucket *find(struct bucket set[WAYS], struct ip_key key)
{
    bool ipv6 = key.family == ADDRESS_IPV6;
    struct bucket *victim = &set[0];
    for (int i = 0; i < WAYS; i++) {
        if (set[i].full_at && set[i].prefix == key.prefix && set[i].ipv6 == ipv6)
            return &set[i];
        if (set[i].full_at < victim->full_at)
            victim = &set[i];
    }
    *victim = (struct bucket){.prefix = key.prefix, .ipv6 = ipv6};
    return victim;
}

bool ip_rate_take(struct ip_rate *rate, const struct address *address, uint64_t now_ns, uint32_t *retry_after)
{
    struct ip_key key;
    *retry_after = 0;
    if (!rate || !ip_key_of(address, &key))
        return true;
    uint64_t set = ip_key_hash(&rate->secret, key) % SETS;
    pthread_mutex_t *lock = &rate->locks[set % LOCKS];
    pthread_mutex_lock(lock);
    struct bucket *bucket = find(rate->buckets[set], key);
    uint64_t full_at = (bucket->full_at > now_ns ? bucket->full_at : now_ns) + rate->token_ns;
    uint64_t latest = now_ns + rate->room_ns;
    bool allowed = full_at <= latest;
    if (allowed)
        bucket->full_at = full_at;
    pthread_mutex_unlock(lock);
    if (!allowed)
        *retry_after = (uint32_t)((full_at - latest + NS_PER_SECOND - 1) / NS_PER_SECOND);
    return allowed;
}
