/* Sets the caller's struct by the caller's table: values, sections that repeat, arguments. */
#include "gateway/base/config.h"

#include "gateway/base/assert.h"
#include "gateway/base/config_internal.h"
#include "gateway/base/config_value.h"
#include "gateway/base/suggest.h"

#include <errno.h>
#include <stdlib.h>

enum { NAME_BYTES_MAX = 64 }; /* of an argument */

static void free_string(char *string)
{
    if (!string)
        return;
    explicit_bzero(string, strlen(string));
    free(string);
}

/* *owned is the string that the field had; NULL: none yet. */
static bool set_string(char **field, char **owned, const char *text, char *error, size_t error_size)
{
    for (const char *c = text; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            snprintf(error, error_size, "the value contains a control character");
            return false;
        }
    }
    char *copy = strdup(text);
    if (!copy) {
        snprintf(error, error_size, "out of memory");
        return false;
    }
    free_string(*owned);
    *owned = copy;
    *field = copy;
    return true;
}

bool config_set_field(const struct config_key *key, char *base, char **owned, const char *text, char *error,
                      size_t error_size)
{
    void *field = base + key->offset;
    switch (key->type) {
    case CONFIG_STRING:
    case CONFIG_SECRET:
        return set_string(field, owned, text, error, error_size);
    case CONFIG_BOOL:
        return config_value_bool(text, field, error, error_size);
    case CONFIG_UINT:
    case CONFIG_SIZE:
    case CONFIG_DURATION:
        return config_value_number(key, text, field, error, error_size);
    case CONFIG_ENUM:
        return config_value_choice(key, text, field, error, error_size);
    }
    return false;
}

bool config_set(struct config *config, size_t index, const char *text, uint32_t from, char *error,
                size_t error_size)
{
    if (!config_set_field(&config->keys[index], config->settings, &config->strings[index], text, error,
                          error_size))
        return false;
    config->from[index] = from;
    return true;
}

void config_free_text(char *text, size_t size)
{
    explicit_bzero(text, size);
    free(text);
}

char *config_read_whole(const char *path, size_t *len, char *error, size_t error_size)
{
    FILE *file = fopen(path, "rbe");
    if (!file) {
        snprintf(error, error_size, "%s: cannot open it: %s", path, strerror(errno));
        return NULL;
    }
    setvbuf(file, NULL, _IONBF, 0); /* no second copy of a password in stdio's buffer */
    char *text = malloc(CONFIG_FILE_BYTES_MAX + 1);
    if (!text) {
        snprintf(error, error_size, "%s: out of memory", path);
        fclose(file);
        return NULL;
    }
    *len = fread(text, 1, CONFIG_FILE_BYTES_MAX + 1, file);
    if (ferror(file))
        snprintf(error, error_size, "%s: cannot read it: %s", path, strerror(errno));
    else if (*len > CONFIG_FILE_BYTES_MAX)
        snprintf(error, error_size, "%s: the file is longer than 1 MiB", path);
    bool good = !ferror(file) && *len <= CONFIG_FILE_BYTES_MAX;
    fclose(file);
    if (!good) {
        config_free_text(text, *len);
        return NULL;
    }
    return text;
}

/* The file has one line: the value. False with the end of a sentence. */
static bool set_value_of_file(struct config *config, size_t index, const char *path, uint32_t from,
                              char *error, size_t error_size)
{
    size_t len, read;
    char *text = config_read_whole(path, &read, error, error_size);
    if (!text)
        return false;
    for (len = read; len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r');)
        len--;
    text[len] = '\0';
    bool good = false;
    if (len == 0)
        snprintf(error, error_size, "%s: the file is empty", path);
    else if (strpbrk(text, "\r\n") || strlen(text) != len)
        snprintf(error, error_size, "%s: the file must have one line of text", path);
    else
        good = config_set(config, index, text, from, error, error_size);
    config_free_text(text, read);
    return good;
}

/* What follows the section, or the whole name without one. */
static const char *key_part(const char *name)
{
    const char *dot = strchr(name, '.');
    return dot ? dot + 1 : name;
}

/* The known name that `name` was probably meant to be, or NULL. */
static const char *nearest_key(const struct config_key *keys, size_t key_count, const char *name)
{
    struct suggestion suggestion;
    suggest_begin(&suggestion, name, strlen(name));
    for (size_t i = 0; i < key_count; i++) {
        const char *known = keys[i].name;
        /* The right key under the wrong section is nearer than its letters say. */
        bool right_key = strcmp(key_part(name), key_part(known)) == 0;
        suggest_offer_at(&suggestion, known, strlen(known), right_key ? 2 : SIZE_MAX);
    }
    return suggestion.nearest;
}

/* "unknown key; [log] has level, format" for a section that there is; else that there is none. */
static void list_section(const struct config_key *keys, size_t key_count, const char *name, bool named,
                         char *error, size_t error_size)
{
    int bytes = (int)strcspn(name, ".");
    size_t used =
        (size_t)snprintf(error, error_size, "unknown key; [%.*s%s] has", bytes, name, named ? " …" : "");
    const char *before = " ";
    for (size_t i = 0; i < key_count && used < error_size; i++) {
        if (config_section_bytes(&keys[i]) != (size_t)bytes || memcmp(keys[i].name, name, (size_t)bytes) != 0)
            continue;
        used += (size_t)snprintf(error + used, error_size - used, "%s%s", before, key_part(keys[i].name));
        before = ", ";
    }
    if (*before == ' ')
        snprintf(error, error_size, "unknown key; --help lists all keys");
}

size_t config_find_key(const struct config_key *keys, size_t key_count, const char *name, size_t shown,
                       char *error, size_t error_size)
{
    for (size_t i = 0; i < key_count; i++)
        if (strcmp(keys[i].name, name) == 0)
            return i;
    const char *nearest = nearest_key(keys, key_count, name);
    if (nearest)
        snprintf(error, error_size, "unknown key; did you mean %s?", nearest + shown);
    else
        list_section(keys, key_count, name, shown > 0, error, error_size);
    return key_count;
}

size_t config_find_setting(const struct config *config, const char *name, bool *in_file, char *error,
                           size_t error_size)
{
    static const char suffix[] = "_file";
    size_t len = strlen(name), bytes = len < sizeof suffix ? 0 : len - (sizeof suffix - 1);
    *in_file = false;
    for (size_t i = 0; bytes > 0 && strcmp(name + bytes, suffix) == 0 && i < config->key_count; i++) {
        const struct config_key *key = &config->keys[i];
        if (key->type != CONFIG_SECRET || strlen(key->name) != bytes || memcmp(key->name, name, bytes) != 0)
            continue;
        *in_file = true;
        return i;
    }
    return config_find_key(config->keys, config->key_count, name, 0, error, error_size);
}

bool config_take(struct config *config, size_t index, bool in_file, const char *text, uint32_t from,
                 char *error, size_t error_size)
{
    return in_file ? set_value_of_file(config, index, text, from, error, error_size)
                   : config_set(config, index, text, from, error, error_size);
}

struct repeated *config_find_repeated(const struct config *config, const char *name, size_t len)
{
    for (size_t i = 0; i < config->repeated_count; i++) {
        struct repeated *repeated = &config->repeated[i];
        if (strlen(repeated->section->name) == len && memcmp(repeated->section->name, name, len) == 0)
            return repeated;
    }
    return NULL;
}

static bool is_string(enum config_type type)
{
    return type == CONFIG_STRING || type == CONFIG_SECRET;
}

static void free_item(struct repeated *repeated, size_t index)
{
    const struct config_section *section = repeated->section;
    char *item = repeated->items + index * section->item_bytes;
    for (size_t i = 0; i < section->key_count; i++)
        if (is_string(section->keys[i].type))
            free_string(*(char **)(void *)(item + section->keys[i].offset));
    free(*config_item_name(repeated, index));
    memset(item, 0, section->item_bytes);
}

/* Makes room for one more item and fills it with its defaults. False with a sentence's end. */
static bool add_item(struct config *config, struct repeated *repeated, const char *name, char *error,
                     size_t error_size)
{
    const struct config_section *section = repeated->section;
    size_t index = repeated->count;
    if (index >= section->max) {
        snprintf(error, error_size, "there may be %zu such sections", section->max);
        return false;
    }
    snprintf(error, error_size, "out of memory");
    char *items = realloc(repeated->items, (index + 1) * section->item_bytes);
    if (!items)
        return false;
    repeated->items = items;
    *(void **)(void *)(config->settings + section->items_offset) = items;
    uint32_t *lines = realloc(repeated->lines, (index + 1) * section->key_count * sizeof *lines);
    if (!lines)
        return false;
    repeated->lines = lines;
    memset(lines + index * section->key_count, 0, section->key_count * sizeof *lines);
    char *item = items + index * section->item_bytes;
    memset(item, 0, section->item_bytes);
    *config_item_name(repeated, index) = strdup(name);
    bool good = *config_item_name(repeated, index) != NULL;
    for (size_t i = 0; good && i < section->key_count; i++) {
        const struct config_key *key = &section->keys[i];
        good = config_set_field(key, item, (char **)(void *)(item + key->offset), key->default_value, error,
                                error_size);
    }
    if (!good) {
        free_item(repeated, index);
        return false;
    }
    repeated->count++;
    *(size_t *)(void *)(config->settings + section->count_offset) = repeated->count;
    return true;
}

size_t config_find_item(struct config *config, struct repeated *repeated, const char *name, char *error,
                        size_t error_size)
{
    for (size_t i = 0; i < repeated->count; i++)
        if (strcmp(*config_item_name(repeated, i), name) == 0)
            return i;
    return add_item(config, repeated, name, error, error_size) ? repeated->count - 1 : SIZE_MAX;
}

/* False without memory. */
static bool set_defaults(struct config *config)
{
    char error[256];
    for (size_t i = 0; i < config->key_count; i++) {
        if (config_set(config, i, config->keys[i].default_value, 0, error, sizeof error))
            continue;
        if (!is_string(config->keys[i].type))
            pg_assert_failed(config->keys[i].name, __FILE__, __LINE__);
        return false;
    }
    return true;
}

struct config *config_create(const struct config_key *keys, size_t key_count, void *settings)
{
    struct config *config = calloc(1, sizeof *config);
    if (!config)
        return NULL;
    config->keys = keys;
    config->key_count = key_count;
    config->settings = settings;
    config->strings = calloc(key_count, sizeof *config->strings);
    config->lines = calloc(key_count, sizeof *config->lines);
    config->from = calloc(key_count, sizeof *config->from);
    if (!config->strings || !config->lines || !config->from || !set_defaults(config)) {
        config_destroy(config);
        return NULL;
    }
    return config;
}

bool config_add_section(struct config *config, const struct config_section *section)
{
    struct repeated *grown =
        realloc(config->repeated, (config->repeated_count + 1) * sizeof *config->repeated);
    if (!grown)
        return false;
    config->repeated = grown;
    config->repeated[config->repeated_count++] = (struct repeated){.section = section};
    return true;
}

void config_destroy(struct config *config)
{
    if (!config)
        return;
    for (size_t i = 0; i < config->repeated_count; i++) {
        struct repeated *repeated = &config->repeated[i];
        for (size_t j = 0; j < repeated->count; j++)
            free_item(repeated, j);
        free(repeated->items);
        free(repeated->lines);
        *(void **)(void *)(config->settings + repeated->section->items_offset) = NULL;
        *(size_t *)(void *)(config->settings + repeated->section->count_offset) = 0;
    }
    free(config->repeated);
    for (size_t i = 0; config->strings && i < config->key_count; i++) {
        if (!config->strings[i])
            continue;
        free_string(config->strings[i]);
        *(char **)(void *)(config->settings + config->keys[i].offset) = NULL;
    }
    free(config->strings);
    free(config->lines);
    free(config->from);
    free(config->file);
    free(config);
}

bool config_read_argument(struct config *config, const char *argument, char *error, size_t error_size)
{
    char name[NAME_BYTES_MAX + 1], what[512];
    const char *equals = strchr(argument, '=');
    size_t name_len = equals ? (size_t)(equals - argument) : strlen(argument);
    if (name_len < 3 || strncmp(argument, "--", 2) != 0 || name_len - 2 >= sizeof name) {
        snprintf(error, error_size, "%.*s: expected --section.key=value",
                 (int)(name_len < 100 ? name_len : 100), argument);
        return false;
    }
    memcpy(name, argument + 2, name_len - 2);
    name[name_len - 2] = '\0';
    bool in_file;
    size_t index = config_find_setting(config, name, &in_file, what, sizeof what);
    if (index < config->key_count && !equals) {
        snprintf(error, error_size, "--%s needs a value: --%s=%s", name, name,
                 in_file ? "FILE" : config_value_placeholder(&config->keys[index]));
        return false;
    }
    if (index >= config->key_count ||
        !config_take(config, index, in_file, equals + 1, CONFIG_FROM_ARGUMENT, what, sizeof what)) {
        snprintf(error, error_size, "--%s: %s", name, what);
        return false;
    }
    return true;
}
