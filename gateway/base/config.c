/* Reads a configuration into the caller's struct, checked against the caller's table. */
#include "gateway/base/config.h"

#include "gateway/base/assert.h"
#include "gateway/base/config_value.h"

#include <errno.h>
#include <ini.h>
#include <stdlib.h>
#include <string.h>

enum {
    FILE_BYTES_MAX = 1 << 20,
    LINE_BYTES_MAX = 4096,
    SUGGEST_BYTES_MAX = 64,  /* longer names get no suggestion */
    SECTION_BYTES_MAX = 320, /* "tls " and the longest host name */
};
#define LINE_OF_ARGUMENT UINT32_MAX /* in place of a line: set by an argument, which wins */

/* Debian's and Ubuntu's inih lets these be set at run time; elsewhere they are what inih was compiled with
 * (lines of 200 bytes), and the weak references are null. */
extern int ini_max_line __attribute__((weak));               // NOLINT(readability-redundant-declaration)
extern bool ini_allow_inline_comments __attribute__((weak)); // NOLINT(readability-redundant-declaration)

/* One section that repeats, and what was read of it. */
struct repeated {
    const struct config_section *section;
    char *items;     /* what the settings point to */
    uint32_t *lines; /* by item and key, as below */
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
    char *name;      /* of that text; NULL: none was read */
};

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

/* False with the end of a sentence that begins with the key's name. */
static bool set_field(const struct config_key *key, char *base, char **owned, const char *text, char *error,
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

static bool set_value(struct config *config, size_t index, const char *text, char *error, size_t error_size)
{
    return set_field(&config->keys[index], config->settings, &config->strings[index], text, error,
                     error_size);
}

/* Wiped, because it may hold a password. */
static void free_text(char *text, size_t size)
{
    explicit_bzero(text, size);
    free(text);
}

/* NULL with a sentence; else *len bytes in a buffer of FILE_BYTES_MAX + 1. */
static char *read_whole_file(const char *path, size_t *len, char *error, size_t error_size)
{
    FILE *file = fopen(path, "rbe");
    if (!file) {
        snprintf(error, error_size, "%s: cannot open it: %s", path, strerror(errno));
        return NULL;
    }
    setvbuf(file, NULL, _IONBF, 0); /* no second copy of a password in stdio's buffer */
    char *text = malloc(FILE_BYTES_MAX + 1);
    if (!text) {
        snprintf(error, error_size, "%s: out of memory", path);
        fclose(file);
        return NULL;
    }
    *len = fread(text, 1, FILE_BYTES_MAX + 1, file);
    if (ferror(file))
        snprintf(error, error_size, "%s: cannot read it: %s", path, strerror(errno));
    else if (*len > FILE_BYTES_MAX)
        snprintf(error, error_size, "%s: the file is longer than 1 MiB", path);
    bool good = !ferror(file) && *len <= FILE_BYTES_MAX;
    fclose(file);
    if (!good) {
        free_text(text, *len);
        return NULL;
    }
    return text;
}

/* The file has one line: the value. False with the end of a sentence. */
static bool set_value_of_file(struct config *config, size_t index, const char *path, char *error,
                              size_t error_size)
{
    size_t len, read;
    char *text = read_whole_file(path, &read, error, error_size);
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
        good = set_value(config, index, text, error, error_size);
    free_text(text, read);
    return good;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Letters to add, leave out, replace or swap with their neighbour (Damerau, 1964; optimal string alignment).
 * Both at most SUGGEST_BYTES_MAX long. */
static size_t edit_distance(const char *a, const char *b)
{
    uint8_t table[SUGGEST_BYTES_MAX + 1][SUGGEST_BYTES_MAX + 1];
    size_t a_len = strlen(a), b_len = strlen(b);
    for (size_t i = 0; i <= a_len; i++)
        table[i][0] = (uint8_t)i;
    for (size_t j = 0; j <= b_len; j++)
        table[0][j] = (uint8_t)j;
    for (size_t i = 1; i <= a_len; i++) {
        for (size_t j = 1; j <= b_len; j++) {
            size_t best = table[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            best = least(best, 1u + least(table[i - 1][j], table[i][j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = least(best, 1u + table[i - 2][j - 2]);
            table[i][j] = (uint8_t)best;
        }
    }
    return table[a_len][b_len];
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
    const char *nearest = NULL;
    size_t best = SIZE_MAX;
    if (strlen(name) > SUGGEST_BYTES_MAX)
        return NULL;
    for (size_t i = 0; i < key_count; i++) {
        const char *known = keys[i].name;
        if (strlen(known) > SUGGEST_BYTES_MAX)
            continue;
        size_t distance = edit_distance(name, known);
        /* The right key under the wrong section is nearer than its letters say. */
        if (strcmp(key_part(name), key_part(known)) == 0)
            distance = least(distance, 2);
        if (distance < best) {
            best = distance;
            nearest = known;
        }
    }
    return best <= 2 + strlen(name) / 4 ? nearest : NULL;
}

/* The key's index; key_count with a sentence's end when there is none. */
static size_t find_key(const struct config_key *keys, size_t key_count, const char *name, char *error,
                       size_t error_size)
{
    for (size_t i = 0; i < key_count; i++)
        if (strcmp(keys[i].name, name) == 0)
            return i;
    const char *nearest = nearest_key(keys, key_count, name);
    if (nearest)
        snprintf(error, error_size, "unknown key; did you mean %s?", nearest);
    else
        snprintf(error, error_size, "unknown key; --help lists all keys");
    return key_count;
}

/* A key as it stands in files and arguments: a secret's with _file behind it names a file that has the
 * secret. The key's index; key_count with a sentence's end when there is none. */
static size_t find_setting(const struct config *config, const char *name, bool *in_file, char *error,
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
    return find_key(config->keys, config->key_count, name, error, error_size);
}

static bool take_value(struct config *config, size_t index, bool in_file, const char *text, char *error,
                       size_t error_size)
{
    return in_file ? set_value_of_file(config, index, text, error, error_size)
                   : set_value(config, index, text, error, error_size);
}

static void fail_source(struct source *source, uint32_t line, const char *what)
{
    snprintf(source->error, source->error_size, "%s:%u: %s", source->name, line, what);
    source->failed = true;
}

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

static void note_section(struct source *source, const char *start, size_t len)
{
    const char *end = memchr(start, ']', len);
    size_t bytes = end ? (size_t)(end - start) - 1 : 0; /* without an end inih refuses the line */
    if (bytes >= sizeof source->section) {
        fail_source(source, source->line, "the section's name is too long");
        bytes = 0;
    }
    memcpy(source->section, start + 1, bytes);
    source->section[bytes] = '\0';
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

static struct repeated *find_repeated(struct config *config, const char *section, size_t bytes)
{
    for (size_t i = 0; i < config->repeated_count; i++) {
        struct repeated *repeated = &config->repeated[i];
        if (strlen(repeated->section->name) == bytes && memcmp(repeated->section->name, section, bytes) == 0)
            return repeated;
    }
    return NULL;
}

static char **item_name(struct repeated *repeated, size_t index)
{
    return (char **)(void *)(repeated->items + index * repeated->section->item_bytes);
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
    free(*item_name(repeated, index));
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
    *item_name(repeated, index) = strdup(name);
    bool good = *item_name(repeated, index) != NULL;
    for (size_t i = 0; good && i < section->key_count; i++) {
        const struct config_key *key = &section->keys[i];
        good = set_field(key, item, (char **)(void *)(item + key->offset), key->default_value, error,
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

/* The item called `name`, made at its first key. Its index, or SIZE_MAX with a sentence's end. */
static size_t find_item(struct config *config, struct repeated *repeated, const char *name, char *error,
                        size_t error_size)
{
    for (size_t i = 0; i < repeated->count; i++)
        if (strcmp(*item_name(repeated, i), name) == 0)
            return i;
    return add_item(config, repeated, name, error, error_size) ? repeated->count - 1 : SIZE_MAX;
}

/* A key of [section name]. False with a sentence's end. */
static bool take_named(struct source *source, struct repeated *repeated, const char *item_called,
                       const char *name, const char *value, char *error, size_t error_size)
{
    const struct config_section *section = repeated->section;
    size_t index = find_key(section->keys, section->key_count, name, error, error_size);
    if (index >= section->key_count)
        return false;
    size_t at = find_item(source->config, repeated, item_called, error, error_size);
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
    return set_field(key, item, (char **)(void *)(item + key->offset), value, error, error_size);
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
    if (section[kind_bytes]) {
        const char *item_called = section + kind_bytes + strspn(section + kind_bytes, " \t");
        struct repeated *repeated = find_repeated(config, section, kind_bytes);
        bool good = false;
        snprintf(name, sizeof name, "%.*s.%s", (int)kind_bytes, section, key);
        if (!repeated || !*item_called)
            snprintf(sentence, sizeof sentence, "[%s]: this section takes no name", section);
        else if (strpbrk(item_called, " \t"))
            snprintf(sentence, sizeof sentence, "[%s]: a name has no blanks", section);
        else {
            good = take_named(source, repeated, item_called, name, value, what, sizeof what);
            snprintf(sentence, sizeof sentence, "[%s] %s: %s", section, key, good ? "" : what);
        }
        if (!good)
            fail_source(source, source->line, sentence);
        return good;
    }
    snprintf(name, sizeof name, "%s.%s", section, key);
    bool in_file;
    size_t index = find_setting(config, name, &in_file, what, sizeof what);
    if (index < config->key_count && config->lines[index] != 0) {
        snprintf(what, sizeof what, "set twice, first on line %u", config->lines[index]);
        index = config->key_count;
    }
    if (index >= config->key_count || !take_value(config, index, in_file, value, what, sizeof what)) {
        snprintf(sentence, sizeof sentence, "%s: %s", name, what);
        fail_source(source, source->line, sentence);
        return 0;
    }
    config->lines[index] = source->line;
    return 1;
}

/* False without memory. */
static bool set_defaults(struct config *config)
{
    char error[256];
    for (size_t i = 0; i < config->key_count; i++) {
        if (set_value(config, i, config->keys[i].default_value, error, sizeof error))
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
    if (!config->strings || !config->lines) {
        config_destroy(config);
        return NULL;
    }
    if (!set_defaults(config)) {
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
    free(config->name);
    free(config);
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
    free(config->name);
    config->name = strdup(name);
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
    char *text = read_whole_file(path, &len, error, error_size);
    if (!text)
        return false;
    bool good = config_read_text(config, path, text, len, error, error_size);
    free_text(text, len);
    return good;
}

bool config_read_argument(struct config *config, const char *argument, char *error, size_t error_size)
{
    char name[SUGGEST_BYTES_MAX + 1], what[512];
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
    size_t index = find_setting(config, name, &in_file, what, sizeof what);
    if (index < config->key_count && !equals) {
        snprintf(error, error_size, "--%s needs a value: --%s=%s", name, name,
                 in_file ? "FILE" : config_value_placeholder(&config->keys[index]));
        return false;
    }
    if (index >= config->key_count || !take_value(config, index, in_file, equals + 1, what, sizeof what)) {
        snprintf(error, error_size, "--%s: %s", name, what);
        return false;
    }
    config->lines[index] = LINE_OF_ARGUMENT;
    return true;
}

/* The key that a sentence begins with; key_count: none. */
static size_t key_at_beginning(const struct config *config, const char *sentence)
{
    size_t len = strspn(sentence, "abcdefghijklmnopqrstuvwxyz0123456789_.");
    for (size_t i = 0; i < config->key_count; i++)
        if (strlen(config->keys[i].name) == len && memcmp(config->keys[i].name, sentence, len) == 0)
            return i;
    return config->key_count;
}

void config_blame(const struct config *config, char *sentence, size_t size)
{
    size_t index = key_at_beginning(config, sentence);
    if (index == config->key_count || config->lines[index] == 0)
        return;
    char *copy = strdup(sentence);
    if (!copy)
        return;
    if (config->lines[index] == LINE_OF_ARGUMENT)
        snprintf(sentence, size, "--%s", copy);
    else
        snprintf(sentence, size, "%s:%u: %s", config->name ? config->name : "?", config->lines[index], copy);
    free(copy);
}
