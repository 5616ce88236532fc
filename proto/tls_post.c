/* Alerts and KeyUpdate after the handshake: what the peer's mean, and how ours are sealed. */
#include "proto/tls_post.h"

#include <string.h>

enum {
    HANDSHAKE_KEY_UPDATE = 24, /* RFC 8446 §4 */
    KEY_UPDATE_BYTES = 5,      /* type, three bytes of length, request_update */
    ALERT_LEVEL_WARNING = 1,
    ALERT_LEVEL_FATAL = 2,
};
_Static_assert(KEY_UPDATE_BYTES - 1 <= sizeof((struct tls_fragment *)0)->bytes,
               "a fragment has room for the longest unfinished KeyUpdate");

static struct tls_post_result event(enum tls_event event)
{
    return (struct tls_post_result){.event = event, .alert = TLS_ALERT_NONE};
}

static struct tls_post_result error(enum tls_alert alert)
{
    return (struct tls_post_result){.event = TLS_EVENT_ERROR, .alert = alert};
}

/* RFC 8446 §6: the level says nothing; close_notify and user_canceled are the only alerts that are not
 * errors. */
static struct tls_post_result read_alert(const uint8_t *content, size_t len)
{
    if (len != 2) /* §5.1: neither split nor several in one record */
        return error(TLS_ALERT_DECODE_ERROR);
    switch (content[1]) {
    case TLS_ALERT_CLOSE_NOTIFY:
        return event(TLS_EVENT_CLOSE_NOTIFY);
    case TLS_ALERT_USER_CANCELED:
        return event(TLS_EVENT_NONE);
    default:
        return (struct tls_post_result){
            .event = TLS_EVENT_FATAL_ALERT, .alert = TLS_ALERT_NONE, .peer_alert = content[1]};
    }
}

/* What can be said against the beginning of a message: only KeyUpdate is for a server's ears, as it asks for
 * no post-handshake authentication. */
static enum tls_alert judge_beginning(const uint8_t *message, size_t len)
{
    static const uint8_t header[] = {HANDSHAKE_KEY_UPDATE, 0, 0, 1};
    if (len > 0 && message[0] != header[0])
        return TLS_ALERT_UNEXPECTED_MESSAGE;
    size_t known = len < sizeof header ? len : sizeof header;
    if (memcmp(message, header, known) != 0)
        return TLS_ALERT_DECODE_ERROR;
    if (len >= KEY_UPDATE_BYTES && message[4] > 1) /* §4.6.3 */
        return TLS_ALERT_ILLEGAL_PARAMETER;
    return TLS_ALERT_NONE;
}

static struct tls_post_result read_handshake(struct tls_crypto *crypto, struct tls_direction *read_dir,
                                             enum tls_suite suite, struct tls_fragment *fragment,
                                             const uint8_t *content, size_t len)
{
    uint8_t message[KEY_UPDATE_BYTES];
    size_t have = fragment->have;
    if (have >= sizeof message)
        return error(TLS_ALERT_INTERNAL_ERROR);
    size_t take = len < sizeof message - have ? len : sizeof message - have;
    memcpy(message, fragment->bytes, have);
    memcpy(message + have, content, take);
    have += take;

    enum tls_alert alert = judge_beginning(message, have);
    if (alert != TLS_ALERT_NONE)
        return error(alert);
    if (have < sizeof message) {
        memcpy(fragment->bytes, message, have);
        fragment->have = (uint8_t)have;
        return event(TLS_EVENT_NONE);
    }
    *fragment = (struct tls_fragment){0};
    if (take < len) /* §5.1: the key changes here, so the record must end here */
        return error(TLS_ALERT_UNEXPECTED_MESSAGE);
    if (!tls_direction_update(crypto, read_dir, suite))
        return error(TLS_ALERT_INTERNAL_ERROR);
    return event(message[4] ? TLS_EVENT_PEER_UPDATED_REPLY : TLS_EVENT_PEER_UPDATED);
}

struct tls_post_result tls_post_record(struct tls_crypto *crypto, struct tls_direction *read_dir,
                                       enum tls_suite suite, struct tls_fragment *fragment,
                                       const struct tls_opened *opened)
{
    /* §5.1: no other record may stand between the fragments of a handshake message. */
    if (fragment->have > 0 && opened->type != TLS_CONTENT_HANDSHAKE)
        return error(TLS_ALERT_UNEXPECTED_MESSAGE);
    switch (opened->type) {
    case TLS_CONTENT_APPLICATION_DATA:
        return event(TLS_EVENT_DATA);
    case TLS_CONTENT_ALERT:
        return read_alert(opened->content, opened->content_bytes);
    case TLS_CONTENT_HANDSHAKE:
        return read_handshake(crypto, read_dir, suite, fragment, opened->content, opened->content_bytes);
    case TLS_CONTENT_CHANGE_CIPHER_SPEC:
        break;
    }
    return error(TLS_ALERT_UNEXPECTED_MESSAGE);
}

bool tls_post_count(uint8_t *idle_records, const struct tls_post_result *result,
                    const struct tls_opened *opened)
{
    if (result->event == TLS_EVENT_DATA && opened->content_bytes > 0)
        *idle_records = 0;
    else if (*idle_records >= TLS_IDLE_RECORDS_MAX)
        return false;
    else
        (*idle_records)++;
    return true;
}

size_t tls_post_key_update(struct tls_crypto *crypto, struct tls_direction *write_dir, enum tls_suite suite,
                           bool request_update, uint8_t *out)
{
    const uint8_t message[KEY_UPDATE_BYTES] = {HANDSHAKE_KEY_UPDATE, 0, 0, 1, request_update};
    struct tls_slice part = {message, sizeof message};
    size_t bytes = tls_record_seal(crypto, write_dir, suite, TLS_CONTENT_HANDSHAKE, &part, 1, out);
    if (bytes == 0 || !tls_direction_update(crypto, write_dir, suite))
        return 0;
    return bytes;
}

size_t tls_post_alert(struct tls_crypto *crypto, struct tls_direction *write_dir, enum tls_suite suite,
                      enum tls_alert alert, uint8_t *out)
{
    bool closure = alert == TLS_ALERT_CLOSE_NOTIFY || alert == TLS_ALERT_USER_CANCELED;
    const uint8_t message[2] = {closure ? ALERT_LEVEL_WARNING : ALERT_LEVEL_FATAL, (uint8_t)alert};
    struct tls_slice part = {message, sizeof message};
    return tls_record_seal(crypto, write_dir, suite, TLS_CONTENT_ALERT, &part, 1, out);
}
