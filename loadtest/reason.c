/* The texts of the two lists in reason.h. */
#include "loadtest/reason.h"

struct reason {
    const char *name;
    const char *text;
    bool unexpected;
};

static const struct reason fail_reasons[FAIL_REASON_COUNT] = {
#define X(symbol, name, text) [FAIL_##symbol] = {name, text, true},
    FAIL_REASONS(X)
#undef X
};

static const struct reason end_reasons[END_REASON_COUNT] = {
#define X(symbol, name, unexpected, text) [END_##symbol] = {name, text, unexpected},
    END_REASONS(X)
#undef X
};

const char *fail_reason_name(enum fail_reason reason)
{
    return fail_reasons[reason].name;
}

const char *fail_reason_text(enum fail_reason reason)
{
    return fail_reasons[reason].text;
}

const char *end_reason_name(enum end_reason reason)
{
    return end_reasons[reason].name;
}

const char *end_reason_text(enum end_reason reason)
{
    return end_reasons[reason].text;
}

bool end_reason_unexpected(enum end_reason reason)
{
    return end_reasons[reason].unexpected;
}
