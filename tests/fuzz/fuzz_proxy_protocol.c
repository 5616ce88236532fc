/* PROXY headers, at once and byte by byte: both must come to the same end, and what is taken must be whole.
 */
#include "proto/proxy_protocol.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
    if (!holds)
        abort();
}

static void check(const uint8_t *data, size_t size, const struct proxy_header *header)
{
    must(header->error == NULL && header->bytes <= size && header->bytes >= 15);
    must(header->version == 1 || header->version == 2);
    must(header->bytes <= (header->version == 1 ? (size_t)PROXY_V1_MAX : (size_t)PROXY_V2_MAX));
    if (header->version == 1)
        must(memcmp(data + header->bytes - 2, "\r\n", 2) == 0);
    static const uint8_t zeros[16];
    if (header->family == PROXY_SOURCE_NONE || header->family == PROXY_SOURCE_UNIX)
        must(memcmp(header->source, zeros, 16) == 0 && header->source_port == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_header whole, piece;
    enum parse_result result = proxy_header_parse(data, size, &whole);
    if (result == PARSE_OK)
        check(data, size, &whole);
    enum parse_result last = PARSE_MORE;
    size_t end = size < PROXY_V2_MAX + 1 ? size : PROXY_V2_MAX + 1;
    for (size_t len = 0; len <= end && last == PARSE_MORE; len++) {
        uint8_t *copy = malloc(len ? len : 1); /* so that a read past the end is seen */
        must(copy != NULL);
        if (len)
            memcpy(copy, data, len);
        last = proxy_header_parse(copy, len, &piece);
        must((last == PARSE_BAD) == (piece.error != NULL));
        must(last != PARSE_OK || piece.bytes == len);
        free(copy);
    }
    must(last == result);
    if (result == PARSE_OK)
        must(piece.bytes == whole.bytes && piece.family == whole.family &&
             piece.source_port == whole.source_port && memcmp(piece.source, whole.source, 16) == 0);
    must(size <= PROXY_V2_MAX || result != PARSE_MORE); /* nothing is waited for without end */
    return 0;
}
