#include "gateway/admin_live.h"

#include "gateway/base/assert.h"

#include <string.h>

void admin_live_close(struct admin_live *live, uint16_t code, const char *text)
{
    if (live->closing)
        return;
    live->reply_bytes = ws_frame_close(live->reply, code, text);
    live->closing = true;
}

void admin_live_ping(struct admin_live *live)
{
    if (live->reply_bytes == 0 && !live->closing)
        live->reply_bytes = ws_frame_control(live->reply, WS_PING, NULL, 0);
}

static void take_frame(struct admin_live *live, const struct ws_frame *frame)
{
    if (frame->opcode == WS_PING)
        live->reply_bytes =
            ws_frame_control(live->reply, WS_PONG, frame->payload, (size_t)frame->payload_bytes);
    else if (frame->opcode == WS_CLOSE)
        admin_live_close(live, ws_close_code_of(frame), "");
}

/* False when more bytes are needed, or none any more. */
static bool take_next(struct admin_live *live, struct ws_reader *reader)
{
    struct ws_frame frame;
    enum parse_result result =
        ws_frame_peek(live->in, live->in_bytes, WS_ROLE_SERVER, &live->sequence, INT64_MAX, &frame);
    if (result == PARSE_MORE)
        return false;
    if (result == PARSE_OK && frame.opcode != WS_PING && frame.opcode != WS_PONG &&
        frame.opcode != WS_CLOSE) {
        admin_live_close(live, WS_CLOSE_POLICY_VIOLATION, "nothing is read here");
        return false;
    }
    if (result == PARSE_OK) {
        size_t bytes = frame.header_bytes + (size_t)frame.payload_bytes;
        PG_ASSERT(bytes <= sizeof live->in);
        if (live->in_bytes < bytes)
            return false;
        result = ws_reader_read(reader, live->in, bytes, &live->sequence, &frame);
        if (result == PARSE_OK) {
            take_frame(live, &frame);
            live->in_bytes -= bytes;
            memmove(live->in, live->in + bytes, live->in_bytes);
        }
    }
    if (result != PARSE_OK)
        admin_live_close(live, frame.close_code, "");
    return !live->closing;
}

void admin_live_take(struct admin_live *live, struct ws_reader *reader, const uint8_t *data, size_t len)
{
    while (len > 0 && !live->closing) {
        size_t room = sizeof live->in - live->in_bytes, some = len < room ? len : room;
        memcpy(live->in + live->in_bytes, data, some);
        live->in_bytes += some;
        data += some;
        len -= some;
        while (take_next(live, reader))
            ;
    }
}
