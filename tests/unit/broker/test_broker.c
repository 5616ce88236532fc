#include "gateway/broker/broker.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { REACTORS = 3, INFLIGHT = 4000 };

struct fixture {
    struct mailbox mail[REACTORS];
    struct broker *broker;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct mailbox *mail[REACTORS];
    for (int i = 0; i < REACTORS; i++) {
        if (!mailbox_init(&f->mail[i]))
            return -1;
        mail[i] = &f->mail[i];
    }
    f->broker = broker_create(&(struct broker_config){
        .reactors = REACTORS, .reactor_mail = mail, .message_bytes = 1000, .inflight_bytes = INFLIGHT});
    *state = f;
    return f->broker ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < REACTORS; i++)
        mailbox_fini(&f->mail[i]);
    broker_destroy(f->broker);
    free(f);
    return 0;
}

static void tell(struct fixture *f, uint16_t reactor, const char *topic, uint32_t subscribers)
{
    struct broker_interest *interest = broker_interest_create(
        reactor, topic, strlen(topic), topic_hash(topic, strlen(topic)), subscribers, 1u << ADAPTER_RAW);
    assert_non_null(interest);
    mailbox_push(broker_mailbox(f->broker), &interest->mail.node);
}

static int64_t publish(struct fixture *f, const char *topic, const char *payload)
{
    return broker_publish(f->broker, topic, strlen(topic), payload, strlen(payload));
}

/* Takes the deliveries of a reactor as "payload payload …". */
static const char *take(struct fixture *f, int reactor)
{
    static char text[4096];
    size_t at = 0;
    text[0] = '\0';
    for (struct mailbox_node *node = mailbox_detach(&f->mail[reactor]), *next; node; node = next) {
        next = node->next;
        struct message *message = ((struct delivery *)node)->message;
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%.*s", at ? " " : "",
                               (int)message->frames[ADAPTER_RAW].bytes - 2,
                               (const char *)message_frame(message, ADAPTER_RAW) + 2);
        message_passed(message);
    }
    return text;
}

static void a_publish_reaches_the_reactors_that_have_subscribers_and_no_other(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(publish(f, "news", "x"), 0);
    tell(f, 0, "news", 2);
    tell(f, 2, "news", 3);
    tell(f, 1, "other", 1);
    assert_int_equal(publish(f, "news", "x"), 0); /* not yet drained */
    broker_drain_mail(f->broker);
    assert_int_equal(broker_subscribers(f->broker, "news", 4), 5);
    assert_int_equal(broker_topic_count(f->broker), 2);
    assert_int_equal(publish(f, "news", "a"), 5);
    broker_flush(f->broker);
    assert_string_equal(take(f, 0), "a");
    assert_string_equal(take(f, 1), "");
    assert_string_equal(take(f, 2), "a");
    assert_int_equal(broker_inflight_bytes(f->broker), 0);
}

static void counts_are_absolute_and_the_topic_vanishes_with_its_last_subscriber(void **state)
{
    struct fixture *f = *state;
    tell(f, 0, "news", 2);
    tell(f, 0, "news", 7);
    tell(f, 1, "news", 1);
    broker_drain_mail(f->broker);
    assert_int_equal(broker_subscribers(f->broker, "news", 4), 8);
    tell(f, 0, "news", 0);
    tell(f, 2, "news", 0); /* never had any */
    broker_drain_mail(f->broker);
    assert_int_equal(broker_subscribers(f->broker, "news", 4), 1);
    tell(f, 1, "news", 0);
    broker_drain_mail(f->broker);
    assert_int_equal(broker_topic_count(f->broker), 0);
    assert_int_equal(publish(f, "news", "x"), 0);
}

static void deliveries_wait_for_the_flush_and_then_wake_each_reactor_once(void **state)
{
    struct fixture *f = *state;
    tell(f, 0, "a", 1);
    tell(f, 1, "a", 1);
    tell(f, 1, "b", 1);
    broker_drain_mail(f->broker);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(publish(f, "a", (const char *[]){"1", "3", "5", "7", "9"}[i]), 2);
        assert_int_equal(publish(f, "b", (const char *[]){"2", "4", "6", "8", "10"}[i]), 1);
    }
    assert_false(mailbox_pending(&f->mail[0]) || mailbox_pending(&f->mail[1]));
    broker_flush(f->broker);
    broker_flush(f->broker); /* nothing more */
    assert_int_equal(atomic_load(&f->mail[0].wakes), 1);
    assert_int_equal(atomic_load(&f->mail[1].wakes), 1);
    assert_int_equal(atomic_load(&f->mail[2].wakes), 0);
    assert_string_equal(take(f, 0), "1 3 5 7 9");
    assert_string_equal(take(f, 1), "1 2 3 4 5 6 7 8 9 10");
}

static void congestion_is_told_from_what_the_kernel_has_not_taken(void **state)
{
    struct fixture *f = *state;
    tell(f, 0, "a", 1);
    broker_drain_mail(f->broker);
    char payload[901];
    memset(payload, 'x', 900);
    payload[900] = '\0';
    int published = 0;
    while (!broker_congested(f->broker) && published < 100) {
        assert_int_equal(publish(f, "a", payload), 1);
        published++;
    }
    assert_in_range(published, 3, 5);
    broker_flush(f->broker);
    take(f, 0);
    assert_false(broker_congested(f->broker));
    assert_int_equal(broker_inflight_bytes(f->broker), 0);
}

/* What a client (or a backend, by POST) asks the broker to publish; true when it was done. */
static bool asked(struct fixture *f, struct mailbox *answers, bool backend)
{
    char payload[100];
    memset(payload, 'x', sizeof payload);
    struct broker_request *request = broker_request_publish(answers, 1, "a", 1, payload, sizeof payload);
    assert_non_null(request);
    request->backend = backend;
    mailbox_push(broker_mailbox(f->broker), &request->mail.node);
    broker_drain_mail(f->broker);
    struct broker_request *answer = (struct broker_request *)mailbox_detach(answers);
    assert_non_null(answer);
    bool done = answer->result == BROKER_OK;
    assert_true(done || answer->result == BROKER_BUSY);
    broker_request_destroy(answer);
    return done;
}

static void clients_have_half_and_backends_the_whole(void **state)
{
    struct fixture *f = *state;
    struct mailbox answers;
    assert_true(mailbox_init(&answers));
    tell(f, 0, "a", 1);
    broker_drain_mail(f->broker);
    while (asked(f, &answers, false))
        ;
    assert_in_range(broker_inflight_bytes(f->broker), INFLIGHT / 2, INFLIGHT / 4 * 3);
    assert_false(broker_congested(f->broker));
    while (asked(f, &answers, true))
        ;
    assert_in_range(broker_inflight_bytes(f->broker), INFLIGHT, INFLIGHT + 1000);
    assert_true(broker_congested(f->broker));
    take(f, 0);
    assert_true(asked(f, &answers, false));
    take(f, 0);
    mailbox_fini(&answers);
}

/* A reactor that is slower than clients ask: what it has taken out of its mailbox, it hands on one by one. */
static bool hand_on_one(struct fixture *f, struct mailbox_node **taken)
{
    if (!*taken)
        *taken = mailbox_detach(&f->mail[0]);
    struct mailbox_node *node = *taken;
    if (node) {
        *taken = node->next;
        message_passed(((struct delivery *)node)->message);
    }
    return node != NULL;
}

static void clients_that_never_rest_do_not_keep_backends_waiting(void **state)
{
    struct fixture *f = *state;
    struct mailbox answers;
    struct mailbox_node *taken = NULL;
    assert_true(mailbox_init(&answers));
    tell(f, 0, "a", 1);
    broker_drain_mail(f->broker);
    while (!broker_congested(f->broker))
        assert_int_equal(publish(f, "a", "a backend's"), 1);
    broker_flush(f->broker);
    unsigned waited = 0;
    for (; broker_congested(f->broker); waited++) {
        assert_true(waited < 1000);
        for (int i = 0; i < 3; i++)
            (void)asked(f, &answers, false);
        assert_true(hand_on_one(f, &taken));
    }
    assert_true(waited > 1); /* not at the first message below the bound, either */
    assert_true(asked(f, &answers, true));
    while (hand_on_one(f, &taken))
        ;
    mailbox_fini(&answers);
}

static void a_payload_beyond_the_limit_is_refused_whole(void **state)
{
    struct fixture *f = *state;
    tell(f, 0, "a", 1);
    broker_drain_mail(f->broker);
    char payload[1002];
    memset(payload, 'x', 1001);
    payload[1001] = '\0';
    assert_int_equal(publish(f, "a", payload), -1);
    payload[1000] = '\0';
    assert_int_equal(publish(f, "a", payload), 1);
    broker_flush(f->broker);
    take(f, 0);
}

static void a_request_is_answered_after_its_message_is_on_its_way(void **state)
{
    struct fixture *f = *state;
    struct mailbox answers;
    assert_true(mailbox_init(&answers));
    tell(f, 1, "a", 4);
    const char *const payloads[] = {"one", "two"};
    for (uint64_t i = 0; i < 2; i++) {
        struct broker_request *request = broker_request_publish(&answers, 40 + i, "a", 1, payloads[i], 3);
        assert_non_null(request);
        mailbox_push(broker_mailbox(f->broker), &request->mail.node);
    }
    broker_drain_mail(f->broker);
    assert_string_equal(take(f, 1), "one two");
    struct mailbox_node *node = mailbox_detach(&answers);
    for (uint64_t i = 0; i < 2; i++) {
        assert_non_null(node);
        struct broker_request *request = (struct broker_request *)node;
        node = node->next;
        assert_int_equal(request->token, 40 + i);
        assert_int_equal(request->queued, 4);
        broker_request_destroy(request);
    }
    assert_null(node);
    mailbox_fini(&answers);
}

static void mail_that_nobody_drained_is_freed_with_the_broker(void **state)
{
    struct fixture *f = *state;
    tell(f, 1, "a", 4); /* LeakSanitizer looks */
    struct broker_request *request = broker_request_publish(&f->mail[0], 1, "a", 1, "x", 1);
    assert_non_null(request);
    mailbox_push(broker_mailbox(f->broker), &request->mail.node);
}

/* A reactor of the thread test: takes deliveries, checks that its topic's numbers rise by one. */
struct consumer {
    struct mailbox *mail;
    unsigned expected, got;
    bool ordered;
};

static void *consume(void *context)
{
    struct consumer *consumer = context;
    while (consumer->got < consumer->expected) {
        struct pollfd wait = {.fd = consumer->mail->wake_fd, .events = POLLIN};
        poll(&wait, 1, 1000);
        mailbox_clear_wake(consumer->mail);
        for (struct mailbox_node *node = mailbox_detach(consumer->mail), *next; node; node = next) {
            next = node->next;
            struct message *message = ((struct delivery *)node)->message;
            const char *payload = (const char *)message_frame(message, ADAPTER_RAW) + 2;
            consumer->ordered &= strtoul(payload, NULL, 10) == consumer->got;
            consumer->got++;
            message_passed(message);
        }
    }
    return NULL;
}

static void reactor_threads_get_every_message_in_order(void **state)
{
    struct fixture *f = *state;
    enum { MESSAGES = 20000 };
    struct consumer consumers[REACTORS];
    pthread_t threads[REACTORS];
    for (int i = 0; i < REACTORS; i++) {
        tell(f, (uint16_t)i, "news", 1);
        consumers[i] = (struct consumer){.mail = &f->mail[i], .expected = MESSAGES, .ordered = true};
        assert_int_equal(pthread_create(&threads[i], NULL, consume, &consumers[i]), 0);
    }
    broker_drain_mail(f->broker);
    for (int i = 0; i < MESSAGES; i++) {
        char payload[16];
        sprintf(payload, "%d ", i);
        assert_int_equal(publish(f, "news", payload), REACTORS);
        if (i % 16 == 15)
            broker_flush(f->broker);
    }
    broker_flush(f->broker);
    for (int i = 0; i < REACTORS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(consumers[i].got, MESSAGES);
        assert_true(consumers[i].ordered);
    }
    assert_int_equal(broker_inflight_bytes(f->broker), 0);
}

static void count_topic(void *context, const char *topic, size_t topic_bytes, uint64_t subscribers)
{
    (void)topic;
    *(uint64_t *)context += subscribers * topic_bytes;
}

static void visiting_shows_each_topic_once(void **state)
{
    struct fixture *f = *state;
    tell(f, 0, "a", 1);
    tell(f, 1, "a", 2);
    tell(f, 1, "bb", 5);
    broker_drain_mail(f->broker);
    uint64_t sum = 0;
    broker_visit_topics(f->broker, count_topic, &sum);
    assert_int_equal(sum, 3 * 1 + 5 * 2);
}

static struct text text_of(const char *text)
{
    return (struct text){text, strlen(text)};
}

/* Topics come in slices; together they are all that match, each once. */
static void channels_come_in_slices(void **state)
{
    struct fixture *f = *state;
    enum { TOPICS = 5000 };
    static const struct {
        const char *pattern;
        size_t expected;
    } rows[] = {{"", TOPICS}, {"t:?", 10}, {"t:4*", 1111}, {"nothing*", 0}};
    for (unsigned i = 0; i < TOPICS; i++) {
        char topic[32];
        snprintf(topic, sizeof topic, "t:%u", i);
        tell(f, (uint16_t)(i % REACTORS), topic, 7);
    }
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct broker_ask ask = {.op = BROKER_CHANNELS, .topic = text_of(rows[i].pattern)};
        uint64_t cursor = 0;
        size_t slices = 0, found = 0;
        do {
            struct broker_request *request = broker_request_create(&ask);
            request->since.offset = cursor;
            broker_drain_mail(f->broker);
            broker_serve(f->broker, request);
            assert_int_equal(request->result, BROKER_OK);
            cursor = request->position.offset;
            char *json = calloc(1, request->json_bytes + 1);
            if (request->json_bytes > 0)
                memcpy(json, request->json, request->json_bytes);
            for (const char *at = json; (at = strstr(at, "\":{\"num_clients\":7}")); at++)
                found++;
            free(json);
            broker_request_destroy(request);
            slices++;
        } while (cursor != 0);
        assert_int_equal(found, rows[i].expected);
        assert_true(slices > 1);
    }
}

int main(void)
{
    if (!topic_hash_setup())
        return 1;
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_publish_reaches_the_reactors_that_have_subscribers_and_no_other),
        TEST(counts_are_absolute_and_the_topic_vanishes_with_its_last_subscriber),
        TEST(deliveries_wait_for_the_flush_and_then_wake_each_reactor_once),
        TEST(clients_have_half_and_backends_the_whole),
        TEST(clients_that_never_rest_do_not_keep_backends_waiting),
        TEST(congestion_is_told_from_what_the_kernel_has_not_taken),
        TEST(a_payload_beyond_the_limit_is_refused_whole),
        TEST(a_request_is_answered_after_its_message_is_on_its_way),
        TEST(mail_that_nobody_drained_is_freed_with_the_broker),
        TEST(reactor_threads_get_every_message_in_order),
        TEST(visiting_shows_each_topic_once),
        TEST(channels_come_in_slices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
