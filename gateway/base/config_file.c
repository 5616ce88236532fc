/* Reads INI files, through inih, which cuts long lines and passes on less than what we want to say of bad
 * ones. */
#include "gateway/base/config_internal.h"
#include "gateway/base/suggest.h"

#include <ini.h>
#include <stdlib.h>

enum {
    LINE_BYTES_MAX = 4096,
    SECTION_BYTES_MAX = 320, /* "tls " and the longest host name */
};

/* Debian's and Ubuntu's inih lets these be set at run time; elsewhere they are what inih was compiled with
 * (lines of 200 bytes), and the weak references are null. */
extern int ini_max_line __attribute__((weak));               // NOLINT(readability-redundant-declaration)
extern bool ini_allow_inline_comments __attribute__((weak)); // NOLINT(readability-redundant-declaration)

/* One text on its way through inih. */
struct source {
    struct config *config;
    const char *name;
    const char *at, *end;
    uint32_t line;
    char section[SECTION_BYTES_MAX]; /* the line's; inih cuts long ones */
    bool failed;
    char *error;
    size_t error_size;
};

static void fail_source(struct source *source, uint32_t line, const char *what)
{
    snprintf(source->error, source->error_size, "%s:%u: %s", source->name, line, what);
    source->failed = true;
}

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

/* The sections that there are: "[listen], [tls], … or [topic PATTERN]". */
static void list_sections(const struct config *config, char *out, size_t out_size)
{
    size_t used = 0;
    *out = '\0';
    for (size_t i = 0; i < config->key_count && used < out_size; i++) {
        const struct config_key *key = &config->keys[i];
        size_t bytes = config_section_bytes(key);
        if (i == 0 || bytes != config_section_bytes(key - 1) || memcmp(key->name, key[-1].name, bytes) != 0)
            used += (size_t)snprintf(out + used, out_size - used, "%s[%.*s]", i ? ", " : "", (int)bytes,
                                     key->name);
    }
    for (size_t i = 0; i < config->repeated_count && used < out_size; i++)
        used += (size_t)snprintf(out + used, out_size - used, ", [%s %s]", config->repeated[i].section->name,
                                 config->repeated[i].section->placeholder);
}

static bool section_is_known(const struct config *config, const char *name, size_t bytes,
                             struct suggestion *suggestion)
{
    suggest_begin(suggestion, name, bytes);
    for (size_t i = 0; i < config->key_count; i++) {
        const char *known = config->keys[i].name;
        size_t known_bytes = config_section_bytes(&config->keys[i]);
        if (known_bytes == bytes && memcmp(known, name, bytes) == 0)
            return true;
        suggest_offer(suggestion, known, known_bytes);
    }
    for (size_t i = 0; i < config->repeated_count; i++)
        suggest_offer(suggestion, config->repeated[i].section->name,
                      strlen(config->repeated[i].section->name));
    return false;
}

/* The line's section, now in source->section, must be one of the table's. */
static void check_section(struct source *source)
{
    const struct config *config = source->config;
    const char *section = source->section;
    char sentence[1280], list[768];
    struct suggestion suggestion;
    size_t kind_bytes = strcspn(section, " \t");
    const char *name = section + kind_bytes + strspn(section + kind_bytes, " \t");
    struct repeated *repeated = config_find_repeated(config, section, kind_bytes);
    bool plain = section_is_known(config, section, kind_bytes, &suggestion);
    *sentence = '\0';
    if (!repeated && !plain && suggestion.nearest) {
        snprintf(sentence, sizeof sentence, "[%s]: unknown section; did you mean [%.*s]?", section,
                 (int)suggestion.nearest_len, suggestion.nearest);
    } else if (!repeated && !plain) {
        list_sections(config, list, sizeof list);
        snprintf(sentence, sizeof sentence, "[%s]: unknown section; there are %s", section, list);
    } else if (*name && !repeated) {
        snprintf(sentence, sizeof sentence, "[%s]: this section takes no name", section);
    } else if (!*name && (!plain || section[kind_bytes])) {
        snprintf(sentence, sizeof sentence, "[%s]: this section needs a name: [%s %s]", section,
                 repeated ? repeated->section->name : section,
                 repeated ? repeated->section->placeholder : "");
    } else if (strpbrk(name, " \t")) {
        snprintf(sentence, sizeof sentence, "[%s]: a name has no blanks", section);
    } else if (*name && config_find_item(source->config, repeated, name, list, sizeof list) == SIZE_MAX) {
        snprintf(sentence, sizeof sentence, "[%s]: %s", section, list);
    }
    if (*sentence)
        fail_source(source, source->line, sentence);
}

/* Where [section] ends: at a ] with nothing but a comment behind it, because a pattern may have one, too. */
static const char *section_end(const char *start, const char *stop)
{
    for (const char *at = start; at < stop; at++) {
        if (*at != ']')
            continue;
        const char *after = at + 1;
        while (after < stop && (blank(*after) || *after == '\r'))
            after++;
        if (after == stop || *after == '#' || *after == ';')
            return at;
    }
    return NULL;
}

static void note_section(struct source *source, const char *start, size_t len)
{
    if (!memchr(start, ']', len)) /* inih refuses the line */
        return;
    const char *end = section_end(start, start + len);
    size_t bytes = end ? (size_t)(end - start) - 1 : 0;
    if (!end) {
        fail_source(source, source->line, "something stands behind [section]; it needs a line of its own");
    } else if (bytes >= sizeof source->section) {
        fail_source(source, source->line, "the section's name is too long");
    } else {
        memcpy(source->section, start + 1, bytes);
        source->section[bytes] = '\0';
        check_section(source);
    }
}

/* Copies the next line for inih, as fgets() does. Comments become empty lines, so that they may be of any
 * length, and indentation is taken away, because inih would read an indented line as the rest of the value
 * above it. */
static char *read_line(char *out, int out_size, void *context)
{
    struct source *source = context;
    size_t room = (size_t)out_size;
    if (source->failed || source->at == source->end) {
        explicit_bzero(out, room); /* the last line may have been a password */
        return NULL;
    }
    source->line++;
    const char *start = source->at;
    const char *newline = memchr(start, '\n', (size_t)(source->end - start));
    const char *stop = newline ? newline : source->end;
    source->at = newline ? newline + 1 : source->end;
    if (source->line == 1 && stop - start >= 3 && memcmp(start, "\xef\xbb\xbf", 3) == 0)
        start += 3; /* a byte order mark says nothing */
    while (start < stop && blank(*start))
        start++;
    size_t len = (size_t)(stop - start);
    if (len > 0 && (*start == '#' || *start == ';'))
        len = 0;
    if (memchr(start, '\0', len)) {
        fail_source(source, source->line, "the line contains a NUL byte");
        len = 0;
    }
    if (len + 2 > room) {
        char what[64];
        snprintf(what, sizeof what, "the line is longer than %zu bytes", room - 2);
        fail_source(source, source->line, what);
        len = 0;
    }
    if (len > 0 && *start == '[')
        note_section(source, start, len);
    memcpy(out, start, len);
    out[len] = '\n';
    out[len + 1] = '\0';
    return out;
}

/* A key of [section name]. False with a sentence's end. */
static bool take_named(struct source *source, struct repeated *repeated, const char *item_called,
                       const char *name, const char *value, char *error, size_t error_size)
{
    const struct config_section *section = repeated->section;
    size_t index = config_find_key(section->keys, section->key_count, name, strlen(section->name) + 1, error,
                                   error_size);
    if (index >= section->key_count)
        return false;
    size_t at = config_find_item(source->config, repeated, item_called, error, error_size);
    if (at == SIZE_MAX)
        return false;
    uint32_t *line = &repeated->lines[at * section->key_count + index];
    if (*line != 0) {
        snprintf(error, error_size, "set twice, first on line %u", *line);
        return false;
    }
    const struct config_key *key = &section->keys[index];
    char *item = repeated->items + at * section->item_bytes;
    *line = source->line;
    return config_set_field(key, item, (char **)(void *)(item + key->offset), value, error, error_size);
}

/* inih's handler: returns 0 after an error, with source->error filled in. */
static int take_pair(void *context, const char *cut_section, const char *key, const char *value)
{
    struct source *source = context;
    struct config *config = source->config;
    const char *section = source->section;
    char name[SECTION_BYTES_MAX + 128], what[512], sentence[1536];
    (void)cut_section;
    if (source->failed)
        return 0;
    if (!*section) {
        snprintf(sentence, sizeof sentence, "%s stands before any [section]", key);
        fail_source(source, source->line, sentence);
        return 0;
    }
    size_t kind_bytes = strcspn(section, " \t");
    if (section[kind_bytes]) { /* good, or check_section() would have said so */
        const char *item_called = section + kind_bytes + strspn(section + kind_bytes, " \t");
        struct repeated *repeated = config_find_repeated(config, section, kind_bytes);
        snprintf(name, sizeof name, "%.*s.%s", (int)kind_bytes, section, key);
        if (repeated && take_named(source, repeated, item_called, name, value, what, sizeof what))
            return 1;
        snprintf(sentence, sizeof sentence, "[%s] %s: %s", section, key, repeated ? what : "unknown section");
        fail_source(source, source->line, sentence);
        return 0;
    }
    snprintf(name, sizeof name, "%s.%s", section, key);
    bool in_file;
    size_t index = config_find_setting(config, name, &in_file, what, sizeof what);
    if (index < config->key_count && config->lines[index] != 0) {
        snprintf(what, sizeof what, "set twice, first on line %u", config->lines[index]);
        index = config->key_count;
    }
    if (index >= config->key_count ||
        !config_take(config, index, in_file, value, source->line, what, sizeof what)) {
        snprintf(sentence, sizeof sentence, "%s: %s", name, what);
        fail_source(source, source->line, sentence);
        return 0;
    }
    config->lines[index] = source->line;
    return 1;
}

bool config_read_text(struct config *config, const char *name, const char *text, size_t len, char *error,
                      size_t error_size)
{
    struct source source = {.config = config,
                            .name = name,
                            .at = text,
                            .end = text + len,
                            .error = error,
                            .error_size = error_size};
    free(config->file);
    config->file = strdup(name);
    if (!config->file) {
        snprintf(error, error_size, "%s: out of memory", name);
        return false;
    }
    memset(config->lines, 0, config->key_count * sizeof *config->lines);
    for (size_t i = 0; i < config->repeated_count; i++) {
        struct repeated *repeated = &config->repeated[i];
        if (repeated->count)
            memset(repeated->lines, 0,
                   repeated->count * repeated->section->key_count * sizeof *repeated->lines);
    }
    if (&ini_max_line)
        ini_max_line = LINE_BYTES_MAX;
    if (&ini_allow_inline_comments)
        ini_allow_inline_comments = false; /* a password may contain " ;" */
    int bad_line = ini_parse_stream(read_line, &source, take_pair, &source);
    if (bad_line < 0) {
        snprintf(error, error_size, "%s: out of memory", name);
        return false;
    }
    /* inih goes on after a line that is neither a pair nor a section, so the handler may have failed later.
     */
    if (bad_line > 0 && (!source.failed || (uint32_t)bad_line < source.line))
        fail_source(&source, (uint32_t)bad_line, "expected \"key = value\" or \"[section]\"");
    return !source.failed;
}

bool config_read_file(struct config *config, const char *path, char *error, size_t error_size)
{
    size_t len;
    char *text = config_read_whole(path, &len, error, error_size);
    if (!text)
        return false;
    bool good = config_read_text(config, path, text, len, error, error_size);
    config_free_text(text, len);
    return good;
}
