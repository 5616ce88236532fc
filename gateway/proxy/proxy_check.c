/* URLs of backends: are they what can be asked, and how are they called in logs. */
#include "gateway/proxy/proxy_internal.h"

#include <stdio.h>
#include <string.h>

static bool has(CURLU *url, CURLUPart part)
{
    char *text = NULL;
    bool there = curl_url_get(url, part, &text, 0) == CURLUE_OK;
    curl_free(text);
    return there;
}

static bool is_http(CURLU *url)
{
    char *scheme = NULL;
    bool http = curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
                (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0);
    curl_free(scheme);
    return http;
}

bool proxy_url_check(const char *text, char *error, size_t error_size)
{
    CURLU *url = curl_url();
    const char *wrong = NULL;
    if (!url)
        wrong = "out of memory";
    else if (curl_url_set(url, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK)
        wrong = "is not a URL; write https://backend.example/pushgate/connect";
    else if (!is_http(url))
        wrong = "is neither an http: nor an https: URL";
    else if (!has(url, CURLUPART_HOST))
        wrong = "names no host";
    else if (has(url, CURLUPART_USER) || has(url, CURLUPART_PASSWORD))
        wrong = "holds a user name or password, which logs and process lists would show";
    else if (has(url, CURLUPART_FRAGMENT))
        wrong = "ends with a #fragment, which is never sent";
    curl_url_cleanup(url);
    if (wrong)
        snprintf(error, error_size, "%s", wrong);
    return !wrong;
}

void proxy_url_host(const char *text, char *host, size_t host_size)
{
    CURLU *url = curl_url();
    char *name = NULL, *port = NULL;
    snprintf(host, host_size, "?");
    if (url && curl_url_set(url, CURLUPART_URL, text, 0) == CURLUE_OK &&
        curl_url_get(url, CURLUPART_HOST, &name, 0) == CURLUE_OK &&
        curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK)
        snprintf(host, host_size, "%s:%s", name, port);
    curl_free(name);
    curl_free(port);
    curl_url_cleanup(url);
}
