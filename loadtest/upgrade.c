/* Writes upgrade requests and checks the answers. */
#include "loadtest/upgrade.h"

#include "proto/http_request.h"

#include <openssl/evp.h>

#include <stdio.h>
#include <string.h>
#include <strings.h>

void upgrade_key(const uint8_t random[16], char key[UPGRADE_KEY_CHARS + 1],
                 char accept[UPGRADE_ACCEPT_CHARS + 1])
{
    EVP_EncodeBlock((unsigned char *)key, random, 16);
    http_upgrade_accept((struct http_slice){key, UPGRADE_KEY_CHARS}, accept);
}

size_t upgrade_write(const struct upgrade_request *request, const char *key, char *out, size_t out_size)
{
    const char *const *part = request->path_parts;
    bool has_subprotocol = request->subprotocol[0] != '\0';
    int len = snprintf(out, out_size,
                       "GET %s%s%s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                       "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n%s%s%s%s\r\n",
                       part[0] ? part[0] : "", part[1] ? part[1] : "", part[2] ? part[2] : "",
                       request->authority, key, has_subprotocol ? "Sec-WebSocket-Protocol: " : "",
                       request->subprotocol, has_subprotocol ? "\r\n" : "", request->headers);
    return len > 0 && (size_t)len < out_size ? (size_t)len : 0;
}

static bool slice_is(struct http_slice slice, const char *text)
{
    return slice.len == strlen(text) && strncasecmp(slice.data, text, slice.len) == 0;
}

/* True when a comma-separated list has the token, without case. */
static bool list_has(struct http_slice list, const char *token)
{
    const char *p = list.data, *end = p + list.len;
    while (p < end) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        const char *stop = comma ? comma : end;
        while (p < stop && (*p == ' ' || *p == '\t'))
            p++;
        const char *last = stop;
        while (last > p && (last[-1] == ' ' || last[-1] == '\t'))
            last--;
        if (slice_is((struct http_slice){p, (size_t)(last - p)}, token))
            return true;
        p = comma ? comma + 1 : end;
    }
    return false;
}

/* Sets *status only to one that there is: others count by it. */
static bool parse_status(const char *line, size_t len, int *status)
{
    if (len < 12 || memcmp(line, "HTTP/1.", 7) != 0 || (line[7] != '0' && line[7] != '1') || line[8] != ' ' ||
        (len > 12 && line[12] != ' '))
        return false;
    int number = 0;
    for (int i = 9; i < 12; i++) {
        if (line[i] < '0' || line[i] > '9')
            return false;
        number = number * 10 + (line[i] - '0');
    }
    if (number < 100 || number >= 600)
        return false;
    *status = number;
    return true;
}

struct seen {
    bool upgrade, connection, accept, subprotocol;
};

/* NULL, or what is wrong with the header line. */
static const char *check_header(const char *line, size_t len, const char *accept, const char *subprotocol,
                                struct seen *seen)
{
    const char *colon = memchr(line, ':', len);
    if (!colon || colon == line)
        return "malformed header in the answer";
    struct http_slice name = {line, (size_t)(colon - line)},
                      value = {colon + 1, len - (size_t)(colon - line) - 1};
    while (value.len > 0 && (*value.data == ' ' || *value.data == '\t')) {
        value.data++;
        value.len--;
    }
    while (value.len > 0 && (value.data[value.len - 1] == ' ' || value.data[value.len - 1] == '\t'))
        value.len--;

    if (slice_is(name, "Upgrade")) {
        seen->upgrade = slice_is(value, "websocket");
    } else if (slice_is(name, "Connection")) {
        seen->connection = seen->connection || list_has(value, "upgrade");
    } else if (slice_is(name, "Sec-WebSocket-Accept")) {
        if (seen->accept || value.len != strlen(accept) || memcmp(value.data, accept, value.len) != 0)
            return "Sec-WebSocket-Accept is wrong";
        seen->accept = true;
    } else if (slice_is(name, "Sec-WebSocket-Extensions") && value.len > 0) {
        return "the server chose an extension that was not offered";
    } else if (slice_is(name, "Sec-WebSocket-Protocol")) {
        if (seen->subprotocol || value.len == 0 || memchr(value.data, ',', value.len))
            return "the server chose no single subprotocol";
        char chosen[256];
        if (value.len >= sizeof(chosen))
            return "the server chose a subprotocol that was not offered";
        memcpy(chosen, value.data, value.len);
        chosen[value.len] = '\0';
        if (!list_has((struct http_slice){subprotocol, strlen(subprotocol)}, chosen))
            return "the server chose a subprotocol that was not offered";
        seen->subprotocol = true;
    }
    return NULL;
}

static enum parse_result bad(struct upgrade_answer *out, const char *error)
{
    out->error = error;
    return PARSE_BAD;
}

enum parse_result upgrade_parse(const char *data, size_t len, const char *accept, const char *subprotocol,
                                struct upgrade_answer *out)
{
    struct seen seen = {0};
    size_t at = 0;

    *out = (struct upgrade_answer){0};
    for (;;) {
        size_t room = len < UPGRADE_HEAD_MAX ? len : UPGRADE_HEAD_MAX;
        const char *line = data + at, *newline = memchr(line, '\n', room - at);
        if (!newline)
            return len >= UPGRADE_HEAD_MAX ? bad(out, "the answer's head is too long") : PARSE_MORE;
        if (newline == line || newline[-1] != '\r')
            return bad(out, "the answer is not HTTP/1.1");
        size_t line_len = (size_t)(newline - line) - 1;
        bool first = at == 0;
        at += line_len + 2;
        if (first) {
            if (!parse_status(line, line_len, &out->status))
                return bad(out, "the answer is not HTTP/1.1");
            if (out->status != 101)
                return bad(out, http_status_text(out->status));
            if (line[7] == '0') /* a refusal may be of HTTP/1.0, an upgrade may not */
                return bad(out, "the answer is not HTTP/1.1");
        } else if (line_len == 0) {
            break;
        } else if ((out->error = check_header(line, line_len, accept, subprotocol, &seen))) {
            return PARSE_BAD;
        }
    }
    if (!seen.upgrade || !seen.connection)
        return bad(out, "Upgrade: websocket or Connection: Upgrade is missing in the answer");
    if (!seen.accept)
        return bad(out, "Sec-WebSocket-Accept is missing");
    if (subprotocol[0] != '\0' && !seen.subprotocol)
        return bad(out, "the server chose none of the offered subprotocols");
    out->head_bytes = at;
    return PARSE_OK;
}
