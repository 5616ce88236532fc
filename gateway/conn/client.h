/* Who the client of a request is that came through proxies.
 *
 * Thread: any; pure. Owner: the caller.
 */
#pragma once

#include "gateway/base/cidr.h"
#include "gateway/settings/settings.h"
#include "proto/proxy_protocol.h"

/* Of a request whose head is `head` and that was sent by `from`, which is trusted. The header's addresses are
 * taken from its end, as nginx does it with real_ip_recursive: each is whom the proxy behind it had the
 * request from, so it is believed as long as that proxy is trusted, and the first that is not trusted is the
 * client. Where an address is hidden or malformed the walk ends, and the proxy that it has come to stands for
 * its clients. */
struct address client_forwarded(const struct cidr_set *trusted, enum forwarded_header header,
                                const char *head, size_t head_bytes, const struct address *from);
/* ADDRESS_NONE when the header names nobody. */
struct address client_of_proxy_header(const struct proxy_header *header);
