/* The options and modes of pushgate-load. */
#include "loadtest/options_internal.h"
#include "loadtest/payload.h"

#include <stddef.h>

#define AT(field) offsetof(struct load_options, field)

enum {
    HOUR_MS = 3600 * 1000,
    DAY_MS = 24 * HOUR_MS,
    RATE_MAX = 100 * 1000 * 1000,
};

const struct option_row option_rows[] = {
    {"target", OPTION_STRING, AT(target_text), NULL, 0, 0, "URL",
     "ws:// or wss:// address; {topic} in it becomes load-0 … load-(K-1); topic=NAME stays as it is with one "
     "topic, else becomes NAME-0 …; wss is TLS 1.3 with AES-128-GCM or ChaCha20-Poly1305, nothing older; of "
     "a "
     "name's addresses, the first that takes a connection",
     ALL_MODES},
    {"connections", OPTION_UINT, AT(connections), "1000", 1, 4000000, "N", "connections to open", ALL_MODES},
    {"rate", OPTION_UINT, AT(rate), "0", 0, RATE_MAX, "R",
     "new connections per second; 0: as fast as --in-progress allows", ALL_MODES},
    {"in-progress", OPTION_UINT, AT(in_progress), "256", 1, 100000, "N",
     "connections that may be opening at the same time", ALL_MODES},
    {"connect-timeout", OPTION_DURATION, AT(connect_timeout_ms), "15s", 1, DAY_MS, "TIME",
     "from connect() to the 101 answer", ALL_MODES},
    {"hold", OPTION_DURATION, AT(hold_ms), "10s", 0, DAY_MS, "TIME",
     "how long to stay when all are open; fanout without --messages and churn: how long to publish; storm: "
     "how "
     "long to stay before each cut and after the last; slow: how long all read, then how long the slow do "
     "not",
     ALL_MODES},
    {"sources", OPTION_STRING, AT(sources_text), NULL, 0, 0, "FIRST-LAST",
     "IPv4 addresses to connect from in turn (a loopback target: from 127.0.0.1 on as many as keep each "
     "one's "
     "ports less than half used, at least 40); '' lets the kernel choose",
     ALL_MODES},
    {"processes", OPTION_UINT, AT(processes), "0", 0, 1000, "N",
     "workers, each with its own file descriptor table; 0: one for 18,000 connections, or for as many as "
     "RLIMIT_NOFILE allows",
     ALL_MODES},
    {"shared-fds", OPTION_FLAG, AT(shared_fds), NULL, 0, 0, NULL,
     "workers share one descriptor table (for ThreadSanitizer)", ALL_MODES},
    {"cafile", OPTION_STRING, AT(ca_file), NULL, 0, 0, "FILE",
     "PEM certificates to trust; without it, the system's", ALL_MODES},
    {"insecure", OPTION_FLAG, AT(insecure), NULL, 0, 0, NULL, "accept any certificate", ALL_MODES},
    {"resume", OPTION_FLAG, AT(resume), NULL, 0, 0, NULL,
     "wss: one connection more fetches a session ticket, which all others present",
     ONLY(IDLE) | ONLY(FANOUT) | ONLY(CHURN) | ONLY(SLOW)},
    {"subprotocol", OPTION_STRING, AT(subprotocol), "", 0, 0, "NAME", "Sec-WebSocket-Protocol to offer",
     ALL_MODES},
    {"header", OPTION_HEADER, AT(headers), NULL, 0, 0, "'NAME: VALUE'",
     "further header of the upgrade request; may be repeated", ALL_MODES},
    {"send", OPTION_STRING, AT(send_text), NULL, 0, 0, "TEXT", "text frame to send when a connection is open",
     ALL_MODES},
    {"send-binary", OPTION_STRING, AT(send_binary_text), NULL, 0, 0, "HEX",
     "binary frame to send when a connection is open, as hexadecimal digits (MQTT's CONNECT and SUBSCRIBE, "
     "…)",
     ALL_MODES},
    {"unwrap", OPTION_FLAG, AT(unwrap), NULL, 0, 0, NULL,
     "find messages inside of what arrives: the server speaks a protocol of its own in WebSocket, whose "
     "envelopes are not looked at",
     PUBLISHING},
    {"churn", OPTION_SHARE, AT(churn_share), "5%", 1, SHARE_WHOLE, "SHARE",
     "churn: connections to replace every second", ONLY(CHURN)},
    {"slow", OPTION_SHARE, AT(slow_share), "10%", 1, SHARE_WHOLE - 1, "SHARE",
     "slow: connections that stop reading", ONLY(SLOW)},
    {"slow-read", OPTION_UINT, AT(slow_read), "0", 0, RATE_MAX, "BYTES",
     "slow: what each of them still reads per second; 0: nothing", ONLY(SLOW)},
    {"handshakes", OPTION_STRING, AT(handshakes_text), "both", 0, 0, "both|full|resumed",
     "storm over wss: come back with full handshakes, by a session ticket, or once each way", ONLY(STORM)},
    {"return-within", OPTION_DURATION, AT(return_within_ms), "60s", 1, DAY_MS, "TIME",
     "storm: how long to try to get everybody back; a failed attempt is repeated", ONLY(STORM)},
    {"grace", OPTION_DURATION, AT(grace_ms), "2s", 1, HOUR_MS, "TIME",
     "storm, churn: a replaced connection need not have got what was published in its last TIME, nor the "
     "next "
     "what is published in its first TIME until something arrives; all else that does not arrive is lost",
     ONLY(STORM) | ONLY(CHURN)},
    {"publish", OPTION_STRING, AT(publish), NULL, 0, 0, "ADDRESS",
     "Redis-protocol endpoint to publish to, 127.0.0.1:6390 or unix:PATH; storm can do without", PUBLISHING},
    {"publish-password-file", OPTION_STRING, AT(publish_password_file), NULL, 0, 0, "FILE",
     "its first line is the password for AUTH; or set PUSHGATE_PUBLISH_PASSWORD", PUBLISHING},
    {"idle-hold", OPTION_DURATION, AT(idle_hold_ms), "0", 0, DAY_MS, "TIME",
     "fanout: how long to stay idle when all are open, before the first message", ONLY(FANOUT)},
    {"one-by-one", OPTION_FLAG, AT(one_by_one), NULL, 0, 0, NULL,
     "fanout: publish a message only when the one before it has arrived everywhere (or nothing has for "
     "--settle), and time that",
     ONLY(FANOUT)},
    {"publish-rate", OPTION_UINT, AT(publish_rate), "0", 0, RATE_MAX, "P",
     "messages per second over all topics; 0: as fast as the endpoint answers (fanout) or 10 (storm, churn, "
     "slow); times count from when this rate made a message due, also when it left late",
     PUBLISHING},
    {"publish-pipeline", OPTION_UINT, AT(publish_pipeline), "64", 1, 100000, "N",
     "publishes that may wait for their reply", PUBLISHING},
    {"messages", OPTION_UINT, AT(messages), "0", 0, 4000000000, "N",
     "fanout: messages to publish, topic by topic in turn; 0: during --hold", ONLY(FANOUT)},
    {"topics", OPTION_UINT, AT(topics), "1", 1, 1000000, "K",
     "topics; connection i subscribes to number i mod K", ALL_MODES},
    {"message-bytes", OPTION_UINT, AT(message_bytes), "128", PAYLOAD_BYTES_MIN, PAYLOAD_BYTES_MAX, "BYTES",
     "size of a message", PUBLISHING},
    {"settle", OPTION_DURATION, AT(settle_ms), "5s", 1, DAY_MS, "TIME",
     "give up waiting for messages, pongs or closes when none has arrived for so long", ALL_MODES},
    {"allow-unknown", OPTION_FLAG, AT(allow_unknown), NULL, 0, 0, NULL,
     "messages that pushgate-load has not published (a greeting, answers to --send) are no fault",
     PUBLISHING},
    {"nap", OPTION_DURATION, AT(nap_ms), "0", 0, 1000, "TIME",
     "while connections are held, let what arrives wait so long (messages look as much older), so that a "
     "sender on this machine is not interrupted to wake this program",
     ONLY(IDLE) | ONLY(FANOUT) | ONLY(STORM)},
    {"json", OPTION_STRING, AT(json_file), NULL, 0, 0, "FILE",
     "write the report as JSON as well ('-': to standard output, and all else to standard error)", ALL_MODES},
    {"report", OPTION_STRING, AT(report_file), NULL, 0, 0, "FILE.html",
     "write the report as one HTML page with plots as well", ALL_MODES},
    {"gateway-pid", OPTION_UINT, AT(gateway_pid), "0", 0, INT32_MAX, "PID",
     "measure memory and CPU of this process, too", ALL_MODES},
    {"ready-fd", OPTION_UINT, AT(ready_fd), "0", 0, 1000000, "FD",
     "write the line 'ready', which standard output gets when the opening is over and at least one "
     "connection "
     "is open, to this descriptor, too",
     ALL_MODES},
    {"quiet", OPTION_FLAG, AT(quiet), NULL, 0, 0, NULL, "no progress", ALL_MODES},
    {"watch", OPTION_FLAG, AT(watch), NULL, 0, 0, NULL,
     "idle: the line 'messages TOTAL open N last NANOSECONDS' (monotonic clock) on standard output when the "
     "opening is over, and whenever messages have come and then stopped coming",
     ONLY(IDLE)},
};
const size_t option_row_count = sizeof option_rows / sizeof *option_rows;

const struct mode_row load_modes[LOAD_MODE_COUNT] = {
    [LOAD_IDLE] = {"idle", "opens connections, holds them, then checks by ping that each one lives", false},
    [LOAD_FANOUT] = {"fanout",
                     "publishes to topics; every connection checks every message's place, content and age",
                     true},
    [LOAD_STORM] = {"storm", "cuts all connections at once and brings all back, with and without resumption",
                    false},
    [LOAD_CHURN] = {"churn", "replaces a share of the connections every second while messages fan out", true},
    [LOAD_SLOW] = {"slow",
                   "a share stops reading while messages fan out: what becomes of them, what of the rest",
                   true},
};
