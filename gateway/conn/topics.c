/* Open-addressed topic table with dense subscriber arrays. */
#include "gateway/conn/topics.h"

#include "gateway/base/assert.h"

#include <stdlib.h>
#include <string.h>

enum { CELLS_START = 64, FEW = 2 };

static struct topic_cell *cells_new(uint32_t cells)
{
    struct topic_cell *fresh = calloc(cells, sizeof *fresh);
    for (uint32_t i = 0; fresh && i < cells; i++)
        fresh[i].topic = TOPIC_NONE;
    return fresh;
}

bool topics_init(struct topics *topics, uint32_t max_topics)
{
    *topics = (struct topics){0};
    topics->cells = cells_new(CELLS_START);
    if (!topics->cells)
        return false;
    topics->cell_mask = CELLS_START - 1;
    if (!slab_init(&topics->slab, sizeof(struct topic), max_topics)) {
        free(topics->cells);
        return false;
    }
    return true;
}

static void topic_release(struct topic *topic)
{
    if (topic->cap > FEW)
        free(topic->many);
    free(topic->name);
}

void topics_fini(struct topics *topics)
{
    if (!topics->cells)
        return;
    for (uint32_t i = 0; i <= topics->cell_mask; i++)
        if (topics->cells[i].topic != TOPIC_NONE)
            topic_release(topics_at(topics, topics->cells[i].topic));
    free(topics->cells);
    slab_fini(&topics->slab);
    *topics = (struct topics){0};
}

uint32_t topics_find(const struct topics *topics, const char *name, size_t bytes, uint32_t hash)
{
    for (uint32_t i = hash & topics->cell_mask;; i = (i + 1) & topics->cell_mask) {
        const struct topic_cell *cell = &topics->cells[i];
        if (cell->topic == TOPIC_NONE)
            return TOPIC_NONE;
        if (cell->hash != hash)
            continue;
        const struct topic *topic = topics_at(topics, cell->topic);
        if (topic->name_bytes == bytes && memcmp(topic->name, name, bytes) == 0)
            return cell->topic;
    }
}

static void cell_put(struct topics *topics, uint32_t hash, uint32_t index)
{
    uint32_t i = hash & topics->cell_mask;
    while (topics->cells[i].topic != TOPIC_NONE)
        i = (i + 1) & topics->cell_mask;
    topics->cells[i] = (struct topic_cell){.hash = hash, .topic = index};
}

static bool cells_resize(struct topics *topics, uint32_t cells)
{
    struct topic_cell *old = topics->cells;
    uint32_t old_mask = topics->cell_mask;
    struct topic_cell *fresh = cells_new(cells);
    if (!fresh)
        return false;
    topics->cells = fresh;
    topics->cell_mask = cells - 1;
    for (uint32_t i = 0; i <= old_mask; i++)
        if (old[i].topic != TOPIC_NONE)
            cell_put(topics, old[i].hash, old[i].topic);
    free(old);
    return true;
}

uint32_t topics_intern(struct topics *topics, const char *name, size_t bytes, uint32_t hash)
{
    uint32_t index = topics_find(topics, name, bytes, hash);
    if (index != TOPIC_NONE)
        return index;
    if ((topics->used + 1) * 4ull > (topics->cell_mask + 1) * 3ull &&
        !cells_resize(topics, (topics->cell_mask + 1) * 2))
        return TOPIC_NONE;
    char *copy = malloc(bytes);
    if (!copy)
        return TOPIC_NONE;
    index = slab_alloc(&topics->slab);
    if (index == SLAB_NONE) {
        free(copy);
        return TOPIC_NONE;
    }
    memcpy(copy, name, bytes);
    struct topic *topic = topics_at(topics, index);
    topic->hash = hash;
    topic->cap = FEW;
    topic->name = copy;
    topic->name_bytes = (uint8_t)bytes;
    list_init(&topic->run);
    cell_put(topics, hash, index);
    topics->used++;
    return index;
}

static void mark_dirty(struct topics *topics, uint32_t index)
{
    struct topic *topic = topics_at(topics, index);
    if (topic->dirty)
        return;
    topic->dirty = true;
    topic->dirty_next = topics->dirty_head;
    topics->dirty_head = index + 1;
}

static bool subscribers_grow(struct topic *topic)
{
    if (topic->count < topic->cap)
        return true;
    uint32_t cap = topic->cap < 16 ? 16 : topic->cap + topic->cap / 2;
    uint32_t *many = topic->cap > FEW ? realloc(topic->many, cap * sizeof *many) : malloc(cap * sizeof *many);
    if (!many)
        return false;
    if (topic->cap <= FEW)
        memcpy(many, topic->few, topic->count * sizeof *many);
    topic->many = many;
    topic->cap = cap;
    return true;
}

bool topics_subscribe(struct topics *topics, uint32_t index, uint32_t conn, enum adapter_id adapter,
                      uint32_t *position)
{
    struct topic *topic = topics_at(topics, index);
    if (!subscribers_grow(topic))
        return false;
    *position = topic->count;
    topic_subscribers(topic)[topic->count++] = conn;
    topic->adapter_subscribers_mask |= (uint16_t)(1u << adapter);
    mark_dirty(topics, index);
    return true;
}

void topics_expect(struct topics *topics, uint32_t index, enum adapter_id adapter)
{
    struct topic *topic = topics_at(topics, index);
    topic->joining++;
    topic->adapter_subscribers_mask |= (uint16_t)(1u << adapter);
    mark_dirty(topics, index);
}

void topics_expected(struct topics *topics, uint32_t index)
{
    struct topic *topic = topics_at(topics, index);
    PG_ASSERT(topic->joining > 0);
    topic->joining--;
    mark_dirty(topics, index);
}

static void subscribers_shrink(struct topic *topic)
{
    if (topic->cap <= 64 || topic->count > topic->cap / 4)
        return;
    uint32_t cap = topic->cap / 2;
    uint32_t *many = realloc(topic->many, cap * sizeof *many);
    if (!many)
        return;
    topic->many = many;
    topic->cap = cap;
}

void topics_unsubscribe(struct topics *topics, uint32_t index, uint32_t position, topics_moved_fn *moved,
                        void *context)
{
    struct topic *topic = topics_at(topics, index);
    uint32_t *subscribers = topic_subscribers(topic);
    PG_ASSERT(position < topic->count);
    uint32_t hole = position;
    if (topic->batch && hole < topic->cursor) {
        /* Fill the hole from the part that is still to be served, then that hole from the served part. */
        uint32_t last_unserved = --topic->cursor;
        if (hole != last_unserved) {
            subscribers[hole] = subscribers[last_unserved];
            moved(context, subscribers[hole], index, hole);
        }
        hole = last_unserved;
    }
    uint32_t last = --topic->count;
    if (hole != last) {
        subscribers[hole] = subscribers[last];
        moved(context, subscribers[hole], index, hole);
    }
    subscribers_shrink(topic);
    mark_dirty(topics, index);
}

/* Backward-shift deletion keeps probe runs whole without tombstones. */
static void cell_remove(struct topics *topics, uint32_t hash, uint32_t index)
{
    uint32_t mask = topics->cell_mask;
    uint32_t i = hash & mask;
    while (topics->cells[i].topic != index)
        i = (i + 1) & mask;
    for (uint32_t j = (i + 1) & mask; topics->cells[j].topic != TOPIC_NONE; j = (j + 1) & mask) {
        uint32_t home = topics->cells[j].hash & mask;
        if (((j - home) & mask) >= ((j - i) & mask)) {
            topics->cells[i] = topics->cells[j];
            i = j;
        }
    }
    topics->cells[i].topic = TOPIC_NONE;
}

void topics_collect(struct topics *topics, uint32_t index)
{
    struct topic *topic = topics_at(topics, index);
    if (topic_interest(topic) > 0 || topic->dirty || topic->queued || topic->batch || topic->pending_head)
        return;
    cell_remove(topics, topic->hash, index);
    topic_release(topic);
    slab_free(&topics->slab, index);
    topics->used--;
    if (topics->cell_mask + 1 > CELLS_START && topics->used * 8ull < topics->cell_mask + 1)
        (void)cells_resize(topics, (topics->cell_mask + 1) / 2); /* staying large is harmless */
}

uint32_t topics_next_dirty(struct topics *topics)
{
    if (!topics->dirty_head)
        return TOPIC_NONE;
    uint32_t index = topics->dirty_head - 1;
    struct topic *topic = topics_at(topics, index);
    topics->dirty_head = topic->dirty_next;
    topic->dirty_next = 0;
    topic->dirty = false;
    return index;
}
