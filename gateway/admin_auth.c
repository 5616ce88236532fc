/* Secrets are compared in a time that does not tell how much of them is right. */
#include "gateway/admin_auth.h"

#include "gateway/base/clock.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum {
    PASSWORD_ROOM = 1024,
    TICKET_NAME_BYTES = 32,
    TICKET_MAC_BYTES = 16,
    TICKET_BYTES = 24 + 2 * TICKET_MAC_BYTES,
    TICKET_S = 12 * 3600,
};

bool admin_auth_init(struct admin_auth *auth, const struct settings *settings)
{
    *auth =
        (struct admin_auth){.settings = settings, .reachable = settings_reachable(settings->listen.admin)};
    return RAND_bytes(auth->ticket_key, sizeof auth->ticket_key) == 1;
}

const char *admin_auth_password(const struct admin_auth *auth)
{
    const struct settings *settings = auth->settings;
    return *settings->admin.password || !auth->reachable ? settings->admin.password
                                                         : settings->publish.password;
}

static bool same_secret(const char *secret, struct http_slice given)
{
    size_t len = strlen(secret);
    unsigned char difference = given.len != len;
    for (size_t i = 0; len > 0 && i < given.len; i++)
        difference |= (unsigned char)(secret[i % len] ^ given.data[i]);
    return difference == 0 && len > 0;
}

/* What follows a scheme, in any case, and its blanks. */
static bool after_scheme(struct http_slice authorization, const char *scheme, struct http_slice *rest)
{
    size_t len = strlen(scheme);
    if (authorization.len <= len || strncasecmp(authorization.data, scheme, len) != 0 ||
        authorization.data[len] != ' ')
        return false;
    while (len < authorization.len && authorization.data[len] == ' ')
        len++;
    *rest = (struct http_slice){authorization.data + len, authorization.len - len};
    return rest->len > 0;
}

static bool is_base64(struct http_slice text)
{
    size_t end = text.len;
    while (end > 0 && text.len - end < 2 && text.data[end - 1] == '=')
        end--;
    for (size_t i = 0; i < end; i++) {
        char c = text.data[i];
        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' ||
              c == '/'))
            return false;
    }
    return text.len > 0 && text.len % 4 == 0;
}

/* What follows the first colon of "user:password" (RFC 7617). */
static bool read_basic(struct http_slice text, char *room, size_t size, struct http_slice *password)
{
    if (!is_base64(text) || text.len / 4 * 3 > size)
        return false;
    int decoded = EVP_DecodeBlock((unsigned char *)room, (const unsigned char *)text.data, (int)text.len);
    if (decoded <= 0)
        return false;
    size_t bytes = (size_t)decoded;
    bytes -= (size_t)(text.data[text.len - 1] == '=') + (text.data[text.len - 2] == '=');
    const char *colon = memchr(room, ':', bytes);
    if (!colon)
        return false;
    size_t user = (size_t)(colon - room) + 1;
    *password = (struct http_slice){room + user, bytes - user};
    return true;
}

bool admin_auth_read(struct http_slice authorization, char *room, size_t size, struct http_slice *password)
{
    struct http_slice basic;
    if (after_scheme(authorization, "Bearer", password))
        return true;
    return after_scheme(authorization, "Basic", &basic) && read_basic(basic, room, size, password);
}

static enum admin_verdict judge(struct admin_auth *auth, struct throttle *throttle,
                                const struct throttle_key *peer, bool right)
{
    if (right)
        return ADMIN_MAY;
    char address[THROTTLE_KEY_TEXT];
    auth->wrong++;
    throttle_fail(throttle, peer, clock_monotonic_ms());
    throttle_key_format(peer, address);
    log_limited(&auth->log, LOG_WARN, "admin_secret_wrong", "address=%s", address);
    return ADMIN_WRONG;
}

/* A right secret is not heard either, or guessing would go on as fast as before. */
static bool must_wait(struct admin_auth *auth, const struct throttle *throttle,
                      const struct throttle_key *peer)
{
    if (throttle_wait_ms(throttle, peer, clock_monotonic_ms()) == 0)
        return false;
    auth->throttled++;
    return true;
}

enum admin_verdict admin_auth_check(struct admin_auth *auth, const char *password,
                                    const struct throttle_key *peer, const struct http_request *request)
{
    char room[PASSWORD_ROOM];
    struct http_slice given;
    if (!*password)
        return ADMIN_MAY;
    if (request->authorization.len == 0)
        return ADMIN_MISSING;
    if (must_wait(auth, &auth->throttle, peer))
        return ADMIN_THROTTLED;
    bool right =
        admin_auth_read(request->authorization, room, sizeof room, &given) && same_secret(password, given);
    OPENSSL_cleanse(room, sizeof room);
    return judge(auth, &auth->throttle, peer, right);
}

enum admin_verdict admin_auth_check_key(struct admin_auth *auth, const struct throttle_key *peer,
                                        const struct http_request *request)
{
    const char *key = auth->settings->api.key;
    struct http_slice given;
    if (!*key)
        return ADMIN_MAY;
    if (request->api_key.len == 0 && request->authorization.len == 0)
        return ADMIN_MISSING;
    if (must_wait(auth, &auth->key_throttle, peer))
        return ADMIN_THROTTLED;
    return judge(auth, &auth->key_throttle, peer,
                 same_secret(key, request->api_key) ||
                     (after_scheme(request->authorization, "apikey", &given) && same_secret(key, given)));
}

/* Two gateways on one host share a browser's cookies, so the name is this process's own. */
static void ticket_name(const struct admin_auth *auth, char out[TICKET_NAME_BYTES])
{
    unsigned char mac[EVP_MAX_MD_SIZE] = {0};
    unsigned len = sizeof mac;
    HMAC(EVP_sha256(), auth->ticket_key, sizeof auth->ticket_key, (const unsigned char *)"name", 4, mac,
         &len);
    snprintf(out, TICKET_NAME_BYTES, "pushgate_status_%02x%02x%02x%02x", mac[0], mac[1], mac[2], mac[3]);
}

/* When it ends, and the proof that it was made here. */
static void write_ticket(const struct admin_auth *auth, uint64_t until_s, char out[TICKET_BYTES])
{
    unsigned char mac[EVP_MAX_MD_SIZE] = {0};
    unsigned len = sizeof mac;
    int at = snprintf(out, TICKET_BYTES, "%" PRIu64 ".", until_s);
    HMAC(EVP_sha256(), auth->ticket_key, sizeof auth->ticket_key, (const unsigned char *)out, (size_t)at, mac,
         &len);
    for (size_t i = 0; i < TICKET_MAC_BYTES; i++)
        at += snprintf(out + at, TICKET_BYTES - (size_t)at, "%02x", mac[i]);
}

void admin_auth_ticket(const struct admin_auth *auth, uint64_t now_s, char out[ADMIN_TICKET_COOKIE_BYTES])
{
    char name[TICKET_NAME_BYTES], ticket[TICKET_BYTES];
    ticket_name(auth, name);
    write_ticket(auth, now_s + TICKET_S, ticket);
    snprintf(out, ADMIN_TICKET_COOKIE_BYTES,
             "%s=%s; Path=/status/live; Max-Age=%d; HttpOnly; SameSite=Strict", name, ticket, TICKET_S);
}

bool admin_auth_ticket_good(const struct admin_auth *auth, uint64_t now_s, struct http_slice cookie)
{
    char name[TICKET_NAME_BYTES], expected[TICKET_BYTES];
    struct http_slice ticket;
    size_t cursor = 0;
    ticket_name(auth, name);
    while (http_cookie_next(cookie, name, &cursor, &ticket) == PARSE_OK) {
        uint64_t until_s = 0;
        for (size_t i = 0; i < ticket.len && i < 12 && ticket.data[i] >= '0' && ticket.data[i] <= '9'; i++)
            until_s = until_s * 10 + (uint64_t)(ticket.data[i] - '0');
        write_ticket(auth, until_s, expected);
        if (same_secret(expected, ticket) && now_s < until_s)
            return true;
    }
    return false;
}

/* An address or localhost: what no stranger's DNS can point here. */
bool admin_host_is_address(const struct http_request *request)
{
    static const char localhost[] = "localhost";
    struct http_slice host = request->host;
    size_t len = 0;
    if (host.len > 0 && host.data[0] == '[')
        return true;
    while (len < host.len && host.data[len] != ':')
        len++;
    if (len == sizeof localhost - 1 && strncasecmp(host.data, localhost, len) == 0)
        return true;
    for (size_t i = 0; i < len; i++)
        if (host.data[i] != '.' && (host.data[i] < '0' || host.data[i] > '9'))
            return false;
    return len > 0;
}

bool admin_from_another_site(const struct http_request *request)
{
    if (request->origin.len == 0)
        return false;
    return !http_origin_allowed(request->origin, request->host, false, "") || !admin_host_is_address(request);
}
