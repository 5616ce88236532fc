/* Reads the command line by a table. */
#include "loadtest/options.h"

#include "gateway/base/preflight.h"
#include "loadtest/payload.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum option_type {
    OPTION_STRING,
    OPTION_UINT,     /* with k and M for thousands and millions */
    OPTION_DURATION, /* 500ms, 30s, 5m, 1h; kept in milliseconds */
    OPTION_SHARE,    /* 5%, 0.25%; kept in hundredths of a percent */
    OPTION_FLAG,
    OPTION_HEADER, /* may stand there several times */
};

struct option_row {
    const char *name;
    enum option_type type;
    size_t offset;
    const char *default_value; /* NULL: unset */
    uint64_t min, max;
    const char *argument;
    const char *help;
};

#define AT(field) offsetof(struct load_options, field)

enum {
    DAY_MS = 24 * 3600 * 1000,
    RATE_MAX = 100 * 1000 * 1000,
    DEFAULT_PUBLISH_RATE = 10,
    SOURCES_MIN = 40,
};

static const struct option_row rows[] = {
    {"target", OPTION_STRING, AT(target_text), NULL, 0, 0, "URL",
     "ws:// or wss:// address; {topic} in it becomes load-0 … load-(K-1); topic=NAME stays as it is with one "
     "topic, "
     "else becomes NAME-0 …"},
    {"connections", OPTION_UINT, AT(connections), "1000", 1, 4000000, "N", "connections to open"},
    {"rate", OPTION_UINT, AT(rate), "0", 0, RATE_MAX, "R",
     "new connections per second; 0: as fast as --in-progress allows"},
    {"in-progress", OPTION_UINT, AT(in_progress), "256", 1, 100000, "N",
     "connections that may be opening at the same time"},
    {"connect-timeout", OPTION_DURATION, AT(connect_timeout_ms), "15s", 1, DAY_MS, "TIME",
     "from connect() to the 101 answer"},
    {"hold", OPTION_DURATION, AT(hold_ms), "10s", 0, DAY_MS, "TIME",
     "how long to stay when all are open; fanout without --messages and churn: how long to publish; storm: "
     "how "
     "long to stay before each cut and after the last; slow: how long all read, then how long the slow do "
     "not"},
    {"sources", OPTION_STRING, AT(sources_text), NULL, 0, 0, "FIRST-LAST",
     "IPv4 addresses to connect from in turn (a loopback target: from 127.0.0.1 on as many as keep each "
     "one's "
     "ports less than half used, at least 40); '' lets the kernel choose"},
    {"processes", OPTION_UINT, AT(processes), "0", 0, 1000, "N",
     "workers, each with its own file descriptor table; 0: as many as RLIMIT_NOFILE needs"},
    {"shared-fds", OPTION_FLAG, AT(shared_fds), NULL, 0, 0, NULL,
     "workers share one descriptor table (for ThreadSanitizer)"},
    {"cafile", OPTION_STRING, AT(ca_file), NULL, 0, 0, "FILE",
     "PEM certificates to trust; without it, the system's"},
    {"insecure", OPTION_FLAG, AT(insecure), NULL, 0, 0, NULL, "accept any certificate"},
    {"resume", OPTION_FLAG, AT(resume), NULL, 0, 0, NULL,
     "wss: one connection more fetches a session ticket, which all others present"},
    {"subprotocol", OPTION_STRING, AT(subprotocol), "", 0, 0, "NAME", "Sec-WebSocket-Protocol to offer"},
    {"header", OPTION_HEADER, AT(headers), NULL, 0, 0, "'NAME: VALUE'",
     "further header of the upgrade request; may be repeated"},
    {"send", OPTION_STRING, AT(send_text), NULL, 0, 0, "TEXT",
     "text frame to send when a connection is open"},
    {"churn", OPTION_SHARE, AT(churn_share), "5%", 1, SHARE_WHOLE, "SHARE",
     "churn: connections to replace every second"},
    {"slow", OPTION_SHARE, AT(slow_share), "10%", 1, SHARE_WHOLE - 1, "SHARE",
     "slow: connections that stop reading"},
    {"slow-read", OPTION_UINT, AT(slow_read), "0", 0, RATE_MAX, "BYTES",
     "slow: what each of them still reads per second; 0: nothing"},
    {"handshakes", OPTION_STRING, AT(handshakes_text), "both", 0, 0, "both|full|resumed",
     "storm over wss: come back with full handshakes, by a session ticket, or once each way"},
    {"return-within", OPTION_DURATION, AT(return_within_ms), "60s", 1, DAY_MS, "TIME",
     "storm: how long to try to get everybody back; a failed attempt is repeated"},
    {"publish", OPTION_STRING, AT(publish), NULL, 0, 0, "ADDRESS",
     "Redis-protocol endpoint to publish to, 127.0.0.1:6390 or unix:PATH; storm can do without"},
    {"publish-password-file", OPTION_STRING, AT(publish_password_file), NULL, 0, 0, "FILE",
     "its first line is the password for AUTH; or set PUSHGATE_PUBLISH_PASSWORD"},
    {"idle-hold", OPTION_DURATION, AT(idle_hold_ms), "0", 0, DAY_MS, "TIME",
     "fanout: how long to stay idle when all are open, before the first message"},
    {"one-by-one", OPTION_FLAG, AT(one_by_one), NULL, 0, 0, NULL,
     "fanout: publish a message only when the one before it has arrived everywhere (or nothing has for "
     "--settle), and time that"},
    {"publish-rate", OPTION_UINT, AT(publish_rate), "0", 0, RATE_MAX, "P",
     "messages per second over all topics; 0: as fast as the endpoint answers (fanout) or 10 (storm, churn, "
     "slow)"},
    {"publish-pipeline", OPTION_UINT, AT(publish_pipeline), "64", 1, 100000, "N",
     "publishes that may wait for their reply"},
    {"messages", OPTION_UINT, AT(messages), "0", 0, 4000000000, "N",
     "fanout: messages to publish, topic by topic in turn; 0: during --hold"},
    {"topics", OPTION_UINT, AT(topics), "1", 1, 1000000, "K",
     "topics; connection i subscribes to number i mod K"},
    {"message-bytes", OPTION_UINT, AT(message_bytes), "128", PAYLOAD_BYTES_MIN, PAYLOAD_BYTES_MAX, "BYTES",
     "size of a message"},
    {"settle", OPTION_DURATION, AT(settle_ms), "5s", 1, DAY_MS, "TIME",
     "give up waiting for messages, pongs or closes when none has arrived for so long"},
    {"nap", OPTION_DURATION, AT(nap_ms), "0", 0, 1000, "TIME",
     "idle: let what arrives wait so long, so that a sender on this machine is not interrupted to wake this "
     "program"},
    {"json", OPTION_STRING, AT(json_file), NULL, 0, 0, "FILE",
     "write the report as JSON as well ('-': standard output)"},
    {"report", OPTION_STRING, AT(report_file), NULL, 0, 0, "FILE.html",
     "write the report as one HTML page with plots as well"},
    {"gateway-pid", OPTION_UINT, AT(gateway_pid), "0", 0, INT32_MAX, "PID",
     "measure memory and CPU of this process, too"},
    {"ready-fd", OPTION_UINT, AT(ready_fd), "0", 0, 1000000, "FD",
     "also write the line 'ready' to this descriptor when all connections are open"},
    {"quiet", OPTION_FLAG, AT(quiet), NULL, 0, 0, NULL, "no progress"},
    {"watch", OPTION_FLAG, AT(watch), NULL, 0, 0, NULL,
     "idle: the line 'messages TOTAL open N last NANOSECONDS' (monotonic clock) on standard output when all "
     "are open, and "
     "whenever messages have come and then stopped coming"},
};

enum { ROW_COUNT = sizeof(rows) / sizeof(rows[0]) };

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
    for (size_t i = 0; i < ROW_COUNT; i++)
        if (strlen(rows[i].name) == len && memcmp(rows[i].name, name, len) == 0)
            return &rows[i];
    return NULL;
}

static bool parse_argument(struct load_options *options, int argc, char **argv, int *at, char *error,
                           size_t error_size)
{
    const char *name = argv[*at] + 2, *equals = strchr(name, '=');
    const struct option_row *row = find_row(name, equals ? (size_t)(equals - name) : strlen(name));

    if (!row) {
        snprintf(error, error_size, "unknown option %s; see --help", argv[*at]);
        return false;
    }
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

static const struct mode {
    const char *name, *help;
    bool publishes; /* cannot do without --publish */
} modes[LOAD_MODE_COUNT] = {
    [LOAD_IDLE] = {"idle", "opens connections, holds them, then checks by ping that each one lives", false},
    [LOAD_FANOUT] = {"fanout",
                     "publishes to topics; every connection checks every message's place, content and age",
                     true},
    [LOAD_STORM] = {"storm", "cuts all connections at once and brings all back, with and without resumption",
                    false},
    [LOAD_CHURN] = {"churn", "replaces a share of the connections every second while messages fan out", true},
    [LOAD_SLOW] = {"slow",
                   "a share stops reading while messages fan out: what becomes of them, what of the rest",
                   true},
};

/* What goes together with a mode and what does not. */
static bool check_mode(struct load_options *options, char *error, size_t error_size)
{
    static const char *const handshakes[] = {"both", "full", "resumed"};
    enum load_mode mode = options->mode;
    const char *name = modes[mode].name;

    if (modes[mode].publishes && !options->publish) {
        snprintf(error, error_size, "%s needs --publish=127.0.0.1:6390 (or unix:PATH)", name);
        return false;
    }
    if (mode > LOAD_FANOUT && options->messages > 0) {
        snprintf(error, error_size, "--messages is for fanout: %s lasts as long as --hold says", name);
        return false;
    }
    if (modes[mode].publishes && options->messages == 0 && options->hold_ms == 0) {
        snprintf(error, error_size, "%s needs %s--hold, else nothing is published", name,
                 mode == LOAD_FANOUT ? "--messages or " : "");
        return false;
    }
    size_t choice = 0;
    while (choice < 3 && strcmp(options->handshakes_text, handshakes[choice]) != 0)
        choice++;
    if (choice == 3) {
        snprintf(error, error_size, "--handshakes: '%s' is none of both, full, resumed",
                 options->handshakes_text);
        return false;
    }
    options->handshakes = (enum load_handshakes)choice;
    if (mode == LOAD_STORM && options->resume) {
        snprintf(error, error_size, "storm resumes by itself (--handshakes): leave --resume out");
        return false;
    }
    if (mode > LOAD_FANOUT && options->publish_rate == 0)
        options->publish_rate = DEFAULT_PUBLISH_RATE;
    return true;
}

static bool loopback_v4(const struct target *target)
{
    return target->address.storage.ss_family == AF_INET && target_is_loopback(target);
}

static struct source_range loopback_sources(uint64_t connections)
{
    struct preflight_machine machine;
    preflight_read("", &machine);
    uint64_t count = preflight_sources(&machine, connections);
    return (struct source_range){.first = INADDR_LOOPBACK,
                                 .count = count > SOURCES_MIN ? (uint32_t)count : SOURCES_MIN};
}

static bool check(struct load_options *options, char *error, size_t error_size)
{
    if (!options->target_text) {
        snprintf(error, error_size, "--target is needed: --target=wss://127.0.0.1:8443/ws?topic=load");
        return false;
    }
    if (!target_parse(&options->target, options->target_text, (uint32_t)options->topics, error, error_size))
        return false;
    const char *sources = options->sources_text ? options->sources_text : "";
    if (!options->sources_text && loopback_v4(&options->target))
        options->sources = loopback_sources(options->connections);
    else if (!source_range_parse(&options->sources, sources, error, error_size))
        return false;
    if (options->sources.count > 0 && options->target.address.storage.ss_family != AF_INET) {
        snprintf(error, error_size, "--sources: IPv4 addresses cannot reach an IPv6 target");
        return false;
    }
    if (!check_mode(options, error, error_size))
        return false;
    if (options->resume && !options->target.tls) {
        snprintf(error, error_size, "--resume needs a wss:// target");
        return false;
    }
    if (options->watch && options->mode != LOAD_IDLE) {
        snprintf(error, error_size, "--watch is for idle: fanout checks the messages itself");
        return false;
    }
    if (options->one_by_one && (options->mode != LOAD_FANOUT || options->topics != 1)) {
        snprintf(error, error_size, "--one-by-one is for fanout with one topic");
        return false;
    }
    if (options->send_text && strlen(options->send_text) > 4096) {
        snprintf(error, error_size, "--send: at most 4096 bytes");
        return false;
    }
    if (options->insecure && options->ca_file) {
        snprintf(error, error_size, "--insecure and --cafile exclude each other");
        return false;
    }
    return true;
}

static bool find_mode(const char *name, enum load_mode *out)
{
    for (int mode = 0; mode < LOAD_MODE_COUNT; mode++)
        if (strcmp(name, modes[mode].name) == 0) {
            *out = (enum load_mode)mode;
            return true;
        }
    return false;
}

enum options_result load_options_parse(struct load_options *options, int argc, char **argv, char *error,
                                       size_t error_size)
{
    bool have_mode = false;

    memset(options, 0, sizeof(*options));
    for (size_t i = 0; i < ROW_COUNT; i++)
        if (rows[i].default_value && !set_value(options, &rows[i], rows[i].default_value, error, error_size))
            return OPTIONS_BAD;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return OPTIONS_HELP;
        if (strcmp(argv[i], "--version") == 0)
            return OPTIONS_VERSION;
        if (strncmp(argv[i], "--", 2) == 0) {
            if (!parse_argument(options, argc, argv, &i, error, error_size))
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
    return check(options, error, error_size) ? OPTIONS_RUN : OPTIONS_BAD;
}

void load_options_fini(struct load_options *options)
{
    free(options->headers);
    options->headers = NULL;
}

void load_options_help(FILE *out)
{
    fputs("pushgate-load " PUSHGATE_VERSION ": a load test for WebSocket gateways\n\n"
          "usage: pushgate-load MODE --target=URL [options]\n\n",
          out);
    for (int mode = 0; mode < LOAD_MODE_COUNT; mode++)
        fprintf(out, "  %-8s %s\n", modes[mode].name, modes[mode].help);
    fputc('\n', out);
    for (size_t i = 0; i < ROW_COUNT; i++) {
        const struct option_row *row = &rows[i];
        fprintf(out, "  --%s%s%s\n        %s", row->name, row->argument ? "=" : "",
                row->argument ? row->argument : "", row->help);
        if (row->default_value && row->default_value[0])
            fprintf(out, " (%s)", row->default_value);
        fputc('\n', out);
    }
    fputs(
        "\nexit status: 0 when every connection opened and stayed, and nothing was lost, duplicated, out of "
        "order or\n"
        "corrupt; 1 otherwise; 2 for a usage error; 3 when a signal ended it early, with no fault in what "
        "was "
        "checked.\n"
        "Ctrl-C or SIGTERM ends early, with a report of what was measured and what was not checked; a second "
        "one at\n"
        "once. SIGUSR1 ends the opening: the run goes on with the connections that are open.\n",
        out);
}

const char *load_mode_name(enum load_mode mode)
{
    return modes[mode].name;
}
