/* JSON as text (RFC 8259): is it valid, where in it stands a member, how does text become a JSON string.
 * Values are passed on as the bytes they came in, so numbers of any size, the order of members and escapes
 * survive.
 *
 * Thread: any; pure functions without heap. Owner: the caller; slices point into its buffer.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { JSON_DEPTH_MAX = 512 }; /* arrays and objects inside one another; deeper text is not valid here */

struct json_slice {
    const char *data; /* not NUL-terminated; NULL: absent */
    size_t len;
};

/* True when `data` is exactly one JSON value in UTF-8, with or without white space around it. By the grammar
 * alone: a number may be too large for a double, an escaped surrogate may stand alone, a name may repeat. */
bool json_text_valid(const void *data, size_t len);

/* Everything below takes text for which json_text_valid() is true, or a value inside such text. */

/* Copies `len` bytes to `out` with CR and LF, which only stand between tokens, as spaces: the protocol
 * separates what it sends by newlines. Returns len. */
size_t json_text_inline(const void *data, size_t len, char *out);

/* Walks an object: next name (raw, with its quotes) and value (raw, without white space around it) at or
 * after *cursor, which begins with 0. False at the end, and at once when `object` is absent or no object. */
bool json_text_next(struct json_slice object, size_t *cursor, struct json_slice *name,
                    struct json_slice *value);

/* The same for an array: its next element. */
bool json_text_element(struct json_slice array, size_t *cursor, struct json_slice *value);

/* The value of the member `name` of an object, whatever way its name is escaped; the last one of several.
 * Absent when there is none, or `object` is absent or no object; so calls nest. */
struct json_slice json_text_member(struct json_slice object, const char *name);

/* True when the raw JSON string `string` (with quotes) means the bytes of `text`. */
bool json_text_is(struct json_slice string, const char *text, size_t len);

/* Writes what a raw JSON string (with quotes) means, in UTF-8, to `out`, which needs string.len - 2 bytes and
 * may be where the string itself stands; *out_len becomes its length. False for what is no string, and for an
 * escaped surrogate without its partner, which has no UTF-8. NUL may occur. */
bool json_text_unescape(struct json_slice string, char *out, size_t *out_len);

/* What a published payload is in a protocol of JSON. */
enum json_payload {
    JSON_PAYLOAD_JSON,   /* valid JSON: embedded as it is, line breaks as spaces */
    JSON_PAYLOAD_TEXT,   /* other UTF-8, also nothing at all: as a JSON string */
    JSON_PAYLOAD_BINARY, /* anything else: {"b64data":"…"}, standard base64 with padding; the name is the one
                            that the server API uses for base64, and an object cannot be mistaken for text */
};
enum json_payload json_payload_kind(const void *data, size_t len);
/* Bytes that json_payload_write() will write, exactly. */
size_t json_payload_bytes(enum json_payload kind, const void *data, size_t len);
size_t json_payload_write(enum json_payload kind, const void *data, size_t len, char *out);

/* UTF-8 as a JSON string with its quotes: how many bytes, exactly, and the writing itself. */
size_t json_text_string_bytes(const void *text, size_t len);
size_t json_text_string(const void *text, size_t len, char *out);
