#include "proto/centrifuge.h"

#include <string.h>

/* Members that are left out when there is nothing to say. */

static void put_string(struct json_out *out, const char *name, struct json_slice text)
{
    if (text.len == 0)
        return;
    json_out_name(out, name);
    json_out_string(out, text);
}

static void put_json(struct json_out *out, const char *name, struct json_slice json)
{
    if (json.len == 0)
        return;
    json_out_name(out, name);
    json_out_json(out, json);
}

static void put_uint(struct json_out *out, const char *name, uint64_t value)
{
    if (value == 0)
        return;
    json_out_name(out, name);
    json_out_uint(out, value);
}

static void put_flag(struct json_out *out, const char *name, bool value)
{
    if (!value)
        return;
    json_out_name(out, name);
    json_out_bool(out, value);
}

static void put_expiry(struct json_out *out, bool expires, uint32_t ttl)
{
    put_flag(out, "expires", expires);
    put_uint(out, "ttl", ttl);
}

static enum json_payload payload_kind(const struct centrifuge_publication *publication)
{
    if (publication->json)
        return JSON_PAYLOAD_JSON;
    return publication->text ? JSON_PAYLOAD_TEXT : JSON_PAYLOAD_BINARY;
}

static void write_publication(struct json_out *out, const struct centrifuge_publication *publication)
{
    json_out_object(out);
    json_out_name(out, "data");
    json_out_payload(out, payload_kind(publication), publication->payload, publication->payload_bytes);
    put_json(out, "info", publication->info);
    put_uint(out, "offset", publication->offset);
    put_json(out, "tags", publication->tags);
    json_out_object_end(out);
}

static void write_publications(struct json_out *out, const struct centrifuge_publication *publications,
                               size_t count)
{
    json_out_array(out);
    for (size_t i = 0; i < count; i++)
        write_publication(out, &publications[i]);
    json_out_array_end(out);
}

static void write_subscribe_result(struct json_out *out, const struct centrifuge_subscribe_result *result)
{
    json_out_object(out);
    put_expiry(out, result->expires, result->ttl);
    put_flag(out, "recoverable", result->recoverable);
    put_string(out, "epoch", result->epoch);
    if (result->publication_count > 0) {
        json_out_name(out, "publications");
        write_publications(out, result->publications, result->publication_count);
    }
    put_flag(out, "recovered", result->recovered);
    put_uint(out, "offset", result->offset);
    put_flag(out, "positioned", result->positioned);
    put_json(out, "data", result->data);
    put_flag(out, "was_recovering", result->was_recovering);
    json_out_object_end(out);
}

/* A reply up to the name of what it carries. */
static void begin_reply(struct json_out *out, uint32_t id, const char *name)
{
    json_out_line(out);
    json_out_object(out);
    json_out_name(out, "id");
    json_out_uint(out, id);
    json_out_name(out, name);
}

static void begin_result(struct json_out *out, uint32_t id, enum centrifuge_method method)
{
    begin_reply(out, id, centrifuge_method_name(method));
}

static void end_reply(struct json_out *out)
{
    json_out_object_end(out);
}

/* A push up to the name of what it carries; some belong to no channel. */
static void begin_push(struct json_out *out, struct json_slice channel, const char *name)
{
    json_out_line(out);
    json_out_object(out);
    json_out_name(out, "push");
    json_out_object(out);
    put_string(out, "channel", channel);
    json_out_name(out, name);
}

static void end_push(struct json_out *out)
{
    json_out_object_end(out);
    json_out_object_end(out);
}

static void push_join_leave(struct json_out *out, struct json_slice channel, const char *name,
                            struct json_slice info)
{
    begin_push(out, channel, name);
    json_out_object(out);
    put_json(out, "info", info);
    json_out_object_end(out);
    end_push(out);
}

void centrifuge_encode_info(struct json_out *out, const struct centrifuge_info *info)
{
    json_out_object(out);
    json_out_name(out, "user");
    json_out_string(out, info->user);
    json_out_name(out, "client");
    json_out_string(out, info->client);
    put_json(out, "conn_info", info->conn_info);
    put_json(out, "chan_info", info->chan_info);
    json_out_object_end(out);
}

void centrifuge_reply_connect(struct json_out *out, uint32_t id,
                              const struct centrifuge_connect_result *result)
{
    begin_result(out, id, CENTRIFUGE_CONNECT);
    json_out_object(out);
    put_string(out, "client", result->client);
    put_string(out, "version", result->version);
    put_expiry(out, result->expires, result->ttl);
    put_json(out, "data", result->data);
    if (result->sub_count > 0) {
        json_out_name(out, "subs");
        json_out_object(out);
        for (size_t i = 0; i < result->sub_count; i++) {
            json_out_name_text(out, result->subs[i].channel);
            write_subscribe_result(out, &result->subs[i].result);
        }
        json_out_object_end(out);
    }
    put_uint(out, "ping", result->ping);
    put_flag(out, "pong", result->pong);
    put_string(out, "session", result->session);
    put_string(out, "node", result->node);
    json_out_object_end(out);
    end_reply(out);
}

void centrifuge_reply_subscribe(struct json_out *out, uint32_t id,
                                const struct centrifuge_subscribe_result *result)
{
    begin_result(out, id, CENTRIFUGE_SUBSCRIBE);
    write_subscribe_result(out, result);
    end_reply(out);
}

void centrifuge_reply_empty(struct json_out *out, uint32_t id, enum centrifuge_method method)
{
    begin_result(out, id, method);
    json_out_object(out);
    json_out_object_end(out);
    end_reply(out);
}

void centrifuge_reply_presence(struct json_out *out, uint32_t id, const struct centrifuge_info *infos,
                               size_t count)
{
    begin_result(out, id, CENTRIFUGE_PRESENCE);
    json_out_object(out);
    json_out_name(out, "presence");
    json_out_object(out);
    for (size_t i = 0; i < count; i++) {
        json_out_name_text(out, infos[i].client);
        centrifuge_encode_info(out, &infos[i]);
    }
    json_out_object_end(out);
    json_out_object_end(out);
    end_reply(out);
}

void centrifuge_reply_presence_stats(struct json_out *out, uint32_t id, uint32_t clients, uint32_t users)
{
    begin_result(out, id, CENTRIFUGE_PRESENCE_STATS);
    json_out_object(out);
    json_out_name(out, "num_clients");
    json_out_uint(out, clients);
    json_out_name(out, "num_users");
    json_out_uint(out, users);
    json_out_object_end(out);
    end_reply(out);
}

void centrifuge_reply_history(struct json_out *out, uint32_t id,
                              const struct centrifuge_publication *publications, size_t count,
                              struct json_slice epoch, uint64_t offset)
{
    begin_result(out, id, CENTRIFUGE_HISTORY);
    json_out_object(out);
    json_out_name(out, "publications");
    write_publications(out, publications, count);
    json_out_name(out, "epoch");
    json_out_string(out, epoch);
    json_out_name(out, "offset");
    json_out_uint(out, offset);
    json_out_object_end(out);
    end_reply(out);
}

void centrifuge_reply_rpc(struct json_out *out, uint32_t id, struct json_slice data)
{
    begin_result(out, id, CENTRIFUGE_RPC);
    json_out_object(out);
    put_json(out, "data", data);
    json_out_object_end(out);
    end_reply(out);
}

void centrifuge_reply_refresh(struct json_out *out, uint32_t id, struct json_slice client,
                              struct json_slice version, bool expires, uint32_t ttl)
{
    begin_result(out, id, CENTRIFUGE_REFRESH);
    json_out_object(out);
    put_string(out, "client", client);
    put_string(out, "version", version);
    put_expiry(out, expires, ttl);
    json_out_object_end(out);
    end_reply(out);
}

void centrifuge_reply_sub_refresh(struct json_out *out, uint32_t id, bool expires, uint32_t ttl)
{
    begin_result(out, id, CENTRIFUGE_SUB_REFRESH);
    json_out_object(out);
    put_expiry(out, expires, ttl);
    json_out_object_end(out);
    end_reply(out);
}

void centrifuge_reply_error(struct json_out *out, uint32_t id, enum centrifuge_error error)
{
    const char *message = centrifuge_error_message(error);
    struct json_slice text = {message, message ? strlen(message) : 0};
    centrifuge_reply_custom_error(out, id, error, text, centrifuge_error_temporary(error));
}

void centrifuge_reply_custom_error(struct json_out *out, uint32_t id, uint32_t code,
                                   struct json_slice message, bool temporary)
{
    begin_reply(out, id, "error");
    json_out_object(out);
    put_uint(out, "code", code);
    put_string(out, "message", message);
    put_flag(out, "temporary", temporary);
    json_out_object_end(out);
    end_reply(out);
}

void centrifuge_push_ping(struct json_out *out)
{
    json_out_line(out);
    json_out_object(out);
    json_out_object_end(out);
}

void centrifuge_push_publication(struct json_out *out, struct json_slice channel,
                                 const struct centrifuge_publication *publication)
{
    begin_push(out, channel, "pub");
    write_publication(out, publication);
    end_push(out);
}

void centrifuge_push_join(struct json_out *out, struct json_slice channel, struct json_slice info)
{
    push_join_leave(out, channel, "join", info);
}

void centrifuge_push_leave(struct json_out *out, struct json_slice channel, struct json_slice info)
{
    push_join_leave(out, channel, "leave", info);
}

void centrifuge_push_subscribe(struct json_out *out, struct json_slice channel,
                               const struct centrifuge_subscribe_result *result)
{
    begin_push(out, channel, "subscribe");
    json_out_object(out);
    put_flag(out, "recoverable", result->recoverable);
    put_string(out, "epoch", result->epoch);
    put_uint(out, "offset", result->offset);
    put_flag(out, "positioned", result->positioned);
    put_json(out, "data", result->data);
    json_out_object_end(out);
    end_push(out);
}

void centrifuge_push_unsubscribe(struct json_out *out, struct json_slice channel, uint32_t code,
                                 struct json_slice reason)
{
    begin_push(out, channel, "unsubscribe");
    json_out_object(out);
    put_uint(out, "code", code);
    put_string(out, "reason", reason);
    json_out_object_end(out);
    end_push(out);
}

void centrifuge_push_message(struct json_out *out, struct json_slice data)
{
    begin_push(out, (struct json_slice){0}, "message");
    json_out_object(out);
    put_json(out, "data", data);
    json_out_object_end(out);
    end_push(out);
}

void centrifuge_push_disconnect(struct json_out *out, uint32_t code, struct json_slice reason)
{
    begin_push(out, (struct json_slice){0}, "disconnect");
    json_out_object(out);
    put_uint(out, "code", code);
    put_string(out, "reason", reason);
    put_flag(out, "reconnect", centrifuge_disconnect_reconnects(code));
    json_out_object_end(out);
    end_push(out);
}

void centrifuge_push_refresh(struct json_out *out, bool expires, uint32_t ttl)
{
    begin_push(out, (struct json_slice){0}, "refresh");
    json_out_object(out);
    put_expiry(out, expires, ttl);
    json_out_object_end(out);
    end_push(out);
}

size_t centrifuge_publication_bound(struct json_slice channel,
                                    const struct centrifuge_publication *publication)
{
    struct json_out out = json_out_count();
    centrifuge_push_publication(&out, channel, publication);
    return out.len;
}

size_t centrifuge_encode_publication_push(struct json_slice channel,
                                          const struct centrifuge_publication *publication, void *out)
{
    struct json_out buffer = json_out_buffer(out, SIZE_MAX);
    centrifuge_push_publication(&buffer, channel, publication);
    return buffer.len;
}
