/* The table of settings and the rules between them. */
#include "gateway/settings/settings.h"

#include "gateway/auth/auth.h"
#include "gateway/auth/auth_algorithm.h"
#include "gateway/base/cidr.h"
#include "gateway/base/log.h"
#include "gateway/base/net.h"
#include "gateway/base/owner.h"
#include "gateway/proxy/proxy.h"
#include "gateway/settings/collisions.h"
#include "proto/http_request.h"
#include "proto/tls_record.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

enum { ADMIN_PASSWORD_MIN = 12 };

#define AT(field) offsetof(struct settings, field)
#define KIB       UINT64_C(1024)
#define MIB       (1024 * KIB)
#define GIB       (1024 * MIB)
#define HOUR      UINT64_C(3600000) /* ms */
#define DAY       (24 * HOUR)

const struct config_key settings_keys[] = {
    {.name = "listen.wss",
     .type = CONFIG_STRING,
     .placeholder = "ADDRESS",
     .offset = AT(listen.wss),
     .default_value = "",
     .help = "Address for WebSocket clients over TLS: 0.0.0.0:443, [::1]:8443, *:443 (IPv4 and IPv6)."},
    {.name = "listen.ws",
     .type = CONFIG_STRING,
     .placeholder = "ADDRESS",
     .offset = AT(listen.ws),
     .default_value = "",
     .help = "Address for WebSocket clients without TLS, for use behind a proxy that ends TLS. unix:/path "
             "works too."},
    {.name = "listen.publish",
     .type = CONFIG_STRING,
     .placeholder = "ADDRESS",
     .offset = AT(listen.publish),
     .default_value = "",
     .help = "Address where backends publish with a Redis client: 127.0.0.1:6390 or unix:/run/pushgate.sock, "
             "or both with "
             "a space between."},
    {.name = "listen.admin",
     .type = CONFIG_STRING,
     .placeholder = "ADDRESS",
     .offset = AT(listen.admin),
     .default_value = "",
     .help = "Address of /status, /metrics, /healthz, /readyz, POST /publish and the server API over HTTP. "
             "Beyond loopback it wants admin.password."},
    {.name = "listen.origins",
     .type = CONFIG_STRING,
     .placeholder = "ORIGINS",
     .offset = AT(listen.origins),
     .default_value = "",
     .help = "Web origins whose pages may connect: https://example.org and others with spaces between, or * "
             "for any. Empty: "
             "only pages from the gateway's own host. Clients that are not browsers send no origin and are "
             "not asked."},
    {.name = "listen.proxy_protocol",
     .type = CONFIG_STRING,
     .placeholder = "NAMES",
     .offset = AT(listen.proxy_protocol),
     .default_value = "",
     .help =
         "Listeners on which every connection begins with a PROXY protocol header, version 1 or 2: ws, wss, "
         "or both. It is believed from listen.trusted; anybody else is refused there."},
    {.name = "listen.trusted",
     .type = CONFIG_STRING,
     .placeholder = "NETWORKS",
     .offset = AT(listen.trusted),
     .default_value = "",
     .help = "Networks of the balancers and proxies that may say who the client is: 10.0.0.0/8 127.0.0.1 "
             "2001:db8::/32, and unix for peers on a unix socket."},
    {.name = "listen.forwarded",
     .type = CONFIG_ENUM,
     .offset = AT(listen.forwarded),
     .default_value = "off",
     .choices = "off|x-forwarded-for|forwarded",
     .help = "The header in which listen.trusted says who the client is: X-Forwarded-For, or Forwarded (RFC "
             "7239). Name the one that your proxy sets: the other a client can send itself. It is read "
             "from its end, up to the first address that is not trusted."},
    {.name = "listen.backlog",
     .type = CONFIG_UINT,
     .offset = AT(listen.backlog),
     .default_value = "4096",
     .min = 1,
     .max = 65535,
     .help = "Connections that the kernel holds until they are accepted (net.core.somaxconn caps it)."},
    {.name = "listen.unix_mode",
     .type = CONFIG_STRING,
     .placeholder = "MODE",
     .offset = AT(listen.unix_mode),
     .default_value = "0660",
     .help = "Mode of unix sockets, in octal: who may write to one may connect."},
    {.name = "listen.unix_owner",
     .type = CONFIG_STRING,
     .placeholder = "USER:GROUP",
     .offset = AT(listen.unix_owner),
     .default_value = "",
     .help = "Owner of unix sockets: user, user:group or :group, by name or id. Empty: whoever starts the "
             "process."},

    {.name = "process.user",
     .type = CONFIG_STRING,
     .placeholder = "USER",
     .offset = AT(process.user),
     .default_value = "",
     .help = "User, by name or id, that the process becomes when it was started as root and its listeners "
             "are open; it has no way back, no other groups and no capabilities then. Key files must be "
             "readable for that user, or SIGHUP cannot read them again. Empty: the process stays who it is."},
    {.name = "process.group",
     .type = CONFIG_STRING,
     .placeholder = "GROUP",
     .offset = AT(process.group),
     .default_value = "",
     .help = "Group, by name or id, that goes with process.user. Empty: the user's own."},
    {.name = "process.seccomp",
     .type = CONFIG_ENUM,
     .offset = AT(process.seccomp),
     .default_value = "on",
     .choices = "on|off|log",
     .help =
         "Refuses the process, once it has started, all system calls that it does not need: starting a "
         "program or tracing another ends it, others fail and are logged. log: the kernel logs what would "
         "be refused, and nothing is."},

    {.name = "tls.certificate",
     .type = CONFIG_STRING,
     .placeholder = "FILE",
     .offset = AT(tls.certificate),
     .default_value = "",
     .help = "PEM file with the certificate and its chain, for listen.wss.",
     .change = CONFIG_REREAD},
    {.name = "tls.private_key",
     .type = CONFIG_STRING,
     .placeholder = "FILE",
     .offset = AT(tls.private_key),
     .default_value = "",
     .help = "PEM file with the certificate's private key.",
     .change = CONFIG_REREAD},
    {.name = "tls.ciphersuites",
     .type = CONFIG_STRING,
     .placeholder = "NAMES",
     .offset = AT(tls.ciphersuites),
     .default_value = TLS_CIPHERSUITES_DEFAULT,
     .help = "Cipher suites, the preferred one first: TLS_AES_128_GCM_SHA256 and "
             "TLS_CHACHA20_POLY1305_SHA256, or one of them."},
    {.name = "tls.tickets",
     .type = CONFIG_UINT,
     .offset = AT(tls.tickets),
     .default_value = "1",
     .min = 1,
     .max = 8,
     .zero = "none, nobody resumes",
     .help = "Session tickets that a client gets after a full handshake, to resume with."},
    {.name = "tls.ticket_key_file",
     .type = CONFIG_STRING,
     .placeholder = "FILE",
     .offset = AT(tls.ticket_key_file),
     .default_value = "",
     .help = "File of ticket keys that several gateways share, so that a client resumes with any of them: up "
             "to 8 keys of 80 bytes (openssl rand 80), the first makes tickets, all open them. Only its "
             "owner and group may read it. Empty: keys of this process's own.",
     .change = CONFIG_REREAD},
    {.name = "tls.ticket_rotation",
     .type = CONFIG_DURATION,
     .offset = AT(tls.ticket_rotation),
     .default_value = "12h",
     .min = 1000,
     .max = 7 * DAY,
     .zero = "never",
     .help = "How often a ticket key of our own is replaced; the one before still opens its tickets for as "
             "long. Also how long tickets live, with tls.ticket_key_file too."},

    {.name = "threads.acceptors",
     .type = CONFIG_UINT,
     .offset = AT(threads.acceptors),
     .default_value = "0",
     .min = 1,
     .max = 256,
     .zero = "choose",
     .help = "Threads that accept connections and do their handshakes."},
    {.name = "threads.reactors",
     .type = CONFIG_UINT,
     .offset = AT(threads.reactors),
     .default_value = "0",
     .min = 1,
     .max = 1024,
     .zero = "choose",
     .help = "Threads that hold the established connections."},
    {.name = "threads.private_fds",
     .type = CONFIG_BOOL,
     .offset = AT(threads.private_fds),
     .default_value = "on",
     .help = "Gives each reactor a descriptor table of its own, so that RLIMIT_NOFILE counts per reactor. "
             "Where that is forbidden, as in most containers, all share one, and a line in the log says so."},
    {.name = "threads.balance",
     .type = CONFIG_ENUM,
     .offset = AT(threads.balance),
     .default_value = "least_connections",
     .choices = "least_connections|round_robin",
     .help = "How acceptors choose a connection's reactor."},

    {.name = "limits.connections",
     .type = CONFIG_UINT,
     .offset = AT(limits.connections),
     .default_value = "0",
     .min = 1,
     .max = 100000000,
     .zero = "as many as descriptors allow",
     .help = "Client connections at a time; past it, new ones get 503."},
    {.name = "limits.connections_per_ip",
     .type = CONFIG_UINT,
     .offset = AT(limits.connections_per_ip),
     .default_value = "0",
     .min = 1,
     .max = 100000000,
     .zero = "no limit",
     .help = "Client connections at a time from one IPv4 address or IPv6 /64."},
    {.name = "limits.handshakes_per_ip",
     .type = CONFIG_UINT,
     .offset = AT(limits.handshakes_per_ip),
     .default_value = "0",
     .min = 1,
     .max = 1000000,
     .zero = "no limit",
     .help = "New connections per second from one IPv4 address or IPv6 /64, whatever becomes of them."},
    {.name = "limits.handshakes_burst",
     .type = CONFIG_UINT,
     .offset = AT(limits.handshakes_burst),
     .default_value = "0",
     .min = 1,
     .max = 1000000,
     .zero = "as many as limits.handshakes_per_ip",
     .help = "New connections that may come from such an address at once when it has been quiet."},
    {.name = "limits.message_bytes",
     .type = CONFIG_SIZE,
     .offset = AT(limits.message_bytes),
     .default_value = "64KiB",
     .min = 1,
     .max = GIB,
     .help = "Largest message, published or sent by a client."},
    {.name = "limits.topics_per_connection",
     .type = CONFIG_UINT,
     .offset = AT(limits.topics_per_connection),
     .default_value = "32",
     .min = 1,
     .max = 255,
     .help = "Topics that one connection may subscribe to."},
    {.name = "limits.handshake_timeout",
     .type = CONFIG_DURATION,
     .offset = AT(limits.handshake_timeout),
     .default_value = "10s",
     .min = 100,
     .max = HOUR,
     .help = "Time from accepting a connection to its finished TLS handshake and upgrade."},
    {.name = "limits.close_timeout",
     .type = CONFIG_DURATION,
     .offset = AT(limits.close_timeout),
     .default_value = "5s",
     .min = 10,
     .max = HOUR,
     .help = "Time for a client to answer a close frame."},
    {.name = "limits.outbox_bytes",
     .type = CONFIG_SIZE,
     .offset = AT(limits.outbox_bytes),
     .default_value = "256KiB",
     .min = KIB,
     .max = 4 * GIB - 1,
     .zero = "no limit",
     .help = "Bytes that may wait for a client that reads slowly, 32 more counted for each message; past it, "
             "it is disconnected with close code 1013."},
    {.name = "limits.outbox_memory",
     .type = CONFIG_SIZE,
     .offset = AT(limits.outbox_memory),
     .default_value = "256MiB",
     .min = MIB,
     .max = 1024 * GIB,
     .zero = "no limit",
     .help =
         "Memory that may wait for all clients that read slowly; past it, those that have taken nothing for "
         "the longest time are disconnected with close code 1013."},
    {.name = "limits.inflight_bytes",
     .type = CONFIG_SIZE,
     .offset = AT(limits.inflight_bytes),
     .default_value = "64MiB",
     .min = KIB,
     .max = 1024 * GIB,
     .zero = "no limit",
     .help = "Bytes published and not yet handed to the kernel; past it, backends wait until it falls. What "
             "clients publish is refused from half of it on."},
    {.name = "limits.publishers",
     .type = CONFIG_UINT,
     .offset = AT(limits.publishers),
     .default_value = "1000",
     .min = 1,
     .max = 1000000,
     .zero = "no limit",
     .help = "Connections to listen.publish at a time."},

    {.name = "access.allow",
     .type = CONFIG_STRING,
     .placeholder = "NETWORKS",
     .offset = AT(access.allow),
     .default_value = "",
     .help = "Networks whose clients may connect: 192.0.2.0/24 2001:db8::/32, and unix. Empty, with no "
             "access.allow_file: everybody who is not denied."},
    {.name = "access.deny",
     .type = CONFIG_STRING,
     .placeholder = "NETWORKS",
     .offset = AT(access.deny),
     .default_value = "",
     .help = "Networks whose clients may not connect, also where access.allow has them: what is denied stays "
             "denied."},
    {.name = "access.allow_file",
     .type = CONFIG_STRING,
     .placeholder = "FILE",
     .offset = AT(access.allow_file),
     .default_value = "",
     .help = "File with further networks of access.allow, one a line; # begins a comment.",
     .change = CONFIG_REREAD},
    {.name = "access.deny_file",
     .type = CONFIG_STRING,
     .placeholder = "FILE",
     .offset = AT(access.deny_file),
     .default_value = "",
     .help = "File with further networks of access.deny.",
     .change = CONFIG_REREAD},

    {.name = "idle.timeout",
     .type = CONFIG_DURATION,
     .offset = AT(idle.timeout),
     .default_value = "90s",
     .min = 100,
     .max = 30 * DAY,
     .zero = "never",
     .help =
         "A connection from which nothing is heard for this long is closed; the answer to a ping counts. "
         "So is one that has taken nothing of what waits for it for this long. SDKs are held to more: who "
         "has not answered a ping when the next is due is closed then (3012)."},
    {.name = "idle.ping_interval",
     .type = CONFIG_DURATION,
     .offset = AT(idle.ping_interval),
     .default_value = "25s",
     .min = 100,
     .max = 30 * DAY,
     .zero = "no pings",
     .help = "How often a connection is sent a ping, busy or not. Keep it under the idle timeout of every "
             "proxy in between, often 60s."},

    {.name = "drain.grace",
     .type = CONFIG_DURATION,
     .offset = AT(drain.grace),
     .default_value = "0",
     .min = 10,
     .max = DAY,
     .zero = "none",
     .help =
         "Time for which a gateway that is to stop says so (/readyz answers 503) and still accepts. Behind a "
         "balancer: longer than it takes to notice, its interval of health checks times the failures that it "
         "wants to see."},
    {.name = "drain.timeout",
     .type = CONFIG_DURATION,
     .offset = AT(drain.timeout),
     .default_value = "30s",
     .min = 10,
     .max = DAY,
     .zero = "at once",
     .help =
         "Time over which a stopping gateway spreads its closes evenly, so that clients do not all come back "
         "at once. The last of them have limits.close_timeout to answer."},

    {.name = "publish.password",
     .type = CONFIG_SECRET,
     .offset = AT(publish.password),
     .default_value = "",
     .help = "What publishers must give: AUTH on listen.publish, Authorization: Bearer for POST /publish. "
             "Set it in the "
             "file; arguments show in process lists."},

    {.name = "publish.outbox_bytes",
     .type = CONFIG_SIZE,
     .offset = AT(publish.outbox_bytes),
     .default_value = "8MiB",
     .min = 64 * KIB,
     .max = 4 * GIB - 1,
     .help = "Bytes that may wait for a backend that listens (SUBSCRIBE) and reads slowly; past it, its "
             "connection is closed."},
    {.name = "publish.channels",
     .type = CONFIG_UINT,
     .offset = AT(publish.channels),
     .default_value = "10000",
     .min = 1,
     .max = 16000,
     .help = "Channels and patterns that one connection to listen.publish may listen to."},
    {.name = "publish.patterns",
     .type = CONFIG_UINT,
     .offset = AT(publish.patterns),
     .default_value = "256",
     .min = 1,
     .max = 100000,
     .help = "Patterns that all those connections together may listen to (PSUBSCRIBE), each counted once: "
             "every message is held against all of them."},

    {.name = "admin.password",
     .type = CONFIG_SECRET,
     .offset = AT(admin.password),
     .default_value = "",
     .help =
         "What whoever reads /status, /metrics and other pages of listen.admin must give, 12 bytes or more: "
         "as Authorization: Bearer, or to a browser's question with any user name; also for POST /publish "
         "when publish.password is not set. /healthz and /readyz do without. Set it in the file; arguments "
         "show in process lists."},
    {.name = "publish.control",
     .type = CONFIG_ENUM,
     .offset = AT(publish.control),
     .default_value = "local",
     .choices = "local|all|off",
     .help = "From where operators' commands (CONNECTION, DRAIN, SHUTDOWN, CONFIG SET …; pushgate ctl) are "
             "taken on listen.publish: local is unix sockets and loopback. Whoever may give them has "
             "publish.password, too, where that is set."},

    {.name = "api.key",
     .type = CONFIG_SECRET,
     .offset = AT(api.key),
     .default_value = "",
     .help =
         "Turns the server API on listen.admin on (POST /api/publish and others): what backends must send "
         "as X-API-Key, or as Authorization: apikey. Set it in the file; arguments show in process lists."},
    {.name = "api.insecure",
     .type = CONFIG_BOOL,
     .offset = AT(api.insecure),
     .default_value = "off",
     .help =
         "Serves the server API without a key to everybody who reaches listen.admin, which must then be a "
         "loopback address or a unix socket."},
    {.name = "api.body_bytes",
     .type = CONFIG_SIZE,
     .offset = AT(api.body_bytes),
     .default_value = "1MiB",
     .min = KIB,
     .max = GIB,
     .help = "Largest request of the server API."},
    {.name = "api.response_bytes",
     .type = CONFIG_SIZE,
     .offset = AT(api.response_bytes),
     .default_value = "16MiB",
     .min = KIB,
     .max = GIB,
     .help = "Largest response of the server API; what would be longer is an error, limit exceeded."},
    {.name = "api.commands",
     .type = CONFIG_UINT,
     .offset = AT(api.commands),
     .default_value = "10000",
     .min = 1,
     .max = 1000000,
     .help = "Most commands in one batch, and topics in one broadcast."},

    {.name = "auth.anonymous",
     .type = CONFIG_BOOL,
     .offset = AT(auth.anonymous),
     .default_value = "off",
     .help = "Admits clients that do not say who they are. A token that is wrong is refused all the same."},
    {.name = "auth.hmac_secret",
     .type = CONFIG_SECRET,
     .offset = AT(auth.hmac_secret),
     .default_value = "",
     .help = "Secret of tokens signed with HS256 (HS384 and HS512 when it has 48 and 64 bytes), 32 bytes or "
             "more: openssl rand -hex 32. Whoever has it can make tokens; public keys do without that. Set "
             "it in the file; arguments show in process lists."},
    {.name = "auth.public_keys",
     .type = CONFIG_STRING,
     .placeholder = "FILES",
     .offset = AT(auth.public_keys),
     .default_value = "",
     .help = "PEM files of public keys that tokens are checked with, spaces between: RSA for RS256, P-256 "
             "for ES256, Ed25519 for EdDSA.",
     .change = CONFIG_REREAD},
    {.name = "auth.jwks_file",
     .type = CONFIG_STRING,
     .placeholder = "FILE",
     .offset = AT(auth.jwks_file),
     .default_value = "",
     .help = "JSON Web Key Set that tokens are checked with; a token's kid chooses the key.",
     .change = CONFIG_REREAD},
    {.name = "auth.algorithms",
     .type = CONFIG_STRING,
     .placeholder = "NAMES",
     .offset = AT(auth.algorithms),
     .default_value = "",
     .help = "Algorithms that tokens may be signed with, spaces between: HS256 HS384 HS512 RS256 RS384 RS512 "
             "ES256 ES384 ES512 EdDSA Ed25519. Empty: each that fits one of the keys."},
    {.name = "auth.audience",
     .type = CONFIG_STRING,
     .offset = AT(auth.audience),
     .default_value = "",
     .help = "What a token's aud must be or have among others. Empty: aud is not looked at."},
    {.name = "auth.issuer",
     .type = CONFIG_STRING,
     .offset = AT(auth.issuer),
     .default_value = "",
     .help = "What a token's iss must be. Empty: iss is not looked at."},
    {.name = "auth.cookie",
     .type = CONFIG_STRING,
     .placeholder = "NAME",
     .offset = AT(auth.cookie),
     .default_value = "",
     .help = "Name of a cookie that has the token, for clients that bring none in Authorization: Bearer or "
             "?token=. Empty: cookies are not looked at."},
    {.name = "auth.leeway",
     .type = CONFIG_DURATION,
     .offset = AT(auth.leeway),
     .default_value = "0s",
     .min = 1000,
     .max = HOUR,
     .zero = "none",
     .help = "By how much the clocks of whoever makes tokens and of this machine may differ: a token holds "
             "that much before its nbf and after its exp."},

    {.name = "proxy.connect",
     .type = CONFIG_STRING,
     .placeholder = "URL",
     .offset = AT(proxy.connect),
     .default_value = "",
     .help = "URL of the backend that is asked, by POST with JSON as Centrifugo's proxy hooks do it, whether "
             "a client that brings no token may connect, and as whom: https://backend.example/connect. "
             "Empty: nobody is asked."},
    {.name = "proxy.refresh",
     .type = CONFIG_STRING,
     .placeholder = "URL",
     .offset = AT(proxy.refresh),
     .default_value = "",
     .help =
         "URL that is asked whether a connection that proxy.connect let in may go on when its time is up."},
    {.name = "proxy.subscribe",
     .type = CONFIG_STRING,
     .placeholder = "URL",
     .offset = AT(proxy.subscribe),
     .default_value = "",
     .help = "URL that is asked whether a client may subscribe to a topic."},
    {.name = "proxy.sub_refresh",
     .type = CONFIG_STRING,
     .placeholder = "URL",
     .offset = AT(proxy.sub_refresh),
     .default_value = "",
     .help = "URL that is asked whether a subscription that proxy.subscribe allowed may go on when its time "
             "is up."},
    {.name = "proxy.publish",
     .type = CONFIG_STRING,
     .placeholder = "URL",
     .offset = AT(proxy.publish),
     .default_value = "",
     .help = "URL that is asked whether a client may publish to a topic, and what."},
    {.name = "proxy.rpc",
     .type = CONFIG_STRING,
     .placeholder = "URL",
     .offset = AT(proxy.rpc),
     .default_value = "",
     .help = "URL that answers the calls (rpc) of clients."},
    {.name = "proxy.headers",
     .type = CONFIG_STRING,
     .placeholder = "NAMES",
     .offset = AT(proxy.headers),
     .default_value = "",
     .help = "Headers of a client's upgrade request that are passed on to the backend, with spaces between: "
             "Cookie Authorization X-Request-Id."},
    {.name = "proxy.ca_file",
     .type = CONFIG_STRING,
     .placeholder = "FILE",
     .offset = AT(proxy.ca_file),
     .default_value = "",
     .help = "PEM file of the certificates by which https: backends are known. Empty: the system's."},
    {.name = "proxy.timeout",
     .type = CONFIG_DURATION,
     .offset = AT(proxy.timeout),
     .default_value = "1s",
     .min = 10,
     .max = HOUR / 12,
     .help = "Time for the backend to answer, waiting for a turn included; past it the client is told of an "
             "error and may try again."},
    {.name = "proxy.concurrency",
     .type = CONFIG_UINT,
     .offset = AT(proxy.concurrency),
     .default_value = "64",
     .min = 1,
     .max = 1024,
     .help = "Requests at the backend at a time."},
    {.name = "proxy.queue",
     .type = CONFIG_UINT,
     .offset = AT(proxy.queue),
     .default_value = "1024",
     .min = 0,
     .max = 1000000,
     .help = "Requests that may wait for their turn; past it, clients are told of an error at once."},

    {.name = "history.memory",
     .type = CONFIG_SIZE,
     .offset = AT(history.memory),
     .default_value = "256MiB",
     .min = MIB,
     .max = 1024 * GIB,
     .zero = "no limit",
     .help = "Memory of all topics' histories together; past it, the histories that were least recently used "
             "go."},
    {.name = "presence.clients",
     .type = CONFIG_UINT,
     .offset = AT(presence.clients),
     .default_value = "10000",
     .min = 1,
     .max = 100000000,
     .zero = "no limit",
     .help = "Clients that stand in one topic's presence; those beyond it are subscribed, but not seen."},

    {.name = "demo.enabled",
     .type = CONFIG_BOOL,
     .offset = AT(demo.enabled),
     .default_value = "off",
     .help = "Serves the demo page on / and the echo endpoint on /echo."},

    {.name = "log.level",
     .type = CONFIG_ENUM,
     .offset = AT(log.level),
     .default_value = "info",
     .choices = "error|warn|info|debug",
     .help = "The least important kind of line that is written.",
     .change = CONFIG_RUNTIME},
    {.name = "log.format",
     .type = CONFIG_ENUM,
     .offset = AT(log.format),
     .default_value = "logfmt",
     .choices = "logfmt|json",
     .help = "How lines of the log are written."},
    {.name = "log.file",
     .type = CONFIG_STRING,
     .placeholder = "FILE",
     .offset = AT(log.file),
     .default_value = "",
     .help = "File that lines are appended to, made with mode 0640; SIGUSR1 opens it anew, for logrotate. "
             "process.user must be able to write to it and its directory. Empty: stderr."},
    {.name = "log.access",
     .type = CONFIG_UINT,
     .offset = AT(log.access),
     .default_value = "0",
     .min = 1,
     .max = 1000000000,
     .zero = "off",
     .help =
         "Access log: a line for one of so many requests that were answered, and of so many WebSockets at "
         "their end, 1 for all: client address, endpoint, status, duration, bytes, reason. No query, "
         "header or payload is in it."},
    {.name = "log.priorities",
     .type = CONFIG_ENUM,
     .offset = AT(log.priorities),
     .default_value = "auto",
     .choices = "auto|on|off",
     .help =
         "Begins lines on stderr with <3> to <7>, from which the journal takes their priority. auto: when "
         "stderr is the journal."},

    {.name = "debug.core_dumps",
     .type = CONFIG_BOOL,
     .offset = AT(debug.core_dumps),
     .default_value = "off",
     .help = "Lets the process leave core dumps, and its user attach debuggers and profilers to it. A core "
             "dump holds private keys."},
    {.name = "debug.records_per_key",
     .type = CONFIG_UINT,
     .offset = AT(debug.records_per_key),
     .default_value = "0",
     .min = 2,
     .max = TLS_RECORDS_PER_KEY,
     .zero = "as many as is safe",
     .help = "TLS records under one key before a KeyUpdate; for tests of clients."},
};
const size_t settings_key_count = sizeof settings_keys / sizeof *settings_keys;

static const struct config_key host_keys[] = {
    {.name = "tls.certificate",
     .type = CONFIG_STRING,
     .placeholder = "FILE",
     .offset = offsetof(struct tls_host, certificate_file),
     .default_value = "",
     .help = "PEM file with the certificate and its chain.",
     .change = CONFIG_REREAD},
    {.name = "tls.private_key",
     .type = CONFIG_STRING,
     .placeholder = "FILE",
     .offset = offsetof(struct tls_host, private_key_file),
     .default_value = "",
     .help = "PEM file with its private key.",
     .change = CONFIG_REREAD},
};
_Static_assert(offsetof(struct tls_host, name) == 0, "config.h: an item begins with its name");

const struct config_section settings_tls_hosts = {
    .name = "tls",
    .placeholder = "HOST",
    .help = "A certificate for clients that name this host (SNI): example.org, or *.example.org for every "
            "name with one label more. Others get the certificate of [tls].",
    .keys = host_keys,
    .key_count = sizeof host_keys / sizeof *host_keys,
    .item_bytes = sizeof(struct tls_host),
    .items_offset = AT(tls.hosts),
    .count_offset = AT(tls.host_count),
    .max = 1000,
};

struct config *settings_config(struct settings *settings)
{
    struct config *config = config_create(settings_keys, settings_key_count, settings);
    if (config && (!config_add_section(config, &settings_tls_hosts) ||
                   !config_add_section(config, &settings_topic_rules))) {
        config_destroy(config);
        return NULL;
    }
    return config;
}

/* The choices above are indices of these. */
_Static_assert(LOG_ERROR == 0 && LOG_WARN == 1 && LOG_INFO == 2 && LOG_DEBUG == 3, "log.level");
_Static_assert(LOG_PRIORITIES_AUTO == 0 && LOG_PRIORITIES_ON == 1 && LOG_PRIORITIES_OFF == 2,
               "log.priorities");
_Static_assert(LOG_FORMAT_LOGFMT == 0 && LOG_FORMAT_JSON == 1, "log.format");
_Static_assert(FORWARDED_OFF == 0 && FORWARDED_X_FORWARDED_FOR == 1 && FORWARDED_RFC7239 == 2,
               "listen.forwarded");
_Static_assert(REACTOR_LEAST_CONNECTIONS == 0 && REACTOR_ROUND_ROBIN == 1, "threads.balance");

static bool reachable_from_outside(const struct net_address *address)
{
    if (address->storage.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)&address->storage;
        return ntohl(in->sin_addr.s_addr) >> 24 != IN_LOOPBACKNET;
    }
    if (address->storage.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)&address->storage;
        return !IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
    }
    return false;
}

/* `danger` says what whoever reaches this address could do without a password, and which to set; NULL: one is
 * set, or none is needed. */
static bool check_address(const char *key, const char *text, const char *danger, char *error,
                          size_t error_size)
{
    struct net_address address;
    char what[256];
    if (!net_parse(text, &address, what, sizeof what)) {
        snprintf(error, error_size, "%s: %s", key, what);
        return false;
    }
    if (danger && reachable_from_outside(&address)) {
        snprintf(error, error_size,
                 "%s: %s can be reached from other machines, and whoever reaches it may %s or listen on "
                 "127.0.0.1",
                 key, text, danger);
        return false;
    }
    return true;
}

/* One or two addresses with spaces or commas between. */
static bool check_publish_addresses(const struct settings *settings, char *error, size_t error_size)
{
    static const char between[] = " ,";
    const char *danger = *settings->publish.password ? NULL : "publish; set publish.password";
    const char *at = settings->listen.publish;
    int count = 0;
    for (at += strspn(at, between); *at; at += strspn(at, between)) {
        char one[256];
        size_t len = strcspn(at, between);
        if (++count > 2) {
            snprintf(error, error_size, "listen.publish names more than two addresses");
            return false;
        }
        if (len >= sizeof one) {
            snprintf(error, error_size, "listen.publish: an address is longer than %zu bytes",
                     sizeof one - 1);
            return false;
        }
        memcpy(one, at, len);
        one[len] = '\0';
        if (!check_address("listen.publish", one, danger, error, error_size))
            return false;
        at += len;
    }
    return true;
}

static bool check_listeners(const struct settings *settings, char *error, size_t error_size)
{
    if (!*settings->listen.wss && !*settings->listen.ws) {
        snprintf(error, error_size, "nothing listens for clients: set listen.wss or listen.ws");
        return false;
    }
    if (*settings->listen.wss && !check_address("listen.wss", settings->listen.wss, NULL, error, error_size))
        return false;
    if (*settings->listen.ws && !check_address("listen.ws", settings->listen.ws, NULL, error, error_size))
        return false;
    const char *danger = *settings->admin.password || *settings->publish.password
                             ? NULL
                             : "see what goes on here, and publish; set admin.password";
    if (*settings->listen.admin &&
        !check_address("listen.admin", settings->listen.admin, danger, error, error_size))
        return false;
    if (*settings->admin.password && strlen(settings->admin.password) < ADMIN_PASSWORD_MIN) {
        snprintf(
            error, error_size,
            "admin.password: it is shorter than %d bytes, the least that is safe; make one with openssl rand "
            "-base64 18",
            ADMIN_PASSWORD_MIN);
        return false;
    }
    return check_publish_addresses(settings, error, error_size);
}

static const char between_words[] = " ,\t";

bool settings_use_proxy_protocol(const struct settings *settings, const char *listener)
{
    const char *at = settings->listen.proxy_protocol;
    for (at += strspn(at, between_words); *at; at += strspn(at, between_words)) {
        size_t len = strcspn(at, between_words);
        if (len == strlen(listener) && memcmp(at, listener, len) == 0)
            return true;
        at += len;
    }
    return false;
}

/* Every word of listen.proxy_protocol is a listener that is there. */
static bool check_proxy_protocol(const struct settings *settings, char *error, size_t error_size)
{
    const char *at = settings->listen.proxy_protocol;
    for (at += strspn(at, between_words); *at; at += strspn(at, between_words)) {
        size_t len = strcspn(at, between_words);
        bool ws = len == 2 && memcmp(at, "ws", 2) == 0, wss = len == 3 && memcmp(at, "wss", 3) == 0;
        if (!ws && !wss) {
            snprintf(error, error_size,
                     "listen.proxy_protocol: \"%.*s\" is no listener; write ws, wss or ws wss",
                     (int)(len < 64 ? len : 64), at);
            return false;
        }
        if (!*(ws ? settings->listen.ws : settings->listen.wss)) {
            snprintf(error, error_size, "listen.proxy_protocol names %s, but listen.%s is not set",
                     ws ? "ws" : "wss", ws ? "ws" : "wss");
            return false;
        }
        at += len;
    }
    return true;
}

/* What stands in front of the gateway, and who may come. */
static bool check_clients(const struct settings *settings, char *error, size_t error_size)
{
    char why[512];
    bool proxied = *settings->listen.proxy_protocol;
    if (!check_proxy_protocol(settings, error, error_size))
        return false;
    if (!cidr_list_check(settings->listen.trusted, why, sizeof why)) {
        snprintf(error, error_size, "listen.trusted: %s", why);
        return false;
    }
    if ((proxied || settings->listen.forwarded != FORWARDED_OFF) && !*settings->listen.trusted) {
        snprintf(error, error_size,
                 "%s needs listen.trusted: the networks from which it is believed, as in 10.0.0.0/8",
                 proxied ? "listen.proxy_protocol" : "listen.forwarded");
        return false;
    }
    const struct {
        const char *key, *list, *file;
    } sets[] = {{"access.allow", settings->access.allow, ""},
                {"access.allow_file", "", settings->access.allow_file},
                {"access.deny", settings->access.deny, ""},
                {"access.deny_file", "", settings->access.deny_file}};
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        struct cidr_set *set = cidr_set_create(sets[i].list, sets[i].file, why, sizeof why);
        if (!set) {
            snprintf(error, error_size, "%s: %s", sets[i].key, why);
            return false;
        }
        cidr_set_destroy(set);
    }
    return true;
}

bool settings_use_proxy(const struct settings *settings)
{
    const char *const urls[] = {settings->proxy.connect,   settings->proxy.refresh,
                                settings->proxy.subscribe, settings->proxy.sub_refresh,
                                settings->proxy.publish,   settings->proxy.rpc};
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++)
        if (urls[i] && *urls[i])
            return true;
    return false;
}

bool settings_reachable(const char *listener)
{
    struct net_address address;
    char why[256];
    return *listener && net_parse(listener, &address, why, sizeof why) && reachable_from_outside(&address);
}

static bool check_proxy(const struct settings *settings, char *error, size_t error_size)
{
    const struct {
        const char *key, *url;
    } urls[] = {
        {"proxy.connect", settings->proxy.connect},     {"proxy.refresh", settings->proxy.refresh},
        {"proxy.subscribe", settings->proxy.subscribe}, {"proxy.sub_refresh", settings->proxy.sub_refresh},
        {"proxy.publish", settings->proxy.publish},     {"proxy.rpc", settings->proxy.rpc},
    };
    char what[256];
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++)
        if (*urls[i].url && !proxy_url_check(urls[i].url, what, sizeof what)) {
            snprintf(error, error_size, "%s %s", urls[i].key, what);
            return false;
        }
    if (!proxy_headers_check(settings->proxy.headers, what, sizeof what)) {
        snprintf(error, error_size, "proxy.headers: %s", what);
        return false;
    }
    return true;
}

static bool check_auth(const struct settings *settings, char *error, size_t error_size)
{
    const char *why = NULL;
    uint32_t allowed;
    size_t secret = strlen(settings->auth.hmac_secret);
    if (!settings->auth.anonymous && !secret && !*settings->auth.public_keys && !*settings->auth.jwks_file &&
        !*settings->proxy.connect)
        why = "nobody could connect, because auth.anonymous is off and there is no key to check tokens with: "
              "set auth.hmac_secret, auth.public_keys or auth.jwks_file, or proxy.connect to ask the "
              "backend, or "
              "auth.anonymous=on to admit everybody";
    else if (secret && secret < AUTH_SECRET_MIN)
        why = "auth.hmac_secret is shorter than 32 bytes, the least that is safe; make one with openssl rand "
              "-hex 32";
    else if (*settings->auth.cookie && !http_cookie_name_good(settings->auth.cookie))
        why = "auth.cookie: this cannot be the name of a cookie";
    else if (*settings->auth.cookie && strchr(settings->listen.origins, '*'))
        why = "auth.cookie with listen.origins=* would let every web page connect as whoever visits it, "
              "because browsers send cookies along: name the origins, or give tokens by ?token=";
    if (!why)
        return auth_algorithms_read(settings->auth.algorithms, &allowed, error, error_size);
    snprintf(error, error_size, "%s", why);
    return false;
}

static bool check_api(const struct settings *settings, char *error, size_t error_size)
{
    struct net_address address;
    char why[256];
    if (!settings->api.insecure || !*settings->listen.admin)
        return true;
    if (*settings->api.key)
        snprintf(error, error_size, "api.key and api.insecure contradict each other: set one of them");
    else if (net_parse(settings->listen.admin, &address, why, sizeof why) && reachable_from_outside(&address))
        snprintf(error, error_size,
                 "listen.admin: %s can be reached from other machines, and api.insecure lets everybody there "
                 "use the server API; set api.key instead",
                 settings->listen.admin);
    else
        return true;
    return false;
}

/* Users and groups must be known here: a name that is mistyped should not wait for the start. */
static bool check_owners(const struct settings *settings, char *error, size_t error_size)
{
    uid_t user;
    gid_t group;
    mode_t mode;
    const char *key;
    char why[160];
    if (!owner_mode(settings->listen.unix_mode, &mode, why, sizeof why)) {
        key = "listen.unix_mode";
    } else if (!owner_pair(settings->listen.unix_owner, &user, &group, why, sizeof why)) {
        key = "listen.unix_owner";
    } else if (*settings->process.user &&
               !owner_user(settings->process.user, &user, &group, why, sizeof why)) {
        key = "process.user";
    } else if (*settings->process.group && !owner_group(settings->process.group, &group, why, sizeof why)) {
        key = "process.group";
    } else if (*settings->process.group && !*settings->process.user) {
        key = "process.group";
        snprintf(why, sizeof why, "it goes with process.user, which is not set");
    } else {
        return true;
    }
    snprintf(error, error_size, "%s: %s", key, why);
    return false;
}

bool settings_check(const struct settings *settings, char *error, size_t error_size)
{
    if (!check_listeners(settings, error, error_size) || !check_api(settings, error, error_size) ||
        !check_owners(settings, error, error_size))
        return false;
    if (*settings->listen.wss && (!*settings->tls.certificate || !*settings->tls.private_key)) {
        snprintf(error, error_size,
                 "listen.wss needs tls.certificate and tls.private_key: set both, or use listen.ws");
        return false;
    }
    if (!tls_ciphersuites_check(settings->tls.ciphersuites, error, error_size) ||
        !tls_hosts_check(settings->tls.hosts, settings->tls.host_count, error, error_size))
        return false;
    if (!check_proxy(settings, error, error_size) || !check_clients(settings, error, error_size) ||
        !settings_collisions_check(settings, error, error_size))
        return false;
    if (*settings->listen.publish && settings->publish.outbox_bytes < 2 * settings->limits.message_bytes) {
        snprintf(
            error, error_size,
            "publish.outbox_bytes must be at least twice limits.message_bytes, or a backend that listens "
            "could not be sent the largest message");
        return false;
    }
    if (settings->limits.outbox_memory != 0 &&
        settings->limits.outbox_memory < settings->limits.outbox_bytes) {
        snprintf(error, error_size,
                 "limits.outbox_bytes must not be more than limits.outbox_memory, or one client alone could "
                 "not have "
                 "what it is allowed");
        return false;
    }
    if (settings->idle.timeout != 0 && settings->idle.ping_interval != 0 &&
        settings->idle.timeout <= settings->idle.ping_interval) {
        snprintf(error, error_size,
                 "idle.timeout must be longer than idle.ping_interval, or connections end before their "
                 "answer to a ping");
        return false;
    }
    return check_auth(settings, error, error_size);
}
