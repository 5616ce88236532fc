/* Bytes from the socket: handshake, then records, then plain input. */
#include "loadtest/client_internal.h"

#include "gateway/base/assert.h"
#include "gateway/base/clock.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum {
    READ_TURNS = 16, /* receives per event before others get their turn */
};

/* Input; `plain` and `cipher` lie in the scratch buffer, the one before the other */

struct input {
    uint8_t *plain, *cipher;
    size_t plain_bytes, cipher_bytes;
};

static bool send_tls_output(struct client_context *context, struct client *client, bool more)
{
    size_t len;
    const uint8_t *data = tls_client_output(client->heap->tls, &len);
    return len == 0 || client_send_raw(context, client, data, len, more);
}

/* False when the connection has ended. */
static bool take_handshake(struct client_context *context, struct client *client, struct input *input)
{
    struct client_heap *heap = client->heap;
    size_t used;

    PG_ASSERT(heap); /* held until the connection is open */
    enum tls_client_status status = tls_client_feed(heap->tls, input->cipher, input->cipher_bytes, &used);

    input->cipher += used;
    input->cipher_bytes -= used;
    if (!send_tls_output(context, client, status == TLS_CLIENT_DONE)) {
        client_fail(context, client, FAIL_MEMORY, NULL);
        return false;
    }
    if (status == TLS_CLIENT_MORE)
        return true;
    if (status == TLS_CLIENT_FAILED) {
        client_fail(context, client, tls_client_refused_certificate(heap->tls) ? FAIL_CERTIFICATE : FAIL_TLS,
                    tls_client_error(heap->tls));
        return false;
    }
    enum tls_suite suite;
    if (!tls_client_take(heap->tls, context->crypto, &suite, &client_tls_of(client)->read,
                         &client_tls_of(client)->write)) {
        client_fail(context, client, FAIL_TLS, "traffic secrets are missing");
        return false;
    }
    client->suite = (uint16_t)suite;
    if (tls_client_resumed(heap->tls))
        counter_add(&client_stats(context, client)->sessions_resumed, 1);
    tls_client_destroy(heap->tls);
    heap->tls = NULL;
    return client_send_request(context, client);
}

/* What a record means to the connection; false when that has ended. */
static bool take_record(struct client_context *context, struct client *client, struct input *input,
                        struct tls_opened *opened)
{
    static const struct tls_client_post none;
    struct tls_client_post post = client->heap ? client->heap->post : none;
    uint32_t tickets = 0;
    uint8_t reply[5 + TLS_RECORD_OVERHEAD];
    size_t bytes;
    struct tls_post_result result =
        tls_client_post_record(context->crypto, &client_tls_of(client)->read, (enum tls_suite)client->suite,
                               &post, opened, &tickets);

    if (post.skip > 0 || post.have > 0 || client->heap) {
        if (!client_need_heap(context, client)) {
            client_end(context, client, END_MEMORY, NULL);
            return false;
        }
        client->heap->post = post;
    }
    if (tickets > 0)
        counter_add(&client_stats(context, client)->session_tickets, tickets);
    switch (result.event) {
    case TLS_EVENT_NONE:
    case TLS_EVENT_PEER_UPDATED:
        return true;
    case TLS_EVENT_DATA:
        break;
    case TLS_EVENT_CLOSE_NOTIFY:
        client_end(context, client, END_EOF, "close_notify");
        return false;
    case TLS_EVENT_FATAL_ALERT:
        client_end(context, client, END_TLS_ALERT, tls_alert_name(result.peer_alert));
        return false;
    case TLS_EVENT_PEER_UPDATED_REPLY:
        bytes = tls_post_key_update(context->crypto, &client_tls_of(client)->write,
                                    (enum tls_suite)client->suite, false, reply);
        if (bytes > 0 && client_send_raw(context, client, reply, bytes, false))
            return true;
        client_end(context, client, END_MEMORY, NULL);
        return false;
    case TLS_EVENT_ERROR:
        client_send_alert(context, client, result.alert);
        client_end(context, client, END_TLS_ERROR, tls_alert_name((uint8_t)result.alert));
        return false;
    }
    if (input->plain_bytes == 0)
        input->plain = opened->content;
    else
        memmove(input->plain + input->plain_bytes, opened->content, opened->content_bytes);
    input->plain_bytes += opened->content_bytes;
    size_t used = client_take_plain(context, client, input->plain, input->plain_bytes);
    if (used == CLIENT_GONE)
        return false;
    input->plain += used;
    input->plain_bytes -= used;
    return true;
}

static bool take_records(struct client_context *context, struct client *client, struct input *input)
{
    while (input->cipher_bytes > 0) {
        struct tls_opened opened;
        enum parse_result result =
            tls_record_open(context->crypto, &client_tls_of(client)->read, (enum tls_suite)client->suite,
                            input->cipher, input->cipher_bytes, &opened);
        if (result == PARSE_MORE)
            return true;
        if (result == PARSE_BAD) {
            client_send_alert(context, client, opened.alert);
            client_end(context, client, END_TLS_ERROR, tls_alert_name((uint8_t)opened.alert));
            return false;
        }
        input->cipher += opened.record_bytes;
        input->cipher_bytes -= opened.record_bytes;
        if (!take_record(context, client, input, &opened))
            return false;
    }
    return true;
}

static bool take_input(struct client_context *context, struct client *client, struct input *input)
{
    if (client->state == CLIENT_TLS && !take_handshake(context, client, input))
        return false;
    if (client->state == CLIENT_TLS)
        return true;
    if (context->tls)
        return take_records(context, client, input);
    input->plain_bytes += input->cipher_bytes;
    input->cipher_bytes = 0;
    size_t used = client_take_plain(context, client, input->plain, input->plain_bytes);
    if (used == CLIENT_GONE)
        return false;
    input->plain += used;
    input->plain_bytes -= used;
    return true;
}

/* Keeps the unfinished rest of the input. False without memory. */
static bool keep_input(struct client_context *context, struct client *client, const struct input *input)
{
    size_t rest = input->plain_bytes + input->cipher_bytes;
    struct client_heap *heap = client->heap;

    if (rest > 0) {
        heap = client_need_heap(context, client);
        if (!heap || !client_grow(&heap->in, &heap->in_cap, rest))
            return false;
        memcpy(heap->in, input->plain, input->plain_bytes);
        memcpy(heap->in + input->plain_bytes, input->cipher, input->cipher_bytes);
    }
    if (!heap)
        return true;
    heap->plain_bytes = (uint32_t)input->plain_bytes;
    heap->cipher_bytes = (uint32_t)input->cipher_bytes;
    client_shed_heap(client);
    return true;
}

void client_receive(struct client_context *context, struct client *client, uint32_t events, size_t limit)
{
    for (int turn = 0; turn < READ_TURNS; turn++) {
        struct client_heap *heap = client->heap;
        struct input input = {.plain = context->scratch};
        if (heap) {
            input.plain_bytes = heap->plain_bytes;
            input.cipher_bytes = heap->cipher_bytes;
            if (input.plain_bytes + input.cipher_bytes > 0)
                memcpy(context->scratch, heap->in, input.plain_bytes + input.cipher_bytes);
        }
        input.cipher = input.plain + input.plain_bytes;
        size_t kept = input.plain_bytes + input.cipher_bytes;
        PG_ASSERT(kept + CLIENT_RECEIVE_BYTES <= CLIENT_SCRATCH_BYTES);

        size_t ask = limit < CLIENT_RECEIVE_BYTES ? limit : CLIENT_RECEIVE_BYTES;
        ssize_t n = recv(client->fd, context->scratch + kept, ask, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            client_end(context, client, n == 0 ? END_EOF : END_RESET, n == 0 ? NULL : strerror(errno));
            return;
        }
        context->now_ns = clock_monotonic_ns();
        counter_add(&client_stats(context, client)->received_bytes, (uint64_t)n);
        input.cipher_bytes += (size_t)n;
        if (!take_input(context, client, &input))
            return;
        if (!keep_input(context, client, &input)) {
            client_end(context, client, END_MEMORY, NULL);
            return;
        }
        limit -= (size_t)n;
        if (limit == 0)
            return;
        if ((size_t)n < ask && !(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
            return; /* drained: the next byte is a new edge */
    }
    client_rearm(context, client);
}

void client_connected(struct client_context *context, struct client *client)
{
    int error = 0;
    socklen_t len = sizeof(error);

    if (getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    if (error != 0) {
        client_fail_errno(context, client, error);
        return;
    }
    if (!context->tls) {
        (void)client_send_request(context, client);
        return;
    }
    struct input nothing = {0};
    client->state = CLIENT_TLS;
    client->heap->tls = tls_client_create(context->tls);
    if (!client->heap->tls)
        client_fail(context, client, FAIL_MEMORY, NULL);
    else
        (void)take_handshake(context, client, &nothing);
}
