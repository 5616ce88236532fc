/* What a client connection says and hears inside TLS: the upgrade, then frames and messages. */
#include "loadtest/client_internal.h"

#include "gateway/base/assert.h"
#include "gateway/base/clock.h"
#include "loadtest/printable.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    PONG_BACKLOG = 4 * 1024, /* a server that does not read gets no further pongs */
};

/* Frames */

static void take_pong(struct client_context *context, struct client *client, const struct ws_frame *frame)
{
    struct load_stats *stats = client_stats(context, client);
    struct client_ping ping = {0};

    if (frame->payload_bytes == sizeof(ping))
        memcpy(&ping, frame->payload, sizeof(ping));
    if (!client->awaits_pong || frame->payload_bytes != sizeof(ping) ||
        ping.seal != client_ping_of(context, client, ping.sent_ns).seal) {
        counter_add(&stats->other_pongs, 1);
        return;
    }
    client->awaits_pong = false;
    counter_add(&stats->probes_answered, 1);
    histogram_record(&stats->probe_time,
                     (context->now_ns > ping.sent_ns ? context->now_ns - ping.sent_ns : 0) / 1000);
}

static void take_close(struct client_context *context, struct client *client, const struct ws_frame *frame)
{
    uint16_t code = ws_close_code_of(frame);
    char text[STATS_EXAMPLE_BYTES];

    if (client->state == CLIENT_OPEN) {
        uint16_t slot = code >= STATS_CLOSE_FIRST && code < STATS_CLOSE_FIRST + STATS_CLOSE_CODES - 1
                            ? (uint16_t)(code - STATS_CLOSE_FIRST)
                            : STATS_CLOSE_CODES - 1;
        counter_add(&client_stats(context, client)->close_codes[slot], 1);
        client_send_close(context, client, code);
    }
    size_t at = (size_t)snprintf(text, sizeof(text), "%u ", code);
    if (frame->payload_bytes > 2)
        (void)printable(frame->payload + 2, (size_t)frame->payload_bytes - 2, text + at, sizeof(text) - at);
    client_end(context, client, END_CLOSE_FRAME, text);
}

/* A piece of a fragmented message; the last one delivers it. False without memory. */
static bool take_fragment(struct client_context *context, struct client *client, const struct ws_frame *frame)
{
    struct client_heap *heap = client_need_heap(context, client);
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
        client_take_message(context, client, heap->message, heap->message_bytes);
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
        counter_add(&client_stats(context, client)->pings, 1);
        if (client_send_frame(context, client, WS_PONG, frame->payload, (size_t)frame->payload_bytes))
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
            client_take_message(context, client, frame->payload, (size_t)frame->payload_bytes);
            return true;
        }
        if (take_fragment(context, client, frame))
            return true;
        break;
    }
    client_end(context, client, END_MEMORY, NULL);
    return false;
}

static size_t protocol_error(struct client_context *context, struct client *client,
                             const struct ws_frame *frame)
{
    bool too_big =
        frame->close_code == WS_CLOSE_MESSAGE_TOO_BIG; /* the RFC sets no bound, this program does */

    client_send_close(context, client, frame->close_code);
    client_end(context, client, too_big ? END_TOO_BIG : END_WS_ERROR, too_big ? NULL : frame->error);
    return CLIENT_GONE;
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
            return CLIENT_GONE;
    }
    return used;
}

/* Opening */

bool client_send_request(struct client_context *context, struct client *client)
{
    const struct load_options *options = context->options;
    const struct target *target = &options->target;
    uint64_t random[2] = {client_random(context), client_random(context)};
    char key[UPGRADE_KEY_CHARS + 1], number[16] = "", request[CLIENT_SEND_MAX];

    if (target->numbered)
        snprintf(number, sizeof(number), "%" PRIu32, client_topic(context, client_index(context, client)));
    upgrade_key((const uint8_t *)random, key, client->heap->accept);
    const struct upgrade_request parts = {
        .path_parts = {target->path, number, target->path_after},
        .authority = target->authority,
        .subprotocol = options->subprotocol,
        .headers = options->headers ? options->headers : "",
    };
    size_t bytes = upgrade_write(&parts, key, request, sizeof(request));
    client->state = CLIENT_UPGRADE;
    if (bytes > 0 && client_send_content(context, client, TLS_CONTENT_APPLICATION_DATA, request, bytes))
        return true;
    client_fail(context, client, bytes > 0 ? FAIL_MEMORY : FAIL_BAD_UPGRADE,
                bytes > 0 ? NULL : "the request is too long");
    return false;
}

static size_t take_answer(struct client_context *context, struct client *client, const uint8_t *data,
                          size_t len)
{
    const struct load_options *options = context->options;
    struct load_stats *stats = client_stats(context, client);
    struct upgrade_answer answer;
    char text[STATS_EXAMPLE_BYTES];

    PG_ASSERT(client->heap); /* held until the connection is open */
    switch (upgrade_parse((const char *)data, len, client->heap->accept, options->subprotocol, &answer)) {
    case PARSE_MORE:
        return 0;
    case PARSE_BAD:
        if (answer.status == 0 || answer.status == 101) {
            client_fail(context, client, FAIL_BAD_UPGRADE, answer.error);
            return CLIENT_GONE;
        }
        counter_add(&stats->http_status[answer.status], 1);
        snprintf(text, sizeof(text), "%d %s", answer.status, answer.error);
        client_fail(context, client, FAIL_HTTP_STATUS, text);
        return CLIENT_GONE;
    case PARSE_OK:
        break;
    }
    uint64_t now_ns = clock_monotonic_ns();
    client->state = CLIENT_OPEN;
    client->was_open = true;
    histogram_record(client->joining ? &stats->return_time : &stats->open_time,
                     (now_ns - client->heap->started_ns) / 1000);
    counter_set(&stats->last_open_ns, now_ns);
    if (client->joining) {
        counter_add(&stats->returned, 1);
        client_place_taken(context, client, client->heap->started_ns, now_ns);
    }
    client_leave_in_progress(context, client);
    counter_add(&stats->opened, 1);
    counter_add(&stats->open, 1);
    if ((options->send_text &&
         !client_send_frame(context, client, WS_TEXT, options->send_text, strlen(options->send_text))) ||
        (options->send_binary &&
         !client_send_frame(context, client, WS_BINARY, options->send_binary, options->send_binary_bytes))) {
        client_end(context, client, END_MEMORY, NULL);
        return CLIENT_GONE;
    }
    return answer.head_bytes;
}

size_t client_take_plain(struct client_context *context, struct client *client, uint8_t *data, size_t len)
{
    size_t used = 0;
    if (client->state == CLIENT_UPGRADE) {
        used = take_answer(context, client, data, len);
        if (used == CLIENT_GONE || used == 0)
            return used;
    }
    size_t more = take_frames(context, client, data + used, len - used);
    return more == CLIENT_GONE ? CLIENT_GONE : used + more;
}
