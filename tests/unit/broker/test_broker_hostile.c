/* A broker that is refused memory where it could only go on by losing something silently. */
#include "gateway/broker/broker.h"
#include "tests/unit/failing_memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void tell(struct broker *broker, const char *topic)
{
    struct broker_interest *interest = broker_interest_create(
        0, topic, strlen(topic), topic_hash(topic, strlen(topic)), 1, 1u << ADAPTER_RAW);
    assert_non_null(interest);
    mailbox_push(broker_mailbox(broker), &interest->mail.node);
}

/* The reactor has told it for the first and the last time, and its clients have been told that they are
 * subscribed. */
static void a_topic_that_there_is_no_memory_for_stops_the_process(void **state)
{
    (void)state;
    struct mailbox mail, *mails = &mail;
    assert_true(mailbox_init(&mail));
    struct broker *broker = broker_create(&(struct broker_config){.reactors = 1, .reactor_mail = &mails});
    assert_non_null(broker);
    tell(broker, "news");
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        (void)!freopen("/dev/null", "w", stderr);
        fail_one_in = 1;
        broker_drain_mail(broker);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    broker_drain_mail(broker); /* with memory there is nothing to it */
    assert_int_equal(broker_subscribers(broker, "news", 4), 1);
    broker_destroy(broker);
    mailbox_fini(&mail);
}

int main(void)
{
    if (!topic_hash_setup())
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_topic_that_there_is_no_memory_for_stops_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
