/* The publish socket: Redis protocol in, messages out (DESIGN §1 "Publish socket").
 *
 * Thread: one of its own, which also owns the broker's registry; the functions below are called by main,
 * publisher_stats() by any. Owner: create/destroy by main. Listeners, settings and broker are the caller's
 * and must outlive the publisher.
 */
#pragma once

#include "gateway/base/control.h"
#include "gateway/base/pulse.h"
#include "gateway/broker/broker.h"
#include "gateway/conn/stats.h"
#include "gateway/settings/settings.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct publisher;

struct publisher_config {
    const struct settings *settings;
    const int *listen_fds; /* non-blocking stream listeners, TCP or unix; copied; may be none: then it serves
                              the broker's mailbox only */
    size_t listen_count;
    struct broker *broker;
    struct control *control; /* for DRAIN and SHUTDOWN; NULL: there is none */
    size_t reactor_count;    /* for INFO */
    const struct reactor_stats *const *reactors;
    /* Writes counters, for METRICS; on the publisher's thread. NULL: there are none. */
    void (*write_metrics)(void *context, FILE *out);
    void *metrics_context;
};

struct publisher *publisher_create(const struct publisher_config *config); /* NULL with errno */
bool publisher_start(struct publisher *publisher)
    __attribute__((warn_unused_result)); /* false with errno: no thread */
/* Ends the thread and joins it. What publishers sent and it has not read yet is lost; what it answered is in
 * the reactors' mailboxes. Harmless when it does not run. */
void publisher_stop(struct publisher *publisher);
void publisher_destroy(struct publisher *publisher); /* after publisher_stop(); closes its connections */
const struct publisher_stats *publisher_stats(const struct publisher *publisher);
struct pulse *publisher_pulse(struct publisher *publisher); /* for main's watchdog */
