/* Labels of what the threads count. */
#include "gateway/conn/stats.h"

#include "gateway/base/assert.h"

static const char *const handshake_failure_labels[HANDSHAKE_FAILURE_COUNT] = {
#define X(name, label) [name] = (label),
    HANDSHAKE_FAILURES(X)
#undef X
};

const char *handshake_failure_label(enum handshake_failure failure)
{
    PG_ASSERT((unsigned)failure < HANDSHAKE_FAILURE_COUNT);
    return handshake_failure_labels[failure];
}
