/* How connections end: closing handshake (RFC 6455 §7), close_notify (RFC 8446 §6.1), FIN, and a deadline
 * over all of it. */
#include "gateway/conn/pool.h"

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

/* Close frames are out: say the same to TLS and TCP. False when the connection is gone. */
static bool shut_write_side(struct pool *pool, struct conn *conn)
{
    if (conn->shut)
        return true;
    conn->shut = true;
    if (conn->tls != SLAB_NONE) {
        seal_and_send_alert(pool, conn, TLS_ALERT_CLOSE_NOTIFY);
        if (conn->state == CONN_FREE)
            return false;
    }
    return true;
}

void conn_close_continue(struct pool *pool, struct conn *conn)
{
    if (conn->extra && !outbox_empty(&conn->extra->outbox))
        return;
    if (!conn->peer_closed && !conn->deaf)
        return; /* its close frame, EOF or the deadline comes next */
    if (!shut_write_side(pool, conn) || (conn->extra && !outbox_empty(&conn->extra->outbox)))
        return;
    if (conn->peer_closed) {
        pool_destroy(pool, conn, conn->reason);
        return;
    }
    if (conn->state == CONN_LINGER)
        return;
    conn->state = CONN_LINGER;
    shutdown(conn->fd, SHUT_WR);
}

static uint32_t drop_queued(struct pool *pool, struct conn *conn)
{
    if (!conn->extra)
        return 0;
    struct outbox *outbox = &conn->extra->outbox;
    uint64_t before = outbox->bytes;
    uint32_t dropped = outbox_drop_unsent(outbox);
    counter_sub(&pool->stats->outbox_bytes, before - outbox->bytes);
    return dropped;
}

void conn_tls_fail(struct pool *pool, struct conn *conn, enum tls_alert alert)
{
    /* What is half sent cannot be completed by a dead connection, so the alert goes only where the stream is
     * at a record's end. */
    if (alert == TLS_ALERT_NONE || conn->shut || (conn->extra && conn->extra->outbox.wire)) {
        pool_destroy(pool, conn, CLOSE_TLS_ERROR);
        return;
    }
    if (conn->reason == CLOSE_NONE)
        conn->reason = CLOSE_TLS_ERROR;
    conn->state = CONN_CLOSING;
    conn->deaf = true;
    conn->shut = true;
    pool_leave(pool, conn);
    counter_add(&pool->stats->drops, drop_queued(pool, conn));
    if (conn->extra) {
        buffer_fini(&conn->extra->frame);
        buffer_fini(&conn->extra->message);
        conn->extra->sequence = (struct ws_sequence){0};
        conn->extra->fragment = (struct tls_fragment){0};
    }
    pool_arm(pool, conn);
    bool begun = conn->extra && !outbox_empty(&conn->extra->outbox); /* a frame that nobody will see end */
    seal_and_send_alert(pool, conn, alert);
    /* Lingers, because closing over unread input would send a reset, which overtakes the alert. */
    if (begun && conn->state != CONN_FREE)
        pool_destroy(pool, conn, CLOSE_TLS_ERROR);
    else if (conn->state != CONN_FREE)
        conn_close_continue(pool, conn);
}

void conn_close(struct pool *pool, struct conn *conn, enum close_reason reason, uint16_t code,
                const char *text)
{
    if (conn->state != CONN_OPEN)
        return;
    if (!code)
        code = close_reason_code(reason);
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
    if (conn->extra) {
        buffer_fini(&conn->extra->message);
        conn->extra->sequence = (struct ws_sequence){0};
        if (conn->deaf)
            buffer_fini(&conn->extra->frame);
    }
    pool_arm(pool, conn);
    uint8_t frame[2 + WS_CONTROL_PAYLOAD_MAX];
    size_t bytes = ws_frame_close(frame, code, text ? text : "");
    conn_send_own(pool, conn, frame, bytes);
    if (conn->state == CONN_FREE)
        return;
    if (reason == CLOSE_IDLE) { /* nobody has been there for long: nobody will answer */
        if (shut_write_side(pool, conn))
            pool_destroy(pool, conn, reason);
        return;
    }
    conn_close_continue(pool, conn);
}
