/* How connections end: closing handshake (RFC 6455 §7), close_notify (RFC 8446 §6.1), FIN, and a deadline
 * over all of it. */
#include "gateway/conn/pool.h"
#include "proto/centrifuge_codes.h"

#include <string.h>
#include <sys/socket.h>

static void seal_and_send_alert(struct pool *pool, struct conn *conn, enum tls_alert alert)
{
    uint8_t record[2 + TLS_RECORD_OVERHEAD];
    size_t bytes =
        tls_post_alert(pool->crypto, &pool_tls(pool, conn)->write, conn_suite(conn), alert, record);
    if (bytes)
        (void)conn_send_wire(pool, conn, record, bytes);
}

/* The close frame is out: say the same to TLS. False when the connection is gone. */
static bool shut_write_side(struct pool *pool, struct conn *conn)
{
    if (!conn->shut && conn->tls != SLAB_NONE)
        seal_and_send_alert(pool, conn, TLS_ALERT_CLOSE_NOTIFY);
    conn->shut = true;
    return conn->state != CONN_FREE;
}

void conn_close_continue(struct pool *pool, struct conn *conn)
{
    if (conn->state == CONN_LINGER || (conn->extra && !outbox_empty(&conn->extra->outbox)))
        return;
    if (!conn->peer_closed && !conn->deaf && !conn->ended)
        return; /* its close frame, EOF or the deadline comes next */
    if (!shut_write_side(pool, conn) || (conn->extra && !outbox_empty(&conn->extra->outbox)))
        return;
    if (conn->ended) {
        pool_destroy(pool, conn, conn->reason);
        return;
    }
    /* RFC 6455 §7.1.1: close() with unread input would send a reset, which may overtake the close frame. */
    conn->state = CONN_LINGER;
    shutdown(conn->fd, SHUT_WR);
}

/* What has come of an unfinished record, frame or message matters no more. */
static void forget_input(struct conn *conn)
{
    if (!conn->extra)
        return;
    buffer_fini(&conn->extra->record);
    buffer_fini(&conn->extra->frame);
    buffer_fini(&conn->extra->message);
    conn->extra->sequence = (struct ws_sequence){0};
    conn->extra->fragment = (struct tls_fragment){0};
}

void conn_deafen(struct pool *pool, struct conn *conn)
{
    conn->deaf = true;
    forget_input(conn);
    conn_close_continue(pool, conn);
}

static uint32_t drop_queued(struct pool *pool, struct conn *conn)
{
    if (!conn->extra)
        return 0;
    struct outbox *outbox = &conn->extra->outbox;
    uint64_t before = outbox->bytes;
    uint32_t dropped = outbox_drop_unsent(outbox);
    counter_sub(&pool->stats->outbox_bytes, before - outbox->bytes);
    pool_count_outbox(pool, conn->extra);
    return dropped;
}

/* What a close frame says when nobody has said anything: Centrifuge clients show it. */
static const char *text_of(const struct conn *conn, uint16_t code)
{
    const char *text = adapter_get((enum adapter_id)conn->adapter)->centrifuge_codes
                           ? centrifuge_disconnect_reason(code)
                           : NULL;
    return text ? text : "";
}

void conn_close(struct pool *pool, struct conn *conn, enum close_reason reason, uint16_t code,
                const char *text)
{
    if (conn->state != CONN_OPEN)
        return;
    if (!code)
        code = adapter_get((enum adapter_id)conn->adapter)->centrifuge_codes
                   ? close_reason_centrifuge_code(reason)
                   : close_reason_code(reason);
    if (!code) {
        pool_destroy(pool, conn, reason);
        return;
    }
    conn->state = CONN_CLOSING;
    conn->reason = (uint8_t)reason;
    /* After these the peer's bytes mean nothing to us any more. */
    conn->deaf = reason == CLOSE_PROTOCOL || reason == CLOSE_BAD_UTF8 || reason == CLOSE_TOO_BIG ||
                 reason == CLOSE_POLICY;
    pool_leave(pool, conn);
    if (reason == CLOSE_SLOW)
        counter_add(&pool->stats->drops, drop_queued(pool, conn));
    if (conn->deaf)
        forget_input(conn);
    else if (conn->extra) /* the peer may be in the middle of a message: its frames are still followed */
        buffer_fini(&conn->extra->message);
    pool_arm(pool, conn);
    uint8_t frame[2 + WS_CONTROL_PAYLOAD_MAX];
    size_t bytes = ws_frame_close(frame, code, text ? text : text_of(conn, code));
    conn_send_own(pool, conn, frame, bytes);
    if (conn->state == CONN_FREE)
        return;
    if (reason == CLOSE_IDLE) { /* nobody has been there for long: nobody will answer */
        conn_flush(pool, conn); /* what only waits for the end of the turn */
        bool all_out = conn->state != CONN_FREE && (!conn->extra || outbox_empty(&conn->extra->outbox));
        if (all_out)
            (void)shut_write_side(pool, conn);
        if (conn->state != CONN_FREE)
            pool_destroy(pool, conn, reason);
        return;
    }
    conn_close_continue(pool, conn);
}

void conn_tls_fail(struct pool *pool, struct conn *conn, enum tls_alert alert)
{
    /* In the middle of a record that the kernel took in part, or behind close_notify, nothing can be said. */
    if (alert == TLS_ALERT_NONE || conn->shut || (conn->extra && conn->extra->outbox.wire)) {
        pool_destroy(pool, conn, CLOSE_TLS_ERROR);
        return;
    }
    if (conn->state == CONN_OPEN) {
        conn->state = CONN_CLOSING;
        conn->reason = CLOSE_TLS_ERROR;
        pool_leave(pool, conn);
        pool_arm(pool, conn);
    }
    /* A fatal alert is the last record (RFC 8446 §6.2): what waits, begun or not, is not sealed any more. */
    if (conn->extra) {
        struct outbox *outbox = &conn->extra->outbox;
        counter_sub(&pool->stats->outbox_bytes, outbox->bytes);
        counter_add(&pool->stats->drops, outbox_drop_unsent(outbox));
        outbox_fini(outbox);
        pool_count_outbox(pool, conn->extra);
    }
    conn->shut = true;
    seal_and_send_alert(pool, conn, alert);
    if (conn->state != CONN_FREE)
        conn_deafen(pool, conn);
}
