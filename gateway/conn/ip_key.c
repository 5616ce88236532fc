/* Keys of addresses and their hash. */
#include "gateway/conn/ip_key.h"

#include <string.h>
#include <sys/random.h>

static uint64_t rotate(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

/* The key as a message of 16 bytes: two words, then the word that holds the length. */
uint64_t ip_key_hash(const struct ip_secret *secret, struct ip_key key)
{
    const uint64_t words[] = {key.prefix, key.family, (uint64_t)16 << 56};
    uint64_t v[4] = {
        secret->words[0] ^ 0x736f6d6570736575u,
        secret->words[1] ^ 0x646f72616e646f6du,
        secret->words[0] ^ 0x6c7967656e657261u,
        secret->words[1] ^ 0x7465646279746573u,
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        v[3] ^= words[i];
        sip_round(v);
        v[0] ^= words[i];
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

bool ip_secret_make(struct ip_secret *secret)
{
    return getrandom(secret->words, sizeof secret->words, 0) == (ssize_t)sizeof secret->words;
}

bool ip_key_of(const struct address *address, struct ip_key *key)
{
    *key = (struct ip_key){.family = address->family};
    if (address->family != ADDRESS_IPV4 && address->family != ADDRESS_IPV6)
        return false;
    memcpy(&key->prefix, address->ip, address->family == ADDRESS_IPV4 ? 4 : 8);
    return true;
}
