/* Raw: topics stand in the URL, every publication is one frame with exactly the published bytes. */
#include "gateway/adapter/adapter.h"
#include "gateway/adapter/topic_name.h"
#include "gateway/broker/request.h"
#include "proto/ws_frame.h"

#include <string.h>

enum {
    TOPICS_MAX = UINT8_MAX, /* as many as adapter_admission counts, also when the settings have no limit */
    /* Close codes: RFC 6455 §7.4, and one of our own, after HTTP's 410. */
    CLOSE_CODE_INTERNAL = 1011,
    CLOSE_CODE_LATER = 1013,
    CLOSE_CODE_GONE = 4410,
};

static bool raw_enabled(const struct settings *settings)
{
    (void)settings;
    return true;
}

static bool has_topic(const struct adapter_admission *admission, const uint8_t *topic, size_t len)
{
    for (size_t at = 0; at < admission->topics_bytes; at += 1u + admission->topics[at]) {
        if (admission->topics[at] == len && memcmp(&admission->topics[at + 1], topic, len) == 0)
            return true;
    }
    return false;
}

static void refuse(struct adapter_admission *out, const char *error)
{
    out->status = 400;
    out->error = error;
    out->topic_count = 0;
    out->topics_bytes = 0;
}

/* A decimal number of at most 20 digits; false for anything else. */
static bool read_offset(const char *text, size_t len, uint64_t *offset)
{
    *offset = 0;
    if (len == 0 || len > 20)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9' || __builtin_mul_overflow(*offset, 10u, offset) ||
            __builtin_add_overflow(*offset, (uint64_t)(text[i] - '0'), offset))
            return false;
    }
    return true;
}

/* ?since=OFFSET[&epoch=EPOCH]: what was published behind that offset comes first. */
static void read_since(const struct settings *settings, const struct http_request *request,
                       struct adapter_admission *out)
{
    char text[32];
    size_t cursor = 0, len = 0;
    enum parse_result since = http_query_next(request->query, "since", &cursor, text, sizeof text, &len);
    if (since == PARSE_MORE)
        return;
    if (since == PARSE_BAD || !read_offset(text, len, &out->since_offset))
        return refuse(out, "since is no offset");
    cursor = 0;
    enum parse_result epoch = http_query_next(request->query, "epoch", &cursor, text, sizeof text, &len);
    if (epoch == PARSE_BAD || (epoch == PARSE_OK && !epoch_parse(text, len, &out->since_epoch)))
        return refuse(out, "epoch is not one of this gateway's");
    if (out->topic_count != 1)
        return refuse(out, "since goes with one topic: an offset is a topic's own");
    const struct topic_rule *rule = topic_rule_find(settings, (const char *)&out->topics[1], out->topics[0]);
    if (!rule->recover || rule->history_size == 0)
        return refuse(
            out, "this topic does not recover: it has no section [topic ...] with history_size and recover");
    out->since_set = true;
}

static void raw_accept(const struct settings *settings, const struct http_request *request,
                       struct adapter_admission *out)
{
    uint64_t limit = settings->limits.topics_per_connection;
    size_t cursor = 0;
    if (limit == 0 || limit > TOPICS_MAX)
        limit = TOPICS_MAX;
    for (;;) {
        /* Decoded in place: a topic is never longer than what names it in the query, so the room suffices for
         * what a head can carry. */
        size_t used = out->topics_bytes;
        size_t len = 0;
        if (sizeof(out->topics) - used < 1 + TOPIC_BYTES_MAX)
            return refuse(out, "topics are too long together");
        uint8_t *topic = &out->topics[used + 1];
        enum parse_result result =
            http_query_next(request->query, "topic", &cursor, (char *)topic, TOPIC_BYTES_MAX, &len);
        if (result == PARSE_MORE)
            break;
        if (result == PARSE_BAD)
            return refuse(out, "topic is longer than 255 bytes or has a broken percent escape");
        if (len == 0)
            return refuse(out, "topic is empty");
        if (!topic_name_valid(topic, len))
            return refuse(out, "topic is not UTF-8 text without control characters");
        if (has_topic(out, topic, len))
            continue;
        if (out->topic_count == limit)
            return refuse(out, "too many topics");
        out->topics[used] = (uint8_t)len;
        out->topics_bytes = (uint16_t)(used + 1 + len);
        out->topic_count++;
    }
    if (out->topic_count == 0)
        refuse(out, "topic is missing: /ws?topic=NAME");
    else
        read_since(settings, request, out);
}

/* The broker's word on a topic that has a limit or is to begin in the past. */
static void raw_answer(struct adapter_link *link, const struct broker_request *answer)
{
    if (answer->result == BROKER_FULL)
        link->ops->close(link, CLOSE_CODE_LATER, "the topic has its max_subscribers");
    else if (answer->result == BROKER_BUSY)
        link->ops->close(link, CLOSE_CODE_LATER, "many come back at a time: try again");
    else if (answer->result != BROKER_OK)
        link->ops->close(link, CLOSE_CODE_INTERNAL, "out of memory");
    else if (answer->since_set && !answer->continuous)
        link->ops->close(link, CLOSE_CODE_GONE, "what was published since is no longer kept: begin anew");
    for (size_t i = 0; i < answer->item_count && !link->gone; i++)
        link->ops->send(link, answer->items[i]->text, history_item_payload(answer->items[i]),
                        answer->items[i]->payload_bytes);
    if (answer->result == BROKER_OK && answer->since_set && !answer->recovered && !link->gone)
        link->ops->close(link, CLOSE_CODE_LATER, "there is more than is sent at once: come back with since");
}

/* Who has asked for a position counts on from it: without what was dropped the count would be wrong. */
static void raw_gap(struct adapter_link *link, const char *topic, size_t topic_bytes)
{
    (void)topic;
    (void)topic_bytes;
    link->ops->close(link, CLOSE_CODE_LATER, "too slow: come back with since");
}

static size_t raw_encoded_bound(const struct publication *publication)
{
    if (publication->kind != PUBLICATION_MESSAGE)
        return 0;
    return WS_SERVER_HEADER_MAX + publication->payload_bytes;
}

static size_t raw_encode(const struct publication *publication, uint8_t *out)
{
    /* The bound leaves room for the longest header, so the payload can follow whichever this one has. */
    size_t header_bytes =
        ws_frame_header(out, publication->text ? WS_TEXT : WS_BINARY, true, publication->payload_bytes);
    if (publication->payload_bytes > 0)
        memcpy(out + header_bytes, publication->payload, publication->payload_bytes);
    return header_bytes + publication->payload_bytes;
}

const struct adapter adapter_raw = {
    .name = "raw",
    .path = "/ws",
    .reads_messages = false,
    .enabled = raw_enabled,
    .accept = raw_accept,
    .answer = raw_answer,
    .gap = raw_gap,
    .encoded_bound = raw_encoded_bound,
    .encode = raw_encode,
};
