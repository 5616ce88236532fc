/* Echo: sends every message back, for WebSocket conformance suites. */
#include "gateway/adapter/adapter.h"

static bool echo_enabled(const struct settings *settings)
{
    return settings->demo.enabled;
}

static void echo_accept(const struct settings *settings, const struct http_request *request,
                        struct adapter_admission *out)
{
    (void)settings;
    (void)request;
    (void)out;
}

static void echo_message(struct adapter_link *link, bool text, uint8_t *payload, size_t payload_bytes)
{
    link->ops->send(link, text, payload, payload_bytes);
}

static size_t echo_encoded_bound(const struct publication *publication)
{
    (void)publication;
    return 0;
}

static size_t echo_encode(const struct publication *publication, uint8_t *out)
{
    (void)publication;
    (void)out;
    return 0;
}

const struct adapter adapter_echo = {
    .name = "echo",
    .path = "/echo",
    .reads_messages = true,
    .enabled = echo_enabled,
    .accept = echo_accept,
    .message = echo_message,
    .encoded_bound = echo_encoded_bound,
    .encode = echo_encode,
};
