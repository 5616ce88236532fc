/* Commands of a Centrifuge client: whatever comes, what is decoded lies inside the message, payloads are as
 * they came, names agree with jansson, and nothing decoded depends on what follows in the message. */
#include "proto/centrifuge.h"
#include "proto/utf8.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { SUBS_MAX = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

static void check(int truth)
{
    if (!truth)
        abort();
}

struct message {
    const uint8_t *input;
    char *copy;
    size_t len;
    struct json_slice line; /* of the current command, in the input */
};

static void check_text(const struct message *message, struct json_slice text)
{
    if (!text.data)
        return;
    check(text.data >= message->copy && text.data + text.len <= message->copy + message->len);
    check(utf8_valid(text.data, text.len) && !memchr(text.data, '\0', text.len));
}

/* A raw value: not touched by decoding what stands around it. */
static void check_raw(const struct message *message, struct json_slice raw)
{
    if (!raw.data)
        return;
    check(raw.data >= message->copy && raw.data + raw.len <= message->copy + message->len);
    check(memcmp(raw.data, message->input + (raw.data - message->copy), raw.len) == 0);
    check(json_text_valid(raw.data, raw.len));
}

static void check_subscription(const struct message *message, const struct centrifuge_subscribe *sub)
{
    check_text(message, sub->channel);
    check_text(message, sub->token);
    check_text(message, sub->epoch);
    check_raw(message, sub->data);
}

static void check_equal(struct json_slice text, const json_t *expected)
{
    if (json_is_string(expected))
        check(text.data && text.len == json_string_length(expected) &&
              memcmp(text.data, json_string_value(expected), text.len) == 0);
    else
        check(!text.data && (!expected || json_is_null(expected)));
}

/* What jansson says of the line; it refuses some lines that we take. Its numbers are all reals, so that none
 * is too large: exact for 32 bits. */
static void check_against_jansson(const struct message *message, const struct centrifuge_command *command)
{
    json_t *tree =
        json_loadb(message->line.data, message->line.len, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
    if (!tree)
        return;
    const json_t *body = json_object_get(tree, centrifuge_method_name(command->method));
    check(command->id == json_number_value(json_object_get(tree, "id")));
    switch (command->method) {
    case CENTRIFUGE_CONNECT:
        check_equal(command->connect.token, json_object_get(body, "token"));
        check_equal(command->connect.name, json_object_get(body, "name"));
        check_equal(command->connect.version, json_object_get(body, "version"));
        check(command->connect.sub_count >= json_object_size(json_object_get(body, "subs")));
        break;
    case CENTRIFUGE_SUBSCRIBE:
        check_equal(command->subscribe.channel, json_object_get(body, "channel"));
        check_equal(command->subscribe.token, json_object_get(body, "token"));
        check_equal(command->subscribe.epoch, json_object_get(body, "epoch"));
        check(command->subscribe.recover == json_is_true(json_object_get(body, "recover")));
        break;
    case CENTRIFUGE_PUBLISH:
        check_equal(command->publish.channel, json_object_get(body, "channel"));
        check(!command->publish.data.data == !json_object_get(body, "data"));
        break;
    case CENTRIFUGE_HISTORY:
        check_equal(command->history.channel, json_object_get(body, "channel"));
        check(command->history.limit == json_number_value(json_object_get(body, "limit")));
        check_equal(command->history.since_epoch, json_object_get(json_object_get(body, "since"), "epoch"));
        break;
    case CENTRIFUGE_RPC:
        check_equal(command->rpc.method, json_object_get(body, "method"));
        break;
    case CENTRIFUGE_SUB_REFRESH:
        check_equal(command->sub_refresh.channel, json_object_get(body, "channel"));
        check_equal(command->sub_refresh.token, json_object_get(body, "token"));
        break;
    default:
        break;
    }
    json_decref(tree);
}

static void check_command(const struct message *message, const struct centrifuge_command *command)
{
    check(command->id > 0 || command->method == CENTRIFUGE_SEND || command->method == CENTRIFUGE_PONG);
    switch (command->method) {
    case CENTRIFUGE_CONNECT:
        check_text(message, command->connect.token);
        check_text(message, command->connect.name);
        check_text(message, command->connect.version);
        check_raw(message, command->connect.data);
        check_raw(message, command->connect.headers);
        check(command->connect.sub_count <= SUBS_MAX);
        for (size_t i = 0; i < command->connect.sub_count; i++)
            check_subscription(message, &command->connect.subs[i]);
        break;
    case CENTRIFUGE_SUBSCRIBE:
        check_subscription(message, &command->subscribe);
        break;
    case CENTRIFUGE_UNSUBSCRIBE:
        check_text(message, command->unsubscribe.channel);
        break;
    case CENTRIFUGE_PUBLISH:
        check_text(message, command->publish.channel);
        check_raw(message, command->publish.data);
        break;
    case CENTRIFUGE_PRESENCE:
        check_text(message, command->presence.channel);
        break;
    case CENTRIFUGE_PRESENCE_STATS:
        check_text(message, command->presence_stats.channel);
        break;
    case CENTRIFUGE_HISTORY:
        check_text(message, command->history.channel);
        check_text(message, command->history.since_epoch);
        break;
    case CENTRIFUGE_SEND:
        check_raw(message, command->send.data);
        break;
    case CENTRIFUGE_RPC:
        check_text(message, command->rpc.method);
        check_raw(message, command->rpc.data);
        break;
    case CENTRIFUGE_REFRESH:
        check_text(message, command->refresh.token);
        break;
    case CENTRIFUGE_SUB_REFRESH:
        check_text(message, command->sub_refresh.channel);
        check_text(message, command->sub_refresh.token);
        break;
    default:
        check(command->method == CENTRIFUGE_PING || command->method == CENTRIFUGE_PONG ||
              command->method == CENTRIFUGE_UNKNOWN);
    }
}

/* Decodes it all; returns how many commands there were. `stop` tells whether the end was a bad one. */
static uint32_t decode(struct message *message, bool *stop)
{
    struct centrifuge_subscribe subs[SUBS_MAX];
    struct centrifuge_decoder decoder;
    struct centrifuge_command command;
    centrifuge_decoder_init(&decoder, message->copy, message->len, subs, SUBS_MAX);
    uint32_t count = 0;
    for (;;) {
        size_t from = decoder.at;
        enum parse_result result = centrifuge_decode(&decoder, &command);
        if (result != PARSE_OK) {
            *stop = result == PARSE_BAD;
            check((decoder.error != NULL) == *stop);
            check(!decoder.error || strlen(decoder.error) < sizeof decoder.error_text);
            check(centrifuge_decode(&decoder, &command) == result);
            return count;
        }
        size_t to = decoder.at < message->len ? decoder.at : message->len;
        message->line = (struct json_slice){(const char *)message->input + from, to - from};
        check_command(message, &command);
        check_against_jansson(message, &command);
        count++;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    struct message message = {.input = input, .len = size};
    bool stop = false, stop_again = false;
    message.copy = malloc(size ? size : 1);
    check(message.copy != NULL);
    if (size > 0)
        memcpy(message.copy, input, size);
    uint32_t count = decode(&message, &stop);
    check(count <= CENTRIFUGE_COMMANDS_MAX && (count > 0 || stop));
    /* With one more command behind it, a good message has one more. */
    if (!stop && count < CENTRIFUGE_COMMANDS_MAX) {
        uint8_t *longer = malloc(size + 3);
        char *copy = malloc(size + 3);
        check(longer && copy);
        memcpy(longer, input, size);
        longer[size] = '\n';
        longer[size + 1] = '{';
        longer[size + 2] = '}';
        memcpy(copy, longer, size + 3);
        struct message again = {.input = longer, .copy = copy, .len = size + 3};
        check(decode(&again, &stop_again) == count + 1 && !stop_again);
        free(copy);
        free(longer);
    }
    free(message.copy);
    return 0;
}
