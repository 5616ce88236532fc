/* The server's half of the WebSocket handshake (RFC 6455 §4.2). */
#include "proto/http_request.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

enum { KEY_CHARS = 24, SHA1_BYTES = 20 };

static bool is_base64_char(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/';
}

/* Base64 of 16 bytes: 22 characters and two of padding. The four bits left over may be anything, as most
 * decoders have it. */
static bool key_is_valid(struct http_slice key)
{
    if (key.len != KEY_CHARS || key.data[22] != '=' || key.data[23] != '=')
        return false;
    for (size_t i = 0; i < 22; i++) {
        if (!is_base64_char(key.data[i]))
            return false;
    }
    return true;
}

int http_upgrade_status(const struct http_request *req, const char **error)
{
    *error = NULL;
    if (req->method != HTTP_METHOD_GET) {
        *error = "a WebSocket opens with GET";
        return 405;
    }
    /* Upgrade in an HTTP/1.0 request is to be ignored (RFC 9110 §7.8), so that one is as good as absent. */
    if (req->version_minor == 0 || (!req->upgrade_websocket && !req->connection_upgrade)) {
        *error =
            "this is a WebSocket endpoint: connect with a WebSocket client (a proxy in between must pass on "
            "Upgrade and Connection)";
        return 426;
    }
    if (!req->upgrade_websocket) {
        *error = "the header Upgrade: websocket is missing";
        return 400;
    }
    if (!req->connection_upgrade) {
        *error = "the header Connection: Upgrade is missing";
        return 400;
    }
    if (req->websocket_version.len == 0) {
        *error = "the header Sec-WebSocket-Version is missing";
        return 400;
    }
    if (!http_slice_is(req->websocket_version, "13")) {
        *error = "only WebSocket version 13 is spoken here";
        return 426;
    }
    if (!key_is_valid(req->websocket_key)) {
        *error = req->websocket_key.len == 0 ? "the header Sec-WebSocket-Key is missing"
                                             : "Sec-WebSocket-Key is not base64 of 16 bytes";
        return 400;
    }
    return 101;
}

void http_upgrade_accept(struct http_slice key, char out[29])
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char text[KEY_CHARS + sizeof(guid) - 1];
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int digest_bytes = 0;
    out[0] = '\0';
    if (key.len != KEY_CHARS)
        return;
    memcpy(text, key.data, KEY_CHARS);
    memcpy(text + KEY_CHARS, guid, sizeof(guid) - 1);
    if (EVP_Digest(text, sizeof(text), digest, &digest_bytes, EVP_sha1(), NULL) != 1 ||
        digest_bytes != SHA1_BYTES)
        return;
    EVP_EncodeBlock((unsigned char *)out, digest, SHA1_BYTES);
}

size_t http_upgrade_response(char *out, size_t out_size, const char accept[29], const char *subprotocol)
{
    bool named = subprotocol != NULL && subprotocol[0] != '\0';
    int n = snprintf(out, out_size,
                     "HTTP/1.1 101 Switching Protocols\r\n"
                     "Upgrade: websocket\r\n"
                     "Connection: Upgrade\r\n"
                     "Sec-WebSocket-Accept: %s\r\n"
                     "%s%s%s"
                     "\r\n",
                     accept, named ? "Sec-WebSocket-Protocol: " : "", named ? subprotocol : "",
                     named ? "\r\n" : "");
    return n > 0 && (size_t)n < out_size ? (size_t)n : 0;
}
