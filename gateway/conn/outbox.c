/* A ring of pending frames. */
#include "gateway/conn/outbox.h"

#include "gateway/base/assert.h"

#include <stdlib.h>
#include <string.h>

static struct outbox_item *item_at(const struct outbox *outbox, uint32_t i)
{
    return &outbox->items[(outbox->head + i) & (outbox->cap - 1)];
}

/* The `data` of an own item moves as it is sent, its end stays: its full size stands behind the end, so that
 * the beginning, which must be freed, is found again. */
enum { COPY_TRAILER = sizeof(uint32_t) };

static void item_release(struct outbox *outbox, struct outbox_item *item)
{
    if (item->message) {
        message_unref(item->message);
        return;
    }
    uint32_t full;
    memcpy(&full, item->data + item->bytes, sizeof full);
    outbox->copied -= full + COPY_TRAILER;
    free((void *)(uintptr_t)(item->data + item->bytes - full));
}

static bool grow(struct outbox *outbox)
{
    if (outbox->count < outbox->cap)
        return true;
    if (outbox->cap > UINT32_MAX / 4 / sizeof(struct outbox_item))
        return false;
    uint32_t cap = outbox->cap ? outbox->cap * 2 : 4;
    struct outbox_item *items = malloc(cap * sizeof *items);
    if (!items)
        return false;
    for (uint32_t i = 0; i < outbox->count; i++)
        items[i] = *item_at(outbox, i);
    free(outbox->items);
    outbox->items = items;
    outbox->head = 0;
    outbox->cap = cap;
    return true;
}

/* What dropping an item frees of outbox_cost(). */
static uint64_t item_cost(const struct outbox_item *item)
{
    return (uint64_t)item->bytes + OUTBOX_ITEM_COST;
}

static void push(struct outbox *outbox, struct outbox_item item)
{
    outbox->count++;
    *item_at(outbox, outbox->count - 1) = item;
    outbox->bytes += item.bytes;
    if (item.hold == OUTBOX_MAY_GO)
        outbox->may_go += item_cost(&item);
}

/* It has begun or it goes: it is none of those that may go any more. */
static void settle(struct outbox *outbox, struct outbox_item *item)
{
    if (item->hold == OUTBOX_MAY_GO)
        outbox->may_go -= item_cost(item);
    item->hold = OUTBOX_BEGUN;
}

bool outbox_push_message(struct outbox *outbox, struct message *message, const uint8_t *data, size_t bytes,
                         enum outbox_hold hold)
{
    PG_ASSERT(bytes > 0 && bytes <= UINT32_MAX);
    if (!grow(outbox))
        return false;
    message_ref(message);
    push(outbox, (struct outbox_item){.message = message,
                                      .data = data,
                                      .bytes = (uint32_t)bytes,
                                      .topic = (uint16_t)message->topic_hash,
                                      .hold = (uint8_t)hold});
    return true;
}

bool outbox_push_copy(struct outbox *outbox, const void *data, size_t bytes, bool begun)
{
    PG_ASSERT(bytes > 0 && bytes < INT32_MAX);
    if (!grow(outbox))
        return false;
    uint8_t *copy = malloc(bytes + COPY_TRAILER);
    if (!copy)
        return false;
    memcpy(copy, data, bytes);
    uint32_t full = (uint32_t)bytes;
    memcpy(copy + bytes, &full, sizeof full);
    outbox->copied += bytes + COPY_TRAILER;
    push(outbox,
         (struct outbox_item){.data = copy, .bytes = full, .hold = begun ? OUTBOX_BEGUN : OUTBOX_KEEP});
    return true;
}

bool outbox_push_wire(struct outbox *outbox, const uint8_t *sealed, size_t bytes)
{
    size_t kept = outbox->wire_bytes - outbox->wire_sent;
    uint8_t *wire = malloc(kept + bytes);
    if (!wire)
        return false;
    if (kept)
        memcpy(wire, outbox->wire + outbox->wire_sent, kept);
    memcpy(wire + kept, sealed, bytes);
    free(outbox->wire);
    outbox->copied += kept + bytes - outbox->wire_bytes;
    outbox->wire = wire;
    outbox->wire_sent = 0;
    outbox->wire_bytes = (uint32_t)(kept + bytes);
    outbox->bytes += bytes;
    return true;
}

void outbox_wire_sent(struct outbox *outbox, size_t bytes)
{
    PG_ASSERT(bytes <= outbox->wire_bytes - outbox->wire_sent);
    outbox->wire_sent += (uint32_t)bytes;
    outbox->bytes -= bytes;
    if (outbox->wire_sent == outbox->wire_bytes) {
        free(outbox->wire);
        outbox->copied -= outbox->wire_bytes;
        outbox->wire = NULL;
        outbox->wire_sent = outbox->wire_bytes = 0;
    }
}

size_t outbox_gather(const struct outbox *outbox, struct iovec *vectors, size_t max, size_t max_bytes)
{
    size_t n = 0;
    for (uint32_t i = 0; i < outbox->count && n < max && max_bytes > 0; i++) {
        const struct outbox_item *item = item_at(outbox, i);
        size_t take = item->bytes < max_bytes ? item->bytes : max_bytes;
        vectors[n++] = (struct iovec){.iov_base = (void *)(uintptr_t)item->data, .iov_len = take};
        max_bytes -= take;
    }
    return n;
}

void outbox_consume(struct outbox *outbox, size_t bytes)
{
    outbox->bytes -= bytes;
    while (bytes > 0) {
        PG_ASSERT(outbox->count > 0);
        struct outbox_item *item = item_at(outbox, 0);
        settle(outbox, item);
        if (bytes < item->bytes) {
            item->data += bytes;
            item->bytes -= (uint32_t)bytes;
            return;
        }
        bytes -= item->bytes;
        item_release(outbox, item);
        outbox->head = (outbox->head + 1) & (outbox->cap - 1);
        outbox->count--;
        if (outbox->firm > 0)
            outbox->firm--;
    }
}

uint32_t outbox_drop_unsent(struct outbox *outbox)
{
    uint32_t dropped = 0;
    uint32_t keep = outbox->count > 0 && item_at(outbox, 0)->hold == OUTBOX_BEGUN ? 1 : 0;
    while (outbox->count > keep) {
        struct outbox_item *item = item_at(outbox, outbox->count - 1);
        if (item->message)
            dropped++;
        outbox->bytes -= item->bytes;
        item_release(outbox, item);
        outbox->count--;
    }
    outbox->may_go = 0;
    outbox->firm = outbox->count;
    return dropped;
}

/* Dropping in the middle
 * ----------------------------------------------------------------------------------------- */

static bool same_topic(const struct message *a, const struct message *b)
{
    return a->topic_hash == b->topic_hash && a->topic_bytes == b->topic_bytes &&
           memcmp(message_topic(a), message_topic(b), a->topic_bytes) == 0;
}

static bool is_like(const struct outbox_item *item, const struct message *like)
{
    return item->message && item->topic == (uint16_t)like->topic_hash && same_topic(item->message, like);
}

static void item_drop(struct outbox *outbox, struct outbox_item *item)
{
    settle(outbox, item);
    outbox->bytes -= item->bytes;
    item_release(outbox, item);
}

/* `gap` places have become free behind the first `kept` items. The shorter side closes up: a full outbox is
 * not moved for every message that takes another one's place. */
static void close_gap(struct outbox *outbox, uint32_t kept, uint32_t gap)
{
    if (gap == 0)
        return;
    if (kept <= outbox->count - kept - gap) {
        for (uint32_t i = kept; i-- > 0;)
            *item_at(outbox, i + gap) = *item_at(outbox, i);
        outbox->head = (outbox->head + gap) & (outbox->cap - 1);
    } else {
        for (uint32_t i = kept + gap; i < outbox->count; i++)
            *item_at(outbox, i - gap) = *item_at(outbox, i);
    }
    outbox->count -= gap;
}

uint32_t outbox_drop_oldest(struct outbox *outbox, uint64_t bytes, const struct message *like)
{
    uint64_t gone = 0, unseen = outbox->may_go; /* behind the last one that may go is nothing to look for */
    uint32_t kept = outbox->firm, i = kept, first = UINT32_MAX;
    for (; i < outbox->count && gone < bytes && unseen > 0; i++) {
        struct outbox_item *item = item_at(outbox, i);
        if (item->hold == OUTBOX_MAY_GO) {
            unseen -= item_cost(item);
            if (!like || is_like(item, like)) {
                gone += item_cost(item);
                item_drop(outbox, item);
                continue;
            }
            if (first == UINT32_MAX)
                first = kept;
        }
        if (kept != i)
            *item_at(outbox, kept) = *item;
        kept++;
    }
    outbox->firm = first == UINT32_MAX ? kept : first;
    close_gap(outbox, kept, i - kept);
    return i - kept;
}

uint32_t outbox_drop_topic(struct outbox *outbox, const struct message *like)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < outbox->count; i++) {
        struct outbox_item *item = item_at(outbox, i);
        if (item->hold != OUTBOX_BEGUN && is_like(item, like)) {
            item_drop(outbox, item);
            continue;
        }
        if (kept != i)
            *item_at(outbox, kept) = *item;
        kept++;
    }
    uint32_t dropped = outbox->count - kept;
    outbox->count = kept;
    outbox->firm = 0;
    return dropped;
}

void outbox_fini(struct outbox *outbox)
{
    for (uint32_t i = 0; i < outbox->count; i++) {
        struct outbox_item *item = item_at(outbox, i);
        item_release(outbox, item);
    }
    free(outbox->items);
    free(outbox->wire);
    *outbox = (struct outbox){0};
}
