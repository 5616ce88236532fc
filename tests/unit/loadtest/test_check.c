/* check: what a load test asks of a made-up machine. */
#include "loadtest/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    char root[64];
    char said[8192];
};

static void write_file(struct fixture *f, const char *path, const char *text)
{
    char full[256];
    snprintf(full, sizeof full, "%s/%s", f->root, path);
    for (char *slash = full + strlen(f->root) + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
        *slash = '\0';
        (void)mkdir(full, 0700);
    }
    FILE *file = fopen(full, "we");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    strcpy(f->root, "/tmp/test_check_XXXXXX");
    if (!mkdtemp(f->root))
        return -1;
    write_file(f, "proc/self/limits", "Max open files  1024  1064  files\n");
    write_file(f, "proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n");
    write_file(f, "proc/meminfo", "MemAvailable:   16836 kB\n"); /* 2,000 pairs of 8,620 bytes */
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    static const char *const paths[] = {"proc/self/limits",  "proc/sys/net/ipv4/ip_local_port_range",
                                        "proc/meminfo",      "proc/self",
                                        "proc/sys/net/ipv4", "proc/sys/net",
                                        "proc/sys",          "proc"};
    struct fixture *f = *state;
    char full[256];
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        snprintf(full, sizeof full, "%s/%s", f->root, paths[i]);
        (void)remove(full);
    }
    (void)remove(f->root);
    free(f);
    return 0;
}

/* What is said before `line` starts. */
static const char *check(struct fixture *f, const char *line, unsigned workers)
{
    struct load_options options;
    char copy[512], error[256], *argv[16] = {(char *)"pushgate-load"}, *save = NULL;
    int argc = 1;
    snprintf(copy, sizeof copy, "%s", line);
    for (char *word = strtok_r(copy, " ", &save); word && argc < 16; word = strtok_r(NULL, " ", &save))
        argv[argc++] = word;
    assert_int_equal(load_options_parse(&options, argc, argv, error, sizeof error), OPTIONS_RUN);
    memset(f->said, 0, sizeof f->said);
    FILE *out = fmemopen(f->said, sizeof f->said - 1, "w");
    load_check_machine(&options, workers, f->root, out);
    fclose(out);
    load_options_fini(&options);
    return f->said;
}

static void what_is_enough_is_not_mentioned(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(check(f, "idle --target=ws://127.0.0.1/ --connections=2000", 2), "");
}

static void one_connection_more_and_it_is_said(void **state)
{
    struct fixture *f = *state;
    assert_non_null(strstr(check(f, "idle --target=ws://127.0.0.1/ --connections=2001", 2), "RLIMIT_NOFILE"));
    assert_null(strstr(f->said, "MemAvailable"));
    assert_non_null(strstr(check(f, "idle --target=ws://127.0.0.1/ --connections=2200", 3), "MemAvailable"));
    assert_null(strstr(f->said, "RLIMIT_NOFILE"));
}

static void a_target_elsewhere_has_its_own_memory(void **state)
{
    struct fixture *f = *state;
    assert_non_null(strstr(check(f, "idle --target=ws://127.0.0.1/ --connections=3000", 3), "MemAvailable"));
    assert_non_null(strstr(check(f, "idle --target=ws://[::1]/ --connections=3000", 3), "MemAvailable"));
    assert_string_equal(check(f, "idle --target=ws://192.0.2.1/ --connections=3000", 3), "");
}

static void one_source_address_has_so_many_ports(void **state)
{
    struct fixture *f = *state;
    static const char one[] = "idle --target=ws://127.0.0.1/ --sources=127.0.0.1 --connections=30000";
    static const char three[] =
        "idle --target=ws://127.0.0.1/ --sources=127.0.0.1-127.0.0.3 --connections=30000";
    assert_non_null(strstr(check(f, one, 30), "ip_local_port_range"));
    assert_null(strstr(check(f, three, 30), "ip_local_port_range"));
}

static void a_shared_table_must_hold_all(void **state)
{
    struct fixture *f = *state;
    assert_non_null(strstr(check(f, "idle --target=ws://127.0.0.1/ --connections=1001 --shared-fds", 2),
                           "or leave out --shared-fds"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(what_is_enough_is_not_mentioned),       TEST(one_connection_more_and_it_is_said),
        TEST(a_target_elsewhere_has_its_own_memory), TEST(one_source_address_has_so_many_ports),
        TEST(a_shared_table_must_hold_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
