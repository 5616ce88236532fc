/* Everything that can be configured, as one struct and one table (config.h makes parser, --help and sample
 * from it).
 *
 * Thread: filled by main before the threads start; read-only afterwards. Owner: main.
 */
#pragma once

#include "gateway/base/config.h"
#include "gateway/settings/topic_rule.h"
#include "gateway/tls/tls_context.h"

/* Which header says who the client is, where a trusted proxy sends it. */
enum forwarded_header { FORWARDED_OFF, FORWARDED_X_FORWARDED_FOR, FORWARDED_RFC7239 };
enum reactor_choice { REACTOR_LEAST_CONNECTIONS, REACTOR_ROUND_ROBIN };

/* From where operators' commands are taken on listen.publish. */
enum publish_control { PUBLISH_CONTROL_LOCAL, PUBLISH_CONTROL_ALL, PUBLISH_CONTROL_OFF };

struct settings {
    struct {
        char *wss, *ws, *publish,
            *admin;           /* addresses, "" is off; publish may name two, separated by a space or comma */
        char *origins;        /* "" same host, "*" any, or a list */
        char *proxy_protocol; /* names of listeners: ws, wss */
        char *trusted;        /* networks (base/cidr.h) */
        int forwarded;        /* enum forwarded_header */
        uint64_t backlog;
        char *unix_mode, *unix_owner; /* of unix sockets: "0660"; "user:group", "" as the process */
    } listen;
    struct {
        char *user, *group; /* to become; "" stay */
        int seccomp;        /* enum seccomp_mode */
    } process;
    struct {
        char *certificate, *private_key; /* PEM files, for names that no host below has */
        struct tls_host *hosts;          /* one of every [tls HOST] */
        size_t host_count;
        char *ciphersuites;       /* in order of preference */
        uint64_t tickets;         /* of every handshake; 0: nobody resumes */
        char *ticket_key_file;    /* "": keys of our own */
        uint64_t ticket_rotation; /* ms; 0: never */
    } tls;
    struct {
        uint64_t acceptors, reactors; /* 0: choose */
        bool private_fds;
        int balance; /* enum reactor_choice */
    } threads;
    struct {
        uint64_t connections, connections_per_ip; /* 0: no limit */
        uint64_t handshakes_per_ip;               /* a second; 0: no limit */
        uint64_t handshakes_burst;                /* 0: as many as a second brings */
        uint64_t message_bytes;                   /* of one message, in and out */
        uint64_t topics_per_connection;
        uint64_t handshake_timeout; /* ms */
        uint64_t close_timeout;     /* ms: how long a closing handshake may take */
        uint64_t outbox_bytes;      /* of one connection */
        uint64_t outbox_memory;     /* of all of them together */
        uint64_t
            inflight_bytes;  /* published, not yet handed to the kernel; past it publishers are not read */
        uint64_t publishers; /* connections to the publish socket */
    } limits;
    struct {
        char *allow, *deny;           /* networks; an empty allow has everybody */
        char *allow_file, *deny_file; /* "" none */
    } access;
    struct {
        uint64_t timeout, ping_interval; /* ms, 0: off */
    } idle;
    struct {
        uint64_t grace;   /* ms between "not ready any more" and the end of accepting */
        uint64_t timeout; /* ms over which closes are spread; 0: at once */
    } drain;
    struct {
        char *password;              /* "" none */
        uint64_t outbox_bytes;       /* that may wait for one listener */
        uint64_t channels, patterns; /* of one listener; distinct ones of all */
        int control;                 /* enum publish_control */
    } publish;
    struct {
        char *password; /* of the admin listener's pages; "" none */
    } admin;
    struct {
        char *key;               /* "": no API, unless insecure */
        bool insecure;           /* serves it without a key */
        uint64_t body_bytes;     /* of one request */
        uint64_t response_bytes; /* of one response */
        uint64_t commands;       /* in one batch; also topics of one broadcast */
    } api;
    struct {
        bool anonymous;
        /* As in struct auth_config. */
        char *hmac_secret, *public_keys, *jwks_file, *algorithms, *audience, *issuer;
        char *cookie;    /* "": none is looked at */
        uint64_t leeway; /* ms */
    } auth;
    struct {
        char *connect, *refresh, *subscribe, *sub_refresh, *publish, *rpc; /* URLs; "" off */
        char *headers;
        char *ca_file;
        uint64_t timeout; /* ms */
        uint64_t concurrency, queue;
    } proxy;
    struct {
        bool enabled;
    } demo;
    struct {
        int level;       /* enum log_level */
        int format;      /* enum log_format */
        char *file;      /* "": stderr */
        uint64_t access; /* a line for one of so many requests and closes; 0: none */
        int priorities;  /* enum log_priorities */
    } log;
    struct {
        struct topic_rule *rules; /* one of every [topic PATTERN], in the file's order */
        size_t count;
    } topics;
    struct {
        uint64_t memory; /* bytes of all histories; 0: no limit */
    } history;
    struct {
        uint64_t clients; /* in one topic's presence; 0: no limit */
    } presence;
    struct {
        bool core_dumps;
        uint64_t records_per_key;
    } debug;
};

extern const struct config_key settings_keys[];
extern const size_t settings_key_count;
extern const struct config_section settings_tls_hosts;   /* [tls HOST] */
extern const struct config_section settings_topic_rules; /* [topic PATTERN] */

/* A config of all of these, with defaults in `settings` (zeroed by the caller). NULL without memory. */
struct config *settings_config(struct settings *settings);

/* Can this address of a listener be reached from other machines? Not when it is "", loopback or a unix
 * socket. */
bool settings_reachable(const char *listener);
/* Does listen.proxy_protocol name this listener ("ws", "wss")? */
bool settings_use_proxy_protocol(const struct settings *settings, const char *listener);
/* Is any of the proxy's URLs set? */
bool settings_use_proxy(const struct settings *settings);

/* Rules between keys (a certificate when listen.wss is set, listen.admin beyond loopback, …). False with a
 * sentence. */
bool settings_check(const struct settings *settings, char *error, size_t error_size)
    __attribute__((warn_unused_result));
