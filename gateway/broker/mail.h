/* What travels between threads: every item in a mailbox of the broker or of a reactor begins with this, so
 * that the receiver knows what it has.
 *
 * Thread: any. Owner: whoever receives an item, unless its kind says otherwise.
 */
#pragma once

#include "gateway/base/mailbox.h"

#include <stdint.h>

enum mail_kind {
    MAIL_INTEREST,   /* reactor → broker: struct broker_interest */
    MAIL_REQUEST,    /* anyone → broker, and answered back: struct broker_request */
    MAIL_DELIVERY,   /* broker → reactor: struct delivery */
    MAIL_ORDER,      /* broker → every reactor: struct order_copy */
    MAIL_PROXY,      /* reactor → proxy, and answered back: struct proxy_request */
    MAIL_INSPECTION, /* broker → reactor, and answered back: struct inspection */
    MAIL_ENDED,      /* reactor → broker, the last: struct reactor_ended */
};

struct mail {
    struct mailbox_node node; /* first */
    uint8_t kind;             /* enum mail_kind */
};
