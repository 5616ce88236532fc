/* HISTORY, HISTORYDEL, PRESENCE, PRESENCESTATS: what a topic keeps; USER: what is done to a user's
 * connections. Requests to the broker that are answered at once, because both live on this thread. */
#include "gateway/adapter/topic_name.h"
#include "gateway/base/uuid.h"
#include "gateway/publisher_client.h"
#include "proto/centrifuge_codes.h"
#include "proto/json_text.h"
#include "proto/utf8.h"

#include <string.h>

enum {
    REASON_BYTES_MAX = 123, /* what a close frame has room for */
    USER_BYTES_MAX = 4096,  /* hooks may name longer users than tokens do */
};

static bool topic_given(const struct call *call, const struct resp_arg *topic)
{
    if (topic->len >= 1 && topic->len <= TOPIC_BYTES_MAX)
        return true;
    command_fail(call, "ERR invalid topic: 1 to %d bytes", TOPIC_BYTES_MAX);
    return false;
}

static struct broker_request *new_request(enum broker_op op, const struct resp_arg *topic)
{
    struct broker_ask ask = {.op = op};
    if (topic)
        ask.topic = (struct text){topic->data, topic->len};
    return broker_request_create(&ask);
}

static enum command_result no_memory(const struct call *call)
{
    return command_fail(call, "ERR out of memory");
}

/* False: answered. `setting`: what would make the topic keep it. */
static bool served(const struct call *call, struct broker_request *request, const char *setting)
{
    broker_serve(call->publisher->broker, request);
    if (request->result == BROKER_OK)
        return true;
    if (request->result == BROKER_NOT_KEPT)
        command_fail(call, "ERR the topic keeps none: no [topic PATTERN] that matches it first has %s",
                     setting);
    else
        no_memory(call);
    return false;
}

/* History
 * ------------------------------------------------------------------------------------------------------------
 */

/* Each keyword once, in any order; EPOCH only with SINCE. False: answered. */
static bool read_options(const struct call *call, struct broker_request *request)
{
    bool epoch_set = false, count_set = false;
    int64_t number;
    request->limit = UINT32_MAX;
    for (size_t i = 2; i < call->count; i++) {
        const struct resp_arg *word = &call->args[i];
        const struct resp_arg *value = i + 1 < call->count ? word + 1 : NULL;
        if (resp_arg_is(word, "SINCE") && value && !request->since_set) {
            if (!command_integer(value, &number) || number < 0) {
                command_fail(call, "ERR value is not an integer or out of range");
                return false;
            }
            request->since_set = true;
            request->since.offset = (uint64_t)number;
        } else if (resp_arg_is(word, "EPOCH") && value && !epoch_set) {
            if (!epoch_parse(value->data, value->len, &request->since.epoch)) {
                command_fail(call, "ERR invalid epoch: 16 digits as an answer had them");
                return false;
            }
            epoch_set = true;
        } else if (resp_arg_is(word, "COUNT") && value && !count_set) {
            if (!command_integer(value, &number)) {
                command_fail(call, "ERR value is not an integer or out of range");
                return false;
            }
            if (number < 0) {
                command_fail(call, "ERR value is out of range, must be positive");
                return false;
            }
            request->limit = number < UINT32_MAX ? (uint32_t)number : UINT32_MAX;
            count_set = true;
        } else if (resp_arg_is(word, "REV") && !request->reverse) {
            request->reverse = true;
            continue; /* it has no value */
        } else {
            command_fail(call, "ERR syntax error");
            return false;
        }
        i++;
    }
    if (epoch_set && !request->since_set)
        command_fail(call, "ERR syntax error");
    return !epoch_set || request->since_set;
}

static void bulk_or_null(struct resp_out *out, const char *text, size_t bytes)
{
    if (bytes > 0)
        resp_bulk(out, text, bytes);
    else
        resp_null(out);
}

static size_t item_bytes(const struct history_item *item)
{
    return (size_t)item->payload_bytes + item->info_bytes + item->tags_bytes;
}

/* As many as one answer may carry; whoever wants the others asks again. */
static size_t items_that_fit(const struct broker_request *request)
{
    size_t count = 0;
    for (size_t bytes = 0; count < request->item_count; count++) {
        bytes += item_bytes(request->items[count]);
        if (bytes > REPLIES_MAX && count > 0)
            break;
    }
    return count;
}

static void answer_history(const struct call *call, const struct broker_request *request)
{
    char epoch[EPOCH_TEXT_BYTES];
    epoch_format(request->position.epoch, epoch);
    size_t count = items_that_fit(request);
    resp_array(call->out, 3);
    command_text(call, epoch);
    resp_integer(call->out, (int64_t)request->position.offset);
    resp_array(call->out, count);
    for (size_t i = 0; i < count; i++) {
        const struct history_item *item = request->items[i];
        resp_array(call->out, 4);
        resp_integer(call->out, (int64_t)item->offset);
        resp_bulk(call->out, history_item_payload(item), item->payload_bytes);
        bulk_or_null(call->out, history_item_info(item), item->info_bytes);
        bulk_or_null(call->out, history_item_tags(item), item->tags_bytes);
    }
}

/* HISTORY topic [SINCE offset [EPOCH epoch]] [COUNT n] [REV] */
enum command_result command_history(const struct call *call)
{
    if (!topic_given(call, &call->args[1]))
        return COMMAND_DONE;
    struct broker_request *request = new_request(BROKER_HISTORY, &call->args[1]);
    if (!request)
        return no_memory(call);
    if (read_options(call, request) && served(call, request, "history_size"))
        answer_history(call, request);
    broker_request_destroy(request);
    return COMMAND_DONE;
}

/* HISTORYDEL topic: how many publications went. */
enum command_result command_historydel(const struct call *call)
{
    if (!topic_given(call, &call->args[1]))
        return COMMAND_DONE;
    struct broker_request *all = new_request(BROKER_HISTORY, &call->args[1]);
    struct broker_request *request = new_request(BROKER_HISTORY_REMOVE, &call->args[1]);
    if (all)
        all->limit = UINT32_MAX;
    if (!all || !request)
        no_memory(call);
    else if (served(call, all, "history_size") && served(call, request, "history_size"))
        resp_integer(call->out, (int64_t)all->item_count);
    broker_request_destroy(all);
    broker_request_destroy(request);
    return COMMAND_DONE;
}

/* Presence
 * -----------------------------------------------------------------------------------------------------------
 */

static void answer_presence(const struct call *call, const struct broker_request *request)
{
    struct json_slice object = {request->json, request->json_bytes}, name, value;
    size_t count = 0;
    for (size_t cursor = 0; json_text_next(object, &cursor, &name, &value);)
        count++;
    resp_map(call->out, count);
    for (size_t cursor = 0; json_text_next(object, &cursor, &name, &value);) {
        resp_bulk(call->out, name.data + 1, name.len - 2); /* client ids need no escapes */
        resp_bulk(call->out, value.data, value.len);
    }
}

/* PRESENCE topic: client infos as JSON by client id. */
enum command_result command_presence(const struct call *call)
{
    if (!topic_given(call, &call->args[1]))
        return COMMAND_DONE;
    struct broker_request *request = new_request(BROKER_PRESENCE, &call->args[1]);
    if (!request)
        return no_memory(call);
    if (served(call, request, "presence"))
        answer_presence(call, request);
    broker_request_destroy(request);
    return COMMAND_DONE;
}

enum command_result command_presencestats(const struct call *call)
{
    if (!topic_given(call, &call->args[1]))
        return COMMAND_DONE;
    struct broker_request *request = new_request(BROKER_PRESENCE_STATS, &call->args[1]);
    if (!request)
        return no_memory(call);
    if (served(call, request, "presence")) {
        resp_map(call->out, 2);
        command_text(call, "clients");
        resp_integer(call->out, (int64_t)request->clients);
        command_text(call, "users");
        resp_integer(call->out, (int64_t)request->users);
    }
    broker_request_destroy(request);
    return COMMAND_DONE;
}

/* Users
 * --------------------------------------------------------------------------------------------------------------
 */

static struct text text_of(const struct resp_arg *arg)
{
    return (struct text){arg->data, arg->len};
}

/* Hands the order to every reactor. */
static enum command_result send_order(const struct call *call, const struct order *wanted)
{
    struct broker_request *request = new_request(BROKER_ORDER, NULL);
    if (request)
        request->order = order_create(wanted);
    bool done = request && request->order;
    if (done) {
        broker_serve(call->publisher->broker, request);
        done = request->result == BROKER_OK;
    }
    broker_request_destroy(request);
    return done ? command_ok(call) : no_memory(call);
}

/* Pairs of keyword and value from args[first] on. False: answered. */
static bool read_order_options(const struct call *call, size_t first, struct order *order)
{
    for (size_t i = first; i < call->count; i += 2) {
        const struct resp_arg *word = &call->args[i], *value = word + 1;
        int64_t code;
        if (i + 1 == call->count) {
            command_fail(call, "ERR syntax error");
            return false;
        }
        if (resp_arg_is(word, "CLIENT")) {
            if (value->len != UUID_TEXT_BYTES - 1) {
                command_fail(call, "ERR invalid client id");
                return false;
            }
            order->client = text_of(value);
        } else if (resp_arg_is(word, "CODE") && order->kind == ORDER_DISCONNECT) {
            if (!command_integer(value, &code) || code < 0 || code > UINT16_MAX ||
                !centrifuge_disconnect_valid((uint32_t)code)) {
                command_fail(call, "ERR invalid code: 3000 to 4999");
                return false;
            }
            order->code = (uint16_t)code;
        } else if (resp_arg_is(word, "REASON") && order->kind == ORDER_DISCONNECT) {
            if (value->len > REASON_BYTES_MAX || !utf8_valid(value->data, value->len)) {
                command_fail(call, "ERR invalid reason: at most %d bytes of UTF-8", (int)REASON_BYTES_MAX);
                return false;
            }
            order->reason = text_of(value);
        } else {
            command_fail(call, "ERR syntax error");
            return false;
        }
    }
    return true;
}

static bool user_given(const struct call *call)
{
    if (call->args[2].len > USER_BYTES_MAX)
        command_fail(call, "ERR invalid user: at most %d bytes", USER_BYTES_MAX);
    return call->args[2].len <= USER_BYTES_MAX;
}

static enum command_result user_disconnect(const struct call *call)
{
    struct order order = {
        .kind = ORDER_DISCONNECT,
        .code = CENTRIFUGE_DISCONNECT_FORCE_NO_RECONNECT,
        .user = text_of(&call->args[2]),
    };
    if (!user_given(call) || !read_order_options(call, 3, &order))
        return COMMAND_DONE;
    const char *reason = centrifuge_disconnect_reason(order.code);
    if (!order.reason.data && reason)
        order.reason = (struct text){reason, strlen(reason)};
    char from[ORIGIN_TEXT_MAX];
    client_origin(call->client, from);
    order_record(&order, &call->publisher->log_orders, "publisher", from);
    return send_order(call, &order);
}

static enum command_result user_topic(const struct call *call, enum order_kind kind)
{
    const struct resp_arg *topic = &call->args[3];
    struct order order = {.kind = (uint8_t)kind, .user = text_of(&call->args[2]), .topic = text_of(topic)};
    if (!user_given(call) || !topic_given(call, topic) || !read_order_options(call, 4, &order))
        return COMMAND_DONE;
    if (!topic_name_valid(topic->data, topic->len))
        return command_fail(call, "ERR invalid topic: UTF-8 without control characters");
    return send_order(call, &order);
}

static enum command_result user_subscribe(const struct call *call)
{
    return user_topic(call, ORDER_SUBSCRIBE);
}

static enum command_result user_unsubscribe(const struct call *call)
{
    return user_topic(call, ORDER_UNSUBSCRIBE);
}

static enum command_result user_help(const struct call *call)
{
    static const char *const lines[] = {
        "USER <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "DISCONNECT <user> [CODE <code>] [REASON <reason>] [CLIENT <client>]",
        "    Disconnect the user's clients, or the one. The user '' is all that are anonymous.",
        "SUBSCRIBE <user> <topic> [CLIENT <client>]",
        "    Subscribe the user's clients, or the one, to the topic.",
        "UNSUBSCRIBE <user> <topic> [CLIENT <client>]",
        "    Take the user's clients, or the one, from the topic.",
        "HELP",
        "    Print this help.",
    };
    return command_help(call, lines, sizeof lines / sizeof *lines);
}

/* The user "" is all clients that are anonymous.
 * USER DISCONNECT user [CODE code] [REASON reason] [CLIENT id]
 * USER SUBSCRIBE user topic [CLIENT id]
 * USER UNSUBSCRIBE user topic [CLIENT id] */
enum command_result command_user(const struct call *call)
{
    static const struct subcommand subcommands[] = {
        {"disconnect", 1, 7, user_disconnect},
        {"subscribe", 2, 4, user_subscribe},
        {"unsubscribe", 2, 4, user_unsubscribe},
        {"help", 0, 0, user_help},
    };
    return command_dispatch(call, "user", subcommands, sizeof subcommands / sizeof *subcommands);
}
