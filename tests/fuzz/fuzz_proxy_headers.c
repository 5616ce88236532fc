/* Whatever headers a client sends, each line that goes to the backend has a listed name and cannot end early.
 */
#include "gateway/proxy/proxy_internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char list[] = "Cookie, A\tX-Request-Id";
    struct curl_slist *headers = NULL;
    (void)!proxy_headers_pass(list, (struct json_slice){(const char *)data, size}, &headers);
    for (const struct curl_slist *header = headers; header; header = header->next) {
        const char *line = header->data, *colon = strstr(line, ": ");
        if (!colon || !proxy_header_listed(list, line, (size_t)(colon - line)) || !colon[2])
            abort();
        for (const char *at = colon + 2; *at; at++)
            if (((unsigned char)*at < 0x20 && *at != '\t') || *at == 0x7f)
                abort();
    }
    curl_slist_free_all(headers);
    return 0;
}
