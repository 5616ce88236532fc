/* A publication as a frame, encoded once for all its subscribers. */
#include "gateway/adapter/centrifuge_internal.h"
#include "proto/ws_frame.h"

static struct json_slice channel_of(const struct publication *publication)
{
    return (struct json_slice){publication->topic, publication->topic_bytes};
}

static struct centrifuge_publication message_of(const struct publication *publication)
{
    return (struct centrifuge_publication){
        .payload = publication->payload,
        .payload_bytes = publication->payload_bytes,
        .text = publication->text,
        .json = publication->json,
        .offset = publication->offset,
        .info = text_slice((struct text){publication->info, publication->info_bytes}),
        .tags = text_slice((struct text){publication->tags, publication->tags_bytes}),
    };
}

static void write_event(struct json_out *out, const struct publication *publication)
{
    struct json_slice info = {publication->payload, publication->payload_bytes};
    if (publication->kind == PUBLICATION_JOIN)
        centrifuge_push_join(out, channel_of(publication), info);
    else
        centrifuge_push_leave(out, channel_of(publication), info);
}

/* Bytes of the push, exactly. */
static size_t push_bytes(const struct publication *publication)
{
    if (publication->kind == PUBLICATION_MESSAGE) {
        struct centrifuge_publication message = message_of(publication);
        return centrifuge_publication_bound(channel_of(publication), &message);
    }
    struct json_out count = json_out_count();
    write_event(&count, publication);
    return count.len;
}

size_t centrifuge_frame_bound(const struct publication *publication)
{
    return WS_SERVER_HEADER_MAX + push_bytes(publication);
}

size_t centrifuge_frame_encode(const struct publication *publication, uint8_t *out)
{
    size_t bytes = push_bytes(publication);
    size_t header_bytes = ws_frame_header(out, WS_TEXT, true, bytes);
    if (publication->kind == PUBLICATION_MESSAGE) {
        struct centrifuge_publication message = message_of(publication);
        centrifuge_encode_publication_push(channel_of(publication), &message, out + header_bytes);
    } else {
        struct json_out push = json_out_buffer(out + header_bytes, bytes);
        write_event(&push, publication);
    }
    return header_bytes + bytes;
}
