/* Logging: one line an event, logfmt or JSON, rate-limited per kind, to stderr.
 *
 *   log_event(LOG_INFO, "listening", "listener=%s address=%s", "wss", text);
 *   → time=2026-01-02T03:04:05.678Z level=info event=listening listener=wss address=127.0.0.1:8443
 *
 * The format string is logfmt itself: `key=%x` pairs with single spaces between; each value is quoted and
 * escaped when it needs to be, in JSON mode numbers and booleans stay bare. Never pass secrets (keys, tokens,
 * passwords) or payloads.
 *
 * Thread: any; one write(2) a line, to stderr or to the thread that writes the log (log_writer.h), which it
 * never waits for. Owner: settings are process-wide and set once before threads start, the level at any time
 * (atomic).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_FORMAT_LOGFMT, LOG_FORMAT_JSON };

/* In the order of log.priorities' choices: lines on stderr begin with <3> (error), <4>, <6> or <7> (debug),
 * as sd-daemon(3) has it, when stderr is the journal, always, never. */
enum log_priorities { LOG_PRIORITIES_AUTO, LOG_PRIORITIES_ON, LOG_PRIORITIES_OFF };

void log_setup(enum log_level level, enum log_format format);
void log_set_priorities(enum log_priorities priorities); /* after log_setup() */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
bool log_enabled(enum log_level level);
/* Conversions: %s %d %u %ld %lu %lld %llu %zu %zd %c %% and PRIu64 &c., with %.*s; no widths. */
void log_event(enum log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Whatever log.level is: for what was asked for by name, and for what changes log.level. */
void log_always(enum log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void log_vevent(enum log_level level, const char *event, const char *format, __builtin_va_list args);

/* The descriptor that lines go to: 2, or the writer's pipe. A thread with a descriptor table of its own keeps
 * it. */
int log_fd(void);

/* For log_writer.h only. Lines go to this pipe, which is non-blocking, from now on; −1: to stderr again.
 * `stderr_behind`: what the pipe's reader writes to is stderr. */
void log_use_pipe(int fd, bool stderr_behind);
uint64_t log_pipe_lines(void); /* that a pipe took, and that none took */
uint64_t log_pipe_lost(void);

/* A rate limit for one kind of line: at most 10 a second, then silence until the second is over, when the
 * next line carries suppressed=N. */
struct log_limit {
    _Atomic uint64_t window_ms; /* start of the current second */
    _Atomic uint32_t used;
    _Atomic uint32_t suppressed;
};
void log_limited(struct log_limit *limit, enum log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
