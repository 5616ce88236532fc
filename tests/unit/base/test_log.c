/* Log lines in both formats, as they leave through descriptor 2. */
#include "gateway/base/log.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "gateway/base/clock.h"

enum { CAPTURE_BYTES = 60000 };

static char captured[CAPTURE_BYTES + 1];
static int saved_stderr, pipe_ends[2];

static void capture(void)
{
    assert_int_equal(pipe(pipe_ends), 0);
    saved_stderr = dup(STDERR_FILENO);
    assert_true(saved_stderr >= 0);
    assert_true(dup2(pipe_ends[1], STDERR_FILENO) >= 0);
    close(pipe_ends[1]);
}

/* All that was written since capture(); at most what a pipe holds. */
static char *release(void)
{
    assert_true(dup2(saved_stderr, STDERR_FILENO) >= 0);
    close(saved_stderr);
    size_t len = 0;
    ssize_t got;
    while ((got = read(pipe_ends[0], captured + len, CAPTURE_BYTES - len)) > 0)
        len += (size_t)got;
    close(pipe_ends[0]);
    captured[len] = '\0';
    assert_int_equal(strlen(captured), len); /* no zero byte in it */
    return captured;
}

static size_t count_of(const char *text, const char *part)
{
    size_t count = 0;
    for (; (text = strstr(text, part)); text += strlen(part))
        count++;
    return count;
}

/* A line without its time, whose shape is checked. */
static const char *behind_time(char *line, bool json)
{
    const char *prefix = json ? "{\"time\":\"" : "time=";
    const char *shape = "dddd-dd-ddTdd:dd:dd.dddZ";
    assert_memory_equal(line, prefix, strlen(prefix));
    line += strlen(prefix);
    for (; *shape; shape++, line++)
        assert_true(*shape == 'd' ? *line >= '0' && *line <= '9' : *line == *shape);
    return line + json; /* its closing quote */
}

static void assert_line(enum log_format format, const char *golden)
{
    assert_string_equal(behind_time(release(), format == LOG_FORMAT_JSON), golden);
}

/* --- A strict reader of one flat JSON object with unique keys --- */

static const char *skip_json_string(const char *at)
{
    if (*at++ != '"')
        return NULL;
    while (*at != '"') {
        if ((unsigned char)*at < 0x20)
            return NULL;
        if (*at++ != '\\')
            continue;
        if (*at == 'u') {
            if (strspn(at + 1, "0123456789abcdefABCDEF") < 4)
                return NULL;
            at += 4;
        } else if (!*at || !strchr("\"\\/bfnrt", *at)) {
            return NULL;
        }
        at++;
    }
    return at + 1;
}

static const char *skip_json_value(const char *at)
{
    if (*at == '"')
        return skip_json_string(at);
    size_t len = strcspn(at, ",}");
    if ((len == 4 && strncmp(at, "true", 4) == 0) || (len == 5 && strncmp(at, "false", 5) == 0))
        return at + len;
    const char *digits = at + (*at == '-');
    return digits < at + len && strspn(digits, "0123456789") == (size_t)(at + len - digits) ? at + len : NULL;
}

static bool is_valid_utf8(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    while (*at) {
        size_t more = *at < 0x80 ? 0 : *at >= 0xf0 ? 3 : *at >= 0xe0 ? 2 : 1;
        if (*at >= 0x80 && (*at < 0xc2 || *at > 0xf4))
            return false;
        uint32_t code = more ? *at & (0x3fu >> more) : *at;
        for (at++; more > 0; more--, at++) {
            if ((*at & 0xc0) != 0x80)
                return false;
            code = code << 6 | (*at & 0x3f);
        }
        if ((code >= 0xd800 && code < 0xe000) || code > 0x10ffff)
            return false;
    }
    return true;
}

/* One JSON object and a newline, nothing else. */
static bool is_json_line(const char *line)
{
    if (!is_valid_utf8(line) || *line++ != '{')
        return false;
    for (;;) {
        line = skip_json_string(line);
        if (!line || *line++ != ':')
            return false;
        line = skip_json_value(line);
        if (!line)
            return false;
        if (*line == '}')
            return strcmp(line, "}\n") == 0;
        if (*line++ != ',')
            return false;
    }
}

/* --- Tests --- */

static void logfmt_lines_are_as_documented(void **state)
{
    const char *volatile no_text = NULL; /* out of the compiler's sight, which warns of it */
    (void)state;
    log_setup(LOG_INFO, LOG_FORMAT_LOGFMT);
    capture();
    log_event(LOG_INFO, "listening", "listener=%s address=%s", "wss", "127.0.0.1:8443");
    assert_line(LOG_FORMAT_LOGFMT, " level=info event=listening listener=wss address=127.0.0.1:8443\n");
    capture();
    log_event(LOG_WARN, "all", "a=%d b=%u c=%ld d=%lu e=%lld f=%llu g=%zu h=%zd i=%c j=%d%% k=%.*s", -1, 2u,
              -3L, 4UL, INT64_C(-9223372036854775807) - 1LL, 18446744073709551615ULL, (size_t)7, (ssize_t)-8,
              'x', 50, 3, "abcdef");
    assert_line(LOG_FORMAT_LOGFMT, " level=warn event=all a=-1 b=2 c=-3 d=4 e=-9223372036854775808 "
                                   "f=18446744073709551615 g=7 h=-8 i=x j=50% k=abc\n");
    capture();
    log_event(LOG_ERROR, "few", "n=%" PRIu64 " m=%" PRId64 " s=%s t=%s at=%s:%d ok=true", UINT64_C(5),
              INT64_C(-6), "", no_text, "host", 80);
    assert_line(LOG_FORMAT_LOGFMT, " level=error event=few n=5 m=-6 s=\"\" t=(null) at=host:80 ok=true\n");
    capture();
    log_event(LOG_INFO, "bare", "%s", "");
    log_event(LOG_INFO, "none", " ");
    char *lines = release();
    assert_int_equal(count_of(lines, "event=bare\n") + count_of(lines, "event=none\n"), 2);
}

static void json_lines_keep_numbers_and_booleans_bare(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_FORMAT_JSON);
    capture();
    log_event(LOG_INFO, "listening", "listener=%s address=%s", "wss", "127.0.0.1:8443");
    assert_line(LOG_FORMAT_JSON, ",\"level\":\"info\",\"event\":\"listening\",\"listener\":\"wss\","
                                 "\"address\":\"127.0.0.1:8443\"}\n");
    capture();
    log_event(LOG_INFO, "mixed", "n=%d z=%zu s=%s b=%s f=%s digits=%s at=%s:%d p=%d%% c=%c", -7, (size_t)0,
              "", "true", "false", "12", "host", 80, 50, '"');
    assert_line(LOG_FORMAT_JSON,
                ",\"level\":\"info\",\"event\":\"mixed\",\"n\":-7,\"z\":0,\"s\":\"\",\"b\":true,"
                "\"f\":false,\"digits\":\"12\",\"at\":\"host:80\",\"p\":\"50%\",\"c\":\"\\\"\"}\n");
}

/* What strangers may try, with its logfmt and its JSON text. */
static const struct {
    const char *value, *logfmt, *json;
} injections[] = {
    {"two words", "\"two words\"", "\"two words\""},
    {"a=b", "\"a=b\"", "\"a=b\""},
    {"x\ntime=2026 level=error event=forged", "\"x\\ntime=2026 level=error event=forged\"",
     "\"x\\ntime=2026 level=error event=forged\""},
    {"x\r\ny\tz", "\"x\\r\\ny\\tz\"", "\"x\\r\\ny\\tz\""},
    {"\" level=error", "\"\\\" level=error\"", "\"\\\" level=error\""},
    {"\",\"level\":\"error", "\"\\\",\\\"level\\\":\\\"error\"", "\"\\\",\\\"level\\\":\\\"error\""},
    {"back\\", "\"back\\\\\"", "\"back\\\\\""},
    {"\x1b[2J\x7f\x01", "\"\\u001b[2J\\u007f\\u0001\"", "\"\\u001b[2J\\u007f\\u0001\""},
    {"\xc2\x9b"
     "2J",
     "\"\\u009b2J\"", "\"\\u009b2J\""},                                     /* C1: CSI */
    {"a\xe2\x80\xa8z", "\"a\\u2028z\"", "\"a\\u2028z\""},                   /* line separator */
    {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f", "\"gr\xc3\xbc\xc3\x9f\""}, /* UTF-8 stays */
    {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80", "\"\xf0\x9f\x98\x80\""},
    {"a\xff", "\"a\xef\xbf\xbd\"", "\"a\xef\xbf\xbd\""},
    {"\xc0\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\"", "\"\xef\xbf\xbd\xef\xbf\xbd\""}, /* overlong */
    {"\xe0\x80\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
    {"\xf0\x80\x80\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"",
     "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
    {"\xf4\x90\x80\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"",
     "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
    {"\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
    {"\xe2\x82", "\"\xef\xbf\xbd\xef\xbf\xbd\"", "\"\xef\xbf\xbd\xef\xbf\xbd\""}, /* cut short */
    {"%s%n%d", "%s%n%d", "\"%s%n%d\""},
};

static void values_cannot_forge_a_line_or_a_key(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof injections / sizeof *injections; i++) {
        char golden[256];
        log_setup(LOG_INFO, LOG_FORMAT_LOGFMT);
        capture();
        log_event(LOG_INFO, "e", "v=%s n=%d", injections[i].value, 1);
        snprintf(golden, sizeof golden, " level=info event=e v=%s n=1\n", injections[i].logfmt);
        assert_line(LOG_FORMAT_LOGFMT, golden);
        log_setup(LOG_INFO, LOG_FORMAT_JSON);
        capture();
        log_event(LOG_INFO, "e", "v=%s n=%d", injections[i].value, 1);
        snprintf(golden, sizeof golden, ",\"level\":\"info\",\"event\":\"e\",\"v\":%s,\"n\":1}\n",
                 injections[i].json);
        assert_line(LOG_FORMAT_JSON, golden);
        assert_true(is_json_line(captured));
    }
}

static void every_byte_is_safe_in_a_value(void **state)
{
    (void)state;
    for (unsigned byte = 1; byte < 256; byte++) {
        char value[4] = {'a', (char)byte, 'z', 0};
        log_setup(LOG_INFO, LOG_FORMAT_JSON);
        capture();
        log_event(LOG_INFO, "e", "v=%s", value);
        assert_true(is_json_line(release()));
        log_setup(LOG_INFO, LOG_FORMAT_LOGFMT);
        capture();
        log_event(LOG_INFO, "e", "v=%s", value);
        char *line = release();
        assert_true(is_valid_utf8(line));
        assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
        for (char *at = line; at[1]; at++)
            assert_true((unsigned char)*at >= 0x20 && *at != 0x7f);
    }
}

/* Every length around the bound: whole characters, closed quotes, one line, marked. */
static void a_long_line_is_cut_and_says_so(void **state)
{
    (void)state;
    static char value[9001];
    static const char *const units[] = {"a", "\n", "\x01", "\xe2\x82\xac", "\xff", "\"", " "};
    for (size_t unit = 0; unit < sizeof units / sizeof *units; unit++)
        for (size_t len = unit == 0 ? 3700 : 8900; len < (unit == 0 ? 4200 : 8904); len++) {
            size_t size = strlen(units[unit]);
            for (size_t i = 0; i < len; i++)
                value[i] = units[unit][i % size];
            value[len] = '\0';
            for (int format = LOG_FORMAT_LOGFMT; format <= LOG_FORMAT_JSON; format++) {
                log_setup(LOG_INFO, format);
                capture();
                log_event(LOG_INFO, "e", "v=%s n=%d more=%s", value, 123, "text");
                char *line = release();
                size_t line_len = strlen(line);
                assert_in_range(line_len, 1, 4096);
                assert_ptr_equal(strchr(line, '\n'), line + line_len - 1);
                bool whole = strstr(line, format == LOG_FORMAT_JSON ? "\"more\":\"text\"}" : " more=text\n");
                bool marked =
                    strstr(line, format == LOG_FORMAT_JSON ? ",\"truncated\":true}" : " truncated=true\n");
                assert_true(whole != marked);
                assert_true(marked || len < 4096);
                assert_true(len > 3800 || whole);
                if (format == LOG_FORMAT_JSON)
                    assert_true(is_json_line(line));
                assert_true(count_of(line, "n=123") + count_of(line, "\"n\":123") <= 1);
            }
        }
}

static void many_pairs_are_cut_between_pairs(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_FORMAT_JSON);
    for (int len = 1000; len < 1400; len++) {
        static char value[1400];
        memset(value, 'q', (size_t)len);
        capture();
        log_event(LOG_INFO, "e", "a=%.*s b=%.*s c=%.*s d=%d e=%s f=%zu", len, value, len, value, len, value,
                  1, "", (size_t)2);
        assert_true(is_json_line(release()));
        assert_in_range(strlen(captured), 1, 4096);
    }
}

static void nothing_is_written_behind_a_value_that_fills_the_line(void **state)
{
    (void)state;
    static char value[4001], more[501];
    memset(value, 'q', 4000);
    memset(more, 'm', 500);
    for (int format = LOG_FORMAT_LOGFMT; format <= LOG_FORMAT_JSON; format++)
        for (int len = 3800; len < 4000; len++) {
            log_setup(LOG_INFO, format);
            value[0] = ' '; /* quoted in both formats: its closing quote may stand beyond the bound */
            capture();
            log_event(LOG_INFO, "e", "v=%.*s m=%s", len, value, more);
            assert_in_range(strlen(release()), 1, 4096);
            assert_true(count_of(captured, "truncated") == 1 && count_of(captured, "\n") == 1);
        }
}

static void a_conversion_that_is_not_offered_does_no_harm(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_FORMAT_JSON);
    capture();
    log_event(LOG_INFO, "e", "a=%d f=%f s=%s", 1, 2.5, "x");
    assert_line(LOG_FORMAT_JSON,
                ",\"level\":\"info\",\"event\":\"e\",\"a\":1,\"format_error\":\"a=%d f=%f s=%s\"}\n");
}

static void a_string_with_a_length_is_not_read_past_it(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_FORMAT_LOGFMT);
    const char unterminated[3] = {'a', 'b', 'c'};
    capture();
    log_event(LOG_INFO, "e", "v=%.*s w=%.*s", 3, unterminated, 0, unterminated);
    assert_line(LOG_FORMAT_LOGFMT, " level=info event=e v=abc w=\"\"\n");
}

static void lines_below_the_level_are_not_written(void **state)
{
    (void)state;
    log_setup(LOG_WARN, LOG_FORMAT_LOGFMT);
    capture();
    log_event(LOG_INFO, "hidden", "a=%d", 1);
    log_event(LOG_WARN, "shown", "a=%d", 1);
    log_set_level(LOG_DEBUG);
    assert_true(log_enabled(LOG_DEBUG));
    log_event(LOG_DEBUG, "shown", "a=%d", 1);
    log_set_level(LOG_ERROR);
    assert_false(log_enabled(LOG_WARN));
    log_event(LOG_WARN, "hidden", "a=%d", 1);
    char *lines = release();
    assert_int_equal(count_of(lines, "event=shown"), 2);
    assert_int_equal(count_of(lines, "hidden"), 0);
}

static void a_flood_is_cut_to_ten_lines_a_second_and_counted(void **state)
{
    (void)state;
    for (int format = LOG_FORMAT_LOGFMT; format <= LOG_FORMAT_JSON; format++) {
        struct log_limit limit = {0};
        log_setup(LOG_INFO, format);
        capture();
        for (int i = 0; i < 1000; i++)
            log_limited(&limit, LOG_INFO, "flood", "i=%d", i);
        assert_int_equal(count_of(release(), "\n"), 10);
        limit.window_ms = clock_monotonic_ms() - 1000; /* the second is over */
        capture();
        log_limited(&limit, LOG_INFO, "flood", "i=%d", 0);
        log_limited(&limit, LOG_INFO, "flood", "i=%d", 1);
        char *lines = release();
        const char *first =
            format == LOG_FORMAT_JSON ? "\"i\":0,\"suppressed\":990}\n" : "i=0 suppressed=990\n";
        assert_non_null(strstr(lines, first));
        assert_int_equal(count_of(lines, "suppressed"), 1);
        assert_int_equal(count_of(lines, "\n"), 2);
    }
}

static void suppressed_is_told_even_when_the_line_is_cut(void **state)
{
    (void)state;
    static char value[9001];
    memset(value, '\n', 9000);
    for (int format = LOG_FORMAT_LOGFMT; format <= LOG_FORMAT_JSON; format++) {
        struct log_limit limit = {.suppressed = UINT32_MAX};
        log_setup(LOG_INFO, format);
        capture();
        log_limited(&limit, LOG_INFO, "flood", "v=%s", value);
        char *line = release();
        assert_non_null(strstr(line, "4294967295"));
        assert_non_null(strstr(line, "truncated"));
        assert_true(format == LOG_FORMAT_LOGFMT || is_json_line(line));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logfmt_lines_are_as_documented),
        cmocka_unit_test(json_lines_keep_numbers_and_booleans_bare),
        cmocka_unit_test(values_cannot_forge_a_line_or_a_key),
        cmocka_unit_test(every_byte_is_safe_in_a_value),
        cmocka_unit_test(a_long_line_is_cut_and_says_so),
        cmocka_unit_test(many_pairs_are_cut_between_pairs),
        cmocka_unit_test(nothing_is_written_behind_a_value_that_fills_the_line),
        cmocka_unit_test(a_conversion_that_is_not_offered_does_no_harm),
        cmocka_unit_test(a_string_with_a_length_is_not_read_past_it),
        cmocka_unit_test(lines_below_the_level_are_not_written),
        cmocka_unit_test(a_flood_is_cut_to_ten_lines_a_second_and_counted),
        cmocka_unit_test(suppressed_is_told_even_when_the_line_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
