/* What a server answers to pushgate-load's upgrade request, whole and in two pieces; and what the tool makes
 * of a stranger's words.
 *
 * First byte: bit 0 offers subprotocols. The rest is the answer, in which '@' stands for the right
 * Sec-WebSocket-Accept.
 */
#include "gateway/base/assert.h"
#include "loadtest/printable.h"
#include "loadtest/upgrade.h"
#include "proto/utf8.h"

#include <stdlib.h>
#include <string.h>

enum { ANSWER_BYTES = 20 * 1024 };

static const char accept_text[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever comes in, what goes out is UTF-8 without control characters and fits. */
static void show(const uint8_t *data, size_t size)
{
    char out[40];
    size_t room = 8 + (size > 0 ? data[0] % 32 : 0), len = printable(data, size, out, room);

    PG_ASSERT(len < room && len == strlen(out) && utf8_valid(out, len));
    for (size_t i = 0; i < len; i++)
        PG_ASSERT((unsigned char)out[i] >= 0x20 && out[i] != 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct upgrade_answer answer, part;
    size_t len = 0;

    if (size < 1)
        return 0;
    show(data + 1, size - 1);
    const char *subprotocol = data[0] & 1 ? "chat, v2" : "";
    char *text = malloc(ANSWER_BYTES);
    if (!text)
        return 0;
    for (size_t i = 1; i < size && len + sizeof(accept_text) < ANSWER_BYTES; i++) {
        size_t bytes = data[i] == '@' ? sizeof(accept_text) - 1 : 1;
        memcpy(text + len, data[i] == '@' ? (const void *)accept_text : data + i, bytes);
        len += bytes;
    }
    char *exact = malloc(len + 1); /* so that a byte too far is seen */
    if (!exact) {
        free(text);
        return 0;
    }
    memcpy(exact, text, len);
    enum parse_result result = upgrade_parse(exact, len, accept_text, subprotocol, &answer);
    if (result == PARSE_OK)
        PG_ASSERT(answer.status == 101 && answer.head_bytes <= len && answer.head_bytes >= 4 &&
                  memcmp(exact + answer.head_bytes - 4, "\r\n\r\n", 4) == 0);
    if (result == PARSE_BAD)
        PG_ASSERT(answer.error && answer.status >= 0 && answer.status < 600);
    /* A part of it decides nothing else. */
    enum parse_result early = upgrade_parse(exact, len / 2, accept_text, subprotocol, &part);
    PG_ASSERT(early == PARSE_MORE || early == result);
    free(exact);
    free(text);
    return 0;
}
