/* Token buckets per address against naive ones, and against somebody with many addresses. */
#include "gateway/conn/ip_rate.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SECOND UINT64_C(1000000000)
#define START  (UINT64_C(5000) * SECOND)

static uint32_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

static struct address address_of(const char *text)
{
    uint8_t ip[16];
    if (inet_pton(AF_INET, text, ip) == 1)
        return address_make(ADDRESS_IPV4, ip, 0);
    assert_int_equal(inet_pton(AF_INET6, text, ip), 1);
    return address_make(ADDRESS_IPV6, ip, 0);
}

static struct address number(uint32_t n)
{
    uint32_t ip = htonl(0x0a000000u + n);
    return address_make(ADDRESS_IPV4, &ip, 0);
}

static bool take(struct ip_rate *rate, const char *text, uint64_t now)
{
    struct address address = address_of(text);
    uint32_t retry;
    return ip_rate_take(rate, &address, now, &retry);
}

static void a_burst_is_let_in_and_then_the_rate(void **state)
{
    (void)state;
    struct ip_rate *rate = ip_rate_create(2, 5);
    assert_non_null(rate);
    for (int i = 0; i < 5; i++)
        assert_true(take(rate, "192.0.2.1", START));
    assert_false(take(rate, "192.0.2.1", START));
    assert_true(take(rate, "192.0.2.2", START)); /* another address, another bucket */
    assert_false(take(rate, "192.0.2.1", START + SECOND / 2 - 1));
    assert_true(take(rate, "192.0.2.1", START + SECOND / 2));
    assert_false(take(rate, "192.0.2.1", START + SECOND / 2));
    for (int i = 0; i < 5; i++) /* full again, and not fuller */
        assert_true(take(rate, "192.0.2.1", START + 1000 * SECOND));
    assert_false(take(rate, "192.0.2.1", START + 1000 * SECOND));
    ip_rate_destroy(rate);
}

static void being_refused_costs_nothing_and_says_when_to_come_again(void **state)
{
    (void)state;
    struct ip_rate *slow = ip_rate_create(1, 0);
    struct address address = address_of("192.0.2.1");
    uint32_t retry;
    assert_true(ip_rate_take(slow, &address, START, &retry));
    for (int i = 0; i < 1000; i++) {
        assert_false(ip_rate_take(slow, &address, START + SECOND / 10, &retry));
        assert_int_equal(retry, 1);
    }
    assert_true(ip_rate_take(slow, &address, START + SECOND, &retry));
    ip_rate_destroy(slow);
}

static void ipv6_counts_by_64_bits_and_mapped_addresses_as_ipv4(void **state)
{
    (void)state;
    struct ip_rate *rate = ip_rate_create(1, 1);
    assert_true(take(rate, "2001:db8:0:1::1", START));
    assert_false(take(rate, "2001:db8:0:1:ffff::2", START));
    assert_true(take(rate, "2001:db8:0:2::1", START));
    assert_true(take(rate, "192.0.2.1", START));
    assert_false(take(rate, "::ffff:192.0.2.1", START));
    ip_rate_destroy(rate);
}

static void who_has_no_address_and_who_has_no_limit_is_not_counted(void **state)
{
    (void)state;
    struct ip_rate *rate = ip_rate_create(1, 1);
    const struct address local = {.family = ADDRESS_UNIX}, unknown = {.family = ADDRESS_NONE};
    uint32_t retry;
    for (int i = 0; i < 10; i++)
        assert_true(ip_rate_take(rate, &local, START, &retry) &&
                    ip_rate_take(rate, &unknown, START, &retry) && take(NULL, "192.0.2.1", START));
    ip_rate_destroy(rate);
}

/* Tokens as a fraction, refilled by the time that has passed. */
static void buckets_agree_with_naive_ones(void **state)
{
    (void)state;
    enum { ADDRESSES = 200, STEPS = 200000, RATE = 4, BURST = 7 };
    struct {
        uint64_t tokens, at; /* in 1/SECOND */
    } naive[ADDRESSES];
    for (int i = 0; i < ADDRESSES; i++)
        naive[i].tokens = BURST * SECOND, naive[i].at = START;
    struct ip_rate *rate = ip_rate_create(RATE, BURST);
    uint64_t random = 3, now = START, refused = 0;
    for (int step = 0; step < STEPS; step++) {
        now += next_random(&random) % (SECOND / 400);
        uint32_t n = next_random(&random) % ADDRESSES, retry;
        naive[n].tokens += (now - naive[n].at) * RATE;
        naive[n].at = now;
        if (naive[n].tokens > BURST * SECOND)
            naive[n].tokens = BURST * SECOND;
        bool expected = naive[n].tokens >= SECOND;
        naive[n].tokens -= expected ? SECOND : 0;
        struct address address = number(n);
        assert_int_equal(ip_rate_take(rate, &address, now, &retry), expected);
        refused += !expected;
    }
    assert_true(refused > STEPS / 100 && refused < STEPS);
    ip_rate_destroy(rate);
}

/* One address is held back; 100,000 others come once each, almost as many as there are buckets. The one stays
 * held back. */
static void other_addresses_do_not_wash_out_a_bucket_that_holds_somebody_back(void **state)
{
    (void)state;
    struct ip_rate *rate = ip_rate_create(1, 10);
    for (int i = 0; i < 10; i++)
        assert_true(take(rate, "198.51.100.1", START));
    assert_false(take(rate, "198.51.100.1", START));
    for (uint32_t n = 0; n < 4 * IP_RATE_BUCKETS; n++) {
        struct address address = number(n);
        uint32_t retry;
        assert_true(ip_rate_take(rate, &address, START, &retry)); /* newcomers are let in even then */
        if (n % 5000 == 0)
            assert_false(take(rate, "198.51.100.1", START));
    }
    assert_false(take(rate, "198.51.100.1", START));
    ip_rate_destroy(rate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_burst_is_let_in_and_then_the_rate),
        cmocka_unit_test(being_refused_costs_nothing_and_says_when_to_come_again),
        cmocka_unit_test(ipv6_counts_by_64_bits_and_mapped_addresses_as_ipv4),
        cmocka_unit_test(who_has_no_address_and_who_has_no_limit_is_not_counted),
        cmocka_unit_test(buckets_agree_with_naive_ones),
        cmocka_unit_test(other_addresses_do_not_wash_out_a_bucket_that_holds_somebody_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
