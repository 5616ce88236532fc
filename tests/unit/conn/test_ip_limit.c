/* The limit per address against a naive table of counts. */
#include "gateway/conn/ip_limit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include <cmocka.h>

static uint32_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

static struct sockaddr_storage address_of(const char *text)
{
    struct sockaddr_storage storage = {0};
    struct sockaddr_in *in4 = (struct sockaddr_in *)(void *)&storage;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)&storage;
    if (inet_pton(AF_INET, text, &in4->sin_addr) == 1)
        storage.ss_family = AF_INET;
    else if (inet_pton(AF_INET6, text, &in6->sin6_addr) == 1)
        storage.ss_family = AF_INET6;
    else
        fail_msg("%s", text);
    return storage;
}

static uint32_t acquire_sockaddr(struct ip_limit *table, const struct sockaddr *from)
{
    struct address address = address_from_sockaddr(from);
    return ip_limit_acquire(table, &address);
}

static uint32_t acquire(struct ip_limit *table, const char *text)
{
    struct sockaddr_storage storage = address_of(text);
    return acquire_sockaddr(table, (const struct sockaddr *)&storage);
}

static uint32_t acquire_number(struct ip_limit *table, uint32_t number)
{
    struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a000000u + number)};
    return acquire_sockaddr(table, (const struct sockaddr *)&in4);
}

static void limit_agrees_with_a_naive_table(void **state)
{
    (void)state;
    enum { ADDRESSES = 300, LIMIT = 4, STEPS = 60000 };
    static uint32_t handles[ADDRESSES][LIMIT];
    uint32_t counts[ADDRESSES] = {0}, present = 0;
    uint64_t random = 7;
    struct ip_limit *table = ip_limit_create(LIMIT);
    assert_non_null(table);
    for (int step = 0; step < STEPS; step++) {
        uint32_t number = next_random(&random) % ADDRESSES;
        bool growing = step / 10000 % 2 == 0; /* fills up, then runs empty */
        if (next_random(&random) % 10 < (growing ? 7u : 2u)) {
            uint32_t handle = acquire_number(table, number);
            if (counts[number] == LIMIT) {
                assert_int_equal(handle, IP_LIMIT_REFUSED);
                continue;
            }
            assert_int_not_equal(handle, IP_LIMIT_REFUSED);
            assert_int_not_equal(handle, IP_LIMIT_NONE);
            present += counts[number] == 0;
            handles[number][counts[number]++] = handle;
        } else if (counts[number] > 0) {
            ip_limit_release(table, handles[number][--counts[number]]);
            present -= counts[number] == 0;
        }
        if (step % 100 == 0)
            assert_int_equal(ip_limit_addresses(table), present);
    }
    for (uint32_t i = 0; i < ADDRESSES; i++)
        while (counts[i] > 0)
            ip_limit_release(table, handles[i][--counts[i]]);
    assert_int_equal(ip_limit_addresses(table), 0);
    ip_limit_destroy(table);
}

static void handles_stay_good_while_the_table_grows_and_empties(void **state)
{
    (void)state;
    enum { MANY = 100000 };
    uint32_t *handles = calloc(MANY, sizeof *handles);
    assert_non_null(handles);
    struct ip_limit *table = ip_limit_create(1);
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < MANY; i++) {
            handles[i] = acquire_number(table, i);
            assert_int_not_equal(handles[i], IP_LIMIT_REFUSED);
        }
        assert_int_equal(ip_limit_addresses(table), MANY);
        for (uint32_t i = 0; i < MANY; i += 97)
            assert_int_equal(acquire_number(table, i), IP_LIMIT_REFUSED);
        for (uint32_t i = 0; i < MANY; i++)
            ip_limit_release(table, handles[i]);
        assert_int_equal(ip_limit_addresses(table), 0);
    }
    free(handles);
    ip_limit_destroy(table);
}

static void ipv6_is_counted_by_64_bit_prefix(void **state)
{
    (void)state;
    struct ip_limit *table = ip_limit_create(2);
    uint32_t a = acquire(table, "2001:db8:1:2::1"), b = acquire(table, "2001:db8:1:2:ffff:ffff:ffff:ffff");
    assert_int_equal(a, b); /* one address, one handle; released once each */
    assert_int_equal(acquire(table, "2001:db8:1:2::3"), IP_LIMIT_REFUSED);
    uint32_t c = acquire(table, "2001:db8:1:3::1");
    assert_int_not_equal(c, IP_LIMIT_REFUSED);
    assert_int_equal(ip_limit_addresses(table), 2);
    ip_limit_release(table, b);
    assert_int_equal(acquire(table, "2001:db8:1:2::3"), a);
    ip_limit_release(table, a);
    ip_limit_release(table, a);
    ip_limit_release(table, c);
    assert_int_equal(ip_limit_addresses(table), 0);
    ip_limit_destroy(table);
}

static void ipv4_mapped_in_ipv6_is_counted_as_ipv4(void **state)
{
    (void)state;
    struct ip_limit *table = ip_limit_create(1);
    uint32_t a = acquire(table, "10.1.2.3");
    assert_int_equal(acquire(table, "::ffff:10.1.2.3"), IP_LIMIT_REFUSED);
    uint32_t b = acquire(table, "::ffff:10.1.2.4");
    assert_int_not_equal(b, IP_LIMIT_REFUSED);
    ip_limit_release(table, a);
    ip_limit_release(table, b);
    ip_limit_destroy(table);
}

static void an_ipv6_prefix_with_the_bytes_of_an_ipv4_address_is_another_one(void **state)
{
    (void)state;
    struct ip_limit *table = ip_limit_create(1);
    for (uint32_t number = 0; number < 5000; number++) { /* so many that some pairs share a chain */
        struct sockaddr_in6 alike = {.sin6_family = AF_INET6};
        memcpy(alike.sin6_addr.s6_addr, &(uint32_t){htonl(0x0a000000u + number)}, 4);
        uint32_t a = acquire_number(table, number);
        uint32_t b = acquire_sockaddr(table, (const struct sockaddr *)&alike);
        assert_int_not_equal(b, IP_LIMIT_REFUSED);
        assert_int_equal(ip_limit_addresses(table), 2);
        ip_limit_release(table, a);
        ip_limit_release(table, b);
    }
    ip_limit_destroy(table);
}

static void without_a_limit_or_an_address_nothing_is_counted(void **state)
{
    (void)state;
    struct ip_limit *table = ip_limit_create(0);
    for (int i = 0; i < 100; i++)
        assert_int_equal(acquire(table, "10.0.0.1"), IP_LIMIT_NONE);
    assert_int_equal(ip_limit_addresses(table), 0);
    ip_limit_release(table, IP_LIMIT_NONE);
    ip_limit_destroy(table);
    table = ip_limit_create(1);
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    for (int i = 0; i < 3; i++)
        assert_int_equal(acquire_sockaddr(table, (const struct sockaddr *)&un), IP_LIMIT_NONE);
    ip_limit_destroy(table);
    ip_limit_destroy(NULL);
}

static void a_limit_beyond_32_bits_is_no_small_limit(void **state)
{
    (void)state;
    struct ip_limit *table = ip_limit_create(UINT64_C(1) << 32); /* 0 in its lower half */
    uint32_t handle = acquire(table, "10.0.0.1");
    assert_int_not_equal(handle, IP_LIMIT_NONE);
    assert_int_not_equal(handle, IP_LIMIT_REFUSED);
    ip_limit_release(table, handle);
    ip_limit_destroy(table);
}

enum { THREADS = 4, SHARED_LIMIT = 3, ROUNDS = 20000 };

struct worker {
    struct ip_limit *table;
    uint64_t random;
    _Atomic int *held; /* per address, by all threads */
    bool overshot;
};

static void *churn(void *argument)
{
    struct worker *worker = argument;
    for (int i = 0; i < ROUNDS; i++) {
        uint32_t number = next_random(&worker->random) % 8;
        uint32_t handle = acquire_number(worker->table, number);
        if (handle == IP_LIMIT_REFUSED)
            continue;
        worker->overshot |= ++worker->held[number] > SHARED_LIMIT;
        worker->held[number]--;
        ip_limit_release(worker->table, handle);
    }
    return NULL;
}

static void threads_never_pass_the_limit_together(void **state)
{
    (void)state;
    _Atomic int held[8] = {0};
    struct worker workers[THREADS];
    pthread_t threads[THREADS];
    struct ip_limit *table = ip_limit_create(SHARED_LIMIT);
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.table = table, .random = (uint64_t)i, .held = held};
        assert_int_equal(pthread_create(&threads[i], NULL, churn, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_false(workers[i].overshot);
    }
    assert_int_equal(ip_limit_addresses(table), 0);
    ip_limit_destroy(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limit_agrees_with_a_naive_table),
        cmocka_unit_test(handles_stay_good_while_the_table_grows_and_empties),
        cmocka_unit_test(ipv6_is_counted_by_64_bit_prefix),
        cmocka_unit_test(ipv4_mapped_in_ipv6_is_counted_as_ipv4),
        cmocka_unit_test(an_ipv6_prefix_with_the_bytes_of_an_ipv4_address_is_another_one),
        cmocka_unit_test(without_a_limit_or_an_address_nothing_is_counted),
        cmocka_unit_test(a_limit_beyond_32_bits_is_no_small_limit),
        cmocka_unit_test(threads_never_pass_the_limit_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
