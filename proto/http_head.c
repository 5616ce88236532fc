/* The head of a request, byte by byte, for exactly the grammar of RFC 9112 §3 and §5.
 *
 * http-parser, as distributions build it, takes bare LF, several spaces in the request line, spaces in field
 * names and folded lines, all of which another HTTP implementation before or behind us may read differently.
 * So nothing gets that far which has not been through here. No byte is looked at twice, however small the
 * pieces are in which the head comes. */
#include "proto/http_head.h"

#include <string.h>

enum part { PART_METHOD, PART_TARGET, PART_VERSION, PART_NAME, PART_VALUE, PART_DONE };
_Static_assert(PART_METHOD == 0, "a request begins with it");

static const char version_form[] = "HTTP/1.d"; /* d: a digit */
enum { VERSION_BYTES = sizeof version_form - 1, VERSION_MAJOR_AT = 5 };

/* RFC 9110 §5.6.2 */
static bool is_token_char(char c)
{
    return http_is_alnum(c) || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

/* RFC 9110 §5.5: visible characters, space, tab, and bytes above 0x7f */
static bool is_value_char(char c)
{
    unsigned char byte = (unsigned char)c;
    return byte == '\t' || (byte >= 0x20 && byte != 0x7f);
}

static bool is_target_char(char c, bool first)
{
    /* Bytes above 0x7f fail one of the two comparisons, whether char is signed or not. "*" passes, so that
     * the preface of HTTP/2 gets as far as its version; read_head() refuses it. */
    return first ? c == '/' || c == '*' : c > ' ' && c <= '~' && c != '#';
}

static bool is_version_char(char c, size_t index)
{
    return index < VERSION_BYTES &&
           (version_form[index] == 'd' ? http_is_digit(c) : c == version_form[index]);
}

static bool belongs(enum part part, char c, size_t index)
{
    switch (part) {
    case PART_METHOD:
    case PART_NAME:
        return is_token_char(c);
    case PART_TARGET:
        return is_target_char(c, index == 0);
    case PART_VERSION:
        return is_version_char(c, index);
    case PART_VALUE:
        return is_value_char(c);
    case PART_DONE:
        break;
    }
    return false;
}

static enum parse_result begin_part(struct http_progress *progress, enum part part, size_t at)
{
    progress->part = part;
    progress->at = progress->begin = (uint16_t)at;
    return PARSE_OK;
}

/* The part ends at `c`, which stands `index` bytes behind its beginning, and not with its line. */
static enum parse_result end_part(struct http_progress *progress, char c, size_t index,
                                  struct http_request *out)
{
    const size_t next = (size_t)progress->at + 1;
    switch ((enum part)progress->part) {
    case PART_METHOD:
        return c == ' ' && index > 0 ? begin_part(progress, PART_TARGET, next)
                                     : http_bad(out, 400, "malformed method");
    case PART_TARGET:
        if (c == ' ')
            return index > 0 ? begin_part(progress, PART_VERSION, next)
                             : http_bad(out, 400, "request target is missing");
        return is_target_char(c, false)
                   ? http_bad(out, 400, "request target is not a path")
                   : http_bad(out, 400, "request target has characters that must be percent-encoded");
    case PART_VERSION:
        if (index == VERSION_BYTES)
            return http_bad(out, 400, "characters after the HTTP version");
        return index == VERSION_MAJOR_AT && http_is_digit(c)
                   ? http_bad(out, 505, "only HTTP/1.x is spoken here")
                   : http_bad(out, 400, "malformed HTTP version");
    case PART_NAME:
        if (c == ':' && index > 0)
            return begin_part(progress, PART_VALUE, next);
        return index == 0 && (c == ' ' || c == '\t') ? http_bad(out, 400, "folded header line")
                                                     : http_bad(out, 400, "malformed header name");
    case PART_VALUE:
        return http_bad(out, 400, "control character in a header value");
    case PART_DONE:
        break;
    }
    return PARSE_OK;
}

/* The same with its line, whose CR stands there. */
static enum parse_result end_line(struct http_progress *progress, size_t index, struct http_request *out)
{
    enum part part = (enum part)progress->part;
    if (part <= PART_VERSION && (part != PART_VERSION || index < VERSION_BYTES))
        return http_bad(out, 400, "request line is incomplete");
    if (part == PART_NAME && index > 0)
        return http_bad(out, 400, "header line without a colon");
    progress->line++;
    return begin_part(progress, part == PART_NAME ? PART_DONE : PART_NAME, (size_t)progress->at + 2);
}

enum parse_result http_head_check(const char *data, size_t len, struct http_progress *progress,
                                  struct http_request *out)
{
    const size_t limit = len < HTTP_HEAD_MAX ? len : HTTP_HEAD_MAX;
    enum parse_result result = PARSE_OK;
    while (result == PARSE_OK && progress->part != PART_DONE) {
        const enum part part = (enum part)progress->part;
        const size_t begin = progress->begin;
        size_t at = progress->at;
        if (progress->line > HTTP_HEADERS_MAX && at < limit && data[at] != '\r' && data[at] != '\n')
            return http_bad(out, 431, "too many headers");
        while (at < limit && belongs(part, data[at], at - begin))
            at++;
        progress->at = (uint16_t)at;
        bool cr = at < limit && data[at] == '\r';
        if (at + cr == limit) {
            if (limit < HTTP_HEAD_MAX)
                return PARSE_MORE;
            return progress->line == 0 ? http_bad(out, 414, "request line is too long")
                                       : http_bad(out, 431, "headers are too long");
        }
        if (data[at] == '\n')
            return http_bad(out, 400, "line ends without CR");
        result = cr && data[at + 1] == '\n' ? end_line(progress, at - begin, out)
                                            : end_part(progress, data[at], at - begin, out);
    }
    out->head_bytes = progress->at;
    return result;
}
