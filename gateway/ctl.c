/* The command line of pushgate ctl. */
#include "gateway/ctl_internal.h"

#include "gateway/base/roff.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { STATUS_BAD_USAGE = 2, LIMIT_DEFAULT = 100, COMMAND_COLUMN = 34 };

struct option {
    const char *name, *value, *help;
    size_t offset; /* in struct ctl_args: of a bool, when there is no value */
};

#define AT(field) offsetof(struct ctl_args, field)
static const struct option options[] = {
    {"config", "FILE", "The gateway's configuration: where it listens, and its password.", AT(config)},
    {"address", "ADDRESS", "Where it listens: 127.0.0.1:6390 or unix:/path.", AT(address)},
    {"password-file", "FILE", "Holds the password; PUSHGATE_PASSWORD in the environment wins.",
     AT(password_file)},
    {"timeout", "SECONDS", "How long an answer may take (5).", AT(timeout)},
    {"json", NULL, "Answers as JSON.", AT(json)},
    {"raw", NULL, "Answers as they come, one value a line.", AT(raw)},
    {"limit", "NUMBER", "connections, topics: at most so many (100; 0: all).", AT(limit)},
    {"id", "ID", "connections, close: the one with this id.", AT(id)},
    {"topic", "TOPIC", "connections, close: subscribers of this topic.", AT(topic)},
    {"user", "USER", "connections, close: those of this user; \"\": anonymous ones.", AT(user)},
    {"client", "ID", "connections, close: the one with this client id.", AT(client)},
    {"code", "CODE", "close: close code (1000, for SDKs 3503: do not come back).", AT(code)},
    {"reason", "TEXT", "close: close reason.", AT(reason)},
    {"status", NULL, "drain: how far it is, without beginning one.", AT(status)},
    {"wait", NULL, "drain, shutdown: until the gateway has ended.", AT(wait)},
    {"now", NULL, "shutdown: at once, without a drain.", AT(now)},
    {"help", NULL, "Prints this.", AT(help)},
};
#undef AT
enum { OPTION_COUNT = sizeof options / sizeof *options };

static const struct option *find_option(const char *name, size_t bytes)
{
    for (size_t i = 0; i < OPTION_COUNT; i++)
        if (strlen(options[i].name) == bytes && memcmp(options[i].name, name, bytes) == 0)
            return &options[i];
    return NULL;
}

static int __attribute__((format(printf, 1, 2))) bad_usage(const char *format, ...)
{
    va_list values;
    fputs("pushgate ctl: ", stderr);
    va_start(values, format);
    // NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): it is, one line above
    vfprintf(stderr, format, values);
    va_end(values);
    fputs("; pushgate ctl --help lists all\n", stderr);
    return STATUS_BAD_USAGE;
}

/* argv[*at] is an option, with its value behind = or in the next argument. 0: taken. */
static int take_option(struct ctl_args *args, int argc, char **argv, int *at)
{
    const char *name = argv[*at] + 2, *equals = strchr(name, '=');
    const struct option *option = find_option(name, equals ? (size_t)(equals - name) : strlen(name));
    if (!option)
        return bad_usage("%s: unknown option", argv[*at]);
    char *field = (char *)args + option->offset;
    if (!option->value) {
        if (equals)
            return bad_usage("--%s takes no value", option->name);
        *(bool *)field = true;
        return 0;
    }
    if (!equals && *at + 1 == argc)
        return bad_usage("--%s needs a value", option->name);
    if (*(const char **)(void *)field)
        return bad_usage("--%s stands twice", option->name);
    *(const char **)(void *)field = equals ? equals + 1 : argv[++*at];
    return 0;
}

/* Words are moved to the front of argv. 0: read. */
static int read_args(int argc, char **argv, struct ctl_args *args)
{
    bool literal = false; /* behind "--", and all that "command" passes on */
    for (int i = 1; i < argc; i++) {
        if (!literal && strcmp(argv[i], "--") == 0) {
            literal = true;
        } else if (!literal && strcmp(argv[i], "-h") == 0) {
            args->help = true;
        } else if (!literal && strncmp(argv[i], "--", 2) == 0) {
            int status = take_option(args, argc, argv, &i);
            if (status != 0)
                return status;
        } else {
            argv[args->word_count++] = argv[i];
            literal |= args->word_count == 1 && strcmp(argv[0], "command") == 0;
        }
    }
    args->words = argv;
    return 0;
}

static bool read_number(const char *text, uint64_t *number)
{
    char *end;
    errno = 0;
    *number = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == '\0' && errno == 0;
}

static const struct ctl_command *find_command(const char *name)
{
    for (size_t i = 0; i < ctl_command_count; i++)
        if (strcmp(ctl_commands[i].name, name) == 0)
            return &ctl_commands[i];
    return NULL;
}

static int check_args(struct ctl_args *args, const struct ctl_command *command)
{
    uint64_t seconds;
    args->limit_number = LIMIT_DEFAULT;
    if (args->limit && !read_number(args->limit, &args->limit_number))
        return bad_usage("--limit=%s is no number", args->limit);
    if (args->timeout && (!read_number(args->timeout, &seconds) || seconds == 0 || seconds > 86400))
        return bad_usage("--timeout=%s: a whole number of seconds, at least 1", args->timeout);
    if (args->config && args->address)
        return bad_usage("--config and --address do not go together: both say where the gateway is");
    if (args->json && args->raw)
        return bad_usage("--json and --raw do not go together");
    if (args->word_count < command->words_min)
        return bad_usage("%s: something is missing behind it", command->name);
    if (args->word_count > command->words_max)
        return bad_usage("%s is too much", args->words[command->words_max]);
    return 0;
}

int ctl_main(int argc, char **argv)
{
    struct ctl ctl = {.out = stdout, .err = stderr};
    struct ctl_args *args = &ctl.args;
    int status = read_args(argc, argv, args);
    if (status != 0)
        return status;
    if (args->help) {
        ctl_print_help(stdout);
        return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    if (args->word_count == 0)
        return bad_usage("what shall it do? connections, topics, counters, …");
    const struct ctl_command *command = find_command(args->words[0]);
    if (!command)
        return bad_usage("%s: unknown subcommand", args->words[0]);
    args->words++;
    args->word_count--;
    status = check_args(args, command);
    if (status != 0)
        return status;
    signal(SIGPIPE, SIG_IGN); /* a gateway that ends is no reason to be killed */
    ctl.form = args->json ? CTL_JSON : args->raw ? CTL_RAW : CTL_PEOPLE;
    status = ctl_connect(&ctl) ? command->run(&ctl) : EXIT_FAILURE;
    if (ctl.redis)
        redisFree(ctl.redis);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        if (errno != EPIPE) /* whoever reads has seen enough, as head(1) does */
            perror("pushgate ctl: standard output");
        return EXIT_FAILURE;
    }
    return status;
}

/* Help
 * ------------------------------------------------------------------------------------------------ */

static void print_row(FILE *out, const char *prefix, const char *name, const char *value, const char *help)
{
    int used = fprintf(out, "  %s%s%s%s", prefix, name, value && *value ? " " : "", value ? value : "");
    if (used >= COMMAND_COLUMN)
        used = fprintf(out, "\n") - 1;
    fprintf(out, "%*s%s\n", COMMAND_COLUMN - used, "", help);
}

void ctl_print_help(FILE *out)
{
    fputs("Usage: pushgate ctl [--config FILE | --address ADDRESS] COMMAND [ARGUMENT ...]\n"
          "\n"
          "Asks a running gateway, over its publish socket. Without --config and --address it looks into\n"
          "/etc/pushgate/pushgate.conf, and without that file at 127.0.0.1:6390. redis-cli may be used as\n"
          "well: CONNECTION HELP, TOPIC HELP and CONFIG HELP say how.\n"
          "\n"
          "Commands:\n",
          out);
    for (size_t i = 0; i < ctl_command_count; i++)
        print_row(out, "", ctl_commands[i].name, ctl_commands[i].arguments, ctl_commands[i].help);
    fputs("\nOptions:\n", out);
    for (size_t i = 0; i < OPTION_COUNT; i++)
        print_row(out, "--", options[i].name, options[i].value, options[i].help);
    fputs("\n"
          "Exit status: 0 done, 1 the gateway could not be asked or has refused, 2 bad arguments.\n"
          "publish.control says from where a gateway takes these commands.\n",
          out);
}

void ctl_print_man_commands(FILE *out)
{
    for (size_t i = 0; i < ctl_command_count; i++) {
        const char *arguments = ctl_commands[i].arguments;
        roff_tag(out, "", ctl_commands[i].name, " ", *arguments ? arguments : NULL);
        roff_paragraph(out, ctl_commands[i].help);
    }
}

void ctl_print_man_options(FILE *out)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        roff_tag(out, "--", options[i].name, "=", options[i].value);
        roff_paragraph(out, options[i].help);
    }
}

void ctl_print_words(FILE *out)
{
    for (size_t i = 0; i < ctl_command_count; i++)
        fprintf(out, "%s\n", ctl_commands[i].name);
    for (size_t i = 0; i < OPTION_COUNT; i++)
        fprintf(out, "--%s%s%s\n", options[i].name, options[i].value ? "= " : "",
                options[i].value && strcmp(options[i].value, "FILE") == 0 ? "FILE" : "");
}
