/* What the status page shows: the threads' counters, sampled into series of the last minutes, and the
 * heaviest topics, which the broker is asked for. STATUS.md says what each field means.
 *
 * A sample is taken each second while somebody watches, every five seconds else; the broker is asked only
 * while somebody watches.
 *
 * Thread: the admin's; reads counters that other threads write. Owner: the admin. Answers of the broker come
 * to the admin's mailbox, and from there to admin_status_answered().
 */
#pragma once

#include "gateway/admin.h"
#include "gateway/base/series.h"
#include "proto/json_out.h"

enum status_row {
    STATUS_CONNECTIONS,
    STATUS_ACCEPTS,
    STATUS_HANDSHAKES_FULL,
    STATUS_HANDSHAKES_RESUMED,
    STATUS_OPENS,
    STATUS_CLOSES,
    STATUS_PUBLISHES,
    STATUS_DELIVERIES,
    STATUS_DELIVERED_BYTES,
    STATUS_DROPS,
    STATUS_LATENCY_P50,
    STATUS_LATENCY_P99,
    STATUS_SLOW_CONNECTIONS,
    STATUS_SLOW_BYTES,
    STATUS_RESIDENT_BYTES,
    STATUS_CPU_PERCENT,
    STATUS_ROW_COUNT,
};
_Static_assert((int)STATUS_ROW_COUNT <= (int)SERIES_ROWS_MAX, "series.h");

struct admin_status;

/* `reply_to`: the admin's mailbox; `token`: what its requests carry. NULL without memory. */
struct admin_status *admin_status_create(const struct admin_config *config, struct mailbox *reply_to,
                                         uint64_t token, uint64_t started_ms);
void admin_status_destroy(struct admin_status *status); /* NULL is harmless */

/* Does what is due; returns when it wants to be called again, by the monotonic clock in ms. */
uint64_t admin_status_run(struct admin_status *status, uint64_t now_ms);
/* Somebody looks now; from then on, and for half a minute after the last look, samples are taken each second.
 */
void admin_status_look(struct admin_status *status, uint64_t now_ms);
/* Counts up with each sample: whoever streams sends the next frame when it has. */
uint64_t admin_status_samples(const struct admin_status *status);
/* Topics are known, and not from long ago: what admin_status_write() tells now is whole. */
bool admin_status_fresh(const struct admin_status *status, uint64_t now_ms);
/* Takes the broker's answer. */
void admin_status_answered(struct admin_status *status, struct broker_request *answer, uint64_t now_ms);

/* The whole as one JSON object, with the last so many seconds of the series. */
enum { STATUS_SECONDS_ALL = SERIES_SECONDS, STATUS_SECONDS_LIVE = 10 };
void admin_status_write(struct admin_status *status, uint64_t now_ms, uint32_t seconds, struct json_out *out);
