/* The load test's messages: a printable header that identifies and dates each, then filler that follows from
 * it.
 *
 *   PGL2 <run> <topic> <sequence> <sent, monotonic ns> <check> <filler…>
 *
 * Hexadecimal, fixed width, single spaces; the check is a CRC-32 of the numbers before it.
 *
 * Thread: a payload_format is read-only once made; any thread. Owner: whoever made it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PAYLOAD_HEADER_BYTES = 4 + 1 + 8 + 1 + 8 + 1 + 8 + 1 + 16 + 1 + 8 + 1,
    PAYLOAD_BYTES_MIN = 64,
    PAYLOAD_BYTES_MAX = 1 << 20,
    PAYLOAD_CRC_CELLS = 256,
};
_Static_assert((int)PAYLOAD_HEADER_BYTES < (int)PAYLOAD_BYTES_MIN, "the shortest message has filler, too");

struct payload_format {
    uint32_t run_id; /* tells this run's messages from another's on the same topic */
    size_t message_bytes;
    uint32_t crc[PAYLOAD_CRC_CELLS];
    char *pattern; /* filler is a piece of it; where it begins follows from topic and sequence */
};

struct payload {
    uint32_t topic;
    uint32_t sequence; /* per topic, from 0 */
    uint64_t sent_ns;
};

enum payload_verdict {
    PAYLOAD_OK,
    PAYLOAD_FOREIGN, /* another run's, with a header that is intact */
    PAYLOAD_UNKNOWN, /* no run's: no magic, or another run's with a header that is not intact */
    PAYLOAD_CORRUPT, /* this run's, and changed */
};

bool payload_format_init(struct payload_format *format, uint32_t run_id, size_t message_bytes)
    __attribute__((warn_unused_result));
void payload_format_fini(struct payload_format *format);

/* Writes format->message_bytes at `out`. */
void payload_write(const struct payload_format *format, const struct payload *payload, char *out);
/* Where the next of this run's messages begins in `data`, whatever stands before it; NULL: there is none. */
const void *payload_find(const struct payload_format *format, const void *data, size_t len);
/* Every byte is checked; `out` is set for PAYLOAD_OK. */
enum payload_verdict payload_read(const struct payload_format *format, const void *data, size_t len,
                                  struct payload *out) __attribute__((warn_unused_result));
