/* A real publisher thread with one mailbox in place of a reactor, a memory engine, and ways to speak to it:
 * hiredis and bare sockets.
 *
 * Thread: the test's, beside the publisher's own. Owner: the test; stop() ends everything.
 */
#pragma once

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/base/net.h"
#include "gateway/broker/engine_memory.h"
#include "gateway/publisher.h"
#include "gateway/publisher_channels.h"

#include <errno.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define FIXTURE static inline __attribute__((unused))

struct fixture {
    struct settings settings;
    struct config *config;
    struct engine *engine;
    struct mailbox reactor, answers; /* of a reactor; of whoever asks the broker */
    struct broker *broker;
    struct publisher *publisher;
    struct net_address address;
    int listen_fd;
    int port;
};

/* `rules` live as long as the fixture. */
FIXTURE struct fixture *start_with(struct topic_rule *rules, size_t rule_count, const char *const *arguments,
                                   size_t count)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->config = config_create(settings_keys, settings_key_count, &f->settings);
    assert_non_null(f->config);
    char error[256];
    for (size_t i = 0; i < count; i++)
        if (!config_read_argument(f->config, arguments[i], error, sizeof error))
            fail_msg("%s", error);
    f->settings.topics.rules = rules;
    f->settings.topics.count = rule_count;
    f->engine = engine_memory_create(&(struct engine_memory_config){.epoch_seed = 1});
    assert_non_null(f->engine);
    assert_true(mailbox_init(&f->reactor) && mailbox_init(&f->answers));
    struct mailbox *mail[] = {&f->reactor};
    f->broker = broker_create(&(struct broker_config){.reactors = 1,
                                                      .reactor_mail = mail,
                                                      .message_bytes = f->settings.limits.message_bytes,
                                                      .inflight_bytes = f->settings.limits.inflight_bytes,
                                                      .settings = &f->settings,
                                                      .engine = f->engine});
    assert_non_null(f->broker);
    struct net_address any;
    assert_true(net_parse("127.0.0.1:0", &any, error, sizeof error));
    f->listen_fd = net_listen(&any, 64, false, error, sizeof error);
    assert_true(f->listen_fd >= 0);
    assert_true(net_local_address(f->listen_fd, &f->address));
    char text[64];
    net_format(&f->address, text, sizeof text);
    f->port = (int)strtol(strrchr(text, ':') + 1, NULL, 10);
    f->publisher = publisher_create(&(struct publisher_config){
        .settings = &f->settings, .listen_fds = &f->listen_fd, .listen_count = 1, .broker = f->broker});
    assert_non_null(f->publisher);
    assert_true(publisher_start(f->publisher));
    return f;
}
FIXTURE struct fixture *start(const char *const *arguments, size_t count)
{
    return start_with(NULL, 0, arguments, count);
}
#define START(...)                                                                                           \
    start((const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

FIXTURE unsigned drop_deliveries(struct fixture *f)
{
    unsigned count = 0;
    for (struct mailbox_node *node = mailbox_detach(&f->reactor), *next; node; node = next) {
        next = node->next;
        if (((struct mail *)node)->kind == MAIL_ORDER) {
            order_unref(((struct order_copy *)node)->order);
            free(node);
            continue;
        }
        if (((struct mail *)node)->kind == MAIL_INSPECTION) {
            inspection_destroy((struct inspection *)(void *)node);
            continue;
        }
        message_passed(((struct delivery *)node)->message);
        count++;
    }
    return count;
}

FIXTURE void stop(struct fixture *f)
{
    publisher_stop(f->publisher);
    publisher_destroy(f->publisher);
    drop_deliveries(f);
    mailbox_fini(&f->reactor);
    broker_destroy(f->broker);
    mailbox_fini(&f->answers);
    f->engine->ops->destroy(f->engine);
    f->settings.topics.count = 0; /* the test's */
    config_destroy(f->config);
    close(f->listen_fd);
    free(f);
}

FIXTURE void subscribe(struct fixture *f, const char *topic, uint32_t subscribers)
{
    struct broker_interest *interest = broker_interest_create(
        0, topic, strlen(topic), topic_hash(topic, strlen(topic)), subscribers, 1u << ADAPTER_RAW);
    assert_non_null(interest);
    mailbox_push(broker_mailbox(f->broker), &interest->mail.node);
}

FIXTURE redisContext *dial(const struct fixture *f)
{
    redisContext *redis = redisConnect("127.0.0.1", f->port);
    assert_non_null(redis);
    assert_int_equal(redis->err, 0);
    redisSetTimeout(redis, (struct timeval){.tv_sec = 5});
    return redis;
}

/* The reply as text: "+OK", "-ERR …", ":3", "$text", "nil", "*[a b]". */
FIXTURE size_t describe(const redisReply *reply, char *out, size_t size)
{
    switch (reply->type) {
    case REDIS_REPLY_STATUS:
        return (size_t)snprintf(out, size, "+%s", reply->str);
    case REDIS_REPLY_ERROR:
        return (size_t)snprintf(out, size, "-%s", reply->str);
    case REDIS_REPLY_INTEGER:
        return (size_t)snprintf(out, size, ":%lld", reply->integer);
    case REDIS_REPLY_STRING:
        return (size_t)snprintf(out, size, "$%.*s", (int)reply->len, reply->str);
    case REDIS_REPLY_NIL:
        return (size_t)snprintf(out, size, "nil");
    default:
        break;
    }
    size_t at = (size_t)snprintf(out, size, "*[");
    for (size_t i = 0; i < reply->elements; i++) {
        at += (size_t)snprintf(out + at, size - at, "%s", i ? " " : "");
        at += describe(reply->element[i], out + at, size - at);
    }
    return at + (size_t)snprintf(out + at, size - at, "]");
}

FIXTURE const char *ask(redisContext *redis, const char *format, ...)
{
    static char text[8192];
    va_list values;
    va_start(values, format);
    redisReply *reply = redisvCommand(redis, format, values);
    va_end(values);
    if (!reply)
        return redis->errstr;
    describe(reply, text, sizeof text);
    freeReplyObject(reply);
    return text;
}

FIXTURE int dial_raw(const struct fixture *f)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&f->address.storage, f->address.len), 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){.tv_sec = 5}, sizeof(struct timeval));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &(struct timeval){.tv_sec = 5}, sizeof(struct timeval));
    return fd;
}

FIXTURE void send_all(int fd, const char *data, size_t len)
{
    for (size_t sent = 0; sent < len;) {
        ssize_t n = send(fd, data + sent, len - sent, MSG_NOSIGNAL);
        assert_true(n > 0);
        sent += (size_t)n;
    }
}

/* Everything until the end of the connection. */
FIXTURE size_t read_all(int fd, char *out, size_t size)
{
    size_t len = 0;
    for (;;) {
        ssize_t n = recv(fd, out + len, size - 1 - len, 0);
        assert_true(n >= 0);
        out[len + (size_t)n] = '\0';
        if (n == 0)
            return len;
        len += (size_t)n;
    }
}

FIXTURE void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}
