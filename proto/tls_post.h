/* What a TLS 1.3 server hears after the handshake besides application data: alerts and KeyUpdate
 * (RFC 8446 §4.6.3, §6), also when a handshake message comes in fragments (§5.1).
 *
 * Thread: any; pure functions. Owner: the caller.
 */
#pragma once

#include "proto/tls_record.h"

/* A handshake message that has begun in an earlier record. All zero: none. Eight bytes, held only while a
 * fragment waits. */
struct tls_fragment {
    uint8_t have;
    uint8_t bytes[7];
};
_Static_assert(sizeof(struct tls_fragment) == 8, "eight bytes");

enum tls_event {
    TLS_EVENT_NONE,         /* nothing to do (an unfinished handshake fragment, warning user_canceled) */
    TLS_EVENT_DATA,         /* application data: use opened->content */
    TLS_EVENT_CLOSE_NOTIFY, /* the peer has said that it sends no more */
    TLS_EVENT_FATAL_ALERT,  /* the peer gave up; peer_alert says why; send nothing back */
    TLS_EVENT_PEER_UPDATED, /* the read key was updated */
    TLS_EVENT_PEER_UPDATED_REPLY, /* the same, and we owe a KeyUpdate(update_not_requested) */
    TLS_EVENT_ERROR,              /* `alert` must be sent and the connection closed */
};

struct tls_post_result {
    enum tls_event event;
    enum tls_alert alert; /* TLS_EVENT_ERROR: to send */
    uint8_t peer_alert;   /* TLS_EVENT_FATAL_ALERT: as received */
};

enum {
    /* Records without application data that a peer may send in a row: KeyUpdates, empty records,
     * user_canceled and fragments cost us work and say nothing. */
    TLS_IDLE_RECORDS_MAX = 32,
    /* KeyUpdates that a peer may send in a second, or before its request, whatever stands between them: each
     * costs us as much as some dozens of records. Nobody needs one but for every 2^24.5 records. */
    TLS_KEY_UPDATES_MAX = 32,
};

/* Counts such records; application data starts anew. False when `opened`, whose `result` this was, is one too
 * many: unexpected_message. */
bool tls_post_count(uint8_t *idle_records, const struct tls_post_result *result,
                    const struct tls_opened *opened) __attribute__((warn_unused_result));

static inline bool tls_post_updated(const struct tls_post_result *result)
{
    return result->event == TLS_EVENT_PEER_UPDATED || result->event == TLS_EVENT_PEER_UPDATED_REPLY;
}

/* Interprets one opened record. Updates `read_dir` itself on KeyUpdate. Several handshake messages in one
 * record before a key change are refused (RFC 8446 §5.1: unexpected_message). */
struct tls_post_result tls_post_record(struct tls_crypto *crypto, struct tls_direction *read_dir,
                                       enum tls_suite suite, struct tls_fragment *fragment,
                                       const struct tls_opened *opened);

/* Seals a KeyUpdate with the current key at `out` (room for 5 + TLS_RECORD_OVERHEAD bytes), then moves
 * write_dir to the next key. Returns the record's bytes, 0 on failure. */
size_t tls_post_key_update(struct tls_crypto *crypto, struct tls_direction *write_dir, enum tls_suite suite,
                           bool request_update, uint8_t *out);
/* Seals one alert (level warning for close_notify, else fatal). Room for 2 + TLS_RECORD_OVERHEAD bytes. */
size_t tls_post_alert(struct tls_crypto *crypto, struct tls_direction *write_dir, enum tls_suite suite,
                      enum tls_alert alert, uint8_t *out);
/* Name of an alert for logs and metrics, e.g. "bad_record_mac"; "unknown" otherwise. */
const char *tls_alert_name(uint8_t alert);
