/* What a server sends pushgate-load inside its records after the handshake: tickets, key updates, alerts and
 * data, cut into records in any way.
 *
 * A list of (type, length, content); type 0 is a handshake record.
 */
#include "gateway/base/assert.h"
#include "loadtest/tls_client.h"

#include <string.h>

enum { TICKET_MAX = 1 << 17, CONTENT_MAX = 255 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tls_crypto *crypto; /* once for the whole run */
    static const uint8_t secret[TLS_SECRET_BYTES] = {1, 2, 3};
    static const enum tls_suite suite = TLS_SUITE_AES_128_GCM_SHA256;
    struct tls_direction read_dir;
    struct tls_client_post post = {0};
    uint32_t tickets = 0;

    if (!crypto)
        crypto = tls_crypto_create();
    if (!crypto || !tls_direction_init(crypto, &read_dir, suite, secret, 0))
        return 0;
    while (size >= 2) {
        uint8_t content[CONTENT_MAX];
        size_t len = data[1] < size - 2 ? data[1] : size - 2;
        memcpy(content, data + 2, len);
        struct tls_opened opened = {
            .type = data[0] == 0 ? TLS_CONTENT_HANDSHAKE : (enum tls_content_type)data[0],
            .content = content,
            .content_bytes = len,
        };
        bool amid = post.skip > 0 || post.have > 0;
        uint32_t before = tickets;
        struct tls_post_result result =
            tls_client_post_record(crypto, &read_dir, suite, &post, &opened, &tickets);
        PG_ASSERT(tickets - before <= len / 4 + 1);
        if (opened.type != TLS_CONTENT_HANDSHAKE)
            PG_ASSERT(tickets == before && (!amid || result.event == TLS_EVENT_ERROR));
        if (result.event == TLS_EVENT_ERROR)
            PG_ASSERT(result.alert != TLS_ALERT_NONE);
        if (result.event == TLS_EVENT_ERROR || result.event == TLS_EVENT_CLOSE_NOTIFY ||
            result.event == TLS_EVENT_FATAL_ALERT)
            return 0;
        PG_ASSERT(post.have < sizeof(post.head) && post.skip <= TICKET_MAX);
        data += 2 + len;
        size -= 2 + len;
    }
    return 0;
}
