/* Prints a table of settings for man pages and for shells. */
#include "gateway/base/config_internal.h"
#include "gateway/base/config_value.h"
#include "gateway/base/roff.h"

#include <string.h>

static const char *change_text(const struct config_key *key)
{
    switch (key->change) {
    case CONFIG_REREAD:
        return "SIGHUP reads the file again; another name needs a restart.";
    case CONFIG_RUNTIME:
        return "pushgate ctl sets it until the next start; a change in the file needs a restart.";
    case CONFIG_RESTART:
        break;
    }
    return "A change needs a restart.";
}

/* "Default: 64KiB. Range: 1 … 1073741824 bytes. A change needs a restart." */
static void print_facts(const struct config_key *key, FILE *out)
{
    char range[CONFIG_RANGE_TEXT_MAX], facts[2 * CONFIG_RANGE_TEXT_MAX + 256];
    bool words = key->type == CONFIG_BOOL || key->type == CONFIG_ENUM;
    bool unset = !*key->default_value || key->type == CONFIG_SECRET;
    config_value_range(key, range, sizeof range);
    snprintf(facts, sizeof facts, "Default: %s. %s%s%s%s", unset ? "not set" : key->default_value,
             !*range ? ""
             : words ? "One of: "
                     : "Range: ",
             range, *range ? ". " : "", change_text(key));
    fputs(".br\n", out);
    roff_paragraph(out, facts);
}

/* `name` as it is written in the place that the page speaks of. */
static void print_key(const struct config_key *key, const char *name, FILE *out)
{
    char help[1024];
    roff_tag(out, "", name, " = ", config_value_placeholder(key));
    config_value_help(key, help, sizeof help);
    roff_paragraph(out, help);
    print_facts(key, out);
}

void config_print_man(const struct config_key *keys, size_t key_count, FILE *out)
{
    for (size_t i = 0; i < key_count; i++) {
        const struct config_key *key = &keys[i];
        size_t bytes = config_section_bytes(key);
        if (i == 0 || bytes != config_section_bytes(key - 1) || memcmp(key->name, key[-1].name, bytes) != 0)
            fprintf(out, ".SS [%.*s]\n", (int)bytes, key->name);
        print_key(key, key->name, out);
    }
}

void config_print_section_man(const struct config_section *section, FILE *out)
{
    fprintf(out, ".SS [%s %s]\n", section->name, section->placeholder);
    roff_paragraph(out, section->help);
    for (size_t i = 0; i < section->key_count; i++)
        print_key(&section->keys[i], section->keys[i].name + config_section_bytes(&section->keys[i]) + 1,
                  out);
}

void config_print_words(const struct config_key *keys, size_t key_count, FILE *out)
{
    for (size_t i = 0; i < key_count; i++) {
        const struct config_key *key = &keys[i];
        const char *words = key->type == CONFIG_BOOL                            ? "on|off"
                            : key->type == CONFIG_ENUM                          ? key->choices
                            : strncmp(config_value_placeholder(key), "FILE", 4) ? ""
                                                                                : "FILE";
        fprintf(out, "--%s=", key->name);
        for (; *words; words += strcspn(words, "|"), words += *words == '|')
            fprintf(out, " %.*s", (int)strcspn(words, "|"), words);
        fputc('\n', out);
        if (key->type == CONFIG_SECRET)
            fprintf(out, "--%s_file= FILE\n", key->name);
    }
}
