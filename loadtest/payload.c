/* Writes and checks the messages of a run. */
#include "loadtest/payload.h"

#include <stdlib.h>
#include <string.h>

enum {
    PATTERN_STARTS = 4096, /* different fillers */
    RUN_AT = 5,
    TOPIC_AT = 14,
    SEQUENCE_AT = 23,
    SENT_AT = 32,
    CHECK_AT = 49,
};

static const char magic[] = "PGL2 ";

static uint32_t mix(uint32_t x)
{
    x ^= x >> 16;
    x *= 0x7feb352dU;
    x ^= x >> 15;
    x *= 0x846ca68bU;
    return x ^ x >> 16;
}

static const char *filler(const struct payload_format *format, uint32_t topic, uint32_t sequence)
{
    return format->pattern + mix(topic * 0x9e3779b9U + sequence) % PATTERN_STARTS;
}

static void put_hex(char *out, uint64_t value, int digits)
{
    for (int i = digits - 1; i >= 0; i--) {
        out[i] = "0123456789abcdef"[value & 15];
        value >>= 4;
    }
}

/* CRC-32 (IEEE 802.3), begun with the run's id: a change of any one number is always noticed. */
static void crc_init(uint32_t crc[PAYLOAD_CRC_CELLS])
{
    for (uint32_t i = 0; i < PAYLOAD_CRC_CELLS; i++) {
        crc[i] = i;
        for (int bit = 0; bit < 8; bit++)
            crc[i] = crc[i] >> 1 ^ (crc[i] & 1 ? 0xedb88320U : 0);
    }
}

static uint32_t crc_add(const uint32_t crc[PAYLOAD_CRC_CELLS], uint32_t state, uint64_t value)
{
    for (int i = 0; i < 8; i++, value >>= 8)
        state = state >> 8 ^ crc[(state ^ value) & 0xff];
    return state;
}

static uint32_t check_of(const struct payload_format *format, uint32_t run_id, const struct payload *payload)
{
    uint32_t state = crc_add(format->crc, run_id, (uint64_t)payload->topic << 32 | payload->sequence);
    return crc_add(format->crc, state, payload->sent_ns);
}

static bool get_hex(const char *in, int digits, uint64_t *value)
{
    uint64_t v = 0;
    for (int i = 0; i < digits; i++) {
        unsigned char c = (unsigned char)in[i];
        unsigned digit = c >= '0' && c <= '9'   ? c - (unsigned)'0'
                         : c >= 'a' && c <= 'f' ? c - (unsigned)'a' + 10
                                                : 16;
        if (digit > 15)
            return false;
        v = v << 4 | digit;
    }
    *value = v;
    return true;
}

bool payload_format_init(struct payload_format *format, uint32_t run_id, size_t message_bytes)
{
    size_t pattern_bytes = PATTERN_STARTS + message_bytes;
    *format = (struct payload_format){.run_id = run_id, .message_bytes = message_bytes};
    if (message_bytes < PAYLOAD_BYTES_MIN || message_bytes > PAYLOAD_BYTES_MAX)
        return false;
    format->pattern = malloc(pattern_bytes);
    if (!format->pattern)
        return false;
    crc_init(format->crc);
    for (size_t i = 0; i < pattern_bytes; i++)
        format->pattern[i] = (char)('!' + mix(run_id + (uint32_t)i) % ('~' - '!' + 1));
    return true;
}

void payload_format_fini(struct payload_format *format)
{
    free(format->pattern);
    format->pattern = NULL;
}

void payload_write(const struct payload_format *format, const struct payload *payload, char *out)
{
    memset(out, ' ', PAYLOAD_HEADER_BYTES);
    memcpy(out, magic, sizeof(magic) - 1);
    put_hex(out + RUN_AT, format->run_id, 8);
    put_hex(out + TOPIC_AT, payload->topic, 8);
    put_hex(out + SEQUENCE_AT, payload->sequence, 8);
    put_hex(out + SENT_AT, payload->sent_ns, 16);
    put_hex(out + CHECK_AT, check_of(format, format->run_id, payload), 8);
    memcpy(out + PAYLOAD_HEADER_BYTES, filler(format, payload->topic, payload->sequence),
           format->message_bytes - PAYLOAD_HEADER_BYTES);
}

/* False unless `text` has a whole header whose check is right. */
static bool read_header(const struct payload_format *format, const char *text, size_t len, uint32_t run_id,
                        struct payload *out)
{
    static const int spaces[] = {TOPIC_AT - 1, SEQUENCE_AT - 1, SENT_AT - 1, CHECK_AT - 1,
                                 PAYLOAD_HEADER_BYTES - 1};
    uint64_t topic, sequence, sent, check;

    if (len < PAYLOAD_HEADER_BYTES)
        return false;
    for (size_t i = 0; i < sizeof(spaces) / sizeof(spaces[0]); i++)
        if (text[spaces[i]] != ' ')
            return false;
    if (!get_hex(text + TOPIC_AT, 8, &topic) || !get_hex(text + SEQUENCE_AT, 8, &sequence) ||
        !get_hex(text + SENT_AT, 16, &sent) || !get_hex(text + CHECK_AT, 8, &check))
        return false;
    *out = (struct payload){.topic = (uint32_t)topic, .sequence = (uint32_t)sequence, .sent_ns = sent};
    return check == check_of(format, run_id, out);
}

const void *payload_find(const struct payload_format *format, const void *data, size_t len)
{
    char begin[TOPIC_AT - 1];
    memcpy(begin, magic, sizeof(magic) - 1);
    put_hex(begin + RUN_AT, format->run_id, 8);
    return memmem(data, len, begin, sizeof(begin));
}

enum payload_verdict payload_read(const struct payload_format *format, const void *data, size_t len,
                                  struct payload *out)
{
    const char *text = data;
    struct payload payload;
    uint64_t run;

    if (len < TOPIC_AT - 1 || memcmp(text, magic, sizeof(magic) - 1) != 0 || !get_hex(text + RUN_AT, 8, &run))
        return PAYLOAD_UNKNOWN;
    bool whole = read_header(format, text, len, (uint32_t)run, &payload);
    if (run != format->run_id)
        return whole ? PAYLOAD_FOREIGN : PAYLOAD_UNKNOWN;
    if (!whole || len != format->message_bytes || payload.sequence == UINT32_MAX ||
        memcmp(text + PAYLOAD_HEADER_BYTES, filler(format, payload.topic, payload.sequence),
               len - PAYLOAD_HEADER_BYTES) != 0)
        return PAYLOAD_CORRUPT;
    *out = payload;
    return PAYLOAD_OK;
}
