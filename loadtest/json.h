/* A JSON writer: objects, arrays and values in order, strings escaped; nesting checked.
 *
 * Thread: one. Owner: the caller owns the stream; nothing is allocated.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { JSON_DEPTH_MAX = 16 };

struct json {
    FILE *out;
    unsigned depth;
    bool filled[JSON_DEPTH_MAX]; /* the level has a member already */
};

void json_init(struct json *json, FILE *out);
/* `name` is NULL inside arrays and at the top. */
void json_object_begin(struct json *json, const char *name);
void json_object_end(struct json *json);
void json_array_begin(struct json *json, const char *name);
void json_array_end(struct json *json);
void json_string(struct json *json, const char *name,
                 const char *text); /* bytes that are not UTF-8 become U+FFFD */
void json_uint(struct json *json, const char *name, uint64_t value);
void json_double(struct json *json, const char *name, double value); /* not finite: null */
void json_bool(struct json *json, const char *name, bool value);
/* Ends the document with a newline; false when the stream has failed. */
bool json_finish(struct json *json) __attribute__((warn_unused_result));
