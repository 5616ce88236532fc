/* The command connect: who the client is, by its token, by its upgrade request, by the backend, or nobody. */
#include "gateway/adapter/centrifuge_internal.h"

#include "gateway/adapter/identity.h"
#include "gateway/adapter/topic_name.h"

#include <stdlib.h>

/* What the upgrade request has said; all empty when it said nothing. */
static struct identity upgrade_identity(const struct session *session)
{
    struct identity identity = {0};
    const struct session_more *more = session->more;
    if (more && more->upgrade && !identity_unpack(more->upgrade, more->upgrade_bytes, &identity))
        identity = (struct identity){0};
    return identity;
}

void talk_connect_refuse(struct talk *talk, uint32_t command, enum centrifuge_error error)
{
    talk_error(talk, command, error);
    talk->refused = true;
}

/* The topics of a token: length byte + name. False: one has a name that no topic has. */
static bool token_topics(struct text packed, struct server_topic topics[SERVER_SUBS_MAX], size_t *count)
{
    *count = 0;
    for (size_t at = 0; at < packed.bytes;) {
        size_t bytes = (uint8_t)packed.data[at++];
        if (bytes > packed.bytes - at || *count == SERVER_SUBS_MAX ||
            !topic_name_valid(packed.data + at, bytes))
            return false;
        topics[(*count)++] = (struct server_topic){.name = {packed.data + at, bytes}};
        at += bytes;
    }
    return true;
}

/* Lets in who has a token, in the command or in the upgrade request. */
static void admit_known(struct talk *talk, uint32_t command, const struct identity *identity,
                        struct text wishes)
{
    struct session *session = talk_session(talk);
    struct server_topic topics[SERVER_SUBS_MAX];
    size_t count;
    struct who who = {.user = identity->user, .info = identity->info, .headers = identity->headers};
    if (!token_topics(identity->channels, topics, &count)) {
        talk_disconnect(talk, CENTRIFUGE_DISCONNECT_INVALID_TOKEN);
        return;
    }
    if (!session_be(session, &who) || (identity->expires_at && !session_more_get(session))) {
        talk_connect_refuse(talk, command, CENTRIFUGE_ERROR_INTERNAL);
        return;
    }
    if (session->more) {
        session->more->expire_at = identity->expires_at;
        session->more->by_backend = false;
    }
    talk_admit(talk, command, topics, count, (struct text){0}, wishes);
}

static void connect_by_token(struct talk *talk, uint32_t command, struct json_slice token, struct text wishes)
{
    struct auth_identity checked = {0};
    if (!talk_may_check(talk, command)) {
        talk->refused = true;
        return;
    }
    enum auth_result result = talk_check_connection(talk, text_of(token), &checked);
    if (result != AUTH_OK)
        talk_token_refused(talk, "connect", &checked);
    if (result == AUTH_OK) {
        talk_session(talk)->more->tokens_paid_ms = 0; /* this comes once: it need not be remembered */
        struct identity identity = {
            .expires_at = checked.expires_at,
            .user = {auth_identity_user(&checked), checked.user_bytes},
            .info = {auth_identity_info(&checked), checked.info_bytes},
            .channels = {(const char *)auth_identity_channels(&checked), checked.channels_bytes},
            .headers = upgrade_identity(talk_session(talk)).headers,
        };
        admit_known(talk, command, &identity, wishes);
    } else if (result == AUTH_EXPIRED)
        talk_connect_refuse(talk, command, CENTRIFUGE_ERROR_TOKEN_EXPIRED);
    else if (result == AUTH_INVALID)
        talk_disconnect(talk, CENTRIFUGE_DISCONNECT_INVALID_TOKEN);
    else
        talk_connect_refuse(talk, command, CENTRIFUGE_ERROR_INTERNAL);
    auth_identity_fini(&checked);
}

static void connect_by_upgrade(struct talk *talk, uint32_t command, const struct identity *identity,
                               struct text wishes)
{
    static const struct auth_identity expired = {.reason = "expired since the upgrade"};
    if (identity->expires_at && identity->expires_at <= (int64_t)talk->link->now_s) {
        talk_token_refused(talk, "connect", &expired);
        talk_connect_refuse(talk, command, CENTRIFUGE_ERROR_TOKEN_EXPIRED);
    } else {
        admit_known(talk, command, identity, wishes);
    }
}

static void ask_backend(struct talk *talk, uint32_t command, const struct centrifuge_connect *connect,
                        struct text headers, struct text wishes)
{
    struct session *session = talk_session(talk);
    struct who nobody = {.headers = headers};
    struct json_slice channels[SERVER_SUBS_MAX];
    size_t count = connect->sub_count < SERVER_SUBS_MAX ? connect->sub_count : SERVER_SUBS_MAX;
    for (size_t i = 0; i < count; i++)
        channels[i] = connect->subs[i].channel;
    struct proxy_ask ask = {
        .kind = PROXY_CONNECT,
        .name = connect->name,
        .version = connect->version,
        .channels = channels,
        .channel_count = count,
        .data = connect->data,
        .rest = text_slice(wishes),
    };
    enum centrifuge_error error = CENTRIFUGE_ERROR_INTERNAL;
    if (session_be(session, &nobody) && talk_proxy(talk, command, &ask, &error))
        session->waiting = true;
    else
        talk_connect_refuse(talk, command, error);
}

static void connect_by_nobody(struct talk *talk, uint32_t command, struct text headers, struct text wishes)
{
    struct session *session = talk_session(talk);
    struct who nobody = {.headers = proxy_serves(talk->link->proxy, PROXY_SUBSCRIBE) ||
                                            proxy_serves(talk->link->proxy, PROXY_PUBLISH) ||
                                            proxy_serves(talk->link->proxy, PROXY_RPC)
                                        ? headers
                                        : (struct text){0}};
    if (!session_be(session, &nobody)) {
        talk_connect_refuse(talk, command, CENTRIFUGE_ERROR_INTERNAL);
        return;
    }
    if (session->more)
        session->more->expire_at = 0;
    talk_admit(talk, command, NULL, 0, (struct text){0}, wishes);
}

void talk_connect(struct talk *talk, uint32_t command, const struct centrifuge_connect *connect)
{
    struct text wishes = {0};
    struct identity identity = upgrade_identity(talk_session(talk));
    if (!wishes_pack(connect, &wishes)) {
        talk_connect_refuse(talk, command, CENTRIFUGE_ERROR_INTERNAL);
        return;
    }
    if (connect->token.len > 0)
        connect_by_token(talk, command, connect->token, wishes);
    else if (identity.known)
        connect_by_upgrade(talk, command, &identity, wishes);
    else if (proxy_serves(talk->link->proxy, PROXY_CONNECT))
        ask_backend(talk, command, connect, identity.headers, wishes);
    else if (talk->link->settings->auth.anonymous)
        connect_by_nobody(talk, command, identity.headers, wishes);
    else
        talk_connect_refuse(talk, command, CENTRIFUGE_ERROR_UNAUTHORIZED);
    free((void *)wishes.data);
}

/* The topics that the backend has named. False: one has a name that no topic has. */
static bool backend_topics(const struct proxy_answer *answer, struct server_topic *topics)
{
    for (size_t i = 0; i < answer->channel_count; i++) {
        const struct proxy_channel *channel = &answer->channels[i];
        topics[i] = (struct server_topic){
            .name = text_of(channel->name),
            .info = text_of(channel->info),
            .data = text_of(channel->data),
            .expire_at = channel->expire_at,
        };
        if (!topic_name_valid(topics[i].name.data, topics[i].name.bytes))
            return false;
    }
    return true;
}

void talk_connect_proxied(struct talk *talk, const struct proxy_request *request)
{
    const struct proxy_answer *answer = &request->answer;
    struct session *session = talk_session(talk);
    struct server_topic topics[SERVER_SUBS_MAX];
    session->waiting = false;
    if (answer->outcome != PROXY_OK) {
        talk_backend_error(talk, request);
        talk->refused = true;
        return;
    }
    if (answer->channel_count > SERVER_SUBS_MAX) {
        talk_disconnect(talk, CENTRIFUGE_DISCONNECT_CHANNEL_LIMIT);
        return;
    }
    struct identity identity = upgrade_identity(session);
    struct who who = {.user = text_of(answer->user),
                      .info = text_of(answer->info),
                      .meta = text_of(answer->meta),
                      .headers = identity.headers};
    if (!backend_topics(answer, topics) || !session_be(session, &who) || !session_more_get(session)) {
        talk_connect_refuse(talk, request->command, CENTRIFUGE_ERROR_INTERNAL);
        return;
    }
    session->more->expire_at = answer->expire_at;
    session->more->by_backend = true;
    talk_admit(talk, request->command, topics, answer->channel_count, text_of(answer->data),
               text_of(request->rest));
}
