/* A connection to the Redis-protocol endpoint that is ready to publish on: connected, authenticated, asked
 * whether it understands.
 *
 * Thread: any; blocks, for some seconds at most. Owner: the descriptor is the caller's.
 */
#pragma once

#include "gateway/base/net.h"

#include <stdatomic.h>

struct publish_endpoint {
    const char *text; /* for sentences: --publish */
    struct net_address address;
    const char *password; /* NULL: no AUTH */
};

/* A non-blocking descriptor, or -1 with a sentence. Ends soon after *give_up (may be NULL) is set. */
int publish_connect(const struct publish_endpoint *endpoint, const _Atomic bool *give_up, char *error,
                    size_t error_size) __attribute__((warn_unused_result));
/* False when the endpoint has ended the connection, or said something unasked, since. */
bool publish_still_connected(int fd);
