/* Inside of pushgate ctl: what its files share. Not for others.
 *
 *   ctl.c           the tables, the arguments, help
 *   ctl_server.c    the connection to the gateway
 *   ctl_commands.c  what each subcommand asks and shows
 *   ctl_show.c      tables, units, JSON
 */
#pragma once

#include "gateway/ctl.h"

#include <hiredis/hiredis.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum ctl_form { CTL_PEOPLE, CTL_JSON, CTL_RAW };

/* The command line. */
struct ctl_args {
    const char *config, *address, *password_file, *timeout, *limit;
    const char *id, *topic, *user, *client, *code, *reason;
    bool json, raw, help, wait, status, now;
    char **words; /* behind the subcommand, without options */
    size_t word_count;
    uint64_t limit_number;
};

struct ctl {
    struct ctl_args args;
    enum ctl_form form;
    redisContext *redis;
    char address[256]; /* of the gateway, for messages */
    FILE *out, *err;
};

struct ctl_command {
    const char *name, *arguments, *help;
    size_t words_min, words_max;
    int (*run)(struct ctl *ctl); /* exit status */
};

/* ctl_commands.c */
extern const struct ctl_command ctl_commands[];
extern const size_t ctl_command_count;

/* ctl_server.c */
/* False: said why. */
bool ctl_connect(struct ctl *ctl);
/* A command's words, NULL at the end; or so many. NULL: said why; freeReplyObject() by the caller. */
redisReply *ctl_ask(struct ctl *ctl, const char *const *words, size_t count);
/* The same, but when the gateway has ended meanwhile that is said in *ended and no error. */
redisReply *ctl_ask_ending(struct ctl *ctl, const char *const *words, size_t count, bool *ended);
int ctl_fail(struct ctl *ctl, const char *format, ...) __attribute__((format(printf, 2, 3))); /* returns 1 */

/* ctl_show.c */
enum ctl_kind { KIND_TEXT, KIND_NUMBER, KIND_SECONDS, KIND_MS, KIND_US, KIND_BYTES };
struct ctl_column {
    const char *key, *title;
    enum ctl_kind kind;
};
/* A list of objects: a table for people, an array in JSON. Rows are shown as they come, some at a time. */
struct ctl_table {
    struct ctl *ctl;
    const struct ctl_column *columns;
    size_t count;
    size_t widths[16];
    json_t *rows; /* not shown yet */
    uint64_t shown;
};
void ctl_table_begin(struct ctl_table *table, struct ctl *ctl, const struct ctl_column *columns,
                     size_t count);
void ctl_table_row(struct ctl_table *table, json_t *row); /* takes it */
void ctl_table_flush(struct ctl_table *table);
void ctl_table_end(struct ctl_table *table);
/* One object: a line for each member, or JSON. Columns say units and titles; other members are shown as they
 * are. */
void ctl_show_object(struct ctl *ctl, const json_t *object, const struct ctl_column *columns, size_t count);
void ctl_show_raw(struct ctl *ctl, const redisReply *reply);
/* Texts are made valid UTF-8. Maps come as arrays of pairs. Never NULL but without memory. */
json_t *ctl_json(const redisReply *reply);
json_t *ctl_json_map(const redisReply *reply);
json_t *ctl_json_text(const char *text, size_t bytes);
/* What a terminal may be sent: control characters are written out. */
void ctl_put_text(FILE *out, const char *text);
