/* A line is put together on the stack and leaves with one write(2).
 *
 * Whatever a value holds, it cannot end the line, begin another key or steer a terminal: quotes, backslashes,
 * control characters (C0, DEL, C1) and Unicode's line separators are escaped, bytes that are not UTF-8 are
 * replaced. Both formats escape alike.
 *
 * A line that would grow past its bound keeps whole characters and whole pairs and ends with truncated=true.
 */
#include "gateway/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "gateway/base/clock.h"

enum {
    LINE_BYTES = 4096,  /* PIPE_BUF: a pipe's reader never sees two lines mixed */
    LINE_RESERVE = 128, /* for what closes a line: quote, suppressed, truncated, brace, newline */
    NUMBER_BYTES = 24,  /* the longest 64-bit number with its sign */
    PER_SECOND = 10,
};

struct line {
    size_t len, start; /* where pairs begin */
    bool json;
    bool cut;
    char text[LINE_BYTES];
};

/* One value, as its conversions give it, before escaping. */
struct value {
    size_t len;
    bool bare; /* a number or a boolean: JSON without quotes */
    char text[LINE_BYTES];
};

/* va_list may be an array type, which functions cannot take by address: so it travels in a struct. */
struct arguments {
    va_list list;
};

static struct {
    _Atomic int level;
    enum log_format format;
    bool priorities;    /* on stderr */
    bool stderr_behind; /* the pipe, if there is one */
    int fd;
    _Atomic uint64_t piped, lost; /* lines */
} settings = {LOG_INFO, LOG_FORMAT_LOGFMT, false, true, STDERR_FILENO, 0, 0};

static const char *const level_names[] = {"error", "warn", "info", "debug"};

/* --- Line --- */

/* Bytes that pairs may still take. What closes a line may have gone past that. */
static size_t room(const struct line *line)
{
    return line->len < LINE_BYTES - LINE_RESERVE ? LINE_BYTES - LINE_RESERVE - line->len : 0;
}

/* All of it or, with the cut marked, nothing. */
static void put(struct line *line, const char *text, size_t len)
{
    if (line->cut || len > room(line)) {
        line->cut = true;
    } else {
        memcpy(line->text + line->len, text, len);
        line->len += len;
    }
}

/* What closes a line, from the reserve. */
static void put_closing(struct line *line, const char *text)
{
    size_t len = strlen(text);
    if (len <= LINE_BYTES - line->len) {
        memcpy(line->text + line->len, text, len);
        line->len += len;
    }
}

/* Length of the UTF-8 sequence at text, with its code point; 0 when it is not one (RFC 3629). */
static size_t decode_utf8(const uint8_t *text, size_t len, uint32_t *code)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    uint8_t first = text[0];
    *code = first;
    if (first < 0x80)
        return 1;
    size_t size = first >= 0xf0 && first < 0xf8 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first >= 0xf8 || size > len)
        return 0;
    *code = first & (0x7fu >> size);
    for (size_t i = 1; i < size; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
        *code = *code << 6 | (text[i] & 0x3f);
    }
    bool surrogate = *code >= 0xd800 && *code < 0xe000;
    return *code < smallest[size] || *code > 0x10ffff || surrogate ? 0 : size;
}

static bool is_unprintable(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x2028 || code == 0x2029;
}

static void put_escaped(struct line *line, const char *text, size_t len)
{
    for (size_t at = 0; at < len && !line->cut;) {
        uint32_t code;
        size_t size = decode_utf8((const uint8_t *)text + at, len - at, &code);
        char escape[8];
        if (size == 0) {
            put(line, "\xef\xbf\xbd", 3); /* U+FFFD */
            size = 1;
        } else if (code == '"' || code == '\\') {
            put(line, (const char[]){'\\', (char)code}, 2);
        } else if (code == '\n') {
            put(line, "\\n", 2);
        } else if (code == '\r') {
            put(line, "\\r", 2);
        } else if (code == '\t') {
            put(line, "\\t", 2);
        } else if (is_unprintable(code)) {
            snprintf(escape, sizeof escape, "\\u%04x", (unsigned)code);
            put(line, escape, 6);
        } else {
            put(line, text + at, size);
        }
        at += size;
    }
}

/* Does a logfmt reader need quotes around it? */
static bool needs_quotes(const char *text, size_t len)
{
    if (len == 0)
        return true;
    for (size_t at = 0; at < len;) {
        uint32_t code;
        size_t size = decode_utf8((const uint8_t *)text + at, len - at, &code);
        if (size == 0 || code == ' ' || code == '"' || code == '=' || code == '\\' || is_unprintable(code))
            return true;
        at += size;
    }
    return false;
}

static void put_pair(struct line *line, const char *key, size_t key_len, const struct value *value)
{
    /* A pair that has no room for its key and a number is left out as a whole, so that no key stands without
     * its value. */
    if (line->cut || key_len + NUMBER_BYTES + 4 > room(line)) {
        line->cut = true;
        return;
    }
    bool quoted = line->json ? !value->bare : needs_quotes(value->text, value->len);
    if (line->len > line->start)
        put(line, line->json ? "," : " ", 1);
    put(line, "\"", line->json ? 1 : 0);
    put(line, key, key_len);
    put(line, "\":", line->json ? 2 : 0);
    put(line, "=", line->json ? 0 : 1);
    if (quoted)
        put(line, "\"", 1);
    put_escaped(line, value->text, value->len);
    if (quoted)
        put_closing(line, "\"");
}

/* --- Values --- */

static void value_append(struct value *value, const char *text, size_t len)
{
    size_t left = sizeof value->text - value->len;
    if (len > left)
        len = left; /* escaping shortens nothing, so the line cuts this value anyway, and marks it */
    memcpy(value->text + value->len, text, len);
    value->len += len;
}

static void value_append_number(struct value *value, bool negative, uint64_t magnitude)
{
    char text[NUMBER_BYTES];
    int len = snprintf(text, sizeof text, "%s%llu", negative ? "-" : "", (unsigned long long)magnitude);
    value_append(value, text, (size_t)len);
}

static void value_append_signed(struct value *value, long long n)
{
    value_append_number(value, n < 0, n < 0 ? 0 - (uint64_t)n : (uint64_t)n);
}

/* Appends one conversion; `at` stands behind its %. Returns what follows it, NULL when it is none of ours. */
static const char *convert(struct value *value, const char *at, struct arguments *arguments)
{
    if (strncmp(at, ".*s", 3) == 0) {
        int precision = va_arg(arguments->list, int);
        const char *text = va_arg(arguments->list, const char *);
        if (!text)
            value_append(value, "(null)", 6);
        else
            value_append(value, text, precision < 0 ? strlen(text) : strnlen(text, (size_t)precision));
        return at + 3;
    }
    int longs = 0;
    bool size = *at == 'z';
    if (size)
        at++;
    for (; !size && longs < 2 && *at == 'l'; longs++)
        at++;
    switch (*at) {
    case 's': {
        const char *text = va_arg(arguments->list, const char *);
        value_append(value, text ? text : "(null)", strlen(text ? text : "(null)"));
        break;
    }
    case 'c': {
        char c = (char)va_arg(arguments->list, int);
        value_append(value, &c, 1);
        break;
    }
    case 'd':
        value_append_signed(value, size         ? va_arg(arguments->list, ssize_t)
                                   : longs == 2 ? va_arg(arguments->list, long long)
                                   : longs == 1 ? va_arg(arguments->list, long)
                                                : va_arg(arguments->list, int));
        break;
    case 'u':
        value_append_number(value, false,
                            size         ? va_arg(arguments->list, size_t)
                            : longs == 2 ? va_arg(arguments->list, unsigned long long)
                            : longs == 1 ? va_arg(arguments->list, unsigned long)
                                         : va_arg(arguments->list, unsigned));
        break;
    case '%':
        value_append(value, "%", 1);
        break;
    default:
        return NULL;
    }
    return at + 1;
}

static bool is_boolean(const struct value *value)
{
    return (value->len == 4 && memcmp(value->text, "true", 4) == 0) ||
           (value->len == 5 && memcmp(value->text, "false", 5) == 0);
}

/* Reads the value that begins at `at`, up to the space or the end. NULL when its conversion is none of ours.
 */
static const char *read_value(struct value *value, const char *at, struct arguments *arguments)
{
    const char *start = at;
    value->len = 0;
    bool number = false;
    while (*at && *at != ' ') {
        if (*at != '%') {
            value_append(value, at++, 1);
            continue;
        }
        const char *conversion = at;
        at = convert(value, at + 1, arguments);
        if (!at)
            return NULL;
        /* Bare when the value is this one conversion and nothing else. */
        number = conversion == start && (at[-1] == 'd' || at[-1] == 'u');
        if (number && *at && *at != ' ')
            number = false;
    }
    value->bare = number || is_boolean(value);
    return at;
}

static void put_text_pair(struct line *line, struct value *scratch, const char *key, const char *text)
{
    scratch->len = 0;
    scratch->bare = false;
    value_append(scratch, text, strlen(text));
    put_pair(line, key, strlen(key), scratch);
}

static void put_fields(struct line *line, struct value *scratch, const char *format,
                       struct arguments *arguments)
{
    for (const char *at = format; *at && !line->cut;) {
        at += strspn(at, " ");
        size_t key_len = strcspn(at, "= ");
        if (at[key_len] != '=')
            break; /* no pair: nothing that could be written as one */
        const char *key = at;
        at = read_value(scratch, at + key_len + 1, arguments);
        if (!at) {
            /* The arguments behind it cannot be found any more. */
            put_text_pair(line, scratch, "format_error", format);
            break;
        }
        put_pair(line, key, key_len, scratch);
    }
}

static void format_time(char *out, size_t size)
{
    uint64_t now = clock_realtime_ms();
    time_t seconds = (time_t)(now / 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    size_t len = strftime(out, size, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + len, size - len, ".%03uZ", (unsigned)(now % 1000));
}

static void emit(enum log_level level, const char *event, const char *format, va_list list,
                 uint32_t suppressed)
{
    static const char priorities[][4] = {"<3>", "<4>", "<6>", "<7>"};
    struct arguments arguments;
    va_copy(arguments.list, list);
    int saved_errno = errno; /* a line must not change what its caller reports next */
    struct line line;
    struct value scratch;
    line.len = 0;
    line.cut = false;
    line.json = settings.format == LOG_FORMAT_JSON;
    if (settings.priorities && settings.stderr_behind)
        put(&line, priorities[level], sizeof priorities[0] - 1);
    if (line.json)
        put(&line, "{", 1);
    line.start = line.len;
    char text[48];
    format_time(text, sizeof text);
    put_text_pair(&line, &scratch, "time", text);
    put_text_pair(&line, &scratch, "level", level_names[level]);
    put_text_pair(&line, &scratch, "event", event);
    put_fields(&line, &scratch, format, &arguments);
    va_end(arguments.list);
    if (suppressed) {
        snprintf(text, sizeof text, line.json ? ",\"suppressed\":%u" : " suppressed=%u",
                 (unsigned)suppressed);
        put_closing(&line, text);
    }
    if (line.cut)
        put_closing(&line, line.json ? ",\"truncated\":true" : " truncated=true");
    put_closing(&line, line.json ? "}\n" : "\n");
    ssize_t written;
    do
        written = write(settings.fd, line.text, line.len); /* there is nowhere to report a failure to */
    while (written < 0 && errno == EINTR);
    if (settings.fd != STDERR_FILENO)
        atomic_fetch_add_explicit(written > 0 ? &settings.piped : &settings.lost, 1, memory_order_relaxed);
    errno = saved_errno;
}

/* May this line go out? If so, *suppressed is what it has to report. */
static bool admit(struct log_limit *limit, uint32_t *suppressed)
{
    uint64_t now = clock_monotonic_ms();
    uint64_t window = atomic_load(&limit->window_ms);
    if (now - window >= 1000 && atomic_compare_exchange_strong(&limit->window_ms, &window, now))
        atomic_store(&limit->used, 0);
    if (atomic_fetch_add(&limit->used, 1) >= PER_SECOND) {
        atomic_fetch_add(&limit->suppressed, 1);
        return false;
    }
    *suppressed = atomic_exchange(&limit->suppressed, 0);
    return true;
}

/* systemd says which socket is the journal's (systemd.exec(5), JOURNAL_STREAM): stderr may have been
 * redirected since.
 */
static bool stderr_is_journal(void)
{
    struct stat st;
    char text[64];
    const char *journal = getenv("JOURNAL_STREAM"); // NOLINT(concurrency-mt-unsafe): before threads start
    if (!journal || fstat(STDERR_FILENO, &st) != 0)
        return false;
    snprintf(text, sizeof text, "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
    return strcmp(text, journal) == 0;
}

void log_set_priorities(enum log_priorities priorities)
{
    settings.priorities =
        priorities == LOG_PRIORITIES_ON || (priorities == LOG_PRIORITIES_AUTO && stderr_is_journal());
}

void log_setup(enum log_level level, enum log_format format)
{
    settings.format = format;
    log_set_level(level);
}

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&settings.level, (int)level, memory_order_relaxed);
}

enum log_level log_get_level(void)
{
    return (enum log_level)atomic_load_explicit(&settings.level, memory_order_relaxed);
}

bool log_enabled(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&settings.level, memory_order_relaxed);
}

void log_vevent(enum log_level level, const char *event, const char *format, va_list args)
{
    if (log_enabled(level))
        emit(level, event, format, args, 0);
}

int log_fd(void)
{
    return settings.fd;
}

void log_use_pipe(int fd, bool stderr_behind)
{
    settings.fd = fd >= 0 ? fd : STDERR_FILENO;
    settings.stderr_behind = stderr_behind;
}

uint64_t log_pipe_lines(void)
{
    return atomic_load_explicit(&settings.piped, memory_order_relaxed);
}

uint64_t log_pipe_lost(void)
{
    return atomic_load_explicit(&settings.lost, memory_order_relaxed);
}

void log_event(enum log_level level, const char *event, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    log_vevent(level, event, format, args);
    va_end(args);
}

void log_always(enum log_level level, const char *event, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    emit(level, event, format, args, 0);
    va_end(args);
}

void log_limited(struct log_limit *limit, enum log_level level, const char *event, const char *format, ...)
{
    uint32_t suppressed;
    if (!log_enabled(level) || !admit(limit, &suppressed))
        return;
    va_list args;
    va_start(args, format);
    emit(level, event, format, args, suppressed);
    va_end(args);
}
