/* Publishes the run's messages to a Redis-protocol endpoint, pipelined, from one thread.
 *
 * Thread: publisher_start/_stop/_join by the main thread; counters and flags may be read while it runs,
 * `error` after it is done. Owner: the main thread owns the struct.
 */
#pragma once

#include "gateway/base/counters.h"
#include "gateway/base/histogram.h"
#include "loadtest/options.h"
#include "loadtest/payload.h"
#include "loadtest/refusals.h"

#include <pthread.h>
#include <stdatomic.h>

struct publisher {
    const struct load_options *options;
    const struct payload_format *payload;
    const char *password; /* NULL: no AUTH */
    bool endless;         /* until publisher_stop() */

    bool connected; /* publisher_connect() has succeeded: `fd` is open */
    int fd;
    pthread_t thread;
    _Atomic bool stop;
    _Atomic bool abandoned; /* stop, and wait for nothing */
    _Atomic bool done;
    _Atomic uint64_t released; /* with --one-by-one: messages that may be published */
    counter published; /* PUBLISH commands written; message i goes to topic i mod K as its number i / K */
    counter answered;
    counter receivers; /* sum of the integers answered */
    counter refused;   /* answered with an error */
    struct refusals refusals;
    counter began_ns, ended_ns;
    counter stopped_ns;          /* when nothing was to be published any more; replies were still to come */
    counter last_sent_ns;        /* of the message published last */
    struct histogram reply_time; /* since the rate made the message due; without a rate, since it was sent */
    char error[160];             /* "" when the connection held */
    bool broke_off; /* it did not hold: messages from number `answered` on may or may not have been published
                     */
};

/* Before anybody reads `refusals`. */
void publisher_init(struct publisher *publisher, const struct load_options *options);
/* Connects, authenticates and asks whether the endpoint understands, so that a wrong address or password
 * shows before anything else is done; the connection is kept for publisher_start(). Needs `options` and
 * `password`. False with a sentence. */
bool publisher_connect(struct publisher *publisher, char *error, size_t error_size)
    __attribute__((warn_unused_result));
/* False: no thread. */
bool publisher_start(struct publisher *publisher) __attribute__((warn_unused_result));
void publisher_stop(
    struct publisher *publisher); /* it ends when what it has sent is answered, or after --settle */
void publisher_abandon(struct publisher *publisher); /* it ends at once */
void publisher_join(struct publisher *publisher);
bool publisher_done(const struct publisher *publisher);
void publisher_fini(struct publisher *publisher);
