/* The program: reads the command line, then runs the gateway. Exit status: 0 done, 1 failed, 2 bad arguments
 * or settings. */
#include "gateway/cli.h"
#include "gateway/ctl.h"
#include "gateway/gateway.h"
#include "gateway/probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXIT_BAD_USAGE = 2, PROBE_MS = 3000 };

static bool probe(const struct settings *settings)
{
    char error[512];
    bool good = probe_health(settings, PROBE_MS, error, sizeof error);
    if (good)
        puts("healthy");
    else
        fprintf(stderr, "pushgate: %s\n", error);
    return good;
}

/* With good settings. */
static int act(enum cli_action action, const struct settings *settings)
{
    bool good = true;
    switch (action) {
    case CLI_HELP:
        cli_print_help(stdout);
        break;
    case CLI_VERSION:
        puts("pushgate " PUSHGATE_VERSION);
        break;
    case CLI_SAMPLE:
        cli_print_sample(stdout);
        break;
    case CLI_MAN_OPTIONS:
        cli_print_man_options(stdout);
        break;
    case CLI_MAN_SETTINGS:
        cli_print_man_settings(stdout);
        break;
    case CLI_MAN_CTL_COMMANDS:
        ctl_print_man_commands(stdout);
        break;
    case CLI_MAN_CTL_OPTIONS:
        ctl_print_man_options(stdout);
        break;
    case CLI_WORDS_CTL:
        ctl_print_words(stdout);
        break;
    case CLI_WORDS:
        cli_print_words(stdout);
        break;
    case CLI_CHECK:
        good = cli_print_check(settings, "", stdout);
        break;
    case CLI_PROBE:
        good = probe(settings);
        break;
    case CLI_RUN:
        return gateway_run(settings);
    }
    if (fflush(stdout) != 0) {
        perror("pushgate: standard output");
        return EXIT_FAILURE;
    }
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "ctl") == 0)
        return ctl_main(argc - 1, argv + 1);
    struct settings settings = {0};
    char error[2048];
    enum cli_action action;
    struct config *config = settings_config(&settings);
    if (!config) {
        fputs("pushgate: out of memory\n", stderr);
        return EXIT_FAILURE;
    }
    int status;
    enum cli_status read = cli_read(argc, argv, config, &settings, &action, error, sizeof error);
    if (read == CLI_OK) {
        status = act(action, &settings);
    } else {
        fprintf(stderr, "pushgate: %s\n", error);
        bool asked = action == CLI_CHECK || action == CLI_PROBE; /* a question, and the answer is no */
        status = read == CLI_BAD_SETTINGS && asked ? EXIT_FAILURE : EXIT_BAD_USAGE;
    }
    config_destroy(config);
    return status;
}
