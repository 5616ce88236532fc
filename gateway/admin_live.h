/* One stream of the status, as its client speaks on it: a WebSocket on which only the gateway has something
 * to say.
 *
 * Reads what the client sends, a frame at a time: pings are answered, a close is answered with a close,
 * anything else that is no pong ends the stream (1008). Knows nothing of sockets.
 *
 * Thread: the admin's. Owner: the connection; all zero is the beginning.
 */
#pragma once

#include "proto/ws_frame.h"

struct admin_live {
    struct ws_sequence sequence;
    uint8_t in[WS_HEADER_MAX +
               WS_CONTROL_PAYLOAD_MAX]; /* the frame that is being read: no other is read to its end */
    size_t in_bytes;
    uint8_t
        reply[2 + WS_CONTROL_PAYLOAD_MAX]; /* a control frame that is to be sent next: of several the last */
    size_t reply_bytes;
    bool closing; /* the reply is, or was, a close frame; nothing comes after it, and nothing more is heard */
};

void admin_live_take(struct admin_live *live, struct ws_reader *reader, const uint8_t *data, size_t len);
/* Ends it from this side. */
void admin_live_close(struct admin_live *live, uint16_t code, const char *text);
/* Asks for a sign of life, unless something waits to be said already. */
void admin_live_ping(struct admin_live *live);
