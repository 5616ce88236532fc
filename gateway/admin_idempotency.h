/* Publications that a backend has given a key (idempotency_key of the server API): when it sends one again,
 * because it saw no answer, it is told what became of the first instead of publishing twice.
 *
 * A key holds for one topic and five minutes. At most IDEMPOTENCY_KEYS_MAX are kept; past that the oldest go.
 *
 * Thread: the admin's. Owner: the struct is embedded; it owns its entries.
 */
#pragma once

#include "gateway/base/list.h"
#include "gateway/base/table.h"
#include "gateway/broker/request.h"

enum {
    IDEMPOTENCY_KEY_BYTES_MAX = 255,
    IDEMPOTENCY_KEYS_MAX = 100000,
    IDEMPOTENCY_MS = 300000,
};

struct idempotency {
    struct table table; /* slots NULL until the first key */
    struct list oldest_first;
    size_t count;
};

enum idempotency_state {
    IDEMPOTENCY_NEW,     /* noted: publish, then say how it went */
    IDEMPOTENCY_PENDING, /* the first has been asked for and not answered yet */
    IDEMPOTENCY_DONE,
    IDEMPOTENCY_NO_MEMORY,
};

void idempotency_init(struct idempotency *keys);
void idempotency_fini(struct idempotency *keys);
/* What is known of this key, which has 1 … IDEMPOTENCY_KEY_BYTES_MAX bytes; when nothing is, it is noted.
 * `position` is set for IDEMPOTENCY_DONE. */
enum idempotency_state idempotency_begin(struct idempotency *keys, struct text topic, struct text key,
                                         uint64_t now_ms, struct stream_position *position);
/* The same without noting anything: IDEMPOTENCY_NEW when nothing is known. */
enum idempotency_state idempotency_look(const struct idempotency *keys, struct text topic, struct text key,
                                        uint64_t now_ms, struct stream_position *position);
/* The first was published, at `position` (epoch 0: its topic keeps no history). Does nothing for a key that
 * has gone. */
void idempotency_done(struct idempotency *keys, struct text topic, struct text key,
                      struct stream_position position);
/* It was not: the key may be used again. */
void idempotency_forget(struct idempotency *keys, struct text topic, struct text key);
