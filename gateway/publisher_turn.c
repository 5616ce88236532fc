/* One turn: commands are executed, and at its end (clients_answer) what they published goes to the reactors,
 * their replies and what listeners heard go to the connections. */
#include "gateway/base/assert.h"
#include "gateway/base/log.h"
#include "gateway/publisher_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REPLY_KEEP_BYTES = 256 * 1024 };

enum turn { TURN_OVER, TURN_REPLIES, TURN_CONGESTED, TURN_WAITS, TURN_CLOSE, TURN_ABORT, TURN_NO_MEMORY };

static const enum turn turns[] = {
    [COMMAND_DONE] = TURN_OVER,   [COMMAND_LATER] = TURN_CONGESTED,     [COMMAND_QUIT] = TURN_CLOSE,
    [COMMAND_ABORT] = TURN_ABORT, [COMMAND_NO_MEMORY] = TURN_NO_MEMORY, [COMMAND_WAIT] = TURN_WAITS,
};

static enum turn protocol_error(struct publisher *publisher, struct resp_out *out, const char *what)
{
    char text[96];
    snprintf(text, sizeof text, "ERR Protocol error: %s", what);
    resp_error(out, text);
    counter_add(&publisher->stats.protocol_errors, 1);
    return TURN_CLOSE;
}

/* What it has been answered in this turn becomes its own, because it listens from now on, and what it hears
 * must come behind these. False without memory. */
static bool own_replies(struct publisher *publisher, struct publisher_client *client, size_t begin)
{
    struct resp_out *shared = &publisher->reply;
    size_t len = shared->len - begin;
    if (shared->failed) {
        shared->failed = false; /* the replies of others in it are whole */
        return false;
    }
    PG_ASSERT(client->out.len == 0);
    char *data = malloc(len);
    if (!data)
        return false;
    memcpy(data, shared->data + begin, len);
    resp_out_fini(&client->out);
    client->out = (struct resp_out){.data = data, .len = len, .cap = len, .resp3 = client->resp3};
    client->out_sent = 0;
    shared->len = begin;
    return true;
}

/* Executes whole commands from data[*at], until there is none or something stops it. */
static enum turn execute(struct publisher *publisher, struct publisher_client *client, char *data, size_t len,
                         size_t *at)
{
    bool own = client->out.len > 0 || listener_count(&client->listener) > 0;
    struct resp_out *out = own ? &client->out : &publisher->reply;
    out->resp3 = client->resp3;
    size_t begin = out->len;
    uint64_t commands = 0;
    enum turn turn = TURN_OVER;
    struct resp_command command = {.args = publisher->args};
    client->query_need = 0;
    if (client->operation) { /* done: this is its client's next turn */
        operation_reply(publisher, client, out);
        if (own && listener_count(&client->listener) > 0 && !listener_within_bounds(publisher, client))
            turn = TURN_ABORT;
    }
    while (*at < len && turn == TURN_OVER) {
        if ((own ? client_pending(client) : out->len - begin) >= client_replies_max(client)) {
            turn = TURN_REPLIES;
            break;
        }
        command.args_max = client->authenticated ? RESP_ARGS_MAX : ARGS_BEFORE_AUTH;
        size_t bulk_max = client->authenticated ? publisher->bulk_max : BULK_BEFORE_AUTH;
        enum parse_result result = resp_parse(data + *at, len - *at, bulk_max, &command);
        if (result == PARSE_BAD) {
            turn = protocol_error(publisher, out, command.error);
            break;
        }
        if (result == PARSE_MORE) {
            if (len - *at >= publisher->query_max || command.need_bytes > publisher->query_max)
                turn = protocol_error(publisher, out, "too big request");
            client->query_need = command.need_bytes;
            break;
        }
        if (command.arg_count > 0) {
            enum command_result done = command_execute(publisher, client, &command, out);
            if (done == COMMAND_LATER) {
                turn = TURN_CONGESTED;
                break;
            }
            commands++;
            turn = turns[done];
            bool listens = listener_count(&client->listener) > 0;
            if (listens && !own) {
                own = own_replies(publisher, client, begin);
                turn = own ? turn : TURN_NO_MEMORY;
                out = own ? &client->out : out;
            }
            if (client->cut || (listens && !listener_within_bounds(publisher, client)))
                turn = TURN_ABORT;
        }
        *at += command.command_bytes;
    }
    if (commands > 0)
        counter_add(&publisher->stats.commands, commands);
    if (!own) {
        client->reply_at = begin;
        client->reply_len = out->len - begin;
    }
    if (out->failed) {
        out->failed = false; /* the replies of others in it are whole */
        return TURN_NO_MEMORY;
    }
    return turn;
}

static void close_without_memory(struct publisher *publisher, struct publisher_client *client)
{
    log_limited(&publisher->log_memory, LOG_ERROR, "publisher_closed", "publisher=%llu reason=%s",
                (unsigned long long)client->id, "no_memory");
    client_close(publisher, client);
}

void client_run(struct publisher *publisher, struct publisher_client *client, char *data, size_t len)
{
    size_t at = 0;
    enum turn turn = execute(publisher, client, data, len, &at);
    publisher->turn_bytes += at;
    client->stalled = turn == TURN_REPLIES || turn == TURN_CONGESTED || turn == TURN_WAITS;
    if (turn == TURN_CLOSE) {
        client_begin_closing(publisher, client);
        at = len;
    }
    if (turn == TURN_ABORT) {
        client_close(publisher, client);
        return;
    }
    if (turn == TURN_NO_MEMORY || !client_keep_query(client, data + at, len - at)) {
        close_without_memory(publisher, client);
        return;
    }
    if (turn == TURN_CONGESTED) {
        client->blocked = true;
        list_append(&publisher->blocked, &client->timed);
    }
    list_append(&publisher->answering, &client->answering);
}

/* Sends to listeners what they have heard, and ends those that were cut. */
static void send_pushed(struct publisher *publisher)
{
    for (struct list *link; (link = list_pop(&publisher->pushed));) {
        struct publisher_client *client = LIST_ITEM(link, struct publisher_client, pushed);
        if (client->cut) {
            client_close(publisher, client);
            continue;
        }
        if (!list_empty(&client->answering))
            continue; /* there, with its replies */
        client_send_pending(client);
        if (client_may_go_on(client))
            list_append(&publisher->answering, &client->answering);
        else
            client_settle(publisher, client);
    }
}

void clients_answer(struct publisher *publisher)
{
    /* First, so that reactors start while the kernel carries the replies. */
    broker_flush(publisher->broker);
    while (!list_empty(&publisher->answering) || !list_empty(&publisher->pushed)) {
        send_pushed(publisher);
        struct list again;
        list_init(&again);
        for (struct list *link; (link = list_pop(&publisher->answering));) {
            struct publisher_client *client = LIST_ITEM(link, struct publisher_client, answering);
            client_send_replies(publisher, client);
            if (client->out.failed)
                close_without_memory(publisher, client);
            else if (client_may_go_on(client))
                list_append(&again, &client->answering); /* it waited for room for replies, and there is */
            else
                client_settle(publisher, client);
        }
        publisher->reply.len = 0;
        if (publisher->reply.cap > REPLY_KEEP_BYTES)
            resp_out_fini(&publisher->reply);
        for (struct list *link; (link = list_pop(&again));) {
            struct publisher_client *client = LIST_ITEM(link, struct publisher_client, answering);
            if (!client->cut)
                client_run(publisher, client, client->query, client->query_len);
        }
        broker_flush(publisher->broker);
    }
    publisher->turn_bytes = 0;
}
