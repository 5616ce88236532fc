/* The PROXY protocol, versions 1 and 2 (HAProxy's proxy-protocol.txt): what a balancer sends before the first
 * byte of a client's, to say who the client is.
 *
 * Thread: any; pure functions over the bytes so far (call again with all of them when more arrive).
 * Owner: the caller.
 */
#pragma once

#include "proto/parse.h"

#include <stddef.h>
#include <stdint.h>

enum {
    PROXY_V1_MAX = 107, /* bytes of a line, with its CRLF */
    PROXY_V2_MAX =
        16 + 4096, /* bytes of a header with all that is appended; the length field could say 65535 more */
};

enum proxy_source {
    PROXY_SOURCE_NONE, /* the sender speaks for itself (LOCAL, a health check), or does not say (UNKNOWN,
                          UNSPEC, datagrams): whom the socket is connected to is whom it is from */
    PROXY_SOURCE_IPV4,
    PROXY_SOURCE_IPV6,
    PROXY_SOURCE_UNIX,
};

struct proxy_header {
    uint8_t version; /* 1 or 2 */
    enum proxy_source family;
    uint8_t source[16], destination[16]; /* in network order; of IPv4 the first 4 bytes */
    uint16_t source_port, destination_port;
    size_t bytes;      /* of the header; what follows is the client's */
    const char *error; /* PARSE_BAD: a static sentence */
};

/* Reads one header from the beginning of `data`. Anything that is none is PARSE_BAD at the first byte that
 * shows it. Appended values (TLVs) must fill the header exactly; a CRC-32C among them must be right. */
enum parse_result proxy_header_parse(const uint8_t *data, size_t len, struct proxy_header *out)
    __attribute__((warn_unused_result));
