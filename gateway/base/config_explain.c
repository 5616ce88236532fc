/* Says of a complaint's settings where each was set, and as what. */
#include "gateway/base/config_internal.h"
#include "gateway/base/config_value.h"

#include <ctype.h>
#include <stdlib.h>

static bool name_byte(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '.';
}

/* Does `name` stand in the text at `at`, and not as a part of a longer one? A full stop may follow. */
static bool stands_at(const char *text, const char *at, const char *name)
{
    size_t len = strlen(name);
    if (strncmp(at, name, len) != 0 || (at > text && name_byte(at[-1])))
        return false;
    return !name_byte(at[len]) || (at[len] == '.' && !name_byte(at[len + 1]));
}

/* The first place of the name in the text, or NULL. */
static const char *find_name(const char *text, const char *name)
{
    for (const char *at = strstr(text, name); at; at = strstr(at + 1, name))
        if (stands_at(text, at, name))
            return at;
    return NULL;
}

static void append(char *text, size_t text_size, const char *file, uint32_t from, const char *name,
                   const char *value)
{
    size_t used = strlen(text);
    if (from == 0)
        snprintf(text + used, text_size - used, "\n  by default: %s = %s", name, value);
    else if (from == CONFIG_FROM_ARGUMENT)
        snprintf(text + used, text_size - used, "\n  command line: --%s=%s", name, value);
    else
        snprintf(text + used, text_size - used, "\n  %s:%u: %s = %s", file, from, name, value);
}

/* Keys of [topic chat:*], when the text names that section. */
static void explain_items(const struct config *config, const struct repeated *repeated, const char *sentence,
                          char *text, size_t text_size)
{
    const struct config_section *section = repeated->section;
    for (size_t i = 0; i < repeated->count; i++) {
        char title[400], name[500], room[CONFIG_VALUE_TEXT_MAX];
        snprintf(title, sizeof title, "[%s %s]", section->name, *config_item_name(repeated, i));
        if (!strstr(sentence, title))
            continue;
        for (size_t j = 0; j < section->key_count; j++) {
            const struct config_key *key = &section->keys[j];
            const char *part = key->name + config_section_bytes(key) + 1;
            uint32_t line = repeated->lines[i * section->key_count + j];
            if (!find_name(sentence, part))
                continue;
            const char *value = config_value_text(key, repeated->items + i * section->item_bytes, room);
            snprintf(name, sizeof name, "%s %s", title, part);
            if (line != 0 || *value)
                append(text, text_size, config->file, line, name, value);
        }
    }
}

/* Behind the sentence, the settings that it names, but `first`. */
static void explain(const struct config *config, size_t first, char *text, size_t text_size)
{
    char sentence[2048], room[CONFIG_VALUE_TEXT_MAX];
    snprintf(sentence, sizeof sentence, "%s", text);
    for (const char *at = sentence; *at; at++) {
        for (size_t i = 0; i < config->key_count; i++) {
            const struct config_key *key = &config->keys[i];
            if (i == first || !stands_at(sentence, at, key->name) || find_name(sentence, key->name) != at)
                continue;
            const char *value = config_value_text(key, config->settings, room);
            if (config->from[i] != 0 || *value) /* else it is only what could be set */
                append(text, text_size, config->file, config->from[i], key->name, value);
        }
    }
    for (size_t i = 0; i < config->repeated_count; i++)
        explain_items(config, &config->repeated[i], sentence, text, text_size);
}

/* The setting that a sentence begins with, if somebody has set it; key_count: none. */
static size_t set_key_at_beginning(const struct config *config, const char *sentence)
{
    for (size_t i = 0; i < config->key_count; i++)
        if (stands_at(sentence, sentence, config->keys[i].name))
            return config->from[i] ? i : config->key_count;
    return config->key_count;
}

/* Where the section stands that a sentence begins with ("[topic chat:*]: …"): the line of its first key; 0:
 * none. */
static uint32_t line_of_section(const struct config *config, const char *sentence)
{
    uint32_t first = 0;
    for (size_t i = 0; i < config->repeated_count; i++) {
        const struct repeated *repeated = &config->repeated[i];
        for (size_t j = 0; j < repeated->count; j++) {
            char title[400];
            int len = snprintf(title, sizeof title, "[%s %s]", repeated->section->name,
                               *config_item_name(repeated, j));
            if (strncmp(sentence, title, (size_t)len) != 0)
                continue;
            for (size_t k = 0; k < repeated->section->key_count; k++) {
                uint32_t line = repeated->lines[j * repeated->section->key_count + k];
                if (line != 0 && (first == 0 || line < first))
                    first = line;
            }
        }
    }
    return first;
}

void config_blame(const struct config *config, char *sentence, size_t size)
{
    size_t index = set_key_at_beginning(config, sentence);
    uint32_t from = index < config->key_count ? config->from[index] : line_of_section(config, sentence);
    explain(config, index, sentence, size);
    char *copy = from != 0 ? strdup(sentence) : NULL;
    if (!copy)
        return;
    if (from == CONFIG_FROM_ARGUMENT)
        snprintf(sentence, size, "--%s", copy);
    else
        snprintf(sentence, size, "%s:%u: %s", config->file, from, copy);
    free(copy);
}
