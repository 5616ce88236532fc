/* pushgate-load: opens many WebSocket connections and checks what arrives. */
#include "loadtest/run.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXIT_GOOD = 0, EXIT_FAULTS = 1, EXIT_USAGE = 2 };

static int complain(const char *error)
{
    fprintf(stderr, "pushgate-load: %s\n", error);
    return EXIT_USAGE;
}

/* Every thread inherits the mask; the main thread takes the signals when it is ready for them. */
static void block_signals(void)
{
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static bool write_json(const struct load_options *options, const struct load_result *result)
{
    bool standard = strcmp(options->json_file, "-") == 0;
    FILE *file = standard ? stdout : fopen(options->json_file, "we");
    bool good = file && load_report_json(result, file);

    if (file && !standard && fclose(file) != 0)
        good = false;
    if (!good)
        fprintf(stderr, "pushgate-load: --json: %s: %s\n", options->json_file, strerror(errno));
    return good;
}

static int run(const struct load_options *options)
{
    char error[256];
    int status = EXIT_FAULTS;
    struct load_run *load = load_run_create(options, error, sizeof(error));

    if (!load)
        return complain(error);
    if (!load_run_execute(load, error, sizeof(error))) {
        status = complain(error);
    } else {
        const struct load_result *result = load_run_result(load);
        load_report_text(result,
                         options->json_file && strcmp(options->json_file, "-") == 0 ? stderr : stdout);
        bool written = !options->json_file || write_json(options, result);
        status = written && load_result_good(result) ? EXIT_GOOD : EXIT_FAULTS;
    }
    load_run_destroy(load);
    return status;
}

int main(int argc, char **argv)
{
    struct load_options options;
    char error[512];
    int status = EXIT_GOOD;

    block_signals();
    switch (load_options_parse(&options, argc, argv, error, sizeof(error))) {
    case OPTIONS_HELP:
        load_options_help(stdout);
        break;
    case OPTIONS_VERSION:
        puts("pushgate-load " PUSHGATE_VERSION);
        break;
    case OPTIONS_BAD:
        status = complain(error);
        break;
    case OPTIONS_RUN:
        status = run(&options);
        break;
    }
    load_options_fini(&options);
    return status;
}
