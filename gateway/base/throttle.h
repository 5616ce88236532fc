/* Failures by address, for whoever must not be guessed at: past a burst, an address has to wait before its
 * next try.
 *
 * A bucket for each of the last addresses that failed (the generic cell rate algorithm: one time a bucket).
 * When more addresses fail than there are places, the one that has recovered furthest is forgotten.
 *
 * Thread: one owner. Owner: embedded; all zero is empty.
 */
#pragma once

#include <stdint.h>
#include <sys/socket.h>

enum {
    THROTTLE_BURST = 20,     /* failures that cost nothing */
    THROTTLE_EACH_MS = 1000, /* and after them, one in so many milliseconds */
    THROTTLE_PLACES = 64,
    THROTTLE_KEY_TEXT = 64,
};

/* An IPv4 address, the first 64 bits of an IPv6 address; all zero for what has none, as a unix socket. */
struct throttle_key {
    uint8_t bytes[8];
    uint8_t family;
};

struct throttle {
    struct {
        struct throttle_key key;
        uint64_t paid_ms; /* when all of its failures are paid for */
    } places[THROTTLE_PLACES];
};

struct throttle_key throttle_key(const struct sockaddr_storage *address);
void throttle_key_format(const struct throttle_key *key, char out[THROTTLE_KEY_TEXT]); /* for logs */
/* Milliseconds until this address may try again, THROTTLE_EACH_MS at most; 0: it may. */
uint64_t throttle_wait_ms(const struct throttle *throttle, const struct throttle_key *key, uint64_t now_ms);
void throttle_fail(struct throttle *throttle, const struct throttle_key *key, uint64_t now_ms);
