/* The Redis protocol, RESP2 requests and RESP2/RESP3 replies (redis.io/docs/reference/protocol-spec), server
 * side.
 *
 * Thread: any; pure functions. Owner: the caller; arguments point into its buffer.
 */
#pragma once

#include "proto/parse.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RESP_ARGS_MAX = 16 * 1024,   /* whoever comes back subscribes to all its channels in one command; more is
                                    a protocol error */
    RESP_INLINE_MAX = 64 * 1024, /* as Redis: an inline command is at most 64 KiB */
};

struct resp_arg {
    const char *data;
    size_t len;
};

struct resp_command {
    struct resp_arg *args; /* set by the caller: room for args_max */
    size_t args_max;
    size_t arg_count;     /* 0 with PARSE_OK: an empty line or *0, to be ignored */
    size_t command_bytes; /* PARSE_OK: bytes taken */
    size_t need_bytes;    /* PARSE_MORE: total bytes known to be needed so far, or 0 */
    const char *error;    /* PARSE_BAD: text after "-ERR Protocol error: ", worded as Redis does */
    char error_text[24];  /* where `error` points when it quotes a byte of the input */
};

/* Reads one command, multibulk or inline (with Redis' quoting rules), from `data`. Inline quoting may rewrite
 * `data` in place. A bulk string longer than max_bulk is PARSE_BAD ("invalid bulk length"); more than
 * args_max arguments "invalid multibulk length". */
enum parse_result resp_parse(char *data, size_t len, size_t max_bulk, struct resp_command *out)
    __attribute__((warn_unused_result));

bool resp_arg_is(const struct resp_arg *arg, const char *word); /* without case */

/* Replies append to a growing buffer; `resp3` picks the newer form where one exists (map, null, push). */
struct resp_out {
    char *data;
    size_t len, cap;
    bool resp3;
    bool failed; /* out of memory: the connection must be closed */
};
void resp_out_fini(struct resp_out *out);
void resp_simple(struct resp_out *out, const char *text); /* +text */
void resp_error(struct resp_out *out, const char *text);  /* -text; CR and LF become spaces */
void resp_integer(struct resp_out *out, int64_t value);
void resp_bulk(struct resp_out *out, const void *data, size_t len);
void resp_null(struct resp_out *out);
void resp_array(struct resp_out *out, size_t count);
void resp_map(struct resp_out *out, size_t pairs); /* RESP2: array of 2 × pairs */
/* Whole values that another writer has written in the same form. */
void resp_values(struct resp_out *out, const struct resp_out *values);
/* What comes unasked; RESP2: an array. */
void resp_push(struct resp_out *out, size_t count);
