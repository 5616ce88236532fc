#include "gateway/base/throttle.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct throttle_key key_of(const char *text)
{
    struct sockaddr_storage storage = {0};
    struct sockaddr_in *in = (void *)&storage;
    struct sockaddr_in6 *in6 = (void *)&storage;
    storage.ss_family = strchr(text, ':') ? AF_INET6 : AF_INET;
    void *to = storage.ss_family == AF_INET ? (void *)&in->sin_addr : (void *)&in6->sin6_addr;
    assert_int_equal(inet_pton(storage.ss_family, text, to), 1);
    return throttle_key(&storage);
}

static bool same(const char *a, const char *b)
{
    struct throttle throttle = {0};
    struct throttle_key first = key_of(a), second = key_of(b);
    for (int i = 0; i < THROTTLE_BURST; i++)
        throttle_fail(&throttle, &first, 1000);
    assert_true(throttle_wait_ms(&throttle, &first, 1000) > 0);
    return throttle_wait_ms(&throttle, &second, 1000) > 0;
}

static void addresses_are_told_apart_and_ipv6_by_network(void **state)
{
    (void)state;
    assert_true(same("192.0.2.1", "192.0.2.1"));
    assert_true(same("192.0.2.1", "::ffff:192.0.2.1"));
    assert_false(same("192.0.2.1", "192.0.2.2"));
    assert_true(same("2001:db8::1", "2001:db8::ffff:1"));
    assert_false(same("2001:db8::1", "2001:db8:0:1::1"));
    assert_false(same("::", "0.0.0.0"));
}

static void logs_name_addresses(void **state)
{
    (void)state;
    char text[THROTTLE_KEY_TEXT];
    struct throttle_key key = key_of("192.0.2.1");
    throttle_key_format(&key, text);
    assert_string_equal(text, "192.0.2.1");
    key = key_of("2001:db8::1");
    throttle_key_format(&key, text);
    assert_string_equal(text, "2001:db8::/64");
    struct sockaddr_storage storage = {.ss_family = AF_UNIX};
    key = throttle_key(&storage);
    throttle_key_format(&key, text);
    assert_string_equal(text, "unix");
}

/* A bucket that is filled drop by drop. */
static void waits_agree_with_a_naive_bucket(void **state)
{
    (void)state;
    srand(11);
    struct throttle throttle = {0};
    const struct throttle_key key = key_of("192.0.2.1");
    uint64_t now = 1000, level_ms = 0;
    int waited = 0;
    for (int i = 0; i < 20000; i++) {
        uint64_t pause = (uint64_t)(rand() % 4 ? rand() % 200 : rand() % 3000);
        now += pause;
        level_ms = level_ms > pause ? level_ms - pause : 0;
        uint64_t room = (uint64_t)THROTTLE_BURST * THROTTLE_EACH_MS, next = level_ms + THROTTLE_EACH_MS;
        uint64_t expected = next > room ? next - room : 0;
        assert_int_equal(throttle_wait_ms(&throttle, &key, now), expected);
        assert_true(expected <= THROTTLE_EACH_MS);
        waited += expected > 0;
        if (expected > 0)
            continue;
        throttle_fail(&throttle, &key, now);
        level_ms = next;
    }
    assert_in_range(waited, 1, 19999);
}

static void many_addresses_push_out_the_one_that_is_nearest_to_forgiven(void **state)
{
    (void)state;
    struct throttle throttle = {0};
    const struct throttle_key bad = key_of("192.0.2.1");
    for (int i = 0; i < THROTTLE_BURST; i++)
        throttle_fail(&throttle, &bad, 1000);
    for (uint32_t i = 0; i < 1000; i++) {
        struct throttle_key other = {.family = 4};
        memcpy(other.bytes, &i, sizeof i);
        throttle_fail(&throttle, &other, 1000);
    }
    assert_true(throttle_wait_ms(&throttle, &bad, 1000) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_told_apart_and_ipv6_by_network),
        cmocka_unit_test(logs_name_addresses),
        cmocka_unit_test(waits_agree_with_a_naive_bucket),
        cmocka_unit_test(many_addresses_push_out_the_one_that_is_nearest_to_forgiven),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
