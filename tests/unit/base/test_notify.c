/* Datagrams to a receiver such as systemd: by path and by abstract name, with the sender's credentials. */
#include "gateway/base/notify.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { TEXT = 512 };

struct receiver {
    int fd;
    char name[108];
};

/* With credentials asked for, as systemd asks for them: NotifyAccess=main goes by the sender's process. */
static void receiver_open(struct receiver *receiver, bool abstract)
{
    static unsigned counter;
    snprintf(receiver->name, sizeof receiver->name, "%s/pushgate-test-notify-%d-%u", abstract ? "@" : "/tmp",
             (int)getpid(), ++counter);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(receiver->name);
    memcpy(address.sun_path, receiver->name, length);
    if (abstract)
        address.sun_path[0] = '\0';
    receiver->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(receiver->fd >= 0);
    socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (abstract ? 0 : 1));
    assert_int_equal(bind(receiver->fd, (struct sockaddr *)&address, bytes), 0);
    int yes = 1;
    assert_int_equal(setsockopt(receiver->fd, SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes), 0);
}

static void receiver_close(struct receiver *receiver)
{
    close(receiver->fd);
    if (*receiver->name == '/')
        unlink(receiver->name);
}

/* One message, "" when there is none; who sent it. */
static void receive(const struct receiver *receiver, char text[NOTIFY_MESSAGE_MAX + 1], pid_t *sender)
{
    union {
        char bytes[CMSG_SPACE(sizeof(struct ucred))];
        struct cmsghdr align;
    } control;
    struct iovec part = {.iov_base = text, .iov_len = NOTIFY_MESSAGE_MAX};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control};
    ssize_t got = recvmsg(receiver->fd, &message, 0);
    if (got < 0)
        assert_int_equal(errno, EAGAIN);
    text[got < 0 ? 0 : got] = '\0';
    *sender = 0;
    struct ucred who;
    for (struct cmsghdr *part_of = CMSG_FIRSTHDR(&message); got >= 0 && part_of;
         part_of = CMSG_NXTHDR(&message, part_of))
        if (part_of->cmsg_level == SOL_SOCKET && part_of->cmsg_type == SCM_CREDENTIALS) {
            memcpy(&who, CMSG_DATA(part_of), sizeof who);
            *sender = who.pid;
        }
}

static void open_good(struct notify *notify, const char *name, const char *watchdog, const char *pid)
{
    char error[TEXT] = "";
    if (!notify_parse(notify, name, watchdog, pid, error, sizeof error))
        fail_msg("%s", error);
}

static void messages_arrive_from_this_process(bool abstract)
{
    struct receiver receiver;
    struct notify notify;
    char text[NOTIFY_MESSAGE_MAX + 1];
    pid_t sender;
    receiver_open(&receiver, abstract);
    open_good(&notify, receiver.name, NULL, NULL);
    assert_true(notify_heard(&notify));
    assert_true(notify_send(&notify, "READY=1\nSTATUS=%s", "two lines"));
    receive(&receiver, text, &sender);
    assert_string_equal(text, "READY=1\nSTATUS=two lines");
    assert_int_equal(sender, getpid());
    receive(&receiver, text, &sender);
    assert_string_equal(text, "");
    notify_close(&notify);
    receiver_close(&receiver);
}

static void messages_go_to_a_path(void **state)
{
    (void)state;
    messages_arrive_from_this_process(false);
}

static void messages_go_to_an_abstract_name(void **state)
{
    (void)state;
    messages_arrive_from_this_process(true);
}

static void without_a_socket_nothing_is_sent_and_nothing_fails(void **state)
{
    (void)state;
    static const char *const none[] = {NULL, ""};
    for (size_t i = 0; i < 2; i++) {
        struct notify notify;
        open_good(&notify, none[i], "30000000", NULL);
        assert_false(notify_heard(&notify));
        assert_int_equal(notify.watchdog_us, 0); /* nobody would hear that it is fed */
        assert_true(notify_send(&notify, "READY=1"));
        notify_close(&notify);
    }
}

static void a_receiver_that_starts_again_is_found_again(void **state)
{
    (void)state;
    struct receiver receiver;
    struct notify notify;
    char text[NOTIFY_MESSAGE_MAX + 1];
    pid_t sender;
    receiver_open(&receiver, false);
    open_good(&notify, receiver.name, NULL, NULL);
    close(receiver.fd);
    assert_false(notify_send(&notify, "WATCHDOG=1"));
    assert_int_equal(errno, ECONNREFUSED);
    unlink(receiver.name);
    assert_false(notify_send(&notify, "WATCHDOG=1"));
    assert_int_equal(errno, ENOENT);
    struct sockaddr_un address = notify.address;
    receiver.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(receiver.fd, (struct sockaddr *)&address, notify.address_bytes), 0);
    assert_true(notify_send(&notify, "WATCHDOG=1"));
    receive(&receiver, text, &sender);
    assert_string_equal(text, "WATCHDOG=1");
    notify_close(&notify);
    receiver_close(&receiver);
}

static void a_message_that_is_too_long_is_cut(void **state)
{
    (void)state;
    struct receiver receiver;
    struct notify notify;
    char text[NOTIFY_MESSAGE_MAX + 1], status[2 * NOTIFY_MESSAGE_MAX];
    pid_t sender;
    memset(status, 'x', sizeof status);
    status[sizeof status - 1] = '\0';
    receiver_open(&receiver, true);
    open_good(&notify, receiver.name, NULL, NULL);
    assert_true(notify_send(&notify, "READY=1\nSTATUS=%s", status));
    receive(&receiver, text, &sender);
    assert_int_equal(strlen(text), NOTIFY_MESSAGE_MAX - 1);
    assert_memory_equal(text, "READY=1\nSTATUS=xxx", 18);
    notify_close(&notify);
    receiver_close(&receiver);
}

static void a_receiver_that_does_not_read_holds_nobody_up_for_long(void **state)
{
    (void)state;
    struct receiver receiver;
    struct notify notify;
    char text[NOTIFY_MESSAGE_MAX + 1];
    pid_t sender;
    receiver_open(&receiver, true);
    open_good(&notify, receiver.name, NULL, NULL);
    unsigned sent = 0;
    while (sent < 100000 && notify_send(&notify, "STATUS=%u", sent))
        sent++;
    assert_int_equal(errno, EAGAIN); /* after a second: net.unix.max_dgram_qlen messages wait */
    for (unsigned i = 0; i < sent; i++)
        receive(&receiver, text, &sender);
    assert_true(notify_send(&notify, "STATUS=again"));
    receive(&receiver, text, &sender);
    assert_string_equal(text, "STATUS=again");
    notify_close(&notify);
    receiver_close(&receiver);
}

static void the_watchdog_is_this_process_s_only(void **state)
{
    (void)state;
    char own[24], other[24];
    struct notify notify;
    snprintf(own, sizeof own, "%d", (int)getpid());
    snprintf(other, sizeof other, "%d", (int)getppid());
    const struct {
        const char *us, *pid;
        uint64_t watchdog_us;
    } cases[] = {
        {"30000000", NULL, 30000000},
        {"30000000", "", 30000000},
        {"30000000", own, 30000000},
        {"30000000", other, 0},
        {NULL, own, 0},
        {"", NULL, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        open_good(&notify, "@pushgate-test", cases[i].us, cases[i].pid);
        assert_int_equal(notify.watchdog_us, cases[i].watchdog_us);
        notify_close(&notify);
    }
}

static void what_the_environment_says_wrong_is_named(void **state)
{
    (void)state;
    char long_name[200];
    memset(long_name, 'a', sizeof long_name);
    long_name[0] = '/';
    long_name[sizeof long_name - 1] = '\0';
    const struct {
        const char *name, *us, *pid, *names;
    } cases[] = {
        {"notify", NULL, NULL, "NOTIFY_SOCKET=notify: neither"},
        {"vsock:2:1234", NULL, NULL, "NOTIFY_SOCKET=vsock:2:1234: neither"},
        {"@", NULL, NULL, "NOTIFY_SOCKET=@: must have 2 to 107 characters"},
        {long_name, NULL, NULL, "must have 2 to 107 characters"},
        {"@a", "soon", NULL, "WATCHDOG_USEC=soon"},
        {"@a", "0", NULL, "WATCHDOG_USEC=0"},
        {"@a", "-5", NULL, "WATCHDOG_USEC=-5"},
        {"@a", "99999999999999999999", NULL, "WATCHDOG_USEC=99999999999999999999"},
        {"@a", "5000000", "self", "WATCHDOG_PID=self"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char error[TEXT] = "";
        struct notify notify;
        assert_false(notify_parse(&notify, cases[i].name, cases[i].us, cases[i].pid, error, sizeof error));
        if (!strstr(error, cases[i].names))
            fail_msg("%s: %s", cases[i].names, error);
        assert_false(notify_heard(&notify));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_go_to_a_path),
        cmocka_unit_test(messages_go_to_an_abstract_name),
        cmocka_unit_test(without_a_socket_nothing_is_sent_and_nothing_fails),
        cmocka_unit_test(a_receiver_that_starts_again_is_found_again),
        cmocka_unit_test(a_message_that_is_too_long_is_cut),
        cmocka_unit_test(a_receiver_that_does_not_read_holds_nobody_up_for_long),
        cmocka_unit_test(the_watchdog_is_this_process_s_only),
        cmocka_unit_test(what_the_environment_says_wrong_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
