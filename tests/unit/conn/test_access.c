/* Who may connect: denied networks win, and a list of allowed ones leaves out everybody else. */
#include "gateway/conn/access.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static bool may(const struct access *access, const char *text)
{
    uint8_t ip[16];
    struct address address = {.family = ADDRESS_UNIX};
    if (inet_pton(AF_INET, text, ip) == 1)
        address = address_make(ADDRESS_IPV4, ip, 0);
    else if (inet_pton(AF_INET6, text, ip) == 1)
        address = address_make(ADDRESS_IPV6, ip, 0);
    return access_allows(access, &address);
}

static struct access *make(const char *allow, const char *deny, const char *allow_file, const char *deny_file)
{
    const struct access_config config = {allow, deny, allow_file, deny_file};
    char error[256];
    struct access *access = access_create(&config, error, sizeof error);
    if (!access)
        fail_msg("%s", error);
    return access;
}

static void with_no_list_everybody_may(void **state)
{
    (void)state;
    struct access *access = make("", "", "", "");
    assert_true(may(access, "192.0.2.1") && may(access, "2001:db8::1") && may(access, "unix"));
    assert_true(may(NULL, "192.0.2.1"));
    access_release(access);
}

static void denied_networks_are_out_and_all_others_in(void **state)
{
    (void)state;
    struct access *access = make("", "192.0.2.0/24 2001:db8::/32 unix", "", "");
    assert_false(may(access, "192.0.2.1") || may(access, "2001:db8::1") || may(access, "unix"));
    assert_true(may(access, "192.0.3.1") && may(access, "2001:db9::1"));
    access_release(access);
}

static void with_allowed_networks_everybody_else_is_out(void **state)
{
    (void)state;
    struct access *access = make("192.0.2.0/24", "", "", "");
    assert_true(may(access, "192.0.2.1"));
    assert_false(may(access, "192.0.3.1") || may(access, "2001:db8::1") || may(access, "unix"));
    access_release(access);
}

/* However long the prefixes are. */
static void what_is_denied_stays_denied(void **state)
{
    (void)state;
    struct access *access = make("192.0.2.0/24 198.51.100.7", "192.0.2.7 198.51.100.0/24", "", "");
    assert_true(may(access, "192.0.2.1"));
    assert_false(may(access, "192.0.2.7") || may(access, "198.51.100.7"));
    access_release(access);
}

static void an_empty_file_of_allowed_networks_allows_nobody(void **state)
{
    (void)state;
    char path[] = "/tmp/pushgate-access-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    struct access *access = make("", "", path, "");
    assert_false(may(access, "192.0.2.1") || may(access, "unix"));
    access_release(access);
    assert_int_equal(write(fd, "192.0.2.0/24\n", 13), 13);
    access = make("", "", path, path);
    assert_false(may(access, "192.0.2.1"));
    assert_int_equal(access_ranges(access), 2);
    access_release(access_retain(access));
    access_release(access);
    close(fd);
    unlink(path);
    const struct access_config gone = {"", "", "", path};
    char error[256];
    assert_null(access_create(&gone, error, sizeof error));
    assert_non_null(strstr(error, path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_no_list_everybody_may),
        cmocka_unit_test(denied_networks_are_out_and_all_others_in),
        cmocka_unit_test(with_allowed_networks_everybody_else_is_out),
        cmocka_unit_test(what_is_denied_stays_denied),
        cmocka_unit_test(an_empty_file_of_allowed_networks_allows_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
