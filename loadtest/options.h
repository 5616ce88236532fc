/* The command line of pushgate-load: one table makes parser and --help.
 *
 * Thread: parsed at start, read-only afterwards. Owner: strings point into argv, but `headers`, freed by
 * load_options_fini().
 */
#pragma once

#include "loadtest/target.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum load_mode { LOAD_IDLE, LOAD_FANOUT, LOAD_STORM, LOAD_CHURN, LOAD_SLOW, LOAD_MODE_COUNT };

/* Which handshakes the storms of a wss target do. */
enum load_handshakes { HANDSHAKES_BOTH, HANDSHAKES_FULL, HANDSHAKES_RESUMED };

enum { SHARE_WHOLE = 10000 }; /* shares of connections are kept in hundredths of a percent */

struct load_options {
    enum load_mode mode;
    const char *target_text;
    struct target target;
    uint64_t connections;
    uint64_t rate; /* connections per second; 0: as fast as --in-progress allows */
    uint64_t in_progress;
    uint64_t connect_timeout_ms;
    uint64_t hold_ms;
    const char *sources_text; /* NULL: loopback targets get as many as they need */
    struct source_range sources;
    uint64_t processes; /* 0: as many as RLIMIT_NOFILE needs */

    const char *ca_file;
    const char *subprotocol;
    char *headers; /* whole lines with CRLF */
    const char *send_text;
    const char *send_binary_text;
    uint8_t *send_binary; /* NULL: nothing to send */
    size_t send_binary_bytes;
    bool unwrap, insecure, resume, shared_fds;

    uint64_t churn_share; /* of SHARE_WHOLE, per second */
    uint64_t slow_share;  /* of SHARE_WHOLE */
    uint64_t slow_read;   /* bytes per second and slow connection; 0: they do not read at all */
    const char *handshakes_text;
    enum load_handshakes handshakes;
    uint64_t return_within_ms;
    uint64_t grace_ms; /* before the end of a connection and after the 101 of the next */

    const char *publish;
    struct net_address publish_address;
    const char *publish_password_file;
    uint64_t idle_hold_ms;
    uint64_t publish_rate; /* messages per second; 0: as fast as the endpoint answers */
    uint64_t publish_pipeline;
    uint64_t messages; /* 0: during --hold */
    uint64_t topics;
    uint64_t message_bytes;
    uint64_t settle_ms;

    const char *json_file;
    const char *report_file;
    uint64_t gateway_pid; /* 0: not measured */
    uint64_t ready_fd;    /* 0: none */
    uint64_t nap_ms;
    bool quiet;
    bool one_by_one; /* a message is published when the one before is everywhere */
    bool watch;
    bool allow_unknown; /* messages that no run has published are no fault */
};

enum options_result {
    OPTIONS_RUN,
    OPTIONS_HELP,
    OPTIONS_VERSION,
    OPTIONS_MAN_OPTIONS,
    OPTIONS_MAN_MODES,
    OPTIONS_WORDS,
    OPTIONS_BAD,
};

/* OPTIONS_BAD: a sentence in `error`. */
enum options_result load_options_parse(struct load_options *options, int argc, char **argv, char *error,
                                       size_t error_size) __attribute__((warn_unused_result));
void load_options_fini(struct load_options *options);
void load_options_help(FILE *out);
/* Parts of pushgate-load(1), in roff; deploy/man has the prose around them. */
void load_options_man(FILE *out);
void load_options_man_modes(FILE *out);
/* For the shell completion: one argument a line, with what may follow it. */
void load_options_words(FILE *out);
const char *load_mode_name(enum load_mode mode);
/* A report goes to standard output, so nothing else may. */
bool load_options_stdout_is_taken(const struct load_options *options);
