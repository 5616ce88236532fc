/* The table of client protocols. */
#include "gateway/adapter/adapter.h"

static const struct adapter *const adapters[ADAPTER_COUNT] = {
    [ADAPTER_RAW] = &adapter_raw,
    [ADAPTER_ECHO] = &adapter_echo,
    [ADAPTER_CENTRIFUGE] = &adapter_centrifuge,
};

const struct adapter *adapter_get(enum adapter_id id)
{
    return (unsigned)id < ADAPTER_COUNT ? adapters[id] : NULL;
}

void adapter_accept(enum adapter_id id, const struct settings *settings, const struct http_request *request,
                    struct adapter_admission *out)
{
    out->status = 101;
    out->error = NULL;
    out->topic_count = 0;
    out->topics_bytes = 0; /* the room for them is large, and need not be cleared */
    out->subprotocol[0] = '\0';
    out->since_set = false;
    out->since_offset = out->since_epoch = 0;
    adapters[id]->accept(settings, request, out);
}

int adapter_route(const struct settings *settings, struct http_slice path)
{
    for (int id = 0; id < ADAPTER_COUNT; id++) {
        if (http_slice_is(path, adapters[id]->path) && adapters[id]->enabled(settings))
            return id;
    }
    return -1;
}
