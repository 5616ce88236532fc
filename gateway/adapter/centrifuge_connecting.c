/* What a client waits for between its connect command and the reply; and the reply. */
#include "gateway/adapter/centrifuge_connecting.h"

#include <stdlib.h>

/* Wishes
 * -------------------------------------------------------------------------------------------------------- */

struct packed_wish {
    struct wish wish;
    uint16_t name_bytes; /* the name follows */
};

bool wishes_pack(const struct centrifuge_connect *connect, struct text *out)
{
    size_t bytes = 0;
    *out = (struct text){0};
    for (size_t i = 0; i < connect->sub_count; i++)
        if (connect->subs[i].channel.len <= TOPIC_BYTES_MAX)
            bytes += sizeof(struct packed_wish) + connect->subs[i].channel.len;
    if (bytes == 0)
        return true;
    char *data = malloc(bytes), *at = data;
    if (!data)
        return false;
    for (size_t i = 0; i < connect->sub_count; i++) {
        struct json_slice name = connect->subs[i].channel;
        if (name.len > TOPIC_BYTES_MAX)
            continue;
        struct packed_wish packed = {.wish = wish_of(&connect->subs[i]), .name_bytes = (uint16_t)name.len};
        memcpy(at, &packed, sizeof packed);
        at += sizeof packed;
        if (name.len > 0)
            memcpy(at, name.data, name.len);
        at += name.len;
    }
    *out = (struct text){data, bytes};
    return true;
}

static struct wish wish_find(struct text wishes, struct text name)
{
    struct packed_wish packed;
    for (size_t at = 0; at + sizeof packed <= wishes.bytes; at += packed.name_bytes) {
        memcpy(&packed, wishes.data + at, sizeof packed);
        at += sizeof packed;
        if (text_equal((struct text){wishes.data + at, packed.name_bytes}, name))
            return packed.wish;
    }
    return (struct wish){0};
}

/* Memory
 * -------------------------------------------------------------------------------------------------------- */

/* A name that comes twice is one topic. */
static bool named_before(const struct connecting *connecting, struct text name)
{
    for (size_t i = 0; i < connecting->count; i++)
        if (text_equal(connecting->subs[i].name, name))
            return true;
    return false;
}

struct connecting *connecting_create(uint32_t command, const struct server_topic *topics, size_t count,
                                     struct text data, struct text wishes)
{
    size_t bytes = sizeof(struct connecting) + count * sizeof(struct server_sub) + data.bytes;
    for (size_t i = 0; i < count; i++)
        bytes += topics[i].name.bytes + topics[i].info.bytes + topics[i].data.bytes;
    struct connecting *connecting = calloc(1, bytes);
    if (!connecting)
        return NULL;
    char *at = (char *)&connecting->subs[count];
    connecting->command = command;
    connecting->bytes = bytes;
    connecting->data = text_keep(&at, data);
    for (size_t i = 0; i < count; i++) {
        if (named_before(connecting, topics[i].name))
            continue;
        connecting->subs[connecting->count++] = (struct server_sub){
            .name = text_keep(&at, topics[i].name),
            .info = text_keep(&at, topics[i].info),
            .data = text_keep(&at, topics[i].data),
            .expire_at = topics[i].expire_at,
            .wish = wish_find(wishes, topics[i].name),
        };
    }
    return connecting;
}

void connecting_destroy(struct connecting *connecting)
{
    if (!connecting)
        return;
    for (size_t i = 0; i < connecting->count; i++) {
        struct server_sub *sub = &connecting->subs[i];
        for (size_t item = 0; item < sub->item_count; item++)
            history_item_unref(sub->items[item]);
        free((void *)sub->items);
    }
    explicit_bzero(connecting, connecting->bytes);
    free(connecting);
}

/* The reply
 * -------------------------------------------------------------------------------------------------------- */

static struct centrifuge_connect_sub result_of(const struct server_sub *sub, char epoch[EPOCH_TEXT_BYTES])
{
    struct centrifuge_connect_sub result = {.channel = text_slice(sub->name)};
    result.result.data = text_slice(sub->data);
    if (sub->position.epoch != 0) {
        epoch_format(sub->position.epoch, epoch);
        result.result.epoch = (struct json_slice){epoch, EPOCH_TEXT_BYTES - 1};
        result.result.offset = sub->position.offset;
        result.result.positioned = result.result.recoverable = true;
        result.result.was_recovering = sub->wish.recover;
        result.result.recovered = sub->recovered;
    }
    return result;
}

/* The subscriptions of the reply, and what they point to. */
struct reply_subs {
    struct centrifuge_connect_sub *subs;
    char (*epochs)[EPOCH_TEXT_BYTES];
    struct centrifuge_publication **publications;
};

static void reply_subs_free(struct reply_subs *reply, size_t count)
{
    for (size_t i = 0; reply->publications && i < count; i++)
        free(reply->publications[i]);
    free((void *)reply->publications);
    free(reply->epochs);
    free(reply->subs);
}

/* False without memory. */
static bool reply_subs_make(const struct connecting *connecting, struct reply_subs *reply)
{
    size_t count = connecting->count;
    *reply = (struct reply_subs){0};
    if (count == 0)
        return true;
    reply->subs = calloc(count, sizeof *reply->subs);
    reply->epochs = calloc(count, sizeof *reply->epochs);
    reply->publications = (struct centrifuge_publication **)calloc(count, sizeof *reply->publications);
    if (!reply->subs || !reply->epochs || !reply->publications)
        return false;
    for (size_t i = 0; i < count; i++) {
        const struct server_sub *sub = &connecting->subs[i];
        reply->subs[i] = result_of(sub, reply->epochs[i]);
        if (!reply->subs[i].result.recovered || sub->item_count == 0)
            continue;
        reply->publications[i] = publications_of(sub->items, sub->item_count);
        if (!reply->publications[i])
            return false;
        reply->subs[i].result.publications = reply->publications[i];
        reply->subs[i].result.publication_count = sub->item_count;
    }
    return true;
}

static void write_reply(struct talk *talk, const struct connecting *connecting, const struct reply_subs *subs)
{
    const struct session *session = talk_session(talk);
    uint64_t ping = talk->link->settings->idle.ping_interval;
    char id[UUID_TEXT_BYTES];
    uuid_format(session->client, id);
    static const char version[] = "pushgate " PUSHGATE_VERSION;
    struct centrifuge_connect_result result = {
        .client = {id, sizeof id - 1},
        .version = {version, sizeof version - 1},
        .data = text_slice(connecting->data),
        .subs = subs->subs,
        .sub_count = connecting->count,
        .ping = (uint32_t)((ping + 999) / 1000),
        .pong = ping > 0,
    };
    if (session->more && session->more->expire_at && !session->more->by_backend) {
        result.expires = true;
        result.ttl = talk_ttl(talk, session->more->expire_at);
    }
    centrifuge_reply_connect(&talk->out, connecting->command, &result);
}

bool connecting_reply(struct talk *talk, const struct connecting *connecting)
{
    struct reply_subs subs;
    bool made = reply_subs_make(connecting, &subs);
    if (made) {
        size_t mark = talk_try(talk);
        write_reply(talk, connecting, &subs);
        if (!talk_tried(talk, mark)) { /* more than the client can take at once: as if it were gone */
            for (size_t i = 0; i < connecting->count; i++) {
                struct centrifuge_subscribe_result *result = &subs.subs[i].result;
                result->recovered = result->recovered && result->publication_count == 0;
                result->publication_count = 0;
            }
            write_reply(talk, connecting, &subs);
        }
    }
    reply_subs_free(&subs, connecting->count);
    return made;
}
