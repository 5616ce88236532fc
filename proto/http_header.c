/* Fields of a head that was parsed already, by name and from the last one up. */
#include "proto/http_request.h"

#include <string.h>
#include <strings.h>

enum parse_result http_header_previous(const char *head, const char *name, size_t *cursor,
                                       struct http_slice *value)
{
    size_t name_len = strlen(name);
    *value = (struct http_slice){0};
    /* *cursor stands behind the CRLF of the line to look at next. The first line is the request's own. */
    while (*cursor >= 2) {
        size_t end = *cursor - 2;
        const char *newline = memrchr(head, '\n', end);
        if (!newline)
            return PARSE_MORE;
        const char *line = newline + 1, *stop = head + end;
        *cursor = (size_t)(line - head);
        if ((size_t)(stop - line) <= name_len || line[name_len] != ':' ||
            strncasecmp(line, name, name_len) != 0)
            continue;
        const char *at = line + name_len + 1;
        while (at < stop && (*at == ' ' || *at == '\t'))
            at++;
        while (stop > at && (stop[-1] == ' ' || stop[-1] == '\t'))
            stop--;
        *value = (struct http_slice){at, (size_t)(stop - at)};
        return PARSE_OK;
    }
    return PARSE_MORE;
}
