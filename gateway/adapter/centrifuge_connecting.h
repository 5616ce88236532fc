/* What a client waits for between its connect command and the reply. Of the Centrifuge adapter only.
 *
 * Thread: the connection's reactor. Owner: the session, but for the moment when the reply is made.
 */
#pragma once

#include "gateway/adapter/centrifuge_internal.h"

/* A topic that the server subscribes it to. */
struct server_sub {
    struct text name, info, data; /* in the connecting's allocation */
    int64_t expire_at;
    struct wish wish;
    bool behind;  /* to be joined behind the reply */
    bool waiting; /* for the broker's answer */
    bool recovered;
    struct stream_position position;
    struct history_item **items; /* references */
    size_t item_count;
};

struct connecting {
    uint32_t command;
    size_t count, waiting;
    struct text data;
    size_t bytes; /* of this allocation */
    struct server_sub subs[];
};

/* Copies everything; a topic that is named twice is one. NULL without memory. */
struct connecting *connecting_create(uint32_t command, const struct server_topic *topics, size_t count,
                                     struct text data, struct text wishes);
/* Writes the reply to connect. False without memory. */
bool connecting_reply(struct talk *talk, const struct connecting *connecting)
    __attribute__((warn_unused_result));
