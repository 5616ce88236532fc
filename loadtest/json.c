/* Writes JSON (RFC 8259) to a stream. */
#include "loadtest/json.h"

#include "gateway/base/assert.h"
#include "proto/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static void write_string(FILE *out, const char *text)
{
    putc('"', out);
    for (const unsigned char *p = (const unsigned char *)text; *p;) {
        if (*p == '"' || *p == '\\') {
            putc('\\', out);
            putc(*p++, out);
        } else if (*p < 0x20 || *p == 0x7f) {
            fprintf(out, "\\u%04x", *p++);
        } else if (*p < 0x80) {
            putc(*p++, out);
        } else {
            size_t len = 1;
            while (len < 4 && (p[len] & 0xc0) == 0x80)
                len++;
            if (utf8_valid(p, len))
                fwrite(p, 1, len, out);
            else
                fputs("\\ufffd", out);
            p += len;
        }
    }
    putc('"', out);
}

static void member(struct json *json, const char *name)
{
    if (json->filled[json->depth])
        putc(',', json->out);
    json->filled[json->depth] = true;
    if (json->depth > 0)
        fprintf(json->out, "\n%*s", (int)json->depth * 2, "");
    if (name) {
        write_string(json->out, name);
        fputs(": ", json->out);
    }
}

static void begin(struct json *json, const char *name, char bracket)
{
    member(json, name);
    putc(bracket, json->out);
    json->depth++;
    PG_ASSERT(json->depth < JSON_DEPTH_MAX);
    json->filled[json->depth] = false;
}

static void end(struct json *json, char bracket)
{
    PG_ASSERT(json->depth > 0);
    bool filled = json->filled[json->depth--];
    if (filled)
        fprintf(json->out, "\n%*s", (int)json->depth * 2, "");
    putc(bracket, json->out);
}

void json_init(struct json *json, FILE *out)
{
    memset(json, 0, sizeof(*json));
    json->out = out;
}

void json_object_begin(struct json *json, const char *name)
{
    begin(json, name, '{');
}

void json_object_end(struct json *json)
{
    end(json, '}');
}

void json_array_begin(struct json *json, const char *name)
{
    begin(json, name, '[');
}

void json_array_end(struct json *json)
{
    end(json, ']');
}

void json_string(struct json *json, const char *name, const char *text)
{
    member(json, name);
    write_string(json->out, text);
}

void json_uint(struct json *json, const char *name, uint64_t value)
{
    member(json, name);
    fprintf(json->out, "%" PRIu64, value);
}

void json_double(struct json *json, const char *name, double value)
{
    member(json, name);
    if (isfinite(value))
        fprintf(json->out, "%.6g", value);
    else
        fputs("null", json->out);
}

void json_bool(struct json *json, const char *name, bool value)
{
    member(json, name);
    fputs(value ? "true" : "false", json->out);
}

bool json_finish(struct json *json)
{
    PG_ASSERT(json->depth == 0);
    putc('\n', json->out);
    return fflush(json->out) == 0 && !ferror(json->out);
}
