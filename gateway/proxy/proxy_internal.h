/* What the files of the proxy share among themselves.
 *
 * Thread: said at each function. Owner: said at each struct.
 */
#pragma once

#include "gateway/base/list.h"
#include "gateway/proxy/proxy.h"

#include <curl/curl.h>

enum {
    PROXY_CHANNELS_MAX = 1024,      /* in one answer to connect */
    PROXY_MESSAGE_BYTES_MAX = 1024, /* of an error's message */
    PROXY_REASON_BYTES_MAX = 123,   /* of a disconnect's reason: what a close frame has room for */
    PROXY_WHY_BYTES = 160,          /* for a sentence that says what was wrong with an answer */
};

/* Fills in request->answer, its outcome included, from the body of a response with status 200, and returns
 * the outcome: PROXY_OK, PROXY_ERROR, PROXY_DISCONNECT, or PROXY_BAD_BODY with the cause in `why` (nothing of
 * the body stands in it). Any thread; the request is the caller's. */
enum proxy_outcome proxy_answer_parse(struct proxy_request *request, const char *body, size_t bytes,
                                      char *why, size_t why_size);

/* The lines of `text` that `list` names and that are well-formed, as libcurl wants them, appended to
 * *headers. False without memory; what was appended then still is the caller's. */
bool proxy_headers_pass(const char *list, struct json_slice text, struct curl_slist **headers);

/* libcurl, with memory that is wiped when it is freed: requests carry cookies and tokens. Each true one needs
 * its proxy_curl_release(). By main. */
bool proxy_curl_retain(void);
void proxy_curl_release(void);

/* What all exchanges have in common. Owner: the proxy. */
struct exchange_setup {
    const char *headers, *ca_file;
    size_t answer_bytes;
};

/* One request at a backend, and the libcurl handle that goes from request to request. The proxy's thread
 * only. Owner: the proxy; the request is the exchange's from begin to end. */
struct exchange {
    struct list link; /* among the idle or the busy ones */
    const struct exchange_setup *setup;
    CURLM *multi;
    CURL *easy;
    struct proxy_request *request; /* NULL: idle */
    struct curl_slist *headers;
    char *body;
    size_t body_bytes, body_room;
    size_t head_bytes;
    bool too_large, no_memory;
    char error[CURL_ERROR_SIZE];
};

/* What became of a request. */
struct exchange_report {
    enum proxy_outcome outcome;
    long status;               /* HTTP; 0: there was none */
    long connections;          /* opened for it */
    char why[CURL_ERROR_SIZE]; /* why none of PROXY_OK, PROXY_ERROR and PROXY_DISCONNECT; nothing that was
                                  sent */
};

bool exchange_init(struct exchange *exchange, CURLM *multi, const struct exchange_setup *setup);
void exchange_fini(struct exchange *exchange); /* idle */
/* Sends the request, which becomes the exchange's, to `url`, for an answer within `left_ms` (at least 1).
 * False without memory: then it still is the caller's. */
bool exchange_begin(struct exchange *exchange, struct proxy_request *request, const char *url, long left_ms);
/* libcurl is done with it. Gives the request back; the report says what its end means. */
struct proxy_request *exchange_end(struct exchange *exchange, CURLcode code, struct exchange_report *report);
/* Breaks it off and gives the request back. */
struct proxy_request *exchange_cancel(struct exchange *exchange);

/* "backend.example:443" of a URL that proxy_url_check() has passed: what logs may show of it. */
void proxy_url_host(const char *url, char *host, size_t host_size);
