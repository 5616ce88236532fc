/* What all engines share: history items, and how an epoch is written. */
#include "gateway/broker/engine.h"

#include "gateway/base/assert.h"

#include <stdlib.h>
#include <string.h>

void epoch_format(uint64_t epoch, char out[EPOCH_TEXT_BYTES])
{
    for (int i = 0; i < EPOCH_TEXT_BYTES - 1; i++)
        out[i] = "0123456789abcdef"[epoch >> (60 - 4 * i) & 15];
    out[EPOCH_TEXT_BYTES - 1] = '\0';
}

bool epoch_parse(const char *text, size_t bytes, uint64_t *epoch)
{
    if (bytes != EPOCH_TEXT_BYTES - 1)
        return false;
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++) {
        char c = text[i];
        if (c >= '0' && c <= '9')
            value = value << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            value = value << 4 | (uint64_t)(c - 'a' + 10);
        else
            return false;
    }
    *epoch = value;
    return value != 0;
}

/* Copies a part, which may be absent, and returns where the next one begins. */
static uint8_t *lay(uint8_t *at, const void *part, size_t bytes)
{
    if (bytes > 0)
        memcpy(at, part, bytes);
    return at + bytes;
}

struct history_item *history_item_create(const struct history_contents *contents, uint64_t offset)
{
    if (contents->payload_bytes > UINT32_MAX || contents->info_bytes > UINT32_MAX ||
        contents->tags_bytes > UINT32_MAX)
        return NULL;
    struct history_item *item =
        malloc(sizeof *item + contents->payload_bytes + contents->info_bytes + contents->tags_bytes);
    if (!item)
        return NULL;
    *item = (struct history_item){
        .payload_bytes = (uint32_t)contents->payload_bytes,
        .info_bytes = (uint32_t)contents->info_bytes,
        .tags_bytes = (uint32_t)contents->tags_bytes,
        .offset = offset,
        .published_ms = contents->published_ms,
        .text = contents->text,
        .json = contents->json,
    };
    atomic_init(&item->refs, 1);
    uint8_t *at = lay(item->data, contents->payload, contents->payload_bytes);
    at = lay(at, contents->info, contents->info_bytes);
    (void)lay(at, contents->tags, contents->tags_bytes);
    return item;
}

void history_item_unref(struct history_item *item)
{
    /* Release: this thread's reads come before the free. Acquire: whoever frees has seen all of them. */
    uint32_t before = atomic_fetch_sub_explicit(&item->refs, 1, memory_order_acq_rel);
    PG_ASSERT(before > 0);
    if (before == 1)
        free(item);
}
