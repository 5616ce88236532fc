/* Joining a topic and leaving it: by the client's command, by the server when the client connects, by the
 * server API. */
#include "gateway/adapter/centrifuge_internal.h"

#include <stdlib.h>

/* What the subscription is to have: the topic's rule, and what the client has asked for. */
static uint8_t flags_of(const struct topic_rule *rule, const struct join *join)
{
    bool by_server = join->reason != JOIN_SUBSCRIBE;
    uint8_t flags = by_server ? SUBSCRIPTION_SERVER : 0;
    if (rule->recover && rule->history_size > 0)
        flags |= SUBSCRIPTION_POSITIONED;
    if (rule->presence)
        flags |= SUBSCRIPTION_PRESENT;
    if (rule->join_leave) {
        flags |= SUBSCRIPTION_ANNOUNCED;
        /* Who is subscribed by the server has no way to ask. */
        if (by_server || join->wish.join_leave)
            flags |= SUBSCRIPTION_JOIN_LEAVE;
    }
    return flags;
}

/* Remembers what the answer, a leave or the clock will ask for. False without memory. */
static bool remember(struct session *session, const struct join *join)
{
    if (join->reason != JOIN_SUBSCRIBE && !join->expire_at && join->info.bytes == 0) {
        session_topic_forget(session, join->topic);
        return true;
    }
    struct session_topic *topic = session_topic_get(session, join->topic);
    if (!topic || !session_topic_info(topic, join->info))
        return false;
    topic->asking = false;
    topic->refreshing = false;
    topic->retry_at = 0;
    topic->command = join->reason == JOIN_SUBSCRIBE ? join->command : 0;
    topic->expire_at = join->expire_at;
    topic->by_backend = join->by_backend;
    return true;
}

static struct broker_request *request_for(const struct talk *talk, const struct join *join)
{
    const struct session *session = talk_session(talk);
    struct who who = session_who(session);
    struct join_note note = {
        .reason = (uint8_t)join->reason,
        .was_recovering = join->wish.recover,
        .all_or_error = join->wish.all_or_error,
    };
    char *rest = malloc(sizeof note + join->data.bytes);
    if (!rest)
        return NULL;
    memcpy(rest, &note, sizeof note);
    if (join->data.bytes > 0)
        memcpy(rest + sizeof note, join->data.data, join->data.bytes);
    struct broker_ask ask = {
        .op = BROKER_SUBSCRIBE,
        .topic = join->topic,
        .user = who.user,
        .conn_info = who.info,
        .chan_info = join->info,
        .rest = {rest, sizeof note + join->data.bytes},
    };
    struct broker_request *request = broker_request_create(&ask);
    free(rest);
    if (!request)
        return NULL;
    memcpy(request->client, session->client, sizeof request->client);
    request->command = join->command;
    request->flags =
        flags_of(topic_rule_find(talk->link->settings, join->topic.data, join->topic.bytes), join);
    request->since_set =
        request->flags & SUBSCRIPTION_POSITIONED && join->wish.recover && join->wish.epoch_known;
    request->since = join->wish.since;
    request->promised = join->reason == JOIN_CATCH_UP || join->reason == JOIN_ORDER;
    request->demand = HISTORY_WHOLE;
    /* A reply is as large as the client can take; pushes are many, and the server wants them. */
    request->room = join->reason == JOIN_SUBSCRIBE ? talk_room(talk) : 0;
    return request;
}

enum link_join talk_join(struct talk *talk, const struct join *join)
{
    struct adapter_link *link = talk->link;
    struct session *session = talk_session(talk);
    if (talk_over(talk))
        return LINK_FAILED;
    if (link->ops->subscribed(link, join->topic.data, join->topic.bytes) >= 0)
        return LINK_ALREADY; /* and what is remembered of it stays */
    /* The server is faster than the backend that was asked about the client's own command. */
    const struct session_topic *known = session_topic_find(session, join->topic);
    if (known && known->command && join->reason != JOIN_SUBSCRIBE)
        talk_error(talk, known->command, CENTRIFUGE_ERROR_ALREADY_SUBSCRIBED);
    struct broker_request *request = request_for(talk, join);
    if (!request || !remember(session, join)) {
        broker_request_destroy(request);
        talk_disconnect(talk, CENTRIFUGE_DISCONNECT_SERVER_ERROR);
        return LINK_FAILED;
    }
    enum link_join result = link->ops->join(link, request);
    if (result != LINK_JOINING && !talk_over(talk))
        session_topic_forget(session, join->topic);
    return result;
}

/* What the broker says
 * --------------------------------------------------------------------------------------- */

static enum centrifuge_error error_of(const struct broker_request *answer)
{
    return answer->result == BROKER_FULL   ? CENTRIFUGE_ERROR_LIMIT_EXCEEDED
           : answer->result == BROKER_BUSY ? CENTRIFUGE_ERROR_TOO_MANY_REQUESTS
                                           : CENTRIFUGE_ERROR_INTERNAL;
}

static struct join_note note_of(const struct broker_request *answer)
{
    struct join_note note = {0};
    if (answer->rest.bytes >= sizeof note)
        memcpy(&note, answer->rest.data, sizeof note);
    return note;
}

struct centrifuge_subscribe_result talk_result(struct talk *talk, const struct broker_request *answer,
                                               char epoch[EPOCH_TEXT_BYTES])
{
    struct join_note note = note_of(answer);
    const struct session_topic *topic = session_topic_find(talk_session(talk), answer->topic);
    bool positioned = answer->flags & SUBSCRIPTION_POSITIONED && answer->position.epoch != 0;
    struct centrifuge_subscribe_result result = {
        .recoverable = positioned,
        .positioned = positioned,
        .recovered = positioned && answer->since_set && answer->recovered,
        .was_recovering = positioned && note.was_recovering,
        .data = text_slice((struct text){answer->rest.data + sizeof note, answer->rest.bytes - sizeof note}),
    };
    if (positioned) {
        epoch_format(answer->position.epoch, epoch);
        result.epoch = (struct json_slice){epoch, EPOCH_TEXT_BYTES - 1};
        result.offset = answer->position.offset;
    }
    if (topic && topic->expire_at && !topic->by_backend) {
        result.expires = true;
        result.ttl = talk_ttl(talk, topic->expire_at);
    }
    return result;
}

/* False: the reply is an error, as the client wants it to be. */
static bool reply_subscribed(struct talk *talk, const struct broker_request *answer)
{
    char epoch[EPOCH_TEXT_BYTES];
    struct centrifuge_subscribe_result result = talk_result(talk, answer, epoch);
    struct centrifuge_publication *publications =
        result.recovered ? publications_of(answer->items, answer->item_count) : NULL;
    if (result.recovered && answer->item_count > 0) {
        result.publications = publications;
        result.publication_count = publications ? answer->item_count : 0;
        result.recovered = publications != NULL;
    }
    size_t mark = talk_try(talk);
    centrifuge_reply_subscribe(&talk->out, answer->command, &result);
    if (!talk_tried(talk, mark)) { /* more than the client can take at once: as if it were gone */
        result.publication_count = 0;
        result.recovered = false;
        centrifuge_reply_subscribe(&talk->out, answer->command, &result);
    }
    free(publications);
    if (!result.was_recovering || result.recovered || !note_of(answer).all_or_error)
        return true;
    talk_take_back(talk, mark);
    talk_error(talk, answer->command, CENTRIFUGE_ERROR_UNRECOVERABLE_POSITION);
    return false;
}

static void subscribed(struct talk *talk, const struct broker_request *answer)
{
    struct session *session = talk_session(talk);
    struct session_topic *topic = session_topic_find(session, answer->topic);
    if (answer->result != BROKER_OK) {
        session_topic_forget(session, answer->topic);
        talk_error(talk, answer->command, error_of(answer));
        return;
    }
    if (topic)
        topic->command = 0;
    if (!reply_subscribed(talk, answer))
        (void)talk_leave(talk, answer->topic);
    else if (topic)
        session_topic_tidy(session, topic);
    talk_arm(talk);
}

/* Missed publications as pushes, before those that are published from now on. */
static void push_missed(struct talk *talk, const struct broker_request *answer)
{
    struct centrifuge_publication *publications = publications_of(answer->items, answer->item_count);
    if (!publications && answer->item_count > 0) {
        talk_disconnect(talk, CENTRIFUGE_DISCONNECT_SERVER_ERROR);
        return;
    }
    struct json_slice channel = text_slice(answer->topic);
    for (size_t i = 0; i < answer->item_count; i++)
        centrifuge_push_publication(&talk->out, channel, &publications[i]);
    free(publications);
}

/* The server's word about a topic that did not come true. */
static void server_join_failed(struct talk *talk, const struct broker_request *answer)
{
    session_topic_forget(talk_session(talk), answer->topic);
    if (answer->result != BROKER_FULL)
        talk_disconnect(talk, CENTRIFUGE_DISCONNECT_SERVER_ERROR);
    else if (note_of(answer).reason == JOIN_CATCH_UP) /* the client has been told that it has the topic */
        talk_unsubscribe_push(talk, answer->topic, CENTRIFUGE_UNSUBSCRIBE_SERVER);
}

static void caught_up(struct talk *talk, const struct broker_request *answer)
{
    if (answer->result != BROKER_OK)
        server_join_failed(talk, answer);
    else if (answer->since_set && !answer->recovered)
        talk_disconnect(talk, CENTRIFUGE_DISCONNECT_INSUFFICIENT_STATE);
    else
        push_missed(talk, answer);
}

static void ordered(struct talk *talk, const struct broker_request *answer)
{
    char epoch[EPOCH_TEXT_BYTES];
    if (answer->result != BROKER_OK) {
        server_join_failed(talk, answer);
        return;
    }
    struct centrifuge_subscribe_result result = talk_result(talk, answer, epoch);
    centrifuge_push_subscribe(&talk->out, text_slice(answer->topic), &result);
    if (result.recovered)
        push_missed(talk, answer);
    talk_arm(talk);
}

void talk_joined(struct talk *talk, const struct broker_request *answer)
{
    switch ((enum join_reason)note_of(answer).reason) {
    case JOIN_SUBSCRIBE:
        subscribed(talk, answer);
        break;
    case JOIN_CONNECT:
        talk_admit_answered(talk, answer);
        break;
    case JOIN_CATCH_UP:
        caught_up(talk, answer);
        break;
    case JOIN_ORDER:
        ordered(talk, answer);
        break;
    }
}

/* Leaving
 * ------------------------------------------------------------------------------------------------------- */

bool talk_leave(struct talk *talk, struct text name)
{
    struct session *session = talk_session(talk);
    struct session_topic *topic = session_topic_find(session, name);
    bool asking = topic && topic->asking;
    if (topic && topic->command) {
        /* The client may have taken up with the topic again when this arrives; an error would end that. */
        struct centrifuge_subscribe_result nothing = {0};
        centrifuge_reply_subscribe(&talk->out, topic->command, &nothing);
    }
    bool left = talk->link->ops->leave(talk->link, name.data, name.bytes); /* asks who() */
    session_topic_forget(session, name);
    return left || asking;
}

void talk_unsubscribe_push(struct talk *talk, struct text topic, uint32_t code)
{
    const char *reason = centrifuge_unsubscribe_reason(code);
    centrifuge_push_unsubscribe(&talk->out, text_slice(topic), code,
                                (struct json_slice){reason, reason ? strlen(reason) : 0});
}
