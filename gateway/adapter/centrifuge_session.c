/* What a session keeps beside its 32 bytes: as long as there is nothing, no memory. What clients, tokens and
 * backends have said of somebody is wiped before it is freed. */
#include "gateway/adapter/centrifuge_internal.h"

#include "gateway/base/clock.h"

#include <stdlib.h>

static void wipe_and_free(void *memory, size_t bytes)
{
    if (memory)
        explicit_bzero(memory, bytes);
    free(memory);
}

struct session_more *session_more_get(struct session *session)
{
    if (!session->more)
        session->more = calloc(1, sizeof *session->more);
    return session->more;
}

/* Who
 * -----------------------------------------------------------------------------------------------------------
 */

static size_t who_bytes(const struct who *who)
{
    return sizeof *who + who->user.bytes + who->info.bytes + who->meta.bytes + who->headers.bytes;
}

static void who_free(struct who *who)
{
    if (who)
        wipe_and_free(who, who_bytes(who));
}

bool session_be(struct session *session, const struct who *who)
{
    struct who *kept = NULL;
    if (who_bytes(who) > sizeof *who) {
        kept = malloc(who_bytes(who));
        if (!kept || !session_more_get(session)) {
            free(kept);
            return false;
        }
        char *at = (char *)(kept + 1);
        kept->user = text_keep(&at, who->user);
        kept->info = text_keep(&at, who->info);
        kept->meta = text_keep(&at, who->meta);
        kept->headers = text_keep(&at, who->headers);
    }
    if (session->more) {
        who_free(session->more->who);
        session->more->who = kept;
    }
    session->authenticated = who->user.bytes > 0;
    return true;
}

struct who session_who(const struct session *session)
{
    return session->more && session->more->who ? *session->more->who : (struct who){0};
}

/* Topics
 * -------------------------------------------------------------------------------------------------------- */

static void topic_free(struct session_topic *topic)
{
    wipe_and_free(topic->info, topic->info_bytes);
    free(topic);
}

/* Where the link to a topic stands, or to the end. */
static struct session_topic **topic_link(struct session_more *more, struct text name)
{
    struct session_topic **link = &more->topics;
    while (*link && !text_equal((struct text){(*link)->topic, (*link)->topic_bytes}, name))
        link = &(*link)->next;
    return link;
}

struct session_topic *session_topic_find(const struct session *session, struct text topic)
{
    return session->more ? *topic_link(session->more, topic) : NULL;
}

struct session_topic *session_topic_get(struct session *session, struct text topic)
{
    if (!session_more_get(session))
        return NULL;
    struct session_topic **link = topic_link(session->more, topic);
    if (*link)
        return *link;
    struct session_topic *made = calloc(1, sizeof *made + topic.bytes);
    if (!made)
        return NULL;
    made->topic_bytes = (uint8_t)topic.bytes;
    memcpy(made->topic, topic.data, topic.bytes);
    *link = made;
    return made;
}

bool session_topic_info(struct session_topic *topic, struct text info)
{
    char *kept = NULL;
    if (info.bytes > 0) {
        kept = malloc(info.bytes);
        if (!kept)
            return false;
        memcpy(kept, info.data, info.bytes);
    }
    wipe_and_free(topic->info, topic->info_bytes);
    topic->info = kept;
    topic->info_bytes = (uint32_t)info.bytes;
    return true;
}

void session_topic_forget(struct session *session, struct text topic)
{
    if (!session->more)
        return;
    struct session_topic **link = topic_link(session->more, topic), *gone = *link;
    if (gone) {
        *link = gone->next;
        topic_free(gone);
    }
}

void session_topic_tidy(struct session *session, struct session_topic *topic)
{
    if (!topic->command && !topic->asking && !topic->refreshing && !topic->expire_at && !topic->info)
        session_topic_forget(session, (struct text){topic->topic, topic->topic_bytes});
}

/* All of it
 * ----------------------------------------------------------------------------------------------------- */

void session_more_tidy(struct session *session)
{
    const struct session_more *more = session->more;
    if (!more || more->who || more->topics || more->connecting || more->upgrade || more->held ||
        more->expire_at || more->refreshing || more->proxied ||
        more->bad_until_s > clock_monotonic_ms() / 1000 || more->tokens_paid_ms > clock_monotonic_ms())
        return;
    session_more_free(session);
}

void session_more_free(struct session *session)
{
    struct session_more *more = session->more;
    if (!more)
        return;
    for (struct session_topic *topic = more->topics, *next; topic; topic = next) {
        next = topic->next;
        topic_free(topic);
    }
    connecting_destroy(more->connecting);
    who_free(more->who);
    wipe_and_free(more->upgrade, more->upgrade_bytes);
    wipe_and_free(more->held, more->held_bytes);
    free(more);
    session->more = NULL;
}
