/* An upgrade request's identity, packed and unpacked. */
#include "gateway/adapter/identity.h"

#include <string.h>

struct head {
    int64_t expires_at;
    uint16_t user_bytes, info_bytes, channels_bytes, headers_bytes;
    uint8_t known, channel_count;
};

size_t identity_packed_bytes(const struct identity *identity)
{
    const struct text *texts[] = {&identity->user, &identity->info, &identity->channels, &identity->headers};
    size_t bytes = sizeof(struct head);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (texts[i]->bytes > IDENTITY_TEXT_MAX)
            return 0;
        bytes += texts[i]->bytes;
    }
    return bytes;
}

static char *put(char *at, struct text text)
{
    if (text.bytes > 0)
        memcpy(at, text.data, text.bytes);
    return at + text.bytes;
}

size_t identity_pack(const struct identity *identity, void *out, size_t size)
{
    size_t bytes = identity_packed_bytes(identity);
    if (bytes == 0 || bytes > size)
        return 0;
    struct head head = {
        .expires_at = identity->expires_at,
        .user_bytes = (uint16_t)identity->user.bytes,
        .info_bytes = (uint16_t)identity->info.bytes,
        .channels_bytes = (uint16_t)identity->channels.bytes,
        .headers_bytes = (uint16_t)identity->headers.bytes,
        .known = identity->known,
        .channel_count = identity->channel_count,
    };
    memcpy(out, &head, sizeof head);
    char *at = (char *)out + sizeof head;
    at = put(at, identity->user);
    at = put(at, identity->info);
    at = put(at, identity->channels);
    put(at, identity->headers);
    return bytes;
}

static struct text take(const char **at, size_t bytes)
{
    struct text text = {.data = *at, .bytes = bytes};
    *at += bytes;
    return text;
}

bool identity_unpack(const void *packed, size_t bytes, struct identity *out)
{
    struct head head;
    *out = (struct identity){0};
    if (bytes < sizeof head)
        return false;
    memcpy(&head, packed, sizeof head);
    if (bytes != sizeof head + head.user_bytes + head.info_bytes + head.channels_bytes + head.headers_bytes)
        return false;
    const char *at = (const char *)packed + sizeof head;
    out->known = head.known != 0;
    out->channel_count = head.channel_count;
    out->expires_at = head.expires_at;
    out->user = take(&at, head.user_bytes);
    out->info = take(&at, head.info_bytes);
    out->channels = take(&at, head.channels_bytes);
    out->headers = take(&at, head.headers_bytes);
    return true;
}
