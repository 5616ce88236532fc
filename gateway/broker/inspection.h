/* What an operator asks of one reactor: which connections it has, what one of them is like, to close some.
 *
 * One heap object that travels to the reactor's mailbox, is filled in by one bounded slice of work, and comes
 * back to the broker's mailbox, where its handler (broker_inspected()) takes it. A reactor goes through its
 * connections in the order of their slots, which they keep as long as they live: whoever asks again from
 * `next` on meets everyone who was there all the time exactly once.
 *
 * Thread: made by the broker's, then the reactor's, then the broker's again. Owner: whoever has it; freed by
 * inspection_destroy().
 */
#pragma once

#include "gateway/base/list.h"
#include "gateway/broker/conn_id.h"
#include "gateway/broker/mail.h"
#include "gateway/broker/request.h"
#include "proto/resp.h"

enum inspection_kind {
    INSPECT_LIST,  /* those that the filter lets through, in short */
    INSPECT_ONE,   /* all about the one with `id` */
    INSPECT_CLOSE, /* closes those that the filter lets through */
};

/* All that is said must hold. */
struct conn_filter {
    bool id_set, topic_set, user_set, client_set;
    struct conn_id id;
    struct text topic, user; /* user "": clients that are anonymous */
    uint8_t client[16];      /* the id that its protocol has given it */
};

struct inspection {
    struct mail mail;    /* first */
    uint8_t kind;        /* enum inspection_kind */
    void *asker;         /* the broker's thread's own */
    struct list waiting; /* the reactor's own: for its turn */

    /* asked */
    struct conn_filter filter;
    uint32_t from;      /* slot to begin with */
    uint32_t count;     /* LIST, CLOSE: at most so many */
    uint16_t code;      /* CLOSE: close code; 0: the protocol's own */
    struct text reason; /* CLOSE: of the close frame; "": none is given */

    /* answered */
    uint32_t found;      /* connections in `out`, or closed */
    uint32_t next;       /* slot to go on with; 0: there are no more */
    struct resp_out out; /* LIST, ONE: `found` maps, one behind the other; `resp3` is asked */
};

/* Texts are copied from `filter` and `reason`; the rest is zero. NULL without memory. */
struct inspection *inspection_create(enum inspection_kind kind, const struct conn_filter *filter,
                                     struct text reason);
void inspection_destroy(struct inspection *inspection);

/* The last that a reactor's thread says: what lies in its mailbox from now on is never answered. */
struct reactor_ended {
    struct mail mail; /* first */
    uint16_t reactor;
};
