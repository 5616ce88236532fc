/* What a client wants of a topic beside being subscribed: publish, presence, history; and rpc. */
#include "gateway/adapter/centrifuge_internal.h"

#include "gateway/adapter/topic_name.h"

#include <stdlib.h>

static struct broker_ask ask_as_client(const struct talk *talk, enum broker_op op, struct text topic)
{
    struct who who = session_who(talk_session(talk));
    return (struct broker_ask){.op = op, .topic = topic, .user = who.user, .conn_info = who.info};
}

/* Publish
 * -------------------------------------------------------------------------------------------------------- */

static void publish_now(struct talk *talk, uint32_t command, struct text topic, struct text data,
                        struct text tags, bool skip_history)
{
    const struct session_topic *known = session_topic_find(talk_session(talk), topic);
    struct ask ask = {
        .broker = ask_as_client(talk, BROKER_PUBLISH, topic),
        .command = command,
        .skip_history = skip_history,
    };
    ask.broker.payload = data;
    ask.broker.tags = tags;
    if (known && !known->asking)
        ask.broker.chan_info = (struct text){known->info, known->info_bytes};
    (void)talk_ask(talk, &ask);
}

static bool may_publish(const struct talk *talk, const struct topic_rule *rule, struct text topic)
{
    struct adapter_link *link = talk->link;
    int flags;
    switch ((enum publish_right)rule->publish) {
    case PUBLISH_NONE:
        return false;
    case PUBLISH_SUBSCRIBERS: /* of whom those count, too, whose answer is still on its way and cannot be no
                               */
        flags = link->ops->subscribed(link, topic.data, topic.bytes);
        return flags >= 0 && !(flags & SUBSCRIPTION_JOINING && rule->max_subscribers > 0);
    case PUBLISH_AUTHENTICATED:
        return talk_session(talk)->authenticated;
    }
    return false;
}

void talk_publish(struct talk *talk, uint32_t command, const struct centrifuge_publish *publish)
{
    struct adapter_link *link = talk->link;
    struct text topic = text_of(publish->channel);
    if (!topic_name_valid(topic.data, topic.bytes) || publish->data.len == 0) {
        talk_error(talk, command, CENTRIFUGE_ERROR_BAD_REQUEST);
        return;
    }
    if (publish->type != 0) {
        talk_error(talk, command, CENTRIFUGE_ERROR_NOT_AVAILABLE);
        return;
    }
    if (!may_publish(talk, topic_rule_find(link->settings, topic.data, topic.bytes), topic)) {
        talk_error(talk, command, CENTRIFUGE_ERROR_PERMISSION_DENIED);
        return;
    }
    if (!proxy_serves(link->proxy, PROXY_PUBLISH)) {
        publish_now(talk, command, topic, text_of(publish->data), (struct text){0}, false);
        return;
    }
    struct proxy_ask ask = {.kind = PROXY_PUBLISH, .channel = publish->channel, .data = publish->data};
    enum centrifuge_error error;
    if (!talk_proxy(talk, command, &ask, &error))
        talk_error(talk, command, error);
}

void talk_publish_proxied(struct talk *talk, const struct proxy_request *request)
{
    const struct proxy_answer *answer = &request->answer;
    if (answer->outcome != PROXY_OK) {
        talk_backend_error(talk, request);
        return;
    }
    publish_now(talk, request->command, text_of(request->channel),
                text_of(answer->data.len > 0 ? answer->data : request->data), text_of(answer->tags),
                answer->skip_history);
}

static enum centrifuge_error error_of(const struct broker_request *answer)
{
    switch ((enum broker_result)answer->result) {
    case BROKER_TOO_LARGE: /* what was sent, or what would be */
        return CENTRIFUGE_ERROR_LIMIT_EXCEEDED;
    case BROKER_NOT_KEPT:
        return CENTRIFUGE_ERROR_NOT_AVAILABLE;
    case BROKER_BUSY:
        return CENTRIFUGE_ERROR_TOO_MANY_REQUESTS;
    default:
        return CENTRIFUGE_ERROR_INTERNAL;
    }
}

static void published(struct talk *talk, const struct broker_request *answer)
{
    if (answer->result == BROKER_OK)
        centrifuge_reply_empty(&talk->out, answer->command, CENTRIFUGE_PUBLISH);
    else
        talk_error(talk, answer->command, error_of(answer));
}

/* Presence and history
 * ------------------------------------------------------------------------------------------ */

/* Who is in a topic, and what was, is for those who are in it or could be without being asked anything more.
 */
static bool may_read(const struct talk *talk, const struct topic_rule *rule, struct text topic)
{
    struct adapter_link *link = talk->link;
    if (link->ops->subscribed(link, topic.data, topic.bytes) >= 0)
        return true;
    if (proxy_serves(link->proxy, PROXY_SUBSCRIBE))
        return false;
    return rule->subscribe == SUBSCRIBE_ANYONE ||
           (rule->subscribe == SUBSCRIBE_AUTHENTICATED && talk_session(talk)->authenticated);
}

/* False: the client has its error. */
static bool check_read(struct talk *talk, uint32_t command, struct text topic, bool history)
{
    if (!topic_name_valid(topic.data, topic.bytes)) {
        talk_error(talk, command, CENTRIFUGE_ERROR_BAD_REQUEST);
        return false;
    }
    const struct topic_rule *rule = topic_rule_find(talk->link->settings, topic.data, topic.bytes);
    if (!may_read(talk, rule, topic)) {
        talk_error(talk, command, CENTRIFUGE_ERROR_PERMISSION_DENIED);
        return false;
    }
    if (history ? rule->history_size == 0 : !rule->presence) {
        talk_error(talk, command, CENTRIFUGE_ERROR_NOT_AVAILABLE);
        return false;
    }
    return true;
}

void talk_presence(struct talk *talk, uint32_t command, struct text topic, bool stats)
{
    if (!check_read(talk, command, topic, false))
        return;
    struct ask ask = {
        .broker = {.op = stats ? BROKER_PRESENCE_STATS : BROKER_PRESENCE, .topic = topic},
        .command = command,
        .limit = (uint32_t)talk_room(talk),
    };
    (void)talk_ask(talk, &ask);
}

void talk_history(struct talk *talk, uint32_t command, const struct centrifuge_history *history)
{
    struct text topic = text_of(history->channel);
    if (!check_read(talk, command, topic, true))
        return;
    struct ask ask = {
        .broker = {.op = BROKER_HISTORY, .topic = topic},
        .command = command,
        .since_set = history->has_since,
        .since.offset = history->since_offset,
        .reverse = history->reverse,
        .demand = HISTORY_CONTINUOUS,
        .room = talk_room(talk),
        .limit = history->limit < 0 || history->limit > HISTORY_MAX ? HISTORY_MAX : (uint32_t)history->limit,
    };
    /* An epoch that is none of ours is another stream. */
    if (history->since_epoch.len > 0 &&
        !epoch_parse(history->since_epoch.data, history->since_epoch.len, &ask.since.epoch))
        talk_error(talk, command, CENTRIFUGE_ERROR_UNRECOVERABLE_POSITION);
    else
        (void)talk_ask(talk, &ask);
}

static void presence_answered(struct talk *talk, const struct broker_request *answer)
{
    struct json_out *out = &talk->out;
    if (answer->result != BROKER_OK) {
        talk_error(talk, answer->command, error_of(answer));
        return;
    }
    if (answer->op == BROKER_PRESENCE_STATS) {
        centrifuge_reply_presence_stats(out, answer->command, (uint32_t)answer->clients,
                                        (uint32_t)answer->users);
        return;
    }
    size_t mark = talk_try(talk);
    json_out_line(out);
    json_out_object(out);
    json_out_name(out, "id");
    json_out_uint(out, answer->command);
    json_out_name(out, "presence");
    json_out_object(out);
    json_out_name(out, "presence");
    json_out_json(out, (struct json_slice){answer->json, answer->json_bytes});
    json_out_object_end(out);
    json_out_object_end(out);
    if (!talk_tried(talk, mark)) /* more than the client can take at once */
        talk_error(talk, answer->command, CENTRIFUGE_ERROR_LIMIT_EXCEEDED);
}

static void history_answered(struct talk *talk, const struct broker_request *answer)
{
    char epoch[EPOCH_TEXT_BYTES];
    if (answer->result != BROKER_OK) {
        talk_error(talk, answer->command, error_of(answer));
        return;
    }
    if (answer->since_set && !answer->continuous) {
        talk_error(talk, answer->command, CENTRIFUGE_ERROR_UNRECOVERABLE_POSITION);
        return;
    }
    struct centrifuge_publication *publications = publications_of(answer->items, answer->item_count);
    if (!publications && answer->item_count > 0) {
        talk_error(talk, answer->command, CENTRIFUGE_ERROR_INTERNAL);
        return;
    }
    epoch_format(answer->position.epoch, epoch);
    /* A page that is more than the client can take at once is made shorter: its end tells where to go on. */
    for (size_t count = answer->item_count;; count /= 2) {
        size_t mark = talk_try(talk);
        centrifuge_reply_history(&talk->out, answer->command, publications, count,
                                 (struct json_slice){epoch, EPOCH_TEXT_BYTES - 1}, answer->position.offset);
        if (talk_tried(talk, mark))
            break;
        if (count <= 1) {
            talk_error(talk, answer->command, CENTRIFUGE_ERROR_LIMIT_EXCEEDED);
            break;
        }
    }
    free(publications);
}

void talk_topic_answered(struct talk *talk, const struct broker_request *answer)
{
    switch ((enum broker_op)answer->op) {
    case BROKER_PUBLISH:
        published(talk, answer);
        break;
    case BROKER_HISTORY:
        history_answered(talk, answer);
        break;
    case BROKER_PRESENCE:
    case BROKER_PRESENCE_STATS:
        presence_answered(talk, answer);
        break;
    default:
        break; /* nothing else is asked */
    }
}

/* Calls of the backend
 * ------------------------------------------------------------------------------------------ */

void talk_rpc(struct talk *talk, uint32_t command, struct json_slice method, struct json_slice data)
{
    struct proxy_ask ask = {.kind = PROXY_RPC, .method = method, .data = data};
    enum centrifuge_error error = CENTRIFUGE_ERROR_NOT_AVAILABLE;
    if (!proxy_serves(talk->link->proxy, PROXY_RPC) || !talk_proxy(talk, command, &ask, &error))
        talk_error(talk, command, error);
}

void talk_rpc_proxied(struct talk *talk, const struct proxy_request *request)
{
    size_t mark = talk_try(talk);
    if (request->answer.outcome != PROXY_OK)
        talk_backend_error(talk, request);
    else
        centrifuge_reply_rpc(&talk->out, request->command, request->answer.data);
    if (!talk_tried(talk, mark))
        talk_error(talk, request->command, CENTRIFUGE_ERROR_LIMIT_EXCEEDED);
}
