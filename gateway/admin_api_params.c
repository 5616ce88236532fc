#include "gateway/admin_api_params.h"

#include "gateway/adapter/adapter.h"
#include "proto/centrifuge_codes.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

enum { BASE64_CHUNK = 4 << 20 };

static const struct {
    const char *text;
    size_t len;
} names[API_PARAM_COUNT] = {
#define X(name, text) [API_PARAM_##name] = {text, sizeof(text) - 1},
    API_PARAMS(X)
#undef X
};

void api_error_set(struct api_error *error, uint16_t code, const char *name, const char *sentence)
{
    if (error->code != 0)
        return;
    error->code = code;
    snprintf(error->detail, sizeof error->detail, "%s%s%s", name ? name : "", name ? " " : "", sentence);
}

static void bad(struct api_reader *reader, enum api_param param, const char *sentence)
{
    api_error_set(&reader->error, CENTRIFUGE_ERROR_BAD_REQUEST, names[param].text, sentence);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

void api_read(struct api_reader *reader, struct json_slice object)
{
    struct json_slice name, value;
    size_t cursor = 0;
    memset(reader->at, 0, sizeof reader->at);
    while (object.len > 0 && is_space(*object.data))
        object = (struct json_slice){object.data + 1, object.len - 1};
    if (object.len == 0 || *object.data != '{') {
        api_error_set(&reader->error, CENTRIFUGE_ERROR_BAD_REQUEST, NULL, "parameters are a JSON object");
        return;
    }
    while (json_text_next(object, &cursor, &name, &value)) {
        for (size_t i = 0; i < API_PARAM_COUNT; i++) {
            if (!json_text_is(name, names[i].text, names[i].len))
                continue;
            bool absent = *value.data == 'n' && i != API_PARAM_DATA;
            reader->at[i] = absent ? (struct json_slice){0} : value;
            break;
        }
    }
}

static char *take_room(struct api_reader *reader, size_t bytes)
{
    if (bytes > reader->room_left) {
        api_error_set(&reader->error, CENTRIFUGE_ERROR_INTERNAL, NULL, "no room");
        return NULL;
    }
    char *room = reader->room;
    reader->room += bytes;
    reader->room_left -= bytes;
    return room;
}

/* What a raw string means: as it stands without escapes, else in the reader's room. */
static struct text decode(struct api_reader *reader, enum api_param param, struct json_slice string)
{
    if (*string.data != '"') {
        bad(reader, param, "is not a string");
        return (struct text){0};
    }
    struct text text = {string.data + 1, string.len - 2};
    if (text.bytes == 0 || !memchr(text.data, '\\', text.bytes))
        return text;
    char *room = take_room(reader, text.bytes);
    if (!room)
        return (struct text){0};
    if (!json_text_unescape(string, room, &text.bytes)) {
        bad(reader, param, "has half a surrogate pair");
        return (struct text){0};
    }
    text.data = room;
    return text;
}

struct text api_text(struct api_reader *reader, enum api_param param)
{
    return api_has(reader, param) ? decode(reader, param, reader->at[param]) : (struct text){0};
}

static struct text check_topic(struct api_reader *reader, enum api_param param, struct text topic)
{
    if (topic.bytes == 0)
        bad(reader, param, "is empty");
    else if (topic.bytes > TOPIC_BYTES_MAX)
        bad(reader, param, "is longer than 255 bytes");
    else if (memchr(topic.data, '\0', topic.bytes))
        bad(reader, param, "contains a NUL character");
    else
        return topic;
    return (struct text){0};
}

struct text api_topic(struct api_reader *reader, enum api_param param)
{
    if (!api_has(reader, param)) {
        bad(reader, param, "is missing");
        return (struct text){0};
    }
    return check_topic(reader, param, api_text(reader, param));
}

struct text api_topic_in(struct api_reader *reader, struct json_slice string)
{
    return check_topic(reader, API_PARAM_CHANNEL, decode(reader, API_PARAM_CHANNEL, string));
}

/* Digits only. */
static bool read_digits(struct json_slice text, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9' || __builtin_mul_overflow(*out, 10u, out) ||
            __builtin_add_overflow(*out, (uint64_t)(text.data[i] - '0'), out))
            return false;
    }
    return text.len > 0;
}

uint64_t api_uint64(struct api_reader *reader, enum api_param param)
{
    uint64_t value = 0;
    if (api_has(reader, param) && !read_digits(reader->at[param], &value))
        bad(reader, param, "is not a whole number from 0 on");
    return value;
}

int64_t api_int(struct api_reader *reader, enum api_param param, int64_t min, int64_t max)
{
    struct json_slice text = reader->at[param];
    uint64_t digits;
    if (!text.data)
        return 0;
    bool negative = *text.data == '-';
    struct json_slice rest = {text.data + negative, text.len - negative};
    if (read_digits(rest, &digits) && digits <= INT64_MAX) {
        int64_t value = negative ? -(int64_t)digits : (int64_t)digits;
        if (value >= min && value <= max)
            return value;
        bad(reader, param, "is out of range");
    } else {
        bad(reader, param, "is not a whole number");
    }
    return 0;
}

bool api_bool(struct api_reader *reader, enum api_param param)
{
    struct json_slice text = reader->at[param];
    if (text.data && *text.data != 't' && *text.data != 'f')
        bad(reader, param, "is not true or false");
    return text.data && *text.data == 't';
}

struct text api_json(const struct api_reader *reader, enum api_param param)
{
    return (struct text){reader->at[param].data, reader->at[param].len};
}

struct stream_position api_position(struct api_reader *reader, enum api_param param)
{
    struct stream_position position = {0};
    if (!api_has(reader, param))
        return position;
    struct api_reader inside = *reader;
    api_read(&inside, reader->at[param]);
    position.offset = api_uint64(&inside, API_PARAM_OFFSET);
    struct text epoch = api_text(&inside, API_PARAM_EPOCH);
    if (epoch.bytes > 0 && !epoch_parse(epoch.data, epoch.bytes, &position.epoch))
        position.epoch = API_NO_EPOCH;
    reader->error = inside.error;
    return position;
}

/* How many bytes valid base64 means, SIZE_MAX when it is not valid. */
static size_t base64_length(struct text text)
{
    size_t padding = 0;
    if (text.bytes % 4 != 0)
        return SIZE_MAX;
    while (padding < 2 && padding < text.bytes && text.data[text.bytes - 1 - padding] == '=')
        padding++;
    for (size_t i = 0; i < text.bytes - padding; i++) {
        char c = text.data[i];
        bool fine = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' ||
                    c == '/';
        if (!fine)
            return SIZE_MAX;
    }
    return text.bytes / 4 * 3 - padding;
}

struct text api_base64(struct api_reader *reader, enum api_param param)
{
    struct text text = api_text(reader, param);
    if (text.bytes == 0)
        return text;
    size_t len = base64_length(text);
    if (len == SIZE_MAX) {
        bad(reader, param, "is not base64");
        return (struct text){0};
    }
    char *room = take_room(reader, text.bytes / 4 * 3);
    if (!room)
        return (struct text){0};
    for (size_t at = 0; at < text.bytes; at += BASE64_CHUNK) { /* OpenSSL counts in int */
        size_t bytes = text.bytes - at < BASE64_CHUNK ? text.bytes - at : BASE64_CHUNK;
        (void)EVP_DecodeBlock((unsigned char *)room + at / 4 * 3, (const unsigned char *)text.data + at,
                              (int)bytes);
    }
    return (struct text){room, len};
}

struct text api_tags(struct api_reader *reader, enum api_param param)
{
    struct json_slice name, value;
    size_t cursor = 0;
    if (api_has(reader, param) && *reader->at[param].data != '{')
        bad(reader, param, "is not an object");
    while (json_text_next(reader->at[param], &cursor, &name, &value))
        if (*value.data != '"')
            bad(reader, param, "has a value that is not a string");
    return cursor > 0 ? api_json(reader, param) : (struct text){0};
}

struct text api_texts_of(struct api_reader *reader, enum api_param param, size_t bytes)
{
    struct text texts = {0};
    struct json_slice value;
    size_t cursor = 0;
    if (api_has(reader, param) && *reader->at[param].data != '[')
        bad(reader, param, "is not an array");
    texts.data = reader->room;
    while (json_text_element(reader->at[param], &cursor, &value)) {
        struct api_reader scratch = *reader;
        struct text text = decode(&scratch, param, value);
        reader->error = scratch.error;
        if (!text.data || text.bytes != bytes)
            continue;
        char *room = take_room(reader, bytes);
        if (!room)
            break;
        memmove(room, text.data, bytes); /* what was decoded stands there already */
        texts.bytes += bytes;
    }
    return texts;
}
