/* Records and what comes after the handshake: raw bytes, and records sealed with the right key, then altered
 * or not.
 *
 * First byte: bit 0 picks the suite, bit 1 raw bytes; otherwise the rest is a list of (inner type, length,
 * alteration, content).
 */
#include "gateway/base/assert.h"
#include "proto/tls_post.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct line {
    struct tls_crypto *crypto;
    enum tls_suite suite;
    struct tls_direction theirs, ours;
    struct tls_fragment fragment;
};

/* False when the connection would be closed. */
static bool interpret(struct line *line, const struct tls_opened *opened)
{
    uint64_t seq = tls_direction_seq(&line->ours);
    struct tls_post_result result =
        tls_post_record(line->crypto, &line->ours, line->suite, &line->fragment, opened);
    PG_ASSERT(line->fragment.have < 5);
    switch (result.event) {
    case TLS_EVENT_PEER_UPDATED:
    case TLS_EVENT_PEER_UPDATED_REPLY:
        PG_ASSERT(tls_direction_seq(&line->ours) == 0);
        return tls_direction_update(line->crypto, &line->theirs, line->suite);
    case TLS_EVENT_ERROR:
        PG_ASSERT(result.alert != TLS_ALERT_NONE);
        return false;
    case TLS_EVENT_CLOSE_NOTIFY:
    case TLS_EVENT_FATAL_ALERT:
        return false;
    case TLS_EVENT_NONE:
    case TLS_EVENT_DATA:
        break;
    }
    PG_ASSERT(tls_direction_seq(&line->ours) == seq);
    return true;
}

static void check_bounds(const struct tls_opened *opened, const uint8_t *data, size_t len)
{
    PG_ASSERT(opened->record_bytes <= len);
    PG_ASSERT(opened->content == data + TLS_RECORD_HEADER_BYTES);
    PG_ASSERT(opened->content_bytes <= TLS_RECORD_PLAINTEXT_MAX);
    PG_ASSERT(opened->content_bytes + TLS_RECORD_OVERHEAD <= opened->record_bytes);
}

static void raw(struct line *line, const uint8_t *data, size_t size)
{
    struct tls_opened opened;
    if (tls_record_peek(data, size, TLS_RECORD_PLAINTEXT_MAX, &opened) == PARSE_BAD)
        PG_ASSERT(opened.alert != TLS_ALERT_NONE);
    uint8_t *copy = malloc(size + 1);
    if (!copy)
        return;
    memcpy(copy, data, size);
    switch (tls_record_open(line->crypto, &line->ours, line->suite, copy, size, &opened)) {
    case PARSE_OK:
        check_bounds(&opened, copy, size);
        break;
    case PARSE_BAD:
        PG_ASSERT(opened.alert != TLS_ALERT_NONE);
        break;
    case PARSE_MORE:
        PG_ASSERT(size < TLS_RECORD_HEADER_BYTES + TLS_RECORD_CIPHERTEXT_MAX);
        break;
    }
    free(copy);
}

static void sealed(struct line *line, const uint8_t *data, size_t size)
{
    while (size >= 3) {
        uint8_t type = data[0], alteration = data[2];
        size_t len = data[1] < size - 3 ? data[1] : size - 3;
        const uint8_t *content = data + 3;
        uint8_t record[256 + TLS_RECORD_OVERHEAD];
        struct tls_slice parts[] = {{content, len / 2}, {content + len / 2, len - len / 2}};
        size_t bytes = tls_record_seal(line->crypto, &line->theirs, line->suite, (enum tls_content_type)type,
                                       parts, 2, record);
        PG_ASSERT(bytes == len + TLS_RECORD_OVERHEAD);
        if (alteration)
            record[alteration % bytes] ^= alteration;

        struct tls_opened opened;
        enum parse_result result =
            tls_record_open(line->crypto, &line->ours, line->suite, record, bytes, &opened);
        if (alteration)
            PG_ASSERT(result != PARSE_OK);
        if (result != PARSE_OK)
            return;
        check_bounds(&opened, record, bytes);
        if (type != 0) { /* else the type stands in the content, before padding */
            PG_ASSERT(opened.content_bytes == len);
            PG_ASSERT(len == 0 || memcmp(opened.content, content, len) == 0);
        }
        if (!interpret(line, &opened))
            return;
        data += 3 + len;
        size -= 3 + len;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tls_crypto *crypto; /* once for the whole run */
    static const uint8_t secret[TLS_SECRET_BYTES] = {1, 2, 3};
    if (!crypto)
        crypto = tls_crypto_create();
    if (!crypto || size < 1)
        return 0;
    struct line line = {
        .crypto = crypto,
        .suite = data[0] & 1 ? TLS_SUITE_CHACHA20_POLY1305_SHA256 : TLS_SUITE_AES_128_GCM_SHA256,
    };
    if (!tls_direction_init(crypto, &line.theirs, line.suite, secret, 0))
        return 0;
    line.ours = line.theirs;
    if (data[0] & 2)
        raw(&line, data + 1, size - 1);
    else
        sealed(&line, data + 1, size - 1);
    return 0;
}
