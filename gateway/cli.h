/* The command line: what pushgate was asked to do, and its settings.
 *
 * Thread: main, before others start. Owner: nobody; settings land in the caller's config.
 */
#pragma once

#include "gateway/settings/settings.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum cli_action {
    CLI_RUN,
    CLI_CHECK,
    CLI_PROBE,
    CLI_HELP,
    CLI_VERSION,
    CLI_SAMPLE,
    CLI_MAN_OPTIONS,
    CLI_MAN_SETTINGS,
    CLI_MAN_CTL_COMMANDS,
    CLI_MAN_CTL_OPTIONS,
    CLI_WORDS,
    CLI_WORDS_CTL,
};

enum cli_status {
    CLI_OK,
    CLI_BAD_USAGE,    /* an argument that is not understood */
    CLI_BAD_SETTINGS, /* in the file, in an argument, or several that do not go together */
};

/* Reads --config's file into `config`, then the arguments, which win, and checks `settings` (the struct that
 * `config` fills). But for CLI_RUN, CLI_CHECK and CLI_PROBE nothing is read. Not CLI_OK: one sentence in
 * error; *action is set in any case. */
enum cli_status cli_read(int argc, char **argv, struct config *config, const struct settings *settings,
                         enum cli_action *action, char *error, size_t error_size)
    __attribute__((warn_unused_result));

void cli_print_help(FILE *out);
void cli_print_sample(FILE *out);
/* Parts of pushgate(8) and pushgate.conf(5), in roff; deploy/man has the prose around them. */
void cli_print_man_options(FILE *out);
void cli_print_man_settings(FILE *out);
/* For the shell completion: one argument a line, with what may follow it. */
void cli_print_words(FILE *out);
/* What --check says of good settings: whether this machine holds as many connections as they ask for, and
 * what to change. False when something is too small. `root` is "", or a directory with another machine's
 * proc/. */
bool cli_print_check(const struct settings *settings, const char *root, FILE *out);
