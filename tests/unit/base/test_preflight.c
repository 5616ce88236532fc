/* preflight: made-up machines, read from a tree of files, against what a number of connections needs. */
#include "gateway/base/preflight.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    char root[64];
    struct preflight_machine machine;
    struct preflight_row rows[PREFLIGHT_ROWS];
    size_t count;
};

static const struct {
    const char *path, *text;
} large_machine[] = {
    {"proc/self/limits", "Limit                     Soft Limit           Hard Limit           Units     \n"
                         "Max cpu time              unlimited            unlimited            seconds   \n"
                         "Max processes             96365                96366                processes \n"
                         "Max open files            1024                 524288               files     \n"},
    {"proc/sys/fs/nr_open", "1048576\n"},
    {"proc/sys/fs/file-max", "9223372036854775807\n"},
    {"proc/sys/fs/file-nr", "1696\t0\t9223372036854775807\n"},
    {"proc/sys/fs/epoll/max_user_watches", "5491511\n"},
    {"proc/sys/net/core/somaxconn", "4096\n"},
    {"proc/sys/net/ipv4/tcp_mem", "1550000\t1825000\t2100000\n"},
    {"proc/sys/net/ipv4/tcp_ehash_entries", "1048576\n"},
    {"proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n"},
    {"proc/sys/net/netfilter/nf_conntrack_max", "1262144\n"},
    {"proc/sys/net/netfilter/nf_conntrack_count", "7\n"},
    {"proc/sys/kernel/threads-max", "192730\n"},
    {"proc/sys/kernel/pid_max", "32768\n"},
    {"proc/meminfo",
     "MemTotal:       24683520 kB\nMemFree:        22760448 kB\nMemAvailable:   24035328 kB\n"},
};
enum { FILES = sizeof large_machine / sizeof *large_machine };

static const struct preflight_demand million = {
    .connections = 1000000, .ends = 1, .user_bytes = 256, .table_fds = 20000, .threads = 60, .backlog = 4096};

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

static void remove_file(struct fixture *f, const char *path)
{
    char full[256];
    snprintf(full, sizeof full, "%s/%s", f->root, path);
    assert_int_equal(remove(full), 0);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    strcpy(f->root, "/tmp/test_preflight_XXXXXX");
    if (!mkdtemp(f->root))
        return -1;
    for (size_t i = 0; i < FILES; i++)
        write_file(f, large_machine[i].path, large_machine[i].text);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    static const char *const folders[] = {"proc/sys/net/netfilter",
                                          "proc/sys/net/ipv4",
                                          "proc/sys/net/core",
                                          "proc/sys/net",
                                          "proc/sys/fs/epoll",
                                          "proc/sys/fs",
                                          "proc/sys/kernel",
                                          "proc/sys",
                                          "proc/self",
                                          "proc",
                                          "."};
    struct fixture *f = *state;
    char full[256];
    for (size_t i = 0; i < FILES; i++) {
        snprintf(full, sizeof full, "%s/%s", f->root, large_machine[i].path);
        (void)unlink(full);
    }
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        snprintf(full, sizeof full, "%s/%s", f->root, folders[i]);
        (void)rmdir(strcmp(folders[i], ".") == 0 ? f->root : full);
    }
    free(f);
    return 0;
}

/* Returns how many are too small. */
static size_t judge(struct fixture *f, const struct preflight_demand *demand)
{
    preflight_read(f->root, &f->machine);
    f->count = preflight_judge(&f->machine, demand, f->rows);
    assert_in_range(f->count, 1, PREFLIGHT_ROWS);
    return preflight_too_small(f->rows, f->count);
}

static const struct preflight_row *row(struct fixture *f, const char *name)
{
    for (size_t i = 0; i < f->count; i++)
        if (strcmp(f->rows[i].name, name) == 0)
            return &f->rows[i];
    return NULL;
}

static void every_value_is_read_from_its_file(void **state)
{
    struct fixture *f = *state;
    preflight_read(f->root, &f->machine);
    assert_int_equal(f->machine.nofile_soft, 1024);
    assert_int_equal(f->machine.nofile_hard, 524288);
    assert_int_equal(f->machine.processes, 96365);
    assert_int_equal(f->machine.nr_open, 1048576);
    assert_int_equal(f->machine.file_max, INT64_MAX);
    assert_int_equal(f->machine.files_used, 1696);
    assert_int_equal(f->machine.epoll_watches, 5491511);
    assert_int_equal(f->machine.somaxconn, 4096);
    assert_int_equal(f->machine.tcp_mem[0], 1550000);
    assert_int_equal(f->machine.tcp_mem[2], 2100000);
    assert_int_equal(f->machine.ehash_buckets, 1048576);
    assert_int_equal(f->machine.port_first, 32768);
    assert_int_equal(f->machine.port_last, 60999);
    assert_int_equal(f->machine.conntrack_max, 1262144);
    assert_int_equal(f->machine.conntrack_count, 7);
    assert_int_equal(f->machine.threads_max, 192730);
    assert_int_equal(f->machine.pid_max, 32768);
    assert_int_equal(f->machine.memory_available, 24035328ull * 1024);
}

static void a_large_machine_holds_a_million(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(judge(f, &million), 0);
    assert_int_equal(row(f, "fs.file-max")->need, 1001696);
    assert_int_equal(row(f, "MemAvailable")->need, 1000000ull * (4160 + 256) >> 20);
    assert_null(row(f, "net.ipv4.ip_local_port_range"));
}

/* One value at a time is made too small: exactly that row says so, with the line that changes it. */
static void each_value_that_is_too_small_is_found_with_its_remedy(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *path, *text, *row, *remedy;
    } cases[] = {
        {"proc/self/limits", "Max processes  99 99 processes\nMax open files  1024  19999  files\n",
         "RLIMIT_NOFILE", "LimitNOFILE=20000\n"},
        {"proc/self/limits", "Max processes  59 99 processes\nMax open files  1024  20000  files\n",
         "RLIMIT_NPROC", "TasksMax=1000\n"},
        {"proc/sys/fs/nr_open", "19999\n", "fs.nr_open", "fs.nr_open = 20000\n"},
        {"proc/sys/fs/file-max", "1001695\n", "fs.file-max", "fs.file-max = 1102000\n"},
        {"proc/sys/fs/epoll/max_user_watches", "999999\n", "fs.epoll.max_user_watches",
         "fs.epoll.max_user_watches = 1100000\n"},
        {"proc/sys/net/core/somaxconn", "128\n", "net.core.somaxconn", "net.core.somaxconn = 4096\n"},
        {"proc/sys/net/ipv4/tcp_mem", "287901\t383868\t575802\n", "net.ipv4.tcp_mem",
         "net.ipv4.tcp_mem = 550000 825000 1100000\n"},
        {"proc/sys/net/ipv4/tcp_ehash_entries", "262144\n", "net.ipv4.tcp_ehash_entries",
         "read at boot only: thash_entries=1048576\n"},
        {"proc/sys/net/netfilter/nf_conntrack_max", "1000006\n", "net.netfilter.nf_conntrack_max",
         "net.netfilter.nf_conntrack_max = 1101000\n"},
        {"proc/sys/kernel/threads-max", "59\n", "kernel.threads-max", "kernel.threads-max = 2000\n"},
        {"proc/sys/kernel/pid_max", "59\n", "kernel.pid_max", "kernel.pid_max = 2000\n"},
        {"proc/meminfo", "MemAvailable:   2097152 kB\n", "MemAvailable",
         "at most 486000 connections of 4416 bytes, of which the kernel's sockets take 4160\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_file(f, cases[i].path, cases[i].text);
        assert_int_equal(judge(f, &million), 1);
        const struct preflight_row *small = row(f, cases[i].row);
        assert_non_null(small);
        assert_int_equal(small->verdict, PREFLIGHT_TOO_SMALL);
        assert_true(small->have < small->need);
        assert_non_null(strstr(small->remedy, cases[i].remedy));
        assert_true(strlen(small->effect) > 10);
        for (size_t n = 0; n < FILES; n++)
            if (strcmp(large_machine[n].path, cases[i].path) == 0)
                write_file(f, cases[i].path, large_machine[n].text);
    }
    assert_int_equal(judge(f, &million), 0);
}

static void the_remedy_is_enough(void **state)
{
    struct fixture *f = *state;
    write_file(f, "proc/sys/net/ipv4/tcp_mem", "1 2 3\n");
    write_file(f, "proc/sys/fs/file-max", "5\n");
    assert_int_equal(judge(f, &million), 2);
    write_file(f, "proc/sys/net/ipv4/tcp_mem", strchr(row(f, "net.ipv4.tcp_mem")->remedy, '=') + 1);
    write_file(f, "proc/sys/fs/file-max", strchr(row(f, "fs.file-max")->remedy, '=') + 1);
    assert_int_equal(judge(f, &million), 0);
}

static void clients_need_ports_of_every_source_address(void **state)
{
    struct fixture *f = *state;
    struct preflight_demand demand = million;
    demand.backlog = 0;
    demand.sources = 71; /* 71 × 28,232 / 2 = 1,002,236 */
    assert_int_equal(judge(f, &demand), 0);
    assert_null(row(f, "net.core.somaxconn"));
    demand.sources = 70;
    assert_int_equal(judge(f, &demand), 1);
    assert_non_null(strstr(row(f, "net.ipv4.ip_local_port_range")->effect, "as long"));
    assert_non_null(
        strstr(row(f, "net.ipv4.ip_local_port_range")->remedy, "--sources=127.0.0.1-127.0.0.79 "));
    demand.sources = 35;
    assert_int_equal(judge(f, &demand), 1);
    assert_non_null(strstr(row(f, "net.ipv4.ip_local_port_range")->effect, "no port"));
}

static void source_addresses_keep_less_than_half_of_their_ports_in_use(void **state)
{
    struct fixture *f = *state;
    preflight_read(f->root, &f->machine);
    assert_int_equal(preflight_sources(&f->machine, 0), 1);
    for (uint64_t connections = 1; connections < 5000000; connections = connections * 5 / 4 + 1) {
        uint64_t sources = preflight_sources(&f->machine, connections);
        assert_true(connections * 2 <= sources * 28232);
        assert_true(sources == 1 || connections * 10 >= (sources - 1) * 28232 * 4);
    }
    f->machine.port_first = f->machine.port_last = 5000;
    assert_int_equal(preflight_sources(&f->machine, 7), 8);
    f->machine.port_first = PREFLIGHT_UNKNOWN;
    assert_int_equal(preflight_sources(&f->machine, 1000000), 79);
}

static void both_ends_on_one_machine_count_twice(void **state)
{
    struct fixture *f = *state;
    struct preflight_demand demand = million;
    demand.ends = 2;
    assert_int_equal(judge(f, &demand), 0);
    assert_int_equal(row(f, "fs.file-max")->need, 2001696);
    assert_int_equal(row(f, "fs.epoll.max_user_watches")->need, 2000000);
    assert_int_equal(row(f, "MemAvailable")->need, 1000000ull * (8320 + 256) >> 20);
}

static void messages_and_what_is_there_anyway_are_part_of_the_memory(void **state)
{
    struct fixture *f = *state;
    struct preflight_demand demand = million;
    demand.message_bytes = 4096;
    demand.fixed_bytes = 448ull << 20;
    assert_int_equal(judge(f, &demand), 0);
    assert_int_equal(row(f, "MemAvailable")->need, (1000000ull * (4160 + 256 + 4096) + (448ull << 20)) >> 20);
    write_file(f, "proc/meminfo", "MemAvailable:   2097152 kB\n");
    assert_int_equal(judge(f, &demand), 1);
    /* (2 GiB - 448 MiB) / 8512 */
    assert_non_null(
        strstr(row(f, "MemAvailable")->remedy,
               "at most 197000 connections of 8512 bytes, of which the kernel's sockets take 8256\n"));
    demand.fixed_bytes = 4ull << 30;
    assert_int_equal(judge(f, &demand), 1);
    assert_non_null(
        strstr(row(f, "MemAvailable")->remedy,
               "more memory, or smaller bounds of what is kept for all together, 4096 MiB now\n"));
    demand.fixed_bytes = (2048ull << 20) - 8512 * 700;
    assert_int_equal(judge(f, &demand), 1);
    assert_non_null(strstr(row(f, "MemAvailable")->remedy, "at most 700 connections"));
}

static void two_sockets_on_a_chain_are_let_pass_and_three_are_not(void **state)
{
    struct fixture *f = *state;
    struct preflight_demand demand = million;
    write_file(f, "proc/sys/net/ipv4/tcp_ehash_entries", "524288\n");
    assert_int_equal(judge(f, &demand), 0);
    demand.ends = 2;
    assert_int_equal(judge(f, &demand), 1);
    assert_int_equal(row(f, "net.ipv4.tcp_ehash_entries")->need, 1000000);
    assert_non_null(strstr(row(f, "net.ipv4.tcp_ehash_entries")->remedy, "thash_entries=2097152\n"));
}

static void a_table_that_the_namespace_shares_counts_as_its_own(void **state)
{
    struct fixture *f = *state;
    write_file(f, "proc/sys/net/ipv4/tcp_ehash_entries", "-524288\n");
    assert_int_equal(judge(f, &million), 0);
    assert_int_equal(f->machine.ehash_buckets, 524288);
    write_file(f, "proc/sys/net/ipv4/tcp_ehash_entries", "-262144\n");
    assert_int_equal(judge(f, &million), 1);
    write_file(f, "proc/sys/net/ipv4/tcp_ehash_entries", "-\n");
    assert_int_equal(judge(f, &million), 0);
    assert_int_equal(row(f, "net.ipv4.tcp_ehash_entries")->verdict, PREFLIGHT_NOT_SHOWN);
}

static void a_kernel_that_tracks_no_connection_is_not_blamed(void **state)
{
    struct fixture *f = *state;
    write_file(f, "proc/sys/net/netfilter/nf_conntrack_max", "10\n");
    write_file(f, "proc/sys/net/netfilter/nf_conntrack_count", "0\n");
    assert_int_equal(judge(f, &million), 0);
    remove_file(f, "proc/sys/net/netfilter/nf_conntrack_max");
    assert_int_equal(judge(f, &million), 0);
    assert_null(row(f, "net.netfilter.nf_conntrack_max"));
}

static void what_cannot_be_read_is_not_shown_and_not_too_small(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < FILES; i++)
        remove_file(f, large_machine[i].path);
    assert_int_equal(judge(f, &million), 0);
    for (size_t i = 0; i < f->count; i++)
        assert_int_equal(f->rows[i].verdict, PREFLIGHT_NOT_SHOWN);
    write_file(f, "proc/sys/fs/file-max", "many\n");
    write_file(f, "proc/sys/net/ipv4/tcp_mem", "1 2\n");
    write_file(f, "proc/self/limits", "Max open files\n");
    assert_int_equal(judge(f, &million), 0);
}

static void unlimited_is_large_enough(void **state)
{
    struct fixture *f = *state;
    write_file(f, "proc/self/limits",
               "Max processes             unlimited            unlimited            processes \n"
               "Max open files            unlimited            unlimited            files     \n");
    assert_int_equal(judge(f, &million), 0);
    assert_int_equal(row(f, "RLIMIT_NOFILE")->have, PREFLIGHT_UNLIMITED);
    assert_int_equal(row(f, "RLIMIT_NOFILE")->verdict, PREFLIGHT_GOOD);
}

static void a_demand_beyond_all_bounds_stays_too_large(void **state)
{
    struct fixture *f = *state;
    const struct preflight_demand all = {.connections = UINT64_MAX,
                                         .ends = 2,
                                         .user_bytes = UINT64_MAX,
                                         .table_fds = UINT64_MAX,
                                         .threads = UINT64_MAX,
                                         .sources = 1};
    assert_true(judge(f, &all) >= 9);
}

static void descriptors_have_the_callers_advice_as_well(void **state)
{
    struct fixture *f = *state;
    struct preflight_demand demand = million;
    demand.table_fds = 1000000;
    demand.descriptors_advice = "or a table for each";
    assert_int_equal(judge(f, &demand), 1);
    const char *remedy = row(f, "RLIMIT_NOFILE")->remedy;
    assert_true(remedy && strstr(remedy, "\nor a table for each\n"));
}

static void print(struct fixture *f, bool only_too_small, char *text, size_t text_size)
{
    FILE *out = fmemopen(text, text_size, "w");
    preflight_print(f->rows, f->count, only_too_small, out);
    fclose(out);
}

static void the_table_shows_numbers_as_people_read_them(void **state)
{
    struct fixture *f = *state;
    char text[8192];
    write_file(f, "proc/sys/net/ipv4/tcp_mem", "287901\t383868\t575802\n");
    judge(f, &million);
    print(f, false, text, sizeof text);
    assert_non_null(
        strstr(text, "  ok         RLIMIT_NOFILE                        524,288, needed      20,000 "));
    assert_non_null(
        strstr(text, "  TOO SMALL  net.ipv4.tcp_mem                     575,802, needed   1,000,000 "));
    assert_non_null(
        strstr(text, "To change it:\n                 net.ipv4.tcp_mem = 550000 825000 1100000\n"));
    print(f, true, text, sizeof text);
    assert_null(strstr(text, "RLIMIT_NOFILE"));
    assert_non_null(strstr(text, "net.ipv4.tcp_mem"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(every_value_is_read_from_its_file),
        TEST(a_large_machine_holds_a_million),
        TEST(each_value_that_is_too_small_is_found_with_its_remedy),
        TEST(the_remedy_is_enough),
        TEST(clients_need_ports_of_every_source_address),
        TEST(source_addresses_keep_less_than_half_of_their_ports_in_use),
        TEST(both_ends_on_one_machine_count_twice),
        TEST(messages_and_what_is_there_anyway_are_part_of_the_memory),
        TEST(two_sockets_on_a_chain_are_let_pass_and_three_are_not),
        TEST(a_table_that_the_namespace_shares_counts_as_its_own),
        TEST(a_kernel_that_tracks_no_connection_is_not_blamed),
        TEST(what_cannot_be_read_is_not_shown_and_not_too_small),
        TEST(unlimited_is_large_enough),
        TEST(a_demand_beyond_all_bounds_stays_too_large),
        TEST(descriptors_have_the_callers_advice_as_well),
        TEST(the_table_shows_numbers_as_people_read_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
