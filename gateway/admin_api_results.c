/* What the broker answered, as JSON. */
#include "gateway/admin_api_calls.h"
#include "proto/centrifuge_codes.h"

#include <stdio.h>
#include <string.h>

bool api_answer_failed(enum api_method method, const struct broker_request *answer, struct api_error *error)
{
    switch ((enum broker_result)answer->result) {
    case BROKER_OK:
        if (method != API_HISTORY)
            return false;
        if (answer->since_set && !answer->continuous)
            api_error_set(error, CENTRIFUGE_ERROR_UNRECOVERABLE_POSITION, NULL, "");
        else if (answer->item_count > API_HISTORY_MAX)
            api_error_set(error, CENTRIFUGE_ERROR_LIMIT_EXCEEDED, NULL,
                          "more than 10000 publications: set limit and go on with since");
        return error->code != 0;
    case BROKER_TOO_LARGE:
        api_error_set(error, CENTRIFUGE_ERROR_LIMIT_EXCEEDED, NULL,
                      method == API_PRESENCE ? "longer than api.response_bytes"
                                             : "data is longer than limits.message_bytes");
        return true;
    case BROKER_BUSY:
        api_error_set(error, CENTRIFUGE_ERROR_TOO_MANY_REQUESTS, NULL, "");
        return true;
    case BROKER_NOT_KEPT:
        api_error_set(error, CENTRIFUGE_ERROR_NOT_AVAILABLE, NULL,
                      method == API_PRESENCE || method == API_PRESENCE_STATS
                          ? "the topic's rule keeps no presence"
                          : "the topic's rule keeps no history");
        return true;
    case BROKER_FULL:
    case BROKER_NO_MEMORY:
        break;
    }
    api_error_set(error, CENTRIFUGE_ERROR_INTERNAL, NULL, "out of memory");
    return true;
}

void api_write_error(struct json_out *out, const struct api_error *error)
{
    char message[160];
    const char *general = centrifuge_error_message(error->code);
    snprintf(message, sizeof message, "%s%s%s", general ? general : "error", *error->detail ? ": " : "",
             error->detail);
    json_out_object(out);
    json_out_name(out, "code");
    json_out_uint(out, error->code);
    json_out_name(out, "message");
    json_out_text(out, message);
    json_out_object_end(out);
}

static void write_epoch(struct json_out *out, uint64_t epoch)
{
    char text[EPOCH_TEXT_BYTES];
    epoch_format(epoch, text);
    json_out_name(out, "epoch");
    json_out_text(out, text);
}

static void write_uint(struct json_out *out, const char *name, uint64_t value)
{
    json_out_name(out, name);
    json_out_uint(out, value);
}

void api_write_position(struct json_out *out, struct stream_position position)
{
    json_out_object(out);
    if (position.epoch != 0) {
        write_uint(out, "offset", position.offset);
        write_epoch(out, position.epoch);
    }
    json_out_object_end(out);
}

static void write_item(struct json_out *out, const struct history_item *item)
{
    enum json_payload kind = item->json   ? JSON_PAYLOAD_JSON
                             : item->text ? JSON_PAYLOAD_TEXT
                                          : JSON_PAYLOAD_BINARY;
    json_out_object(out);
    json_out_name(out, "data");
    json_out_payload(out, kind, history_item_payload(item), item->payload_bytes);
    write_uint(out, "offset", item->offset);
    if (item->info_bytes > 0) {
        json_out_name(out, "info");
        json_out_json(out, (struct json_slice){history_item_info(item), item->info_bytes});
    }
    if (item->tags_bytes > 0) {
        json_out_name(out, "tags");
        json_out_json(out, (struct json_slice){history_item_tags(item), item->tags_bytes});
    }
    json_out_object_end(out);
}

static void write_history(struct json_out *out, const struct broker_request *answer)
{
    json_out_object(out);
    json_out_name(out, "publications");
    json_out_array(out);
    for (size_t i = 0; i < answer->item_count && !out->failed; i++)
        write_item(out, answer->items[i]);
    json_out_array_end(out);
    write_epoch(out, answer->position.epoch);
    write_uint(out, "offset", answer->position.offset);
    json_out_object_end(out);
}

static void write_info(struct json_out *out, const struct broker_request *answer, const struct api_node *node)
{
    json_out_object(out);
    json_out_name(out, "nodes");
    json_out_array(out);
    json_out_object(out);
    json_out_name(out, "uid");
    json_out_text(out, node->uid);
    json_out_name(out, "name");
    json_out_text(out, node->name);
    json_out_name(out, "version");
    json_out_text(out, PUSHGATE_VERSION);
    write_uint(out, "num_clients", node->clients);
    write_uint(out, "num_channels", answer->users);
    write_uint(out, "uptime", node->uptime_s);
    json_out_object_end(out);
    json_out_array_end(out);
    json_out_object_end(out);
}

void api_write_result(struct json_out *out, enum api_method method, const struct broker_request *answer,
                      const struct api_node *node)
{
    switch (method) {
    case API_PUBLISH:
    case API_BROADCAST:
        api_write_position(out, answer->position);
        return;
    case API_HISTORY:
        write_history(out, answer);
        return;
    case API_INFO:
        write_info(out, answer, node);
        return;
    case API_PRESENCE:
        json_out_object(out);
        json_out_name(out, "presence");
        json_out_json(out, (struct json_slice){answer->json, answer->json_bytes});
        json_out_object_end(out);
        return;
    case API_PRESENCE_STATS:
        json_out_object(out);
        write_uint(out, "num_clients", answer->clients);
        write_uint(out, "num_users", answer->users);
        json_out_object_end(out);
        return;
    default: /* orders, history_remove: an empty object */
        json_out_object(out);
        json_out_object_end(out);
        return;
    }
}
