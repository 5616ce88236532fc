/* pushgate-load: opens many WebSocket connections and checks what arrives. */
#include "loadtest/run.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXIT_GOOD = 0, EXIT_FAULTS = 1, EXIT_USAGE = 2, EXIT_EARLY = 3 };

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
    sigaddset(&signals, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static bool write_report(const char *option, const char *path, const struct load_result *result,
                         bool (*write)(const struct load_result *result, FILE *out))
{
    bool standard = strcmp(path, "-") == 0;
    FILE *file = standard ? stdout : fopen(path, "we");
    bool good = file && write(result, file);

    if (file && !standard && fclose(file) != 0)
        good = false;
    if (!good)
        fprintf(stderr, "pushgate-load: %s: %s: %s\n", option, path, strerror(errno));
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
        bool written =
            !options->json_file || write_report("--json", options->json_file, result, load_report_json);
        if (options->report_file)
            written = write_report("--report", options->report_file, result, load_report_html) && written;
        static const int statuses[] = {
            [LOAD_PASSED] = EXIT_GOOD, [LOAD_FAILED] = EXIT_FAULTS, [LOAD_ENDED_EARLY] = EXIT_EARLY};
        status = written ? statuses[load_result_verdict(result)] : EXIT_FAULTS;
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
    case OPTIONS_MAN_OPTIONS:
        load_options_man(stdout);
        break;
    case OPTIONS_MAN_MODES:
        load_options_man_modes(stdout);
        break;
    case OPTIONS_WORDS:
        load_options_words(stdout);
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
