/* The trip of a client connection: connect, handshake, upgrade, frames, close. */
#include "loadtest/client.h"

#include "gateway/base/assert.h"
#include "gateway/base/clock.h"

#include <openssl/crypto.h>

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

enum {
    READ_TURNS = 16,           /* receives per event before others get their turn */
    PONG_BACKLOG = 4 * 1024,   /* a server that does not read gets no further pongs */
    OUT_BACKLOG_MAX = 1 << 17, /* requests, pongs, alerts and a close cannot come near it */
};

#define ENDED SIZE_MAX /* instead of a count of used bytes: the connection has ended meanwhile */

static uint64_t next_random(struct client_context *context)
{
    uint64_t x = context->random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return context->random = x;
}

static uint32_t index_of(const struct client_context *context, const struct client *client)
{
    return (uint32_t)((size_t)((const uint8_t *)client - context->slab.base) / context->slab.slot_bytes);
}

static struct client_tls *tls_of(struct client *client)
{
    return (struct client_tls *)(void *)(client + 1);
}

static uint32_t topic_of(const struct client_context *context, uint32_t index)
{
    return (uint32_t)(((uint64_t)context->first + index) % context->options->topics);
}

/* Ends */

static void heap_free(struct client_heap *heap)
{
    if (!heap)
        return;
    tls_client_destroy(heap->tls);
    free(heap->in);
    free(heap->out);
    free(heap->message);
    free(heap);
}

static void leave_in_progress(struct client_context *context, struct client *client)
{
    if (list_empty(&client->heap->in_progress))
        return;
    list_remove(&client->heap->in_progress);
    context->in_progress_count--;
}

static void release(struct client_context *context, struct client *client, enum client_state state)
{
    if (client->heap) {
        leave_in_progress(context, client);
        heap_free(client->heap);
        client->heap = NULL;
    }
    if (context->tls) {
        tls_direction_wipe(&tls_of(client)->read);
        tls_direction_wipe(&tls_of(client)->write);
    }
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
    client->generation++;
    client->state = (uint8_t)state;
}

static void keep_example(char example[STATS_EXAMPLE_BYTES], const char *text)
{
    if (example[0] == '\0' && text)
        snprintf(example, STATS_EXAMPLE_BYTES, "%s", text);
}

static void fail(struct client_context *context, struct client *client, enum fail_reason reason,
                 const char *text)
{
    counter_add(&context->stats->failed[reason], 1);
    keep_example(context->stats->fail_example[reason], text);
    release(context, client, CLIENT_FAILED);
}

static enum fail_reason fail_reason_of(int error)
{
    switch (error) {
    case ECONNREFUSED:
        return FAIL_REFUSED;
    case ECONNRESET:
    case EPIPE:
        return FAIL_RESET;
    case ETIMEDOUT:
        return FAIL_TIMEOUT;
    case EADDRNOTAVAIL:
    case EADDRINUSE:
        return FAIL_NO_PORT;
    case EMFILE:
    case ENFILE:
        return FAIL_NO_FD;
    case ENOMEM:
    case ENOBUFS:
        return FAIL_MEMORY;
    default:
        return FAIL_NETWORK;
    }
}

static void end(struct client_context *context, struct client *client, enum end_reason reason,
                const char *text)
{
    bool ours = client->state == CLIENT_CLOSING || context->leaving;

    if (client->state < CLIENT_OPEN) {
        fail(context, client,
             reason == END_EOF        ? FAIL_EOF
             : reason == END_RESET    ? FAIL_RESET
             : reason == END_MEMORY   ? FAIL_MEMORY
             : reason == END_WS_ERROR ? FAIL_BAD_UPGRADE
                                      : FAIL_TLS,
             text);
        return;
    }
    if (ours && (reason == END_CLOSE_FRAME || reason == END_EOF || reason == END_RESET))
        reason = END_DONE;
    else
        keep_example(context->stats->end_example[reason], text);
    if (context->settling)
        context->outstanding -= client_outstanding(context, index_of(context, client), context->published);
    counter_add(&context->stats->ended[reason], 1);
    counter_sub(&context->stats->open, 1);
    release(context, client, CLIENT_ENDED);
}

/* Output */

static struct client_heap *need_heap(struct client_context *context, struct client *client)
{
    if (client->heap)
        return client->heap;
    struct client_heap *heap = calloc(1, sizeof(*heap));
    if (!heap)
        return NULL;
    list_init(&heap->in_progress);
    heap->index = index_of(context, client);
    return client->heap = heap;
}

static bool grow(uint8_t **buffer, uint32_t *cap, size_t need)
{
    if (need <= *cap)
        return true;
    uint8_t *grown = realloc(*buffer, need);
    if (!grown)
        return false;
    *buffer = grown;
    *cap = (uint32_t)need;
    return true;
}

/* Sends raw bytes, or keeps what the kernel does not take. An error shows at the next read; false only
 * without memory. */
static bool send_raw(struct client_context *context, struct client *client, const uint8_t *data, size_t len,
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
    struct client_heap *heap = need_heap(context, client);
    if (!heap || len - sent > OUT_BACKLOG_MAX - heap->out_bytes ||
        !grow(&heap->out, &heap->out_cap, heap->out_bytes + (len - sent)))
        return false;
    memcpy(heap->out + heap->out_bytes, data + sent, len - sent);
    heap->out_bytes += (uint32_t)(len - sent);
    return true;
}

/* Gives the heap block back when nothing is unfinished. */
static void shed_heap(struct client *client)
{
    const struct client_heap *heap = client->heap;
    if (!heap || client->state < CLIENT_OPEN ||
        heap->plain_bytes + heap->cipher_bytes + heap->out_bytes > 0 || heap->message ||
        heap->post.skip > 0 || heap->post.have > 0)
        return;
    heap_free(client->heap);
    client->heap = NULL;
}

static void flush(struct client *client)
{
    struct client_heap *heap = client->heap;
    if (!heap || heap->out_bytes == 0)
        return;
    ssize_t n = send(client->fd, heap->out, heap->out_bytes, MSG_NOSIGNAL);
    if (n <= 0)
        return;
    heap->out_bytes -= (uint32_t)n;
    memmove(heap->out, heap->out + n, heap->out_bytes);
    shed_heap(client);
}

/* Sends application bytes, sealed when the connection is wss; at most CLIENT_SEND_MAX of them. */
static bool send_content(struct client_context *context, struct client *client, enum tls_content_type type,
                         const void *data, size_t len)
{
    uint8_t record[CLIENT_SEND_MAX + TLS_RECORD_OVERHEAD];
    struct tls_slice part = {data, len};

    if (!context->tls)
        return send_raw(context, client, data, len, false);
    struct tls_direction *direction = &tls_of(client)->write;
    enum tls_suite suite = (enum tls_suite)client->suite;
    size_t bytes;
    if (tls_direction_needs_update(context->crypto, direction)) {
        bytes = tls_post_key_update(context->crypto, direction, suite, false, record);
        if (bytes == 0 || !send_raw(context, client, record, bytes, true))
            return false;
    }
    PG_ASSERT(len <= CLIENT_SEND_MAX);
    bytes = tls_record_seal(context->crypto, direction, suite, type, &part, 1, record);
    return bytes > 0 && send_raw(context, client, record, bytes, false);
}

static bool send_frame(struct client_context *context, struct client *client, enum ws_opcode opcode,
                       const void *payload, size_t payload_bytes)
{
    uint8_t frame[CLIENT_SEND_MAX], mask[4];
    uint32_t random = (uint32_t)(next_random(context) >> 16);

    PG_ASSERT(payload_bytes <= sizeof(frame) - WS_HEADER_MAX);
    memcpy(mask, &random, sizeof(mask));
    size_t bytes = ws_frame_masked(frame, opcode, true, mask, payload, payload_bytes);
    return send_content(context, client, TLS_CONTENT_APPLICATION_DATA, frame, bytes);
}

static void send_alert(struct client_context *context, struct client *client, enum tls_alert alert)
{
    uint8_t record[2 + TLS_RECORD_OVERHEAD];
    size_t bytes =
        tls_post_alert(context->crypto, &tls_of(client)->write, (enum tls_suite)client->suite, alert, record);
    if (bytes > 0)
        (void)send_raw(context, client, record, bytes, false);
}

static void send_close_frame(struct client_context *context, struct client *client, uint16_t code)
{
    uint8_t payload[2] = {(uint8_t)(code >> 8), (uint8_t)code};
    (void)send_frame(context, client, WS_CLOSE, payload, code == WS_CLOSE_NO_STATUS ? 0 : 2);
}

/* Messages */

static void take_message(struct client_context *context, struct client *client, const uint8_t *data,
                         size_t len)
{
    struct load_stats *stats = context->stats;
    struct payload payload;

    if (!context->payload) {
        counter_add(&stats->unchecked, 1);
        counter_set(&stats->last_delivery_ns, context->now_ns);
        return;
    }
    switch (payload_read(context->payload, data, len, &payload)) {
    case PAYLOAD_FOREIGN:
        counter_add(&stats->foreign, 1);
        return;
    case PAYLOAD_CORRUPT:
        counter_add(&stats->corrupt, 1);
        return;
    case PAYLOAD_OK:
        break;
    }
    if (payload.topic != topic_of(context, index_of(context, client))) {
        counter_add(&stats->misrouted, 1);
        return;
    }
    enum sequence_verdict verdict = sequence_accept(&client->sequence, payload.sequence);
    if (verdict == SEQUENCE_DUPLICATE) {
        counter_add(&stats->duplicated, 1);
        return;
    }
    if (verdict == SEQUENCE_LATE)
        counter_add(&stats->out_of_order, 1);
    counter_add(&stats->delivered, 1);
    counter_set(&stats->last_delivery_ns, context->now_ns);
    uint64_t age_ns = context->now_ns > payload.sent_ns ? context->now_ns - payload.sent_ns : 0;
    histogram_record(&stats->latency, age_ns / 1000);
    if (context->settling && context->outstanding > 0)
        context->outstanding--;
}

static void take_pong(struct client_context *context, struct client *client, const struct ws_frame *frame)
{
    uint64_t sent_ns;
    if (!client->awaits_pong || frame->payload_bytes != sizeof(sent_ns))
        return;
    memcpy(&sent_ns, frame->payload, sizeof(sent_ns));
    client->awaits_pong = false;
    counter_add(&context->stats->probes_answered, 1);
    histogram_record(&context->stats->probe_time,
                     (context->now_ns > sent_ns ? context->now_ns - sent_ns : 0) / 1000);
}

static void take_close(struct client_context *context, struct client *client, const struct ws_frame *frame)
{
    uint16_t code = ws_close_code_of(frame);
    char text[STATS_EXAMPLE_BYTES];

    if (client->state == CLIENT_OPEN) {
        uint16_t slot = code >= STATS_CLOSE_FIRST && code < STATS_CLOSE_FIRST + STATS_CLOSE_CODES - 1
                            ? (uint16_t)(code - STATS_CLOSE_FIRST)
                            : STATS_CLOSE_CODES - 1;
        counter_add(&context->stats->close_codes[slot], 1);
        send_close_frame(context, client, code);
    }
    snprintf(text, sizeof(text), "%u %.*s", code,
             frame->payload_bytes > 2 ? (int)frame->payload_bytes - 2 : 0,
             frame->payload_bytes > 2 ? (const char *)frame->payload + 2 : "");
    end(context, client, END_CLOSE_FRAME, text);
}

/* A piece of a fragmented message; the last one delivers it. False without memory. */
static bool take_fragment(struct client_context *context, struct client *client, const struct ws_frame *frame)
{
    struct client_heap *heap = need_heap(context, client);
    size_t len = (size_t)frame->payload_bytes;

    if (!heap)
        return false;
    if (frame->opcode != WS_CONTINUATION)
        heap->message_bytes = 0;
    uint8_t *grown = realloc(heap->message, heap->message_bytes + len + 1);
    if (!grown)
        return false;
    heap->message = grown;
    memcpy(heap->message + heap->message_bytes, frame->payload, len);
    heap->message_bytes += (uint32_t)len;
    if (frame->fin) {
        take_message(context, client, heap->message, heap->message_bytes);
        free(heap->message);
        heap->message = NULL;
        heap->message_bytes = 0;
    }
    return true;
}

/* False when the connection has ended. */
static bool take_frame(struct client_context *context, struct client *client, const struct ws_frame *frame)
{
    switch ((enum ws_opcode)frame->opcode) {
    case WS_PING:
        if (client->heap && client->heap->out_bytes > PONG_BACKLOG)
            return true;
        counter_add(&context->stats->pings, 1);
        if (send_frame(context, client, WS_PONG, frame->payload, (size_t)frame->payload_bytes))
            return true;
        break;
    case WS_PONG:
        take_pong(context, client, frame);
        return true;
    case WS_CLOSE:
        take_close(context, client, frame);
        return false;
    case WS_TEXT:
    case WS_BINARY:
    case WS_CONTINUATION:
        if (frame->opcode != WS_CONTINUATION && frame->fin) {
            take_message(context, client, frame->payload, (size_t)frame->payload_bytes);
            return true;
        }
        if (take_fragment(context, client, frame))
            return true;
        break;
    }
    end(context, client, END_MEMORY, NULL);
    return false;
}

static size_t protocol_error(struct client_context *context, struct client *client,
                             const struct ws_frame *frame)
{
    send_close_frame(context, client, frame->close_code);
    end(context, client, END_WS_ERROR, frame->error);
    return ENDED;
}

static size_t take_frames(struct client_context *context, struct client *client, uint8_t *data, size_t len)
{
    size_t used = 0;

    while (used < len) {
        struct ws_frame frame;
        uint64_t limit = PAYLOAD_BYTES_MAX - (client->heap ? client->heap->message_bytes : 0);
        enum parse_result result =
            ws_frame_peek(data + used, len - used, WS_ROLE_CLIENT, &client->frames, limit, &frame);
        if (result == PARSE_BAD)
            return protocol_error(context, client, &frame);
        if (result == PARSE_MORE || frame.payload_bytes > len - used - frame.header_bytes)
            break;
        size_t bytes = frame.header_bytes + (size_t)frame.payload_bytes;
        if (ws_reader_read(context->reader, data + used, bytes, &client->frames, &frame) != PARSE_OK)
            return protocol_error(context, client, &frame);
        used += bytes;
        if (!take_frame(context, client, &frame))
            return ENDED;
    }
    return used;
}

/* Opening */

static bool send_request(struct client_context *context, struct client *client)
{
    const struct load_options *options = context->options;
    const struct target *target = &options->target;
    uint64_t random[2] = {next_random(context), next_random(context)};
    char key[UPGRADE_KEY_CHARS + 1], number[16] = "", request[CLIENT_SEND_MAX];

    if (target->numbered)
        snprintf(number, sizeof(number), "%" PRIu32, topic_of(context, index_of(context, client)));
    upgrade_key((const uint8_t *)random, key, client->heap->accept);
    const struct upgrade_request parts = {
        .path_parts = {target->path, number, target->path_after},
        .authority = target->authority,
        .subprotocol = options->subprotocol,
        .headers = options->headers ? options->headers : "",
    };
    size_t bytes = upgrade_write(&parts, key, request, sizeof(request));
    client->state = CLIENT_UPGRADE;
    if (bytes > 0 && send_content(context, client, TLS_CONTENT_APPLICATION_DATA, request, bytes))
        return true;
    fail(context, client, bytes > 0 ? FAIL_MEMORY : FAIL_BAD_UPGRADE,
         bytes > 0 ? NULL : "the request is too long");
    return false;
}

static size_t take_answer(struct client_context *context, struct client *client, const uint8_t *data,
                          size_t len)
{
    const struct load_options *options = context->options;
    struct load_stats *stats = context->stats;
    struct upgrade_answer answer;
    char text[STATS_EXAMPLE_BYTES];

    PG_ASSERT(client->heap); /* held until the connection is open */
    switch (upgrade_parse((const char *)data, len, client->heap->accept, options->subprotocol, &answer)) {
    case PARSE_MORE:
        return 0;
    case PARSE_BAD:
        if (answer.status == 0 || answer.status == 101) {
            fail(context, client, FAIL_BAD_UPGRADE, answer.error);
            return ENDED;
        }
        counter_add(&stats->http_status[answer.status], 1);
        snprintf(text, sizeof(text), "%d %s", answer.status, answer.error);
        fail(context, client, FAIL_HTTP_STATUS, text);
        return ENDED;
    case PARSE_OK:
        break;
    }
    uint64_t now_ns = clock_monotonic_ns();
    client->state = CLIENT_OPEN;
    client->was_open = true;
    histogram_record(&stats->open_time, (now_ns - client->heap->started_ns) / 1000);
    leave_in_progress(context, client);
    counter_add(&stats->opened, 1);
    counter_add(&stats->open, 1);
    if (options->send_text &&
        !send_frame(context, client, WS_TEXT, options->send_text, strlen(options->send_text))) {
        end(context, client, END_MEMORY, NULL);
        return ENDED;
    }
    return answer.head_bytes;
}

static size_t take_plain(struct client_context *context, struct client *client, uint8_t *data, size_t len)
{
    size_t used = 0;
    if (client->state == CLIENT_UPGRADE) {
        used = take_answer(context, client, data, len);
        if (used == ENDED || used == 0)
            return used;
    }
    size_t more = take_frames(context, client, data + used, len - used);
    return more == ENDED ? ENDED : used + more;
}

/* Input; `plain` and `cipher` lie in the scratch buffer, the one before the other */

struct input {
    uint8_t *plain, *cipher;
    size_t plain_bytes, cipher_bytes;
};

static bool send_tls_output(struct client_context *context, struct client *client, bool more)
{
    size_t len;
    const uint8_t *data = tls_client_output(client->heap->tls, &len);
    return len == 0 || send_raw(context, client, data, len, more);
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
        fail(context, client, FAIL_MEMORY, NULL);
        return false;
    }
    if (status == TLS_CLIENT_MORE)
        return true;
    if (status == TLS_CLIENT_FAILED) {
        fail(context, client, tls_client_refused_certificate(heap->tls) ? FAIL_CERTIFICATE : FAIL_TLS,
             tls_client_error(heap->tls));
        return false;
    }
    enum tls_suite suite;
    if (!tls_client_take(heap->tls, context->crypto, &suite, &tls_of(client)->read, &tls_of(client)->write)) {
        fail(context, client, FAIL_TLS, "traffic secrets are missing");
        return false;
    }
    client->suite = (uint16_t)suite;
    if (tls_client_resumed(heap->tls))
        counter_add(&context->stats->sessions_resumed, 1);
    tls_client_destroy(heap->tls);
    heap->tls = NULL;
    return send_request(context, client);
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
    struct tls_post_result result = tls_client_post_record(
        context->crypto, &tls_of(client)->read, (enum tls_suite)client->suite, &post, opened, &tickets);

    if (post.skip > 0 || post.have > 0 || client->heap) {
        if (!need_heap(context, client)) {
            end(context, client, END_MEMORY, NULL);
            return false;
        }
        client->heap->post = post;
    }
    if (tickets > 0)
        counter_add(&context->stats->session_tickets, tickets);
    switch (result.event) {
    case TLS_EVENT_NONE:
    case TLS_EVENT_PEER_UPDATED:
        return true;
    case TLS_EVENT_DATA:
        break;
    case TLS_EVENT_CLOSE_NOTIFY:
        end(context, client, END_EOF, "close_notify");
        return false;
    case TLS_EVENT_FATAL_ALERT:
        end(context, client, END_TLS_ALERT, tls_alert_name(result.peer_alert));
        return false;
    case TLS_EVENT_PEER_UPDATED_REPLY:
        bytes = tls_post_key_update(context->crypto, &tls_of(client)->write, (enum tls_suite)client->suite,
                                    false, reply);
        if (bytes > 0 && send_raw(context, client, reply, bytes, false))
            return true;
        end(context, client, END_MEMORY, NULL);
        return false;
    case TLS_EVENT_ERROR:
        send_alert(context, client, result.alert);
        end(context, client, END_TLS_ERROR, tls_alert_name((uint8_t)result.alert));
        return false;
    }
    if (input->plain_bytes == 0)
        input->plain = opened->content;
    else
        memmove(input->plain + input->plain_bytes, opened->content, opened->content_bytes);
    input->plain_bytes += opened->content_bytes;
    size_t used = take_plain(context, client, input->plain, input->plain_bytes);
    if (used == ENDED)
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
            tls_record_open(context->crypto, &tls_of(client)->read, (enum tls_suite)client->suite,
                            input->cipher, input->cipher_bytes, &opened);
        if (result == PARSE_MORE)
            return true;
        if (result == PARSE_BAD) {
            send_alert(context, client, opened.alert);
            end(context, client, END_TLS_ERROR, tls_alert_name((uint8_t)opened.alert));
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
    size_t used = take_plain(context, client, input->plain, input->plain_bytes);
    if (used == ENDED)
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
        heap = need_heap(context, client);
        if (!heap || !grow(&heap->in, &heap->in_cap, rest))
            return false;
        memcpy(heap->in, input->plain, input->plain_bytes);
        memcpy(heap->in + input->plain_bytes, input->cipher, input->cipher_bytes);
    }
    if (!heap)
        return true;
    heap->plain_bytes = (uint32_t)input->plain_bytes;
    heap->cipher_bytes = (uint32_t)input->cipher_bytes;
    shed_heap(client);
    return true;
}

/* Hands the socket back to epoll as if it had just become readable. */
static void rearm(struct client_context *context, struct client *client)
{
    struct epoll_event event = {
        .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
        .data.u64 = (uint64_t)client->generation << 32 | index_of(context, client),
    };
    (void)epoll_ctl(context->epoll_fd, EPOLL_CTL_MOD, client->fd, &event);
}

static void receive(struct client_context *context, struct client *client, uint32_t events)
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

        ssize_t n = recv(client->fd, context->scratch + kept, CLIENT_RECEIVE_BYTES, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            end(context, client, n == 0 ? END_EOF : END_RESET, n == 0 ? NULL : strerror(errno));
            return;
        }
        context->now_ns = clock_monotonic_ns();
        counter_add(&context->stats->received_bytes, (uint64_t)n);
        input.cipher_bytes += (size_t)n;
        if (!take_input(context, client, &input))
            return;
        if (!keep_input(context, client, &input)) {
            end(context, client, END_MEMORY, NULL);
            return;
        }
        if (n < CLIENT_RECEIVE_BYTES && !(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
            return; /* drained: the next byte is a new edge */
    }
    rearm(context, client);
}

static void connected(struct client_context *context, struct client *client)
{
    int error = 0;
    socklen_t len = sizeof(error);

    if (getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    if (error != 0) {
        fail(context, client, fail_reason_of(error), strerror(error));
        return;
    }
    if (!context->tls) {
        (void)send_request(context, client);
        return;
    }
    struct input nothing = {0};
    client->state = CLIENT_TLS;
    client->heap->tls = tls_client_create(context->tls);
    if (!client->heap->tls)
        fail(context, client, FAIL_MEMORY, NULL);
    else
        (void)take_handshake(context, client, &nothing);
}

/* Returns 0 or an errno; a pending connect is 0. */
static int start_connect(struct client_context *context, struct client *client, uint32_t index)
{
    const struct load_options *options = context->options;
    const struct net_address *address = &options->target.address;
    const int on = 1;

    client->fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->fd < 0)
        return errno;
    (void)setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (options->sources.count > 0) {
        /* The port is chosen at connect(), when the whole four-tuple is known: 28,000 ports per pair of
         * addresses, not per source. */
        (void)setsockopt(client->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
        struct sockaddr_in source = source_range_at(&options->sources, (uint64_t)context->first + index);
        if (bind(client->fd, (const struct sockaddr *)&source, sizeof(source)) != 0)
            return errno;
    }
    struct epoll_event event = {
        .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
        .data.u64 = (uint64_t)client->generation << 32 | index,
    };
    if (connect(client->fd, (const struct sockaddr *)&address->storage, address->len) != 0 &&
        errno != EINPROGRESS)
        return errno;
    /* Only now: an unconnected socket would report a hang-up. */
    return epoll_ctl(context->epoll_fd, EPOLL_CTL_ADD, client->fd, &event) == 0 ? 0 : errno;
}

/* Public */

bool client_context_init(struct client_context *context, uint32_t capacity, char *error, size_t error_size)
{
    size_t slot_bytes = sizeof(struct client) + (context->tls ? sizeof(struct client_tls) : 0);

    list_init(&context->in_progress);
    context->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (context->epoll_fd < 0) {
        snprintf(error, error_size, "epoll_create1: %s", strerror(errno));
        return false;
    }
    if (getrandom(&context->random, sizeof(context->random), 0) != sizeof(context->random) ||
        context->random == 0)
        context->random = clock_monotonic_ns() | 1;
    context->scratch = malloc(CLIENT_SCRATCH_BYTES);
    context->reader = ws_reader_create(WS_ROLE_CLIENT);
    context->crypto = context->tls ? tls_crypto_create() : NULL;
    if (!context->scratch || !context->reader || (context->tls && !context->crypto) ||
        !slab_init(&context->slab, slot_bytes, capacity)) {
        snprintf(error, error_size, "out of memory");
        client_context_fini(context);
        return false;
    }
    return true;
}

void client_context_fini(struct client_context *context)
{
    PG_ASSERT(context->in_progress_count == 0);
    if (context->slab.base)
        slab_fini(&context->slab);
    tls_crypto_destroy(context->crypto);
    ws_reader_destroy(context->reader);
    free(context->scratch);
    if (context->epoll_fd >= 0)
        close(context->epoll_fd);
    *context = (struct client_context){.epoll_fd = -1};
}

bool client_open(struct client_context *context)
{
    uint32_t index = slab_alloc(&context->slab);
    if (index == SLAB_NONE)
        return false;
    struct client *client = client_at(context, index);
    client->fd = -1;
    client->state = CLIENT_CONNECTING;
    counter_add(&context->stats->started, 1);
    if (!need_heap(context, client)) {
        fail(context, client, FAIL_MEMORY, NULL);
        return false;
    }
    client->heap->started_ns = clock_monotonic_ns();
    list_append(&context->in_progress, &client->heap->in_progress);
    context->in_progress_count++;
    int error = start_connect(context, client, index);
    if (error == 0)
        return true;
    fail(context, client, fail_reason_of(error), strerror(error));
    return false;
}

void client_event(struct client_context *context, uint64_t tag, uint32_t events)
{
    struct client *client = client_at(context, (uint32_t)tag);

    if (client->generation != (uint32_t)(tag >> 32) || client->fd < 0)
        return;
    if (client->state == CLIENT_CONNECTING) {
        if (!(events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
            return;
        connected(context, client);
        if (client->fd < 0)
            return;
    }
    if (events & EPOLLOUT)
        flush(client);
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        receive(context, client, events);
}

void client_expire(struct client_context *context, uint64_t now_ns)
{
    uint64_t limit_ns = context->options->connect_timeout_ms * 1000000;

    while (!list_empty(&context->in_progress)) {
        struct client_heap *heap = LIST_ITEM(context->in_progress.next, struct client_heap, in_progress);
        if (now_ns < heap->started_ns || now_ns - heap->started_ns < limit_ns)
            return;
        struct client *client = client_at(context, heap->index);
        fail(context, client, FAIL_TIMEOUT,
             client->state == CLIENT_CONNECTING ? "no TCP connection"
             : client->state == CLIENT_TLS      ? "TLS handshake not finished"
                                                : "no answer to the upgrade request");
    }
}

void client_probe(struct client_context *context, uint32_t index)
{
    struct client *client = client_at(context, index);
    uint64_t now_ns = clock_monotonic_ns();

    if (client->state != CLIENT_OPEN)
        return;
    client->awaits_pong = true;
    counter_add(&context->stats->probes_sent, 1);
    if (!send_frame(context, client, WS_PING, &now_ns, sizeof(now_ns)))
        end(context, client, END_MEMORY, NULL);
}

void client_close(struct client_context *context, uint32_t index)
{
    struct client *client = client_at(context, index);

    if (client->state != CLIENT_OPEN)
        return;
    send_close_frame(context, client, WS_CLOSE_NORMAL);
    client->state = CLIENT_CLOSING;
}

void client_abort(struct client_context *context, uint32_t index)
{
    static const struct linger reset = {.l_onoff = 1, .l_linger = 0};
    struct client *client = client_at(context, index);

    if (client->fd >= 0) /* no TIME_WAIT: ports must be free for the next run */
        (void)setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    if (client->state == CLIENT_OPEN || client->state == CLIENT_CLOSING)
        end(context, client, END_UNANSWERED, NULL);
    else if (client->fd >= 0)
        fail(context, client, FAIL_INTERRUPTED, NULL);
}

uint64_t client_expected(const struct client_context *context, uint32_t index, uint64_t published)
{
    uint64_t topics = context->options->topics;
    return published / topics + (topic_of(context, index) < published % topics ? 1 : 0);
}

uint64_t client_outstanding(const struct client_context *context, uint32_t index, uint64_t published)
{
    uint64_t expected = client_expected(context, index, published);
    uint64_t distinct = sequence_distinct(&client_at(context, index)->sequence);
    return expected > distinct ? expected - distinct : 0;
}
