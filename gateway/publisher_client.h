/* Inside of the publisher: its own struct, its connections, and what publisher.c (loop), publisher_client.c
 * (bytes), publisher_turn.c (when), publisher_commands.c and its siblings (meaning) and publisher_push.c
 * (what listeners hear) share. Not for others.
 *
 * Thread: the publisher's. Owner: a client frees its buffers when it closes; its struct is freed after the
 * batch of events, so that a stale event finds it closed.
 */
#pragma once

#include "gateway/base/list.h"
#include "gateway/base/log.h"
#include "gateway/publisher.h"
#include "gateway/publisher_channels.h"
#include "proto/resp.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    RECEIVE_BYTES = 256 * 1024, /* the shared buffer; what one connection may have executed in one turn */
    CARRY_BYTES = 16 * 1024,    /* an unfinished command up to here is carried into the shared buffer again */
    TURN_BYTES = 64 * 1024,     /* of commands that are executed before the first of them is answered */
    REPLIES_MAX = 1024 * 1024, /* past it, a connection that does not read its replies is not read; a listener
                                  is cut at publish.outbox_bytes instead */
    BULK_MIN = 64 * 1024,      /* commands other than PUBLISH have room whatever limits.message_bytes is */
    BULK_UNLIMITED = 512 * 1024 * 1024, /* as Redis, whatever limits.message_bytes is */
    QUERY_EXTRA = 5 * 1024 * 1024,      /* of a command, beside its largest string: RESP_ARGS_MAX channels */
    ARGS_BEFORE_AUTH = 10,              /* both as Redis */
    BULK_BEFORE_AUTH = 16 * 1024,
    NAME_MAX_BYTES = 255, /* of CLIENT SETNAME */
    QUOTED_MAX = 128,     /* of a peer's text in an error, as Redis */
    ORIGIN_TEXT_MAX = 64,
};

enum source_kind { SOURCE_MAILBOX, SOURCE_LISTENER, SOURCE_CLIENT };

/* What epoll's data points to. */
struct source {
    enum source_kind kind;
    int fd; /* -1: closed in this batch */
};

struct publisher_client {
    struct source source; /* first */
    uint32_t
        armed; /* epoll events; 0: not in the set, since a hang-up is reported whether asked for or not */
    uint64_t id;
    struct list link;           /* in clients or dead */
    struct list timed;          /* in at most one of strangers, blocked, lingering */
    struct list answering;      /* in publisher.answering: executed in this turn, replies not sent yet */
    size_t reply_at, reply_len; /* its part of publisher.reply; a listener's are in `out` at once, so that
                                   they stand in order with what it hears */
    struct listener listener;
    struct list pushed; /* in publisher.pushed: heard something, or was cut, in this turn */
    uint64_t deadline_ms;
    bool authenticated;
    bool local; /* on a unix socket or from loopback */
    bool resp3;
    bool stalled; /* whole commands wait in query: for its replies to be read, or for the end of congestion */
    bool blocked; /* the latter: it is in the list of that name */
    bool mute;    /* nobody reads the replies any more, but what it sent is still executed */
    bool closing; /* executes nothing more; closed when the replies are out */
    bool cut;     /* a listener that was too slow: closed at the end of the turn */
    struct operation *operation; /* the command that waits for reactors: none behind it is executed before */
    bool lingering;              /* our side is shut; what still comes is thrown away */
    char *query; /* an unfinished command, or commands not yet executed; NULL when there is none */
    size_t query_len, query_cap;
    size_t query_need;   /* no use in parsing before so many are there */
    struct resp_out out; /* what the kernel did not take */
    size_t out_sent;
    char *name; /* CLIENT SETNAME; NULL: none */
};

struct publisher {
    const struct settings *settings;
    struct broker *broker;
    struct publisher_config config;
    int epoll_fd;
    struct source mailbox;
    struct source *listeners;
    size_t listener_count;
    uint64_t listen_again_ms; /* 0: listening */
    uint64_t work_ms;         /* when the broker wants to answer clients' questions; UINT64_MAX: none wait */
    uint64_t maintain_ms;     /* when the engine wants to expire something; UINT64_MAX: never */
    pthread_t thread;
    struct pulse pulse;
    bool started;
    _Atomic bool stop;

    struct list clients, dead;
    struct list strangers; /* not yet authenticated, oldest first */
    struct list blocked;   /* held back by congestion, in the order of their turns */
    struct list lingering; /* oldest first */
    bool holding;          /* some are, and whoever publishes comes behind them */
    uint64_t now_ms, started_ms;
    uint64_t client_count, last_id, accepted;
    size_t bulk_max, query_max;

    char *receive;         /* RECEIVE_BYTES, for all connections */
    struct resp_out reply; /* of all connections' commands in this turn */
    struct list answering;
    struct list operations; /* whose inspection is with a reactor */
    struct list answered;   /* whose next step is due */
    size_t turn_bytes;      /* executed since replies were last sent */
    struct channels channels;
    struct list pushed;
    struct resp_arg args[RESP_ARGS_MAX];
    struct publisher_stats stats;
    struct log_limit log_accept, log_auth, log_attack, log_memory, log_slow, log_close, log_orders;
};

/* publisher_client.c */
void client_open(struct publisher *publisher, int fd); /* takes the descriptor */
void client_close(struct publisher *publisher, struct publisher_client *client);
void client_event(struct publisher *publisher, struct publisher_client *client, uint32_t events);
/* Executes what a blocked client had to leave. */
void client_unblock(struct publisher *publisher, struct publisher_client *client);
/* It is executed no further and hears nothing more; closed when what waits for it is out. */
void client_begin_closing(struct publisher *publisher, struct publisher_client *client);
/* Asks epoll for what the connection waits for next. At the end of every turn that it took part in. */
void client_settle(struct publisher *publisher, struct publisher_client *client);
/* Keeps what was not executed. `data` may stand in the client's own buffer. False without memory. */
bool client_keep_query(struct publisher_client *client, const char *data, size_t len)
    __attribute__((warn_unused_result));
/* Sends the client's part of this turn's replies; what the kernel does not take becomes its own. */
void client_send_replies(struct publisher *publisher, struct publisher_client *client);
/* Sends what it can of the replies and pushes that wait in `out`. */
void client_send_pending(struct publisher_client *client);
/* Whom its commands are from, for the log: an address, or on a unix socket "unix uid=1000 pid=4242". */
void client_origin(const struct publisher_client *client, char out[ORIGIN_TEXT_MAX]);
static inline size_t client_pending(const struct publisher_client *client)
{
    return client->out.len - client->out_sent;
}
/* How much may wait before its commands do. A listener's commands are executed whatever waits, or it could
 * not unsubscribe from what is too much for it; it is cut before that grows without bound. */
static inline size_t client_replies_max(const struct publisher_client *client)
{
    return listener_count(&client->listener) > 0 ? SIZE_MAX : REPLIES_MAX;
}

/* Whole commands wait, and nothing that they wait for is left. */
static inline bool client_may_go_on(const struct publisher_client *client)
{
    return client->stalled && !client->blocked && !client->operation && client_pending(client) == 0;
}

/* publisher_turn.c */
/* Executes commands, which may stand in the client's own buffer. Afterwards it is in publisher.answering, or
 * closed. */
void client_run(struct publisher *publisher, struct publisher_client *client, char *data, size_t len);
/* Hands what was published to the reactors, then sends all replies of this turn. */
void clients_answer(struct publisher *publisher);

/* publisher_push.c */
/* Begins or ends hearing the broker, as there are listeners. After every change of subscriptions. */
void listeners_changed(struct publisher *publisher);
/* It hears nothing more. */
void listener_forget(struct publisher *publisher, struct publisher_client *client);
/* Cuts a listener for which more waits than publish.outbox_bytes. False: it was cut; it is closed at the end
 * of the turn, and until then must not be used. */
bool listener_within_bounds(struct publisher *publisher, struct publisher_client *client);

/* publisher_commands.c */
enum command_result {
    COMMAND_DONE,
    COMMAND_LATER,     /* congested: nothing was done, try again */
    COMMAND_WAIT,      /* client->operation is under way, and brings the reply */
    COMMAND_QUIT,      /* close after the reply */
    COMMAND_ABORT,     /* close at once */
    COMMAND_NO_MEMORY, /* the same, and log why */
};
/* Client libraries choose what they use by this number; what we answer is what a Redis of that version
 * answers. */
#define REDIS_VERSION "7.0.0"

struct call {
    struct publisher *publisher;
    struct publisher_client *client;
    const struct resp_arg *args;
    size_t count;
    struct resp_out *out;
};
enum command_result command_execute(struct publisher *publisher, struct publisher_client *client,
                                    const struct resp_command *command, struct resp_out *out);

/* For all commands' files. An error reply; it begins with its kind, "ERR …". */
enum command_result command_fail(const struct call *call, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
enum command_result command_ok(const struct call *call);
void command_text(const struct call *call, const char *text); /* as a bulk string */
bool command_integer(const struct resp_arg *arg, int64_t *value);
void command_pair(const struct call *call, const char *name, uint64_t value); /* of a map */
/* args[1] is its name, with `min` to `max` arguments behind it. */
struct subcommand {
    const char *name;
    size_t min, max;
    enum command_result (*run)(const struct call *call);
};
/* Runs what args[1] names; an unknown name and a wrong number of arguments are errors. */
enum command_result command_dispatch(const struct call *call, const char *command,
                                     const struct subcommand *subcommands, size_t count);
/* The reply of HELP: one line each, as Redis has it. */
enum command_result command_help(const struct call *call, const char *const *lines, size_t count);

enum command_result command_info(const struct call *call); /* publisher_info.c */
/* publisher_listen.c */
enum command_result command_subscribe(const struct call *call);
enum command_result command_unsubscribe(const struct call *call);
enum command_result command_psubscribe(const struct call *call);
enum command_result command_punsubscribe(const struct call *call);
enum command_result command_pubsub(const struct call *call);
/* Topics and channels that somebody has, over WebSocket or on this socket; each once. */
uint64_t publisher_channel_count(const struct publisher *publisher);
/* publisher_operation.c */
/* Begins to ask all reactors that have the topic (all, without one), one after the other; the filter and the
 * reason are copied. */
enum operation_kind { OPERATION_LIST, OPERATION_INSPECT, OPERATION_CLOSE };
struct operation_order {
    enum operation_kind kind;
    struct conn_filter filter;
    uint16_t reactor; /* LIST: where to begin */
    uint32_t from;    /* LIST: slot there */
    uint32_t count;   /* LIST: most connections to be listed */
    uint16_t code;    /* CLOSE: 0: the protocol's own */
    struct text reason;
};
enum command_result operation_begin(const struct call *call, const struct operation_order *order);
/* When nobody is in publisher.answering: next steps, and replies of those that are done. */
void operations_go_on(struct publisher *publisher);
/* Writes the reply, and ends it. */
void operation_reply(struct publisher *publisher, struct publisher_client *client, struct resp_out *out);
/* Its client has gone: what is only asked for ends, what is being closed goes on. */
void operation_abandon(struct publisher_client *client);
/* The broker's handler; `context` is the publisher. */
void operation_mail(void *context, struct mail *mail);
void operations_fini(struct publisher *publisher);

/* publisher_control.c */
enum command_result command_config(const struct call *call);
enum command_result command_drain(const struct call *call);
enum command_result command_shutdown(const struct call *call);
enum command_result command_metrics(const struct call *call);
/* An operator's: may this client give such commands? False: answered. */
bool control_allowed(const struct call *call, const char *command);
/* publisher_topics.c */
enum command_result command_topic(const struct call *call);
/* publisher_connection.c */
enum command_result command_connection(const struct call *call);
/* publisher_topic.c */
enum command_result command_history(const struct call *call);
enum command_result command_historydel(const struct call *call);
enum command_result command_presence(const struct call *call);
enum command_result command_presencestats(const struct call *call);
enum command_result command_user(const struct call *call);
