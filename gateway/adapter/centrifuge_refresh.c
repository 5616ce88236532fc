/* What expires: refresh and sub_refresh, by the client with a token or by the backend when it is asked, and
 * what happens when neither is in time. */
#include "gateway/adapter/centrifuge_internal.h"

#include "gateway/adapter/topic_name.h"

/* Is it too late to ask the backend once more? */
static bool too_late(const struct talk *talk, int64_t expire_at)
{
    return (int64_t)talk->link->now_s - GRACE_S >= expire_at;
}

static bool has_passed(const struct talk *talk, int64_t expire_at)
{
    return expire_at != 0 && expire_at <= (int64_t)talk->link->now_s;
}

/* The connection, by its client
 * --------------------------------------------------------------------------- */

/* Takes over what a fresh token says. False without memory. */
static bool renew(struct session *session, const struct auth_identity *identity)
{
    struct who who = session_who(session);
    who.info = (struct text){auth_identity_info(identity), identity->info_bytes};
    if (!session_be(session, &who))
        return false;
    if (!session->more && !identity->expires_at)
        return true;
    if (!session_more_get(session))
        return false;
    session->more->expire_at = identity->expires_at;
    session->more->by_backend = false;
    session->more->retry_at = 0;
    return true;
}

static void reply_refreshed(struct talk *talk, uint32_t command, int64_t expire_at)
{
    static const char version[] = "pushgate " PUSHGATE_VERSION;
    char id[UUID_TEXT_BYTES];
    uuid_format(talk_session(talk)->client, id);
    centrifuge_reply_refresh(&talk->out, command, (struct json_slice){id, sizeof id - 1},
                             (struct json_slice){version, sizeof version - 1}, expire_at != 0,
                             expire_at ? talk_ttl(talk, expire_at) : 0);
}

void talk_refresh(struct talk *talk, uint32_t command, struct text token)
{
    struct session *session = talk_session(talk);
    struct auth_identity identity = {0};
    if (token.bytes == 0) {
        talk_error(talk, command, CENTRIFUGE_ERROR_BAD_REQUEST);
        return;
    }
    if (!talk_may_check(talk, command))
        return;
    enum auth_result result = talk_check_connection(talk, token, &identity);
    bool another = result == AUTH_OK &&
                   !text_equal(session_who(session).user, (struct text){identity.bytes, identity.user_bytes});
    if (another)
        identity.reason = "for another user (sub)";
    if (result != AUTH_OK || another)
        talk_token_refused(talk, "refresh", &identity);
    if (result == AUTH_EXPIRED)
        talk_disconnect(talk, CENTRIFUGE_DISCONNECT_EXPIRED);
    else if (result == AUTH_INVALID || another)
        talk_disconnect(talk, CENTRIFUGE_DISCONNECT_INVALID_TOKEN);
    else if (result == AUTH_NO_MEMORY || !renew(session, &identity))
        talk_error(talk, command, CENTRIFUGE_ERROR_INTERNAL);
    else {
        reply_refreshed(talk, command, identity.expires_at);
        talk_arm(talk);
    }
    auth_identity_fini(&identity);
}

/* The connection, by the backend
 * -------------------------------------------------------------------------- */

static void ask_about_connection(struct talk *talk)
{
    struct session_more *more = talk_session(talk)->more;
    struct proxy_ask ask = {.kind = PROXY_REFRESH};
    enum centrifuge_error error;
    if (talk_proxy(talk, 0, &ask, &error))
        more->refreshing = true;
    else
        more->retry_at = (int64_t)talk->link->now_s + REFRESH_RETRY_S;
}

void talk_refresh_proxied(struct talk *talk, const struct proxy_request *request)
{
    const struct proxy_answer *answer = &request->answer;
    struct session *session = talk_session(talk);
    if (!session->more || !session->more->refreshing)
        return;
    session->more->refreshing = false;
    if (!session->more->by_backend) { /* the client was faster */
        talk_arm(talk);
        return;
    }
    if (answer->outcome == PROXY_DISCONNECT) {
        talk_backend_error(talk, request);
        return;
    }
    if (answer->outcome != PROXY_OK) {
        session->more->retry_at = (int64_t)talk->link->now_s + REFRESH_RETRY_S;
        talk_arm(talk);
        return;
    }
    struct who who = session_who(session);
    if (answer->info.len > 0)
        who.info = text_of(answer->info);
    if (answer->meta.len > 0)
        who.meta = text_of(answer->meta);
    if (answer->expired || has_passed(talk, answer->expire_at))
        talk_disconnect(talk, CENTRIFUGE_DISCONNECT_EXPIRED);
    else if (!session_be(session, &who))
        talk_disconnect(talk, CENTRIFUGE_DISCONNECT_SERVER_ERROR);
    else {
        session->more->expire_at = answer->expire_at;
        session->more->retry_at = 0;
        talk_arm(talk);
    }
}

/* A subscription, by its client
 * ---------------------------------------------------------------------------- */

/* It has ended, because nobody has renewed it. */
static void subscription_expired(struct talk *talk, struct text topic)
{
    struct adapter_link *link = talk->link;
    int flags = link->ops->subscribed(link, topic.data, topic.bytes);
    if (flags >= 0 && flags & SUBSCRIPTION_SERVER) { /* clients do not ask for these again */
        talk_disconnect(talk, CENTRIFUGE_DISCONNECT_SUBSCRIPTION_EXPIRED);
        return;
    }
    if (talk_leave(talk, topic))
        talk_unsubscribe_push(talk, topic, CENTRIFUGE_UNSUBSCRIBE_EXPIRED);
}

/* False without memory. */
static bool renew_subscription(struct talk *talk, struct text topic, const struct auth_identity *identity)
{
    struct session *session = talk_session(talk);
    struct session_topic *known = session_topic_get(session, topic);
    struct text info = {auth_identity_info(identity), identity->info_bytes};
    if (!known || !session_topic_info(known, info))
        return false;
    known->expire_at = identity->expires_at;
    known->by_backend = false;
    known->retry_at = 0;
    session_topic_tidy(session, known);
    return true;
}

void talk_sub_refresh(struct talk *talk, uint32_t command, struct text topic, struct text token)
{
    struct adapter_link *link = talk->link;
    struct auth_identity identity = {0};
    if (!topic_name_valid(topic.data, topic.bytes) || token.bytes == 0) {
        talk_error(talk, command, CENTRIFUGE_ERROR_BAD_REQUEST);
        return;
    }
    int flags = link->ops->subscribed(link, topic.data, topic.bytes);
    if (flags < 0 || flags & SUBSCRIPTION_JOINING) {
        talk_error(talk, command, CENTRIFUGE_ERROR_PERMISSION_DENIED);
        return;
    }
    if (!talk_may_check(talk, command))
        return;
    enum auth_result result = talk_check_subscription(talk, token, topic, &identity);
    if (result != AUTH_OK)
        talk_token_refused(talk, "sub_refresh", &identity);
    if (result == AUTH_EXPIRED) {
        /* In this order: the client subscribes again, with another token, and the error ends nothing. */
        subscription_expired(talk, topic);
        talk_error(talk, command, CENTRIFUGE_ERROR_EXPIRED);
    } else if (result == AUTH_INVALID)
        talk_bad_token(talk, command);
    else if (result == AUTH_NO_MEMORY || !renew_subscription(talk, topic, &identity))
        talk_error(talk, command, CENTRIFUGE_ERROR_INTERNAL);
    else
        centrifuge_reply_sub_refresh(&talk->out, command, identity.expires_at != 0,
                                     identity.expires_at ? talk_ttl(talk, identity.expires_at) : 0);
    auth_identity_fini(&identity);
    talk_arm(talk);
}

/* A subscription, by the backend
 * --------------------------------------------------------------------------- */

static void ask_about_subscription(struct talk *talk, struct session_topic *topic)
{
    struct proxy_ask ask = {.kind = PROXY_SUB_REFRESH, .channel = {topic->topic, topic->topic_bytes}};
    enum centrifuge_error error;
    if (talk_proxy(talk, 0, &ask, &error))
        topic->refreshing = true;
    else
        topic->retry_at = (int64_t)talk->link->now_s + REFRESH_RETRY_S;
}

void talk_sub_refresh_proxied(struct talk *talk, const struct proxy_request *request)
{
    const struct proxy_answer *answer = &request->answer;
    struct session *session = talk_session(talk);
    struct text name = text_of(request->channel);
    struct session_topic *topic = session_topic_find(session, name);
    if (!topic || !topic->refreshing)
        return; /* the client has left it since */
    topic->refreshing = false;
    if (!topic->by_backend) { /* the client was faster */
        talk_arm(talk);
        return;
    }
    if (answer->outcome == PROXY_DISCONNECT) {
        talk_backend_error(talk, request);
        return;
    }
    if (answer->outcome != PROXY_OK)
        topic->retry_at = (int64_t)talk->link->now_s + REFRESH_RETRY_S;
    else if (answer->expired || has_passed(talk, answer->expire_at))
        subscription_expired(talk, name);
    else {
        topic->expire_at = answer->expire_at;
        topic->retry_at = 0;
        if (answer->info.len > 0 && !session_topic_info(topic, text_of(answer->info))) {
            talk_disconnect(talk, CENTRIFUGE_DISCONNECT_SERVER_ERROR);
            return;
        }
        session_topic_tidy(session, topic);
    }
    talk_arm(talk);
}

/* The clock
 * ----------------------------------------------------------------------------------------------------- */

static struct session_topic *next_due(const struct talk *talk)
{
    const struct session_more *more = talk_session(talk)->more;
    for (struct session_topic *topic = more ? more->topics : NULL; topic; topic = topic->next)
        if (session_topic_due(topic) <= (int64_t)talk->link->now_s)
            return topic;
    return NULL;
}

static void subscription_due(struct talk *talk, struct session_topic *topic)
{
    char name[TOPIC_BYTES_MAX];
    size_t bytes = topic->topic_bytes;
    if (topic->by_backend && proxy_serves(talk->link->proxy, PROXY_SUB_REFRESH) &&
        !too_late(talk, topic->expire_at)) {
        ask_about_subscription(talk, topic);
        return;
    }
    memcpy(name, topic->topic, bytes); /* the topic is forgotten on the way */
    subscription_expired(talk, (struct text){name, bytes});
}

void talk_expired(struct talk *talk)
{
    const struct session *session = talk_session(talk);
    if (!session->connected) { /* its own fault, or ours: then it may come back */
        talk_disconnect(talk,
                        session->waiting ? CENTRIFUGE_DISCONNECT_SERVER_ERROR : CENTRIFUGE_DISCONNECT_STALE);
        return;
    }
    if (session->more && session_due(session->more) <= (int64_t)talk->link->now_s) {
        if (!session->more->by_backend || !proxy_serves(talk->link->proxy, PROXY_REFRESH) ||
            too_late(talk, session->more->expire_at)) {
            talk_disconnect(talk, CENTRIFUGE_DISCONNECT_EXPIRED);
            return;
        }
        ask_about_connection(talk);
    }
    for (struct session_topic *topic; !talk_over(talk) && (topic = next_due(talk));)
        subscription_due(talk, topic);
    talk_arm(talk);
}
