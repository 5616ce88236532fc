/* Who passed a request on: X-Forwarded-For (a custom), and Forwarded (RFC 7239).
 *
 * Each proxy appends whom it got the request from, so both are read from their end: what stands further left
 * was there before, and the client may have written it itself. Nothing that stands there changes how the rest
 * is read: the element at the end is found from the end.
 *
 * Thread: any; pure. Owner: the caller; slices point into its buffer.
 */
#pragma once

#include "proto/http_request.h"

enum forwarded_kind {
    FORWARDED_IPV4,
    FORWARDED_IPV6,
    FORWARDED_HIDDEN, /* "unknown", a name like "_gazonk", an element without for=: somebody, but not who */
    FORWARDED_MALFORMED, /* none of these */
};

struct forwarded_node {
    enum forwarded_kind kind;
    uint8_t ip[16]; /* in network order; of IPv4 the first 4 bytes */
    uint16_t port;  /* 0: not said, or hidden */
};

/* Walks a field's elements from the last to the first: start with *cursor = value.len. False when there is
 * none left. Empty elements are passed over. */
bool forwarded_for_previous(struct http_slice value, size_t *cursor, struct forwarded_node *out);
/* The same for Forwarded. */
bool forwarded_previous(struct http_slice value, size_t *cursor, struct forwarded_node *out);
