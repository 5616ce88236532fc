/* Configuration: one INI file (inih) and --section.key=value, both checked against one table.
 *
 * The table is the caller's: it gives each key its type, range, default, unit, help and place in the caller's
 * struct, and makes the parser,
 * --help, the sample file and the man page.
 *
 * Thread: main, before others start (and at reload). Owner: strings in the filled struct belong to the config
 * until config_fini().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum config_type {
    CONFIG_STRING,   /* char *; "" when unset */
    CONFIG_SECRET,   /* char *; never printed. Under its name with _file behind it: read from that file */
    CONFIG_BOOL,     /* bool: on | off */
    CONFIG_UINT,     /* uint64_t */
    CONFIG_SIZE,     /* uint64_t bytes: 64KiB, 1MiB, 2GiB, 512 or 512B */
    CONFIG_DURATION, /* uint64_t milliseconds: 500ms, 30s, 5m, 2h, 1d; 0 */
    CONFIG_ENUM,     /* int: index into choices */
};

/* What it takes until a changed value holds. */
enum config_change {
    CONFIG_RESTART, /* a restart */
    CONFIG_REREAD,  /* SIGHUP reads the file that it names again; another name needs a restart */
    CONFIG_RUNTIME, /* pushgate ctl sets it, until the next start */
};

struct config_key {
    const char *name; /* "section.key" */
    enum config_type type;
    enum config_change change;
    const char *placeholder; /* in help, of a string: "FILE", which shells complete, ADDRESS, …; NULL: TEXT */
    size_t offset;           /* of the field in the settings struct */
    const char *default_value; /* as it would be written in the file */
    uint64_t min, max;         /* numbers; both 0: any. A value 0 is allowed beside min when `zero` is set */
    const char *zero;          /* what 0 means ("no limit", "choose", "off"); NULL: 0 is an ordinary value */
    const char *choices;       /* CONFIG_ENUM: "logfmt|json" */
    const char *help;          /* one or two sentences */
};

/* A section that repeats under different names: [tls example.org]. Its keys are written in files only. Each
 * name makes one item, in the file's order; an item's first field is `char *name`. */
struct config_section {
    const char *name;              /* "tls"; it may also stand without a name, for keys of the table above */
    const char *placeholder;       /* of the name in help: "HOST" */
    const char *help;              /* one or two sentences */
    const struct config_key *keys; /* "tls.certificate", …; offsets are into the item */
    size_t key_count;
    size_t item_bytes;
    size_t items_offset; /* in the settings struct: a pointer to the items, NULL without any */
    size_t count_offset; /* in the settings struct: size_t */
    size_t max;          /* items */
};

struct config;

/* Starts with every default in `settings` (zeroed by the caller). NULL without memory. Aborts when a default
 * does not parse: a bug in the table. */
struct config *config_create(const struct config_key *keys, size_t key_count, void *settings);
/* Before anything is read. False without memory. */
bool config_add_section(struct config *config, const struct config_section *section)
    __attribute__((warn_unused_result));
void config_destroy(struct config *config); /* wipes secrets, frees strings */

/* Each returns false with one sentence in error: for files "pushgate.conf:12: limits.message_bytes:
 * 70000000000 is too large; allowed: 1B … 1GiB", for arguments "--limits.message_bytes: …". An unknown
 * key suggests the nearest known one. */
bool config_read_file(struct config *config, const char *path, char *error, size_t error_size)
    __attribute__((warn_unused_result));
bool config_read_text(struct config *config, const char *name, const char *text, size_t len, char *error,
                      size_t error_size) __attribute__((warn_unused_result));
/* One "--section.key=value" (with the dashes). */
bool config_read_argument(struct config *config, const char *argument, char *error, size_t error_size)
    __attribute__((warn_unused_result));

/* Puts in front of a sentence that begins with a setting ("idle.timeout must …") where that one was set,
 * "pushgate.conf:12: " or "--"; and behind it, a line for each other setting in it: where it was set, and as
 * what. Secrets keep theirs. */
void config_blame(const struct config *config, char *sentence, size_t size);

/* For --help: keys by section with default and help, wrapped at 100 columns; and a commented sample file that
 * parses. */
void config_print_help(const struct config_key *keys, size_t key_count, FILE *out);
void config_print_sample(const struct config_key *keys, size_t key_count, FILE *out);
/* The same for a section that repeats. */
void config_print_section_help(const struct config_section *section, FILE *out);
void config_print_section_sample(const struct config_section *section, FILE *out);
/* The same for a man page (roff): a heading for each section, a paragraph for each key. */
void config_print_man(const struct config_key *keys, size_t key_count, FILE *out);
void config_print_section_man(const struct config_section *section, FILE *out);
/* For shell completion: one line for each key, "section.key=" and what may follow, with blanks between:
 * choices, FILE for a file name, or nothing. */
void config_print_words(const struct config_key *keys, size_t key_count, FILE *out);
