/* Output of a connection: directly when nothing waits, else through its outbox; over wss one record holds
 * what fits. */
#include "gateway/base/assert.h"
#include "gateway/conn/pool.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { GATHER_MAX = 64, GATHER_BYTES = 64 * 1024 };

/* Bytes taken, 0 when the kernel takes none now, -1 when the connection is broken. */
static ssize_t send_some(int fd, const struct iovec *parts, size_t count)
{
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = count};
    for (;;) {
        ssize_t n = count == 1 ? send(fd, parts[0].iov_base, parts[0].iov_len, MSG_DONTWAIT | MSG_NOSIGNAL)
                               : sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n >= 0)
            return n;
        if (errno == EAGAIN || errno == ENOBUFS)
            return 0;
        if (errno != EINTR)
            return -1;
    }
}

static void set_write_armed(struct pool *pool, struct conn *conn, bool armed)
{
    struct conn_extra *extra = conn->extra;
    if (armed && !extra->unconfirmed) /* the kernel is full: from here it counts down */
        extra->unconfirmed = pool_unconfirmed(conn);
    if (extra->write_armed == armed)
        return;
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET | (armed ? EPOLLOUT : 0),
                                .data.u64 = conn_event_data(pool, conn)};
    if (epoll_ctl(pool->epoll_fd, EPOLL_CTL_MOD, conn->fd, &event) != 0)
        return; /* the close deadline or the peer ends it; an fd of ours that is in epoll cannot fail
                   otherwise */
    extra->write_armed = armed;
    if (armed) {
        extra->index = pool_index(pool, conn);
        list_append(&pool->waiting, &extra->waiting);
        counter_add(&pool->stats->outbox_connections, 1);
    } else {
        list_remove(&extra->waiting);
        counter_sub(&pool->stats->outbox_connections, 1);
    }
}

/* `bytes` were just added to the outbox. */
static void queued(struct pool *pool, struct conn *conn, size_t bytes)
{
    struct conn_extra *extra = conn->extra;
    counter_add(&pool->stats->outbox_bytes, bytes);
    if (extra->outbox.bytes == bytes)
        pool_wait_anew(pool, extra);
    pool_count_outbox(pool, extra);
}

/* `bytes` were just taken from the outbox. */
static void unqueued(struct pool *pool, struct conn *conn, size_t bytes)
{
    struct conn_extra *extra = conn->extra;
    counter_sub(&pool->stats->outbox_bytes, bytes);
    pool_wait_anew(pool, extra);
    pool_count_outbox(pool, extra);
}

static bool output_waits(const struct conn *conn)
{
    return conn->extra && !outbox_empty(&conn->extra->outbox);
}

static size_t seal_key_update(struct pool *pool, struct conn *conn, uint8_t *out)
{
    bool ask = conn->update_asked;
    conn->update_owed = false;
    conn->update_asked = false;
    return tls_post_key_update(pool->crypto, &pool_tls(pool, conn)->write, conn_suite(conn), ask, out);
}

/* Keys of ours that have sealed their share of records are replaced first (RFC 8446 §5.5), and those for
 * which a KeyUpdate is owed. Bytes written at `out`, or SIZE_MAX. */
static size_t key_update_if_due(struct pool *pool, struct conn *conn, uint8_t *out)
{
    if (!conn->update_owed && !tls_direction_needs_update(pool->crypto, &pool_tls(pool, conn)->write))
        return 0;
    size_t bytes = seal_key_update(pool, conn, out);
    return bytes ? bytes : SIZE_MAX;
}

/* Seals `parts` (at most POOL_RECORDS_PER_SEND full records together) into the scratch; 0 on failure. */
static size_t seal_parts(struct pool *pool, struct conn *conn, const struct iovec *parts, size_t count)
{
    struct conn_tls *tls = pool_tls(pool, conn);
    size_t bytes = 0, part = 0, offset = 0;
    while (part < count) {
        /* The scratch has room: a KeyUpdate before each of one record less than it holds. */
        size_t update = key_update_if_due(pool, conn, pool->seal_scratch + bytes);
        if (update == SIZE_MAX)
            return 0;
        bytes += update;
        struct tls_slice slices[GATHER_MAX];
        size_t n = 0, room = TLS_RECORD_PLAINTEXT_MAX;
        while (part < count && room > 0) {
            size_t left = parts[part].iov_len - offset;
            size_t take = left < room ? left : room;
            slices[n++] =
                (struct tls_slice){.data = (const uint8_t *)parts[part].iov_base + offset, .len = take};
            room -= take;
            offset += take;
            if (offset == parts[part].iov_len) {
                part++;
                offset = 0;
            }
        }
        size_t sealed = tls_record_seal(pool->crypto, &tls->write, conn_suite(conn),
                                        TLS_CONTENT_APPLICATION_DATA, slices, n, pool->seal_scratch + bytes);
        if (!sealed)
            return 0;
        bytes += sealed;
    }
    return bytes;
}

bool conn_send_wire(struct pool *pool, struct conn *conn, const uint8_t *wire, size_t bytes)
{
    size_t sent = 0;
    if (!conn->extra || !conn->extra->outbox.wire) {
        struct iovec part = {.iov_base = (void *)(uintptr_t)wire, .iov_len = bytes};
        ssize_t n = send_some(conn->fd, &part, 1);
        if (n < 0) {
            pool_destroy(pool, conn, CLOSE_PEER_RESET);
            return false;
        }
        sent = (size_t)n;
    }
    if (sent == bytes)
        return true;
    struct conn_extra *extra = conn_borrow(conn);
    if (!extra || !outbox_push_wire(&extra->outbox, wire + sent, bytes - sent)) {
        pool_destroy(pool, conn, CLOSE_INTERNAL); /* a record that was begun must be finished */
        return false;
    }
    queued(pool, conn, bytes - sent);
    set_write_armed(pool, conn, true);
    return true;
}

size_t conn_send_direct(struct pool *pool, struct conn *conn, const uint8_t *data, size_t bytes)
{
    if (conn->tls == SLAB_NONE) {
        struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = bytes};
        ssize_t n = send_some(conn->fd, &part, 1);
        if (n < 0) {
            pool_destroy(pool, conn, CLOSE_PEER_RESET);
            return bytes;
        }
        return (size_t)n;
    }
    size_t done = 0;
    while (done < bytes) {
        size_t take = bytes - done;
        if (take > (size_t)(POOL_RECORDS_PER_SEND - 1) * TLS_RECORD_PLAINTEXT_MAX)
            take = (size_t)(POOL_RECORDS_PER_SEND - 1) * TLS_RECORD_PLAINTEXT_MAX;
        struct iovec part = {.iov_base = (void *)(uintptr_t)(data + done), .iov_len = take};
        size_t sealed = seal_parts(pool, conn, &part, 1);
        if (!sealed) {
            pool_destroy(pool, conn, CLOSE_INTERNAL);
            return bytes;
        }
        if (!conn_send_wire(pool, conn, pool->seal_scratch, sealed))
            return bytes;
        done += take;
        if (output_waits(conn))
            break;
    }
    return done;
}

/* How much would be past limits.outbox_bytes with a frame of so many bytes more. */
static uint64_t excess_of(const struct pool *pool, const struct conn *conn, size_t bytes)
{
    uint64_t limit = pool->settings->limits.outbox_bytes;
    uint64_t cost = (conn->extra ? outbox_cost(&conn->extra->outbox) : 0) + bytes + OUTBOX_ITEM_COST;
    return limit && cost > limit ? cost - limit : 0;
}

static bool past_bound(const struct pool *pool, const struct conn *conn, size_t bytes)
{
    return excess_of(pool, conn, bytes) > 0;
}

/* Slow consumers
 * ------------------------------------------------------------------------------------------------------- */

/* `count` messages were just dropped; so many bytes had been queued. */
static void dropped(struct pool *pool, struct conn *conn, uint64_t bytes, uint32_t count)
{
    counter_add(&pool->stats->drops, count);
    counter_sub(&pool->stats->outbox_bytes, bytes - conn->extra->outbox.bytes);
    pool_count_outbox(pool, conn->extra);
}

static void drop_oldest(struct pool *pool, struct conn *conn, uint64_t bytes, const struct message *like)
{
    struct outbox *outbox = &conn->extra->outbox;
    uint64_t before = outbox->bytes;
    dropped(pool, conn, before, outbox_drop_oldest(outbox, bytes, like));
}

static void drop_topic(struct pool *pool, struct conn *conn, const struct message *message)
{
    struct outbox *outbox = &conn->extra->outbox;
    uint64_t before = outbox->bytes;
    dropped(pool, conn, before, outbox_drop_topic(outbox, message));
}

/* Past the bound: what may go makes room, the oldest first. Where all of it together would not, none goes:
 * what nobody gains from is not looked through for every message. True when the message is not to be queued:
 * it was dropped itself, or the connection is closing. */
static bool slow(struct pool *pool, struct conn *conn, const struct message *message, size_t bytes,
                 bool positioned)
{
    if (positioned && message->slow_consumer != SLOW_DISCONNECT) {
        /* It must not see a later offset before it knows of the gap. */
        if (conn->extra)
            drop_topic(pool, conn, message);
        counter_add(&pool->stats->drops, 1);
        conn_gap(pool, conn, message);
        return true;
    }
    uint64_t excess = excess_of(pool, conn, bytes);
    if (!conn->extra || conn->extra->outbox.may_go < excess) {
        counter_add(&pool->stats->drops, 1); /* this one; conn_close() counts those that it drops */
        if (message->slow_consumer == SLOW_DISCONNECT)
            conn_close(pool, conn, CLOSE_SLOW, 0, NULL);
        return true;
    }
    if (message->slow_consumer == SLOW_LATEST)
        drop_oldest(pool, conn, UINT64_MAX, message);
    excess = excess_of(pool, conn, bytes);
    if (excess > 0)
        drop_oldest(pool, conn, excess, NULL);
    return false;
}

/* Makes room for a frame. What waits may only be waiting for the end of the turn: then it goes out now, and
 * the frame behind it. Returns how many bytes of the frame have been sent that way; the connection may be
 * closing or gone after it. */
static size_t make_room(struct pool *pool, struct conn *conn, const uint8_t *data, size_t bytes)
{
    if (!conn->dirty || !past_bound(pool, conn, bytes))
        return 0;
    conn_flush(pool, conn);
    if (conn->state != CONN_OPEN || output_waits(conn))
        return 0;
    return conn_send_direct(pool, conn, data, bytes);
}

void conn_queue_message(struct pool *pool, struct conn *conn, struct message *message, size_t taken,
                        bool positioned)
{
    const uint8_t *frame = message_frame(message, (enum adapter_id)conn->adapter);
    size_t bytes = message->frames[conn->adapter].bytes;
    if (taken == 0)
        taken = make_room(pool, conn, frame, bytes);
    if (taken == bytes)
        return;
    if (conn->state != CONN_OPEN) {
        counter_add(&pool->stats->drops, 1);
        return;
    }
    if (taken == 0 && past_bound(pool, conn, bytes) && slow(pool, conn, message, bytes, positioned))
        return;
    enum outbox_hold hold = taken > 0                                                 ? OUTBOX_BEGUN
                            : positioned || message->slow_consumer == SLOW_DISCONNECT ? OUTBOX_KEEP
                                                                                      : OUTBOX_MAY_GO;
    struct conn_extra *extra = conn_borrow(conn);
    if (!extra || !outbox_push_message(&extra->outbox, message, frame + taken, bytes - taken, hold)) {
        counter_add(&pool->stats->drops, 1);
        pool_destroy(pool, conn, CLOSE_INTERNAL);
        return;
    }
    queued(pool, conn, bytes - taken);
    if (!conn->dirty)
        set_write_armed(pool, conn, true);
}

void conn_send_own(struct pool *pool, struct conn *conn, const void *frame, size_t bytes)
{
    bool behind = conn->dirty || output_waits(conn);
    bool bounded = conn->state == CONN_OPEN; /* the close frame has its place in any case */
    size_t taken = !behind   ? conn_send_direct(pool, conn, frame, bytes)
                   : bounded ? make_room(pool, conn, frame, bytes)
                             : 0;
    if (taken == bytes || conn->state == CONN_FREE || (bounded && conn->state != CONN_OPEN))
        return;
    if (bounded && taken == 0 && past_bound(pool, conn, bytes)) {
        conn_close(pool, conn, CLOSE_SLOW, 0, NULL);
        return;
    }
    struct conn_extra *extra = conn_borrow(conn);
    if (!extra ||
        !outbox_push_copy(&extra->outbox, (const uint8_t *)frame + taken, bytes - taken, taken > 0)) {
        pool_destroy(pool, conn, CLOSE_INTERNAL);
        return;
    }
    queued(pool, conn, bytes - taken);
    if (!conn->dirty)
        set_write_armed(pool, conn, true);
}

void conn_answer(struct pool *pool, struct conn *conn, const void *frame, size_t bytes)
{
    conn_send_own(pool, conn, frame, bytes);
    if (conn->state == CONN_OPEN)
        conn_mark_dirty(pool, conn);
}

/* One system call's worth. IO_OK: go on; IO_AGAIN: the kernel is full. */
static enum io_result flush_once(struct pool *pool, struct conn *conn)
{
    struct outbox *outbox = &conn->extra->outbox;
    struct iovec parts[GATHER_MAX];
    if (outbox->wire) {
        parts[0] = (struct iovec){.iov_base = outbox->wire + outbox->wire_sent,
                                  .iov_len = outbox->wire_bytes - outbox->wire_sent};
        ssize_t n = send_some(conn->fd, parts, 1);
        if (n > 0) {
            outbox_wire_sent(outbox, (size_t)n);
            unqueued(pool, conn, (size_t)n);
        }
        return n < 0 ? IO_CLOSED : outbox->wire ? IO_AGAIN : IO_OK;
    }
    bool tls = conn->tls != SLAB_NONE;
    size_t max_bytes = tls ? (size_t)(POOL_RECORDS_PER_SEND - 1) * TLS_RECORD_PLAINTEXT_MAX : GATHER_BYTES;
    size_t count = outbox_gather(outbox, parts, GATHER_MAX, max_bytes);
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += parts[i].iov_len;
    if (!tls) {
        ssize_t n = send_some(conn->fd, parts, count);
        if (n > 0) {
            outbox_consume(outbox, (size_t)n);
            unqueued(pool, conn, (size_t)n);
        }
        return n < 0 ? IO_CLOSED : (size_t)n < bytes ? IO_AGAIN : IO_OK;
    }
    size_t sealed = seal_parts(pool, conn, parts, count);
    if (!sealed)
        return IO_ERROR;
    outbox_consume(outbox, bytes);
    unqueued(pool, conn, bytes);
    if (!conn_send_wire(pool, conn, pool->seal_scratch, sealed))
        return IO_CLOSED;
    return outbox->wire ? IO_AGAIN : IO_OK;
}

/* With no data before which it could go. */
static void send_key_update(struct pool *pool, struct conn *conn)
{
    uint8_t record[5 + TLS_RECORD_OVERHEAD];
    size_t bytes = seal_key_update(pool, conn, record);
    if (bytes)
        (void)conn_send_wire(pool, conn, record, bytes);
    else
        pool_destroy(pool, conn, CLOSE_INTERNAL);
}

void conn_flush(struct pool *pool, struct conn *conn)
{
    while (output_waits(conn)) {
        enum io_result result = flush_once(pool, conn);
        if (conn->state == CONN_FREE)
            return;
        if (result == IO_CLOSED || result == IO_ERROR) {
            pool_destroy(pool, conn, result == IO_CLOSED ? CLOSE_PEER_RESET : CLOSE_INTERNAL);
            return;
        }
        if (result == IO_AGAIN) {
            set_write_armed(pool, conn, true);
            return;
        }
    }
    if (conn->update_owed && !conn->shut) {
        send_key_update(pool, conn);
        if (conn->state == CONN_FREE || output_waits(conn))
            return;
    }
    if (conn->extra) {
        set_write_armed(pool, conn, false);
        conn_give_back(conn);
    }
    if (conn->state != CONN_OPEN)
        conn_close_continue(pool, conn);
}

void conn_mark_dirty(struct pool *pool, struct conn *conn)
{
    if (conn->dirty)
        return;
    conn->dirty = index_list_push(&pool->dirty, pool_index(pool, conn));
}
