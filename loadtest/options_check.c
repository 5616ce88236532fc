/* What of a command line goes together. */
#include "gateway/base/preflight.h"
#include "loadtest/options_internal.h"
#include "proto/hex.h"

#include <stdlib.h>
#include <string.h>

enum {
    DEFAULT_PUBLISH_RATE = 10,
    SOURCES_MIN = 40,
    SEND_BYTES_MAX = 4096,
};

/* What goes together with a mode and what does not. */
static bool check_mode(struct load_options *options, char *error, size_t error_size)
{
    static const char *const handshakes[] = {"both", "full", "resumed"};
    enum load_mode mode = options->mode;
    const char *name = load_modes[mode].name;

    if (load_modes[mode].publishes && !options->publish) {
        snprintf(error, error_size, "%s needs --publish=127.0.0.1:6390 (or unix:PATH)", name);
        return false;
    }
    if (load_modes[mode].publishes && options->messages == 0 && options->hold_ms == 0) {
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
    if (mode > LOAD_FANOUT && options->publish_rate == 0)
        options->publish_rate = DEFAULT_PUBLISH_RATE;
    return true;
}

/* Writes "idle", "idle and fanout", "idle, fanout and slow". */
static void name_modes(uint64_t modes, char *out, size_t out_size)
{
    size_t at = 0;

    for (unsigned mode = 0; mode < LOAD_MODE_COUNT && at < out_size; mode++) {
        uint64_t later = modes >> (mode + 1);
        if (modes >> mode & 1)
            at += (size_t)snprintf(out + at, out_size - at, "%s%s", load_modes[mode].name,
                                   later == 0                   ? ""
                                   : (later & (later - 1)) == 0 ? " and "
                                                                : ", ");
    }
}

/* An option without effect is a mistake: what it was to bring about does not come about. */
static bool check_given(const struct load_options *options, uint64_t given, char *error, size_t error_size)
{
    char modes[64];

    for (size_t i = 0; i < option_row_count; i++) {
        const struct option_row *row = &option_rows[i];
        if (!(given >> i & 1))
            continue;
        if (!(row->modes >> options->mode & 1)) {
            name_modes(row->modes, modes, sizeof(modes));
            snprintf(error, error_size, "--%s has no effect in %s: it is for %s", row->name,
                     load_modes[options->mode].name, modes);
            return false;
        }
        if (row->modes == PUBLISHING && !options->publish && !load_modes[options->mode].publishes) {
            snprintf(error, error_size, "--%s has no effect without --publish", row->name);
            return false;
        }
    }
    return true;
}

static bool is_stdout(const char *path)
{
    return path && strcmp(path, "-") == 0;
}

bool load_options_stdout_is_taken(const struct load_options *options)
{
    return is_stdout(options->json_file) || is_stdout(options->report_file);
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

/* What must hold whatever the mode. */
/* False: not that many pairs of digits, or without memory. */
static bool parse_hex(const char *text, size_t bytes_max, uint8_t **out, size_t *bytes)
{
    size_t digits = strlen(text);
    if (digits == 0 || digits % 2 != 0 || digits / 2 > bytes_max)
        return false;
    *out = malloc(digits / 2);
    *bytes = digits / 2;
    for (size_t i = 0; *out && i < digits / 2; i++) {
        int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        (*out)[i] = (uint8_t)(high << 4 | low);
    }
    return *out;
}

static bool check_values(struct load_options *options, char *error, size_t error_size)
{
    char reason[160];

    if (options->resume && !options->target.tls) {
        snprintf(error, error_size, "--resume needs a wss:// target");
        return false;
    }
    if (options->publish && !net_parse(options->publish, &options->publish_address, reason, sizeof(reason))) {
        snprintf(error, error_size, "--publish=%s: %s", options->publish, reason);
        return false;
    }
    if (options->watch && load_options_stdout_is_taken(options)) {
        snprintf(error, error_size,
                 "--watch writes to standard output, as a report to '-' does: name a file");
        return false;
    }
    if (is_stdout(options->json_file) && is_stdout(options->report_file)) {
        snprintf(error, error_size, "--json and --report cannot both go to standard output");
        return false;
    }
    if (options->one_by_one && options->topics != 1) {
        snprintf(error, error_size, "--one-by-one is for fanout with one topic");
        return false;
    }
    if (options->send_text && strlen(options->send_text) > SEND_BYTES_MAX) {
        snprintf(error, error_size, "--send: at most %d bytes", SEND_BYTES_MAX);
        return false;
    }
    if (options->send_binary_text && !parse_hex(options->send_binary_text, SEND_BYTES_MAX,
                                                &options->send_binary, &options->send_binary_bytes)) {
        snprintf(error, error_size, "--send-binary: pairs of hexadecimal digits, at most %d", SEND_BYTES_MAX);
        return false;
    }
    if (options->insecure && options->ca_file) {
        snprintf(error, error_size, "--insecure and --cafile exclude each other");
        return false;
    }
    return true;
}

bool options_check(struct load_options *options, uint64_t given, char *error, size_t error_size)
{
    const char *sources = options->sources_text ? options->sources_text : "";

    if (!options->target_text) {
        snprintf(error, error_size, "--target is needed: --target=wss://127.0.0.1:8443/ws?topic=load");
        return false;
    }
    if (!check_given(options, given, error, error_size) || !check_mode(options, error, error_size) ||
        !target_parse(&options->target, options->target_text, (uint32_t)options->topics, error, error_size) ||
        !source_range_parse(&options->sources, sources, error, error_size) ||
        !check_values(options, error, error_size))
        return false;
    if (!target_choose(&options->target, options->sources.count > 0, options->connect_timeout_ms)) {
        snprintf(error, error_size, "--sources: IPv4 addresses cannot reach an IPv6 target");
        return false;
    }
    if (!options->sources_text && loopback_v4(&options->target))
        options->sources = loopback_sources(options->connections);
    return true;
}
