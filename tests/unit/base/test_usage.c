#include "gateway/base/usage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char root[64];

static void write_file(const char *path, const char *text)
{
    char whole[128];
    snprintf(whole, sizeof whole, "%s%s", root, path);
    FILE *file = fopen(whole, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static int set_up(void **state)
{
    (void)state;
    char path[128];
    strcpy(root, "/tmp/test_usage_XXXXXX");
    if (!mkdtemp(root))
        return -1;
    snprintf(path, sizeof path, "%s/proc", root);
    if (mkdir(path, 0700) != 0)
        return -1;
    snprintf(path, sizeof path, "%s/proc/net", root);
    return mkdir(path, 0700);
}

static int tear_down(void **state)
{
    (void)state;
    static const char *const paths[] = {"/proc/slabinfo", "/proc/net/sockstat", "/proc/net", "/proc", ""};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        char whole[128];
        snprintf(whole, sizeof whole, "%s%s", root, paths[i]);
        (void)remove(whole);
    }
    return 0;
}

static void a_socket_is_the_sum_of_its_objects(void **state)
{
    (void)state;
    assert_int_equal(usage_socket_bytes(root), 0);
    write_file("/proc/slabinfo", "slabinfo - version: 2.1\n"
                                 "# name            <active_objs> <num_objs> <objsize>\n"
                                 "TCPv6                 26     26   2496   13    8 : tunables\n"
                                 "TCP               338029 352183   2368   13    8 : tunables\n"
                                 "eventpoll_epi     553925 650016    128   32    1 : tunables\n"
                                 "sock_inode_cache  338791 352925    832   19    4 : tunables\n"
                                 "request_sock_TCP     216    216    320   12    1 : tunables\n"
                                 "dentry            596540 617232    192   21    1 : tunables\n");
    assert_int_equal(usage_socket_bytes(root), 2368 + 128 + 832 + 192);
    write_file("/proc/slabinfo", "dentry            596540 617232    192   21    1 : tunables\n");
    assert_int_equal(usage_socket_bytes(root), 0);
}

static void buffers_are_counted_in_pages(void **state)
{
    (void)state;
    struct usage_tcp tcp;
    assert_false(usage_tcp_read(root, &tcp));
    write_file(
        "/proc/net/sockstat",
        "sockets: used 42\nTCP: inuse 12 orphan 0 tw 25038 alloc 337611 mem 20029\nUDP: inuse 0 mem 5\n");
    assert_true(usage_tcp_read(root, &tcp));
    assert_int_equal(tcp.sockets, 337611);
    assert_int_equal(tcp.buffer_bytes, UINT64_C(20029) * (uint64_t)sysconf(_SC_PAGESIZE));
}

static void memory_and_time_of_this_process_grow_with_their_use(void **state)
{
    (void)state;
    enum { MUCH = 64 << 20 };
    uint64_t before = usage_resident_bytes(), cpu = usage_cpu_us();
    assert_true(before > 0);
    char *much = malloc(MUCH);
    assert_non_null(much);
    for (size_t i = 0; i < MUCH; i += 512)
        ((volatile char *)much)[i] = 1;
    assert_true(usage_resident_bytes() > before + MUCH / 2);
    free(much);
    while (usage_cpu_us() == cpu)
        ;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_socket_is_the_sum_of_its_objects, set_up, tear_down),
        cmocka_unit_test_setup_teardown(buffers_are_counted_in_pages, set_up, tear_down),
        cmocka_unit_test(memory_and_time_of_this_process_grow_with_their_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
