/* cli: what the arguments ask for, and one sentence for those that cannot be understood. */
#include "gateway/cli.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { ARGUMENTS_MAX = 8 };

struct fixture {
    struct settings settings;
    struct config *config;
    enum cli_action action;
    char error[512];
    char path[32]; /* of a file for --config */
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->config = settings_config(&f->settings);
    *state = f;
    return f->config ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    if (*f->path)
        unlink(f->path);
    config_destroy(f->config);
    free(f);
    return 0;
}

static void write_file(struct fixture *f, const char *text)
{
    strcpy(f->path, "/tmp/test_cli_XXXXXX");
    int fd = mkstemp(f->path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

/* `arguments` ends with NULL. */
static enum cli_status read_arguments(struct fixture *f, const char *const *arguments)
{
    char *argv[ARGUMENTS_MAX + 2] = {(char *)"pushgate"};
    int argc = 1;
    for (; arguments[argc - 1]; argc++)
        argv[argc] = (char *)arguments[argc - 1];
    *f->error = '\0';
    return cli_read(argc, argv, f->config, &f->settings, &f->action, f->error, sizeof f->error);
}
#define READ(f, ...) read_arguments(f, (const char *const[]){__VA_ARGS__, NULL})

static void settings_on_the_command_line_are_enough_to_run(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(READ(f, "--listen.ws=127.0.0.1:8080", "--demo.enabled=on", "--auth.anonymous=on"),
                     CLI_OK);
    assert_int_equal(f->action, CLI_RUN);
    assert_string_equal(f->settings.listen.ws, "127.0.0.1:8080");
    assert_true(f->settings.demo.enabled);
}

static void arguments_win_over_the_file_wherever_they_stand(void **state)
{
    struct fixture *f = *state;
    write_file(f, "[listen]\nws = 127.0.0.1:1\nadmin = 127.0.0.1:2\n[auth]\nanonymous = on\n");
    assert_int_equal(READ(f, "--listen.ws=127.0.0.1:3", "--config", f->path), CLI_OK);
    assert_string_equal(f->settings.listen.ws, "127.0.0.1:3");
    assert_string_equal(f->settings.listen.admin, "127.0.0.1:2");
}

static void a_files_error_names_file_and_line(void **state)
{
    struct fixture *f = *state;
    char expected[128];
    char config[64];
    write_file(f, "[listen]\nsw = 127.0.0.1:1\n");
    snprintf(config, sizeof config, "--config=%s", f->path);
    snprintf(expected, sizeof expected, "%s:2: listen.sw: unknown key; did you mean listen.ws?", f->path);
    assert_int_equal(READ(f, config), CLI_BAD_SETTINGS);
    assert_string_equal(f->error, expected);
}

static void rules_between_settings_are_checked(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(READ(f, "--check"), CLI_BAD_SETTINGS);
    assert_int_equal(f->action, CLI_CHECK);
    assert_non_null(strstr(f->error, "set listen.wss or listen.ws"));
}

static void a_broken_rule_names_the_line_that_breaks_it(void **state)
{
    struct fixture *f = *state;
    char expected[128];
    char config[64];
    write_file(f, "[listen]\nws = 127.0.0.1:1\n\nadmin = 0.0.0.0:9190\n[auth]\nanonymous = on\n");
    snprintf(config, sizeof config, "--config=%s", f->path);
    snprintf(expected, sizeof expected, "%s:4: listen.admin: 0.0.0.0:9190 can be reached", f->path);
    assert_int_equal(READ(f, config), CLI_BAD_SETTINGS);
    assert_int_equal(strncmp(f->error, expected, strlen(expected)), 0);
    assert_int_equal(READ(f, config, "--listen.admin=*:1"), CLI_BAD_SETTINGS);
    assert_int_equal(strncmp(f->error, "--listen.admin: *:1 can", 23), 0);
    assert_int_equal(READ(f, config, "--admin.password=correct horse"), CLI_OK);
}

static void help_helps_in_any_company(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(READ(f, "--check", "--help", "--no.such=1"), CLI_OK);
    assert_int_equal(f->action, CLI_HELP);
    assert_int_equal(READ(f, "-h"), CLI_OK);
    assert_int_equal(f->action, CLI_HELP);
    assert_int_equal(READ(f, "--version"), CLI_OK);
    assert_int_equal(f->action, CLI_VERSION);
    assert_int_equal(READ(f, "--print-config-sample"), CLI_OK);
    assert_int_equal(f->action, CLI_SAMPLE);
}

static void usage_errors_say_what_was_meant(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(READ(f, "--confg"), CLI_BAD_USAGE);
    assert_string_equal(f->error, "--confg: unknown argument; --help lists all");
    assert_int_equal(READ(f, "my.conf"), CLI_BAD_USAGE);
    assert_string_equal(f->error, "my.conf: unexpected argument; did you mean --config my.conf?");
    assert_int_equal(READ(f, "--config"), CLI_BAD_USAGE);
    assert_int_equal(READ(f, "--config="), CLI_BAD_USAGE);
    assert_int_equal(READ(f, "--config", "a", "--config=b"), CLI_BAD_USAGE);
    assert_int_equal(READ(f, ""), CLI_BAD_USAGE);
}

static void a_file_may_be_named_like_a_setting(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(READ(f, "--config", "--no.such"), CLI_BAD_SETTINGS);
    assert_string_equal(f->error, "--no.such: cannot open it: No such file or directory");
}

/* Columns of the longest line; "…" is three bytes and one column. */
static size_t widest_line(void (*print)(FILE *))
{
    char *text = NULL;
    size_t len, widest = 0, columns = 0;
    FILE *out = open_memstream(&text, &len);
    print(out);
    fclose(out);
    for (const char *at = text; *at; at++) {
        columns = *at == '\n' ? 0 : columns + (((unsigned char)*at & 0xc0) != 0x80);
        widest = columns > widest ? columns : widest;
    }
    free(text);
    return widest;
}

static void help_and_sample_fit_100_columns(void **state)
{
    (void)state;
    assert_in_range(widest_line(cli_print_help), 80, 100);
    assert_in_range(widest_line(cli_print_sample), 80, 100);
}

static void the_sample_is_a_good_file(void **state)
{
    struct fixture *f = *state;
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    cli_print_sample(out);
    fclose(out);
    write_file(f, text);
    free(text);
    assert_int_equal(READ(f, "--config", f->path, "--listen.ws=127.0.0.1:1", "--auth.anonymous=on"), CLI_OK);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(settings_on_the_command_line_are_enough_to_run),
        TEST(arguments_win_over_the_file_wherever_they_stand),
        TEST(a_files_error_names_file_and_line),
        TEST(rules_between_settings_are_checked),
        TEST(a_broken_rule_names_the_line_that_breaks_it),
        TEST(help_helps_in_any_company),
        TEST(usage_errors_say_what_was_meant),
        TEST(a_file_may_be_named_like_a_setting),
        TEST(help_and_sample_fit_100_columns),
        TEST(the_sample_is_a_good_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
