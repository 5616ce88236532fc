/* Addresses out of the kernel's forms and into text. */
#include "gateway/base/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void expect(const struct sockaddr *from, const char *text, const char *host)
{
    char out[ADDRESS_TEXT_MAX];
    struct address address = address_from_sockaddr(from);
    assert_string_equal(address_format(&address, out, sizeof out), text);
    assert_string_equal(address_format_host(&address, out, sizeof out), host);
}

static void expect6(const char *ip, uint16_t port, const char *text, const char *host)
{
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    assert_int_equal(inet_pton(AF_INET6, ip, &in6.sin6_addr), 1);
    expect((const struct sockaddr *)&in6, text, host);
}

static void addresses_read_as_people_write_them(void **state)
{
    (void)state;
    struct sockaddr_in in4 = {
        .sin_family = AF_INET, .sin_port = htons(5000), .sin_addr.s_addr = htonl(0xc0000201)};
    expect((const struct sockaddr *)&in4, "192.0.2.1:5000", "192.0.2.1");
    in4.sin_port = 0;
    expect((const struct sockaddr *)&in4, "192.0.2.1", "192.0.2.1");
    expect6("2001:db8::1", 443, "[2001:db8::1]:443", "2001:db8::1");
    expect6("2001:db8::1", 0, "2001:db8::1", "2001:db8::1");
    expect6("::ffff:192.0.2.1", 443, "192.0.2.1:443", "192.0.2.1");
    expect6("1111:2222:3333:4444:5555:6666:7777:8888", 65535,
            "[1111:2222:3333:4444:5555:6666:7777:8888]:65535", "1111:2222:3333:4444:5555:6666:7777:8888");
    struct sockaddr other = {.sa_family = AF_UNIX};
    expect(&other, "unix", "unix");
    other.sa_family = AF_UNSPEC;
    expect(&other, "unknown", "unknown");
}

static void the_same_host_may_have_another_port(void **state)
{
    (void)state;
    static const uint8_t mapped[16] = {[10] = 0xff, [11] = 0xff, 192, 0, 2, 1};
    struct address a = address_make(ADDRESS_IPV4, "\xc0\x00\x02\x01", 1),
                   b = address_make(ADDRESS_IPV6, mapped, 2),
                   c = address_make(ADDRESS_IPV4, "\xc0\x00\x02\x02", 1);
    assert_true(address_same_host(&a, &b));
    assert_false(address_same_host(&a, &c));
}

static void a_sockets_peer_is_known_while_it_is_connected(void **state)
{
    (void)state;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(address_of_peer(pair[0]).family, ADDRESS_UNIX);
    close(pair[0]);
    close(pair[1]);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(address_of_peer(fd).family, ADDRESS_NONE);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_read_as_people_write_them),
        cmocka_unit_test(the_same_host_may_have_another_port),
        cmocka_unit_test(a_sockets_peer_is_known_while_it_is_connected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
