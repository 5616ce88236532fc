/* Asks the application's backend over HTTP whether a client may connect, subscribe or publish, and passes its
 * calls on: a POST with JSON each way, in the format of Centrifugo's proxy hooks (connect, refresh,
 * subscribe, sub_refresh, publish, rpc), so that backends which answer those already answer these.
 *
 * A reactor makes a request, hands it in and goes on; one thread here speaks HTTP (libcurl) and puts the same
 * object, answered, into the asker's mailbox. Every request that is handed in comes back exactly once,
 * whatever the backend does: at the latest after `timeout_ms`, or when the proxy stops.
 *
 * A backend may get a request twice: when it closes a connection that it had kept open, without a word, just
 * as the request comes, nobody knows what became of it, and it is sent again. So calls that must not happen
 * twice carry a number of the application's own.
 *
 * Thread: proxy_create(), _start(), _stop() and _destroy() by main; proxy_submit() by any. Descriptors of the
 * proxy are numbers of the process' own table; a thread with a private table must have kept the mailbox's
 * wake_fd. Owner: a request is the asker's until it is handed in and again once it is back; whoever has it
 * then frees it with proxy_request_destroy(), which wipes what clients and backends said.
 */
#pragma once

#include "gateway/base/counters.h"
#include "gateway/base/histogram.h"
#include "gateway/base/mailbox.h"
#include "gateway/base/pulse.h"
#include "proto/json_text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum proxy_kind {
    PROXY_CONNECT,
    PROXY_REFRESH,
    PROXY_SUBSCRIBE,
    PROXY_SUB_REFRESH,
    PROXY_PUBLISH,
    PROXY_RPC,
    PROXY_KIND_COUNT,
};
/* "connect", …: in settings, metrics and logs. */
const char *proxy_kind_label(enum proxy_kind kind);

/* The first three are the backend's word. After any other one nobody has decided anything: the client gets
 * the protocol's internal error and may try again. */
enum proxy_outcome {
    PROXY_OK,          /* answered with a result */
    PROXY_ERROR,       /* answered with an error for the client: code, text, temporary */
    PROXY_DISCONNECT,  /* answered that the client must go: code, text */
    PROXY_TIMEOUT,     /* no whole answer in time, waiting in the queue included */
    PROXY_UNREACHABLE, /* no connection: name, address, TLS, or cut off in the middle */
    PROXY_BAD_STATUS,  /* answered with a status other than 200; redirects are not followed */
    PROXY_BAD_BODY,    /* too large, not JSON, or not of the documented form */
    PROXY_BUSY,        /* too many requests wait already */
    PROXY_STOPPED,     /* the gateway is ending */
    PROXY_OUTCOME_COUNT,
};
const char *proxy_outcome_label(enum proxy_outcome outcome);

/* A topic that the answer to connect subscribes the client to: of `channels` or of `subs`. */
struct proxy_channel {
    struct json_slice name;
    struct json_slice info, data; /* JSON, of `subs` only */
    int64_t expire_at;            /* unix seconds; 0: never */
};

/* JSON is a whole valid value as the backend wrote it, but without line breaks: it may stand in a frame of
 * newline-separated replies. Other texts are UTF-8, decoded, without NUL. What a kind does not have is
 * absent, 0 or false. */
struct proxy_answer {
    enum proxy_outcome outcome;
    /* PROXY_OK */
    struct json_slice user; /* connect; "" when the backend named nobody */
    struct json_slice info; /* JSON: connect, refresh, subscribe, sub_refresh */
    struct json_slice data; /* JSON: connect, subscribe, rpc; publish: instead of what the client sent */
    struct json_slice meta; /* JSON object: connect, refresh; for later requests, never for clients */
    struct json_slice tags; /* JSON object of strings: publish */
    struct proxy_channel *channels; /* connect; no name twice */
    size_t channel_count;
    int64_t expire_at; /* unix seconds, 0: never; connect, refresh, subscribe, sub_refresh */
    bool expired;      /* refresh, sub_refresh */
    bool skip_history; /* publish */
    /* PROXY_ERROR and PROXY_DISCONNECT */
    bool temporary; /* error */
    uint32_t code;  /* error 400 … 1999; disconnect 4000 … 4999, from 4500 on for good */
    /* Error's message (up to 1024 bytes), or disconnect's reason (up to 123: fits a close frame). */
    struct json_slice text;
};

struct proxy_request {
    struct mailbox_node node; /* first */
    uint8_t mail_kind;        /* the asker's own, kept: what its mailbox tells items apart by */
    uint8_t kind;             /* enum proxy_kind */
    uint32_t command;         /* the asker's own: id of the client's command */
    uint64_t token;           /* the asker's own: which connection, with its generation */
    struct mailbox *reply_to; /* the asker's; must outlive proxy_stop() */
    /* What was asked for, so that the asker need not keep it: copies in this allocation. */
    struct json_slice channel, method, data;
    struct json_slice rest; /* the asker's own */
    struct proxy_answer answer;
    /* The proxy's own. */
    struct json_slice body, headers;
    uint64_t submitted_ns; /* clock_monotonic_ns() */
    char *storage;         /* texts and channels of the answer */
    size_t storage_bytes, request_bytes;
};

/* What a request is made of. Texts are copied and escaped; those marked JSON must be one valid value each and
 * are copied as they are. Absent ones are left out. */
struct proxy_ask {
    enum proxy_kind kind;
    struct json_slice client;          /* its id: "9336a229-…"; all kinds */
    struct json_slice user;            /* all but connect; "" is sent as such */
    struct json_slice channel;         /* subscribe, sub_refresh, publish */
    struct json_slice token;           /* subscribe */
    struct json_slice method;          /* rpc */
    struct json_slice name, version;   /* connect: as the client calls itself */
    const struct json_slice *channels; /* connect: topics that the client asks to be subscribed to */
    size_t channel_count;
    struct json_slice data; /* JSON: connect, subscribe, publish, rpc */
    struct json_slice meta; /* JSON object: all but connect */
    /* Header lines of the client's upgrade request, "Name: value\r\n" each. Only those that proxy.headers
     * names are sent, and none that is malformed. */
    struct json_slice headers;
    struct json_slice rest; /* the asker's own: comes back in the request, is sent nowhere */
};
/* NULL without memory. */
struct proxy_request *proxy_request_create(const struct proxy_ask *ask);
void proxy_request_destroy(struct proxy_request *request); /* NULL is harmless */

struct proxy_stats {
    /* PROXY_BUSY's cells are the askers', who add atomically. */
    counter answers[PROXY_KIND_COUNT][PROXY_OUTCOME_COUNT];
    counter queued;           /* gauge: requests that wait for their turn */
    counter in_flight;        /* gauge: requests sent, not yet answered */
    counter connections;      /* to backends, opened so far */
    counter wakes;            /* turns of the thread's loop */
    struct histogram latency; /* from proxy_submit() to the answer, of what was sent */
};

struct proxy;

struct proxy_config {
    const char *urls[PROXY_KIND_COUNT]; /* http: or https:; "" or NULL: that kind is off */
    const char *headers;                /* names with spaces or commas between, as in proxy.headers */
    const char *ca_file;  /* PEM certificates that https: backends must chain to; "" or NULL: the system's */
    uint64_t timeout_ms;  /* of a request, from proxy_submit() on */
    uint32_t concurrency; /* requests at the backends at a time */
    uint32_t queue;       /* requests that wait for their turn; past it PROXY_BUSY */
    size_t answer_bytes;  /* largest body of an answer */
};

/* Strings are copied. NULL with a sentence. */
struct proxy *proxy_create(const struct proxy_config *config, char *error, size_t error_size);
bool proxy_start(struct proxy *proxy) __attribute__((warn_unused_result)); /* false with errno: no thread */
/* Ends the thread and joins it; everything that was handed in and is not back yet comes back with
 * PROXY_STOPPED. After the askers' threads have ended, before their mailboxes are destroyed. Harmless when it
 * does not run. */
void proxy_stop(struct proxy *proxy);
void proxy_destroy(struct proxy *proxy); /* after proxy_stop(); NULL is harmless */

/* Is there a URL for this kind? Also false for proxy == NULL. */
bool proxy_serves(const struct proxy *proxy, enum proxy_kind kind);
/* Hands the request in; its kind must be served, reply_to and mail_kind set. It comes back by way of
 * reply_to, with PROXY_BUSY before this returns. */
void proxy_submit(struct proxy *proxy, struct proxy_request *request);
/* For a thread that makes its descriptor table private: the wake_fd to keep. */
const struct mailbox *proxy_mailbox(const struct proxy *proxy);
/* For main's watchdog, which should be patient: libcurl may have to wait for the system's resolver. */
struct pulse *proxy_pulse(struct proxy *proxy);
const struct proxy_stats *proxy_stats(const struct proxy *proxy);

/* Is this header of a client's request one that `list` (proxy.headers) passes on? */
bool proxy_header_listed(const char *list, const char *name, size_t name_bytes);
/* Do the settings' values make sense? False with a sentence that begins with what is wrong, without the key.
 */
bool proxy_url_check(const char *url, char *error, size_t error_size) __attribute__((warn_unused_result));
bool proxy_headers_check(const char *list, char *error, size_t error_size)
    __attribute__((warn_unused_result));
