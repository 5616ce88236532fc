/* What the files that make up a client connection share among themselves; see client.h.
 *
 * Thread: the worker's. Owner: as in client.h.
 */
#pragma once

#include "loadtest/client.h"

#define CLIENT_GONE SIZE_MAX /* instead of a count of used bytes: the connection has ended meanwhile */

static inline uint32_t client_index(const struct client_context *context, const struct client *client)
{
    return (uint32_t)((size_t)((const uint8_t *)client - context->slab.base) / context->slab.slot_bytes);
}

static inline struct client_tls *client_tls_of(struct client *client)
{
    return (struct client_tls *)(void *)(client + 1);
}

static inline uint32_t client_topic(const struct client_context *context, uint32_t index)
{
    return (uint32_t)(((uint64_t)context->first + index) % context->options->topics);
}

static inline struct load_stats *client_stats(const struct client_context *context,
                                              const struct client *client)
{
    return client->slow ? context->slow_stats : context->stats;
}

static inline uint64_t client_random(struct client_context *context)
{
    uint64_t x = context->random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return context->random = x;
}

/* What a ping of ours carries: nothing but its echo has the right seal. */
struct client_ping {
    uint64_t sent_ns, seal;
};

static inline struct client_ping client_ping_of(const struct client_context *context,
                                                const struct client *client, uint64_t sent_ns)
{
    uint64_t x = context->probe_key ^ ((uint64_t)client->generation << 32 | client_index(context, client));
    for (int round = 0; round < 2; round++) { /* splitmix64 */
        x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
        x ^= x >> 31 ^ (round == 0 ? sent_ns : 0);
    }
    return (struct client_ping){sent_ns, x};
}

/* client.c */
struct client_heap *client_need_heap(struct client_context *context, struct client *client);
bool client_grow(uint8_t **buffer, uint32_t *cap, size_t need);
/* Gives the heap block back when nothing is unfinished. */
void client_shed_heap(struct client *client);
void client_leave_in_progress(struct client_context *context, struct client *client);
/* Both release what the connection holds. `text` may be NULL. */
void client_fail(struct client_context *context, struct client *client, enum fail_reason reason,
                 const char *text);
void client_fail_errno(struct client_context *context, struct client *client, int error);
void client_end(struct client_context *context, struct client *client, enum end_reason reason,
                const char *text);
/* Hands the socket back to epoll as if it had just become readable. */
void client_rearm(struct client_context *context, struct client *client);

/* client_messages.c */
/* Room for the places, where connections return and messages are checked. False without memory. */
bool client_places_init(struct client_context *context, uint32_t capacity);
void client_places_fini(struct client_context *context);
/* Ends --grace for those that have had it. */
void client_places_expire(struct client_context *context, uint64_t now_ns);
/* A place has its 101 again, by a connect() at started_ns; its connection is about to be gone. Nothing
 * without places. */
void client_place_taken(struct client_context *context, struct client *client, uint64_t started_ns,
                        uint64_t now_ns);
void client_place_left(struct client_context *context, struct client *client);
void client_take_message(struct client_context *context, struct client *client, const uint8_t *data,
                         size_t len);
/* While settling and open: messages that the connection should have had and that have not arrived; else 0. */
uint64_t client_outstanding(const struct client_context *context, const struct client *client);

/* client_send.c */
/* Sends raw bytes, or keeps what the kernel does not take. An error shows at the next read; false only
 * without memory. */
bool client_send_raw(struct client_context *context, struct client *client, const uint8_t *data, size_t len,
                     bool more);
void client_flush(struct client *client);
/* Sends application bytes, sealed when the connection is wss; at most CLIENT_SEND_MAX of them. */
bool client_send_content(struct client_context *context, struct client *client, enum tls_content_type type,
                         const void *data, size_t len);
bool client_send_frame(struct client_context *context, struct client *client, enum ws_opcode opcode,
                       const void *payload, size_t payload_bytes);
void client_send_alert(struct client_context *context, struct client *client, enum tls_alert alert);
void client_send_close(struct client_context *context, struct client *client, uint16_t code);

/* client_frames.c */
/* Sends the upgrade request; false when the connection has failed. */
bool client_send_request(struct client_context *context, struct client *client);
/* Takes whole frames, and before them the answer to the upgrade; returns the bytes used, or CLIENT_GONE. */
size_t client_take_plain(struct client_context *context, struct client *client, uint8_t *data, size_t len);

/* client_receive.c */
void client_connected(struct client_context *context, struct client *client);
/* Receives up to `limit` bytes. */
void client_receive(struct client_context *context, struct client *client, uint32_t events, size_t limit);
