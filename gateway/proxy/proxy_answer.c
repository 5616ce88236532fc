/* What a backend answered: {"result":{…}}, {"error":{…}} or {"disconnect":{…}}.
 *
 * Strict where a lenient reading could let somebody in: an answer without any of the three, a field of
 * another type, a code outside its range or base64 fields, which are not supported, are no answer at all.
 * Unknown fields are left alone. One allocation holds the channels and a copy of the body, into which all
 * slices point. */
#include "gateway/base/assert.h"
#include "gateway/proxy/proxy_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The object that is being read, and what is wrong with it. */
struct reader {
    struct json_slice object;
    const char *place; /* for people: "result" */
    char *why;
    size_t why_size;
    bool failed; /* sticks */
    size_t room; /* for channels */
};

static void fail(struct reader *reader, const char *name, const char *complaint)
{
    if (!reader->failed)
        snprintf(reader->why, reader->why_size, "%s.%s %s", reader->place, name, complaint);
    reader->failed = true;
}

static bool is_null(struct json_slice value)
{
    return !value.data || *value.data == 'n';
}

/* Absent when it is null, too: what encoders write for "not set". */
static struct json_slice member(struct json_slice object, const char *name)
{
    struct json_slice value = json_text_member(object, name);
    return is_null(value) ? (struct json_slice){NULL, 0} : value;
}

static struct json_slice take_json(struct reader *reader, const char *name)
{
    return member(reader->object, name);
}

static struct json_slice take_object(struct reader *reader, const char *name)
{
    struct json_slice value = member(reader->object, name);
    if (value.data && *value.data != '{')
        fail(reader, name, "is not an object");
    return value;
}

/* Still with its quotes and escapes: decode() is for the end, because it writes where the text stands. */
static struct json_slice take_string(struct reader *reader, const char *name)
{
    struct json_slice value = member(reader->object, name);
    if (value.data && *value.data != '"')
        fail(reader, name, "is not a string");
    return value;
}

static bool take_bool(struct reader *reader, const char *name)
{
    struct json_slice value = member(reader->object, name);
    if (value.data && *value.data != 't' && *value.data != 'f')
        fail(reader, name, "is not true or false");
    return value.data && *value.data == 't';
}

static int64_t take_number(struct reader *reader, const char *name, int64_t max)
{
    struct json_slice value = member(reader->object, name);
    int64_t number = 0;
    for (size_t i = 0; i < value.len && number >= 0; i++) {
        char c = value.data[i];
        if (c < '0' || c > '9' || number > (max - (c - '0')) / 10)
            number = -1;
        else
            number = number * 10 + (c - '0');
    }
    if (number >= 0)
        return number;
    fail(reader, name, "is not a whole number, or out of range");
    return 0;
}

/* Bytes in base64: nothing here can pass them on, and to overlook them would let through what the backend
 * replaced. */
static void refuse_base64(struct reader *reader, const char *name, const char *complaint)
{
    struct json_slice value = member(reader->object, name);
    if (value.data && !json_text_is(value, "", 0))
        fail(reader, name, complaint);
}

static void refuse_binary(struct reader *reader)
{
    refuse_base64(reader, "b64data", "is not supported: use data");
    refuse_base64(reader, "b64info", "is not supported: use info");
}

/* Turns the raw string into what it means, in place. */
static void decode(struct reader *reader, const char *name, struct json_slice *text, size_t max)
{
    if (!text->data || reader->failed)
        return;
    char *at = (char *)(uintptr_t)text->data; /* in the copy, which is ours to write */
    size_t len;
    if (!json_text_unescape(*text, at, &len) || memchr(at, '\0', len))
        fail(reader, name, "is not Unicode text");
    else if (len > max)
        fail(reader, name, "is too long");
    else
        text->len = len;
}

/* The next element of an array of strings, at or after *cursor, which begins with 0. False at the end. */
static bool next_element(struct json_slice array, size_t *cursor, struct json_slice *element)
{
    size_t at = *cursor ? *cursor : 1; /* behind the bracket */
    while (at < array.len && strchr(" \t\r\n,", array.data[at]))
        at++;
    if (at >= array.len || array.data[at] == ']')
        return false;
    size_t start = at;
    if (array.data[at] == '"') {
        for (at++; array.data[at] != '"'; at++)
            at += array.data[at] == '\\';
        at++;
    }
    *element = (struct json_slice){array.data + start, at - start}; /* empty: no string */
    *cursor = at;
    return true;
}

/* Channels that the answer names, before any is dropped. */
static size_t count_channels(struct reader *reader, struct json_slice subs, struct json_slice list)
{
    struct json_slice name, value;
    size_t count = 0, cursor = 0;
    while (json_text_next(subs, &cursor, &name, &value))
        count++;
    if (list.data && *list.data != '[')
        fail(reader, "channels", "is not an array");
    cursor = 0;
    while (!reader->failed && next_element(list, &cursor, &name)) {
        if (!name.len)
            fail(reader, "channels", "holds something that is not a string");
        count++;
    }
    if (count > PROXY_CHANNELS_MAX)
        fail(reader, "channels", "and subs name more than 1024 channels");
    return count;
}

static bool has_channel(const struct proxy_answer *answer, struct json_slice name)
{
    for (size_t i = 0; i < answer->channel_count; i++) {
        const struct json_slice *other = &answer->channels[i].name;
        if (other->len == name.len && memcmp(other->data, name.data, name.len) == 0)
            return true;
    }
    return false;
}

static void add_channel(struct reader *reader, struct proxy_answer *answer, const char *place,
                        struct proxy_channel channel)
{
    decode(reader, place, &channel.name, SIZE_MAX);
    if (reader->failed)
        return;
    if (!channel.name.len)
        fail(reader, place, "names an empty channel");
    if (reader->failed || has_channel(answer, channel.name))
        return;
    PG_ASSERT(answer->channels && answer->channel_count < reader->room); /* they were counted before */
    answer->channels[answer->channel_count++] = channel;
}

/* `subs` first: it says more about a channel than `channels` does. */
static void read_channels(struct reader *reader, struct proxy_answer *answer)
{
    struct json_slice subs = take_object(reader, "subs"), list = take_json(reader, "channels"), value;
    struct proxy_channel channel = {0};
    size_t cursor = 0;
    while (!reader->failed && json_text_next(subs, &cursor, &channel.name, &value)) {
        struct reader options = *reader;
        options.object = value;
        options.place = "result.subs";
        if (!is_null(value) && *value.data != '{')
            fail(reader, "subs", "holds something that is not an object");
        channel.info = take_json(&options, "info");
        channel.data = take_json(&options, "data");
        channel.expire_at = take_number(&options, "expire_at", INT64_MAX);
        refuse_binary(&options);
        reader->failed |= options.failed;
        add_channel(reader, answer, "subs", channel);
    }
    cursor = 0;
    channel = (struct proxy_channel){0};
    while (!reader->failed && next_element(list, &cursor, &channel.name))
        add_channel(reader, answer, "channels", channel);
}

static void check_tags(struct reader *reader, struct json_slice tags)
{
    struct json_slice name, value;
    size_t cursor = 0;
    while (json_text_next(tags, &cursor, &name, &value))
        if (*value.data != '"')
            fail(reader, "tags", "holds something that is not a string");
}

static void read_result(struct reader *reader, enum proxy_kind kind, struct proxy_answer *answer)
{
    bool refresh = kind == PROXY_REFRESH || kind == PROXY_SUB_REFRESH;
    refuse_binary(reader);
    if (kind != PROXY_PUBLISH && kind != PROXY_RPC) {
        answer->info = take_json(reader, "info");
        answer->expire_at = take_number(reader, "expire_at", INT64_MAX);
    }
    if (!refresh)
        answer->data = take_json(reader, "data");
    else
        answer->expired = take_bool(reader, "expired");
    if (kind == PROXY_CONNECT || kind == PROXY_REFRESH)
        answer->meta = take_object(reader, "meta");
    if (kind == PROXY_PUBLISH) {
        answer->skip_history = take_bool(reader, "skip_history");
        answer->tags = take_object(reader, "tags");
        check_tags(reader, answer->tags);
    }
    if (kind == PROXY_CONNECT) {
        answer->user = take_string(reader, "user");
        if (!reader->failed)
            read_channels(reader, answer);
        decode(reader, "user", &answer->user, SIZE_MAX);
        if (!answer->user.data)
            answer->user = (struct json_slice){"", 0};
    }
}

static void read_code(struct reader *reader, struct proxy_answer *answer, uint32_t min, uint32_t max,
                      const char *complaint)
{
    int64_t code = take_number(reader, "code", UINT32_MAX);
    if (code < min || code > max)
        fail(reader, "code", complaint);
    answer->code = (uint32_t)code;
}

static void read_text(struct reader *reader, struct proxy_answer *answer, const char *name, size_t max)
{
    answer->text = take_string(reader, name);
    decode(reader, name, &answer->text, max);
    if (!answer->text.data)
        answer->text = (struct json_slice){"", 0};
}

static void read_error(struct reader *reader, struct proxy_answer *answer)
{
    answer->temporary = take_bool(reader, "temporary");
    read_code(reader, answer, 400, 1999, "is not between 400 and 1999");
    read_text(reader, answer, "message", PROXY_MESSAGE_BYTES_MAX);
}

static void read_disconnect(struct reader *reader, struct proxy_answer *answer)
{
    read_code(reader, answer, 4000, 4999, "is not between 4000 and 4999");
    read_text(reader, answer, "reason", PROXY_REASON_BYTES_MAX);
}

static enum proxy_outcome bad(struct proxy_request *request, char *why, size_t why_size, const char *cause)
{
    snprintf(why, why_size, "%s", cause);
    request->answer = (struct proxy_answer){.outcome = PROXY_BAD_BODY};
    return PROXY_BAD_BODY;
}

/* Room for the channels and, behind them, a copy of the body without line breaks. NULL without memory. */
static const char *copy_body(struct proxy_request *request, const char *body, size_t bytes, size_t channels)
{
    size_t table = channels * sizeof(struct proxy_channel);
    request->storage = malloc(table + bytes);
    if (!request->storage)
        return NULL;
    request->storage_bytes = table + bytes;
    if (channels)
        request->answer.channels = (struct proxy_channel *)(void *)request->storage;
    json_text_inline(body, bytes, request->storage + table);
    return request->storage + table;
}

enum proxy_outcome proxy_answer_parse(struct proxy_request *request, const char *body, size_t bytes,
                                      char *why, size_t why_size)
{
    struct proxy_answer *answer = &request->answer;
    *answer = (struct proxy_answer){.outcome = PROXY_BAD_BODY};
    PG_ASSERT(!request->storage);
    if (!json_text_valid(body, bytes))
        return bad(request, why, why_size, "the body is not JSON in UTF-8");
    size_t first = 0; /* valid JSON has something beside white space */
    while (strchr(" \t\r\n", body[first]))
        first++;
    if (body[first] != '{')
        return bad(request, why, why_size, "the body is not an object");

    struct json_slice whole = {body, bytes}, result = member(whole, "result");
    struct reader reader = {.object = result, .place = "result", .why = why, .why_size = why_size};
    if (request->kind == PROXY_CONNECT)
        reader.room = count_channels(&reader, member(result, "subs"), member(result, "channels"));
    if (reader.failed)
        reader.room = 0; /* what it says may be an error or a disconnect all the same */
    whole.data = copy_body(request, body, bytes, reader.room);
    if (!whole.data)
        return bad(request, why, why_size, "out of memory");

    enum proxy_outcome outcome;
    struct json_slice error = member(whole, "error"), disconnect = member(whole, "disconnect");
    if (disconnect.data) {
        reader =
            (struct reader){.object = disconnect, .place = "disconnect", .why = why, .why_size = why_size};
        outcome = PROXY_DISCONNECT;
    } else if (error.data) {
        reader = (struct reader){.object = error, .place = "error", .why = why, .why_size = why_size};
        outcome = PROXY_ERROR;
    } else {
        reader.object = member(whole, "result");
        outcome = PROXY_OK;
    }
    if (!reader.object.data)
        return bad(request, why, why_size, "none of result, error and disconnect is there");
    if (*reader.object.data != '{')
        return bad(request, why, why_size, "result, error or disconnect is not an object");
    if (outcome == PROXY_DISCONNECT)
        read_disconnect(&reader, answer);
    else if (outcome == PROXY_ERROR)
        read_error(&reader, answer);
    else if (!reader.failed)
        read_result(&reader, (enum proxy_kind)request->kind, answer);
    if (reader.failed) {
        *answer = (struct proxy_answer){.outcome = PROXY_BAD_BODY};
        return PROXY_BAD_BODY;
    }
    answer->outcome = outcome;
    return outcome;
}
