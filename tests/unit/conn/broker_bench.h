/* A pool_bench.h pool with a real broker and its memory engine behind it, which take their turns when the
 * test says so.
 *
 * Thread: the test's. Owner: the test; broker_bench_fini() ends everything and checks that nothing was left.
 */
#pragma once

#include "gateway/broker/engine_memory.h"
#include "pool_bench.h"

struct broker_bench {
    struct bench *bench;
    struct engine *engine;
    struct broker *broker;
    struct mailbox mail;                         /* the reactor's */
    uint64_t answers, answer_bytes, items, busy; /* of the mail taken so far: how many, their JSON, their
                                                    references to publications, refusals */
};

/* The rules of `settings` must live as long. inflight_bytes 0: no bound. */
BENCH void broker_bench_init(struct broker_bench *own, const struct settings *settings,
                             uint64_t message_bytes, uint64_t inflight_bytes)
{
    own->bench = bench_new_with(settings);
    struct engine_memory_config memory = {.history_bytes = 0};
    own->engine = engine_memory_create(&memory);
    assert_non_null(own->engine);
    assert_true(mailbox_init(&own->mail));
    struct mailbox *mail = &own->mail;
    struct broker_config config = {.reactors = 1,
                                   .reactor_mail = &mail,
                                   .message_bytes = message_bytes,
                                   .inflight_bytes = inflight_bytes,
                                   .settings = &own->bench->settings,
                                   .engine = own->engine};
    own->broker = broker_create(&config);
    assert_non_null(own->broker);
    own->bench->pool.broker_mail = broker_mailbox(own->broker);
    own->bench->pool.gauges = broker_gauges(own->broker);
    own->bench->pool.own_mail = &own->mail;
}

/* The reactor's part of a turn. */
BENCH void broker_bench_take_mail(struct broker_bench *own)
{
    struct pool *pool = &own->bench->pool;
    for (struct mailbox_node *node = mailbox_detach(&own->mail), *next_node; node; node = next_node) {
        next_node = node->next;
        struct mail *mail = (struct mail *)node;
        if (mail->kind == MAIL_REQUEST) {
            own->answers++;
            own->items += ((struct broker_request *)mail)->item_count;
            own->answer_bytes += ((struct broker_request *)mail)->json_bytes;
            own->busy += ((struct broker_request *)mail)->result == BROKER_BUSY;
        }
        if (mail->kind == MAIL_ORDER)
            pool_ordered(pool, (struct order_copy *)mail);
        else if (mail->kind == MAIL_REQUEST && ((struct broker_request *)mail)->op != BROKER_SUBSCRIBE)
            conn_answered(pool, (struct broker_request *)mail);
        else
            fanout_accept(&own->bench->fanout, mail);
    }
}

/* Until nothing is on its way. */
BENCH void broker_bench_settle(struct broker_bench *own)
{
    do {
        broker_drain_mail(own->broker);
        (void)broker_work(own->broker, UINT64_MAX);
        broker_bench_take_mail(own);
        bench_settle(own->bench);
    } while (mailbox_pending(broker_mailbox(own->broker)) || mailbox_pending(&own->mail) ||
             broker_has_work(own->broker));
}

/* Ends every connection, as at the end of a drain. */
BENCH void broker_bench_end_all(struct broker_bench *own)
{
    struct pool *pool = &own->bench->pool;
    broker_bench_settle(own);
    for (uint32_t i = 0; i < pool->conns.fresh; i++)
        if (pool_conn(pool, i)->state != CONN_FREE)
            pool_destroy(pool, pool_conn(pool, i), CLOSE_DRAIN);
    pool_tell_broker(pool);
    broker_bench_settle(own);
}

BENCH void broker_bench_fini(struct broker_bench *own)
{
    broker_bench_end_all(own);
    assert_int_equal(broker_topic_count(own->broker), 0);
    assert_int_equal(broker_inflight_bytes(own->broker), 0);
    assert_int_equal(broker_outbox_memory(own->broker), 0);
    broker_destroy(own->broker);
    own->bench->pool.broker_mail = &own->bench->broker_mail;
    own->bench->pool.gauges = &own->bench->gauges;
    mailbox_fini(&own->mail);
    own->engine->ops->destroy(own->engine);
    bench_fini(own->bench);
}
