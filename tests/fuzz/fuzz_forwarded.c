/* Lists of forwarded nodes from their end. Whatever a client wrote, what the last proxy appends is found as
 * it was appended; and the walk always ends. */
#include "proto/forwarded.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
    if (!holds)
        abort();
}

typedef bool previous_fn(struct http_slice value, size_t *cursor, struct forwarded_node *out);

static void walk(previous_fn *previous, struct http_slice value)
{
    struct forwarded_node node;
    size_t last = value.len + 1;
    for (size_t cursor = value.len; previous(value, &cursor, &node);) {
        must(cursor < last);
        must(node.kind <= FORWARDED_MALFORMED);
        last = cursor;
    }
}

/* `appended` is one address, 192.0.2.9. */
static void append_and_look(previous_fn *previous, const uint8_t *data, size_t size, const char *appended)
{
    size_t more = strlen(appended), cursor = size + more;
    char *value = malloc(cursor);
    struct forwarded_node node;
    must(value != NULL);
    if (size)
        memcpy(value, data, size);
    for (size_t i = 0; i < more; i++)
        value[size + i] = appended[i];
    must(previous((struct http_slice){value, size + more}, &cursor, &node));
    must(node.kind == FORWARDED_IPV4 && memcmp(node.ip, "\xc0\x00\x02\x09", 4) == 0);
    must(cursor == size);
    free(value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 9000)
        return 0;
    struct http_slice value = {(const char *)data, size};
    walk(forwarded_for_previous, value);
    walk(forwarded_previous, value);
    append_and_look(forwarded_for_previous, data, size, ", 192.0.2.9");
    append_and_look(forwarded_previous, data, size, ", for=192.0.2.9");
    append_and_look(forwarded_previous, data, size,
                    ", by=\"[2001:db8::1]:80\";for=\"192.0.2.9:1234\";proto=https");
    /* A request's head: fields of a name, from the last one up. */
    struct http_request request;
    if (http_request_parse((const char *)data, size, 0, &request) == PARSE_OK) {
        size_t cursor = request.head_bytes, before = cursor + 1, fields = 0;
        while (http_header_previous((const char *)data, "Forwarded", &cursor, &value) == PARSE_OK) {
            must(cursor < before && ++fields <= HTTP_HEADERS_MAX);
            must(value.data >= (const char *)data &&
                 value.data + value.len <= (const char *)data + request.head_bytes);
            before = cursor;
            walk(forwarded_previous, value);
        }
    }
    return 0;
}
