/* What a connection with a conversation (not only topics in its URL) has beside its slot.
 *
 * Thread: the connection's reactor. Owner: the reactor's pool keeps one for each connection whose adapter has
 * `sessions`; all zero when it opens. The adapter frees `more` in its ended().
 */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

struct session_more; /* the adapter's: user, info, expiries; NULL for an anonymous client without any */

struct session {
    uint8_t client[16]; /* its id, random (UUID version 4) */
    struct session_more *more;
    uint32_t deadline; /* tick of the reactor's wheel; 0: none. Set with adapter_link_ops.deadline */
    bool connected;    /* greeted: pings may go out, commands are taken */
    bool authenticated;
    /* The adapter's own. */
    uint16_t waiting : 1; /* the answer to connect is on its way */
    uint16_t asked : 15;  /* requests to the broker that are not answered yet */
};
static_assert(sizeof(struct session) == 32, "what a session costs beside the connection");
