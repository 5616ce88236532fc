/* Checks of clients' tokens. A signature costs a reactor up to a millisecond for each key that fits, and who
 * sends it some hundred bytes: so nobody has more of them checked than an honest client needs, who brings
 * only bad ones is sent away, and the time that checks take is time of the client's own. Away, but to come
 * back: a page whose backend has signed with yesterday's key has done nothing wrong.
 */
#include "gateway/adapter/centrifuge_internal.h"

#include "gateway/base/clock.h"
#include "gateway/base/log.h"

enum {
    BAD_TOKENS_MAX = 8,     /* of a connection, with no good one between them; */
    FORGET_BAD_S = 30,      /* one is forgotten so often */
    RENEWAL_MS = 10 * 1000, /* so often every topic may be renewed, */
    RENEWALS_SAVED = 3,     /* and so many times at once after a rest */
    TOKENS_BESIDE = 8,      /* what counts as much as so many topics: the connection's own tokens */
};

/* The generic cell rate algorithm: the time when all that was checked is paid for. */
bool talk_may_check(struct talk *talk, uint32_t command)
{
    uint64_t topics = talk->link->settings->limits.topics_per_connection;
    uint64_t price = RENEWAL_MS / ((topics ? topics : UINT8_MAX) + TOKENS_BESIDE);
    uint64_t now = clock_monotonic_ms();
    struct session_more *more = session_more_get(talk_session(talk));
    if (!more) {
        talk_error(talk, command, CENTRIFUGE_ERROR_INTERNAL);
        return false;
    }
    if (more->tokens_paid_ms < now)
        more->tokens_paid_ms = now;
    if (more->tokens_paid_ms + price > now + (uint64_t)RENEWALS_SAVED * RENEWAL_MS) {
        talk_error(talk, command, CENTRIFUGE_ERROR_TOO_MANY_REQUESTS);
        return false;
    }
    more->tokens_paid_ms += price;
    return true;
}

enum auth_result talk_check_connection(struct talk *talk, struct text token, struct auth_identity *out)
{
    struct adapter_link *link = talk->link;
    if (!link->auth)
        return AUTH_INVALID;
    uint64_t began = clock_monotonic_ns();
    enum auth_result result =
        auth_check_connection(link->auth, token.data, token.bytes, (int64_t)link->now_s, out);
    link->ops->charge(link, clock_monotonic_ns() - began);
    return result;
}

enum auth_result talk_check_subscription(struct talk *talk, struct text token, struct text topic,
                                         struct auth_identity *out)
{
    struct adapter_link *link = talk->link;
    struct text user = session_who(talk_session(talk)).user;
    if (!link->auth)
        return AUTH_INVALID;
    uint64_t began = clock_monotonic_ns();
    enum auth_result result =
        auth_check_subscription(link->auth, token.data, token.bytes, (int64_t)link->now_s, user.data,
                                user.bytes, topic.data, topic.bytes, out);
    link->ops->charge(link, clock_monotonic_ns() - began);
    if (result == AUTH_OK)
        talk_session(talk)->more->bad_until_s = 0;
    return result;
}

void talk_bad_token(struct talk *talk, uint32_t command)
{
    struct session_more *more = talk_session(talk)->more;
    uint32_t now = (uint32_t)(clock_monotonic_ms() / 1000);
    more->bad_until_s = (more->bad_until_s > now ? more->bad_until_s : now) + FORGET_BAD_S;
    if (more->bad_until_s > now + (BAD_TOKENS_MAX - 1) * FORGET_BAD_S)
        talk_disconnect(talk, CENTRIFUGE_DISCONNECT_TOO_MANY_REQUESTS);
    else
        talk_error(talk, command, CENTRIFUGE_ERROR_PERMISSION_DENIED);
}

void talk_token_refused(const struct talk *talk, const char *command, const struct auth_identity *identity)
{
    static struct log_limit limit;
    char id[CONN_ID_TEXT_BYTES];
    if (!log_enabled(LOG_DEBUG))
        return;
    conn_id_format(talk->link->ops->id(talk->link), id);
    log_limited(&limit, LOG_DEBUG, "token_refused", "conn=%s command=%s reason=%s", id, command,
                identity->reason ? identity->reason : "there are no keys to check it with");
}
