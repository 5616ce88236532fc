/* Who the client is, as the socket, a PROXY header or the request's header says, and whether it may come:
 * lists, and limits per address. */
#include "gateway/acceptor_internal.h"

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/conn/client.h"

enum { REFUSED_MAX = 256 }; /* connections that may wait to be told that they may not come */

static bool trusts(const struct acceptor *acceptor, const struct address *address)
{
    return acceptor->shared->trusted && cidr_set_has(acceptor->shared->trusted, address);
}

/* HANDSHAKE_FAILURE_COUNT: it may come, and is counted for its address. */
static enum handshake_failure judge(struct acceptor *acceptor, struct pending *pending)
{
    const struct acceptor_shared *shared = acceptor->shared;
    if (!access_allows(acceptor->access, &pending->client))
        return HANDSHAKE_ACCESS;
    if (!ip_rate_take(shared->ip_rate, &pending->client, clock_monotonic_ns(), &pending->retry_after))
        return HANDSHAKE_PER_IP_RATE;
    uint32_t handle = ip_limit_acquire(shared->ip_limit, &pending->client);
    if (handle == IP_LIMIT_REFUSED)
        return HANDSHAKE_PER_IP;
    pending->ip_handle = handle;
    return HANDSHAKE_FAILURE_COUNT;
}

/* Keeps the connection until it can be told why it is refused, when that costs little: no TLS handshake for
 * one whose address is denied or comes too fast, and never for so many that an address could take all slots.
 */
static bool keep_to_tell(struct acceptor *acceptor, struct pending *pending, enum handshake_failure why)
{
    if ((pending->transport == TRANSPORT_WSS && why != HANDSHAKE_PER_IP) || acceptor->refused >= REFUSED_MAX)
        return false;
    pending->refusal = (uint8_t)why;
    acceptor->refused++;
    return true;
}

/* The address is known as far as it can be before the request: TLS or HTTP is next. `nameless`: a PROXY
 * header has said that there is a client, and not who; what the request says then may be that client's own
 * words. False: closed. */
static bool go_on(struct acceptor *acceptor, struct pending *pending, bool nameless)
{
    if (acceptor->shared->forwarded != FORWARDED_OFF && !nameless && trusts(acceptor, &pending->client)) {
        pending->awaits_forwarded = true;
    } else {
        enum handshake_failure why = judge(acceptor, pending);
        if (why != HANDSHAKE_FAILURE_COUNT && !keep_to_tell(acceptor, pending, why)) {
            pending_close(acceptor, pending, why);
            return false;
        }
    }
    pending->state = PENDING_HTTP;
    if (pending->transport == TRANSPORT_WS)
        return true;
    pending->state = PENDING_TLS;
    pending->handshake = tls_handshake_create(acceptor->tls, acceptor->crypto);
    if (!pending->handshake)
        pending_close(acceptor, pending, HANDSHAKE_INTERNAL);
    return pending->handshake != NULL;
}

/* Closes a connection whose PROXY header cannot be believed or read. Somebody has to look into that: it is a
 * balancer that is not set up to send one, or a stranger who has come past it. */
static void refuse_sender(struct acceptor *acceptor, struct pending *pending, enum handshake_failure why,
                          const char *error)
{
    /* Each by itself: strangers that knock must not hide a balancer that is set up wrongly. */
    static struct log_limit limits[HANDSHAKE_FAILURE_COUNT];
    char from[ADDRESS_TEXT_MAX];
    log_limited(&limits[why], LOG_WARN, "proxy_header_refused", "listener=%s from=%s error=%s",
                pending->transport == TRANSPORT_WSS ? "wss" : "ws",
                address_format(&pending->client, from, sizeof from), error);
    pending_close(acceptor, pending, why);
}

bool pending_arrive(struct acceptor *acceptor, struct pending *pending)
{
    if (!acceptor->shared->proxy_protocol[pending->transport])
        return go_on(acceptor, pending, false);
    if (trusts(acceptor, &pending->client))
        return true; /* PENDING_PROXY */
    refuse_sender(acceptor, pending, HANDSHAKE_PROXY_UNTRUSTED,
                  "not in listen.trusted, and this listener is for balancers (listen.proxy_protocol)");
    return false;
}

bool pending_proxy_header(struct acceptor *acceptor, struct pending *pending)
{
    struct proxy_header header;
    switch (proxy_header_parse(pending->raw.data, pending->raw.len, &header)) {
    case PARSE_MORE:
        return false;
    case PARSE_BAD:
        refuse_sender(acceptor, pending, HANDSHAKE_PROXY_MALFORMED, header.error);
        return false;
    case PARSE_OK:
        break;
    }
    buffer_consume(&pending->raw, header.bytes); /* what follows is TLS or HTTP */
    struct address client = client_of_proxy_header(&header);
    if (client.family != ADDRESS_NONE) {
        pending->client = client;
        pending->forwarded = true;
    }
    bool nameless = client.family == ADDRESS_NONE || client.family == ADDRESS_UNIX;
    return go_on(acceptor, pending, nameless) && pending->raw.len > 0;
}

void pending_proxy_late(struct acceptor *acceptor, struct pending *pending)
{
    refuse_sender(
        acceptor, pending, HANDSHAKE_PROXY_TIMEOUT,
        "no PROXY header within limits.handshake_timeout; this listener wants one (listen.proxy_protocol)");
}

bool pending_identify(struct acceptor *acceptor, struct pending *pending, const struct http_request *request)
{
    const struct acceptor_shared *shared = acceptor->shared;
    if (!pending->awaits_forwarded)
        return true;
    struct address client =
        client_forwarded(shared->trusted, shared->forwarded, (const char *)pending->plain.data,
                         request->head_bytes, &pending->client);
    pending->awaits_forwarded = false;
    pending->forwarded |= !address_same_host(&client, &pending->client);
    pending->client = client;
    enum handshake_failure why = judge(acceptor, pending);
    if (why == HANDSHAKE_FAILURE_COUNT)
        return true;
    pending_turn_away(acceptor, pending, why);
    return false;
}
