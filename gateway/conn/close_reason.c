/* The names and codes of the one list of close reasons. */
#include "gateway/conn/close_reason.h"

#include "gateway/base/assert.h"

struct close_row {
    const char *label, *text;
    uint16_t code, centrifuge;
};

static const struct close_row close_rows[CLOSE_REASON_COUNT] = {
#define X(name, label, code, centrifuge, text) [name] = {label, text, code, centrifuge},
    CLOSE_REASONS(X)
#undef X
};

static const struct close_row *close_row(enum close_reason reason)
{
    PG_ASSERT((unsigned)reason < CLOSE_REASON_COUNT);
    return &close_rows[reason];
}

const char *close_reason_label(enum close_reason reason)
{
    return close_row(reason)->label;
}

const char *close_reason_text(enum close_reason reason)
{
    return close_row(reason)->text;
}

uint16_t close_reason_code(enum close_reason reason)
{
    return close_row(reason)->code;
}

uint16_t close_reason_centrifuge_code(enum close_reason reason)
{
    const struct close_row *row = close_row(reason);
    return row->centrifuge ? row->centrifuge : row->code;
}
