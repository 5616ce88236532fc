#include "gateway/conn/client.h"

#include "proto/forwarded.h"

struct address client_forwarded(const struct cidr_set *trusted, enum forwarded_header header,
                                const char *head, size_t head_bytes, const struct address *from)
{
    bool rfc7239 = header == FORWARDED_RFC7239;
    struct address client = *from;
    struct http_slice value;
    size_t line = head_bytes;
    while (http_header_previous(head, rfc7239 ? "Forwarded" : "X-Forwarded-For", &line, &value) == PARSE_OK) {
        struct forwarded_node node;
        size_t cursor = value.len;
        while (rfc7239 ? forwarded_previous(value, &cursor, &node)
                       : forwarded_for_previous(value, &cursor, &node)) {
            if (node.kind != FORWARDED_IPV4 && node.kind != FORWARDED_IPV6)
                return client;
            client =
                address_make(node.kind == FORWARDED_IPV4 ? ADDRESS_IPV4 : ADDRESS_IPV6, node.ip, node.port);
            if (!cidr_set_has(trusted, &client))
                return client;
        }
    }
    return client;
}

struct address client_of_proxy_header(const struct proxy_header *header)
{
    switch (header->family) {
    case PROXY_SOURCE_IPV4:
        return address_make(ADDRESS_IPV4, header->source, header->source_port);
    case PROXY_SOURCE_IPV6:
        return address_make(ADDRESS_IPV6, header->source, header->source_port);
    case PROXY_SOURCE_UNIX:
        return (struct address){.family = ADDRESS_UNIX};
    case PROXY_SOURCE_NONE:
        break;
    }
    return (struct address){.family = ADDRESS_NONE};
}
