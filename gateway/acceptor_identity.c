/* Who asks for an upgrade: the token of the request, and the headers that the backend's hooks want to see. */
#include "gateway/acceptor_internal.h"

#include "gateway/adapter/identity.h"
#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/proxy/proxy.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* RFC 6750 §3. The reason is for the log only: whoever tries tokens should not learn how far one got. */
static void refuse_token(struct acceptor *acceptor, struct pending *pending, enum auth_result result,
                         const char *reason)
{
    static struct log_limit limit;
    log_limited(&limit, LOG_DEBUG, "token_refused", "acceptor=%u reason=%s", acceptor->config.number, reason);
    pending_refuse(acceptor, pending, 401,
                   result == AUTH_EXPIRED ? "the token has expired" : "the token is not valid",
                   HANDSHAKE_HTTP_TOKEN, "WWW-Authenticate: Bearer error=\"invalid_token\"\r\n");
}

/* By convention the client's address as a proxy knows it: it is ours to write, and whatever a client sends
 * under this name is dropped. */
static const char real_ip[] = "X-Real-IP";
enum { REAL_IP_BYTES = sizeof real_ip - 1 };

/* The request's header lines that proxy.headers names, each with its CRLF. The head was parsed: its lines are
 * whole, and none is folded. */
static size_t copy_headers(const char *list, const char *head, size_t head_bytes, char *out, size_t size)
{
    size_t used = 0;
    const char *at = head, *end = head + head_bytes;
    while (*list && at < end) {
        const char *stop = memmem(at, (size_t)(end - at), "\r\n", 2);
        if (!stop)
            break;
        const char *colon = memchr(at, ':', (size_t)(stop - at));
        size_t bytes = (size_t)(stop - at) + 2;
        bool ours = colon && colon - at == REAL_IP_BYTES && strncasecmp(at, real_ip, REAL_IP_BYTES) == 0;
        if (colon && !ours && at != head && proxy_header_listed(list, at, (size_t)(colon - at)) &&
            bytes <= size - used) {
            memcpy(out + used, at, bytes);
            used += bytes;
        }
        at = stop + 2;
    }
    return used;
}

/* When proxy.headers names it; nothing for clients without an address. */
static size_t add_real_ip(const char *list, const struct address *client, char *out, size_t size)
{
    char host[ADDRESS_TEXT_MAX];
    if ((client->family != ADDRESS_IPV4 && client->family != ADDRESS_IPV6) ||
        !proxy_header_listed(list, real_ip, REAL_IP_BYTES))
        return 0;
    int bytes = snprintf(out, size, "%s: %s\r\n", real_ip, address_format_host(client, host, sizeof host));
    return bytes > 0 && (size_t)bytes < size ? (size_t)bytes : 0;
}

/* Packs what is known for the adapter's opened(). */
static void pack(struct acceptor *acceptor, const struct pending *pending, const struct http_request *request,
                 const struct auth_identity *token, struct identity_room *room)
{
    const char *list = acceptor->shared->settings->proxy.headers;
    char headers[HTTP_HEAD_MAX + REAL_IP_BYTES + ADDRESS_TEXT_MAX];
    struct identity identity = {.known = token != NULL};
    identity.headers = (struct text){headers, copy_headers(list, (const char *)pending->plain.data,
                                                           request->head_bytes, headers, HTTP_HEAD_MAX)};
    identity.headers.bytes += add_real_ip(list, &pending->client, headers + identity.headers.bytes,
                                          sizeof headers - identity.headers.bytes);
    if (token) {
        identity.expires_at = token->expires_at;
        identity.channel_count = token->channel_count;
        identity.user = (struct text){auth_identity_user(token), token->user_bytes};
        identity.info = (struct text){auth_identity_info(token), token->info_bytes};
        identity.channels = (struct text){(const char *)auth_identity_channels(token), token->channels_bytes};
    }
    room->authenticated = token && token->user_bytes > 0;
    if (token || identity.headers.bytes > 0)
        room->bytes = (uint32_t)identity_pack(&identity, room->packed, sizeof room->packed);
    OPENSSL_cleanse(headers, identity.headers.bytes);
}

bool pending_admit(struct acceptor *acceptor, struct pending *pending, const struct http_request *request,
                   bool needs_token, struct identity_room *room)
{
    const struct acceptor_shared *shared = acceptor->shared;
    char token[HTTP_HEAD_MAX];
    size_t bytes;
    OPENSSL_cleanse(room->packed, room->bytes); /* of the one before */
    room->bytes = 0;
    room->authenticated = false;
    enum auth_token_place place =
        auth_request_token(request, shared->settings->auth.cookie, token, sizeof token, &bytes);
    if (place == AUTH_TOKEN_NONE) {
        if (needs_token)
            pending_refuse(acceptor, pending, 401,
                           "a token is needed: Authorization: Bearer TOKEN, or ?token=TOKEN",
                           HANDSHAKE_HTTP_TOKEN, "WWW-Authenticate: Bearer\r\n");
        else
            pack(acceptor, pending, request, NULL, room);
        return !needs_token;
    }
    struct auth_identity identity = {.reason = "cannot be read, or stands twice"};
    enum auth_result result = AUTH_INVALID;
    if (place == AUTH_TOKEN_FOUND)
        result = auth_check_connection(shared->auth, token, bytes, (int64_t)(clock_realtime_ms() / 1000),
                                       &identity);
    OPENSSL_cleanse(token, sizeof token);
    if (result == AUTH_OK)
        pack(acceptor, pending, request, &identity, room);
    else if (result == AUTH_NO_MEMORY)
        pending_refuse(acceptor, pending, 503, "the gateway is short of memory", HANDSHAKE_INTERNAL, "");
    else
        refuse_token(acceptor, pending, result, identity.reason);
    auth_identity_fini(&identity);
    return result == AUTH_OK;
}
