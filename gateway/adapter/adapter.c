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

int adapter_route(const struct settings *settings, struct http_slice path)
{
    for (int id = 0; id < ADAPTER_COUNT; id++) {
        if (http_slice_is(path, adapters[id]->path) && adapters[id]->enabled(settings))
            return id;
    }
    return -1;
}
