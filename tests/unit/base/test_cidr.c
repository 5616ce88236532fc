/* Sets of networks against a naive list that compares bit by bit. */
#include "gateway/base/cidr.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static uint32_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

static struct address address_of(const char *text)
{
    uint8_t ip[16];
    if (strcmp(text, "unix") == 0)
        return (struct address){.family = ADDRESS_UNIX};
    if (inet_pton(AF_INET, text, ip) == 1)
        return address_make(ADDRESS_IPV4, ip, 0);
    assert_int_equal(inet_pton(AF_INET6, text, ip), 1);
    return address_make(ADDRESS_IPV6, ip, 0);
}

static struct cidr_set *set_of(const char *list)
{
    char error[256] = "";
    struct cidr_set *set = cidr_set_create(list, "", error, sizeof error);
    if (!set)
        fail_msg("%s", error);
    return set;
}

static bool has(const struct cidr_set *set, const char *text)
{
    struct address address = address_of(text);
    return cidr_set_has(set, &address);
}

static void both_ends_of_a_network_belong_to_it_and_their_neighbours_do_not(void **state)
{
    (void)state;
    struct cidr_set *set = set_of("10.0.0.0/8, 192.0.2.7\t2001:db8::/33 ::1/128");
    assert_true(has(set, "10.0.0.0") && has(set, "10.255.255.255"));
    assert_false(has(set, "9.255.255.255") || has(set, "11.0.0.0"));
    assert_true(has(set, "192.0.2.7"));
    assert_false(has(set, "192.0.2.6") || has(set, "192.0.2.8"));
    assert_true(has(set, "2001:db8::") && has(set, "2001:db8:7fff:ffff:ffff:ffff:ffff:ffff"));
    assert_false(has(set, "2001:db8:8000::") || has(set, "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff"));
    assert_true(has(set, "::1"));
    assert_false(has(set, "::") || has(set, "::2") || has(set, "unix"));
    cidr_set_destroy(set);
}

static void everything_and_nothing(void **state)
{
    (void)state;
    struct cidr_set *all4 = set_of("0.0.0.0/0"), *all6 = set_of("::/0"), *none = set_of(" ,\n"),
                    *local = set_of("unix");
    assert_true(has(all4, "0.0.0.0") && has(all4, "255.255.255.255") && !has(all4, "::1"));
    assert_true(has(all6, "::") && has(all6, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));
    assert_false(has(all6, "192.0.2.1") || has(all6, "::ffff:192.0.2.1"));
    assert_true(cidr_set_empty(none) && !cidr_set_empty(local) && !cidr_set_empty(all4));
    assert_false(has(none, "192.0.2.1") || has(none, "::1") || has(none, "unix"));
    assert_true(has(local, "unix") && !has(local, "127.0.0.1"));
    struct address unknown = {.family = ADDRESS_NONE};
    assert_false(cidr_set_has(all4, &unknown) || cidr_set_has(all6, &unknown) ||
                 cidr_set_has(local, &unknown));
    cidr_set_destroy(all4);
    cidr_set_destroy(all6);
    cidr_set_destroy(none);
    cidr_set_destroy(local);
}

static void an_ipv4_address_in_an_ipv6_one_is_that_ipv4_address(void **state)
{
    (void)state;
    struct cidr_set *set = set_of("192.0.2.0/24 ::ffff:10.0.0.0/104");
    assert_true(has(set, "::ffff:192.0.2.1") && has(set, "10.1.2.3") && has(set, "::ffff:10.1.2.3"));
    assert_false(has(set, "::ffff:192.0.3.1") || has(set, "11.0.0.0"));
    cidr_set_destroy(set);
}

static void networks_that_touch_or_overlap_become_one_range(void **state)
{
    (void)state;
    struct cidr_set *set =
        set_of("10.0.1.0/24 10.0.0.0/24 10.0.0.7 10.0.3.0/24 255.255.255.255 255.255.255.0/24 "
               "2001:db8:1::/48 2001:db8::/48 2001:db8::1 "
               "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff::/16");
    assert_int_equal(cidr_set_ranges(set), 3 + 2);
    assert_true(has(set, "10.0.1.255") && !has(set, "10.0.2.0") && has(set, "10.0.3.0"));
    cidr_set_destroy(set);
}

static void what_is_no_network_is_refused_with_what_to_write(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"10.0.0.1/8", "write 10.0.0.0/8"},
        {"2001:db8::1/32", "write 2001:db8::/32"},
        {"2001:db8:ffff::/33", "write 2001:db8:8000::/33"},
        {"10.0.0.0/33", "0 to 32"},
        {"::/129", "0 to 128"},
        {"10.0.0.0/08", "0 to 32"},
        {"10.0.0.0/", "0 to 32"},
        {"10.0.0.0/-1", "0 to 32"},
        {"10.0.0/8", "is no network"},
        {"010.0.0.1", "is no network"},
        {"localhost", "not looked up"},
        {"unixx", "is no network"},
        {"fe80::1%eth0", "is no network"},
        {"1111111111111111111111111111111111111111111111111111111111111111111111", "is no network"},
        {"10.0.0.0/8 10.0.0.0/8/8", "0 to 32"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char error[256] = "";
        assert_null(cidr_set_create(bad[i][0], "", error, sizeof error));
        assert_non_null(strstr(error, bad[i][1]));
        assert_false(cidr_list_check(bad[i][0], error, sizeof error));
    }
}

/* A prefix that both addresses begin with, bit by bit. */
static bool begins_alike(const struct address *a, const struct address *b, unsigned prefix)
{
    if (a->family != b->family)
        return false;
    for (unsigned bit = 0; bit < prefix; bit++)
        if ((a->ip[bit / 8] ^ b->ip[bit / 8]) >> (7 - bit % 8) & 1)
            return false;
    return true;
}

/* Few distinct bits, so that networks and addresses meet. */
static struct address random_address(uint64_t *random)
{
    uint8_t ip[16];
    bool four = next_random(random) % 2;
    for (size_t i = 0; i < sizeof ip; i++)
        ip[i] = next_random(random) % 3 ? (uint8_t)(next_random(random) % 2 ? 0xff : 0)
                                        : (uint8_t)next_random(random);
    ip[0] = four ? 10 : 0x20;
    return address_make(four ? ADDRESS_IPV4 : ADDRESS_IPV6, ip, 0);
}

static void sets_agree_with_a_naive_list(void **state)
{
    (void)state;
    enum { ROUNDS = 60, NETWORKS = 40, LOOKUPS = 2000 };
    uint64_t random = 11;
    for (int round = 0; round < ROUNDS; round++) {
        struct address networks[NETWORKS];
        unsigned prefixes[NETWORKS];
        char list[NETWORKS * 64] = "";
        size_t used = 0;
        for (int i = 0; i < NETWORKS; i++) {
            networks[i] = random_address(&random);
            unsigned bits = networks[i].family == ADDRESS_IPV4 ? 32 : 128;
            prefixes[i] = 1 + next_random(&random) % bits;
            for (unsigned bit = prefixes[i]; bit < bits; bit++)
                networks[i].ip[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
            char text[ADDRESS_TEXT_MAX];
            used += (size_t)snprintf(list + used, sizeof list - used, "%s/%u ",
                                     address_format(&networks[i], text, sizeof text), prefixes[i]);
            assert_true(used < sizeof list);
        }
        struct cidr_set *set = set_of(list);
        for (int i = 0; i < LOOKUPS; i++) {
            struct address address = random_address(&random);
            if (i % 4 == 0) { /* near a network's edge */
                address = networks[i / 4 % NETWORKS];
                size_t last = address.family == ADDRESS_IPV4 ? 3 : 15;
                address.ip[last] = (uint8_t)(address.ip[last] + next_random(&random) % 3 - 1);
            }
            bool expected = false;
            for (int n = 0; n < NETWORKS && !expected; n++)
                expected = begins_alike(&networks[n], &address, prefixes[n]);
            assert_int_equal(cidr_set_has(set, &address), expected);
        }
        cidr_set_destroy(set);
    }
}

static void write_file(char path[64], const char *text)
{
    snprintf(path, 64, "/tmp/pushgate-cidr-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void a_file_adds_to_the_list_and_errors_name_its_line(void **state)
{
    (void)state;
    char path[64], error[256];
    write_file(path, "# from the blocklist\n198.51.100.0/24 # noisy\n\r\n  2001:db8::/32, 203.0.113.1\nunix");
    struct cidr_set *set = cidr_set_create("192.0.2.0/24", path, error, sizeof error);
    assert_non_null(set);
    assert_true(has(set, "192.0.2.1") && has(set, "198.51.100.9") && has(set, "2001:db8::9"));
    assert_true(has(set, "203.0.113.1") && has(set, "unix") && !has(set, "203.0.113.2"));
    cidr_set_destroy(set);
    unlink(path);
    write_file(path, "10.0.0.0/8\n\n10.0.0.0/99\n");
    assert_null(cidr_set_create("", path, error, sizeof error));
    char expected[96];
    snprintf(expected, sizeof expected, "%s:3: \"10.0.0.0/99\"", path);
    assert_memory_equal(error, expected, strlen(expected));
    unlink(path);
    assert_null(cidr_set_create("", path, error, sizeof error));
    assert_non_null(strstr(error, "No such file"));
    assert_null(cidr_set_create("", "/tmp", error, sizeof error));
    assert_non_null(strstr(error, "must be a file"));
}

/* A hundred thousand networks that cannot be joined: a look-up takes far fewer steps than a walk would. */
static void a_large_set_is_not_walked(void **state)
{
    (void)state;
    enum { NETWORKS = 100000, LOOKUPS = 1000000 };
    char path[] = "/tmp/pushgate-cidr-XXXXXX", error[256];
    int fd = mkstemp(path);
    FILE *file = fdopen(fd, "w");
    assert_non_null(file);
    for (unsigned i = 0; i < NETWORKS; i++)
        fprintf(file, "%u.%u.%u.%u\n", 10 + (i >> 20), i >> 12 & 255, i >> 4 & 255, (i & 15) * 2);
    assert_int_equal(fclose(file), 0);
    struct cidr_set *set = cidr_set_create("", path, error, sizeof error);
    unlink(path);
    assert_non_null(set);
    assert_int_equal(cidr_set_ranges(set), NETWORKS);
    struct timespec begin, end;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
    uint32_t found = 0;
    for (uint32_t i = 0; i < LOOKUPS; i++) {
        uint8_t ip[4] = {10, (uint8_t)(i >> 12 & 31), (uint8_t)(i >> 4), (uint8_t)(i & 15)};
        struct address address = address_make(ADDRESS_IPV4, ip, 0);
        found += cidr_set_has(set, &address);
    }
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    double ms = (double)(end.tv_sec - begin.tv_sec) * 1e3 + (double)(end.tv_nsec - begin.tv_nsec) / 1e6;
    assert_true(found > 0 && found < LOOKUPS);
    assert_true(ms < 5000); /* walked, it would be 10^11 steps */
    cidr_set_destroy(set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ends_of_a_network_belong_to_it_and_their_neighbours_do_not),
        cmocka_unit_test(everything_and_nothing),
        cmocka_unit_test(an_ipv4_address_in_an_ipv6_one_is_that_ipv4_address),
        cmocka_unit_test(networks_that_touch_or_overlap_become_one_range),
        cmocka_unit_test(what_is_no_network_is_refused_with_what_to_write),
        cmocka_unit_test(sets_agree_with_a_naive_list),
        cmocka_unit_test(a_file_adds_to_the_list_and_errors_name_its_line),
        cmocka_unit_test(a_large_set_is_not_walked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
