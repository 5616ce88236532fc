/* The table that parser, --help, man page and shell completion of pushgate-load are made from.
 *
 * Thread: any, read-only. Owner: nobody.
 */
#pragma once

#include "loadtest/options.h"

enum option_type {
    OPTION_STRING,
    OPTION_UINT,     /* with k and M for thousands and millions */
    OPTION_DURATION, /* 500ms, 30s, 5m, 1h; kept in milliseconds */
    OPTION_SHARE,    /* 5%, 0.25%; kept in hundredths of a percent */
    OPTION_FLAG,
    OPTION_HEADER, /* may stand there several times */
};

struct option_row {
    const char *name;
    enum option_type type;
    size_t offset;
    const char *default_value; /* NULL: unset */
    uint64_t min, max;
    const char *argument;
    const char *help;
};

extern const struct option_row option_rows[];
extern const size_t option_row_count;

struct mode_row {
    const char *name, *help;
    bool publishes; /* cannot do without --publish */
};
extern const struct mode_row load_modes[LOAD_MODE_COUNT];
