/* What the gateway consists of, and how it is built and torn down around main's loop (gateway.c).
 *
 * Thread: main. Owner: gateway_run().
 */
#pragma once

#include "gateway/acceptor.h"
#include "gateway/admin.h"
#include "gateway/admission.h"
#include "gateway/auth/auth.h"
#include "gateway/base/control.h"
#include "gateway/broker/broker.h"
#include "gateway/broker/engine.h"
#include "gateway/drain.h"
#include "gateway/listeners.h"
#include "gateway/privileges.h"
#include "gateway/proxy/proxy.h"
#include "gateway/publisher.h"
#include "gateway/reactor.h"
#include "gateway/supervise.h"
#include "gateway/tls_keeper.h"
struct gateway {
    const struct settings *settings;
    struct privileges privileges;
    struct listeners listeners;
    struct admission admission;
    struct reactor **reactors;
    struct mailbox **reactor_mail;
    const struct reactor_stats **reactor_stats;
    struct reactor_port *ports;
    uint32_t reactor_count, reactors_started;
    bool private_fds;
    uint64_t connection_limit; /* by settings and descriptors */
    struct auth *auth;
    struct engine *engine;
    struct broker *broker;
    struct publisher *publisher;
    struct proxy *proxy; /* NULL: no URL is set */
    struct acceptor_shared shared;
    struct acceptor **acceptors;
    const struct acceptor_stats **acceptor_stats;
    uint32_t acceptor_count, acceptors_started;
    struct tls_keeper tls_keeper;
    struct admin *admin;
    struct admin_config
        admin_config;    /* what is counted, and where; complete before the first thread starts */
    uint64_t started_ms; /* since 1970 */
    struct control control;
    struct supervise supervise;
    bool reload_failed; /* the last one */
    struct drain drain;
    char error[512];
};

/* Everything that threads need, and no thread yet; all that later needs privileges is open. False: `error`
 * says why, and what was built is left to gateway_demolish(). */
bool gateway_build(struct gateway *gateway) __attribute__((warn_unused_result));
/* What stands, in whatever state; acceptors and reactors have ended, and the others are ended here. */
void gateway_demolish(struct gateway *gateway);
/* False, with that as the error. */
bool gateway_no_memory(struct gateway *gateway);
