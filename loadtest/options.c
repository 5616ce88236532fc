/* Reads the command line by a table. */
#include "loadtest/options.h"

#include "gateway/base/assert.h"
#include "loadtest/options_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct unit {
    const char *suffix;
    uint64_t factor;
};

static const struct unit count_units[] = {{"", 1}, {"k", 1000}, {"K", 1000}, {"M", 1000000}, {NULL, 0}};
static const struct unit time_units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {NULL, 0}};

static bool parse_number(const char *text, const struct unit *units, uint64_t *out)
{
    uint64_t value = 0;
    if (*text < '0' || *text > '9')
        return false;
    for (; *text >= '0' && *text <= '9'; text++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*text - '0'), &value))
            return false;
    for (; units->suffix; units++)
        if (strcmp(text, units->suffix) == 0)
            return !__builtin_mul_overflow(value, units->factor, out);
    if (*text == '\0' && value == 0) { /* a duration of 0 needs no unit */
        *out = 0;
        return true;
    }
    return false;
}

/* "5%" or "0.25%", in hundredths of a percent. */
static bool parse_share(const char *text, uint64_t *out)
{
    uint64_t value = 0;
    int decimals = -1; /* none seen */
    const char *p = text;

    for (; *p && *p != '%'; p++) {
        if (*p == '.' && decimals < 0 && p > text) {
            decimals = 0;
            continue;
        }
        if (*p < '0' || *p > '9' || decimals == 2 || value > SHARE_WHOLE)
            return false;
        value = value * 10 + (uint64_t)(*p - '0');
        decimals += decimals >= 0;
    }
    if (p == text || strcmp(p, "%") != 0 || decimals == 0)
        return false;
    *out = value * (decimals == 1 ? 10 : decimals == 2 ? 1 : 100);
    return true;
}

static bool add_header(char **headers, const char *text)
{
    size_t old = *headers ? strlen(*headers) : 0, len = strlen(text);
    const char *colon = strchr(text, ':');
    if (!colon || colon == text || strpbrk(text, "\r\n") || len > 4096 || old > 8192)
        return false;
    char *grown = realloc(*headers, old + len + 3);
    if (!grown)
        return false;
    snprintf(grown + old, len + 3, "%s\r\n", text);
    *headers = grown;
    return true;
}

static bool set_value(struct load_options *options, const struct option_row *row, const char *value,
                      char *error, size_t error_size)
{
    void *field = (char *)options + row->offset;
    uint64_t number = 0;

    switch (row->type) {
    case OPTION_STRING:
        *(const char **)field = value;
        return true;
    case OPTION_FLAG:
        *(bool *)field = true;
        return true;
    case OPTION_HEADER:
        if (add_header(field, value))
            return true;
        snprintf(error, error_size, "--header: '%s' is not NAME: VALUE (or too long)", value);
        return false;
    case OPTION_SHARE:
        if (parse_share(value, &number) && number >= row->min && number <= row->max) {
            *(uint64_t *)field = number;
            return true;
        }
        snprintf(error, error_size, "--%s: '%s' is not a share of the connections (%g%% … %g%%)", row->name,
                 value, (double)row->min / 100, (double)row->max / 100);
        return false;
    case OPTION_UINT:
    case OPTION_DURATION:
        break;
    }
    bool duration = row->type == OPTION_DURATION;
    if (!parse_number(value, duration ? time_units : count_units, &number)) {
        snprintf(error, error_size, "--%s: '%s' is not a %s", row->name, value,
                 duration ? "time (500ms, 30s, 5m, 1h)" : "number (1000, 10k, 1M)");
        return false;
    }
    if (number < row->min || number > row->max) {
        snprintf(error, error_size, "--%s: %s is out of range (%" PRIu64 " … %" PRIu64 "%s)", row->name,
                 value, row->min, row->max, duration ? " ms" : "");
        return false;
    }
    *(uint64_t *)field = number;
    return true;
}

static const struct option_row *find_row(const char *name, size_t len)
{
    for (size_t i = 0; i < option_row_count; i++)
        if (strlen(option_rows[i].name) == len && memcmp(option_rows[i].name, name, len) == 0)
            return &option_rows[i];
    return NULL;
}

/* `given` gets the row's bit. */
static bool parse_argument(struct load_options *options, int argc, char **argv, int *at, uint64_t *given,
                           char *error, size_t error_size)
{
    const char *name = argv[*at] + 2, *equals = strchr(name, '=');
    const struct option_row *row = find_row(name, equals ? (size_t)(equals - name) : strlen(name));

    if (!row) {
        snprintf(error, error_size, "unknown option %s; see --help", argv[*at]);
        return false;
    }
    *given |= UINT64_C(1) << (row - option_rows);
    if (row->type == OPTION_FLAG) {
        if (equals) {
            snprintf(error, error_size, "--%s takes no value", row->name);
            return false;
        }
        return set_value(options, row, NULL, error, error_size);
    }
    const char *value = equals ? equals + 1 : *at + 1 < argc ? argv[++*at] : NULL;
    if (!value) {
        snprintf(error, error_size, "--%s needs a value: --%s=%s", row->name, row->name, row->argument);
        return false;
    }
    return set_value(options, row, value, error, error_size);
}

static bool find_mode(const char *name, enum load_mode *out)
{
    for (int mode = 0; mode < LOAD_MODE_COUNT; mode++)
        if (strcmp(name, load_modes[mode].name) == 0) {
            *out = (enum load_mode)mode;
            return true;
        }
    return false;
}

enum options_result load_options_parse(struct load_options *options, int argc, char **argv, char *error,
                                       size_t error_size)
{
    bool have_mode = false;
    uint64_t given = 0;

    PG_ASSERT(option_row_count <= 64); /* bits of `given` */
    memset(options, 0, sizeof(*options));
    for (size_t i = 0; i < option_row_count; i++)
        if (option_rows[i].default_value &&
            !set_value(options, &option_rows[i], option_rows[i].default_value, error, error_size))
            return OPTIONS_BAD;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return OPTIONS_HELP;
        if (strcmp(argv[i], "--version") == 0)
            return OPTIONS_VERSION;
        if (strcmp(argv[i], "--print-man=options") == 0)
            return OPTIONS_MAN_OPTIONS;
        if (strcmp(argv[i], "--print-man=modes") == 0)
            return OPTIONS_MAN_MODES;
        if (strcmp(argv[i], "--print-words") == 0)
            return OPTIONS_WORDS;
        if (strncmp(argv[i], "--", 2) == 0) {
            if (!parse_argument(options, argc, argv, &i, &given, error, error_size))
                return OPTIONS_BAD;
        } else if (!have_mode && find_mode(argv[i], &options->mode)) {
            have_mode = true;
        } else {
            snprintf(
                error, error_size,
                "'%s': a mode (idle, fanout, storm, churn, slow) and then options are expected; see --help",
                argv[i]);
            return OPTIONS_BAD;
        }
    }
    if (!have_mode) {
        snprintf(error, error_size, "a mode is needed: idle, fanout, storm, churn or slow; see --help");
        return OPTIONS_BAD;
    }
    return options_check(options, given, error, error_size) ? OPTIONS_RUN : OPTIONS_BAD;
}

void load_options_fini(struct load_options *options)
{
    free(options->headers);
    free(options->send_binary);
    options->headers = NULL;
    options->send_binary = NULL;
}
