/* What a client connection sends: raw bytes, records, frames. */
#include "loadtest/client_internal.h"

#include "gateway/base/assert.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

enum {
    OUT_BACKLOG_MAX = 1 << 17, /* requests, pongs, alerts and a close cannot come near it */
};

bool client_send_raw(struct client_context *context, struct client *client, const uint8_t *data, size_t len,
                     bool more)
{
    bool queued = client->heap && client->heap->out_bytes > 0;
    size_t sent = 0;

    while (!queued && sent < len) {
        ssize_t n = send(client->fd, data + sent, len - sent, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
        if (n > 0)
            sent += (size_t)n;
        else if (errno == EAGAIN)
            break;
        else if (errno != EINTR)
            return true;
    }
    if (sent == len)
        return true;
    struct client_heap *heap = client_need_heap(context, client);
    if (!heap || len - sent > OUT_BACKLOG_MAX - heap->out_bytes ||
        !client_grow(&heap->out, &heap->out_cap, heap->out_bytes + (len - sent)))
        return false;
    memcpy(heap->out + heap->out_bytes, data + sent, len - sent);
    heap->out_bytes += (uint32_t)(len - sent);
    return true;
}

void client_flush(struct client *client)
{
    struct client_heap *heap = client->heap;
    if (!heap || heap->out_bytes == 0)
        return;
    ssize_t n = send(client->fd, heap->out, heap->out_bytes, MSG_NOSIGNAL);
    if (n <= 0)
        return;
    heap->out_bytes -= (uint32_t)n;
    memmove(heap->out, heap->out + n, heap->out_bytes);
    client_shed_heap(client);
}

bool client_send_content(struct client_context *context, struct client *client, enum tls_content_type type,
                         const void *data, size_t len)
{
    uint8_t record[CLIENT_SEND_MAX + TLS_RECORD_OVERHEAD];
    struct tls_slice part = {data, len};

    if (!context->tls)
        return client_send_raw(context, client, data, len, false);
    struct tls_direction *direction = &client_tls_of(client)->write;
    enum tls_suite suite = (enum tls_suite)client->suite;
    size_t bytes;
    if (tls_direction_needs_update(context->crypto, direction)) {
        bytes = tls_post_key_update(context->crypto, direction, suite, false, record);
        if (bytes == 0 || !client_send_raw(context, client, record, bytes, true))
            return false;
    }
    PG_ASSERT(len <= CLIENT_SEND_MAX);
    bytes = tls_record_seal(context->crypto, direction, suite, type, &part, 1, record);
    return bytes > 0 && client_send_raw(context, client, record, bytes, false);
}

bool client_send_frame(struct client_context *context, struct client *client, enum ws_opcode opcode,
                       const void *payload, size_t payload_bytes)
{
    uint8_t frame[CLIENT_SEND_MAX], mask[4];
    uint32_t random = (uint32_t)(client_random(context) >> 16);

    PG_ASSERT(payload_bytes <= sizeof(frame) - WS_HEADER_MAX);
    memcpy(mask, &random, sizeof(mask));
    size_t bytes = ws_frame_masked(frame, opcode, true, mask, payload, payload_bytes);
    return client_send_content(context, client, TLS_CONTENT_APPLICATION_DATA, frame, bytes);
}

void client_send_alert(struct client_context *context, struct client *client, enum tls_alert alert)
{
    uint8_t record[2 + TLS_RECORD_OVERHEAD];
    size_t bytes = tls_post_alert(context->crypto, &client_tls_of(client)->write,
                                  (enum tls_suite)client->suite, alert, record);
    if (bytes > 0)
        (void)client_send_raw(context, client, record, bytes, false);
}

void client_send_close(struct client_context *context, struct client *client, uint16_t code)
{
    uint8_t payload[2] = {(uint8_t)(code >> 8), (uint8_t)code};
    (void)client_send_frame(context, client, WS_CLOSE, payload, code == WS_CLOSE_NO_STATUS ? 0 : 2);
}
