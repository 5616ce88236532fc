/* Writes JSON front to back; commas come by themselves.
 *
 * Three ways to begin: {0} or {.max = bytes} grows on the heap, json_out_buffer() fills a caller's buffer
 * without heap, json_out_count() only counts (so that a bound is exact). Errors stick in `failed`: check
 * once, at the end.
 *
 * Thread: the caller's. Owner: the caller; json_out_fini() frees what has grown.
 */
#pragma once

#include "proto/json_text.h"

struct json_out {
    char *data; /* not NUL-terminated */
    size_t len, cap;
    size_t max;    /* most bytes it may grow to; 0: no limit */
    bool borrowed; /* data is the caller's (or NULL: count only) */
    bool failed;   /* out of memory or past a limit: what stands in data is of no use */
    bool comma;    /* a value stands before this place: what comes next is separated from it */
};

/* A writer into `cap` bytes of the caller's. */
struct json_out json_out_buffer(void *data, size_t cap);
/* A writer that only counts into len. */
struct json_out json_out_count(void);
void json_out_fini(struct json_out *out);
/* Forgets what was written, keeps the memory. */
void json_out_reset(struct json_out *out);

/* Begins a text of its own: a newline when something stands there already. */
void json_out_line(struct json_out *out);
void json_out_object(struct json_out *out); /* { */
void json_out_object_end(struct json_out *out);
void json_out_array(struct json_out *out);
void json_out_array_end(struct json_out *out);
/* Member name, literal ASCII without anything to escape; then comes its value. */
void json_out_name(struct json_out *out, const char *name);
/* Member name that strangers chose, in UTF-8. */
void json_out_name_text(struct json_out *out, struct json_slice name);

void json_out_string(struct json_out *out, struct json_slice text); /* UTF-8 */
void json_out_text(struct json_out *out, const char *text);         /* the same, NUL-terminated */
void json_out_uint(struct json_out *out, uint64_t value);
void json_out_int(struct json_out *out, int64_t value);
void json_out_bool(struct json_out *out, bool value);
/* Valid JSON as it is, line breaks as spaces; absent: null. */
void json_out_json(struct json_out *out, struct json_slice json);
/* A published payload, by the rule of enum json_payload. */
void json_out_payload(struct json_out *out, enum json_payload kind, const void *data, size_t len);
/* Bytes as they are, without a comma before them; they count as a value. */
void json_out_raw(struct json_out *out, const void *data, size_t len);
