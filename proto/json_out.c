#include "proto/json_out.h"

#include <stdlib.h>
#include <string.h>

struct json_out json_out_buffer(void *data, size_t cap)
{
    return (struct json_out){.data = data, .cap = cap, .borrowed = true};
}

struct json_out json_out_count(void)
{
    return (struct json_out){.borrowed = true};
}

void json_out_fini(struct json_out *out)
{
    if (!out->borrowed)
        free(out->data);
    *out = (struct json_out){0};
}

void json_out_reset(struct json_out *out)
{
    out->len = 0;
    out->comma = false;
    out->failed = false;
}

static bool grow(struct json_out *out, size_t need)
{
    if (out->borrowed || (out->max > 0 && need > out->max))
        return false;
    size_t cap = out->cap < 128 ? 256 : out->cap <= SIZE_MAX / 2 ? out->cap * 2 : SIZE_MAX;
    if (out->max > 0 && cap > out->max)
        cap = out->max;
    if (cap < need)
        cap = need;
    char *data = realloc(out->data, cap);
    if (!data)
        return false;
    out->data = data;
    out->cap = cap;
    return true;
}

/* Takes `bytes` of room: where to write them, or NULL when they are only counted or nothing can be written.
 */
static char *take(struct json_out *out, size_t bytes)
{
    size_t need;
    if (out->failed)
        return NULL;
    if (__builtin_add_overflow(out->len, bytes, &need)) {
        out->failed = true;
        return NULL;
    }
    if (out->borrowed && !out->data) {
        out->len = need;
        return NULL;
    }
    if (need > out->cap && !grow(out, need)) {
        out->failed = true;
        return NULL;
    }
    char *to = out->data + out->len;
    out->len = need;
    return to;
}

static void append(struct json_out *out, const void *data, size_t len)
{
    char *to = take(out, len);
    if (to && len > 0)
        memcpy(to, data, len);
}

static void append_byte(struct json_out *out, char byte)
{
    char *to = take(out, 1);
    if (to)
        *to = byte;
}

/* Before a name or a value. */
static void separate(struct json_out *out)
{
    if (out->comma)
        append_byte(out, ',');
    out->comma = true;
}

static void append_string(struct json_out *out, const char *text, size_t len)
{
    char *to = take(out, json_text_string_bytes(text, len));
    if (to)
        json_text_string(text, len, to);
}

static void open_bracket(struct json_out *out, char bracket)
{
    separate(out);
    append_byte(out, bracket);
    out->comma = false;
}

static void close_bracket(struct json_out *out, char bracket)
{
    append_byte(out, bracket);
    out->comma = true;
}

void json_out_line(struct json_out *out)
{
    if (out->len > 0)
        append_byte(out, '\n');
    out->comma = false;
}

void json_out_object(struct json_out *out)
{
    open_bracket(out, '{');
}

void json_out_object_end(struct json_out *out)
{
    close_bracket(out, '}');
}

void json_out_array(struct json_out *out)
{
    open_bracket(out, '[');
}

void json_out_array_end(struct json_out *out)
{
    close_bracket(out, ']');
}

void json_out_name(struct json_out *out, const char *name)
{
    separate(out);
    append_byte(out, '"');
    append(out, name, strlen(name));
    append(out, "\":", 2);
    out->comma = false;
}

void json_out_name_text(struct json_out *out, struct json_slice name)
{
    separate(out);
    append_string(out, name.data, name.len);
    append_byte(out, ':');
    out->comma = false;
}

void json_out_string(struct json_out *out, struct json_slice text)
{
    separate(out);
    append_string(out, text.data, text.len);
}

void json_out_text(struct json_out *out, const char *text)
{
    json_out_string(out, (struct json_slice){text, strlen(text)});
}

static void append_digits(struct json_out *out, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    append(out, digits + at, sizeof digits - at);
}

void json_out_uint(struct json_out *out, uint64_t value)
{
    separate(out);
    append_digits(out, value);
}

void json_out_int(struct json_out *out, int64_t value)
{
    separate(out);
    if (value < 0)
        append_byte(out, '-');
    append_digits(out, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

void json_out_bool(struct json_out *out, bool value)
{
    separate(out);
    if (value)
        append(out, "true", 4);
    else
        append(out, "false", 5);
}

void json_out_json(struct json_out *out, struct json_slice json)
{
    if (!json.data)
        json = (struct json_slice){"null", 4};
    json_out_payload(out, JSON_PAYLOAD_JSON, json.data, json.len);
}

void json_out_payload(struct json_out *out, enum json_payload kind, const void *data, size_t len)
{
    separate(out);
    char *to = take(out, json_payload_bytes(kind, data, len));
    if (to)
        json_payload_write(kind, data, len, to);
}

void json_out_raw(struct json_out *out, const void *data, size_t len)
{
    append(out, data, len);
    out->comma = true;
}
