/* The commands subscribe and unsubscribe: who may have a topic. */
#include "gateway/adapter/centrifuge_internal.h"

#include "gateway/adapter/topic_name.h"

static void join_now(struct talk *talk, const struct join *join)
{
    switch (talk_join(talk, join)) {
    case LINK_JOINING:
    case LINK_FAILED:
        break;
    case LINK_ALREADY:
        talk_error(talk, join->command, CENTRIFUGE_ERROR_ALREADY_SUBSCRIBED);
        break;
    case LINK_TOO_MANY:
    case LINK_FULL:
        talk_error(talk, join->command, CENTRIFUGE_ERROR_LIMIT_EXCEEDED);
        break;
    case LINK_BUSY:
        talk_error(talk, join->command, CENTRIFUGE_ERROR_TOO_MANY_REQUESTS);
        break;
    }
}

/* A token is the backend's word for this client and this topic, whatever the topic's rule says. */
static void subscribe_by_token(struct talk *talk, struct join *join, struct json_slice token)
{
    struct auth_identity identity = {0};
    if (!talk_may_check(talk, join->command))
        return;
    enum auth_result result = talk_check_subscription(talk, text_of(token), join->topic, &identity);
    if (result != AUTH_OK)
        talk_token_refused(talk, "subscribe", &identity);
    switch (result) {
    case AUTH_OK:
        join->info = (struct text){auth_identity_info(&identity), identity.info_bytes};
        join->expire_at = identity.expires_at;
        join_now(talk, join);
        break;
    case AUTH_EXPIRED:
        talk_error(talk, join->command, CENTRIFUGE_ERROR_TOKEN_EXPIRED);
        break;
    case AUTH_INVALID:
        talk_bad_token(talk, join->command);
        break;
    case AUTH_NO_MEMORY:
        talk_error(talk, join->command, CENTRIFUGE_ERROR_INTERNAL);
        break;
    }
    auth_identity_fini(&identity);
}

static void ask_backend(struct talk *talk, const struct join *join,
                        const struct centrifuge_subscribe *subscribe)
{
    struct session *session = talk_session(talk);
    struct session_topic *topic = session_topic_get(session, join->topic);
    struct proxy_ask ask = {
        .kind = PROXY_SUBSCRIBE,
        .channel = subscribe->channel,
        .data = subscribe->data,
        .rest = {(const char *)&join->wish, sizeof join->wish},
    };
    enum centrifuge_error error = CENTRIFUGE_ERROR_INTERNAL;
    if (!topic || !talk_proxy(talk, join->command, &ask, &error)) {
        session_topic_forget(session, join->topic);
        talk_error(talk, join->command, error);
        return;
    }
    topic->asking = true;
    topic->command = join->command;
}

void talk_subscribe(struct talk *talk, uint32_t command, const struct centrifuge_subscribe *subscribe)
{
    struct adapter_link *link = talk->link;
    struct session *session = talk_session(talk);
    struct join join = {
        .reason = JOIN_SUBSCRIBE,
        .command = command,
        .topic = text_of(subscribe->channel),
        .wish = wish_of(subscribe),
    };
    if (!topic_name_valid(join.topic.data, join.topic.bytes)) {
        talk_error(talk, command, CENTRIFUGE_ERROR_BAD_REQUEST);
        return;
    }
    if (subscribe->type != 0) {
        talk_error(talk, command, CENTRIFUGE_ERROR_NOT_AVAILABLE);
        return;
    }
    const struct session_topic *known = session_topic_find(session, join.topic);
    if ((known && known->asking) || link->ops->subscribed(link, join.topic.data, join.topic.bytes) >= 0) {
        talk_error(talk, command, CENTRIFUGE_ERROR_ALREADY_SUBSCRIBED);
        return;
    }
    const struct topic_rule *rule = topic_rule_find(link->settings, join.topic.data, join.topic.bytes);
    if (subscribe->token.len > 0)
        subscribe_by_token(talk, &join, subscribe->token);
    else if (rule->subscribe == SUBSCRIBE_TOKEN ||
             (rule->subscribe == SUBSCRIBE_AUTHENTICATED && !session->authenticated))
        talk_error(talk, command, CENTRIFUGE_ERROR_PERMISSION_DENIED);
    else if (proxy_serves(link->proxy, PROXY_SUBSCRIBE))
        ask_backend(talk, &join, subscribe);
    else
        join_now(talk, &join);
}

void talk_subscribe_proxied(struct talk *talk, const struct proxy_request *request)
{
    const struct proxy_answer *answer = &request->answer;
    struct session *session = talk_session(talk);
    struct join join = {
        .reason = JOIN_SUBSCRIBE,
        .command = request->command,
        .topic = text_of(request->channel),
        .info = text_of(answer->info),
        .data = text_of(answer->data),
        .expire_at = answer->expire_at,
        .by_backend = true,
    };
    struct session_topic *topic = session_topic_find(session, join.topic);
    if (!topic || !topic->asking || topic->command != request->command)
        return; /* the client has left it since */
    topic->asking = false;
    if (answer->outcome == PROXY_OK && request->rest.len == sizeof join.wish) {
        memcpy(&join.wish, request->rest.data, sizeof join.wish);
        join_now(talk, &join);
        return;
    }
    session_topic_forget(session, join.topic);
    talk_backend_error(talk, request);
}

void talk_unsubscribe(struct talk *talk, uint32_t command, struct text topic)
{
    if (!topic_name_valid(topic.data, topic.bytes)) {
        talk_error(talk, command, CENTRIFUGE_ERROR_BAD_REQUEST);
        return;
    }
    (void)talk_leave(talk, topic); /* who has not had it is without it now, too */
    centrifuge_reply_empty(&talk->out, command, CENTRIFUGE_UNSUBSCRIBE);
    talk_arm(talk);
}
