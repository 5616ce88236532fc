/* pushgate-load: opens many WebSocket connections and checks what arrives. */
#include "loadtest/output.h"
#include "loadtest/run.h"

#include <signal.h>
#include <stdio.h>

enum { EXIT_GOOD = 0, EXIT_FAULTS = 1, EXIT_USAGE = 2, EXIT_EARLY = 3 };

static int complain(const char *error)
{
    fprintf(stderr, "pushgate-load: %s\n", error);
    return EXIT_USAGE;
}

static int report(const struct load_options *options, const struct load_result *result, struct output *json,
                  struct output *page)
{
    static const int statuses[] = {
        [LOAD_PASSED] = EXIT_GOOD, [LOAD_FAILED] = EXIT_FAULTS, [LOAD_ENDED_EARLY] = EXIT_EARLY};

    load_report_text(result, load_options_stdout_is_taken(options) ? stderr : stdout);
    bool written = output_write(json, result, load_report_json);
    written = output_write(page, result, load_report_html) && written;
    return written ? statuses[load_result_verdict(result)] : EXIT_FAULTS;
}

/* Until connections are opened, a signal just ends the program: name servers and endpoints may keep it
 * waiting, and there is nothing to report. */
static int run(const struct load_options *options)
{
    char error[512];
    int status;
    struct output json = {0}, page = {0};
    struct load_run *load = NULL;

    if ((load = load_run_create(options, error, sizeof(error))) &&
        output_open(&json, "--json", options->json_file, error, sizeof(error)) &&
        output_open(&page, "--report", options->report_file, error, sizeof(error)) &&
        load_run_execute(load, error, sizeof(error)))
        status = report(options, load_run_result(load), &json, &page);
    else
        status = complain(error);
    output_discard(&json);
    output_discard(&page);
    load_run_destroy(load);
    return status;
}

/* It means something only once connections are being opened; threads inherit the mask. */
static void postpone_sigusr1(void)
{
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
}

int main(int argc, char **argv)
{
    struct load_options options;
    char error[512];
    int status = EXIT_GOOD;

    signal(SIGPIPE, SIG_IGN);
    postpone_sigusr1();
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
