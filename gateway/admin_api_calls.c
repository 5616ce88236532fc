/* What is asked of the broker. */
#include "gateway/admin_api_calls.h"

#include "gateway/base/uuid.h"
#include "proto/centrifuge_codes.h"

#include <string.h>

enum { CLOSE_REASON_BYTES_MAX = 123 }; /* a close frame has no room for more */

static const char *const method_names[API_METHOD_COUNT] = {
#define X(name, text) [API_##name] = (text),
    API_METHODS(X)
#undef X
        [API_UNKNOWN] = "unknown",
};

const char *api_method_name(enum api_method method)
{
    return method_names[method];
}

enum api_method api_method_find(const char *name, size_t len)
{
    for (int i = 0; i < API_UNKNOWN; i++)
        if (strlen(method_names[i]) == len && memcmp(method_names[i], name, len) == 0)
            return (enum api_method)i;
    return API_UNKNOWN;
}

static void fail(struct api_reader *reader, uint16_t code, const char *sentence)
{
    api_error_set(&reader->error, code, NULL, sentence);
}

static struct broker_request *no_memory(struct api_reader *reader)
{
    fail(reader, CENTRIFUGE_ERROR_INTERNAL, "out of memory");
    return NULL;
}

/* Publishing
 * ----------------------------------------------------------------------------------------------------------
 */

void api_read_publication(struct api_reader *reader, const struct settings *settings,
                          struct api_publication *out)
{
    *out = (struct api_publication){
        .payload = api_base64(reader, API_PARAM_B64DATA),
        .tags = api_tags(reader, API_PARAM_TAGS),
        .key = api_text(reader, API_PARAM_IDEMPOTENCY_KEY),
        .skip_history = api_bool(reader, API_PARAM_SKIP_HISTORY),
    };
    if (out->payload.bytes == 0) {
        if (!api_has(reader, API_PARAM_DATA))
            fail(reader, CENTRIFUGE_ERROR_BAD_REQUEST, "data is missing");
        out->payload = api_json(reader, API_PARAM_DATA);
    }
    uint64_t most = settings->limits.message_bytes;
    if (out->payload.bytes > most || out->tags.bytes > most)
        fail(reader, CENTRIFUGE_ERROR_LIMIT_EXCEEDED, "data or tags are longer than limits.message_bytes");
    if (out->key.bytes > 255)
        fail(reader, CENTRIFUGE_ERROR_BAD_REQUEST, "idempotency_key is longer than 255 bytes");
    /* To overlook a version would deliver what is out of date. */
    if (api_uint64(reader, API_PARAM_VERSION) > 0)
        fail(reader, CENTRIFUGE_ERROR_NOT_AVAILABLE, "version is not supported");
}

struct broker_request *api_publish_request(const struct api_publication *publication, struct text topic)
{
    struct broker_ask ask = {
        .op = BROKER_PUBLISH,
        .topic = topic,
        .payload = publication->payload,
        .tags = publication->tags,
        .rest = publication->key,
    };
    struct broker_request *request = broker_request_create(&ask);
    if (request) {
        request->skip_history = publication->skip_history;
        request->patient = true; /* jobs wait, and their order must not suffer from a refusal in between */
    }
    return request;
}

/* Reading
 * ----------------------------------------------------------------------------------------------------------
 */

static struct broker_request *ask_for(struct api_reader *reader, enum broker_op op, struct text topic)
{
    if (reader->error.code != 0)
        return NULL;
    struct broker_ask ask = {.op = op, .topic = topic};
    struct broker_request *request = broker_request_create(&ask);
    return request ? request : no_memory(reader);
}

static struct broker_request *ask_history(struct api_reader *reader)
{
    struct text topic = api_topic(reader, API_PARAM_CHANNEL);
    int64_t limit = api_int(reader, API_PARAM_LIMIT, INT32_MIN, INT32_MAX);
    struct stream_position since = api_position(reader, API_PARAM_SINCE);
    bool reverse = api_bool(reader, API_PARAM_REVERSE);
    if (limit > API_HISTORY_MAX)
        fail(reader, CENTRIFUGE_ERROR_LIMIT_EXCEEDED, "limit is at most 10000: go on with since");
    struct broker_request *request = ask_for(reader, BROKER_HISTORY, topic);
    if (request) {
        request->since_set = api_has(reader, API_PARAM_SINCE);
        request->since = since;
        request->reverse = reverse;
        request->limit = limit < 0 ? API_HISTORY_MAX + 1 : (uint32_t)limit; /* negative: all of it */
    }
    return request;
}

/* Ordering
 * ----------------------------------------------------------------------------------------------------------
 */

static void refuse_session(struct api_reader *reader)
{
    if (api_text(reader, API_PARAM_SESSION).bytes > 0)
        fail(reader, CENTRIFUGE_ERROR_NOT_AVAILABLE, "session is not supported: use client");
}

/* A user that is "" says the anonymous clients; it must be said. */
static void read_whom(struct api_reader *reader, struct order *order)
{
    if (!api_has(reader, API_PARAM_USER))
        fail(reader, CENTRIFUGE_ERROR_BAD_REQUEST, "user is missing");
    refuse_session(reader);
    order->user = api_text(reader, API_PARAM_USER);
    order->client = api_text(reader, API_PARAM_CLIENT);
}

static struct broker_request *give_order(struct api_reader *reader, const struct order *order)
{
    struct broker_request *request = ask_for(reader, BROKER_ORDER, (struct text){0});
    if (!request)
        return NULL;
    request->order = order_create(order);
    if (request->order)
        return request;
    broker_request_destroy(request);
    return no_memory(reader);
}

/* JSON given as it is, or in base64. */
static struct text read_either(struct api_reader *reader, enum api_param json, enum api_param base64)
{
    struct text decoded = api_base64(reader, base64);
    if (decoded.bytes == 0)
        return api_json(reader, json);
    if (!json_text_valid(decoded.data, decoded.bytes))
        fail(reader, CENTRIFUGE_ERROR_BAD_REQUEST, "what is in base64 must be JSON");
    return decoded;
}

static bool has_members(struct json_slice object)
{
    struct json_slice name, value;
    size_t cursor = 0;
    return json_text_next(object, &cursor, &name, &value);
}

static struct broker_request *order_subscribe(struct api_reader *reader)
{
    struct order order = {.kind = ORDER_SUBSCRIBE};
    read_whom(reader, &order);
    order.topic = api_topic(reader, API_PARAM_CHANNEL);
    order.info = read_either(reader, API_PARAM_INFO, API_PARAM_B64INFO);
    order.data = read_either(reader, API_PARAM_DATA, API_PARAM_B64DATA);
    order.expire_at = api_int(reader, API_PARAM_EXPIRE_AT, 0, INT64_MAX);
    order.recover = api_has(reader, API_PARAM_RECOVER_SINCE);
    order.since = api_position(reader, API_PARAM_RECOVER_SINCE);
    if (has_members(reader->at[API_PARAM_OVERRIDE]))
        fail(reader, CENTRIFUGE_ERROR_NOT_AVAILABLE, "override is not supported: the topic's rule decides");
    return give_order(reader, &order);
}

static struct broker_request *order_unsubscribe(struct api_reader *reader)
{
    struct order order = {.kind = ORDER_UNSUBSCRIBE};
    read_whom(reader, &order);
    order.topic = api_topic(reader, API_PARAM_CHANNEL);
    return give_order(reader, &order);
}

static void read_disconnect(struct api_reader *reader, struct order *order)
{
    struct api_reader inside = *reader;
    api_read(&inside, reader->at[API_PARAM_DISCONNECT]);
    order->code = (uint16_t)api_int(&inside, API_PARAM_CODE, 0, UINT16_MAX);
    order->reason = api_text(&inside, API_PARAM_REASON);
    reader->room = inside.room; /* the reason may stand there */
    reader->room_left = inside.room_left;
    reader->error = inside.error;
    if (!centrifuge_disconnect_valid(order->code))
        fail(reader, CENTRIFUGE_ERROR_BAD_REQUEST, "disconnect.code is from 3000 to 4999");
    if (order->reason.bytes > CLOSE_REASON_BYTES_MAX)
        fail(reader, CENTRIFUGE_ERROR_BAD_REQUEST, "disconnect.reason has at most 123 bytes");
}

static struct broker_request *order_disconnect(struct api_reader *reader)
{
    static const char usual[] = "force disconnect";
    struct order order = {.kind = ORDER_DISCONNECT,
                          .code = CENTRIFUGE_DISCONNECT_FORCE_NO_RECONNECT,
                          .reason = {usual, sizeof usual - 1}};
    read_whom(reader, &order);
    order.whitelist = api_texts_of(reader, API_PARAM_WHITELIST, UUID_TEXT_BYTES - 1);
    if (api_has(reader, API_PARAM_DISCONNECT))
        read_disconnect(reader, &order);
    return give_order(reader, &order);
}

static struct broker_request *order_refresh(struct api_reader *reader)
{
    struct order order = {.kind = ORDER_REFRESH};
    read_whom(reader, &order);
    order.expired = api_bool(reader, API_PARAM_EXPIRED);
    order.expire_at = api_int(reader, API_PARAM_EXPIRE_AT, 0, INT64_MAX);
    return give_order(reader, &order);
}

struct broker_request *api_call_request(enum api_method method, struct api_reader *reader)
{
    switch (method) {
    case API_SUBSCRIBE:
        return order_subscribe(reader);
    case API_UNSUBSCRIBE:
        return order_unsubscribe(reader);
    case API_DISCONNECT:
        return order_disconnect(reader);
    case API_REFRESH:
        return order_refresh(reader);
    case API_PRESENCE:
        return ask_for(reader, BROKER_PRESENCE, api_topic(reader, API_PARAM_CHANNEL));
    case API_PRESENCE_STATS:
        return ask_for(reader, BROKER_PRESENCE_STATS, api_topic(reader, API_PARAM_CHANNEL));
    case API_HISTORY:
        return ask_history(reader);
    case API_HISTORY_REMOVE:
        return ask_for(reader, BROKER_HISTORY_REMOVE, api_topic(reader, API_PARAM_CHANNEL));
    case API_CHANNELS:
        return ask_for(reader, BROKER_CHANNELS, api_text(reader, API_PARAM_PATTERN));
    case API_INFO:
        return ask_for(reader, BROKER_INFO, (struct text){0});
    default: /* rpc, too: there is nothing to call */
        fail(reader, CENTRIFUGE_ERROR_METHOD_NOT_FOUND, "");
        return NULL;
    }
}
