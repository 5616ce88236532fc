#include "proto/resp.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A length line is a sign, at most 19 digits and CR LF; what is longer without an end cannot become a number.
 */
enum { NUMBER_LINE_MAX = 24 };

static inline char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

bool resp_arg_is(const struct resp_arg *arg, const char *word)
{
    size_t i = 0;
    for (; i < arg->len && word[i] != '\0'; i++)
        if (lower(arg->data[i]) != lower(word[i]))
            return false;
    return i == arg->len && word[i] == '\0';
}

/* One number and its CR LF at `*at`, as strictly as Redis reads them: no plus sign, no leading zeros. Values
 * beyond INT32_MAX are bad: no count or length that we accept is that large. */
static enum parse_result read_number(const char *data, size_t len, size_t *at, int64_t *value)
{
    size_t i = *at;
    bool negative = i < len && data[i] == '-';
    i += negative;
    size_t first = i;
    int64_t n = 0;
    while (i < len && data[i] >= '0' && data[i] <= '9') {
        n = n * 10 + (data[i] - '0');
        if (n > INT32_MAX || (i > first && data[first] == '0'))
            return PARSE_BAD;
        i++;
    }
    if (i == len)
        return PARSE_MORE;
    if (i == first || data[i] != '\r' || (negative && n == 0))
        return PARSE_BAD;
    if (i + 1 == len)
        return PARSE_MORE;
    if (data[i + 1] != '\n')
        return PARSE_BAD;
    *at = i + 2;
    *value = negative ? -n : n;
    return PARSE_OK;
}

static enum parse_result bad(struct resp_command *out, const char *error)
{
    out->error = error;
    return PARSE_BAD;
}

static enum parse_result more(struct resp_command *out, size_t need_bytes)
{
    out->need_bytes = need_bytes;
    return PARSE_MORE;
}

static enum parse_result expected_dollar(struct resp_command *out, char got)
{
    if (got < ' ' || got > '~')
        got = '?';
    snprintf(out->error_text, sizeof out->error_text, "expected '$', got '%c'", got);
    return bad(out, out->error_text);
}

static enum parse_result parse_multibulk(const char *data, size_t len, size_t max_bulk,
                                         struct resp_command *out)
{
    size_t at = 1;
    int64_t count = 0;
    enum parse_result result = read_number(data, len, &at, &count);
    if (result == PARSE_MORE)
        return len > NUMBER_LINE_MAX ? bad(out, "too big mbulk count string") : more(out, 0);
    if (result == PARSE_BAD || count > (int64_t)out->args_max)
        return bad(out, "invalid multibulk length");
    for (int64_t i = 0; i < count; i++) {
        if (at == len)
            return more(out, 0);
        if (data[at] != '$')
            return expected_dollar(out, data[at]);
        size_t line = at++;
        int64_t bytes = 0;
        result = read_number(data, len, &at, &bytes);
        if (result == PARSE_MORE)
            return len - line > NUMBER_LINE_MAX ? bad(out, "too big bulk count string") : more(out, 0);
        if (result == PARSE_BAD || bytes < 0 || (uint64_t)bytes > max_bulk)
            return bad(out, "invalid bulk length");
        size_t end = at + (size_t)bytes;
        if (len < end + 2) {
            if (len == end + 1 && data[end] != '\r')
                return bad(out, "expected CRLF after bulk string");
            return more(out, end + 2);
        }
        if (data[end] != '\r' || data[end + 1] != '\n')
            return bad(out, "expected CRLF after bulk string");
        out->args[i].data = data + at;
        out->args[i].len = (size_t)bytes;
        at = end + 2;
    }
    out->arg_count = count > 0 ? (size_t)count : 0;
    out->command_bytes = at;
    return PARSE_OK;
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static char unescape(char c)
{
    switch (c) {
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'b':
        return '\b';
    case 'a':
        return '\a';
    default:
        return c;
    }
}

/* Reads a quoted part that begins behind its quote at `from`, writes its meaning at `*to`. Returns the place
 * behind the closing quote, or 0 when it is missing or is not followed by a space or the end. The meaning is
 * never longer than the text, so writing never passes reading. */
static size_t read_quoted(char *line, size_t len, size_t from, char quote, size_t *to)
{
    size_t i = from;
    while (i < len) {
        char c = line[i];
        if (c == quote) {
            i++;
            return i == len || is_space(line[i]) ? i : 0;
        }
        if (c == '\\' && quote == '"' && i + 3 < len && line[i + 1] == 'x' && hex_value(line[i + 2]) >= 0 &&
            hex_value(line[i + 3]) >= 0) {
            c = (char)(hex_value(line[i + 2]) * 16 + hex_value(line[i + 3]));
            i += 4;
        } else if (c == '\\' && quote == '"' && i + 1 < len) {
            c = unescape(line[i + 1]);
            i += 2;
        } else if (c == '\\' && quote == '\'' && i + 1 < len && line[i + 1] == '\'') {
            c = '\'';
            i += 2;
        } else {
            i++;
        }
        line[(*to)++] = c;
    }
    return 0;
}

static enum parse_result parse_inline(char *data, size_t len, struct resp_command *out)
{
    const char *newline = memchr(data, '\n', len);
    if (!newline)
        return len > RESP_INLINE_MAX ? bad(out, "too big inline request") : more(out, 0);
    size_t line = (size_t)(newline - data);
    if (line > RESP_INLINE_MAX)
        return bad(out, "too big inline request");
    out->command_bytes = line + 1;
    if (line > 0 && data[line - 1] == '\r')
        line--;
    size_t i = 0;
    for (;;) {
        while (i < line && is_space(data[i]))
            i++;
        if (i == line)
            return PARSE_OK;
        if (out->arg_count == out->args_max)
            return bad(out, "invalid multibulk length");
        size_t to = i, start = i;
        while (i < line && !is_space(data[i])) {
            if (data[i] == '"' || data[i] == '\'') {
                i = read_quoted(data, line, i + 1, data[i], &to);
                if (i == 0)
                    return bad(out, "unbalanced quotes in request");
            } else {
                data[to++] = data[i++];
            }
        }
        out->args[out->arg_count++] = (struct resp_arg){.data = data + start, .len = to - start};
    }
}

enum parse_result resp_parse(char *data, size_t len, size_t max_bulk, struct resp_command *out)
{
    out->arg_count = 0;
    out->command_bytes = 0;
    out->need_bytes = 0;
    out->error = NULL;
    if (len == 0)
        return PARSE_MORE;
    return data[0] == '*' ? parse_multibulk(data, len, max_bulk, out) : parse_inline(data, len, out);
}

void resp_out_fini(struct resp_out *out)
{
    free(out->data);
    *out = (struct resp_out){.resp3 = out->resp3};
}

/* Room for `bytes` more, or NULL. */
static char *room(struct resp_out *out, size_t bytes)
{
    if (__builtin_expect(out->cap - out->len >= bytes, 1))
        return out->data + out->len;
    size_t need;
    if (out->failed || __builtin_add_overflow(out->len, bytes, &need)) {
        out->failed = true;
        return NULL;
    }
    size_t cap = out->cap < 512 ? 1024 : out->cap <= SIZE_MAX / 2 ? out->cap * 2 : SIZE_MAX;
    if (cap < need)
        cap = need;
    char *data = realloc(out->data, cap);
    if (!data) {
        out->failed = true;
        return NULL;
    }
    out->data = data;
    out->cap = cap;
    return data + out->len;
}

static void append(struct resp_out *out, const void *data, size_t len)
{
    char *to = len > 0 ? room(out, len) : NULL;
    if (!to)
        return;
    memcpy(to, data, len);
    out->len += len;
}

/* A type byte, a number, CR LF. */
static void append_number(struct resp_out *out, char type, int64_t value)
{
    char *to = room(out, 24);
    if (!to)
        return;
    char digits[20];
    size_t n = 0;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        digits[n++] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    char *begin = to;
    *to++ = type;
    if (value < 0)
        *to++ = '-';
    while (n > 0)
        *to++ = digits[--n];
    *to++ = '\r';
    *to++ = '\n';
    out->len += (size_t)(to - begin);
}

/* A type byte and one line of text; a line break inside would let a peer's text forge a reply of its own. */
static void append_line(struct resp_out *out, char type, const char *text)
{
    size_t len = strlen(text);
    char *to = room(out, len + 3);
    if (!to)
        return;
    to[0] = type;
    for (size_t i = 0; i < len; i++)
        to[i + 1] = text[i] == '\r' || text[i] == '\n' ? ' ' : text[i];
    to[len + 1] = '\r';
    to[len + 2] = '\n';
    out->len += len + 3;
}

void resp_simple(struct resp_out *out, const char *text)
{
    append_line(out, '+', text);
}

void resp_error(struct resp_out *out, const char *text)
{
    append_line(out, '-', text);
}

void resp_integer(struct resp_out *out, int64_t value)
{
    append_number(out, ':', value);
}

void resp_bulk(struct resp_out *out, const void *data, size_t len)
{
    append_number(out, '$', (int64_t)len);
    append(out, data, len);
    append(out, "\r\n", 2);
}

void resp_null(struct resp_out *out)
{
    if (out->resp3)
        append(out, "_\r\n", 3);
    else
        append(out, "$-1\r\n", 5);
}

void resp_array(struct resp_out *out, size_t count)
{
    append_number(out, '*', (int64_t)count);
}

void resp_map(struct resp_out *out, size_t pairs)
{
    if (out->resp3)
        append_number(out, '%', (int64_t)pairs);
    else
        append_number(out, '*', (int64_t)pairs * 2);
}

void resp_push(struct resp_out *out, size_t count)
{
    append_number(out, out->resp3 ? '>' : '*', (int64_t)count);
}

void resp_values(struct resp_out *out, const struct resp_out *values)
{
    append(out, values->data, values->len);
    out->failed |= values->failed;
}
