/* What pushgate-load says of its command line: --help, pushgate-load(1), shell completion. */
#include "gateway/base/roff.h"
#include "loadtest/options_internal.h"

#include <inttypes.h>
#include <string.h>

enum { HOUR_MS = 3600 * 1000 };

void load_options_help(FILE *out)
{
    fputs("pushgate-load " PUSHGATE_VERSION ": a load test for WebSocket gateways\n\n"
          "usage: pushgate-load MODE --target=URL [options]\n\n",
          out);
    for (int mode = 0; mode < LOAD_MODE_COUNT; mode++)
        fprintf(out, "  %-8s %s\n", load_modes[mode].name, load_modes[mode].help);
    fputc('\n', out);
    for (size_t i = 0; i < option_row_count; i++) {
        const struct option_row *row = &option_rows[i];
        fprintf(out, "  --%s%s%s\n        %s", row->name, row->argument ? "=" : "",
                row->argument ? row->argument : "", row->help);
        if (row->default_value && row->default_value[0])
            fprintf(out, " (%s)", row->default_value);
        fputc('\n', out);
    }
    fputs(
        "\nexit status: 0 when all of the plan was done, every connection opened and stayed, every message "
        "arrived\n"
        "once, in order and intact, and nothing else did; 1 otherwise; 2 when it could not start; 3 when a "
        "signal "
        "ended it\n"
        "early, with no fault in what was checked. Closing handshakes that the server leaves unfinished are "
        "a fault\n"
        "when they are more than a tenth, else a warning.\n"
        "Ctrl-C or SIGTERM ends early, with a report of what was measured and what was not checked; a second "
        "one at\n"
        "once. Before the first connection there is nothing to report. SIGUSR1 ends the opening: the run "
        "goes on "
        "with\n"
        "the connections that are open.\n",
        out);
}

void load_options_man_modes(FILE *out)
{
    for (int mode = 0; mode < LOAD_MODE_COUNT; mode++) {
        roff_tag(out, "", load_modes[mode].name, "", NULL);
        roff_paragraph(out, load_modes[mode].help);
    }
}

/* "Default: 5s. Range: 1 ms … 86400000 ms." */
static void print_facts(const struct option_row *row, FILE *out)
{
    char facts[256] = "", low[32], high[32];
    size_t used = 0;
    bool set = row->default_value && *row->default_value;
    if (set)
        used = (size_t)snprintf(facts, sizeof facts, "Default: %s.", row->default_value);
    switch (row->type) {
    case OPTION_UINT:
        snprintf(low, sizeof low, "%" PRIu64, row->min);
        snprintf(high, sizeof high, "%" PRIu64, row->max);
        break;
    case OPTION_DURATION:
        snprintf(low, sizeof low, "%" PRIu64 " ms", row->min);
        if (row->max % HOUR_MS == 0)
            snprintf(high, sizeof high, "%" PRIu64 " h", row->max / HOUR_MS);
        else
            snprintf(high, sizeof high, "%" PRIu64 " ms", row->max);
        break;
    case OPTION_SHARE:
        snprintf(low, sizeof low, "%g%%", (double)row->min / 100);
        snprintf(high, sizeof high, "%g%%", (double)row->max / 100);
        break;
    case OPTION_STRING:
    case OPTION_FLAG:
    case OPTION_HEADER:
        *low = '\0';
        break;
    }
    if (*low)
        snprintf(facts + used, sizeof facts - used, "%sRange: %s … %s.", set ? " " : "", low, high);
    if (*facts) {
        fputs(".br\n", out);
        roff_paragraph(out, facts);
    }
}

void load_options_man(FILE *out)
{
    for (size_t i = 0; i < option_row_count; i++) {
        const struct option_row *row = &option_rows[i];
        roff_tag(out, "--", row->name, "=", row->argument);
        roff_paragraph(out, row->help);
        print_facts(row, out);
    }
}

void load_options_words(FILE *out)
{
    for (int mode = 0; mode < LOAD_MODE_COUNT; mode++)
        fprintf(out, "%s\n", load_modes[mode].name);
    fputs("--help\n--version\n", out);
    for (size_t i = 0; i < option_row_count; i++) {
        const struct option_row *row = &option_rows[i];
        const char *words = row->argument ? row->argument : "";
        fprintf(out, "--%s%s", row->name, row->argument ? "=" : "");
        if (strncmp(words, "FILE", 4) == 0)
            fputs(" FILE", out);
        else if (strchr(words, '|')) /* choices */
            for (; *words; words += strcspn(words, "|"), words += *words == '|')
                fprintf(out, " %.*s", (int)strcspn(words, "|"), words);
        fputc('\n', out);
    }
}

const char *load_mode_name(enum load_mode mode)
{
    return load_modes[mode].name;
}
