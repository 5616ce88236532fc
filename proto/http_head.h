/* The raw head of a request, checked as its bytes come; only for http_request.c.
 *
 * Thread: any; pure functions. Owner: the caller.
 */
#pragma once

#include "proto/http_request.h"

static inline enum parse_result http_bad(struct http_request *out, int status, const char *error)
{
    out->status = status;
    out->error = error;
    return PARSE_BAD;
}

static inline bool http_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static inline bool http_is_alnum(char c)
{
    return http_is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Checks what has arrived of the head since the last time. PARSE_OK: it is whole, and head_bytes is set. */
enum parse_result http_head_check(const char *data, size_t len, struct http_progress *progress,
                                  struct http_request *out) __attribute__((warn_unused_result));
