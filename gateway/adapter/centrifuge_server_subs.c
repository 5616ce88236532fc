/* Topics that the server subscribes a connecting client to, and the reply to connect that tells of them.
 *
 * A client takes what comes from such a topic only after that reply, and the reply says from which position
 * on it has everything. So topics that clients can recover from are not joined before the reply: their
 * positions (and what the client has missed until there) are asked for first, and they are joined behind the
 * reply, from those positions: what was published in between comes with the answer. Topics without recovery
 * promise nothing about the time before the reply and are joined before it.
 */
#include "gateway/adapter/centrifuge_connecting.h"

#include <stdlib.h>

static struct join join_of(const struct connecting *connecting, const struct server_sub *sub)
{
    return (struct join){
        .reason = JOIN_CONNECT,
        .command = connecting->command,
        .topic = sub->name,
        .wish = sub->wish,
        .info = sub->info,
        .data = sub->data,
        .expire_at = sub->expire_at,
        .by_backend = true,
    };
}

/* The end
 * -------------------------------------------------------------------------------------------------------- */

/* The connection may have gone: then its session has let go of this already. */
static void let_go(struct talk *talk)
{
    struct session_more *more = talk_session(talk)->more;
    if (!more)
        return;
    connecting_destroy(more->connecting);
    more->connecting = NULL;
}

static void admit_failed(struct talk *talk, enum centrifuge_error error)
{
    struct session *session = talk_session(talk);
    struct connecting *connecting = session->more->connecting;
    session->waiting = false;
    for (size_t i = 0; i < connecting->count; i++)
        (void)talk_leave(talk, connecting->subs[i].name);
    talk_connect_refuse(talk, connecting->command, error);
    let_go(talk);
}

/* Joins the topics whose positions stand in the reply. */
static void catch_up(struct talk *talk, const struct connecting *connecting)
{
    for (size_t i = 0; i < connecting->count && !talk_over(talk); i++) {
        const struct server_sub *sub = &connecting->subs[i];
        if (!sub->behind)
            continue;
        struct join join = join_of(connecting, sub);
        join.reason = JOIN_CATCH_UP;
        join.wish =
            (struct wish){.recover = sub->position.epoch != 0, .epoch_known = true, .since = sub->position};
        enum link_join result = talk_join(talk, &join);
        if (result == LINK_TOO_MANY || result == LINK_BUSY)
            talk_disconnect(talk, CENTRIFUGE_DISCONNECT_CHANNEL_LIMIT);
        else if (result == LINK_FULL) /* the client has been told that it has the topic */
            talk_unsubscribe_push(talk, sub->name, CENTRIFUGE_UNSUBSCRIBE_SERVER);
    }
}

/* The upgrade request's word counts until here. */
static void forget_upgrade(struct session *session)
{
    struct session_more *more = session->more;
    if (!more || !more->upgrade)
        return;
    explicit_bzero(more->upgrade, more->upgrade_bytes);
    free(more->upgrade);
    more->upgrade = NULL;
}

/* All answers are there. `connecting` is not the session's any more, which may end on the way. False: no
 * memory. */
static bool admitted(struct talk *talk, const struct connecting *connecting)
{
    struct session *session = talk_session(talk);
    if (!connecting_reply(talk, connecting))
        return false;
    session->waiting = false;
    session->connected = true;
    forget_upgrade(session);
    catch_up(talk, connecting);
    talk_arm(talk);
    return true;
}

/* The same for what the session has waited for. */
static void finish(struct talk *talk)
{
    struct session_more *more = talk_session(talk)->more;
    struct connecting *connecting = more->connecting;
    more->connecting = NULL;
    if (admitted(talk, connecting)) {
        connecting_destroy(connecting);
        return;
    }
    more->connecting = connecting;
    admit_failed(talk, CENTRIFUGE_ERROR_INTERNAL);
}

/* Asks for what the reply will say of a topic. False: it has failed, and connecting with it. */
static bool begin(struct talk *talk, struct connecting *connecting, struct server_sub *sub)
{
    const struct topic_rule *rule = topic_rule_find(talk->link->settings, sub->name.data, sub->name.bytes);
    sub->behind = rule->recover && rule->history_size > 0;
    sub->waiting = true;
    connecting->waiting++;
    if (sub->behind) {
        struct join_note note = {.reason = JOIN_CONNECT};
        bool since = sub->wish.recover && sub->wish.epoch_known;
        struct ask ask = {
            .broker = {.op = BROKER_HISTORY, .topic = sub->name, .rest = {(const char *)&note, sizeof note}},
            .command = connecting->command,
            .since_set = since,
            .since = sub->wish.since,
            .limit = since ? UINT32_MAX : 0,
            .at_once = true,
            .flags = rule->join_leave ? SUBSCRIPTION_ANNOUNCED : 0,
            .demand = HISTORY_WHOLE,
            .room = talk_room(talk),
        };
        if (talk_ask(talk, &ask))
            return true;
        talk->refused = true; /* the reply has been made */
        return false;
    }
    struct join join = join_of(connecting, sub);
    switch (talk_join(talk, &join)) {
    case LINK_JOINING:
        return true;
    case LINK_ALREADY: /* cannot be: nothing is joined before */
    case LINK_TOO_MANY:
    case LINK_BUSY:
        talk_disconnect(talk, CENTRIFUGE_DISCONNECT_CHANNEL_LIMIT);
        return false;
    case LINK_FULL:
        talk_connect_refuse(talk, connecting->command, CENTRIFUGE_ERROR_LIMIT_EXCEEDED);
        return false;
    case LINK_FAILED:
        break;
    }
    return false;
}

void talk_admit(struct talk *talk, uint32_t command, const struct server_topic *topics, size_t count,
                struct text data, struct text wishes)
{
    struct session *session = talk_session(talk);
    uint64_t most = talk->link->settings->limits.topics_per_connection;
    if (most > 0 && count > most) {
        talk_disconnect(talk, CENTRIFUGE_DISCONNECT_CHANNEL_LIMIT);
        return;
    }
    if (count == 0) { /* nothing to wait for */
        struct connecting none = {.command = command, .data = data};
        if (!admitted(talk, &none))
            talk_connect_refuse(talk, command, CENTRIFUGE_ERROR_INTERNAL);
        return;
    }
    struct session_more *more = session_more_get(session);
    struct connecting *connecting = connecting_create(command, topics, count, data, wishes);
    if (!more || !connecting) {
        connecting_destroy(connecting);
        talk_connect_refuse(talk, command, CENTRIFUGE_ERROR_INTERNAL);
        return;
    }
    more->connecting = connecting;
    session->waiting = true;
    for (size_t i = 0; i < connecting->count; i++) {
        if (begin(talk, connecting, &connecting->subs[i]))
            continue;
        if (!talk_over(talk)) {
            session->waiting = false;
            for (size_t joined = 0; joined < i; joined++)
                (void)talk_leave(talk, connecting->subs[joined].name);
            let_go(talk);
        }
        return;
    }
}

/* What the broker says
 * ------------------------------------------------------------------------------------------ */

static void take_position(struct server_sub *sub, const struct broker_request *answer)
{
    sub->position = answer->position;
    sub->recovered = answer->since_set && answer->recovered;
    if (!sub->recovered || answer->item_count == 0)
        return;
    sub->items = (struct history_item **)malloc(answer->item_count * sizeof *sub->items);
    sub->recovered = sub->items != NULL;
    for (size_t i = 0; sub->items && i < answer->item_count; i++)
        sub->items[i] = history_item_ref(answer->items[i]);
    sub->item_count = sub->items ? answer->item_count : 0;
}

void talk_admit_answered(struct talk *talk, const struct broker_request *answer)
{
    struct session *session = talk_session(talk);
    struct connecting *connecting = session->more ? session->more->connecting : NULL;
    struct server_sub *sub = NULL;
    for (size_t i = 0; connecting && connecting->command == answer->command && i < connecting->count; i++)
        if (connecting->subs[i].waiting && text_equal(connecting->subs[i].name, answer->topic))
            sub = &connecting->subs[i];
    if (!sub)
        return; /* of a connect that has failed since */
    sub->waiting = false;
    connecting->waiting--;
    if (answer->result != BROKER_OK && answer->result != BROKER_NOT_KEPT) {
        admit_failed(talk, answer->result == BROKER_FULL   ? CENTRIFUGE_ERROR_LIMIT_EXCEEDED
                           : answer->result == BROKER_BUSY ? CENTRIFUGE_ERROR_TOO_MANY_REQUESTS
                                                           : CENTRIFUGE_ERROR_INTERNAL);
        return;
    }
    if (answer->op == BROKER_HISTORY)
        take_position(sub, answer);
    if (connecting->waiting == 0)
        finish(talk);
}
