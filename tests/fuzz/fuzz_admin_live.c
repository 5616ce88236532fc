/* What clients send on a stream of the status: whole and in pieces it comes to the same end, the reply is
 * always one whole control frame, and after a close nothing more is heard. */
#include "gateway/admin_live.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct admin_live *live)
{
    struct ws_frame frame;
    struct ws_sequence sequence = {0};
    if (live->in_bytes > sizeof live->in)
        abort();
    if (live->reply_bytes == 0) {
        if (live->closing)
            abort();
        return;
    }
    if (ws_frame_peek(live->reply, live->reply_bytes, WS_ROLE_CLIENT, &sequence, 0, &frame) != PARSE_OK ||
        frame.header_bytes + frame.payload_bytes != live->reply_bytes ||
        frame.opcode != (live->closing ? WS_CLOSE : WS_PONG))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ws_reader *reader = ws_reader_create(WS_ROLE_SERVER);
    struct admin_live whole = {0}, pieces = {0};
    if (!reader || size < 1) {
        ws_reader_destroy(reader);
        return 0;
    }
    size_t step = 1 + data[0] % 17;
    data++;
    size--;
    admin_live_take(&whole, reader, data, size);
    check(&whole);
    for (size_t at = 0; at < size; at += step) {
        admin_live_take(&pieces, reader, data + at, size - at < step ? size - at : step);
        check(&pieces);
    }
    if (whole.closing != pieces.closing || whole.reply_bytes != pieces.reply_bytes ||
        memcmp(whole.reply, pieces.reply, whole.reply_bytes) != 0)
        abort();
    struct admin_live before = whole;
    if (whole.closing) {
        admin_live_take(&whole, reader, data, size);
        admin_live_ping(&whole);
        admin_live_close(&whole, 1001, "again");
        if (!whole.closing || whole.in_bytes != before.in_bytes || whole.reply_bytes != before.reply_bytes ||
            memcmp(whole.reply, before.reply, sizeof whole.reply) != 0)
            abort();
    }
    ws_reader_destroy(reader);
    return 0;
}
