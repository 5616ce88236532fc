/* Addresses in and out of text, and listeners on loopback and on unix sockets. */
#include "gateway/base/net.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

enum { TEXT = 256 };

static struct net_address parse(const char *text)
{
    struct net_address address;
    char error[TEXT] = "";
    if (!net_parse(text, &address, error, sizeof error))
        fail_msg("%s", error);
    return address;
}

static int listen_on(const struct net_address *address, bool reuse_port)
{
    char error[TEXT] = "";
    int fd = net_listen(address, 16, reuse_port, error, sizeof error);
    if (fd < 0)
        fail_msg("%s", error);
    return fd;
}

static int connect_to(const struct net_address *address)
{
    int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    if (connect(fd, (const struct sockaddr *)&address->storage, address->len) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void addresses_come_back_as_they_were_written(void **state)
{
    (void)state;
    static const char *const texts[] = {"127.0.0.1:8443", "0.0.0.0:0",         "255.255.255.255:65535",
                                        "[::1]:8443",     "[2001:db8::5]:443", "*:8443",
                                        "unix:/tmp/a b",  "unix:relative"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct net_address address = parse(texts[i]);
        char text[TEXT];
        net_format(&address, text, sizeof text);
        assert_string_equal(text, texts[i]);
    }
    struct net_address any = parse("[::]:1");
    assert_int_equal(any.storage.ss_family, AF_INET6);
    assert_int_equal(any.len, sizeof(struct sockaddr_in6));
    assert_int_equal(parse("127.0.0.1:1").len, sizeof(struct sockaddr_in));
}

static void what_is_no_address_is_refused_with_a_sentence(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        ":",
        "8443",
        ":8443",
        "localhost:80",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:99999999999",
        "127.0.0.1:-1",
        "127.0.0.1:+1",
        "127.0.0.1: 1",
        "127.0.0.1:80 ",
        "127.0.0.1:0x50",
        "127.0.0:80",
        "256.0.0.1:80",
        "[::1:80",
        "::1:80",
        "[]:80",
        "[*]:80",
        "**:80",
        "[127.0.0.1]:80",
        "[::1]80",
        "[::1]",
        "unix:",
        "[aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]:1"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct net_address address;
        char error[TEXT] = "";
        assert_false(net_parse(texts[i], &address, error, sizeof error));
        assert_true(strlen(error) > 20);
        char small[8];
        assert_false(net_parse(texts[i], &address, small, sizeof small));
    }
}

static void the_length_of_a_unix_path_is_checked(void **state)
{
    (void)state;
    const size_t most = sizeof((struct sockaddr_un *)NULL)->sun_path - 1;
    char text[TEXT] = "unix:", error[TEXT], back[TEXT];
    struct net_address address;
    memset(text + 5, 'p', most);
    text[5 + most] = '\0';
    assert_true(net_parse(text, &address, error, sizeof error));
    net_format(&address, back, sizeof back);
    assert_string_equal(back, text);
    text[5 + most] = 'p';
    text[6 + most] = '\0';
    assert_false(net_parse(text, &address, error, sizeof error));
    assert_non_null(strstr(error, "107"));
}

static void peers_have_names_even_when_the_kernel_gives_none(void **state)
{
    (void)state;
    char text[TEXT];
    struct net_address mapped = parse("[::ffff:10.1.2.3]:99");
    net_format(&mapped, text, sizeof text);
    assert_string_equal(text, "10.1.2.3:99");
    struct net_address unnamed = {.len = sizeof(sa_family_t)};
    unnamed.storage.ss_family = AF_UNIX;
    net_format(&unnamed, text, sizeof text);
    assert_string_equal(text, "unix:");
    struct net_address full = {.len = sizeof(struct sockaddr_un)}; /* a path without its zero */
    struct sockaddr_un *un = (struct sockaddr_un *)(void *)&full.storage;
    un->sun_family = AF_UNIX;
    memset(un->sun_path, 'x', sizeof un->sun_path);
    net_format(&full, text, sizeof text);
    assert_int_equal(strlen(text), 5 + sizeof un->sun_path);
    struct net_address nothing = {0};
    net_format(&nothing, text, sizeof text);
    assert_string_equal(text, "unknown");
}

static void port_0_picks_a_port_that_answers(void **state)
{
    (void)state;
    struct net_address address = parse("127.0.0.1:0"), local;
    int fd = listen_on(&address, false);
    assert_true(net_local_address(fd, &local));
    assert_int_not_equal(((struct sockaddr_in *)(void *)&local.storage)->sin_port, 0);
    int client = connect_to(&local);
    assert_true(client >= 0);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    int accepted = accept(fd, NULL, NULL);
    assert_true(accepted >= 0);
    assert_int_equal(accept(fd, NULL, NULL), -1); /* does not block */
    assert_int_equal(errno, EAGAIN);
    assert_false(fcntl(accepted, F_GETFL) & O_NONBLOCK);
    assert_true(net_set_nonblocking(accepted));
    assert_true(fcntl(accepted, F_GETFL) & O_NONBLOCK);
    close(accepted);
    assert_false(net_set_nonblocking(accepted));
    assert_false(net_local_address(accepted, &local));
    close(client);
    close(fd);
}

static void a_listener_on_all_addresses_answers_ipv4(void **state)
{
    (void)state;
    struct net_address address = parse("*:0"), local, target = parse("127.0.0.1:0");
    int fd = listen_on(&address, false);
    assert_true(net_local_address(fd, &local));
    /* The port stands at the same place in both families. */
    ((struct sockaddr_in *)(void *)&target.storage)->sin_port =
        ((struct sockaddr_in *)(void *)&local.storage)->sin_port;
    int client = connect_to(&target);
    assert_true(client >= 0);
    close(client);
    close(fd);
}

static void a_port_is_shared_only_when_asked(void **state)
{
    (void)state;
    struct net_address address = parse("127.0.0.1:0"), local;
    char error[TEXT];
    int first = listen_on(&address, true);
    assert_true(net_local_address(first, &local));
    int second = listen_on(&local, true);
    assert_int_equal(net_listen(&local, 16, false, error, sizeof error), -1);
    assert_memory_equal(error, "cannot listen on 127.0.0.1:", 27);
    close(first);
    close(second);
}

static void an_address_of_another_machine_is_an_error(void **state)
{
    (void)state;
    struct net_address address = parse("192.0.2.1:0");
    char error[TEXT];
    assert_int_equal(net_listen(&address, 16, false, error, sizeof error), -1);
    assert_memory_equal(error, "cannot listen on 192.0.2.1:0: ", 30);
}

static void a_unix_socket_is_replaced_only_when_it_is_stale(void **state)
{
    (void)state;
    char directory[] = "/tmp/pushgate-test-XXXXXX", text[TEXT], error[TEXT];
    assert_non_null(mkdtemp(directory));
    snprintf(text, sizeof text, "unix:%s/socket", directory);
    const char *path = text + 5;
    struct net_address address = parse(text), local;
    mode_t mask = umask(0777); /* whatever the umask, the mode is 0660 */
    int fd = listen_on(&address, false);
    umask(mask);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0660);
    assert_true(net_local_address(fd, &local));
    net_format(&local, error, sizeof error);
    assert_string_equal(error, text);
    assert_int_equal(net_listen(&address, 16, false, error, sizeof error), -1); /* somebody answers there */
    int client = connect_to(&address);
    assert_true(client >= 0);
    close(client);
    close(fd);
    assert_int_equal(connect_to(&address), -1);
    fd = listen_on(&address, false); /* stale now */
    client = connect_to(&address);
    assert_true(client >= 0);
    close(client);
    close(fd);
    assert_int_equal(unlink(path), 0);
    int file = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600); /* a file of somebody's */
    assert_true(file >= 0);
    close(file);
    assert_int_equal(net_listen(&address, 16, false, error, sizeof error), -1);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(directory), 0);
    assert_int_equal(net_listen(&address, 16, false, error, sizeof error), -1); /* no such directory */
    assert_non_null(strstr(error, "No such file"));
}

static void a_busy_unix_socket_is_not_stale(void **state)
{
    (void)state;
    char directory[] = "/tmp/pushgate-test-XXXXXX", text[TEXT], error[TEXT];
    assert_non_null(mkdtemp(directory));
    snprintf(text, sizeof text, "unix:%s/socket", directory);
    struct net_address address = parse(text);
    int fd = net_listen(&address, 0, false, error, sizeof error), clients[64], count = 0;
    assert_true(fd >= 0);
    for (bool full = false; !full; count++) { /* until its backlog refuses with EAGAIN */
        assert_in_range(count, 0, 63);
        clients[count] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        full = connect(clients[count], (const struct sockaddr *)&address.storage, address.len) != 0;
    }
    assert_int_equal(net_listen(&address, 16, false, error, sizeof error), -1);
    assert_int_equal(access(text + 5, F_OK), 0);
    while (count > 0)
        close(clients[--count]);
    close(fd);
    assert_int_equal(unlink(text + 5), 0);
    assert_int_equal(rmdir(directory), 0);
}

static void an_error_of_accept_is_one_connections_or_lasts(void **state)
{
    (void)state;
    const int pass[] = {EINTR, ECONNABORTED, EPROTO, EPERM, ENETDOWN, EHOSTUNREACH, ETIMEDOUT, ENONET};
    const int last[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM, EBADF, EINVAL, ENOTSOCK, 0};
    for (size_t i = 0; i < sizeof pass / sizeof *pass; i++) {
        assert_true(net_accept_error_passes(pass[i]));
        assert_false(net_accept_error_passes(last[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_come_back_as_they_were_written),
        cmocka_unit_test(what_is_no_address_is_refused_with_a_sentence),
        cmocka_unit_test(the_length_of_a_unix_path_is_checked),
        cmocka_unit_test(peers_have_names_even_when_the_kernel_gives_none),
        cmocka_unit_test(port_0_picks_a_port_that_answers),
        cmocka_unit_test(a_listener_on_all_addresses_answers_ipv4),
        cmocka_unit_test(a_port_is_shared_only_when_asked),
        cmocka_unit_test(an_address_of_another_machine_is_an_error),
        cmocka_unit_test(a_unix_socket_is_replaced_only_when_it_is_stale),
        cmocka_unit_test(a_busy_unix_socket_is_not_stale),
        cmocka_unit_test(an_error_of_accept_is_one_connections_or_lasts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
