/* pushgate ctl: asks a running gateway over its publish socket, and shows the answers to people or scripts.
 *
 * A thin client of the commands that redis-cli may give as well (publisher_connection.c, publisher_topics.c,
 * publisher_control.c). Its subcommands and options stand in two tables, which make --help, the man page and
 * the completion.
 *
 * Thread: main, in a process of its own. Owner: nobody.
 */
#pragma once

#include <stddef.h>
#include <stdio.h>

/* argv[0] is "ctl". Exit status: 0 done, 1 the gateway could not be asked or has refused, 2 bad arguments. */
int ctl_main(int argc, char **argv);

void ctl_print_help(FILE *out);
/* Subcommands and options as parts of a man page, in roff. */
void ctl_print_man_commands(FILE *out);
void ctl_print_man_options(FILE *out);
/* For the shell completion: subcommands, then options, one a line, with what may follow it. */
void ctl_print_words(FILE *out);
