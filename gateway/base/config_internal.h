/* What the parts of the configuration's reader share: config.c (values, items, arguments), config_file.c (INI
 * files), config_explain.c (where settings come from).
 *
 * Thread: main. Owner: struct config owns all.
 */
#pragma once

#include "gateway/base/config.h"

#include <string.h>

#define CONFIG_FROM_ARGUMENT UINT32_MAX /* in place of a line */

enum { CONFIG_FILE_BYTES_MAX = 1 << 20 };

/* One section that repeats, and what was read of it. */
struct repeated {
    const struct config_section *section;
    char *items;     /* what the settings point to */
    uint32_t *lines; /* by item and key: where the text being read set it, 0: not yet */
    size_t count;
};

struct config {
    const struct config_key *keys;
    size_t key_count;
    char *settings;
    struct repeated *repeated;
    size_t repeated_count;
    char **strings;  /* by key; what the settings' string fields point to */
    uint32_t *lines; /* by key; where the text being read set it, 0: not yet */
    uint32_t *from;  /* by key; what set it last: a line of `file`, CONFIG_FROM_ARGUMENT, 0: the default */
    char *file;      /* the name of the text that was read last; NULL: none */
};

static inline size_t config_section_bytes(const struct config_key *key)
{
    return strcspn(key->name, ".");
}

static inline char **config_item_name(const struct repeated *repeated, size_t index)
{
    return (char **)(void *)(repeated->items + index * repeated->section->item_bytes);
}

/* NULL with a sentence; else *len bytes in a buffer of CONFIG_FILE_BYTES_MAX + 1. */
char *config_read_whole(const char *path, size_t *len, char *error, size_t error_size)
    __attribute__((warn_unused_result));
void config_free_text(char *text, size_t size); /* wiped, because it may hold a password */

/* All return false with the end of a sentence. */
bool config_set(struct config *config, size_t index, const char *text, uint32_t from, char *error,
                size_t error_size) __attribute__((warn_unused_result));
bool config_set_field(const struct config_key *key, char *base, char **owned, const char *text, char *error,
                      size_t error_size) __attribute__((warn_unused_result));
/* The key's index; key_count with a sentence's end when there is none. `shown` is how many bytes of known
 * names are not written in the place that the message speaks of: those of "topic." in a section. */
size_t config_find_key(const struct config_key *keys, size_t key_count, const char *name, size_t shown,
                       char *error, size_t error_size) __attribute__((warn_unused_result));
/* A key as it stands in files and arguments: a secret's with _file behind it names a file that has the
 * secret. The key's index; key_count with a sentence's end when there is none. */
size_t config_find_setting(const struct config *config, const char *name, bool *in_file, char *error,
                           size_t error_size) __attribute__((warn_unused_result));
/* Sets it to the text, or to what the file of that name has. */
bool config_take(struct config *config, size_t index, bool in_file, const char *text, uint32_t from,
                 char *error, size_t error_size) __attribute__((warn_unused_result));
struct repeated *config_find_repeated(const struct config *config, const char *name, size_t len);
/* The item called `name`, made when there is none. Its index, or SIZE_MAX with a sentence's end. */
size_t config_find_item(struct config *config, struct repeated *repeated, const char *name, char *error,
                        size_t error_size) __attribute__((warn_unused_result));
