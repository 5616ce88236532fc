#include "proto/centrifuge_codes.h"

#include <stddef.h>

struct row {
    uint32_t code;
    bool temporary;
    const char *text;
};

static const struct row errors[] = {
#define X(name, number, message, flag) {.code = (number), .temporary = (flag), .text = (message)},
    CENTRIFUGE_ERRORS(X)
#undef X
};

static const struct row unsubscribes[] = {
#define X(name, number, reason) {.code = (number), .text = (reason)},
    CENTRIFUGE_UNSUBSCRIBES(X)
#undef X
};

static const struct row disconnects[] = {
#define X(name, number, reason) {.code = (number), .text = (reason)},
    CENTRIFUGE_DISCONNECTS(X)
#undef X
};

/* An empty row when the code is in none. */
static struct row find(const struct row *rows, size_t count, uint32_t code)
{
    for (size_t i = 0; i < count; i++)
        if (rows[i].code == code)
            return rows[i];
    return (struct row){0};
}
#define FIND(rows, code) find(rows, sizeof(rows) / sizeof((rows)[0]), code)

const char *centrifuge_error_message(uint32_t code)
{
    return FIND(errors, code).text;
}

bool centrifuge_error_temporary(uint32_t code)
{
    return FIND(errors, code).temporary;
}

const char *centrifuge_unsubscribe_reason(uint32_t code)
{
    return FIND(unsubscribes, code).text;
}

const char *centrifuge_disconnect_reason(uint32_t code)
{
    return FIND(disconnects, code).text;
}

bool centrifuge_disconnect_reconnects(uint32_t code)
{
    return !((code >= 3500 && code < 4000) || (code >= 4500 && code < 5000));
}

bool centrifuge_disconnect_valid(uint32_t code)
{
    return code >= 3000 && code < 5000;
}
