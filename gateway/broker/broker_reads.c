/* What clients ask about a topic, who is there and what was: a few bytes that cost thousands as many. So they
 * wait in line, and are answered in slices, between which the thread's other work has its turn; and not
 * before reactors have read the answers before them, so that these do not pile up. The line may be long when
 * answers are short; who would have to wait for so long that nobody may be there any more is not answered. */
#include "gateway/base/assert.h"
#include "gateway/base/clock.h"
#include "gateway/broker/broker_internal.h"

enum {
    READS_MAX = 64 * 1024,                /* in line; those beyond are told to come again */
    ANSWERING_MAX = 8 * 1024 * 1024,      /* bytes of answers on their way to reactors, and not much more */
    HELD_POLL_MS = 2,                     /* reactors do not tell when they have read them */
    WAIT_MAX_NS = 2 * 1000 * 1000 * 1000, /* in line; who has waited longer is told to come again, too */
};

static struct broker_request *pop(struct reads *reads)
{
    struct broker_request *request = (struct broker_request *)reads->oldest;
    reads->oldest = request->mail.node.next;
    if (!reads->oldest)
        reads->newest = NULL;
    reads->count--;
    return request;
}

bool broker_is_read(const struct broker_request *request)
{
    return request->reactor != BROKER_NO_REACTOR && !request->at_once &&
           (request->op == BROKER_PRESENCE || request->op == BROKER_HISTORY);
}

void broker_take_read(struct broker *broker, struct broker_request *request)
{
    struct reads *reads = &broker->reads;
    struct mailbox_node *node = &request->mail.node;
    if (reads->count >= READS_MAX) {
        request->result = BROKER_BUSY;
        broker_hold(broker, request->reactor, node);
        return;
    }
    request->came_ns = clock_monotonic_ns();
    node->next = NULL;
    if (reads->newest)
        reads->newest->next = node;
    else
        reads->oldest = node;
    reads->newest = node;
    reads->count++;
}

void broker_drop_reads(struct broker *broker)
{
    while (broker->reads.oldest)
        broker_request_destroy(pop(&broker->reads));
}

bool broker_has_work(const struct broker *broker)
{
    return broker->reads.oldest != NULL;
}

uint64_t broker_work(struct broker *broker, uint64_t until_ns)
{
    bool held = false;
    uint64_t now_ns = clock_monotonic_ns();
    do {
        if (!broker_has_work(broker))
            break;
        const struct broker_request *oldest = (const struct broker_request *)broker->reads.oldest;
        bool late = now_ns > oldest->came_ns + WAIT_MAX_NS;
        held = !late && atomic_load_explicit(&broker->answering, memory_order_relaxed) > ANSWERING_MAX;
        if (held)
            break;
        struct broker_request *request = pop(&broker->reads);
        if (broker->targets[request->reactor].ended) {
            broker_request_destroy(request); /* nobody is left to answer to */
            continue;
        }
        if (late)
            request->result = BROKER_BUSY;
        else
            broker_serve(broker, request);
        broker_hold(broker, request->reactor, &request->mail.node);
    } while ((now_ns = clock_monotonic_ns()) < until_ns);
    broker_flush(broker);
    return !broker_has_work(broker) ? UINT64_MAX : held ? HELD_POLL_MS : 0;
}
