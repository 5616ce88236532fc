/* Claims: who, for whom, how long, and what the application adds. */
#include "gateway/auth/auth_claims.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

enum {
    IAT_AHEAD_S = 60
}; /* how far in the future a token may have been issued: clocks that differ, no fraud */

/* Unix seconds far from the ends of int64_t, so that sums with a leeway stay inside. */
#define DATE_MAX (INT64_C(1) << 53)

/* What is gathered before it goes into one block. */
struct draft {
    const char *user;
    size_t user_bytes;
    char *info; /* jansson's; NULL: none */
    size_t info_bytes;
    uint8_t *channels;
    size_t channels_bytes;
    unsigned channel_count;
};

/* A claim that is null is as good as none. */
static const json_t *claim(const json_t *claims, const char *name)
{
    const json_t *value = json_object_get(claims, name);
    return json_is_null(value) ? NULL : value;
}

static bool text_is(const json_t *value, const char *text, size_t len)
{
    return json_is_string(value) && json_string_length(value) == len &&
           memcmp(json_string_value(value), text, len) == 0;
}

/* RFC 7519 §2, NumericDate: seconds, maybe with a fraction, which is cut off. */
static bool read_date(const json_t *value, int64_t *date)
{
    if (json_is_integer(value)) {
        *date = json_integer_value(value);
    } else if (json_is_real(value)) {
        double seconds = json_real_value(value);
        if (!(seconds >= 0 && seconds <= (double)DATE_MAX))
            return false;
        *date = (int64_t)seconds;
    } else {
        return false;
    }
    return *date >= 0 && *date <= DATE_MAX;
}

/* Dates. Sets *out_expired and out->expires_at; returns what is wrong. */
static const char *check_dates(const json_t *claims, int64_t leeway, int64_t now, int64_t *expires_at,
                               bool *expired)
{
    const json_t *exp = claim(claims, "exp"), *nbf = claim(claims, "nbf"), *iat = claim(claims, "iat"),
                 *expire_at = claim(claims, "expire_at");
    int64_t date;
    *expires_at = 0;
    *expired = false;
    if (nbf && !read_date(nbf, &date))
        return "nbf is no date";
    if (nbf && now + leeway < date)
        return "not valid yet (nbf)";
    if (iat && !read_date(iat, &date))
        return "iat is no date";
    if (iat && now + leeway + IAT_AHEAD_S < date)
        return "issued in the future (iat)";
    if (exp) {
        if (!read_date(exp, &date))
            return "exp is no date";
        *expires_at = date + leeway;
        *expired = now >= *expires_at;
    }
    if (expire_at) {
        if (!read_date(expire_at, &date))
            return "expire_at is no date";
        *expires_at = date ? date + leeway : 0;
        *expired |= date && now >= *expires_at;
    }
    return NULL;
}

static bool has_audience(const json_t *aud, const char *audience)
{
    size_t len = strlen(audience);
    if (text_is(aud, audience, len))
        return true;
    for (size_t i = 0; i < json_array_size(aud); i++)
        if (text_is(json_array_get(aud, i), audience, len))
            return true;
    return false;
}

static const char *check_origin(const json_t *claims, const struct auth_config *config)
{
    if (*config->issuer && !text_is(claim(claims, "iss"), config->issuer, strlen(config->issuer)))
        return "wrong issuer (iss)";
    if (*config->audience && !has_audience(claim(claims, "aud"), config->audience))
        return "wrong audience (aud)";
    return NULL;
}

/* One kind of token must not do for the other (RFC 8725 §3.12). */
static const char *check_subject(const json_t *claims, const struct draft *draft,
                                 const struct auth_subject *subject)
{
    const json_t *channel = claim(claims, "channel");
    if (!subject)
        return channel ? "a subscription token (channel) where a connection token is wanted" : NULL;
    if (!channel)
        return "no subscription token (channel)";
    if (!text_is(channel, subject->channel, subject->channel_bytes))
        return "for another channel";
    if (draft->user_bytes != subject->user_bytes ||
        (draft->user_bytes && memcmp(draft->user, subject->user, draft->user_bytes) != 0))
        return "for another user (sub)";
    return NULL;
}

static const char *read_user(const json_t *claims, struct draft *draft)
{
    const json_t *sub = claim(claims, "sub");
    draft->user = sub ? json_string_value(sub) : "";
    if (!draft->user)
        return "sub is no string";
    draft->user_bytes = sub ? json_string_length(sub) : 0;
    return draft->user_bytes <= AUTH_USER_MAX ? NULL : "sub is too long";
}

/* A name that could be a topic's: no control characters, C0, DEL or C1 (U+0080 to U+009F, in UTF-8 C2 80 to
 * C2 9F). */
static bool is_topic(const char *name, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)name[i];
        if (c < 0x20 || c == 0x7f || (c == 0xc2 && (unsigned char)name[i + 1] < 0xa0))
            return false;
    }
    return len > 0 && len <= AUTH_CHANNEL_BYTES_MAX;
}

static bool has_channel(const struct draft *draft, const char *name, size_t len)
{
    for (size_t at = 0; at < draft->channels_bytes; at += 1u + draft->channels[at])
        if (draft->channels[at] == len && memcmp(&draft->channels[at + 1], name, len) == 0)
            return true;
    return false;
}

static const char *read_channels(const json_t *channels, struct draft *draft)
{
    if (!json_is_array(channels))
        return "channels is no array";
    for (size_t i = 0; i < json_array_size(channels); i++) {
        const json_t *item = json_array_get(channels, i);
        size_t len = json_string_length(item);
        if (!json_is_string(item) || !is_topic(json_string_value(item), len))
            return "channels has what is no name of a channel";
        if (has_channel(draft, json_string_value(item), len))
            continue;
        if (draft->channel_count == AUTH_CHANNELS_MAX ||
            draft->channels_bytes + 1 + len > AUTH_CHANNELS_BYTES_MAX)
            return "channels has too many names";
        draft->channels[draft->channels_bytes] = (uint8_t)len;
        memcpy(&draft->channels[draft->channels_bytes + 1], json_string_value(item), len);
        draft->channels_bytes += 1 + len;
        draft->channel_count++;
    }
    return NULL;
}

/* AUTH_OK, AUTH_NO_MEMORY, or AUTH_INVALID with *reason. */
static enum auth_result read_extras(const json_t *claims, bool connection, struct draft *draft,
                                    const char **reason)
{
    const json_t *info = claim(claims, "info"), *channels = connection ? claim(claims, "channels") : NULL;
    if (info) {
        draft->info = json_dumps(info, JSON_COMPACT | JSON_ENCODE_ANY);
        if (!draft->info)
            return AUTH_NO_MEMORY;
        draft->info_bytes = strlen(draft->info);
        if (draft->info_bytes > AUTH_INFO_MAX) {
            *reason = "info is too long";
            return AUTH_INVALID;
        }
    }
    if (channels) {
        draft->channels = malloc(AUTH_CHANNELS_BYTES_MAX);
        if (!draft->channels)
            return AUTH_NO_MEMORY;
        *reason = read_channels(channels, draft);
        return *reason ? AUTH_INVALID : AUTH_OK;
    }
    return AUTH_OK;
}

static void draft_fini(struct draft *draft)
{
    if (draft->info)
        OPENSSL_cleanse(draft->info, draft->info_bytes);
    free(draft->info); /* jansson's allocator is malloc */
    free(draft->channels);
}

static bool assemble(const struct draft *draft, struct auth_identity *out)
{
    char *at = out->bytes = malloc(draft->user_bytes + 1 + draft->info_bytes + 1 + draft->channels_bytes);
    if (!at)
        return false;
    out->user_bytes = (uint16_t)draft->user_bytes;
    out->info_bytes = (uint16_t)draft->info_bytes;
    out->channels_bytes = (uint16_t)draft->channels_bytes;
    out->channel_count = (uint8_t)draft->channel_count;
    memcpy(at, draft->user, draft->user_bytes);
    at += draft->user_bytes;
    *at++ = '\0';
    if (draft->info)
        memcpy(at, draft->info, draft->info_bytes);
    at += draft->info_bytes;
    *at++ = '\0';
    if (draft->channels)
        memcpy(at, draft->channels, draft->channels_bytes);
    return true;
}

static enum auth_result judge(const json_t *claims, const struct auth_config *config, int64_t now,
                              const struct auth_subject *subject, struct draft *draft,
                              struct auth_identity *out)
{
    int64_t leeway = config->leeway_s < DATE_MAX ? (int64_t)config->leeway_s : DATE_MAX;
    bool expired = false;
    if ((out->reason = read_user(claims, draft)) || (out->reason = check_subject(claims, draft, subject)) ||
        (out->reason = check_origin(claims, config)) ||
        (out->reason = check_dates(claims, leeway, now, &out->expires_at, &expired)))
        return AUTH_INVALID;
    enum auth_result result = read_extras(claims, !subject, draft, &out->reason);
    if (result == AUTH_OK && expired) {
        out->reason = "expired";
        return AUTH_EXPIRED;
    }
    return result == AUTH_OK && !assemble(draft, out) ? AUTH_NO_MEMORY : result;
}

enum auth_result auth_claims_read(const json_t *claims, const struct auth_config *config, int64_t now,
                                  const struct auth_subject *subject, struct auth_identity *out)
{
    struct draft draft = {0};
    enum auth_result result = judge(claims, config, now, subject, &draft, out);
    if (result == AUTH_NO_MEMORY)
        out->reason = "out of memory";
    if (result != AUTH_OK)
        out->expires_at = 0;
    draft_fini(&draft);
    return result;
}
