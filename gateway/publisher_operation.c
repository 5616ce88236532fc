/* Commands that reactors answer: one inspection goes from reactor to reactor, a slice of work at a time,
 * while its client waits and all others go on. */
#include "gateway/base/assert.h"
#include "gateway/base/log.h"
#include "gateway/base/uuid.h"
#include "gateway/publisher_client.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CLOSES_PER_SLICE = 128,
    CLOSES_MANY = 100, /* are recorded whatever else was */
    WHICH_BYTES = 512,
    LIST_BYTES_MAX = REPLIES_MAX / 2, /* a page ends there, too */
};

struct operation {
    struct list link;                /* in publisher.operations or .answered */
    struct publisher_client *client; /* NULL: it has gone */
    struct operation_order order;    /* its texts stand behind this struct */
    struct inspection *inspection;   /* NULL: with a reactor, or lost with it */
    uint16_t reactor;                /* where it is, or comes next */
    uint32_t from;                   /* slot there */
    uint32_t found;
    uint64_t cursor; /* LIST: where the next page begins; 0: there is none */
    struct resp_out out;
    bool no_memory;
    uint64_t asker;               /* id of the client, */
    char origin[ORIGIN_TEXT_MAX]; /* and where it was: both also when it has gone */
};

/* The filter in words. */
static void describe(const struct conn_filter *filter, char out[WHICH_BYTES])
{
    char id[CONN_ID_TEXT_BYTES] = "", client[UUID_TEXT_BYTES] = "";
    int topic = (int)filter->topic.bytes, user = (int)filter->user.bytes;
    if (filter->id_set)
        conn_id_format(filter->id, id);
    if (filter->client_set)
        uuid_format(filter->client, client);
    snprintf(out, WHICH_BYTES, "%s%s%s%.*s%s%.*s%s%s", filter->id_set ? " id=" : "", id,
             filter->topic_set ? " topic=" : "", topic, topic > 0 ? filter->topic.data : "",
             filter->user_set ? " user=" : "", user < QUOTED_MAX ? user : QUOTED_MAX,
             user > 0 ? filter->user.data : "", filter->client_set ? " client=" : "", client);
    memmove(out, out + 1, strlen(out)); /* the first space */
}

/* Who has closed clients, and which. Backends may do that all the time, one by one; who closes many is told
 * of among those, too. */
static void record(struct publisher *publisher, const struct operation *operation)
{
    char which[WHICH_BYTES];
    struct log_limit none = {0};
    if (operation->order.kind != OPERATION_CLOSE || operation->found == 0)
        return;
    describe(&operation->order.filter, which);
    log_limited(operation->found >= CLOSES_MANY ? &none : &publisher->log_close, LOG_WARN, "operator_asked",
                "for=close which=%s closed=%u publisher=%llu from=%s", which, operation->found,
                (unsigned long long)operation->asker, operation->origin);
}

/* It is in no list any more. */
static void destroy(struct publisher *publisher, struct operation *operation)
{
    record(publisher, operation);
    inspection_destroy(operation->inspection);
    resp_out_fini(&operation->out);
    free(operation);
}

static struct text keep(char **at, struct text from)
{
    struct text kept = {.data = *at, .bytes = from.bytes};
    if (from.bytes > 0)
        memcpy(*at, from.data, from.bytes);
    *at += from.bytes;
    return kept;
}

static struct operation *create(struct publisher_client *client, const struct operation_order *order)
{
    const struct conn_filter *filter = &order->filter;
    size_t bytes = filter->topic.bytes + filter->user.bytes + order->reason.bytes;
    struct operation *operation = malloc(sizeof *operation + bytes);
    if (!operation)
        return NULL;
    *operation =
        (struct operation){.client = client, .order = *order, .reactor = order->reactor, .from = order->from};
    list_init(&operation->link);
    char *at = (char *)(operation + 1);
    operation->order.filter.topic = keep(&at, filter->topic);
    operation->order.filter.user = keep(&at, filter->user);
    operation->order.reason = keep(&at, order->reason);
    if (filter->id_set)
        operation->reactor = filter->id.reactor;
    operation->out.resp3 = client->resp3;
    operation->asker = client->id;
    if (order->kind == OPERATION_CLOSE)
        client_origin(client, operation->origin);
    return operation;
}

/* The next reactor that may have what is looked for, from `reactor` on. */
static uint16_t next_reactor(const struct publisher *publisher, const struct operation *operation,
                             uint16_t reactor)
{
    const struct conn_filter *filter = &operation->order.filter;
    if (filter->id_set && reactor > filter->id.reactor)
        return BROKER_NO_REACTOR;
    return broker_next_reactor(publisher->broker, reactor, filter->topic);
}

static bool ready_inspection(struct operation *operation)
{
    static const enum inspection_kind kinds[] = {
        [OPERATION_LIST] = INSPECT_LIST,
        [OPERATION_INSPECT] = INSPECT_ONE,
        [OPERATION_CLOSE] = INSPECT_CLOSE,
    };
    const struct operation_order *order = &operation->order;
    if (!operation->inspection)
        operation->inspection = inspection_create(kinds[order->kind], &order->filter, order->reason);
    struct inspection *inspection = operation->inspection;
    if (!inspection)
        return false;
    inspection->asker = operation;
    inspection->from = operation->from;
    inspection->code = order->code;
    inspection->count = order->kind == OPERATION_LIST ? order->count - operation->found : CLOSES_PER_SLICE;
    inspection->out.resp3 = operation->out.resp3;
    inspection->out.len = 0;
    return true;
}

/* Asks the next reactor. False: there is none, or no memory. */
static bool step(struct publisher *publisher, struct operation *operation)
{
    for (;;) {
        uint16_t next = next_reactor(publisher, operation, operation->reactor);
        if (next == BROKER_NO_REACTOR)
            return false;
        if (next != operation->reactor)
            operation->from = 0;
        operation->reactor = next;
        if (!ready_inspection(operation)) {
            operation->no_memory = true;
            return false;
        }
        if (broker_inspect(publisher->broker, next, operation->inspection)) {
            operation->inspection = NULL;
            list_append(&publisher->operations, &operation->link);
            return true;
        }
        operation->reactor++; /* that one has ended, and has no connections any more */
        operation->from = 0;
    }
}

/* What a reactor has answered. */
static void take_answer(struct operation *operation)
{
    struct inspection *answer = operation->inspection;
    if (answer) {
        operation->found += answer->found;
        resp_values(&operation->out, &answer->out);
        operation->no_memory |= operation->out.failed;
    }
    operation->from = answer ? answer->next : 0;
    if (operation->from == 0)
        operation->reactor++;
}

static bool page_is_full(const struct operation *operation)
{
    return operation->found >= operation->order.count || operation->out.len >= LIST_BYTES_MAX;
}

/* False: it is done, and has no memory to go on or nothing to go on for. */
static bool go_on(struct publisher *publisher, struct operation *operation)
{
    const struct operation_order *order = &operation->order;
    if (operation->no_memory || order->kind == OPERATION_INSPECT)
        return false;
    if (order->kind == OPERATION_LIST && page_is_full(operation)) {
        uint16_t next = next_reactor(publisher, operation, operation->reactor);
        if (next != BROKER_NO_REACTOR)
            operation->cursor = (uint64_t)next << 32 | (next == operation->reactor ? operation->from : 0);
        return false;
    }
    return step(publisher, operation);
}

void operations_go_on(struct publisher *publisher)
{
    PG_ASSERT(list_empty(&publisher->answering));
    for (struct list *link; (link = list_pop(&publisher->answered));) {
        struct operation *operation = LIST_ITEM(link, struct operation, link);
        struct publisher_client *client = operation->client;
        take_answer(operation);
        if ((client || operation->order.kind == OPERATION_CLOSE) && go_on(publisher, operation))
            continue;
        if (!client)
            destroy(publisher, operation);
        else if (client->query)
            client_run(publisher, client, client->query, client->query_len);
        else
            client_run(publisher, client, publisher->receive, 0);
    }
}

static void write_reply(struct operation *operation, struct resp_out *out)
{
    char cursor[24];
    switch (operation->order.kind) {
    case OPERATION_LIST:
        snprintf(cursor, sizeof cursor, "%" PRIu64, operation->cursor);
        resp_array(out, 2);
        resp_bulk(out, cursor, strlen(cursor));
        resp_array(out, operation->found);
        break;
    case OPERATION_INSPECT:
        if (operation->found == 0)
            resp_error(out, "ERR No such connection");
        break;
    case OPERATION_CLOSE:
        resp_integer(out, (int64_t)operation->found);
        return;
    }
    resp_values(out, &operation->out);
}

void operation_reply(struct publisher *publisher, struct publisher_client *client, struct resp_out *out)
{
    struct operation *operation = client->operation;
    client->operation = NULL;
    if (operation->no_memory)
        resp_error(out, "ERR out of memory");
    else
        write_reply(operation, out);
    if (operation->no_memory || (operation->order.kind == OPERATION_INSPECT && operation->found == 0))
        counter_add(&publisher->stats.errors, 1);
    destroy(publisher, operation);
}

enum command_result operation_begin(const struct call *call, const struct operation_order *order)
{
    struct publisher_client *client = call->client;
    PG_ASSERT(!client->operation);
    struct operation *operation = create(client, order);
    if (!operation)
        return command_fail(call, "ERR out of memory");
    client->operation = operation;
    if (step(call->publisher, operation))
        return COMMAND_WAIT;
    operation_reply(call->publisher, client, call->out);
    return COMMAND_DONE;
}

void operation_abandon(struct publisher_client *client)
{
    if (client->operation)
        client->operation->client = NULL;
    client->operation = NULL;
}

static void move_to_answered(struct publisher *publisher, struct operation *operation)
{
    list_remove(&operation->link);
    list_append(&publisher->answered, &operation->link);
}

void operation_mail(void *context, struct mail *mail)
{
    struct publisher *publisher = context;
    if (mail->kind == MAIL_INSPECTION) {
        struct inspection *answer = (struct inspection *)(void *)mail;
        struct operation *operation = answer->asker;
        operation->inspection = answer;
        move_to_answered(publisher, operation);
        return;
    }
    uint16_t ended = ((struct reactor_ended *)(void *)mail)->reactor;
    for (struct list *link = publisher->operations.next, *next; link != &publisher->operations; link = next) {
        struct operation *operation = LIST_ITEM(link, struct operation, link);
        next = link->next;
        if (operation->reactor == ended)
            move_to_answered(publisher, operation);
    }
    free(mail);
}

void operations_fini(struct publisher *publisher)
{
    struct list *lists[] = {&publisher->operations, &publisher->answered};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        for (struct list *link; (link = list_pop(lists[i]));)
            destroy(publisher, LIST_ITEM(link, struct operation, link));
}
