/* A connection before its upgrade: bytes in and out, and the TLS handshake. */
#include "gateway/acceptor_internal.h"

#include "gateway/base/assert.h"
#include "gateway/base/log.h"
#include "proto/tls_post.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

void pending_release(struct acceptor *acceptor, struct pending *pending)
{
    wheel_cancel(&acceptor->wheel, acceptor_index(acceptor, pending));
    list_remove(&pending->place);
    if (pending->handshake)
        tls_handshake_destroy(pending->handshake);
    pending->handshake = NULL;
    tls_direction_wipe(&pending->read);
    tls_direction_wipe(&pending->write);
    buffer_fini(&pending->raw);
    if (pending->plain.data)
        OPENSSL_cleanse(pending->plain.data, pending->plain.len); /* the request may have a token */
    buffer_fini(&pending->plain);
    buffer_fini(&pending->out);
    pending->state = PENDING_FREE;
    acceptor->refused -= pending->refusal != HANDSHAKE_FAILURE_COUNT;
    counter_sub(&acceptor->stats.handshaking, 1);
    acceptor->ended_since_trim++;
    struct index_list_u32 *freed = &acceptor->freed; /* has room for every slot */
    freed->items[freed->count++] = acceptor_index(acceptor, pending);
}

static void log_failure(const struct pending *pending, enum handshake_failure failure)
{
    char client[ADDRESS_TEXT_MAX];
    if (log_enabled(LOG_DEBUG))
        log_event(LOG_DEBUG, "handshake_failed", "reason=%s client=%s", handshake_failure_label(failure),
                  address_format(&pending->client, client, sizeof client));
}

void pending_close(struct acceptor *acceptor, struct pending *pending, enum handshake_failure failure)
{
    if (failure < HANDSHAKE_FAILURE_COUNT) {
        counter_add(&acceptor->stats.failures[failure], 1);
        log_failure(pending, failure);
    }
    close(pending->fd);
    ip_limit_release(acceptor->shared->ip_limit, pending->ip_handle);
    pending_release(acceptor, pending);
}

/* The peer's end, or a broken connection. What was answered has been counted. */
static void peer_gone(struct acceptor *acceptor, struct pending *pending)
{
    pending_close(acceptor, pending,
                  pending_is_answered(pending) ? HANDSHAKE_FAILURE_COUNT : HANDSHAKE_PEER_GONE);
}

static void set_writing(struct acceptor *acceptor, struct pending *pending, bool writing)
{
    if (pending->writing == writing)
        return;
    struct epoll_event event = {.events = EPOLLIN | (writing ? EPOLLOUT : 0),
                                .data.u64 = acceptor_event_data(acceptor, pending)};
    if (epoll_ctl(acceptor->epoll_fd, EPOLL_CTL_MOD, pending->fd, &event) ==
        0) /* else the deadline ends it */
        pending->writing = writing;
}

/* Sends what waits. `more`: whoever sends next will do so soon, and the kernel may wait for that (for 200 ms
 * at the most). False: the connection is gone. */
static bool flush_out(struct acceptor *acceptor, struct pending *pending, bool more)
{
    const int flags = MSG_DONTWAIT | MSG_NOSIGNAL | (more ? MSG_MORE : 0);
    while (pending->out.len) {
        ssize_t n = send(pending->fd, pending->out.data, pending->out.len, flags);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            set_writing(acceptor, pending, true);
            return true;
        }
        if (n < 0) {
            peer_gone(acceptor, pending);
            return false;
        }
        buffer_consume(&pending->out, (size_t)n);
    }
    set_writing(acceptor, pending, false);
    return true;
}

static bool queue_out(struct acceptor *acceptor, struct pending *pending, const void *data, size_t bytes)
{
    if (buffer_append(&pending->out, data, bytes))
        return true;
    pending_close(acceptor, pending, HANDSHAKE_INTERNAL);
    return false;
}

bool pending_send(struct acceptor *acceptor, struct pending *pending, const void *data, size_t bytes)
{
    if (pending->transport == TRANSPORT_WS)
        return queue_out(acceptor, pending, data, bytes);
    const uint8_t *at = data;
    while (bytes > 0) {
        struct tls_slice slice = {.data = at,
                                  .len = bytes < TLS_RECORD_PLAINTEXT_MAX ? bytes : TLS_RECORD_PLAINTEXT_MAX};
        size_t sealed = tls_record_seal(acceptor->crypto, &pending->write, pending->suite,
                                        TLS_CONTENT_APPLICATION_DATA, &slice, 1, acceptor->scratch);
        if (!sealed) {
            pending_close(acceptor, pending, HANDSHAKE_INTERNAL);
            return false;
        }
        if (!queue_out(acceptor, pending, acceptor->scratch, sealed))
            return false;
        at += slice.len;
        bytes -= slice.len;
    }
    return true;
}

void pending_end_stream(struct acceptor *acceptor, struct pending *pending)
{
    if (pending->transport == TRANSPORT_WS)
        return;
    uint8_t record[2 + TLS_RECORD_OVERHEAD];
    size_t bytes =
        tls_post_alert(acceptor->crypto, &pending->write, pending->suite, TLS_ALERT_CLOSE_NOTIFY, record);
    if (bytes)
        (void)queue_out(acceptor, pending, record, bytes);
}

/* The response is queued: when it is out, end our side and wait for the peer's. */
void pending_continue(struct acceptor *acceptor, struct pending *pending)
{
    if (!flush_out(acceptor, pending, false) || pending->out.len)
        return;
    pending->state = PENDING_LINGER;
    crowd_is_told(acceptor, pending);
    shutdown(pending->fd, SHUT_WR);
}

static void fail_tls(struct acceptor *acceptor, struct pending *pending)
{
    bool old = tls_handshake_old_version(pending->handshake);
    log_event(LOG_DEBUG, "tls_handshake_failed", "error=%s", tls_handshake_error(pending->handshake));
    counter_add(&acceptor->stats.failures[old ? HANDSHAKE_TLS_VERSION : HANDSHAKE_TLS], 1);
    /* The alert must arrive: the same lingering end as after a response. */
    pending->state = PENDING_RESPONSE;
    buffer_fini(&pending->raw);
    pending_continue(acceptor, pending);
}

/* Hands OpenSSL what has arrived. True when the connection can go on to HTTP. */
static bool step_tls(struct acceptor *acceptor, struct pending *pending)
{
    size_t used = 0;
    enum tls_handshake_status status =
        tls_handshake_feed(pending->handshake, pending->raw.data, pending->raw.len, &used);
    buffer_consume(&pending->raw, used);
    size_t bytes;
    const uint8_t *output = tls_handshake_output(pending->handshake, &bytes);
    if (bytes) {
        if (!queue_out(acceptor, pending, output, bytes))
            return false;
        tls_handshake_sent(pending->handshake, bytes);
        crowd_went_on(acceptor, pending);
    }
    if (status == TLS_HANDSHAKE_FAILED) {
        fail_tls(acceptor, pending);
        return false;
    }
    /* When the client has finished, its request comes next: tickets go in one segment with the answer. */
    if (!flush_out(acceptor, pending, status == TLS_HANDSHAKE_DONE) || status == TLS_HANDSHAKE_MORE)
        return false;
    struct tls_handshake_result result;
    if (!tls_handshake_take(pending->handshake, &result)) {
        pending_close(acceptor, pending, HANDSHAKE_INTERNAL);
        return false;
    }
    tls_handshake_destroy(pending->handshake);
    pending->handshake = NULL;
    pending->suite = (uint16_t)result.suite;
    pending->read = result.read;
    pending->write = result.write;
    tls_direction_wipe(&result.read);
    tls_direction_wipe(&result.write);
    counter_add(&acceptor->stats.tls_handshakes, 1);
    counter_add(&acceptor->stats.tls_resumed, result.resumed);
    pending->state = PENDING_HTTP;
    crowd_went_on(acceptor, pending);
    return true;
}

static void fail_record(struct acceptor *acceptor, struct pending *pending, enum tls_alert alert)
{
    uint8_t record[2 + TLS_RECORD_OVERHEAD];
    size_t bytes = tls_post_alert(acceptor->crypto, &pending->write, pending->suite, alert, record);
    counter_add(&acceptor->stats.failures[HANDSHAKE_TLS], 1);
    if (bytes && !queue_out(acceptor, pending, record, bytes))
        return;
    pending->state = PENDING_RESPONSE;
    buffer_fini(&pending->raw);
    pending_continue(acceptor, pending);
}

/* Opens the record that stands `*used` bytes into `raw`. False: nothing more can be done now. */
static bool open_one_record(struct acceptor *acceptor, struct pending *pending, size_t *used)
{
    struct tls_opened opened;
    enum parse_result result = tls_record_open(acceptor->crypto, &pending->read, pending->suite,
                                               pending->raw.data + *used, pending->raw.len - *used, &opened);
    if (result == PARSE_MORE)
        return false;
    if (result == PARSE_BAD) {
        fail_record(acceptor, pending, opened.alert);
        return false;
    }
    *used += opened.record_bytes;
    struct tls_fragment fragment = {0};
    struct tls_post_result post =
        tls_post_record(acceptor->crypto, &pending->read, pending->suite, &fragment, &opened);
    if (tls_post_updated(&post))
        pending->key_updates++;
    if (!tls_post_count(&pending->idle_records, &post, &opened) ||
        pending->key_updates > TLS_KEY_UPDATES_MAX) {
        fail_record(acceptor, pending, TLS_ALERT_UNEXPECTED_MESSAGE);
        return false;
    }
    switch (post.event) {
    case TLS_EVENT_DATA:
        if (!buffer_append(&pending->plain, opened.content, opened.content_bytes)) {
            pending_close(acceptor, pending, HANDSHAKE_INTERNAL);
            return false;
        }
        break;
    case TLS_EVENT_PEER_UPDATED_REPLY: {
        uint8_t record[5 + TLS_RECORD_OVERHEAD];
        size_t bytes = tls_post_key_update(acceptor->crypto, &pending->write, pending->suite, false, record);
        if (!bytes) {
            pending_close(acceptor, pending, HANDSHAKE_INTERNAL);
            return false;
        }
        return queue_out(acceptor, pending, record, bytes) && flush_out(acceptor, pending, false);
    }
    case TLS_EVENT_NONE:
        if (fragment
                .have) { /* a KeyUpdate in pieces before the request: legal, and nobody's client does it */
            fail_record(acceptor, pending, TLS_ALERT_UNEXPECTED_MESSAGE);
            return false;
        }
        break;
    case TLS_EVENT_PEER_UPDATED:
        break;
    case TLS_EVENT_CLOSE_NOTIFY:
    case TLS_EVENT_FATAL_ALERT:
        pending_close(acceptor, pending, HANDSHAKE_PEER_GONE);
        return false;
    case TLS_EVENT_ERROR:
        fail_record(acceptor, pending, post.alert);
        return false;
    }
    return true;
}

/* A request may stand in several records: after each it is asked whether it is whole, so that none behind it
 * is opened. An answer to a KeyUpdate goes out whole before anybody else may write. */
static enum parse_result read_records(struct acceptor *acceptor, struct pending *pending,
                                      struct http_request *request)
{
    enum parse_result result = PARSE_MORE;
    size_t used = 0;
    while (result == PARSE_MORE && used < pending->raw.len && !pending->out.len &&
           open_one_record(acceptor, pending, &used))
        result = pending_read_request(acceptor, pending, request);
    buffer_consume(&pending->raw, used); /* all at once: a record may be as small as a byte */
    return result;
}

static void step_http(struct acceptor *acceptor, struct pending *pending)
{
    struct http_request request;
    enum parse_result result;
    if (pending->transport == TRANSPORT_WS) {
        struct buffer raw = pending->raw;
        pending->raw = (struct buffer){0};
        bool kept = buffer_append(&pending->plain, raw.data, raw.len);
        buffer_fini(&raw);
        if (!kept) {
            pending_close(acceptor, pending, HANDSHAKE_INTERNAL);
            return;
        }
        result = pending_read_request(acceptor, pending, &request);
    } else {
        result = read_records(acceptor, pending, &request);
    }
    if (result != PARSE_MORE)
        pending_request(acceptor, pending, result, &request);
}

void pending_step(struct acceptor *acceptor, struct pending *pending)
{
    if (pending->state == PENDING_PROXY && !pending_proxy_header(acceptor, pending))
        return;
    if (pending->state == PENDING_TLS && !step_tls(acceptor, pending))
        return;
    /* What TLS still has to say goes first: the next to write may be a reactor. */
    if (pending->state == PENDING_HTTP && !pending->out.len) {
        if (acceptor->closed)
            pending_turn_away(acceptor, pending, HANDSHAKE_DRAIN);
        else
            step_http(acceptor, pending);
    }
    if (pending->state == PENDING_RESPONSE)
        pending_continue(acceptor, pending);
}

void pending_writable(struct acceptor *acceptor, struct pending *pending)
{
    if (!pending->out.len)
        return;
    if (pending->state == PENDING_RESPONSE)
        pending_continue(acceptor, pending);
    else if (flush_out(acceptor, pending, false) && !pending->out.len)
        pending_step(acceptor, pending);
}

void pending_readable(struct acceptor *acceptor, struct pending *pending)
{
    /* Level-triggered, one read a turn: no peer can keep the acceptor to itself. */
    ssize_t n;
    do {
        n = recv(pending->fd, acceptor->scratch, ACCEPTOR_READ, MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        peer_gone(acceptor, pending);
        return;
    }
    if (pending_is_answered(pending) || pending->state == PENDING_REPLY)
        return; /* nothing that it says now matters */
    /* Nothing is opened while our own output is stuck: no client needs more than what is on its way then. */
    if (pending->raw.len > ACCEPTOR_RAW_MAX || !buffer_append(&pending->raw, acceptor->scratch, (size_t)n)) {
        pending_close(acceptor, pending, HANDSHAKE_INTERNAL);
        return;
    }
    pending_step(acceptor, pending);
}
