/* Writes what a backend is asked, in the format of Centrifugo's proxy hooks. One allocation holds the request
 * and all of its texts, so that all can be wiped. */
#include "gateway/proxy/proxy.h"

#include "proto/json_out.h"

#include <stdlib.h>
#include <string.h>

const char *proxy_kind_label(enum proxy_kind kind)
{
    static const char *const labels[PROXY_KIND_COUNT] = {
        [PROXY_CONNECT] = "connect",         [PROXY_REFRESH] = "refresh", [PROXY_SUBSCRIBE] = "subscribe",
        [PROXY_SUB_REFRESH] = "sub_refresh", [PROXY_PUBLISH] = "publish", [PROXY_RPC] = "rpc",
    };
    return labels[kind];
}

const char *proxy_outcome_label(enum proxy_outcome outcome)
{
    static const char *const labels[PROXY_OUTCOME_COUNT] = {
        [PROXY_OK] = "ok",
        [PROXY_ERROR] = "error",
        [PROXY_DISCONNECT] = "disconnect",
        [PROXY_TIMEOUT] = "timeout",
        [PROXY_UNREACHABLE] = "unreachable",
        [PROXY_BAD_STATUS] = "bad_status",
        [PROXY_BAD_BODY] = "bad_body",
        [PROXY_BUSY] = "busy",
        [PROXY_STOPPED] = "stopped",
    };
    return labels[outcome];
}

static void put_text(struct json_out *out, const char *name, struct json_slice text)
{
    if (!text.data)
        return;
    json_out_name(out, name);
    json_out_string(out, text);
}

static void put_json(struct json_out *out, const char *name, struct json_slice json)
{
    if (!json.data)
        return;
    json_out_name(out, name);
    json_out_json(out, json);
}

/* Where in the body `data` stands, as it was written there. */
struct span {
    size_t at, bytes;
};

static struct span write_body(struct json_out *out, const struct proxy_ask *ask)
{
    struct span data = {0, 0};
    json_out_object(out);
    put_text(out, "client", ask->client);
    json_out_name(out, "transport");
    json_out_text(out, "websocket");
    json_out_name(out, "protocol");
    json_out_text(out, "json");
    json_out_name(out, "encoding");
    json_out_text(out, "json");
    if (ask->kind == PROXY_CONNECT) {
        put_text(out, "name", ask->name);
        put_text(out, "version", ask->version);
        if (ask->channel_count) {
            json_out_name(out, "channels");
            json_out_array(out);
            for (size_t i = 0; i < ask->channel_count; i++)
                json_out_string(out, ask->channels[i]);
            json_out_array_end(out);
        }
    } else {
        put_text(out, "user", ask->user);
        put_json(out, "meta", ask->meta);
    }
    if (ask->kind == PROXY_SUBSCRIBE || ask->kind == PROXY_SUB_REFRESH || ask->kind == PROXY_PUBLISH)
        put_text(out, "channel", ask->channel);
    if (ask->kind == PROXY_SUBSCRIBE)
        put_text(out, "token", ask->token);
    if (ask->kind == PROXY_RPC)
        put_text(out, "method", ask->method);
    if (ask->data.data && ask->kind != PROXY_REFRESH && ask->kind != PROXY_SUB_REFRESH) {
        json_out_name(out, "data");
        data.at = out->len;
        json_out_json(out, ask->data);
        data.bytes = out->len - data.at;
    }
    json_out_object_end(out);
    return data;
}

/* Appends a copy of `text` at *end. */
static struct json_slice keep(char **end, struct json_slice text)
{
    if (!text.data)
        return (struct json_slice){NULL, 0};
    struct json_slice copy = {*end, text.len};
    memcpy(*end, text.data, text.len);
    *end += text.len;
    return copy;
}

struct proxy_request *proxy_request_create(const struct proxy_ask *ask)
{
    struct json_out counting = json_out_count();
    (void)write_body(&counting, ask);
    /* Every text came from memory, so that the sum of their lengths cannot overflow; escaping makes one at
     * most six times as long. */
    size_t bytes = sizeof(struct proxy_request) + counting.len + ask->channel.len + ask->method.len +
                   ask->headers.len + ask->rest.len;
    struct proxy_request *request = calloc(1, bytes);
    if (!request)
        return NULL;
    request->request_bytes = bytes;
    request->kind = (uint8_t)ask->kind;
    char *end = (char *)(request + 1);
    struct json_out out = json_out_buffer(end, counting.len);
    struct span data = write_body(&out, ask);
    request->body = (struct json_slice){end, out.len};
    if (data.bytes)
        request->data = (struct json_slice){end + data.at, data.bytes};
    end += out.len;
    request->channel = keep(&end, ask->channel);
    request->method = keep(&end, ask->method);
    request->headers = keep(&end, ask->headers);
    request->rest = keep(&end, ask->rest);
    return request;
}

void proxy_request_destroy(struct proxy_request *request)
{
    if (!request)
        return;
    if (request->storage) {
        explicit_bzero(request->storage, request->storage_bytes);
        free(request->storage);
    }
    explicit_bzero(request, request->request_bytes);
    free(request);
}
