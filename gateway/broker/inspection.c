#include "gateway/broker/inspection.h"

#include <stdlib.h>
#include <string.h>

static struct text keep(char **at, struct text from)
{
    struct text kept = {.data = *at, .bytes = from.bytes};
    if (from.bytes > 0)
        memcpy(*at, from.data, from.bytes);
    *at += from.bytes;
    return kept;
}

struct inspection *inspection_create(enum inspection_kind kind, const struct conn_filter *filter,
                                     struct text reason)
{
    size_t bytes = filter->topic.bytes + filter->user.bytes + reason.bytes;
    struct inspection *inspection = malloc(sizeof *inspection + bytes);
    if (!inspection)
        return NULL;
    *inspection = (struct inspection){.mail.kind = MAIL_INSPECTION, .kind = (uint8_t)kind, .filter = *filter};
    char *at = (char *)(inspection + 1);
    inspection->filter.topic = keep(&at, filter->topic);
    inspection->filter.user = keep(&at, filter->user);
    inspection->reason = keep(&at, reason);
    return inspection;
}

void inspection_destroy(struct inspection *inspection)
{
    if (!inspection)
        return;
    resp_out_fini(&inspection->out);
    free(inspection);
}
