/* One callback of the adapter: what it says to the client, what it asks of others, when it wants to be called
 * again. */
#include "gateway/adapter/centrifuge_internal.h"

#include <stdlib.h>

enum { REPLY_MAX = 16 * 1024 * 1024 }; /* bytes of one reply when limits.outbox_bytes has no bound */

/* Saying
 * -------------------------------------------------------------------------------------------------------- */

struct talk talk_begin(struct adapter_link *link)
{
    return (struct talk){.link = link};
}

void talk_flush(struct talk *talk)
{
    struct adapter_link *link = talk->link;
    if (talk->out.failed && !link->gone)
        link->ops->close(link, CENTRIFUGE_DISCONNECT_SERVER_ERROR,
                         centrifuge_disconnect_reason(CENTRIFUGE_DISCONNECT_SERVER_ERROR));
    else if (talk->out.len > 0 && !link->gone)
        link->ops->send(link, true, talk->out.data, talk->out.len);
    json_out_reset(&talk->out);
}

void talk_end(struct talk *talk)
{
    talk_flush(talk);
    json_out_fini(&talk->out);
    /* Only what nobody needs: the session may be without memory from here on. */
    session_more_tidy(talk_session(talk));
}

void talk_disconnect_with(struct talk *talk, uint16_t code, struct text reason)
{
    char text[124];
    const char *known = centrifuge_disconnect_reason(code);
    size_t bytes = reason.bytes < sizeof text ? reason.bytes : sizeof text - 1;
    if (bytes > 0)
        memcpy(text, reason.data, bytes);
    text[bytes] = '\0';
    talk_flush(talk);
    if (!talk_over(talk))
        talk->link->ops->close(talk->link, code, bytes > 0 ? text : known ? known : "");
}

void talk_disconnect(struct talk *talk, enum centrifuge_disconnect code)
{
    talk_disconnect_with(talk, (uint16_t)code, (struct text){0});
}

size_t talk_room(const struct talk *talk)
{
    uint64_t most = talk->link->settings->limits.outbox_bytes;
    return most > 0 && most / 2 < REPLY_MAX ? (size_t)(most / 2) : REPLY_MAX;
}

size_t talk_try(struct talk *talk)
{
    talk->out.max = talk->out.len + talk_room(talk);
    return talk->out.len;
}

void talk_take_back(struct talk *talk, size_t mark)
{
    talk->out.failed = false;
    talk->out.len = mark;
}

bool talk_tried(struct talk *talk, size_t mark)
{
    talk->out.max = 0;
    if (!talk->out.failed)
        return true;
    talk_take_back(talk, mark);
    return false;
}

void talk_error(struct talk *talk, uint32_t command, enum centrifuge_error error)
{
    centrifuge_reply_error(&talk->out, command, error);
}

void talk_backend_error(struct talk *talk, const struct proxy_request *request)
{
    const struct proxy_answer *answer = &request->answer;
    if (answer->outcome == PROXY_DISCONNECT)
        talk_disconnect_with(talk, (uint16_t)answer->code, text_of(answer->text));
    else if (answer->outcome == PROXY_ERROR)
        centrifuge_reply_custom_error(&talk->out, request->command, answer->code, answer->text,
                                      answer->temporary);
    else
        talk_error(talk, request->command, CENTRIFUGE_ERROR_INTERNAL);
}

/* The clock
 * ----------------------------------------------------------------------------------------------------- */

uint32_t talk_ttl(const struct talk *talk, int64_t expire_at)
{
    int64_t left = expire_at - (int64_t)talk->link->now_s;
    return left < 1 ? 1 : left > INT32_MAX ? INT32_MAX : (uint32_t)left;
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* After the grace that a client has for its refresh, or at once where the backend is asked. */
static int64_t due_of(int64_t expire_at, bool by_backend, int64_t retry_at)
{
    if (expire_at == 0)
        return INT64_MAX;
    if (by_backend)
        return later(expire_at, retry_at);
    return expire_at > INT64_MAX - GRACE_S ? INT64_MAX : expire_at + GRACE_S;
}

int64_t session_due(const struct session_more *more)
{
    return more->refreshing ? INT64_MAX : due_of(more->expire_at, more->by_backend, more->retry_at);
}

int64_t session_topic_due(const struct session_topic *topic)
{
    bool answer_on_its_way = topic->command || topic->refreshing;
    return answer_on_its_way ? INT64_MAX : due_of(topic->expire_at, topic->by_backend, topic->retry_at);
}

static int64_t sooner(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

void talk_arm(struct talk *talk)
{
    const struct session_more *more = talk_session(talk)->more;
    if (talk_over(talk) || !talk_session(talk)->connected)
        return; /* until then the deadline of the handshake stands */
    int64_t due = INT64_MAX, now = (int64_t)talk->link->now_s;
    if (more) {
        due = session_due(more);
        for (const struct session_topic *topic = more->topics; topic; topic = topic->next)
            due = sooner(due, session_topic_due(topic));
    }
    uint64_t ms = 0;
    if (due != INT64_MAX)
        ms = due <= now ? 1 : 1000 * (uint64_t)sooner(due - now, DEADLINE_MAX_S);
    talk->link->ops->deadline(talk->link, ms);
}

/* Asking
 * -------------------------------------------------------------------------------------------------------- */

static uint16_t weight_of(enum broker_op op, bool at_once)
{
    return (op == BROKER_PRESENCE || op == BROKER_HISTORY) && !at_once ? READ_WEIGHT : 1;
}

void talk_asked(struct session *session, const struct broker_request *answer)
{
    uint16_t weight = weight_of((enum broker_op)answer->op, answer->at_once);
    session->asked = (uint16_t)(session->asked > weight ? session->asked - weight : 0) & 0x7fff;
}

bool talk_ask(struct talk *talk, struct ask *ask)
{
    struct session *session = talk_session(talk);
    struct adapter_link *link = talk->link;
    uint16_t weight = weight_of(ask->broker.op, ask->at_once);
    if (session->asked + weight > ASKED_MAX) {
        talk_error(talk, ask->command, CENTRIFUGE_ERROR_TOO_MANY_REQUESTS);
        return false;
    }
    struct broker_request *request = broker_request_create(&ask->broker);
    if (!request) {
        talk_error(talk, ask->command, CENTRIFUGE_ERROR_INTERNAL);
        return false;
    }
    memcpy(request->client, session->client, sizeof request->client);
    request->command = ask->command;
    request->skip_history = ask->skip_history;
    request->since_set = ask->since_set;
    request->since = ask->since;
    request->reverse = ask->reverse;
    request->limit = ask->limit;
    request->at_once = ask->at_once;
    request->flags = ask->flags;
    request->demand = (uint8_t)ask->demand;
    request->room = ask->room;
    session->asked = (uint16_t)(session->asked + weight) & 0x7fff;
    link->ops->request(link, request);
    return true;
}

bool talk_proxy(struct talk *talk, uint32_t command, struct proxy_ask *ask, enum centrifuge_error *error)
{
    struct session *session = talk_session(talk);
    struct session_more *more = session_more_get(session);
    struct who who = session_who(session);
    char id[UUID_TEXT_BYTES];
    *error = CENTRIFUGE_ERROR_INTERNAL;
    if (!more)
        return false;
    if (more->proxied >= PROXIED_MAX) {
        *error = CENTRIFUGE_ERROR_TOO_MANY_REQUESTS;
        return false;
    }
    uuid_format(session->client, id);
    ask->client = (struct json_slice){id, sizeof id - 1};
    if (ask->kind != PROXY_CONNECT)
        ask->user = (struct json_slice){who.user.bytes > 0 ? who.user.data : "", who.user.bytes};
    ask->meta = text_slice(who.meta);
    ask->headers = text_slice(who.headers);
    struct proxy_request *request = proxy_request_create(ask);
    if (!request)
        return false;
    request->command = command;
    more->proxied++;
    talk->link->ops->proxy(talk->link, request);
    return true;
}

/* Missed publications
 * ------------------------------------------------------------------------------------------- */

struct centrifuge_publication *publications_of(struct history_item *const *items, size_t count)
{
    struct centrifuge_publication *publications = count > 0 ? calloc(count, sizeof *publications) : NULL;
    if (!publications)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        const struct history_item *item = items[i];
        publications[i] = (struct centrifuge_publication){
            .payload = history_item_payload(item),
            .payload_bytes = item->payload_bytes,
            .text = item->text,
            .json = item->json,
            .offset = item->offset,
            .info = text_slice((struct text){history_item_info(item), item->info_bytes}),
            .tags = text_slice((struct text){history_item_tags(item), item->tags_bytes}),
        };
    }
    return publications;
}

struct wish wish_of(const struct centrifuge_subscribe *subscribe)
{
    struct wish wish = {
        .recover = subscribe->recover,
        .join_leave = subscribe->join_leave,
        .all_or_error = subscribe->flags & CENTRIFUGE_FLAG_REJECT_UNRECOVERED,
    };
    wish.since.offset = subscribe->offset;
    /* Without an epoch the offset alone is judged; with one that is none of ours it is another stream. */
    wish.epoch_known = subscribe->epoch.len == 0 ||
                       epoch_parse(subscribe->epoch.data, subscribe->epoch.len, &wish.since.epoch);
    return wish;
}
