/* Inside of the publisher: its own struct, its connections, and what publisher.c (loop), publisher_client.c
 * (bytes) and publisher_commands.c (meaning) share. Not for others.
 *
 * Thread: the publisher's. Owner: a client frees its buffers when it closes; its struct is freed after the
 * batch of events, so that a stale event finds it closed.
 */
#pragma once

#include "gateway/base/list.h"
#include "gateway/base/log.h"
#include "gateway/publisher.h"
#include "proto/resp.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    RECEIVE_BYTES = 256 * 1024, /* the shared buffer; what one connection may have executed in one turn */
    CARRY_BYTES = 16 * 1024,    /* an unfinished command up to here is carried into the shared buffer again */
    TURN_BYTES = 64 * 1024,     /* of commands that are executed before the first of them is answered */
    REPLIES_MAX = 1024 * 1024,  /* past it, a connection that does not read its replies is not read */
    BULK_MIN = 64 * 1024,       /* commands other than PUBLISH have room whatever limits.message_bytes is */
    BULK_UNLIMITED = 512 * 1024 * 1024, /* as Redis, when limits.message_bytes is 0 */
    QUERY_EXTRA = 128 * 1024,           /* of a command, beside its largest string */
    ARGS_BEFORE_AUTH = 10,              /* both as Redis */
    BULK_BEFORE_AUTH = 16 * 1024,
    NAME_MAX_BYTES = 255, /* of CLIENT SETNAME */
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
    size_t reply_at, reply_len; /* its part of publisher.reply */
    uint64_t deadline_ms;
    bool authenticated;
    bool resp3;
    bool stalled; /* whole commands wait in query: for its replies to be read, or for the end of congestion */
    bool blocked; /* the latter: it is in the list of that name */
    bool mute;    /* nobody reads the replies any more, but what it sent is still executed */
    bool closing; /* executes nothing more; closed when the replies are out */
    bool lingering; /* our side is shut; what still comes is thrown away */
    char *query;    /* an unfinished command, or commands not yet executed; NULL when there is none */
    size_t query_len, query_cap;
    size_t query_need;   /* no use in parsing before so many are there */
    struct resp_out out; /* what the kernel did not take */
    size_t out_sent;
    char *name; /* CLIENT SETNAME; NULL: none */
};

struct publisher {
    const struct settings *settings;
    struct broker *broker;
    int epoll_fd;
    struct source mailbox;
    struct source *listeners;
    size_t listener_count;
    uint64_t listen_again_ms; /* 0: listening */
    uint64_t maintain_ms;     /* when the engine wants to expire something; UINT64_MAX: never */
    pthread_t thread;
    bool started;
    _Atomic bool stop;

    struct list clients, dead;
    struct list strangers; /* not yet authenticated, oldest first */
    struct list blocked;   /* held back by congestion, in the order of their turns */
    struct list lingering; /* oldest first */
    bool holding;          /* congested, and not yet down to inflight_low */
    uint64_t inflight_low;
    uint64_t now_ms, started_ms;
    uint64_t client_count, last_id, accepted;
    size_t bulk_max, query_max;

    char *receive;         /* RECEIVE_BYTES, for all connections */
    struct resp_out reply; /* of all connections' commands in this turn */
    struct list answering;
    size_t turn_bytes; /* executed since replies were last sent */
    struct resp_arg args[RESP_ARGS_MAX];
    struct publisher_stats stats;
    struct log_limit log_accept, log_auth, log_attack, log_memory;
};

/* publisher_client.c */
void client_open(struct publisher *publisher, int fd); /* takes the descriptor */
void client_close(struct publisher *publisher, struct publisher_client *client);
void client_event(struct publisher *publisher, struct publisher_client *client, uint32_t events);
/* Hands what was published to the reactors, then sends all replies of this turn. */
void clients_answer(struct publisher *publisher);
/* Executes what a blocked client had to leave. */
void client_unblock(struct publisher *publisher, struct publisher_client *client);

/* publisher_commands.c */
enum command_result {
    COMMAND_DONE,
    COMMAND_LATER, /* congested: nothing was done, try again */
    COMMAND_QUIT,  /* close after the reply */
    COMMAND_ABORT, /* close at once */
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
enum command_result command_info(const struct call *call); /* publisher_info.c */
enum command_result command_execute(struct publisher *publisher, struct publisher_client *client,
                                    const struct resp_command *command, struct resp_out *out);
