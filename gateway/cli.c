/* Reads the command line and prints what it can ask for. */
#include "gateway/cli.h"

#include "gateway/base/fdtable.h"
#include "gateway/base/preflight.h"
#include "gateway/base/roff.h"
#include "gateway/key_files.h"
#include "gateway/memory.h"
#include "gateway/plan.h"

#include <inttypes.h>
#include <string.h>

enum {
    OTHER_THREADS = 3,  /* main, publisher, admin */
    OPTION_COLUMN = 27, /* of help: right of "  --print-config-sample" */
};

/* Arguments that are not settings. */
struct request {
    enum cli_action action;
    const char *config_path; /* NULL: none */
};

static const struct {
    const char *argument;
    enum cli_action action;
} actions[] = {
    {"--help", CLI_HELP},
    {"-h", CLI_HELP},
    {"--version", CLI_VERSION},
    {"-V", CLI_VERSION},
    {"--check", CLI_CHECK},
    {"--probe", CLI_PROBE},
    {"--print-config-sample", CLI_SAMPLE},
    {"--print-man=options", CLI_MAN_OPTIONS},
    {"--print-man=settings", CLI_MAN_SETTINGS},
    {"--print-man=ctl-commands", CLI_MAN_CTL_COMMANDS},
    {"--print-man=ctl-options", CLI_MAN_CTL_OPTIONS},
    {"--print-words=ctl", CLI_WORDS_CTL},
    {"--print-words", CLI_WORDS},
};

/* What --help, pushgate(8) and shell completion say of arguments that are not settings. The last two make the
 * man pages and the completion, at build time. */
static const struct {
    const char *argument, *value, *help;
} options[] = {
    {"--config", "FILE", "Reads settings from an INI file: [section], then key = value."},
    {"--check", NULL, "Checks settings and this machine's limits, then exits with 0 or 1."},
    {"--probe", NULL, "Asks the gateway with these settings if it serves; exits with 0 or 1."},
    {"--print-config-sample", NULL, "Prints a file with every setting, its meaning and its default."},
    {"--version, -V", NULL, "Prints the version."},
    {"--help, -h", NULL, "Prints this."},
};
enum { OPTION_COUNT = sizeof options / sizeof *options };

/* An action that prints and ends wins over one that does not, so that --help helps in any company. */
static bool take_action(struct request *request, const char *argument)
{
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
        if (strcmp(argument, actions[i].argument) != 0)
            continue;
        if (request->action == CLI_RUN || request->action == CLI_CHECK || request->action == CLI_PROBE)
            request->action = actions[i].action;
        return true;
    }
    return false;
}

/* Settings look like --section.key, with or without a value. */
static bool is_setting(const char *argument)
{
    size_t name = strcspn(argument, "=");
    return strncmp(argument, "--", 2) == 0 && memchr(argument, '.', name) != NULL;
}

static bool take_config(struct request *request, const char *path, char *error, size_t error_size)
{
    if (!path || !*path) {
        snprintf(error, error_size, "--config needs a file: --config pushgate.conf");
        return false;
    }
    if (request->config_path) {
        snprintf(error, error_size, "--config stands twice: one file has all settings");
        return false;
    }
    request->config_path = path;
    return true;
}

/* Without what stands behind =, which may be a password whose setting was mistyped. */
static bool refuse(const char *argument, char *error, size_t error_size)
{
    size_t name = strcspn(argument, "=");
    if (*argument == '-')
        snprintf(error, error_size, "%.*s: unknown argument; --help lists all", name < 100 ? (int)name : 100,
                 argument);
    else
        snprintf(error, error_size, "%.100s: unexpected argument; did you mean --config %.100s?", argument,
                 argument);
    return false;
}

static bool read_request(int argc, char **argv, struct request *request, char *error, size_t error_size)
{
    static const char config_equals[] = "--config=";
    for (int i = 1; i < argc; i++) {
        const char *argument = argv[i];
        if (strcmp(argument, "--config") == 0) {
            const char *path = i + 1 < argc ? argv[++i] : NULL;
            if (!take_config(request, path, error, error_size))
                return false;
        } else if (strncmp(argument, config_equals, sizeof config_equals - 1) == 0) {
            if (!take_config(request, argument + sizeof config_equals - 1, error, error_size))
                return false;
        } else if (!take_action(request, argument) && !is_setting(argument)) {
            return refuse(argument, error, error_size);
        }
    }
    return true;
}

static bool read_settings(int argc, char **argv, const struct request *request, struct config *config,
                          char *error, size_t error_size)
{
    if (request->config_path && !config_read_file(config, request->config_path, error, error_size))
        return false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--config") == 0)
            i++; /* its file may look like a setting */
        else if (strncmp(argv[i], "--config=", 9) != 0 && is_setting(argv[i]) &&
                 !config_read_argument(config, argv[i], error, error_size))
            return false;
    }
    return true;
}

enum cli_status cli_read(int argc, char **argv, struct config *config, const struct settings *settings,
                         enum cli_action *action, char *error, size_t error_size)
{
    struct request request = {.action = CLI_RUN};
    bool understood = read_request(argc, argv, &request, error, error_size);
    *action = request.action;
    if (!understood)
        return CLI_BAD_USAGE;
    if (request.action != CLI_RUN && request.action != CLI_CHECK && request.action != CLI_PROBE)
        return CLI_OK;
    if (!read_settings(argc, argv, &request, config, error, error_size))
        return CLI_BAD_SETTINGS;
    if (request.action == CLI_PROBE)
        return CLI_OK; /* what is asked is the gateway that runs, not the settings of the next one */
    if (!settings_check(settings, error, error_size)) {
        config_blame(config, error, error_size);
        return CLI_BAD_SETTINGS;
    }
    if (request.action == CLI_CHECK && !key_files_check(settings, error, error_size)) {
        config_blame(config, error, error_size);
        return CLI_BAD_SETTINGS;
    }
    return CLI_OK;
}

void cli_print_help(FILE *out)
{
    fputs("Usage: pushgate [--config FILE] [--section.key=VALUE ...]\n"
          "       pushgate ctl COMMAND ...     asks a running gateway; pushgate ctl --help\n"
          "\n"
          "A WebSocket push gateway: clients subscribe to topics, backends publish with any Redis client.\n"
          "\n",
          out);
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        int used = fprintf(out, "  %s%s%s", options[i].argument, options[i].value ? " " : "",
                           options[i].value ? options[i].value : "");
        fprintf(out, "%*s%s\n", used < OPTION_COLUMN ? OPTION_COLUMN - used : 1, "", options[i].help);
    }
    fputs("\n"
          "Settings, for the file and for the command line, which wins. Sizes are written 512, 64KiB,\n"
          "1MiB or 2GiB, durations 500ms, 30s, 5m, 2h or 1d.\n"
          "\n",
          out);
    config_print_help(settings_keys, settings_key_count, out);
    config_print_section_help(&settings_tls_hosts, out);
    config_print_section_help(&settings_topic_rules, out);
}

void cli_print_sample(FILE *out)
{
    fputs(
        "# pushgate.conf: every setting with its default. Take the # away from a line to change it.\n"
        "# The command line's --section.key=value wins over this file. pushgate --check --config FILE says\n"
        "# what is wrong with it. A change needs a restart; only where SIGHUP is named, files are read "
        "again.\n"
        "\n",
        out);
    config_print_sample(settings_keys, settings_key_count, out);
    config_print_section_sample(&settings_tls_hosts, out);
    config_print_section_sample(&settings_topic_rules, out);
}

void cli_print_man_options(FILE *out)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        roff_tag(out, "", options[i].argument, " ", options[i].value);
        roff_paragraph(out, options[i].help);
    }
}

void cli_print_man_settings(FILE *out)
{
    config_print_man(settings_keys, settings_key_count, out);
    config_print_section_man(&settings_tls_hosts, out);
    config_print_section_man(&settings_topic_rules, out);
}

void cli_print_words(FILE *out)
{
    for (size_t i = 0; i < OPTION_COUNT; i++)
        fprintf(out, "%.*s%s%s\n", (int)strcspn(options[i].argument, ","), options[i].argument,
                options[i].value ? "= " : "", options[i].value ? options[i].value : "");
    fputs("ctl\n", out);
    config_print_words(settings_keys, settings_key_count, out);
}

/* `wanted` as in the file, `here` with what is allowed. */
static const char *descriptors_advice(const struct settings *wanted, const struct settings *here)
{
    if (wanted->threads.private_fds != here->threads.private_fds)
        return "or a seccomp profile that allows unshare(2), so that each reactor has a table of its own";
    if (!here->threads.private_fds)
        return "or threads.private_fds=on, which gives each reactor a table of its own";
    return here->threads.reactors ? "or more reactors, or threads.reactors=0, which starts as many as needed"
                                  : NULL;
}

bool cli_print_check(const struct settings *wanted, const char *root, FILE *out)
{
    struct settings here = *wanted; /* with what is allowed here */
    const struct settings *settings = &here;
    struct preflight_machine machine;
    struct preflight_row rows[PREFLIGHT_ROWS];
    struct plan plan;
    char error[256], number[32], each[32];

    fputs("settings: good\n", out);
    if (here.threads.private_fds && !fdtable_private_allowed()) {
        here.threads.private_fds = false;
        fputs("threads.private_fds: forbidden here, as in containers by default (unshare(2) is refused), so "
              "all "
              "connections share one table of descriptors\n",
              out);
    }
    preflight_read(root, &machine);
    uint64_t nofile = machine.nofile_hard < PREFLIGHT_UNLIMITED ? machine.nofile_hard : machine.nr_open;
    if (!plan_make(settings, plan_cores(), nofile < PREFLIGHT_UNLIMITED ? nofile : UINT32_MAX, &plan, error,
                   sizeof error)) {
        fprintf(out, "%s\n", error);
        return false;
    }
    fprintf(out, "plan: %s connections%s; %u acceptor%s, %u reactor%s of up to %s connections\n",
            preflight_number(plan.connections, number),
            settings->limits.connections ? "" : ", all that descriptors allow (limits.connections is 0)",
            plan.acceptors, plan.acceptors == 1 ? "" : "s", plan.reactors, plan.reactors == 1 ? "" : "s",
            preflight_number(plan.capacity, each));
    const struct memory_need need = memory_reckon(settings, plan.connections, machine.page_bytes);
    memory_print(&need, settings, out);
    const struct preflight_demand demand = {
        .connections = plan.connections,
        .ends = 1,
        .user_bytes = need.user,
        .message_bytes = need.page,
        .fixed_bytes = memory_fixed(&need),
        .table_fds = plan.table_fds,
        .threads = (uint64_t)plan.acceptors + plan.reactors + OTHER_THREADS,
        .backlog = settings->listen.backlog,
        .descriptors_advice = descriptors_advice(wanted, &here),
    };
    size_t count = preflight_judge(&machine, &demand, rows);
    size_t small = preflight_too_small(rows, count);
    fputs("machine:\n", out);
    preflight_print(rows, count, false, out);
    if (small == 0)
        fputs("all large enough\n", out);
    else
        fprintf(
            out,
            "%zu too small. Lines of the form name = value go into a file in /etc/sysctl.d\n"
            "(deploy/sysctl.d/pushgate.conf has them for a million connections); sysctl --system loads it.\n",
            small);
    return small == 0;
}
