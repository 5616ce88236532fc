/* Parameters in the query of a URL. */
#include "proto/hex.h"
#include "proto/http_request.h"

#include <string.h>

static enum parse_result decode(struct http_slice value, char *out, size_t out_size, size_t *out_len)
{
    size_t used = 0;
    for (size_t i = 0; i < value.len; i++) {
        int byte = (unsigned char)value.data[i];
        if (byte == '+') {
            byte = ' ';
        } else if (byte == '%') {
            int high = value.len - i > 2 ? hex_digit(value.data[i + 1]) : -1;
            int low = value.len - i > 2 ? hex_digit(value.data[i + 2]) : -1;
            if (high < 0 || low < 0)
                return PARSE_BAD;
            byte = high << 4 | low;
            i += 2;
        }
        if (byte == 0 || used == out_size)
            return PARSE_BAD;
        out[used++] = (char)byte;
    }
    *out_len = used;
    return PARSE_OK;
}

enum parse_result http_query_next(struct http_slice query, const char *name, size_t *cursor, char *out,
                                  size_t out_size, size_t *out_len)
{
    size_t name_len = strlen(name);
    *out_len = 0;
    while (*cursor < query.len) {
        const char *start = query.data + *cursor;
        size_t left = query.len - *cursor;
        const char *ampersand = memchr(start, '&', left);
        size_t len = ampersand != NULL ? (size_t)(ampersand - start) : left;
        *cursor += len + (ampersand != NULL);
        if (len < name_len || memcmp(start, name, name_len) != 0)
            continue;
        if (len == name_len) /* no '=': an empty value */
            return PARSE_OK;
        if (start[name_len] == '=')
            return decode((struct http_slice){start + name_len + 1, len - name_len - 1}, out, out_size,
                          out_len);
    }
    return PARSE_MORE;
}
