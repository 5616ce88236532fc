/* The outbox against a plain string of bytes. */
#include "gateway/conn/outbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct message_gauges gauges;

static void expect_nothing_is_kept(void)
{
    assert_int_equal(atomic_load(&gauges.inflight), 0);
    assert_int_equal(atomic_load(&gauges.outboxes), 0);
}

/* All topics have the same hash: they are told apart by their names. */
static struct message *message_on(const char *topic, const char *payload, size_t bytes)
{
    struct publication publication = {
        .payload = payload, .payload_bytes = bytes, .text = true, .topic = topic, .topic_bytes = 1};
    struct message *message = message_create(&publication, 1, 1u << ADAPTER_RAW, 0, &gauges);
    assert_non_null(message);
    return message;
}

static struct message *message_of(const char *payload, size_t bytes)
{
    return message_on("t", payload, bytes);
}

static void push(struct outbox *outbox, struct message *message, enum outbox_hold hold)
{
    assert_true(outbox_push_message(outbox, message, message_frame(message, ADAPTER_RAW),
                                    message->frames[ADAPTER_RAW].bytes, hold));
}

static void outbox_keeps_order_and_exact_bytes_under_random_partial_sends(void **state)
{
    (void)state;
    struct outbox outbox = {0};
    static uint8_t expected[1 << 20];
    size_t pushed = 0, taken = 0;
    srand(3);
    for (int step = 0; step < 20000; step++) {
        char payload[300];
        size_t bytes = (size_t)(1 + rand() % 300);
        memset(payload, 'a' + rand() % 26, sizeof payload);
        if (pushed + 512 < sizeof expected && rand() % 2) {
            if (rand() % 2) {
                struct message *message = message_of(payload, bytes);
                const uint8_t *frame = message_frame(message, ADAPTER_RAW);
                size_t frame_bytes = message->frames[ADAPTER_RAW].bytes;
                push(&outbox, message, rand() % 2 ? OUTBOX_KEEP : OUTBOX_MAY_GO);
                memcpy(expected + pushed, frame, frame_bytes);
                pushed += frame_bytes;
                message_passed(message); /* the outbox holds its own */
            } else {
                assert_true(outbox_push_copy(&outbox, payload, bytes, false));
                memcpy(expected + pushed, payload, bytes);
                pushed += bytes;
            }
        } else {
            struct iovec parts[8];
            size_t count = outbox_gather(&outbox, parts, 8, (size_t)(1 + rand() % 2000));
            size_t have = 0;
            for (size_t i = 0; i < count; i++) {
                assert_memory_equal(parts[i].iov_base, expected + taken + have, parts[i].iov_len);
                have += parts[i].iov_len;
            }
            if (have) {
                size_t take = (size_t)rand() % (have + 1);
                outbox_consume(&outbox, take);
                taken += take;
            }
        }
        assert_int_equal(outbox.bytes, pushed - taken);
        assert_int_equal(outbox_empty(&outbox), pushed == taken);
    }
    outbox_fini(&outbox);
    expect_nothing_is_kept();
}

static void dropping_unsent_keeps_a_frame_that_has_begun(void **state)
{
    (void)state;
    struct outbox outbox = {0};
    struct message *message = message_of("0123456789", 10);
    size_t bytes = message->frames[ADAPTER_RAW].bytes;
    for (int i = 0; i < 5; i++)
        push(&outbox, message, OUTBOX_MAY_GO);
    outbox_consume(&outbox, bytes + 3); /* one whole, three bytes of the second */
    assert_int_equal(outbox_drop_unsent(&outbox), 3);
    assert_int_equal(outbox.bytes, bytes - 3);
    assert_int_equal(outbox.count, 1);
    assert_int_equal(outbox_drop_unsent(&outbox), 0);
    assert_int_equal(outbox.may_go, 0);
    outbox_fini(&outbox);
    assert_int_equal((uint32_t)atomic_load(&message->holders), 1);
    message_passed(message);
    expect_nothing_is_kept(); /* every reference was given back */
}

static void sealed_bytes_that_wait_are_kept_in_order(void **state)
{
    (void)state;
    struct outbox outbox = {0};
    assert_true(outbox_push_wire(&outbox, (const uint8_t *)"abcdef", 6));
    outbox_wire_sent(&outbox, 2);
    assert_true(outbox_push_wire(&outbox, (const uint8_t *)"ghi", 3));
    assert_int_equal(outbox.bytes, 7);
    assert_memory_equal(outbox.wire + outbox.wire_sent, "cdefghi", 7);
    outbox_wire_sent(&outbox, 7);
    assert_null(outbox.wire);
    assert_true(outbox_empty(&outbox));
    outbox_fini(&outbox);
}

/* Letters that wait, one a message, on topics of their names; capitals may go. */
struct model {
    char letters[64];
    size_t count, begun; /* bytes of the first that have left */
};

enum { FRAME = 3, COST = FRAME + OUTBOX_ITEM_COST };

static bool may_go(const struct model *model, size_t i)
{
    return model->letters[i] < 'a' && (i > 0 || model->begun == 0);
}

/* Of those that may go, or of all that have not begun; on this topic, or on any (0). Returns how many. */
static size_t model_drop(struct model *model, size_t wanted, bool all, char topic)
{
    size_t kept = 0, gone = 0;
    for (size_t i = 0; i < model->count; i++) {
        bool goes = all ? i > 0 || model->begun == 0 : may_go(model, i);
        if (gone < wanted && goes && (!topic || model->letters[i] == topic))
            gone++;
        else
            model->letters[kept++] = model->letters[i];
    }
    model->count = kept;
    return gone;
}

static void model_send(struct model *model, size_t bytes)
{
    model->begun += bytes;
    size_t whole = model->begun / FRAME;
    model->begun %= FRAME;
    model->count -= whole;
    memmove(model->letters, model->letters + whole, model->count);
}

static void outbox_is_as(const struct outbox *outbox, const struct model *model)
{
    struct iovec vectors[sizeof model->letters];
    size_t n = outbox_gather(outbox, vectors, sizeof model->letters, SIZE_MAX), costs = 0;
    assert_int_equal(n, model->count);
    assert_int_equal(outbox->bytes, FRAME * n - model->begun);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(((const char *)vectors[i].iov_base)[vectors[i].iov_len - 1], model->letters[i]);
        costs += may_go(model, i) ? COST : 0;
        assert_false(i < outbox->firm && may_go(model, i));
    }
    assert_int_equal(outbox->may_go, costs);
}

static void what_may_go_goes_oldest_first_and_the_rest_keeps_its_order(void **state)
{
    (void)state;
    struct outbox outbox = {0};
    struct model model = {0};
    srand(4);
    for (int step = 0; step < 50000; step++) {
        char topic = "abAB"[rand() % 4];
        struct message *message = message_on(&topic, &topic, 1);
        size_t wanted = (size_t)(rand() % 6);
        int what = rand() % 10;
        if (what < 6 && model.count < sizeof model.letters) {
            push(&outbox, message, topic < 'a' ? OUTBOX_MAY_GO : OUTBOX_KEEP);
            model.letters[model.count++] = topic;
        } else if (what == 6 && model.count > 0) {
            size_t bytes = 1 + (size_t)rand() % (2 * FRAME), most = FRAME * model.count - model.begun;
            bytes = bytes < most ? bytes : most;
            outbox_consume(&outbox, bytes);
            model_send(&model, bytes);
        } else if (what == 7) {
            assert_int_equal(outbox_drop_oldest(&outbox, wanted * COST, NULL),
                             model_drop(&model, wanted, false, 0));
        } else if (what == 8) {
            assert_int_equal(outbox_drop_oldest(&outbox, wanted * COST, message),
                             model_drop(&model, wanted, false, topic));
        } else if (what == 9 && rand() % 4 == 0) {
            assert_int_equal(outbox_drop_topic(&outbox, message), model_drop(&model, SIZE_MAX, true, topic));
        }
        message_passed(message);
        outbox_is_as(&outbox, &model);
    }
    outbox_fini(&outbox);
    expect_nothing_is_kept();
}

static void one_that_goes_does_not_move_all_others(void **state)
{
    (void)state;
    struct outbox outbox = {0};
    struct message *message = message_of("a", 1);
    for (int i = 0; i < 1000; i++)
        push(&outbox, message, OUTBOX_MAY_GO);
    const struct outbox_item *last = &outbox.items[999];
    uint32_t bytes = last->bytes;
    outbox.items[999].data++; /* tells it from the others */
    assert_int_equal(outbox_drop_oldest(&outbox, 1, NULL), 1);
    assert_int_equal(outbox.count, 999);
    assert_ptr_equal(last->data, message_frame(message, ADAPTER_RAW) + 1); /* it is where it was */
    assert_int_equal(last->bytes, bytes);
    outbox_fini(&outbox);
    message_passed(message);
    expect_nothing_is_kept();
}

static void what_may_not_go_is_looked_at_once_and_not_moved(void **state)
{
    (void)state;
    struct outbox outbox = {0};
    struct message *kept = message_on("k", "k", 1), *lost = message_on("l", "l", 1);
    for (int i = 0; i < 1000; i++)
        push(&outbox, kept, OUTBOX_KEEP);
    for (int i = 0; i < 5; i++)
        push(&outbox, lost, OUTBOX_MAY_GO);
    uint32_t head = outbox.head;
    assert_int_equal(outbox_drop_oldest(&outbox, 1, lost), 1);
    assert_int_equal(outbox.firm, 1000); /* the next one begins there */
    assert_int_equal(outbox.head, head); /* those behind have moved up, not those before */
    assert_int_equal(outbox_drop_oldest(&outbox, UINT64_MAX, NULL), 4);
    assert_int_equal(outbox.may_go, 0);
    outbox_fini(&outbox);
    message_passed(kept);
    message_passed(lost);
    expect_nothing_is_kept();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_may_go_goes_oldest_first_and_the_rest_keeps_its_order),
        cmocka_unit_test(what_may_not_go_is_looked_at_once_and_not_moved),
        cmocka_unit_test(one_that_goes_does_not_move_all_others),
        cmocka_unit_test(outbox_keeps_order_and_exact_bytes_under_random_partial_sends),
        cmocka_unit_test(dropping_unsent_keeps_a_frame_that_has_begun),
        cmocka_unit_test(sealed_bytes_that_wait_are_kept_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
