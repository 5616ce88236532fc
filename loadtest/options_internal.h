/* The table that parser, --help, man page and shell completion of pushgate-load are made from.
 *
 * Thread: any, read-only. Owner: nobody.
 */
#pragma once

#include "loadtest/options.h"

#define ONLY(mode) (1U << LOAD_##mode)
enum {
    PUBLISHING = ONLY(FANOUT) | ONLY(STORM) | ONLY(CHURN) | ONLY(SLOW),
    ALL_MODES = PUBLISHING | ONLY(IDLE),
};

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
    uint64_t modes; /* ONLY() of those that it is for */
};

extern const struct option_row option_rows[];
extern const size_t option_row_count;

struct mode_row {
    const char *name, *help;
    bool publishes; /* cannot do without --publish */
};
extern const struct mode_row load_modes[LOAD_MODE_COUNT];

/* Checks what has been read and fills in what follows from it: addresses, sources, rates. Bit i of `given`:
 * row i was on the command line. False with a sentence. */
bool options_check(struct load_options *options, uint64_t given, char *error, size_t error_size)
    __attribute__((warn_unused_result));
