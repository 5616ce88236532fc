/* What the server API orders: for whichever connections of a user there are. */
#include "gateway/adapter/centrifuge_internal.h"

#include "gateway/adapter/topic_name.h"

/* Does a list of client ids, whatever stands between them, have this one? */
static bool lists(struct text list, const char *id)
{
    return list.bytes > 0 && memmem(list.data, list.bytes, id, UUID_TEXT_BYTES - 1) != NULL;
}

static bool concerns(const struct talk *talk, const struct order *order)
{
    const struct session *session = talk_session(talk);
    char id[UUID_TEXT_BYTES];
    if (!session->connected || !text_equal(session_who(session).user, order->user))
        return false;
    if (order->client.bytes == 0 && order->whitelist.bytes == 0)
        return true;
    uuid_format(session->client, id);
    return (order->client.bytes == 0 || text_equal(order->client, (struct text){id, UUID_TEXT_BYTES - 1})) &&
           !lists(order->whitelist, id);
}

static void subscribe(struct talk *talk, const struct order *order)
{
    struct join join = {
        .reason = JOIN_ORDER,
        .topic = order->topic,
        .wish = {.recover = order->recover, .epoch_known = true, .since = order->since},
        .info = order->info,
        .data = order->data,
        .expire_at = order->expire_at,
        .by_backend = true,
    };
    (void)talk_join(talk, &join); /* who has the topic already keeps it; who has too many does not get it */
}

static void unsubscribe(struct talk *talk, const struct order *order)
{
    uint32_t code = order->code ? order->code : CENTRIFUGE_UNSUBSCRIBE_SERVER;
    if (talk_leave(talk, order->topic))
        talk_unsubscribe_push(talk, order->topic, code);
}

static void refresh(struct talk *talk, const struct order *order)
{
    struct session *session = talk_session(talk);
    if (order->expired || (order->expire_at && order->expire_at <= (int64_t)talk->link->now_s)) {
        talk_disconnect(talk, CENTRIFUGE_DISCONNECT_EXPIRED);
        return;
    }
    if (order->expire_at && !session_more_get(session)) {
        talk_disconnect(talk, CENTRIFUGE_DISCONNECT_SERVER_ERROR);
        return;
    }
    if (session->more) {
        session->more->expire_at = order->expire_at;
        session->more->retry_at = 0;
    }
    centrifuge_push_refresh(&talk->out, order->expire_at != 0,
                            order->expire_at ? talk_ttl(talk, order->expire_at) : 0);
}

bool talk_ordered(struct talk *talk, const struct order *order)
{
    bool of_topic = order->kind == ORDER_SUBSCRIBE || order->kind == ORDER_UNSUBSCRIBE;
    if (!concerns(talk, order) || (of_topic && !topic_name_valid(order->topic.data, order->topic.bytes)))
        return false;
    switch ((enum order_kind)order->kind) {
    case ORDER_DISCONNECT:
        talk_disconnect_with(talk, order->code ? order->code : CENTRIFUGE_DISCONNECT_FORCE_NO_RECONNECT,
                             order->reason);
        return true;
    case ORDER_SUBSCRIBE:
        subscribe(talk, order);
        break;
    case ORDER_UNSUBSCRIBE:
        unsubscribe(talk, order);
        break;
    case ORDER_REFRESH:
        refresh(talk, order);
        break;
    }
    talk_arm(talk);
    return true;
}
