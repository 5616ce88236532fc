/* The Centrifuge client protocol (version 2, JSON, bidirectional), so that its SDKs work unmodified. This
 * file: the adapter's table, one message's commands, how a session begins and ends; centrifuge_internal.h
 * names the others.
 *
 * A message's replies leave as one message. What others must be asked for (the broker, the backend) is
 * answered when they have answered, so replies may come in another order than their commands; clients tell
 * them apart by id. Only connect is waited for: what arrives behind it is held until the client is connected.
 */
#include "gateway/adapter/centrifuge_internal.h"

#include "gateway/adapter/identity.h"
#include "proto/ws_frame.h"

#include <stdlib.h>

enum { HELD_MAX = 64 * 1024 }; /* bytes of commands that wait for connect, where messages are not larger */

/* The upgrade request
 * ------------------------------------------------------------------------------------------- */

static bool enabled(const struct settings *settings)
{
    (void)settings;
    return true;
}

/* Is a name in the comma-separated list that a client offers? */
static bool offered(struct http_slice list, const char *name)
{
    size_t bytes = strlen(name);
    for (size_t at = 0; at < list.len;) {
        size_t end = at;
        while (end < list.len && list.data[end] != ',')
            end++;
        size_t next = end + 1;
        while (at < end && (list.data[at] == ' ' || list.data[at] == '\t'))
            at++;
        while (at < end && (list.data[end - 1] == ' ' || list.data[end - 1] == '\t'))
            end--;
        if (end - at == bytes && memcmp(list.data + at, name, bytes) == 0)
            return true;
        at = next;
    }
    return false;
}

/* Older SDKs say in the URL that they speak Protobuf. */
static bool wants_protobuf(struct http_slice query)
{
    static const char *const names[] = {"cf_protocol", "format"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char value[16];
        size_t cursor = 0, bytes;
        if (http_query_next(query, names[i], &cursor, value, sizeof value, &bytes) == PARSE_OK &&
            bytes == strlen("protobuf") && memcmp(value, "protobuf", bytes) == 0)
            return true;
    }
    return false;
}

static void accept_upgrade(const struct settings *settings, const struct http_request *request,
                           struct adapter_admission *out)
{
    (void)settings;
    if (offered(request->websocket_protocol, "centrifuge-json"))
        memcpy(out->subprotocol, "centrifuge-json", sizeof "centrifuge-json");
    else if (offered(request->websocket_protocol, "centrifuge-protobuf") || wants_protobuf(request->query)) {
        out->status = 400;
        out->error = "this gateway speaks the JSON format of the Centrifuge protocol, not Protobuf";
    }
}

/* The session
 * --------------------------------------------------------------------------------------------------- */

static void opened(struct adapter_link *link, const char *identity, size_t identity_bytes)
{
    struct session *session = link->session;
    struct talk talk = talk_begin(link);
    bool good = uuid_make(session->client);
    if (good && identity_bytes > 0) {
        struct session_more *more = session_more_get(session);
        char *upgrade = more ? malloc(identity_bytes) : NULL;
        if (upgrade) {
            memcpy(upgrade, identity, identity_bytes);
            more->upgrade = upgrade;
            more->upgrade_bytes = identity_bytes;
        }
        good = upgrade != NULL;
    }
    if (good)
        link->ops->deadline(link, link->settings->limits.handshake_timeout);
    else
        talk_disconnect(&talk, CENTRIFUGE_DISCONNECT_SERVER_ERROR);
    talk_end(&talk);
}

static void who(const struct session *session, const char *topic, size_t topic_bytes, struct broker_ask *out)
{
    struct who known = session_who(session);
    const struct session_topic *subscription = session_topic_find(session, (struct text){topic, topic_bytes});
    out->user = known.user;
    out->conn_info = known.info;
    if (subscription)
        out->chan_info = (struct text){subscription->info, subscription->info_bytes};
}

static void ended(struct session *session)
{
    session_more_free(session);
}

/* Commands
 * ------------------------------------------------------------------------------------------------------ */

static void handle(struct talk *talk, const struct centrifuge_command *command)
{
    uint32_t id = command->id;
    if (talk_session(talk)->connected == (command->method == CENTRIFUGE_CONNECT)) {
        talk_disconnect(talk, CENTRIFUGE_DISCONNECT_BAD_REQUEST); /* first of all, and once */
        return;
    }
    switch (command->method) {
    case CENTRIFUGE_CONNECT:
        talk_connect(talk, id, &command->connect);
        break;
    case CENTRIFUGE_SUBSCRIBE:
        talk_subscribe(talk, id, &command->subscribe);
        break;
    case CENTRIFUGE_UNSUBSCRIBE:
        talk_unsubscribe(talk, id, text_of(command->unsubscribe.channel));
        break;
    case CENTRIFUGE_PUBLISH:
        talk_publish(talk, id, &command->publish);
        break;
    case CENTRIFUGE_PRESENCE:
        talk_presence(talk, id, text_of(command->presence.channel), false);
        break;
    case CENTRIFUGE_PRESENCE_STATS:
        talk_presence(talk, id, text_of(command->presence_stats.channel), true);
        break;
    case CENTRIFUGE_HISTORY:
        talk_history(talk, id, &command->history);
        break;
    case CENTRIFUGE_PING:
        centrifuge_reply_empty(&talk->out, id, CENTRIFUGE_PING);
        break;
    case CENTRIFUGE_RPC:
        talk_rpc(talk, id, command->rpc.method, command->rpc.data);
        break;
    case CENTRIFUGE_REFRESH:
        talk_refresh(talk, id, text_of(command->refresh.token));
        break;
    case CENTRIFUGE_SUB_REFRESH:
        if (command->sub_refresh.type != 0)
            talk_error(talk, id, CENTRIFUGE_ERROR_NOT_AVAILABLE);
        else
            talk_sub_refresh(talk, id, text_of(command->sub_refresh.channel),
                             text_of(command->sub_refresh.token));
        break;
    case CENTRIFUGE_SEND: /* nobody listens, and nobody waits for an answer */
    case CENTRIFUGE_PONG:
        break;
    case CENTRIFUGE_UNKNOWN:
        talk_error(talk, id, CENTRIFUGE_ERROR_METHOD_NOT_FOUND);
        break;
    }
}

/* Room for what is held, and more than is needed, so that many small messages cost no more than one large
 * one. What has been there is wiped, as it may hold tokens: hence no realloc(). */
static bool make_room(struct session_more *more, size_t bytes)
{
    if (bytes <= more->held_room)
        return true;
    size_t room = bytes < 256 ? 512 : 2 * bytes;
    char *held = malloc(room);
    if (!held)
        return false;
    if (more->held) {
        memcpy(held, more->held, more->held_bytes);
        explicit_bzero(more->held, more->held_bytes);
    }
    free(more->held);
    more->held = held;
    more->held_room = room;
    return true;
}

/* Keeps commands until the client is connected. */
static void hold(struct talk *talk, const char *commands, size_t bytes)
{
    struct session_more *more = session_more_get(talk_session(talk));
    uint64_t most = talk->link->settings->limits.message_bytes;
    if (most < HELD_MAX)
        most = HELD_MAX;
    if (!more) {
        talk_disconnect(talk, CENTRIFUGE_DISCONNECT_SERVER_ERROR);
        return;
    }
    if (bytes > most || more->held_bytes + 1 + bytes > most) {
        talk_disconnect(talk, CENTRIFUGE_DISCONNECT_TOO_MANY_REQUESTS);
        return;
    }
    if (!make_room(more, more->held_bytes + 1 + bytes)) {
        talk_disconnect(talk, CENTRIFUGE_DISCONNECT_SERVER_ERROR);
        return;
    }
    memcpy(more->held + more->held_bytes, commands, bytes);
    more->held_bytes += bytes;
    more->held[more->held_bytes++] = '\n';
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* What is left of a message behind the command that was read last. */
static void hold_rest(struct talk *talk, const struct centrifuge_decoder *decoder)
{
    for (size_t at = decoder->at; at < decoder->len; at++) {
        if (!is_blank(decoder->message[at])) {
            hold(talk, decoder->message + at, decoder->len - at);
            return;
        }
    }
}

void talk_read(struct talk *talk, char *message, size_t bytes)
{
    struct centrifuge_subscribe subs[SERVER_SUBS_MAX];
    struct centrifuge_decoder decoder;
    struct centrifuge_command command;
    centrifuge_decoder_init(&decoder, message, bytes, subs, SERVER_SUBS_MAX);
    while (!talk_over(talk) && !talk->refused) {
        if (talk_session(talk)->waiting) {
            hold_rest(talk, &decoder);
            return;
        }
        enum parse_result result = centrifuge_decode(&decoder, &command);
        if (result == PARSE_MORE)
            return;
        if (result == PARSE_BAD) {
            talk_disconnect(talk, CENTRIFUGE_DISCONNECT_BAD_REQUEST);
            return;
        }
        handle(talk, &command);
    }
}

/* After anything that may have connected the client, or refused it. */
static void release_held(struct talk *talk)
{
    struct session *session = talk_session(talk);
    if (talk_over(talk) || session->waiting || !session->more || !session->more->held)
        return;
    char *held = session->more->held;
    size_t bytes = session->more->held_bytes;
    session->more->held = NULL;
    session->more->held_bytes = session->more->held_room = 0;
    if (session->connected)
        talk_read(talk, held, bytes);
    explicit_bzero(held, bytes);
    free(held);
}

static void message(struct adapter_link *link, bool text, uint8_t *payload, size_t payload_bytes)
{
    struct talk talk = talk_begin(link);
    if (!text) /* Protobuf, or nothing that we know */
        talk_disconnect(&talk, CENTRIFUGE_DISCONNECT_BAD_REQUEST);
    else
        talk_read(&talk, (char *)payload, payload_bytes);
    talk_end(&talk);
}

/* What others have to say
 * --------------------------------------------------------------------------------------- */

/* Is this the position of a topic that the server subscribes the client to? */
static bool of_connect(const struct broker_request *answer)
{
    return answer->op == BROKER_HISTORY && answer->rest.bytes > 0;
}

static void answered(struct adapter_link *link, const struct broker_request *answer)
{
    struct talk talk = talk_begin(link);
    if (answer->op != BROKER_SUBSCRIBE)
        talk_asked(link->session, answer);
    if (answer->op == BROKER_SUBSCRIBE)
        talk_joined(&talk, answer);
    else if (of_connect(answer))
        talk_admit_answered(&talk, answer);
    else
        talk_topic_answered(&talk, answer);
    release_held(&talk);
    talk_end(&talk);
}

static void proxied(struct adapter_link *link, struct proxy_request *answer)
{
    struct talk talk = talk_begin(link);
    if (link->session->more && link->session->more->proxied > 0)
        link->session->more->proxied--;
    switch ((enum proxy_kind)answer->kind) {
    case PROXY_CONNECT:
        talk_connect_proxied(&talk, answer);
        break;
    case PROXY_REFRESH:
        talk_refresh_proxied(&talk, answer);
        break;
    case PROXY_SUBSCRIBE:
        talk_subscribe_proxied(&talk, answer);
        break;
    case PROXY_SUB_REFRESH:
        talk_sub_refresh_proxied(&talk, answer);
        break;
    case PROXY_PUBLISH:
        talk_publish_proxied(&talk, answer);
        break;
    case PROXY_RPC:
        talk_rpc_proxied(&talk, answer);
        break;
    case PROXY_KIND_COUNT:
        break;
    }
    release_held(&talk);
    talk_end(&talk);
}

static bool ordered(struct adapter_link *link, const struct order *order)
{
    struct talk talk = talk_begin(link);
    bool concerned = talk_ordered(&talk, order);
    talk_end(&talk);
    return concerned;
}

static void expired(struct adapter_link *link)
{
    struct talk talk = talk_begin(link);
    talk_expired(&talk);
    talk_end(&talk);
}

/* Messages of a positioned subscription were dropped: the client subscribes again, and recovers. */
static void gap(struct adapter_link *link, const char *topic, size_t topic_bytes)
{
    struct talk talk = talk_begin(link);
    struct text name = {topic, topic_bytes};
    int flags = link->ops->subscribed(link, topic, topic_bytes);
    if (flags >= 0 && flags & SUBSCRIPTION_SERVER) /* clients do not ask for these again */
        talk_disconnect(&talk, CENTRIFUGE_DISCONNECT_INSUFFICIENT_STATE);
    else if (talk_leave(&talk, name))
        talk_unsubscribe_push(&talk, name, CENTRIFUGE_UNSUBSCRIBE_INSUFFICIENT_STATE);
    talk_arm(&talk);
    talk_end(&talk);
}

static size_t ping(uint8_t *out, size_t size)
{
    static const char nothing[] = "{}";
    uint8_t header[WS_SERVER_HEADER_MAX];
    size_t header_bytes = ws_frame_header(header, WS_TEXT, true, sizeof nothing - 1);
    if (size < header_bytes + sizeof nothing - 1)
        return 0;
    memcpy(out, header, header_bytes);
    memcpy(out + header_bytes, nothing, sizeof nothing - 1);
    return header_bytes + sizeof nothing - 1;
}

const struct adapter adapter_centrifuge = {
    .name = "centrifuge",
    .path = "/connection/websocket",
    .reads_messages = true,
    .sessions = true,
    .centrifuge_codes = true,
    .enabled = enabled,
    .accept = accept_upgrade,
    .opened = opened,
    .who = who,
    .ended = ended,
    .message = message,
    .answer = answered,
    .proxied = proxied,
    .ordered = ordered,
    .expired = expired,
    .gap = gap,
    .ping = ping,
    .encoded_bound = centrifuge_frame_bound,
    .encode = centrifuge_frame_encode,
};
