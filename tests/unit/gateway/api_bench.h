/* A server API with a real broker and a memory engine behind it, stepped by hand; for its tests. */
#pragma once

#include "gateway/admin_api.h"
#include "gateway/broker/engine_memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { REACTORS = 2, TOKEN = 77 };

struct fixture {
    struct settings settings;
    struct config *config;
    struct mailbox mail[REACTORS], replies;
    struct reactor_stats reactor_stats[REACTORS];
    const struct reactor_stats *reactors[REACTORS];
    struct engine *engine;
    struct broker *broker;
    struct admin_config admin;
    struct admin_api *api;
    int status; /* of the last job that could not begin */
    char *text; /* what the last one said, epochs as E */
    size_t most_on_the_way;
};

static inline void set(struct fixture *f, const char *argument)
{
    char error[256];
    if (!config_read_argument(f->config, argument, error, sizeof error))
        fail_msg("%s", error);
}

static const char rules[] = "[topic h:*]\nhistory_size = 5\n[topic long:*]\nhistory_size = 100000\n"
                            "[topic p:*]\npresence = on\n";

static inline void read_rules(struct fixture *f)
{
    char error[256];
    if (!config_read_text(f->config, "rules", rules, sizeof rules - 1, error, sizeof error))
        fail_msg("%s", error);
}

static inline int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct mailbox *mail[REACTORS];
    *state = f;
    f->config = settings_config(&f->settings);
    assert_non_null(f->config);
    read_rules(f);
    set(f, "--limits.message_bytes=1KiB");
    for (int i = 0; i < REACTORS; i++) {
        assert_true(mailbox_init(&f->mail[i]));
        mail[i] = &f->mail[i];
        f->reactors[i] = &f->reactor_stats[i];
    }
    assert_true(mailbox_init(&f->replies));
    f->engine = engine_memory_create(&(struct engine_memory_config){.history_bytes = 1 << 24});
    f->broker = broker_create(&(struct broker_config){.reactors = REACTORS,
                                                      .reactor_mail = mail,
                                                      .message_bytes = 1024,
                                                      .inflight_bytes = 4096,
                                                      .settings = &f->settings,
                                                      .engine = f->engine});
    assert_non_null(f->broker);
    f->admin = (struct admin_config){.settings = &f->settings,
                                     .broker_mail = broker_mailbox(f->broker),
                                     .broker = f->broker,
                                     .reactor_count = REACTORS,
                                     .reactors = f->reactors};
    f->api = admin_api_create(&f->admin, &f->replies, 1000);
    assert_non_null(f->api);
    return 0;
}

static inline int tear_down(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(admin_api_held(f->api), 0);
    admin_api_destroy(f->api);
    broker_destroy(f->broker);
    f->engine->ops->destroy(f->engine);
    for (int i = 0; i < REACTORS; i++)
        mailbox_fini(&f->mail[i]);
    mailbox_fini(&f->replies);
    config_destroy(f->config);
    free(f->text);
    free(f);
    return 0;
}

/* Takes what reactors were sent: payloads of messages, or orders, which `seen` may look at. */
static inline size_t take_mail(struct fixture *f, int reactor, char *payloads, size_t room,
                               void (*seen)(const struct order *order, void *context), void *context)
{
    size_t items = 0, at = 0;
    if (payloads)
        payloads[0] = '\0';
    for (struct mailbox_node *node = mailbox_detach(&f->mail[reactor]), *next; node; node = next, items++) {
        next = node->next;
        struct mail *mail = (struct mail *)node;
        if (mail->kind == MAIL_DELIVERY) {
            struct message *message = ((struct delivery *)mail)->message;
            const char *frame = (const char *)message_frame(message, ADAPTER_RAW);
            size_t bytes = message->frames[ADAPTER_RAW].bytes;
            size_t head = frame[1] == 126 ? 4 : 2;
            if (payloads)
                at += (size_t)snprintf(payloads + at, room - at, "%s%.*s", at ? "|" : "", (int)(bytes - head),
                                       frame + head);
            message_passed(message);
        } else if (mail->kind == MAIL_ORDER) {
            struct order_copy *copy = (struct order_copy *)mail;
            if (seen)
                seen(copy->order, context);
            order_unref(copy->order);
            free(copy);
        } else {
            broker_request_destroy((struct broker_request *)mail);
        }
    }
    return items;
}

static inline void drop_mail(struct fixture *f)
{
    for (int i = 0; i < REACTORS; i++)
        (void)take_mail(f, i, NULL, 0, NULL, NULL);
}

static inline void tell_interest(struct fixture *f, uint16_t reactor, const char *topic, uint32_t subscribers)
{
    struct broker_interest *interest = broker_interest_create(
        reactor, topic, strlen(topic), topic_hash(topic, strlen(topic)), subscribers, 1u << ADAPTER_RAW);
    mailbox_push(broker_mailbox(f->broker), &interest->mail.node);
}

static inline struct http_slice slice_of(const char *text)
{
    return (struct http_slice){text, strlen(text)};
}

/* Lets the broker answer, and hands the answers to the job. */
static inline size_t answer_all(struct fixture *f, struct admin_api_job *job)
{
    size_t answers = 0;
    broker_drain_mail(f->broker);
    for (struct mailbox_node *node = mailbox_detach(&f->replies), *next; node; node = next, answers++) {
        next = node->next;
        struct broker_request *answer = (struct broker_request *)(void *)node;
        assert_int_equal(answer->token, TOKEN);
        admin_api_answered(f->api, job, answer);
    }
    if (answers > f->most_on_the_way)
        f->most_on_the_way = answers;
    return answers;
}

static inline void hide_epochs(char *text)
{
    static const char name[] = "\"epoch\":\"";
    for (char *at = text; (at = strstr(at, name));) {
        at += sizeof name - 1;
        assert_true(strspn(at, "0123456789abcdef") == 16 && at[16] == '"');
        *at = 'E';
        memmove(at + 1, at + 16, strlen(at + 16) + 1);
    }
}

/* Runs a job to its end. Its text, or the sentence of why it did not begin, is in f->text. */
static const char *run_bytes(struct fixture *f, const char *method, struct http_slice body)
{
    const char *sentence = NULL;
    free(f->text);
    f->text = NULL;
    f->status = 0;
    f->most_on_the_way = 0;
    /* In a block of its own, so that sanitizers see every byte read beyond it. */
    char *own = malloc(body.len ? body.len : 1);
    memcpy(own, body.data, body.len);
    struct admin_api_job *job = admin_api_begin(f->api, slice_of(method), (struct http_slice){own, body.len},
                                                TOKEN, &f->status, &sentence);
    if (!job) {
        assert_true(f->status >= 400 && sentence);
        f->text = strdup(sentence);
    } else {
        while (admin_api_go_on(f->api, job) != API_DONE)
            if (answer_all(f, job) == 0)
                drop_mail(f); /* it waits for reactors */
        size_t bytes = 0;
        char *text = admin_api_take(job, &bytes);
        assert_non_null(text);
        f->text = calloc(1, bytes + 1); /* not strndup(), which may look behind the text */
        assert_non_null(f->text);
        memcpy(f->text, text, bytes);
        free(text);
        admin_api_end(f->api, job);
        hide_epochs(f->text);
    }
    free(own);
    return f->text;
}

static const char *run(struct fixture *f, const char *method, const char *body)
{
    return run_bytes(f, method, slice_of(body));
}

static inline void answers(struct fixture *f, const char *method, const char *body, const char *expected)
{
    const char *text = run(f, method, body);
    char whole[4096];
    snprintf(whole, sizeof whole, "%s%s", expected, *method ? "\n" : "");
    if (strcmp(text, whole) != 0)
        fail_msg("%s %s:\n%s\nnot\n%s", method, body, text, whole);
}

static inline void answers_error(struct fixture *f, const char *method, const char *body, int code)
{
    char start[64];
    snprintf(start, sizeof start, "{\"error\":{\"code\":%d,\"message\":\"", code);
    if (strncmp(run(f, method, body), start, strlen(start)) != 0)
        fail_msg("%s %s: %s, not %d", method, body, f->text, code);
}
