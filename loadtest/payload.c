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
};

static const char magic[] = "PGL1 ";

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
    memcpy(out + PAYLOAD_HEADER_BYTES, filler(format, payload->topic, payload->sequence),
           format->message_bytes - PAYLOAD_HEADER_BYTES);
}

enum payload_verdict payload_read(const struct payload_format *format, const void *data, size_t len,
                                  struct payload *out)
{
    const char *text = data;
    uint64_t run, topic, sequence, sent;

    if (len < PAYLOAD_HEADER_BYTES || memcmp(text, magic, sizeof(magic) - 1) != 0 ||
        !get_hex(text + RUN_AT, 8, &run) || run != format->run_id)
        return PAYLOAD_FOREIGN;
    if (len != format->message_bytes || text[TOPIC_AT - 1] != ' ' || text[SEQUENCE_AT - 1] != ' ' ||
        text[SENT_AT - 1] != ' ' || text[PAYLOAD_HEADER_BYTES - 1] != ' ' ||
        !get_hex(text + TOPIC_AT, 8, &topic) || !get_hex(text + SEQUENCE_AT, 8, &sequence) ||
        !get_hex(text + SENT_AT, 16, &sent) || sequence == UINT32_MAX)
        return PAYLOAD_CORRUPT;
    if (memcmp(text + PAYLOAD_HEADER_BYTES, filler(format, (uint32_t)topic, (uint32_t)sequence),
               len - PAYLOAD_HEADER_BYTES) != 0)
        return PAYLOAD_CORRUPT;
    *out = (struct payload){.topic = (uint32_t)topic, .sequence = (uint32_t)sequence, .sent_ns = sent};
    return PAYLOAD_OK;
}
