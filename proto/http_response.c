/* Response heads for everything that is not an upgrade. */
#include "proto/http_request.h"

#include <stdio.h>

const char *http_status_text(int status)
{
    switch (status) {
    case 101:
        return "Switching Protocols";
    case 200:
        return "OK";
    case 204:
        return "No Content";
    case 301:
        return "Moved Permanently";
    case 302:
        return "Found";
    case 304:
        return "Not Modified";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 408:
        return "Request Timeout";
    case 411:
        return "Length Required";
    case 413:
        return "Content Too Large";
    case 414:
        return "URI Too Long";
    case 415:
        return "Unsupported Media Type";
    case 426:
        return "Upgrade Required";
    case 429:
        return "Too Many Requests";
    case 431:
        return "Request Header Fields Too Large";
    case 500:
        return "Internal Server Error";
    case 501:
        return "Not Implemented";
    case 503:
        return "Service Unavailable";
    case 505:
        return "HTTP Version Not Supported";
    default:
        return "Unknown";
    }
}

size_t http_response_head(char *out, size_t out_size, int status, const char *content_type,
                          size_t content_bytes, bool keep_alive, const char *extra)
{
    /* A 426 names in Upgrade (the caller's `extra`) what to upgrade to, and Upgrade must be listed in
     * Connection (RFC 9110 §7.8). */
    int n = snprintf(
        out, out_size, "HTTP/1.1 %d %s\r\n%s%s%sContent-Length: %zu\r\nConnection: %s%s\r\n%s\r\n", status,
        http_status_text(status), content_type != NULL ? "Content-Type: " : "",
        content_type != NULL ? content_type : "", content_type != NULL ? "\r\n" : "", content_bytes,
        keep_alive ? "keep-alive" : "close", status == 426 ? ", Upgrade" : "", extra != NULL ? extra : "");
    return n > 0 && (size_t)n < out_size ? (size_t)n : 0;
}
