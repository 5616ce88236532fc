/* Prints a table of settings for people: --help and a sample file. */
#include "gateway/base/config.h"
#include "gateway/base/config_value.h"

#include <string.h>

enum {
    COLUMNS = 100,
    HELP_COLUMN = 42, /* right of "  --limits.topics_per_connection=NUMBER" */
    PARAGRAPH_MAX = 1024,
};

/* In the sample, where the others need a restart. */
static const char reread_note[] = " SIGHUP reads it again.";

/* Columns that a UTF-8 text takes: one a code point, which holds for what help texts contain. */
static size_t text_columns(const char *text, size_t bytes)
{
    size_t columns = 0;
    for (size_t i = 0; i < bytes; i++)
        columns += ((unsigned char)text[i] & 0xc0) != 0x80;
    return columns;
}

/* Wraps `text`; the first line goes on at column `at`, further ones begin with `prefix`. Ends the last line.
 */
static void print_wrapped(FILE *out, const char *text, const char *prefix, size_t at)
{
    size_t indent = text_columns(prefix, strlen(prefix));
    while (*text) {
        size_t bytes = strcspn(text, " ");
        size_t columns = text_columns(text, bytes);
        if (at > indent && at + 1 + columns > COLUMNS) {
            fprintf(out, "\n%s", prefix);
            at = indent;
        } else if (at > indent) {
            fputc(' ', out);
            at++;
        }
        fwrite(text, 1, bytes, out);
        at += columns;
        text += bytes;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

/* Help, then what the key accepts and its default in parentheses, as one paragraph. */
static void describe(const struct config_key *key, bool with_range, char *out, size_t out_size)
{
    char range[CONFIG_RANGE_TEXT_MAX] = "";
    if (with_range)
        config_value_range(key, range, sizeof range);
    config_value_help(key, out, out_size);
    size_t used = strlen(out);
    if (*key->default_value && key->type != CONFIG_SECRET)
        snprintf(out + used, out_size - used, " (%s%sdefault %s)", range, *range ? "; " : "",
                 key->default_value);
}

/* Bytes of the name up to its dot. */
static size_t section_bytes(const struct config_key *key)
{
    return strcspn(key->name, ".");
}

static bool same_section(const struct config_key *a, const struct config_key *b)
{
    size_t bytes = section_bytes(a);
    return bytes == section_bytes(b) && memcmp(a->name, b->name, bytes) == 0;
}

/* One key's line of help. `dashes`: it is also an argument. False when nothing can be written. */
static bool print_key_help(const struct config_key *key, bool dashes, FILE *out)
{
    char prefix[HELP_COLUMN + 1], text[PARAGRAPH_MAX];
    memset(prefix, ' ', HELP_COLUMN);
    prefix[HELP_COLUMN] = '\0';
    int used =
        dashes ? fprintf(out, "  --%s=%s", key->name, config_value_placeholder(key))
               : fprintf(out, "  %s = %s", key->name + section_bytes(key) + 1, config_value_placeholder(key));
    if (used < 0)
        return false;
    if (used < HELP_COLUMN)
        fprintf(out, "%*s", HELP_COLUMN - used, "");
    else
        fprintf(out, "\n%s", prefix);
    /* Where the placeholder says it all. */
    describe(key, key->type != CONFIG_BOOL, text, sizeof text);
    print_wrapped(out, text, prefix, HELP_COLUMN);
    return true;
}

void config_print_help(const struct config_key *keys, size_t key_count, FILE *out)
{
    for (size_t i = 0; i < key_count; i++) {
        const struct config_key *key = &keys[i];
        if (i == 0 || !same_section(key, key - 1))
            fprintf(out, "%s[%.*s]\n", i ? "\n" : "", (int)section_bytes(key), key->name);
        if (!print_key_help(key, true, out))
            return;
    }
}

static void print_key_sample(const struct config_key *key, FILE *out)
{
    char text[PARAGRAPH_MAX];
    describe(key, true, text, sizeof text - sizeof reread_note);
    if (key->change == CONFIG_REREAD)
        memcpy(text + strlen(text), reread_note, sizeof reread_note);
    fputs("# ", out);
    print_wrapped(out, text, "# ", 2);
    const char *value = key->type == CONFIG_SECRET ? "" : key->default_value;
    fprintf(out, "#%s =%s%s\n", key->name + section_bytes(key) + 1, *value ? " " : "", value);
}

void config_print_sample(const struct config_key *keys, size_t key_count, FILE *out)
{
    for (size_t i = 0; i < key_count; i++) {
        const struct config_key *key = &keys[i];
        if (i == 0 || !same_section(key, key - 1))
            fprintf(out, "%s[%.*s]\n", i ? "\n" : "", (int)section_bytes(key), key->name);
        else
            fputc('\n', out);
        print_key_sample(key, out);
    }
}

void config_print_section_help(const struct config_section *section, FILE *out)
{
    fprintf(out, "\n[%s %s] in the file, any number of times\n  ", section->name, section->placeholder);
    print_wrapped(out, section->help, "  ", 2);
    for (size_t i = 0; i < section->key_count; i++)
        if (!print_key_help(&section->keys[i], false, out))
            return;
}

void config_print_section_sample(const struct config_section *section, FILE *out)
{
    fputs("\n# ", out);
    print_wrapped(out, section->help, "# ", 2);
    fprintf(out, "#[%s %s]\n", section->name, section->placeholder);
    for (size_t i = 0; i < section->key_count; i++)
        print_key_sample(&section->keys[i], out);
}
