/* The mailbox: order per producer, and wakes that are neither lost nor too many. */
#include "gateway/base/mailbox.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { PRODUCERS = 4, PER_PRODUCER = 50000, CHAIN = 5 };

struct letter {
    struct mailbox_node node; /* first, so that a node is its letter */
    uint32_t producer, number;
};

struct producer {
    struct mailbox *mailbox;
    struct letter *letters;
};

static bool readable(int fd, int timeout_ms)
{
    struct pollfd watched = {.fd = fd, .events = POLLIN};
    return poll(&watched, 1, timeout_ms) == 1;
}

/* Singly and in chains by turns. */
static void *produce(void *argument)
{
    struct producer *producer = argument;
    struct letter *letters = producer->letters;
    for (int i = 0; i < PER_PRODUCER;) {
        if (i / 7 % 2 == 0 || i + CHAIN > PER_PRODUCER) {
            mailbox_push(producer->mailbox, &letters[i++].node);
            continue;
        }
        for (int k = 0; k < CHAIN - 1; k++)
            letters[i + k].node.next = &letters[i + k + 1].node;
        mailbox_push_chain(producer->mailbox, &letters[i].node, &letters[i + CHAIN - 1].node);
        i += CHAIN;
    }
    return NULL;
}

static void all_nodes_arrive_in_the_order_of_each_producer(void **state)
{
    (void)state;
    struct mailbox mailbox;
    assert_true(mailbox_init(&mailbox));
    struct producer producers[PRODUCERS];
    pthread_t threads[PRODUCERS];
    for (uint32_t p = 0; p < PRODUCERS; p++) {
        producers[p] = (struct producer){&mailbox, calloc(PER_PRODUCER, sizeof(struct letter))};
        assert_non_null(producers[p].letters);
        for (uint32_t i = 0; i < PER_PRODUCER; i++) {
            producers[p].letters[i].producer = p;
            producers[p].letters[i].number = i;
        }
        assert_int_equal(pthread_create(&threads[p], NULL, produce, &producers[p]), 0);
    }
    uint32_t expected[PRODUCERS] = {0}, received = 0;
    uint64_t wakes_read = 0;
    while (received < PRODUCERS * PER_PRODUCER) {
        assert_true(readable(mailbox.wake_fd, 10000)); /* a lost wake stops here */
        wakes_read += mailbox_clear_wake(&mailbox);
        for (struct mailbox_node *node = mailbox_detach(&mailbox), *next; node; node = next) {
            next = node->next;
            struct letter *letter = (struct letter *)(void *)node;
            assert_int_equal(letter->number, expected[letter->producer]);
            expected[letter->producer]++;
            received++;
        }
    }
    for (int p = 0; p < PRODUCERS; p++) {
        assert_int_equal(pthread_join(threads[p], NULL), 0);
        free(producers[p].letters);
    }
    wakes_read += mailbox_clear_wake(&mailbox);
    assert_int_equal(wakes_read, mailbox.wakes);
    assert_false(mailbox_pending(&mailbox));
    mailbox_fini(&mailbox);
}

/* evio #57: the eventfd was written in the wrong byte order. */
static void n_wakes_are_read_back_as_n(void **state)
{
    (void)state;
    struct mailbox mailbox;
    assert_true(mailbox_init(&mailbox));
    for (int n = 1; n < 300; n += 37) {
        for (int i = 0; i < n; i++)
            mailbox_wake(&mailbox);
        assert_int_equal(mailbox_clear_wake(&mailbox), n);
    }
    mailbox_fini(&mailbox);
}

/* evio #61: the eventfd was never read, so that epoll returned at once for ever. */
static void a_cleared_wake_falls_silent(void **state)
{
    (void)state;
    struct mailbox mailbox;
    assert_true(mailbox_init(&mailbox));
    assert_false(readable(mailbox.wake_fd, 0));
    for (int i = 0; i < 100; i++)
        mailbox_wake(&mailbox);
    assert_true(readable(mailbox.wake_fd, 0));
    assert_int_equal(mailbox_clear_wake(&mailbox), 100);
    for (int i = 0; i < 10; i++)
        assert_false(readable(mailbox.wake_fd, 1));
    assert_int_equal(mailbox_clear_wake(&mailbox), 0); /* and does not block */
    mailbox_fini(&mailbox);
}

static void a_wake_is_written_only_when_the_mailbox_turns_non_empty(void **state)
{
    (void)state;
    struct mailbox mailbox;
    struct letter letters[8] = {0};
    assert_true(mailbox_init(&mailbox));
    for (uint64_t round = 1; round <= 3; round++) {
        assert_false(mailbox_pending(&mailbox));
        for (uint32_t i = 0; i < 8; i++) {
            letters[i].number = i;
            mailbox_push(&mailbox, &letters[i].node);
            assert_int_equal(mailbox.wakes, round);
        }
        assert_true(mailbox_pending(&mailbox));
        assert_int_equal(mailbox_clear_wake(&mailbox), 1);
        assert_true(mailbox_pending(&mailbox));
        uint32_t number = 0;
        for (struct mailbox_node *node = mailbox_detach(&mailbox); node; node = node->next)
            assert_int_equal(((struct letter *)(void *)node)->number, number++);
        assert_int_equal(number, 8);
        assert_null(mailbox_detach(&mailbox));
    }
    mailbox_fini(&mailbox);
}

static void a_chain_arrives_behind_what_was_pushed_before(void **state)
{
    (void)state;
    struct mailbox mailbox;
    struct letter letters[6] = {0};
    for (uint32_t i = 0; i < 6; i++)
        letters[i].number = i;
    assert_true(mailbox_init(&mailbox));
    mailbox_push(&mailbox, &letters[0].node);
    for (int i = 1; i < 4; i++)
        letters[i].node.next = &letters[i + 1].node;
    letters[4].node.next = &letters[0].node; /* left over: what ends the chain is `newest` */
    mailbox_push_chain(&mailbox, &letters[1].node, &letters[4].node);
    mailbox_push_chain(&mailbox, &letters[5].node, &letters[5].node); /* a chain of one */
    assert_int_equal(mailbox.wakes, 1);
    struct mailbox_node *node = mailbox_detach(&mailbox);
    for (uint32_t i = 0; i < 6; i++, node = node->next) {
        assert_non_null(node);
        assert_int_equal(((struct letter *)(void *)node)->number, i);
    }
    assert_null(node);
    mailbox_fini(&mailbox);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_nodes_arrive_in_the_order_of_each_producer),
        cmocka_unit_test(n_wakes_are_read_back_as_n),
        cmocka_unit_test(a_cleared_wake_falls_silent),
        cmocka_unit_test(a_wake_is_written_only_when_the_mailbox_turns_non_empty),
        cmocka_unit_test(a_chain_arrives_behind_what_was_pushed_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
