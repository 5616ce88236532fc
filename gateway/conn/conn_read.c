/* Input of a connection: records, then frames, then messages; what is incomplete is borrowed memory, bounded
 * by the limits. */
#include "gateway/base/assert.h"
#include "gateway/conn/pool.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

enum {
    SECOND = 1000 / WHEEL_TICK_MS,
    KEY_UPDATE_INPUT = 1024, /* bytes of a turn's input that one is worth: both take some 10 µs */
};

static void close_for_code(struct pool *pool, struct conn *conn, uint16_t code, const char *error)
{
    if (conn->state != CONN_OPEN) { /* our close frame is on its way; there is no second one */
        conn_deafen(pool, conn);
        return;
    }
    enum close_reason reason = code == WS_CLOSE_INVALID_PAYLOAD   ? CLOSE_BAD_UTF8
                               : code == WS_CLOSE_MESSAGE_TOO_BIG ? CLOSE_TOO_BIG
                                                                  : CLOSE_PROTOCOL;
    conn_close(pool, conn, reason, code, error);
}

static void handle_control(struct pool *pool, struct conn *conn, const struct ws_frame *frame)
{
    if (frame->opcode == WS_PING && conn->state == CONN_OPEN) {
        uint8_t pong[2 + WS_CONTROL_PAYLOAD_MAX];
        conn_answer(pool, conn, pong,
                    ws_frame_control(pong, WS_PONG, frame->payload, (size_t)frame->payload_bytes));
    } else if (frame->opcode == WS_CLOSE) {
        conn->peer_closed = true;
        if (conn->state == CONN_OPEN)
            conn_close(pool, conn, CLOSE_PEER, ws_close_code_of(frame), NULL);
        else
            conn_close_continue(pool, conn);
    }
}

static void handle_data(struct pool *pool, struct conn *conn, const struct ws_frame *frame,
                        uint8_t first_opcode)
{
    if (conn->state != CONN_OPEN)
        return;
    bool text = (frame->opcode == WS_CONTINUATION ? first_opcode : frame->opcode) == WS_TEXT;
    if (frame->fin && frame->opcode != WS_CONTINUATION) {
        conn_deliver(pool, conn, text, frame->payload, (size_t)frame->payload_bytes);
        return;
    }
    struct conn_extra *extra = conn_borrow(conn);
    if (!extra || !buffer_append(&extra->message, frame->payload, (size_t)frame->payload_bytes)) {
        pool_destroy(pool, conn, CLOSE_INTERNAL);
        return;
    }
    if (!frame->fin)
        return;
    struct buffer whole = extra->message;
    extra->message = (struct buffer){0};
    conn_deliver(pool, conn, text, whole.data, whole.len);
    buffer_fini(&whole);
}

/* One frame at `data`; returns its bytes, 0 when it is incomplete, SIZE_MAX when nothing more is to be read.
 */
static size_t handle_frame(struct pool *pool, struct conn *conn, uint8_t *data, size_t len)
{
    struct ws_sequence none = {0};
    struct ws_sequence *sequence = conn->extra ? &conn->extra->sequence : &none;
    uint64_t limit = pool->settings->limits.message_bytes ? pool->settings->limits.message_bytes : INT32_MAX;
    uint64_t assembled = conn->extra ? conn->extra->message.len : 0;
    struct ws_frame frame;
    enum parse_result result = ws_frame_peek(data, len, WS_ROLE_SERVER, sequence, limit - assembled, &frame);
    if (result == PARSE_MORE)
        return 0;
    if (result == PARSE_OK && frame.opcode < WS_CLOSE && !adapter_get(conn->adapter)->reads_messages) {
        if (conn->state == CONN_OPEN)
            conn_close(pool, conn, CLOSE_POLICY, 0, "this endpoint takes no messages");
        else
            conn_deafen(pool, conn); /* nothing is read only to be thrown away */
        return SIZE_MAX;
    }
    if (result == PARSE_OK && len - frame.header_bytes < frame.payload_bytes)
        return 0;
    size_t frame_bytes = 0;
    uint8_t first_opcode = sequence->message_opcode;
    if (result == PARSE_OK) {
        frame_bytes = frame.header_bytes + (size_t)frame.payload_bytes;
        if (frame.opcode < WS_CLOSE && !frame.fin && !conn->extra) { /* a fragmented message begins */
            if (!conn_borrow(conn)) {
                pool_destroy(pool, conn, CLOSE_INTERNAL);
                return SIZE_MAX;
            }
            sequence = &conn->extra->sequence;
        }
        result = ws_reader_read(pool->ws_reader, data, frame_bytes, sequence, &frame);
    }
    if (result != PARSE_OK) {
        close_for_code(pool, conn, frame.close_code, frame.error);
        return SIZE_MAX;
    }
    counter_add(&pool->stats->frames_in, 1);
    if (frame.opcode >= WS_CLOSE)
        handle_control(pool, conn, &frame);
    else
        handle_data(pool, conn, &frame, first_opcode);
    if (conn->state == CONN_FREE || conn->deaf || conn->peer_closed)
        return SIZE_MAX;
    return frame_bytes;
}

/* All whole frames in `data`; returns how much was used (all of it when nothing more matters). */
static size_t handle_frames(struct pool *pool, struct conn *conn, uint8_t *data, size_t len)
{
    size_t used = 0;
    while (used < len) {
        size_t n = handle_frame(pool, conn, data + used, len - used);
        if (n == SIZE_MAX)
            return len;
        if (n == 0)
            break;
        used += n;
    }
    return used;
}

/* Plaintext of the WebSocket stream. */
static void stream_input(struct pool *pool, struct conn *conn, uint8_t *data, size_t len)
{
    if (conn->deaf || conn->peer_closed || !len)
        return;
    if (!conn->extra || !conn->extra->frame.len) {
        size_t used = handle_frames(pool, conn, data, len);
        if (conn->state == CONN_FREE || used == len)
            return;
        data += used;
        len -= used;
    }
    struct conn_extra *extra = conn_borrow(conn);
    if (!extra || !buffer_append(&extra->frame, data, len)) {
        pool_destroy(pool, conn, CLOSE_INTERNAL);
        return;
    }
    /* Frames are handled from a buffer that no callback can reach. */
    struct buffer frames = extra->frame;
    extra->frame = (struct buffer){0};
    size_t used = handle_frames(pool, conn, frames.data, frames.len);
    if (conn->state == CONN_FREE || conn->deaf || conn->peer_closed) {
        buffer_fini(&frames);
        return;
    }
    buffer_consume(&frames, used);
    if (!frames.len)
        return;
    if (!conn_borrow(conn)) {
        buffer_fini(&frames);
        pool_destroy(pool, conn, CLOSE_INTERNAL);
        return;
    }
    conn->extra->frame = frames;
}

/* A KeyUpdate of ours is due. RFC 8446 §4.6.3 wants it before the next application data: it goes with that,
 * or at the end of the turn, one for all that ask in it. While the kernel takes nothing it waits, so that a
 * peer that asks and does not read is answered once. */
static void owe_key_update(struct pool *pool, struct conn *conn)
{
    conn->update_owed = true;
    if (!conn->extra || outbox_empty(&conn->extra->outbox))
        conn_mark_dirty(pool, conn);
}

/* The peer has changed its key. False: too often. */
static bool count_key_update(struct pool *pool, struct conn *conn)
{
    pool->input_left -= pool->input_left < KEY_UPDATE_INPUT ? pool->input_left : KEY_UPDATE_INPUT;
    if (conn->key_updates >= TLS_KEY_UPDATES_MAX)
        return false;
    conn->key_updates++;
    return true;
}

/* One opened record; false when no further one is to be opened. */
static bool handle_record(struct pool *pool, struct conn *conn, const struct tls_opened *opened)
{
    struct tls_fragment none = {0};
    struct tls_fragment *fragment = conn->extra ? &conn->extra->fragment : &none;
    struct tls_direction *read_dir = &pool_tls(pool, conn)->read;
    bool wanted = tls_direction_needs_update(pool->crypto, read_dir); /* we have asked for it, or will */
    struct tls_post_result post = tls_post_record(pool->crypto, read_dir, conn_suite(conn), fragment, opened);
    if (none.have) {
        if (!conn_borrow(conn)) {
            pool_destroy(pool, conn, CLOSE_INTERNAL);
            return false;
        }
        conn->extra->fragment = none;
    }
    if (!tls_post_count(&conn->idle_records, &post, opened) ||
        (tls_post_updated(&post) && !wanted && !count_key_update(pool, conn))) {
        conn_tls_fail(pool, conn, TLS_ALERT_UNEXPECTED_MESSAGE);
        return false;
    }
    if (tls_direction_overused(pool->crypto, read_dir)) {
        conn->update_asked = true;
        owe_key_update(pool, conn);
    }
    switch (post.event) {
    case TLS_EVENT_DATA:
        stream_input(pool, conn, opened->content, opened->content_bytes);
        break;
    case TLS_EVENT_CLOSE_NOTIFY:
        if (conn->state == CONN_OPEN || conn->state == CONN_CLOSING) {
            if (!conn->shut && (!conn->extra || outbox_empty(&conn->extra->outbox))) {
                uint8_t record[2 + TLS_RECORD_OVERHEAD];
                size_t bytes = tls_post_alert(pool->crypto, &pool_tls(pool, conn)->write, conn_suite(conn),
                                              TLS_ALERT_CLOSE_NOTIFY, record);
                conn->shut = true;
                if (bytes && !conn_send_wire(pool, conn, record, bytes))
                    return false;
            }
        }
        pool_destroy(pool, conn, CLOSE_PEER_EOF);
        return false;
    case TLS_EVENT_FATAL_ALERT:
        pool_destroy(pool, conn, CLOSE_TLS_ALERT);
        return false;
    case TLS_EVENT_PEER_UPDATED_REPLY:
        owe_key_update(pool, conn);
        break;
    case TLS_EVENT_ERROR:
        conn_tls_fail(pool, conn, post.alert);
        return false;
    case TLS_EVENT_NONE:
    case TLS_EVENT_PEER_UPDATED:
        break;
    }
    return conn->state == CONN_OPEN || conn->state == CONN_CLOSING;
}

/* Opens every whole record in `data`; returns the bytes used (all when nothing more matters). */
static size_t handle_records(struct pool *pool, struct conn *conn, uint8_t *data, size_t len)
{
    size_t used = 0;
    while (used < len) {
        struct tls_opened opened;
        enum parse_result result = tls_record_open(pool->crypto, &pool_tls(pool, conn)->read,
                                                   conn_suite(conn), data + used, len - used, &opened);
        if (result == PARSE_MORE)
            return used;
        if (result == PARSE_BAD) {
            conn_tls_fail(pool, conn, opened.alert);
            return len;
        }
        used += opened.record_bytes;
        if (!handle_record(pool, conn, &opened))
            return len;
    }
    return used;
}

/* Bytes of the socket, writable memory. */
static void socket_input(struct pool *pool, struct conn *conn, uint8_t *data, size_t len)
{
    if (conn->state == CONN_LINGER || conn->deaf || conn->peer_closed)
        return;
    if (conn->tls == SLAB_NONE) {
        stream_input(pool, conn, data, len);
        return;
    }
    size_t used = handle_records(pool, conn, data, len);
    if (conn->state == CONN_FREE || used == len)
        return;
    struct conn_extra *extra = conn_borrow(conn);
    if (!extra || !buffer_append(&extra->record, data + used, len - used))
        pool_destroy(pool, conn, CLOSE_INTERNAL);
}

void conn_read_later(struct pool *pool, struct conn *conn)
{
    if (conn->ready)
        return;
    conn->ready = index_list_push(&pool->ready, pool_index(pool, conn));
    if (!conn->ready) /* no event will tell of its bytes again */
        pool_destroy(pool, conn, CLOSE_INTERNAL);
}

/* EOF. */
static void peer_ended(struct pool *pool, struct conn *conn)
{
    /* Behind a close frame, its own or ours, it may still read: what waits for it goes out under the closing
     * handshake's deadline. Without one there is nobody to send it to. */
    if (conn->state == CONN_CLOSING && conn->extra && !outbox_empty(&conn->extra->outbox))
        conn->ended = true;
    else
        pool_destroy(pool, conn,
                     conn->tls != SLAB_NONE && conn->state == CONN_OPEN ? CLOSE_TLS_TRUNCATED
                                                                        : CLOSE_PEER_EOF);
}

void conn_readable(struct pool *pool, struct conn *conn, bool hangup)
{
    uint8_t *scratch = pool->read_scratch;
    size_t kept = 0;
    if (conn->extra && conn->extra->record.len) { /* at most one incomplete record */
        kept = conn->extra->record.len;
        PG_ASSERT(kept < TLS_RECORD_HEADER_BYTES + TLS_RECORD_CIPHERTEXT_MAX);
        memcpy(scratch, conn->extra->record.data, kept);
        buffer_fini(&conn->extra->record);
    }
    ssize_t n;
    do {
        n = recv(conn->fd, scratch + kept, POOL_READ_BYTES, MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n == 0) {
        peer_ended(pool, conn);
        return;
    }
    if (n < 0 && errno != EAGAIN) {
        pool_destroy(pool, conn, CLOSE_PEER_RESET);
        return;
    }
    if (n > 0) {
        if (pool->now - conn->last_heard >= SECOND)
            conn->idle_records = 0; /* one now and then is no flood */
        if (pool->now / SECOND != conn->last_heard / SECOND)
            conn->key_updates = 0;
        conn->last_heard = pool->now;
        counter_add(&pool->stats->bytes_in, (uint64_t)n);
        pool->input_left -= (uint64_t)n < pool->input_left ? (uint64_t)n : pool->input_left;
    }
    size_t have = kept + (n > 0 ? (size_t)n : 0);
    if (have)
        socket_input(pool, conn, scratch, have);
    if (conn->state == CONN_FREE)
        return;
    /* Edge-triggered: a short read has emptied the socket and later bytes raise a new event; a FIN that the
     * event told of is behind what was read. */
    conn_give_back(conn);
    if (n == POOL_READ_BYTES || (n > 0 && hangup))
        conn_read_later(pool, conn);
}

void conn_input_early(struct pool *pool, struct conn *conn, const struct transfer_item *item)
{
    /* Handlers write into what they are given (unmasking, opening), so they get a copy. */
    const struct transfer_record *record = &item->record;
    if (record->plain_bytes) {
        PG_ASSERT(record->plain_bytes <= POOL_READ_BYTES);
        memcpy(pool->read_scratch, item->plain, record->plain_bytes);
        stream_input(pool, conn, pool->read_scratch, record->plain_bytes);
    }
    if (record->raw_bytes && conn->state != CONN_FREE) {
        PG_ASSERT(record->raw_bytes <= POOL_READ_BYTES);
        memcpy(pool->read_scratch, item->raw, record->raw_bytes);
        socket_input(pool, conn, pool->read_scratch, record->raw_bytes);
    }
    if (conn->state != CONN_FREE)
        conn_give_back(conn);
}
