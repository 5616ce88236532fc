/* pushgate-bare: what the gateway is measured against. Each part does one thing in the barest way that
 * sockets allow, with the same clients and the same bytes on the wire.
 *
 * Thread: one. Owner: the process; everything goes back to the kernel when it ends.
 */
#pragma once

#include "gateway/base/net.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdnoreturn.h>

enum { BARE_MESSAGE_MAX = 64 * 1024 };

/* Writes "pushgate-bare: …" and ends with status 2. */
noreturn void bare_die(const char *format, ...) __attribute__((format(printf, 1, 2)));
struct net_address bare_address(const char *text);
int bare_listen(const char *text);  /* does not block */
int bare_connect(const char *text); /* blocks, without Nagle's algorithm */
void bare_send_all(int fd, const void *data, size_t len);
void bare_no_delay(int fd);

/* Upgrades every client that connects, whatever its path; each PUBLISH to `publish` becomes one frame, sent
 * to each client in a plain loop. Never returns. */
noreturn void bare_fanout(const char *listen, const char *publish);
/* Sends back what it receives, one peer after the other. Never returns. */
noreturn void bare_echo(const char *listen);

struct bare_trip {
    const char *echo;    /* of bare_echo() */
    const char *client;  /* the gateway's ws listener */
    const char *publish; /* its publish listener */
    uint32_t rounds;
    uint32_t message_bytes;
};
/* Takes turns: a round trip to the echo, a publish until its frame is here. Writes both medians as JSON. */
void bare_trip(const struct bare_trip *trip);
/* Handshakes inside one process: the server's half timed alone, as OpenSSL does it, with and without a
 * session to resume. Writes both rates as JSON. */
void bare_handshakes(const char *certificate, const char *key, uint32_t rounds);
